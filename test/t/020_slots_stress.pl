# Slots of shared memory are reused all the time, and never mix two gateways.
#
# In a map of 64 slots, eight sessions add and delete gateways, each time with
# new ids, while eight others pick and report. Pools are of two kinds: in those
# called "up" all gateways have fresh heartbeats and one of them stays, in those
# called "down" all have failed. If evidence got from one gateway to another, a
# pick could return a gateway that is down, or no gateway of a pool that is
# up. Every answer is compared with a log of when gateways existed.

use strict;
use warnings FATAL => 'all';

use FindBin;
use IPC::Run qw(start finish);
use lib $FindBin::RealBin;
use PoolDatabase qw(start_node);
use Test::More;

my $seconds = 12;
my $acme = 'a0000000-0000-4000-8000-000000000001';
my $node = start_node('main', conf => "gateway_pool.max_gateways = 64\ngateway_pool.default_entitlement = on");
my $db = PoolDatabase->create_with_host_functions($node, 'app');

$db->value(qq{
    SELECT host_test.make_host('public', 2);
    CREATE EXTENSION gateway_pool;
    SELECT host_test.add_org('public', 'acme', '$acme');
    CREATE TABLE lives (gateway uuid PRIMARY KEY, kind text, place int, deleted_before timestamptz, stays boolean DEFAULT false);
    CREATE TABLE violations (what text);
    CREATE TABLE counts (what text, n bigint);

    CREATE FUNCTION pool(kind text, place int) RETURNS uuid IMMUTABLE LANGUAGE sql AS \$\$
        SELECT format('b000000%s-0000-4000-8000-00000000000%s', CASE kind WHEN 'up' THEN 1 ELSE 0 END, place)::uuid
    \$\$;
    CREATE FUNCTION make(kind text, place int) RETURNS uuid LANGUAGE plpgsql AS \$\$
    DECLARE
        id uuid := gen_random_uuid();
    BEGIN
        INSERT INTO gateways_v2 (id, "orgId", name, "directAddress", "directHeartbeat", "heartbeatTTL")
        VALUES (id, '$acme', id::text, '192.0.2.1:8443', clock_timestamp(), CASE kind WHEN 'up' THEN 3600 ELSE 0 END);
        INSERT INTO gateway_pool_memberships ("gatewayPoolId", "gatewayId") VALUES (pool(kind, place), id);
        INSERT INTO lives VALUES (id, kind, place);
        RETURN id;
    END
    \$\$;
    INSERT INTO gateway_pools (id, "orgId", name)
    SELECT pool(kind, place), '$acme', kind || place FROM unnest('{up,down}'::text[]) kind, generate_series(1, 8) place;
    SELECT make('up', place) FROM generate_series(1, 8) place;
    UPDATE lives SET stays = true;

    -- Adds gateways and deletes them, until the time is over.
    CREATE PROCEDURE churn(place int, seconds int) LANGUAGE plpgsql AS \$\$
    DECLARE
        until timestamptz := clock_timestamp() + make_interval(secs => seconds);
        ids uuid[];
        rounds int := 0;
    BEGIN
        WHILE clock_timestamp() < until LOOP
            ids := ARRAY[make('up', place), make('down', place), make('up', place), make('down', place)];
            COMMIT;
            PERFORM pick_healthy_gateway(pool('up', place)), pick_healthy_gateway(pool('down', place), null_if_none => true);
            INSERT INTO violations
            SELECT format('%s is %s (%s), load %s, reservations %s', l.kind, s.status, s.reason, s."activeConnections", s.reservations)
              FROM unnest(ids) i JOIN lives l ON l.gateway = i CROSS JOIN LATERAL gateway_status(NULL, i) s
             WHERE l.kind = 'down' AND (s.reason NOT IN ('heartbeat failed') OR s."activeConnections" IS NOT NULL OR s.reservations > 0)
                OR l.kind = 'up' AND s.reason NOT IN ('heartbeat fresh', 'suspect: stress');
            COMMIT;
            IF rounds % 3 = 0 THEN
                DELETE FROM gateway_pool_memberships WHERE "gatewayId" = ANY (ids);
                COMMIT;
            END IF;
            DELETE FROM gateways_v2 WHERE id = ANY (ids);
            COMMIT;
            UPDATE lives SET deleted_before = clock_timestamp() WHERE gateway = ANY (ids);
            COMMIT;
            rounds := rounds + 1;
        END LOOP;
        INSERT INTO counts VALUES ('gateways', 4 * rounds);
    END
    \$\$;

    CREATE FUNCTION check_pick(p_kind text, p_place int, picked uuid, began timestamptz) RETURNS void LANGUAGE sql AS \$\$
        INSERT INTO violations
        SELECT format('pick from %s%s gave %s', p_kind, p_place, coalesce(l::text, picked::text, 'none'))
          FROM (SELECT) one LEFT JOIN lives l ON l.gateway = picked
         WHERE CASE p_kind WHEN 'down' THEN picked IS NOT NULL
               ELSE (l.kind, l.place) IS DISTINCT FROM (p_kind, p_place) OR l.deleted_before < began END
    \$\$;

    -- Picks and reports, until the time is over.
    CREATE PROCEDURE pick_and_report(seconds int) LANGUAGE plpgsql AS \$\$
    DECLARE
        until timestamptz := clock_timestamp() + make_interval(secs => seconds);
        chosen int;
        stays boolean;
        began timestamptz;
        picked uuid;
        id uuid;
        n int := 0;
    BEGIN
        WHILE clock_timestamp() < until LOOP
            chosen := 1 + floor(random() * 8);
            FOR i IN 1 .. 5 LOOP
                began := clock_timestamp();
                picked := pick_healthy_gateway(pool('up', chosen), null_if_none => true);
                PERFORM check_pick('up', chosen, picked, began);
                began := clock_timestamp();
                picked := pick_healthy_gateway(pool('up', chosen), strategy => 'least_loaded', null_if_none => true);
                PERFORM check_pick('up', chosen, picked, began);
                began := clock_timestamp();
                PERFORM check_pick('down', chosen, pick_healthy_gateway(pool('down', chosen), null_if_none => true), began);
                n := n + 3;
                COMMIT;
            END LOOP;

            -- Reports about gateways that are up and may be deleted by now; those that stay never become suspect.
            SELECT l.gateway, l.stays INTO id, stays FROM lives l WHERE l.kind = 'up' AND l.place = chosen
             ORDER BY l.deleted_before IS NULL DESC, random() LIMIT 1;
            BEGIN
                PERFORM record_gateway_heartbeat(id, '1 h'), report_gateway_load(id, 7), release_gateway(id);
                IF NOT stays THEN
                    PERFORM report_gateway_failure(id, 'stress');
                END IF;
            EXCEPTION WHEN no_data_found THEN NULL;
            END;
            IF random() < 0.5 THEN
                PERFORM pick_healthy_gateway(pool('up', chosen), strategy => 'least_loaded');
                ROLLBACK;
            END IF;
            COMMIT;
        END LOOP;
        INSERT INTO counts VALUES ('picks', n);
    END
    \$\$});

# Runs calls concurrently, each in its own session.
sub run_clients
{
    my @clients;

    foreach my $call (@_)
    {
        my $client = { err => '' };
        $client->{run} = start [ 'psql', '-XqAt', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('app'), '-c', $call ],
          '<', \undef, '>', \$client->{out}, '2>', \$client->{err};
        push @clients, $client;
    }
    finish $_->{run} foreach @clients;
    return is(join('', map { $_->{err} } @clients), '', 'no session has an error');
}
run_clients((map { "CALL churn($_, $seconds)" } 1 .. 8), ("CALL pick_and_report($seconds)") x 8);
$db->shows('SELECT DISTINCT left(what, 300) FROM violations ORDER BY 1 LIMIT 10', '', 'no answer is wrong');
$db->shows(q{SELECT string_agg(what, ' ' ORDER BY what) FROM (SELECT what FROM counts GROUP BY what HAVING sum(n) > 1000) c},
    'gateways picks', 'slots are reused many times, and picks are made');
note($db->value(q{SELECT what || ': ' || sum(n) FROM counts GROUP BY what ORDER BY 1}));
$db->shows('SELECT * FROM check_gateway_pools()', '', 'check_gateway_pools() reports no problem after it');

# Four sessions claim concurrently: no reservation is lost or counted twice, and loads
# stay level.  (The next claim would level out a single wrong one.)
$db->value(q{
    CREATE PROCEDURE claim(n int) LANGUAGE plpgsql AS $$
    BEGIN
        FOR i IN 1 .. n LOOP
            PERFORM pick_healthy_gateway(pool('up', 3), strategy => 'least_loaded');
            COMMIT;
        END LOOP;
    END
    $$;
    DELETE FROM gateway_pool_memberships WHERE "gatewayPoolId" = pool('up', 3);
    SELECT report_gateway_load(make('up', 3), 0) FROM generate_series(1, 4)});
run_clients(('CALL claim(5000)') x 4);
$db->shows(q{SELECT count(*), sum(reservations), max(reservations) - min(reservations) <= 1 FROM gateway_pool_members
              WHERE "gatewayPoolId" = pool('up', 3)}, '4|20000|t', 'four concurrent sessions: each claim is counted, and loads are level');
$db->value(q{DELETE FROM gateways_v2 g USING gateway_pool_memberships m WHERE m."gatewayId" = g.id AND m."gatewayPoolId" = pool('up', 3)});

# A backend holds a reservation on a slot that another gateway gets.
my $holder = $db->session;
my $gone = $db->value(q{SELECT make('up', 1)});
$db->value("SELECT report_gateway_load(gateway, CASE gateway WHEN '$gone' THEN 0 ELSE 1000 END) FROM lives WHERE kind = 'up' AND place = 1
              AND gateway IN (SELECT id FROM gateways_v2)");
is($holder->value(q{BEGIN; SELECT pick_healthy_gateway(pool('up', 1), strategy => 'least_loaded')}), $gone, 'a place is reserved');
$db->value("DELETE FROM gateways_v2 WHERE id = '$gone'");
$db->value(q{DO $$ BEGIN FOR i IN 1 .. 56 LOOP PERFORM make('up', 2); END LOOP; END $$});
$db->value(q{SELECT report_gateway_load(g.id, 3) FROM gateways_v2 g});
$db->value(q{SELECT pick_healthy_gateway(pool('up', 2), strategy => 'least_loaded') FROM generate_series(1, 60)});
my $before = $db->value(q{SELECT string_agg(concat_ws(' ', name, "activeConnections", reservations), ',' ORDER BY name) FROM gateway_status});
like($before, qr/ 3 [1-9]/, 'its slot belongs to another gateway, which has its own reservations');
$holder->value('ROLLBACK');
$db->shows(q{SELECT string_agg(concat_ws(' ', name, "activeConnections", reservations), ',' ORDER BY name) FROM gateway_status},
    $before, 'its rollback does not change them');
$holder->end;

$node->stop;
done_testing();
