
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
COMMENT ON FUNCTION gateway_pool_internal.drop_policies() IS 'drops the policies of isolation, and no others';

CREATE FUNCTION gateway_pool_internal.lock_to_isolate() RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    old_lock_timeout CONSTANT text := current_setting('lock_timeout');
    pools record;
BEGIN
    PERFORM gateway_pool_internal.require_installed();
    -- At a higher isolation level, the catalogs could be read with a snapshot from before the locks.
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE object_not_in_prerequisite_state
            USING MESSAGE = format('cannot change isolation of gateway pools at isolation level "%s"',
                                   current_setting('transaction_isolation')),
                  HINT = 'Use isolation level READ COMMITTED.',
                  CONSTRAINT = 'gateway_pools_isolation';
    END IF;
    -- Check this before taking any lock.
    SELECT c.relowner, c.relname, n.nspname INTO pools
      FROM gateway_pool_internal.markers() m
      JOIN pg_class c ON c.oid = m.relation
      JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE m.role = 'gateway_pools';
    IF NOT pg_has_role(pools.relowner, 'USAGE') THEN
        RAISE insufficient_privilege
            USING MESSAGE = format('must be owner of table %I', pools.relname),
                  CONSTRAINT = 'gateway_pools_access', SCHEMA = pools.nspname, TABLE = pools.relname;
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
    -- First, because parts() returns the other parts only if row-level security is on for this table.
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
        USING DETAIL = 'Roles other than the owner see no rows until gateway_pool_tenants lists them. '
                       'Roles that back up the database need BYPASSRLS.';
END
$$;
COMMENT ON FUNCTION @extschema@.enable_gateway_pool_isolation() IS
    'enables isolation: a role sees and uses only the organizations that gateway_pool_tenants lists for it; backup '
    'roles then need BYPASSRLS; for the owner of the tables; idempotent';

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
    -- Except on tables on which the owner has other policies.
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
    'disables isolation; row-level security stays on for tables on which the owner has other policies; for the owner '
    'of the tables; idempotent';
