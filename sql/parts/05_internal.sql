
COMMENT ON SCHEMA gateway_pool_internal IS 'internal functions of gateway_pool; do not call them';

CREATE VIEW gateway_pool_internal.pool_changes AS SELECT '@SCRIPT_HASH@' AS script;
COMMENT ON VIEW gateway_pool_internal.pool_changes IS
    'invalidation signal that no query reads: invalidating its relation cache entry makes sessions drop their cached '
    'pools, and compare the script with the library again';
COMMENT ON COLUMN gateway_pool_internal.pool_changes.script IS
    'hash of the script that made the objects of the extension; the library compares it with that of its own script';

CREATE FUNCTION gateway_pool_internal.require_script() RETURNS void
    LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION gateway_pool_internal.require_script() IS
    'raises 55000 if library and script are of different builds; functions that call no other C function first call this';

CREATE FUNCTION gateway_pool_internal.extension_schema() RETURNS regnamespace
    LANGUAGE sql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT e.extnamespace::regnamespace FROM pg_extension e WHERE e.extname = 'gateway_pool'
$$;
COMMENT ON FUNCTION gateway_pool_internal.extension_schema() IS
    'returns the schema of the functions and views for users';

CREATE FUNCTION gateway_pool_internal.org_column(relation regclass, organizations regclass) RETURNS name
    LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION gateway_pool_internal.org_column(regclass, regclass) IS
    'returns the column that holds the organization of the rows of a table: the one that references the organizations '
    'table, else "orgId"; null if there is none';

CREATE FUNCTION gateway_pool_internal.ambiguous_org_columns(relation regclass, organizations regclass) RETURNS text
    LANGUAGE sql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    SET quote_all_identifiers = off
AS $$
    SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum)
      FROM pg_attribute a
     WHERE a.attrelid = relation
       AND EXISTS (SELECT FROM pg_constraint k
                     JOIN pg_attribute i ON i.attrelid = k.confrelid AND k.confkey = ARRAY[i.attnum] AND i.attname = 'id'
                    WHERE k.contype = 'f' AND k.conrelid = relation AND k.confrelid = organizations AND k.conkey = ARRAY[a.attnum])
    HAVING count(*) > 1 AND NOT bool_or(a.attname = 'orgId') AND count(*) FILTER (WHERE a.attnotnull) <> 1
$$;
COMMENT ON FUNCTION gateway_pool_internal.ambiguous_org_columns(regclass, regclass) IS
    'returns the columns of a table that reference the organizations table if neither a name nor NOT NULL says which '
    'of them holds the organization of its rows; else null';

CREATE FUNCTION gateway_pool_internal.require_installed() RETURNS void
    LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION gateway_pool_internal.require_installed() IS 'raises 55000 unless gateway pools are installed';

CREATE FUNCTION gateway_pool_internal.run_as_owner(relation regclass, commands text) RETURNS void
    LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION gateway_pool_internal.run_as_owner(regclass, text) IS
    'runs SQL commands as the owner of a table, in a security-restricted operation; the caller must have the '
    'privileges of that owner';
