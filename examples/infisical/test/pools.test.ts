import assert from "node:assert/strict";
import { test } from "node:test";
import * as pools from "../src/index.js";
import { addGateway, addKubernetesAuth, addOrganization, addPool, attach, drivers, knexPool, pgPool } from "./host.js";

for (const [driver, db] of Object.entries(drivers)) {
  test(`${driver}: lists the pools of an organization by name`, async () => {
    const orgId = await addOrganization();
    const gatewayIds = [await addGateway(orgId), await addGateway(orgId, null)];
    const west = await pools.createPool(db, orgId, "  EU-West ");
    await pools.createPool(db, orgId, "eu-east");
    for (const id of gatewayIds) await pools.addMember(db, orgId, west.id, id);
    await attach(await addKubernetesAuth(orgId), west.id);

    const [east, listed] = await pools.listPools(db, orgId);
    assert.equal(east?.name, "eu-east");
    assert.equal(east.health, "empty");
    assert.deepEqual(east.memberGatewayIds, []);
    assert.ok(listed);
    assert.deepEqual([...listed.memberGatewayIds].sort(), [...gatewayIds].sort());
    assert.ok(listed.createdAt instanceof Date);
    const { name, memberCount, healthyMemberCount, connectedResourcesCount, health, label } = listed;
    assert.deepEqual(
      { name, memberCount, healthyMemberCount, connectedResourcesCount, health, label },
      {
        name: "eu-west",
        memberCount: 2,
        healthyMemberCount: 1,
        connectedResourcesCount: 1,
        health: "yellow",
        label: "1/2 healthy",
      },
    );
  });

  test(`${driver}: finds, renames and deletes a pool`, async () => {
    const orgId = await addOrganization();
    const { id } = await pools.createPool(db, orgId, "production");
    assert.equal(await pools.poolIdOf(db, orgId, "production"), id);
    assert.equal((await pools.renamePool(db, orgId, id, "staging")).name, "staging");
    assert.equal((await pools.deletePool(db, orgId, id)).id, id);
    assert.deepEqual(await pools.listPools(db, orgId), []);
  });

  test(`${driver}: lists the members and the resources of a pool`, async () => {
    const { orgId, poolId, gatewayIds } = await addPool(2);
    const authId = await addKubernetesAuth(orgId);
    await attach(authId, poolId);

    const members = await pools.listMembers(db, orgId, poolId);
    assert.deepEqual(members.map((member) => member.gatewayId).sort(), [...gatewayIds].sort());
    for (const { status, state, reason, pickWeight, pickPriority, lastHeartbeatAt } of members) {
      assert.deepEqual(
        { status, state, reason, pickWeight, pickPriority },
        { status: "healthy", state: "active", reason: "heartbeat fresh", pickWeight: 1, pickPriority: 0 },
      );
      assert.ok(lastHeartbeatAt instanceof Date);
    }
    const resources = await pools.listResources(db, orgId, poolId);
    assert.deepEqual(
      resources["kubernetesAuths"]?.map((auth) => auth["id"]),
      [authId],
    );

    const removed = await pools.removeMember(db, orgId, poolId, gatewayIds[0]!);
    assert.equal(removed.gatewayId, gatewayIds[0]);
    assert.equal((await pools.listMembers(db, orgId, poolId)).length, 1);
  });

  test(`${driver}: picks by list, by key, by capability, and resolves a resource's gateway`, async () => {
    const { orgId, poolId, gatewayIds } = await addPool(3);
    const [first, second] = gatewayIds as [string, string];

    const order = await pools.pickGateways(db, poolId, 5);
    assert.deepEqual([...order].sort(), [...gatewayIds].sort());
    assert.deepEqual(await pools.pickGateways(db, poolId, 5, { exclude: order.slice(1) }), [order[0]]);

    const sticky = { strategy: "sticky", stickyKey: "session 4711" } as const;
    const picked = await pools.pickGateway(db, poolId, sticky);
    for (let n = 0; n < 5; n++) assert.equal(await pools.pickGateway(db, poolId, sticky), picked);

    await db.query("UPDATE gateways_v2 SET capabilities = $2 WHERE id = $1", [second, '{"pkcs11": true, "ssh": 1}']);
    assert.equal(await pools.pickGateway(db, poolId, { capabilities: { pkcs11: true } }), second);
    assert.equal(await pools.pickGatewayOrNull(db, poolId, { capabilities: { pkcs11: false } }), null);

    const direct = await addGateway(orgId, null);
    assert.equal(await pools.resolveGateway(db, direct, null), direct);
    assert.equal(await pools.resolveGateway(db, first, poolId), first);
    assert.ok(gatewayIds.includes(await pools.resolveGateway(db, null, poolId)));
  });

  test(`${driver}: a reported heartbeat makes a gateway healthy`, async () => {
    const { orgId, poolId } = await addPool(0);
    const gatewayId = await addGateway(orgId, null);
    await pools.addMember(db, orgId, poolId, gatewayId);
    assert.equal(await pools.pickGatewayOrNull(db, poolId), null);
    await pools.recordHeartbeat(db, gatewayId, 60);
    assert.equal(await pools.pickGateway(db, poolId), gatewayId);
  });
}

test("a transaction of each driver picks from what it wrote, and a rollback undoes it", async () => {
  const { orgId, poolId, gatewayIds } = await addPool(1);
  const added = await addGateway(orgId);
  const pickAdded = async (db: pools.Database) => {
    await pools.addMember(db, orgId, poolId, added);
    assert.equal(await pools.pickGateway(db, poolId, { exclude: gatewayIds }), added);
  };

  const client = await pgPool.connect();
  await client.query("BEGIN");
  await pickAdded(pools.fromPg(client));
  await client.query("ROLLBACK");
  client.release();

  const undo = new Error("undo");
  const transaction = knexPool.transaction(async (trx) => {
    await pickAdded(pools.fromKnex(trx));
    throw undo;
  });
  await assert.rejects(transaction, undo);
  assert.equal(await pools.pickGatewayOrNull(drivers.pg, poolId, { exclude: gatewayIds }), null);
});

test("the audit log has the actor of the transaction, and a pooled connection forgets it", async () => {
  const orgId = await addOrganization();
  const actorsOf = async () =>
    drivers.pg.query<{ actor: string }>(
      `SELECT actor FROM gateway_pool.gateway_pool_audit_logs WHERE "orgId" = $1 ORDER BY id`,
      [orgId],
    );

  await knexPool.transaction(async (trx) => {
    const db = pools.fromKnex(trx);
    await pools.setActor(db, "user 4711");
    await pools.createPool(db, orgId, "first");
  });

  const client = await pgPool.connect();
  const db = pools.fromPg(client);
  await client.query("BEGIN");
  await pools.setActor(db, "user 4712");
  await pools.createPool(db, orgId, "second");
  await client.query("COMMIT");
  await pools.createPool(db, orgId, "third");
  client.release();

  assert.deepEqual(
    (await actorsOf()).map(({ actor }) => actor || null),
    ["user 4711", "user 4712", null],
  );
});
