# Gateways that take much time to probe do not keep the worker from others; where
# there is too much to do, all are probed less often, and the doctor says so.

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

# What is found without much to do: gateways that die, and two that stay.
my %good = map { ("good $_" => $peers->start('open')) } 1 .. 12;
my @mortal = map { "good $_" } 1 .. 10;
$db->add(keys %good);
$db->value(join '', map { Probed::probe_sql($_, 'tcp', $good{$_}{target}) } keys %good);
$db->comes_to(map { $_ => [ 'up', 'healthy: probe up' ] } keys %good);

# Lets the mortal die, and come back; returns after how many seconds their deaths
# were known, on average.
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

# Has gateways probed that are all at one address.
sub probe_many
{
    my ($label, $number, @how) = @_;

    $db->add(map { "$label $_" } 1 .. $number);
    $db->value('BEGIN; ' . join('', map { Probed::probe_sql("$label $_", @how) } 1 .. $number) . 'COMMIT');
    return;
}

# As of now, what a column of gateway_pool_workers says of the worker here.
sub worker_says
{
    my ($column) = @_;
    return $db->value(qq{SELECT $column FROM gateway_pool_workers WHERE database = current_database()});
}

my @alone = map { deaths() } 1 .. 3;
is(scalar @alone, 3, 'deaths are seen where there is little to do');

subtest 'long lists of authorities' => sub {
    my $bundle = bundle($tls->{ca}, 40, 60_000);

    cmp_ok(length $bundle, '<=', 65_536, 'as long as may be');
    probe_many('bundle', 30, 'tls', $address, server_name => 'gw.test', ca_certificate => $bundle, probe_interval => '150 ms', timeout => '150 ms');
    $db->comes_to(map { ("bundle $_" => [ 'up', 'healthy: probe up' ]) } 1 .. 30);
    my @beside = map { deaths() } 1 .. 3;
    is(scalar @beside, 3, 'deaths are seen beside them');
    # It took ten times as long, where the machine has not much else to do.
    cmp_ok(average(@beside), '<', 1.5 * average(@alone), 'about as fast');
    note("alone: @alone; beside them: @beside");
    ok(soon(sub { worker_says('probes_count') eq 't' }), 'timeouts of probes count');
    unlike(worker_says('problem'), qr/ of the time is /, 'and knows of nobody who takes its time');
    $db->value(q{DELETE FROM gateway_probes WHERE "caCertificate" IS NOT NULL});
};

subtest 'more than there is time for' => sub {
    my ($ca) = map { slurp_file($_) } $tls->{ca};
    my $problem;

    probe_many('much', 200, 'https', $address, server_name => 'gw.test', path => '/health', ca_certificate => $ca, probe_interval => '100 ms', timeout => '100 ms');
    ok(soon(sub { $problem = worker_says('problem'); return $problem =~ /less often/ }), 'the worker says so');
    like($problem, qr/^gateways are probed \d+\.\d times less often: (?:\d+ % of the time is https, most of gateway [0-9a-f-]{36}|the machine is too busy)$/, 'and why');
    $db->shows(q{SELECT problem, detail LIKE 'gateways are probed %' FROM check_gateway_pools() WHERE problem LIKE 'worker %'}, 'worker overloaded|t', 'so does the doctor');
    ok(soon(sub { worker_says('probes_count') eq 't' }), 'timeouts of probes count');
    ok(defined deaths(300), 'and deaths are seen');
    $db->value(q{DELETE FROM gateway_probes WHERE "caCertificate" IS NOT NULL});
    ok(soon(sub { worker_says('problem') !~ / of the time is / }), 'nobody takes its time any more') || diag(worker_says('problem'));
};

$db->shows(q{SELECT "gatewayName", "oldStatus", "newStatus", reason FROM gateway_health_events
              WHERE "gatewayName" IN ('good 11', 'good 12') AND "oldStatus" <> 'unknown'}, '', 'those who did not die never seemed to');
is($db->worker, $worker, 'the same worker');

$node->stop;
done_testing();
