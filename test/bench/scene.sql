-- The scene: 20,000 gateways in 2,000 pools of ten and in 20 pools of 1,000, and three more gateways in a pool
-- with weights 1:2:7.  Schema plain has the same host without the extension.
--
--     psql -v noop=/path/to/noop.so -f test/bench/scene.sql

\set ON_ERROR_STOP on
SET client_min_messages = warning;
\ir ../host.sql
ALTER DATABASE :"DBNAME" SET search_path = app, bench, public;
SET search_path = app, bench, public;
SELECT host_test.make_host('app', stage => 1), host_test.make_host('plain', stage => 1) \g /dev/null
CREATE EXTENSION gateway_pool SCHEMA app;
CREATE SCHEMA bench;

SELECT host_test.add_org('app', 'Acme') AS org \gset
SELECT host_test.add_org('plain', 'Acme', :'org') \g /dev/null
SELECT set_gateway_pool_entitlement(:'org', true, -1, -1) \g /dev/null

-- With free space for HOT updates, as in a table in use.
ALTER TABLE app.gateways_v2 SET (fillfactor = 50);
ALTER TABLE plain.gateways_v2 SET (fillfactor = 50);
INSERT INTO app.gateways_v2 ("orgId", name, heartbeat, "heartbeatTTL")
    SELECT :'org', 'gateway-' || n, clock_timestamp(), 86400 FROM generate_series(1, 20003) AS n;
INSERT INTO plain.gateways_v2 SELECT * FROM app.gateways_v2;

CREATE TABLE bench.gateways AS
    SELECT id, substr(name, 9)::int AS n FROM app.gateways_v2;
CREATE TABLE bench.pools AS
    SELECT gen_random_uuid() AS id, kind, n
    FROM (VALUES ('ten', 2000), ('thousand', 20), ('weights', 1)) AS kinds (kind, count), generate_series(1, count) AS n;
INSERT INTO gateway_pools (id, "orgId", name) SELECT id, :'org', kind || '-' || n FROM bench.pools;
INSERT INTO gateway_pool_memberships ("gatewayPoolId", "gatewayId", "pickWeight")
    SELECT p.id, g.id, CASE WHEN kind = 'weights' THEN ('{1,2,7}'::int[])[g.n - 20000] ELSE 1 END
    FROM bench.pools AS p JOIN bench.gateways AS g
        ON CASE kind WHEN 'ten' THEN g.n <= 20000 AND (g.n - 1) / 10 + 1 = p.n
                     WHEN 'thousand' THEN g.n <= 20000 AND (g.n - 1) / 1000 + 1 = p.n
                     ELSE g.n > 20000 END;

-- Ids to pass to a function, one after the other.
SELECT setseed(0.5) \g /dev/null
CREATE TABLE bench.each_pool_of_ten AS
    SELECT p.id FROM generate_series(1, 100) AS turn, bench.pools AS p WHERE kind = 'ten' ORDER BY random();
CREATE TABLE bench.each_pool_of_thousand AS
    SELECT p.id FROM generate_series(1, 5000) AS turn, bench.pools AS p WHERE kind = 'thousand' ORDER BY random();
CREATE TABLE bench.one_pool AS
    SELECT p.id FROM generate_series(1, 100000) AS turn, bench.pools AS p WHERE kind = 'ten' AND n = 1;
CREATE TABLE bench.other_pool AS
    SELECT p.id FROM generate_series(1, 100000) AS turn, bench.pools AS p WHERE kind = 'ten' AND n = 2;
CREATE TABLE bench.each_gateway AS
    SELECT g.id FROM generate_series(1, 5) AS turn, bench.gateways AS g ORDER BY random();

CREATE FUNCTION bench.noop(id uuid) RETURNS uuid LANGUAGE C AS :'noop', 'noop';
CREATE FUNCTION bench.processor_us() RETURNS double precision LANGUAGE C AS :'noop', 'processor_us';
\ir functions.sql
VACUUM ANALYZE;
CHECKPOINT;
