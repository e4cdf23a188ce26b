import assert from "node:assert/strict";
import { test } from "node:test";
import { listMembers, pickGateway, releaseGateway, reportLoad, runWithFailover } from "../src/index.js";
import { addPool, call, countBy, drivers, listen } from "./host.js";

const leastLoaded = { strategy: "least_loaded" } as const;

for (const [driver, db] of Object.entries(drivers)) {
  test(`${driver}: 300 concurrent picks go evenly to gateways with equal load`, async () => {
    const { orgId, poolId, gatewayIds } = await addPool(3);
    for (const id of gatewayIds) await reportLoad(db, id, 5);

    const picked = await Promise.all(Array.from({ length: 300 }, () => pickGateway(db, poolId, leastLoaded)));
    assert.deepEqual([...countBy(picked).values()], [100, 100, 100]);
    for (const { activeConnections, reservations } of await listMembers(db, orgId, poolId)) {
      assert.deepEqual({ activeConnections, reservations }, { activeConnections: 5, reservations: 100 });
    }

    const released = await Promise.all(picked.map((id) => releaseGateway(db, id, false)));
    assert.ok(released.every((wasReserved) => wasReserved));
    assert.equal(await releaseGateway(db, gatewayIds[0]!, false), false);
  });

  test(`${driver}: the gateway with the least load is picked`, async () => {
    const { poolId, gatewayIds } = await addPool(2);
    const [busy, free] = gatewayIds as [string, string];
    await reportLoad(db, busy, 40);
    await reportLoad(db, free, 10);
    const picked = await Promise.all(Array.from({ length: 30 }, () => pickGateway(db, poolId, leastLoaded)));
    assert.ok(picked.every((id) => id === free));
    assert.deepEqual(countBy(await Promise.all([1, 2].map(() => pickGateway(db, poolId, leastLoaded)))).size, 2);
  });

  test(`${driver}: operations release what they reserved, also after a failover`, async () => {
    const { orgId, poolId, gatewayIds } = await addPool(3);
    const gateways = await listen(gatewayIds);
    for (const id of gatewayIds) await reportLoad(db, id, 0);
    await gateways.get(gatewayIds[0]!)?.die();

    const used = await Promise.all(Array.from({ length: 100 }, () => runWithFailover(db, poolId, call, leastLoaded)));
    assert.deepEqual(new Set(used), new Set(gatewayIds.slice(1)));
    for (const { reservations, gatewayId } of await listMembers(db, orgId, poolId)) {
      assert.equal(reservations, 0, gatewayId);
    }
  });

  test(`${driver}: a connection that stays open counts until the gateway's next report`, async () => {
    const { orgId, poolId, gatewayIds } = await addPool(2);
    for (const id of gatewayIds) await reportLoad(db, id, 0);
    const sessions: string[] = [];
    for (let n = 0; n < 10; n++) {
      sessions.push(await runWithFailover(db, poolId, async (id) => id, { ...leastLoaded, staysOpen: true }));
    }
    assert.deepEqual([...countBy(sessions).values()], [5, 5]);
    for (const { reservations } of await listMembers(db, orgId, poolId)) assert.equal(reservations, 0);
  });
}
