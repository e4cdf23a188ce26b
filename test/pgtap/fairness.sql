-- Picks are distributed by weight: chi-square tests, with limits (p < 1e-9) that
-- only a bias exceeds.
\set QUIET 1
SET client_min_messages = warning;
\i test/host.sql
SELECT host_test.make_host('app', 2) \g /dev/null
CREATE EXTENSION gateway_pool SCHEMA app;
SET search_path = app, public;
\set pool '\'00000000-0000-0000-0000-000000000001\''
SELECT set_gateway_pool_entitlement(host_test.add_org('app', 'acme', '00000000-0000-0000-0000-00000000000a'), true) \g /dev/null
INSERT INTO gateway_pools (id, "orgId", name) VALUES (:pool, '00000000-0000-0000-0000-00000000000a', 'eu');
SELECT host_test.add_gateway('app', '00000000-0000-0000-0000-00000000000a', 'g' || i) FROM generate_series(1, 10) i \g /dev/null
INSERT INTO gateway_pool_memberships ("gatewayPoolId", "gatewayId") SELECT :pool, id FROM gateways_v2;

-- Sum over the members of (picked - expected)^2 / expected; infinity if another gateway is picked.
CREATE FUNCTION public.chi_square(picks uuid[], strategy text DEFAULT 'random') RETURNS double precision LANGUAGE sql AS $$
    SELECT sum(CASE WHEN e.share > 0 THEN (coalesce(p.n, 0) - e.share * cardinality(picks)) ^ 2 / (e.share * cardinality(picks))
                    WHEN p.n > 0 THEN 'infinity' ELSE 0 END)
      FROM app.explain_gateway_pick('00000000-0000-0000-0000-000000000001', strategy => strategy) e
      LEFT JOIN (SELECT u AS id, count(*) AS n FROM unnest(picks) u GROUP BY 1) p ON p.id = e."gatewayId"
$$;
CREATE FUNCTION public.picks(n int) RETURNS uuid[] LANGUAGE sql AS $$
    SELECT array_agg(app.pick_healthy_gateway('00000000-0000-0000-0000-000000000001')) FROM generate_series(1, n)
$$;
-- Each place is released before the next is claimed, so loads stay as reported.
CREATE FUNCTION public.claims(n int) RETURNS uuid[] LANGUAGE plpgsql AS $$
DECLARE
    picks uuid[] := array_fill(NULL::uuid, ARRAY[n]);
BEGIN
    FOR i IN 1..n LOOP
        picks[i] := app.pick_healthy_gateway('00000000-0000-0000-0000-000000000001', strategy => 'least_loaded');
        PERFORM app.release_gateway(picks[i], opened => false);
    END LOOP;
    RETURN picks;
END
$$;
CREATE FUNCTION public.led(n int) RETURNS uuid[] LANGUAGE sql AS $$
    SELECT array_agg(app.pick_healthy_gateway('00000000-0000-0000-0000-000000000001', strategy => 'sticky', sticky_key => 'session-' || i))
      FROM generate_series(1, n) i
$$;
SELECT plan(13);

-- Nine degrees of freedom: 57.3.
SELECT cmp_ok(chi_square(picks(20000)), '<', 57.3::double precision, 'ten equal members are picked equally');
SELECT cmp_ok(chi_square(claims(20000), 'least_loaded'), '<', 57.3::double precision, 'least_loaded without reports picks ten members equally');
SELECT report_gateway_load(id, 5) FROM gateways_v2 \g /dev/null
SELECT cmp_ok(chi_square(claims(20000), 'least_loaded'), '<', 57.3::double precision, 'least_loaded picks ten members with the same load equally');
SELECT cmp_ok(chi_square(led(20000)), '<', 57.3::double precision, 'sticky keys are spread equally over ten members');

-- Weights 1:2:7, two degrees of freedom: 41.4; the other members have weight 0.
UPDATE gateway_pool_memberships m SET "pickWeight" = CASE g.name WHEN 'g1' THEN 1 WHEN 'g2' THEN 2 WHEN 'g3' THEN 7 ELSE 0 END
  FROM gateways_v2 g WHERE g.id = m."gatewayId";
SELECT cmp_ok(chi_square(picks(20000)), '<', 41.4::double precision, 'members are picked by weights 1:2:7');
SELECT cmp_ok(chi_square(led(20000)), '<', 41.4::double precision, 'sticky keys are spread by weights 1:2:7');

-- The next connection would make the load 1 per unit of weight: a tie, in which all shares are equal.
SELECT report_gateway_load(id, CASE name WHEN 'g2' THEN 1 WHEN 'g3' THEN 6 ELSE 0 END) FROM gateways_v2 \g /dev/null
SELECT is(array_agg(round(share::numeric, 6)), ARRAY[0.333333, 0.333333, 0.333333], 'loads in proportion to weights 1:2:7 are a tie')
  FROM explain_gateway_pick(:pool, strategy => 'least_loaded') WHERE candidate;
SELECT cmp_ok(chi_square(claims(20000), 'least_loaded'), '<', 41.4::double precision, 'least_loaded picks equally in a tie with weights 1:2:7');
-- Claims that are kept are distributed in proportion, without randomness.
SELECT report_gateway_load(id, 0) FROM gateways_v2 \g /dev/null
SELECT count(pick_healthy_gateway(:pool, strategy => 'least_loaded')) FROM generate_series(1, 1000) \g /dev/null
SELECT is(array_agg(reservations ORDER BY name), ARRAY[100, 200, 700], 'a thousand claims are distributed by weights 1:2:7')
  FROM gateway_pool_members WHERE "pickWeight" > 0;
SELECT is(sum(reservations), 0::bigint, 'members with weight 0 get no claims') FROM gateway_pool_members WHERE "pickWeight" = 0;

-- The first of several picks is distributed like a single pick.
SELECT cmp_ok(chi_square(array_agg((SELECT g FROM pick_healthy_gateways(:pool, 3 + i * 0) g LIMIT 1))), '<', 41.4::double precision,
              'the first of several picks is distributed by weight')
  FROM generate_series(1, 10000) i;

-- The second is picked by weight among the remaining members: of 1:2:7,
-- g1 is second with 2/10*1/8 + 7/10*1/3 = 0.2583.
SELECT cmp_ok(abs(count(*) FILTER (WHERE g.name = 'g1') / 10000.0 - 0.258333), '<', 0.03, 'the second of several picks is distributed by the remaining weights')
  FROM generate_series(1, 10000) i
 CROSS JOIN LATERAL (SELECT p.g FROM pick_healthy_gateways(:pool, 2 + i * 0) WITH ORDINALITY p (g, n) WHERE p.n = 2) second
  JOIN gateways_v2 g ON g.id = second.g;

-- Excluding a heavy member leaves the proportions of the others.
SELECT cmp_ok(abs(count(*) FILTER (WHERE g.name = 'g1') / 10000.0 - 1 / 3.0), '<', 0.03, 'the other members keep their proportions')
  FROM (SELECT pick_healthy_gateway(:pool, (SELECT array_agg(id) FROM gateways_v2 WHERE name = 'g3')) AS id
          FROM generate_series(1, 10000)) p JOIN gateways_v2 g USING (id);
SELECT * FROM finish();
