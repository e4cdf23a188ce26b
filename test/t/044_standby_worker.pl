# The worker on a hot standby probes on its own and writes nothing, until the
# standby is promoted.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;
use Patience qw(is_prompt);
use Peers;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);
use WatchedDatabase qw(start_watching_node gateway_id pool_id $acme);

my $peers = Peers->new;
my ($peer, $other) = ($peers->start('http', 200), $peers->start('open'));
my $primary = start_watching_node('primary', allows_streaming => 1);
my $db = WatchedDatabase->create($primary);
my $pid;
my $last;
my $counted;

# Returns the gateways that picks can return.
sub picks
{
    my ($where) = @_;
    return $where->value(sprintf q{SELECT coalesce(string_agg(g.name, ' ' ORDER BY g.name), 'none') FROM pick_healthy_gateways('%s', 10, null_if_none => true) p
        JOIN gateways_v2 g ON g.id = p}, pool_id(1));
}

sub picks_become
{
    my ($where, $expected, $label) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;
    return $where->waits_for(sprintf(q{'%s' = (SELECT coalesce(string_agg(g.name, ' ' ORDER BY g.name), 'none')
        FROM pick_healthy_gateways('%s', 10, null_if_none => true) p JOIN gateways_v2 g ON g.id = p)}, $expected, pool_id(1)), $label);
}

$db->add_gateways(1 .. 3);
$db->add_pool(1, 1 .. 3);
$db->probe(1, $peer, 'http');
$db->probe(2, $other);
$db->waits_for_event($_, 'unknown healthy probe up') foreach 1, 2;
$primary->backup('backup');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'backup', has_streaming => 1);
$standby->start;
my $there = bless { %{ PoolDatabase->new($standby, 'app')->session } }, 'WatchedDatabase';

sub replay { return $primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert')) }

picks_become($there, 'g1 g2', 'the standby picks the healthy gateways');
$there->waits_for(q{EXISTS (SELECT FROM gateway_pool_workers WHERE activity = 'standby: probing' AND targets = 2)}, 'the standby has a worker');

# Each server probes every 200 ms, so both together connect twice as often.
$pid = $db->worker('pid');
$counted = $peer->count->{accepted};
my $begun = time;
ok($peer->wait_for($counted + 40), 'peers are connected to');
is_prompt(40 * 0.2 * 0.75, time - $begun, 'more often than by one server');

# A worker that cannot read its tables yet, because the primary has locked one, waits.
{
    my $session = $db->session;
    my $worker = $there->worker('pid');
    my $ticks = sub { my @stat = split ' ', slurp_file("/proc/$_[0]/stat") =~ s/^.*\) //sr; return $stat[11] + $stat[12] };

    $session->value('BEGIN; LOCK gateway_health IN ACCESS EXCLUSIVE MODE');
    replay();
    $there->value("SELECT pg_terminate_backend($worker)");
    $there->waits_for("EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'gateway_pool worker' AND pid <> $worker AND query = 'standby: probing')",
        'the standby has another worker');
    $worker = $there->value(q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'gateway_pool worker'});
    my $before = $ticks->($worker);
    # A measured rate: the processor time that it takes.
    $there->value('SELECT pg_sleep(2)');
    cmp_ok($ticks->($worker) - $before, '<', 40, 'it takes a fifth of a processor at most while a table is locked');
    $session->value('ROLLBACK');
    $session->end;
    $there->waits_for('EXISTS (SELECT FROM gateway_pool_workers WHERE targets = 2)', 'it probes when the lock is gone');
    picks_become($there, 'g1 g2', 'both gateways are up');
}

# The standby's own probes: it sees a change before the primary records it.
$last = $db->last_event;
{
    my $session = $db->session;

    # The primary cannot record events for now.
    $session->value('BEGIN; LOCK gateway_health_events IN ACCESS EXCLUSIVE MODE');
    $other->stop;
    foreach ($there, $db)
    {
        $_->waits_for(q{(SELECT status || '|' || reason FROM gateway_status WHERE name = 'g2') = 'unhealthy|probe down: refused'}, 'gateway_status gives the reason on each server');
    }
    picks_become($there, 'g1', 'the standby does not pick a gateway that is down');
    $other->restart;
    picks_become($there, 'g1 g2', 'the standby picks it again');
    picks_become($db, 'g1 g2', 'the primary does, too');
    $session->value('ROLLBACK');
    $session->end;
}
$db->waits_for_event(2, 'unhealthy healthy probe up');
is($db->events($last), "g2 healthy unhealthy probe down: refused\ng2 unhealthy healthy probe up", 'the primary records the changes once');
replay();
is($there->events($last), $db->events($last), 'the standby has these rows');

# Heartbeats are not published on a standby.
$begun = time;
$db->beat(3, 600);
replay();
picks_become($there, 'g1 g2 g3', 'the standby picks a gateway after its heartbeat');
is_prompt(7, time - $begun, 'it does so');
$begun = time;
$db->beat(3, 0);
replay();
picks_become($there, 'g1 g2', 'the standby does not pick it after its failure');
is_prompt(7, time - $begun, 'it does so');
$there->waits_for(q{'unhealthy' = (SELECT status FROM gateway_status WHERE name = 'g3')}, 'gateway_status shows the failure');
is($there->worker('queueLength'), 0, 'nothing waits to be recorded');
{
    my $worker = $there->worker('pid');
    unlike(slurp_file($standby->logfile), qr/\[$worker\] (?!LOG|DETAIL)/, 'the worker of the standby has logged no error');
}

# After a failover, the new primary records what happened meanwhile.
{
    my $standby_pid = $there->worker('pid');

    $db->waits_for_event(3, 'healthy unhealthy heartbeat failed');
    replay();
    $last = $there->last_event;
    is($db->worker('pid'), $pid, 'the worker of the primary is the same');
    $primary->stop;
    $other->stop;
    picks_become($there, 'g1', 'the standby does not pick a gateway that goes down after the primary');
    $standby->promote;
    is(picks($there), 'g1', 'picks continue');
    $there->waits_for_event(2, 'healthy unhealthy probe down: refused', 'after promotion, the change is recorded, with the old status');
    is($there->events($last), 'g2 healthy unhealthy probe down: refused', 'no other change is recorded');
    $there->shows(q{SELECT status FROM gateway_health WHERE "gatewayId" = '} . gateway_id(2) . q{'}, 'unhealthy', 'gateway_health has it, too');
    $other->restart;
    $there->waits_for_event(2, 'unhealthy degraded keeps falling', 'later changes are recorded');
    $there->beat(3, 600);
    $there->waits_for_event(3, 'unhealthy healthy heartbeat fresh');
    is(picks($there), 'g1 g2 g3', 'picks continue');
    is($there->worker('pid'), $standby_pid, 'the worker is the same');
    is($there->worker('activity'), 'probing', 'it is not that of a standby any more');
}

$standby->stop;
done_testing();
