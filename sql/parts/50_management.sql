
-- Management: one function an endpoint.  Each asks for the privilege that its
-- action takes, and for nothing else; the triggers hold the rules.

CREATE FUNCTION create_gateway_pool(
    org_id uuid,
    OUT id uuid,
    OUT "orgId" uuid,
    INOUT name text,
    OUT "createdAt" timestamptz,
    OUT "updatedAt" timestamptz)
    LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'gateway_pool_create';
COMMENT ON FUNCTION create_gateway_pool(uuid, text) IS
    'makes a pool of an organization; the name is trimmed and lower-cased first';

CREATE FUNCTION list_gateway_pools(org_id uuid)
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
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    PERFORM @extschema@.require_gateway_pool_plan(org_id);
    RETURN QUERY
        SELECT s.id, s."orgId", s.name, s."createdAt", s."updatedAt", s."memberCount", s."healthyMemberCount",
               s."memberGatewayIds", s."connectedResourcesCount", s.health, s.label
          FROM @extschema@.gateway_pool_status(list_gateway_pools.org_id, NULL::uuid) s
         ORDER BY s.name;
END
$$;
COMMENT ON FUNCTION list_gateway_pools(uuid) IS
    'the pools of an organization with their health, by name';

CREATE FUNCTION get_gateway_pool(
    org_id uuid,
    pool_id uuid,
    OUT id uuid,
    OUT "orgId" uuid,
    OUT name text,
    OUT "createdAt" timestamptz,
    OUT "updatedAt" timestamptz,
    OUT gateways jsonb)
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    PERFORM @extschema@.require_gateway_pool(org_id, pool_id);
    SELECT s.id, s."orgId", s.name, s."createdAt", s."updatedAt"
      INTO id, "orgId", name, "createdAt", "updatedAt"
      FROM @extschema@.gateway_pool_status(get_gateway_pool.org_id, get_gateway_pool.pool_id) s;
    SELECT coalesce(jsonb_agg(jsonb_build_object(
               'id', m."gatewayId",
               'name', m.name,
               'heartbeat', m."lastHeartbeatAt",
               'status', m.status,
               'reason', m.reason) ORDER BY m.name), '[]')
      INTO gateways
      FROM @extschema@.gateway_pool_members(get_gateway_pool.org_id, get_gateway_pool.pool_id) m;
END
$$;
COMMENT ON FUNCTION get_gateway_pool(uuid, uuid) IS
    'a pool of an organization and its gateways: id, name, heartbeat, status, reason';

CREATE FUNCTION update_gateway_pool(
    org_id uuid,
    pool_id uuid,
    OUT id uuid,
    OUT "orgId" uuid,
    INOUT name text,
    OUT "createdAt" timestamptz,
    OUT "updatedAt" timestamptz)
    LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'gateway_pool_update';
COMMENT ON FUNCTION update_gateway_pool(uuid, uuid, text) IS
    'renames a pool of an organization; NULL leaves the name';

CREATE FUNCTION delete_gateway_pool(
    org_id uuid,
    pool_id uuid,
    OUT id uuid,
    OUT "orgId" uuid,
    OUT name text,
    OUT "createdAt" timestamptz,
    OUT "updatedAt" timestamptz)
    LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'gateway_pool_delete';
COMMENT ON FUNCTION delete_gateway_pool(uuid, uuid) IS
    'deletes a pool of an organization; refused (23503) while a consumer references it';

CREATE FUNCTION add_gateway_to_pool(
    org_id uuid,
    pool_id uuid,
    gateway_id uuid,
    OUT id uuid,
    OUT "gatewayPoolId" uuid,
    OUT "gatewayId" uuid,
    INOUT weight int DEFAULT 1,
    INOUT priority int DEFAULT 0,
    OUT "createdAt" timestamptz)
    LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'gateway_pool_add_gateway';
COMMENT ON FUNCTION add_gateway_to_pool(uuid, uuid, uuid, int, int) IS
    'makes a gateway a member of a pool, both of the organization; weight 0 to 1000, lower priorities are picked first';

CREATE FUNCTION remove_gateway_from_pool(
    org_id uuid,
    pool_id uuid,
    gateway_id uuid,
    OUT id uuid,
    OUT "gatewayPoolId" uuid,
    OUT "gatewayId" uuid,
    OUT "createdAt" timestamptz)
    LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'gateway_pool_remove_gateway';
COMMENT ON FUNCTION remove_gateway_from_pool(uuid, uuid, uuid) IS
    'ends a gateway''s membership in a pool of the organization';

CREATE FUNCTION get_gateway_pool_resources(org_id uuid, pool_id uuid) RETURNS jsonb
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM @extschema@.require_gateway_pool(org_id, pool_id);
    RETURN @extschema@.gateway_pool_resources(pool_id);
END
$$;
COMMENT ON FUNCTION get_gateway_pool_resources(uuid, uuid) IS
    'what is reached through a pool of an organization: an object with a key for each consumer and an array of rows in it';
