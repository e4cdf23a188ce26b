import type { Knex } from "knex";
import type { ClientBase, Pool } from "pg";

/**
 * What this module needs of a database: run one statement, in which $1, $2, ... stand for the
 * parameters, and return its rows.
 *
 * Connect it to the primary.  A replica learns of a new pool or member later, does not know the
 * failures, loads and reservations that were reported to the primary, and cannot write.
 */
export interface Database {
  query<Row>(sql: string, parameters?: readonly unknown[]): Promise<Row[]>;
}

/** Runs each statement on a free connection of a pool, or on the connection of a client. */
export const fromPg = (client: Pool | ClientBase): Database => ({
  async query<Row>(sql: string, parameters: readonly unknown[] = []) {
    const { rows } = await client.query(sql, [...parameters]);
    return rows as Row[];
  },
});

/** Runs each statement with Knex, or in the transaction of Knex. */
export const fromKnex = (knex: Knex): Database => ({
  async query<Row>(sql: string, parameters: readonly unknown[] = []) {
    const bindings: unknown[] = [];
    // Knex writes ? where PostgreSQL writes $1, in the order of the values.
    const text = sql.replace(/\$(\d+)/g, (_, place) => {
      bindings.push(parameters[Number(place) - 1]);
      return "?";
    });
    const { rows } = await knex.raw(text, bindings as Knex.RawBinding[]);
    return rows as Row[];
  },
});

/** Returns the row of a statement that returns exactly one. */
export async function one<Row>(db: Database, sql: string, parameters: readonly unknown[]): Promise<Row> {
  const [row] = await db.query<Row>(sql, parameters);
  if (row === undefined) throw new Error(`no row: ${sql}`);
  return row;
}

/** Returns the one value of a statement that returns one row with one column. */
export async function value<Value>(db: Database, sql: string, parameters: readonly unknown[]): Promise<Value> {
  return Object.values(await one<Record<string, Value>>(db, sql, parameters))[0] as Value;
}

/**
 * Records in the audit log who is behind the changes of a transaction.  Without a transaction the
 * setting ends with this statement, so that the next user of a pooled connection never inherits it.
 */
export async function setActor(transaction: Database, actor: string): Promise<void> {
  await transaction.query("SELECT set_config('gateway_pool.actor', $1, true)", [actor]);
}
