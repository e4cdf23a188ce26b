import { value, type Database } from "./database.js";

export type GatewayStatus = "healthy" | "degraded" | "unhealthy" | "unknown";
export type GatewayState = "active" | "draining" | "maintenance";

export interface PickOptions {
  /** Gateways that are not picked. */
  exclude?: readonly string[];
  /** Default: "random", by the members' weights. */
  strategy?: "random" | "least_loaded" | "sticky";
  /** What the gateway's own capabilities must contain, such as { pkcs11: true }. */
  capabilities?: Record<string, unknown>;
  /** For strategy "sticky": equal keys get the same gateway. */
  stickyKey?: string;
}

const PICK = "$1, exclude => $2, strategy => $3, capabilities => $4, sticky_key => $5";

const pickArguments = (poolId: string, options: PickOptions): unknown[] => [
  poolId,
  options.exclude ?? [],
  options.strategy ?? "random",
  options.capabilities === undefined ? null : JSON.stringify(options.capabilities),
  options.stickyKey ?? null,
];

const pick = <Id>(db: Database, poolId: string, options: PickOptions, nullIfNone: boolean) =>
  value<Id>(db, `SELECT gateway_pool.pick_healthy_gateway(${PICK}, null_if_none => $6)`, [
    ...pickArguments(poolId, options),
    nullIfNone,
  ]);

/** Returns an eligible member of a pool, or null if there is none. */
export const pickGatewayOrNull = (db: Database, poolId: string, options: PickOptions = {}) =>
  pick<string | null>(db, poolId, options, true);

/** Returns an eligible member of a pool; fails with gateway_pools_no_eligible_member if there is none. */
export const pickGateway = (db: Database, poolId: string, options: PickOptions = {}) =>
  pick<string>(db, poolId, options, false);

/** Returns up to `count` eligible members of a pool, in the order in which to try them. */
export async function pickGateways(
  db: Database,
  poolId: string,
  count: number,
  options: PickOptions = {},
): Promise<string[]> {
  const rows = await db.query<{ id: string }>(
    `SELECT id FROM gateway_pool.pick_healthy_gateways(${PICK}, count => $6) AS p (id)`,
    [...pickArguments(poolId, options), count],
  );
  return rows.map((row) => row.id);
}

/** Returns the gateway of a resource: the direct one if it is set, else one of its pool. */
export const resolveGateway = (db: Database, gatewayId: string | null, poolId: string | null) =>
  value<string>(db, "SELECT gateway_pool.resolve_gateway($1, $2)", [gatewayId, poolId]);

/** Reports that a gateway is alive, for `ttl` seconds; without it, for the setting heartbeat_timeout. */
export async function recordHeartbeat(db: Database, gatewayId: string, ttl?: number): Promise<void> {
  await db.query("SELECT gateway_pool.record_gateway_heartbeat($1, make_interval(secs => $2))", [
    gatewayId,
    ttl ?? null,
  ]);
}

/** Reports that no connection could be made: others are picked first, for the setting suspect_ttl. */
export async function reportFailure(db: Database, gatewayId: string, reason: string): Promise<void> {
  // The reason may have a text of the gateway: nothing in it must make the report fail.
  const printable = reason.replace(/[^ -~]/g, " ");
  await db.query("SELECT gateway_pool.report_gateway_failure($1, $2)", [gatewayId, printable]);
}

/** Reports how many connections a gateway has; counts for 35 seconds. */
export async function reportLoad(db: Database, gatewayId: string, activeConnections: number): Promise<void> {
  await db.query("SELECT gateway_pool.report_gateway_load($1, $2)", [gatewayId, activeConnections]);
}

/**
 * Ends the reservation that a pick by "least_loaded" made.  `opened` is true if there is a
 * connection now, which counts until the gateway reports its load again.  Returns false if there
 * was no reservation.
 */
export const releaseGateway = (db: Database, gatewayId: string, opened: boolean) =>
  value<boolean>(db, "SELECT gateway_pool.release_gateway($1, opened => $2)", [gatewayId, opened]);
