-- Comments on the columns of the views.

COMMENT ON COLUMN @extschema@.gateway_status."gatewayId" IS 'id of the gateway';
COMMENT ON COLUMN @extschema@.gateway_status."orgId" IS 'organization of the gateway';
COMMENT ON COLUMN @extschema@.gateway_status.name IS 'name of the gateway';
COMMENT ON COLUMN @extschema@.gateway_status.status IS 'healthy, degraded, unhealthy or unknown, as a pick sees it now';
COMMENT ON COLUMN @extschema@.gateway_status.state IS 'active, draining or maintenance, as an administrator set it';
COMMENT ON COLUMN @extschema@.gateway_status."stateUntil" IS
    'when the state ends, and the gateway is active again; NULL: never';
COMMENT ON COLUMN @extschema@.gateway_status.reason IS 'why the gateway has this status';
COMMENT ON COLUMN @extschema@.gateway_status."lastHeartbeatAt" IS 'time of the last heartbeat, from the table or reported';
COMMENT ON COLUMN @extschema@.gateway_status."heartbeatExpiresAt" IS 'when that heartbeat stops counting';
COMMENT ON COLUMN @extschema@.gateway_status."suspectUntil" IS
    'until when the gateway is suspect because a caller reported a failure; NULL: it is not';
COMMENT ON COLUMN @extschema@.gateway_status."lastProbeAt" IS 'time of the last probe';
COMMENT ON COLUMN @extschema@.gateway_status."lastProbeMs" IS 'duration of the last probe, in milliseconds';
COMMENT ON COLUMN @extschema@.gateway_status."activeConnections" IS
    'number of connections that the gateway reported, with those opened since; NULL: no report in the last 35 s';
COMMENT ON COLUMN @extschema@.gateway_status.reservations IS 'number of picks by least_loaded that have not been released';
COMMENT ON COLUMN @extschema@.gateway_status."changedAt" IS 'when the recorded status changed';

COMMENT ON COLUMN @extschema@.gateway_pool_members."gatewayPoolId" IS 'id of the pool';
COMMENT ON COLUMN @extschema@.gateway_pool_members."pickWeight" IS
    'share of picks, relative to the weights of the other candidates; 0 to 1000';
COMMENT ON COLUMN @extschema@.gateway_pool_members."pickPriority" IS 'candidates with the lowest value are picked';
COMMENT ON COLUMN @extschema@.gateway_pool_members."gatewayId" IS 'id of the gateway';
COMMENT ON COLUMN @extschema@.gateway_pool_members."orgId" IS 'organization of the gateway';
COMMENT ON COLUMN @extschema@.gateway_pool_members.name IS 'name of the gateway';
COMMENT ON COLUMN @extschema@.gateway_pool_members.status IS
    'healthy, degraded, unhealthy or unknown, as a pick sees it now';
COMMENT ON COLUMN @extschema@.gateway_pool_members.state IS 'active, draining or maintenance, as an administrator set it';
COMMENT ON COLUMN @extschema@.gateway_pool_members."stateUntil" IS
    'when the state ends, and the gateway is active again; NULL: never';
COMMENT ON COLUMN @extschema@.gateway_pool_members.reason IS 'why the gateway has this status';
COMMENT ON COLUMN @extschema@.gateway_pool_members."lastHeartbeatAt" IS
    'time of the last heartbeat, from the table or reported';
COMMENT ON COLUMN @extschema@.gateway_pool_members."heartbeatExpiresAt" IS 'when that heartbeat stops counting';
COMMENT ON COLUMN @extschema@.gateway_pool_members."suspectUntil" IS
    'until when the gateway is suspect because a caller reported a failure; NULL: it is not';
COMMENT ON COLUMN @extschema@.gateway_pool_members."lastProbeAt" IS 'time of the last probe';
COMMENT ON COLUMN @extschema@.gateway_pool_members."lastProbeMs" IS 'duration of the last probe, in milliseconds';
COMMENT ON COLUMN @extschema@.gateway_pool_members."activeConnections" IS
    'number of connections that the gateway reported, with those opened since; NULL: no report in the last 35 s';
COMMENT ON COLUMN @extschema@.gateway_pool_members.reservations IS
    'number of picks by least_loaded that have not been released';
COMMENT ON COLUMN @extschema@.gateway_pool_members."changedAt" IS 'when the recorded status changed';
COMMENT ON COLUMN @extschema@.gateway_pool_members."poolName" IS 'name of the pool';

COMMENT ON COLUMN @extschema@.gateway_pool_status.id IS 'id of the pool';
COMMENT ON COLUMN @extschema@.gateway_pool_status."orgId" IS 'organization of the pool';
COMMENT ON COLUMN @extschema@.gateway_pool_status.name IS 'name of the pool';
COMMENT ON COLUMN @extschema@.gateway_pool_status."memberCount" IS 'number of members';
COMMENT ON COLUMN @extschema@.gateway_pool_status."healthyMemberCount" IS 'number of eligible members';
COMMENT ON COLUMN @extschema@.gateway_pool_status."memberGatewayIds" IS 'ids of the members'' gateways';
COMMENT ON COLUMN @extschema@.gateway_pool_status."connectedResourcesCount" IS
    'number of rows of all tables that reference the pool';
COMMENT ON COLUMN @extschema@.gateway_pool_status.health IS
    'green: all members are eligible, yellow: some, red: none, empty: no members';
COMMENT ON COLUMN @extschema@.gateway_pool_status.label IS 'such as 2/3 healthy, or No members';
COMMENT ON COLUMN @extschema@.gateway_pool_status."createdAt" IS 'time of creation';
COMMENT ON COLUMN @extschema@.gateway_pool_status."updatedAt" IS 'time of the last update';

COMMENT ON COLUMN @extschema@.gateway_options.kind IS 'pool or gateway';
COMMENT ON COLUMN @extschema@.gateway_options.id IS 'id of the pool or gateway';
COMMENT ON COLUMN @extschema@.gateway_options."orgId" IS 'its organization';
COMMENT ON COLUMN @extschema@.gateway_options.name IS 'its name';
COMMENT ON COLUMN @extschema@.gateway_options.health IS 'green, yellow, red, or empty for a pool without members';
COMMENT ON COLUMN @extschema@.gateway_options.label IS 'such as 2/3 healthy for a pool, Online or Offline for a gateway';
COMMENT ON COLUMN @extschema@.gateway_options."poolIds" IS
    'ids of the pools of which the gateway is a member; NULL for a pool';
COMMENT ON COLUMN @extschema@.gateway_options.selectable IS
    'true if the plan, for a pool, or the policy, for a gateway, allows to set it newly';

COMMENT ON COLUMN @extschema@.gateway_probe_status."gatewayId" IS 'id of the gateway';
COMMENT ON COLUMN @extschema@.gateway_probe_status."orgId" IS 'organization of the gateway';
COMMENT ON COLUMN @extschema@.gateway_probe_status.name IS 'name of the gateway';
COMMENT ON COLUMN @extschema@.gateway_probe_status.verdict IS 'up, down, or none while there is too little evidence';
COMMENT ON COLUMN @extschema@.gateway_probe_status.reason IS 'why the last probe did not succeed; NULL: it did';
COMMENT ON COLUMN @extschema@.gateway_probe_status."lastProbeAt" IS 'time of the last probe';
COMMENT ON COLUMN @extschema@.gateway_probe_status."lastProbeMs" IS 'duration of the last probe, in milliseconds';
COMMENT ON COLUMN @extschema@.gateway_probe_status."consecutiveFailures" IS 'number of failed probes since the last success';
COMMENT ON COLUMN @extschema@.gateway_probe_status."consecutiveSuccesses" IS
    'number of successful probes since the last failure';
COMMENT ON COLUMN @extschema@.gateway_probe_status.falls IS 'number of recent changes to down';
COMMENT ON COLUMN @extschema@.gateway_probe_status.protocol IS 'tcp, tls, http or https';
COMMENT ON COLUMN @extschema@.gateway_probe_status."verifyTls" IS 'true if the certificate is verified';
COMMENT ON COLUMN @extschema@.gateway_probe_status."certificateExpiresAt" IS
    'when the certificate expires that the gateway showed last; it stays after that, and while the gateway is down';

COMMENT ON COLUMN @extschema@.gateway_pool_stats."gatewayPoolId" IS 'id of the pool';
COMMENT ON COLUMN @extschema@.gateway_pool_stats."gatewayId" IS 'id of the picked gateway; NULL: the sum for the pool';
COMMENT ON COLUMN @extschema@.gateway_pool_stats."orgId" IS 'organization of the pool';
COMMENT ON COLUMN @extschema@.gateway_pool_stats.picks IS 'number of picks';
COMMENT ON COLUMN @extschema@.gateway_pool_stats."degradedPicks" IS 'number of picks of a degraded gateway';
COMMENT ON COLUMN @extschema@.gateway_pool_stats.refusals IS 'number of picks for which no member was eligible';
COMMENT ON COLUMN @extschema@.gateway_pool_stats.since IS 'time from which the row counts';

COMMENT ON COLUMN @extschema@.gateway_pool_workers.pid IS 'process id; NULL: no process';
COMMENT ON COLUMN @extschema@.gateway_pool_workers."databaseId" IS 'database that is served; NULL: the launcher';
COMMENT ON COLUMN @extschema@.gateway_pool_workers.database IS 'its name';
COMMENT ON COLUMN @extschema@.gateway_pool_workers.state IS 'state of the worker, such as running';
COMMENT ON COLUMN @extschema@.gateway_pool_workers.activity IS 'what the worker does';
COMMENT ON COLUMN @extschema@.gateway_pool_workers."lastRoundAt" IS 'time of the last round';
COMMENT ON COLUMN @extschema@.gateway_pool_workers."lagMs" IS 'by how much the last round began late, in milliseconds';
COMMENT ON COLUMN @extschema@.gateway_pool_workers."queueLength" IS 'number of changes that wait to be recorded';
COMMENT ON COLUMN @extschema@.gateway_pool_workers."queueDropped" IS
    'number of changes that were dropped since the start, because the queue was full';
COMMENT ON COLUMN @extschema@.gateway_pool_workers.targets IS 'number of gateways that are probed';
COMMENT ON COLUMN @extschema@.gateway_pool_workers."runningProbes" IS 'number of probes under way';
COMMENT ON COLUMN @extschema@.gateway_pool_workers."waitingProbes" IS
    'number of probes that are due, but wait for a free place';
COMMENT ON COLUMN @extschema@.gateway_pool_workers."p99LatenessMs" IS
    'how late probes started in the last 10 to 20 s, 99th percentile, in milliseconds';
COMMENT ON COLUMN @extschema@.gateway_pool_workers.probes_count IS
    'false while timeouts of probes are no evidence, because the worker was late';
COMMENT ON COLUMN @extschema@.gateway_pool_workers.problem IS 'what is wrong; NULL: nothing';

COMMENT ON COLUMN @extschema@.gateway_status_brief.name IS 'name of the gateway';
COMMENT ON COLUMN @extschema@.gateway_status_brief.status IS
    'healthy, degraded, unhealthy or unknown, as a pick sees it now';
COMMENT ON COLUMN @extschema@.gateway_status_brief.state IS 'active, draining or maintenance, as an administrator set it';
COMMENT ON COLUMN @extschema@.gateway_status_brief.heard IS 'time since the last heartbeat';
COMMENT ON COLUMN @extschema@.gateway_status_brief.reason IS 'why the gateway has this status, at most 29 characters';
COMMENT ON COLUMN @extschema@.gateway_status_brief.id IS 'id of the gateway';

COMMENT ON COLUMN @extschema@.gateway_pool_members_brief.pool IS 'name of the pool';
COMMENT ON COLUMN @extschema@.gateway_pool_members_brief.gateway IS 'name of the gateway';
COMMENT ON COLUMN @extschema@.gateway_pool_members_brief.status IS
    'healthy, degraded, unhealthy or unknown, as a pick sees it now';
COMMENT ON COLUMN @extschema@.gateway_pool_members_brief.state IS
    'active, draining or maintenance, as an administrator set it';
COMMENT ON COLUMN @extschema@.gateway_pool_members_brief.weight IS
    'share of picks, relative to the other candidates; 0 to 1000';
COMMENT ON COLUMN @extschema@.gateway_pool_members_brief.priority IS 'candidates with the lowest value are picked';
COMMENT ON COLUMN @extschema@.gateway_pool_members_brief.heard IS 'time since the last heartbeat';
COMMENT ON COLUMN @extschema@.gateway_pool_members_brief.reason IS 'why the gateway has this status, at most 29 characters';

COMMENT ON COLUMN @extschema@.gateway_pool_status_brief.name IS 'name of the pool';
COMMENT ON COLUMN @extschema@.gateway_pool_status_brief.health IS 'green, yellow, red or empty';
COMMENT ON COLUMN @extschema@.gateway_pool_status_brief.label IS 'such as 2/3 healthy, or No members';
COMMENT ON COLUMN @extschema@.gateway_pool_status_brief.resources IS 'number of rows that reference the pool';
COMMENT ON COLUMN @extschema@.gateway_pool_status_brief.id IS 'id of the pool';

COMMENT ON COLUMN @extschema@.gateway_pool_workers_brief.database IS 'database that is served; NULL: the launcher';
COMMENT ON COLUMN @extschema@.gateway_pool_workers_brief.state IS 'state of the worker, such as running';
COMMENT ON COLUMN @extschema@.gateway_pool_workers_brief.activity IS 'what the worker does, at most 27 characters';
COMMENT ON COLUMN @extschema@.gateway_pool_workers_brief.round IS 'time since the last round';
COMMENT ON COLUMN @extschema@.gateway_pool_workers_brief.targets IS 'number of gateways that are probed';
COMMENT ON COLUMN @extschema@.gateway_pool_workers_brief.queue IS 'number of changes that wait to be recorded';
COMMENT ON COLUMN @extschema@.gateway_pool_workers_brief.problem IS 'what is wrong, at most 34 characters; NULL: nothing';
