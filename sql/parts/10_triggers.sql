
-- Trigger functions: the rules.  install_gateway_pools() attaches them.

CREATE FUNCTION gateway_pool_internal.pools_enforce() RETURNS trigger
    LANGUAGE C AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION gateway_pool_internal.pools_enforce() IS
    'trigger on gateway_pools: name, plan and limit of a new, renamed or moved pool';

CREATE FUNCTION gateway_pool_internal.pools_refuse_move() RETURNS trigger
    LANGUAGE C AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION gateway_pool_internal.pools_refuse_move() IS
    'trigger on gateway_pools and the gateways table: a pool in use and a member stay in their organization';

CREATE FUNCTION gateway_pool_internal.pools_refuse_delete() RETURNS trigger
    LANGUAGE C AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION gateway_pool_internal.pools_refuse_delete() IS
    'trigger on gateway_pools: the deletion guard, a referenced pool stays unless its organization goes';

CREATE FUNCTION gateway_pool_internal.memberships_enforce() RETURNS trigger
    LANGUAGE C AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION gateway_pool_internal.memberships_enforce() IS
    'trigger on gateway_pool_memberships: same organization, plan and limit of a new member';

CREATE FUNCTION gateway_pool_internal.probes_enforce() RETURNS trigger
    LANGUAGE C AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION gateway_pool_internal.probes_enforce() IS
    'trigger on gateway_probes: the form of the address and that it may be probed, timeout and interval, the certificate';

CREATE FUNCTION gateway_pool_internal.consumer_route() RETURNS trigger
    LANGUAGE C AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION gateway_pool_internal.consumer_route() IS
    'trigger on a consumer: a row is reached through a pool or a gateway, the one newly set; argument: pool column';

CREATE FUNCTION gateway_pool_internal.consumer_enforce() RETURNS trigger
    LANGUAGE C AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION gateway_pool_internal.consumer_enforce() IS
    'trigger on a consumer: organization of a newly set pool or gateway, plan of the pool, policy of the gateway; '
    'argument: pool column';

CREATE FUNCTION gateway_pool_internal.consumer_audit() RETURNS trigger
    LANGUAGE C AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION gateway_pool_internal.consumer_audit() IS
    'trigger on a consumer: records in gateway_pool_audit_logs which row got or lost its pool; argument: pool column';

CREATE FUNCTION gateway_pool_internal.pools_audit() RETURNS trigger
    LANGUAGE C AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION gateway_pool_internal.pools_audit() IS
    'trigger on gateway_pools, gateway_pool_memberships and gateway_states: records changes in gateway_pool_audit_logs';

CREATE FUNCTION gateway_pool_internal.audit_logs_refuse() RETURNS trigger
    LANGUAGE C AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION gateway_pool_internal.audit_logs_refuse() IS
    'trigger on gateway_pool_audit_logs: rows are written by triggers and pruned by the worker, and not changed otherwise';

CREATE FUNCTION gateway_pool_internal.pools_invalidate() RETURNS trigger
    LANGUAGE C AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION gateway_pool_internal.pools_invalidate() IS
    'trigger on gateway_pools, gateway_pool_memberships, gateway_states, gateway_probes and gateway_pool_tenants: '
    'invalidates what sessions have cached of them';

CREATE FUNCTION gateway_pool_internal.gateways_invalidate() RETURNS trigger
    LANGUAGE C AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION gateway_pool_internal.gateways_invalidate() IS
    'trigger on the gateways table: publishes heartbeats to shared memory at commit';

CREATE FUNCTION gateway_pool_internal.set_timestamp() RETURNS trigger
    LANGUAGE C AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION gateway_pool_internal.set_timestamp() IS
    'trigger on any table: sets the timestamptz column named by the argument to now()';

CREATE FUNCTION gateway_pool_internal.table_marker() RETURNS trigger
    LANGUAGE C AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION gateway_pool_internal.table_marker() IS
    'trigger on every table of gateway pools: tables are found by it; argument: the role of the table, '
    'and for a consumer: pool column, gateway column or an empty string, query of the organization of row $1 or an empty string';
-- So that nobody else can mark a table.
REVOKE EXECUTE ON FUNCTION gateway_pool_internal.table_marker() FROM PUBLIC;

CREATE FUNCTION gateway_pool_internal.mark_table(relation regclass, trigger_name name, arguments text[]) RETURNS void
    LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION gateway_pool_internal.mark_table(regclass, name, text[]) IS
    'attaches a marker to a table, for superusers, and for the owner of a gateways table that is marked: to tables of that owner, '
    'and to consumers that the caller owns as well';

CREATE FUNCTION gateway_pool_internal.markers()
    RETURNS TABLE (relation regclass, name name, role text, arguments bytea)
    LANGUAGE sql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    SET standard_conforming_strings = on
AS $$
    SELECT t.tgrelid::regclass, t.tgname, split_part(encode(t.tgargs, 'escape'), '\000', 1), t.tgargs
      FROM pg_depend d
      JOIN pg_trigger t ON t.oid = d.objid
     WHERE d.classid = 'pg_trigger'::regclass AND d.refclassid = 'pg_proc'::regclass
       AND d.refobjid = 'gateway_pool_internal.table_marker()'::regprocedure
$$;
COMMENT ON FUNCTION gateway_pool_internal.markers() IS
    'returns the tables that carry markers, and the arguments of these';
