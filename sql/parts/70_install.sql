
-- The tables, their keys and their triggers: ordinary objects, not members of
-- the extension, so that pg_dump carries them and DROP EXTENSION takes no data.

CREATE FUNCTION is_extension_script() RETURNS boolean
    LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'gateway_pool_is_extension_script';
COMMENT ON FUNCTION is_extension_script() IS
    'used by install_gateway_pools(): whether a script of CREATE or ALTER EXTENSION is running';

CREATE FUNCTION want_gateway_pool_worker() RETURNS void
    LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'gateway_pool_want_worker';
COMMENT ON FUNCTION want_gateway_pool_worker() IS
    'used by install_gateway_pools(): this database gets its background worker when the transaction commits';

CREATE FUNCTION gateway_pool_host_tables(
    OUT organizations regclass,
    OUT gateways regclass,
    OUT kubernetes_auths regclass)
    LANGUAGE sql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
    WITH key (relation, attribute, referenced, name) AS (
        SELECT k.conrelid::regclass, a.attname, k.confrelid::regclass, k.conname
          FROM pg_constraint k
          JOIN pg_attribute a ON a.attrelid = k.conrelid AND k.conkey = ARRAY[a.attnum]
         WHERE k.contype = 'f' AND k.connamespace = '@extschema@'::regnamespace)
    SELECT coalesce((SELECT k.referenced FROM key k
                      WHERE k.relation = to_regclass('@extschema@.gateway_pools') AND k.attribute = 'orgId'
                      ORDER BY k.name LIMIT 1),
                    to_regclass('@extschema@.organizations')),
           coalesce((SELECT k.referenced FROM key k
                      WHERE k.relation = to_regclass('@extschema@.gateway_pool_memberships') AND k.attribute = 'gatewayId'
                      ORDER BY k.name LIMIT 1),
                    to_regclass('@extschema@.gateways_v2')),
           coalesce(to_regclass('@extschema@.identity_kubernetes_auths'),
                    (SELECT k.relation FROM key k JOIN key i ON i.relation = k.relation
                      WHERE k.referenced = to_regclass('@extschema@.gateway_pools')
                        AND k.attribute = 'gatewayPoolId' AND i.attribute = 'identityId'
                      ORDER BY k.relation LIMIT 1))
$$;
COMMENT ON FUNCTION gateway_pool_host_tables() IS
    'used by install_gateway_pools() and check_gateway_pools(): the host''s tables, as the foreign keys of ours '
    'name them, else by their usual names';

CREATE FUNCTION gateway_pool_columns()
    RETURNS TABLE (place bigint, relation text, attribute text, type text, properties text, comment text)
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT row_number() OVER (), c.*
      FROM (VALUES
    ('gateway_pools', NULL, NULL, NULL,
        'a named set of gateways of one organization that reach the same network'),
    ('gateway_pools', 'id', 'uuid',
        'NOT NULL DEFAULT gen_random_uuid() CONSTRAINT gateway_pools_pkey PRIMARY KEY', NULL),
    ('gateway_pools', 'orgId', 'uuid', 'NOT NULL', NULL),
    ('gateway_pools', 'name', 'varchar(32)', 'NOT NULL',
        'unique in the organization: 1 to 32 of a-z and 0-9, single inner hyphens'),
    ('gateway_pools', 'createdAt', 'timestamptz', 'NOT NULL DEFAULT CURRENT_TIMESTAMP', NULL),
    ('gateway_pools', 'updatedAt', 'timestamptz', 'NOT NULL DEFAULT CURRENT_TIMESTAMP', NULL),

    ('gateway_pool_memberships', NULL, NULL, NULL, 'a gateway''s membership in a pool'),
    ('gateway_pool_memberships', 'id', 'uuid',
        'NOT NULL DEFAULT gen_random_uuid() CONSTRAINT gateway_pool_memberships_pkey PRIMARY KEY', NULL),
    ('gateway_pool_memberships', 'gatewayPoolId', 'uuid', 'NOT NULL', NULL),
    ('gateway_pool_memberships', 'gatewayId', 'uuid', 'NOT NULL', NULL),
    ('gateway_pool_memberships', 'createdAt', 'timestamptz', 'NOT NULL DEFAULT CURRENT_TIMESTAMP', NULL),
    ('gateway_pool_memberships', 'updatedAt', 'timestamptz', 'NOT NULL DEFAULT CURRENT_TIMESTAMP', NULL),
    ('gateway_pool_memberships', 'weight', 'int',
        'NOT NULL DEFAULT 1 CONSTRAINT gateway_pool_memberships_weight_check CHECK (weight BETWEEN 0 AND 1000)',
        'share of the picks beside the weights of the other candidates; 0 is picked only when nobody weighs more'),
    ('gateway_pool_memberships', 'priority', 'smallint', 'NOT NULL DEFAULT 0',
        'picks are made from the candidates with the lowest number'),

    ('gateway_pool_entitlements', NULL, NULL, NULL,
        'what an organization''s plan allows; without a row, the settings say'),
    ('gateway_pool_entitlements', 'orgId', 'uuid', 'NOT NULL CONSTRAINT gateway_pool_entitlements_pkey PRIMARY KEY', NULL),
    ('gateway_pool_entitlements', 'gatewayPool', 'boolean', 'NOT NULL', 'whether the plan has gateway pools'),
    ('gateway_pool_entitlements', 'maxPools', 'int',
        'CONSTRAINT "gateway_pool_entitlements_maxPools_check" CHECK ("maxPools" >= -1)',
        'pools that the organization may have; NULL is the setting''s, -1 no limit'),
    ('gateway_pool_entitlements', 'maxGatewaysPerPool', 'int',
        'CONSTRAINT "gateway_pool_entitlements_maxGatewaysPerPool_check" CHECK ("maxGatewaysPerPool" >= -1)',
        'members that a pool may have; NULL is the setting''s, -1 no limit'),
    ('gateway_pool_entitlements', 'expiresAt', 'timestamptz', '', 'when the plan ends; NULL is never'),
    ('gateway_pool_entitlements', 'createdAt', 'timestamptz', 'NOT NULL DEFAULT CURRENT_TIMESTAMP', NULL),
    ('gateway_pool_entitlements', 'updatedAt', 'timestamptz', 'NOT NULL DEFAULT CURRENT_TIMESTAMP', NULL),

    ('gateway_pool_tenants', NULL, NULL, NULL,
        'of which organizations a role may know while isolation is on; so may roles that have its privileges'),
    ('gateway_pool_tenants', 'roleName', 'text', 'NOT NULL', NULL),
    ('gateway_pool_tenants', 'orgId', 'uuid', 'NOT NULL', NULL),

    ('gateway_states', NULL, NULL, NULL, 'what an administrator wants of a gateway; without a row, it is active'),
    ('gateway_states', 'gatewayId', 'uuid', 'NOT NULL CONSTRAINT gateway_states_pkey PRIMARY KEY', NULL),
    ('gateway_states', 'state', 'text',
        'NOT NULL CONSTRAINT gateway_states_state_check CHECK (state IN (''active'', ''draining'', ''maintenance''))',
        'active, draining or maintenance; only an active gateway is picked'),
    ('gateway_states', 'reason', 'text', '', 'for other administrators to read'),
    ('gateway_states', 'changedAt', 'timestamptz', 'NOT NULL DEFAULT CURRENT_TIMESTAMP', NULL),

    ('gateway_health', NULL, NULL, NULL, 'the health of gateways as it was last recorded; what it is now says gateway_status'),
    ('gateway_health', 'gatewayId', 'uuid', 'NOT NULL CONSTRAINT gateway_health_pkey PRIMARY KEY', NULL),
    ('gateway_health', 'status', 'text',
        'NOT NULL CONSTRAINT gateway_health_status_check CHECK (status IN (''healthy'', ''degraded'', ''unhealthy'', ''unknown''))',
        'healthy, degraded, unhealthy or unknown'),
    ('gateway_health', 'reason', 'text', '', NULL),
    ('gateway_health', 'lastHeartbeatAt', 'timestamptz', '', NULL),
    ('gateway_health', 'heartbeatExpiresAt', 'timestamptz', '', NULL),
    ('gateway_health', 'lastProbeAt', 'timestamptz', '', NULL),
    ('gateway_health', 'lastProbeMs', 'real', '', 'milliseconds that the last probe took'),
    ('gateway_health', 'consecutiveFailures', 'int', 'NOT NULL DEFAULT 0', NULL),
    ('gateway_health', 'consecutiveSuccesses', 'int', 'NOT NULL DEFAULT 0', NULL),
    ('gateway_health', 'changedAt', 'timestamptz', 'NOT NULL DEFAULT CURRENT_TIMESTAMP', 'when the status changed'),

    ('gateway_health_events', NULL, NULL, NULL,
        'when the status of a gateway changed and why; rows older than gateway_pool.event_retention go'),
    ('gateway_health_events', 'id', 'bigint',
        'GENERATED ALWAYS AS IDENTITY CONSTRAINT gateway_health_events_pkey PRIMARY KEY', NULL),
    ('gateway_health_events', 'gatewayId', 'uuid', 'NOT NULL', 'no foreign key: events outlive the gateway'),
    ('gateway_health_events', 'orgId', 'uuid', 'NOT NULL', NULL),
    ('gateway_health_events', 'gatewayName', 'text', '', 'as it was then'),
    ('gateway_health_events', 'oldStatus', 'text', 'NOT NULL', NULL),
    ('gateway_health_events', 'newStatus', 'text', 'NOT NULL', NULL),
    ('gateway_health_events', 'reason', 'text', '', NULL),
    ('gateway_health_events', 'occurredAt', 'timestamptz', 'NOT NULL DEFAULT CURRENT_TIMESTAMP', NULL),

    ('gateway_pool_audit_logs', NULL, NULL, NULL,
        'who changed what of pools, members, states, consumers and privileges; append-only, kept for gateway_pool.audit_retention'),
    ('gateway_pool_audit_logs', 'id', 'bigint',
        'GENERATED ALWAYS AS IDENTITY CONSTRAINT gateway_pool_audit_logs_pkey PRIMARY KEY', NULL),
    ('gateway_pool_audit_logs', 'orgId', 'uuid', '', 'no foreign key: the record outlives the organization; NULL is nobody''s'),
    ('gateway_pool_audit_logs', 'eventType', 'text', 'NOT NULL', 'what was done, such as gateway-pool-create'),
    ('gateway_pool_audit_logs', 'actor', 'text', '', 'the setting gateway_pool.actor, as the session said: not verified'),
    ('gateway_pool_audit_logs', 'sessionUser', 'text', '', 'the role that had logged in'),
    ('gateway_pool_audit_logs', 'currentUser', 'text', '', 'the role that the session was in, by SET ROLE'),
    ('gateway_pool_audit_logs', 'eventMetadata', 'jsonb', 'NOT NULL', 'ids and names as they were'),
    ('gateway_pool_audit_logs', 'createdAt', 'timestamptz', 'NOT NULL DEFAULT CURRENT_TIMESTAMP', NULL),

    ('gateway_probes', NULL, NULL, NULL, 'how to connect to a gateway to see whether it is up; NULL is the setting''s'),
    ('gateway_probes', 'gatewayId', 'uuid', 'NOT NULL CONSTRAINT gateway_probes_pkey PRIMARY KEY', NULL),
    ('gateway_probes', 'protocol', 'text',
        'NOT NULL CONSTRAINT gateway_probes_protocol_check CHECK (protocol IN (''tcp'', ''tls'', ''http'', ''https''))',
        'tcp, tls, http or https'),
    ('gateway_probes', 'address', 'text', 'NOT NULL', 'host:port, 192.0.2.1:port or [2001:db8::1]:port'),
    ('gateway_probes', 'path', 'text',
        'CONSTRAINT gateway_probes_path_check CHECK (path ~ ''^/[!-~]*$'' AND length(path) <= 1024)',
        'what http and https ask for'),
    ('gateway_probes', 'expectedStatus', 'text',
        'CONSTRAINT "gateway_probes_expectedStatus_check" CHECK ("expectedStatus" ~ ''^[1-5][0-9]{2}(-[1-5][0-9]{2})?$'' '
        'AND left("expectedStatus", 3) <= right("expectedStatus", 3))',
        'the status that http and https expect, such as 200, or a range, such as 200-399'),
    ('gateway_probes', 'serverName', 'text',
        'CONSTRAINT "gateway_probes_serverName_check" CHECK ("serverName" ~ ''^[A-Za-z0-9_.:-]{1,253}$'')',
        'the name that tls and https ask for and verify; NULL is the host''s'),
    ('gateway_probes', 'verifyTls', 'boolean', 'NOT NULL DEFAULT true',
        'whether tls and https verify the certificate''s chain and name'),
    ('gateway_probes', 'caCertificate', 'text', '', 'PEM of the authority to trust; NULL is the system''s'),
    ('gateway_probes', 'intervalMs', 'int',
        'CONSTRAINT "gateway_probes_intervalMs_check" CHECK ("intervalMs" BETWEEN 100 AND 86400000)',
        'milliseconds from one probe''s start to the next''s'),
    ('gateway_probes', 'timeoutMs', 'int',
        'CONSTRAINT "gateway_probes_timeoutMs_check" CHECK ("timeoutMs" BETWEEN 10 AND 86400000) '
        'CONSTRAINT gateway_probes_timeout_within_interval_check CHECK ("timeoutMs" <= "intervalMs")',
        'milliseconds that a whole probe may take, at most the interval'),
    ('gateway_probes', 'rise', 'int', 'CONSTRAINT gateway_probes_rise_check CHECK (rise BETWEEN 1 AND 100)',
        'successes in a row that lead up'),
    ('gateway_probes', 'fall', 'int', 'CONSTRAINT gateway_probes_fall_check CHECK (fall BETWEEN 1 AND 100)',
        'failures in a row that lead down'),
    ('gateway_probes', 'required', 'boolean', 'NOT NULL DEFAULT true',
        'whether a probe that is down overrules a fresh heartbeat'),
    ('gateway_probes', 'createdAt', 'timestamptz', 'NOT NULL DEFAULT CURRENT_TIMESTAMP', NULL),
    ('gateway_probes', 'updatedAt', 'timestamptz', 'NOT NULL DEFAULT CURRENT_TIMESTAMP', NULL)
      ) c
$$;
COMMENT ON FUNCTION gateway_pool_columns() IS
    'used by install_gateway_pools(): the columns of our tables in order, each table led by a row without attribute';

CREATE FUNCTION gateway_pool_parts(organizations regclass, gateways regclass, kubernetes_auths regclass)
    RETURNS TABLE (
        kind text,
        relation text,
        name text,
        present boolean,
        command text)
    LANGUAGE sql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    SET quote_all_identifiers = off
AS $$
    WITH host AS (
        SELECT '@extschema@'::text AS schema,
               '@extschema@'::regnamespace AS namespace,
               to_regprocedure('@extschema@.on_update_timestamp()') AS touch,
               (SELECT c.relname::text FROM pg_class c WHERE c.oid = gateways) AS gateways_name,
               (SELECT k.confrelid::regclass
                  FROM pg_constraint k
                  JOIN pg_attribute a ON a.attrelid = k.conrelid AND k.conkey = ARRAY[a.attnum]
                 WHERE k.conrelid = kubernetes_auths AND k.contype = 'f' AND a.attname = 'identityId'
                 ORDER BY k.conname LIMIT 1) AS identities
    ),
    -- Of each table, whether it is there, and of each column.
    columns AS (
        SELECT c.*, format('%s.%I', h.schema, c.relation) AS table_name, t.oid AS table_oid,
               c.attribute IS NULL OR EXISTS (
                   SELECT FROM pg_attribute a
                    WHERE a.attrelid = t.oid AND a.attname = c.attribute AND NOT a.attisdropped) AS present,
               concat_ws(' ', quote_ident(c.attribute), c.type, nullif(c.properties, '')) AS definition,
               format('COMMENT ON %s %s.%I%s IS %L', CASE WHEN c.attribute IS NULL THEN 'TABLE' ELSE 'COLUMN' END,
                      h.schema, c.relation, '.' || quote_ident(c.attribute), c.comment) AS comment_command
          FROM host h
         CROSS JOIN @extschema@.gateway_pool_columns() c
          LEFT JOIN pg_class t ON t.relnamespace = h.namespace AND t.relname = c.relation AND t.relkind = 'r'
    ),
    -- Their names are those that the host's migrations give.
    keys (place, kind, relation, attributes, referenced, action) AS (
        SELECT k.* FROM (VALUES
        (1, 'unique key', 'gateway_pools', ARRAY['orgId', 'name'], NULL::regclass, NULL),
        (2, 'unique key', 'gateway_pool_memberships', ARRAY['gatewayPoolId', 'gatewayId'], NULL, NULL),
        (2, 'primary key', 'gateway_pool_tenants', ARRAY['roleName', 'orgId'], NULL, NULL),
        (3, 'index', 'gateway_pool_tenants', ARRAY['orgId'], NULL, NULL),
        (3, 'index', 'gateway_pool_memberships', ARRAY['gatewayId'], NULL, NULL),
        (4, 'index', 'gateway_health_events', ARRAY['gatewayId'], NULL, NULL),
        (4, 'index', 'gateway_pool_audit_logs', ARRAY['orgId'], NULL, NULL),
        (5, 'foreign key', 'gateway_pools', ARRAY['orgId'], organizations, 'CASCADE'),
        (6, 'foreign key', 'gateway_pool_memberships', ARRAY['gatewayPoolId'], NULL, 'CASCADE'),
        (7, 'foreign key', 'gateway_pool_memberships', ARRAY['gatewayId'], gateways, 'CASCADE'),
        (8, 'foreign key', 'gateway_pool_entitlements', ARRAY['orgId'], organizations, 'CASCADE'),
        (8, 'foreign key', 'gateway_pool_tenants', ARRAY['orgId'], organizations, 'CASCADE'),
        (9, 'foreign key', 'gateway_states', ARRAY['gatewayId'], gateways, 'CASCADE'),
        (10, 'foreign key', 'gateway_probes', ARRAY['gatewayId'], gateways, 'CASCADE'),
        (11, 'foreign key', 'gateway_health', ARRAY['gatewayId'], gateways, 'CASCADE')
        ) k (place, kind, relation, attributes, referenced, action)
    ),
    named_keys AS (
        SELECT k.*, format('%s.%I', h.schema, k.relation) AS table_name, t.oid AS table_oid,
               CASE k.kind WHEN 'primary key' THEN k.relation || '_pkey'
                           ELSE lower(k.relation || '_' || array_to_string(k.attributes, '_')) ||
                                CASE k.kind WHEN 'unique key' THEN '_unique' WHEN 'index' THEN '_index' ELSE '_foreign' END
                           END AS name,
               (SELECT string_agg(quote_ident(u.attribute), ', ' ORDER BY u.place)
                  FROM unnest(k.attributes) WITH ORDINALITY u (attribute, place)) AS attribute_list,
               ARRAY(SELECT a.attnum FROM pg_attribute a
                      WHERE a.attrelid = t.oid AND a.attname = ANY (k.attributes) AND NOT a.attisdropped) AS numbers,
               coalesce(k.referenced, to_regclass(h.schema || '.gateway_pools')) AS target,
               coalesce(k.referenced::text, h.schema || '.gateway_pools') AS target_name
          FROM host h
         CROSS JOIN keys k
          LEFT JOIN pg_class t ON t.relnamespace = h.namespace AND t.relname = k.relation AND t.relkind = 'r'
    ),
    triggers (place, relation, name, fires, level, function) AS (
        SELECT t.* FROM host h CROSS JOIN LATERAL (VALUES
        (1, 'gateway_pools', 'GatewayPools_enforce', 'AFTER INSERT OR UPDATE', 'ROW', 'gateway_pools_enforce()'),
        (2, 'gateway_pools', 'GatewayPools_refuse_move', 'BEFORE UPDATE', 'ROW', 'gateway_pools_refuse_move()'),
        (3, 'gateway_pools', 'GatewayPools_refuse_delete', 'BEFORE DELETE', 'ROW', 'gateway_pools_refuse_delete()'),
        (4, 'gateway_pools', 'GatewayPools_refuse_truncate', 'BEFORE TRUNCATE', 'STATEMENT', 'gateway_pools_refuse_delete()'),
        (5, 'gateway_pool_memberships', 'GatewayPools_enforce', 'AFTER INSERT OR UPDATE', 'ROW',
            'gateway_pool_memberships_enforce()'),
        (6, 'gateway_probes', 'GatewayPools_enforce', 'BEFORE INSERT OR UPDATE', 'ROW', 'gateway_probes_enforce()'),
        (7, h.gateways_name, 'GatewayPools_refuse_move', 'BEFORE UPDATE', 'ROW', 'gateway_pools_refuse_move()'),
        (10, 'gateway_states', 'gateway_states_changedAt', 'BEFORE UPDATE', 'ROW', 'gateway_pool_set_timestamp(''changedAt'')'),
        (11, 'gateway_pools', 'gateway_pools_updatedAt', 'BEFORE UPDATE', 'ROW', NULL),
        (12, 'gateway_pool_memberships', 'gateway_pool_memberships_updatedAt', 'BEFORE UPDATE', 'ROW', NULL),
        (13, 'gateway_pool_entitlements', 'gateway_pool_entitlements_updatedAt', 'BEFORE UPDATE', 'ROW', NULL),
        (14, 'gateway_probes', 'gateway_probes_updatedAt', 'BEFORE UPDATE', 'ROW', NULL),
        (15, 'gateway_pools', 'GatewayPools_tell', 'AFTER INSERT OR DELETE OR UPDATE', 'ROW', 'gateway_pools_tell()'),
        (16, 'gateway_pools', 'GatewayPools_tell_truncate', 'AFTER TRUNCATE', 'STATEMENT', 'gateway_pools_tell()'),
        (17, 'gateway_pool_memberships', 'GatewayPools_tell', 'AFTER INSERT OR DELETE OR UPDATE', 'ROW', 'gateway_pools_tell()'),
        (18, 'gateway_pool_memberships', 'GatewayPools_tell_truncate', 'AFTER TRUNCATE', 'STATEMENT', 'gateway_pools_tell()'),
        (19, 'gateway_states', 'GatewayPools_tell', 'AFTER INSERT OR DELETE OR UPDATE', 'ROW', 'gateway_pools_tell()'),
        (20, 'gateway_states', 'GatewayPools_tell_truncate', 'AFTER TRUNCATE', 'STATEMENT', 'gateway_pools_tell()'),
        (20, 'gateway_pool_tenants', 'GatewayPools_tell', 'AFTER INSERT OR DELETE OR UPDATE', 'ROW', 'gateway_pools_tell()'),
        (20, 'gateway_pool_tenants', 'GatewayPools_tell_truncate', 'AFTER TRUNCATE', 'STATEMENT', 'gateway_pools_tell()'),
        (21, 'gateway_probes', 'GatewayPools_tell', 'AFTER INSERT OR DELETE OR UPDATE', 'ROW', 'gateway_pools_tell()'),
        (22, 'gateway_probes', 'GatewayPools_tell_truncate', 'AFTER TRUNCATE', 'STATEMENT', 'gateway_pools_tell()'),
        (23, h.gateways_name, 'GatewayPools_tell', 'AFTER INSERT OR DELETE OR UPDATE', 'ROW', 'gateway_pool_gateways_tell()'),
        (24, h.gateways_name, 'GatewayPools_tell_truncate', 'AFTER TRUNCATE', 'STATEMENT', 'gateway_pool_gateways_tell()'),
        (25, 'gateway_pools', 'GatewayPools_audit', 'AFTER INSERT OR DELETE OR UPDATE', 'ROW', 'gateway_pools_audit()'),
        (26, 'gateway_pools', 'GatewayPools_audit_truncate', 'BEFORE TRUNCATE', 'STATEMENT', 'gateway_pools_audit()'),
        (27, 'gateway_pool_memberships', 'GatewayPools_audit', 'AFTER INSERT OR DELETE OR UPDATE', 'ROW', 'gateway_pools_audit()'),
        (28, 'gateway_pool_memberships', 'GatewayPools_audit_truncate', 'BEFORE TRUNCATE', 'STATEMENT', 'gateway_pools_audit()'),
        (29, 'gateway_states', 'GatewayPools_audit', 'AFTER INSERT OR DELETE OR UPDATE', 'ROW', 'gateway_pools_audit()'),
        (30, 'gateway_states', 'GatewayPools_audit_truncate', 'BEFORE TRUNCATE', 'STATEMENT', 'gateway_pools_audit()'),
        (31, 'gateway_pool_audit_logs', 'GatewayPools_refuse', 'BEFORE INSERT OR DELETE OR UPDATE', 'ROW',
            'gateway_pool_audit_logs_refuse()'),
        (32, 'gateway_pool_audit_logs', 'GatewayPools_refuse_truncate', 'BEFORE TRUNCATE', 'STATEMENT',
            'gateway_pool_audit_logs_refuse()')
        ) t (place, relation, name, fires, level, function)
         WHERE t.relation IS NOT NULL
    ),
    defined_triggers AS (
        SELECT t.*, format('%s.%I', h.schema, t.relation) AS table_name,
               format('CREATE TRIGGER %I %s ON %s.%I FOR EACH %s EXECUTE FUNCTION %s.%s', t.name, t.fires, h.schema,
                      t.relation, t.level, h.schema,
                      CASE WHEN t.function IS NOT NULL THEN t.function
                           -- "updatedAt" by the host's function where it has one, never by two.
                           WHEN h.touch IS NOT NULL THEN 'on_update_timestamp()'
                           ELSE 'gateway_pool_set_timestamp(''updatedAt'')' END) AS definition,
               -- Those that tell what changed do so in the role of a replica too.
               t.name ~ '^GatewayPools_tell' AS always,
               named.tgname IS NOT NULL AS name_taken,
               t.function IS NULL AND (named.tgname IS NOT NULL OR EXISTS (
                   SELECT FROM pg_trigger o WHERE o.tgrelid = c.oid AND o.tgfoid = h.touch)) AS touched,
               pg_get_triggerdef(named.oid) AS present_definition, named.tgenabled AS present_enabled
          FROM host h
         CROSS JOIN triggers t
          LEFT JOIN pg_class c ON c.relnamespace = h.namespace AND c.relname = t.relation AND c.relkind = 'r'
          LEFT JOIN pg_trigger named ON named.tgrelid = c.oid AND named.tgname = t.name AND NOT named.tgisinternal
    ),
    -- While isolation is on: a policy on each table by what says whose a row is,
    -- but on the tenants, which nobody but the owner sees.
    isolated AS (
        SELECT format('%s.%I', h.schema, c.relation) AS table_name, t.oid AS table_oid,
               coalesce(t.relrowsecurity, false) AS row_security, 'GatewayPools_isolation' AS policy,
               CASE WHEN c.relation <> 'gateway_pool_tenants' THEN
               h.schema || CASE WHEN 'orgId' = ANY (c.attributes) THEN '.is_gateway_pool_tenant("orgId")'
                                WHEN 'gatewayPoolId' = ANY (c.attributes) THEN '.is_gateway_pool_tenant_of_pool("gatewayPoolId")'
                                ELSE '.is_gateway_pool_tenant_of_gateway("gatewayId")' END END AS condition
          FROM host h
          JOIN pg_class pools ON pools.oid = to_regclass(h.schema || '.gateway_pools') AND pools.relrowsecurity
         CROSS JOIN (SELECT o.relation, array_agg(o.attribute) AS attributes
                       FROM @extschema@.gateway_pool_columns() o GROUP BY o.relation) c
          LEFT JOIN pg_class t ON t.relnamespace = h.namespace AND t.relname = c.relation AND t.relkind = 'r'
    )
    SELECT p.kind, p.relation, p.name, p.present, p.command
      FROM (
        SELECT 1 AS stage, min(c.place) AS place, 'table' AS kind, c.table_name AS relation, c.relation AS name,
               c.table_oid IS NOT NULL AS present,
               format('CREATE TABLE %s (%s); ', c.table_name,
                      string_agg(c.definition, ', ' ORDER BY c.place) FILTER (WHERE c.attribute IS NOT NULL)) ||
               string_agg(c.comment_command, '; ' ORDER BY c.place) FILTER (WHERE c.comment IS NOT NULL) AS command
          FROM columns c
         GROUP BY c.table_name, c.relation, c.table_oid
         UNION ALL
        SELECT 2, c.place, 'column', c.table_name, c.attribute, c.present,
               format('ALTER TABLE %s ADD COLUMN %s', c.table_name, c.definition) ||
               coalesce('; ' || c.comment_command, '')
          FROM columns c
         WHERE c.table_oid IS NOT NULL AND c.attribute IS NOT NULL
         UNION ALL
        SELECT 3, k.place, k.kind, k.table_name, k.name,
               CASE k.kind
               WHEN 'foreign key' THEN EXISTS (
                   SELECT FROM pg_constraint f
                    WHERE f.conrelid = k.table_oid AND f.contype = 'f' AND f.confrelid = k.target AND f.conkey = k.numbers)
               WHEN 'primary key' THEN EXISTS (
                   SELECT FROM pg_index i
                    WHERE i.indrelid = k.table_oid AND i.indisprimary AND i.indisvalid
                      AND (i.indkey::int2[])[0:i.indnkeyatts - 1] @> k.numbers AND cardinality(k.numbers) = i.indnkeyatts)
               WHEN 'unique key' THEN EXISTS (
                   SELECT FROM pg_index i
                    WHERE i.indrelid = k.table_oid AND i.indisunique AND i.indisvalid AND i.indpred IS NULL
                      AND i.indnkeyatts = cardinality(k.attributes)
                      AND (i.indkey::int2[])[0:i.indnkeyatts - 1] @> k.numbers AND cardinality(k.numbers) = i.indnkeyatts)
               ELSE EXISTS (
                   SELECT FROM pg_index i
                    WHERE i.indrelid = k.table_oid AND i.indisvalid AND ARRAY[i.indkey[0]] = k.numbers) END,
               CASE k.kind
               WHEN 'foreign key' THEN
                   format('ALTER TABLE %s ADD CONSTRAINT %I FOREIGN KEY (%s) REFERENCES %s (id) ON DELETE %s',
                          k.table_name, k.name, k.attribute_list, k.target_name, k.action)
               WHEN 'primary key' THEN
                   format('ALTER TABLE %s ADD CONSTRAINT %I PRIMARY KEY (%s)', k.table_name, k.name, k.attribute_list)
               WHEN 'unique key' THEN
                   format('ALTER TABLE %s ADD CONSTRAINT %I UNIQUE (%s)', k.table_name, k.name, k.attribute_list)
               ELSE format('CREATE INDEX %I ON %s (%s)', k.name, k.table_name, k.attribute_list) END
          FROM named_keys k
         UNION ALL
        SELECT 4, t.place, 'trigger', t.table_name, t.name,
               t.touched OR coalesce(t.present_definition = t.definition AND NOT (t.always AND t.present_enabled = 'O'), false),
               CASE WHEN t.name_taken THEN format('DROP TRIGGER %I ON %s; ', t.name, t.table_name) ELSE '' END || t.definition ||
               CASE WHEN t.always THEN format('; ALTER TABLE %s ENABLE ALWAYS TRIGGER %I', t.table_name, t.name) ELSE '' END
          FROM defined_triggers t
         UNION ALL
        SELECT CASE c.kind WHEN 'column' THEN 2 WHEN 'trigger' THEN 4 ELSE 3 END, 1000, c.kind, c.relation, c.name, c.present,
               c.command
          FROM host h
         CROSS JOIN LATERAL @extschema@.gateway_pool_consumer_parts(kubernetes_auths, 'gatewayPoolId', 'gatewayV2Id',
                   format('SELECT i."orgId" FROM %s i WHERE i.id = ($1)."identityId"', h.identities)) c
         WHERE kubernetes_auths IS NOT NULL
         UNION ALL
        SELECT 5, 0, 'row-level security', i.table_name, 'enabled', i.row_security,
               format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', i.table_name)
          FROM isolated i
         UNION ALL
        SELECT 6, 0, 'policy', i.table_name, i.policy, coalesce(pg_get_expr(l.polqual, l.polrelid) = i.condition AND
               l.polcmd = '*' AND l.polpermissive AND l.polroles = '{0}' AND l.polwithcheck IS NULL, false),
               CASE WHEN l.oid IS NULL THEN '' ELSE format('DROP POLICY %I ON %s; ', i.policy, i.table_name) END ||
               format('CREATE POLICY %I ON %s USING (%s)', i.policy, i.table_name, i.condition)
          FROM isolated i
          LEFT JOIN pg_policy l ON l.polrelid = i.table_oid AND l.polname = i.policy
         WHERE i.condition IS NOT NULL
      ) p
     ORDER BY p.stage, p.place, p.relation, p.name
$$;
COMMENT ON FUNCTION gateway_pool_parts(regclass, regclass, regclass) IS
    'used by install_gateway_pools() and check_gateway_pools(): every table, column, key, index, trigger '
    'and policy that gateway pools consist of, whether it is there, and the command that makes it';

CREATE FUNCTION gateway_pool_tables() RETURNS regclass[]
    LANGUAGE sql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce(array_agg(c.oid::regclass ORDER BY c.relname), '{}')
      FROM pg_class c
     WHERE c.relnamespace = '@extschema@'::regnamespace AND c.relkind = 'r'
       AND c.relname IN (SELECT p.relation FROM @extschema@.gateway_pool_columns() p)
$$;
COMMENT ON FUNCTION gateway_pool_tables() IS
    'used by functions that change tables: those of gateway pools that are there';

CREATE FUNCTION gateway_pool_triggers()
    RETURNS TABLE (relation regclass, name name, enabled "char")
    LANGUAGE sql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT t.tgrelid::regclass, t.tgname, t.tgenabled
      FROM pg_trigger t
      JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = t.tgfoid AND d.deptype = 'e'
      JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND e.oid = d.refobjid
     WHERE e.extname = 'gateway_pool' AND NOT t.tgisinternal AND t.tgparentid = 0
$$;
COMMENT ON FUNCTION gateway_pool_triggers() IS
    'used by uninstall_gateway_pools() and check_gateway_pools(): the triggers that call functions of ours';

CREATE FUNCTION lock_gateway_pool_tables(changed regclass[], referenced regclass[])
    RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    commands CONSTANT text[] :=
        (SELECT coalesce(array_agg(format('LOCK TABLE %s IN %s MODE', l.relations, l.mode) ORDER BY l.place), '{}')
           FROM (VALUES (1, array_to_string(changed, ', '), 'ACCESS EXCLUSIVE'),
                        -- To reference a table takes less than to lock it; then the foreign key waits for it.
                        (2, (SELECT string_agg(r::text, ', ') FROM unnest(referenced) r
                              WHERE has_table_privilege(r, 'UPDATE, DELETE, TRUNCATE')), 'SHARE ROW EXCLUSIVE')
                ) l (place, relations, mode)
          WHERE l.relations <> '');
    command text;
    old_lock_timeout CONSTANT text := current_setting('lock_timeout');
    give_up_at CONSTANT timestamptz :=
        clock_timestamp() + current_setting('lock_timeout')::interval;
BEGIN
    -- Each is waited for in its queue, but not for long; then all are let go and
    -- tried again.  Nobody of the host's waits behind this for longer than that,
    -- and a ring of waits comes apart before it is a deadlock (after 1 s).
    IF current_setting('lock_timeout')::interval > interval '200 ms' THEN
        PERFORM set_config('lock_timeout', '200ms', true);
    END IF;
    LOOP
        BEGIN
            FOREACH command IN ARRAY commands
            LOOP
                EXECUTE command;
            END LOOP;
            PERFORM set_config('lock_timeout', old_lock_timeout, true);
            RETURN;
        EXCEPTION
            WHEN lock_not_available THEN
                IF clock_timestamp() >= give_up_at THEN
                    RAISE;
                END IF;
        END;
        PERFORM pg_sleep(0.01);
    END LOOP;
END
$$;
COMMENT ON FUNCTION lock_gateway_pool_tables(regclass[], regclass[]) IS
    'used by functions that change tables: locks those that they change, and those that these will reference, within '
    'lock_timeout and without deadlocks';

CREATE FUNCTION install_gateway_pools(
    organizations regclass DEFAULT NULL,
    gateways regclass DEFAULT NULL,
    kubernetes_auths regclass DEFAULT NULL) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    organizations regclass;
    gateways regclass;
    kubernetes_auths regclass;
    owner oid;
    old_lock_timeout CONSTANT text := current_setting('lock_timeout');
    made_entitlements boolean := false;
    problem text;
    part record;
BEGIN
    -- Another level might look at what is there with a snapshot from before the locks.
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE object_not_in_prerequisite_state
            USING MESSAGE = 'gateway pools are installed at isolation level READ COMMITTED only';
    END IF;

    SELECT coalesce($1, h.organizations), coalesce($2, h.gateways), coalesce($3, h.kubernetes_auths)
      INTO organizations, gateways, kubernetes_auths
      FROM @extschema@.gateway_pool_host_tables() h;

    SELECT string_agg(t.name, ', ') INTO problem
      FROM (VALUES (organizations, 'organizations'), (gateways, 'gateways_v2'),
                   (kubernetes_auths, 'identity_kubernetes_auths')) t (relation, name)
     WHERE t.relation IS NULL;
    IF problem IS NOT NULL THEN
        RAISE object_not_in_prerequisite_state
            USING MESSAGE = 'host tables are missing in schema @extschema@: ' || problem,
                  HINT = 'Give install_gateway_pools() the tables that take their place.';
    END IF;

    SELECT string_agg(c.oid::regclass::text, ', ' ORDER BY c.relname) INTO problem
      FROM pg_class c
     WHERE c.oid IN (organizations, gateways, kubernetes_auths)
       AND c.relnamespace <> '@extschema@'::regnamespace;
    IF problem IS NOT NULL THEN
        RAISE object_not_in_prerequisite_state
            USING MESSAGE = 'host tables are in another schema than the extension: ' || problem,
                  HINT = format('DROP EXTENSION gateway_pool, then CREATE EXTENSION gateway_pool SCHEMA %s.',
                                (SELECT c.relnamespace::regnamespace FROM pg_class c WHERE c.oid = gateways));
    END IF;

    SELECT c.relowner INTO owner FROM pg_class c WHERE c.oid = gateways;
    IF NOT pg_has_role(owner, 'USAGE') THEN
        RAISE insufficient_privilege
            USING MESSAGE = format('must be owner of table %s', gateways);
    END IF;
    SELECT string_agg(c.oid::regclass::text, ', ' ORDER BY c.relname) INTO problem
      FROM pg_class c
     WHERE c.oid IN (organizations, gateways, kubernetes_auths) AND c.relkind <> 'r'
        OR c.relnamespace = '@extschema@'::regnamespace
           AND c.relname IN (SELECT p.relation FROM @extschema@.gateway_pool_columns() p)
           AND (c.relkind <> 'r' OR c.relowner <> owner);
    IF problem IS NOT NULL THEN
        RAISE object_not_in_prerequisite_state
            USING MESSAGE = 'existing tables have another owner than the gateways table, or are no plain tables: ' || problem,
                  HINT = 'Give them the owner of the gateways table, or drop or rename them.';
    END IF;

    IF EXISTS (SELECT FROM @extschema@.gateway_pool_parts(organizations, gateways, kubernetes_auths) p WHERE NOT p.present) THEN
        -- A busy host is not made to wait for long behind this.
        IF (SELECT s.setting::int NOT BETWEEN 1 AND 5000 FROM pg_settings s WHERE s.name = 'lock_timeout') THEN
            PERFORM set_config('lock_timeout', '5s', true);
        END IF;
        PERFORM @extschema@.lock_gateway_pool_tables(kubernetes_auths || @extschema@.gateway_pool_tables(),
                                                     ARRAY[gateways, organizations]);

        -- A superuser must not evaluate what an owner defined: every column that
        -- a key or an index will be on is of exactly the server's own type.
        SELECT string_agg(format('%s.%I', c.oid::regclass, w.attribute), ', ' ORDER BY c.relname, w.attribute) INTO problem
          FROM (SELECT (SELECT to_regclass('@extschema@.' || quote_ident(p.relation))), p.attribute, p.type
                  FROM @extschema@.gateway_pool_columns() p
                 UNION ALL
                SELECT * FROM (VALUES (organizations, 'id', 'uuid'), (gateways, 'id', 'uuid'), (gateways, 'orgId', 'uuid'),
                                      (gateways, 'name', 'varchar'), (kubernetes_auths, 'gatewayPoolId', 'uuid'),
                                      (kubernetes_auths, 'gatewayV2Id', 'uuid')) h
               ) w (relation, attribute, type)
          JOIN pg_class c ON c.oid = w.relation
          LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = w.attribute AND NOT a.attisdropped
         WHERE w.attribute IS NOT NULL
           AND CASE WHEN a.attnum IS NULL
                    THEN w.attribute IN ('id', 'name') OR c.oid = gateways
                    ELSE replace(a.atttypid::regtype::text, 'text', 'character varying')
                         <> replace(w.type::regtype::text, 'text', 'character varying') END;
        IF problem IS NOT NULL THEN
            RAISE object_not_in_prerequisite_state
                USING MESSAGE = 'columns are not of the type that gateway pools need, or missing: ' || problem;
        END IF;

        IF NOT EXISTS (SELECT FROM pg_attribute a
                         LEFT JOIN pg_constraint k ON k.conrelid = a.attrelid AND k.contype = 'f' AND k.conkey = ARRAY[a.attnum]
                        WHERE a.attrelid = kubernetes_auths
                          AND (a.attname = 'orgId' OR a.attname = 'identityId' AND k.oid IS NOT NULL)) THEN
            RAISE object_not_in_prerequisite_state
                USING MESSAGE = format('table %s does not say to which organization its rows belong', kubernetes_auths),
                      HINT = 'It needs a foreign key on "identityId", or a column "orgId".';
        END IF;

        FOR part IN
            SELECT * FROM @extschema@.gateway_pool_parts(organizations, gateways, kubernetes_auths) p WHERE NOT p.present
        LOOP
            EXECUTE part.command;
            IF part.kind = 'table' THEN
                EXECUTE format('ALTER TABLE %s OWNER TO %s', part.relation, owner::regrole);
                made_entitlements := made_entitlements OR part.name = 'gateway_pool_entitlements';
            END IF;
        END LOOP;

        -- Adopting pools that are in use stops nothing.  Only into a table that
        -- nobody else has seen yet, on which no trigger of its owner's can be.
        IF made_entitlements THEN
            INSERT INTO @extschema@.gateway_pool_entitlements ("orgId", "gatewayPool")
            SELECT DISTINCT p."orgId", true FROM @extschema@.gateway_pools p WHERE p."orgId" IS NOT NULL;
        END IF;
    END IF;

    IF @extschema@.is_extension_script() THEN
        FOR part IN
            SELECT CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END AS kind, d.objid::regclass AS relation
              FROM pg_depend d
              JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND e.oid = d.refobjid
              JOIN pg_class c ON d.classid = 'pg_class'::regclass AND c.oid = d.objid
             WHERE e.extname = 'gateway_pool' AND d.deptype = 'e' AND c.relkind IN ('r', 'S')
        LOOP
            EXECUTE format('ALTER EXTENSION gateway_pool DROP %s %s', part.kind, part.relation);
        END LOOP;
    ELSE
        -- Inside a script, a GRANT would make pg_dump forget the table's others.
        -- Entitlements are the administrator's to give.
        FOR part IN
            SELECT format('GRANT %s ON %s TO %s%s', a.privilege_type, t.oid::regclass,
                          CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END,
                          CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END) AS command
              FROM pg_class g
             CROSS JOIN aclexplode(g.relacl) a
             CROSS JOIN pg_class t
             WHERE g.oid = gateways AND a.grantee <> owner AND t.relacl IS NULL
               -- Not TRIGGER: that has the rights of the owner, who writes the tables for others.  Nor TRUNCATE
               -- and REFERENCES, which pass by isolation.
               AND a.privilege_type IN ('SELECT', 'INSERT', 'UPDATE', 'DELETE')
               AND t.relnamespace = '@extschema@'::regnamespace
               AND t.relname IN ('gateway_pools', 'gateway_pool_memberships', 'gateway_states', 'gateway_health',
                                 'gateway_health_events', 'gateway_probes')
        LOOP
            EXECUTE part.command;
        END LOOP;
    END IF;

    PERFORM @extschema@.want_gateway_pool_worker();
    PERFORM set_config('lock_timeout', old_lock_timeout, true);
END
$$;
COMMENT ON FUNCTION install_gateway_pools(regclass, regclass, regclass) IS
    'makes the tables, keys and triggers of gateway pools in the host''s schema, adopting what is there; idempotent';

CREATE FUNCTION uninstall_gateway_pools(keep_data boolean DEFAULT true) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    kubernetes_auths CONSTANT regclass := (SELECT h.kubernetes_auths FROM @extschema@.gateway_pool_host_tables() h);
    old_lock_timeout CONSTANT text := current_setting('lock_timeout');
    target record;
BEGIN
    IF keep_data IS NULL THEN
        RAISE invalid_parameter_value USING MESSAGE = 'keep_data must not be null';
    END IF;
    IF old_lock_timeout::interval NOT BETWEEN interval '1 ms' AND interval '5 s' THEN
        PERFORM set_config('lock_timeout', '5s', true);
    END IF;
    PERFORM @extschema@.lock_gateway_pool_tables(
        (SELECT array_agg(DISTINCT t.relation) || @extschema@.gateway_pool_tables() FROM @extschema@.gateway_pool_triggers() t), '{}');

    FOR target IN SELECT * FROM @extschema@.gateway_pool_triggers() t ORDER BY t.relation, t.name
    LOOP
        EXECUTE format('DROP TRIGGER %I ON %s', target.name, target.relation);
    END LOOP;
    -- Isolation stays on until it is disabled: nobody but the owner sees anything.
    PERFORM @extschema@.drop_gateway_pool_policies();

    IF keep_data THEN
        PERFORM set_config('lock_timeout', old_lock_timeout, true);
        RETURN;
    END IF;

    -- Without CASCADE: a table that references pools by a key that we did not make is the host's to clear.
    FOR target IN
        SELECT k.conname, k.conrelid::regclass AS relation
          FROM pg_constraint k
         WHERE k.confrelid = to_regclass('@extschema@.gateway_pools') AND k.contype = 'f' AND k.conparentid = 0
           AND obj_description(k.oid, 'pg_constraint') = 'of gateway pools'
         ORDER BY 2, 1
    LOOP
        EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', target.relation, target.conname);
    END LOOP;
    IF EXISTS (SELECT FROM pg_attribute a
                WHERE a.attrelid = kubernetes_auths AND a.attname = 'gatewayPoolId' AND NOT a.attisdropped) THEN
        EXECUTE format('ALTER TABLE %s DROP COLUMN "gatewayPoolId"', kubernetes_auths);
    END IF;
    DROP TABLE IF EXISTS
        @extschema@.gateway_probes,
        @extschema@.gateway_health,
        @extschema@.gateway_health_events,
        @extschema@.gateway_pool_audit_logs,
        @extschema@.gateway_states,
        @extschema@.gateway_pool_tenants,
        @extschema@.gateway_pool_entitlements,
        @extschema@.gateway_pool_memberships,
        @extschema@.gateway_pools;
    PERFORM set_config('lock_timeout', old_lock_timeout, true);
END
$$;
COMMENT ON FUNCTION uninstall_gateway_pools(boolean) IS
    'drops the triggers, so that DROP EXTENSION needs no CASCADE; with keep_data false the tables and '
    'identity_kubernetes_auths."gatewayPoolId" too';
