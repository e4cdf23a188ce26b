import pg from "pg";
import { setTimeout as sleep } from "node:timers/promises";

const EVENTS = `SELECT id, "gatewayId", "oldStatus", "newStatus", reason FROM gateway_health_events WHERE id > $1 ORDER BY id`;

/**
 * Calls `onEvent` for each change of an agent's health after event `lastId`, in order, until
 * `signal` is aborted.
 *
 * A notification only says that there is something to read: one that was sent while there was no
 * connection is lost, its event is not.  So the events are read when the connection is made, at
 * each notification, and each 30 seconds, which also finds a connection that is dead.
 *
 * The connection goes to the server itself: LISTEN does not work through PgBouncer in transaction
 * mode, and not on a standby.
 */
export async function watchHealth(config, lastId, onEvent, signal) {
  while (!signal.aborted) {
    const client = new pg.Client({ ...config, keepAlive: true, query_timeout: 10_000 });
    const lost = new AbortController();
    client.on("error", () => lost.abort());
    client.on("end", () => lost.abort());
    try {
      await client.connect();
      let wake = () => undefined;
      client.on("notification", () => wake());
      lost.signal.addEventListener("abort", () => wake());
      signal.addEventListener("abort", () => wake(), { signal: lost.signal });
      await client.query("LISTEN gateway_health");
      while (!signal.aborted && !lost.signal.aborted) {
        // What arrives during the query wakes the wait that follows it.
        const woken = new Promise((resolve) => (wake = resolve));
        const { rows } = await client.query(EVENTS, [lastId]);
        for (const event of rows) {
          await onEvent(event);
          lastId = event.id;
        }
        if (signal.aborted || lost.signal.aborted) break;
        const timer = setTimeout(wake, 30_000);
        await woken;
        clearTimeout(timer);
      }
    } catch (error) {
      console.warn(`no news of agents: ${error.message}`);
    } finally {
      lost.abort();
      await client.end().catch(() => undefined);
    }
    await sleep(1000, undefined, { signal }).catch(() => undefined);
  }
}
