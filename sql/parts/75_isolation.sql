
-- Isolation of roles by organization.

CREATE FUNCTION gateway_pool_internal.drop_policies() RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    target record;
BEGIN
    FOR target IN
        SELECT l.polname, l.polrelid::regclass AS relation
          FROM pg_policy l
         WHERE l.polrelid = ANY (gateway_pool_internal.our_tables()) AND l.polname = 'GatewayPools_isolation'
         ORDER BY 2
    LOOP
        PERFORM gateway_pool_internal.run_as_owner(target.relation, format('DROP POLICY %I ON %s', target.polname, target.relation));
    END LOOP;
END
$$;
COMMENT ON FUNCTION gateway_pool_internal.drop_policies() IS
    'drops the policies of isolation, and no others';

CREATE FUNCTION gateway_pool_internal.lock_to_isolate() RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    old_lock_timeout CONSTANT text := current_setting('lock_timeout');
BEGIN
    PERFORM gateway_pool_internal.require_installed();
    -- Another level might look at what is there with a snapshot from before the locks.
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE object_not_in_prerequisite_state
            USING MESSAGE = 'isolation begins and ends at isolation level READ COMMITTED only';
    END IF;
    -- Before any lock is taken.
    IF NOT (SELECT pg_has_role(c.relowner, 'USAGE')
              FROM gateway_pool_internal.markers() m JOIN pg_class c ON c.oid = m.relation
             WHERE m.role = 'gateway_pools') THEN
        RAISE insufficient_privilege USING MESSAGE = 'must be owner of table gateway_pools';
    END IF;
    IF old_lock_timeout::interval NOT BETWEEN interval '1 ms' AND interval '5 s' THEN
        PERFORM set_config('lock_timeout', '5s', true);
    END IF;
    PERFORM gateway_pool_internal.lock_tables(gateway_pool_internal.our_tables(), '{}'::regclass[]);
    PERFORM set_config('lock_timeout', old_lock_timeout, true);
END
$$;
COMMENT ON FUNCTION gateway_pool_internal.lock_to_isolate() IS
    'checks that the caller may change isolation now, and locks the tables';

CREATE FUNCTION @extschema@.enable_gateway_pool_isolation() RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    SET jit = off
AS $$
DECLARE
    part record;
BEGIN
    PERFORM gateway_pool_internal.lock_to_isolate();
    -- The other parts depend on this one.
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY',
                   (SELECT m.relation FROM gateway_pool_internal.markers() m WHERE m.role = 'gateway_pools'));
    FOR part IN
        SELECT p.*
          FROM gateway_pool_internal.host_tables() h
         CROSS JOIN LATERAL gateway_pool_internal.parts(h.organizations, h.gateways, h.kubernetes_auths) p
         WHERE p.kind IN ('row-level security', 'policy') AND NOT p.present
    LOOP
        PERFORM gateway_pool_internal.run_part(part.relation, part.as_caller, part.as_owner);
    END LOOP;
    RAISE NOTICE 'gateway pools are isolated by organization'
        USING DETAIL = 'Roles other than the owner see nothing until they are in gateway_pool_tenants. '
                       'Roles that back up the database need BYPASSRLS.';
END
$$;
COMMENT ON FUNCTION @extschema@.enable_gateway_pool_isolation() IS
    'for the owner of the tables: a role sees, and may use, only what belongs to organizations that gateway_pool_tenants '
    'names for it; roles that back up need BYPASSRLS then; idempotent';

CREATE FUNCTION @extschema@.disable_gateway_pool_isolation() RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    target record;
BEGIN
    PERFORM gateway_pool_internal.lock_to_isolate();
    EXECUTE format('ALTER TABLE %s DISABLE ROW LEVEL SECURITY',
                   (SELECT m.relation FROM gateway_pool_internal.markers() m WHERE m.role = 'gateway_pools'));
    PERFORM gateway_pool_internal.drop_policies();
    -- But where the owner has policies of his own.
    FOR target IN
        SELECT t.oid::regclass AS relation
          FROM pg_class t
         WHERE t.oid = ANY (gateway_pool_internal.our_tables()) AND t.relrowsecurity
           AND NOT EXISTS (SELECT FROM pg_policy l WHERE l.polrelid = t.oid)
         ORDER BY t.relname
    LOOP
        EXECUTE format('ALTER TABLE %s DISABLE ROW LEVEL SECURITY', target.relation);
    END LOOP;
END
$$;
COMMENT ON FUNCTION @extschema@.disable_gateway_pool_isolation() IS
    'for the owner of the tables: ends isolation; row-level security goes where no policy of the owner''s own is left; idempotent';
