
-- Entitlement, and valid pool names.

CREATE FUNCTION @extschema@.get_gateway_pool_plan(
    org_id uuid,
    OUT "gatewayPool" boolean,
    OUT "expiresAt" timestamptz,
    OUT "maxPools" int,
    OUT "usedPools" int,
    OUT "maxGatewaysPerPool" int)
    LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.get_gateway_pool_plan(uuid) IS
    'returns the current entitlement of an organization and the number of pools that it has; a limit of -1 means no '
    'limit';

CREATE FUNCTION @extschema@.is_gateway_pool_name(name text) RETURNS boolean
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.is_gateway_pool_name(text) IS
    'returns true for a valid pool name: 1 to 32 characters from a-z and 0-9, with single hyphens between them';
