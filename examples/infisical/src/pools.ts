import { one, value, type Database } from "./database.js";
import type { GatewayState, GatewayStatus } from "./gateways.js";

export interface Pool {
  id: string;
  orgId: string;
  name: string;
  createdAt: Date;
  updatedAt: Date;
}

export interface PoolStatus extends Pool {
  memberCount: number;
  /** Members that a pick may return. */
  healthyMemberCount: number;
  memberGatewayIds: string[];
  /** Rows of all tables that reference the pool. */
  connectedResourcesCount: number;
  health: "green" | "yellow" | "red" | "empty";
  /** Such as "2/3 healthy". */
  label: string;
}

export interface Member {
  gatewayPoolId: string;
  gatewayId: string;
  orgId: string;
  name: string;
  pickWeight: number;
  pickPriority: number;
  status: GatewayStatus;
  state: GatewayState;
  /** Why the gateway has this status, such as "heartbeat expired". */
  reason: string;
  lastHeartbeatAt: Date | null;
  /** Connections that the gateway reported, or null if it has not in the last 35 seconds. */
  activeConnections: number | null;
  /** Picks by least_loaded that have not been released. */
  reservations: number;
}

export interface Membership {
  id: string;
  gatewayPoolId: string;
  gatewayId: string;
  createdAt: Date;
}

/** Returns the pools of an organization, by name, with their health. */
export function listPools(db: Database, orgId: string): Promise<PoolStatus[]> {
  return db.query("SELECT * FROM gateway_pool.gateway_pool_status($1) ORDER BY name", [orgId]);
}

/** Returns the members of a pool, by name, with their health. */
export function listMembers(db: Database, orgId: string, poolId: string): Promise<Member[]> {
  return db.query("SELECT * FROM gateway_pool.gateway_pool_members($1, $2) ORDER BY name", [orgId, poolId]);
}

/** Returns the id of the pool with this name. */
export const poolIdOf = (db: Database, orgId: string, name: string) =>
  value<string>(db, "SELECT gateway_pool.gateway_pool_id($1, $2)", [orgId, name]);

/** Trims and lower-cases the name, and creates a pool. */
export function createPool(db: Database, orgId: string, name: string): Promise<Pool> {
  return one(db, "SELECT * FROM gateway_pool.create_gateway_pool($1, $2)", [orgId, name]);
}

export function renamePool(db: Database, orgId: string, poolId: string, name: string): Promise<Pool> {
  return one(db, "SELECT * FROM gateway_pool.update_gateway_pool($1, $2, $3)", [orgId, poolId, name]);
}

/** Deletes a pool that nothing references, and returns it. */
export function deletePool(db: Database, orgId: string, poolId: string): Promise<Pool> {
  return one(db, "SELECT * FROM gateway_pool.delete_gateway_pool($1, $2)", [orgId, poolId]);
}

export function addMember(db: Database, orgId: string, poolId: string, gatewayId: string): Promise<Membership> {
  return one(
    db,
    'SELECT id, "gatewayPoolId", "gatewayId", "createdAt" FROM gateway_pool.add_gateway_to_pool($1, $2, $3)',
    [orgId, poolId, gatewayId],
  );
}

export function removeMember(db: Database, orgId: string, poolId: string, gatewayId: string): Promise<Membership> {
  return one(db, "SELECT * FROM gateway_pool.remove_gateway_from_pool($1, $2, $3)", [orgId, poolId, gatewayId]);
}

/** Returns the rows that reference a pool, by kind, such as "kubernetesAuths"; null for a locked table. */
export const listResources = (db: Database, orgId: string, poolId: string) =>
  value<Record<string, Record<string, unknown>[] | null>>(
    db,
    "SELECT gateway_pool.get_gateway_pool_resources($1, $2)",
    [orgId, poolId],
  );
