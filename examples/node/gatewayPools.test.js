// Runs against the database of ../application.sql that PGHOST, PGDATABASE and PGUSER name.

import assert from "node:assert/strict";
import { connect, createServer } from "node:net";
import { after, test } from "node:test";
import createKnex from "knex";
import pg from "pg";
import { createPool, fromKnex, fromPg, pick, TransportFailure, withFailover } from "./gatewayPools.js";
import { watchHealth } from "./watchHealth.js";

const pool = new pg.Pool({ max: 5 });
const knex = createKnex({ client: "pg", connection: {}, pool: { min: 0, max: 5 } });
const drivers = { pg: fromPg(pool), knex: fromKnex(knex) };
const query = drivers.pg;
after(() => Promise.all([pool.end(), knex.destroy()]));

/** An agent that listens on a port of this machine, and answers each connection with its id. */
class Agent {
  static async start(tenant) {
    const agent = new Agent();
    await agent.listen(0);
    const [{ id }] = await query("INSERT INTO agents (tenant, address) VALUES ($1, $2) RETURNING id", [tenant, agent.address]);
    agent.id = id;
    after(() => agent.die());
    return agent;
  }

  async listen(port) {
    this.server = createServer((socket) => socket.on("error", () => undefined).end(this.id));
    await new Promise((resolve, reject) => this.server.on("error", reject).listen(port, "127.0.0.1", resolve));
    this.port = this.server.address().port;
    this.address = `127.0.0.1:${this.port}`;
  }

  die = () => new Promise((resolve) => this.server.close(resolve));
}

/** Returns a tenant with a pool, `office`, of agents that have just reported a heartbeat. */
async function makeOffice(query, count) {
  const [{ id: tenant }] = await query("INSERT INTO tenants DEFAULT VALUES RETURNING id", []);
  const agents = [];
  for (let n = 0; n < count; n++) agents.push(await Agent.start(tenant));
  await createPool(query, tenant, "office", agents.map((agent) => agent.id));
  for (const { id } of agents) await query("SELECT record_gateway_heartbeat($1, '1 hour')", [id]);
  return { tenant, agents };
}

/** The operation of the tests: connects to an agent, and resolves to what that sends. */
async function call(agent) {
  const [{ address }] = await query("SELECT address FROM agents WHERE id = $1", [agent]);
  return new Promise((resolve, reject) => {
    const socket = connect(Number(address.split(":")[1]), "127.0.0.1");
    socket.on("data", (data) => resolve(String(data)));
    socket.on("error", (cause) => reject(new TransportFailure(cause.message, { cause })));
  });
}

for (const [driver, query] of Object.entries(drivers)) {
  test(`${driver}: picks by name`, async () => {
    const { tenant, agents } = await makeOffice(query, 2);
    const [first, second] = agents.map((agent) => agent.id);
    assert.equal(await pick(query, tenant, "office", [first]), second);
    assert.equal(await pick(query, tenant, "office", [first, second]), null);
    await assert.rejects(pick(query, tenant, "attic"), { code: "P0002", constraint: "gateway_pools_not_found" });
  });

  test(`${driver}: goes on through the agent that is left`, async () => {
    const { tenant, agents } = await makeOffice(query, 3);
    await agents[0].die();
    await agents[1].die();
    for (let n = 0; n < 10; n++) assert.equal(await withFailover(query, tenant, "office", call), agents[2].id);
    await agents[2].die();
    await assert.rejects(withFailover(query, tenant, "office", call), TransportFailure);
  });

  test(`${driver}: goes on whatever text the agent sends`, async () => {
    const { tenant, agents } = await makeOffice(query, 2);
    let calls = 0;
    const operation = async (agent) => {
      if (++calls === 1) throw new TransportFailure("it says: \0\ud800\n\u20ac");
      return agent;
    };
    const answer = await withFailover(query, tenant, "office", operation);
    assert.ok(agents.some((agent) => agent.id === answer), "the other agent answers");
    assert.equal(calls, 2);
  });

  test(`${driver}: does not repeat what may have had an effect`, async () => {
    const { tenant } = await makeOffice(query, 2);
    let calls = 0;
    const operation = async () => {
      calls++;
      throw new Error("wrong password");
    };
    await assert.rejects(withFailover(query, tenant, "office", operation), /wrong password/);
    assert.equal(calls, 1);
  });

  test(`${driver}: fails where no agent is eligible`, async () => {
    const { tenant } = await makeOffice(query, 0);
    await assert.rejects(withFailover(query, tenant, "office", call), /no eligible agent/);
  });
}

test("hears what happens to an agent, before and after the connection is lost", { timeout: 120_000 }, async () => {
  const [{ last }] = await query("SELECT coalesce(max(id), 0) AS last FROM gateway_health_events", []);
  const { agents } = await makeOffice(query, 1);
  const [agent] = agents;
  const stop = new AbortController();
  const events = [];
  let heard = () => undefined;
  const watching = watchHealth(
    { application_name: "news", database: process.env.NEWS_DATABASE ?? process.env.PGDATABASE },
    last,
    (event) => {
      if (event.gatewayId === agent.id) events.push(event.newStatus);
      heard();
    },
    stop.signal,
  );
  const isHeard = async (status) => {
    while (events.at(-1) !== status) await new Promise((resolve) => (heard = resolve));
  };

  await query("SELECT set_gateway_probe($1, 'tcp', $2)", [agent.id, agent.address]);
  await isHeard("healthy");
  await agent.die();
  await isHeard("unhealthy");

  const { rowCount } = await pool.query(
    "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE application_name = 'news' AND datname = current_database()",
  );
  assert.equal(rowCount, 1);
  await agent.listen(agent.port);
  await isHeard("healthy");
  assert.deepEqual(events, ["healthy", "unhealthy", "healthy"]);
  stop.abort();
  await watching;
});
