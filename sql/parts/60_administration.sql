
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
