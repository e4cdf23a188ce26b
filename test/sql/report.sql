\i test/setup.sql
-- Reports: heartbeats, failures and loads that no table holds.
SELECT host_test.make_host('app', 2);
CREATE EXTENSION gateway_pool SCHEMA app;
\set acme '\'00000000-0000-0000-0000-00000000000a\''
\set pool '\'00000000-0000-0000-0000-000000000001\''
\set g1 '\'00000000-0000-0000-0000-0000000000a1\''
\set g2 '\'00000000-0000-0000-0000-0000000000a2\''
\set g3 '\'00000000-0000-0000-0000-0000000000a3\''
SELECT set_gateway_pool_entitlement(host_test.add_org('app', 'acme', :acme), true);
INSERT INTO gateway_pools (id, "orgId", name) VALUES (:pool, :acme, 'eu');
SELECT count(host_test.add_gateway('app', :acme, 'g' || i, '0s', ('00000000-0000-0000-0000-0000000000a' || i)::uuid))
  FROM generate_series(1, 3) i;
INSERT INTO gateway_pool_memberships ("gatewayPoolId", "gatewayId") VALUES (:pool, :g1), (:pool, :g2);
CREATE FUNCTION public.said() RETURNS SETOF text LANGUAGE sql AS $$
    SELECT concat_ws(' | ', e.name, e.status, e.reason, e.verdict, round(e.share::numeric, 3),
                     'suspect ' || round(extract(epoch FROM s."suspectUntil" - clock_timestamp())),
                     s."activeConnections", s.reservations)
      FROM app.explain_gateway_pick('00000000-0000-0000-0000-000000000001') e
      JOIN app.gateway_status s ON s."gatewayId" = e."gatewayId" ORDER BY e.name
$$;

-- What every call refuses.
SELECT f, (SELECT string_agg(e, E'\n') FROM fails(f) e) FROM unnest(ARRAY[
    $$SELECT record_gateway_heartbeat(NULL)$$,
    $$SELECT record_gateway_heartbeat('00000000-0000-0000-0000-0000000000ff')$$,
    $$SELECT record_gateway_heartbeat('00000000-0000-0000-0000-0000000000a1', '0')$$,
    $$SELECT record_gateway_heartbeat('00000000-0000-0000-0000-0000000000a1', '-1 s')$$,
    $$SELECT record_gateway_heartbeat('00000000-0000-0000-0000-0000000000a1', '1 mon -30 days')$$,
    $$SELECT report_gateway_failure(NULL)$$,
    $$SELECT report_gateway_failure('00000000-0000-0000-0000-0000000000ff')$$,
    $$SELECT report_gateway_load(NULL, 1)$$,
    $$SELECT report_gateway_load('00000000-0000-0000-0000-0000000000a1', NULL)$$,
    $$SELECT report_gateway_load('00000000-0000-0000-0000-0000000000a1', -1)$$,
    $$SELECT report_gateway_load('00000000-0000-0000-0000-0000000000ff', 1)$$,
    $$SELECT release_gateway(NULL)$$,
    $$SELECT release_gateway('00000000-0000-0000-0000-0000000000a1', NULL)$$,
    $$SELECT release_gateway('00000000-0000-0000-0000-0000000000ff')$$]) f;
SELECT said();

-- Failures: suspect, used when nothing better is left.
SELECT report_gateway_failure(:g1, E'connection\n refused\x07');
SELECT said();
SELECT report_gateway_failure(:g2, repeat('ä', 40));
SELECT said();
SELECT pick_healthy_gateway(:pool) IN (:g1, :g2);
SELECT "healthyMemberCount", label FROM gateway_pool_status;
-- Of a gateway that is deleted, nothing is left for one of the same id.
BEGIN;
DELETE FROM gateways_v2 WHERE id = :g1;
ROLLBACK;
SELECT reason LIKE 'suspect%' FROM gateway_status WHERE name = 'g1';
CREATE TEMP TABLE deleted AS SELECT * FROM gateways_v2 WHERE id IN (:g1, :g2);
DELETE FROM gateways_v2 WHERE id IN (:g1, :g2);
SELECT fails($$SELECT report_gateway_failure('00000000-0000-0000-0000-0000000000a1')$$);
INSERT INTO gateways_v2 SELECT * FROM deleted;
INSERT INTO gateway_pool_memberships ("gatewayPoolId", "gatewayId") VALUES (:pool, :g1), (:pool, :g2);
SELECT said();

-- A gateway of a transaction that rolls back has never been there.
BEGIN;
SELECT host_test.add_gateway('app', :acme, 'g4', NULL, '00000000-0000-0000-0000-0000000000a4');
SELECT record_gateway_heartbeat('00000000-0000-0000-0000-0000000000a4');
SELECT status FROM gateway_status WHERE name = 'g4';
ROLLBACK;
SELECT fails($$SELECT record_gateway_heartbeat('00000000-0000-0000-0000-0000000000a4')$$);
BEGIN;
SAVEPOINT s;
SELECT host_test.add_gateway('app', :acme, 'g4', NULL, '00000000-0000-0000-0000-0000000000a4');
SELECT report_gateway_load('00000000-0000-0000-0000-0000000000a4', 1);
ROLLBACK TO s;
COMMIT;
SELECT fails($$SELECT report_gateway_load('00000000-0000-0000-0000-0000000000a4', 1)$$);

-- Heartbeats: the later of the table's and the reported one counts.
CREATE FUNCTION public.heard(gateway text) RETURNS text LANGUAGE sql AS $$
    SELECT concat_ws(' | ', status, reason, "lastHeartbeatAt" > clock_timestamp() - interval '1 min',
                     'expires ' || round(extract(epoch FROM "heartbeatExpiresAt" - clock_timestamp())))
      FROM app.gateway_status WHERE name = gateway
$$;
UPDATE gateways_v2 SET heartbeat = clock_timestamp() - interval '1 day' WHERE id = :g1;
SELECT heard('g1'), pick_healthy_gateway(:pool) = :g2;
SELECT record_gateway_heartbeat(:g1, '100 s');
SELECT heard('g1');
-- The last report counts, also where it is for less.
SELECT record_gateway_heartbeat(:g1, '10 s');
SELECT heard('g1');
SELECT record_gateway_heartbeat(:g1);
SELECT heard('g1');
SELECT record_gateway_heartbeat(:g1, '1000 years');
SELECT status FROM gateway_status WHERE name = 'g1';
-- Failed, or never heard of any more: what was reported before ends, a report after that counts.
UPDATE gateways_v2 SET "heartbeatTTL" = 0 WHERE id = :g1;
SELECT heard('g1'), pick_healthy_gateway(:pool) = :g2;
SELECT record_gateway_heartbeat(:g1, '100 s');
SELECT heard('g1');
UPDATE gateways_v2 SET "heartbeatTTL" = 180, heartbeat = clock_timestamp() WHERE id = :g1;
UPDATE gateways_v2 SET heartbeat = NULL WHERE id = :g1;
SELECT heard('g1');
-- Nobody who rolls back ends anything.
SELECT record_gateway_heartbeat(:g1, '100 s');
BEGIN;
UPDATE gateways_v2 SET "heartbeatTTL" = 0 WHERE id = :g1;
SELECT heard('g1'), pick_healthy_gateway(:pool) = :g2;
ROLLBACK;
SELECT heard('g1');
-- A report is no part of the transaction.
BEGIN;
SELECT report_gateway_load(:g1, 7);
ROLLBACK;
SELECT said();

-- Rights.
CREATE ROLE regress_reporter;
CREATE ROLE regress_caller;
GRANT USAGE ON SCHEMA app TO regress_reporter, regress_caller;
GRANT UPDATE ON gateway_health TO regress_reporter;
GRANT SELECT ON gateway_pools TO regress_caller;
SET ROLE regress_reporter;
SELECT record_gateway_heartbeat(:g1), report_gateway_load(:g1, 1);
SELECT fails($$SELECT report_gateway_failure('00000000-0000-0000-0000-0000000000a1')$$);
SELECT fails($$SELECT release_gateway('00000000-0000-0000-0000-0000000000a1')$$);
SELECT fails($$SELECT * FROM gateway_pool_stats$$);
SET ROLE regress_caller;
SELECT report_gateway_failure(:g3), release_gateway(:g3);
SELECT fails($$SELECT record_gateway_heartbeat('00000000-0000-0000-0000-0000000000a1')$$);
SELECT fails($$SELECT report_gateway_load('00000000-0000-0000-0000-0000000000a1', 1)$$);
SELECT fails($$SELECT reset_gateway_pool_stats()$$);
RESET ROLE;
DROP OWNED BY regress_reporter, regress_caller;
DROP ROLE regress_reporter, regress_caller;

-- Counts: those of transactions that rolled back too.
SELECT reset_gateway_pool_stats();
SELECT count(*) FROM gateway_pool_stats;
SELECT count(pick_healthy_gateway(:pool, ARRAY[:g2]::uuid[])) FROM generate_series(1, 5);
BEGIN;
SELECT pick_healthy_gateway(:pool, ARRAY[:g1]::uuid[]) = :g2;
ROLLBACK;
SELECT report_gateway_failure(:g2);
SELECT pick_healthy_gateway(:pool, ARRAY[:g1]::uuid[]) = :g2;
SELECT pick_healthy_gateway(:pool, ARRAY[:g1, :g2]::uuid[], null_if_none => true) IS NULL;
SELECT fails($$SELECT pick_healthy_gateway('00000000-0000-0000-0000-000000000001', capabilities => '{"no": 1}')$$);
SELECT count(*) FROM pick_healthy_gateways(:pool, 2);
SELECT right("gatewayId"::text, 2), picks, "degradedPicks", refusals, since <= clock_timestamp()
  FROM gateway_pool_stats ORDER BY 1 NULLS FIRST;

-- A host without columns for it lives by reports alone.
\i test/setup.sql
SELECT host_test.make_host('app', -1);
CREATE EXTENSION gateway_pool SCHEMA app;
SELECT set_gateway_pool_entitlement(host_test.add_org('app', 'acme', :acme), true);
INSERT INTO gateway_pools (id, "orgId", name) VALUES (:pool, :acme, 'eu');
SELECT host_test.add_gateway('app', :acme, 'g1', '0s', :g1) = :g1;
INSERT INTO gateway_pool_memberships ("gatewayPoolId", "gatewayId") VALUES (:pool, :g1);
SELECT pick_healthy_gateway(:pool, null_if_none => true) IS NULL;
SELECT record_gateway_heartbeat(:g1);
SELECT pick_healthy_gateway(:pool) = :g1;
UPDATE gateways_v2 SET name = 'g1' WHERE id = :g1;
BEGIN;
UPDATE gateways_v2 SET name = 'another' WHERE id = :g1;
SELECT pick_healthy_gateway(:pool) = :g1;
COMMIT;
SELECT pick_healthy_gateway(:pool) = :g1;
DROP FUNCTION public.said, public.heard;
