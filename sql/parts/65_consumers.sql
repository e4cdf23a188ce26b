
-- Consumers: tables whose rows reference a pool.

CREATE FUNCTION gateway_pool_internal.consumers()
    RETURNS TABLE (consumer regclass, pool_column name, gateway_column name, org_query text)
    LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION gateway_pool_internal.consumers() IS
    'returns the registered consumers as recorded in their markers';

CREATE FUNCTION @extschema@.gateway_pool_consumers()
    RETURNS TABLE (consumer regclass, pool_column name, gateway_column name, org_query text)
    LANGUAGE sql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT c.consumer, c.pool_column, c.gateway_column, c.org_query FROM gateway_pool_internal.consumers() c
$$;
COMMENT ON FUNCTION @extschema@.gateway_pool_consumers() IS
    'returns the registered consumers with the arguments of register_pool_consumer(); all names in org_query are '
    'qualified';

CREATE FUNCTION gateway_pool_internal.qualify_consumer_query(consumer regclass, org_query text) RETURNS text
    LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION gateway_pool_internal.qualify_consumer_query(regclass, text) IS
    'checks an org_query as the owner of the consumer and returns it with all names qualified; the caller must have '
    'the privileges of that owner';

CREATE FUNCTION gateway_pool_internal.run_part(relation text, as_caller text, as_owner text) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    SET standard_conforming_strings = on
AS $$
BEGIN
    IF as_caller IS NOT NULL THEN
        EXECUTE as_caller;
    END IF;
    IF as_owner IS NOT NULL THEN
        PERFORM gateway_pool_internal.run_as_owner(relation::regclass, as_owner);
    END IF;
END
$$;
COMMENT ON FUNCTION gateway_pool_internal.run_part(text, text, text) IS
    'runs the commands that create a missing part: the first as the caller, the second as the owner of the table';

CREATE FUNCTION gateway_pool_internal.default_org_query(consumer regclass, organizations regclass) RETURNS text
    LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION gateway_pool_internal.default_org_query(regclass, regclass) IS
    'returns the query that finds the organization of a row of a consumer without an org_query; null if its columns '
    'do not say what that is';

CREATE FUNCTION gateway_pool_internal.consumer_parts(
    consumer regclass,
    pools text,
    pool_column name,
    gateway_column name,
    org_query text)
    RETURNS TABLE (
        kind text,
        relation text,
        name text,
        present boolean,
        as_caller text,
        as_owner text)
    LANGUAGE sql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    SET standard_conforming_strings = on
    SET quote_all_identifiers = off
AS $$
    WITH named AS (
        SELECT c.oid, c.oid::regclass::text AS name, c.relname, c.relkind, c.relnamespace, n.nspname, a.attnum,
               lower(c.relname || '_' || pool_column) AS stem,
               left(encode(sha256(convert_to(c.relname || ' ' || pool_column, getdatabaseencoding())), 'hex'), 32) AS hash
          FROM pg_class c
          JOIN pg_namespace n ON n.oid = c.relnamespace
          LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = pool_column AND NOT a.attisdropped
         WHERE c.oid = consumer
    ),
    consumer AS (
        SELECT n.oid, n.name, n.nspname, n.relkind, n.attnum,
               -- No migration of the host creates these names, except for the key that its own migration looks for.
               'gateway_pool_ix_' ||
               CASE WHEN octet_length(n.stem) > 47 OR EXISTS (
                         SELECT FROM pg_class o WHERE o.relnamespace = n.relnamespace AND o.relname = 'gateway_pool_ix_' || n.stem)
                    THEN n.hash ELSE n.stem END AS index_name,
               CASE WHEN n.relname = 'identity_kubernetes_auths' AND pool_column = 'gatewayPoolId' THEN n.stem || '_foreign'
                    ELSE 'gateway_pool_fk_' ||
                         CASE WHEN octet_length(n.stem) > 47 OR EXISTS (
                                   SELECT FROM pg_constraint o WHERE o.conrelid = n.oid AND o.conname = 'gateway_pool_fk_' || n.stem)
                              THEN n.hash ELSE n.stem END END AS key_name,
               -- Names of triggers have a suffix, except for column "gatewayPoolId".
               CASE WHEN pool_column = 'gatewayPoolId' THEN ''
                    WHEN octet_length(pool_column::text) > 35 OR pool_column::text ~ '^truncate' THEN '_' || n.hash
                    ELSE '_' || pool_column END AS suffix
          FROM named n
    ),
    triggers AS (
        SELECT t.place, (t.name || c.suffix)::name AS name, c.oid AS table_oid, c.name AS table_name,
               format('CREATE TRIGGER %I %s ON %s FOR EACH %s EXECUTE FUNCTION gateway_pool_internal.%I(''%s'')',
                      (t.name || c.suffix)::name, t.fires, c.name, t.level, t.function,
                      replace(pool_column, '''', '''''')) AS definition
          FROM consumer c CROSS JOIN (VALUES
        (1, 'GatewayPools_route', 'BEFORE INSERT OR UPDATE', 'ROW', 'consumer_route'),
        (2, 'GatewayPools_enforce', 'AFTER INSERT OR UPDATE', 'ROW', 'consumer_enforce'),
        (3, 'GatewayPools_audit', 'AFTER INSERT OR DELETE OR UPDATE', 'ROW', 'consumer_audit'),
        (4, 'GatewayPools_audit_truncate', 'BEFORE TRUNCATE', 'STATEMENT', 'consumer_audit')
        ) t (place, name, fires, level, function)
    ),
    marker AS (
        SELECT c.oid AS table_oid, c.name AS table_name, ('GatewayPools_marker' || c.suffix)::name AS name,
               ARRAY['consumer', pool_column::text, coalesce(gateway_column::text, ''), coalesce(org_query, '')] AS arguments
          FROM consumer c
    )
    SELECT p.kind, p.relation, p.name, p.present, p.as_caller, p.as_owner
      FROM (
        SELECT 1 AS place, 'column' AS kind, c.name AS relation, pool_column::text AS name, c.attnum IS NOT NULL AS present,
               NULL::text AS as_caller,
               format('ALTER TABLE %s ADD COLUMN %I uuid; COMMENT ON COLUMN %s.%I IS %L', c.name, pool_column, c.name,
                      pool_column, 'gateway pool through which this row is reached, instead of a single gateway') AS as_owner
          FROM consumer c
         UNION ALL
        SELECT 2, 'index', c.name, c.index_name,
               EXISTS (SELECT FROM pg_index i
                        WHERE i.indrelid = c.oid AND i.indisvalid AND ARRAY[i.indkey[0]] = ARRAY[c.attnum]),
               -- Needs CREATE on the schema, which the owner may lack; the server builds the index as the owner anyway.
               format('CREATE INDEX %I ON %s (%I); COMMENT ON INDEX %I.%I IS %L', c.index_name, c.name,
                      pool_column, c.nspname, c.index_name, 'of gateway pools'),
               NULL
          FROM consumer c
         UNION ALL
        -- The caller adds the key without reading rows; the owner validates it.  Partitioned tables have no NOT VALID.
        SELECT 3, 'foreign key', c.name, c.key_name,
               EXISTS (SELECT FROM pg_constraint f
                        WHERE f.conrelid = c.oid AND f.contype = 'f' AND f.conkey = ARRAY[c.attnum]
                          AND f.confrelid = to_regclass(pools)),
               CASE c.relkind WHEN 'r' THEN k.add || ' NOT VALID' END,
               CASE c.relkind WHEN 'r' THEN format('ALTER TABLE %s VALIDATE CONSTRAINT %I', c.name, c.key_name) ELSE k.add END ||
               format('; COMMENT ON CONSTRAINT %I ON %s IS %L', c.key_name, c.name, 'of gateway pools')
          FROM consumer c
         CROSS JOIN LATERAL format('ALTER TABLE %s ADD CONSTRAINT %I FOREIGN KEY (%I) REFERENCES %s (id) ON DELETE SET NULL',
                                   c.name, c.key_name, pool_column, pools) k (add)
         UNION ALL
        SELECT 4, 'marker', m.table_name, m.name::text,
               EXISTS (SELECT FROM gateway_pool_internal.markers() o
                        WHERE o.relation = m.table_oid AND o.name = m.name
                          AND o.arguments = (SELECT string_agg(convert_to(a.argument, getdatabaseencoding()) || '\x00'::bytea, '' ORDER BY a.place)
                                               FROM unnest(m.arguments) WITH ORDINALITY a (argument, place))),
               format('SELECT gateway_pool_internal.mark_table(%L::oid::regclass, %L::name, %L::text[])', m.table_oid, m.name, m.arguments),
               NULL
          FROM marker m
         UNION ALL
        SELECT 4 + t.place, 'trigger', t.table_name, t.name::text, coalesce(pg_get_triggerdef(named.oid) = t.definition, false),
               NULL, 'CREATE OR REPLACE' || substr(t.definition, 7)
          FROM triggers t
          LEFT JOIN pg_trigger named ON named.tgrelid = t.table_oid AND named.tgname = t.name AND NOT named.tgisinternal
      ) p
     ORDER BY p.place
$$;
COMMENT ON FUNCTION gateway_pool_internal.consumer_parts(regclass, text, name, name, text) IS
    'returns column, index, key, marker and triggers of a consumer: whether each is present, and the commands that '
    'create it as the caller and as the owner of the table';

CREATE FUNCTION gateway_pool_internal.require_right_to_register() RETURNS regclass
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    pools record;
BEGIN
    PERFORM gateway_pool_internal.require_installed();
    SELECT m.relation, c.relowner AS owner, c.relname AS name, n.nspname AS schema INTO pools
      FROM gateway_pool_internal.markers() m
      JOIN pg_class c ON c.oid = m.relation
      JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE m.role = 'gateway_pools';
    -- At a higher isolation level, the catalogs could be read with a snapshot from before the locks.
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE object_not_in_prerequisite_state
            USING MESSAGE = format('cannot register a consumer at isolation level "%s"', current_setting('transaction_isolation')),
                  HINT = 'Use isolation level READ COMMITTED.',
                  CONSTRAINT = 'gateway_pools_consumer', SCHEMA = pools.schema, TABLE = pools.name;
    END IF;
    IF NOT pg_has_role(pools.owner, 'USAGE') THEN
        RAISE insufficient_privilege
            USING MESSAGE = format('must be owner of table %s', pools.relation),
                  DETAIL = 'A consumer writes to the audit log and is listed among the resources of pools.',
                  HINT = 'Register the consumer as a superuser or as a role that owns both tables.',
                  CONSTRAINT = 'gateway_pools_access', SCHEMA = pools.schema, TABLE = pools.name;
    END IF;
    RETURN pools.relation;
END
$$;
COMMENT ON FUNCTION gateway_pool_internal.require_right_to_register() IS
    'raises an error unless the caller may register consumers in this transaction; returns gateway_pools';

CREATE FUNCTION gateway_pool_internal.require_org_of_rows(consumer regclass, organizations regclass, hint text) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    ambiguous CONSTANT text := gateway_pool_internal.ambiguous_org_columns(consumer, organizations);
BEGIN
    IF ambiguous IS NOT NULL OR gateway_pool_internal.default_org_query(consumer, organizations) IS NULL THEN
        RAISE object_not_in_prerequisite_state
            USING MESSAGE = format('cannot determine the organization of the rows of table %s', consumer),
                  DETAIL = CASE WHEN ambiguous IS NULL
                                THEN format('It has no column of type uuid that references %s, no column "orgId" of that type, '
                                            'and no column "identityId" that references a table with such a column.', organizations)
                                ELSE format('Several columns reference %s: %s.', organizations, ambiguous) END,
                  HINT = hint,
                  CONSTRAINT = 'gateway_pools_consumer',
                  SCHEMA = (SELECT n.nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = consumer),
                  TABLE = (SELECT c.relname FROM pg_class c WHERE c.oid = consumer);
    END IF;
END
$$;
COMMENT ON FUNCTION gateway_pool_internal.require_org_of_rows(regclass, regclass, text) IS
    'raises 55000 with a hint unless the columns of a consumer without an org_query say what the organization of a row is';

CREATE FUNCTION gateway_pool_internal.attach_consumer(
    consumer regclass,
    pool_column name,
    gateway_column name,
    org_query text) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    SET jit = off
    SET standard_conforming_strings = on
AS $$
#variable_conflict use_variable
DECLARE
    old_lock_timeout CONSTANT text := current_setting('lock_timeout');
    pools CONSTANT regclass := gateway_pool_internal.require_right_to_register();
    problem text;
    part record;
    table_name text;
    schema_name text;
BEGIN
    IF consumer IS NULL OR pool_column IS NULL THEN
        RAISE invalid_parameter_value USING MESSAGE = 'consumer and pool_column must not be null';
    END IF;
    SELECT c.relname, n.nspname INTO table_name, schema_name
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = consumer;
    IF NOT pg_has_role((SELECT c.relowner FROM pg_class c WHERE c.oid = consumer), 'USAGE') THEN
        RAISE insufficient_privilege
            USING MESSAGE = format('must be owner of table %s', consumer),
                  CONSTRAINT = 'gateway_pools_access', SCHEMA = schema_name, TABLE = table_name;
    END IF;
    IF gateway_column = pool_column THEN
        RAISE invalid_parameter_value USING MESSAGE = format('pool_column and gateway_column must not both be "%s"', pool_column);
    END IF;
    PERFORM FROM pg_class c
      WHERE c.oid = consumer AND c.relkind IN ('r', 'p') AND c.relpersistence <> 't'
        AND consumer NOT IN (SELECT m.relation FROM gateway_pool_internal.markers() m WHERE m.role <> 'consumer');
    IF NOT FOUND THEN
        RAISE wrong_object_type
            USING MESSAGE = format('relation %s cannot be a consumer of gateway pools', consumer),
                  DETAIL = 'A consumer is a permanent table that is not itself a table of gateway pools.',
                  CONSTRAINT = 'gateway_pools_consumer', SCHEMA = coalesce(schema_name, ''), TABLE = coalesce(table_name, '');
    END IF;
    IF EXISTS (SELECT FROM gateway_pool_internal.consumer_parts(consumer, pools::text, pool_column, gateway_column, org_query) p
                WHERE NOT p.present) THEN
        IF old_lock_timeout::interval NOT BETWEEN interval '1 ms' AND interval '5 s' THEN
            PERFORM set_config('lock_timeout', '5s', true);
        END IF;
        PERFORM gateway_pool_internal.lock_tables(ARRAY[consumer], ARRAY[pools]);

        -- A key must not depend on code that an owner defined, so its columns must be of the built-in type itself.
        SELECT string_agg(format('%s.%I', consumer, w.attribute), ', ' ORDER BY w.attribute) INTO problem
          FROM (VALUES (pool_column, false), (gateway_column, true)) w (attribute, required)
          LEFT JOIN pg_attribute a ON a.attrelid = consumer AND a.attname = w.attribute AND NOT a.attisdropped
         WHERE w.attribute IS NOT NULL
           AND CASE WHEN a.attnum IS NULL THEN w.required ELSE a.atttypid <> 'uuid'::regtype END;
        IF problem IS NOT NULL THEN
            RAISE object_not_in_prerequisite_state
                USING MESSAGE = 'columns of a consumer must exist and be of type uuid',
                      DETAIL = format('Missing or of another type: %s.', problem),
                      HINT = 'Change their type to uuid. Only the pool column is added if it is missing.',
                      CONSTRAINT = 'gateway_pools_consumer', SCHEMA = schema_name, TABLE = table_name;
        END IF;
        IF org_query IS NULL THEN
            PERFORM gateway_pool_internal.require_org_of_rows(
                consumer, (SELECT m.relation FROM gateway_pool_internal.markers() m WHERE m.role = 'organizations'),
                'Pass an org_query that returns the organization of row $1.');
        END IF;
        -- Setting one column sets the other to null; deleting a pool sets the pool column to null.
        SELECT string_agg(format('%s.%I is %s', consumer, a.attname,
                                 CASE WHEN a.attgenerated <> '' THEN 'generated' ELSE 'declared NOT NULL' END), ', ' ORDER BY a.attname)
          INTO problem
          FROM pg_attribute a
         WHERE a.attrelid = consumer AND a.attname IN (pool_column, gateway_column) AND (a.attnotnull OR a.attgenerated <> '');
        IF problem IS NOT NULL THEN
            RAISE object_not_in_prerequisite_state
                USING MESSAGE = 'pool and gateway column of a consumer must be nullable and not generated',
                      DETAIL = problem || '.',
                      CONSTRAINT = 'gateway_pools_consumer', SCHEMA = schema_name, TABLE = table_name;
        END IF;

        FOR part IN
            SELECT * FROM gateway_pool_internal.consumer_parts(consumer, pools::text, pool_column, gateway_column, org_query) p
             WHERE NOT p.present
        LOOP
            PERFORM gateway_pool_internal.run_part(part.relation, part.as_caller, part.as_owner);
        END LOOP;
    END IF;
    PERFORM set_config('lock_timeout', old_lock_timeout, true);
END
$$;
COMMENT ON FUNCTION gateway_pool_internal.attach_consumer(regclass, name, name, text) IS
    'registers a consumer; org_query must be a result of qualify_consumer_query()';

-- Sets no search path, because org_query is parsed with the caller's.
CREATE FUNCTION @extschema@.register_pool_consumer(
    consumer regclass,
    pool_column name DEFAULT 'gatewayPoolId',
    gateway_column name DEFAULT NULL,
    org_query text DEFAULT NULL) RETURNS void
    LANGUAGE sql VOLATILE PARALLEL UNSAFE
AS $$
    SELECT gateway_pool_internal.attach_consumer(consumer, pool_column, gateway_column,
                                                 gateway_pool_internal.qualify_consumer_query(consumer, org_query))
$$;
COMMENT ON FUNCTION @extschema@.register_pool_consumer(regclass, name, name, text) IS
    'makes a table a consumer and creates what is missing: the pool column, its foreign key and index, the triggers; '
    'gateway_column is the column of the direct gateway; org_query is a SELECT that returns the organization of row '
    '$1, by default its column that references the organizations table, else its "orgId", else that of the row that '
    '"identityId" references; for a role that owns the table and '
    'gateway_pools; idempotent';

CREATE FUNCTION gateway_pool_internal.infisical_consumers()
    RETURNS TABLE (consumer text, relation regclass, gateway_column name, org_query text, problem text)
    LANGUAGE sql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    SET quote_all_identifiers = off
AS $$
    WITH host AS (
        SELECT c.oid::regclass::text AS gateways, c.relnamespace AS schema_oid, c.relnamespace::regnamespace::text AS schema,
               c.relowner AS owner
          FROM gateway_pool_internal.markers() m
          JOIN pg_class c ON c.oid = m.relation
         WHERE m.role = 'gateways'
    ),
    -- How the organization of a row is found: tables that are read, and the query, with the schema and the gateways table for %.
    ways (way, tables, query) AS (
        VALUES
        ('own', '{}'::name[], NULL),
        ('project', '{projects}', 'SELECT p."orgId" FROM %1$s.projects p WHERE p.id = ($1)."projectId"'),
        ('pam folder', '{pam_folders,projects}',
            'SELECT p."orgId" FROM %1$s.pam_folders f JOIN %1$s.projects p ON p.id = f."projectId" WHERE f.id = ($1)."folderId"'),
        ('secret folder', '{secret_folders,project_environments,projects}',
            'SELECT p."orgId" FROM %1$s.secret_folders f JOIN %1$s.project_environments e ON e.id = f."envId" '
            'JOIN %1$s.projects p ON p.id = e."projectId" WHERE f.id = ($1)."folderId"'),
        ('enrolled gateway', '{resource_auth_methods}',
            'SELECT g."orgId" FROM %1$s.resource_auth_methods m JOIN %2$s g ON g.id = m."gatewayId" WHERE m.id = ($1)."authMethodId"')
    ),
    tables (place, name, gateway_column, way) AS (
        VALUES
        (1, 'identity_kubernetes_auths', 'gatewayV2Id', 'own'),
        (2, 'app_connections', 'gatewayId', 'own'),
        (3, 'identity_auth_templates', 'gatewayV2Id', 'own'),
        (4, 'dynamic_secrets', 'gatewayV2Id', 'secret folder'),
        (5, 'pki_discovery_configs', 'gatewayId', 'project'),
        (6, 'pam_domains', 'gatewayId', 'project'),
        (7, 'pam_resources', 'gatewayId', 'project'),
        (8, 'pam_account_templates', 'gatewayId', 'project'),
        (9, 'pam_discovery_sources', 'gatewayId', 'project'),
        (10, 'hsm_connectors', 'gatewayId', 'project'),
        (11, 'agent_gateways', 'gatewayId', 'project'),
        (12, 'pam_accounts', 'gatewayId', 'pam folder'),
        -- Its gateway is exempt from the policy that requires pools.
        (13, 'resource_kubernetes_auths', NULL, 'enrolled gateway')
    )
    SELECT format('%s.%I', h.schema, t.name), c.oid::regclass,
           -- As a registered consumer's, the column may be missing.
           (SELECT a.attname FROM pg_attribute a
             WHERE a.attrelid = c.oid AND a.attname = t.gateway_column AND NOT a.attisdropped),
           format(w.query, h.schema, h.gateways),
           CASE WHEN c.oid IS NULL THEN 'table does not exist'
                WHEN c.relkind NOT IN ('r', 'p') THEN 'relation is not a table'
                WHEN c.relowner <> h.owner
                THEN format('table is owned by %s, the gateways table by %s', c.relowner::regrole, h.owner::regrole)
                WHEN NOT EXISTS (SELECT FROM pg_attribute a
                                  WHERE a.attrelid = c.oid AND a.attname = 'gatewayPoolId' AND NOT a.attisdropped)
                THEN 'table has no column "gatewayPoolId"'
                -- The query runs as the owner, so it must not name a view or a table of another role.
                ELSE (SELECT format('table %s.%I of %s does not exist', h.schema, min(r.name::text), h.owner::regrole)
                        FROM unnest(w.tables) r (name)
                       WHERE NOT EXISTS (SELECT FROM pg_class o
                                          WHERE o.relnamespace = h.schema_oid AND o.relname = r.name
                                            AND o.relkind IN ('r', 'p') AND o.relowner = h.owner)
                      HAVING count(*) > 0) END
      FROM host h
     CROSS JOIN tables t
      JOIN ways w ON w.way = t.way
      LEFT JOIN pg_class c ON c.relnamespace = h.schema_oid AND c.relname = t.name
     ORDER BY t.place
$$;
COMMENT ON FUNCTION gateway_pool_internal.infisical_consumers() IS
    'returns the tables of Infisical that have a pool column: the arguments with which each is registered, and why it '
    'cannot be, else null';

CREATE FUNCTION @extschema@.register_infisical_consumers()
    RETURNS TABLE (consumer text, registered boolean, reason text)
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    SET jit = off
AS $$
#variable_conflict use_column
DECLARE
    old_lock_timeout CONSTANT text := current_setting('lock_timeout');
    pools CONSTANT regclass := gateway_pool_internal.require_right_to_register();
    new_consumers CONSTANT regclass[] := ARRAY(
        SELECT t.relation FROM gateway_pool_internal.infisical_consumers() t
         WHERE t.problem IS NULL
           AND NOT EXISTS (SELECT FROM gateway_pool_internal.consumers() r
                            WHERE r.consumer = t.relation AND r.pool_column = 'gatewayPoolId'));
    target record;
    query text;
    problem_detail text;
BEGIN
    IF old_lock_timeout::interval NOT BETWEEN interval '1 ms' AND interval '5 s' THEN
        PERFORM set_config('lock_timeout', '5s', true);
    END IF;
    IF cardinality(new_consumers) > 0 THEN
        -- All at once, so that no statement of the host waits for one table while this waits for another.
        BEGIN
            PERFORM gateway_pool_internal.lock_tables(new_consumers, ARRAY[pools]);
        EXCEPTION
            WHEN lock_not_available THEN
                IF current_setting('lock_timeout')::interval > interval '200 ms' THEN
                    PERFORM set_config('lock_timeout', '200ms', true);
                END IF;
        END;
    END IF;

    FOR target IN SELECT * FROM gateway_pool_internal.infisical_consumers()
    LOOP
        consumer := target.consumer;
        registered := false;
        reason := target.problem;
        IF target.problem IS NULL THEN
            BEGIN
                query := gateway_pool_internal.qualify_consumer_query(target.relation, target.org_query);
                reason := CASE WHEN EXISTS (SELECT FROM gateway_pool_internal.consumer_parts(
                                                target.relation, pools::text, 'gatewayPoolId'::name, target.gateway_column, query) p
                                             WHERE NOT p.present)
                               THEN 'registered now' ELSE 'was registered' END;
                PERFORM gateway_pool_internal.attach_consumer(target.relation, 'gatewayPoolId'::name, target.gateway_column, query);
                registered := true;
            EXCEPTION
                WHEN lock_not_available THEN
                    reason := 'lock not available: call the function again';
                WHEN OTHERS THEN
                    GET STACKED DIAGNOSTICS reason = MESSAGE_TEXT, problem_detail = PG_EXCEPTION_DETAIL;
                    reason := concat_ws(': ', reason, nullif(problem_detail, ''));
            END;
        END IF;
        RETURN NEXT;
    END LOOP;
    PERFORM set_config('lock_timeout', old_lock_timeout, true);
END
$$;
COMMENT ON FUNCTION @extschema@.register_infisical_consumers() IS
    'registers the tables of Infisical that have the column "gatewayPoolId" as consumers, and returns a row for each '
    'table of its list; reason is why a table is not registered, or whether it was before; for a role that owns '
    'gateway_pools; idempotent';

CREATE FUNCTION @extschema@.unregister_pool_consumer(
    consumer regclass,
    pool_column name DEFAULT 'gatewayPoolId',
    keep_data boolean DEFAULT true) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    SET jit = off
    SET standard_conforming_strings = on
AS $$
#variable_conflict use_variable
DECLARE
    old_lock_timeout CONSTANT text := current_setting('lock_timeout');
    argument CONSTANT bytea := convert_to(pool_column, getdatabaseencoding()) || '\x00'::bytea;
    marker CONSTANT bytea := 'consumer\000'::bytea || argument;
    commands text[];
    command text;
BEGIN
    PERFORM gateway_pool_internal.require_script();
    IF consumer IS NULL OR pool_column IS NULL OR keep_data IS NULL THEN
        RAISE invalid_parameter_value USING MESSAGE = 'consumer, pool_column and keep_data must not be null';
    END IF;
    SELECT array_agg(format('DROP TRIGGER %I ON %s', t.tgname, consumer) ORDER BY t.tgname) INTO commands
      FROM pg_trigger t
     WHERE t.tgrelid = consumer AND t.tgparentid = 0
       AND (t.tgfoid IN ('gateway_pool_internal.consumer_route()'::regprocedure,
                         'gateway_pool_internal.consumer_enforce()'::regprocedure,
                         'gateway_pool_internal.consumer_audit()'::regprocedure)
            AND t.tgargs = argument
            OR t.tgfoid = 'gateway_pool_internal.table_marker()'::regprocedure
            AND substring(t.tgargs FROM 1 FOR length(marker)) = marker);
    IF commands IS NULL THEN
        RAISE undefined_object
            USING MESSAGE = format('column %I of table %s is not registered as a consumer of gateway pools',
                                   pool_column, consumer),
                  CONSTRAINT = 'gateway_pools_not_found',
                  SCHEMA = coalesce((SELECT n.nspname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                                      WHERE c.oid = consumer), ''),
                  TABLE = coalesce((SELECT c.relname FROM pg_class c WHERE c.oid = consumer), '');
    END IF;
    -- Objects from before the registration stay, such as a foreign key of the host's.
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
    PERFORM gateway_pool_internal.lock_tables(
        ARRAY[consumer], ARRAY(SELECT m.relation FROM gateway_pool_internal.markers() m WHERE m.role = 'gateway_pools'));
    FOREACH command IN ARRAY commands
    LOOP
        -- Not as the caller: DROP COLUMN evaluates the partition key, which the owner defined.
        PERFORM gateway_pool_internal.run_as_owner(consumer, command);
    END LOOP;
    PERFORM set_config('lock_timeout', old_lock_timeout, true);
END
$$;
COMMENT ON FUNCTION @extschema@.unregister_pool_consumer(regclass, name, boolean) IS
    'ends the registration of a consumer: drops its triggers, and the foreign key and index that '
    'register_pool_consumer() created; drops the pool column too if keep_data is false';
