
-- The doctor.

CREATE FUNCTION gateway_pool_row_problems()
    RETURNS TABLE (problem text, object text, detail text, remedy text)
    LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'gateway_pool_row_problems';
COMMENT ON FUNCTION gateway_pool_row_problems() IS
    'used by check_gateway_pools(): what is wrong with the rows of gateway pools, read as the owners of the tables';

CREATE FUNCTION gateway_pool_consumer_problems(consumer regclass, pool_column name)
    RETURNS TABLE (problem text, object text, detail text, remedy text)
    LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'gateway_pool_consumer_problems';
COMMENT ON FUNCTION gateway_pool_consumer_problems(regclass, name) IS
    'used by check_gateway_pools(): what is wrong with the rows of a consumer, read as its owner';

CREATE FUNCTION check_gateway_pools()
    RETURNS TABLE (problem text, object text, detail text, remedy text)
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    install CONSTANT text := 'Call @extschema@.install_gateway_pools().';
    consumer record;
BEGIN
    IF to_regclass('@extschema@.gateway_pools') IS NULL
       AND to_regclass('@extschema@.gateway_pool_memberships') IS NULL THEN
        problem := 'not installed';
        object := 'schema @extschema@';
        detail := 'The tables of gateway pools are not there.';
        remedy := install;
        RETURN NEXT;
        RETURN;
    END IF;

    RETURN QUERY
        SELECT p.kind || ' missing', p.relation, p.name, install
          FROM @extschema@.gateway_pool_host_tables() h
         CROSS JOIN LATERAL @extschema@.gateway_pool_parts(h.organizations, h.gateways, h.kubernetes_auths) p
         WHERE NOT p.present;

    RETURN QUERY
        SELECT 'owner differs', t.oid::regclass::text,
               format('It is of %s, the gateways table of %s.', t.relowner::regrole, g.relowner::regrole),
               format('ALTER TABLE %s OWNER TO %s;', t.oid::regclass, g.relowner::regrole)
          FROM @extschema@.gateway_pool_host_tables() h
          JOIN pg_class g ON g.oid = h.gateways
          JOIN (SELECT DISTINCT c.relation FROM @extschema@.gateway_pool_columns() c) c ON true
          JOIN pg_class t ON t.oid = to_regclass('@extschema@.' || quote_ident(c.relation))
         WHERE t.relowner <> g.relowner
         ORDER BY 2;

    RETURN QUERY
        SELECT 'trigger disabled', t.relation::text, t.name::text,
               format('ALTER TABLE %s ENABLE TRIGGER %I;', t.relation, t.name)
          FROM @extschema@.gateway_pool_triggers() t
         WHERE t.enabled IN ('D', 'R')
         ORDER BY 2, 3;

    RETURN QUERY
        SELECT 'isolated alone', t.oid::regclass::text, 'Row-level security is on for it, but not for gateway_pools: isolation is off.',
               'Call @extschema@.enable_gateway_pool_isolation() or @extschema@.disable_gateway_pool_isolation().'
          FROM pg_policy l
          JOIN pg_class t ON t.oid = l.polrelid AND t.relrowsecurity AND t.relnamespace = '@extschema@'::regnamespace
          JOIN pg_class pools ON pools.oid = to_regclass('@extschema@.gateway_pools') AND NOT pools.relrowsecurity
         WHERE l.polname = 'GatewayPools_isolation'
         ORDER BY 2;

    BEGIN
        PERFORM @extschema@.require_gateway_pools_installed();
    EXCEPTION
        WHEN object_not_in_prerequisite_state THEN
            RETURN;
    END;

    RETURN QUERY
        SELECT p.kind || ' missing', p.relation, p.name,
               format('Call %s.register_pool_consumer(%L, %L, %s, %s).', '@extschema@', c.consumer, c.pool_column,
                      quote_nullable(c.gateway_column), quote_nullable(c.org_query)) ||
               CASE p.kind WHEN 'column' THEN
                   format(' If it is not to come back, call %s.unregister_pool_consumer(%L, %L).', '@extschema@', c.consumer,
                          c.pool_column) ELSE '' END
          FROM @extschema@.gateway_pool_host_tables() h
         CROSS JOIN @extschema@.gateway_pool_consumers() c
         CROSS JOIN LATERAL @extschema@.gateway_pool_consumer_parts(c.consumer, c.pool_column, c.gateway_column, c.org_query) p
         WHERE NOT p.present AND c.consumer IS DISTINCT FROM h.kubernetes_auths
         ORDER BY 2, 1, 3;

    RETURN QUERY SELECT * FROM @extschema@.gateway_pool_row_problems();

    FOR consumer IN
        -- The column that references the id, alone or with others; once, whatever keys it is in.
        SELECT DISTINCT k.conrelid::regclass AS relation, k.conrelid::regclass::text AS name, a.attname, k.conrelid = h.kubernetes_auths AS is_kubernetes
          FROM @extschema@.gateway_pool_host_tables() h
         CROSS JOIN pg_constraint k
         CROSS JOIN unnest(k.conkey, k.confkey) c (number, referenced)
          JOIN pg_attribute r ON r.attrelid = k.confrelid AND r.attnum = c.referenced AND r.attname = 'id'
          JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = c.number
         WHERE k.contype = 'f' AND k.conparentid = 0
           AND k.confrelid = '@extschema@.gateway_pools'::regclass
           AND k.conrelid <> '@extschema@.gateway_pool_memberships'::regclass
         ORDER BY name, a.attname
    LOOP
        BEGIN
            RETURN QUERY SELECT * FROM @extschema@.gateway_pool_consumer_problems(consumer.relation, consumer.attname);
        EXCEPTION
            -- Such as a query that names a table by a former name.
            WHEN OTHERS THEN
                problem := 'rows not checked';
                object := format('%s.%I', consumer.relation, consumer.attname);
                detail := SQLERRM;
                remedy := CASE WHEN consumer.is_kubernetes THEN install
                               ELSE 'Call @extschema@.register_pool_consumer() with an org_query that works.' END;
                RETURN NEXT;
        END;
    END LOOP;
END
$$;
COMMENT ON FUNCTION check_gateway_pools() IS
    'one row a problem and what to do about it; none when all is well';
