# Changes that no trigger publishes, because the owner of a table has disabled or dropped
# it: sessions that have cached pools see them, while it is disabled and after that.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;
use PoolDatabase qw(start_node);
use Test::More;

my $acme = 'a0000000-0000-4000-8000-000000000001';
my $pool = 'b0000000-0000-4000-8000-000000000001';
my $node = start_node('main', conf => 'gateway_pool.default_entitlement = on');
my $db = PoolDatabase->create_with_host_functions($node, 'app');

$db->value(qq{
    SELECT host_test.make_host('public', 2);
    CREATE EXTENSION gateway_pool;
    SELECT host_test.add_org('public', 'acme', '$acme');
    SELECT host_test.add_gateway('public', '$acme', 'g' || i, '0 s') FROM generate_series(1, 6) i;
    INSERT INTO gateway_pools (id, "orgId", name) VALUES ('$pool', '$acme', 'edge');
    INSERT INTO gateway_pool_memberships ("gatewayPoolId", "gatewayId") SELECT '$pool', id FROM gateways_v2;
    UPDATE gateways_v2 SET capabilities = '{"ssh": true}'});
my $session = $db->session;

# The members that the session may pick, by its cache once it has one.
sub picks
{
    my ($expected, $label) = @_;
    my $sql = qq{SELECT coalesce(string_agg(g.name, ' ' ORDER BY g.name), 'none')
        FROM pick_healthy_gateways('$pool', 10, capabilities => '{"ssh": true}', null_if_none => true) p JOIN gateways_v2 g ON g.id = p};

    local $Test::Builder::Level = $Test::Builder::Level + 1;
    return $session->shows($sql, $expected, $label);
}

sub remove_member { return qq{DELETE FROM gateway_pool_memberships USING gateways_v2 g WHERE g.id = "gatewayId" AND g.name = '$_[0]'} }
sub remove_capability { return qq{UPDATE gateways_v2 SET capabilities = '{}' WHERE name = '$_[0]'} }
sub enable { return qq{ALTER TABLE $_[0] ENABLE ALWAYS TRIGGER "GatewayPools_invalidate"} }

picks('g1 g2 g3 g4 g5 g6', 'all members are picked');
$db->value('ALTER TABLE gateway_health RENAME TO gh; ' . remove_member('g1') . '; ALTER TABLE gh RENAME TO gateway_health');
picks('g2 g3 g4 g5 g6', 'a member that is removed while a table has another name is not');

my @left = map { "g$_" } 2 .. 6;
foreach (
    [ 'a member is removed', 'gateway_pool_memberships', \&remove_member ],
    [ 'a capability is removed', 'gateways_v2', \&remove_capability ],
    [ 'a gateway is in maintenance', 'gateway_states', sub { qq{INSERT INTO gateway_states ("gatewayId", state) SELECT id, 'maintenance' FROM gateways_v2 WHERE name = '$_[0]'} } ])
{
    my ($what, $table, $change) = @$_;

    picks("@left", "$what: before");
    $db->value("ALTER TABLE $table DISABLE TRIGGER ALL; " . $change->(shift @left) . "; ALTER TABLE $table ENABLE TRIGGER ALL; " . enable($table));
    picks("@left", "$what while triggers are disabled: the session sees it later");
}

# While they are disabled.
foreach ([ 'gateways_v2', \&remove_capability ], [ 'gateway_pool_memberships', \&remove_member ])
{
    my ($table, $change) = @$_;

    $db->value("ALTER TABLE $table DISABLE TRIGGER USER");
    picks("@left", "triggers of $table are disabled: before a change");
    $db->value($change->(shift @left));
    picks(@left ? "@left" : 'none', "triggers of $table are disabled: the session sees a change at once");
    $db->value(enable($table));
}
$db->value(qq{INSERT INTO gateway_pool_memberships ("gatewayPoolId", "gatewayId") SELECT '$pool', id FROM gateways_v2 WHERE name = 'g6'});
picks('g6', 'a new member is picked');
$db->value('DROP TRIGGER "GatewayPools_invalidate" ON gateways_v2');
picks('g6', 'the trigger is dropped: before a change');
$db->value(remove_capability('g6'));
picks('none', 'the trigger is dropped: the session sees a change at once');
$session->end;
$node->stop;
done_testing();
