-- Where the library is not preloaded, or its memory has no room for the members
-- of a pool, a session is told so once. Told here, outputs are the same either way.
\set ECHO none
BEGIN;
SET LOCAL client_min_messages = error;
DO $$
BEGIN
    PERFORM app.pick_healthy_gateway(id, null_if_none => true) FROM app.gateway_pools;
    PERFORM app.pick_healthy_gateway('00000000-0000-0000-0000-000000000000');
EXCEPTION WHEN no_data_found THEN NULL;
END
$$;
COMMIT;
\set ECHO all
