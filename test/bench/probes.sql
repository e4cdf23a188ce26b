-- Tables of observations while gateways are probed, and functions that evaluate them.

SET client_min_messages = warning;
CREATE SCHEMA bench;

-- The records of test/bench/fleet.c.  Times are seconds since 1970.
CREATE TABLE bench.observed (phase text, what text, gateway int, at double precision, count bigint);

-- When a prober detected that a gateway went up or down.
CREATE TABLE bench.transitions (prober text, gateway int, went text, at double precision);
CREATE INDEX ON bench.observed (gateway, at);
CREATE INDEX ON bench.observed (phase, what, at);
CREATE INDEX ON bench.transitions (prober, gateway, went, at);

-- Single figures; some are measured repeatedly.
CREATE TABLE bench.figures (prober text, name text, value double precision);

CREATE FUNCTION bench.figure(prober text, name text) RETURNS double precision LANGUAGE sql AS $function$
    SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY value)
    FROM bench.figures AS f WHERE f.prober = $1 AND f.name = $2
$function$;

-- Seconds from the failures of a phase to their detection, at these fractions; infinity for a missed failure.
CREATE FUNCTION bench.detection(prober text, phase text, fractions double precision[])
RETURNS double precision[] LANGUAGE sql AS $function$
    SELECT percentile_disc(fractions) WITHIN GROUP (ORDER BY coalesce(found.at - failure.at, 'infinity'))
    FROM bench.observed AS failure
    CROSS JOIN LATERAL (
        SELECT min(t.at) AS at FROM bench.transitions AS t
        WHERE t.prober = $1 AND t.gateway = failure.gateway AND t.went = 'down'
            AND t.at BETWEEN failure.at AND failure.at + 20) AS found
    WHERE failure.phase = $2 AND failure.what IN ('refuse', 'dark')
        AND EXISTS (SELECT FROM bench.transitions AS t WHERE t.prober = $1)
$function$;

-- How often a prober found a gateway down that was up.
CREATE FUNCTION bench.false_alarms(prober text) RETURNS bigint LANGUAGE sql AS $function$
    SELECT count(*)
    FROM bench.transitions AS t
    LEFT JOIN LATERAL (
        SELECT o.what FROM bench.observed AS o
        WHERE o.gateway = t.gateway AND o.what IN ('open', 'refuse', 'dark') AND o.at <= t.at
        ORDER BY o.at DESC LIMIT 1) AS before ON true
    WHERE t.prober = $1 AND t.went = 'down' AND coalesce(before.what, 'open') = 'open'
$function$;

-- The most probes that a prober started within 100 ms, as a multiple of the mean, during the given seconds from
-- the first probe of a phase.  Samples are taken every 10 ms or slightly later.
CREATE FUNCTION bench.spread(phase text, seconds double precision) RETURNS double precision LANGUAGE sql AS $function$
    WITH steps AS (
        SELECT o.at, o.count, o.count > lag(o.count) OVER (ORDER BY o.at) AS started
        FROM bench.observed AS o WHERE o.phase = $1 AND o.what = 'opens'),
    first AS (SELECT min(s.at) AS at FROM steps AS s WHERE s.started),
    samples AS (
        SELECT s.at, s.count FROM steps AS s, first WHERE s.at BETWEEN first.at - 0.02 AND first.at + seconds),
    whole AS (SELECT (max(s.count) - min(s.count)) / (max(s.at) - min(s.at)) AS rate FROM samples AS s)
    SELECT max((later.count - s.count) / (later.at - s.at)) / min(whole.rate)
    FROM samples AS s, whole
    CROSS JOIN LATERAL (
        SELECT l.at, l.count FROM samples AS l WHERE l.at >= s.at + 0.0995 ORDER BY l.at LIMIT 1) AS later
$function$;
