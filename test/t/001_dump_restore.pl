# A dump can be restored into an empty database without a manual step, and the copy has
# the same objects, privileges, rows and rules as the original.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;
use PoolDatabase qw(start_node same_lines);
use PostgreSQL::Test::Utils;
use Test::More;

my $acme  = 'a0000000-0000-4000-8000-000000000001';
my $beta  = 'a0000000-0000-4000-8000-000000000002';
my @gateway = map { "9000000$_-0000-4000-8000-000000000000" } 0 .. 9;
my $edge  = 'b0000000-0000-4000-8000-000000000001';
my $spare = 'b0000000-0000-4000-8000-000000000002';
my $auth  = 'c0000000-0000-4000-8000-000000000001';

# No worker, so that rows do not change and the addresses below are not probed.
my $node = start_node('main', conf => 'gateway_pool.worker = off');
my $dumps = PostgreSQL::Test::Utils::tempdir;

$node->safe_psql('postgres', 'CREATE ROLE app_owner LOGIN; CREATE ROLE app LOGIN; CREATE ROLE "Reader" LOGIN');

# Makes a database that uses every feature of the extension.
sub make_original
{
    my ($name, $schema) = @_;
    my $db = PoolDatabase->create_with_host_functions($node, $name);

    $db->value(qq{
        SELECT host_test.make_host('$schema', 2, 'app_owner');
        CREATE EXTENSION gateway_pool SCHEMA "$schema";
        SELECT host_test.make_other_consumers('$schema', true);
        ALTER DATABASE "$name" SET search_path = "$schema", host_test});
    $db->as('app_owner')->value(qq{
        SELECT register_pool_consumer('app_connections', gateway_column => 'gatewayId'),
               register_pool_consumer('identity_auth_templates', gateway_column => 'gatewayV2Id'),
               register_pool_consumer('dynamic_secrets', 'gatewayPoolId', 'gatewayV2Id', 'SELECT p."orgId" FROM secret_folders f
                   JOIN project_environments e ON e.id = f."envId" JOIN projects p ON p.id = e."projectId" WHERE f.id = (\$1)."folderId"'),
               register_pool_consumer('resource_kubernetes_auths', 'gatewayPoolId', 'gatewayV2Id', 'SELECT g."orgId"
                   FROM resource_auth_methods m JOIN gateways_v2 g ON g.id = m."gatewayId" WHERE m.id = (\$1)."authMethodId"')});

    # Rows.  Heartbeats stay fresh during the test.
    $db->value(qq{
        SELECT add_org('$schema', 'acme', '$acme'), add_org('$schema', 'beta', '$beta');
        SELECT add_gateway('$schema', '$acme', 'g' || i, '0s', ('9000000' || i || '-0000-4000-8000-000000000000')::uuid)
          FROM generate_series(1, 4) i;
        SELECT add_gateway('$schema', '$beta', 'g9', '0s', '$gateway[9]');
        UPDATE gateways_v2 SET "heartbeatTTL" = 86400;
        UPDATE gateways_v2 SET capabilities = '{"pkcs11": true}', "directAddress" = '192.0.2.7:8443',
                               "directHeartbeat" = now() WHERE name = 'g2';
        SELECT set_gateway_pool_entitlement('$acme', true, 2, 3);
        SELECT set_gateway_pool_entitlement('$beta', false, NULL, -1, '2020-01-01');
        INSERT INTO gateway_pools (id, "orgId", name) VALUES ('$edge', '$acme', 'edge'), ('$spare', '$acme', 'spare');
        INSERT INTO gateway_pool_memberships ("gatewayPoolId", "gatewayId", "pickWeight", "pickPriority")
        VALUES ('$edge', '$gateway[1]', 3, 0), ('$edge', '$gateway[2]', 1, 0), ('$edge', '$gateway[3]', 7, 0),
               ('$spare', '$gateway[4]', 1, 5);
        SELECT set_gateway_state('$gateway[3]', 'draining', 'it''s "old"');
        INSERT INTO gateway_probes ("gatewayId", protocol, address) VALUES ('$gateway[1]', 'tcp', 'gw.example:8443');
        INSERT INTO gateway_probes ("gatewayId", protocol, address, path, "expectedStatus", "serverName", "verifyTls",
                                    "caCertificate", "intervalMs", "timeoutMs", rise, fall, required)
        VALUES ('$gateway[2]', 'https', '[2001:db8::1]:8443', '/health', '200-299', 'gw2.example', false,
                E'-----BEGIN CERTIFICATE-----\\n-----END CERTIFICATE-----\\n', 2000, 1000, 3, 4, false);
        SELECT add_kubernetes_auth('$schema', '$acme', 'k' || i, ('c0000000-0000-4000-8000-00000000000' || i)::uuid)
          FROM generate_series(1, 3) i;
        UPDATE identity_kubernetes_auths SET "gatewayPoolId" = '$edge' WHERE id = '$auth';
        UPDATE identity_kubernetes_auths SET "gatewayV2Id" = '$gateway[4]' WHERE id <> '$auth';
        SELECT add_resource_kubernetes_auth('$schema', '$gateway[4]', '$spare');
        SELECT add_app_connection('$schema', '$acme', 'warehouse', '$edge')});

    # Changes of an administrator.
    $db->as('app_owner')->value(qq{
        GRANT SELECT, INSERT, UPDATE ON gateway_pools, gateway_pool_memberships TO app;
        GRANT SELECT ON gateway_pool_entitlements TO app WITH GRANT OPTION;
        GRANT UPDATE (reason), SELECT ON gateway_states TO "Reader";
        REVOKE TRUNCATE ON gateway_pools FROM app_owner;
        GRANT SELECT ON gateway_probes TO PUBLIC;
        COMMENT ON TABLE gateway_pools IS 'ours, since June; it''s "pools"';
        COMMENT ON COLUMN gateway_pool_memberships."pickWeight" IS 'share of the traffic';
        COMMENT ON TRIGGER "GatewayPools_refuse_delete" ON gateway_pools IS 'the guard';
        CREATE INDEX "Pools by age" ON gateway_pools ("createdAt" DESC) WHERE name <> 'none';
        ALTER TABLE gateway_pools ADD COLUMN notes text DEFAULT 'none', ADD CHECK (length(notes) < 100);
        ALTER TABLE gateway_pools ENABLE ALWAYS TRIGGER "GatewayPools_enforce";
        CREATE TRIGGER zz_own BEFORE UPDATE ON gateway_pool_entitlements
            FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger();
        ALTER TABLE gateway_pool_entitlements DISABLE TRIGGER zz_own;
        ALTER TABLE gateway_probes ENABLE ROW LEVEL SECURITY;
        CREATE POLICY probes_of_reader ON gateway_probes TO "Reader" USING (required);
        CREATE VIEW pool_labels AS SELECT name, label FROM gateway_pool_status;
        CREATE MATERIALIZED VIEW pool_picture AS SELECT name, "memberCount" FROM gateway_pool_status});
    $db->value(qq{
        GRANT USAGE ON SCHEMA "$schema" TO app, "Reader";
        GRANT SELECT ON gateway_status TO app;
        REVOKE SELECT ON gateway_options FROM PUBLIC;
        GRANT SELECT ON gateway_options TO "Reader" WITH GRANT OPTION;
        REVOKE EXECUTE ON FUNCTION set_gateway_state(uuid, text, text, timestamptz) FROM PUBLIC;
        GRANT EXECUTE ON FUNCTION set_gateway_state(uuid, text, text, timestamptz) TO app});
    # Deleted rows leave gaps, and updated rows come last; a dump must be able to deal with both.
    $db->value(q{UPDATE gateway_pools SET notes = 'first of all' WHERE name = 'edge'});
    return $db;
}

# Returns the text of a dump without the words that are random each time.
sub dump_text
{
    my ($db, @options) = @_;
    my $file = "$dumps/text.sql";

    $node->command_ok([ 'pg_dump', '-f', $file, @options, $node->connstr($db->{name}) ],
        "$db->{name}: pg_dump succeeds");
    my $text = slurp_file($file);
    $text =~ s/^\\(un)?restrict .*\n//mg;
    return $text;
}

# The three ways to restore into an empty database.
my %restores = (
    plain => sub {
        my ($from, $to) = @_;
        $node->command_ok([ 'pg_dump', '-f', "$dumps/plain.sql", $node->connstr($from) ], "$from: a plain dump succeeds");
        $node->command_checks_all(
            [ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr($to), '-f', "$dumps/plain.sql" ],
            0, [qr/^/], [qr/^(psql:[^\n]*INFO:  gateway pools are not installed\nDETAIL:[^\n]*\nHINT:[^\n]*\n?)?$/], "$to: psql restores it without a warning");
    },
    custom => sub {
        my ($from, $to) = @_;
        $node->command_ok([ 'pg_dump', '-Fc', '-f', "$dumps/custom", $node->connstr($from) ], "$from: a custom dump succeeds");
        $node->command_ok([ 'pg_restore', '--exit-on-error', '-d', $node->connstr($to), "$dumps/custom" ],
            "$to: pg_restore succeeds");
    },
    parallel => sub {
        my ($from, $to) = @_;
        $node->command_ok([ 'pg_dump', '-Fc', '-f', "$dumps/parallel", $node->connstr($from) ], "$from: a custom dump succeeds");
        $node->command_ok([ 'pg_restore', '--exit-on-error', '-j2', '-d', $node->connstr($to), "$dumps/parallel" ],
            "$to: pg_restore -j2 succeeds");
    });

# Checks that the copy behaves as the original.
sub check_rules
{
    my ($db, $schema) = @_;
    my $name = $db->{name};
    my $app = $db->as('app');
    my $kubernetes_auth = "UPDATE identity_kubernetes_auths SET \"gatewayPoolId\" = '$spare', \"gatewayV2Id\" ="
      . " '$gateway[1]' WHERE id = '$auth'";
    my $output;

    $db->shows('SELECT * FROM check_gateway_pools() WHERE problem <> \'worker not running\'', '', "$name: check_gateway_pools() reports no problem");
    $app->shows(qq{SELECT count(DISTINCT pick_healthy_gateway('$edge')) FROM generate_series(1, 200)}, '2',
        "$name: an application role picks each of the eligible members");
    $app->shows(qq{SET search_path = ''; SELECT "$schema".pick_healthy_gateway('$edge', capabilities => '{"pkcs11": true}')},
        $gateway[2], "$name: a pick by capability works without a search_path");
    $db->shows(q{SELECT name, label, "connectedResourcesCount" FROM gateway_pool_status ORDER BY name},
        "edge|2/3 healthy|2\nspare|1/1 healthy|1", "$name: the status of the pools is as expected");
    $db->shows('SELECT name, label FROM pool_labels ORDER BY name', "edge|2/3 healthy\nspare|1/1 healthy",
        "$name: a view of the host's that reads a view of the extension works");
    $db->shows('SELECT * FROM pool_picture ORDER BY name', "edge|3\nspare|1", "$name: a materialized view is filled");
    $db->shows(q{SELECT name || ' ' || verdict FROM explain_gateway_pick('} . $edge . q{') ORDER BY name},
        "g1 candidate\ng2 candidate\ng3 draining", "$name: members and states are as expected");

    $output = $db->fails("DELETE FROM gateway_pools WHERE id = '$edge'", '23503 gateway_pools_in_use',
        "$name: a referenced pool cannot be deleted");
    like($output, qr/1 row of app_connections, 1 row of identity_kubernetes_auths/, "$name: the deletion guard names the consumers");
    $db->fails("DELETE FROM gateway_pools WHERE id = '$spare'", '23503 gateway_pools_in_use',
        "$name: a pool that another consumer references cannot be deleted");
    $db->fails('TRUNCATE gateway_pools CASCADE', '23503 gateway_pools_in_use', "$name: the pools cannot be truncated");
    $app->fails(qq{INSERT INTO gateway_pools ("orgId", name) VALUES ('$acme', 'third')}, '54000 gateway_pools_max_per_org',
        "$name: the limit of pools applies");
    $app->fails(qq{INSERT INTO gateway_pool_memberships ("gatewayPoolId", "gatewayId") VALUES ('$edge', '$gateway[4]')},
        '54000 gateway_pool_memberships_max_per_pool', "$name: the limit of members applies");
    $app->fails(qq{INSERT INTO gateway_pool_memberships ("gatewayPoolId", "gatewayId") VALUES ('$spare', '$gateway[9]')},
        '23503 gateway_pools_same_org', "$name: a gateway of another organization cannot be a member");
    $app->fails(qq{INSERT INTO gateway_pools ("orgId", name) VALUES ('$beta', 'beta')}, '42501 gateway_pools_entitlement',
        "$name: a pool needs an entitlement");
    $app->fails(qq{UPDATE gateway_pools SET name = 'No Slug' WHERE id = '$spare'}, '23514 gateway_pools_name_check',
        "$name: names are checked");
    $app->fails(qq{UPDATE gateway_pools SET name = 'edge' WHERE id = '$spare'}, '23505 gateway_pools_orgid_name_unique',
        "$name: names are unique");
    $db->fails($kubernetes_auth, '23514 gateway_pools_one_route', "$name: pool and gateway cannot both be set");
    $db->shows(qq{UPDATE identity_kubernetes_auths SET "gatewayV2Id" = '$gateway[1]' WHERE id = '$auth'
                  RETURNING "gatewayPoolId" IS NULL;
                  UPDATE identity_kubernetes_auths SET "gatewayPoolId" = '$edge' WHERE id = '$auth'
                  RETURNING "gatewayV2Id" IS NULL}, "t\nt", "$name: setting pool or gateway clears the other");
    $db->fails(qq{UPDATE gateways_v2 SET "orgId" = '$beta' WHERE id = '$gateway[1]'}, '23503 gateway_pools_same_org',
        "$name: a member cannot move to another organization");
    $db->fails("UPDATE gateway_probes SET address = 'nowhere'", '23514 gateway_pool_probes_address_check', "$name: addresses of probes are checked");
    $db->shows(q{UPDATE gateway_pool_memberships SET "pickWeight" = 2 WHERE "pickWeight" = 3 RETURNING "updatedAt" > "createdAt"}, 't',
        "$name: \"updatedAt\" is set");
    $db->as('Reader')->shows('SELECT count(*) FROM gateway_probes', '1', "$name: a policy of the owner's applies");
    $db->as('Reader')->fails("SELECT set_gateway_state('$gateway[1]', 'active')", '42501',
        "$name: a privilege that was revoked from PUBLIC stays revoked");
    $db->as('app')->fails('SELECT count(*) FROM gateway_options', '42501', "$name: a privilege on a view that was revoked stays revoked");
}

# Deleting an organization deletes its rows, whatever their order.
sub check_organization_goes
{
    my ($db) = @_;

    $db->works("DELETE FROM organizations WHERE id = '$acme'", "$db->{name}: an organization can be deleted");
    $db->shows('SELECT (SELECT count(*) FROM gateway_pools), (SELECT count(*) FROM gateway_pool_memberships),
                       (SELECT count(*) FROM gateway_states), (SELECT count(*) FROM gateway_probes),
                       (SELECT count(*) FROM identity_kubernetes_auths), (SELECT count(*) FROM resource_kubernetes_auths),
                       (SELECT count(*) FROM app_connections), (SELECT count(*) FROM gateway_pool_entitlements),
                       (SELECT count(*) FROM gateways_v2)',
        '0|0|0|0|0|0|0|1|1', "$db->{name}: its rows are deleted too");
    $db->shows('SELECT * FROM check_gateway_pools() WHERE problem <> \'worker not running\'', '', "$db->{name}: check_gateway_pools() reports no problem after it");
}

# Names that need quoting, or that format() and RAISE interpret.
foreach my $schema ('a.b', 'select', '50% off')
{
    my $db = PoolDatabase->create_with_host_functions($node, "in $schema");

    $db->value("SELECT host_test.make_host('$schema', 2, 'app_owner')");
    $db->works("CREATE EXTENSION gateway_pool SCHEMA \"$schema\"", "schema \"$schema\": CREATE EXTENSION works")
      && $db->shows("SELECT * FROM \"$schema\".check_gateway_pools() WHERE problem <> 'worker not running'", '', "schema \"$schema\": check_gateway_pools() reports no problem")
      && $db->shows("SELECT count(*) FROM \"$schema\".gateway_options", '0', "schema \"$schema\": a view works");
    $db = PoolDatabase->create($node, "empty $schema");
    $db->works("CREATE SCHEMA \"$schema\"; CREATE EXTENSION gateway_pool SCHEMA \"$schema\"",
        "schema \"$schema\": CREATE EXTENSION works without a host");
}

foreach my $schema ('public', 'My Schema')
{
    my $from = "from $schema";
    my $original = make_original($from, $schema);
    my $objects = $original->objects($schema);
    my $rows = $original->rows($schema);
    my $text = dump_text($original);

    unlike($text, qr/CREATE FUNCTION [^\n]*(pick_healthy_gateway|install_gateway_pools)/,
        "$from: functions of the extension are not dumped");
    like($text, qr/CREATE TABLE [^\n]*gateway_pools /, "$from: its tables are dumped");
    is(dump_text($original, '-U', 'app_owner'), $text, "$from: the owner of the tables can dump them too");

    foreach my $way (sort keys %restores)
    {
        my $to = "$way $schema";
        my $copy = PoolDatabase->create($node, $to);

        $restores{$way}->($from, $to);
        same_lines($copy->objects($schema), $objects, "$to: all objects are the same");
        same_lines($copy->rows($schema), $rows, "$to: all rows are the same");
        is(dump_text($copy), $text, "$to: a dump of the copy is the same");

        $node->safe_psql('postgres', "ALTER DATABASE \"$to\" SET search_path = \"$schema\", host_test");
        check_rules($copy, $schema);
        check_organization_goes($copy);
    }

    check_rules($original, $schema);
    check_organization_goes($original);
}

done_testing();
