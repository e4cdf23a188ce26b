# More hanging gateways than places to probe them: they stay down.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;
use Peers;
use PoolDatabase qw(start_node);
use Test::More;

my $acme = 'a0000000-0000-4000-8000-000000000001';
my $number = 20;

# One place in four is for gateways that are known to hang, so each of them is probed
# every 6 s: its last probe is then older than three intervals.
my $peers = Peers->new;
my @fleet = $peers->fleet($number, 'blackhole');
my $node = start_node('main', conf => join "\n", 'gateway_pool.default_entitlement = on',
    "gateway_pool.probe_denied_networks = 'fe80::/10'", 'gateway_pool.probe_concurrency = 4',
    'gateway_pool.probe_interval = 500ms', 'gateway_pool.probe_timeout = 300ms',
    'gateway_pool.probe_retry_interval = 100ms');
my $db = PoolDatabase->create_with_host_functions($node, 'app');
$db->value(qq{
    SELECT host_test.make_host('public', 2);
    CREATE EXTENSION gateway_pool;
    SELECT host_test.add_org('public', 'acme', '$acme')});
$db->value(join ";\n", 'BEGIN',
    (map { "SELECT set_gateway_probe(host_test.add_gateway('public', '$acme', 'gateway $_', '0 s'), 'tcp', '$fleet[$_]->{target}')" } 0 .. $#fleet),
    q{UPDATE gateways_v2 SET "heartbeatTTL" = 3600}, 'COMMIT');

# Each is probed three more times after it was found down.
ok($node->poll_query_until('app', qq{SELECT count(*) = $number AND min("consecutiveFailures") >= 6 FROM gateway_probe_status}), 'all are probed in turn');
$db->shows('SELECT status, count(*) FROM gateway_status GROUP BY 1', "unhealthy|$number", 'all are unhealthy in spite of fresh heartbeats');
$db->shows(q{SELECT count(*) FROM gateway_health_events WHERE "oldStatus" = 'unhealthy'}, 0, 'none has looked healthy in between');

$node->stop;
done_testing();
