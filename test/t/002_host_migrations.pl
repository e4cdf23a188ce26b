# The host's migrations run with the extension installed and rows present, each
# in one transaction; picks and views use the new columns at once, in new sessions and
# in sessions that planned their statements before.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;
use PoolDatabase qw(start_node same_lines);
use Test::More;

my $acme = 'a0000000-0000-4000-8000-000000000001';
my $beta = 'a0000000-0000-4000-8000-000000000002';
my $pool = 'b0000000-0000-4000-8000-000000000001';
my $auth = 'c0000000-0000-4000-8000-000000000001';

# Gateways by name.
my %gateway = map { $_->[1] => sprintf('90000000-0000-4000-8000-%012d', $_->[0]) } (
    [ 1, 'fresh' ], [ 2, 'late' ], [ 3, 'expired' ], [ 4, 'failed' ], [ 5, 'never' ], [ 6, 'direct' ], [ 7, 'unrelayed' ]);

my $node = start_node('main');
$node->safe_psql('postgres', 'CREATE ROLE app_owner LOGIN; CREATE ROLE app LOGIN');

# Returns the status of each gateway, and the gateways that can be picked, by name.
my $statuses = q{SELECT string_agg(name || ' ' || status || ' (' || reason || ')', E'\n' ORDER BY name) FROM gateway_status};
my $members = q{SELECT string_agg(name || ' ' || status || ' (' || reason || ')', E'\n' ORDER BY name) FROM gateway_pool_members};
my $picked = "SELECT coalesce(string_agg(g.name, ' ' ORDER BY g.name), 'none')"
  . " FROM pick_healthy_gateways('$pool', 100, null_if_none => true) p (id) JOIN gateways_v2 g USING (id)";

my $lifetimes = 'SELECT DISTINCT "heartbeatExpiresAt" - "lastHeartbeatAt" FROM gateway_status'
  . ' WHERE "heartbeatExpiresAt" IS NOT NULL ORDER BY 1';

# Plans statements that have to work after every migration below.
sub open_session
{
    my ($db) = @_;
    my $session = $db->session;

    $session->value(qq{
        SET plan_cache_mode = force_generic_plan;
        PREPARE statuses AS $statuses;
        PREPARE members AS $members;
        PREPARE picked AS $picked;
        PREPARE pick_one (uuid) AS
            SELECT name::text FROM (SELECT pick_healthy_gateway(\$1, null_if_none => true) OFFSET 0) p (id) JOIN gateways_v2 USING (id);
        PREPARE label AS SELECT label FROM gateway_pool_status;
        PREPARE options AS SELECT count(*) FROM gateway_options WHERE kind = 'gateway' AND health = 'green';
        PREPARE count_token (text) AS UPDATE gateways_v2 SET "tokenVersion" = "tokenVersion" + 1 WHERE name = \$1});
    return $session;
}

# Asserts that each gateway has the status "name status (reason)", and that picks, members,
# label and options agree with it, in an open and in a new session.
sub check_status
{
    my ($open, $db, $label, @expected) = @_;
    my $lines = join("\n", sort @expected);
    my @healthy = sort map { /^(\w+) healthy / ? $1 : () } @expected;
    my $names = @healthy ? "@healthy" : 'none';
    my $badge = @healthy . '/' . @expected . ' healthy';

    local $Test::Builder::Level = $Test::Builder::Level + 1;
    foreach ([ 'open session', $open, 'EXECUTE statuses', 'EXECUTE members', 'EXECUTE picked', 'EXECUTE label', 'EXECUTE options' ],
        [ 'new session', $db, $statuses, $members, $picked, 'SELECT label FROM gateway_pool_status',
            q{SELECT count(*) FROM gateway_options WHERE kind = 'gateway' AND health = 'green'} ])
    {
        my ($where, $session, @statements) = @$_;

        $session->shows($statements[0], $lines, "$label, $where: statuses");
        $session->shows($statements[1], $lines, "$label, $where: statuses of the members");
        $session->shows($statements[2], $names, "$label, $where: gateways that can be picked");
        $session->shows($statements[3], $badge, "$label, $where: the label");
        $session->shows($statements[4], scalar @healthy, "$label, $where: the options");
    }
    my $one = $open->value("EXECUTE pick_one ('$pool')");
    ok((@healthy ? (grep { $_ eq $one } @healthy) : $one eq ''), "$label, open session: a single pick returns a healthy member");
    $db->shows('SELECT * FROM check_gateway_pools()', '', "$label: check_gateway_pools() reports no problem");
}

# Runs a migration as the host's tool does, after other statements in the transaction.
sub migrate
{
    my ($db, $function) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;
    $db->works(qq{
        BEGIN;
        UPDATE gateways_v2 SET "tokenVersion" = "tokenVersion" + 1;
        UPDATE gateway_pools SET "updatedAt" = now();
        UPDATE gateway_pool_memberships SET "pickWeight" = "pickWeight";
        UPDATE identity_kubernetes_auths SET "allowedNames" = 'default';
        UPDATE identity_kubernetes_auths SET "gatewayPoolId" = NULL;
        UPDATE identity_kubernetes_auths SET "gatewayPoolId" = '$pool';
        SELECT host_test.$function;
        COMMIT}, $function);
}

# Makes a host at a stage, with one pool that has all gateways as members.
sub make_host
{
    my ($name, $stage) = @_;
    return PoolDatabase->create_with_host($node, $name, $stage, 'app_owner');
}

sub add_rows
{
    my ($db) = @_;

    $db->value("SELECT host_test.add_org('public', 'acme', '$acme')");
    $db->value("SELECT host_test.add_gateway('public', '$acme', '$_', NULL, '$gateway{$_}')") foreach sort keys %gateway;
}

sub add_pool
{
    my ($db) = @_;

    $db->value(qq{
        SELECT set_gateway_pool_entitlement('$acme', true);
        INSERT INTO gateway_pools (id, "orgId", name) VALUES ('$pool', '$acme', 'edge');
        INSERT INTO gateway_pool_memberships ("gatewayPoolId", "gatewayId") SELECT '$pool', id FROM gateways_v2;
        SELECT host_test.add_kubernetes_auth('public', '$acme', 'k', '$auth');
        UPDATE identity_kubernetes_auths SET "gatewayPoolId" = '$pool'});
}

# All migrations up, and down again.
{
    my $db = make_host('up_and_down', 0);
    my $owner = $db->as('app_owner');
    my $open;

    $db->value('CREATE EXTENSION gateway_pool');
    add_rows($db);
    add_pool($db);
    # At the first stage, a failed check writes the time of the failure.
    $db->value(q{
        UPDATE gateways_v2 SET heartbeat = now() - interval '10 minutes', "lastHealthCheckStatus" = 'healthy'
         WHERE name IN ('fresh', 'unrelayed');
        UPDATE gateways_v2 SET heartbeat = now() - interval '45 minutes' WHERE name IN ('late', 'direct');
        UPDATE gateways_v2 SET heartbeat = now() - interval '2 hours', "lastHealthCheckStatus" = 'healthy' WHERE name = 'expired';
        UPDATE gateways_v2 SET heartbeat = now(), "lastHealthCheckStatus" = 'failed' WHERE name = 'failed';
        UPDATE gateways_v2 SET "relayId" = NULL WHERE name = 'unrelayed'});
    $open = open_session($owner);
    $open->value(q{PREPARE beat (text) AS UPDATE gateways_v2 SET heartbeat = now() WHERE name = $1});

    my @hour = ('fresh healthy (heartbeat fresh)', 'late healthy (heartbeat fresh)', 'direct healthy (heartbeat fresh)',
        'unrelayed healthy (heartbeat fresh)', 'expired unhealthy (heartbeat expired)', 'never unknown (no evidence)');
    check_status($open, $db, 'heartbeats with one hour', @hour, 'failed unhealthy (heartbeat failed)');
    $open->shows($lifetimes, '01:00:00', 'heartbeats are fresh for an hour');

    # Times-to-live: 1800 seconds for gateways whose check succeeded, 0 for others.
    migrate($db, "migrate_heartbeat_ttl('public')");
    $db->shows(q{SELECT string_agg(name || ' ' || coalesce("heartbeatTTL"::text, 'none'), ' ' ORDER BY name) FROM gateways_v2},
        'direct 1800 expired 1800 failed 0 fresh 1800 late 1800 never none unrelayed 1800', 'the host has filled in times-to-live');
    my @ttl = ('fresh healthy (heartbeat fresh)', 'late unhealthy (heartbeat expired)', 'direct unhealthy (heartbeat expired)',
        'unrelayed healthy (heartbeat fresh)', 'expired unhealthy (heartbeat expired)', 'failed unhealthy (heartbeat failed)',
        'never unknown (no evidence)');
    check_status($open, $db, 'times-to-live', @ttl);

    $open->works("EXECUTE beat ('late')", 'a heartbeat planned before the migration works');
    check_status($open, $db, 'a heartbeat', 'late healthy (heartbeat fresh)', grep { !/^late / } @ttl);
    $owner->value(q{UPDATE gateways_v2 SET heartbeat = now() - interval '45 minutes' WHERE name = 'late'});
    $owner->value(q{UPDATE gateways_v2 SET heartbeat = now(), "heartbeatTTL" = 180 WHERE name = 'never'});
    check_status($open, $db, 'a first heartbeat', 'never healthy (heartbeat fresh)', grep { !/^never / } @ttl);
    $open->shows($lifetimes, "00:03:30\n00:30:30", 'heartbeats are fresh for their time-to-live and the grace');
    $owner->value(q{UPDATE gateways_v2 SET heartbeat = now() - interval '211 seconds' WHERE name = 'never'});
    check_status($open, $db, 'after the grace', 'never unhealthy (heartbeat expired)', grep { !/^never / } @ttl);
    $owner->value(q{UPDATE gateways_v2 SET heartbeat = NULL, "heartbeatTTL" = NULL WHERE name = 'never'});

    # Capabilities.
    $open->fails(qq{SELECT pick_healthy_gateway('$pool', capabilities => '{"pkcs11": true}')}, '55000 gateway_pools_no_eligible_member',
        'no gateway matches capabilities before the column exists');
    migrate($db, "migrate_capabilities('public')");
    check_status($open, $db, 'capabilities', @ttl);
    $open->fails(qq{SELECT pick_healthy_gateway('$pool', capabilities => '{"pkcs11": true}')}, '55000 gateway_pools_no_eligible_member',
        'no gateway matches capabilities before it reports some');
    $owner->value(q{UPDATE gateways_v2 SET capabilities = '{"pkcs11": true, "ssh": false}' WHERE name IN ('unrelayed', 'failed')});
    $open->shows(qq{SELECT pick_healthy_gateway('$pool', capabilities => '{"pkcs11": true}')}, $gateway{unrelayed},
        'a gateway with capabilities is picked in the open session');
    $db->shows(qq{SELECT pick_healthy_gateway('$pool', capabilities => '{"pkcs11": true}')}, $gateway{unrelayed},
        'a gateway with capabilities is picked in a new session');

    # Direct addresses: the heartbeat through a relay that was removed does not count any more.
    migrate($db, "migrate_direct_address('public')");
    my @direct = ('unrelayed unknown (no evidence)', grep { !/^unrelayed / } @ttl);
    check_status($open, $db, 'direct addresses', @direct);
    $owner->value(q{UPDATE gateways_v2 SET "directAddress" = '192.0.2.1:8443', "directHeartbeat" = now() WHERE name = 'direct'});
    check_status($open, $db, 'a direct path', 'direct healthy (heartbeat fresh)', grep { !/^direct / } @direct);
    $owner->value(q{UPDATE gateways_v2 SET heartbeat = now(), "directHeartbeat" = now() - interval '1 day' WHERE name = 'direct'});
    check_status($open, $db, 'the relay of a gateway with both', 'direct healthy (heartbeat fresh)', grep { !/^direct / } @direct);
    $owner->value(q{UPDATE gateways_v2 SET "directHeartbeat" = now(), "heartbeatTTL" = 0 WHERE name = 'direct'});
    check_status($open, $db, 'failed on all paths', 'direct unhealthy (heartbeat failed)', grep { !/^direct / } @direct);
    $owner->value(q{UPDATE gateways_v2 SET heartbeat = now() - interval '45 minutes', "heartbeatTTL" = 1800,
                           "directAddress" = NULL WHERE name = 'direct'});
    check_status($open, $db, 'a heartbeat on a path that was removed', @direct);

    # A wider name column does not change the rule.
    migrate($db, "widen_pool_name('public', 255)");
    check_status($open, $db, 'wide names', @direct);
    $owner->fails(qq{UPDATE gateway_pools SET name = repeat('a', 33)}, '23514 gateway_pools_name_check',
        'the length of a name is still checked');
    migrate($db, "widen_pool_name('public', 32)");
    check_status($open, $db, 'narrow names', @direct);
    $owner->works(q{UPDATE gateway_pools SET name = 'edge-2'}, 'a pool can be renamed');

    # All migrations again: nothing changes.
    migrate($db, "$_('public')") foreach qw(migrate_heartbeat_ttl migrate_capabilities migrate_direct_address);
    check_status($open, $db, 'everything twice', @direct);

    # And down again.  This removes the failed status.
    migrate($db, "unmigrate_direct_address('public')");
    check_status($open, $db, 'no direct addresses', @ttl);
    migrate($db, "unmigrate_capabilities('public')");
    check_status($open, $db, 'no capabilities', @ttl);
    $open->fails(qq{SELECT pick_healthy_gateway('$pool', capabilities => '{"pkcs11": true}')}, '55000 gateway_pools_no_eligible_member',
        'no gateway matches capabilities without the column');
    # The test itself must not let heartbeats expire.
    $owner->value(q{UPDATE gateways_v2 SET heartbeat = now() - interval '10 minutes' WHERE name IN ('fresh', 'unrelayed', 'failed');
                    UPDATE gateways_v2 SET heartbeat = now() - interval '45 minutes' WHERE name IN ('late', 'direct')});
    migrate($db, "unmigrate_heartbeat_ttl('public')");
    check_status($open, $db, 'heartbeats with one hour again', @hour, 'failed healthy (heartbeat fresh)');
    $owner->value(q{UPDATE gateways_v2 SET "lastHealthCheckStatus" = 'failed' WHERE name = 'failed'});
    check_status($open, $db, 'a failed check', @hour, 'failed unhealthy (heartbeat failed)');

    # The host changes types of columns.
    $owner->value(q{ALTER TABLE gateways_v2 ALTER heartbeat TYPE timestamp USING heartbeat AT TIME ZONE 'UTC',
                                            ALTER "lastHealthCheckStatus" TYPE text, ALTER name TYPE text,
                                            ADD COLUMN capabilities json DEFAULT '{"a": 1}'});
    check_status($open, $db, 'other types', @hour, 'failed unhealthy (heartbeat failed)');
    $open->shows(qq{SELECT count(*) FROM pick_healthy_gateways('$pool', 100, capabilities => '{"a": 1}')}, 4,
        'capabilities of another type match');
    $owner->value(q{ALTER TABLE gateways_v2 DROP COLUMN "lastHealthCheckStatus", ADD COLUMN "heartbeatTTL" numeric DEFAULT 1800});
    check_status($open, $db, 'times-to-live of another type', 'failed healthy (heartbeat fresh)', grep { !/^failed/ } @ttl);
    $open->end;
}

# A host that starts without heartbeats.
{
    my $db = make_host('from_nothing', -1);
    my $owner = $db->as('app_owner');
    my $open;
    my @unknown = map { "$_ unknown (no evidence)" } keys %gateway;
    my @but_fresh = grep { !/^fresh / } @unknown;

    $db->value('CREATE EXTENSION gateway_pool');
    add_rows($db);
    add_pool($db);
    $open = open_session($owner);
    check_status($open, $db, 'no heartbeats', @unknown);
    $open->fails("SELECT pick_healthy_gateway('$pool')", '55000 gateway_pools_no_eligible_member', 'a pick without evidence is refused');

    migrate($db, "migrate_heartbeat_ttl('public')");
    check_status($open, $db, 'times-to-live without heartbeats', @unknown);
    $owner->value(q{UPDATE gateways_v2 SET "heartbeatTTL" = 180 WHERE name = 'fresh'});
    check_status($open, $db, 'a time-to-live without a heartbeat', @unknown);
    $owner->works(q{BEGIN; UPDATE gateways_v2 SET "heartbeatTTL" = 180; ALTER TABLE gateways_v2 ADD COLUMN heartbeat timestamptz;
                    UPDATE gateways_v2 SET "heartbeatTTL" = NULL WHERE name <> 'fresh'; COMMIT}, 'the host adds heartbeats later');
    check_status($open, $db, 'no heartbeat yet', @unknown);
    $open->works("EXECUTE count_token ('fresh'); UPDATE gateways_v2 SET heartbeat = now() WHERE name = 'fresh'",
        'a statement planned before heartbeats exist works, and the first heartbeat too');
    check_status($open, $db, 'a heartbeat', @but_fresh, 'fresh healthy (heartbeat fresh)');

    migrate($db, "unmigrate_heartbeat_ttl('public')");
    check_status($open, $db, 'heartbeats with one hour', @but_fresh, 'fresh healthy (heartbeat fresh)');
    $owner->works('ALTER TABLE gateways_v2 DROP COLUMN heartbeat', 'the host drops heartbeats');
    check_status($open, $db, 'no heartbeats again', @unknown);
    migrate($db, "migrate_direct_address('public')");
    check_status($open, $db, 'only direct addresses', @unknown);
    $owner->value(q{UPDATE gateways_v2 SET "directAddress" = 'gw:1', "directHeartbeat" = now() WHERE name = 'fresh'});
    check_status($open, $db, 'only a direct path', @but_fresh, 'fresh healthy (heartbeat fresh)');
    $open->end;
}

# The extension is created before the host's own migration, which then does nothing.
{
    my $db = make_host('extension_first', 0);
    my $objects;

    add_rows($db);
    $db->value('CREATE EXTENSION gateway_pool');
    add_pool($db);
    $objects = $db->objects('public');
    $db->works("BEGIN; SELECT host_test.migrate_pools('public'); COMMIT", "the host's migration works after the extension");
    same_lines($db->objects('public'), $objects, 'it changes nothing');
    $db->shows('SELECT count(*) FROM gateway_pool_memberships', 7, 'the rows are still there');
    $db->shows('SELECT * FROM check_gateway_pools()', '', 'check_gateway_pools() reports no problem');
    $db->shows('SELECT install_gateway_pools()', '', 'install_gateway_pools() works');
    same_lines($db->objects('public'), $objects, 'install_gateway_pools() changes nothing');
}

# The host's own migration runs first: its tables are adopted unchanged.
{
    my $db = make_host('host_first', 0);
    my $owner = $db->as('app_owner');
    my $long = 'The ' . 'Very ' x 20 . 'Long Name';
    my ($rows, $before, $output);
    my $rows_of_host = sub {
        return $db->value('SELECT id, "orgId", name, "createdAt", "updatedAt" FROM gateway_pools ORDER BY 1;'
              . 'SELECT id, "gatewayPoolId", "gatewayId", "createdAt", "updatedAt" FROM gateway_pool_memberships ORDER BY 1;'
              . 'SELECT id, "gatewayPoolId", "gatewayV2Id", "updatedAt" FROM identity_kubernetes_auths ORDER BY 1');
    };
    my $facts_of_host = sub {
        return join("\n", grep { !/^trigger .* gateway_pool_internal\.\w+\(.*\)$/ }
              grep { !/gateway_pool_ix_|pickWeight|pickPriority/ }
              grep { /gateway_pools|gateway_pool_memberships|identity_kubernetes_auths/ }
              split(/\n/, $db->objects('public', [qw(column constraint index trigger)])));
    };

    add_rows($db);
    $db->value(qq{
        SELECT host_test.migrate_pools('public', 255, 'RESTRICT');
        SELECT host_test.add_org('public', 'beta', '$beta');
        SELECT host_test.add_org('public', 'gamma', 'a0000000-0000-4000-8000-000000000003');
        SELECT host_test.add_gateway('public', '$beta', 'foreign', '0s', '90000000-0000-4000-8000-000000000009');
        UPDATE gateways_v2 SET heartbeat = now() WHERE name IN ('fresh', 'late');
        INSERT INTO gateway_pools (id, "orgId", name) VALUES
            ('$pool', '$acme', '$long'),
            ('b0000000-0000-4000-8000-000000000002', '$acme', 'Under_Score'),
            ('b0000000-0000-4000-8000-000000000003', '$beta', 'good-name');
        INSERT INTO gateway_pool_memberships (id, "gatewayPoolId", "gatewayId") VALUES
            ('d0000000-0000-4000-8000-000000000001', '$pool', '$gateway{fresh}'),
            ('d0000000-0000-4000-8000-000000000002', '$pool', '$gateway{failed}'),
            ('d0000000-0000-4000-8000-000000000003', '$pool', '90000000-0000-4000-8000-000000000009');
        SELECT host_test.add_kubernetes_auth('public', '$acme', 'k', '$auth');
        SELECT host_test.add_kubernetes_auth('public', '$acme', 'both', 'c0000000-0000-4000-8000-000000000002');
        UPDATE identity_kubernetes_auths SET "gatewayPoolId" = '$pool';
        UPDATE identity_kubernetes_auths SET "gatewayV2Id" = '$gateway{late}'
         WHERE id = 'c0000000-0000-4000-8000-000000000002'});
    $rows = $rows_of_host->();
    $before = $facts_of_host->();
    $db->works('CREATE EXTENSION gateway_pool', 'the extension adopts the tables of the host');
    is($rows_of_host->(), $rows, 'adoption changes no row');
    same_lines($facts_of_host->(), $before, 'adoption changes no column, key, index or trigger of the host');
    like($before, qr/ name character varying\(255\)/, 'names keep their width');
    like($before, qr/REFERENCES public.gateway_pools\(id\) ON DELETE RESTRICT/, 'the action of the key is unchanged');
    $db->shows(q{SELECT count(*), min("pickWeight"), max("pickWeight"), min("pickPriority"), max("pickPriority") FROM gateway_pool_memberships},
        '3|1|1|0|0', 'members get default weight and priority');
    $db->shows(q{SELECT o.name, e."gatewayPool", e."maxPools", e."maxGatewaysPerPool", e."expiresAt"
                   FROM gateway_pool_entitlements e JOIN organizations o ON o.id = e."orgId" ORDER BY 1},
        "acme|t|||\nbeta|t|||", 'organizations with pools, and no others, get an entitlement');
    $db->shows('SELECT problem, object FROM check_gateway_pools() ORDER BY 1, 2', join("\n",
            'member of another organization|membership d0000000-0000-4000-8000-000000000003',
            "name not valid|gateway pool $pool",
            'name not valid|gateway pool b0000000-0000-4000-8000-000000000002',
            'pool and gateway both|public.identity_kubernetes_auths."gatewayPoolId"'),
        'check_gateway_pools() reports what breaks the rules');

    # Existing rows keep working; changes are checked.
    my $open = $owner->session;
    $open->shows("SELECT pick_healthy_gateway('$pool', ARRAY['90000000-0000-4000-8000-000000000009']::uuid[])", $gateway{fresh},
        'picks work');
    $open->works(qq{UPDATE gateway_pools SET "updatedAt" = now(), name = name}, 'a row with an invalid name can be updated');
    $open->works(qq{UPDATE identity_kubernetes_auths SET "gatewayPoolId" = "gatewayPoolId", "gatewayV2Id" = "gatewayV2Id",
                           "allowedNames" = 'x'}, 'a row with pool and gateway can be updated');
    $open->works(qq{UPDATE gateway_pool_memberships SET "pickWeight" = 5, "gatewayId" = "gatewayId"}, 'members can be updated');
    $open->works(qq{INSERT INTO gateway_pool_memberships ("gatewayPoolId", "gatewayId") VALUES ('$pool', '$gateway{late}')},
        'a pool with an invalid name accepts members');
    $open->fails(qq{UPDATE gateway_pools SET name = name || '!' WHERE id = '$pool'}, '23514 gateway_pools_name_check',
        'a new name is checked');
    $open->fails(qq{UPDATE gateway_pools SET name = upper(name) WHERE name = 'good-name'}, '23514 gateway_pools_name_check',
        'a valid name cannot become invalid');
    $output = $open->fails("DELETE FROM gateway_pools WHERE id = '$pool'", '23503 gateway_pools_in_use', 'the deletion guard refuses before the key does');
    like($output, qr/2 rows of identity_kubernetes_auths/, 'the deletion guard reports counts');
    $open->works(qq{
        UPDATE gateway_pools SET name = 'long' WHERE id = '$pool';
        UPDATE gateway_pools SET name = 'under-score' WHERE name = 'Under_Score';
        DELETE FROM gateway_pool_memberships WHERE id = 'd0000000-0000-4000-8000-000000000003';
        UPDATE identity_kubernetes_auths SET "gatewayV2Id" = NULL}, 'the owner repairs the rows');
    $open->shows('SELECT * FROM check_gateway_pools()', '', 'check_gateway_pools() reports no problem after it');
    $open->works("DELETE FROM organizations WHERE id = '$acme'", 'an organization can be deleted in spite of RESTRICT');
    $open->end;

    # Creating the extension again gives no entitlements.
    $db->value(qq{DELETE FROM gateway_pool_entitlements; DROP EXTENSION gateway_pool CASCADE; CREATE EXTENSION gateway_pool});
    $db->shows('SELECT count(*) FROM gateway_pool_entitlements', 0, 'entitlements that were removed are not given again');
}

# The host runs its down migration while the extension is installed.
{
    my $db = make_host('host_takes_back', 0);
    my $owner = $db->as('app_owner');
    my ($open, $objects);

    add_rows($db);
    $db->value(q{CREATE EXTENSION gateway_pool; UPDATE gateways_v2 SET heartbeat = now()});
    add_pool($db);
    $db->value("SELECT set_gateway_state('$gateway{late}', 'draining')");
    $open = open_session($owner);
    $open->value(q{PREPARE beat (text) AS UPDATE gateways_v2 SET heartbeat = now() WHERE name = $1});
    $open->shows('EXECUTE label', '6/7 healthy', 'members are healthy before');
    $objects = $db->objects('public');

    $db->works(qq{BEGIN; UPDATE gateways_v2 SET heartbeat = now(); UPDATE gateway_pool_memberships SET "pickWeight" = 2;
                  UPDATE identity_kubernetes_auths SET "gatewayPoolId" = NULL; SELECT host_test.unmigrate_pools('public'); COMMIT},
        'the host drops its pools');
    foreach ([ 'open session', $open, 'EXECUTE ' ], [ 'new session', $owner, '' ])
    {
        my ($where, $session, $execute) = @$_;

        $session->works($execute ? "EXECUTE beat ('fresh')" : q{UPDATE gateways_v2 SET heartbeat = now() WHERE name = 'fresh'},
            "$where: heartbeats work");
        $session->works(qq{UPDATE gateways_v2 SET "orgId" = "orgId", name = name}, "$where: gateways can be updated");
        $session->works(qq{UPDATE identity_kubernetes_auths SET "gatewayV2Id" = '$gateway{fresh}'; UPDATE identity_kubernetes_auths
                           SET "gatewayV2Id" = NULL, "allowedNames" = 'x'}, "$where: Kubernetes auths can be updated");
        $session->fails($_, '55000 gateway_pools_not_installed', "$where: $_") foreach
          "SELECT pick_healthy_gateway('$pool')", "SELECT * FROM pick_healthy_gateways('$pool')",
          "SELECT resolve_gateway(NULL, '$pool')", "SELECT * FROM explain_gateway_pick('$pool')",
          'SELECT * FROM gateway_status', 'SELECT * FROM gateway_pool_members', 'SELECT * FROM gateway_pool_status',
          'SELECT * FROM gateway_options', "SELECT * FROM create_gateway_pool('$acme', 'x')", "SELECT * FROM list_gateway_pools('$acme')",
          "SELECT * FROM get_gateway_pool('$acme', '$pool')", "SELECT * FROM update_gateway_pool('$acme', '$pool', 'x')",
          "SELECT * FROM delete_gateway_pool('$acme', '$pool')", "SELECT add_gateway_to_pool('$acme', '$pool', '$gateway{fresh}')",
          "SELECT remove_gateway_from_pool('$acme', '$pool', '$gateway{fresh}')",
          "SELECT get_gateway_pool_resources('$acme', '$pool')", "SELECT get_gateway_pool_plan('$acme')",
          "SELECT set_gateway_pool_entitlement('$acme', true)", "SELECT set_gateway_state('$gateway{fresh}', 'active')";
    }
    $open->fails('EXECUTE label', '55000 gateway_pools_not_installed', 'a statement planned before raises the same error');
    $open->fails("EXECUTE pick_one ('$pool')", '55000 gateway_pools_not_installed', 'a pick planned before raises the same error');
    $db->works(qq{
        INSERT INTO gateways_v2 ("orgId", name, heartbeat) VALUES ('$acme', 'new', now());
        DELETE FROM gateways_v2 WHERE name = 'new';
        SELECT host_test.add_kubernetes_auth('public', '$acme', 'new');
        BEGIN; DELETE FROM gateways_v2; DELETE FROM organizations; ROLLBACK}, 'the host inserts and deletes rows');
    $db->shows('SELECT DISTINCT problem FROM check_gateway_pools()', 'not installed', 'check_gateway_pools() reports that gateway pools are not installed');
    $db->works("SELECT host_test.migrate_heartbeat_ttl('public'); SELECT host_test.unmigrate_heartbeat_ttl('public')",
        'the host can run more migrations');
    $db->works("BEGIN; SELECT host_test.unmigrate_pools('public'); COMMIT", 'the host can run its down migration twice');

    # The owner installs again.
    $owner->works('SELECT install_gateway_pools()', 'the owner can install again');
    # All but the position of the column that the host dropped and install added.
    same_lines(join("\n", grep { !/^column r identity_kubernetes_auths/ } split(/\n/, $db->objects('public'))),
        join("\n", grep { !/^column r identity_kubernetes_auths/ } split(/\n/, $objects)), 'all objects are as before');
    $db->shows('SELECT * FROM check_gateway_pools()', '', 'check_gateway_pools() reports no problem');
    $open->works(qq{
        INSERT INTO gateway_pools (id, "orgId", name) VALUES ('$pool', '$acme', 'edge');
        INSERT INTO gateway_pool_memberships ("gatewayPoolId", "gatewayId") SELECT '$pool', id FROM gateways_v2;
        UPDATE identity_kubernetes_auths SET "gatewayPoolId" = '$pool'}, 'the entitlement is still there');
    $open->shows('EXECUTE label', '6/7 healthy', 'the state of a gateway is still there');
    $open->shows("SELECT 1 FROM (SELECT pick_healthy_gateway('$pool')) p (id) WHERE id <> '$gateway{late}'", 1, 'picks work');
    $open->fails('DELETE FROM gateway_pools', '23503 gateway_pools_in_use', 'the deletion guard works');

    # Down and up migration of the host in sequence, with the extension installed.
    $db->works("BEGIN; SELECT host_test.unmigrate_pools('public'); COMMIT;
                BEGIN; SELECT host_test.migrate_pools('public', 255, 'NO ACTION'); COMMIT", 'the host\'s migrations run down and up');
    $open->works("EXECUTE beat ('fresh'); UPDATE gateways_v2 SET name = name; UPDATE identity_kubernetes_auths SET \"allowedNames\" = 'y'",
        'rows can be updated before the new tables are adopted');
    $owner->works('SELECT install_gateway_pools()', 'the owner can adopt the new tables');
    $db->shows('SELECT * FROM check_gateway_pools()', '', 'check_gateway_pools() reports no problem after it');
    $open->shows(qq{
        INSERT INTO gateway_pools (id, "orgId", name) VALUES ('$pool', '$acme', 'edge');
        INSERT INTO gateway_pool_memberships ("gatewayPoolId", "gatewayId") VALUES ('$pool', '$gateway{fresh}');
        SELECT pick_healthy_gateway('$pool')}, $gateway{fresh}, 'picks work in the session from before all migrations');
    $open->end;
}

done_testing();
