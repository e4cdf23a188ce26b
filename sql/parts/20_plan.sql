
-- What an organization's plan allows, and what management functions check first.

CREATE FUNCTION get_gateway_pool_plan(
    org_id uuid,
    OUT "gatewayPool" boolean,
    OUT "expiresAt" timestamptz,
    OUT "maxPools" int,
    OUT "usedPools" bigint,
    OUT "maxGatewaysPerPool" int)
    LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'gateway_pool_plan';
COMMENT ON FUNCTION get_gateway_pool_plan(uuid) IS
    'what an organization''s plan allows by now and how many pools it has; a limit of -1 is none';

CREATE FUNCTION organization_requires_gateway_pools(org_id uuid) RETURNS boolean
    LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'gateway_pool_requires_pools';
COMMENT ON FUNCTION organization_requires_gateway_pools(uuid) IS
    'whether the policy of an organization, "requireGatewayPools", forbids to set a single gateway newly';

CREATE FUNCTION require_gateway_pools_installed() RETURNS void
    LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'gateway_pool_require_installed';
COMMENT ON FUNCTION require_gateway_pools_installed() IS
    'used by other functions: raises 55000 unless the tables are there';

CREATE FUNCTION require_gateway_pool_plan(org_id uuid) RETURNS void
    LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'gateway_pool_require_plan';
COMMENT ON FUNCTION require_gateway_pool_plan(uuid) IS
    'used by the management functions that read: raises 42501 without SELECT on gateway_pools, or without a plan';

CREATE FUNCTION require_gateway_pool(org_id uuid, pool_id uuid) RETURNS void
    LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'gateway_pool_require_pool';
COMMENT ON FUNCTION require_gateway_pool(uuid, uuid) IS
    'used by the management functions that read: the same, then P0002 unless the organization has the pool';

CREATE FUNCTION is_gateway_pool_name(name text) RETURNS boolean
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'gateway_pool_is_name';
COMMENT ON FUNCTION is_gateway_pool_name(text) IS
    'whether a pool may be called so: 1 to 32 of a-z and 0-9, single inner hyphens';
