
-- Consumers: the tables whose rows are reached through a pool.

CREATE FUNCTION gateway_pool_consumers()
    RETURNS TABLE (consumer regclass, pool_column name, gateway_column name, org_query text)
    LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'gateway_pool_consumers';
COMMENT ON FUNCTION gateway_pool_consumers() IS
    'the consumers that are registered, and how: what register_pool_consumer() was told, org_query with all names qualified';

CREATE FUNCTION qualify_pool_consumer_query(consumer regclass, org_query text) RETURNS text
    LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'gateway_pool_qualify_query';
COMMENT ON FUNCTION qualify_pool_consumer_query(regclass, text) IS
    'used by register_pool_consumer(): a query of the organization of row $1, checked, and with all names qualified';

CREATE FUNCTION gateway_pool_consumer_parts(
    consumer regclass,
    pool_column name,
    gateway_column name,
    org_query text)
    RETURNS TABLE (
        kind text,
        relation text,
        name text,
        present boolean,
        command text)
    LANGUAGE sql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    SET standard_conforming_strings = on
    SET quote_all_identifiers = off
AS $$
    WITH named AS (
        SELECT c.oid, c.oid::regclass::text AS name, c.relnamespace, n.nspname, a.attnum,
               lower(c.relname || '_' || pool_column) AS stem,
               left(encode(sha256(convert_to(c.relname || ' ' || pool_column, getdatabaseencoding())), 'hex'), 32) AS hash
          FROM pg_class c
          JOIN pg_namespace n ON n.oid = c.relnamespace
          LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = pool_column AND NOT a.attisdropped
         WHERE c.oid = consumer
    ),
    -- Names of their own where the usual ones are too long, or something else has them.
    consumer AS (
        SELECT n.oid, n.name, n.nspname, n.attnum,
               CASE WHEN octet_length(n.stem) > 55 OR EXISTS (
                         SELECT FROM pg_class o WHERE o.relnamespace = n.relnamespace AND o.relname = n.stem || '_index')
                    THEN 'gateway_pools_' || n.hash ELSE n.stem END || '_index' AS index_name,
               CASE WHEN octet_length(n.stem) > 55 OR EXISTS (
                         SELECT FROM pg_constraint o WHERE o.conrelid = n.oid AND o.conname = n.stem || '_foreign')
                    THEN 'gateway_pools_' || n.hash ELSE n.stem END || '_foreign' AS key_name,
               -- Those of triggers are the usual ones for one column of the table.
               CASE WHEN pool_column = 'gatewayPoolId' THEN ''
                    WHEN octet_length(pool_column::text) > 35 OR pool_column::text ~ '^truncate' THEN '_' || n.hash
                    ELSE '_' || pool_column END AS suffix
          FROM named n
    ),
    triggers AS (
        SELECT t.place, (t.name || c.suffix)::name AS name, c.oid AS table_oid, c.name AS table_name,
               format('CREATE TRIGGER %I %s ON %s FOR EACH %s EXECUTE FUNCTION %s.%I(%s)',
                      (t.name || c.suffix)::name, t.fires, c.name, t.level, '@extschema@', t.function,
                      (SELECT string_agg('''' || replace(a.argument, '''', '''''') || '''', ', ' ORDER BY a.place)
                         FROM unnest(t.arguments) WITH ORDINALITY a (argument, place))) AS definition
          FROM consumer c CROSS JOIN (VALUES
        (1, 'GatewayPools_route', 'BEFORE INSERT OR UPDATE', 'ROW', 'pool_consumer_route',
            ARRAY[pool_column::text, coalesce(gateway_column, ''), coalesce(org_query, '')]),
        (2, 'GatewayPools_enforce', 'AFTER INSERT OR UPDATE', 'ROW', 'pool_consumer_enforce',
            ARRAY[pool_column::text, coalesce(gateway_column, ''), coalesce(org_query, '')]),
        (3, 'GatewayPools_audit', 'AFTER INSERT OR DELETE OR UPDATE', 'ROW', 'pool_consumer_audit', ARRAY[pool_column::text]),
        (4, 'GatewayPools_audit_truncate', 'BEFORE TRUNCATE', 'STATEMENT', 'pool_consumer_audit', ARRAY[pool_column::text])
        ) t (place, name, fires, level, function, arguments)
    )
    SELECT p.kind, p.relation, p.name, p.present, p.command
      FROM (
        SELECT 1 AS place, 'column' AS kind, c.name AS relation, pool_column::text AS name, c.attnum IS NOT NULL AS present,
               format('ALTER TABLE %s ADD COLUMN %I uuid; COMMENT ON COLUMN %s.%I IS %L', c.name, pool_column, c.name,
                      pool_column, 'the gateway pool through which this is reached, in place of one gateway') AS command
          FROM consumer c
         UNION ALL
        SELECT 2, 'index', c.name, c.index_name,
               EXISTS (SELECT FROM pg_index i
                        WHERE i.indrelid = c.oid AND i.indisvalid AND ARRAY[i.indkey[0]] = ARRAY[c.attnum]),
               format('CREATE INDEX %I ON %s (%I); COMMENT ON INDEX %I.%I IS %L', c.index_name, c.name,
                      pool_column, c.nspname, c.index_name, 'of gateway pools')
          FROM consumer c
         UNION ALL
        SELECT 3, 'foreign key', c.name, c.key_name,
               EXISTS (SELECT FROM pg_constraint f
                        WHERE f.conrelid = c.oid AND f.contype = 'f' AND f.conkey = ARRAY[c.attnum]
                          AND f.confrelid = to_regclass('@extschema@.gateway_pools')),
               format('ALTER TABLE %s ADD CONSTRAINT %I FOREIGN KEY (%I) REFERENCES %s.gateway_pools (id)'
                      ' ON DELETE SET NULL; COMMENT ON CONSTRAINT %I ON %s IS %L', c.name, c.key_name,
                      pool_column, '@extschema@', c.key_name, c.name, 'of gateway pools')
          FROM consumer c
         UNION ALL
        SELECT 3 + t.place, 'trigger', t.table_name, t.name::text,
               coalesce(pg_get_triggerdef(named.oid) = t.definition, false),
               CASE WHEN named.oid IS NOT NULL THEN format('DROP TRIGGER %I ON %s; ', t.name, t.table_name) ELSE '' END ||
               t.definition
          FROM triggers t
          LEFT JOIN pg_trigger named ON named.tgrelid = t.table_oid AND named.tgname = t.name AND NOT named.tgisinternal
      ) p
     ORDER BY p.place
$$;
COMMENT ON FUNCTION gateway_pool_consumer_parts(regclass, name, name, text) IS
    'used by register_pool_consumer(), install_gateway_pools() and check_gateway_pools(): column, key, index and triggers '
    'of a consumer, whether each is there, and the command that makes it';

CREATE FUNCTION attach_pool_consumer(
    consumer regclass,
    pool_column name,
    gateway_column name,
    org_query text) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    SET standard_conforming_strings = on
AS $$
#variable_conflict use_variable
DECLARE
    old_lock_timeout CONSTANT text := current_setting('lock_timeout');
    problem text;
    part record;
BEGIN
    PERFORM @extschema@.require_gateway_pools_installed();
    IF consumer IS NULL OR pool_column IS NULL THEN
        RAISE invalid_parameter_value USING MESSAGE = 'consumer and pool_column must not be null';
    END IF;
    IF gateway_column = pool_column THEN
        RAISE invalid_parameter_value USING MESSAGE = 'pool_column and gateway_column must differ';
    END IF;
    -- Another level might look at what is there with a snapshot from before the locks.
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE object_not_in_prerequisite_state
            USING MESSAGE = 'consumers are registered at isolation level READ COMMITTED only';
    END IF;
    PERFORM FROM pg_class c
      WHERE c.oid = consumer AND c.relkind IN ('r', 'p') AND c.relpersistence <> 't'
        AND consumer <> ALL (@extschema@.gateway_pool_tables());
    IF NOT FOUND THEN
        RAISE wrong_object_type
            USING MESSAGE = format('%s cannot be a consumer of gateway pools', consumer),
                  DETAIL = 'A consumer is a table, no temporary one, and none of the tables of gateway pools.';
    END IF;
    IF NOT pg_has_role((SELECT c.relowner FROM pg_class c WHERE c.oid = consumer), 'USAGE') THEN
        RAISE insufficient_privilege
            USING MESSAGE = format('must be owner of table %s', consumer);
    END IF;

    IF EXISTS (SELECT FROM @extschema@.gateway_pool_consumer_parts(consumer, pool_column, gateway_column, org_query) p
                WHERE NOT p.present) THEN
        IF old_lock_timeout::interval NOT BETWEEN interval '1 ms' AND interval '5 s' THEN
            PERFORM set_config('lock_timeout', '5s', true);
        END IF;
        PERFORM @extschema@.lock_gateway_pool_tables(ARRAY[consumer], ARRAY['@extschema@.gateway_pools'::regclass]);

        -- A superuser must not evaluate what an owner defined: these are of exactly the server's own type.
        SELECT string_agg(format('%s.%I', consumer, w.attribute), ', ' ORDER BY w.attribute) INTO problem
          FROM (VALUES (pool_column, false), (gateway_column, true),
                       (CASE WHEN org_query IS NULL THEN 'orgId' END::name, true)) w (attribute, required)
          LEFT JOIN pg_attribute a ON a.attrelid = consumer AND a.attname = w.attribute AND NOT a.attisdropped
         WHERE w.attribute IS NOT NULL
           AND CASE WHEN a.attnum IS NULL THEN w.required ELSE a.atttypid <> 'uuid'::regtype END;
        IF problem IS NOT NULL THEN
            RAISE object_not_in_prerequisite_state
                USING MESSAGE = 'columns are not of type uuid, or missing: ' || problem,
                      HINT = CASE WHEN problem LIKE '%"orgId"%'
                                  THEN 'Where a row has no "orgId" of its own, give org_query, which finds its organization.'
                                  ELSE '' END;
        END IF;
        -- Each is null while the other one is set; the pool column also when the pool goes.
        SELECT string_agg(format('%s.%I', consumer, a.attname), ', ' ORDER BY a.attname) INTO problem
          FROM pg_attribute a
         WHERE a.attrelid = consumer AND a.attname IN (pool_column, gateway_column) AND a.attnotnull;
        IF problem IS NOT NULL THEN
            RAISE object_not_in_prerequisite_state
                USING MESSAGE = 'columns must be nullable: ' || problem;
        END IF;

        FOR part IN
            SELECT * FROM @extschema@.gateway_pool_consumer_parts(consumer, pool_column, gateway_column, org_query) p
             WHERE NOT p.present
        LOOP
            EXECUTE part.command;
        END LOOP;
    END IF;
    PERFORM set_config('lock_timeout', old_lock_timeout, true);
END
$$;
COMMENT ON FUNCTION attach_pool_consumer(regclass, name, name, text) IS
    'used by register_pool_consumer(): the same for a query that qualify_pool_consumer_query() has returned';

-- Without a search path of its own: org_query is read with the caller's.
CREATE FUNCTION register_pool_consumer(
    consumer regclass,
    pool_column name DEFAULT 'gatewayPoolId',
    gateway_column name DEFAULT NULL,
    org_query text DEFAULT NULL) RETURNS void
    LANGUAGE sql VOLATILE PARALLEL UNSAFE
AS $$
    SELECT @extschema@.attach_pool_consumer(consumer, pool_column, gateway_column,
                                            @extschema@.qualify_pool_consumer_query(consumer, org_query))
$$;
COMMENT ON FUNCTION register_pool_consumer(regclass, name, name, text) IS
    'puts the rows of a table under the rules of gateway pools, making what is missing: the pool column, its foreign key '
    'and index, the triggers; gateway_column is that of the direct gateway, org_query a SELECT of the organization of '
    'row $1, else it is the row''s own "orgId"; idempotent';

CREATE FUNCTION unregister_pool_consumer(
    consumer regclass,
    pool_column name DEFAULT 'gatewayPoolId',
    keep_data boolean DEFAULT true) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    old_lock_timeout CONSTANT text := current_setting('lock_timeout');
    argument CONSTANT bytea := convert_to(pool_column, getdatabaseencoding()) || '\x00'::bytea;
    commands text[];
    command text;
BEGIN
    IF consumer IS NULL OR pool_column IS NULL OR keep_data IS NULL THEN
        RAISE invalid_parameter_value USING MESSAGE = 'consumer, pool_column and keep_data must not be null';
    END IF;
    SELECT array_agg(format('DROP TRIGGER %I ON %s', t.tgname, consumer) ORDER BY t.tgname) INTO commands
      FROM pg_trigger t
     WHERE t.tgrelid = consumer AND t.tgparentid = 0
       AND t.tgfoid IN ('@extschema@.pool_consumer_route()'::regprocedure,
                        '@extschema@.pool_consumer_enforce()'::regprocedure,
                        '@extschema@.pool_consumer_audit()'::regprocedure)
       AND substring(t.tgargs FROM 1 FOR length(argument)) = argument;
    IF commands IS NULL THEN
        RAISE undefined_object
            USING MESSAGE = format('column %I of table %s is not registered as a consumer of gateway pools',
                                   pool_column, consumer);
    END IF;
    -- What was there before stays, such as a foreign key of the host's.
    SELECT commands || coalesce(array_agg(o.command ORDER BY o.place), '{}') INTO commands
      FROM (SELECT 1, format('ALTER TABLE %s DROP CONSTRAINT %I', consumer, k.conname)
              FROM pg_constraint k
              JOIN pg_attribute a ON a.attrelid = k.conrelid AND k.conkey = ARRAY[a.attnum]
             WHERE k.conrelid = consumer AND a.attname = pool_column AND k.contype = 'f'
               AND obj_description(k.oid, 'pg_constraint') = 'of gateway pools'
             UNION ALL
            SELECT 2, format('DROP INDEX %s', i.indexrelid::regclass)
              FROM pg_index i
              JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
             WHERE i.indrelid = consumer AND a.attname = pool_column
               AND obj_description(i.indexrelid, 'pg_class') = 'of gateway pools'
             UNION ALL
            SELECT 3, format('ALTER TABLE %s DROP COLUMN %I', consumer, a.attname)
              FROM pg_attribute a
             WHERE a.attrelid = consumer AND a.attname = pool_column AND NOT a.attisdropped AND NOT keep_data
           ) o (place, command);

    IF old_lock_timeout::interval NOT BETWEEN interval '1 ms' AND interval '5 s' THEN
        PERFORM set_config('lock_timeout', '5s', true);
    END IF;
    PERFORM @extschema@.lock_gateway_pool_tables(ARRAY[consumer], ARRAY['@extschema@.gateway_pools'::regclass]);
    FOREACH command IN ARRAY commands
    LOOP
        EXECUTE command;
    END LOOP;
    PERFORM set_config('lock_timeout', old_lock_timeout, true);
END
$$;
COMMENT ON FUNCTION unregister_pool_consumer(regclass, name, boolean) IS
    'takes the rows of a table out of the rules of gateway pools: its triggers go, and the foreign key and index that '
    'register_pool_consumer() made; with keep_data false the column too, whoever made it';
