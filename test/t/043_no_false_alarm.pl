# No gateway becomes unhealthy because the worker was frozen, the machine was busy, or the
# clock was set; when very many fall, each falls once.

use strict;
use warnings FATAL => 'all';

use FindBin;
use IPC::Run qw(start);
use lib $FindBin::RealBin;
use MovedClock;
use Patience qw(freeze is_prompt soon);
use Peers;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time sleep);
use WatchedDatabase qw(start_watching_node gateway_id pool_id $acme);

my $peers = Peers->new;
my $clock = MovedClock->new;
my $node = $clock->during(sub {
    start_watching_node('main', conf => "gateway_pool.startup_grace = 3min\ngateway_pool.probe_interval = 1s\ngateway_pool.probe_timeout = 1s\ngateway_pool.probe_retry_interval = 200ms") });
my $db = WatchedDatabase->create($node);
my @fleet = ($peers->fleet(50, 'open'), $peers->fleet(50, 'http', 200));
my @others = $peers->fleet(100, 'http', 200);
my $pid;
my $last;

# The first 100 fall at the first failure.
$db->add_gateways(1 .. 203);
$db->value(join ';', map { WatchedDatabase::probe_sql($_, $fleet[ $_ - 1 ], $_ <= 50 ? 'tcp' : 'http', 'fall => 1') } 1 .. 100);
$db->value(join ';', map { WatchedDatabase::probe_sql($_, $others[ $_ - 101 ], 'http') } 101 .. 200);
$db->beat(201, 600);
$db->report(202, 600);
$db->waits_for(q{202 = (SELECT count(*) FROM gateway_health WHERE status = 'healthy')}, 'all are up');
$pid = $db->worker('pid');
$last = $db->last_event;

# A tcp probe resets its connection before it can be accepted: 150 gateways are counted.
sub connections
{
    my $sum = 0;
    $sum += $_->count->{accepted} foreach @fleet[ 50 .. 99 ], @others;
    return $sum;
}

# The same, once the peers have accepted all connections that the kernel holds.
sub all_connections
{
    my ($sum, $before) = (connections(), -1);

    soon(sub { ($before, $sum) = ($sum, connections()); return $sum == $before });
    return $sum;
}

# Returns the largest share of a second's probes that start within a tenth of a second.
sub bunch
{
    my ($seconds) = @_;
    my ($since, $before) = (time, connections());
    my $end = $since + $seconds;
    my $most = 0;

    while ($since < $end)
    {
        # A measured rate, over a tenth of a second but for the time that counting takes.
        sleep 0.09;
        my ($now, $count) = (time, connections());
        my $part = ($count - $before) / 150 * 0.1 / ($now - $since < 0.1 ? 0.1 : $now - $since);
        $most = $part if $part > $most;
        ($since, $before) = ($now, $count);
    }
    return $most;
}

# Timeouts are no evidence for a second after the worker was late.
sub timeouts_come_to_count
{
    my ($count, $label) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;
    return $db->waits_for('(SELECT ' . ($count ? '' : 'NOT ') . 'probes_count FROM gateway_pool_workers WHERE database = current_database())', $label);
}

sub is_quiet
{
    my ($label) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;
    is($db->events($last), '', "$label: there are no events");
    return is($db->worker('pid'), $pid, "$label: the worker is the same");
}

sub probes_go_on
{
    my @counts = map { $_->count->{accepted} } $fleet[50], $fleet[99];

    local $Test::Builder::Level = $Test::Builder::Level + 1;
    return ok($fleet[50]->wait_for($counts[0] + 3) && $fleet[99]->wait_for($counts[1] + 3), 'probes continue');
}

cmp_ok(bunch(2), '<', 0.4, 'probes are spread');

subtest 'a worker that is frozen' => sub {
    my ($before, $after, $begun, $taken);

    timeouts_come_to_count(1, 'timeouts count before');
    freeze($pid);
    $before = all_connections();
    # The subject: a freeze of ten times the interval and the timeout.
    sleep 10;
    cmp_ok(connections() - $before, '<', 200, 'it is frozen');
    $begun = time;
    kill 'CONT', $pid;
    timeouts_come_to_count(0, 'timeouts do not count when the worker continues');
    timeouts_come_to_count(1, 'timeouts count again after a while');
    $after = connections() - $before;
    $taken = time - $begun;
    cmp_ok($after, '<', 200 * (1 + $taken), sprintf 'missed probes are not made up for: %d probes in %.1f s', $after, $taken);
    cmp_ok($taken, '>=', 1, 'the time is long enough to see that');
    cmp_ok(bunch(2), '<', 0.4, 'probes are spread as before');
    probes_go_on();
    is_quiet('frozen');
};

# The answers to running probes arrive long after their timeout.
subtest 'a machine that is frozen' => sub {
    my $frozen;

    freeze($peers->{pid});
    $db->waits_for('(SELECT "runningProbes" >= 10 FROM gateway_pool_workers WHERE database = current_database())', 'probes run');
    freeze($pid);
    $frozen = $db->value('SELECT clock_timestamp()');
    # The subject: a freeze of three times the timeout.
    sleep 3;
    kill 'CONT', $pid;
    $db->waits_for(qq{(SELECT "lastRoundAt" > '$frozen' FROM gateway_pool_workers WHERE database = current_database())}, 'the worker continues first');
    kill 'CONT', $peers->{pid};
    probes_go_on();
    is_quiet('frozen');
};

subtest 'a machine that is busy' => sub {
    my $pgbench;
    my $out = '';

    $node->command_ok([ 'pgbench', '-i', '-q', '-n', $node->connstr('postgres') ], 'pgbench -i succeeds');
    $pgbench = start([ 'pgbench', '-S', '-n', '-c', '16', '-j', '2', '-T', '12', $node->connstr('postgres') ], '>', \$out, '2>', \$out);
    probes_go_on();
    ok($pgbench->finish, 'pgbench has run') || diag($out);
    probes_go_on();
    is_quiet('busy');
};

subtest 'a clock that is set' => sub {
    my $healthy = q{SELECT count(*) FROM gateway_status WHERE status = 'healthy' AND reason IN ('heartbeat fresh', 'probe up')};

    foreach my $step (3600, -7200, 3600)
    {
        $clock->set_wall($step);
        $db->shows($healthy, 202, "all gateways are healthy after a step of $step s");
        probes_go_on();
        $db->shows($healthy, 202, 'they are healthy after a while');
    }
    is_quiet('clock');
    # No startup_grace for heartbeats that expire.
    $node->append_conf('postgresql.conf', 'gateway_pool.startup_grace = 0');
    $node->reload;
    $db->waits_for(q{current_setting('gateway_pool.startup_grace') = '0'}, 'the grace of the start is over');
    $db->report(203, 4);
    $db->waits_for_event(203, 'unknown healthy heartbeat fresh');
    my $begun = time;
    $clock->set_wall(-3600);
    $db->waits_for_event(203, 'healthy unhealthy heartbeat expired', 'a heartbeat expires after its time, not by the wall clock');
    is_prompt(8, time - $begun, 'it expires at once');
    $clock->set_wall(3600);
    probes_go_on();
    is($db->events($last), "g203 unknown healthy heartbeat fresh\ng203 healthy unhealthy heartbeat expired", 'there are no other events');
    $last = $db->last_event;
};

subtest 'many that fall, and return' => sub {
    my $counts = q{SELECT concat_ws(' ', "oldStatus", "newStatus", count(*), count(DISTINCT "gatewayId")) FROM gateway_health_events WHERE id > %d
        GROUP BY "oldStatus", "newStatus" ORDER BY min(id)};

    $_->stop foreach @fleet, @others;
    $db->waits_for(q{200 = (SELECT count(*) FROM gateway_health WHERE status = 'unhealthy' AND reason LIKE 'probe %')}, 'all are down');
    $_->restart foreach @fleet, @others;
    $db->waits_for(q{202 = (SELECT count(*) FROM gateway_health WHERE status = 'healthy')}, 'all are up');
    cmp_ok(bunch(3), '<', 0.4, 'probes are spread');
    $db->shows(sprintf($counts, $last), "healthy unhealthy 200 200\nunhealthy healthy 200 200", 'each falls once and returns once');
    is($db->worker('pid'), $pid, 'the worker is the same');
};

$node->stop;
done_testing();
