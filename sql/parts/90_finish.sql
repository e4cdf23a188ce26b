
-- Into a host's schema: all of it at once.  Into an empty database, as when a
-- dump is restored, nothing: tables, keys and triggers come with the dump.
DO $$
DECLARE
    missing text;
BEGIN
    SELECT string_agg(t.name, ', ') INTO missing
      FROM @extschema@.gateway_pool_host_tables() h
     CROSS JOIN LATERAL (VALUES (h.organizations, 'organizations'), (h.gateways, 'gateways_v2'),
                                (h.kubernetes_auths, 'identity_kubernetes_auths')) t (relation, name)
     WHERE t.relation IS NULL;

    IF missing IS NULL THEN
        PERFORM @extschema@.install_gateway_pools(NULL::regclass, NULL::regclass, NULL::regclass);
    ELSE
        RAISE INFO 'gateway_pool made no tables: schema % has no %; call %.install_gateway_pools() when it has',
            '@extschema@', missing, '@extschema@';
    END IF;
END
$$;
