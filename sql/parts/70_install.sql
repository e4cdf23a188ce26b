
-- Installation.  The tables, their keys and their triggers are ordinary objects, not members of the
-- extension, so that pg_dump dumps them and DROP EXTENSION keeps the data.
--
-- Functions with long catalog queries set jit off: these return few rows, but their estimated cost
-- is so high that JIT compilation would take seconds.

CREATE FUNCTION gateway_pool_internal.is_extension_script() RETURNS boolean
    LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION gateway_pool_internal.is_extension_script() IS
    'returns true while a script of CREATE or ALTER EXTENSION runs';

CREATE FUNCTION gateway_pool_internal.want_worker() RETURNS void
    LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION gateway_pool_internal.want_worker() IS
    'requests a background worker for this database when the transaction commits';

CREATE FUNCTION gateway_pool_internal.host_tables(
    OUT organizations regclass,
    OUT gateways regclass,
    OUT kubernetes_auths regclass)
    LANGUAGE sql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
    WITH key (relation, attribute, referenced, name) AS (
        SELECT k.conrelid, a.attname, k.confrelid, k.conname
          FROM pg_constraint k
          JOIN pg_attribute a ON a.attrelid = k.conrelid AND k.conkey = ARRAY[a.attnum]
         WHERE k.contype = 'f'),
    -- Look for a marker, then for a foreign key of an earlier installation, then for the name.
    gateways AS (
        SELECT coalesce(
            (SELECT m.relation FROM gateway_pool_internal.markers() m WHERE m.role = 'gateways' ORDER BY m.relation LIMIT 1),
            (SELECT k.referenced FROM key k JOIN pg_class c ON c.oid = k.relation
              WHERE c.relnamespace = gateway_pool_internal.extension_schema()
                AND c.relname IN ('gateway_pool_memberships', 'gateway_states') AND k.attribute = 'gatewayId'
              ORDER BY c.relname, k.name LIMIT 1),
            (SELECT c.oid FROM pg_class c
              WHERE c.relnamespace IN (gateway_pool_internal.extension_schema(), to_regnamespace('public')) AND c.relname = 'gateways_v2'
              ORDER BY c.relnamespace = gateway_pool_internal.extension_schema() DESC LIMIT 1)) AS oid),
    host AS (
        SELECT c.oid, c.relnamespace, c.relowner FROM gateways g JOIN pg_class c ON c.oid = g.oid)
    SELECT coalesce(
               (SELECT m.relation FROM gateway_pool_internal.markers() m WHERE m.role = 'organizations' ORDER BY m.relation LIMIT 1),
               -- Tables of an earlier installation reference the same table as the gateways table.
               (SELECT k.referenced FROM key k JOIN pg_class c ON c.oid = k.relation, host h
                 WHERE k.attribute = 'orgId' AND c.relowner = h.relowner
                   AND (c.oid = h.oid OR
                        c.relname IN ('gateway_pools', 'gateway_pool_entitlements')
                        AND c.relnamespace IN (h.relnamespace, gateway_pool_internal.extension_schema())
                        AND k.referenced IN (SELECT o.referenced FROM key o WHERE o.relation = h.oid))
                 ORDER BY c.oid = h.oid DESC, c.relname, k.name LIMIT 1),
               (SELECT c.oid FROM pg_class c, host h
                 WHERE c.relnamespace = h.relnamespace AND c.relname = 'organizations' AND c.relowner = h.relowner))::regclass,
           (SELECT g.oid FROM gateways g)::regclass,
           coalesce(
               (SELECT c.oid FROM pg_class c, host h
                 WHERE c.relnamespace = h.relnamespace AND c.relname = 'identity_kubernetes_auths' AND c.relowner = h.relowner),
               -- Renamed.
               (SELECT k.relation
                  FROM host h
                 CROSS JOIN key k
                  JOIN key i ON i.relation = k.relation AND i.attribute = 'identityId'
                  JOIN key d ON d.relation = k.relation AND d.attribute = 'gatewayV2Id' AND d.referenced = h.oid
                 WHERE k.attribute = 'gatewayPoolId'
                   AND k.referenced IN (SELECT m.relation FROM gateway_pool_internal.markers() m WHERE m.role = 'gateway_pools'
                                         UNION ALL
                                        SELECT c.oid FROM pg_class c
                                         WHERE c.relnamespace = h.relnamespace AND c.relname = 'gateway_pools')
                 ORDER BY k.relation LIMIT 1))::regclass
$$;
COMMENT ON FUNCTION gateway_pool_internal.host_tables() IS
    'returns the host''s tables: those with markers, else those that keys of an earlier installation reference, else '
    'those with the usual names in the extension''s schema or in public';

CREATE FUNCTION gateway_pool_internal.table_columns()
    RETURNS TABLE (place bigint, relation text, attribute text, type text, properties text, comment text)
    LANGUAGE sql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    SET standard_conforming_strings = on
AS $$
    SELECT row_number() OVER (), c.*
      -- No control characters, because terminals interpret some of them; those beyond ASCII only in UTF-8.
      FROM (SELECT format('length(reason) <= 1000 AND reason !~ %L',
                          CASE getdatabaseencoding() WHEN 'UTF8' THEN '[\u0001-\u001F\u007F-\u009F]'
                                                     ELSE '[\u0001-\u001F\u007F]' END)) p (printable)
     CROSS JOIN LATERAL (VALUES
    ('gateway_pools', NULL, NULL, NULL,
        'named sets of gateways of one organization that reach the same network'),
    ('gateway_pools', 'id', 'uuid',
        'NOT NULL DEFAULT gen_random_uuid() CONSTRAINT gateway_pools_pkey PRIMARY KEY', 'id of the pool'),
    ('gateway_pools', 'orgId', 'uuid', 'NOT NULL', 'organization of the pool'),
    ('gateway_pools', 'name', 'varchar(32)', 'NOT NULL',
        'unique in the organization: 1 to 32 characters from a-z and 0-9, with single hyphens between them'),
    ('gateway_pools', 'createdAt', 'timestamptz', 'NOT NULL DEFAULT CURRENT_TIMESTAMP', 'time of creation'),
    ('gateway_pools', 'updatedAt', 'timestamptz', 'NOT NULL DEFAULT CURRENT_TIMESTAMP', 'time of the last update'),

    ('gateway_pool_memberships', NULL, NULL, NULL, 'members of pools'),
    ('gateway_pool_memberships', 'id', 'uuid',
        'NOT NULL DEFAULT gen_random_uuid() CONSTRAINT gateway_pool_memberships_pkey PRIMARY KEY', 'id of the membership'),
    ('gateway_pool_memberships', 'gatewayPoolId', 'uuid', 'NOT NULL', 'pool'),
    ('gateway_pool_memberships', 'gatewayId', 'uuid', 'NOT NULL', 'gateway, of the same organization'),
    ('gateway_pool_memberships', 'createdAt', 'timestamptz', 'NOT NULL DEFAULT CURRENT_TIMESTAMP', 'time of creation'),
    ('gateway_pool_memberships', 'updatedAt', 'timestamptz', 'NOT NULL DEFAULT CURRENT_TIMESTAMP', 'time of the last update'),
    ('gateway_pool_memberships', 'pickWeight', 'int',
        'NOT NULL DEFAULT 1 CONSTRAINT "gateway_pool_memberships_pickWeight_check" CHECK ("pickWeight" BETWEEN 0 AND 1000)',
        'share of picks, relative to the weights of the other candidates; 0: picked only if no candidate has a higher weight'),
    ('gateway_pool_memberships', 'pickPriority', 'smallint', 'NOT NULL DEFAULT 0',
        'candidates with the lowest value are picked'),

    ('gateway_pool_entitlements', NULL, NULL, NULL,
        'what the plans of organizations allow; the settings apply to an organization without a row'),
    ('gateway_pool_entitlements', 'orgId', 'uuid', 'NOT NULL CONSTRAINT gateway_pool_entitlements_pkey PRIMARY KEY',
        'organization'),
    ('gateway_pool_entitlements', 'gatewayPool', 'boolean', 'NOT NULL', 'true if the plan includes gateway pools'),
    ('gateway_pool_entitlements', 'maxPools', 'int',
        'CONSTRAINT "gateway_pool_entitlements_maxPools_check" CHECK ("maxPools" >= -1)',
        'maximum number of pools of the organization; NULL: setting max_pools_per_org, -1: no limit'),
    ('gateway_pool_entitlements', 'maxGatewaysPerPool', 'int',
        'CONSTRAINT "gateway_pool_entitlements_maxGatewaysPerPool_check" CHECK ("maxGatewaysPerPool" >= -1)',
        'maximum number of members of a pool; NULL: setting max_gateways_per_pool, -1: no limit'),
    ('gateway_pool_entitlements', 'expiresAt', 'timestamptz', '', 'when the entitlement ends; NULL: never'),
    ('gateway_pool_entitlements', 'createdAt', 'timestamptz', 'NOT NULL DEFAULT CURRENT_TIMESTAMP', 'time of creation'),
    ('gateway_pool_entitlements', 'updatedAt', 'timestamptz', 'NOT NULL DEFAULT CURRENT_TIMESTAMP', 'time of the last update'),

    ('gateway_pool_tenants', NULL, NULL, NULL,
        'organizations that a role, and each role with its privileges, may see while isolation is on'),
    ('gateway_pool_tenants', 'roleName', 'text', 'NOT NULL', 'name of the role; a role with its privileges counts as well'),
    ('gateway_pool_tenants', 'orgId', 'uuid', 'NOT NULL', 'organization that the role may see'),

    ('gateway_states', NULL, NULL, NULL, 'states of gateways, set by administrators; a gateway without a row is active'),
    ('gateway_states', 'gatewayId', 'uuid', 'NOT NULL CONSTRAINT gateway_pool_states_pkey PRIMARY KEY', 'gateway'),
    ('gateway_states', 'state', 'text',
        'NOT NULL CONSTRAINT gateway_pool_states_state_check CHECK (state IN (''active'', ''draining'', ''maintenance''))',
        'active, draining or maintenance; only active gateways are picked'),
    ('gateway_states', 'reason', 'text', 'CONSTRAINT gateway_pool_states_reason_check CHECK (' || printable || ')',
        'free text for administrators'),
    ('gateway_states', 'changedAt', 'timestamptz', 'NOT NULL DEFAULT CURRENT_TIMESTAMP', 'time of the last change of the row'),
    ('gateway_states', 'until', 'timestamptz',
        'CONSTRAINT gateway_pool_states_until_check CHECK (until IS NULL OR state <> ''active'')',
        'when the state ends, and the gateway is active again; NULL: never'),

    ('gateway_health', NULL, NULL, NULL, 'health of gateways as of the last recorded change; for the current health see gateway_status'),
    ('gateway_health', 'gatewayId', 'uuid', 'NOT NULL CONSTRAINT gateway_pool_health_pkey PRIMARY KEY', 'gateway'),
    ('gateway_health', 'status', 'text',
        'NOT NULL CONSTRAINT gateway_pool_health_status_check CHECK (status IN (''healthy'', ''degraded'', ''unhealthy'', ''unknown''))',
        'healthy, degraded, unhealthy or unknown'),
    ('gateway_health', 'reason', 'text', 'CONSTRAINT gateway_pool_health_reason_check CHECK (' || printable || ')',
        'why the gateway has this status'),
    ('gateway_health', 'lastHeartbeatAt', 'timestamptz', '', 'time of the last heartbeat; NULL: none'),
    ('gateway_health', 'heartbeatExpiresAt', 'timestamptz', '', 'when that heartbeat stops counting, its grace included'),
    ('gateway_health', 'lastProbeAt', 'timestamptz', '', 'time of the last probe; NULL: none'),
    ('gateway_health', 'lastProbeMs', 'real', '', 'duration of the last probe, in milliseconds'),
    ('gateway_health', 'consecutiveFailures', 'int', 'NOT NULL DEFAULT 0', 'number of failed probes since the last success'),
    ('gateway_health', 'consecutiveSuccesses', 'int', 'NOT NULL DEFAULT 0', 'number of successful probes since the last failure'),
    ('gateway_health', 'probeTarget', 'text', '', 'what was probed: a verdict counts after a restart only for the same target'),
    ('gateway_health', 'probeVerdict', 'text',
        'CONSTRAINT "gateway_pool_health_probeVerdict_check" CHECK ("probeVerdict" IN (''up'', ''down''))',
        'up or down by its probes; null without a verdict'),
    ('gateway_health', 'falls', 'int', 'NOT NULL DEFAULT 0', 'falls of the verdict from up to down that are not forgiven yet'),
    ('gateway_health', 'lastFallAt', 'timestamptz', '', 'when the last of these falls was'),
    ('gateway_health', 'changedAt', 'timestamptz', 'NOT NULL DEFAULT CURRENT_TIMESTAMP', 'when the status changed'),

    ('gateway_health_events', NULL, NULL, NULL,
        'changes of the status of gateways; rows older than gateway_pool.event_retention are deleted'),
    ('gateway_health_events', 'id', 'bigint',
        'GENERATED ALWAYS AS IDENTITY CONSTRAINT gateway_pool_health_events_pkey PRIMARY KEY',
        'number of the event, increasing'),
    ('gateway_health_events', 'gatewayId', 'uuid', 'NOT NULL', 'no foreign key: events are kept after the gateway is deleted'),
    ('gateway_health_events', 'orgId', 'uuid', 'NOT NULL', 'organization at the time of the event'),
    ('gateway_health_events', 'gatewayName', 'text', '', 'name at the time of the event'),
    ('gateway_health_events', 'oldStatus', 'text', 'NOT NULL', 'status before the event'),
    ('gateway_health_events', 'newStatus', 'text', 'NOT NULL', 'status from the event on'),
    ('gateway_health_events', 'reason', 'text', '', 'why the gateway has the new status'),
    ('gateway_health_events', 'occurredAt', 'timestamptz', 'NOT NULL DEFAULT CURRENT_TIMESTAMP', 'time of the event'),

    ('gateway_pool_audit_logs', NULL, NULL, NULL,
        'changes of pools, members, states, probes, entitlements, tenants, consumers and privileges, and who made '
        'them; append-only, '
        'kept for gateway_pool.audit_retention'),
    ('gateway_pool_audit_logs', 'id', 'bigint',
        'GENERATED ALWAYS AS IDENTITY CONSTRAINT gateway_pool_audit_logs_pkey PRIMARY KEY', 'number of the change, increasing'),
    ('gateway_pool_audit_logs', 'orgId', 'uuid', '',
        'no foreign key: rows are kept after the organization is deleted; NULL if the change concerns no organization'),
    ('gateway_pool_audit_logs', 'eventType', 'text', 'NOT NULL', 'kind of change, such as gateway-pool-create'),
    ('gateway_pool_audit_logs', 'actor', 'text', '', 'setting gateway_pool.actor at the time of the change; not verified'),
    ('gateway_pool_audit_logs', 'sessionUser', 'text', '', 'role that logged in'),
    ('gateway_pool_audit_logs', 'currentUser', 'text', '', 'role in effect, such as by SET ROLE'),
    ('gateway_pool_audit_logs', 'eventMetadata', 'jsonb', 'NOT NULL', 'ids and names at the time of the change'),
    ('gateway_pool_audit_logs', 'createdAt', 'timestamptz', 'NOT NULL DEFAULT CURRENT_TIMESTAMP',
        'time of the transaction that made the change'),

    ('gateway_probes', NULL, NULL, NULL, 'how the worker probes gateways; NULL: the setting''s value'),
    ('gateway_probes', 'gatewayId', 'uuid', 'NOT NULL CONSTRAINT gateway_pool_probes_pkey PRIMARY KEY', 'gateway'),
    ('gateway_probes', 'protocol', 'text',
        'NOT NULL CONSTRAINT gateway_pool_probes_protocol_check CHECK (protocol IN (''tcp'', ''tls'', ''http'', ''https''))',
        'tcp, tls, http or https'),
    ('gateway_probes', 'address', 'text', 'NOT NULL', 'host:port, 192.0.2.1:port or [2001:db8::1]:port'),
    ('gateway_probes', 'path', 'text',
        'CONSTRAINT gateway_pool_probes_path_check CHECK (path ~ ''^/[!-~]*$'' AND length(path) <= 1024)',
        'path that http and https request'),
    ('gateway_probes', 'expectedStatus', 'text',
        'CONSTRAINT "gateway_pool_probes_expectedStatus_check" CHECK ("expectedStatus" ~ ''^[1-5][0-9]{2}(-[1-5][0-9]{2})?$'' '
        'AND left("expectedStatus", 3) <= right("expectedStatus", 3))',
        'status that http and https expect, such as 200, or a range, such as 200-399'),
    ('gateway_probes', 'serverName', 'text',
        'CONSTRAINT "gateway_pool_probes_serverName_check" CHECK ("serverName" ~ ''^[A-Za-z0-9_.:-]{1,253}$'')',
        'server name that tls and https send and verify; NULL: the host of the address'),
    ('gateway_probes', 'verifyTls', 'boolean', 'NOT NULL DEFAULT true',
        'true if tls and https verify the chain and the name of the certificate'),
    ('gateway_probes', 'caCertificate', 'text', '', 'trusted CA certificates in PEM format; NULL: those of the system'),
    ('gateway_probes', 'intervalMs', 'int',
        'CONSTRAINT "gateway_pool_probes_intervalMs_check" CHECK ("intervalMs" BETWEEN 100 AND 86400000)',
        'time from the start of a probe to the start of the next, in milliseconds'),
    ('gateway_probes', 'timeoutMs', 'int',
        'CONSTRAINT "gateway_pool_probes_timeoutMs_check" CHECK ("timeoutMs" BETWEEN 10 AND 86400000) '
        'CONSTRAINT gateway_pool_probes_timeout_within_interval_check CHECK ("timeoutMs" <= "intervalMs")',
        'time limit for a whole probe, in milliseconds; at most the interval'),
    ('gateway_probes', 'rise', 'int', 'CONSTRAINT gateway_pool_probes_rise_check CHECK (rise BETWEEN 1 AND 100)',
        'consecutive successes after which the verdict becomes up'),
    ('gateway_probes', 'fall', 'int', 'CONSTRAINT gateway_pool_probes_fall_check CHECK (fall BETWEEN 1 AND 100)',
        'consecutive failures after which the verdict becomes down'),
    ('gateway_probes', 'required', 'boolean', 'NOT NULL DEFAULT true',
        'true if the verdict down makes the gateway unhealthy in spite of a fresh heartbeat'),
    ('gateway_probes', 'createdAt', 'timestamptz', 'NOT NULL DEFAULT CURRENT_TIMESTAMP', 'time of creation'),
    ('gateway_probes', 'updatedAt', 'timestamptz', 'NOT NULL DEFAULT CURRENT_TIMESTAMP', 'time of the last update')
      ) c
$$;
COMMENT ON FUNCTION gateway_pool_internal.table_columns() IS
    'returns the columns of the tables of gateway pools, in order; a row without attribute comes before the columns '
    'of each table';

CREATE FUNCTION gateway_pool_internal.tables(gateways regclass)
    RETURNS TABLE (role text, schema regnamespace, relation regclass, name text, problem text)
    LANGUAGE sql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    SET quote_all_identifiers = off
AS $$
    WITH host AS (
        SELECT c.relnamespace, c.relowner FROM pg_class c WHERE c.oid = gateways
    ),
    extension AS MATERIALIZED (
        SELECT gateway_pool_internal.extension_schema() AS schema
    ),
    marked AS MATERIALIZED (
        SELECT m.role, m.relation FROM gateway_pool_internal.markers() m
    ),
    -- Tables that the host's own migration creates are in the host's schema, the others in the extension's.
    wanted AS (
        SELECT DISTINCT t.relation AS role,
               CASE WHEN t.relation IN ('gateway_pools', 'gateway_pool_memberships') THEN h.relnamespace::regnamespace
                    ELSE e.schema END AS schema
          FROM gateway_pool_internal.table_columns() t CROSS JOIN extension e LEFT JOIN host h ON true
    )
    SELECT w.role, w.schema, c.oid::regclass, coalesce(c.oid::regclass::text, format('%s.%I', w.schema, w.role)),
           CASE WHEN c.relkind <> 'r' THEN format('%s is not a plain table', c.oid::regclass)
                WHEN c.relowner <> h.relowner THEN format('%s is owned by %s', c.oid::regclass, c.relowner::regrole) END
      FROM wanted w
      LEFT JOIN host h ON true
      LEFT JOIN LATERAL (
          SELECT o.*
            FROM (SELECT m.relation FROM marked m WHERE m.role = w.role
                   UNION ALL
                  SELECT n.oid FROM pg_class n
                   WHERE n.relname = w.role AND n.relnamespace IN (h.relnamespace, (SELECT e.schema FROM extension e))
                     AND NOT EXISTS (SELECT FROM marked m WHERE m.role = w.role)) f
            JOIN pg_class o ON o.oid = f.relation
           ORDER BY o.relnamespace = w.schema DESC, o.oid LIMIT 1) c ON true
$$;
COMMENT ON FUNCTION gateway_pool_internal.tables(regclass) IS
    'returns the tables of gateway pools for a gateways table: those with markers, else those with the usual names in '
    'the host''s and the extension''s schema; the schema to create each in; and why an existing one cannot be used, '
    'else null';

CREATE FUNCTION gateway_pool_internal.fires_always(trigger_name text) RETURNS boolean
    LANGUAGE sql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT starts_with(trigger_name, 'GatewayPools_invalidate')
$$;
COMMENT ON FUNCTION gateway_pool_internal.fires_always(text) IS
    'returns true if the trigger of this name has to fire with session_replication_role = replica, too';

CREATE FUNCTION gateway_pool_internal.parts(organizations regclass, gateways regclass, kubernetes_auths regclass)
    RETURNS TABLE (
        kind text,
        relation text,
        name text,
        present boolean,
        as_caller text,
        as_owner text)
    LANGUAGE sql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    SET jit = off
    SET standard_conforming_strings = on
    SET quote_all_identifiers = off
AS $$
    WITH host AS (
        SELECT c.relowner::regrole::text AS owner,
               -- The host's own function for "updatedAt", if the tables' owner or a superuser owns it.
               (SELECT format('%s.on_update_timestamp()', c.relnamespace::regnamespace)
                  FROM pg_proc p JOIN pg_roles r ON r.oid = p.proowner
                 WHERE p.pronamespace = c.relnamespace AND p.proname = 'on_update_timestamp' AND p.pronargs = 0
                   AND p.prorettype = 'trigger'::regtype AND (p.proowner = c.relowner OR r.rolsuper)) AS touch
          FROM pg_class c WHERE c.oid = gateways
    ),
    tables AS (
        SELECT t.role, t.name, t.relation FROM gateway_pool_internal.tables(gateways) t
         UNION ALL
        SELECT 'organizations', organizations::text, organizations
         UNION ALL
        SELECT 'gateways', gateways::text, gateways
    ),
    columns AS (
        SELECT c.place, c.relation AS role, t.name AS table_name, t.relation AS table_oid, c.attribute, c.comment,
               EXISTS (SELECT FROM pg_attribute a
                        WHERE a.attrelid = t.relation AND a.attname = c.attribute AND NOT a.attisdropped) AS present,
               concat_ws(' ', quote_ident(c.attribute), c.type, nullif(c.properties, '')) AS definition,
               format('COMMENT ON %s %s%s IS %L', CASE WHEN c.attribute IS NULL THEN 'TABLE' ELSE 'COLUMN' END,
                      t.name, '.' || quote_ident(c.attribute), c.comment) AS comment_command
          FROM gateway_pool_internal.table_columns() c
          JOIN tables t ON t.role = c.relation
    ),
    -- Objects that the host's own migration creates have its names; no migration creates the other names.
    keys (place, kind, role, attributes, name, referenced, action) AS (
        VALUES
        (1, 'unique key', 'gateway_pools', ARRAY['orgId', 'name'], 'gateway_pools_orgid_name_unique', NULL, NULL),
        (2, 'unique key', 'gateway_pool_memberships', ARRAY['gatewayPoolId', 'gatewayId'],
            'gateway_pool_memberships_gatewaypoolid_gatewayid_unique', NULL, NULL),
        (2, 'primary key', 'gateway_pool_tenants', ARRAY['roleName', 'orgId'], 'gateway_pool_tenants_pkey', NULL, NULL),
        (3, 'index', 'gateway_pool_tenants', ARRAY['orgId'], 'gateway_pool_ix_tenants_orgid', NULL, NULL),
        (3, 'index', 'gateway_pool_memberships', ARRAY['gatewayId'], 'gateway_pool_ix_memberships_gatewayid', NULL, NULL),
        (4, 'index', 'gateway_health_events', ARRAY['gatewayId'], 'gateway_pool_ix_health_events_gatewayid', NULL, NULL),
        (4, 'index', 'gateway_pool_audit_logs', ARRAY['orgId'], 'gateway_pool_ix_audit_logs_orgid', NULL, NULL),
        (5, 'foreign key', 'gateway_pools', ARRAY['orgId'], 'gateway_pools_orgid_foreign', 'organizations', 'CASCADE'),
        (6, 'foreign key', 'gateway_pool_memberships', ARRAY['gatewayPoolId'],
            'gateway_pool_memberships_gatewaypoolid_foreign', 'gateway_pools', 'CASCADE'),
        (7, 'foreign key', 'gateway_pool_memberships', ARRAY['gatewayId'],
            'gateway_pool_memberships_gatewayid_foreign', 'gateways', 'CASCADE'),
        (8, 'foreign key', 'gateway_pool_entitlements', ARRAY['orgId'], 'gateway_pool_fk_entitlements_orgid', 'organizations', 'CASCADE'),
        (8, 'foreign key', 'gateway_pool_tenants', ARRAY['orgId'], 'gateway_pool_fk_tenants_orgid', 'organizations', 'CASCADE'),
        (9, 'foreign key', 'gateway_states', ARRAY['gatewayId'], 'gateway_pool_fk_states_gatewayid', 'gateways', 'CASCADE'),
        (10, 'foreign key', 'gateway_probes', ARRAY['gatewayId'], 'gateway_pool_fk_probes_gatewayid', 'gateways', 'CASCADE'),
        (11, 'foreign key', 'gateway_health', ARRAY['gatewayId'], 'gateway_pool_fk_health_gatewayid', 'gateways', 'CASCADE')
    ),
    named_keys AS (
        SELECT k.place, k.kind, k.name, k.action, t.name AS table_name, t.relation AS table_oid,
               (SELECT string_agg(quote_ident(u.attribute), ', ' ORDER BY u.place)
                  FROM unnest(k.attributes) WITH ORDINALITY u (attribute, place)) AS attribute_list,
               ARRAY(SELECT a.attnum FROM pg_attribute a
                      WHERE a.attrelid = t.relation AND a.attname = ANY (k.attributes) AND NOT a.attisdropped) AS numbers,
               r.relation AS target, r.name AS target_name
          FROM keys k
          JOIN tables t ON t.role = k.role
          LEFT JOIN tables r ON r.role = k.referenced
    ),
    triggers (place, role, name, fires, level, function) AS (
        VALUES
        (1, 'gateway_pools', 'GatewayPools_enforce', 'AFTER INSERT OR UPDATE', 'ROW', 'pools_enforce()'),
        (2, 'gateway_pools', 'GatewayPools_refuse_move', 'BEFORE UPDATE', 'ROW', 'pools_refuse_move()'),
        (3, 'gateway_pools', 'GatewayPools_refuse_delete', 'BEFORE DELETE', 'ROW', 'pools_refuse_delete()'),
        (4, 'gateway_pools', 'GatewayPools_refuse_truncate', 'BEFORE TRUNCATE', 'STATEMENT', 'pools_refuse_delete()'),
        (5, 'gateway_pool_memberships', 'GatewayPools_enforce', 'AFTER INSERT OR UPDATE', 'ROW', 'memberships_enforce()'),
        (6, 'gateway_probes', 'GatewayPools_enforce', 'BEFORE INSERT OR UPDATE', 'ROW', 'probes_enforce()'),
        (7, 'gateways', 'GatewayPools_refuse_move', 'BEFORE UPDATE', 'ROW', 'pools_refuse_move()'),
        (10, 'gateway_states', 'gateway_states_changedAt', 'BEFORE UPDATE', 'ROW', 'set_timestamp(''changedAt'')'),
        (11, 'gateway_pools', 'gateway_pools_updatedAt', 'BEFORE UPDATE', 'ROW', NULL),
        (12, 'gateway_pool_memberships', 'gateway_pool_memberships_updatedAt', 'BEFORE UPDATE', 'ROW', NULL),
        (13, 'gateway_pool_entitlements', 'gateway_pool_entitlements_updatedAt', 'BEFORE UPDATE', 'ROW', NULL),
        (14, 'gateway_probes', 'gateway_probes_updatedAt', 'BEFORE UPDATE', 'ROW', NULL),
        (15, 'gateway_pools', 'GatewayPools_invalidate', 'AFTER INSERT OR DELETE OR UPDATE', 'ROW', 'pools_invalidate()'),
        (17, 'gateway_pool_memberships', 'GatewayPools_invalidate', 'AFTER INSERT OR DELETE OR UPDATE', 'ROW', 'pools_invalidate()'),
        (19, 'gateway_states', 'GatewayPools_invalidate', 'AFTER INSERT OR DELETE OR UPDATE', 'ROW', 'pools_invalidate()'),
        (20, 'gateway_pool_tenants', 'GatewayPools_invalidate', 'AFTER INSERT OR DELETE OR UPDATE', 'ROW', 'pools_invalidate()'),
        (21, 'gateway_probes', 'GatewayPools_invalidate', 'AFTER INSERT OR DELETE OR UPDATE', 'ROW', 'pools_invalidate()'),
        (23, 'gateways', 'GatewayPools_invalidate', 'AFTER INSERT OR DELETE OR UPDATE', 'ROW', 'gateways_invalidate()'),
        (24, 'gateways', 'GatewayPools_invalidate_truncate', 'AFTER TRUNCATE', 'STATEMENT', 'gateways_invalidate()'),
        (25, 'gateway_pools', 'GatewayPools_audit', 'AFTER INSERT OR DELETE OR UPDATE', 'ROW', 'pools_audit()'),
        (26, 'gateway_pools', 'GatewayPools_audit_truncate', 'BEFORE TRUNCATE', 'STATEMENT', 'pools_audit()'),
        (27, 'gateway_pool_memberships', 'GatewayPools_audit', 'AFTER INSERT OR DELETE OR UPDATE', 'ROW', 'pools_audit()'),
        (28, 'gateway_pool_memberships', 'GatewayPools_audit_truncate', 'BEFORE TRUNCATE', 'STATEMENT', 'pools_audit()'),
        (29, 'gateway_states', 'GatewayPools_audit', 'AFTER INSERT OR DELETE OR UPDATE', 'ROW', 'pools_audit()'),
        (30, 'gateway_states', 'GatewayPools_audit_truncate', 'BEFORE TRUNCATE', 'STATEMENT', 'pools_audit()'),
        (31, 'gateway_probes', 'GatewayPools_audit', 'AFTER INSERT OR DELETE OR UPDATE', 'ROW', 'pools_audit()'),
        (32, 'gateway_probes', 'GatewayPools_audit_truncate', 'BEFORE TRUNCATE', 'STATEMENT', 'pools_audit()'),
        (33, 'gateway_pool_entitlements', 'GatewayPools_audit', 'AFTER INSERT OR DELETE OR UPDATE', 'ROW', 'pools_audit()'),
        (34, 'gateway_pool_entitlements', 'GatewayPools_audit_truncate', 'BEFORE TRUNCATE', 'STATEMENT', 'pools_audit()'),
        (35, 'gateway_pool_tenants', 'GatewayPools_audit', 'AFTER INSERT OR DELETE OR UPDATE', 'ROW', 'pools_audit()'),
        (36, 'gateway_pool_tenants', 'GatewayPools_audit_truncate', 'BEFORE TRUNCATE', 'STATEMENT', 'pools_audit()'),
        (39, 'gateway_pool_memberships', 'GatewayPools_warn', 'AFTER DELETE OR UPDATE', 'STATEMENT', 'pools_warn()'),
        (40, 'gateway_states', 'GatewayPools_warn', 'AFTER INSERT OR UPDATE', 'STATEMENT', 'pools_warn()'),
        (37, 'gateway_pool_audit_logs', 'GatewayPools_refuse', 'BEFORE INSERT OR DELETE OR UPDATE', 'ROW', 'audit_logs_refuse()'),
        (38, 'gateway_pool_audit_logs', 'GatewayPools_refuse_truncate', 'BEFORE TRUNCATE', 'STATEMENT', 'audit_logs_refuse()')
    ),
    defined_triggers AS (
        SELECT d.place, d.name, d.table_name, d.definition, d.always,
               d.function IS NULL AND (named.oid IS NOT NULL OR EXISTS (
                   SELECT FROM pg_trigger o WHERE o.tgrelid = d.table_oid AND o.tgfoid = to_regprocedure(d.touch))) AS touched,
               pg_get_triggerdef(named.oid) AS present_definition, named.tgenabled AS present_enabled
          FROM (SELECT t.*, o.name AS table_name, o.relation AS table_oid, h.touch,
                       format('CREATE TRIGGER %I %s ON %s FOR EACH %s EXECUTE FUNCTION %s', t.name, t.fires, o.name, t.level,
                              -- The host's function sets "updatedAt" if it has one: never two functions.
                              CASE WHEN t.function IS NULL AND h.touch IS NOT NULL THEN h.touch
                                   ELSE 'gateway_pool_internal.' || coalesce(t.function, 'set_timestamp(''updatedAt'')') END) AS definition,
                       gateway_pool_internal.fires_always(t.name) AS always
                  FROM host h CROSS JOIN triggers t JOIN tables o ON o.role = t.role) d
          LEFT JOIN pg_trigger named ON named.tgrelid = d.table_oid AND named.tgname = d.name AND NOT named.tgisinternal
    ),
    -- While isolation is on: a policy on each table, by the column that leads to the organization;
    -- none on the tenants table, which only its owner can read.
    isolated AS (
        SELECT t.name AS table_name, c.oid AS table_oid, coalesce(c.relrowsecurity, false) AS row_security,
               'GatewayPools_isolation' AS policy,
               CASE WHEN t.role <> 'gateway_pool_tenants' THEN 'gateway_pool_internal.' ||
               CASE WHEN 'orgId' = ANY (o.attributes) THEN 'is_tenant("orgId")'
                    WHEN 'gatewayPoolId' = ANY (o.attributes) THEN 'is_tenant_of_pool("gatewayPoolId")'
                    ELSE 'is_tenant_of_gateway("gatewayId")' END END AS condition
          FROM tables p
          JOIN pg_class pools ON pools.oid = p.relation AND pools.relrowsecurity
         CROSS JOIN tables t
          JOIN (SELECT o.relation, array_agg(o.attribute) AS attributes
                  FROM gateway_pool_internal.table_columns() o GROUP BY o.relation) o ON o.relation = t.role
          LEFT JOIN pg_class c ON c.oid = t.relation
         WHERE p.role = 'gateway_pools'
    ),
    -- The registered consumers, and the Kubernetes auths, which are registered by default.
    marked AS MATERIALIZED (
        SELECT m.relation, m.role FROM gateway_pool_internal.markers() m
    ),
    registered AS MATERIALIZED (
        SELECT c.consumer, c.pool_column, c.gateway_column, c.org_query FROM gateway_pool_internal.consumers() c
    ),
    consumers AS (
        SELECT * FROM registered
         UNION ALL
        SELECT kubernetes_auths, 'gatewayPoolId'::name, 'gatewayV2Id'::name, NULL::text
         WHERE kubernetes_auths IS NOT NULL
           AND NOT EXISTS (SELECT FROM registered c
                            WHERE c.consumer = kubernetes_auths AND c.pool_column = 'gatewayPoolId')
    )
    SELECT p.kind, p.relation, p.name, p.present, p.as_caller, p.as_owner
      FROM (
        SELECT 1 AS stage, min(c.place) AS place, 'table' AS kind, c.table_name AS relation, c.role AS name,
               c.table_oid IS NOT NULL AS present,
               format('CREATE TABLE %s (%s); ', c.table_name,
                      string_agg(c.definition, ', ' ORDER BY c.place) FILTER (WHERE c.attribute IS NOT NULL)) ||
               string_agg(c.comment_command, '; ' ORDER BY c.place) FILTER (WHERE c.comment IS NOT NULL) ||
               format('; ALTER TABLE %s OWNER TO %s', c.table_name, h.owner) AS as_caller,
               NULL AS as_owner
          FROM columns c CROSS JOIN host h
         GROUP BY c.table_name, c.role, c.table_oid, h.owner
         UNION ALL
        SELECT 2, c.place, 'column', c.table_name, c.attribute, c.present, NULL,
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
                      AND (i.indkey::int2[])[0:i.indnkeyatts - 1] @> k.numbers AND cardinality(k.numbers) = i.indnkeyatts)
               ELSE EXISTS (
                   SELECT FROM pg_index i
                    WHERE i.indrelid = k.table_oid AND i.indisvalid AND ARRAY[i.indkey[0]] = k.numbers) END,
               -- The caller runs only commands for which the owner may lack a privilege: REFERENCES on a table, and CREATE
               -- on a schema (the server builds the index itself as the owner).  All other commands may evaluate what the
               -- owner has defined, such as a CHECK that proves the NOT NULL of a primary key.
               CASE k.kind
               WHEN 'foreign key' THEN
                   format('ALTER TABLE %s ADD CONSTRAINT %I FOREIGN KEY (%s) REFERENCES %s (id) ON DELETE %s NOT VALID',
                          k.table_name, k.name, k.attribute_list, k.target_name, k.action)
               WHEN 'index' THEN format('CREATE INDEX %I ON %s (%s)', k.name, k.table_name, k.attribute_list)
               ELSE format('CREATE UNIQUE INDEX %I ON %s (%s)', k.name, k.table_name, k.attribute_list) END,
               CASE k.kind
               WHEN 'foreign key' THEN format('ALTER TABLE %s VALIDATE CONSTRAINT %I', k.table_name, k.name)
               WHEN 'primary key' THEN
                   format('ALTER TABLE %s ADD CONSTRAINT %I PRIMARY KEY USING INDEX %I', k.table_name, k.name, k.name)
               WHEN 'unique key' THEN
                   format('ALTER TABLE %s ADD CONSTRAINT %I UNIQUE USING INDEX %I', k.table_name, k.name, k.name) END
          FROM named_keys k
         UNION ALL
        SELECT 4, 0, 'marker', t.name, 'GatewayPools_marker',
               EXISTS (SELECT FROM marked m WHERE m.relation = t.relation AND m.role = t.role),
               format('SELECT gateway_pool_internal.mark_table(%L::regclass, ''GatewayPools_marker''::name, ARRAY[%L]::text[])', t.name, t.role),
               NULL
          FROM tables t
         UNION ALL
        SELECT 5, t.place, 'trigger', t.table_name, t.name,
               t.touched OR coalesce(t.present_definition = t.definition AND NOT (t.always AND t.present_enabled = 'O'), false),
               NULL,
               'CREATE OR REPLACE' || substr(t.definition, 7) ||
               CASE WHEN t.always THEN format('; ALTER TABLE %s ENABLE ALWAYS TRIGGER %I', t.table_name, t.name) ELSE '' END
          FROM defined_triggers t
         UNION ALL
        SELECT CASE p.kind WHEN 'column' THEN 2 WHEN 'trigger' THEN 5 WHEN 'marker' THEN 4 ELSE 3 END, 1000, p.kind, p.relation, p.name,
               p.present, p.as_caller, p.as_owner
          FROM consumers c
         CROSS JOIN (SELECT t.name FROM tables t WHERE t.role = 'gateway_pools') pools
         CROSS JOIN LATERAL gateway_pool_internal.consumer_parts(c.consumer, pools.name, c.pool_column, c.gateway_column, c.org_query) p
         UNION ALL
        SELECT 6, 0, 'row-level security', i.table_name, 'enabled', i.row_security, NULL,
               format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', i.table_name)
          FROM isolated i
         UNION ALL
        SELECT 7, 0, 'policy', i.table_name, i.policy, coalesce(pg_get_expr(l.polqual, l.polrelid) = i.condition AND
               l.polcmd = '*' AND l.polpermissive AND l.polroles = '{0}' AND l.polwithcheck IS NULL, false), NULL,
               CASE WHEN l.oid IS NULL THEN '' ELSE format('DROP POLICY %I ON %s; ', i.policy, i.table_name) END ||
               format('CREATE POLICY %I ON %s USING (%s)', i.policy, i.table_name, i.condition)
          FROM isolated i
          LEFT JOIN pg_policy l ON l.polrelid = i.table_oid AND l.polname = i.policy
         WHERE i.condition IS NOT NULL
      ) p
     ORDER BY p.stage, p.place, p.relation, p.name
$$;
COMMENT ON FUNCTION gateway_pool_internal.parts(regclass, regclass, regclass) IS
    'returns every table, column, key, index, marker, trigger and policy of gateway pools: whether each is present, '
    'and the commands that create it as the caller and as the owner of the table';

CREATE FUNCTION gateway_pool_internal.triggers()
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
COMMENT ON FUNCTION gateway_pool_internal.triggers() IS 'returns the triggers that call functions of the extension';

CREATE FUNCTION gateway_pool_internal.our_tables() RETURNS regclass[]
    LANGUAGE sql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce(array_agg(t.relation ORDER BY t.role), '{}')
      FROM gateway_pool_internal.host_tables() h
     CROSS JOIN LATERAL gateway_pool_internal.tables(h.gateways) t
     WHERE t.relation IS NOT NULL AND t.problem IS NULL
$$;
COMMENT ON FUNCTION gateway_pool_internal.our_tables() IS 'returns the existing tables of gateway pools';

CREATE FUNCTION gateway_pool_internal.lock_tables(changed regclass[], referenced regclass[])
    RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    commands CONSTANT text[] :=
        (SELECT coalesce(array_agg(format('LOCK TABLE %s IN %s MODE', l.relations, l.mode) ORDER BY l.place), '{}')
           FROM (VALUES (1, array_to_string(changed, ', '), 'ACCESS EXCLUSIVE'),
                        -- REFERENCES alone does not permit LOCK TABLE; then ADD FOREIGN KEY waits for the lock.
                        (2, (SELECT string_agg(r::text, ', ') FROM unnest(referenced) r
                              WHERE has_table_privilege(r, 'UPDATE, DELETE, TRUNCATE')), 'SHARE ROW EXCLUSIVE')
                ) l (place, relations, mode)
          WHERE l.relations <> '');
    command text;
    old_lock_timeout CONSTANT text := current_setting('lock_timeout');
    give_up_at CONSTANT timestamptz :=
        clock_timestamp() + current_setting('lock_timeout')::interval;
BEGIN
    -- Wait at most 200 ms for each lock; then release all locks and retry.  So statements of the host wait
    -- behind this for 200 ms at most, and a cycle of waits ends before deadlock_timeout (1 s).
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
COMMENT ON FUNCTION gateway_pool_internal.lock_tables(regclass[], regclass[]) IS
    'locks tables that will be changed and tables that they will reference, within lock_timeout and without deadlocks';

CREATE FUNCTION gateway_pool_internal.searched_schemas() RETURNS text
    LANGUAGE sql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE s.schema WHEN 'public' THEN 'Schema public has' ELSE format('Schemas %s and public have', s.schema) END
      FROM (SELECT gateway_pool_internal.extension_schema()::text AS schema) s
$$;
COMMENT ON FUNCTION gateway_pool_internal.searched_schemas() IS
    'returns the schemas in which install_gateway_pools() looks for the host''s tables by name, with a verb';

CREATE FUNCTION gateway_pool_internal.host_problems(organizations regclass, gateways regclass, kubernetes_auths regclass)
    RETURNS TABLE (problem text, remedy text)
    LANGUAGE sql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    SET jit = off
    SET quote_all_identifiers = off
AS $$
    WITH host AS (
        SELECT h.place, h.relation, h.role, h.purpose, c.relkind, c.relpersistence
          FROM (VALUES (1, organizations, 'organizations', 'pools and gateways reference organizations by it'),
                       (2, gateways, 'gateways', 'members of pools reference gateways by it'),
                       (3, kubernetes_auths, 'Kubernetes auths', NULL)) h (place, relation, role, purpose)
          JOIN pg_class c ON c.oid = h.relation),
    attributes AS (
        SELECT h.place, h.relation, w.attribute, w.purpose, w.required, a.attnum, format_type(a.atttypid, a.atttypmod) AS type
          FROM host h
         CROSS JOIN LATERAL (VALUES
        ('id', h.purpose, true, h.purpose IS NOT NULL),
        (gateway_pool_internal.org_column(h.relation, organizations), 'it holds the organization of a gateway', false, h.relation = gateways),
        ('gatewayPoolId', 'it holds the pool of a row', false, h.relation = kubernetes_auths),
        ('gatewayV2Id', 'it holds the direct gateway of a row', false, h.relation = kubernetes_auths)
        ) w (attribute, purpose, required, wanted)
          LEFT JOIN pg_attribute a ON a.attrelid = h.relation AND a.attname = w.attribute AND a.attnum > 0 AND NOT a.attisdropped
         WHERE w.wanted AND h.relkind = 'r')
    SELECT p.problem, p.remedy
      FROM (
        SELECT h.place, 1 AS number,
               format('%s, the %s table, is %s; it must be a plain permanent table.', h.relation, h.role,
                      CASE h.relkind WHEN 'v' THEN 'a view' WHEN 'm' THEN 'a materialized view' WHEN 'f' THEN 'a foreign table'
                                     WHEN 'p' THEN 'partitioned'
                                     WHEN 'r' THEN CASE h.relpersistence WHEN 't' THEN 'temporary' ELSE 'unlogged' END
                                     ELSE 'no table' END) AS problem,
               'Pass plain permanent tables.' AS remedy
          FROM host h
         WHERE h.relkind <> 'r' OR h.relpersistence <> 'p'
         UNION ALL
        SELECT 0, 1, format('%s is both the organizations table and the gateways table.', gateways), 'Pass two tables.'
         WHERE organizations = gateways
         UNION ALL
        SELECT a.place, 2,
               CASE WHEN a.attnum IS NULL THEN format('%s has no column %I of type uuid: %s.', a.relation, a.attribute, a.purpose)
                    ELSE format('%s.%I is of type %s, not uuid: %s.', a.relation, a.attribute, a.type, a.purpose) END,
               CASE WHEN a.attnum IS NOT NULL THEN 'Change the type to uuid, or pass other tables.'
                    ELSE coalesce((SELECT format('As its owner, run ALTER TABLE %s RENAME %I TO %I.', a.relation, k.attname, a.attribute)
                                     FROM pg_index i JOIN pg_attribute k ON k.attrelid = i.indrelid AND k.attnum = i.indkey[0]
                                    WHERE i.indrelid = a.relation AND i.indisprimary AND i.indnkeyatts = 1 AND k.atttypid = 'uuid'::regtype),
                                  format('Add the column to %s.', a.relation)) END
          FROM attributes a
         WHERE CASE WHEN a.attnum IS NULL THEN a.required ELSE a.type <> 'uuid' END
         UNION ALL
        SELECT a.place, 3, format('%s.%I is not unique: it needs a primary key or a unique constraint of its own, because %s.',
                                  a.relation, a.attribute, a.purpose),
               format('As its owner, run ALTER TABLE %s ADD UNIQUE (id).', a.relation)
          FROM attributes a
         WHERE a.attribute = 'id' AND a.attnum IS NOT NULL
           AND NOT EXISTS (SELECT FROM pg_index i
                            WHERE i.indrelid = a.relation AND i.indisunique AND i.indimmediate AND i.indisvalid
                              AND i.indpred IS NULL AND i.indnkeyatts = 1 AND i.indkey[0] = a.attnum)
         UNION ALL
        SELECT h.place, 4, format('%s has no foreign key of one column to the id of %s, and no column "orgId": one of them says which '
                                  'organization a gateway belongs to.', gateways, organizations),
               CASE WHEN EXISTS (SELECT FROM pg_constraint k
                                  WHERE k.contype = 'f' AND k.conrelid = organizations AND k.confrelid = gateways)
                    THEN format('%s references %s: if it is the gateways table, exchange the arguments.', organizations, gateways)
                    ELSE format('As its owner, run ALTER TABLE %s ADD FOREIGN KEY (...) REFERENCES %s (id).', gateways, organizations) END
          FROM host h
         WHERE h.relation = gateways AND h.relkind = 'r' AND organizations <> gateways
           AND gateway_pool_internal.org_column(gateways, organizations) IS NULL
         UNION ALL
        SELECT a.place, 6, format('%s.%I is a virtual generated column, which triggers cannot read: %s.', a.relation, a.attribute, a.purpose),
               'Make it a stored column.'
          FROM attributes a
          JOIN pg_attribute v ON v.attrelid = a.relation AND v.attnum = a.attnum AND v.attgenerated = 'v'
         UNION ALL
        -- A key that the host adds later changes nothing.
        SELECT 2, 5, format('%s has several columns that reference %s: %s. It is not clear which of them holds the organization of a gateway.',
                            gateways, organizations, a.columns),
               'Declare that column NOT NULL and the others nullable, or name it "orgId".'
          FROM gateway_pool_internal.ambiguous_org_columns(gateways, organizations) a (columns)
         WHERE a.columns IS NOT NULL
           AND NOT EXISTS (SELECT FROM gateway_pool_internal.markers() m WHERE m.role = 'gateways' AND m.relation = gateways)
      ) p
     ORDER BY p.place, p.number, p.problem
$$;
COMMENT ON FUNCTION gateway_pool_internal.host_problems(regclass, regclass, regclass) IS
    'returns why gateway pools cannot be installed for tables of a host, such as columns and keys that are missing, and '
    'what to do about it';

CREATE FUNCTION gateway_pool_internal.require_host(organizations regclass, gateways regclass, kubernetes_auths regclass)
    RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    SET jit = off
AS $$
#variable_conflict use_variable
DECLARE
    found record;
BEGIN
    SELECT string_agg(p.problem, E'\n' ORDER BY p.place) AS problems,
           string_agg(p.remedy, ' ' ORDER BY p.place) FILTER (WHERE p.first) AS remedies INTO found
      FROM (SELECT h.problem, h.remedy, h.place, row_number() OVER (PARTITION BY h.remedy ORDER BY h.place) = 1 AS first
              FROM gateway_pool_internal.host_problems(organizations, gateways, kubernetes_auths)
                   WITH ORDINALITY h (problem, remedy, place)) p;
    IF found.problems IS NOT NULL THEN
        RAISE object_not_in_prerequisite_state
            USING MESSAGE = 'gateway pools cannot be installed for these tables',
                  DETAIL = found.problems,
                  HINT = found.remedies,
                  CONSTRAINT = 'gateway_pools_not_installed';
    END IF;
    IF kubernetes_auths IS NOT NULL
       AND NOT EXISTS (SELECT FROM gateway_pool_internal.consumers() c
                        WHERE c.consumer = kubernetes_auths AND c.pool_column = 'gatewayPoolId' AND c.org_query IS NOT NULL) THEN
        PERFORM gateway_pool_internal.require_org_of_rows(
            kubernetes_auths, organizations,
            'Add such a column or such a key, or rename the table and register it by register_pool_consumer() with an org_query.');
    END IF;
END
$$;
COMMENT ON FUNCTION gateway_pool_internal.require_host(regclass, regclass, regclass) IS
    'raises 55000 if gateway pools cannot be installed for tables of a host';

CREATE FUNCTION @extschema@.install_gateway_pools(
    organizations regclass DEFAULT NULL,
    gateways regclass DEFAULT NULL,
    kubernetes_auths regclass DEFAULT NULL) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    SET jit = off
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
    missing text;
    part record;
BEGIN
    PERFORM gateway_pool_internal.require_script();
    -- At a higher isolation level, the catalogs could be read with a snapshot from before the locks.
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE object_not_in_prerequisite_state
            USING MESSAGE = format('cannot install gateway pools at isolation level "%s"', current_setting('transaction_isolation')),
                  HINT = 'Use isolation level READ COMMITTED.',
                  CONSTRAINT = 'gateway_pools_not_installed';
    END IF;

    SELECT string_agg(format('Tables %s are marked as "%s".', m.relations, m.role), ' ' ORDER BY m.role) INTO problem
      FROM (SELECT m.role, string_agg(m.relation::text, ', ' ORDER BY m.relation::text) AS relations
              FROM gateway_pool_internal.markers() m WHERE m.role <> 'consumer'
             GROUP BY m.role HAVING count(DISTINCT m.relation) > 1) m;
    IF problem IS NOT NULL THEN
        RAISE object_not_in_prerequisite_state
            USING MESSAGE = 'several tables are marked as the same table of gateway pools',
                  DETAIL = problem,
                  HINT = 'Drop trigger "GatewayPools_marker" on the tables that are not in use.',
                  CONSTRAINT = 'gateway_pools_not_installed';
    END IF;

    SELECT coalesce($1, h.organizations), coalesce($2, h.gateways), coalesce($3, h.kubernetes_auths)
      INTO organizations, gateways, kubernetes_auths
      FROM gateway_pool_internal.host_tables() h;
    -- With another gateways table, the other defaults depend on that table.
    IF $2 IS NOT NULL THEN
        SELECT coalesce($1, (SELECT k.confrelid
                               FROM pg_constraint k JOIN pg_attribute a ON a.attrelid = k.conrelid AND k.conkey = ARRAY[a.attnum]
                              WHERE k.conrelid = $2 AND k.contype = 'f' AND a.attname = 'orgId' ORDER BY k.conname LIMIT 1),
                        organizations),
               coalesce($3, (SELECT c.oid FROM pg_class c
                              WHERE c.relnamespace = g.relnamespace AND c.relname = 'identity_kubernetes_auths' AND c.relowner = g.relowner))
          INTO organizations, kubernetes_auths
          FROM pg_class g WHERE g.oid = $2;
    END IF;

    SELECT CASE count(*) WHEN 1 THEN format('cannot find the host''s %s table', min(t.role))
                         WHEN 2 THEN 'cannot find the host''s organizations and gateways tables' END,
           string_agg(t.name, ' or ' ORDER BY t.role DESC) INTO problem, missing
      FROM (VALUES (organizations, 'organizations', 'organizations'), (gateways, 'gateways', 'gateways_v2')) t (relation, role, name)
     WHERE t.relation IS NULL;
    IF problem IS NOT NULL THEN
        RAISE object_not_in_prerequisite_state
            USING MESSAGE = problem,
                  DETAIL = format('%s no table named %s.', gateway_pool_internal.searched_schemas(), missing),
                  HINT = 'Pass the tables of the host, as in install_gateway_pools(organizations => ''tenants'', gateways => ''agents'').',
                  CONSTRAINT = 'gateway_pools_not_installed';
    END IF;
    SELECT string_agg(format('%s', m.relation), ', ' ORDER BY m.role) INTO problem
      FROM gateway_pool_internal.markers() m
     WHERE m.role = 'gateways' AND m.relation <> gateways OR m.role = 'organizations' AND m.relation <> organizations;
    IF problem IS NOT NULL THEN
        RAISE object_not_in_prerequisite_state
            USING MESSAGE = 'gateway pools are already installed for other host tables',
                  DETAIL = format('A database has one host, whose tables include %s.', problem),
                  HINT = 'Call uninstall_gateway_pools() first.',
                  CONSTRAINT = 'gateway_pools_not_installed';
    END IF;

    SELECT c.relowner INTO owner FROM pg_class c WHERE c.oid = gateways;
    IF NOT pg_has_role(owner, 'USAGE') THEN
        RAISE insufficient_privilege
            USING MESSAGE = format('must be owner of table %s', gateways),
                  CONSTRAINT = 'gateway_pools_access',
                  SCHEMA = (SELECT n.nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = gateways),
                  TABLE = (SELECT c.relname FROM pg_class c WHERE c.oid = gateways);
    END IF;
    IF NOT EXISTS (SELECT FROM gateway_pool_internal.markers() m WHERE m.role = 'gateways')
       AND NOT pg_has_role((SELECT e.extowner FROM pg_extension e WHERE e.extname = 'gateway_pool'), 'USAGE') THEN
        RAISE insufficient_privilege
            USING MESSAGE = 'permission denied to install gateway pools',
                  DETAIL = 'The first installation decides which tables are the host''s; '
                           'after it, the owner of the gateways table may install.',
                  HINT = 'Call install_gateway_pools() as a superuser.',
                  CONSTRAINT = 'gateway_pools_access';
    END IF;
    -- Foreign-key actions on the extension's tables run as the owner of the host's tables.
    IF NOT has_schema_privilege(owner, gateway_pool_internal.extension_schema()::oid, 'USAGE') THEN
        RAISE object_not_in_prerequisite_state
            USING MESSAGE = format('role %s lacks privilege USAGE on schema %s', owner::regrole,
                                   gateway_pool_internal.extension_schema()),
                  DETAIL = format('The role owns table %s, and cascading deletions run with its privileges.', gateways),
                  HINT = format('Run GRANT USAGE ON SCHEMA %s TO %s.', gateway_pool_internal.extension_schema(), owner::regrole),
                  CONSTRAINT = 'gateway_pools_not_installed';
    END IF;
    PERFORM gateway_pool_internal.require_host(organizations, gateways, kubernetes_auths);
    SELECT string_agg(t.problem, ', ' ORDER BY t.problem) INTO problem
      FROM gateway_pool_internal.tables(gateways) t WHERE t.problem IS NOT NULL;
    IF problem IS NOT NULL THEN
        RAISE object_not_in_prerequisite_state
            USING MESSAGE = 'cannot use existing relations for gateway pools',
                  DETAIL = problem || '.',
                  HINT = format('Rename or drop relations with these names that are not plain tables owned by %s.', owner::regrole),
                  CONSTRAINT = 'gateway_pools_not_installed';
    END IF;

    IF EXISTS (SELECT FROM gateway_pool_internal.parts(organizations, gateways, kubernetes_auths) p WHERE NOT p.present) THEN
        -- So that a busy host does not wait for long behind these locks.
        IF (SELECT s.setting::int NOT BETWEEN 1 AND 5000 FROM pg_settings s WHERE s.name = 'lock_timeout') THEN
            PERFORM set_config('lock_timeout', '5s', true);
        END IF;
        PERFORM gateway_pool_internal.lock_tables(
            ARRAY(SELECT t.relation FROM gateway_pool_internal.tables(gateways) t WHERE t.relation IS NOT NULL
                   UNION
                  SELECT kubernetes_auths WHERE kubernetes_auths IS NOT NULL
                   UNION
                  SELECT m.relation FROM gateway_pool_internal.markers() m WHERE m.role = 'consumer'),
            ARRAY[gateways, organizations]);

        -- Move tables of an earlier installation to the schema in which they would be created now.
        FOR part IN
            SELECT t.relation, t.schema
              FROM gateway_pool_internal.tables(gateways) t
              JOIN pg_class c ON c.oid = t.relation
             WHERE c.relnamespace <> t.schema AND t.role NOT IN ('gateway_pools', 'gateway_pool_memberships')
               AND NOT EXISTS (SELECT FROM gateway_pool_internal.markers() m WHERE m.relation = t.relation)
        LOOP
            EXECUTE format('ALTER TABLE %s SET SCHEMA %s', part.relation, part.schema);
        END LOOP;

        -- A key or an index must not depend on code that an owner defined, so its columns must be of the
        -- built-in types themselves.
        SELECT string_agg(format('%s.%I %s', c.oid::regclass, p.attribute, p.type), ', ' ORDER BY c.relname, p.attribute) INTO problem
          FROM gateway_pool_internal.table_columns() p
          JOIN gateway_pool_internal.tables(gateways) t ON t.role = p.relation
          JOIN pg_class c ON c.oid = t.relation
          LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = p.attribute AND NOT a.attisdropped
         WHERE p.attribute IS NOT NULL
           AND CASE WHEN a.attnum IS NULL
                    THEN p.attribute IN ('id', 'name')
                    ELSE replace(a.atttypid::regtype::text, 'text', 'character varying')
                         <> replace(p.type::regtype::text, 'text', 'character varying') END;
        IF problem IS NOT NULL THEN
            RAISE object_not_in_prerequisite_state
                USING MESSAGE = 'columns that gateway pools need are missing or have another type',
                      DETAIL = format('Required: %s.', problem),
                      HINT = 'Rename these tables, or give their columns these types.',
                      CONSTRAINT = 'gateway_pools_not_installed';
        END IF;
        -- Again, with the locks.
        PERFORM gateway_pool_internal.require_host(organizations, gateways, kubernetes_auths);

        FOR part IN
            SELECT * FROM gateway_pool_internal.parts(organizations, gateways, kubernetes_auths) p WHERE NOT p.present
        LOOP
            PERFORM gateway_pool_internal.run_part(part.relation, part.as_caller, part.as_owner);
            made_entitlements := made_entitlements OR part.kind = 'table' AND part.name = 'gateway_pool_entitlements';
        END LOOP;

        -- Pools that are adopted keep working: their organizations get an entitlement.
        IF made_entitlements THEN
            FOR part IN
                SELECT e.name AS entitlements, p.name AS pools
                  FROM gateway_pool_internal.tables(gateways) e, gateway_pool_internal.tables(gateways) p
                 WHERE e.role = 'gateway_pool_entitlements' AND p.role = 'gateway_pools'
            LOOP
                PERFORM gateway_pool_internal.run_as_owner(
                    part.entitlements::regclass,
                    format('INSERT INTO %s ("orgId", "gatewayPool") SELECT DISTINCT p."orgId", true FROM %s p WHERE p."orgId" IS NOT NULL',
                           part.entitlements, part.pools));
            END LOOP;
        END IF;
    END IF;

    IF gateway_pool_internal.is_extension_script() THEN
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
        -- Not inside an extension script: a GRANT there would make pg_dump omit all other grants on the
        -- table.  No privileges on entitlements, tenants and audit logs are copied.
        FOR part IN
            SELECT format('GRANT %s ON %s TO %s%s', a.privilege_type, t.oid::regclass,
                          CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END,
                          CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END) AS command
              FROM pg_class g
             CROSS JOIN aclexplode(g.relacl) a
             CROSS JOIN gateway_pool_internal.tables(gateways) o
              JOIN pg_class t ON t.oid = o.relation
             WHERE g.oid = gateways AND a.grantee <> owner AND t.relacl IS NULL
               -- Not TRIGGER: triggers run with the rights of the owner, as whom other roles' changes are made.
               -- Not TRUNCATE and REFERENCES: they bypass isolation.
               AND a.privilege_type IN ('SELECT', 'INSERT', 'UPDATE', 'DELETE')
               AND o.role IN ('gateway_pools', 'gateway_pool_memberships', 'gateway_states', 'gateway_health',
                              'gateway_health_events', 'gateway_probes')
        LOOP
            EXECUTE part.command;
        END LOOP;
    END IF;

    PERFORM gateway_pool_internal.want_worker();
    PERFORM set_config('lock_timeout', old_lock_timeout, true);
END
$$;
COMMENT ON FUNCTION @extschema@.install_gateway_pools(regclass, regclass, regclass) IS
    'creates the tables, keys and triggers of gateway pools next to the host''s tables, and adopts those that exist; '
    'idempotent';

CREATE FUNCTION @extschema@.uninstall_gateway_pools(keep_data boolean DEFAULT true) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    SET jit = off
AS $$
DECLARE
    kubernetes_auths CONSTANT regclass := (SELECT h.kubernetes_auths FROM gateway_pool_internal.host_tables() h);
    -- Tables are found by their markers, which are dropped first.
    tables CONSTANT regclass[] := gateway_pool_internal.our_tables();
    pools CONSTANT oid := (SELECT t.relation
                             FROM gateway_pool_internal.host_tables() h
                            CROSS JOIN LATERAL gateway_pool_internal.tables(h.gateways) t
                            WHERE t.role = 'gateway_pools');
    old_lock_timeout CONSTANT text := current_setting('lock_timeout');
    target record;
BEGIN
    PERFORM gateway_pool_internal.require_script();
    IF keep_data IS NULL THEN
        RAISE invalid_parameter_value USING MESSAGE = 'keep_data must not be null';
    END IF;
    IF old_lock_timeout::interval NOT BETWEEN interval '1 ms' AND interval '5 s' THEN
        PERFORM set_config('lock_timeout', '5s', true);
    END IF;
    PERFORM gateway_pool_internal.lock_tables(
        ARRAY(SELECT t.relation FROM gateway_pool_internal.triggers() t UNION SELECT unnest(tables)), '{}'::regclass[]);

    -- Row-level security stays enabled without policies: only the owner sees rows until isolation is disabled.
    PERFORM gateway_pool_internal.drop_policies();
    FOR target IN SELECT * FROM gateway_pool_internal.triggers() t ORDER BY t.relation, t.name
    LOOP
        PERFORM gateway_pool_internal.run_as_owner(target.relation, format('DROP TRIGGER %I ON %s', target.name, target.relation));
    END LOOP;

    IF keep_data THEN
        PERFORM set_config('lock_timeout', old_lock_timeout, true);
        RETURN;
    END IF;

    -- No CASCADE: the host has to drop keys that the extension did not create.
    FOR target IN
        SELECT k.conname, k.conrelid::regclass AS relation
          FROM pg_constraint k
         WHERE k.confrelid = pools AND k.contype = 'f' AND k.conparentid = 0
           AND obj_description(k.oid, 'pg_constraint') = 'of gateway pools'
         ORDER BY 2, 1
    LOOP
        PERFORM gateway_pool_internal.run_as_owner(
            target.relation, format('ALTER TABLE %s DROP CONSTRAINT %I', target.relation, target.conname));
    END LOOP;
    IF EXISTS (SELECT FROM pg_attribute a
                WHERE a.attrelid = kubernetes_auths AND a.attname = 'gatewayPoolId' AND NOT a.attisdropped) THEN
        PERFORM gateway_pool_internal.run_as_owner(
            kubernetes_auths, format('ALTER TABLE %s DROP COLUMN "gatewayPoolId"', kubernetes_auths));
    END IF;
    IF cardinality(tables) > 0 THEN
        EXECUTE 'DROP TABLE ' || array_to_string(tables, ', ');
    END IF;
    PERFORM set_config('lock_timeout', old_lock_timeout, true);
END
$$;
COMMENT ON FUNCTION @extschema@.uninstall_gateway_pools(boolean) IS
    'drops the triggers, so that DROP EXTENSION needs no CASCADE; drops the tables and '
    'identity_kubernetes_auths."gatewayPoolId" too if keep_data is false';
