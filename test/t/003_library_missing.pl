# The library file is missing: calls that need it raise an error, and DROP EXTENSION
# CASCADE leaves the host its tables with all data.  When the file is back, CREATE
# EXTENSION restores every trigger.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;
use PoolDatabase qw(start_node private_installation same_lines);
use PostgreSQL::Test::Utils;
use Test::More;

my $acme = 'a0000000-0000-4000-8000-000000000001';
my $beta = 'a0000000-0000-4000-8000-000000000002';
my $pool = 'b0000000-0000-4000-8000-000000000001';
my $auth = 'c0000000-0000-4000-8000-000000000001';
my $gateway = '90000000-0000-4000-8000-000000000001';

my ($installation, $library) = private_installation();
my $node = start_node('main', install_path => $installation, conf => q{shared_preload_libraries = ''});
my $db = PoolDatabase->create_with_host_functions($node, 'app');
my $owner = $db->as('app_owner');
my ($objects, $tables, $rows, $output);

# Returns the objects that do not belong to the extension: none of its views and
# functions, and only the host's triggers.
sub without_extension
{
    my $superuser = $node->safe_psql('postgres', 'SELECT current_user');

    return join("\n", grep {
            !/^extension gateway_pool |^function .* \Q$superuser\E |^view |^(?:relation|column) v |^trigger .* gateway_pool_internal\.\w+\(.*\)$/
    } split(/\n/, $_[0]));
}

sub rename_library
{
    my ($from, $to) = @_;
    rename $from, $to or die "rename $from: $!";
    return;
}

$node->safe_psql('postgres', 'CREATE ROLE app_owner LOGIN; CREATE ROLE app LOGIN');
$db->value(qq{
    SELECT host_test.make_host('public', 2, 'app_owner');
    CREATE EXTENSION gateway_pool;
    SELECT host_test.add_org('public', 'acme', '$acme'), host_test.add_org('public', 'beta', '$beta');
    SELECT host_test.add_gateway('public', '$acme', 'g1', '0s', '$gateway');
    UPDATE gateways_v2 SET "heartbeatTTL" = 86400;
    SELECT set_gateway_pool_entitlement('$acme', true, 7), set_gateway_pool_entitlement('$beta', true);
    INSERT INTO gateway_pools (id, "orgId", name) VALUES ('$pool', '$acme', 'edge');
    INSERT INTO gateway_pools ("orgId", name) VALUES ('$beta', 'edge');
    INSERT INTO gateway_pool_memberships ("gatewayPoolId", "gatewayId", "pickWeight") VALUES ('$pool', '$gateway', 9);
    INSERT INTO gateway_states ("gatewayId", state) VALUES ('$gateway', 'active');
    INSERT INTO gateway_probes ("gatewayId", protocol, address) VALUES ('$gateway', 'tcp', 'localhost:1');
    SELECT host_test.add_kubernetes_auth('public', '$acme', 'k', '$auth');
    UPDATE identity_kubernetes_auths SET "gatewayPoolId" = '$pool';
    GRANT SELECT ON gateway_pools TO app;
    DELETE FROM gateway_pool_entitlements WHERE "orgId" = '$beta'});
$objects = $db->objects('public');
$rows = $db->rows('public');
$db->shows("SELECT pick_healthy_gateway('$pool')", $gateway, 'the private installation works');
$db->shows('SELECT problem FROM check_gateway_pools() WHERE problem <> \'not preloaded\'', 'pools without a plan', 'check_gateway_pools() reports the one problem that the test creates');

my $old_session = $owner->session;
$old_session->value("BEGIN; UPDATE gateways_v2 SET name = name RETURNING pick_healthy_gateway('$pool'); ROLLBACK");

# The library is missing.
rename_library($library, "$library.away");
foreach my $statement (
    q{UPDATE gateways_v2 SET heartbeat = now()},
    qq{UPDATE identity_kubernetes_auths SET "gatewayPoolId" = NULL},
    qq{INSERT INTO gateway_pools ("orgId", name) VALUES ('$acme', 'two')},
    q{DELETE FROM gateway_pools},
    qq{SELECT pick_healthy_gateway('$pool')},
    q{SELECT * FROM gateway_status},
    q{SELECT install_gateway_pools()})
{
    $output = $owner->fails($statement, '58P01', "new session: $statement");
    like($output, qr/could not access file "(\$libdir\/)?gateway_pool"/, 'the error names the library');
}
$owner->works(qq{SELECT * FROM gateways_v2; SELECT * FROM gateway_pools; UPDATE organizations SET name = name;
                 INSERT INTO relays (name, host) VALUES ('r', 'h'); DELETE FROM relays WHERE name = 'r'},
    'new session: statements that do not need the library work');
$old_session->shows("BEGIN; UPDATE gateways_v2 SET heartbeat = now() RETURNING pick_healthy_gateway('$pool'); ROLLBACK", $gateway,
    'a session that has called the same functions before keeps working');
$rows = $db->rows('public');

# The extension is dropped, the data stays.
$output = $db->fails('DROP EXTENSION gateway_pool', '2BP01', 'DROP EXTENSION is refused');
like($output, qr/trigger GatewayPools_refuse_delete on table gateway_pools depends on/, 'the error names a trigger that depends on it');
$db->works('DROP EXTENSION gateway_pool CASCADE', 'DROP EXTENSION CASCADE works without the library');
is($db->rows('public'), $rows, 'all rows are still there');
$tables = $db->objects('public');
same_lines($tables, without_extension($objects), 'tables, columns, keys, indexes, privileges and the host\'s triggers are still there');
like($tables, qr/^constraint public\.identity_kubernetes_auths \S+ t FOREIGN KEY \("gatewayPoolId"\) REFERENCES public\.gateway_pools/m,
    'for example the consumer\'s key');
unlike($tables, qr/GatewayPools_(?:enforce|route|refuse)|pick_healthy_gateway/, 'no object of the extension is left');
$old_session->works('BEGIN; UPDATE gateways_v2 SET name = name; ROLLBACK', 'the session that has loaded the library keeps working');
$owner->works(qq{
    BEGIN;
    UPDATE gateways_v2 SET heartbeat = now();
    INSERT INTO gateways_v2 ("orgId", name) VALUES ('$beta', 'new');
    UPDATE identity_kubernetes_auths SET "gatewayPoolId" = NULL;
    UPDATE identity_kubernetes_auths SET "gatewayPoolId" = '$pool', "gatewayV2Id" = '$gateway';
    INSERT INTO gateway_pools ("orgId", name) VALUES ('$beta', 'No Rule');
    INSERT INTO gateway_pool_memberships ("gatewayPoolId", "gatewayId") SELECT p.id, '$gateway' FROM gateway_pools p WHERE name = 'No Rule';
    UPDATE gateway_pools SET name = 'Nor Here' WHERE id = '$pool';
    ROLLBACK}, 'the host can write rows that break the rules');
$owner->shows(qq{BEGIN; DELETE FROM gateway_pools WHERE id = '$pool';
                 SELECT count(*), count("gatewayPoolId") FROM identity_kubernetes_auths; ROLLBACK}, '1|0',
    'deleting a pool sets the reference to null, as the key says');
$output = $db->fails('CREATE EXTENSION gateway_pool', '58P01', 'CREATE EXTENSION fails without the library');
same_lines($db->objects('public'), $tables, 'the failed CREATE EXTENSION leaves nothing behind');

# The library is back.
rename_library("$library.away", $library);
$db->works('CREATE EXTENSION gateway_pool', 'CREATE EXTENSION works with the library');
same_lines($db->objects('public'), $objects, 'all objects are as before: triggers, keys, indexes, privileges');
is($db->rows('public'), $rows, 'all rows are as before, and no entitlement was added');
$db->shows('SELECT problem FROM check_gateway_pools() WHERE problem <> \'not preloaded\'', 'pools without a plan', 'check_gateway_pools() reports the one problem again');
$db->shows(qq{DELETE FROM gateway_pools WHERE "orgId" = '$beta'; SELECT * FROM check_gateway_pools() WHERE problem <> 'not preloaded'}, '',
    'check_gateway_pools() reports no problem after its remedy');
foreach ([ 'old session', $old_session ], [ 'new session', $owner ])
{
    my ($where, $session) = @$_;

    $session->shows("SELECT pick_healthy_gateway('$pool')", $gateway, "$where: picks work");
    $session->works('UPDATE gateways_v2 SET heartbeat = now()', "$where: heartbeats work");
    $session->fails("DELETE FROM gateway_pools WHERE id = '$pool'", '23503 gateway_pools_in_use', "$where: the deletion guard works");
    $session->fails(qq{INSERT INTO gateway_pools ("orgId", name) VALUES ('$beta', 'x')}, '42501 gateway_pools_entitlement',
        "$where: entitlements are checked");
    $session->fails(qq{UPDATE gateway_pools SET name = 'No Rule'}, '23514 gateway_pools_name_check', "$where: names are checked");
}
$db->as('app')->shows("SELECT pick_healthy_gateway('$pool')", $gateway, 'an application role picks');
$old_session->end;

# Uninstalling without CASCADE.
$db->works('SELECT uninstall_gateway_pools(); DROP EXTENSION gateway_pool', 'the extension can be dropped after uninstall_gateway_pools()');
same_lines(without_extension($db->objects('public')), $tables, 'uninstalling leaves the same tables');

done_testing();
