
-- Views.  Each is SELECT * FROM a function, so that no object of the extension depends on a column
-- of a host's table, and migrations of the host can change every column.

CREATE FUNCTION @extschema@.gateway_status(org_id uuid DEFAULT NULL, gateway_id uuid DEFAULT NULL)
    RETURNS TABLE (
        "gatewayId" uuid,
        "orgId" uuid,
        name text,
        status text,
        state text,
        reason text,
        "lastHeartbeatAt" timestamptz,
        "heartbeatExpiresAt" timestamptz,
        "suspectUntil" timestamptz,
        "lastProbeAt" timestamptz,
        "lastProbeMs" real,
        "activeConnections" int,
        reservations int,
        "changedAt" timestamptz,
        "stateUntil" timestamptz)
    LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.gateway_status(uuid, uuid) IS
    'returns the rows of view gateway_status; NULL means all organizations, all gateways';

CREATE VIEW @extschema@.gateway_status AS SELECT * FROM @extschema@.gateway_status(NULL::uuid, NULL::uuid);
COMMENT ON VIEW @extschema@.gateway_status IS
    'one row per gateway: its status, the reason for it, the state that an administrator set, and the evidence';

CREATE FUNCTION @extschema@.gateway_pool_members(org_id uuid DEFAULT NULL, pool_id uuid DEFAULT NULL)
    RETURNS TABLE (
        "gatewayPoolId" uuid,
        "pickWeight" int,
        "pickPriority" smallint,
        "gatewayId" uuid,
        "orgId" uuid,
        name text,
        status text,
        state text,
        reason text,
        "lastHeartbeatAt" timestamptz,
        "heartbeatExpiresAt" timestamptz,
        "suspectUntil" timestamptz,
        "lastProbeAt" timestamptz,
        "lastProbeMs" real,
        "activeConnections" int,
        reservations int,
        "changedAt" timestamptz,
        "stateUntil" timestamptz,
        "poolName" text)
    LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.gateway_pool_members(uuid, uuid) IS
    'returns the rows of view gateway_pool_members; NULL means all organizations, all pools';

CREATE VIEW @extschema@.gateway_pool_members AS SELECT * FROM @extschema@.gateway_pool_members(NULL::uuid, NULL::uuid);
COMMENT ON VIEW @extschema@.gateway_pool_members IS
    'one row per member of a pool: weight, priority, the columns of gateway_status, and the name of the pool';

CREATE FUNCTION @extschema@.gateway_pool_status(org_id uuid DEFAULT NULL, pool_id uuid DEFAULT NULL)
    RETURNS TABLE (
        id uuid,
        "orgId" uuid,
        name text,
        "memberCount" int,
        "healthyMemberCount" int,
        "memberGatewayIds" uuid[],
        "connectedResourcesCount" int,
        health text,
        label text,
        "createdAt" timestamptz,
        "updatedAt" timestamptz)
    LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.gateway_pool_status(uuid, uuid) IS
    'returns the rows of view gateway_pool_status; NULL means all organizations, all pools';

CREATE VIEW @extschema@.gateway_pool_status AS SELECT * FROM @extschema@.gateway_pool_status(NULL::uuid, NULL::uuid);
COMMENT ON VIEW @extschema@.gateway_pool_status IS
    'one row per pool: its members, the number of eligible ones, and the number of rows that reference the pool';

CREATE FUNCTION @extschema@.gateway_options(org_id uuid DEFAULT NULL)
    RETURNS TABLE (
        kind text,
        id uuid,
        "orgId" uuid,
        name text,
        health text,
        label text,
        "poolIds" uuid[],
        selectable boolean)
    LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.gateway_options(uuid) IS
    'returns the rows of view gateway_options; NULL means all organizations';

CREATE VIEW @extschema@.gateway_options AS SELECT * FROM @extschema@.gateway_options(NULL::uuid);
COMMENT ON VIEW @extschema@.gateway_options IS
    'one row per pool and per gateway, with its health, for a selection list; selectable is false if the entitlement '
    '(for a pool) or the policy (for a gateway) forbids setting it newly; "poolIds" are the pools that a gateway is a '
    'member of';

CREATE FUNCTION @extschema@.gateway_probe_status(org_id uuid DEFAULT NULL, gateway_id uuid DEFAULT NULL)
    RETURNS TABLE (
        "gatewayId" uuid,
        "orgId" uuid,
        name text,
        verdict text,
        reason text,
        "lastProbeAt" timestamptz,
        "lastProbeMs" real,
        "consecutiveFailures" int,
        "consecutiveSuccesses" int,
        falls int,
        protocol text,
        "verifyTls" boolean,
        "certificateExpiresAt" timestamptz)
    LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.gateway_probe_status(uuid, uuid) IS
    'returns the rows of view gateway_probe_status; NULL means all organizations, all gateways';

CREATE VIEW @extschema@.gateway_probe_status AS SELECT * FROM @extschema@.gateway_probe_status(NULL::uuid, NULL::uuid);
COMMENT ON VIEW @extschema@.gateway_probe_status IS
    'one row per probed gateway: verdict (up, down, none), the last probe and why it failed, recent falls, whether '
    'the certificate is verified, and when it expires';

CREATE FUNCTION @extschema@.gateway_pool_stats()
    RETURNS TABLE (
        "gatewayPoolId" uuid,
        "gatewayId" uuid,
        "orgId" uuid,
        picks bigint,
        "degradedPicks" bigint,
        refusals bigint,
        since timestamptz)
    LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.gateway_pool_stats() IS 'returns the rows of view gateway_pool_stats';

CREATE VIEW @extschema@.gateway_pool_stats AS SELECT * FROM @extschema@.gateway_pool_stats();
COMMENT ON VIEW @extschema@.gateway_pool_stats IS
    'one row per pool and picked gateway, and one per pool with a null "gatewayId": picks, picks of degraded '
    'gateways, and picks refused because no member was eligible';

CREATE FUNCTION @extschema@.reset_gateway_pool_stats() RETURNS void
    LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.reset_gateway_pool_stats() IS
    'removes the counts of this database from gateway_pool_stats; for the owner of gateway_pools';

CREATE FUNCTION @extschema@.gateway_pool_workers()
    RETURNS TABLE (
        pid int,
        "databaseId" oid,
        database text,
        state text,
        activity text,
        "lastRoundAt" timestamptz,
        "lagMs" real,
        "queueLength" int,
        "queueDropped" bigint,
        targets int,
        "runningProbes" int,
        "waitingProbes" int,
        "p99LatenessMs" real,
        probes_count boolean,
        problem text)
    LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.gateway_pool_workers() IS 'returns the rows of view gateway_pool_workers';

CREATE VIEW @extschema@.gateway_pool_workers AS SELECT * FROM @extschema@.gateway_pool_workers();
COMMENT ON VIEW @extschema@.gateway_pool_workers IS
    'one row per database that has or waits for a background worker, and one for the launcher, whose database is '
    'null: activity, timing of the last round, and problems; members of pg_monitor see all rows, other roles that of '
    'their own database, isolated roles none; probes_count is false while timeouts of probes are no evidence, because '
    'the worker was late';

-- Views for reading in psql: what matters most, in lines of at most 120 characters where names have
-- up to 12.  They select from functions too, so they depend on no column of a table.

CREATE FUNCTION gateway_pool_internal.short_age(moment timestamptz) RETURNS text
    LANGUAGE sql VOLATILE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE WHEN s < 120 THEN s || ' s' WHEN s < 7200 THEN s / 60 || ' min' WHEN s < 172800 THEN s / 3600 || ' h'
                ELSE s / 86400 || ' d' END
      FROM (SELECT floor(extract(epoch FROM greatest(clock_timestamp() - moment, interval '0')))::bigint) a (s)
     WHERE moment IS NOT NULL
$$;
COMMENT ON FUNCTION gateway_pool_internal.short_age(timestamptz) IS
    'returns how long ago a moment was, such as 12 s, 5 min, 3 h or 2 d';

CREATE FUNCTION gateway_pool_internal.short_text(long text, size int) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE WHEN length(long) > size THEN left(long, size - 2) || '..' ELSE long END
$$;
COMMENT ON FUNCTION gateway_pool_internal.short_text(text, int) IS
    'returns a text, cut to size characters, the last two of them periods, if it is longer';

CREATE VIEW @extschema@.gateway_status_brief AS
    SELECT s.name, s.status, s.state, gateway_pool_internal.short_age(s."lastHeartbeatAt") AS heard,
           gateway_pool_internal.short_text(s.reason, 29) AS reason, s."gatewayId" AS id
      FROM @extschema@.gateway_status(NULL::uuid, NULL::uuid) s;
COMMENT ON VIEW @extschema@.gateway_status_brief IS 'gateway_status for reading: the most important columns, in short lines';

CREATE VIEW @extschema@.gateway_pool_members_brief AS
    SELECT m."poolName" AS pool, m.name AS gateway, m.status, m.state, m."pickWeight" AS weight, m."pickPriority" AS priority,
           gateway_pool_internal.short_age(m."lastHeartbeatAt") AS heard,
           gateway_pool_internal.short_text(m.reason, 29) AS reason
      FROM @extschema@.gateway_pool_members(NULL::uuid, NULL::uuid) m;
COMMENT ON VIEW @extschema@.gateway_pool_members_brief IS
    'gateway_pool_members for reading: the most important columns, in short lines';

CREATE VIEW @extschema@.gateway_pool_status_brief AS
    SELECT p.name, p.health, p.label, p."connectedResourcesCount" AS resources, p.id
      FROM @extschema@.gateway_pool_status(NULL::uuid, NULL::uuid) p;
COMMENT ON VIEW @extschema@.gateway_pool_status_brief IS
    'gateway_pool_status for reading: the most important columns, in short lines';

CREATE VIEW @extschema@.gateway_pool_workers_brief AS
    SELECT w.database, w.state, gateway_pool_internal.short_text(w.activity, 27) AS activity,
           gateway_pool_internal.short_age(w."lastRoundAt") AS round, w.targets, w."queueLength" AS queue,
           gateway_pool_internal.short_text(w.problem, 34) AS problem
      FROM @extschema@.gateway_pool_workers() w;
COMMENT ON VIEW @extschema@.gateway_pool_workers_brief IS
    'gateway_pool_workers for reading: the most important columns, in short lines';

-- The functions check the privileges on the tables.  Only new views: an administrator may have revoked
-- the privilege on those of an earlier version.
DO $$
DECLARE
    view regclass;
BEGIN
    FOR view IN
        SELECT c.oid
          FROM pg_extension e
          JOIN pg_depend d ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND d.deptype = 'e'
          JOIN pg_class c ON d.classid = 'pg_class'::regclass AND c.oid = d.objid
         WHERE e.extname = 'gateway_pool' AND c.relnamespace = e.extnamespace AND c.relkind = 'v' AND c.relacl IS NULL
    LOOP
        EXECUTE format('GRANT SELECT ON %s TO PUBLIC', view);
    END LOOP;
END
$$;
