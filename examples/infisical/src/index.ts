export * from "./database.js";
export * from "./errors.js";
export * from "./failover.js";
export * from "./gateways.js";
export * from "./pools.js";
