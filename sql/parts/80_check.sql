
-- Checks of the installation.

CREATE FUNCTION gateway_pool_internal.require_right_to_check() RETURNS void
    LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION gateway_pool_internal.require_right_to_check() IS
    'raises 42501 if the caller lacks SELECT on gateway_pools, or if isolation hides rows from it';

CREATE FUNCTION gateway_pool_internal.row_problems()
    RETURNS TABLE (problem text, object text, detail text, remedy text)
    LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION gateway_pool_internal.row_problems() IS
    'returns the problems of the rows, shared memory and the worker; reads each table as its owner';

CREATE FUNCTION gateway_pool_internal.consumer_problems(consumer regclass, pool_column name)
    RETURNS TABLE (problem text, object text, detail text, remedy text)
    LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION gateway_pool_internal.consumer_problems(regclass, name) IS
    'returns the problems of the rows of a consumer; reads them as its owner';

CREATE FUNCTION @extschema@.check_gateway_pools()
    RETURNS TABLE (problem text, object text, detail text, remedy text)
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    SET jit = off
    -- Any role with REFERENCES on gateway_pools may have a consumer, and lock it.
    SET lock_timeout = '1s'
AS $$
#variable_conflict use_column
DECLARE
    schema CONSTANT regnamespace := gateway_pool_internal.extension_schema();
    install CONSTANT text := format('Call %s.install_gateway_pools().', schema);
    unlocked CONSTANT text := 'Check again when no table is locked.';
    organizations regclass;
    gateways regclass;
    kubernetes_auths regclass;
    pools regclass;
    unregistered regclass[];
    consumer record;
BEGIN
    BEGIN
        PERFORM gateway_pool_internal.require_script();
    EXCEPTION
        WHEN object_not_in_prerequisite_state THEN
            GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, remedy = PG_EXCEPTION_HINT;
            problem := 'library and SQL objects differ';
            object := 'extension gateway_pool';
            RETURN NEXT;
            RETURN;
    END;

    SELECT h.organizations, h.gateways, h.kubernetes_auths INTO organizations, gateways, kubernetes_auths
      FROM gateway_pool_internal.host_tables() h;
    SELECT t.relation INTO pools FROM gateway_pool_internal.tables(gateways) t WHERE t.role = 'gateway_pools';
    IF pools IS NULL
       OR NOT EXISTS (SELECT FROM gateway_pool_internal.tables(gateways) t
                       WHERE t.role = 'gateway_pool_memberships' AND t.relation IS NOT NULL) THEN
        problem := 'not installed';
        object := 'extension gateway_pool';
        detail := 'The tables of gateway pools do not exist.';
        remedy := install;
        RETURN NEXT;
        RETURN;
    END IF;

    RETURN QUERY
        SELECT 'table marked twice', string_agg(m.relation::text, ', ' ORDER BY m.relation::text),
               format('They are marked as the same table, %s.', m.role),
               'Drop trigger "GatewayPools_marker" on the tables that are not in use.'
          FROM gateway_pool_internal.markers() m
         WHERE m.role <> 'consumer'
         GROUP BY m.role HAVING count(DISTINCT m.relation) > 1
         ORDER BY 2;

    RETURN QUERY
        SELECT p.kind || ' missing', p.relation, p.name,
               CASE WHEN c.consumer IS NULL THEN install
                    WHEN p.kind <> 'column' THEN install
                    ELSE format('%s To give up the column, call %s.unregister_pool_consumer(%L, %L).', install, schema,
                                c.consumer, c.pool_column) END
          FROM gateway_pool_internal.parts(organizations, gateways, kubernetes_auths)
               WITH ORDINALITY p (kind, relation, name, present, as_caller, as_owner, place)
          LEFT JOIN gateway_pool_internal.consumers() c
            ON c.consumer::text = p.relation AND c.pool_column = p.name AND c.consumer IS DISTINCT FROM kubernetes_auths
         WHERE NOT p.present
         ORDER BY p.place;

    RETURN QUERY
        SELECT 'owner differs', t.oid::regclass::text,
               format('It is owned by %s, the gateways table by %s.', t.relowner::regrole, g.relowner::regrole),
               format('ALTER TABLE %s OWNER TO %s;', t.oid::regclass, g.relowner::regrole)
          FROM pg_class g
         CROSS JOIN gateway_pool_internal.tables(gateways) o
          JOIN pg_class t ON t.oid = o.relation
         WHERE g.oid = gateways AND t.relowner <> g.relowner
         ORDER BY 2;

    RETURN QUERY
        SELECT 'schema not usable', schema::text,
               format('Role %s, which owns the tables, lacks USAGE, so deletions from the host''s tables fail.', g.relowner::regrole),
               format('GRANT USAGE ON SCHEMA %s TO %s;', schema, g.relowner::regrole)
          FROM pg_class g
         WHERE g.oid = gateways AND NOT has_schema_privilege(g.relowner, schema::oid, 'USAGE');

    RETURN QUERY
        SELECT 'trigger disabled', t.relation::text, t.name::text,
               format('ALTER TABLE %s ENABLE%s TRIGGER %I;', t.relation,
                      CASE WHEN gateway_pool_internal.fires_always(t.name) THEN ' ALWAYS' END, t.name)
          FROM gateway_pool_internal.triggers() t
         WHERE t.enabled IN ('D', 'R')
         ORDER BY 2, 3;

    RETURN QUERY
        SELECT 'isolation incomplete', t.oid::regclass::text, 'Row-level security is on for this table, but not for gateway_pools.',
               format('Call %s.enable_gateway_pool_isolation() or %s.disable_gateway_pool_isolation().', schema, schema)
          FROM pg_policy l
          JOIN pg_class t ON t.oid = l.polrelid AND t.relrowsecurity
          JOIN gateway_pool_internal.tables(gateways) o ON o.relation = t.oid
          JOIN pg_class p ON p.oid = pools AND NOT p.relrowsecurity
         WHERE l.polname = 'GatewayPools_isolation'
         ORDER BY 2;

    RETURN QUERY
        SELECT 'health published', format('publication %I', p.pubname),
               format('It contains %s, which the worker of each server writes itself.', string_agg(o.name, ' and ' ORDER BY o.role)),
               CASE WHEN bool_and(r.prrelid IS NOT NULL)
                    THEN format('ALTER PUBLICATION %I DROP TABLE %s;', p.pubname, string_agg(o.name, ', ' ORDER BY o.role))
                    ELSE 'Create it again for the tables that subscribers need.' END
          FROM pg_publication p
          JOIN pg_publication_tables t ON t.pubname = p.pubname
          JOIN pg_namespace n ON n.nspname = t.schemaname
          JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = t.tablename
          JOIN gateway_pool_internal.tables(gateways) o ON o.relation = c.oid AND o.role IN ('gateway_health', 'gateway_health_events')
          LEFT JOIN pg_publication_rel r ON r.prpubid = p.oid AND r.prrelid = c.oid
         GROUP BY p.oid, p.pubname
         ORDER BY 2;

    BEGIN
        PERFORM gateway_pool_internal.require_installed();
    EXCEPTION
        WHEN object_not_in_prerequisite_state THEN
            RETURN;
    END;

    PERFORM gateway_pool_internal.require_right_to_check();

    IF gateway_pool_internal.org_column(gateways, organizations) IS NULL THEN
        problem := 'organization of gateways unknown';
        object := gateways::text;
        detail := format('No column references %s, and none is named "orgId".', organizations);
        remedy := format('As its owner, run ALTER TABLE %s ADD FOREIGN KEY (...) REFERENCES %s (id);', gateways, organizations);
        RETURN NEXT;
        RETURN;
    END IF;

    RETURN QUERY
        SELECT 'organization of gateways virtual', a.attrelid::regclass::text,
               format('%I is a virtual generated column, which triggers cannot read: gateways cannot be deleted.', a.attname),
               'Make it a stored column.'
          FROM pg_attribute a
         WHERE a.attrelid = gateways AND a.attname = gateway_pool_internal.org_column(gateways, organizations) AND a.attgenerated = 'v';

    -- Triggers and rules of others can change or suppress audit records.
    RETURN QUERY
        SELECT 'audit log changed', t.tgrelid::regclass::text, format('Trigger %I does not belong to gateway pools.', t.tgname),
               format('Check what it does. To drop it, run DROP TRIGGER %I ON %s;', t.tgname, t.tgrelid::regclass)
          FROM gateway_pool_internal.markers() m
          JOIN pg_trigger t ON t.tgrelid = m.relation AND NOT t.tgisinternal
         WHERE m.role = 'gateway_pool_audit_logs'
           AND NOT EXISTS (SELECT FROM gateway_pool_internal.triggers() o WHERE o.relation = t.tgrelid AND o.name = t.tgname)
         UNION ALL
        SELECT 'audit log changed', r.ev_class::regclass::text, format('Rule %I can change or suppress audit records.', r.rulename),
               format('DROP RULE %I ON %s;', r.rulename, r.ev_class::regclass)
          FROM gateway_pool_internal.markers() m
          JOIN pg_rewrite r ON r.ev_class = m.relation
         WHERE m.role = 'gateway_pool_audit_logs'
         ORDER BY 2, 3;

    BEGIN
        RETURN QUERY SELECT * FROM gateway_pool_internal.row_problems();
    EXCEPTION
        -- For example, code that the owner of a table defined for the type of a column can fail.
        WHEN OTHERS THEN
            problem := 'rows not checked';
            object := pools::text;
            detail := SQLERRM;
            remedy := CASE SQLSTATE WHEN '55P03' THEN unlocked
                      ELSE 'Give the columns of the tables of gateway pools the types with which install_gateway_pools() creates them.' END;
            RETURN NEXT;
    END;

    unregistered := ARRAY(
        SELECT t.relation FROM gateway_pool_internal.infisical_consumers() t
         WHERE t.problem IS NULL AND t.relation IS DISTINCT FROM kubernetes_auths
           AND NOT EXISTS (SELECT FROM gateway_pool_internal.consumers() c
                            WHERE c.consumer = t.relation AND c.pool_column = 'gatewayPoolId'));
    RETURN QUERY
        SELECT 'consumer not registered', format('%s."gatewayPoolId"', u.relation),
               'It is a table of Infisical, and nothing checks which pools its rows reference.',
               format('Call %s.register_infisical_consumers().', schema)
          FROM unnest(unregistered) u (relation)
         ORDER BY 2;

    FOR consumer IN
        -- Each column that references the id, alone or in a key of several columns, once.
        SELECT DISTINCT k.conrelid::regclass AS relation, k.conrelid::regclass::text AS name, a.attname
          FROM pg_constraint k
         CROSS JOIN unnest(k.conkey, k.confkey) c (number, referenced)
          JOIN pg_attribute r ON r.attrelid = k.confrelid AND r.attnum = c.referenced AND r.attname = 'id'
          JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = c.number
         WHERE k.contype = 'f' AND k.conparentid = 0 AND k.confrelid = pools
           AND k.conrelid NOT IN (SELECT m.relation FROM gateway_pool_internal.markers() m WHERE m.role = 'gateway_pool_memberships')
           AND NOT (k.conrelid = ANY (unregistered) AND a.attname = 'gatewayPoolId')
         ORDER BY name, a.attname
    LOOP
        BEGIN
            RETURN QUERY SELECT * FROM gateway_pool_internal.consumer_problems(consumer.relation, consumer.attname);
        EXCEPTION
            -- For example, an org_query can name a table that was renamed.
            WHEN OTHERS THEN
                problem := 'rows not checked';
                object := format('%s.%I', consumer.relation, consumer.attname);
                detail := SQLERRM;
                remedy := CASE SQLSTATE WHEN '55P03' THEN unlocked
                          ELSE format('Call %s.register_pool_consumer() with an org_query that works.', schema) END;
                RETURN NEXT;
        END;
    END LOOP;
END
$$;
COMMENT ON FUNCTION @extschema@.check_gateway_pools() IS
    'returns one row per problem, with what to do about it; no rows if there is none';
