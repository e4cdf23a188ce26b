// What the tests use of Infisical's database, and gateways that really listen.

import knex from "knex";
import { createServer, connect, type AddressInfo, type Server, type Socket } from "node:net";
import { after } from "node:test";
import pg from "pg";
import { addMember, createPool, fromKnex, fromPg, TransportFailure, value } from "../src/index.js";

/** The database that PGHOST, PGDATABASE and PGUSER name, by both drivers. */
export const pgPool = new pg.Pool({ max: 10 });
export const knexPool = knex({ client: "pg", connection: {}, pool: { min: 0, max: 10 } });
export const drivers = { pg: fromPg(pgPool), knex: fromKnex(knexPool) };
const db = drivers.pg;

after(async () => {
  await pgPool.end();
  await knexPool.destroy();
});

let names = 0;
const uniqueName = (kind: string) => `${kind}-${process.pid}-${++names}`;

export async function addOrganization(): Promise<string> {
  return value<string>(db, "SELECT host_test.add_org('public', $1)", [uniqueName("org")]);
}

/** Adds a gateway that sent its heartbeat just now, or one that never did. */
export async function addGateway(orgId: string, heartbeatAge: string | null = "0s"): Promise<string> {
  return value<string>(db, "SELECT host_test.add_gateway('public', $1, $2, $3)", [
    orgId,
    uniqueName("gateway"),
    heartbeatAge,
  ]);
}

export async function addKubernetesAuth(orgId: string): Promise<string> {
  return value<string>(db, "SELECT host_test.add_kubernetes_auth('public', $1, $2)", [orgId, uniqueName("auth")]);
}

export async function attach(authId: string, poolId: string | null): Promise<void> {
  await db.query('UPDATE identity_kubernetes_auths SET "gatewayPoolId" = $2 WHERE id = $1', [authId, poolId]);
}

/** Returns a pool of an organization of its own, with the number of gateways. */
export async function addPool(gateways: number): Promise<{ orgId: string; poolId: string; gatewayIds: string[] }> {
  const orgId = await addOrganization();
  const { id: poolId } = await createPool(db, orgId, uniqueName("pool"));
  const gatewayIds: string[] = [];
  for (let n = 0; n < gateways; n++) {
    const gatewayId = await addGateway(orgId);
    await addMember(db, orgId, poolId, gatewayId);
    gatewayIds.push(gatewayId);
  }
  return { orgId, poolId, gatewayIds };
}

/** A gateway that listens on a port of this machine, and answers each connection with its id. */
export class ListeningGateway {
  private readonly sockets = new Set<Socket>();
  private constructor(
    readonly id: string,
    private readonly server: Server,
  ) {}

  static async start(id: string): Promise<ListeningGateway> {
    const server = createServer();
    const gateway = new ListeningGateway(id, server);
    server.on("connection", (socket) => {
      gateway.sockets.add(socket);
      socket.on("error", () => undefined).on("close", () => gateway.sockets.delete(socket));
      socket.end(id);
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    await db.query('UPDATE gateways_v2 SET "directAddress" = $2, "directHeartbeat" = now() WHERE id = $1', [
      id,
      gateway.address,
    ]);
    return gateway;
  }

  get address(): string {
    return `127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  /** Closes the port and all connections.  The database does not notice. */
  async die(): Promise<void> {
    const closed = new Promise((resolve) => this.server.close(resolve));
    for (const socket of this.sockets) socket.destroy();
    await closed;
  }
}

/** Starts gateways that die at the end of the test file at the latest. */
export async function listen(gatewayIds: string[]): Promise<Map<string, ListeningGateway>> {
  const gateways = new Map<string, ListeningGateway>();
  for (const id of gatewayIds) {
    const gateway = await ListeningGateway.start(id);
    gateways.set(id, gateway);
    after(() => gateway.die().catch(() => undefined));
  }
  return gateways;
}

/** The operation of the tests: connects to a gateway, and returns what that sends. */
export async function call(gatewayId: string): Promise<string> {
  const address = await value<string>(db, 'SELECT "directAddress" FROM gateways_v2 WHERE id = $1', [gatewayId]);
  const [host, port] = address.split(":");
  return new Promise((resolve, reject) => {
    let answer = "";
    const socket = connect(Number(port), host);
    socket.on("data", (data) => (answer += data));
    socket.on("error", (cause) => reject(new TransportFailure(cause.message, { cause })));
    socket.on("close", () => (answer === "" ? reject(new TransportFailure("no answer")) : resolve(answer)));
  });
}

/** Waits until a condition holds. */
export async function until(condition: () => Promise<boolean>): Promise<void> {
  for (let tries = 0; tries < 600; tries++) {
    if (await condition()) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error("the condition did not become true in 30 seconds");
}

export const countBy = (ids: string[]): Map<string, number> => {
  const counts = new Map<string, number>();
  for (const id of ids) counts.set(id, (counts.get(id) ?? 0) + 1);
  return counts;
};
