-- Reports of gateways and their callers.  They are kept in shared memory: no WAL, no disk.

CREATE FUNCTION @extschema@.record_gateway_heartbeat(gateway_id uuid, ttl interval DEFAULT NULL) RETURNS void
    LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.record_gateway_heartbeat(uuid, interval) IS
    'records a heartbeat of a gateway in shared memory, valid for ttl (NULL: heartbeat_timeout) plus heartbeat_grace';

CREATE FUNCTION @extschema@.report_gateway_failure(gateway_id uuid, reason text DEFAULT NULL) RETURNS void
    LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.report_gateway_failure(uuid, text) IS
    'reports that a caller could not connect through a gateway: it is suspect, and thus degraded, for suspect_ttl; 63 '
    'bytes of the reason are kept';

CREATE FUNCTION @extschema@.report_gateway_load(gateway_id uuid, active_connections int) RETURNS void
    LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.report_gateway_load(uuid, int) IS
    'reports the number of active connections of a gateway, which strategy least_loaded compares; valid for 35 s';

CREATE FUNCTION @extschema@.release_gateway(gateway_id uuid, opened boolean DEFAULT true) RETURNS boolean
    LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.release_gateway(uuid, boolean) IS
    'ends a reservation that a least_loaded pick made for a gateway: one of this transaction, else the oldest; pass opened '
    'false if no connection was opened; returns false if there was no reservation';
