
-- Access control.  These functions grant ordinary privileges on the tables, by action.

CREATE FUNCTION @extschema@.grant_gateway_pool_access(role regrole, actions text[]) RETURNS void
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.grant_gateway_pool_access(regrole, text[]) IS
    'grants a role the privileges that actions need: list, create, edit, delete, attach, pick; raises 42501 unless '
    'the caller can grant all of them';

CREATE FUNCTION @extschema@.revoke_gateway_pool_access(role regrole, actions text[]) RETURNS void
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.revoke_gateway_pool_access(regrole, text[]) IS
    'revokes from a role the privileges that actions need; raises 42501 if the role can still perform any of them';

CREATE FUNCTION @extschema@.has_gateway_pool_access(role regrole, action text) RETURNS boolean
    LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.has_gateway_pool_access(regrole, text) IS
    'returns true if a role has all privileges that an action needs, directly or through other roles';

-- Isolation of roles by organization: row-level security, off until it is enabled.

CREATE FUNCTION gateway_pool_internal.is_tenant(org uuid) RETURNS boolean
    LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION gateway_pool_internal.is_tenant(uuid) IS
    'for policies: returns true if the current role may see an organization while isolation is on';

CREATE FUNCTION gateway_pool_internal.is_tenant_of_pool(pool uuid) RETURNS boolean
    LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION gateway_pool_internal.is_tenant_of_pool(uuid) IS
    'for policies: returns true if the current role may see the organization of a pool while isolation is on';

CREATE FUNCTION gateway_pool_internal.is_tenant_of_gateway(gateway uuid) RETURNS boolean
    LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION gateway_pool_internal.is_tenant_of_gateway(uuid) IS
    'for policies: returns true if the current role may see the organization of a gateway while isolation is on';
