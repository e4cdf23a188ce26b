
-- Management: one function an endpoint.  Each asks for the privilege that its
-- action takes, and for nothing else; the triggers hold the rules.

CREATE FUNCTION @extschema@.create_gateway_pool(
    org_id uuid,
    OUT id uuid,
    OUT "orgId" uuid,
    INOUT name text,
    OUT "createdAt" timestamptz,
    OUT "updatedAt" timestamptz)
    LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.create_gateway_pool(uuid, text) IS
    'makes a pool of an organization; the name is trimmed and lower-cased first';

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
        "connectedResourcesCount" bigint,
        health text,
        label text)
    LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.list_gateway_pools(uuid) IS
    'the pools of an organization with their health, by name';

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
    'a pool of an organization and its gateways: id, name, heartbeat, status, reason';

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
    'renames a pool of an organization; NULL leaves the name';

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
    'deletes a pool of an organization; refused (23503) while a consumer references it';

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
    'makes a gateway a member of a pool, both of the organization; weight 0 to 1000, lower priorities are picked first';

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
    'ends a gateway''s membership in a pool of the organization';

CREATE FUNCTION @extschema@.get_gateway_pool_resources(org_id uuid, pool_id uuid) RETURNS jsonb
    LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.get_gateway_pool_resources(uuid, uuid) IS
    'what is reached through a pool of an organization: an object with a key for each consumer, and in it an array of rows, '
    'or null where the consumer is locked';
