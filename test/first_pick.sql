-- A session warns once if the library is not preloaded, or if shared memory has no room for
-- the members of a pool. Warn here, so that the output is the same in either case.
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
