
-- The schema of every function that is not for users.  A schema of this name that
-- is there already stops the script.  No body of a function names anything outside
-- of it and pg_catalog: who owns another schema can put look-alikes into it.

CREATE SCHEMA gateway_pool_internal;
COMMENT ON SCHEMA gateway_pool_internal IS 'what gateway_pool uses itself; not to be called';
GRANT USAGE ON SCHEMA gateway_pool_internal TO PUBLIC;

CREATE VIEW gateway_pool_internal.pool_changes AS SELECT 'see the comment on this view' AS note;
COMMENT ON VIEW gateway_pool_internal.pool_changes IS
    'the signal: its entry in the relation cache is invalidated when what picks depend on changes; nothing reads it';

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
COMMENT ON FUNCTION gateway_pool_internal.require_installed() IS
    'raises 55000 unless the tables are there';

CREATE FUNCTION gateway_pool_internal.run_as_owner(relation regclass, commands text) RETURNS void
    LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION gateway_pool_internal.run_as_owner(regclass, text) IS
    'runs commands as the owner of a table, in a restricted operation, for callers who have the owner''s privileges';
