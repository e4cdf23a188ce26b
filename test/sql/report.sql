\i test/setup.sql
-- Reports of heartbeats, failures and loads, which no table stores.
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
                     CASE WHEN s."suspectUntil" > clock_timestamp() THEN 'suspect' END, s."activeConnections", nullif(s.reservations, 0))
      FROM app.explain_gateway_pick('00000000-0000-0000-0000-000000000001') e
      JOIN app.gateway_status s ON s."gatewayId" = e."gatewayId" ORDER BY e.name
$$;

-- Errors of every function.
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

-- A reported failure makes a gateway suspect: it is picked only if no healthy member is left.
SELECT clock_timestamp() AS before \gset
SELECT report_gateway_failure(:g1, E'connection\n refused\x07\x7f\x01');
SELECT clock_timestamp() AS after \gset
SELECT said();
SELECT "suspectUntil" - interval '60 s'
       BETWEEN :'before'::timestamptz - interval '10 ms' AND :'after'::timestamptz + interval '10 ms'
  FROM gateway_status WHERE name = 'g1';
-- 63 bytes of the reason are kept, in whole characters.
SELECT report_gateway_failure(:g2, repeat('ä', 40));
SELECT said();
-- psql would not show half a character.
SELECT octet_length(reason) - octet_length('suspect: ') FROM gateway_status WHERE name = 'g2';
SELECT report_gateway_failure(:g2, repeat('x', 70));
SELECT octet_length(reason) - octet_length('suspect: ') FROM gateway_status WHERE name = 'g2';
SELECT report_gateway_failure(:g2, 'x' || repeat('ä', 40));
SELECT octet_length(reason) - octet_length('suspect: ') FROM gateway_status WHERE name = 'g2';
-- The last report counts, even one without a reason.
SELECT report_gateway_failure(:g2);
SELECT said();
SELECT report_gateway_failure(:g2, '');
SELECT reason FROM gateway_status WHERE name = 'g2';
-- Members show the evidence of their gateways.
SELECT count(*), bool_and((m.status, m.reason, m."activeConnections", m.reservations)
                          IS NOT DISTINCT FROM (s.status, s.reason, s."activeConnections", s.reservations)),
       max(greatest(abs(extract(epoch FROM m."lastHeartbeatAt" - s."lastHeartbeatAt")),
                    abs(extract(epoch FROM m."heartbeatExpiresAt" - s."heartbeatExpiresAt")),
                    abs(extract(epoch FROM m."suspectUntil" - s."suspectUntil")))) < 1
  FROM gateway_pool_members m JOIN gateway_status s USING ("gatewayId");
SELECT pick_healthy_gateway(:pool) IN (:g1, :g2);
SELECT "healthyMemberCount", label FROM gateway_pool_status;
-- A heartbeat does not clear a suspect mark, which expires by itself; a suspect mark
-- does not improve an unhealthy status.
SELECT record_gateway_heartbeat(:g1);
SELECT status FROM gateway_status WHERE name = 'g1';
BEGIN;
UPDATE gateways_v2 SET "heartbeatTTL" = 0 WHERE id = :g1;
SELECT status, reason FROM gateway_status WHERE name = 'g1';
ROLLBACK;
-- Control characters in a reason are replaced.
SELECT report_gateway_failure(:g2, U&'a\009bb\0085c');
SELECT reason, encode(convert_to(reason, 'UTF8'), 'hex') !~ 'c2[89]' FROM gateway_status WHERE name = 'g2';
-- A new gateway with the id of a deleted one has no evidence of it.
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

-- A gateway whose transaction rolls back is unknown.
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

-- Heartbeats: the later one of the table's and the reported one counts.
CREATE FUNCTION public.heard(gateway text) RETURNS text LANGUAGE sql AS $$
    SELECT concat_ws(' | ', status, reason,
                     'heard ' || CASE "lastHeartbeatAt" > clock_timestamp() - interval '1 min'
                                 WHEN true THEN 'now' WHEN false THEN 'long ago' END,
                     'counts for ' || round(extract(epoch FROM "heartbeatExpiresAt" - "lastHeartbeatAt")))
      FROM app.gateway_status WHERE name = gateway
$$;
-- Until shared memory knows a gateway, the recorded evidence counts.
SELECT pick_healthy_gateway(:pool) IN (:g1, :g2);
UPDATE gateways_v2 SET heartbeat = clock_timestamp() - interval '1 day' WHERE id = :g1;
SELECT heard('g1'), pick_healthy_gateway(:pool) = :g2;
SELECT record_gateway_heartbeat(:g1, '100 s');
SELECT heard('g1');
-- The last report counts, even if it expires earlier.
SELECT record_gateway_heartbeat(:g1, '10 s');
SELECT heard('g1');
SELECT record_gateway_heartbeat(:g1);
SELECT heard('g1');
SELECT record_gateway_heartbeat(:g1, '1000 years');
SELECT status FROM gateway_status WHERE name = 'g1';
SELECT record_gateway_heartbeat(:g1, '1 microsecond');
SELECT heard('g1');
UPDATE gateways_v2 SET heartbeat = clock_timestamp() WHERE id = :g1;
SELECT heard('g1');
SELECT record_gateway_heartbeat(:g1, '10 s');
SELECT s.status, s."lastHeartbeatAt" > g.heartbeat, round(extract(epoch FROM s."heartbeatExpiresAt" - g.heartbeat))
  FROM gateway_status s JOIN gateways_v2 g ON g.id = s."gatewayId" WHERE g.id = :g1;
-- When the table's evidence turns failed or NULL, earlier reports end; later ones count.
UPDATE gateways_v2 SET "heartbeatTTL" = 0 WHERE id = :g1;
SELECT heard('g1'), pick_healthy_gateway(:pool) = :g2;
SELECT record_gateway_heartbeat(:g1, '100 s');
SELECT heard('g1');
-- Other changes in the row of a failed gateway have no effect.
UPDATE gateways_v2 SET name = 'renamed' WHERE id = :g1;
UPDATE gateways_v2 SET name = 'g1', "heartbeatTTL" = 0 WHERE id = :g1;
SELECT status, pick_healthy_gateway(:pool, ARRAY[:g2]::uuid[]) = :g1 FROM gateway_status WHERE name = 'g1';
UPDATE gateways_v2 SET "heartbeatTTL" = 180, heartbeat = clock_timestamp() WHERE id = :g1;
UPDATE gateways_v2 SET heartbeat = NULL WHERE id = :g1;
SELECT heard('g1');
SELECT record_gateway_heartbeat(:g1, '100 s');
SELECT heard('g1');
UPDATE gateways_v2 SET heartbeat = clock_timestamp() WHERE id = :g1;
UPDATE gateways_v2 SET "heartbeatTTL" = NULL WHERE id = :g1;
SELECT heard('g1');
UPDATE gateways_v2 SET "heartbeatTTL" = 180, heartbeat = NULL WHERE id = :g1;
-- The first evidence of a gateway can be a report.
SELECT host_test.add_gateway('app', :acme, 'g5', NULL, '00000000-0000-0000-0000-0000000000a5');
SELECT record_gateway_heartbeat('00000000-0000-0000-0000-0000000000a5', '100 s');
SELECT heard('g5');
SELECT host_test.add_gateway('app', :acme, 'g6', '0s', '00000000-0000-0000-0000-0000000000a6');
UPDATE gateways_v2 SET "heartbeatTTL" = 0 WHERE name = 'g6';
SELECT record_gateway_heartbeat('00000000-0000-0000-0000-0000000000a6', '100 s');
SELECT heard('g6');
DELETE FROM gateways_v2 WHERE name IN ('g5', 'g6');
-- A transaction that rolls back ends no report.
SELECT record_gateway_heartbeat(:g1, '100 s');
BEGIN;
UPDATE gateways_v2 SET "heartbeatTTL" = 0 WHERE id = :g1;
SELECT heard('g1'), pick_healthy_gateway(:pool) = :g2;
ROLLBACK;
SELECT heard('g1');
-- The transaction that wrote the row sees the status that follows from it.
SELECT record_gateway_heartbeat(:g1, '100 s');
BEGIN;
UPDATE gateways_v2 SET name = 'g1' WHERE id = :g1;
SELECT heard('g1');
UPDATE gateways_v2 SET heartbeat = clock_timestamp(), "heartbeatTTL" = 180 WHERE id = :g1;
COMMIT;
BEGIN;
UPDATE gateways_v2 SET heartbeat = NULL, "heartbeatTTL" = NULL WHERE id = :g1;
SELECT heard('g1');
ROLLBACK;
SELECT heard('g1') ~ '^healthy';
-- A row that stays failed ends no report, one that turns failed does.
UPDATE gateways_v2 SET "heartbeatTTL" = 0 WHERE id = :g1;
SELECT record_gateway_heartbeat(:g1, '100 s');
UPDATE gateways_v2 SET heartbeat = clock_timestamp() WHERE id = :g1;
SELECT heard('g1') ~ '^healthy';
UPDATE gateways_v2 SET "heartbeatTTL" = 180 WHERE id = :g1;
UPDATE gateways_v2 SET "heartbeatTTL" = 0 WHERE id = :g1;
SELECT heard('g1') ~ '^unhealthy';
-- Only the last version of the row counts.
SELECT record_gateway_heartbeat(:g1, '100 s');
BEGIN;
UPDATE gateways_v2 SET "heartbeatTTL" = 0 WHERE id = :g1;
UPDATE gateways_v2 SET "heartbeatTTL" = 180, heartbeat = clock_timestamp() - interval '1 day' WHERE id = :g1;
COMMIT;
SELECT heard('g1') ~ '^healthy';
-- Also if the transaction wrote more rows than are published one by one.
SELECT record_gateway_heartbeat(:g1, '100 s');
BEGIN;
UPDATE gateways_v2 SET "heartbeatTTL" = 0 WHERE id = :g1;
DO $$
BEGIN
    FOR i IN 1 .. 1100 LOOP
        UPDATE gateways_v2 SET heartbeat = clock_timestamp() WHERE name = 'g2';
    END LOOP;
END
$$;
UPDATE gateways_v2 SET "heartbeatTTL" = 180, heartbeat = clock_timestamp() - interval '1 day' WHERE id = :g1;
COMMIT;
SELECT heard('g1') ~ '^healthy';
-- Reports about an existing gateway survive the rollback of a transaction that wrote its row.
INSERT INTO gateways_v2 SELECT (jsonb_populate_record(d, jsonb_build_object('id', 'f' || substr(id::text, 2), 'name', 'late', 'identityId', NULL))).* FROM deleted d WHERE id = :g1;
UPDATE gateways_v2 SET heartbeat = NULL WHERE name = 'late';
BEGIN;
UPDATE gateways_v2 SET name = 'late' WHERE name = 'late';
SELECT record_gateway_heartbeat(id, '1 h') FROM gateways_v2 WHERE name = 'late';
ROLLBACK;
SELECT heard('late');
-- A report is not undone by a rollback.
BEGIN;
SELECT report_gateway_load(:g1, 7);
ROLLBACK;
SELECT said();

-- Privileges.
CREATE ROLE regress_reporter;
CREATE ROLE regress_caller;
CREATE ROLE regress_owner;
GRANT USAGE ON SCHEMA app TO regress_reporter, regress_caller, regress_owner;
GRANT UPDATE ON gateway_health TO regress_reporter;
GRANT SELECT ON gateway_pools TO regress_caller;
-- Other privileges do not suffice.
GRANT SELECT, INSERT, DELETE ON gateway_health TO regress_caller, regress_owner;
GRANT INSERT, UPDATE, DELETE ON gateway_pools TO regress_reporter, regress_owner;
SET ROLE regress_reporter;
SELECT record_gateway_heartbeat(:g1), report_gateway_load(:g1, 1);
SELECT fails($$SELECT report_gateway_failure('00000000-0000-0000-0000-0000000000a1')$$);
SELECT fails($$SELECT release_gateway('00000000-0000-0000-0000-0000000000a1')$$);
SELECT fails($$SELECT * FROM gateway_pool_stats$$);
SELECT fails($$SELECT reset_gateway_pool_stats()$$);
SET ROLE regress_caller;
SELECT report_gateway_failure(:g3), release_gateway(:g3);
SELECT count(*) > 0 FROM gateway_pool_stats;
SELECT fails($$SELECT record_gateway_heartbeat('00000000-0000-0000-0000-0000000000a1')$$);
SELECT fails($$SELECT report_gateway_load('00000000-0000-0000-0000-0000000000a1', 1)$$);
SELECT fails($$SELECT reset_gateway_pool_stats()$$);
SET ROLE regress_owner;
SELECT f, (SELECT string_agg(e, E'\n') FROM fails(f) e) FROM unnest(ARRAY[
    $$SELECT record_gateway_heartbeat('00000000-0000-0000-0000-0000000000a1')$$,
    $$SELECT report_gateway_load('00000000-0000-0000-0000-0000000000a1', 1)$$,
    $$SELECT report_gateway_failure('00000000-0000-0000-0000-0000000000a1')$$,
    $$SELECT release_gateway('00000000-0000-0000-0000-0000000000a1')$$,
    $$SELECT reset_gateway_pool_stats()$$]) f;
RESET ROLE;
BEGIN;
ALTER TABLE gateway_pools OWNER TO regress_owner;
SET LOCAL ROLE regress_owner;
SELECT reset_gateway_pool_stats();
ROLLBACK;
DROP OWNED BY regress_reporter, regress_caller, regress_owner;
DROP ROLE regress_reporter, regress_caller, regress_owner;

-- Counts include picks of transactions that rolled back.
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
-- Each pool has its own counts; explaining is not counted; all sessions see the counts.
INSERT INTO gateway_pools (id, "orgId", name) VALUES ('00000000-0000-0000-0000-000000000002', :acme, 'us');
INSERT INTO gateway_pool_memberships ("gatewayPoolId", "gatewayId") VALUES ('00000000-0000-0000-0000-000000000002', :g1);
SELECT resolve_gateway(NULL, '00000000-0000-0000-0000-000000000002') = :g1;
SELECT resolve_gateway(:g2, '00000000-0000-0000-0000-000000000002') = :g2;
SELECT count(*) FROM explain_gateway_pick(:pool);
BEGIN;
SAVEPOINT s;
SELECT pick_healthy_gateway('00000000-0000-0000-0000-000000000002', strategy => 'sticky', sticky_key => 'k') = :g1;
ROLLBACK TO s;
COMMIT;
-- A new session, so that its end drops no temporary table while a transaction rolls back.
\c
SET search_path = app, public;
BEGIN;
SELECT pick_healthy_gateway('00000000-0000-0000-0000-000000000002') = :g1;
ROLLBACK;
\c
SET search_path = app, public;
SELECT right("gatewayPoolId"::text, 2), right("gatewayId"::text, 2), picks, "degradedPicks", refusals, "orgId" = :acme
  FROM gateway_pool_stats ORDER BY 1, 2 NULLS FIRST;
-- The counts of a deleted pool are not shown.
DELETE FROM gateway_pools WHERE name = 'us';
SELECT count(*) FROM gateway_pool_stats WHERE "gatewayPoolId" <> :pool;
SELECT reset_gateway_pool_stats();
SELECT pick_healthy_gateway(:pool, ARRAY[:g2]::uuid[]) = :g1;
SELECT right("gatewayId"::text, 2), picks, "degradedPicks", refusals FROM gateway_pool_stats ORDER BY 1 NULLS FIRST;
-- A pick in FROM is evaluated once, a pick in WHERE for each row.
SELECT reset_gateway_pool_stats();
SELECT count(*) FROM pick_healthy_gateway(:pool) AS p (id) JOIN gateways_v2 g USING (id);
SELECT sum(picks) FROM gateway_pool_stats WHERE "gatewayId" IS NULL;
SELECT reset_gateway_pool_stats();
SELECT count(*) >= 0 FROM gateways_v2 WHERE id = pick_healthy_gateway(:pool);
SELECT sum(picks) = (SELECT count(*) FROM gateways_v2) FROM gateway_pool_stats WHERE "gatewayId" IS NULL;

-- A host without heartbeat columns depends on reports alone.
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
SELECT heard('g1');
SELECT host_test.add_gateway('app', :acme, 'g2', '0s', :g2) = :g2;
SELECT record_gateway_heartbeat(:g2, '10 s');
INSERT INTO gateway_pool_memberships ("gatewayPoolId", "gatewayId") VALUES (:pool, :g2);
SELECT pick_healthy_gateway(:pool, ARRAY[:g1]::uuid[]) = :g2;
SELECT heard('g2');
DELETE FROM gateways_v2 WHERE id = :g2;
UPDATE gateways_v2 SET name = 'g1' WHERE id = :g1;
BEGIN;
UPDATE gateways_v2 SET name = 'another' WHERE id = :g1;
SELECT pick_healthy_gateway(:pool) = :g1;
COMMIT;
SELECT pick_healthy_gateway(:pool) = :g1;
DROP FUNCTION public.said, public.heard;
