import assert from "node:assert/strict";
import { test } from "node:test";
import { listMembers, pickGateway, runWithFailover, TransportFailure } from "../src/index.js";
import { addPool, call, drivers, listen, until } from "./host.js";

for (const [driver, db] of Object.entries(drivers)) {
  test(`${driver}: goes on through another member when a gateway has died`, async () => {
    const { orgId, poolId, gatewayIds } = await addPool(3);
    const gateways = await listen(gatewayIds);
    assert.ok(gatewayIds.includes(await runWithFailover(db, poolId, call)));

    // Until one of the dead ones is met, only the database's heartbeats speak for them.
    const [alive, ...dead] = gatewayIds as [string, ...string[]];
    for (const id of dead) await gateways.get(id)?.die();
    for (let n = 0; n < 20; n++) assert.equal(await runWithFailover(db, poolId, call), alive);

    const members = await listMembers(db, orgId, poolId);
    const suspects = members.filter((member) => member.status === "degraded");
    assert.ok(suspects.length > 0);
    for (const { gatewayId, reason } of suspects) {
      assert.ok(dead.includes(gatewayId));
      assert.match(reason, /^suspect: connect ECONNREFUSED/);
    }
  });

  test(`${driver}: operations under way all succeed while a gateway dies`, async () => {
    const { poolId, gatewayIds } = await addPool(3);
    const gateways = await listen(gatewayIds);
    const mortal = gatewayIds[0]!;
    let ended = 0;
    const used = await Promise.all(
      Array.from({ length: 200 }, async () => {
        const answer = await runWithFailover(db, poolId, call);
        if (++ended === 50) await gateways.get(mortal)?.die();
        return answer;
      }),
    );
    assert.deepEqual(new Set(used), new Set(gatewayIds));
  });

  test(`${driver}: throws the last failure when every member, or every attempt, has failed`, async () => {
    const { poolId, gatewayIds } = await addPool(3);
    for (const gateway of (await listen(gatewayIds)).values()) await gateway.die();
    const tried: string[] = [];
    const operation = (gatewayId: string) => {
      tried.push(gatewayId);
      return call(gatewayId);
    };

    await assert.rejects(runWithFailover(db, poolId, operation, { attempts: 9 }), TransportFailure);
    assert.deepEqual([...tried].sort(), [...gatewayIds].sort());

    tried.length = 0;
    await assert.rejects(runWithFailover(db, poolId, operation, { attempts: 2 }), TransportFailure);
    assert.equal(new Set(tried).size, 2);
  });

  test(`${driver}: tries nothing again but a transport failure`, async () => {
    const { orgId, poolId } = await addPool(2);
    let calls = 0;
    const operation = async () => {
      calls++;
      throw new Error("wrong password");
    };
    await assert.rejects(runWithFailover(db, poolId, operation), /wrong password/);
    assert.equal(calls, 1);
    assert.ok((await listMembers(db, orgId, poolId)).every((member) => member.status === "healthy"));
  });

  test(`${driver}: fails at once where no member is eligible`, async () => {
    const { poolId } = await addPool(0);
    await assert.rejects(runWithFailover(db, poolId, call), { constraint: "gateway_pools_no_eligible_member" });
  });
}

test("a report that fails does not stop the failover", async () => {
  const { poolId, gatewayIds } = await addPool(2);
  const gateways = await listen(gatewayIds);
  const [alive, dead] = gatewayIds as [string, string];
  await gateways.get(dead)?.die();
  const reportless = {
    query: <Row>(sql: string, parameters?: readonly unknown[]) =>
      sql.includes("report_gateway_failure")
        ? Promise.reject(new Error("shared memory is full"))
        : drivers.pg.query<Row>(sql, parameters),
  };
  for (let n = 0; n < 10; n++) assert.equal(await runWithFailover(reportless, poolId, call), alive);
});

test("a gateway that is probed is left out soon after its death, and picked again when it returns", async () => {
  const { poolId, gatewayIds } = await addPool(2);
  const gateways = await listen(gatewayIds);
  const [alive, mortal] = gatewayIds as [string, string];
  for (const [id, { address }] of gateways) {
    await drivers.pg.query("SELECT gateway_pool.set_gateway_probe($1, 'tcp', $2)", [id, address]);
  }
  const picks = () => Promise.all(Array.from({ length: 20 }, () => pickGateway(drivers.knex, poolId)));

  await until(async () => new Set(await picks()).size === 2);
  await gateways.get(mortal)?.die();
  await until(async () => (await picks()).every((id) => id === alive));

  // It returns on another port, and its probe goes there.
  const returned = (await listen([mortal])).get(mortal);
  await drivers.pg.query("SELECT gateway_pool.set_gateway_probe($1, 'tcp', $2)", [mortal, returned?.address]);
  await until(async () => (await picks()).includes(mortal));
});
