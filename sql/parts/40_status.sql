
-- Views.  Each is SELECT * FROM a function, so that nothing of ours depends on
-- a column of the host's and its migrations may change any of them.

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
        "changedAt" timestamptz)
    LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.gateway_status(uuid, uuid) IS
    'the rows of view gateway_status, of all organizations or one, of all gateways or one';

CREATE VIEW @extschema@.gateway_status AS SELECT * FROM @extschema@.gateway_status(NULL::uuid, NULL::uuid);
COMMENT ON VIEW @extschema@.gateway_status IS
    'one row a gateway: its status and why, what an administrator wants of it, and the evidence';

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
        "changedAt" timestamptz)
    LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.gateway_pool_members(uuid, uuid) IS
    'the rows of view gateway_pool_members, of all organizations or one, of all pools or one';

CREATE VIEW @extschema@.gateway_pool_members AS SELECT * FROM @extschema@.gateway_pool_members(NULL::uuid, NULL::uuid);
COMMENT ON VIEW @extschema@.gateway_pool_members IS
    'one row a member of a pool: weight, priority, and what gateway_status says of the gateway';

CREATE FUNCTION @extschema@.gateway_pool_status(org_id uuid DEFAULT NULL, pool_id uuid DEFAULT NULL)
    RETURNS TABLE (
        id uuid,
        "orgId" uuid,
        name text,
        "memberCount" int,
        "healthyMemberCount" int,
        "memberGatewayIds" uuid[],
        "connectedResourcesCount" bigint,
        health text,
        label text,
        "createdAt" timestamptz,
        "updatedAt" timestamptz)
    LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.gateway_pool_status(uuid, uuid) IS
    'the rows of view gateway_pool_status, of all organizations or one, of all pools or one';

CREATE VIEW @extschema@.gateway_pool_status AS SELECT * FROM @extschema@.gateway_pool_status(NULL::uuid, NULL::uuid);
COMMENT ON VIEW @extschema@.gateway_pool_status IS
    'one row a pool: how many members it has, how many of them can be picked, and how many rows depend on it';

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
    'the rows of view gateway_options, of all organizations or one';

CREATE VIEW @extschema@.gateway_options AS SELECT * FROM @extschema@.gateway_options(NULL::uuid);
COMMENT ON VIEW @extschema@.gateway_options IS
    'what a picker shows: pools and single gateways with their health; selectable is whether plan (of a pool) and '
    'policy (of a gateway) allow to set one newly; "poolIds" are the pools of a gateway';

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
    'the rows of view gateway_probe_status, of all organizations or one, of all gateways or one';

CREATE VIEW @extschema@.gateway_probe_status AS SELECT * FROM @extschema@.gateway_probe_status(NULL::uuid, NULL::uuid);
COMMENT ON VIEW @extschema@.gateway_probe_status IS
    'one row a gateway that is probed: what its probes have found (up, down, none), how the last one went and why '
    'it failed, how often the gateway fell lately, whether a certificate is verified, and when it expires';

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
COMMENT ON FUNCTION @extschema@.gateway_pool_stats() IS
    'the rows of view gateway_pool_stats';

CREATE VIEW @extschema@.gateway_pool_stats AS SELECT * FROM @extschema@.gateway_pool_stats();
COMMENT ON VIEW @extschema@.gateway_pool_stats IS
    'one row for each pool and gateway that was picked, and one for each pool, whose "gatewayId" is null: '
    'picks, those of them while degraded, and refusals for want of an eligible member';

CREATE FUNCTION @extschema@.reset_gateway_pool_stats() RETURNS void
    LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.reset_gateway_pool_stats() IS
    'forgets the counts of gateway_pool_stats; for the owner of gateway_pools';

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
COMMENT ON FUNCTION @extschema@.gateway_pool_workers() IS
    'the rows of view gateway_pool_workers';

CREATE VIEW @extschema@.gateway_pool_workers AS SELECT * FROM @extschema@.gateway_pool_workers();
COMMENT ON VIEW @extschema@.gateway_pool_workers IS
    'one row a database''s background worker, and one for the launcher, whose database is null: what it does, '
    'how its last round went, and what is wrong; all of them for members of pg_monitor, '
    'else the own database''s, and none for isolated roles';

-- What the views show is decided by the privileges of the tables.
GRANT SELECT ON @extschema@.gateway_status, @extschema@.gateway_probe_status, @extschema@.gateway_pool_members,
    @extschema@.gateway_pool_status, @extschema@.gateway_options, @extschema@.gateway_pool_stats, @extschema@.gateway_pool_workers
    TO PUBLIC;
