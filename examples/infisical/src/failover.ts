import type { Database } from "./database.js";
import { pickGateway, pickGatewayOrNull, releaseGateway, reportFailure, type PickOptions } from "./gateways.js";

/**
 * Thrown by an operation that could not reach its gateway, before anything was sent through it.
 * Nothing else is tried again: a wrong password stays wrong, and what was sent may have had an effect.
 */
export class TransportFailure extends Error {
  override readonly name = "TransportFailure";
}

export interface FailoverOptions extends PickOptions {
  /** The most gateways that are tried.  Default: 3. */
  attempts?: number;
  /** True if the connection stays open when the operation has ended, as that of a session does. */
  staysOpen?: boolean;
}

/**
 * Runs an operation through a gateway of a pool, and returns its result.  While the operation
 * fails with TransportFailure, reports that and tries another member; when no attempt or no
 * member is left, throws the last failure.
 *
 * `db` is a pool of connections, not a transaction, which the operation would keep open.
 */
export async function runWithFailover<Result>(
  db: Database,
  poolId: string,
  operation: (gatewayId: string) => Promise<Result>,
  options: FailoverOptions = {},
): Promise<Result> {
  const { attempts = 3 } = options;
  const exclude = [...(options.exclude ?? [])];
  let gatewayId = await pickGateway(db, poolId, options);

  for (let attempt = 1; ; attempt++) {
    try {
      return await runThrough(db, gatewayId, operation, options);
    } catch (failure) {
      if (!(failure instanceof TransportFailure)) throw failure;
      await advise(reportFailure(db, gatewayId, failure.message));
      exclude.push(gatewayId);
      const next = attempt < attempts ? await pickGatewayOrNull(db, poolId, { ...options, exclude }) : null;
      if (next === null) throw failure;
      gatewayId = next;
    }
  }
}

/** Runs an operation through a gateway, and releases the reservation of its pick, if there is one. */
async function runThrough<Result>(
  db: Database,
  gatewayId: string,
  operation: (gatewayId: string) => Promise<Result>,
  { strategy, staysOpen = false }: FailoverOptions,
): Promise<Result> {
  let opened = false;
  try {
    const result = await operation(gatewayId);
    opened = staysOpen;
    return result;
  } finally {
    if (strategy === "least_loaded") await advise(releaseGateway(db, gatewayId, opened));
  }
}

/** Waits for a report.  Reports help other picks; one that fails does not change this operation's result. */
const advise = (report: Promise<unknown>) => report.catch(() => undefined);
