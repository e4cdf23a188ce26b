-- Functions that measure, and tables of results.

-----------------------------------------------------------------------------------------------------------
-- The rivals
-----------------------------------------------------------------------------------------------------------

-- The rule of a pick as one query, as short as possible for gateways with heartbeat and "heartbeatTTL".
-- In SQL, because PL/pgSQL makes a new plan for each call if pools differ in size.
CREATE FUNCTION bench.rival_pick(pool_id uuid) RETURNS uuid LANGUAGE sql AS $function$
    SELECT m."gatewayId"
    FROM app.gateway_pool_memberships AS m
    JOIN app.gateways_v2 AS g ON g.id = m."gatewayId"
    LEFT JOIN app.gateway_states AS s ON s."gatewayId" = m."gatewayId"
    WHERE m."gatewayPoolId" = pool_id
        AND g."heartbeatTTL" > 0
        AND g.heartbeat + make_interval(secs => g."heartbeatTTL" + 30) > clock_timestamp()
        AND coalesce(s.state, 'active') = 'active'
    ORDER BY m."pickPriority", -ln(1 - random()) / nullif(m."pickWeight", 0)
    LIMIT 1
$function$;

-- Heartbeats as the host writes them, one statement per gateway, with and without the extension's triggers.
CREATE FUNCTION bench.update_with_extension(calls int) RETURNS void LANGUAGE plpgsql AS $function$
DECLARE
    gateway uuid;
BEGIN
    FOR gateway IN SELECT id FROM bench.each_gateway LIMIT calls LOOP
        UPDATE app.gateways_v2 SET heartbeat = clock_timestamp() WHERE id = gateway;
    END LOOP;
END
$function$;

CREATE FUNCTION bench.update_without_extension(calls int) RETURNS void LANGUAGE plpgsql AS $function$
DECLARE
    gateway uuid;
BEGIN
    FOR gateway IN SELECT id FROM bench.each_gateway LIMIT calls LOOP
        UPDATE plain.gateways_v2 SET heartbeat = clock_timestamp() WHERE id = gateway;
    END LOOP;
END
$function$;

-- The same loop without an UPDATE.
CREATE FUNCTION bench.update_nothing(calls int) RETURNS void LANGUAGE plpgsql AS $function$
DECLARE
    gateway uuid;
BEGIN
    FOR gateway IN SELECT id FROM bench.each_gateway LIMIT calls LOOP
        gateway := bench.noop(gateway);
    END LOOP;
END
$function$;

-----------------------------------------------------------------------------------------------------------
-- Loops inside the server
-----------------------------------------------------------------------------------------------------------

-- Loops. The cost of a call is the time of its loop minus that of the loop "beside".
CREATE TABLE bench.loops (name text PRIMARY KEY, statement text NOT NULL, calls int NOT NULL, beside text);

CREATE FUNCTION bench.call_statement(call text, ids regclass, calls int) RETURNS text LANGUAGE sql AS $function$
    SELECT format('SELECT count(%s) FROM (SELECT id FROM %s LIMIT %s) AS ids', call, ids, calls)
$function$;

INSERT INTO bench.loops
    SELECT name, bench.call_statement(call, ids, calls), calls, beside
    FROM (VALUES
        ('noop, pools of ten', 'bench.noop(id)', 'bench.each_pool_of_ten'::regclass, 100000, NULL),
        ('pick, pools of ten', 'pick_healthy_gateway(id)', 'bench.each_pool_of_ten', 100000, 'noop, pools of ten'),
        ('pick, one pool', 'pick_healthy_gateway(id)', 'bench.one_pool', 100000, 'noop, pools of ten'),
        ('rival, pools of ten', 'bench.rival_pick(id)', 'bench.each_pool_of_ten', 4000, 'noop, pools of ten'),
        ('pick, pools of thousand', 'pick_healthy_gateway(id)', 'bench.each_pool_of_thousand', 100000,
            'noop, pools of ten'),
        ('rival, pools of thousand', 'bench.rival_pick(id)', 'bench.each_pool_of_thousand', 40, 'noop, pools of ten'),
        ('least loaded, pools of ten', 'pick_healthy_gateway(id, strategy => ''least_loaded'')',
            'bench.each_pool_of_ten', 20000, 'noop, pools of ten'),
        ('sticky, pools of ten', 'pick_healthy_gateway(id, strategy => ''sticky'', sticky_key => ''caller'')',
            'bench.each_pool_of_ten', 50000, 'noop, pools of ten'),
        ('noop, gateways', 'bench.noop(id)', 'bench.each_gateway', 50000, NULL),
        ('report', 'record_gateway_heartbeat(id)', 'bench.each_gateway', 50000, 'noop, gateways')
    ) AS loops (name, call, ids, calls, beside);
INSERT INTO bench.loops VALUES
    ('nothing', 'SELECT bench.update_nothing(2000)', 2000, NULL),
    ('update, with', 'SELECT bench.update_with_extension(2000)', 2000, 'nothing'),
    ('update, without', 'SELECT bench.update_without_extension(2000)', 2000, 'nothing');

-- The cost of a call in each round: microseconds of processor time (the clock would include other processes),
-- and bytes of WAL.
CREATE UNLOGGED TABLE bench.samples (loop text, round int, us double precision, wal double precision);

-- Runs loops in turn, each in a transaction of its own; round 0 warms up.
CREATE PROCEDURE bench.measure(rounds int, VARIADIC names text[]) LANGUAGE plpgsql AS $procedure$
DECLARE
    chosen text;
    measured bench.loops;
    began_at double precision;
    us double precision;
    lsn pg_lsn;
    bytes numeric;
BEGIN
    FOR round IN 0..rounds LOOP
        FOREACH chosen IN ARRAY names LOOP
            SELECT l.* INTO STRICT measured FROM bench.loops AS l WHERE l.name = chosen;
            COMMIT;
            lsn := pg_current_wal_insert_lsn();
            began_at := bench.processor_us();
            EXECUTE measured.statement;
            us := bench.processor_us() - began_at;
            COMMIT;
            bytes := pg_current_wal_insert_lsn() - lsn;
            INSERT INTO bench.samples
                SELECT measured.name, round, us / measured.calls, bytes / measured.calls WHERE round > 0;
        END LOOP;
    END LOOP;
END
$procedure$;

-- The processor time of a call in the loop, in microseconds.
CREATE FUNCTION bench.cost(loop text) RETURNS double precision LANGUAGE sql AS $function$
    SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY s.us - coalesce(b.us, 0))
    FROM bench.samples AS s JOIN bench.loops AS l ON l.name = s.loop
    LEFT JOIN bench.samples AS b ON b.loop = l.beside AND b.round = s.round
    WHERE s.loop = $1
$function$;

-- The bytes of WAL of a call; other processes write next to none.
CREATE FUNCTION bench.wal(loop text) RETURNS double precision LANGUAGE sql AS $function$
    SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY s.wal) FROM bench.samples AS s WHERE s.loop = $1
$function$;

-----------------------------------------------------------------------------------------------------------
-- Two sessions at once
-----------------------------------------------------------------------------------------------------------

-- What the sessions call at given times, line by line, and the ids that each session passes.  Lines for one
-- session are for the first.
CREATE TABLE bench.timetable (line int PRIMARY KEY, name text, sessions int, call text, ids regclass[]);
INSERT INTO bench.timetable VALUES
    (0, 'noop', 1, 'bench.noop(id)', '{bench.one_pool}'),
    (1, 'noop', 2, 'bench.noop(id)', '{bench.one_pool,bench.one_pool}'),
    (2, 'same pool', 1, 'pick_healthy_gateway(id)', '{bench.one_pool}'),
    (3, 'same pool', 2, 'pick_healthy_gateway(id)', '{bench.one_pool,bench.one_pool}'),
    (4, 'different pools', 1, 'pick_healthy_gateway(id)', '{bench.one_pool}'),
    (5, 'different pools', 2, 'pick_healthy_gateway(id)', '{bench.one_pool,bench.other_pool}'),
    (6, 'all pools', 1, 'pick_healthy_gateway(id)', '{bench.each_pool_of_ten}'),
    (7, 'all pools', 2, 'pick_healthy_gateway(id)', '{bench.each_pool_of_ten,bench.each_pool_of_ten}');

-- Calls per second.
CREATE UNLOGGED TABLE bench.rates (line int, round int, session int, rate double precision);

-- Sessions with warm caches, and the earliest time at which each can start.
CREATE UNLOGGED TABLE bench.arrivals (starts_at timestamptz);

-- Follows the timetable once both sessions have arrived: 0.4 s for a line, and 0.1 s between lines.
CREATE PROCEDURE bench.follow_timetable(session int, rounds int) LANGUAGE plpgsql AS $procedure$
DECLARE
    deadline timestamptz := clock_timestamp() + interval '60 s';
    starts_at timestamptz;
    entry bench.timetable;
    entries int := (SELECT count(*) FROM bench.timetable);
    began_at timestamptz;
    ends_at timestamptz;
    calls int;
BEGIN
    PERFORM pick_healthy_gateway(id) FROM bench.pools AS p WHERE p.kind = 'ten';
    INSERT INTO bench.arrivals VALUES (clock_timestamp() + interval '1 s');
    COMMIT;
    WHILE (SELECT count(*) FROM bench.arrivals) < 2 LOOP
        IF clock_timestamp() > deadline THEN
            RAISE 'the other session has not arrived';
        END IF;
        PERFORM pg_sleep(0.01);
        COMMIT;
    END LOOP;
    starts_at := (SELECT max(a.starts_at) FROM bench.arrivals AS a);
    COMMIT;
    FOR round IN 1..rounds LOOP
        FOR place IN 0..entries - 1 LOOP
            SELECT t.* INTO STRICT entry FROM bench.timetable AS t WHERE t.line = place;
            CONTINUE WHEN session > entry.sessions;
            began_at := starts_at + ((round - 1) * entries + place) * interval '0.5 s';
            ends_at := began_at + interval '0.4 s';
            COMMIT;
            PERFORM pg_sleep(extract(epoch FROM began_at - clock_timestamp()));
            began_at := clock_timestamp();
            calls := 0;
            WHILE clock_timestamp() < ends_at LOOP
                EXECUTE bench.call_statement(entry.call, entry.ids[session], 20000);
                calls := calls + 20000;
            END LOOP;
            INSERT INTO bench.rates VALUES
                (place, round, session, calls / extract(epoch FROM clock_timestamp() - began_at));
            COMMIT;
        END LOOP;
    END LOOP;
END
$procedure$;

-- The rate of two sessions as a multiple of the rate of one.
CREATE FUNCTION bench.scaling(name text) RETURNS double precision LANGUAGE sql AS $function$
    SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY scaling)
    FROM (SELECT sum(rate) FILTER (WHERE sessions = 2) / sum(rate) FILTER (WHERE sessions = 1) AS scaling
          FROM bench.rates JOIN bench.timetable AS t USING (line) WHERE t.name = $1 GROUP BY round) AS rounds
$function$;

-----------------------------------------------------------------------------------------------------------
-- First picks
-----------------------------------------------------------------------------------------------------------

CREATE UNLOGGED TABLE bench.first_picks (kind text, us double precision, gateway uuid);

-- The first pick of each of many pools in this session.
CREATE FUNCTION bench.first_picks(kind text) RETURNS void LANGUAGE plpgsql AS $function$
DECLARE
    pool uuid;
    picked uuid;
    began_at timestamptz;
    times double precision[];
BEGIN
    FOR pool IN SELECT id FROM bench.pools AS p WHERE p.kind = 'ten' ORDER BY n LIMIT 1000 LOOP
        began_at := clock_timestamp();
        picked := pick_healthy_gateway(pool);
        times := times || (extract(epoch FROM clock_timestamp() - began_at) * 1e6)::double precision;
    END LOOP;
    INSERT INTO bench.first_picks SELECT first_picks.kind, us FROM unnest(times) AS us;
END
$function$;

-- The first pick of a session.
CREATE FUNCTION bench.first_pick(pool uuid) RETURNS void LANGUAGE plpgsql AS $function$
DECLARE
    began_at timestamptz := clock_timestamp();
    picked uuid := pick_healthy_gateway(pool);
BEGIN
    INSERT INTO bench.first_picks
        VALUES ('session', extract(epoch FROM clock_timestamp() - began_at) * 1e6, picked);
END
$function$;

CREATE FUNCTION bench.first_pick_cost(kind text) RETURNS double precision LANGUAGE sql AS $function$
    SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY us) FROM bench.first_picks AS f WHERE f.kind = $1
$function$;

-----------------------------------------------------------------------------------------------------------
-- Fairness
-----------------------------------------------------------------------------------------------------------

-- The probability that chi-square is at least this large by chance: the upper incomplete gamma function, as one
-- minus its series.
CREATE FUNCTION bench.chi_square_p(chi_square double precision, degrees int) RETURNS double precision
LANGUAGE plpgsql AS $function$
DECLARE
    a double precision := degrees / 2.0;
    x double precision := chi_square / 2;
    term double precision := x ^ a * exp(-x);
    series double precision;
BEGIN
    -- Above 300 the result is zero, and the series would be long.
    IF x > 300 THEN
        RETURN 0;
    END IF;
    -- Divided by gamma(a + 1) = a * (a - 1) * ..., which ends with gamma(1) or gamma(1/2).
    WHILE a > 0 LOOP
        term := term / a;
        a := a - 1;
    END LOOP;
    IF degrees % 2 = 1 THEN
        term := term / sqrt(pi());
    END IF;
    series := term;
    FOR n IN 1..2000 LOOP
        term := term * x / (degrees / 2.0 + n);
        series := series + term;
        EXIT WHEN term < 1e-18;
    END LOOP;
    RETURN greatest(1 - series, 0);
END
$function$;

-- That probability for picks of a pool whose members are all candidates.
CREATE FUNCTION bench.fairness(pool uuid, picks uuid[]) RETURNS double precision LANGUAGE sql AS $function$
    WITH times AS (
        SELECT m."gatewayId" IS NOT NULL AS is_member, coalesce(picked, 0) AS picked,
               m."pickWeight" * cardinality(picks) / sum(m."pickWeight") OVER ()::double precision AS expected
        FROM (SELECT * FROM gateway_pool_memberships WHERE "gatewayPoolId" = pool) AS m
        FULL JOIN (SELECT id, count(*) AS picked FROM unnest(picks) AS id GROUP BY id) AS p
            ON p.id = m."gatewayId")
    SELECT CASE WHEN bool_and(is_member)
                THEN bench.chi_square_p(sum((picked - expected) ^ 2 / expected), count(*)::int - 1) ELSE 0 END
    FROM times
$function$;

-- That probability for a million picks.
CREATE FUNCTION bench.fairness(pool uuid) RETURNS double precision LANGUAGE sql AS $function$
    SELECT bench.fairness(pool, array_agg(pick_healthy_gateway(pool))) FROM generate_series(1, 1000000)
$function$;

-----------------------------------------------------------------------------------------------------------
-- Over the wire
-----------------------------------------------------------------------------------------------------------

-- Transactions per second.
CREATE UNLOGGED TABLE bench.wire (round int, call text, rate double precision);

CREATE FUNCTION bench.wire_rate(call text) RETURNS double precision LANGUAGE sql AS $function$
    SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY rate) FROM bench.wire AS w WHERE w.call = $1
$function$;
