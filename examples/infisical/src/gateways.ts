import { one, type Database } from "./database.js";

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

async function pick(db: Database, poolId: string, options: PickOptions, nullIfNone: boolean): Promise<string | null> {
  const { id } = await one<{ id: string | null }>(
    db,
    `SELECT gateway_pool.pick_healthy_gateway(${PICK}, null_if_none => $6) AS id`,
    [...pickArguments(poolId, options), nullIfNone],
  );
  return id;
}

/** Returns an eligible member of a pool, or null if there is none. */
export const pickGatewayOrNull = (db: Database, poolId: string, options: PickOptions = {}) =>
  pick(db, poolId, options, true);

/** Returns an eligible member of a pool; fails with gateway_pools_no_eligible_member if there is none. */
export const pickGateway = (db: Database, poolId: string, options: PickOptions = {}) =>
  pick(db, poolId, options, false) as Promise<string>;

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
export async function resolveGateway(
  db: Database,
  gatewayId: string | null,
  poolId: string | null,
): Promise<string> {
  const { id } = await one<{ id: string }>(db, "SELECT gateway_pool.resolve_gateway($1, $2) AS id", [gatewayId, poolId]);
  return id;
}

/** Reports that a gateway is alive, for `ttl` seconds; without it, for the setting heartbeat_timeout. */
export async function recordHeartbeat(db: Database, gatewayId: string, ttl?: number): Promise<void> {
  await db.query("SELECT gateway_pool.record_gateway_heartbeat($1, make_interval(secs => $2))", [gatewayId, ttl ?? null]);
}

/** Reports that no connection could be made: others are picked first, for the setting suspect_ttl. */
export async function reportFailure(db: Database, gatewayId: string, reason: string): Promise<void> {
  await db.query("SELECT gateway_pool.report_gateway_failure($1, $2)", [gatewayId, reason]);
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
export async function releaseGateway(db: Database, gatewayId: string, opened: boolean): Promise<boolean> {
  const { released } = await one<{ released: boolean }>(
    db,
    "SELECT gateway_pool.release_gateway($1, opened => $2) AS released",
    [gatewayId, opened],
  );
  return released;
}
