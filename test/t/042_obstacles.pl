# What hinders the worker, tables that are locked or rows that are nonsense, hinders
# neither probes nor picks, and nothing that happens meanwhile is lost.
#
# GATEWAY_POOL_TEST_LOCK=30 has tables and rows locked for so many seconds, in place
# of 2 or 5.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;
use Peers;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);
use WatchedDatabase qw(start_watching_node gateway_id pool_id $acme);

my $peers = Peers->new;
my $node = start_watching_node('main', conf => "gateway_pool.max_gateways = 64\ngateway_pool.probe_interval = 100ms\ngateway_pool.probe_timeout = 100ms");
my $db = WatchedDatabase->create($node);
my $id = gateway_id(2);
my ($steady, $failing) = map { $peers->start('open') } 1, 2;
my $rate;
my $pid;

# g1 is always up, g2 goes and returns, by its probe; g3 by its heartbeat.
$db->add_gateways(1 .. 3);
$db->add_pool(1, 1 .. 3);
$db->probe(1, $steady);
$db->probe(2, $failing);
$db->beat(3, 600);
$db->waits_for_event(1, 'unknown healthy probe up');
$db->waits_for_event(2, 'unknown healthy probe up');
$db->waits_for_event(3, 'unknown healthy heartbeat fresh');
$pid = $db->worker('pid');

# How many probes of g1 there are in a second, for so many.
sub rate
{
    my ($seconds) = @_;
    my $from = $steady->count->{accepted};
    my $begun = time;

    # The time that is looked at.
    sleep $seconds;
    return ($steady->count->{accepted} - $from) / (time - $begun);
}

sub picks { return $_[0]->value(sprintf q{SELECT string_agg(g.name, ' ' ORDER BY g.name) FROM pick_healthy_gateways('%s', 10) p JOIN gateways_v2 g ON g.id = p}, pool_id(1)) }

sub processor_time
{
    my @stat = split / /, slurp_file("/proc/$pid/stat") =~ s/.*\) //sr;
    return ($stat[11] + $stat[12]) / 100;
}

$rate = rate(2);

# While something holds up what is recorded, the worker sees what happens, when it happens.
sub is_held_up
{
    my ($what, $hold, %opts) = @_;
    my $last = $db->last_event;
    my $offset = -s $node->logfile;
    my $holder = $db->session;
    my $seconds = $ENV{GATEWAY_POOL_TEST_LOCK} // $opts{seconds} // 2;
    my (@times, $used);

    # What is looked at here does not read the tables that are locked.
    my $verdict = sub { $db->waits_for(qq{EXISTS (SELECT FROM pick_healthy_gateways('@{[pool_id(1)]}', 10) p WHERE p = '$id') = ('$_[0]' = 'up')}, "picks know: $_[0]") };
    my $at = sub { push @times, $db->value('SELECT clock_timestamp()'); };

    picks($db);
    $holder->value("BEGIN; $hold");
    $used = processor_time();
    $at->();
    $failing->stop;
    $verdict->('down');
    $at->();
    cmp_ok(rate($seconds), '>', 0.6 * $rate, "$what: probes go on");
    $at->();
    $failing->restart;
    $verdict->('up');
    $at->();
    cmp_ok(processor_time() - $used, '<', $seconds > 5 ? 0.4 * $seconds : 2, 'without haste');
    $db->waits_for(q{2 = (SELECT "queueLength" FROM gateway_pool_workers WHERE "queueLength" > 0)}, 'what happened waits');
    like($db->worker('problem'), $opts{problem} // qr/lock/, 'and it is said why');
    cmp_ok($db->worker('lagMs'), '<', 1000, 'no round is late');
    $db->shows(q{SELECT status FROM gateway_health WHERE "gatewayId" = '} . $id . q{'}, 'healthy', 'nothing is written') if $opts{can_read};
    $holder->value('ROLLBACK');
    $holder->end;
    $db->waits_for(q{EXISTS (SELECT FROM gateway_pool_workers WHERE "queueLength" = 0 AND problem IS NULL)}, 'then it is written');
    is($db->events($last), "g2 healthy unhealthy probe down: refused\ng2 unhealthy healthy probe up", 'all of it, in order');
    $db->shows(qq{SELECT string_agg(("occurredAt" BETWEEN t.f AND t.u)::text, ' ' ORDER BY id) FROM (SELECT *, row_number() OVER (ORDER BY id) AS n FROM gateway_health_events
        WHERE id > $last) e JOIN (VALUES (1, timestamptz '$times[0]', timestamptz '$times[1]' + '0.5 s'), (2, '$times[2]', timestamptz '$times[3]' + '0.5 s')) t (n, f, u) USING (n)}, 'true true',
        'with the times at which it happened');
    is($db->worker('pid'), $pid, 'by the same worker');
    cmp_ok(() = slurp_file($node->logfile, $offset) =~ /\[$pid\] (?:LOG|ERROR|WARNING)/g, '<=', 1, 'which said no more than it had to');
    # Else it comes back degraded the next time.
    $db->value("SELECT clear_gateway_probe('$id')");
    $db->waits_for(q{'unknown' = (SELECT status FROM gateway_health WHERE "gatewayId" = '} . $id . q{')}, 'no probe');
    $db->probe(2, $failing);
    $db->waits_for(q{'healthy' = (SELECT status FROM gateway_health WHERE "gatewayId" = '} . $id . q{')}, 'up again');
    return;
}

subtest 'gateway_health is locked' => sub { is_held_up('locked', 'LOCK gateway_health IN ACCESS EXCLUSIVE MODE', seconds => 5) };
subtest 'gateway_health_events is locked' => sub { is_held_up('locked', 'LOCK gateway_health_events IN ACCESS EXCLUSIVE MODE', can_read => 1) };
subtest 'the gateways are locked' => sub { is_held_up('locked', 'LOCK gateways_v2 IN ACCESS EXCLUSIVE MODE', can_read => 1) };
subtest 'a row is locked' => sub { is_held_up('locked', qq{SELECT FROM gateway_health WHERE "gatewayId" = '$id' FOR UPDATE}, seconds => 5, can_read => 1) };
subtest 'a row is about to be deleted' => sub { is_held_up('locked', qq{DELETE FROM gateways_v2 WHERE id = '$id'}, can_read => 1) };

subtest 'a standby that does not exist' => sub {
    my $last = $db->last_event;

    $node->append_conf('postgresql.conf', "synchronous_standby_names = 'nobody'");
    $node->reload;
    $db->waits_for(q{current_setting('synchronous_standby_names') = 'nobody'}, 'is waited for');
    # Reported, for the host's own update would wait.
    $db->report(3, 600);
    $db->value('SET synchronous_commit = local; UPDATE gateways_v2 SET "heartbeatTTL" = 0 WHERE id = ' . "'" . gateway_id(3) . "'");
    $db->waits_for_event(3, 'healthy unhealthy heartbeat failed', 'not by the worker');
    $db->report(3, 600);
    $db->waits_for_event(3, 'unhealthy healthy heartbeat fresh', 'nor the second time');
    $node->append_conf('postgresql.conf', "synchronous_standby_names = ''");
    $node->reload;
    $db->waits_for(q{current_setting('synchronous_standby_names') = ''}, 'is not waited for');
};

# What is wrong is said, once in the log; the rest goes on; and it is said no more when it is repaired.
sub is_said
{
    my ($what, $break, $problem, $repair, %opts) = @_;
    my $offset = -s $node->logfile;
    my $session = $db->session;
    my ($used, $begun);

    $session->value($break);
    $db->waits_for("EXISTS (SELECT FROM gateway_pool_workers WHERE problem ~ '$problem')", "$what: is said");
    like($db->value("SELECT string_agg(c::text, ' ') FROM check_gateway_pools() c"), qr/$problem/, 'is a finding') unless $opts{unchecked};
    $used = processor_time();
    $begun = time;
    $failing->stop;
    $db->waits_for_event(2, 'healthy unhealthy probe down: refused', 'another gateway is recorded');
    cmp_ok(rate(2), '>', 0.6 * $rate, 'probes go on');
    cmp_ok((processor_time() - $used) / (time - $begun), '<', 0.7, 'without haste');
    $failing->restart;
    $db->waits_for(q{(SELECT "oldStatus" FROM gateway_health_events WHERE "gatewayName" = 'g2' ORDER BY id DESC LIMIT 1) = 'unhealthy'}, 'and its return');
    is(picks($db) =~ s/ g3//r, 'g1 g2', 'picks go on') unless $opts{fails_picks};
    $session->value($repair);
    $session->end;
    $db->waits_for(q{NOT EXISTS (SELECT FROM gateway_pool_workers WHERE problem IS NOT NULL)}, 'repaired: no more');
    is(scalar(() = slurp_file($node->logfile, $offset) =~ /\[$pid\] (?:LOG|ERROR):  .*(?:$problem)/g), 1, 'the log has it once');
    is($db->worker('pid'), $pid, 'by the same worker');
    $db->value("SELECT clear_gateway_probe('$id')");
    $db->waits_for(q{'unknown' = (SELECT status FROM gateway_health WHERE "gatewayId" = '} . $id . q{')}, 'no probe');
    $db->probe(2, $failing);
    $db->waits_for(q{'healthy' = (SELECT status FROM gateway_health WHERE "gatewayId" = '} . $id . q{')}, 'up again');
    return;
}

my $g3 = gateway_id(3);

subtest 'a probe without an address' => sub {
    is_said('an address', qq{SET session_replication_role = replica; INSERT INTO gateway_probes ("gatewayId", protocol, address) VALUES ('$g3', 'tcp', 'no address');
        SET session_replication_role = origin; SELECT set_gateway_state('$g3', 'draining', 'test')}, "$g3 cannot be probed",
        qq{DELETE FROM gateway_probes WHERE "gatewayId" = '$g3'});
};

# Of this the gateway itself tells.
subtest 'a probe without a certificate' => sub {
    $db->value(qq{SET session_replication_role = replica; INSERT INTO gateway_probes ("gatewayId", protocol, address, "caCertificate", required)
        VALUES ('$g3', 'tls', '$steady->{target}', 'garbage', false); SET session_replication_role = origin; SELECT set_gateway_state('$g3', 'active', 'test')});
    $db->waits_for(qq{'none caCertificate is not readable' = (SELECT concat_ws(' ', verdict, reason) FROM gateway_probe_status WHERE "gatewayId" = '$g3')}, 'is said');
    is(picks($db), 'g1 g2 g3', 'it is picked as before, by its heartbeat');
    $db->value("SELECT clear_gateway_probe('$g3')");
};

subtest 'a heartbeat that is no time' => sub {
    is_said('a heartbeat', qq{ALTER TABLE gateways_v2 ALTER COLUMN heartbeat TYPE text; UPDATE gateways_v2 SET heartbeat = 'yesterday or so' WHERE id = '$g3'},
        'yesterday or so', q{UPDATE gateways_v2 SET heartbeat = NULL WHERE heartbeat !~ '^\d'; ALTER TABLE gateways_v2 ALTER COLUMN heartbeat TYPE timestamptz USING heartbeat::timestamptz},
        fails_picks => 1);
};

subtest 'more gateways than there is room for' => sub {
    is_said('room', qq{INSERT INTO gateways_v2 (id, "orgId", name) SELECT gen_random_uuid(), '$acme', 'many ' || n FROM generate_series(1, 100) n},
        'shared memory of gateway_pool is full|map full', q{DELETE FROM gateways_v2 WHERE name LIKE 'many %'});
};

unlike(slurp_file($node->logfile), qr/was terminated by signal/, 'no crash');
$node->stop;
done_testing();
