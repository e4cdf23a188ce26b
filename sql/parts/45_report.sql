-- Reports of gateways and their callers.  They go to shared memory: no WAL, no disk.

CREATE FUNCTION @extschema@.record_gateway_heartbeat(gateway_id uuid, ttl interval DEFAULT NULL) RETURNS void
    LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.record_gateway_heartbeat(uuid, interval) IS
    'the gateway lives: counts for ttl, NULL being heartbeat_timeout, and heartbeat_grace';

CREATE FUNCTION @extschema@.report_gateway_failure(gateway_id uuid, reason text DEFAULT NULL) RETURNS void
    LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.report_gateway_failure(uuid, text) IS
    'a caller could not get through the gateway: it is suspect, hence degraded, for suspect_ttl';

CREATE FUNCTION @extschema@.report_gateway_load(gateway_id uuid, active_connections int) RETURNS void
    LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.report_gateway_load(uuid, int) IS
    'the gateway has so many connections: what strategy least_loaded compares, for 35 s';

CREATE FUNCTION @extschema@.release_gateway(gateway_id uuid, opened boolean DEFAULT true) RETURNS boolean
    LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.release_gateway(uuid, boolean) IS
    'ends the oldest reservation of a least_loaded pick: its connection was opened, or, opened false, will not be; '
    'whether there was one';
