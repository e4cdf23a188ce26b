
-- Trigger functions, which enforce the rules.  install_gateway_pools() attaches them.

CREATE FUNCTION gateway_pool_internal.pools_enforce() RETURNS trigger
    LANGUAGE C AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION gateway_pool_internal.pools_enforce() IS
    'trigger on gateway_pools: checks name, entitlement and pool limit when a pool is created, renamed or moved';

CREATE FUNCTION gateway_pool_internal.pools_refuse_move() RETURNS trigger
    LANGUAGE C AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION gateway_pool_internal.pools_refuse_move() IS
    'trigger on gateway_pools and the gateways table: refuses to move a pool with members or consumers, or a gateway '
    'that is a member, to another organization';

CREATE FUNCTION gateway_pool_internal.pools_refuse_delete() RETURNS trigger
    LANGUAGE C AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION gateway_pool_internal.pools_refuse_delete() IS
    'trigger on gateway_pools, the deletion guard: refuses to delete or truncate pools that consumers reference, '
    'unless the organization is deleted too';

CREATE FUNCTION gateway_pool_internal.memberships_enforce() RETURNS trigger
    LANGUAGE C AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION gateway_pool_internal.memberships_enforce() IS
    'trigger on gateway_pool_memberships: checks organization, entitlement and member limit for a new member';

CREATE FUNCTION gateway_pool_internal.probes_enforce() RETURNS trigger
    LANGUAGE C AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION gateway_pool_internal.probes_enforce() IS
    'trigger on gateway_probes: checks the form of the address and whether it may be probed, the timeout against the '
    'interval, and the CA certificate';

CREATE FUNCTION gateway_pool_internal.consumer_route() RETURNS trigger
    LANGUAGE C AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION gateway_pool_internal.consumer_route() IS
    'trigger on a consumer: when the pool of a row is newly set, clears the direct gateway, and vice versa; refuses '
    'to set both; argument: pool column';

CREATE FUNCTION gateway_pool_internal.consumer_enforce() RETURNS trigger
    LANGUAGE C AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION gateway_pool_internal.consumer_enforce() IS
    'trigger on a consumer: checks the organization of a newly set pool or direct gateway, the entitlement for the '
    'pool, and the policy that requires pools; argument: pool column';

CREATE FUNCTION gateway_pool_internal.consumer_audit() RETURNS trigger
    LANGUAGE C AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION gateway_pool_internal.consumer_audit() IS
    'trigger on a consumer: writes a row to gateway_pool_audit_logs when a row is attached to a pool or detached; '
    'argument: pool column';

CREATE FUNCTION gateway_pool_internal.pools_audit() RETURNS trigger
    LANGUAGE C AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION gateway_pool_internal.pools_audit() IS
    'trigger on gateway_pools, gateway_pool_memberships, gateway_states, gateway_probes, gateway_pool_entitlements and '
    'gateway_pool_tenants: writes changes to gateway_pool_audit_logs';

CREATE FUNCTION gateway_pool_internal.audit_logs_refuse() RETURNS trigger
    LANGUAGE C AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION gateway_pool_internal.audit_logs_refuse() IS
    'trigger on gateway_pool_audit_logs: refuses every change but inserts by the audit triggers and pruning by the '
    'worker';

CREATE FUNCTION gateway_pool_internal.pools_invalidate() RETURNS trigger
    LANGUAGE C AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION gateway_pool_internal.pools_invalidate() IS
    'trigger on gateway_pools, gateway_pool_memberships, gateway_states, gateway_probes and gateway_pool_tenants: '
    'invalidates what all sessions have cached from the table, at commit';

CREATE FUNCTION gateway_pool_internal.pools_warn() RETURNS trigger
    LANGUAGE C AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION gateway_pool_internal.pools_warn() IS
    'trigger on gateway_pool_memberships and gateway_states, for each statement: warns of pools that have lost their '
    'last eligible member';

CREATE FUNCTION gateway_pool_internal.gateways_invalidate() RETURNS trigger
    LANGUAGE C AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION gateway_pool_internal.gateways_invalidate() IS
    'trigger on the gateways table: publishes heartbeats to shared memory at commit; invalidates cached pools if '
    'organization or capabilities change';

CREATE FUNCTION gateway_pool_internal.set_timestamp() RETURNS trigger
    LANGUAGE C AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION gateway_pool_internal.set_timestamp() IS
    'trigger on any table: sets the timestamptz column named by the argument to now()';

CREATE FUNCTION gateway_pool_internal.table_marker() RETURNS trigger
    LANGUAGE C AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION gateway_pool_internal.table_marker() IS
    'trigger that marks a table of gateway pools, so that it can be found under any name; arguments: the role of the '
    'table, and for a consumer its pool column, its gateway column, and the query that returns the organization of row '
    '$1; the last two are empty if there is none';
-- So that no other role can mark a table.
REVOKE EXECUTE ON FUNCTION gateway_pool_internal.table_marker() FROM PUBLIC;

CREATE FUNCTION gateway_pool_internal.mark_table(relation regclass, trigger_name name, arguments text[]) RETURNS void
    LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION gateway_pool_internal.mark_table(regclass, name, text[]) IS
    'attaches a marker to a table; for members of the extension owner''s role and, once a gateways table is marked, '
    'for its owner: on tables of the same owner, and on consumers that the caller owns too';

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
    'returns one row per marker: table, trigger name, role of the table, and all trigger arguments, each followed by '
    'a zero byte';
