-- Results and budgets: fills table bench.report.

\ir report_table.sql

CREATE FUNCTION bench.seconds(seconds double precision[]) RETURNS text LANGUAGE sql AS $function$
    SELECT string_agg(coalesce(to_char(nullif(s, 'infinity'), 'FM990.000'), 'never'), ' ' ORDER BY place) || ' s'
    FROM unnest(seconds) WITH ORDINALITY AS s (s, place)
$function$;

INSERT INTO bench.report (what, budget, reached, rival, met)
    SELECT 'steady fleet, WAL records of the extension', 'none', bench.figure('worker', 'WAL records')::text,
           'an UPDATE a probe', bench.figure('worker', 'WAL records') = 0;
INSERT INTO bench.report (what, budget, reached, rival, met)
    SELECT '  rows, dead ones too', 'none', bench.figure('worker', 'rows')::text,
           'an UPDATE a probe', bench.figure('worker', 'rows') = 0;

INSERT INTO bench.report (what, budget, reached, rival, met)
    SELECT '  probes a second', 'at least 990', round(ours::numeric, 1)::text, round(rival::numeric, 1)::text, ours >= 990
    FROM (SELECT bench.figure('worker', 'probes a second') AS ours,
                 bench.figure('haproxy', 'probes a second') AS rival) AS rates;

INSERT INTO bench.report (what, budget, reached, rival, ratio, met)
    SELECT what || ', p50 p99 max', 'p99 ' || to_char(budget, 'FM0.00') || ' s', bench.seconds(ours),
           bench.seconds(rival), rival[2] / ours[2], ours[2] <= budget
    FROM (VALUES (1, 'port closed', 'closed', 1.5), (2, '  30 % of the fleet dark', 'closed, 30 % dark', 1.5),
                 (3, 'black hole', 'dark', 4.05), (4, '  30 % of the fleet dark', 'dark, 30 % dark', 4.05))
             AS failures (place, what, phase, budget),
         bench.detection('worker', phase, '{0.5,0.99,1}') AS ours,
         bench.detection('haproxy', phase, '{0.5,0.99,1}') AS rival
    ORDER BY place;
INSERT INTO bench.report (what, budget, reached, rival, met)
    SELECT '  found down, but up', 'none', bench.false_alarms('worker')::text, bench.false_alarms('haproxy')::text,
           bench.false_alarms('worker') = 0;
INSERT INTO bench.report (what, budget, reached, met)
    SELECT '  last pick after its event', 'within 10 ms', round(ms::numeric, 1) || ' ms', ms <= 10
    FROM (SELECT bench.figure('worker', 'pick after event') AS ms) AS picks;

INSERT INTO bench.report (what, budget, reached, rival, ratio, met)
    SELECT 'processor time a TCP probe, 1,000/s', 'at most 4 times', bench.us(bench.figure('worker', cost)),
           'HAProxy ' || bench.us(bench.figure('haproxy', cost)), times, times <= 4
    FROM (SELECT 'us a probe, at once' AS cost, bench.figure('worker', 'times the processor time') AS times) AS costs;
INSERT INTO bench.report (what, reached, rival, ratio)
    SELECT what, bench.us(ours), 'HAProxy ' || bench.us(rival), ours / rival
    FROM (VALUES (1, '  each on its own', 'us a probe, 1,000'), (2, '  10,000 every 5 s', 'us a probe, 10,000'))
             AS costs (place, what, name),
         bench.figure('worker', name) AS ours, bench.figure('haproxy', name) AS rival
    ORDER BY place;
INSERT INTO bench.report (what, budget, reached, met)
    SELECT '10,000 every 5 s, starts late, p99', 'under 100 ms', round(ms::numeric, 1) || ' ms', ms < 100
    FROM (SELECT bench.figure('worker', 'lateness') AS ms) AS lateness;

INSERT INTO bench.report (what, budget, reached, rival, ratio, met)
    SELECT what, '1.3 times the mean', round(ours::numeric, 2) || ' times',
           'fastinter ' || round(rival::numeric, 2) || ' times', rival / ours, ours <= 1.3
    FROM (VALUES (1, 'most starts in 100 ms, from the first', 'start'),
                 (2, '  after all failed and came back', 'recovered')) AS phases (place, what, phase),
         bench.spread('worker ' || phase, 4) AS ours, bench.spread('haproxy ' || phase, 4) AS rival
    ORDER BY place;
INSERT INTO bench.report (what, rival)
    SELECT '  without fast probes', 'HAProxy ' || round(bench.spread('haproxy plain, before', 4)::numeric, 2) || ' times';
INSERT INTO bench.report (what, reached, rival, ratio)
    SELECT 'memory of the process a gateway', round(ours) || ' bytes', 'HAProxy ' || round(rival) || ' bytes',
           ours / rival
    FROM (SELECT (bench.figure('worker', 'kB for 10,000') - bench.figure('worker', 'kB for 1,000')) * 1024 / 9000
                     AS ours,
                 (bench.figure('haproxy', 'kB for 10,000') - bench.figure('haproxy', 'kB for 1,000')) * 1024 / 9000
                     AS rival) AS memory;
INSERT INTO bench.report (what, budget, reached, met)
    SELECT 'idle worker, context switches a minute', 'at most 120', round(switches)::text, switches <= 120
    FROM (SELECT bench.figure('worker', 'idle switches') AS switches) AS idle;
