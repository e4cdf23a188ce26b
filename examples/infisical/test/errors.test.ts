import assert from "node:assert/strict";
import { test } from "node:test";
import * as pools from "../src/index.js";
import { addGateway, addKubernetesAuth, addOrganization, addPool, attach, drivers } from "./host.js";

/** Returns the HTTP error of a statement that must fail. */
async function httpErrorOf(statement: Promise<unknown>): Promise<pools.HttpError | undefined> {
  try {
    await statement;
  } catch (error) {
    return pools.toHttpError(error);
  }
  return assert.fail("the statement did not fail");
}

for (const [driver, db] of Object.entries(drivers)) {
  const answers = async (statement: Promise<unknown>, status: number, code: string) => {
    const error = await httpErrorOf(statement);
    assert.deepEqual({ status: error?.status, code: error?.code }, { status, code });
    return error;
  };
  const setPlan = (orgId: string, enabled: boolean, maxPools = -1, maxGatewaysPerPool = -1) =>
    db.query("SELECT gateway_pool.set_gateway_pool_entitlement($1, $2, $3, $4)", [
      orgId,
      enabled,
      maxPools,
      maxGatewaysPerPool,
    ]);
  const setDirect = (authId: string, gatewayId: string) =>
    db.query('UPDATE identity_kubernetes_auths SET "gatewayV2Id" = $2 WHERE id = $1', [authId, gatewayId]);

  test(`${driver}: 400 for what the plan does not allow`, async () => {
    const { orgId, poolId, gatewayIds } = await addPool(1);
    const gatewayId = await addGateway(orgId);
    await setPlan(orgId, true, 1, 1);
    await answers(pools.createPool(db, orgId, "second"), 400, "gateway_pools_max_per_org");
    await answers(pools.addMember(db, orgId, poolId, gatewayId), 400, "gateway_pool_memberships_max_per_pool");
    await setPlan(orgId, false);
    await answers(pools.createPool(db, orgId, "second"), 400, "gateway_pools_entitlement");
    await answers(attach(await addKubernetesAuth(orgId), poolId), 400, "gateway_pools_entitlement");
    assert.equal(await pools.pickGateway(db, poolId), gatewayIds[0]);
  });

  test(`${driver}: 400 for values that are not allowed`, async () => {
    const { orgId, poolId, gatewayIds } = await addPool(1);
    await answers(pools.createPool(db, orgId, "two words"), 400, "gateway_pools_name_check");
    await answers(
      db.query('UPDATE gateway_pool_memberships SET "pickWeight" = 1001 WHERE "gatewayPoolId" = $1', [poolId]),
      400,
      "gateway_pool_memberships_pickWeight_check",
    );
    await answers(
      db.query("SELECT gateway_pool.set_gateway_probe($1, 'tcp', 'no address')", [gatewayIds[0]]),
      400,
      "gateway_pool_probes_address_check",
    );
  });

  test(`${driver}: 400 for a gateway beside a pool, and where the policy requires pools`, async () => {
    const { orgId, poolId, gatewayIds } = await addPool(1);
    const authId = await addKubernetesAuth(orgId);
    await answers(
      db.query('UPDATE identity_kubernetes_auths SET "gatewayPoolId" = $2, "gatewayV2Id" = $3 WHERE id = $1', [
        authId,
        poolId,
        gatewayIds[0],
      ]),
      400,
      "gateway_pools_one_route",
    );
    await db.query('UPDATE organizations SET "requireGatewayPools" = true WHERE id = $1', [orgId]);
    await answers(setDirect(authId, gatewayIds[0]!), 400, "gateway_pools_required");
  });

  test(`${driver}: 400 without an eligible member, with the reasons`, async () => {
    const { orgId, poolId } = await addPool(0);
    await pools.addMember(db, orgId, poolId, await addGateway(orgId, null));
    const error = await answers(pools.pickGateway(db, poolId), 400, "gateway_pools_no_eligible_member");
    assert.match(error?.detail ?? "", /unknown/);
  });

  test(`${driver}: 404 for what does not exist in the organization`, async () => {
    const { orgId, poolId, gatewayIds } = await addPool(1);
    const foreign = await addPool(1);
    const missing = "00000000-0000-0000-0000-000000000000";
    const code = "gateway_pools_not_found";
    await answers(pools.pickGateway(db, missing), 404, code);
    await answers(pools.poolIdOf(db, orgId, "no-such-pool"), 404, code);
    await answers(pools.deletePool(db, orgId, foreign.poolId), 404, code);
    await answers(pools.renamePool(db, orgId, missing, "x"), 404, code);
    await answers(pools.addMember(db, orgId, poolId, foreign.gatewayIds[0]!), 404, code);
    await answers(pools.removeMember(db, orgId, poolId, foreign.gatewayIds[0]!), 404, code);
    await answers(pools.listResources(db, orgId, foreign.poolId), 404, code);

    const authId = await addKubernetesAuth(orgId);
    await answers(attach(authId, foreign.poolId), 404, "gateway_pools_same_org");
    await answers(setDirect(authId, foreign.gatewayIds[0]!), 404, "gateway_pools_same_org");
    await setDirect(authId, gatewayIds[0]!);
  });

  test(`${driver}: 409 for a duplicate and for a pool in use`, async () => {
    const { orgId, poolId, gatewayIds } = await addPool(1);
    const authId = await addKubernetesAuth(orgId);
    const { name } = await pools.createPool(db, orgId, "twice");
    await answers(pools.createPool(db, orgId, name), 409, "gateway_pools_orgid_name_unique");
    await answers(
      pools.addMember(db, orgId, poolId, gatewayIds[0]!),
      409,
      "gateway_pool_memberships_gatewaypoolid_gatewayid_unique",
    );
    await attach(authId, poolId);
    await answers(pools.deletePool(db, orgId, poolId), 409, "gateway_pools_in_use");
    await attach(authId, null);
    await pools.deletePool(db, orgId, poolId);
  });

  test(`${driver}: no answer for errors of others`, async () => {
    assert.equal(await httpErrorOf(db.query("SELECT 1 / 0")), undefined);
    assert.equal(await httpErrorOf(pools.pickGateway(db, "no uuid")), undefined);
    assert.equal(
      await httpErrorOf(db.query("INSERT INTO organizations (name, slug) SELECT name, NULL FROM organizations")),
      undefined,
    );
  });
}

test("an error is found in its wrappers", async () => {
  const answer = await httpErrorOf(pools.createPool(drivers.pg, await addOrganization(), "-"));
  const error = await pools.createPool(drivers.pg, await addOrganization(), "-").catch((caught) => caught);
  assert.deepEqual(pools.toHttpError({ name: "DatabaseError", error }), answer);
  assert.deepEqual(pools.toHttpError(new Error("cannot create", { cause: error })), answer);
  assert.equal(pools.toHttpError(undefined), undefined);
  assert.equal(pools.toHttpError("gateway_pools_in_use"), undefined);
});
