\i test/setup.sql
-- The views for reading: short lines in psql.
\set acme '\'00000000-0000-0000-0000-00000000000a\''
\set pool '\'00000000-0000-0000-0000-000000000001\''
SELECT host_test.make_host('app', 1);
CREATE EXTENSION gateway_pool SCHEMA app;
\i test/first_pick.sql
SELECT host_test.add_org('app', 'acme', :acme), set_gateway_pool_entitlement(:acme, true);
SELECT count(host_test.add_gateway('app', :acme, 'gateway-' || n, age, ('00000000-0000-0000-0000-00000000' || n)::uuid))
  FROM (VALUES ('a101', interval '0 s'), ('a102', '100 s'), ('a103', '70 min'), ('a104', '3.5 h'), ('a105', '4.5 d'), ('a106', NULL)) g (n, age);
INSERT INTO gateway_pools (id, "orgId", name) VALUES (:pool, :acme, 'pool-of-acme');
INSERT INTO gateway_pool_memberships ("gatewayPoolId", "gatewayId", "pickWeight", "pickPriority") SELECT :pool, id, 1000, -32768 FROM gateways_v2;
SELECT set_gateway_state('00000000-0000-0000-0000-00000000a102', 'maintenance');
SELECT report_gateway_failure((SELECT id FROM gateways_v2 WHERE name = 'gateway-a101'), repeat('x', 60));
SELECT name, status, state, regexp_replace(heard, '^\d+ s$', 'some s') AS heard, reason, id FROM gateway_status_brief ORDER BY name;
SELECT pool, gateway, status, state, weight, priority, left(heard, 1) <> '' AS heard, reason FROM gateway_pool_members_brief ORDER BY gateway;
SELECT * FROM gateway_pool_status_brief;
SELECT gateway_pool_internal.short_age(clock_timestamp() - age), gateway_pool_internal.short_text(age::text, 7)
  FROM unnest('{-1 day,119 s,120 s,119.9 min,120 min,47.9 h,48 h,NULL}'::interval[]) age;
-- No line of psql has more than 120 characters.
\pset format aligned
\pset tuples_only off
SELECT * FROM gateway_status_brief \g | awk '{ if (length($0) > longest) longest = length($0) } END { print longest <= 120 ? "fits" : longest }'
SELECT * FROM gateway_pool_members_brief \g | awk '{ if (length($0) > longest) longest = length($0) } END { print longest <= 120 ? "fits" : longest }'
SELECT * FROM gateway_pool_status_brief \g | awk '{ if (length($0) > longest) longest = length($0) } END { print longest <= 120 ? "fits" : longest }'
SELECT rpad('database', 12, '-') AS database, 'stopping' AS state, rpad(activity, 27, '-') AS activity, '119 min' AS round,
       1000000 AS targets, 65536 AS queue, rpad('', 34, '-') AS problem FROM gateway_pool_workers_brief LIMIT 1 \g | awk '{ if (length($0) > longest) longest = length($0) } END { print longest <= 120 ? "fits" : longest }'
\pset format unaligned
\pset tuples_only on
