
-- Trigger functions: the rules.  install_gateway_pools() attaches them.

CREATE FUNCTION gateway_pools_enforce() RETURNS trigger
    LANGUAGE C AS 'MODULE_PATHNAME', 'gateway_pools_enforce';
COMMENT ON FUNCTION gateway_pools_enforce() IS
    'trigger on gateway_pools: name, plan and limit of a new, renamed or moved pool';

CREATE FUNCTION gateway_pools_refuse_move() RETURNS trigger
    LANGUAGE C AS 'MODULE_PATHNAME', 'gateway_pools_refuse_move';
COMMENT ON FUNCTION gateway_pools_refuse_move() IS
    'trigger on gateway_pools and the gateways table: a pool in use and a member stay in their organization';

CREATE FUNCTION gateway_pools_refuse_delete() RETURNS trigger
    LANGUAGE C AS 'MODULE_PATHNAME', 'gateway_pools_refuse_delete';
COMMENT ON FUNCTION gateway_pools_refuse_delete() IS
    'trigger on gateway_pools: the deletion guard, a referenced pool stays unless its organization goes';

CREATE FUNCTION gateway_pool_memberships_enforce() RETURNS trigger
    LANGUAGE C AS 'MODULE_PATHNAME', 'gateway_pool_memberships_enforce';
COMMENT ON FUNCTION gateway_pool_memberships_enforce() IS
    'trigger on gateway_pool_memberships: same organization, plan and limit of a new member';

CREATE FUNCTION gateway_probes_enforce() RETURNS trigger
    LANGUAGE C AS 'MODULE_PATHNAME', 'gateway_probes_enforce';
COMMENT ON FUNCTION gateway_probes_enforce() IS
    'trigger on gateway_probes: the form of the address and that it may be probed, timeout and interval, the certificate';

CREATE FUNCTION pool_consumer_route() RETURNS trigger
    LANGUAGE C AS 'MODULE_PATHNAME', 'gateway_pool_consumer_route';
COMMENT ON FUNCTION pool_consumer_route() IS
    'trigger on a consumer: a row is reached through a pool or a gateway, the one newly set; '
    'arguments: pool column, gateway column or '''', query of the organization of row $1 or ''''';

CREATE FUNCTION pool_consumer_enforce() RETURNS trigger
    LANGUAGE C AS 'MODULE_PATHNAME', 'gateway_pool_consumer_enforce';
COMMENT ON FUNCTION pool_consumer_enforce() IS
    'trigger on a consumer: same organization and plan of a newly set pool, policy of a newly set gateway; '
    'arguments as of pool_consumer_route()';

CREATE FUNCTION pool_consumer_audit() RETURNS trigger
    LANGUAGE C AS 'MODULE_PATHNAME', 'gateway_pool_consumer_audit';
COMMENT ON FUNCTION pool_consumer_audit() IS
    'trigger on a consumer: records in gateway_pool_audit_logs which row got or lost its pool; argument: pool column';

CREATE FUNCTION gateway_pools_audit() RETURNS trigger
    LANGUAGE C AS 'MODULE_PATHNAME', 'gateway_pools_audit';
COMMENT ON FUNCTION gateway_pools_audit() IS
    'trigger on gateway_pools, gateway_pool_memberships and gateway_states: records changes in gateway_pool_audit_logs';

CREATE FUNCTION gateway_pool_audit_logs_refuse() RETURNS trigger
    LANGUAGE C AS 'MODULE_PATHNAME', 'gateway_pool_audit_refuse';
COMMENT ON FUNCTION gateway_pool_audit_logs_refuse() IS
    'trigger on gateway_pool_audit_logs: rows are written by triggers and pruned by the worker, and not changed otherwise';

CREATE FUNCTION gateway_pools_tell() RETURNS trigger
    LANGUAGE C AS 'MODULE_PATHNAME', 'gateway_pools_tell';
COMMENT ON FUNCTION gateway_pools_tell() IS
    'trigger on gateway_pools, gateway_pool_memberships, gateway_states, gateway_probes and gateway_pool_tenants: '
    'who knows of them reads them anew';

CREATE FUNCTION gateway_pool_gateways_tell() RETURNS trigger
    LANGUAGE C AS 'MODULE_PATHNAME', 'gateway_pool_gateways_tell';
COMMENT ON FUNCTION gateway_pool_gateways_tell() IS
    'trigger on the gateways table: heartbeats go to shared memory when they have committed';

CREATE FUNCTION gateway_pool_set_timestamp() RETURNS trigger
    LANGUAGE C AS 'MODULE_PATHNAME', 'gateway_pool_set_timestamp';
COMMENT ON FUNCTION gateway_pool_set_timestamp() IS
    'trigger on any table: sets the timestamptz column named by the argument to now()';
