\i test/setup.sql
-- Picking, and its explanation.
SELECT host_test.make_host('app', 2);
CREATE EXTENSION gateway_pool SCHEMA app;
\i test/first_pick.sql
\set acme '\'00000000-0000-0000-0000-00000000000a\''
\set pool '\'00000000-0000-0000-0000-000000000001\''
SELECT host_test.add_org('app', 'acme', :acme);
SELECT set_gateway_pool_entitlement(:acme, true);
INSERT INTO gateway_pools (id, "orgId", name) VALUES (:pool, :acme, 'eu');
SELECT host_test.add_gateway('app', :acme, 'g' || i, '0s', ('00000000-0000-0000-0000-0000000000a' || i)::uuid)
  FROM generate_series(1, 5) i;
SELECT fails($$SELECT pick_healthy_gateway('00000000-0000-0000-0000-000000000001')$$);
INSERT INTO gateway_pool_memberships ("gatewayPoolId", "gatewayId") SELECT :pool, id FROM gateways_v2;
\i test/first_pick.sql

CREATE FUNCTION public.name_of(id uuid) RETURNS text LANGUAGE sql AS $$
    SELECT name FROM app.gateways_v2 g WHERE g.id = name_of.id
$$;
-- Returns the gateways that 200 picks return.
CREATE FUNCTION public.picked(exclude uuid[] DEFAULT NULL, capabilities jsonb DEFAULT NULL) RETURNS text LANGUAGE sql AS $$
    SELECT string_agg(DISTINCT name_of(p), ' ' ORDER BY name_of(p))
      FROM (SELECT app.pick_healthy_gateway('00000000-0000-0000-0000-000000000001', exclude, 'random', capabilities, NULL, true) p
              FROM generate_series(1, 200)) picks
$$;
CREATE FUNCTION public.explained(exclude uuid[] DEFAULT NULL, capabilities jsonb DEFAULT NULL) RETURNS SETOF text LANGUAGE sql AS $$
    SELECT concat_ws(' | ', name, status, state, weight, priority, candidate, verdict, round(share::numeric, 3))
      FROM app.explain_gateway_pick('00000000-0000-0000-0000-000000000001', exclude, capabilities => capabilities)
     ORDER BY name
$$;

-- All members are alike.
SELECT picked();
SELECT explained();

-- A pick excludes the gateways that the caller names; a NULL among them has no effect.
SELECT picked(ARRAY['00000000-0000-0000-0000-0000000000a1', NULL, '00000000-0000-0000-0000-0000000000ff']::uuid[]);
SELECT picked('{}'), picked(ARRAY[NULL]::uuid[]);

-- Weights; members with weight 0 are picked only if all weights are 0, and then equally.
UPDATE gateway_pool_memberships SET "pickWeight" = CASE name_of("gatewayId") WHEN 'g1' THEN 7 WHEN 'g2' THEN 2 WHEN 'g3' THEN 1 ELSE 0 END;
SELECT picked();
SELECT explained();
SELECT picked((SELECT array_agg(id) FROM gateways_v2 WHERE name <= 'g3'));

-- Priorities: the lowest value is picked.
UPDATE gateway_pool_memberships SET "pickWeight" = 1, "pickPriority" = CASE WHEN name_of("gatewayId") <= 'g2' THEN -1 ELSE 1 END;
SELECT picked(), picked((SELECT array_agg(id) FROM gateways_v2 WHERE name <= 'g2'));

-- States.
SELECT set_gateway_state('00000000-0000-0000-0000-0000000000a1', 'draining'),
       set_gateway_state('00000000-0000-0000-0000-0000000000a3', 'maintenance', 'new disk');
SELECT picked();
SELECT explained();
SELECT set_gateway_state('00000000-0000-0000-0000-0000000000a1', 'active');

-- Capabilities: those of the gateway contain the requested ones.
UPDATE gateways_v2 SET capabilities = '{"pkcs11": true, "regions": ["eu", "us"]}' WHERE name IN ('g2', 'g4');
UPDATE gateways_v2 SET capabilities = '{"pkcs11": false}' WHERE name = 'g5';
UPDATE gateways_v2 SET capabilities = '[1]' WHERE name = 'g1';
SELECT picked(NULL, '{"pkcs11": true}'), picked(NULL, '{"regions": ["us"]}'), picked(NULL, '{}'),
       picked(NULL, '{"pkcs11": null}') IS NULL;
SELECT explained(NULL, '{"pkcs11": true}');

-- Statuses.
UPDATE gateways_v2 SET heartbeat = heartbeat - interval '1 day' WHERE name = 'g2';
UPDATE gateways_v2 SET heartbeat = NULL WHERE name = 'g1';
UPDATE gateways_v2 SET "heartbeatTTL" = 0 WHERE name = 'g4';
SELECT picked();
SELECT explained();

-- No eligible member.
SELECT fails($$SELECT pick_healthy_gateway('00000000-0000-0000-0000-000000000001', '{00000000-0000-0000-0000-0000000000a5}')$$);
SELECT fails($$SELECT pick_healthy_gateways('00000000-0000-0000-0000-000000000001', 1, '{00000000-0000-0000-0000-0000000000a5}')$$);
SELECT fails($$SELECT pick_healthy_gateway('00000000-0000-0000-0000-000000000001', capabilities => '{"no": 1}')$$);
SELECT fails($$SELECT resolve_gateway(NULL, '00000000-0000-0000-0000-000000000001')$$);
UPDATE gateways_v2 SET "heartbeatTTL" = 0;
SELECT fails($$SELECT resolve_gateway(NULL, '00000000-0000-0000-0000-000000000001')$$);
SELECT pick_healthy_gateway(:pool, null_if_none => true) IS NULL,
       (SELECT count(*) FROM pick_healthy_gateways(:pool, null_if_none => true));
SELECT fails($$SELECT pick_healthy_gateway('00000000-0000-0000-0000-0000000000ff', null_if_none => true)$$);

-- Several picks are distinct, ordered by priority, and as many as there are.
UPDATE gateways_v2 SET "heartbeatTTL" = 180, heartbeat = clock_timestamp();
DELETE FROM gateway_states;
SELECT string_agg(CASE WHEN name_of(g) <= 'g2' THEN 'first' ELSE 'second' END, ' ' ORDER BY n), count(DISTINCT g)
  FROM pick_healthy_gateways(:pool, 10) WITH ORDINALITY p (g, n);
SELECT count(*), count(DISTINCT g) FROM pick_healthy_gateways(:pool) g;
SELECT count(*) FROM pick_healthy_gateways(:pool, count => 1);
SELECT fails($$SELECT pick_healthy_gateways('00000000-0000-0000-0000-000000000001', 0)$$);
SELECT fails($$SELECT pick_healthy_gateways('00000000-0000-0000-0000-000000000001', NULL)$$);

-- resolve_gateway() returns a given gateway without any check.
SELECT resolve_gateway('00000000-0000-0000-0000-0000000000ff', NULL),
       resolve_gateway('00000000-0000-0000-0000-0000000000ff', '00000000-0000-0000-0000-0000000000fe');
SELECT name_of(resolve_gateway(NULL, :pool)) <= 'g2';

-- A pick compares with the clock, not with the start of the transaction: a heartbeat expires within one.
BEGIN;
UPDATE gateways_v2 SET "heartbeatTTL" = 1, heartbeat = clock_timestamp() - interval '30.9 s';
DO $$
DECLARE
    before boolean;
BEGIN
    LOOP
        before := (SELECT clock_timestamp() < max("heartbeatExpiresAt") FROM app.gateway_status);
        IF app.pick_healthy_gateway('00000000-0000-0000-0000-000000000001', null_if_none => true) IS NULL THEN
            EXIT;
        END IF;
        IF NOT before THEN
            RAISE 'an expired gateway was picked';
        END IF;
    END LOOP;
    RAISE NOTICE 'no gateway is picked, % seconds after the transaction began',
        CASE WHEN clock_timestamp() - now() < interval '10 s' THEN 'a few' ELSE 'too many' END;
END
$$;
ROLLBACK;

-- A pick sees the changes of its own transaction, and none that were rolled back.
BEGIN;
DELETE FROM gateway_pool_memberships WHERE name_of("gatewayId") <> 'g1';
SELECT picked();
SAVEPOINT s;
DELETE FROM gateway_pool_memberships;
SELECT picked() IS NULL;
ROLLBACK TO s;
SELECT picked();
ROLLBACK;
SELECT picked();
-- Also within one statement, and in a read-only transaction.
WITH d AS (DELETE FROM gateway_pool_memberships WHERE name_of("gatewayId") <> 'g1' RETURNING 1)
SELECT count(*), count(pick_healthy_gateway(:pool)) FROM d;
BEGIN READ ONLY;
SELECT picked();
ROLLBACK;

-- A pick is evaluated for each row, and not in a parallel worker.
SELECT provolatile, proparallel, proisstrict FROM pg_proc WHERE proname LIKE 'pick\_%' GROUP BY 1, 2, 3;
DROP FUNCTION public.picked, public.explained, public.name_of;
