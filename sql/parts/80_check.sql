
-- The doctor.

CREATE FUNCTION check_gateway_pools()
    RETURNS TABLE (problem text, object text, detail text, remedy text)
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    pools CONSTANT regclass := to_regclass('@extschema@.gateway_pools');
    memberships CONSTANT regclass := to_regclass('@extschema@.gateway_pool_memberships');
    gateways regclass;
    install CONSTANT text := 'Call @extschema@.install_gateway_pools().';
    consumer record;
BEGIN
    IF pools IS NULL AND memberships IS NULL THEN
        problem := 'not installed';
        object := 'schema @extschema@';
        detail := 'The tables of gateway pools are not there.';
        remedy := install;
        RETURN NEXT;
        RETURN;
    END IF;

    SELECT h.gateways INTO gateways FROM @extschema@.gateway_pool_host_tables() h;

    RETURN QUERY
        SELECT p.kind || ' missing', p.relation, p.name, install
          FROM @extschema@.gateway_pool_host_tables() h
         CROSS JOIN LATERAL @extschema@.gateway_pool_parts(h.organizations, h.gateways, h.kubernetes_auths) p
         WHERE NOT p.present;

    RETURN QUERY
        SELECT 'trigger disabled', t.tgrelid::regclass::text, t.tgname::text,
               format('ALTER TABLE %s ENABLE TRIGGER %I;', t.tgrelid::regclass, t.tgname)
          FROM pg_trigger t
          JOIN pg_proc f ON f.oid = t.tgfoid
         WHERE f.pronamespace = '@extschema@'::regnamespace AND f.prolang = (SELECT l.oid FROM pg_language l WHERE l.lanname = 'c')
           AND NOT t.tgisinternal AND t.tgenabled IN ('D', 'R')
         ORDER BY 2, 3;

    -- What follows reads the tables: plain ones, all there.
    BEGIN
        PERFORM @extschema@.require_gateway_pools_installed();
    EXCEPTION
        WHEN object_not_in_prerequisite_state THEN
            RETURN;
    END;

    RETURN QUERY
        SELECT 'name off the rule', format('gateway pool %s', p.id), p.name::text,
               'Rename the pool; until then it works as it is.'
          FROM @extschema@.gateway_pools p
         WHERE NOT @extschema@.is_gateway_pool_name(p.name)
         ORDER BY p.id;

    RETURN QUERY EXECUTE format(
        'SELECT %L, format(%L, m.id), format(%L, p."orgId", g."orgId"), %L
           FROM %s m JOIN %s p ON p.id = m."gatewayPoolId" JOIN %s g ON g.id = m."gatewayId"
          WHERE p."orgId" <> g."orgId" ORDER BY m.id',
        'member of another organization', 'membership %s', 'the pool is of %s, the gateway of %s',
        'Delete the membership.', memberships, pools, gateways);

    RETURN QUERY
        SELECT u.problem, format('organization %s', o."orgId"), u.detail, u.remedy
          FROM (SELECT p."orgId" FROM @extschema@.gateway_pools p GROUP BY 1) o
         CROSS JOIN LATERAL @extschema@.get_gateway_pool_plan(o."orgId") l
         CROSS JOIN LATERAL (VALUES
               (NOT l."gatewayPool", 'pools without a plan', format('pools: %s', l."usedPools"),
                'Call @extschema@.set_gateway_pool_entitlement(), or delete the pools; picks go on working.'),
               (l."maxPools" <> -1 AND l."usedPools" > l."maxPools", 'over the limit of pools',
                format('pools: %s, allowed: %s', l."usedPools", l."maxPools"),
                'Raise the limit or delete pools; those that are there go on working.')
               ) u (applies, problem, detail, remedy)
         WHERE u.applies
         ORDER BY 2, 1;

    RETURN QUERY
        SELECT 'over the limit of members', format('gateway pool %s', m.id),
               format('members: %s, allowed: %s', m.members, l."maxGatewaysPerPool"),
               'Raise the limit or remove members; those that are there go on working.'
          FROM (SELECT p.id, p."orgId", count(*) AS members
                  FROM @extschema@.gateway_pools p
                  JOIN @extschema@.gateway_pool_memberships m ON m."gatewayPoolId" = p.id
                 GROUP BY 1, 2) m
         CROSS JOIN LATERAL @extschema@.get_gateway_pool_plan(m."orgId") l
         WHERE l."maxGatewaysPerPool" <> -1 AND m.members > l."maxGatewaysPerPool"
         ORDER BY 2;

    FOR consumer IN
        SELECT k.conrelid::regclass AS relation, a.attname AS pool_column, r.arguments[2] AS gateway_column,
               count(r.arguments) AS triggers
          FROM pg_constraint k
          JOIN pg_attribute a ON a.attrelid = k.conrelid AND k.conkey = ARRAY[a.attnum]
          LEFT JOIN LATERAL (
               SELECT string_to_array(encode(t.tgargs, 'escape'), '\000') AS arguments
                 FROM pg_trigger t
                WHERE t.tgrelid = k.conrelid
                  AND t.tgfoid IN ('@extschema@.pool_consumer_route()'::regprocedure,
                                   '@extschema@.pool_consumer_enforce()'::regprocedure)
               ) r ON r.arguments[1] = a.attname
         WHERE k.contype = 'f' AND k.confrelid = pools AND k.conrelid <> memberships AND k.conparentid = 0
         GROUP BY 1, 2, 3
         ORDER BY 1, 2
    LOOP
        IF consumer.triggers < 2 THEN
            problem := 'consumer not registered';
            object := format('%s.%I', consumer.relation, consumer.pool_column);
            detail := 'Its rows are listed and keep pools from being deleted, but nothing checks what they reference.';
            remedy := format('Create a BEFORE INSERT OR UPDATE trigger with @extschema@.pool_consumer_route(%1$L, %2$L, %2$L) '
                             'and an AFTER INSERT OR UPDATE trigger with @extschema@.pool_consumer_enforce(%1$L, %2$L, %2$L), '
                             'the empty arguments filled where they apply.', consumer.pool_column, '');
            RETURN NEXT;
        ELSIF EXISTS (SELECT FROM pg_attribute a
                       WHERE a.attrelid = consumer.relation AND a.attname = consumer.gateway_column
                         AND NOT a.attisdropped) THEN
            RETURN QUERY EXECUTE format(
                'SELECT %L, %L, format(%L, count(*)), %L FROM %s WHERE %I IS NOT NULL AND %I IS NOT NULL HAVING count(*) > 0',
                'pool and gateway both', format('%s.%I', consumer.relation, consumer.pool_column), 'rows: %s',
                format('Set %I or %I to NULL; until then the host decides which of them counts.',
                       consumer.pool_column, consumer.gateway_column),
                consumer.relation, consumer.pool_column, consumer.gateway_column);
        END IF;
    END LOOP;
END
$$;
COMMENT ON FUNCTION check_gateway_pools() IS
    'one row a problem and what to do about it; none when all is well';
