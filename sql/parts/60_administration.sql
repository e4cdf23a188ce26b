
-- Administration.

CREATE FUNCTION @extschema@.set_gateway_pool_entitlement(
    org_id uuid,
    enabled boolean,
    max_pools int DEFAULT NULL,
    max_gateways_per_pool int DEFAULT NULL,
    expires_at timestamptz DEFAULT NULL) RETURNS void
    LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.set_gateway_pool_entitlement(uuid, boolean, int, int, timestamptz) IS
    'sets the entitlement of an organization; for a limit, NULL means the setting''s value and -1 no limit';

CREATE FUNCTION @extschema@.set_gateway_state(
    gateway_id uuid,
    state text,
    reason text DEFAULT NULL,
    until timestamptz DEFAULT NULL) RETURNS void
    LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.set_gateway_state(uuid, text, text, timestamptz) IS
    'sets the state of a gateway: active, draining or maintenance, the last two until a time if one is given; only '
    'active gateways are picked';

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
    'sets how a gateway is probed, replacing its former probe: protocol tcp, tls, http or https, address host:port; '
    'the rest defaults to the settings';

CREATE FUNCTION @extschema@.clear_gateway_probe(gateway_id uuid) RETURNS boolean
    LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.clear_gateway_probe(uuid) IS
    'removes the probe of a gateway; returns false if it had none';

CREATE FUNCTION @extschema@.probe_gateway(
    gateway_id uuid,
    timeout interval DEFAULT '10 seconds')
    RETURNS TABLE (verdict text, reason text, milliseconds real)
    LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.probe_gateway(uuid, interval) IS
    'makes the worker probe a gateway now and waits for the result: the verdict after it (up, down, none), why the '
    'probe failed, and its duration; raises 57014 after timeout';
