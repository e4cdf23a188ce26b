// Gateway pools for an application of one's own: README.md has an example.
//
// Each function takes `query(sql, parameters)`, which resolves to the rows of one statement.  It
// runs outside a transaction: a failover would keep one open while it waits for the network.

/** The query function of a pool of connections of `pg`. */
export const fromPg = (pool) => async (sql, parameters) => (await pool.query(sql, parameters)).rows;

/** The query function of Knex, which writes ? where PostgreSQL writes $1.  Parameters are used in order. */
export const fromKnex = (knex) => async (sql, parameters) =>
  (await knex.raw(sql.replace(/\$\d+/g, "?"), parameters)).rows;

/** Thrown by an operation that could not reach its agent, before anything was sent through it. */
export class TransportFailure extends Error {
  name = "TransportFailure";
}

/** Makes a pool of agents, and resolves to its id. */
export async function createPool(query, tenant, name, agents) {
  const [{ id }] = await query("SELECT id FROM create_gateway_pool($1, $2)", [tenant, name]);
  await query("SELECT set_gateway_pool_members($1, $2, $3)", [tenant, id, agents]);
  return id;
}

/** Resolves to an eligible agent of a pool, or to null if there is none. */
export async function pick(query, tenant, name, exclude = []) {
  const [{ agent }] = await query(
    "SELECT pick_healthy_gateway(gateway_pool_id($1, $2), exclude => $3, null_if_none => true) AS agent",
    [tenant, name, exclude],
  );
  return agent;
}

/**
 * Runs an operation through an agent of a pool, and resolves to its result.  After a
 * TransportFailure, reports it and tries another agent: at most three in all.  Any other error
 * ends it, because the operation may have had an effect.
 */
export async function withFailover(query, tenant, name, operation) {
  const tried = [];
  let failure = new Error(`pool ${name} has no eligible agent`);
  while (tried.length < 3) {
    const agent = await pick(query, tenant, name, tried);
    if (agent === null) break;
    try {
      return await operation(agent);
    } catch (error) {
      if (!(error instanceof TransportFailure)) throw error;
      failure = error;
      tried.push(agent);
      // The message may have a text of the agent: nothing in it must make the report fail.
      const reason = error.message.replace(/[^ -~]/g, " ");
      await query("SELECT report_gateway_failure($1, $2)", [agent, reason]);
    }
  }
  throw failure;
}
