
-- Picking.

CREATE FUNCTION @extschema@.pick_healthy_gateway(
    pool_id uuid,
    exclude uuid[] DEFAULT NULL,
    strategy text DEFAULT 'random',
    capabilities jsonb DEFAULT NULL,
    sticky_key text DEFAULT NULL,
    null_if_none boolean DEFAULT false) RETURNS uuid
    LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.pick_healthy_gateway(uuid, uuid[], text, jsonb, text, boolean) IS
    'picks an eligible member of a pool and returns its id; raises P0002 for an unknown pool, and 55000 if no member '
    'is eligible, unless null_if_none';

CREATE FUNCTION @extschema@.pick_healthy_gateways(
    pool_id uuid,
    count int DEFAULT 2,
    exclude uuid[] DEFAULT NULL,
    strategy text DEFAULT 'random',
    capabilities jsonb DEFAULT NULL,
    sticky_key text DEFAULT NULL,
    null_if_none boolean DEFAULT false) RETURNS SETOF uuid
    LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.pick_healthy_gateways(uuid, int, uuid[], text, jsonb, text, boolean) IS
    'picks up to count distinct eligible members of a pool and returns their ids in the order in which to try them';

CREATE FUNCTION @extschema@.resolve_gateway(gateway_id uuid, pool_id uuid) RETURNS uuid
    LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.resolve_gateway(uuid, uuid) IS
    'returns gateway_id if it is not NULL, else picks from the pool; raises 22023 if both are NULL';

CREATE FUNCTION @extschema@.explain_gateway_pick(
    pool_id uuid,
    exclude uuid[] DEFAULT NULL,
    strategy text DEFAULT 'random',
    capabilities jsonb DEFAULT NULL,
    sticky_key text DEFAULT NULL,
    null_if_none boolean DEFAULT false)
    RETURNS TABLE (
        "gatewayId" uuid,
        name text,
        status text,
        reason text,
        state text,
        weight int,
        priority smallint,
        candidate boolean,
        verdict text,
        share double precision)
    LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.explain_gateway_pick(uuid, uuid[], text, jsonb, text, boolean) IS
    'returns one row per member: whether a pick with these arguments can return it, its share of the picks (0 to 1), '
    'or the reason why not; reserves nothing';
