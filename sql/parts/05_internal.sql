
-- The schema of the internal functions.  If a schema of this name exists, CREATE SCHEMA stops the
-- script.  Function bodies name only objects of this schema and of pg_catalog: the owner of any
-- other schema could put look-alikes into it.

CREATE SCHEMA gateway_pool_internal;
COMMENT ON SCHEMA gateway_pool_internal IS 'internal functions of gateway_pool; do not call them';
GRANT USAGE ON SCHEMA gateway_pool_internal TO PUBLIC;

CREATE VIEW gateway_pool_internal.pool_changes AS SELECT 'see the comment on this view' AS note;
COMMENT ON VIEW gateway_pool_internal.pool_changes IS
    'invalidation signal that no query reads: invalidating its relation cache entry makes sessions drop their cached '
    'pools';
COMMENT ON COLUMN gateway_pool_internal.pool_changes.note IS 'where the purpose of the view is described';

CREATE FUNCTION gateway_pool_internal.extension_schema() RETURNS regnamespace
    LANGUAGE sql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT e.extnamespace::regnamespace FROM pg_extension e WHERE e.extname = 'gateway_pool'
$$;
COMMENT ON FUNCTION gateway_pool_internal.extension_schema() IS
    'returns the schema of the functions and views for users';

CREATE FUNCTION gateway_pool_internal.require_installed() RETURNS void
    LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION gateway_pool_internal.require_installed() IS 'raises 55000 unless gateway pools are installed';

CREATE FUNCTION gateway_pool_internal.run_as_owner(relation regclass, commands text) RETURNS void
    LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION gateway_pool_internal.run_as_owner(regclass, text) IS
    'runs SQL commands as the owner of a table, in a security-restricted operation; the caller must have the '
    'privileges of that owner';
