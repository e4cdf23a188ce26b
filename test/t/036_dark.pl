# More gateways that hang than there are places to probe them in: they stay down.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;
use Peers;
use PoolDatabase qw(start_node);
use Test::More;

my $acme = 'a0000000-0000-4000-8000-000000000001';
my $number = 20;

# One place in four is for those that are known to hang, so that each of them has
# its turn every 6 s: its last probe is older than three intervals before that.
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

# Three turns of each after it was found down.
ok($node->poll_query_until('app', qq{SELECT count(*) = $number AND min("consecutiveFailures") >= 6 FROM gateway_probe_status}), 'all are probed in turn');
$db->shows('SELECT status, count(*) FROM gateway_status GROUP BY 1', "unhealthy|$number", 'all are down, though their hearts beat');
$db->shows(q{SELECT count(*) FROM gateway_health_events WHERE "oldStatus" = 'unhealthy'}, 0, 'and none has looked alive in between');

$node->stop;
done_testing();
