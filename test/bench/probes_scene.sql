-- The worker's gateways: 10,000 that never sent a heartbeat, so that probes are the only evidence.  Twenty of
-- them are each in a pool whose other member is picked when they fail.

SET client_min_messages = warning;
\ir ../host.sql
ALTER DATABASE :"DBNAME" SET search_path = app, bench, public;
SET search_path = app, bench, public;
SELECT host_test.make_host('app', stage => 1) \g /dev/null
CREATE EXTENSION gateway_pool SCHEMA app;
SELECT host_test.add_org('app', 'Acme') AS org \gset
SELECT set_gateway_pool_entitlement(:'org', true, -1, -1) \g /dev/null

-- Numbers and addresses as in test/bench/fleet.c.
CREATE TABLE bench.gateways AS
    SELECT n, gen_random_uuid() AS id, format('127.0.0.%s:%s', 1 + n % 64, 20000 + n / 64) AS address
    FROM generate_series(0, 9999) AS n;
INSERT INTO app.gateways_v2 (id, "orgId", name) SELECT id, :'org', 'gateway-' || n FROM bench.gateways;

CREATE TABLE bench.pools AS SELECT n, gen_random_uuid() AS id FROM generate_series(0, 19) AS n;
INSERT INTO gateway_pools (id, "orgId", name) SELECT id, :'org', 'pool-' || n FROM bench.pools;
INSERT INTO gateway_pool_memberships ("gatewayPoolId", "gatewayId", "pickPriority")
    SELECT p.id, g.id, priority
    FROM bench.pools AS p, (VALUES (0), (1)) AS priorities (priority), bench.gateways AS g
    WHERE g.n = CASE priority WHEN 0 THEN p.n ELSE 9999 END;

-- Probes the gateways 0 to count - 1, and no others.
CREATE FUNCTION bench.probe(count int, interval_ms int) RETURNS void LANGUAGE sql AS $function$
    DELETE FROM app.gateway_probes;
    INSERT INTO app.gateway_probes ("gatewayId", protocol, address, "intervalMs", "timeoutMs", rise, fall)
        SELECT id, 'tcp', address, interval_ms, 1000, 2, 3 FROM bench.gateways WHERE n < count;
$function$;

-- Live and dead rows in the tables of schema app.
CREATE EXTENSION pgstattuple SCHEMA bench;
CREATE FUNCTION bench.row_versions() RETURNS bigint LANGUAGE sql AS $function$
    SELECT sum(tuple_count + dead_tuple_count)::bigint
    FROM pg_class AS c, bench.pgstattuple(c.oid)
    WHERE c.relnamespace = 'app'::regnamespace AND c.relkind IN ('r', 't')
$function$;

-- The number of WAL records that concern a relation of schema app or end a transaction.  Uses pg_waldump because
-- PostgreSQL 14 has no pg_walinspect.
CREATE FUNCTION bench.wal_records(pg_waldump text, from_lsn pg_lsn, to_lsn pg_lsn) RETURNS bigint
LANGUAGE plpgsql AS $function$
BEGIN
    CREATE TEMP TABLE lines (line text) ON COMMIT DROP;
    EXECUTE format('COPY lines FROM PROGRAM %L (FORMAT csv, DELIMITER E''\x01'', QUOTE E''\x02'')',
                   format('%s -p pg_wal -s %s -e %s', pg_waldump, from_lsn, to_lsn));
    RETURN (
        SELECT count(*) FROM lines
        WHERE line ~ '^rmgr: Transaction ' OR EXISTS (
            SELECT FROM regexp_matches(line, 'rel \d+/\d+/(\d+)', 'g') AS block
            JOIN pg_class AS c ON pg_relation_filenode(c.oid) = block[1]::oid
            LEFT JOIN pg_class AS owner ON owner.reltoastrelid = c.oid
            WHERE coalesce(owner.relnamespace, c.relnamespace) = 'app'::regnamespace));
END
$function$;

-- When picks left each of the twenty; checked every millisecond.
CREATE TABLE bench.picks_left (gateway int, at double precision);

CREATE FUNCTION bench.watch_picks(seconds double precision) RETURNS void LANGUAGE plpgsql AS $function$
DECLARE
    pools uuid[] := ARRAY(SELECT id FROM bench.pools ORDER BY n);
    spare uuid := (SELECT id FROM bench.gateways WHERE n = 9999);
    left_at double precision[] := array_fill(NULL::double precision, ARRAY[cardinality(pools)]);
    deadline timestamptz := clock_timestamp() + make_interval(secs => seconds);
BEGIN
    -- It is not probed, and always healthy.
    PERFORM record_gateway_heartbeat(spare);
    WHILE array_position(left_at, NULL) IS NOT NULL AND clock_timestamp() < deadline LOOP
        FOR place IN 1..cardinality(pools) LOOP
            IF left_at[place] IS NULL AND pick_healthy_gateway(pools[place]) = spare THEN
                left_at[place] := extract(epoch FROM clock_timestamp());
            END IF;
        END LOOP;
        PERFORM pg_sleep(0.001);
    END LOOP;
    INSERT INTO bench.picks_left SELECT place - 1, left_at[place] FROM generate_subscripts(left_at, 1) AS place;
END
$function$;

-- Copies the worker's health events into bench.transitions, and measures how long after its event the last of
-- those picks came.
CREATE FUNCTION bench.take_events() RETURNS void LANGUAGE sql AS $function$
    INSERT INTO bench.transitions
        SELECT 'worker', g.n, CASE e."newStatus" WHEN 'unhealthy' THEN 'down' WHEN 'healthy' THEN 'up' WHEN 'degraded' THEN 'up' END,
               extract(epoch FROM e."occurredAt")
        FROM app.gateway_health_events AS e JOIN bench.gateways AS g ON g.id = e."gatewayId";
    INSERT INTO bench.figures
        SELECT 'worker', 'pick after event', max(coalesce(l.at - event.at, 'infinity')) * 1000
        FROM bench.picks_left AS l
        LEFT JOIN LATERAL (
            SELECT t.at FROM bench.transitions AS t
            WHERE t.prober = 'worker' AND t.gateway = l.gateway AND t.went = 'down'
            ORDER BY abs(t.at - l.at) LIMIT 1) AS event ON true
$function$;
CHECKPOINT;
