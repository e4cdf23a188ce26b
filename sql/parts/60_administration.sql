
-- Administration.

CREATE FUNCTION set_gateway_pool_entitlement(
    org_id uuid,
    enabled boolean,
    max_pools int DEFAULT NULL,
    max_gateways_per_pool int DEFAULT NULL,
    expires_at timestamptz DEFAULT NULL) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM @extschema@.require_gateway_pools_installed();
    IF org_id IS NULL OR enabled IS NULL THEN
        RAISE invalid_parameter_value USING MESSAGE = 'org_id and enabled must not be null';
    END IF;
    INSERT INTO @extschema@.gateway_pool_entitlements
           ("orgId", "gatewayPool", "maxPools", "maxGatewaysPerPool", "expiresAt")
    VALUES (org_id, enabled, max_pools, max_gateways_per_pool, expires_at)
    ON CONFLICT ("orgId") DO UPDATE
       SET "gatewayPool" = excluded."gatewayPool",
           "maxPools" = excluded."maxPools",
           "maxGatewaysPerPool" = excluded."maxGatewaysPerPool",
           "expiresAt" = excluded."expiresAt";
END
$$;
COMMENT ON FUNCTION set_gateway_pool_entitlement(uuid, boolean, int, int, timestamptz) IS
    'says what an organization''s plan allows; a limit of NULL is the setting''s, -1 is none';

CREATE FUNCTION set_gateway_state(gateway_id uuid, state text, reason text DEFAULT NULL) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    PERFORM @extschema@.require_gateway_pools_installed();
    IF set_gateway_state.gateway_id IS NULL THEN
        RAISE invalid_parameter_value USING MESSAGE = 'gateway_id must not be null';
    END IF;
    IF set_gateway_state.state IS NULL
       OR set_gateway_state.state NOT IN ('active', 'draining', 'maintenance') THEN
        RAISE invalid_parameter_value
            USING MESSAGE = 'unknown gateway state',
                  HINT = 'The states are active, draining and maintenance.';
    END IF;
    INSERT INTO @extschema@.gateway_states ("gatewayId", state, reason)
    VALUES (set_gateway_state.gateway_id, set_gateway_state.state, set_gateway_state.reason)
    ON CONFLICT ("gatewayId") DO UPDATE SET state = excluded.state, reason = excluded.reason;
EXCEPTION
    WHEN foreign_key_violation THEN
        RAISE no_data_found
            USING MESSAGE = format('gateway %s does not exist', set_gateway_state.gateway_id);
END
$$;
COMMENT ON FUNCTION set_gateway_state(uuid, text, text) IS
    'says what is wanted of a gateway: active, draining or maintenance; only an active one is picked';

CREATE FUNCTION set_gateway_probe(
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
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    argument text;
BEGIN
    PERFORM @extschema@.require_gateway_pools_installed();
    SELECT a.name INTO argument
      FROM (VALUES ('gateway_id', set_gateway_probe.gateway_id IS NULL), ('protocol', set_gateway_probe.protocol IS NULL),
                   ('address', set_gateway_probe.address IS NULL), ('verify_tls', set_gateway_probe.verify_tls IS NULL),
                   ('required', set_gateway_probe.required IS NULL)) a (name, missing)
     WHERE a.missing;
    IF argument IS NOT NULL THEN
        RAISE invalid_parameter_value USING MESSAGE = argument || ' must not be null';
    END IF;
    IF set_gateway_probe.protocol NOT IN ('tcp', 'tls', 'http', 'https') THEN
        RAISE invalid_parameter_value
            USING MESSAGE = 'unknown protocol of a probe',
                  HINT = 'The protocols are tcp, tls, http and https.';
    END IF;
    INSERT INTO @extschema@.gateway_probes
           ("gatewayId", protocol, address, path, "expectedStatus", "serverName", "verifyTls", "caCertificate",
            "intervalMs", "timeoutMs", rise, fall, required)
    VALUES (set_gateway_probe.gateway_id, set_gateway_probe.protocol, set_gateway_probe.address, set_gateway_probe.path,
            set_gateway_probe.expected_status, set_gateway_probe.server_name, set_gateway_probe.verify_tls,
            set_gateway_probe.ca_certificate,
            extract(epoch FROM set_gateway_probe.probe_interval) * 1000, extract(epoch FROM set_gateway_probe.timeout) * 1000,
            set_gateway_probe.rise, set_gateway_probe.fall, set_gateway_probe.required)
    ON CONFLICT ("gatewayId") DO UPDATE
       SET protocol = excluded.protocol, address = excluded.address, path = excluded.path,
           "expectedStatus" = excluded."expectedStatus", "serverName" = excluded."serverName",
           "verifyTls" = excluded."verifyTls", "caCertificate" = excluded."caCertificate",
           "intervalMs" = excluded."intervalMs", "timeoutMs" = excluded."timeoutMs",
           rise = excluded.rise, fall = excluded.fall, required = excluded.required;
EXCEPTION
    WHEN foreign_key_violation THEN
        RAISE no_data_found
            USING MESSAGE = format('gateway %s does not exist', set_gateway_probe.gateway_id);
END
$$;
COMMENT ON FUNCTION set_gateway_probe(uuid, text, text, text, text, text, boolean, text, interval, interval, int, int, boolean) IS
    'says how a gateway is probed, in place of what was said before: protocol (tcp, tls, http, https), address host:port; '
    'what is NULL is the setting''s';

CREATE FUNCTION clear_gateway_probe(gateway_id uuid) RETURNS boolean
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM @extschema@.require_gateway_pools_installed();
    IF gateway_id IS NULL THEN
        RAISE invalid_parameter_value USING MESSAGE = 'gateway_id must not be null';
    END IF;
    DELETE FROM @extschema@.gateway_probes p WHERE p."gatewayId" = clear_gateway_probe.gateway_id;
    RETURN FOUND;
END
$$;
COMMENT ON FUNCTION clear_gateway_probe(uuid) IS
    'ends the probes of a gateway; whether there were any';

CREATE FUNCTION probe_gateway(
    gateway_id uuid,
    timeout interval DEFAULT '10 seconds')
    RETURNS TABLE (verdict text, reason text, milliseconds real)
    LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'gateway_pool_probe_gateway';
COMMENT ON FUNCTION probe_gateway(uuid, interval) IS
    'has the worker probe a gateway now, and waits for it: the verdict by then (up, down, none), why the probe did not '
    'succeed, how long it took';
