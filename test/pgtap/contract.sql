-- Names, types and properties that applications depend on.
\set QUIET 1
SET client_min_messages = warning;
\i test/host.sql
SELECT host_test.make_host('app', 2) \g /dev/null
CREATE EXTENSION gateway_pool SCHEMA app;
SET search_path = app, public;
BEGIN;
SELECT no_plan();

-- Functions: arguments with their names and defaults, results.
SELECT is(pg_get_function_arguments(f.oid) || ' -> ' || pg_get_function_result(f.oid), e.signature, e.name)
  FROM (VALUES
    ('pick_healthy_gateway', 'pool_id uuid, exclude uuid[] DEFAULT NULL::uuid[], strategy text DEFAULT ''random''::text, '
        'capabilities jsonb DEFAULT NULL::jsonb, sticky_key text DEFAULT NULL::text, null_if_none boolean DEFAULT false -> uuid'),
    ('pick_healthy_gateways', 'pool_id uuid, count integer DEFAULT 2, exclude uuid[] DEFAULT NULL::uuid[], strategy text DEFAULT ''random''::text, '
        'capabilities jsonb DEFAULT NULL::jsonb, sticky_key text DEFAULT NULL::text, null_if_none boolean DEFAULT false -> SETOF uuid'),
    ('resolve_gateway', 'gateway_id uuid, pool_id uuid -> uuid'),
    ('explain_gateway_pick', 'pool_id uuid, exclude uuid[] DEFAULT NULL::uuid[], strategy text DEFAULT ''random''::text, '
        'capabilities jsonb DEFAULT NULL::jsonb, sticky_key text DEFAULT NULL::text, null_if_none boolean DEFAULT false -> '
        'TABLE("gatewayId" uuid, name text, status text, reason text, state text, weight integer, priority smallint, '
        'candidate boolean, verdict text, share double precision)'),
    ('record_gateway_heartbeat', 'gateway_id uuid, ttl interval DEFAULT NULL::interval -> void'),
    ('report_gateway_failure', 'gateway_id uuid, reason text DEFAULT NULL::text -> void'),
    ('report_gateway_load', 'gateway_id uuid, active_connections integer -> void'),
    ('release_gateway', 'gateway_id uuid, opened boolean DEFAULT true -> boolean'),
    ('gateway_pool_stats', ' -> TABLE("gatewayPoolId" uuid, "gatewayId" uuid, "orgId" uuid, picks bigint, "degradedPicks" bigint, '
        'refusals bigint, since timestamp with time zone)'),
    ('reset_gateway_pool_stats', ' -> void'),
    ('create_gateway_pool', 'org_id uuid, OUT id uuid, OUT "orgId" uuid, INOUT name text, OUT "createdAt" timestamp with time zone, '
        'OUT "updatedAt" timestamp with time zone -> record'),
    ('update_gateway_pool', 'org_id uuid, pool_id uuid, OUT id uuid, OUT "orgId" uuid, INOUT name text, '
        'OUT "createdAt" timestamp with time zone, OUT "updatedAt" timestamp with time zone -> record'),
    ('delete_gateway_pool', 'org_id uuid, pool_id uuid, OUT id uuid, OUT "orgId" uuid, OUT name text, '
        'OUT "createdAt" timestamp with time zone, OUT "updatedAt" timestamp with time zone -> record'),
    ('get_gateway_pool', 'org_id uuid, pool_id uuid, OUT id uuid, OUT "orgId" uuid, OUT name text, '
        'OUT "createdAt" timestamp with time zone, OUT "updatedAt" timestamp with time zone, OUT gateways jsonb -> record'),
    ('add_gateway_to_pool', 'org_id uuid, pool_id uuid, gateway_id uuid, OUT id uuid, OUT "gatewayPoolId" uuid, OUT "gatewayId" uuid, '
        'INOUT weight integer DEFAULT 1, INOUT priority integer DEFAULT 0, OUT "createdAt" timestamp with time zone -> record'),
    ('remove_gateway_from_pool', 'org_id uuid, pool_id uuid, gateway_id uuid, OUT id uuid, OUT "gatewayPoolId" uuid, OUT "gatewayId" uuid, '
        'OUT "createdAt" timestamp with time zone -> record'),
    ('set_gateway_pool_members', 'org_id uuid, pool_id uuid, gateway_ids uuid[], OUT added uuid[], OUT removed uuid[] -> record'),
    ('gateway_dependents', 'gateway_id uuid -> TABLE(kind text, consumer regclass, id text, name text, "gatewayPoolId" uuid, "poolName" text, '
        '"onlyEligible" boolean)'),
    ('gateway_pool_id', 'org_id uuid, name text -> uuid'),
    ('gateway_id', 'org_id uuid, name text -> uuid'),
    ('get_gateway_pool_resources', 'org_id uuid, pool_id uuid -> jsonb'),
    ('get_gateway_pool_plan', 'org_id uuid, OUT "gatewayPool" boolean, OUT "expiresAt" timestamp with time zone, OUT "maxPools" integer, '
        'OUT "usedPools" integer, OUT "maxGatewaysPerPool" integer -> record'),
    ('grant_gateway_pool_access', 'role regrole, actions text[] -> void'),
    ('revoke_gateway_pool_access', 'role regrole, actions text[] -> void'),
    ('has_gateway_pool_access', 'role regrole, action text -> boolean'),
    ('enable_gateway_pool_isolation', ' -> void'),
    ('disable_gateway_pool_isolation', ' -> void'),
    ('set_gateway_pool_entitlement', 'org_id uuid, enabled boolean, max_pools integer DEFAULT NULL::integer, '
        'max_gateways_per_pool integer DEFAULT NULL::integer, expires_at timestamp with time zone DEFAULT NULL::timestamp with time zone -> void'),
    ('set_gateway_state', 'gateway_id uuid, state text, reason text DEFAULT NULL::text, until timestamp with time zone DEFAULT NULL::timestamp with time zone -> void'),
    ('set_gateway_probe', 'gateway_id uuid, protocol text, address text, path text DEFAULT NULL::text, expected_status text DEFAULT NULL::text, '
        'server_name text DEFAULT NULL::text, verify_tls boolean DEFAULT true, ca_certificate text DEFAULT NULL::text, '
        'probe_interval interval DEFAULT NULL::interval, timeout interval DEFAULT NULL::interval, rise integer DEFAULT NULL::integer, '
        'fall integer DEFAULT NULL::integer, required boolean DEFAULT true -> void'),
    ('clear_gateway_probe', 'gateway_id uuid -> boolean'),
    ('probe_gateway', 'gateway_id uuid, timeout interval DEFAULT ''00:00:10''::interval -> TABLE(verdict text, reason text, milliseconds real)'),
    ('install_gateway_pools', 'organizations regclass DEFAULT NULL::regclass, gateways regclass DEFAULT NULL::regclass, '
        'kubernetes_auths regclass DEFAULT NULL::regclass -> void'),
    ('uninstall_gateway_pools', 'keep_data boolean DEFAULT true -> void'),
    ('register_pool_consumer', 'consumer regclass, pool_column name DEFAULT ''gatewayPoolId''::name, gateway_column name DEFAULT NULL::name, '
        'org_query text DEFAULT NULL::text -> void'),
    ('register_infisical_consumers', ' -> TABLE(consumer text, registered boolean, reason text)'),
    ('unregister_pool_consumer', 'consumer regclass, pool_column name DEFAULT ''gatewayPoolId''::name, keep_data boolean DEFAULT true -> void'),
    ('gateway_pool_consumers', ' -> TABLE(consumer regclass, pool_column name, gateway_column name, org_query text)'),
    ('check_gateway_pools', ' -> TABLE(problem text, object text, detail text, remedy text)')
  ) e (name, signature)
  LEFT JOIN pg_proc f ON f.proname = e.name AND f.pronamespace = 'app'::regnamespace;

-- Functions that read the latest rows: never folded, never run in a parallel
-- worker, never skipped for a NULL.
SELECT is_empty($$
    SELECT p.oid::regprocedure FROM pg_proc p
      JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
      JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'gateway_pool'
     WHERE (p.provolatile <> 'v' OR p.proparallel <> 'u' OR p.proisstrict)
       AND p.proname NOT IN ('is_gateway_pool_name', 'short_age', 'short_text')$$,
    'functions are volatile, parallel unsafe and called on NULL');
-- Each of these exists once; the test above would pass without them.
SELECT is(string_agg(concat_ws(' ', p.provolatile, p.proparallel, p.proisstrict, p.proretset), ', '),
          CASE f WHEN 'gateway_pool_stats' THEN 'v u f t' ELSE 'v u f f' END, f || ': volatile, parallel unsafe, called on NULL')
  FROM unnest('{record_gateway_heartbeat,report_gateway_failure,report_gateway_load,release_gateway,gateway_pool_stats,
                reset_gateway_pool_stats}'::text[]) f
  LEFT JOIN pg_proc p ON p.proname = f AND p.pronamespace = 'app'::regnamespace
 GROUP BY f ORDER BY f;
-- The caller's search path does not affect functions in SQL and PL/pgSQL; register_pool_consumer() parses
-- org_query with that path and qualifies all other names.
SELECT is_empty($$
    SELECT p.oid::regprocedure FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
     WHERE p.pronamespace IN ('app'::regnamespace, 'gateway_pool_internal'::regnamespace) AND l.lanname <> 'c'
       AND p.proname NOT IN ('on_update_timestamp', 'register_pool_consumer')
       AND NOT coalesce(p.proconfig @> ARRAY['search_path=pg_catalog, pg_temp'], false)$$,
    'functions set their search_path');
SELECT is_empty($$
    SELECT p.oid::regprocedure FROM pg_proc p
     WHERE p.pronamespace IN ('app'::regnamespace, 'gateway_pool_internal'::regnamespace) AND p.prosecdef$$,
    'no function is SECURITY DEFINER');
SELECT is_empty($$
    SELECT c.relname FROM pg_class c WHERE c.relnamespace = 'app'::regnamespace AND c.relkind = 'v'
       AND pg_get_viewdef(c.oid) !~ 'FROM app\.\w+\(\)|FROM \w+\('$$,
    'every view reads a function');

-- Privileges on the internal schema and on the marker function.
SELECT ok(has_schema_privilege('pg_monitor', 'gateway_pool_internal', 'USAGE') AND
          NOT has_schema_privilege('pg_monitor', 'gateway_pool_internal', 'CREATE'), 'PUBLIC has USAGE on the internal schema, but not CREATE');
SELECT ok(NOT has_function_privilege('pg_monitor', 'gateway_pool_internal.table_marker()', 'EXECUTE'), 'PUBLIC cannot mark tables');

-- Views and tables: columns in order, as the API names them.
SELECT columns_are('app', 'gateway_pool_status', ARRAY['id', 'orgId', 'name', 'memberCount', 'healthyMemberCount',
    'memberGatewayIds', 'connectedResourcesCount', 'health', 'label', 'createdAt', 'updatedAt']);
SELECT columns_are('app', 'gateway_status', ARRAY['gatewayId', 'orgId', 'name', 'status', 'state', 'reason', 'lastHeartbeatAt',
    'heartbeatExpiresAt', 'suspectUntil', 'lastProbeAt', 'lastProbeMs', 'activeConnections', 'reservations', 'changedAt', 'stateUntil']);
SELECT columns_are('app', 'gateway_pool_members', ARRAY['gatewayPoolId', 'pickWeight', 'pickPriority', 'gatewayId', 'orgId', 'name', 'status',
    'state', 'reason', 'lastHeartbeatAt', 'heartbeatExpiresAt', 'suspectUntil', 'lastProbeAt', 'lastProbeMs', 'activeConnections',
    'reservations', 'changedAt', 'stateUntil', 'poolName']);
SELECT columns_are('app', 'gateway_status_brief', ARRAY['name', 'status', 'state', 'heard', 'reason', 'id']);
SELECT columns_are('app', 'gateway_pool_members_brief', ARRAY['pool', 'gateway', 'status', 'state', 'weight', 'priority', 'heard', 'reason']);
SELECT columns_are('app', 'gateway_pool_status_brief', ARRAY['name', 'health', 'label', 'resources', 'id']);
SELECT columns_are('app', 'gateway_pool_workers_brief', ARRAY['database', 'state', 'activity', 'round', 'targets', 'queue', 'problem']);
SELECT columns_are('app', 'gateway_pool_stats', ARRAY['gatewayPoolId', 'gatewayId', 'orgId', 'picks', 'degradedPicks', 'refusals', 'since']);
SELECT columns_are('app', 'gateway_pool_workers', ARRAY['pid', 'databaseId', 'database', 'state', 'activity', 'lastRoundAt', 'lagMs',
    'queueLength', 'queueDropped', 'targets', 'runningProbes', 'waitingProbes', 'p99LatenessMs', 'probes_count', 'problem']);
SELECT columns_are('app', 'gateway_probe_status', ARRAY['gatewayId', 'orgId', 'name', 'verdict', 'reason', 'lastProbeAt', 'lastProbeMs',
    'consecutiveFailures', 'consecutiveSuccesses', 'falls', 'protocol', 'verifyTls', 'certificateExpiresAt']);
SELECT columns_are('app', 'gateway_options', ARRAY['kind', 'id', 'orgId', 'name', 'health', 'label', 'poolIds', 'selectable']);
SELECT columns_are('app', 'gateway_pool_audit_logs', ARRAY['id', 'orgId', 'eventType', 'actor', 'sessionUser', 'currentUser', 'eventMetadata',
    'createdAt']);
SELECT col_type_is('app', 'gateway_pool_audit_logs', 'eventMetadata', 'jsonb', 'metadata is jsonb');
SELECT columns_are('app', 'gateway_pools', ARRAY['id', 'orgId', 'name', 'createdAt', 'updatedAt']);
SELECT columns_are('app', 'gateway_pool_memberships', ARRAY['id', 'gatewayPoolId', 'gatewayId', 'createdAt', 'updatedAt', 'pickWeight', 'pickPriority']);
SELECT columns_are('app', 'gateway_pool_entitlements', ARRAY['orgId', 'gatewayPool', 'maxPools', 'maxGatewaysPerPool', 'expiresAt',
    'createdAt', 'updatedAt']);
SELECT columns_are('app', 'gateway_states', ARRAY['gatewayId', 'state', 'reason', 'changedAt', 'until']);
SELECT columns_are('app', 'gateway_probes', ARRAY['gatewayId', 'protocol', 'address', 'path', 'expectedStatus', 'serverName', 'verifyTls',
    'caCertificate', 'intervalMs', 'timeoutMs', 'rise', 'fall', 'required', 'createdAt', 'updatedAt']);
SELECT columns_are('app', 'gateway_health_events', ARRAY['id', 'gatewayId', 'orgId', 'gatewayName', 'oldStatus', 'newStatus', 'reason',
    'occurredAt']);
SELECT columns_are('app', 'gateway_health', ARRAY['gatewayId', 'status', 'reason', 'lastHeartbeatAt', 'heartbeatExpiresAt', 'lastProbeAt',
    'lastProbeMs', 'consecutiveFailures', 'consecutiveSuccesses', 'probeTarget', 'probeVerdict', 'falls', 'lastFallAt', 'changedAt']);
SELECT col_is_pk('app', 'gateway_health', 'gatewayId', 'gateway_health has one row per gateway');
SELECT col_type_is('app', 'gateway_health', c, t, 'gateway_health.' || c)
  FROM (VALUES ('gatewayId'::name, 'uuid'), ('status', 'text'), ('reason', 'text'), ('lastHeartbeatAt', 'timestamp with time zone'),
               ('heartbeatExpiresAt', 'timestamp with time zone'), ('lastProbeAt', 'timestamp with time zone'), ('lastProbeMs', 'real'),
               ('consecutiveFailures', 'integer'), ('consecutiveSuccesses', 'integer'), ('changedAt', 'timestamp with time zone')) e (c, t);
SELECT host_test.add_gateway('app', host_test.add_org('app', 'acme'), 'g', '0s', '00000000-0000-0000-0000-0000000000a1') \g /dev/null
SELECT lives_ok(format('INSERT INTO gateway_health ("gatewayId", status) VALUES (%L, %L) ON CONFLICT ("gatewayId") DO UPDATE SET status = excluded.status',
                       '00000000-0000-0000-0000-0000000000a1', s), 'a gateway can be ' || s)
  FROM unnest('{healthy,degraded,unhealthy,unknown}'::text[]) s;
SELECT throws_ok($$UPDATE gateway_health SET status = 'suspect'$$, '23514');
SELECT col_type_is('app', 'gateway_pools', 'name', 'character varying(32)', 'a name has at most 32 characters');
SELECT col_default_is('app', 'gateway_pool_memberships', 'pickWeight', 1, 'the default weight is 1');
SELECT col_default_is('app', 'gateway_pool_memberships', 'pickPriority', 0, 'the default priority is 0');
SELECT col_default_is('app', 'gateway_probes', 'required', 'true', 'a probe is required by default');
SELECT has_index('app', 'gateway_pool_memberships', 'gateway_pool_ix_memberships_gatewayid', ARRAY['"gatewayId"']);
SELECT has_index('app', 'identity_kubernetes_auths', 'gateway_pool_ix_identity_kubernetes_auths_gatewaypoolid', ARRAY['"gatewayPoolId"']);
SELECT is(confdeltype, e.action, e.name)
  FROM (VALUES ('gateway_pools_orgid_foreign', 'c'::"char"), ('gateway_pool_memberships_gatewaypoolid_foreign', 'c'),
               ('gateway_pool_memberships_gatewayid_foreign', 'c'), ('gateway_pool_fk_entitlements_orgid', 'c'),
               ('gateway_pool_fk_states_gatewayid', 'c'), ('gateway_pool_fk_probes_gatewayid', 'c'),
               ('gateway_pool_fk_health_gatewayid', 'c'),
               ('identity_kubernetes_auths_gatewaypoolid_foreign', 'n')) e (name, action)
  LEFT JOIN pg_constraint k ON k.conname = e.name AND k.connamespace = 'app'::regnamespace;

-- No trigger breaks a host's migration: none is deferred, bound to columns or has a condition;
-- the extension's fire before those of foreign keys.
SELECT is_empty($$
    SELECT t.tgname FROM pg_trigger t JOIN pg_proc f ON f.oid = t.tgfoid
     WHERE f.pronamespace = 'gateway_pool_internal'::regnamespace AND NOT t.tgisinternal
       AND (t.tgdeferrable OR t.tgattr <> '' OR t.tgqual IS NOT NULL OR t.tgnewtable IS NOT NULL)$$,
    'triggers are not deferred and have no columns, conditions or transition tables');
SELECT is_empty($$
    SELECT t.tgname FROM pg_trigger t WHERE t.tgname LIKE 'GatewayPools\_%' AND t.tgname::text COLLATE "C" >= 'RI_'$$,
    'triggers of gateway pools sort before those of foreign keys');
-- Only built-in types and functions in the tables.
SELECT is_empty($$
    SELECT d.objid FROM pg_depend d
      JOIN pg_depend m ON m.classid = d.refclassid AND m.objid = d.refobjid AND m.deptype = 'e'
      JOIN pg_extension e ON e.oid = m.refobjid AND e.extname = 'gateway_pool'
     WHERE d.classid IN ('pg_attrdef'::regclass, 'pg_constraint'::regclass)
        OR d.classid = 'pg_class'::regclass AND d.objid IN (SELECT c.oid FROM pg_class c WHERE c.relkind IN ('r', 'i'))$$,
    'no column, default, check or index depends on the extension');

SELECT ok(has_table_privilege('pg_monitor', 'app.' || v, 'SELECT'), 'PUBLIC may read ' || v)
  FROM unnest('{gateway_status,gateway_pool_members,gateway_pool_status,gateway_options,gateway_pool_stats,
                gateway_pool_workers,gateway_status_brief,gateway_pool_members_brief,gateway_pool_status_brief,
                gateway_pool_workers_brief}'::text[]) v;

-- Settings: defaults, units and contexts, whatever their values on this server.
SELECT is(concat_ws(' ', s.boot_val, s.unit, s.context), e.setting, e.name)
  FROM (VALUES ('default_entitlement', 'off superuser'), ('max_pools_per_org', '50 superuser'), ('max_gateways_per_pool', '-1 superuser'),
               ('heartbeat_timeout', '3600 s sighup'), ('heartbeat_grace', '30 s sighup'), ('startup_grace', '180 s sighup'),
               ('suspect_ttl', '60 s sighup'), ('actor', ' user'), ('audit_retention', '-1 s sighup'), ('worker', 'on sighup'), ('max_gateways', '16384 postmaster')) e (name, setting)
  LEFT JOIN pg_settings s ON s.name = 'gateway_pool.' || e.name;
SELECT throws_ok(format('SET gateway_pool.%I = 1', name), '55P02', NULL, 'a session cannot set ' || name)
  FROM unnest('{heartbeat_timeout,heartbeat_grace,startup_grace,suspect_ttl,worker,max_gateways}'::text[]) name;
SELECT * FROM finish();
ROLLBACK;
