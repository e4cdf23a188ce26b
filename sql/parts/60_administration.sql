
-- Administration.

CREATE FUNCTION @extschema@.set_gateway_pool_entitlement(
    org_id uuid,
    enabled boolean,
    max_pools int DEFAULT NULL,
    max_gateways_per_pool int DEFAULT NULL,
    expires_at timestamptz DEFAULT NULL) RETURNS void
    LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.set_gateway_pool_entitlement(uuid, boolean, int, int, timestamptz) IS
    'says what an organization''s plan allows; a limit of NULL is the setting''s, -1 is none';

CREATE FUNCTION @extschema@.set_gateway_state(gateway_id uuid, state text, reason text DEFAULT NULL) RETURNS void
    LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.set_gateway_state(uuid, text, text) IS
    'says what is wanted of a gateway: active, draining or maintenance; only an active one is picked';

CREATE FUNCTION @extschema@.set_gateway_probe(
    gateway_id uuid,
    protocol text,
    address text,
    path text DEFAULT NULL,
    expected_status text DEFAULT NULL,
    server_name text DEFAULT NULL,
    verify_tls boolean DEFAULT true,
    ca_certificate text DEFAULT NULL,
    probe_interval interval DEFAULT NULL,
    timeout interval DEFAULT NULL,
    rise int DEFAULT NULL,
    fall int DEFAULT NULL,
    required boolean DEFAULT true) RETURNS void
    LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.set_gateway_probe(uuid, text, text, text, text, text, boolean, text, interval, interval, int, int, boolean) IS
    'says how a gateway is probed, in place of what was said before: protocol (tcp, tls, http, https), address host:port; '
    'what is NULL is the setting''s';

CREATE FUNCTION @extschema@.clear_gateway_probe(gateway_id uuid) RETURNS boolean
    LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.clear_gateway_probe(uuid) IS
    'ends the probes of a gateway; whether there were any';

CREATE FUNCTION @extschema@.probe_gateway(
    gateway_id uuid,
    timeout interval DEFAULT '10 seconds')
    RETURNS TABLE (verdict text, reason text, milliseconds real)
    LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.probe_gateway(uuid, interval) IS
    'has the worker probe a gateway now, and waits for it: the verdict by then (up, down, none), why the probe did not '
    'succeed, how long it took';
