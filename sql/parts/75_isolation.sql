
-- Isolation of roles by organization.

CREATE FUNCTION drop_gateway_pool_policies() RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    target record;
BEGIN
    FOR target IN
        SELECT l.polname, l.polrelid::regclass AS relation
          FROM pg_policy l
         WHERE l.polrelid = ANY (@extschema@.gateway_pool_tables()) AND l.polname = 'GatewayPools_isolation'
         ORDER BY 2
    LOOP
        EXECUTE format('DROP POLICY %I ON %s', target.polname, target.relation);
    END LOOP;
END
$$;
COMMENT ON FUNCTION drop_gateway_pool_policies() IS
    'used by disable_gateway_pool_isolation() and uninstall_gateway_pools(): drops the policies of isolation; others that ask '
    'functions of ours are their makers''';

CREATE FUNCTION lock_gateway_pools_to_isolate() RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    old_lock_timeout CONSTANT text := current_setting('lock_timeout');
BEGIN
    PERFORM @extschema@.require_gateway_pools_installed();
    -- Another level might look at what is there with a snapshot from before the locks.
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE object_not_in_prerequisite_state
            USING MESSAGE = 'isolation begins and ends at isolation level READ COMMITTED only';
    END IF;
    -- Before any lock is taken.
    IF NOT (SELECT pg_has_role(c.relowner, 'USAGE') FROM pg_class c WHERE c.oid = '@extschema@.gateway_pools'::regclass) THEN
        RAISE insufficient_privilege USING MESSAGE = 'must be owner of table gateway_pools';
    END IF;
    IF old_lock_timeout::interval NOT BETWEEN interval '1 ms' AND interval '5 s' THEN
        PERFORM set_config('lock_timeout', '5s', true);
    END IF;
    PERFORM @extschema@.lock_gateway_pool_tables(@extschema@.gateway_pool_tables(), '{}');
    PERFORM set_config('lock_timeout', old_lock_timeout, true);
END
$$;
COMMENT ON FUNCTION lock_gateway_pools_to_isolate() IS
    'used by enable_gateway_pool_isolation() and disable_gateway_pool_isolation(): who may, and when, and the locks';

CREATE FUNCTION enable_gateway_pool_isolation() RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    part record;
BEGIN
    PERFORM @extschema@.lock_gateway_pools_to_isolate();
    -- This is what the other parts go by.
    ALTER TABLE @extschema@.gateway_pools ENABLE ROW LEVEL SECURITY;
    FOR part IN
        SELECT p.command
          FROM @extschema@.gateway_pool_host_tables() h
         CROSS JOIN LATERAL @extschema@.gateway_pool_parts(h.organizations, h.gateways, h.kubernetes_auths) p
         WHERE p.kind IN ('row-level security', 'policy') AND NOT p.present
    LOOP
        EXECUTE part.command;
    END LOOP;
    RAISE NOTICE 'gateway pools are isolated by organization'
        USING DETAIL = 'Roles other than the owner see nothing until they are in gateway_pool_tenants. '
                       'Roles that back up the database need BYPASSRLS.';
END
$$;
COMMENT ON FUNCTION enable_gateway_pool_isolation() IS
    'for the owner of the tables: a role sees, and may use, only what belongs to organizations that gateway_pool_tenants '
    'names for it; roles that back up need BYPASSRLS then; idempotent';

CREATE FUNCTION disable_gateway_pool_isolation() RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    target record;
BEGIN
    PERFORM @extschema@.lock_gateway_pools_to_isolate();
    ALTER TABLE @extschema@.gateway_pools DISABLE ROW LEVEL SECURITY;
    PERFORM @extschema@.drop_gateway_pool_policies();
    -- But where the owner has policies of his own.
    FOR target IN
        SELECT t.oid::regclass AS relation
          FROM pg_class t
         WHERE t.oid = ANY (@extschema@.gateway_pool_tables()) AND t.relrowsecurity
           AND NOT EXISTS (SELECT FROM pg_policy l WHERE l.polrelid = t.oid)
         ORDER BY t.relname
    LOOP
        EXECUTE format('ALTER TABLE %s DISABLE ROW LEVEL SECURITY', target.relation);
    END LOOP;
END
$$;
COMMENT ON FUNCTION disable_gateway_pool_isolation() IS
    'for the owner of the tables: ends isolation; row-level security goes where no policy of the owner''s own is left; idempotent';
