# Locked tables and invalid rows keep the worker from recording, but not from probing;
# picks continue, and nothing that happens meanwhile is lost.
#
# GATEWAY_POOL_TEST_LOCK=30 keeps tables and rows locked for so many seconds, instead
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
my ($steady, $failing) = ($peers->start('http', 200), $peers->start('open'));
my $rate;
my $pid;

# g1 is always up, g2 falls and returns by its probe, g3 by its heartbeat.
$db->add_gateways(1 .. 3);
$db->add_pool(1, 1 .. 3);
$db->probe(1, $steady, 'http');
$db->probe(2, $failing);
$db->beat(3, 600);
$db->waits_for_event(1, 'unknown healthy probe up');
$db->waits_for_event(2, 'unknown healthy probe up');
$db->waits_for_event(3, 'unknown healthy heartbeat fresh');
$pid = $db->worker('pid');

# Returns the number of probes of g1 per second, over some seconds.
sub rate
{
    my ($seconds) = @_;
    my $from = $steady->count->{accepted};
    my $begun = time;

    # A measured rate.
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

# While something delays recording, the worker sees events when they happen.
sub is_held_up
{
    my ($what, $hold, %opts) = @_;
    my $last = $db->last_event;
    my $offset = -s $node->logfile;
    my $holder = $db->session;
    my $seconds = $ENV{GATEWAY_POOL_TEST_LOCK} // $opts{seconds} // 2;
    my (@times, $used);

    # These queries do not read the locked tables.
    my $verdict = sub { $db->waits_for(qq{EXISTS (SELECT FROM pick_healthy_gateways('@{[pool_id(1)]}', 10) p WHERE p = '$id') = ('$_[0]' = 'up')}, "picks know: $_[0]") };
    my $at = sub { push @times, $db->value('SELECT clock_timestamp()'); };

    picks($db);
    $holder->value("BEGIN; $hold");
    $used = processor_time();
    $at->();
    $failing->stop;
    $verdict->('down');
    $at->();
    cmp_ok(rate($seconds), '>', 0.6 * $rate, "$what: probes continue");
    $at->();
    $failing->restart;
    $verdict->('up');
    $at->();
    cmp_ok(processor_time() - $used, '<', $seconds > 5 ? 0.4 * $seconds : 2, 'the worker does not retry too often');
    $db->waits_for(q{2 = (SELECT "queueLength" FROM gateway_pool_workers WHERE "queueLength" > 0)}, 'changes wait to be recorded');
    like($db->worker('problem'), $opts{problem} // qr/lock/, 'the worker reports why');
    cmp_ok($db->worker('lagMs'), '<', 1000, 'no round is late');
    $db->shows(q{SELECT status FROM gateway_health WHERE "gatewayId" = '} . $id . q{'}, 'healthy', 'nothing is recorded') if $opts{can_read};
    $holder->value('ROLLBACK');
    $holder->end;
    $db->waits_for(q{EXISTS (SELECT FROM gateway_pool_workers WHERE "queueLength" = 0 AND problem IS NULL)}, 'changes are recorded after it');
    is($db->events($last), "g2 healthy unhealthy probe down: refused\ng2 unhealthy healthy probe up", 'all changes are recorded, in order');
    $db->shows(qq{SELECT string_agg(("occurredAt" BETWEEN t.f AND t.u)::text, ' ' ORDER BY id) FROM (SELECT *, row_number() OVER (ORDER BY id) AS n FROM gateway_health_events
        WHERE id > $last) e JOIN (VALUES (1, timestamptz '$times[0]', timestamptz '$times[1]' + '0.5 s'), (2, '$times[2]', timestamptz '$times[3]' + '0.5 s')) t (n, f, u) USING (n)}, 'true true',
        'they have the times at which they happened');
    is($db->worker('pid'), $pid, 'the worker is the same');
    cmp_ok(() = slurp_file($node->logfile, $offset) =~ /\[$pid\] (?:LOG|ERROR|WARNING)/g, '<=', 1, 'it has logged at most one line');
    # Otherwise it would be degraded at its next return.
    $db->value("SELECT clear_gateway_probe('$id')");
    $db->waits_for(q{'unknown' = (SELECT status FROM gateway_health WHERE "gatewayId" = '} . $id . q{')}, 'the probe is removed');
    $db->probe(2, $failing);
    $db->waits_for(q{'healthy' = (SELECT status FROM gateway_health WHERE "gatewayId" = '} . $id . q{')}, 'the gateway is up again');
    return;
}

subtest 'gateway_health is locked' => sub { is_held_up('locked', 'LOCK gateway_health IN ACCESS EXCLUSIVE MODE', seconds => 5) };
subtest 'gateway_health_events is locked' => sub { is_held_up('locked', 'LOCK gateway_health_events IN ACCESS EXCLUSIVE MODE', can_read => 1) };
subtest 'the gateways are locked' => sub { is_held_up('locked', 'LOCK gateways_v2 IN ACCESS EXCLUSIVE MODE', can_read => 1) };
subtest 'a row is locked' => sub { is_held_up('locked', qq{SELECT FROM gateway_health WHERE "gatewayId" = '$id' FOR UPDATE}, seconds => 5, can_read => 1) };
subtest 'a row is about to be deleted' => sub { is_held_up('locked', qq{DELETE FROM gateways_v2 WHERE id = '$id'}, can_read => 1) };

subtest 'a synchronous standby that does not exist' => sub {
    my $last = $db->last_event;

    $node->append_conf('postgresql.conf', "synchronous_standby_names = 'nobody'");
    $node->reload;
    $db->waits_for(q{current_setting('synchronous_standby_names') = 'nobody'}, 'the setting is read');
    # Reported, because the host's own update would wait.
    $db->report(3, 600);
    $db->value('SET synchronous_commit = local; UPDATE gateways_v2 SET "heartbeatTTL" = 0 WHERE id = ' . "'" . gateway_id(3) . "'");
    $db->waits_for_event(3, 'healthy unhealthy heartbeat failed', 'the worker does not wait for the standby');
    $db->report(3, 600);
    $db->waits_for_event(3, 'unhealthy healthy heartbeat fresh', 'it does not the second time');
    $node->append_conf('postgresql.conf', "synchronous_standby_names = ''");
    $node->reload;
    $db->waits_for(q{current_setting('synchronous_standby_names') = ''}, 'the setting is reset');
};

# A problem is reported, and logged once; the worker continues; after the repair the problem is not reported any more.
sub is_said
{
    my ($what, $break, $problem, $repair, %opts) = @_;
    my $offset = -s $node->logfile;
    my $session = $db->session;
    my ($used, $begun);

    $session->value($break);
    $db->waits_for("EXISTS (SELECT FROM gateway_pool_workers WHERE problem ~ '$problem')", "$what: gateway_pool_workers reports it");
    like($db->value("SELECT string_agg(c::text, ' ') FROM check_gateway_pools() c"), qr/$problem/, 'check_gateway_pools() reports it') unless $opts{unchecked};
    $used = processor_time();
    $begun = time;
    $failing->stop;
    $db->waits_for_event(2, 'healthy unhealthy probe down: refused', 'changes of another gateway are recorded');
    cmp_ok(rate(2), '>', 0.6 * $rate, 'probes continue');
    cmp_ok((processor_time() - $used) / (time - $begun), '<', 0.7, 'the worker does not retry too often');
    $failing->restart;
    $db->waits_for(q{(SELECT "oldStatus" FROM gateway_health_events WHERE "gatewayName" = 'g2' ORDER BY id DESC LIMIT 1) = 'unhealthy'}, 'its return is recorded');
    is(picks($db) =~ s/ g3//r, 'g1 g2', 'picks continue') unless $opts{fails_picks};
    $session->value($repair);
    $session->end;
    $db->waits_for(q{NOT EXISTS (SELECT FROM gateway_pool_workers WHERE problem IS NOT NULL)}, 'the problem is not reported after the repair');
    is(scalar(() = slurp_file($node->logfile, $offset) =~ /\[$pid\] LOG:  .* has a problem: .*(?:$problem)/g), 1, 'the problem is logged once');
    is($db->worker('pid'), $pid, 'the worker is the same');
    $db->value("SELECT clear_gateway_probe('$id')");
    $db->waits_for(q{'unknown' = (SELECT status FROM gateway_health WHERE "gatewayId" = '} . $id . q{')}, 'the probe is removed');
    $db->probe(2, $failing);
    $db->waits_for(q{'healthy' = (SELECT status FROM gateway_health WHERE "gatewayId" = '} . $id . q{')}, 'the gateway is up again');
    return;
}

my $g3 = gateway_id(3);

subtest 'a probe without an address' => sub {
    is_said('an address', qq{SET session_replication_role = replica; INSERT INTO gateway_probes ("gatewayId", protocol, address) VALUES ('$g3', 'tcp', 'no address');
        SET session_replication_role = origin; SELECT set_gateway_state('$g3', 'draining', 'test')}, "$g3 cannot be probed",
        qq{DELETE FROM gateway_probes WHERE "gatewayId" = '$g3'});
};

# The status of the gateway shows this problem.
subtest 'a probe without a certificate' => sub {
    $db->value(qq{SET session_replication_role = replica; INSERT INTO gateway_probes ("gatewayId", protocol, address, "caCertificate", required)
        VALUES ('$g3', 'tls', '$steady->{target}', 'garbage', false); SET session_replication_role = origin; SELECT set_gateway_state('$g3', 'active', 'test')});
    $db->waits_for(qq{'none caCertificate is not readable' = (SELECT concat_ws(' ', verdict, reason) FROM gateway_probe_status WHERE "gatewayId" = '$g3')}, 'the verdict is none, with the reason');
    is(picks($db), 'g1 g2 g3', 'the gateway is picked by its heartbeat');
    $db->value("SELECT clear_gateway_probe('$g3')");
};

subtest 'a heartbeat that is not a time' => sub {
    is_said('a heartbeat', qq{ALTER TABLE gateways_v2 ALTER COLUMN heartbeat TYPE text; UPDATE gateways_v2 SET heartbeat = 'yesterday or so' WHERE id = '$g3'},
        'yesterday or so', q{UPDATE gateways_v2 SET heartbeat = NULL WHERE heartbeat !~ '^\d'; ALTER TABLE gateways_v2 ALTER COLUMN heartbeat TYPE timestamptz USING heartbeat::timestamptz},
        fails_picks => 1);
};

subtest 'more gateways than there is room for' => sub {
    is_said('room', qq{INSERT INTO gateways_v2 (id, "orgId", name) SELECT gen_random_uuid(), '$acme', 'many ' || n FROM generate_series(1, 100) n},
        'shared memory of gateway_pool is full|shared memory full', q{DELETE FROM gateways_v2 WHERE name LIKE 'many %'});
};

unlike(slurp_file($node->logfile), qr/was terminated by signal/, 'the server does not crash');
$node->stop;
done_testing();
