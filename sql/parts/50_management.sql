
-- Management: one function per endpoint.  Each checks only the privilege that its action needs; the
-- triggers enforce the rules.

CREATE FUNCTION @extschema@.create_gateway_pool(
    org_id uuid,
    OUT id uuid,
    OUT "orgId" uuid,
    INOUT name text,
    OUT "createdAt" timestamptz,
    OUT "updatedAt" timestamptz)
    LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.create_gateway_pool(uuid, text) IS
    'creates a pool in an organization and returns it; the name is trimmed and lower-cased first';

CREATE FUNCTION @extschema@.list_gateway_pools(org_id uuid)
    RETURNS TABLE (
        id uuid,
        "orgId" uuid,
        name text,
        "createdAt" timestamptz,
        "updatedAt" timestamptz,
        "memberCount" int,
        "healthyMemberCount" int,
        "memberGatewayIds" uuid[],
        "connectedResourcesCount" int,
        health text,
        label text)
    LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.list_gateway_pools(uuid) IS
    'returns the pools of an organization with their health, ordered by name';

CREATE FUNCTION @extschema@.get_gateway_pool(
    org_id uuid,
    pool_id uuid,
    OUT id uuid,
    OUT "orgId" uuid,
    OUT name text,
    OUT "createdAt" timestamptz,
    OUT "updatedAt" timestamptz,
    OUT gateways jsonb)
    LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.get_gateway_pool(uuid, uuid) IS
    'returns a pool of an organization and its gateways, a JSON array of id, name, heartbeat, heartbeatTTL, status and '
    'reason; '
    'raises P0002 for an unknown pool';

CREATE FUNCTION @extschema@.update_gateway_pool(
    org_id uuid,
    pool_id uuid,
    OUT id uuid,
    OUT "orgId" uuid,
    INOUT name text,
    OUT "createdAt" timestamptz,
    OUT "updatedAt" timestamptz)
    LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.update_gateway_pool(uuid, uuid, text) IS
    'renames a pool of an organization and returns it; a NULL name changes nothing';

CREATE FUNCTION @extschema@.delete_gateway_pool(
    org_id uuid,
    pool_id uuid,
    OUT id uuid,
    OUT "orgId" uuid,
    OUT name text,
    OUT "createdAt" timestamptz,
    OUT "updatedAt" timestamptz)
    LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.delete_gateway_pool(uuid, uuid) IS
    'deletes a pool of an organization and returns it; raises 23503 while a consumer references it';

CREATE FUNCTION @extschema@.add_gateway_to_pool(
    org_id uuid,
    pool_id uuid,
    gateway_id uuid,
    OUT id uuid,
    OUT "gatewayPoolId" uuid,
    OUT "gatewayId" uuid,
    INOUT weight int DEFAULT 1,
    INOUT priority int DEFAULT 0,
    OUT "createdAt" timestamptz)
    LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.add_gateway_to_pool(uuid, uuid, uuid, int, int) IS
    'adds a gateway to a pool of the same organization and returns the membership; weight is 0 to 1000, lower '
    'priorities are picked first';

CREATE FUNCTION @extschema@.remove_gateway_from_pool(
    org_id uuid,
    pool_id uuid,
    gateway_id uuid,
    OUT id uuid,
    OUT "gatewayPoolId" uuid,
    OUT "gatewayId" uuid,
    OUT "createdAt" timestamptz)
    LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.remove_gateway_from_pool(uuid, uuid, uuid) IS
    'removes a gateway from a pool of an organization and returns the former membership';

CREATE FUNCTION @extschema@.set_gateway_pool_members(
    org_id uuid,
    pool_id uuid,
    gateway_ids uuid[],
    OUT added uuid[],
    OUT removed uuid[])
    LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.set_gateway_pool_members(uuid, uuid, uuid[]) IS
    'makes these gateways the members of a pool and returns those that it added and removed; members that stay keep '
    'weight and priority; idempotent';

CREATE FUNCTION @extschema@.gateway_pool_id(org_id uuid, name text) RETURNS uuid
    LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.gateway_pool_id(uuid, text) IS
    'returns the id of the pool of a name in an organization; raises P0002 if there is none';

CREATE FUNCTION @extschema@.gateway_id(org_id uuid, name text) RETURNS uuid
    LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.gateway_id(uuid, text) IS
    'returns the id of the gateway of a name in an organization; raises P0002 if there is none, 21000 if there are several';

CREATE FUNCTION @extschema@.get_gateway_pool_resources(org_id uuid, pool_id uuid) RETURNS jsonb
    LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.get_gateway_pool_resources(uuid, uuid) IS
    'returns the rows that reference a pool of an organization, with their projects: a JSON object with one key per '
    'consumer, whose value is an array, or null if the consumer is locked';

CREATE FUNCTION @extschema@.gateway_dependents(gateway_id uuid)
    RETURNS TABLE (
        kind text,
        consumer regclass,
        id text,
        name text,
        "gatewayPoolId" uuid,
        "poolName" text,
        "onlyEligible" boolean)
    LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.gateway_dependents(uuid) IS
    'returns what depends on a gateway: the pools of which it is a member (kind pool), and the rows of consumers that '
    'are reached through these or, without a pool, through the gateway itself (kind resource); "onlyEligible" is true '
    'if the gateway is the only eligible member of the pool';
