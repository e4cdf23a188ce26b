
-- Beside a host's tables: all of it at once.  Into an empty database, as when a
-- dump is restored, nothing: tables, keys and triggers come with the dump.
DO $$
DECLARE
    missing text;
BEGIN
    SELECT string_agg(t.name, ', ') INTO missing
      FROM gateway_pool_internal.host_tables() h
     CROSS JOIN LATERAL (VALUES (h.organizations, 'organizations'), (h.gateways, 'gateways_v2')) t (relation, name)
     WHERE t.relation IS NULL;

    IF missing IS NULL THEN
        PERFORM @extschema@.install_gateway_pools(NULL::regclass, NULL::regclass, NULL::regclass);
    ELSE
        RAISE INFO 'gateway_pool made no tables: there is no % in schema % or public; call %.install_gateway_pools() with the tables of the host',
            missing, gateway_pool_internal.extension_schema(), gateway_pool_internal.extension_schema();
    END IF;
END
$$;
