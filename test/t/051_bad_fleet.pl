# Many bad gateways of each kind do not delay the probes of good ones.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;
use List::Util qw(sum);
use Patience qw(soon);
use Peers;
use PoolDatabase qw(start_node);
use Probed;
use Test::More;
use Time::HiRes qw(time);

my $peers = Peers->new;
my $node = start_node('main', conf => join "\n", 'gateway_pool.default_entitlement = on', "gateway_pool.probe_denied_networks = 'fe80::/10'",
    'gateway_pool.probe_interval = 1s', 'gateway_pool.probe_timeout = 1s', 'gateway_pool.probe_retry_interval = 200ms',
    'gateway_pool.probe_fall = 3', 'gateway_pool.probe_rise = 1', 'autovacuum = off');
my $db = Probed->of_acme($node);
my $worker = $db->worker;

sub descriptors { my @all = glob "/proc/$worker/fd/*"; return scalar @all }

sub memory
{
    my ($kilobytes) = PostgreSQL::Test::Utils::slurp_file("/proc/$worker/status") =~ /^VmRSS:\s+(\d+)/m;
    return $kilobytes;
}

# Good gateways: some die now and then, the others must stay healthy.
my %good = map { ("good $_" => $peers->start('http', 200)) } 1 .. 20;
my @mortal = map { "good $_" } 1 .. 14;
$db->add(keys %good);
my $descriptors = descriptors();
$db->value(join '', map { Probed::probe_sql($_, $_ =~ /[02468]$/ ? 'http' : 'tcp', $good{$_}{target}) } keys %good);
$db->comes_to(map { $_ => [ 'up', 'healthy: probe up' ] } keys %good);

# Stops the mortal gateways at once, and restarts them; returns after how many seconds
# their deaths were recorded, on average.
sub deaths
{
    my $seen = q{SELECT count(*) FROM gateway_health_events WHERE "newStatus" = 'unhealthy' AND "gatewayName" LIKE 'good %'};
    my $before = $db->value($seen);
    my $begun = time;

    $good{$_}->stop foreach @mortal;
    soon(sub { return $db->value($seen) >= $before + @mortal }) or return;
    my $mean = $db->value(qq{SELECT avg(extract(epoch FROM "occurredAt") - $begun) FROM (
        SELECT "occurredAt" FROM gateway_health_events WHERE "newStatus" = 'unhealthy' AND "gatewayName" LIKE 'good %'
         ORDER BY id DESC LIMIT } . @mortal . ') e');
    $good{$_}->restart foreach @mortal;
    soon(sub { return $db->value(q{SELECT count(*) FROM gateway_status WHERE name LIKE 'good %' AND status IN ('healthy', 'degraded')}) == 20 })
      or return;
    return $mean;
}

sub average { return sum(@_) / @_ }

my @alone = map { deaths() } 1 .. 3;

# Bad gateways: their probes, their number, and the expected failure.
my %bad = (
    'tcp refused' => [ 30, 'refused' ],
    'tcp blackhole' => [ 30, 'timeout while connecting', 'blackhole' ],
    'tls tlssilent' => [ 30, 'timeout in the tls handshake' ],
    'https silent' => [ 30, 'timeout in the tls handshake' ],
    'tls tlsgarbage' => [ 30, 'tls handshake' ],
    'http reset' => [ 30, 'reset' ],
    'http open' => [ 30, 'timeout waiting for the answer' ],
    'http silent' => [ 30, 'timeout waiting for the answer' ],
    'http half' => [ 30, 'timeout waiting for the answer' ],
    'http slow' => [ 30, 'timeout waiting for the answer', 5000 ],
    'http drip' => [ 30, 'timeout waiting for the answer' ],
    'http halfclose' => [ 30, 'no answer' ],
    'http http09' => [ 30, 'not http' ],
    'http garbage' => [ 30, 'not http' ],
    'http redirect' => [ 30, 'status 302', 'http://127.0.0.1:1/' ],
    'http endless' => [ 10, 'header too long' ],
    'http endless-lines' => [ 10, 'header too long' ]);
my $sql = '';
foreach my $label (sort keys %bad)
{
    my ($number, undef, @arguments) = @{ $bad{$label} };
    my ($protocol, $kind) = split / /, $label;

    @arguments = () if $kind eq 'blackhole';
    my @fleet = $peers->fleet($number, $kind, @arguments);
    $db->add(map { "$label $_" } 1 .. $number);
    $sql .= join '', map { Probed::probe_sql("$label $_", $protocol, $fleet[ $_ - 1 ]{target}, probe_interval => '2 s', timeout => '1 s') } 1 .. $number;
}
$db->value("BEGIN; $sql COMMIT");
$db->comes_to(map { my $label = $_; map { ("$label $_" => [ "down: $bad{$label}[1]", "unhealthy: probe down: $bad{$label}[1]" ]) } 1 .. $bad{$label}[0] } keys %bad);

deaths();
my $memory = memory();
my @among_bad = map { deaths() } 1 .. 4;
is(scalar @alone, 3, 'deaths are recorded with good gateways only');
is(scalar @among_bad, 4, 'deaths are recorded with bad gateways');
cmp_ok(average(@among_bad), '<', 1.2 * average(@alone), 'they are recorded as fast')
  || diag("alone: @alone; among bad ones: @among_bad");
note("alone: @alone; among bad ones: @among_bad");

$db->shows(q{SELECT "gatewayName", "oldStatus", "newStatus", reason FROM gateway_health_events
              WHERE "gatewayName" IN (} . join(', ', map { "'good $_'" } 15 .. 20) . q{) AND "oldStatus" <> 'unknown'}, '', 'the other good gateways stay healthy');
$db->shows(q{SELECT count(*) FROM gateway_health_events WHERE "gatewayName" NOT LIKE 'good %' AND "newStatus" <> 'unhealthy'}, '0', 'the bad ones stay unhealthy');
is($db->worker, $worker, 'the worker is the same');
cmp_ok(memory(), '<', $memory + 4096, 'its memory has not grown');
$db->value('DELETE FROM gateway_probes');
ok(soon(sub { $db->value('SELECT targets FROM gateway_pool_workers WHERE database = current_database()') eq '0' }), 'no gateway is probed any more') || diag($db->value('SELECT * FROM gateway_pool_workers'));
# It may have some more for the resolver and the server's files.
ok(soon(sub { descriptors() <= $descriptors + 8 }), 'all connections are closed') || diag(descriptors() . " descriptors, $descriptors at first");

$node->stop;
done_testing();
