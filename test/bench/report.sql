-- Results and budgets: fills table bench.report.

\ir report_table.sql

INSERT INTO bench.report (what, budget, reached, rival, ratio, met)
    SELECT 'warm pick, 10 members, of 2,000 pools', '40 times faster', bench.us(pick), 'SQL ' || bench.us(rival),
           rival / pick, rival / pick >= 40
    FROM (SELECT bench.cost('pick, pools of ten') AS pick, bench.cost('rival, pools of ten') AS rival) AS costs;
INSERT INTO bench.report (what, reached, rival, ratio)
    SELECT '  the same pool again and again', bench.us(pick), 'SQL ' || bench.us(rival), rival / pick
    FROM (SELECT bench.cost('pick, one pool') AS pick, bench.cost('rival, pools of ten') AS rival) AS costs;
INSERT INTO bench.report (what, budget, reached, rival, ratio, met)
    SELECT 'warm pick, 1,000 members', '2 times the one of 10', bench.us(pick), 'pick of 10 ' || bench.us(ten),
           pick / ten, pick / ten <= 2
    FROM (SELECT bench.cost('pick, pools of thousand') AS pick, bench.cost('pick, pools of ten') AS ten) AS costs;
INSERT INTO bench.report (what, reached, rival, ratio)
    SELECT '  beside SQL', bench.us(pick), 'SQL ' || bench.us(rival), rival / pick
    FROM (SELECT bench.cost('pick, pools of thousand') AS pick,
                 bench.cost('rival, pools of thousand') AS rival) AS costs;
INSERT INTO bench.report (what, reached, rival, ratio)
    SELECT name, bench.us(pick), 'SQL, random ' || bench.us(rival), rival / pick
    FROM (VALUES ('  least_loaded, 10 members', bench.cost('least loaded, pools of ten')),
                 ('  sticky, 10 members', bench.cost('sticky, pools of ten'))) AS picks (name, pick),
         bench.cost('rival, pools of ten') AS rival;

INSERT INTO bench.report (what, budget, reached, rival, ratio, met)
    SELECT 'pick over the wire', '0.95 of the rate', round(bench.wire_rate('pick_healthy_gateway')) || '/s',
           'noop ' || round(bench.wire_rate('bench.noop')) || '/s', ratio, ratio >= 0.95
    FROM (SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY pick.rate / noop.rate) AS ratio
          FROM bench.wire AS pick JOIN bench.wire AS noop USING (round)
          WHERE pick.call = 'pick_healthy_gateway' AND noop.call = 'bench.noop') AS pairs;

INSERT INTO bench.report (what, budget, reached, rival, ratio, met)
    SELECT 'two backends, ' || name, '1.85 times one', round(scaling::numeric, 2) || ' times',
           'noop ' || round(noop::numeric, 2) || ' times', scaling / noop, scaling >= 1.85
    FROM unnest('{same pool, different pools, all pools}'::text[]) AS name, bench.scaling(name) AS scaling,
         bench.scaling('noop') AS noop;

INSERT INTO bench.report (what, budget, reached, met)
    SELECT 'first pick of a pool in a backend', 'under 300 µs', bench.us(us), us < 300
    FROM bench.first_pick_cost('known') AS us;
INSERT INTO bench.report (what, reached)
    VALUES ('  where no backend ever picked', bench.us(bench.first_pick_cost('unknown'))),
           ('  very first of a session', bench.us(bench.first_pick_cost('session')));

INSERT INTO bench.report (what, budget, reached, rival, ratio, met)
    SELECT 'record_gateway_heartbeat', '20 times faster', bench.us(report), 'UPDATE ' || bench.us(rival),
           rival / report, rival / report >= 20
    FROM (SELECT bench.cost('report') AS report, bench.cost('update, without') AS rival) AS costs;
INSERT INTO bench.report (what, budget, reached, rival, met)
    SELECT '  its WAL', 'none', round(bench.wal('report')) || ' bytes',
           'UPDATE ' || round(bench.wal('update, without')) || ' bytes', bench.wal('report') = 0;
INSERT INTO bench.report (what, reached, rival, ratio)
    SELECT '  UPDATE with the triggers', bench.us(us), 'without ' || bench.us(rival), us / rival
    FROM (SELECT bench.cost('update, with') AS us, bench.cost('update, without') AS rival) AS costs;

INSERT INTO bench.report (what, budget, reached, met)
    SELECT 'shared memory a gateway', 'at most 1,024 bytes', :bytes || ' bytes', :bytes <= 1024;

INSERT INTO bench.report (what, budget, reached, met)
    SELECT 'fairness, ' || name, 'p > 0.001', 'p = ' || round(p::numeric, 4), p > 0.001
    FROM (SELECT 1, '1e6 picks of 10 alike', bench.fairness(id) FROM bench.pools WHERE kind = 'ten' AND n = 1
          UNION ALL
          SELECT 2, '1e6 picks, weights 1:2:7', bench.fairness(id) FROM bench.pools WHERE kind = 'weights'
          UNION ALL
          SELECT 3, 'first picks of ' || cardinality(picks) || ' backends', bench.fairness(id, picks)
          FROM bench.pools, (SELECT array_agg(gateway) AS picks FROM bench.first_picks WHERE kind = 'session') AS first
          WHERE kind = 'ten' AND n = 1) AS draws (place, name, p)
    ORDER BY place;
