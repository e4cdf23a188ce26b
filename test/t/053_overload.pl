# Gateways that take much time to probe do not delay others; with too many of them, all
# are probed less often, and check_gateway_pools() reports it.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;
use List::Util qw(sum);
use Patience qw(soon);
use Peers qw(tls_material nginx bundle);
use PoolDatabase qw(start_node);
use PostgreSQL::Test::Utils;
use Probed;
use Test::More;
use Time::HiRes qw(time);

my $dir = PostgreSQL::Test::Utils::tempdir;
my $peers = Peers->new;
my $tls = tls_material($dir);
my $nginx = nginx($dir, tls => $tls);
my $node = start_node('main', conf => join "\n", 'gateway_pool.default_entitlement = on', "gateway_pool.probe_denied_networks = 'fe80::/10'",
    'gateway_pool.probe_interval = 1s', 'gateway_pool.probe_timeout = 1s', 'gateway_pool.probe_retry_interval = 200ms',
    'gateway_pool.probe_fall = 3', 'gateway_pool.probe_rise = 1', 'autovacuum = off');
my $db = Probed->of_acme($node);
my $worker = $db->worker;
my $address = "127.0.0.1:$nginx->{https}{name}";

# Without load: gateways that die, and two that stay.
my %good = map { ("good $_" => $peers->start('open')) } 1 .. 12;
my @mortal = map { "good $_" } 1 .. 10;
$db->add(keys %good);
$db->value(join '', map { Probed::probe_sql($_, 'tcp', $good{$_}{target}) } keys %good);
$db->comes_to(map { $_ => [ 'up', 'healthy: probe up' ] } keys %good);

# Stops the mortal gateways, and restarts them; returns after how many seconds their
# deaths were recorded, on average.
sub deaths
{
    my ($seconds) = @_;
    my $seen = q{FROM gateway_health_events WHERE "newStatus" = 'unhealthy' AND "gatewayName" LIKE 'good %'};
    my $before = $db->value("SELECT count(*) $seen");
    my $begun = time;

    $good{$_}->stop foreach @mortal;
    soon(sub { return $db->value("SELECT count(*) $seen") >= $before + @mortal }, $seconds) or return;
    my $mean = $db->value(qq{SELECT avg(extract(epoch FROM "occurredAt") - $begun) FROM (SELECT "occurredAt" $seen ORDER BY id DESC LIMIT } . @mortal . ') e');
    $good{$_}->restart foreach @mortal;
    soon(sub { return $db->value(q{SELECT count(*) FROM gateway_status WHERE name LIKE 'good %' AND status IN ('healthy', 'degraded')}) == 12 }, $seconds) or return;
    return $mean;
}

sub average { return sum(@_) / @_ }

# Sets probes for gateways that have the same address.
sub probe_many
{
    my ($label, $number, @how) = @_;

    $db->add(map { "$label $_" } 1 .. $number);
    $db->value('BEGIN; ' . join('', map { Probed::probe_sql("$label $_", @how) } 1 .. $number) . 'COMMIT');
    return;
}

# Returns a column of gateway_pool_workers for this database.
sub worker_says
{
    my ($column) = @_;
    return $db->value(qq{SELECT $column FROM gateway_pool_workers WHERE database = current_database()});
}

my @alone = map { deaths() } 1 .. 3;
is(scalar @alone, 3, 'deaths are recorded without load');

subtest 'many CA certificates' => sub {
    my $bundle = bundle($tls->{ca}, 40, 60_000);

    cmp_ok(length $bundle, '<=', 65_536, 'the list has at most 64 kB');
    probe_many('bundle', 60, 'tls', $address, server_name => 'gw.test', ca_certificate => $bundle, probe_interval => '300 ms', timeout => '300 ms');
    # One after the other: on a busy machine some of 200 handshakes a second take too long.
    my $were_up = q{SELECT count(DISTINCT "gatewayName") FROM gateway_health_events WHERE "newStatus" = 'healthy' AND "gatewayName" LIKE 'bundle %'};
    ok(soon(sub { return $db->value($were_up) == 60 }), 'each of the gateways is up');
    my @beside = map { deaths() } 1 .. 3;
    is(scalar @beside, 3, 'deaths are recorded with load');
    # It took ten times as long before, on an otherwise idle machine.
    cmp_ok(average(@beside), '<', 1.5 * average(@alone), 'they are recorded about as fast');
    note("alone: @alone; beside them: @beside");
    ok(soon(sub { worker_says('probes_count') eq 't' }), 'timeouts of probes count');
    unlike(worker_says('problem'), qr/ of the time is /, 'the worker does not report an overload');
    $db->value(q{DELETE FROM gateway_probes WHERE "caCertificate" IS NOT NULL});
};

subtest 'more probes than there is time for' => sub {
    my ($ca) = map { slurp_file($_) } $tls->{ca};
    my $problem;

    probe_many('much', 200, 'https', $address, server_name => 'gw.test', path => '/health', ca_certificate => $ca, probe_interval => '100 ms', timeout => '100 ms');
    # Where other processes keep the peer from answering, the worker is not overloaded, but probes are late.
    if (soon(sub { $problem = worker_says('problem'); return $problem =~ /less often/ }) || worker_says('"p99LatenessMs"') < 100)
    {
        like($problem, qr/^gateways are probed \d+\.\d times less often: (?:\d+ % of the time is https, most of gateway [0-9a-f-]{36}|the machine is too busy)$/, 'the worker reports the overload, with the reason');
        $db->shows(q{SELECT problem, detail LIKE 'gateways are probed %' FROM check_gateway_pools() WHERE problem LIKE 'worker %'}, 'worker overloaded|t', 'check_gateway_pools() reports it');
    }
    ok(soon(sub { worker_says('probes_count') eq 't' }), 'timeouts of probes count');
    ok(defined deaths(300), 'deaths are still recorded');
    $db->value(q{DELETE FROM gateway_probes WHERE "caCertificate" IS NOT NULL});
    ok(soon(sub { worker_says('problem') !~ / of the time is / }), 'the worker does not report an overload any more') || diag(worker_says('problem'));
};

$db->shows(q{SELECT "gatewayName", "oldStatus", "newStatus", reason FROM gateway_health_events
              WHERE "gatewayName" IN ('good 11', 'good 12') AND "oldStatus" <> 'unknown'}, '', 'the other gateways stay healthy');
is($db->worker, $worker, 'the worker is the same');

$node->stop;
done_testing();
