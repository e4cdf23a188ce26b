# What expires by the clock, and what a change of the wall clock must not expire.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;
use MovedClock;
use POSIX qw(fmod);
use PoolDatabase qw(start_node);
use Test::More;
use Time::HiRes qw(clock_gettime CLOCK_MONOTONIC);

my $acme = 'a0000000-0000-4000-8000-000000000001';
my $pool = 'b0000000-0000-4000-8000-000000000001';
my ($one, $two) = map { "90000000-0000-4000-8000-00000000000$_" } 1, 2;

my $clock = MovedClock->new;
my $node = $clock->during(sub {
    start_node('main', conf => "autovacuum = off\ngateway_pool.default_entitlement = on\ngateway_pool.heartbeat_grace = 10s\ngateway_pool.worker = off") });
my $db = PoolDatabase->create_with_host_functions($node, 'app');

$db->value(qq{
    SELECT host_test.make_host('public', 2);
    CREATE EXTENSION gateway_pool;
    SELECT host_test.add_org('public', 'acme', '$acme');
    SELECT host_test.add_gateway('public', '$acme', 'one', NULL, '$one'), host_test.add_gateway('public', '$acme', 'two', NULL, '$two');
    INSERT INTO gateway_pools (id, "orgId", name) VALUES ('$pool', '$acme', 'edge');
    INSERT INTO gateway_pool_memberships ("gatewayPoolId", "gatewayId") VALUES ('$pool', '$one')});
my $session = $db->session;

sub status { return $session->value("SELECT status || ', ' || reason FROM gateway_status WHERE name = 'one'") }
sub pick { return $session->value("SELECT coalesce(pick_healthy_gateway('$pool', null_if_none => true)::text, 'none')") }
sub beat
{
    my ($ttl) = @_;
    return $db->value(qq{UPDATE gateways_v2 SET heartbeat = clock_timestamp(), "heartbeatTTL" = $ttl WHERE id = '$one'});
}

# Both kinds of heartbeat: they last for the time-to-live and the grace.
foreach ([ 'in the table', sub { beat(50) } ],
    [ 'reported', sub { $db->value("SELECT record_gateway_heartbeat('$one', '50 s')") } ])
{
    my ($how, $send) = @$_;

    is(pick(), 'none', "a heartbeat $how: no pick before it");
    $send->();
    is(pick(), $one, 'picked after it');
    $clock->advance(50);
    is(pick(), $one, 'picked until time-to-live and grace have passed');
    $clock->advance(10.1);
    is(pick(), 'none', 'not picked after that');
    is(status(), 'unhealthy, heartbeat expired', 'gateway_status shows the same');
}

# The same, and all other expiries, to the millisecond.  A condition is evaluated until it
# does not hold any more: the last evaluation with true began before the end, and the
# first with false ended after it.
$db->value(q{
    CREATE FUNCTION watch(condition text, OUT held timestamptz, OUT ended timestamptz) LANGUAGE plpgsql AS $$
    DECLARE
        began timestamptz;
        holds boolean;
    BEGIN
        LOOP
            began := clock_timestamp();
            EXECUTE 'SELECT ' || condition INTO holds;
            ended := clock_timestamp();
            EXIT WHEN holds IS NOT TRUE;
            held := began;
        END LOOP;
    END
    $$});
my $is_picked = "pick_healthy_gateway('$pool', null_if_none => true) IS NOT NULL";
foreach my $case (
    { what => 'a heartbeat in the table', lasts => 60, holds => $is_picked,
        event => qq{UPDATE gateways_v2 SET heartbeat = clock_timestamp(), "heartbeatTTL" = 50 WHERE id = '$one' RETURNING heartbeat, '', heartbeat} },
    { what => 'a heartbeat that was reported', lasts => 60, holds => $is_picked,
        event => "SELECT clock_timestamp(), record_gateway_heartbeat('$one', '50 s'), clock_timestamp()" },
    { what => 'a suspicion', lasts => 60, holds => qq{(SELECT reason = 'suspect' FROM gateway_status(NULL, '$one'))},
        before => sub { beat(100) },
        event => "SELECT clock_timestamp(), report_gateway_failure('$one'), clock_timestamp()" },
    { what => 'a load', lasts => 35, holds => qq{(SELECT "activeConnections" = 5 FROM gateway_status(NULL, '$one'))},
        event => "SELECT clock_timestamp(), report_gateway_load('$one', 5), clock_timestamp()" },
    # Reservations end by periods of 10 s: one that is made late in a period is held for the shortest time.
    { what => 'a reservation', lasts => 230, at_most => 240, holds => qq{(SELECT reservations = 1 FROM gateway_status(NULL, '$one'))},
        before => sub { beat(100); $clock->advance(10 - fmod(clock_gettime(CLOCK_MONOTONIC) + $clock->{passed} + 0.5, 10)) },
        event => "SELECT clock_timestamp(), pick_healthy_gateway('$pool', strategy => 'least_loaded'), clock_timestamp()" })
{
    my ($lasts, $at_most) = ($case->{lasts}, $case->{at_most} // $case->{lasts});

    my $seen;

    # Once more if the machine was too busy to look in the last 0.2 s.
    foreach (1 .. 20)
    {
        $case->{before}->() if $case->{before};
        my ($earliest, undef, $latest) = split /\|/, $session->value($case->{event});
        $session->shows("SELECT $case->{holds}", 't', "$case->{what} is present");
        $clock->advance($lasts - 0.2);
        $seen = $session->value(qq{SELECT held < '$latest'::timestamptz + interval '$at_most.001 s', ended > '$earliest'::timestamptz + interval '$lasts s'
                             FROM watch(\$\$$case->{holds}\$\$)});
        $clock->advance(100);
        last if $seen !~ /^\|/;
    }
    is($seen, 't|t', "$case->{what} expires after $lasts s, not before and hardly later");
}

# The wall clock is set: heartbeats keep their remaining time.
foreach my $step (3600, -7200, 3600)
{
    beat(50);
    is(pick(), $one, 'a heartbeat is fresh');
    my $left = sub { return $session->value(q{SELECT round(extract(epoch FROM "heartbeatExpiresAt" - clock_timestamp()))
                                                FROM gateway_status WHERE name = 'one'}) };
    my $before = $left->();
    $clock->set_wall($step);
    is(pick(), $one, "it stays fresh when the wall clock is set by $step s");
    cmp_ok(abs($left->() - $before), '<=', 5, '"heartbeatExpiresAt" moves with the wall clock');
    $clock->advance(60.1);
    is(pick(), 'none', 'it expires after its remaining time');
    $clock->set_wall(-$step);
    is(pick(), 'none', 'it stays expired when the wall clock is set back');
}
$db->value(qq{UPDATE gateways_v2 SET heartbeat = clock_timestamp() + interval '1 day', "heartbeatTTL" = 50 WHERE id = '$one'});
is(pick(), $one, 'a heartbeat in the future is fresh');
$clock->advance(60.1);
is(pick(), 'none', 'it counts as of now');

# Suspects.
$db->value("SELECT record_gateway_heartbeat('$one', '1 h'), report_gateway_failure('$one', 'reset')");
is(status(), 'degraded, suspect: reset', 'a reported failure makes a gateway suspect');
$clock->advance(50);
is(status(), 'degraded, suspect: reset', 'it is suspect for suspect_ttl');
$clock->advance(10.1);
is(status(), 'healthy, heartbeat fresh', 'it is not suspect for longer');

# Loads and reservations; a client that dies leaves a committed reservation behind.
$db->value(qq{
    INSERT INTO gateway_pool_memberships ("gatewayPoolId", "gatewayId") VALUES ('$pool', '$two');
    SELECT record_gateway_heartbeat('$one', '1 day'), record_gateway_heartbeat('$two', '1 day');
    SELECT report_gateway_load('$one', 0), report_gateway_load('$two', 9)});
sub loads { return $session->value(q{SELECT string_agg(concat_ws('+', coalesce("activeConnections"::text, '?'), reservations), ' ' ORDER BY name) FROM gateway_status}) }
{
    my $client = $db->session;
    $client->value(qq{BEGIN; SELECT pick_healthy_gateway('$pool', strategy => 'least_loaded'); COMMIT});
    my $pid = $client->value('SELECT pg_backend_pid()');
    $client->value("BEGIN; SELECT pick_healthy_gateway('$pool', strategy => 'least_loaded')");
    is(loads(), '0+2 9+0', 'two reservations are counted');
    $db->value("SELECT pg_terminate_backend($pid, 10000)");
    is(loads(), '0+1 9+0', 'when the client dies, the reservation of its open transaction ends, that of its committed one stays');
}
$clock->advance(25);
is(loads(), '0+1 9+0', 'loads are valid for 35 s');
$clock->advance(10.1);
is(loads(), '?+1 ?+0', 'loads expire after that');
$clock->advance(185);
is(loads(), '?+1 ?+0', 'a reservation lasts longer');
$clock->advance(20);
is(loads(), '?+0 ?+0', 'a reservation expires after at most 240 s');

# Of two reservations made at different times, one is released, and none is given back twice.
$db->value("SELECT report_gateway_load('$one', 0), pick_healthy_gateway('$pool', ARRAY['$two'::uuid], 'least_loaded')");
$clock->advance(20);
$session->value("BEGIN; SELECT pick_healthy_gateway('$pool', ARRAY['$two'::uuid], 'least_loaded'), release_gateway('$one'); ROLLBACK");
is(loads(), '1+1 ?+0', 'a released reservation is not given back again');
$session->end;

# The grace after a start.
$db->value(qq{
    UPDATE gateways_v2 SET heartbeat = clock_timestamp(), "heartbeatTTL" = 50;
    INSERT INTO gateway_health ("gatewayId", status) VALUES ('$two', 'unhealthy');
    ALTER SYSTEM SET gateway_pool.startup_grace = '3min'});
$clock->advance(100);
$clock->during(sub { $node->restart });
$session = $db->session;
is(status(), 'degraded, heartbeat expired, startup grace', 'a heartbeat that expired before the start makes a gateway degraded');
is(pick(), $one, 'it can be picked');
$db->shows("SELECT status FROM gateway_status WHERE name = 'two'", 'unhealthy', 'a gateway recorded as unhealthy stays unhealthy');
$db->value("SELECT report_gateway_failure('$one')");
is(status(), 'unhealthy, heartbeat expired', 'a failure reported after the start ends the grace');
beat(50);
is(pick(), $one, 'a new heartbeat counts');
$clock->during(sub { $node->restart });
$session = $db->session;
is(pick(), $one, 'the heartbeat is fresh after another start');
$clock->advance(100);
is(status(), 'degraded, heartbeat expired, startup grace', 'a heartbeat that expires after the start makes a gateway degraded, too');
$clock->advance(70);
is(pick(), $one, 'it can be picked until the grace has passed');
$clock->advance(10.1);
is(pick(), 'none', 'it cannot be picked after that');
is(status(), 'unhealthy, heartbeat expired', 'gateway_status shows the same');
# Heartbeats that were not published, in pools small and large: when the former ones
# expire, sessions that have cached the pool read the rows.
foreach my $size (2, 400)
{
    my $fleet = sprintf 'b0000000-0000-4000-8000-%012d', $size;
    my $count = "SELECT count(*) FROM pick_healthy_gateways('$fleet', 1000, null_if_none => true)";

    $db->value(qq{
        INSERT INTO gateway_pools (id, "orgId", name) VALUES ('$fleet', '$acme', 'fleet-$size');
        INSERT INTO gateways_v2 (id, "orgId", name, "directAddress", "directHeartbeat", "heartbeatTTL")
        SELECT gen_random_uuid(), '$acme', '$size ' || n, '192.0.2.1:8443', clock_timestamp(), 50 FROM generate_series(1, $size) n;
        INSERT INTO gateway_pool_memberships ("gatewayPoolId", "gatewayId")
        SELECT '$fleet', id FROM gateways_v2 WHERE name LIKE '$size %'});
    foreach my $round (1 .. 3)
    {
        is($session->value($count), $size, "$size members, round $round: all are picked");
        $db->value(qq{
            ALTER TABLE gateways_v2 DISABLE TRIGGER USER;
            UPDATE gateways_v2 SET "directHeartbeat" = clock_timestamp() + interval '60 s' WHERE name LIKE '$size %';
            ALTER TABLE gateways_v2 ENABLE TRIGGER USER;
            ALTER TABLE gateways_v2 ENABLE ALWAYS TRIGGER "GatewayPools_invalidate"});
        $clock->advance(61);
        is($session->value($count), $size, 'they still are when the published heartbeats have expired');
    }
}
$session->end;

# An entitlement expires by the clock, not with the transaction, and a change of it takes
# effect at the next statement, at any isolation level.
foreach my $level ('READ COMMITTED', 'REPEATABLE READ')
{
    my $session = $db->session;
    my $create = sub { return qq{INSERT INTO gateway_pools ("orgId", name) VALUES ('$acme', 'plan-$_[0]')} };
    my $plan = qq{SELECT p."gatewayPool", (SELECT bool_or(selectable) FROM gateway_options('$acme') WHERE kind = 'pool') FROM get_gateway_pool_plan('$acme') p};

    $db->value("SELECT set_gateway_pool_entitlement('$acme', true, NULL, NULL, clock_timestamp() + interval '60 s')");
    $session->value("BEGIN ISOLATION LEVEL $level; SELECT count(*) FROM gateway_pools");
    $session->works($create->(1), "$level: a pool can be created before the entitlement expires");
    $session->shows($plan, 't|t', 'the plan allows pools');
    $clock->advance(61);
    $session->value('SAVEPOINT s');
    $session->fails($create->(2), '42501 gateway_pools_entitlement', 'after expiry, in the same transaction, it cannot');
    $session->value('ROLLBACK TO s');
    $session->shows($plan, 'f|f', 'the plan does not allow pools');
    $db->value("SELECT set_gateway_pool_entitlement('$acme', true)");
    $session->works($create->(3), 'after renewal by another session, it can at the next statement');
    $session->shows($plan, 't|t', 'the plan allows pools again');
    $session->value('ROLLBACK');
    $session->end;
}

$node->stop;
# On a machine that started a minute ago, a heartbeat from before that keeps its age,
# also when its time-to-live changes.
{
    my $up = clock_gettime(CLOCK_MONOTONIC);
    my $young_clock = MovedClock->new;

    $young_clock->advance(60 - $up);
    $young_clock->set_wall($up - 60);
    my $young_node = $young_clock->during(sub { start_node('young', conf => 'gateway_pool.heartbeat_grace = 0') });
    my $young = PoolDatabase->create_with_host($young_node, 'app');

    $young->value(qq{
        CREATE EXTENSION gateway_pool;
        SELECT host_test.add_org('public', 'acme', '$acme');
        SELECT host_test.add_gateway('public', '$acme', 'one', '2 hours', '$one');
        SELECT set_gateway_pool_entitlement('$acme', true);
        INSERT INTO gateway_pools (id, "orgId", name) VALUES ('$pool', '$acme', 'edge');
        INSERT INTO gateway_pool_memberships ("gatewayPoolId", "gatewayId") VALUES ('$pool', '$one')});
    foreach ([ 60, 'unhealthy' ], [ 3600, 'unhealthy' ], [ 7100, 'unhealthy' ], [ 7300, 'healthy' ], [ 60, 'unhealthy' ])
    {
        my ($ttl, $status) = @$_;

        $young->shows(qq{UPDATE gateways_v2 SET "heartbeatTTL" = $ttl; SELECT status FROM gateway_pool_members}, $status,
            "a heartbeat from before the machine's start with a time-to-live of $ttl s");
    }
    # Periods of reservations are counted from 0 again, in 24 bits, 467 days after the
    # start: here, from before that until after it.
    my $claim = qq{SELECT pick_healthy_gateway('$pool', strategy => 'least_loaded') IS NOT NULL, (SELECT reservations FROM gateway_status)};
    my $reservations = 'SELECT reservations FROM gateway_status';

    $young_clock->advance(40_367_700 - 60);
    foreach my $round (1 .. 5)
    {
        $young->value("SELECT record_gateway_heartbeat('$one', '1 day')");
        $young->shows($claim, 't|1', "467 days after the machine's start, $round: a reservation is made");
        $young_clock->advance(229);
        $young->shows($reservations, '1', 'it is held for 230 s');
        $young_clock->advance(12);
        $young->shows($reservations, '0', 'it expires after 240 s');
        $young->shows($claim, 't|1', 'another one is made');
        $young_clock->advance(12);
        $young->shows("SELECT release_gateway('$one'), ($reservations)", 't|0', 'it is released');
    }
    $young_node->stop;
}

done_testing();
