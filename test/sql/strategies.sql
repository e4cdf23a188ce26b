\i test/setup.sql
-- Strategies: which member is picked, which reservations are made, and which are given back.
SELECT host_test.make_host('app', 2);
CREATE EXTENSION gateway_pool SCHEMA app;
\set acme '\'00000000-0000-0000-0000-00000000000a\''
\set pool '\'00000000-0000-0000-0000-000000000001\''
\set a '\'00000000-0000-0000-0000-0000000000a1\''
\set b '\'00000000-0000-0000-0000-0000000000a2\''
SELECT set_gateway_pool_entitlement(host_test.add_org('app', 'acme', :acme), true);
INSERT INTO gateway_pools (id, "orgId", name) VALUES (:pool, :acme, 'eu');
SELECT count(host_test.add_gateway('app', :acme, 'g' || i, '0s', ('00000000-0000-0000-0000-0000000000a' || i)::uuid))
  FROM generate_series(1, 5) i;
INSERT INTO gateway_pool_memberships ("gatewayPoolId", "gatewayId") VALUES (:pool, :a), (:pool, :b);
CREATE FUNCTION public.claim() RETURNS uuid LANGUAGE sql AS $$
    SELECT app.pick_healthy_gateway('00000000-0000-0000-0000-000000000001', strategy => 'least_loaded')
$$;
CREATE FUNCTION public.loads() RETURNS text LANGUAGE sql AS $$
    SELECT string_agg(format('%s: %s + %s', name, "activeConnections", reservations), ', ' ORDER BY name)
      FROM app.gateway_pool_members
$$;

-- With loads 0 and 2, three of four claims go to the idle gateway.
SELECT report_gateway_load(:a, 0), report_gateway_load(:b, 2);
BEGIN;
SELECT string_agg(right(p::text, 2), ' ' ORDER BY p) FROM (SELECT claim() AS p FROM generate_series(1, 4)) c;
SELECT loads();
-- Reservations are given back when the transaction rolls back,
ROLLBACK;
SELECT loads();
-- and when a subtransaction does, except for those of the outer one.
BEGIN;
SELECT claim() = :a;
SAVEPOINT s;
SELECT claim() = :a;
SAVEPOINT t;
SELECT claim() IN (:a, :b);
RELEASE t;
SELECT loads() LIKE '%: 0 + 2%2 + 1' OR loads() LIKE '%: 0 + 3%2 + 0';
ROLLBACK TO s;
SELECT loads();
COMMIT;
SELECT loads();
-- Reservations of a released subtransaction belong to the outer one.
BEGIN;
SAVEPOINT s;
SELECT claim() = :a;
RELEASE s;
SELECT loads();
ROLLBACK;
SELECT loads();
BEGIN;
SAVEPOINT s;
SAVEPOINT t;
SELECT claim() = :a;
RELEASE t;
RELEASE s;
COMMIT;
SELECT loads();
SELECT release_gateway(:a, opened => false);
-- They do not belong to the next subtransaction at the same depth.
BEGIN;
SAVEPOINT s;
SELECT claim() = :a;
RELEASE s;
SAVEPOINT t;
ROLLBACK TO t;
SELECT loads();
ROLLBACK;
SELECT loads();
DO $$
BEGIN
    PERFORM claim();
    RAISE 'after a claim';
EXCEPTION WHEN raise_exception THEN NULL;
END
$$;
SELECT loads();
-- A released reservation counts as a connection until the next report if it was opened, else not.
SELECT release_gateway(:a), loads();
SELECT release_gateway(:a), loads();
BEGIN;
SELECT claim() = :a, release_gateway(:a, opened => false), loads();
SELECT claim() = :a, release_gateway(:a);
ROLLBACK;
SELECT loads();
SELECT report_gateway_load(:a, 1), loads();
-- Explaining and other strategies reserve nothing; of several picks, only the first is reserved.
SELECT strategy, name, candidate, verdict, share
  FROM unnest('{random,least_loaded,sticky}'::text[]) strategy
 CROSS JOIN LATERAL explain_gateway_pick(:pool, strategy => strategy, sticky_key => CASE strategy WHEN 'sticky' THEN 'session-1' END) ORDER BY strategy, name;
SELECT pick_healthy_gateway(:pool) IN (:a, :b),
       pick_healthy_gateway(:pool, strategy => 'sticky', sticky_key => 'session-1') = :b;
SELECT loads();
SELECT count(DISTINCT g), min(CASE n WHEN 1 THEN g::text END) = :a
  FROM pick_healthy_gateways(:pool, 5, strategy => 'least_loaded') WITH ORDINALITY p (g, n);
SELECT loads();
-- Three times the weight carries three times the load.
UPDATE gateway_pool_memberships SET "pickWeight" = 3 WHERE "gatewayId" = :b;
SELECT report_gateway_load(:a, 1), report_gateway_load(:b, 2), release_gateway(:a, opened => false);
SELECT claim() = :b, claim() = :b, loads();
UPDATE gateway_pool_memberships SET "pickWeight" = 1;
-- Unless all candidates have reported, picks are random, but reserved.
INSERT INTO gateway_pool_memberships ("gatewayPoolId", "gatewayId") VALUES (:pool, '00000000-0000-0000-0000-0000000000a3');
SELECT count(DISTINCT claim()) FROM generate_series(1, 100);
SELECT sum(reservations) FROM gateway_pool_members;
SELECT DISTINCT share = 1 / 3.0::double precision FROM explain_gateway_pick(:pool, strategy => 'least_loaded');
BEGIN;
SELECT count(claim()) FROM generate_series(1, 10);
SELECT sum(reservations) FROM gateway_pool_members;
ROLLBACK;
SELECT sum(reservations) FROM gateway_pool_members;
-- Members that cannot be picked need no report.
SELECT set_gateway_state('00000000-0000-0000-0000-0000000000a3', 'draining');
SELECT report_gateway_load(:a, 1000);
SELECT count(*) FROM (SELECT claim() AS p FROM generate_series(1, 10)) c WHERE p = :b;

-- Excluded members need no report.
SELECT set_gateway_state('00000000-0000-0000-0000-0000000000a3', 'active');
SELECT pick_healthy_gateway(:pool, '{00000000-0000-0000-0000-0000000000a3}', 'least_loaded') = :b;
-- A pick without a result reserves nothing.
CREATE TEMP TABLE before AS SELECT "gatewayId", reservations FROM gateway_pool_members;
SELECT fails($$SELECT pick_healthy_gateway('00000000-0000-0000-0000-000000000001',
                      (SELECT array_agg("gatewayId") FROM before), 'least_loaded')$$);
SELECT pick_healthy_gateway(:pool, (SELECT array_agg("gatewayId") FROM before), 'least_loaded', null_if_none => true) IS NULL;
SELECT count(*), bool_and(g.reservations = b.reservations) FROM before b JOIN gateway_status g USING ("gatewayId");

-- Sticky: a key leads to the same member in every session.
INSERT INTO gateway_pool_memberships ("gatewayPoolId", "gatewayId") SELECT :pool, id FROM gateways_v2 ON CONFLICT DO NOTHING;
DELETE FROM gateway_states;
CREATE TABLE public.led AS
SELECT k, pick_healthy_gateway(:pool, strategy => 'sticky', sticky_key => 'key ' || k) AS g FROM generate_series(1, 1000) k;
SELECT right(g::text, 2), count(*) FROM public.led GROUP BY 1 ORDER BY 1;
SELECT sticky_key, right(pick_healthy_gateway(:pool, strategy => 'sticky', sticky_key => sticky_key)::text, 2)
  FROM unnest('{"",session-1,session-2,ключ}'::text[]) sticky_key;
\c
SET search_path = app, public;
SELECT count(*) FROM public.led WHERE g <> pick_healthy_gateway(:pool, strategy => 'sticky', sticky_key => 'key ' || k);
-- While its member cannot be picked, a key leads to another one; other keys keep theirs.
SELECT set_gateway_state(:a, 'maintenance');
SELECT g = :a, count(*) FILTER (WHERE g <> p), bool_or(p = :a)
  FROM (SELECT g, pick_healthy_gateway(:pool, strategy => 'sticky', sticky_key => 'key ' || k) AS p FROM public.led) s GROUP BY 1 ORDER BY 1;
SELECT set_gateway_state(:a, 'active');
SELECT count(*) FROM public.led WHERE g <> pick_healthy_gateway(:pool, strategy => 'sticky', sticky_key => 'key ' || k);
-- The same while it is failed, or suspect while others are healthy.
UPDATE gateways_v2 SET "heartbeatTTL" = 0 WHERE id = :b;
SELECT g = :b, count(*) FILTER (WHERE g <> p), bool_or(p = :b)
  FROM (SELECT g, pick_healthy_gateway(:pool, strategy => 'sticky', sticky_key => 'key ' || k) AS p FROM public.led) s GROUP BY 1 ORDER BY 1;
UPDATE gateways_v2 SET "heartbeatTTL" = 180 WHERE id = :b;
SELECT count(*) FROM public.led WHERE g <> pick_healthy_gateway(:pool, strategy => 'sticky', sticky_key => 'key ' || k);
SELECT report_gateway_failure('00000000-0000-0000-0000-0000000000a5');
SELECT right(g::text, 2) = 'a5', count(*) FILTER (WHERE g <> p), bool_or(right(p::text, 2) = 'a5')
  FROM (SELECT g, pick_healthy_gateway(:pool, strategy => 'sticky', sticky_key => 'key ' || k) AS p FROM public.led) s GROUP BY 1 ORDER BY 1;
SELECT count(report_gateway_failure(id)) FROM gateways_v2;
SELECT count(*) FROM public.led WHERE g <> pick_healthy_gateway(:pool, strategy => 'sticky', sticky_key => 'key ' || k);
-- Several picks are an order to try, led by the member of the key; excluding that one leads to the second.
SELECT count(*), count(DISTINCT g), min(CASE n WHEN 1 THEN g::text END) = (SELECT g::text FROM public.led WHERE k = 1)
  FROM pick_healthy_gateways(:pool, 9, strategy => 'sticky', sticky_key => 'key 1') WITH ORDINALITY p (g, n);
SELECT pick_healthy_gateway(:pool, ARRAY[(SELECT g FROM public.led WHERE k = 1)], 'sticky', sticky_key => 'key 1')
     = (SELECT g FROM pick_healthy_gateways(:pool, 2, strategy => 'sticky', sticky_key => 'key 1') WITH ORDINALITY p (g, n) WHERE n = 2);
SELECT count(*) FILTER (WHERE candidate), max(share), count(*) FILTER (WHERE verdict = 'the key leads to another candidate')
  FROM explain_gateway_pick(:pool, strategy => 'sticky', sticky_key => 'key 1');
-- A member with more weight takes over keys; all other keys keep their member.
UPDATE gateway_pool_memberships SET "pickWeight" = 3 WHERE "gatewayId" = :a;
SELECT right(p::text, 2), count(*), bool_and(g = p)
  FROM (SELECT g, pick_healthy_gateway(:pool, strategy => 'sticky', sticky_key => 'key ' || k) AS p FROM public.led) s GROUP BY 1 ORDER BY 1;
SELECT fails($$SELECT pick_healthy_gateway('00000000-0000-0000-0000-000000000001', strategy => 'sticky')$$);
SELECT fails($$SELECT pick_healthy_gateways('00000000-0000-0000-0000-000000000001', strategy => 'sticky')$$);
SELECT fails($$SELECT explain_gateway_pick('00000000-0000-0000-0000-000000000001', strategy => 'sticky')$$);
SELECT fails($$SELECT pick_healthy_gateway('00000000-0000-0000-0000-000000000001', strategy => 'Sticky')$$);
SELECT fails($$SELECT pick_healthy_gateway('00000000-0000-0000-0000-000000000001', sticky_key => 'key 1')$$);
SELECT fails($$SELECT explain_gateway_pick('00000000-0000-0000-0000-000000000001', strategy => 'least_loaded', sticky_key => 'key 1')$$);
DROP TABLE public.led;
DROP FUNCTION public.claim, public.loads;
