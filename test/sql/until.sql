\i test/setup.sql
-- States that end by themselves.
SELECT host_test.make_host('app', 2);
CREATE EXTENSION gateway_pool SCHEMA app;
\set acme '\'00000000-0000-0000-0000-00000000000a\''
\set eu '\'00000000-0000-0000-0000-000000000001\''
\set g1 '\'00000000-0000-0000-0000-0000000000a1\''
SELECT host_test.add_org('app', 'acme', :acme);
SELECT host_test.add_gateway('app', :acme, 'g1', '0', :g1), host_test.add_gateway('app', :acme, 'g2', '0', '00000000-0000-0000-0000-0000000000a2');
SELECT set_gateway_pool_entitlement(:acme, true);
INSERT INTO gateway_pools (id, "orgId", name) VALUES (:eu, :acme, 'eu');
SELECT "gatewayId" FROM add_gateway_to_pool(:acme, :eu, :g1);
\i test/first_pick.sql
-- Calls a statement that returns a boolean until it is true, for at most a minute.
CREATE FUNCTION public.becomes_true(statement text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    is_true boolean;
BEGIN
    FOR i IN 1 .. 6000 LOOP
        EXECUTE statement INTO is_true;
        IF is_true THEN
            RETURN true;
        END IF;
        PERFORM pg_sleep(0.01);
    END LOOP;
    RETURN false;
END
$$;
-- Picks again and again until there is a result, and compares the time with the end of the state.
CREATE FUNCTION public.picked_after_end() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    ends CONSTANT timestamptz := (SELECT until FROM app.gateway_states);
    picked uuid;
BEGIN
    LOOP
        picked := app.pick_healthy_gateway('00000000-0000-0000-0000-000000000001', null_if_none => true);
        EXIT WHEN picked IS NOT NULL OR clock_timestamp() > ends + interval '1 min';
    END LOOP;
    RETURN CASE WHEN picked IS NULL THEN 'not picked' WHEN clock_timestamp() < ends THEN 'too early' ELSE 'picked' END;
END
$$;

-- A session that has cached the pool picks again from the end on, in one transaction, too.
SELECT pick_healthy_gateway(:eu);
SELECT set_gateway_state(:g1, 'maintenance', 'new disk', until => clock_timestamp() + interval '1 h');
SELECT pick_healthy_gateway(:eu, null_if_none => true);
SELECT state, "stateUntil" = (SELECT until FROM gateway_states) FROM gateway_status WHERE name = 'g1';
SELECT state, "stateUntil" = (SELECT until FROM gateway_states) FROM gateway_pool_members;
SELECT name, "healthyMemberCount", label FROM gateway_pool_status;
SELECT name, health FROM gateway_options ORDER BY name;
SELECT state, candidate, verdict FROM explain_gateway_pick(:eu);
UPDATE gateway_states SET until = clock_timestamp() + interval '0.5 s';
BEGIN;
SELECT picked_after_end();
SELECT state, "stateUntil" FROM gateway_status WHERE name = 'g1';
SELECT state, "stateUntil" FROM gateway_pool_members;
SELECT name, "healthyMemberCount", label FROM gateway_pool_status;
SELECT name, health FROM gateway_options ORDER BY name;
SELECT state, candidate, verdict FROM explain_gateway_pick(:eu);
COMMIT;
-- No row is written or deleted at the end.
SELECT state, reason, until < clock_timestamp() FROM gateway_states;
SELECT "eventMetadata" - '{until, oldUntil}'::text[], "eventMetadata" ->> 'oldUntil' > "eventMetadata" ->> 'until', ("eventMetadata" ->> 'until')::timestamptz = (SELECT until FROM gateway_states)
  FROM gateway_pool_audit_logs ORDER BY id DESC LIMIT 1;

-- The first of several ends counts, and one that is changed.
SELECT "gatewayId" FROM add_gateway_to_pool(:acme, :eu, '00000000-0000-0000-0000-0000000000a2');
SELECT set_gateway_state(:g1, 'draining', until => '2100-01-01 00:00+00'),
       set_gateway_state('00000000-0000-0000-0000-0000000000a2', 'draining', until => clock_timestamp() + interval '0.5 s');
SELECT pick_healthy_gateway(:eu, null_if_none => true);
SELECT becomes_true($$SELECT pick_healthy_gateway('00000000-0000-0000-0000-000000000001', null_if_none => true) IS NOT NULL$$);
SELECT count(DISTINCT pick_healthy_gateway(:eu)) FROM generate_series(1, 20);
UPDATE gateway_states SET until = clock_timestamp() WHERE "gatewayId" = :g1;
SELECT count(DISTINCT pick_healthy_gateway(:eu)) FROM generate_series(1, 40);
SELECT count(*) FROM explain_gateway_pick(:eu) WHERE candidate;

-- The next call replaces the end.
SELECT set_gateway_state(:g1, 'draining', until => '2100-01-01 00:00+00');
SELECT state, until FROM gateway_states WHERE "gatewayId" = :g1;
SELECT set_gateway_state(:g1, 'draining');
SELECT state, until FROM gateway_states WHERE "gatewayId" = :g1;
SELECT set_gateway_state(:g1, 'maintenance', until => 'infinity');
SELECT state, "stateUntil" FROM gateway_status WHERE name = 'g1';
SELECT set_gateway_state(:g1, 'active');
SELECT state, until FROM gateway_states WHERE "gatewayId" = :g1;

-- An end in the past, or of state active, is refused.
SELECT fails($$SELECT set_gateway_state('00000000-0000-0000-0000-0000000000a1', 'draining', until => now() - interval '1 s')$$);
SELECT fails($$SELECT set_gateway_state('00000000-0000-0000-0000-0000000000a1', 'draining', until => '-infinity')$$);
SELECT fails($$SELECT set_gateway_state('00000000-0000-0000-0000-0000000000a1', 'active', until => '2100-01-01')$$);
SELECT set_gateway_state(:g1, 'draining', until => '2100-01-01 00:00+00');
SELECT fails($$UPDATE gateway_states SET state = 'active' WHERE until = '2100-01-01 00:00+00'$$) LIMIT 1;
UPDATE gateway_states SET state = 'maintenance', until = '-infinity' WHERE "gatewayId" = :g1;
SELECT state FROM gateway_status WHERE name = 'g1';
DROP FUNCTION public.becomes_true, public.picked_after_end;
