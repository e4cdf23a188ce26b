
-- Who may do what.  The privileges are the tables' own: these grant them by
-- what they are good for.

CREATE FUNCTION @extschema@.grant_gateway_pool_access(role regrole, actions text[]) RETURNS void
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.grant_gateway_pool_access(regrole, text[]) IS
    'grants a role the privileges that actions take: list, create, edit, delete, attach, pick; '
    'raises 42501 unless the caller can grant all of them';

CREATE FUNCTION @extschema@.revoke_gateway_pool_access(role regrole, actions text[]) RETURNS void
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.revoke_gateway_pool_access(regrole, text[]) IS
    'revokes from a role the privileges that actions take; raises 42501 if it can do any of them still';

CREATE FUNCTION @extschema@.has_gateway_pool_access(role regrole, action text) RETURNS boolean
    LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.has_gateway_pool_access(regrole, text) IS
    'whether a role has all the privileges that an action takes, however it came by them';

-- Isolation of roles by organization: row-level security, off until it is enabled.

CREATE FUNCTION gateway_pool_internal.is_tenant(org uuid) RETURNS boolean
    LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION gateway_pool_internal.is_tenant(uuid) IS
    'used by policies: whether the current role may know of an organization while isolation is on';

CREATE FUNCTION gateway_pool_internal.is_tenant_of_pool(pool uuid) RETURNS boolean
    LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION gateway_pool_internal.is_tenant_of_pool(uuid) IS
    'used by policies: the same for the organization of a pool';

CREATE FUNCTION gateway_pool_internal.is_tenant_of_gateway(gateway uuid) RETURNS boolean
    LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION gateway_pool_internal.is_tenant_of_gateway(uuid) IS
    'used by policies: the same for the organization of a gateway';
