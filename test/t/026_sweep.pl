# What frees slots and counters of deleted gateways and pools believes no transaction that
# has not committed.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;
use MovedClock;
use PoolDatabase qw(start_node);
use Test::More;

my $acme = 'a0000000-0000-4000-8000-000000000001';
my $clock = MovedClock->new;
my $node = $clock->during(sub {
    start_node('main', conf => join "\n", 'gateway_pool.max_gateways = 16', 'gateway_pool.default_entitlement = on', 'gateway_pool.worker = off') });
my $db = PoolDatabase->create_with_host_functions($node, 'app');

sub gateway { return sprintf '90000000-0000-4000-8000-%012d', $_[0] }
sub pool { return sprintf 'b0000000-0000-4000-8000-%012d', $_[0] }

# Adds a gateway without a heartbeat, and a pool of it, by default with the same number.
sub add
{
    my ($number) = @_;
    return sprintf q{SELECT host_test.add_gateway('public', '%s', 'g%d', NULL, '%s')}, $acme, $number, gateway($number);
}

sub add_pool
{
    my ($number, $gateway) = @_;
    return sprintf q{INSERT INTO gateway_pools (id, "orgId", name) VALUES ('%s', '%s', 'p%d');
        INSERT INTO gateway_pool_memberships ("gatewayPoolId", "gatewayId") VALUES ('%1$s', '%s')}, pool($number), $acme, $number, gateway($gateway // $number);
}

sub beat { return sprintf q{SELECT record_gateway_heartbeat('%s', '1 day')}, gateway($_[0]) }
sub delete_gateway { return sprintf q{DELETE FROM gateways_v2 WHERE id = '%s'}, gateway($_[0]) }
sub status { return $db->value(sprintf q{SELECT status, reason FROM gateway_status WHERE "gatewayId" = '%s'}, gateway($_[0])) }

# A pick of a gateway without a slot: the map is searched for slots that can be freed, if
# the last time is long enough ago.
sub pick { return sprintf q{SELECT pick_healthy_gateway('%s', null_if_none => true)}, pool($_[0]) }

$db->value(qq{SELECT host_test.make_host('public', 2); CREATE EXTENSION gateway_pool; SELECT host_test.add_org('public', 'acme', '$acme')});
$db->value(join ';', map { add($_), add_pool($_), beat($_) } 1 .. 16);
$db->value(join ';', add(17), add_pool(17));
my $session = $db->session;

$session->value(join ';', 'BEGIN', delete_gateway(16), pick(17), 'ROLLBACK');
is(status(16), 'healthy|heartbeat fresh', 'a deletion that is rolled back takes no evidence');
$db->shows(pick(16), gateway(16), 'the gateway can be picked');

$clock->advance(11);
$session->value(join ';', 'BEGIN', 'SAVEPOINT s', delete_gateway(16), 'RELEASE s', pick(17), 'ROLLBACK');
is(status(16), 'healthy|heartbeat fresh', 'nor does one in a savepoint');

# A gateway that another transaction inserts, and reports a heartbeat of.
$clock->advance(11);
$db->value(delete_gateway(16));
$session->value(join ';', 'BEGIN', add(18), beat(18));
$db->value(pick(17));
$session->value('COMMIT');
is(status(18), 'healthy|heartbeat fresh', 'a heartbeat that was reported before the commit of the gateway stays');

# Slots of gateways whose insertion was rolled back are freed.
$db->value(delete_gateway(18));
$session->value(join ';', 'BEGIN', add(19), beat(19), 'ROLLBACK');
$clock->advance(11);
$db->value(join ';', pick(17), beat(17));
is(status(17), 'healthy|heartbeat fresh', 'a slot is freed after the gateway was rolled back');

# A gateway that is deleted and inserted again, while another session reports.
$db->value(delete_gateway($_)) foreach 10 .. 15;
$db->value(join ';', add(20), sprintf q{UPDATE gateways_v2 SET heartbeat = clock_timestamp(), "heartbeatTTL" = 3600 WHERE id = '%s'}, gateway(20));
$session->value(join ';', 'BEGIN', q{CREATE TEMP TABLE saved ON COMMIT DROP AS SELECT * FROM gateways_v2 WHERE name = 'g20'},
    delete_gateway(20), 'INSERT INTO gateways_v2 SELECT * FROM saved');
$db->value(sprintf q{SELECT report_gateway_failure('%s', 'reset')}, gateway(20));
$session->value('ROLLBACK');
is(status(20), 'degraded|suspect: reset', 'what was reported meanwhile stays after the rollback of a deletion and insertion');

# Counts of picks: 32 rows.
my $count = sprintf q{SELECT sum(picks) FROM gateway_pool_stats WHERE "gatewayPoolId" = '%s'}, pool(1);
$db->value(sprintf q{SELECT count(pick_healthy_gateway('%s')) FROM generate_series(1, 100)}, pool(1));
$db->value("SELECT pick_healthy_gateway('" . pool($_) . "')") foreach 2 .. 9;
$db->shows($count, 200, 'a pool and its member are counted');
$session->value('BEGIN; DELETE FROM gateway_pools WHERE id = \'' . pool(1) . q{'});
$session->value(join ';', add_pool($_, 2), pick($_)) foreach 101 .. 106;
$session->value('ROLLBACK');
$db->shows($count, 200, 'a deletion that is rolled back takes no counts');
$session->end;
$node->stop;
done_testing();
