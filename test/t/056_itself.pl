# A closed port of this machine, in the range of local ports: a probe that connects to itself is refused.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;
use IO::Socket::INET;
use Test::More;

# Runs this file again in a network namespace of its own, whose settings it may change.
BEGIN
{
    if (!$ENV{GATEWAY_POOL_TEST_NAMESPACE})
    {
        my @unshare = ('unshare', '--net', $> == 0 ? () : ('--user', '--map-current-user', '--keep-caps'));

        plan skip_all => 'this machine permits no network namespace' if system("@unshare true 2> /dev/null") != 0;
        $ENV{GATEWAY_POOL_TEST_NAMESPACE} = 1;
        exec @unshare, $^X, (map { "-I$_" } @INC), $0 or die "unshare: $!";
    }
}

use PoolDatabase qw(start_node);
use Probed;

my ($first_port, $ports) = (50_000, 64);

# The loopback interface goes up: SIOCSIFFLAGS with IFF_UP and IFF_RUNNING.
my $socket = IO::Socket::INET->new(Proto => 'udp') // die "socket: $@";
my $up = pack 'a16 s x22', 'lo', 0x41;
ioctl $socket, 0x8914, $up or die "ioctl: $!";
open my $range, '>', '/proc/sys/net/ipv4/ip_local_port_range' or die "open: $!";
syswrite $range, "$first_port " . ($first_port + $ports - 1) or die "write: $!";
close $range;

my $node = start_node('main', conf => join "\n", 'gateway_pool.default_entitlement = on', "gateway_pool.probe_denied_networks = 'fe80::/10'",
    'gateway_pool.probe_interval = 200ms', 'gateway_pool.probe_timeout = 200ms', 'gateway_pool.probe_retry_interval = 100ms', 'gateway_pool.probe_rise = 1');
my $db = Probed->of_acme($node);
my $listener = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => 8000, Listen => 5) // die "listen: $@";
my @closed = map { $first_port + $_ } 0 .. $ports - 1;

$db->add('open', map { "port $_" } @closed);
$db->value(Probed::probe_sql('open', 'tcp', '127.0.0.1:8000') . join '', map { Probed::probe_sql("port $_", 'tcp', "127.0.0.1:$_") } @closed);
$db->comes_to(open => [ 'up', 'healthy: probe up' ], map { ("port $_" => [ 'down: refused', 'unhealthy: probe down: refused' ]) } @closed);
# One in 64 of such probes connects to itself.
ok($node->poll_query_until('app', q{SELECT min("consecutiveFailures") >= 10 FROM gateway_probe_status WHERE name LIKE 'port %'}), 'each is probed ten times');
$db->shows(q{SELECT string_agg(DISTINCT "gatewayName", ' ') FROM gateway_health_events WHERE "newStatus" NOT IN ('unhealthy', 'unknown')}, 'open', 'none of them was up');

$node->stop;
done_testing();
