# When a superuser calls the extension, code that a table's owner defined never runs
# with more than the owner's rights; no role learns from the extension's functions what
# it may not read; and privileges on the gateways table apply to the pool tables.
#
# A superuser's own statement on a table fires the triggers of that table as the
# superuser: that is PostgreSQL's rule, and such triggers are allowed here.

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
my $spare = 'b0000000-0000-4000-8000-000000000002';
my $missing = 'ffffffff-0000-4000-8000-000000000000';
my $auth = 'c0000000-0000-4000-8000-000000000001';
my $gateway = '90000000-0000-4000-8000-000000000001';

# A crash must not end the test.
my $node = start_node('main', conf => 'restart_after_crash = on');
my $superuser = $node->safe_psql('postgres', 'SELECT current_user');

$node->safe_psql('postgres', q{
    CREATE ROLE app LOGIN; CREATE ROLE reader LOGIN; CREATE ROLE attacker LOGIN;
    CREATE ROLE app_owner LOGIN IN ROLE app; CREATE ROLE migrator LOGIN IN ROLE app_owner});

# The owner's traps.  Each logs the role as which it runs (a rollback does not remove
# that), and tries to get more rights, except for those that PostgreSQL's own rule may
# run as the superuser.
my $traps = q[
    CREATE FUNCTION trap(place text) RETURNS boolean LANGUAGE plpgsql AS $$
    DECLARE
        attempt text;
    BEGIN
        RAISE LOG 'trap: [%] ran as [%]', place, current_user;
        IF place ~ '^(trigger|default)' THEN
            RETURN true;
        END IF;
        FOREACH attempt IN ARRAY ARRAY[
            'ALTER ROLE app_owner SUPERUSER',
            'RESET ROLE', 'SET ROLE NONE', format('SET ROLE %I', session_user),
            'RESET SESSION AUTHORIZATION', format('SET SESSION AUTHORIZATION %I', session_user),
            format('SELECT set_config(''role'', %L, false)', session_user),
            'ALTER ROLE app_owner SUPERUSER']
        LOOP
            BEGIN
                EXECUTE attempt;
                IF attempt LIKE 'ALTER%' THEN
                    RAISE LOG 'trap: [%] ran as [%]', 'became superuser by ' || place, current_user;
                END IF;
            EXCEPTION WHEN OTHERS THEN
                NULL;
            END;
        END LOOP;
        PERFORM set_config('search_path', 'trapped', false);
        RETURN true;
    END
    $$;
    CREATE FUNCTION trap_trigger() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM public.trap('trigger ' || TG_ARGV[0] || ' ' || TG_TABLE_NAME);
        RETURN CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END;
    END
    $$;
    CREATE FUNCTION trap_time(place text) RETURNS timestamptz LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM public.trap(place);
        RETURN now();
    END
    $$;
    CREATE FUNCTION trap_org(identity uuid) RETURNS uuid LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM public.trap('query of the organization');
        RETURN (SELECT "orgId" FROM public.identities WHERE id = identity);
    END
    $$;
    CREATE TYPE trap_word AS ENUM ('word', 'edge', '] . $acme . q[', '] . $pool . q[');
    CREATE FUNCTION trap_cast_uuid(trap_word) RETURNS uuid LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM public.trap('cast to uuid');
        RETURN '] . $acme . q[';
    END
    $$;
    CREATE FUNCTION trap_cast_text(trap_word) RETURNS text LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM public.trap('cast to text');
        RETURN 'edge';
    END
    $$;
    CREATE FUNCTION trap_cast_time(trap_word) RETURNS timestamptz LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM public.trap('cast to timestamptz');
        RETURN now();
    END
    $$;
    CREATE CAST (trap_word AS uuid) WITH FUNCTION trap_cast_uuid(trap_word) AS IMPLICIT;
    CREATE CAST (trap_word AS text) WITH FUNCTION trap_cast_text(trap_word) AS IMPLICIT;
    CREATE CAST (trap_word AS timestamptz) WITH FUNCTION trap_cast_time(trap_word) AS IMPLICIT];

# Makes a host with one pool that has one healthy member and one consumer.
sub make_host
{
    my ($name) = @_;
    return PoolDatabase->create_with_host($node, $name, 2, 'app_owner');
}

sub add_rows
{
    my ($db) = @_;

    $db->value(qq{
        SELECT host_test.add_org('public', 'acme', '$acme'), host_test.add_org('public', 'beta', '$beta');
        SELECT host_test.add_gateway('public', '$acme', 'g1', '0s', '$gateway');
        UPDATE gateways_v2 SET "heartbeatTTL" = 86400;
        SELECT set_gateway_pool_entitlement('$acme', true);
        INSERT INTO gateway_pools (id, "orgId", name) VALUES ('$pool', '$acme', 'edge'), ('$spare', '$acme', 'spare');
        INSERT INTO gateway_pool_memberships ("gatewayPoolId", "gatewayId") VALUES ('$pool', '$gateway');
        SELECT host_test.add_kubernetes_auth('public', '$acme', 'k', '$auth');
        UPDATE identity_kubernetes_auths SET "gatewayPoolId" = '$pool'});
}

# Runs a statement and returns its result, with the traps that ran: "place as role", each
# once, without the allowed ones.
sub run_past_traps
{
    my ($session, $sql, $allowed) = @_;
    my $offset = -s $node->logfile;
    my $result = $session->run($sql, on_error_stop => 0);
    my $log = slurp_file($node->logfile, $offset);
    my %ran;

    # Lines from the worker of the database have no application name.
    while ($log =~ /\[\d+\] \S+ LOG:  trap: \[([^%\]]+)\] ran as \[([^%\]]+)\]/g)
    {
        $ran{"$1 as $2"} = 1 unless defined $allowed && $1 =~ $allowed;
    }
    $result->{traps} = join("\n", sort keys %ran);
    return $result;
}

# Asserts that a superuser's statement ends with this state, that traps run only as the
# owner, and that the session is unchanged.
sub superuser_safely
{
    my ($db, $sql, $state, $label, %params) = @_;
    my $result = run_past_traps($db, qq{$sql;
        \\echo after
        SELECT current_user = session_user, current_setting('role'), current_setting('search_path'),
               (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = 'app_owner')}, $params{allowed});
    my $expected = $params{traps} // '';
    my $after;

    ($result->{out}, $after) = split /(?:\n|^)after(?:\n|$)/, $result->{out}, 2;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    is($result->{traps}, $expected, "superuser, $label: code of the owner runs only with the owner's rights");
    is($result->{state}, $state, "superuser, $label: the state is as expected") || diag($result->{err})
      if defined $state;
    if (!is($after, 't|none|"$user", public|f', "superuser, $label: session and owner are unchanged"))
    {
        diag($result->{err});
        $node->safe_psql('postgres', 'ALTER ROLE app_owner NOSUPERUSER');
    }
    return $result;
}

# Calls of a superuser, and their SQLSTATEs.
my @readings = (
    [ "SELECT pick_healthy_gateway('$pool')" ],
    [ "SELECT pick_healthy_gateway('$pool', capabilities => '{}')" ],
    [ "SELECT * FROM pick_healthy_gateways('$pool', 3)" ],
    [ "SELECT resolve_gateway(NULL, '$pool')" ],
    [ "SELECT * FROM explain_gateway_pick('$pool')" ],
    [ 'SELECT * FROM gateway_status' ],
    [ 'SELECT * FROM gateway_pool_members' ],
    [ 'SELECT * FROM gateway_pool_status' ],
    [ 'SELECT * FROM gateway_options' ],
    [ "SELECT * FROM list_gateway_pools('$acme')" ],
    [ "SELECT * FROM get_gateway_pool('$acme', '$pool')" ],
    [ "SELECT get_gateway_pool_resources('$acme', '$pool')" ],
    [ "SELECT get_gateway_pool_plan('$acme')" ],
    [ "SELECT gateway_pool_id('$acme', 'edge')" ],
    [ "SELECT gateway_id('$acme', 'g1')" ],
    [ "SELECT * FROM gateway_dependents('$gateway')" ],
    [ "SELECT pick_healthy_gateway('$spare')", '55000 gateway_pools_no_eligible_member' ],
    [ "SELECT pick_healthy_gateway('$missing')", 'P0002 gateway_pools_not_found' ]);

sub attach_trap_triggers
{
    my ($owner, @tables) = @_;

    $owner->value(join(';', map { "
        CREATE TRIGGER zz_trap_before BEFORE INSERT OR UPDATE OR DELETE ON $_ FOR EACH ROW EXECUTE FUNCTION trap_trigger('before');
        CREATE TRIGGER zz_trap_after AFTER INSERT OR UPDATE OR DELETE ON $_ FOR EACH ROW EXECUTE FUNCTION trap_trigger('after')"
    } @tables));
}

# 1. Triggers, defaults, policies and a consumer's org_query.
{
    my $db = make_host('traps');
    my $owner = $db->as('app_owner');
    my @ours = qw(gateway_pools gateway_pool_memberships gateway_pool_entitlements gateway_states gateway_probes);
    my @hosts = qw(organizations gateways_v2 identities identity_kubernetes_auths);
    my $result;

    $db->value('CREATE EXTENSION gateway_pool');
    add_rows($db);
    $owner->value($traps);
    attach_trap_triggers($owner, @ours, @hosts, qw(gateway_health gateway_health_events));
    $owner->value(join(';', map { qq{
        ALTER TABLE $_ ALTER } . ($_ eq 'gateway_states' ? '"changedAt"' : '"updatedAt"') . qq{ SET DEFAULT trap_time('default of $_');
        CREATE POLICY trap ON $_ USING (trap('policy of $_')) WITH CHECK (trap('policy of $_'));
        ALTER TABLE $_ ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY} } @ours, @hosts));
    $owner->value(q{SELECT gateway_pool_internal.mark_table('identity_kubernetes_auths', 'GatewayPools_marker',
        ARRAY['consumer', 'gatewayPoolId', 'gatewayV2Id', 'SELECT public.trap_org(($1)."identityId")'])});

    # The traps are armed.
    $result = run_past_traps($owner, q{BEGIN; UPDATE gateway_pools SET name = name; INSERT INTO public.gateway_pool_entitlements
                                       ("orgId", "gatewayPool") VALUES ('} . $beta . q{', true); ROLLBACK});
    is($result->{traps}, join("\n", map { "$_ as app_owner" } 'default of gateway_pool_entitlements',
            'policy of gateway_pool_entitlements', 'policy of gateway_pools', 'trigger after gateway_pool_entitlements',
            'trigger after gateway_pools', 'trigger before gateway_pool_entitlements', 'trigger before gateway_pools'),
        'the traps work');

    superuser_safely($db, $_->[0], $_->[1] // '', $_->[0]) foreach @readings;
    # The check may run that query, as the owner's own call would.
    superuser_safely($db, 'SELECT * FROM check_gateway_pools()', '', 'check_gateway_pools()',
        traps => run_past_traps($owner, 'SELECT * FROM check_gateway_pools()', qr/^policy of \w+$/)->{traps});
    superuser_safely($db, qq{DELETE FROM gateway_pools WHERE id = '$pool'}, '23503 gateway_pools_in_use', 'the guard',
        allowed => qr/^trigger \w+ gateway_pools$/);
    superuser_safely($db, 'TRUNCATE gateway_pools CASCADE', '23503 gateway_pools_in_use', 'the guard against TRUNCATE');
    foreach ([ qq{UPDATE identity_kubernetes_auths SET "gatewayPoolId" = '$spare'}, '' ],
        [ qq{UPDATE identity_kubernetes_auths SET "gatewayV2Id" = '$gateway'}, '' ],
        [ qq{UPDATE identity_kubernetes_auths SET "gatewayPoolId" = '$pool'}, '' ],
        [ qq{UPDATE identity_kubernetes_auths SET "gatewayPoolId" = '$missing'}, '23503 gateway_pools_same_org' ])
    {
        superuser_safely($db, $_->[0], $_->[1], $_->[0], allowed => qr/^(trigger \w+|default of) identity_kubernetes_auths$/,
            traps => 'query of the organization as app_owner');
    }
    # Such a query may write, too; the triggers that it fires must not be delayed until the superuser's rights are back.
    $owner->value(q{
        CREATE TABLE own (a int);
        CREATE TRIGGER own AFTER INSERT ON own FOR EACH ROW EXECUTE FUNCTION trap_trigger('after');
        CREATE CONSTRAINT TRIGGER own_deferred AFTER INSERT ON own DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW EXECUTE FUNCTION trap_trigger('deferred after');
        SELECT gateway_pool_internal.mark_table('identity_kubernetes_auths', 'GatewayPools_marker',
            ARRAY['consumer', 'gatewayPoolId', 'gatewayV2Id', 'WITH own AS (INSERT INTO public.own VALUES (1)
                RETURNING 1) SELECT i."orgId" FROM public.identities i WHERE i.id = ($1)."identityId"'])});
    $result = run_past_traps($db, qq{UPDATE identity_kubernetes_auths SET "gatewayPoolId" = '$spare'},
        qr/^(trigger \w+|default of) identity_kubernetes_auths$/);
    unlike($result->{traps}, qr/ as \Q$superuser\E/, 'superuser, an org_query that writes: nothing runs with the superuser\'s rights');

    superuser_safely($db, qq{UPDATE gateways_v2 SET "orgId" = '$beta'}, '23503 gateway_pools_same_org', 'a member moves',
        allowed => qr/^(trigger \w+|default of) gateways_v2$/);
    superuser_safely($db, qq{INSERT INTO gateway_pool_memberships ("gatewayPoolId", "gatewayId") VALUES ('$spare', '$missing')},
        '23503 gateway_pools_same_org', 'a member that does not exist',
        allowed => qr/^(trigger \w+|default of) gateway_pool_memberships$/);
    superuser_safely($db, qq{INSERT INTO gateway_pools ("orgId", name) VALUES ('$beta', 'x')}, '42501 gateway_pools_entitlement',
        'a pool without a plan', allowed => qr/^(trigger \w+|default of) gateway_pools$/);

    # Install repairs triggers that differ; then the owner drops parts that install has to create again.
    superuser_safely($db, 'SELECT install_gateway_pools()', '', 'install_gateway_pools() again');
    $owner->value('DROP TABLE gateway_pool_entitlements; ALTER TABLE identity_kubernetes_auths DROP COLUMN "gatewayPoolId";
                   ALTER TABLE gateway_pool_memberships DROP COLUMN "pickWeight"');
    superuser_safely($db, 'SELECT install_gateway_pools()', '', 'install_gateway_pools() of missing parts');
    $db->shows('SELECT relowner::regrole FROM pg_class WHERE relname = \'gateway_pool_entitlements\'', 'app_owner',
        'created tables belong to the owner');
    superuser_safely($db, 'DROP EXTENSION gateway_pool CASCADE', '', 'DROP EXTENSION CASCADE');
    superuser_safely($db, 'CREATE EXTENSION gateway_pool', '', 'CREATE EXTENSION after that');
    superuser_safely($db, $_->[0], $_->[1] // '', "once more $_->[0]") foreach @readings[ 0, 8 ];
    superuser_safely($db, 'SELECT uninstall_gateway_pools(true)', '', 'uninstall_gateway_pools()');
}

# 2. Types of columns that the owner changes after the installation.
{
    my $db = make_host('types');
    my $owner = $db->as('app_owner');

    $db->value('CREATE EXTENSION gateway_pool');
    add_rows($db);
    $owner->value($traps);
    $owner->value(q{ALTER TABLE gateways_v2 ALTER heartbeat TYPE trap_word USING 'word'});
    superuser_safely($db, "SELECT pick_healthy_gateway('$pool')", '', 'a pick by a column that is cast',
        traps => 'cast to timestamptz as app_owner');
    superuser_safely($db, 'SELECT * FROM gateway_status', '', 'a view of a column that is cast',
        traps => 'cast to timestamptz as app_owner');

    foreach my $column ('gateways_v2."orgId"', 'gateway_pools.name', 'gateway_pools."orgId"')
    {
        my ($table, $name) = split /\./, $column;
        my $value = $name eq 'name' ? 'edge' : $acme;

        $owner->value(qq{ALTER TABLE $table DROP CONSTRAINT IF EXISTS gateways_v2_orgid_foreign,
                         DROP CONSTRAINT IF EXISTS gateway_pools_orgid_name_unique, ALTER $name TYPE trap_word USING '$value'});
        foreach my $statement ('SELECT * FROM check_gateway_pools()', 'SELECT install_gateway_pools()', 'SELECT * FROM gateway_options',
            "SELECT pick_healthy_gateway('$pool')")
        {
            superuser_safely($db, $statement, undef, "$statement where $column has a type of the owner's",
                allowed => qr/^cast to timestamptz$/, traps => run_past_traps($owner, $statement, qr/^cast to timestamptz$/)->{traps});
        }
        $owner->value("ALTER TABLE $table ALTER $name TYPE " . ($name eq 'name' ? 'varchar(32)' : 'uuid') . " USING '$value'");
    }
}

# 3. Tables that the owner created before, which install adopts.
foreach (
    [ 'gateway_pool_entitlements', '"orgId" trap_word PRIMARY KEY, "gatewayPool" boolean, "maxPools" int, "maxGatewaysPerPool" int,
      "expiresAt" timestamptz, "createdAt" timestamptz, "updatedAt" timestamptz', $acme ],
    [ 'gateway_states', '"gatewayId" trap_word PRIMARY KEY, state text, reason text, "changedAt" timestamptz', $acme ],
    [ 'gateway_probes', '"gatewayId" trap_word PRIMARY KEY, protocol text, address text', $acme ],
    [ 'gateway_pools', 'id uuid PRIMARY KEY, "orgId" trap_word, name varchar(32),
      "createdAt" timestamptz, "updatedAt" timestamptz', $pool ],
    [ 'identity_kubernetes_auths', undef, $pool ])
{
    my ($table, $columns, $value) = @$_;
    my $db = make_host("adopt_$table");
    my $owner = $db->as('app_owner');

    $owner->value($traps);
    $db->value(qq{SELECT host_test.add_org('public', 'acme', '$acme');
                  SELECT host_test.add_gateway('public', '$acme', 'g1', '0s', '$acme');
                  SELECT host_test.add_kubernetes_auth('public', '$acme', 'k', '$auth')});
    $owner->value(defined $columns ? "CREATE TABLE $table ($columns); INSERT INTO $table VALUES ('$value')"
        : qq{CREATE TABLE gateway_pools (id uuid PRIMARY KEY, "orgId" uuid, name varchar(32),
                                         "createdAt" timestamptz, "updatedAt" timestamptz);
             INSERT INTO gateway_pools VALUES ('$acme', '$acme', 'edge', now(), now());
             ALTER TABLE identity_kubernetes_auths ADD COLUMN "gatewayPoolId" trap_word DEFAULT '$value'});
    superuser_safely($db, 'CREATE EXTENSION gateway_pool', undef, "CREATE EXTENSION where $table has a type of the owner's");
}

# 4. Functions with the names of the extension's, by the owner or another role with
# CREATE on the schema.
{
    my $db = make_host('names');
    my $owner = $db->as('app_owner');
    my %before;
    my @statements = (
        'SELECT * FROM check_gateway_pools()', 'SELECT name FROM gateway_options ORDER BY 1',
        'SELECT install_gateway_pools(NULL::regclass, NULL::regclass, NULL::regclass)',
        "SELECT name FROM list_gateway_pools('$acme')", "SELECT name FROM get_gateway_pool('$acme', '$pool')",
        "SELECT name FROM create_gateway_pool('$acme', 'third')", 'SELECT name FROM gateway_pool_status ORDER BY 1');

    $db->value('CREATE EXTENSION gateway_pool');
    add_rows($db);
    $db->value("SELECT set_gateway_pool_entitlement('$acme', true, 2)");
    $owner->value($traps);
    foreach my $statement (@statements)
    {
        my $result = $db->run($statement);
        $before{$statement} = "$result->{state} $result->{out}";
    }
    # For every function of the extension: versions with fewer arguments, and with closer argument types.
    $owner->value($db->value(q{
        SELECT format('CREATE FUNCTION %I(%s) RETURNS %s LANGUAGE plpgsql AS $f$ BEGIN PERFORM public.trap(%L); RETURN %s; END $f$;',
                      p.proname, v.arguments, CASE WHEN p.proretset THEN 'SETOF ' || r.result ELSE r.result END, 'function ' || p.proname,
                      CASE WHEN p.proretset OR r.result = 'void' THEN '' ELSE 'NULL' END)
          FROM pg_proc p
          JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
          JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'gateway_pool'
         CROSS JOIN LATERAL (SELECT CASE WHEN p.prorettype = 'record'::regtype
                                         THEN coalesce((SELECT quote_ident(c.relname) FROM pg_class c
                                                         WHERE c.relname = p.proname AND c.relkind = 'v'), 'boolean')
                                         ELSE format_type(p.prorettype, NULL) END) r (result)
         CROSS JOIN LATERAL (
               SELECT replace(oidvectortypes(p.proargtypes), 'text', 'character varying') WHERE oidvectortypes(p.proargtypes) ~ 'text'
                UNION
               SELECT array_to_string((string_to_array(oidvectortypes(p.proargtypes), ', '))[1 : p.pronargs - n], ', ')
                 FROM generate_series(1, p.pronargdefaults) n) v (arguments)
         WHERE p.prorettype <> 'trigger'::regtype}));
    foreach my $statement (@statements)
    {
        my $result = superuser_safely($db, $statement, undef, "$statement with functions of the same names",
            allowed => qr/^function (create|list|get)_gateway_pool$/);
        is("$result->{state} $result->{out}", $before{$statement}, "$statement does the same as before")
          || diag($result->{err});
    }

    # And before the extension is created.
    $db = make_host('names_before');
    $db->as('app_owner')->value($traps . q{;
        CREATE FUNCTION install_gateway_pools() RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM public.trap('install'); END $$;
        CREATE FUNCTION gateway_status() RETURNS TABLE (a int) LANGUAGE plpgsql AS $$ BEGIN PERFORM public.trap('status'); END $$;
        CREATE FUNCTION gateway_pool_parts(oid, oid, oid) RETURNS TABLE (present boolean, command text) LANGUAGE plpgsql
            AS $$ BEGIN PERFORM public.trap('parts'); END $$});
    superuser_safely($db, 'CREATE EXTENSION gateway_pool', undef, 'CREATE EXTENSION with functions of the same names');
    superuser_safely($db, 'SELECT * FROM gateway_status', undef, 'a view created with them');
}

# 5. After the first installation by a superuser, the owner of the tables, who is no
# superuser, can install; so can a role that is a member of the owner, and no other
# role.  Other roles get their privileges on gateways for the pool tables, too.
{
    my $privileges = sub {
        my ($db, $table) = @_;
        return $db->value("SELECT a.grantee::regrole, a.privilege_type, a.is_grantable FROM pg_class c, aclexplode(c.relacl) a
                            WHERE c.oid = '$table'::regclass AND a.grantee <> c.relowner ORDER BY 1, 2");
    };

    foreach my $installer ('app_owner', 'migrator')
    {
        my $db = PoolDatabase->create_with_host_functions($node, "installed_by_$installer");
        my $result = $db->run('CREATE EXTENSION gateway_pool');
        my $on_gateways;

        like($result->{err}, qr/INFO:  .*not installed.*\nDETAIL:  .*\nHINT:  .*install_gateway_pools\(/, "$installer: CREATE EXTENSION names the function to call");
        $db->value(qq{GRANT CREATE ON SCHEMA public TO app_owner, migrator; SELECT host_test.make_host('public', 2, 'app_owner')});
        $db->as('app_owner')->value(q{
            GRANT SELECT, INSERT, UPDATE, DELETE ON gateways_v2 TO app;
            GRANT SELECT ON gateways_v2 TO reader WITH GRANT OPTION;
            GRANT SELECT ON organizations TO attacker});
        $db->as($_)->fails('SELECT install_gateway_pools()', '42501 gateway_pools_access', "$installer: $_ cannot install") foreach qw(app reader attacker app_owner migrator);
        $db->value(q{SELECT install_gateway_pools();
            DROP TABLE gateway_pools, gateway_pool_memberships, gateway_pool_entitlements, gateway_pool_tenants, gateway_states, gateway_health,
                gateway_health_events, gateway_probes, gateway_pool_audit_logs CASCADE});
        $db->as($_)->fails('SELECT install_gateway_pools()', '42501 gateway_pools_access', "$installer: $_ cannot install again") foreach qw(app reader attacker);
        $db->as($installer)->works('SELECT install_gateway_pools()', "$installer: the role can install");
        $db->shows('SELECT * FROM check_gateway_pools()', '', "$installer: check_gateway_pools() reports no problem");
        $db->shows(q{SELECT DISTINCT relowner::regrole FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace},
            'app_owner', "$installer: the owner owns all tables");
        $db->shows(q{SELECT count(*) FROM pg_depend d JOIN pg_class c ON c.oid = d.objid AND c.relkind <> 'v'
                      WHERE d.classid = 'pg_class'::regclass AND d.deptype = 'e'}, 0, "$installer: no table is a member of the extension");
        $on_gateways = $privileges->($db, 'gateways_v2');
        like($on_gateways, qr/^reader\|SELECT\|t$/m, "$installer: there are privileges to copy");
        is($privileges->($db, $_), $on_gateways, "$installer: $_ has the privileges of the gateways table")
          foreach qw(gateway_pools gateway_pool_memberships gateway_states gateway_health gateway_probes);
        is($privileges->($db, 'gateway_pool_entitlements'), '', "$installer: only the owner has privileges on entitlements");
    }
}
{
    my $db = make_host('granted_later');
    my $app = $db->as('app');
    my $rights = sub {
        return $db->value(qq{SELECT t, string_agg(p, ' ' ORDER BY p) FROM unnest('{gateways_v2,gateway_pools,gateway_pool_memberships,
            gateway_states,gateway_health,gateway_probes,gateway_pool_entitlements}'::text[]) WITH ORDINALITY u (t, n)
            LEFT JOIN unnest('{SELECT,INSERT,UPDATE,DELETE,TRUNCATE,REFERENCES,TRIGGER}'::text[]) p ON has_table_privilege('app', t, p)
            GROUP BY t, n ORDER BY n});
    };

    $db->as('app_owner')->value('GRANT SELECT, UPDATE, DELETE ON gateways_v2 TO app');
    $db->value('CREATE EXTENSION gateway_pool');
    is($rights->(), join("\n", 'gateways_v2|DELETE SELECT UPDATE', map { "$_|" } qw(gateway_pools gateway_pool_memberships
                gateway_states gateway_health gateway_probes gateway_pool_entitlements)), 'CREATE EXTENSION itself grants nothing');
    $app->fails('SELECT * FROM gateway_pool_status', '42501 gateway_pools_access', 'an application role sees nothing yet');
    $db->as('app_owner')->value('GRANT INSERT ON gateway_probes TO app');
    $db->as('app_owner')->works('SELECT install_gateway_pools()', 'the owner calls install_gateway_pools()');
    is($rights->(), join("\n", (map { "$_|DELETE SELECT UPDATE" } qw(gateways_v2 gateway_pools gateway_pool_memberships gateway_states gateway_health)),
            'gateway_probes|INSERT', 'gateway_pool_entitlements|'), 'install_gateway_pools() copies privileges to tables without grants');
    $app->works('SELECT * FROM gateway_pool_status', 'the application role sees pools');
    $app->fails(qq{INSERT INTO gateway_pool_entitlements ("orgId", "gatewayPool") VALUES ('$acme', true)}, '42501',
        'the application role cannot entitle an organization');
    $app->fails("SELECT set_gateway_pool_entitlement('$acme', true)", '42501 gateway_pools_access', 'the application role cannot do so by a function');
}

# 6. A role without privileges learns nothing from the extension's functions, called
# directly or attached to a table of its own.
{
    my $db = make_host('strangers');
    my ($session, @functions);
    my @events = ((map { my $time = $_; map { "$time $_ ROW" } qw(INSERT UPDATE DELETE) } qw(BEFORE AFTER)),
        (map { my $time = $_; map { "$time $_ STATEMENT" } qw(INSERT UPDATE DELETE TRUNCATE) } qw(BEFORE AFTER)));

    $db->value('CREATE EXTENSION gateway_pool');
    add_rows($db);
    $db->value(q{CREATE SCHEMA attacker AUTHORIZATION attacker;
                 ALTER ROLE attacker SET search_path = attacker, public;
                 ALTER ROLE attacker SET client_min_messages = error});
    $session = $db->as('attacker')->session;
    $session->value(q{
        CREATE TABLE own (id uuid, "orgId" uuid, name text, "gatewayPoolId" uuid, "gatewayId" uuid, "gatewayV2Id" uuid, "identityId" uuid,
                          address text, protocol text, "updatedAt" timestamptz)});
    @functions = split /\n/, $db->value(q{
        SELECT 'gateway_pool_internal.' || proname FROM pg_proc
         WHERE prorettype = 'trigger'::regtype AND probin = '$libdir/gateway_pool' AND proname <> 'table_marker'});
    cmp_ok(scalar @functions, '>=', 8, 'there are trigger functions to attach');
    foreach my $function (@functions)
    {
        my (%seen, @differ);

        foreach my $arguments ('', q{'updatedAt'}, q{'gatewayPoolId'})
        {
            foreach my $event (@events)
            {
                my ($time, $operation, $level) = split / /, $event;
                my @outcomes;

                foreach my $id ([ $pool, $acme, $gateway ], [ $missing, $missing, $missing ])
                {
                    my $values = "('$id->[0]', '$id->[1]', 'edge', '$id->[0]', '$id->[2]', NULL, NULL, 'gw:1', 'tcp', now())";
                    my $statement = {
                        INSERT => "INSERT INTO own VALUES $values",
                        UPDATE => qq{UPDATE own SET id = '$id->[0]', "orgId" = '$beta', "gatewayPoolId" = '$id->[0]', name = 'x'},
                        DELETE => 'DELETE FROM own',
                        TRUNCATE => 'TRUNCATE own' }->{$operation};
                    my $result = $session->run("TRUNCATE own; INSERT INTO own VALUES $values;
                        CREATE TRIGGER t $time $operation ON own FOR EACH $level EXECUTE FUNCTION $function($arguments); $statement");

                    $session->run('DROP TRIGGER IF EXISTS t ON own');
                    push @outcomes, ($result->{state} || 'nothing') . ($result->{message} // '');
                    $seen{ $result->{state} || 'nothing' } = 1;
                }
                push @differ, $event if $outcomes[0] ne $outcomes[1];
            }
        }
        is("@differ", '', "$function on a stranger's table does the same for existing and missing rows");
        is(join(' ', grep { !/^(?:39P01|42804|nothing|55000 gateway_pools_not_installed)$/ } sort keys %seen), '', "$function on a stranger's table is refused or harmless");
    }

    foreach my $call (
        'SELECT pick_healthy_gateway(POOL)', 'SELECT pick_healthy_gateway(POOL, null_if_none => true)',
        'SELECT * FROM pick_healthy_gateways(POOL)', 'SELECT resolve_gateway(NULL, POOL)', 'SELECT * FROM explain_gateway_pick(POOL)',
        'SELECT * FROM gateway_status', 'SELECT * FROM gateway_pool_members', 'SELECT * FROM gateway_pool_status',
        'SELECT * FROM gateway_options',
        'SELECT * FROM gateway_status(ORG)', 'SELECT * FROM gateway_pool_members(ORG)', 'SELECT * FROM gateway_pool_status(ORG)',
        'SELECT * FROM gateway_options(ORG)', 'SELECT * FROM list_gateway_pools(ORG)', 'SELECT * FROM get_gateway_pool(ORG, POOL)',
        'SELECT * FROM create_gateway_pool(ORG, \'x\')', 'SELECT * FROM update_gateway_pool(ORG, POOL, \'x\')',
        'SELECT * FROM delete_gateway_pool(ORG, POOL)', 'SELECT * FROM add_gateway_to_pool(ORG, POOL, GATEWAY)',
        'SELECT * FROM remove_gateway_from_pool(ORG, POOL, GATEWAY)', 'SELECT get_gateway_pool_resources(ORG, POOL)',
        'SELECT get_gateway_pool_plan(ORG)', q{SELECT gateway_pool_id(ORG, 'edge')}, q{SELECT gateway_id(ORG, 'g1')}, 'SELECT * FROM gateway_dependents(GATEWAY)',
        'SELECT * FROM set_gateway_pool_members(ORG, POOL, ARRAY[GATEWAY]::uuid[])',
        'SELECT set_gateway_pool_entitlement(ORG, true)',
        q{SELECT set_gateway_state(GATEWAY, 'active')}, 'SELECT * FROM check_gateway_pools()',
        'SELECT * FROM gateway_pool_internal.row_problems()', 'SELECT install_gateway_pools()',
        'SELECT uninstall_gateway_pools()', 'SELECT uninstall_gateway_pools(false)',
        'SELECT enable_gateway_pool_isolation()', 'SELECT disable_gateway_pool_isolation()',
        q{SELECT grant_gateway_pool_access('attacker', '{pick}')}, q{SELECT revoke_gateway_pool_access('app_owner', '{edit}')})
    {
        my @outcomes = map {
            my ($org, $pool_id, $gateway_id) = @$_;
            my $sql = $call =~ s/ORG/'$org'/r =~ s/POOL/'$pool_id'/r =~ s/GATEWAY/'$gateway_id'/r;
            my $result = $session->run($sql);
            $result->{state} || "no error $result->{out}"
        } ([ $acme, $pool, $gateway ], [ $missing, $missing, $missing ]);

        is("@outcomes" =~ s/ gateway_pools_access//gr, '42501 42501', "a stranger may not $call");
    }
    $session->end;
    $db->shows('SELECT * FROM check_gateway_pools()', '', 'all these calls changed nothing');
}

# 7. An application's own trigger picks as the role that fires it, in the transaction
# that created the pool.
{
    my $db = make_host('own_triggers');
    my $owner = $db->as('app_owner');
    my ($session, $other);

    $db->value('CREATE EXTENSION gateway_pool');
    add_rows($db);
    $owner->value(qq{
        CREATE TABLE requests (id int PRIMARY KEY, pool uuid, gateway uuid);
        CREATE FUNCTION choose() RETURNS trigger LANGUAGE plpgsql AS
            \$\$ BEGIN NEW.gateway := pick_healthy_gateway(NEW.pool); RETURN NEW; END \$\$;
        CREATE TRIGGER choose BEFORE INSERT ON requests FOR EACH ROW EXECUTE FUNCTION choose();
        CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
            \$\$ BEGIN UPDATE requests SET gateway = pick_healthy_gateway(NEW."gatewayPoolId", null_if_none => true) WHERE id = 0;
               RETURN NULL; END \$\$;
        INSERT INTO requests VALUES (0, '$pool');
        CREATE TRIGGER note AFTER INSERT ON gateway_pool_memberships FOR EACH ROW EXECUTE FUNCTION note();
        GRANT SELECT, INSERT ON requests TO app;
        GRANT SELECT ON gateway_pools TO app;
        REVOKE ALL ON gateways_v2, organizations FROM app});
    $session = $owner->session;
    $other = $db->as('app')->session;
    $other->shows("INSERT INTO requests VALUES (1, '$pool') RETURNING gateway", $gateway, 'a trigger picks with SELECT on gateway_pools');
    $other->fails('SELECT * FROM gateways_v2', '42501', 'the trigger needs nothing else');

    foreach my $level ('READ COMMITTED', 'REPEATABLE READ', 'SERIALIZABLE')
    {
        $session->shows(qq{
            BEGIN ISOLATION LEVEL $level;
            SELECT count(*) FROM organizations;
            INSERT INTO gateway_pools (id, "orgId", name) VALUES ('$missing', '$acme', 'new');
            INSERT INTO gateway_pool_memberships ("gatewayPoolId", "gatewayId") VALUES ('$missing', '$gateway');
            SET LOCAL ROLE app;
            INSERT INTO requests VALUES (2, '$missing') RETURNING gateway;
            RESET ROLE;
            SELECT gateway FROM requests WHERE id = 0}, "2\n$gateway\n$gateway",
            "$level: triggers pick from a pool that their own transaction created");
        $other->fails("INSERT INTO requests VALUES (3, '$missing')", 'P0002 gateway_pools_not_found', "$level: another session does not see the pool yet");
        $session->value('ROLLBACK');
        $other->fails("INSERT INTO requests VALUES (3, '$missing')", 'P0002 gateway_pools_not_found', "$level: another session does not see it after a rollback");
    }
    $session->value(qq{
        BEGIN;
        INSERT INTO gateway_pools (id, "orgId", name) VALUES ('$missing', '$acme', 'new');
        INSERT INTO gateway_pool_memberships ("gatewayPoolId", "gatewayId") VALUES ('$missing', '$gateway');
        COMMIT});
    $other->shows("INSERT INTO requests VALUES (3, '$missing') RETURNING gateway", $gateway, 'another session sees it after a commit');
    $other->shows("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM requests", 3, 'a snapshot is taken');
    $session->value(qq{INSERT INTO gateway_pools (id, "orgId", name) VALUES ('ffffffff-0000-4000-8000-000000000001', '$acme', 'newer');
        INSERT INTO gateway_pool_memberships ("gatewayPoolId", "gatewayId") VALUES ('ffffffff-0000-4000-8000-000000000001', '$gateway')});
    $other->shows("INSERT INTO requests VALUES (4, 'ffffffff-0000-4000-8000-000000000001') RETURNING gateway; COMMIT", $gateway,
        'a trigger sees rows committed after its snapshot');
    $owner->value('REVOKE SELECT ON gateway_pools FROM app');
    $other->fails("INSERT INTO requests VALUES (5, '$pool')", '42501 gateway_pools_access', 'revoking a privilege takes effect at once');
    $_->end foreach $session, $other;
}

# A type whose values a cast turns into NULL.
my $sly = q{CREATE TYPE sly AS ENUM ('sly');
    CREATE FUNCTION nothing(sly) RETURNS uuid LANGUAGE sql AS 'SELECT NULL::uuid';
    CREATE CAST (sly AS uuid) WITH FUNCTION nothing(sly)};

# 8. Whatever types or org_query an owner defines, the result is an error or the right
# value, never a crash.
{
    my $db = make_host('crashes');
    my $plan = sub { return qq{SELECT "$_[0]" FROM get_gateway_pool_plan('$acme')} };
    my @attempts;

    $db->value('CREATE EXTENSION gateway_pool');
    add_rows($db);

    # Each: label, what the owner does, the query after that, the right answer.
    push @attempts, [ 'an organization of gateways that is an integer',
        q{ALTER TABLE gateways_v2 DROP CONSTRAINT gateways_v2_orgid_foreign, DROP CONSTRAINT gateways_v2_orgid_name_unique,
              ALTER "orgId" TYPE int USING 7},
        'SELECT "orgId" FROM gateway_status' ];
    push @attempts, [ 'an organization of gateways that is text',
        q{ALTER TABLE gateways_v2 DROP CONSTRAINT gateways_v2_orgid_foreign, ALTER "orgId" TYPE text},
        'SELECT "orgId" FROM gateway_status', $acme ];
    push @attempts, [ 'a time that is text',
        q{ALTER TABLE gateway_pools ALTER "createdAt" DROP DEFAULT, ALTER "createdAt" TYPE text USING '2026-01-01 00:00:00+00'},
        'SELECT DISTINCT "createdAt" FROM gateway_pool_status', '2026-01-01 00:00:00+00' ];
    push @attempts, [ 'a state that is an integer',
        q{ALTER TABLE gateway_states DROP CONSTRAINT gateway_pool_states_state_check, DROP CONSTRAINT gateway_pool_states_until_check, ALTER state TYPE int USING 5;
          INSERT INTO gateway_states ("gatewayId", state) SELECT id, 7 FROM gateways_v2},
        'SELECT state FROM gateway_status', 'active' ];
    push @attempts, [ 'a weight that is text',
        q{ALTER TABLE gateway_pool_memberships DROP CONSTRAINT "gateway_pool_memberships_pickWeight_check",
              ALTER "pickWeight" DROP DEFAULT, ALTER "pickWeight" TYPE text},
        'SELECT "pickWeight" FROM gateway_pool_members', '1' ];
    push @attempts, [ 'a limit that is text',
        q{ALTER TABLE gateway_pool_entitlements DROP CONSTRAINT "gateway_pool_entitlements_maxPools_check",
              ALTER "maxPools" TYPE text USING '5'},
        $plan->('maxPools'), '5' ];
    push @attempts, [ 'an end of a plan that is text',
        q{ALTER TABLE gateway_pool_entitlements ALTER "expiresAt" TYPE text USING '2100-01-01 00:00:00+00'},
        $plan->('expiresAt'), '2100-01-01 00:00:00+00' ];
    push @attempts, [ 'a plan that is text',
        q{ALTER TABLE gateway_pool_entitlements ALTER "gatewayPool" TYPE text USING 'false'},
        $plan->('gatewayPool'), 'f' ];
    push @attempts, [ 'a consumer by a type of its own',
        qq{CREATE TYPE own AS ENUM ('$pool');
           CREATE FUNCTION own_uuid(own) RETURNS uuid LANGUAGE sql AS 'SELECT \$1::text::uuid';
           CREATE CAST (own AS uuid) WITH FUNCTION own_uuid(own) AS IMPLICIT;
           CREATE TABLE consumer (pool own REFERENCES gateway_pools (id));
           INSERT INTO consumer VALUES ('$pool')},
        # Only uuids count.
        q{SELECT "connectedResourcesCount" FROM gateway_pool_status WHERE name = 'edge'}, '1' ];
    push @attempts, [ 'an id of pools that is text',
        q{ALTER TABLE identity_kubernetes_auths DROP CONSTRAINT identity_kubernetes_auths_gatewaypoolid_foreign;
          ALTER TABLE gateway_pool_memberships DROP CONSTRAINT gateway_pool_memberships_gatewaypoolid_foreign;
          ALTER TABLE gateway_pools ALTER id DROP DEFAULT, ALTER id TYPE text},
        q{SELECT id FROM gateway_pool_status WHERE name = 'edge'}, $pool ];
    # NULL in place of an id: stored, or by a cast of the owner's.
    my $no_keys = q{ALTER TABLE gateway_pool_memberships DROP CONSTRAINT gateway_pool_memberships_gatewayid_foreign,
            DROP CONSTRAINT gateway_pool_memberships_gatewaypoolid_foreign;
        ALTER TABLE identity_kubernetes_auths DROP CONSTRAINT identity_kubernetes_auths_gatewaypoolid_foreign};

    push @attempts, [ 'a pool without an organization',
        'ALTER TABLE gateway_pools ALTER "orgId" DROP NOT NULL', q{INSERT INTO gateway_pools (name) VALUES ('x')} ];
    push @attempts, [ 'a pool that loses its organization',
        'ALTER TABLE gateway_pools ALTER "orgId" DROP NOT NULL', qq{UPDATE gateway_pools SET "orgId" = NULL WHERE id = '$spare'} ];
    push @attempts, map { [ "a pool without an id: $_",
            qq{$no_keys; ALTER TABLE gateway_pools DROP CONSTRAINT gateway_pools_pkey; ALTER TABLE gateway_pools ALTER id DROP NOT NULL;
               INSERT INTO gateway_pools (id, "orgId", name) VALUES (NULL, '$acme', 'x')}, "$_ \\g /dev/null\nSELECT 1", '1' ] }
      q{UPDATE gateway_pools SET name = 'y' WHERE id IS NULL}, q{UPDATE gateway_pools SET "orgId" = gen_random_uuid() WHERE id IS NULL},
      'DELETE FROM gateway_pools WHERE id IS NULL', 'SELECT * FROM check_gateway_pools()', 'SELECT * FROM gateway_pool_status';
    push @attempts, map { [ "a gateway without an id: $_",
            q{ALTER TABLE gateways_v2 DROP CONSTRAINT gateways_v2_pkey CASCADE;
              ALTER TABLE gateways_v2 ALTER id DROP NOT NULL, DROP CONSTRAINT gateways_v2_identityid_unique;
              INSERT INTO gateways_v2 SELECT (jsonb_populate_record(g, '{"id": null, "name": "x"}')).* FROM gateways_v2 g LIMIT 1},
            "$_ \\g /dev/null\nSELECT 1", '1' ] }
      'UPDATE gateways_v2 SET heartbeat = now() WHERE id IS NULL', q{UPDATE gateways_v2 SET "orgId" = gen_random_uuid() WHERE id IS NULL},
      'UPDATE gateways_v2 SET id = gen_random_uuid() WHERE id IS NULL', 'UPDATE gateways_v2 SET id = NULL',
      'DELETE FROM gateways_v2 WHERE id IS NULL', 'SELECT * FROM gateway_status';
    push @attempts, map { [ "ids of members that become nothing: $_",
            qq{$sly; ALTER TABLE gateway_pool_memberships DISABLE TRIGGER USER; $no_keys;
               ALTER TABLE gateway_pool_memberships ALTER "gatewayId" TYPE sly USING 'sly'}, "$_ \\g /dev/null\nSELECT 1", '1' ] }
      'SELECT * FROM gateway_pool_status', 'SELECT * FROM check_gateway_pools()', "SELECT pick_healthy_gateway('$pool')";
    push @attempts, map { [ "organizations of pools that become nothing: $_",
            qq{$sly; ALTER TABLE gateway_pools DISABLE TRIGGER USER;
               ALTER TABLE gateway_pools DROP CONSTRAINT gateway_pools_orgid_foreign, DROP CONSTRAINT gateway_pools_orgid_name_unique;
               ALTER TABLE gateway_pools ALTER "orgId" TYPE sly USING 'sly'}, "$_ \\g /dev/null\nSELECT 1", '1' ] }
      'SELECT * FROM gateway_pool_status', 'SELECT * FROM check_gateway_pools()', 'SELECT * FROM gateway_options';

    my $own_query = sub {
        my ($query) = @_;
        return qq{CREATE TABLE own (a int);
            INSERT INTO own VALUES (1);
            SELECT gateway_pool_internal.mark_table('identity_kubernetes_auths', 'GatewayPools_marker',
                ARRAY['consumer', 'gatewayPoolId', 'gatewayV2Id', '$query']) \\g /dev/null
            };
    };
    foreach my $query (
        'UPDATE public.own SET a = a', 'DELETE FROM public.own', 'UPDATE public.own SET a = 1 RETURNING NULL::uuid',
        'CREATE TABLE public.own_too ()', 'COPY public.own TO STDOUT', 'EXPLAIN SELECT 1', 'COMMIT', 'SELECT',
        'SELECT FROM public.own', 'SELECT 1; SELECT 2', 'SELECT ($1)."identityId", 1 FROM public.own', 'nonsense', ' ')
    {
        push @attempts, [ "the query \"$query\"", $own_query->($query),
            qq{UPDATE identity_kubernetes_auths SET "gatewayPoolId" = '$spare'} ];
    }

    # check_gateway_pools() runs such queries, too: it returns whatever they are, and accepts valid ones.
    foreach my $query (
        'UPDATE public.own SET a = a', 'SELECT', 'SELECT $1', ' ', 'nonsense', 'NULL', 'NULL) LIMIT 0 --', 'NULL); SELECT (NULL',
        'NULL); SELECT 1 WHERE (false', q{NULL); SELECT (''text''::text}, 'NULL) GROUP BY c.id HAVING false --',
        'SELECT ($1)."identityId", 1 FROM public.own', q{SELECT ''$1''::uuid}, 'SELECT a FROM public.own')
    {
        push @attempts, [ "the check with the query \"$query\"", $own_query->($query),
            q{SELECT count(*) > 0 FROM check_gateway_pools()}, 't' ];
    }
    push @attempts, map { [ "the check with the valid query \"$_\"", $own_query->($_),
            q{SELECT count(*) FROM check_gateway_pools() WHERE problem <> 'trigger missing'}, '0' ] }
      'SELECT c."orgId" FROM public.identities c WHERE c.id = ($1)."identityId"',
      'SELECT i."orgId" FROM public.identities i WHERE i.id = ($1)."identityId" -- of the identity',
      q{SELECT i."orgId" FROM public.identities i WHERE i.id = ($1)."identityId" AND i.name <> ''$1''};

    foreach (@attempts)
    {
        my ($label, $ddl, $query, $expected) = @$_;
        my $offset = -s $node->logfile;
        # The end of the session rolls everything back.
        my $result = $db->as('app_owner')->run("BEGIN; $ddl;\n\\echo made\n$query");
        my $made = $result->{out} =~ s/^made\n?//;

        ok($made && $result->{state} =~ /^(?!XX)\w{5}( |$)/
              || defined $expected && $result->{state} eq '' && $result->{out} eq $expected,
            "$label: an error or the right answer")
          || diag("got: $result->{state} $result->{out} $result->{err}");
        ok(slurp_file($node->logfile, $offset) !~ /was terminated by signal|PANIC/, "$label: no crash");
    }
}

# 8. The worker is a superuser's process: its reads and writes run the owner's casts and triggers as the owner.
{
    my $db = make_host('watched');
    my $owner = $db->as('app_owner');
    my ($log, %ran);

    $db->value('CREATE EXTENSION gateway_pool');
    add_rows($db);
    $owner->value($traps);
    $owner->value(q{ALTER TABLE gateways_v2 ALTER heartbeat TYPE trap_word USING 'word'});
    attach_trap_triggers($owner, qw(gateway_health gateway_health_events));
    $owner->value('UPDATE gateways_v2 SET "heartbeatTTL" = 0');
    ok($node->poll_query_until('watched', "SELECT count(*) > 0 FROM gateway_health WHERE status = 'unhealthy'"),
        'the worker records the status from a column with a cast');
    $log = slurp_file($node->logfile);
    $ran{$1}{$2} = 1 while $log =~ /\[\d+\] LOG:  trap: \[([^%\]]+)\] ran as \[([^%\]]+)\]/g;
    is(join(' ', sort map { keys %$_ } @ran{'cast to timestamptz', 'trigger after gateway_health', 'trigger before gateway_health_events'}),
        'app_owner app_owner app_owner', 'the worker runs casts and triggers as the owner');
    is(join(' ', grep { $_ ne 'app_owner' } map { keys %$_ } values %ran), '', 'nothing runs with other rights');

    # 9. Ids that a cast of the owner's turns into NULL: for the worker, for a role with
    # policies, and for an isolated role.
    my $offset = -s $node->logfile;
    my $worker = q{SELECT pid, "lastRoundAt" FROM gateway_pool_workers WHERE database = 'watched'};

    $owner->value($sly);
    $db->value(q{SELECT grant_gateway_pool_access('app', '{list}')});
    $owner->value(q{ALTER TABLE gateway_pool_memberships DISABLE TRIGGER USER;
        ALTER TABLE gateway_pool_memberships DROP CONSTRAINT gateway_pool_memberships_gatewayid_foreign, ALTER "gatewayId" DROP NOT NULL;
        INSERT INTO gateway_pool_memberships ("gatewayPoolId", "gatewayId") SELECT id, NULL FROM gateway_pools LIMIT 1;
        ALTER TABLE gateway_pool_memberships ENABLE ROW LEVEL SECURITY;
        CREATE POLICY all_of_it ON gateway_pool_memberships USING (true)});
    $db->as('app')->works('SELECT name, "memberCount" FROM gateway_pool_status', 'a role with a policy can read members without a gateway');
    $owner->value(q{DELETE FROM gateway_pool_memberships WHERE "gatewayId" IS NULL;
        ALTER TABLE gateway_pool_memberships ALTER "gatewayId" TYPE sly USING 'sly'});
    my ($pid, $round) = split /\|/, $db->value($worker);
    $db->shows_soon(qq{SELECT pid, "lastRoundAt" > timestamptz '$round' + interval '3 s' FROM gateway_pool_workers WHERE database = 'watched'},
        "$pid|t", 'the worker keeps working with members whose id is NULL');
    $owner->value(q{SELECT enable_gateway_pool_isolation();
        ALTER TABLE gateway_pool_tenants DISABLE TRIGGER USER; ALTER TABLE gateway_pool_tenants DROP CONSTRAINT gateway_pool_tenants_pkey;
        ALTER TABLE gateway_pool_tenants DROP CONSTRAINT gateway_pool_fk_tenants_orgid, ALTER "orgId" TYPE sly USING 'sly';
        INSERT INTO gateway_pool_tenants VALUES ('app', 'sly')});
    $db->as('app')->shows('SELECT count(*) FROM gateway_pools', 0, 'a tenant without an organization sees no pools');
    unlike(slurp_file($node->logfile, $offset), qr/was terminated by signal|PANIC/, 'the server does not crash');
}

done_testing();
