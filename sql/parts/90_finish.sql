
-- Restart the server before CREATE or ALTER EXTENSION if it has loaded the library of another build.
SELECT gateway_pool_internal.require_script();

-- Install gateway pools if the host's tables exist.  If not, as in an empty database into which a
-- dump is restored, create nothing: tables, keys and triggers come from the dump.
DO $$
DECLARE
    missing text;
BEGIN
    SELECT string_agg(t.name, ' or ') INTO missing
      FROM gateway_pool_internal.host_tables() h
     CROSS JOIN LATERAL (VALUES (h.organizations, 'organizations'), (h.gateways, 'gateways_v2')) t (relation, name)
     WHERE t.relation IS NULL;

    IF missing IS NULL THEN
        PERFORM @extschema@.install_gateway_pools(NULL::regclass, NULL::regclass, NULL::regclass);
    ELSE
        RAISE INFO 'gateway pools are not installed'
            USING DETAIL = format('%s no table named %s.', gateway_pool_internal.searched_schemas(), missing),
                  HINT = format('Pass the tables of the host, as in SELECT %s.install_gateway_pools(organizations => ''tenants'', gateways => ''agents'').',
                                gateway_pool_internal.extension_schema());
    END IF;
END
$$;
