# The extension's schema is the host's, or another one, with any owner: in both cases it
# can be installed, adopted, dumped, restored, isolated, uninstalled and installed again,
# and tables work under other names and in other schemas.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;
use PoolDatabase qw(start_node same_lines);
use PostgreSQL::Test::Utils;
use Test::More;

my $acme = 'a0000000-0000-4000-8000-000000000001';
my $beta = 'a0000000-0000-4000-8000-000000000002';
my $pool = 'b0000000-0000-4000-8000-000000000001';
my $theirs = 'b0000000-0000-4000-8000-000000000002';
my $auth = 'c0000000-0000-4000-8000-000000000001';
my @gateway = map { "9000000$_-0000-4000-8000-000000000000" } 0 .. 9;
my @side_tables = qw(gateway_health gateway_health_events gateway_pool_audit_logs gateway_pool_entitlements gateway_pool_tenants
  gateway_probes gateway_states);
my $healthy = q{SELECT problem, object, detail FROM check_gateway_pools() WHERE problem <> 'worker not running'};

my $node = start_node('main', conf => 'gateway_pool.worker = off');

$node->safe_psql('postgres', 'CREATE ROLE app_owner LOGIN; CREATE ROLE tenant LOGIN; CREATE ROLE restorer LOGIN CREATEDB');

# Makes a host of app_owner's, in a schema of its own or of a superuser's.
sub make_host
{
    my ($name, %how) = @_;
    my $db = PoolDatabase->create_with_host_functions($node, $name);

    $db->value(qq{
        SELECT host_test.make_host('app', } . ($how{stage} // 2) . q{, 'app_owner');
        GRANT USAGE ON SCHEMA app TO PUBLIC});
    $db->value('ALTER SCHEMA app OWNER TO CURRENT_USER; REVOKE CREATE ON SCHEMA app FROM app_owner') if $how{schema_of_superuser};
    return $db;
}

# Creates the extension in a schema, and puts that first on the path.
sub make_extension
{
    my ($db, $schema) = @_;

    $db->value("CREATE SCHEMA IF NOT EXISTS $schema; GRANT USAGE ON SCHEMA $schema TO PUBLIC;
        ALTER DATABASE $db->{name} SET search_path = $schema, app, host_test");
    return $db->value("CREATE EXTENSION gateway_pool SCHEMA $schema;
        SELECT install_gateway_pools('app.organizations', 'app.gateways_v2')");
}

sub add_rows
{
    my ($db) = @_;
    return $db->value(qq{
        SELECT add_org('app', 'acme', '$acme'), add_org('app', 'beta', '$beta');
        SELECT add_gateway('app', '$acme', 'g' || i, '0s', ('9000000' || i || '-0000-4000-8000-000000000000')::uuid) FROM generate_series(1, 3) i;
        SELECT add_gateway('app', '$beta', 'g9', '0s', '$gateway[9]');
        UPDATE app.gateways_v2 SET heartbeat = now();
        SELECT add_kubernetes_auth('app', '$acme', 'k', '$auth')});
}

sub add_pools
{
    my ($db) = @_;
    return $db->value(qq{
        SELECT set_gateway_pool_entitlement('$acme', true), set_gateway_pool_entitlement('$beta', true);
        INSERT INTO app.gateway_pools (id, "orgId", name) VALUES ('$pool', '$acme', 'edge'), ('$theirs', '$beta', 'theirs');
        INSERT INTO app.gateway_pool_memberships ("gatewayPoolId", "gatewayId") VALUES ('$pool', '$gateway[1]'), ('$pool', '$gateway[2]'),
            ('$theirs', '$gateway[9]');
        SELECT set_gateway_state('$gateway[2]', 'draining');
        SELECT set_gateway_probe('$gateway[3]', 'tcp', '192.0.2.1:1');
        UPDATE app.identity_kubernetes_auths SET "gatewayPoolId" = '$pool'});
}

# Checks that all works, wherever the tables are; %tables maps a table to its present name.
sub works_as_it_should
{
    my ($where, $label, %tables) = @_;
    # One session, because each new one reads the catalogs.
    my $db = $where->{session} ? $where : $where->session;
    my $name = sub { return $tables{ $_[0] } // "app.$_[0]" };
    my ($pools, $members, $auths, $gateways) = map { $name->($_) } qw(gateway_pools gateway_pool_memberships identity_kubernetes_auths gateways_v2);

    $db->shows($healthy, '', "$label: check_gateway_pools() reports no problem");
    $db->shows("SELECT pick_healthy_gateway('$pool')", $gateway[1], "$label: a pick works");
    $db->shows('SELECT name, label, "connectedResourcesCount" FROM gateway_pool_status ORDER BY name', "edge|1/2 healthy|1\ntheirs|1/1 healthy|0",
        "$label: the status is as expected");
    $db->fails("DELETE FROM $pools WHERE id = '$pool'", '23503 gateway_pools_in_use', "$label: the deletion guard works");
    $db->fails(qq{INSERT INTO $members ("gatewayPoolId", "gatewayId") VALUES ('$pool', '$gateway[9]')}, '23503 gateway_pools_same_org',
        "$label: a member needs the same organization");
    $db->fails(qq{UPDATE $auths SET "gatewayPoolId" = '$theirs'}, '23503 gateway_pools_same_org', "$label: a consumer needs it too");
    $db->shows(qq{BEGIN; SELECT name FROM create_gateway_pool('$acme', 'new'); SELECT count(*) FROM list_gateway_pools('$acme'); ROLLBACK},
        "new\n2", "$label: a pool can be created and listed");
    # The session sees at once that a member is removed.
    $db->shows(qq{BEGIN; SELECT pick_healthy_gateway('$pool', null_if_none => true);
        DELETE FROM $members WHERE "gatewayId" = '$gateway[1]'; SELECT pick_healthy_gateway('$pool', null_if_none => true); ROLLBACK},
        "$gateway[1]\n", "$label: changes are seen");
    $db->end unless $where->{session};
    return;
}

foreach my $arrangement ([ 'app', 'one schema' ], [ 'pools', 'two schemas' ])
{
    my ($schema, $how) = @$arrangement;

    # Schemas and owners, also if the owner does not own the schema.
    foreach my $of_superuser (0, 1)
    {
        my $label = $how . ($of_superuser ? ', owned by a superuser' : '');
        my $db = make_host("host_${schema}_$of_superuser", schema_of_superuser => $of_superuser);

        make_extension($db, $schema);
        add_rows($db);
        add_pools($db);
        works_as_it_should($db, $label);
        $db->shows(q{SELECT string_agg(c.relname, ' ' ORDER BY c.relname) FROM pg_class c
                      WHERE c.relkind = 'r' AND c.relnamespace = 'app'::regnamespace AND c.relname LIKE 'gateway\_%' AND c.relname <> 'gateways'},
            join(' ', sort('gateway_pool_memberships', 'gateway_pools', $schema eq 'app' ? @side_tables : ())),
            "$label: the tables in the host's schema are as expected");
        $db->shows(q{SELECT DISTINCT c.relowner::regrole FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid WHERE t.tgname = 'GatewayPools_marker'},
            'app_owner', "$label: the owner owns all tables");
        $db->shows("SELECT string_agg(DISTINCT n.nspname, ' ') FROM pg_extension e JOIN pg_depend d ON d.refobjid = e.oid AND d.deptype = 'e'
                      JOIN pg_proc p ON p.oid = d.objid AND d.classid = 'pg_proc'::regclass JOIN pg_namespace n ON n.oid = p.pronamespace
                     WHERE e.extname = 'gateway_pool' AND n.nspname <> 'gateway_pool_internal'", $schema, "$label: functions for users are in the extension's schema");
        $db->as('app_owner')->works("DELETE FROM app.organizations WHERE id = '$beta'; DELETE FROM app.gateways_v2 WHERE id = '$gateway[3]'",
            "$label: the host can delete organizations and gateways");
        $db->shows("SELECT (SELECT count(*) FROM app.gateway_pools), (SELECT count(*) FROM $schema.gateway_probes),
            (SELECT count(*) FROM $schema.gateway_pool_entitlements)", '1|0|1', "$label: dependent rows are deleted");
        $db->as('app_owner')->works('SELECT install_gateway_pools()', "$label: the owner can install again");
    }

    # Dump and restore by a superuser.
    {
        my $db = make_host("dumped_$schema");
        my $file = PostgreSQL::Test::Utils::tempdir . '/dump.sql';
        my ($copy, @schemas);

        make_extension($db, $schema);
        add_rows($db);
        add_pools($db);
        $db->value("DELETE FROM app.gateway_pool_memberships WHERE false; GRANT SELECT ON app.gateway_pools TO tenant");
        @schemas = $schema eq 'app' ? ('app') : ('app', $schema);
        $node->command_ok([ 'pg_dump', '-f', $file, $node->connstr($db->{name}) ], "$how: pg_dump succeeds");
        unlike(slurp_file($file), qr/gateway_pool_internal AUTHORIZATION|CREATE SCHEMA gateway_pool_internal/,
            "$how: the internal schema is not dumped");
        $copy = PoolDatabase->create($node, "restored_$schema");
        $node->command_ok([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr($copy->{name}), '-f', $file ], "$how: psql restores the dump");
        $copy->value("ALTER DATABASE $copy->{name} SET search_path = $schema, app, host_test");
        foreach (@schemas)
        {
            same_lines($copy->objects($_), $db->objects($_), "$how: all objects of schema $_ are the same");
            same_lines($copy->rows($_), $db->rows($_), "$how: all rows of schema $_ are the same");
        }
        works_as_it_should($copy, "$how, restored");

        # By a role that cannot mark tables: then a superuser adds the markers.
        $copy = PoolDatabase->create($node, "restored_by_other_$schema");
        $copy->value("ALTER DATABASE $copy->{name} OWNER TO restorer; CREATE SCHEMA $schema AUTHORIZATION restorer;
            CREATE EXTENSION gateway_pool SCHEMA $schema;
            ALTER DATABASE $copy->{name} SET search_path = $schema, app, host_test");
        $node->command_ok([ 'pg_dump', '--no-owner', '-f', $file, $node->connstr($db->{name}) ], "$how: pg_dump without owners succeeds");
        $node->command_checks_all([ 'psql', '-Xq', '-U', 'restorer', '-d', $node->connstr($copy->{name}), '-f', $file ],
            0, [qr/^/], [qr/permission denied for function \S*table_marker/], "$how: a role that cannot mark tables restores");
        $copy->fails("SELECT pick_healthy_gateway('$pool')", '55000 gateway_pools_not_installed', "$how: picks fail without markers");
        $copy->value('GRANT USAGE ON SCHEMA app TO PUBLIC');
        $copy->works(q{UPDATE app.gateways_v2 SET heartbeat = now(); UPDATE app.identity_kubernetes_auths SET "allowedNames" = 'x'},
            "$how: the host works");
        $copy->works(q{SELECT install_gateway_pools('app.organizations', 'app.gateways_v2')}, "$how: a superuser can install");
        works_as_it_should($copy, "$how, restored by another role");
    }

    # The host's own migration before, after, down and up again.
    {
        my $db = make_host("migrated_before_$schema", stage => 0);

        $db->value("SELECT host_test.migrate_pools('app')");
        make_extension($db, $schema);
        add_rows($db);
        add_pools($db);
        works_as_it_should($db, "$how, adopted");

        $db = make_host("migrated_after_$schema", stage => 0);
        make_extension($db, $schema);
        add_rows($db);
        add_pools($db);
        my @schemas = $schema eq 'app' ? ('app') : ('app', $schema);
        my $objects = join "\n", map { $db->objects($_) } @schemas;
        $db->works(q{SELECT host_test.migrate_pools('app')}, "$how: the host's migration runs after installation");
        same_lines(join("\n", map { $db->objects($_) } @schemas), $objects, "$how: it changes nothing");
        works_as_it_should($db, "$how, migrated");

        $db->works("BEGIN; SELECT host_test.unmigrate_pools('app'); COMMIT; BEGIN; SELECT host_test.migrate_pools('app'); COMMIT",
            "$how: the host's migrations run down and up");
        $db->works(qq{UPDATE app.gateways_v2 SET heartbeat = now(); UPDATE app.identity_kubernetes_auths SET "gatewayV2Id" = '$gateway[1]';
            UPDATE app.identity_kubernetes_auths SET "gatewayV2Id" = NULL}, "$how: the host works in between");
        $db->fails("SELECT pick_healthy_gateway('$pool')", '55000 gateway_pools_not_installed', "$how: picks fail until the owner installs again");
        $db->fails(qq{UPDATE app.identity_kubernetes_auths SET "gatewayPoolId" = gen_random_uuid()}, '55000 gateway_pools_not_installed',
            "$how: a pool cannot be set until then");
        $db->as('app_owner')->works('SELECT install_gateway_pools()', "$how: the owner can install again");
        add_pools($db);
        works_as_it_should($db, "$how, migrated again");

        # Without columns that such a migration does not create.
        $db->value('ALTER TABLE app.gateway_pool_memberships DROP COLUMN "pickWeight", DROP COLUMN "pickPriority"');
        $db->shows("SELECT pick_healthy_gateway('$pool')", $gateway[1], "$how: picks work without weights");
        $db->shows('SELECT DISTINCT "pickWeight", "pickPriority" FROM gateway_pool_members', '1|0', "$how: members have default weight and priority");
        $db->shows("SELECT string_agg(detail, ' ' ORDER BY detail) FROM check_gateway_pools() WHERE problem = 'column missing'",
            'pickPriority pickWeight', "$how: check_gateway_pools() reports the missing columns");
        $db->works("BEGIN; SELECT add_gateway_to_pool('$acme', '$pool', '$gateway[3]'); ROLLBACK", "$how: members can be added");
        $db->fails("SELECT add_gateway_to_pool('$acme', '$pool', '$gateway[3]', 2)", '55000 gateway_pools_not_installed', "$how: a member with a weight is refused");
        $db->fails("SELECT add_gateway_to_pool('$acme', '$pool', '$gateway[3]', 1, 1)", '55000 gateway_pools_not_installed',
            "$how: a member with a priority is refused");
        $db->works("GRANT USAGE ON SCHEMA $schema TO tenant; SELECT grant_gateway_pool_access('tenant', '{edit}'),
            revoke_gateway_pool_access('tenant', '{edit}')", "$how: privileges can be granted on present columns");
        $db->value('SELECT install_gateway_pools()');
        works_as_it_should($db, "$how, with weights again");
    }

    # Uninstalled and installed again; the extension dropped and created again, in this and in the other arrangement.
    {
        my $db = make_host("left_$schema");
        my $other = $schema eq 'app' ? 'pools' : 'app';

        make_extension($db, $schema);
        add_rows($db);
        add_pools($db);
        $db->value('SELECT uninstall_gateway_pools()');
        $db->shows(q{SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'GatewayPools%'}, 0, "$how: no trigger is left");
        $db->fails("SELECT pick_healthy_gateway('$pool')", '55000 gateway_pools_not_installed', "$how: picks fail after uninstalling");
        $db->works('DROP EXTENSION gateway_pool', "$how: the extension can be dropped without CASCADE");
        make_extension($db, $schema);
        works_as_it_should($db, "$how, installed again");
        $db->value('DROP EXTENSION gateway_pool CASCADE');
        $db->shows("SELECT count(*) FROM app.gateway_pools, $schema.gateway_states", 2, "$how: the data stays");
        make_extension($db, $schema);
        works_as_it_should($db, "$how, after DROP EXTENSION CASCADE");
        if ($schema eq 'app')
        {
            $db->value('DROP EXTENSION gateway_pool CASCADE');
            make_extension($db, $other);
            works_as_it_should($db, "$how, changed to two");
            $db->shows(qq{SELECT count(*) FROM pg_class WHERE relnamespace = '$other'::regnamespace AND relkind = 'r'}, scalar @side_tables,
                "$how: the other tables have moved");
        }
        $db->value(q{UPDATE app.identity_kubernetes_auths SET "gatewayPoolId" = NULL; SELECT uninstall_gateway_pools(false)});
        $db->shows(q{SELECT count(*) FROM pg_class WHERE relname = 'gateway_pools' OR relname IN ('} . join("', '", @side_tables) . q{')}, 0,
            "$how: uninstalling with data leaves nothing");
    }

    # Tables renamed and moved, one after another, in open sessions.
    {
        my $db = make_host("renamed_$schema");
        my ($session, %now);

        make_extension($db, $schema);
        add_rows($db);
        add_pools($db);
        $db->value('CREATE SCHEMA elsewhere; GRANT USAGE ON SCHEMA elsewhere TO PUBLIC');
        $session = $db->session;
        $session->value("SET search_path = $schema, app, host_test");
        works_as_it_should($session, "$how, before");
        foreach my $table (qw(gateway_pools gateway_pool_memberships organizations gateways_v2 identities identity_kubernetes_auths), @side_tables)
        {
            my $place = (grep { $_ eq $table } @side_tables) ? $schema : 'app';

            $db->value(qq{ALTER TABLE $place.$table RENAME TO "my $table"; ALTER TABLE $place."my $table" SET SCHEMA elsewhere});
            $now{$table} = qq{elsewhere."my $table"};
            works_as_it_should($session, "$how, $table moved", %now);
        }
        works_as_it_should($db, "$how, all moved, a new session", %now);
        $db->works('SELECT install_gateway_pools()', "$how: installing again works");
        works_as_it_should($db, "$how, all moved, installed again", %now);
        $db->works(qq{UPDATE $now{gateways_v2} SET heartbeat = now(); DELETE FROM $now{organizations} WHERE id = '$beta'}, "$how: cascades work");
        $session->end;
    }

    # Isolation.
    {
        my $db = make_host("isolated_$schema");
        my $tenant = $db->as('tenant');

        make_extension($db, $schema);
        add_rows($db);
        add_pools($db);
        $db->value("SELECT enable_gateway_pool_isolation(); SELECT grant_gateway_pool_access('tenant', '{list, pick}');
            INSERT INTO gateway_pool_tenants VALUES ('tenant', '$acme')");
        $tenant->shows('SELECT name FROM gateway_pool_status', 'edge', "$how: a tenant sees its own pools");
        $tenant->shows("SELECT pick_healthy_gateway('$pool')", $gateway[1], "$how: a tenant can pick");
        $tenant->fails("SELECT pick_healthy_gateway('$theirs')", 'P0002 gateway_pools_not_found', "$how: a tenant cannot pick from others");
        $db->shows($healthy, '', "$how: check_gateway_pools() reports no problem");
        $db->value('ALTER SCHEMA app RENAME TO renamed');
        $tenant->shows("SELECT pick_healthy_gateway('$pool')", $gateway[1], "$how: a tenant can pick after the schema is renamed") if $schema ne 'app';
        $db->value('ALTER SCHEMA renamed RENAME TO app; SELECT disable_gateway_pool_isolation()');
        $tenant->shows('SELECT count(*) FROM gateway_pool_status', 2, "$how: isolation can be disabled");
    }
}

# Refusals of install_gateway_pools().
{
    my $db = make_host('refused');

    $db->value('CREATE SCHEMA pools; CREATE EXTENSION gateway_pool SCHEMA pools; ALTER DATABASE refused SET search_path = pools, app, host_test');
    my $error = $db->fails(q{SELECT install_gateway_pools('app.organizations', 'app.gateways_v2')}, '55000 gateway_pools_not_installed', 'installing fails if the owner lacks USAGE on the schema');
    like($error, qr/HINT:  Run GRANT USAGE ON SCHEMA pools TO app_owner\./, 'the hint contains the GRANT');
    $db->value('GRANT USAGE ON SCHEMA pools TO app_owner');
    $db->value('CREATE TABLE pools.gateway_states (id int)');
    $error = $db->fails(q{SELECT install_gateway_pools('app.organizations', 'app.gateways_v2')}, '55000 gateway_pools_not_installed', 'installing fails if another role owns a table with a needed name');
    like($error, qr/pools\.gateway_states is owned by/, 'the detail names that table');
    $db->value('DROP TABLE pools.gateway_states');
    $db->value(q{SELECT install_gateway_pools('app.organizations', 'app.gateways_v2')});
    # A database has one host, and one table of each kind.
    $db->value(q{SELECT host_test.make_host('second', 2)});
    $error = $db->fails(q{SELECT install_gateway_pools('second.organizations', 'second.gateways_v2')}, '55000 gateway_pools_not_installed', 'installing for a second host fails');
    like($error, qr/app\.gateways_v2/, 'the detail names the first host');
    $db->value(q{SELECT gateway_pool_internal.mark_table('second.gateways_v2', 'GatewayPools_marker', '{gateways}')});
    $error = $db->fails('SELECT pick_healthy_gateway(gen_random_uuid())', '55000 gateway_pools_not_installed', 'picks fail if two tables are marked as the same');
    like($error, qr/app\.gateways_v2 and second\.gateways_v2|second\.gateways_v2 and app\.gateways_v2/, 'the detail names both tables');
    $db->fails('SELECT install_gateway_pools()', '55000 gateway_pools_not_installed', 'installing fails too');
    $db->shows(q{SELECT object FROM check_gateway_pools() WHERE problem = 'table marked twice'}, 'app.gateways_v2, second.gateways_v2', 'check_gateway_pools() names both tables');
    $db->value('DROP TRIGGER "GatewayPools_marker" ON second.gateways_v2');
    $db->shows($healthy, '', 'without the second marker there is no problem');
    $db->value('REVOKE USAGE ON SCHEMA pools FROM app_owner');
    $db->shows('SELECT problem, remedy FROM check_gateway_pools() WHERE problem LIKE \'schema%\'',
        'schema not usable|GRANT USAGE ON SCHEMA pools TO app_owner;', 'check_gateway_pools() reports a missing USAGE');
}

done_testing();
