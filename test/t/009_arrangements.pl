# The extension's schema is the host's, or one of its own, owned by whoever: it
# installs, adopts, dumps, restores, isolates, is left and comes back in both, and
# tables keep working under other names and in other schemas.

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

# A host of app_owner's, whose schema is its own or a superuser's, and its rows.
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

# Puts the extension into a schema and names that first on the path.
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

# What has to hold wherever the tables lie; \$tables maps a table to its present name.
sub works_as_it_should
{
    my ($db, $label, %tables) = @_;
    my $name = sub { return $tables{ $_[0] } // "app.$_[0]" };
    my ($pools, $members, $auths, $gateways) = map { $name->($_) } qw(gateway_pools gateway_pool_memberships identity_kubernetes_auths gateways_v2);

    $db->shows($healthy, '', "$label: nothing to complain of");
    $db->shows("SELECT pick_healthy_gateway('$pool')", $gateway[1], "$label: a pick");
    $db->shows('SELECT name, label, "connectedResourcesCount" FROM gateway_pool_status ORDER BY name', "edge|1/2 healthy|1\ntheirs|1/1 healthy|0",
        "$label: status");
    $db->fails("DELETE FROM $pools WHERE id = '$pool'", '23503 gateway_pools_in_use', "$label: the guard");
    $db->fails(qq{INSERT INTO $members ("gatewayPoolId", "gatewayId") VALUES ('$pool', '$gateway[9]')}, '23503 gateway_pools_same_org',
        "$label: same organization");
    $db->fails(qq{UPDATE $auths SET "gatewayPoolId" = '$theirs'}, '23503 gateway_pools_same_org', "$label: a consumer, too");
    $db->shows(qq{BEGIN; SELECT name FROM create_gateway_pool('$acme', 'new'); SELECT count(*) FROM list_gateway_pools('$acme'); ROLLBACK},
        "new\n2", "$label: a pool is made and listed");
    # A removed member is not picked on, in this session and at once; a heartbeat that fails is known at once.
    $db->shows(qq{BEGIN; SELECT pick_healthy_gateway('$pool', null_if_none => true);
        DELETE FROM $members WHERE "gatewayId" = '$gateway[1]'; SELECT pick_healthy_gateway('$pool', null_if_none => true); ROLLBACK},
        "$gateway[1]\n", "$label: what changes is known");
    return;
}

foreach my $arrangement ([ 'app', 'one schema' ], [ 'pools', 'two schemas' ])
{
    my ($schema, $how) = @$arrangement;

    # Where things lie, and whose they are; with a schema that is not the owner's, too.
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
            "$label: what lies in the schema of the host");
        $db->shows(q{SELECT DISTINCT c.relowner::regrole FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid WHERE t.tgname = 'GatewayPools_marker'},
            'app_owner', "$label: all tables are the owner's");
        $db->shows("SELECT string_agg(DISTINCT n.nspname, ' ') FROM pg_extension e JOIN pg_depend d ON d.refobjid = e.oid AND d.deptype = 'e'
                      JOIN pg_proc p ON p.oid = d.objid AND d.classid = 'pg_proc'::regclass JOIN pg_namespace n ON n.oid = p.pronamespace
                     WHERE e.extname = 'gateway_pool' AND n.nspname <> 'gateway_pool_internal'", $schema, "$label: functions for users");
        $db->as('app_owner')->works("DELETE FROM app.organizations WHERE id = '$beta'; DELETE FROM app.gateways_v2 WHERE id = '$gateway[3]'",
            "$label: the host deletes what pools hang on");
        $db->shows("SELECT (SELECT count(*) FROM app.gateway_pools), (SELECT count(*) FROM $schema.gateway_probes),
            (SELECT count(*) FROM $schema.gateway_pool_entitlements)", '1|0|1', "$label: and what hung on it goes");
        $db->as('app_owner')->works('SELECT install_gateway_pools()', "$label: the owner installs again");
    }

    # Dump and restore, by a superuser.
    {
        my $db = make_host("dumped_$schema");
        my $file = PostgreSQL::Test::Utils::tempdir . '/dump.sql';
        my ($copy, @schemas);

        make_extension($db, $schema);
        add_rows($db);
        add_pools($db);
        $db->value("DELETE FROM app.gateway_pool_memberships WHERE false; GRANT SELECT ON app.gateway_pools TO tenant");
        @schemas = $schema eq 'app' ? ('app') : ('app', $schema);
        $node->command_ok([ 'pg_dump', '-f', $file, $node->connstr($db->{name}) ], "$how: pg_dump");
        unlike(slurp_file($file), qr/gateway_pool_internal AUTHORIZATION|CREATE SCHEMA gateway_pool_internal/,
            "$how: the internal schema comes with the extension");
        $copy = PoolDatabase->create($node, "restored_$schema");
        $node->command_ok([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr($copy->{name}), '-f', $file ], "$how: psql restores it");
        $copy->value("ALTER DATABASE $copy->{name} SET search_path = $schema, app, host_test");
        foreach (@schemas)
        {
            same_lines($copy->objects($_), $db->objects($_), "$how: all objects of schema $_");
            same_lines($copy->rows($_), $db->rows($_), "$how: all rows of schema $_");
        }
        works_as_it_should($copy, "$how, restored");

        # And by a role that cannot mark tables: then a superuser puts the markers back.
        $copy = PoolDatabase->create($node, "restored_by_other_$schema");
        $copy->value("ALTER DATABASE $copy->{name} OWNER TO restorer; CREATE SCHEMA $schema AUTHORIZATION restorer;
            CREATE EXTENSION gateway_pool SCHEMA $schema;
            ALTER DATABASE $copy->{name} SET search_path = $schema, app, host_test");
        $node->command_ok([ 'pg_dump', '--no-owner', '-f', $file, $node->connstr($db->{name}) ], "$how: pg_dump without owners");
        $node->command_checks_all([ 'psql', '-Xq', '-U', 'restorer', '-d', $node->connstr($copy->{name}), '-f', $file ],
            0, [qr/^/], [qr/permission denied for function \S*table_marker/], "$how: a role that cannot mark tables restores");
        $copy->fails("SELECT pick_healthy_gateway('$pool')", '55000 gateway_pools_not_installed', "$how: what needs markers says so");
        $copy->value('GRANT USAGE ON SCHEMA app TO PUBLIC');
        $copy->works(q{UPDATE app.gateways_v2 SET heartbeat = now(); UPDATE app.identity_kubernetes_auths SET "allowedNames" = 'x'},
            "$how: the host works on");
        $copy->works(q{SELECT install_gateway_pools('app.organizations', 'app.gateways_v2')}, "$how: a superuser installs");
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
        $db->works(q{SELECT host_test.migrate_pools('app')}, "$how: the host's migration finds all there");
        same_lines(join("\n", map { $db->objects($_) } @schemas), $objects, "$how: and changes nothing");
        works_as_it_should($db, "$how, migrated");

        $db->works("BEGIN; SELECT host_test.unmigrate_pools('app'); COMMIT; BEGIN; SELECT host_test.migrate_pools('app'); COMMIT",
            "$how: the host goes back and forth");
        $db->works(qq{UPDATE app.gateways_v2 SET heartbeat = now(); UPDATE app.identity_kubernetes_auths SET "gatewayV2Id" = '$gateway[1]';
            UPDATE app.identity_kubernetes_auths SET "gatewayV2Id" = NULL}, "$how: it works on in between");
        $db->fails("SELECT pick_healthy_gateway('$pool')", '55000 gateway_pools_not_installed', "$how: picks wait for the owner");
        $db->fails(qq{UPDATE app.identity_kubernetes_auths SET "gatewayPoolId" = gen_random_uuid()}, '55000 gateway_pools_not_installed',
            "$how: no pool is set past the rules");
        $db->as('app_owner')->works('SELECT install_gateway_pools()', "$how: who installs again");
        add_pools($db);
        works_as_it_should($db, "$how, migrated again");

        # Columns that such a migration does not make.
        $db->value('ALTER TABLE app.gateway_pool_memberships DROP COLUMN "pickWeight", DROP COLUMN "pickPriority"');
        $db->shows("SELECT pick_healthy_gateway('$pool')", $gateway[1], "$how: picks go without weights");
        $db->shows('SELECT DISTINCT "pickWeight", "pickPriority" FROM gateway_pool_members', '1|0', "$how: each weighs the same");
        $db->shows("SELECT string_agg(detail, ' ' ORDER BY detail) FROM check_gateway_pools() WHERE problem = 'column missing'",
            'pickPriority pickWeight', "$how: the doctor says so");
        $db->works("BEGIN; SELECT add_gateway_to_pool('$acme', '$pool', '$gateway[3]'); ROLLBACK", "$how: members are added");
        $db->fails("SELECT add_gateway_to_pool('$acme', '$pool', '$gateway[3]', 2)", '55000 gateway_pools_not_installed', "$how: with a weight, not");
        $db->fails("SELECT add_gateway_to_pool('$acme', '$pool', '$gateway[3]', 1, 1)", '55000 gateway_pools_not_installed',
            "$how: nor with a priority");
        $db->works("GRANT USAGE ON SCHEMA $schema TO tenant; SELECT grant_gateway_pool_access('tenant', '{edit}'),
            revoke_gateway_pool_access('tenant', '{edit}')", "$how: rights are granted on what is there");
        $db->value('SELECT install_gateway_pools()');
        works_as_it_should($db, "$how, with weights again");
    }

    # Uninstalled and installed again; the extension dropped and made again, here and in the other arrangement.
    {
        my $db = make_host("left_$schema");
        my $other = $schema eq 'app' ? 'pools' : 'app';

        make_extension($db, $schema);
        add_rows($db);
        add_pools($db);
        $db->value('SELECT uninstall_gateway_pools()');
        $db->shows(q{SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'GatewayPools%'}, 0, "$how: no trigger is left");
        $db->fails("SELECT pick_healthy_gateway('$pool')", '55000 gateway_pools_not_installed', "$how: uninstalled");
        $db->works('DROP EXTENSION gateway_pool', "$how: the extension goes without CASCADE");
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
            works_as_it_should($db, "$how, moved to two");
            $db->shows(qq{SELECT count(*) FROM pg_class WHERE relnamespace = '$other'::regnamespace AND relkind = 'r'}, scalar @side_tables,
                "$how: the side tables have moved along");
        }
        $db->value(q{UPDATE app.identity_kubernetes_auths SET "gatewayPoolId" = NULL; SELECT uninstall_gateway_pools(false)});
        $db->shows(q{SELECT count(*) FROM pg_class WHERE relname = 'gateway_pools' OR relname IN ('} . join("', '", @side_tables) . q{')}, 0,
            "$how: with the data, nothing is left");
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
        $db->works('SELECT install_gateway_pools()', "$how: install finds nothing to do");
        works_as_it_should($db, "$how, all moved, installed again", %now);
        $db->works(qq{UPDATE $now{gateways_v2} SET heartbeat = now(); DELETE FROM $now{organizations} WHERE id = '$beta'}, "$how: cascades run");
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
        $tenant->shows('SELECT name FROM gateway_pool_status', 'edge', "$how: a tenant sees its own");
        $tenant->shows("SELECT pick_healthy_gateway('$pool')", $gateway[1], "$how: and picks");
        $tenant->fails("SELECT pick_healthy_gateway('$theirs')", 'P0002 gateway_pools_not_found', "$how: no other");
        $db->shows($healthy, '', "$how: nothing to complain of");
        $db->value('ALTER SCHEMA app RENAME TO renamed');
        $tenant->shows("SELECT pick_healthy_gateway('$pool')", $gateway[1], "$how: also under another name of the schema") if $schema ne 'app';
        $db->value('ALTER SCHEMA renamed RENAME TO app; SELECT disable_gateway_pool_isolation()');
        $tenant->shows('SELECT count(*) FROM gateway_pool_status', 2, "$how: isolation ends");
    }
}

# What install refuses.
{
    my $db = make_host('refused');

    $db->value('CREATE SCHEMA pools; CREATE EXTENSION gateway_pool SCHEMA pools; ALTER DATABASE refused SET search_path = pools, app, host_test');
    my $error = $db->fails(q{SELECT install_gateway_pools('app.organizations', 'app.gateways_v2')}, '55000 gateway_pools_not_installed', 'the owner lacks USAGE on the schema');
    like($error, qr/HINT:  Run GRANT USAGE ON SCHEMA pools TO app_owner\./, 'and the hint is the GRANT');
    $db->value('GRANT USAGE ON SCHEMA pools TO app_owner');
    $db->value('CREATE TABLE pools.gateway_states (id int)');
    $error = $db->fails(q{SELECT install_gateway_pools('app.organizations', 'app.gateways_v2')}, '55000 gateway_pools_not_installed', 'a table of that name that is another role\'s');
    like($error, qr/pools\.gateway_states is owned by/, 'which is named');
    $db->value('DROP TABLE pools.gateway_states');
    $db->value(q{SELECT install_gateway_pools('app.organizations', 'app.gateways_v2')});
    # One host a database, and one table of each role.
    $db->value(q{SELECT host_test.make_host('second', 2)});
    $error = $db->fails(q{SELECT install_gateway_pools('second.organizations', 'second.gateways_v2')}, '55000 gateway_pools_not_installed', 'one host a database');
    like($error, qr/app\.gateways_v2/, 'which is named, too');
    $db->value(q{SELECT gateway_pool_internal.mark_table('second.gateways_v2', 'GatewayPools_marker', '{gateways}')});
    $error = $db->fails('SELECT pick_healthy_gateway(gen_random_uuid())', '55000 gateway_pools_not_installed', 'two tables of one role');
    like($error, qr/app\.gateways_v2 and second\.gateways_v2|second\.gateways_v2 and app\.gateways_v2/, 'are both named');
    $db->fails('SELECT install_gateway_pools()', '55000 gateway_pools_not_installed', 'install refuses as well');
    $db->shows(q{SELECT object FROM check_gateway_pools() WHERE problem = 'table marked twice'}, 'app.gateways_v2, second.gateways_v2', 'the doctor names them');
    $db->value('DROP TRIGGER "GatewayPools_marker" ON second.gateways_v2');
    $db->shows($healthy, '', 'one marker less, and all is well');
    $db->value('REVOKE USAGE ON SCHEMA pools FROM app_owner');
    $db->shows('SELECT problem, remedy FROM check_gateway_pools() WHERE problem LIKE \'schema%\'',
        'schema not usable|GRANT USAGE ON SCHEMA pools TO app_owner;', 'the doctor tells of a USAGE that was revoked');
}

done_testing();
