# How far a role is trusted with its own objects: its text is parsed only as itself, its
# tables are read without running its code, and special characters in its names do not
# reach the audit log.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;
use PoolDatabase qw(start_node);
use PostgreSQL::Test::Utils;
use Test::More;

my $acme = 'a0000000-0000-4000-8000-000000000001';
my $beta = 'a0000000-0000-4000-8000-000000000002';
my $pool = 'b0000000-0000-4000-8000-000000000001';
my $spare = 'b0000000-0000-4000-8000-000000000002';
my $theirs = 'b0000000-0000-4000-8000-000000000003';
my $auth = 'c0000000-0000-4000-8000-000000000001';
my $their_auth = 'c0000000-0000-4000-8000-000000000002';
my $gateway = '90000000-0000-4000-8000-000000000001';
my $their_gateway = '90000000-0000-4000-8000-000000000009';

my $node = start_node('main', conf => 'gateway_pool.worker = off');

$node->safe_psql('postgres', q{
    CREATE ROLE app_owner LOGIN; CREATE ROLE attacker LOGIN; CREATE ROLE tenant LOGIN; CREATE ROLE other_tenant LOGIN;
    CREATE ROLE reporter LOGIN});

sub make_database
{
    my ($name) = @_;
    my $db = PoolDatabase->create_with_host($node, $name, 2, 'app_owner');

    $db->value(qq{
        CREATE EXTENSION gateway_pool;
        SELECT host_test.add_org('public', 'acme', '$acme'), host_test.add_org('public', 'beta', '$beta');
        SELECT host_test.add_gateway('public', '$acme', 'g1', '0s', '$gateway'), host_test.add_gateway('public', '$beta', 'h1', '0s', '$their_gateway');
        UPDATE gateways_v2 SET "heartbeatTTL" = 86400;
        SELECT set_gateway_pool_entitlement(id, true) FROM organizations;
        INSERT INTO gateway_pools (id, "orgId", name) VALUES ('$pool', '$acme', 'edge'), ('$spare', '$acme', 'spare'), ('$theirs', '$beta', 'theirs');
        INSERT INTO gateway_pool_memberships ("gatewayPoolId", "gatewayId") VALUES ('$pool', '$gateway'), ('$theirs', '$their_gateway');
        SELECT host_test.add_kubernetes_auth('public', '$acme', 'k', '$auth'), host_test.add_kubernetes_auth('public', '$beta', 'l', '$their_auth');
        GRANT USAGE, CREATE ON SCHEMA public TO attacker, app_owner});
    return $db;
}

# Runs a statement; returns its result with the roles as which code ran, from log lines "code: PLACE as ROLE".
sub ran_as
{
    my ($db, $sql) = @_;
    my $offset = -s $node->logfile;
    my $result = $db->run($sql);
    my $log = slurp_file($node->logfile, $offset);
    my %ran;

    $ran{"$1 as $2"} = 1 while $log =~ /LOG:  code: \[([^%\]]+)\] as \[([^%\]]+)\]/g;
    $result->{ran} = join("\n", sort keys %ran);
    return $result;
}

my $code = q{
    CREATE FUNCTION code(place text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$
    BEGIN
        RAISE LOG 'code: [%] as [%]', place, current_user;
        RETURN true;
    END
    $$};

# 1. A stranger's text, with types of its own.  Parsing alone runs the check of a domain.
{
    my $db = make_database('parsing');
    my $session = $db->as('attacker')->session;

    $session->value(q{
        CREATE FUNCTION pg_temp.evil(v text) RETURNS boolean LANGUAGE plpgsql AS $$
        BEGIN
            RAISE LOG 'code: [domain] as [%]', current_user;
            IF current_user <> session_user THEN
                ALTER ROLE attacker SUPERUSER;
            END IF;
            RETURN true;
        END
        $$;
        CREATE DOMAIN pg_temp.d AS text CHECK (pg_temp.evil(VALUE))});
    my $query = q{SELECT (('{x}'::pg_temp.d[])[1]::text)::uuid};
    foreach my $table ('pg_catalog.pg_class', 'identity_kubernetes_auths', 'organizations')
    {
        foreach my $call ("SELECT gateway_pool_internal.qualify_consumer_query('$table', \$q\$$query\$q\$)",
            "SELECT register_pool_consumer('$table', org_query => \$q\$$query\$q\$)",
            "SELECT gateway_pool_internal.attach_consumer('$table', 'gatewayPoolId', NULL, \$q\$$query\$q\$)",
            "SELECT gateway_pool_internal.mark_table('$table', 'GatewayPools_marker', ARRAY['consumer', 'gatewayPoolId', '', \$q\$$query\$q\$])",
            "SELECT gateway_pool_internal.run_as_owner('$table', \$q\$$query\$q\$)")
        {
            my $result = ran_as($session, $call);

            like($result->{state}, qr/^42501/, "$call: refused");
            is($result->{ran}, '', "$call: nothing is parsed");
        }
    }
    $db->shows(q{SELECT rolsuper FROM pg_roles WHERE rolname = 'attacker'}, 'f', 'the attacker is no superuser');
    # Text for a table is parsed as the table's owner, even if a superuser registers it.
    $session->value('CREATE TABLE shop (id uuid)');
    is(ran_as($session, "SELECT gateway_pool_internal.qualify_consumer_query('shop', \$q\$$query\$q\$)")->{ran}, 'domain as attacker',
        'text for the attacker\'s table is parsed as the attacker');
    $session->value(q{
        CREATE FUNCTION evil(v text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE LOG 'code: [domain] as [%]', current_user; RETURN true; END $$;
        CREATE DOMAIN d AS text CHECK (public.evil(VALUE))});
    is(ran_as($db, q{SELECT register_pool_consumer('shop', org_query => $q$SELECT (('{x}'::public.d[])[1]::text)::uuid$q$)})->{ran},
        'domain as attacker', 'text that a superuser registers for that table is parsed as its owner');
    $session->end;
}

# 2. Remedies of check_gateway_pools() contain no text of another role, and have no side effects.
{
    my $db = make_database('advice');
    my $attacker = $db->as('attacker');

    $db->value('GRANT REFERENCES ON gateway_pools TO attacker');
    $attacker->value(q{
        CREATE TABLE "x'); ALTER ROLE attacker SUPERUSER; --" (id uuid, "p'); ALTER ROLE attacker SUPERUSER; --" uuid REFERENCES gateway_pools,
            "gatewayPoolId" uuid REFERENCES gateway_pools);
        CREATE TRIGGER "GatewayPools_enforce" AFTER INSERT OR UPDATE ON "x'); ALTER ROLE attacker SUPERUSER; --" FOR EACH ROW
            EXECUTE FUNCTION gateway_pool_internal.consumer_enforce('SELECT secret_of_the_attacker()');
        CREATE TRIGGER "GatewayPools_marker" BEFORE INSERT ON "x'); ALTER ROLE attacker SUPERUSER; --" FOR EACH ROW
            EXECUTE FUNCTION gateway_pool_internal.consumer_route('SELECT secret_of_the_attacker()')});
    my $advice = $db->value(q{SELECT remedy FROM check_gateway_pools() WHERE problem <> 'worker not running'});
    like($advice, qr/register_pool_consumer/, 'check_gateway_pools() names the attacker\'s table');
    unlike($advice, qr/secret_of_the_attacker/, 'its remedy contains no text of the attacker\'s');
    # Run the remedies, as an administrator would who copies them and fills in the rest.
    foreach my $line (split /\n/, $advice)
    {
        my ($call) = $line =~ /(register_pool_consumer\(.*\))/ or next;
        $db->run('SELECT ' . $call =~ s/, \.\.\.\)$/)/r);
    }
    $db->shows(q{SELECT rolsuper FROM pg_roles WHERE rolname = 'attacker'}, 'f', 'the remedies make no role superuser');
    $db->shows(q{SELECT count(*) FROM gateway_pool_audit_logs WHERE "eventMetadata"::text LIKE '%secret%'}, 0, 'the audit log contains none of the text');
}

# 3. Code of an owner runs as the owner, whatever a superuser creates, keeps or plans on the owner's tables.
{
    my $db = PoolDatabase->create_with_host($node, 'planning', 0, 'app_owner');
    my $owner = $db->as('app_owner');
    my ($result, @places);

    $db->value(q{SELECT host_test.migrate_pools('public'), host_test.migrate_heartbeat_ttl('public')});
    $db->value('GRANT CREATE ON SCHEMA public TO app_owner, attacker');
    $owner->value($code);
    $db->value(qq{
        SELECT host_test.add_org('public', 'acme', '$acme');
        SELECT host_test.add_gateway('public', '$acme', 'g1', '0s', '$gateway');
        SELECT host_test.add_kubernetes_auth('public', '$acme', 'k', '$auth');
        INSERT INTO gateway_pools (id, "orgId", name) VALUES ('$pool', '$acme', 'edge');
        INSERT INTO gateway_pool_memberships ("gatewayPoolId", "gatewayId") VALUES ('$pool', '$gateway')});
    @places = qw(organizations gateways_v2 identities identity_kubernetes_auths gateway_pools gateway_pool_memberships);
    $owner->value(join ';', map { "CREATE INDEX ON $_ (id) WHERE code('index of $_')" } @places);
    isnt(ran_as($owner, q{SELECT * FROM gateways_v2 WHERE id = gen_random_uuid()})->{ran}, '', 'planning a query runs the owner\'s code');

    # A function of the usual name that belongs to another role.
    $owner->value('DROP TRIGGER IF EXISTS "gateway_pools_updatedAt" ON gateway_pools; DROP TRIGGER IF EXISTS "gateway_pool_memberships_updatedAt" ON gateway_pool_memberships');
    $db->value('ALTER FUNCTION on_update_timestamp() RENAME TO of_the_owner');
    $db->as('attacker')->value(q{CREATE FUNCTION public.on_update_timestamp() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN RAISE LOG 'code: [squatted] as [%]', current_user; NEW."updatedAt" = now(); RETURN NEW; END $$});
    foreach my $step ('CREATE EXTENSION gateway_pool', 'DROP EXTENSION gateway_pool CASCADE; CREATE EXTENSION gateway_pool',
        'ALTER TABLE gateway_pool_memberships DROP CONSTRAINT gateway_pool_memberships_gatewayid_foreign,
            DROP CONSTRAINT gateway_pool_memberships_gatewaypoolid_gatewayid_unique; DROP INDEX gateway_pool_ix_memberships_gatewayid;
         ALTER TABLE gateway_pool_memberships DROP COLUMN "pickWeight"; ALTER TABLE gateway_pools DROP CONSTRAINT gateway_pools_orgid_foreign;
         SELECT install_gateway_pools()',
        q{SELECT host_test.make_other_consumers('public'); ALTER TABLE app_connections OWNER TO app_owner;
          CREATE INDEX ON app_connections (id) WHERE code('index of app_connections');
          SELECT register_pool_consumer('app_connections', gateway_column => 'gatewayId')},
        # A CHECK proves the NOT NULL of a primary key, and DROP COLUMN looks for the column in the partition key.
        q{SET ROLE app_owner;
          ALTER TABLE gateway_pool_tenants DROP CONSTRAINT gateway_pool_tenants_pkey;
          ALTER TABLE gateway_pool_tenants ALTER "orgId" DROP NOT NULL, ALTER "roleName" DROP NOT NULL,
              ADD CHECK (code('check of gateway_pool_tenants'));
          RESET ROLE; SELECT install_gateway_pools()},
        q{SET ROLE app_owner;
          CREATE TABLE parted (id int, "orgId" uuid, "gatewayPoolId" uuid) PARTITION BY RANGE ((id + code('key of parted')::int))},
        q{SELECT register_pool_consumer('parted')}, q{SELECT unregister_pool_consumer('parted', keep_data => false)},
        'SELECT * FROM check_gateway_pools()', 'SELECT enable_gateway_pool_isolation(), disable_gateway_pool_isolation()',
        "SELECT * FROM gateway_pool_status; SELECT get_gateway_pool_resources('$acme', '$pool'); SELECT * FROM list_gateway_pools('$acme')",
        "SELECT set_gateway_pool_entitlement('$acme', true), set_gateway_state('$gateway', 'active'), set_gateway_probe('$gateway', 'tcp', '192.0.2.1:1'),
            clear_gateway_probe('$gateway'), update_gateway_pool('$acme', '$pool', 'renamed')",
        q{SET ROLE app_owner; ALTER TABLE parted ADD COLUMN "gatewayPoolId" uuid; RESET ROLE; SELECT register_pool_consumer('parted')},
        'SELECT uninstall_gateway_pools(); SELECT install_gateway_pools()', 'DROP TABLE app_connections, resource_kubernetes_auths, identity_auth_templates; SELECT uninstall_gateway_pools(false)')
    {
        $result = ran_as($db, $step);
        is($result->{state}, '', "$step: done") || diag($result->{err});
        $db->shows(q{SELECT count(*) FROM pg_trigger WHERE tgfoid = 'public.on_update_timestamp()'::regprocedure
                        AND tgrelid IN (SELECT relation FROM gateway_pool_internal.markers() WHERE role LIKE 'gateway\_%')}, 0,
            "$step: a function of another role is not used") if $step =~ /^(CREATE|DROP) EXTENSION/;
        is(join("\n", grep { !/ as app_owner$/ } split /\n/, $result->{ran}), '', "$step: code runs only as the owner");
    }
    $db->shows(q{SELECT rolsuper FROM pg_roles WHERE rolname = 'app_owner'}, 'f', 'the owner has no more privileges than before');
}

# 4. Isolation: a role that may attach in one organization cannot change another's rows, and does not wait for them.
{
    my $db = make_database('isolation');
    my $tenant = $db->as('tenant');
    my $holder;

    $db->value(qq{
        UPDATE identity_kubernetes_auths SET "gatewayPoolId" = '$theirs' WHERE id = '$their_auth';
        SELECT enable_gateway_pool_isolation(), grant_gateway_pool_access('tenant', '{list, edit, attach, pick}');
        GRANT SELECT ON identity_kubernetes_auths, gateways_v2 TO tenant;
        INSERT INTO gateway_pool_tenants VALUES ('tenant', '$acme')});
    foreach my $change (qq{"gatewayV2Id" = '$gateway'}, '"gatewayPoolId" = NULL', qq{"gatewayPoolId" = '$pool'}, '"gatewayV2Id" = NULL, "gatewayPoolId" = NULL')
    {
        $tenant->fails("UPDATE identity_kubernetes_auths SET $change WHERE id = '$their_auth'", '42501 gateway_pools_isolation',
            "a row of another organization is refused: SET $change");
    }
    $tenant->works(qq{UPDATE identity_kubernetes_auths SET "gatewayPoolId" = '$pool' WHERE id = '$auth';
        UPDATE identity_kubernetes_auths SET "gatewayPoolId" = NULL WHERE id = '$auth'}, 'a row of the own organization can be attached and detached');
    $tenant->fails(qq{UPDATE identity_kubernetes_auths SET "gatewayV2Id" = '$their_gateway' WHERE id = '$auth'}, '23503 gateway_pools_same_org',
        'a direct gateway of another organization is refused');
    $tenant->fails(qq{UPDATE identity_kubernetes_auths SET "gatewayV2Id" = gen_random_uuid() WHERE id = '$auth'}, '23503 gateway_pools_same_org',
        'a direct gateway that does not exist raises the same error');
    # The cascade of a deletion does not count as a change by the role.
    $db->works("ALTER TABLE gateway_pools DISABLE TRIGGER \"GatewayPools_refuse_delete\"; DELETE FROM gateway_pools WHERE id = '$theirs';
        ALTER TABLE gateway_pools ENABLE TRIGGER \"GatewayPools_refuse_delete\"", 'a key of the host\'s can set references to null');
    $db->value(qq{INSERT INTO gateway_pools (id, "orgId", name) VALUES ('$theirs', '$beta', 'theirs')});

    # Locked rows of another organization.
    $holder = $db->session;
    $holder->value("BEGIN; SELECT FROM gateway_pools WHERE id = '$theirs' FOR UPDATE; SELECT FROM gateways_v2 WHERE id = '$their_gateway' FOR UPDATE");
    foreach my $probe (qq{UPDATE identity_kubernetes_auths SET "gatewayPoolId" = '$theirs' WHERE id = '$auth'},
        qq{UPDATE identity_kubernetes_auths SET "gatewayV2Id" = '$their_gateway' WHERE id = '$auth'},
        qq{INSERT INTO gateway_pool_memberships ("gatewayPoolId", "gatewayId") VALUES ('$pool', '$their_gateway')})
    {
        $tenant->fails("SET lock_timeout = '5s'; $probe", '23503 gateway_pools_same_org', "no wait reveals a row: $probe");
    }
    $holder->value('ROLLBACK');
    $holder->end;
    $db->value('SELECT disable_gateway_pool_isolation()');

    # Also without isolation.
    $db->fails(qq{UPDATE identity_kubernetes_auths SET "gatewayPoolId" = NULL, "gatewayV2Id" = '$their_gateway' WHERE id = '$auth'},
        '23503 gateway_pools_same_org', 'a direct gateway of another organization is refused for every role');
    $db->works(qq{UPDATE identity_kubernetes_auths SET "gatewayV2Id" = '$gateway' WHERE id = '$auth'}, 'a direct gateway of the same organization is accepted');

    # Reports need the privilege on one column.
    $db->value('GRANT UPDATE ("lastHeartbeatAt") ON gateway_health TO reporter');
    $db->as('reporter')->works("SELECT record_gateway_heartbeat('$gateway'), report_gateway_load('$gateway', 3)", 'a role with that privilege can report');
    $db->as('reporter')->fails("UPDATE gateway_health SET status = 'healthy'", '42501', 'it cannot write a status');

    # Policies of the owner's.
    $db->value(qq{
        SELECT grant_gateway_pool_access('other_tenant', '{list, edit, create, delete, pick}');
        ALTER TABLE gateway_pools ENABLE ROW LEVEL SECURITY;
        CREATE POLICY everything ON gateway_pools USING (true);
        CREATE POLICY not_the_spare ON gateway_pools AS RESTRICTIVE TO other_tenant USING (name <> 'spare') WITH CHECK (name NOT LIKE 'secret%')});
    my $other = $db->as('other_tenant');
    $other->shows('SELECT name FROM gateway_pools ORDER BY 1', "edge\ntheirs", 'a policy of the owner\'s hides a pool in the table');
    $other->shows('SELECT name FROM gateway_pool_status ORDER BY 1', "edge\ntheirs", 'the policy hides it in views');
    $other->shows("SELECT name FROM list_gateway_pools('$acme')", 'edge', 'the policy hides it in lists');
    $other->fails("SELECT pick_healthy_gateway('$spare')", 'P0002 gateway_pools_not_found', 'the policy hides it from picks');
    $other->fails("SELECT * FROM explain_gateway_pick('$spare')", 'P0002 gateway_pools_not_found', 'the policy hides it from explanations');
    $other->fails("SELECT * FROM get_gateway_pool('$acme', '$spare')", 'P0002 gateway_pools_not_found', 'the policy hides it from functions that read');
    $other->fails("SELECT * FROM delete_gateway_pool('$acme', '$spare')", 'P0002 gateway_pools_not_found', 'the policy hides it from functions that write');
    $other->fails("SELECT * FROM update_gateway_pool('$acme', '$pool', 'secret-1')", '42501', 'the policy\'s WITH CHECK applies to functions');
    $other->shows("SELECT pick_healthy_gateway('$pool')", $gateway, 'a role can pick from a visible pool');
    $db->shows("SELECT pick_healthy_gateway('$spare', null_if_none => true) IS NULL", 't', 'nothing is hidden from the owner');
    # Two roles in one session.
    my $both = $db->session;
    $both->value("SELECT pick_healthy_gateway('$pool'), pick_healthy_gateway('$spare', null_if_none => true)");
    $both->value('SET ROLE other_tenant');
    $both->fails("SELECT pick_healthy_gateway('$spare', null_if_none => true)", 'P0002 gateway_pools_not_found', 'a hidden pool is not found after another role has picked from it in the session');
    $both->value("RESET ROLE; ALTER TABLE gateway_pool_memberships ENABLE ROW LEVEL SECURITY;
        CREATE POLICY none ON gateway_pool_memberships TO other_tenant USING (false); SET ROLE other_tenant");
    $both->fails("SELECT pick_healthy_gateway('$pool')", '55000 gateway_pools_no_eligible_member', 'members that a policy hides are not picked');
    $both->shows("SELECT count(*) FROM gateway_status WHERE \"gatewayId\" IN ('$gateway', '$their_gateway')", 2, 'gateways are listed');
    $both->value("RESET ROLE; GRANT SELECT ON gateways_v2 TO other_tenant; ALTER TABLE gateways_v2 ENABLE ROW LEVEL SECURITY;
        CREATE POLICY one ON gateways_v2 TO other_tenant USING (id <> '$their_gateway'); SET ROLE other_tenant");
    $both->shows("SELECT \"gatewayId\" FROM gateway_status WHERE \"gatewayId\" IN ('$gateway', '$their_gateway')", $gateway, 'those that the host\'s policy hides are not');
    $both->end;
}

# 5. Names in an owner's trigger are looked up as for the owner.
{
    my $db = make_database('paths');
    my $owner = $db->as('app_owner');
    my $caller;

    $owner->value(q{
        CREATE TABLE log_of_owner (name text);
        CREATE FUNCTION log_it() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO log_of_owner VALUES (NEW.name); RETURN NEW; END $$;
        CREATE TRIGGER log_it AFTER INSERT OR UPDATE ON gateway_pools FOR EACH ROW EXECUTE FUNCTION log_it()});
    $db->value(q{SELECT grant_gateway_pool_access('tenant', '{create, edit, list}')});
    $caller = $db->as('tenant')->session;
    $caller->value('CREATE TEMP TABLE log_of_owner (name text); GRANT ALL ON log_of_owner TO PUBLIC');
    $caller->value("SELECT create_gateway_pool('$acme', 'made'), update_gateway_pool('$acme', '$spare', 'renamed')");
    $caller->shows('SELECT count(*) FROM pg_temp.log_of_owner', 0, 'a trigger of the owner\'s does not write to a temporary table of the caller\'s');
    $owner->shows('SELECT name FROM log_of_owner ORDER BY 1', "made\nrenamed", 'it writes to the owner\'s table');
    $caller->end;
}

# 6. The audit log.
{
    my $db = make_database('audit');
    my $attacker = $db->as('attacker');
    my $count = sub { return $db->value('SELECT count(*) FROM gateway_pool_audit_logs') };
    my $before;

    $db->value('GRANT REFERENCES ON gateway_pools TO attacker');
    $attacker->value(q{
        CREATE TABLE forger (id text, "orgId" uuid, "gatewayPoolId" uuid REFERENCES gateway_pools);
        CREATE TRIGGER "GatewayPools_audit" AFTER INSERT OR DELETE OR UPDATE ON forger FOR EACH ROW
            EXECUTE FUNCTION gateway_pool_internal.consumer_audit('gatewayPoolId');
        CREATE TRIGGER "GatewayPools_audit_truncate" BEFORE TRUNCATE ON forger FOR EACH STATEMENT
            EXECUTE FUNCTION gateway_pool_internal.consumer_audit('gatewayPoolId')});
    $before = $count->();
    $attacker->works(qq{INSERT INTO forger VALUES ('identity of somebody', '$acme', '$pool'); DELETE FROM forger;
        INSERT INTO forger VALUES ('x', '$acme', '$pool'); TRUNCATE forger}, 'a table with the extension\'s triggers, attached by hand, can be written');
    is($count->(), $before, 'it writes no row of the log');
    $attacker->value('DROP TABLE forger');

    # Long names and ids, and characters that terminals interpret.
    $db->value(q{CREATE TABLE wide (id text, "orgId" uuid); ALTER TABLE wide OWNER TO app_owner; SELECT register_pool_consumer('wide')});
    $db->value(qq{INSERT INTO wide SELECT repeat('x', 60000000), '$acme', '$pool';
        INSERT INTO wide VALUES (repeat(chr(233), 1000), '$acme', '$pool'), (E'a\\x1b[2J\\u009b\\nb', '$acme', '$pool')});
    $db->shows(q{SELECT max(pg_column_size("eventMetadata")) < 2000 FROM gateway_pool_audit_logs}, 't', 'the log keeps only a part of long values');
    $db->shows(q{SELECT length("eventMetadata"->>'resourceId') FROM gateway_pool_audit_logs WHERE "eventType" = 'gateway-pool-attach' ORDER BY id DESC LIMIT 3},
        "9\n256\n", 'the log keeps 256 characters of an id, and omits a null');
    $db->shows(q{SELECT count(*) FROM gateway_pool_audit_logs WHERE "eventMetadata"::text ~ '\\\\u00[01]' OR "eventMetadata"->>'resourceId' ~ '[\u0001-\u001F\u007F-\u009F]'}, 0,
        'the log has no control characters');
    $db->fails("SELECT set_gateway_state('$gateway', 'draining', repeat('x', 1001))", '23514 gateway_pool_states_reason_check',
        'a reason has at most 1,000 characters');
    $db->fails("UPDATE gateway_states SET reason = 'x'; INSERT INTO gateway_states VALUES ('$gateway', 'draining', E'\\u009b')", '23514 gateway_pool_states_reason_check',
        'a reason has no control characters');
    $db->shows("SELECT set_gateway_state('$gateway', 'draining', E'a\\nb'); SELECT reason FROM gateway_states", "\na b", 'set_gateway_state() replaces control characters by blanks');

    # Rules and triggers on the log.
    $db->shows(q{SELECT problem, detail FROM check_gateway_pools() WHERE problem LIKE 'audit%'}, '', 'check_gateway_pools() reports no change of the log');
    $db->as('app_owner')->value(q{
        CREATE TABLE diverted (LIKE gateway_pool_audit_logs);
        CREATE RULE divert AS ON INSERT TO gateway_pool_audit_logs DO INSTEAD
            INSERT INTO diverted ("eventType", "eventMetadata") VALUES (NEW."eventType", NEW."eventMetadata")});
    $db->fails("UPDATE gateway_pools SET name = 'unseen' WHERE id = '$spare'", '09000 gateway_pools_not_recorded', 'a change fails if a rule redirects its log row');
    $db->shows(q{SELECT problem, object, remedy FROM check_gateway_pools() WHERE problem LIKE 'audit%'},
        'audit log changed|public.gateway_pool_audit_logs|DROP RULE divert ON public.gateway_pool_audit_logs;', 'check_gateway_pools() reports the rule');
    $db->as('app_owner')->value(q{DROP RULE divert ON gateway_pool_audit_logs;
        CREATE FUNCTION alter_it() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.actor = 'somebody else'; RETURN NEW; END $$;
        CREATE TRIGGER alter_it BEFORE INSERT ON gateway_pool_audit_logs FOR EACH ROW EXECUTE FUNCTION alter_it()});
    $db->shows(q{SELECT detail FROM check_gateway_pools() WHERE problem LIKE 'audit%'}, 'Trigger alter_it does not belong to gateway pools.', 'check_gateway_pools() reports a trigger');
}

# 7. A table that references pools, with an owner who is not trusted.
{
    my $db = make_database('stranger');
    my $attacker = $db->as('attacker');
    my ($holder, $result);

    $db->value('GRANT REFERENCES ON gateway_pools TO attacker');
    $attacker->value($code . q{;
        CREATE TABLE shop (id int, name text, "gatewayPoolId" uuid REFERENCES gateway_pools ON DELETE SET NULL);
        CREATE INDEX ON shop (id) WHERE code('index of shop');
        CREATE INDEX ON shop ("gatewayPoolId") WHERE code('index of shop');
        CREATE FUNCTION leave_a_cursor() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE LOG 'code: [statement trigger] as [%]', current_user;
            EXECUTE 'DECLARE later CURSOR WITH HOLD FOR SELECT public.code(''left behind'')';
            RETURN NULL;
        END
        $$;
        CREATE TRIGGER t BEFORE UPDATE ON shop FOR EACH STATEMENT EXECUTE FUNCTION leave_a_cursor();
        INSERT INTO shop VALUES (1, 'a', '} . $theirs . q{')});
    my @lists = ('SELECT "connectedResourcesCount" FROM gateway_pool_status WHERE name = \'theirs\'',
        qq{SELECT "connectedResourcesCount" FROM list_gateway_pools('$beta')});
    foreach my $list (@lists, "SELECT get_gateway_pool_resources('$beta', '$theirs') -> 'shop' -> 0 ->> 'name'")
    {
        $result = ran_as($db, $list);
        is("$result->{out} $result->{ran}", ($list =~ /resources\(/ ? 'a' : '1') . ' ', "$list: counted, without running the owner's code");
    }
    $result = ran_as($db, "DELETE FROM gateway_pools WHERE id = '$theirs'");
    is("$result->{state} $result->{ran}", '23503 gateway_pools_in_use ', 'the deletion guard counts without running the owner\'s code');
    # The owner has no privileges on the table.
    $attacker->value('REVOKE ALL ON shop FROM attacker');
    $db->shows($lists[0], '1', 'the count needs no privileges of the owner\'s');
    $db->fails("DELETE FROM gateway_pools WHERE id = '$theirs'", '23503 gateway_pools_in_use', 'the deletion guard needs none either');
    $attacker->value('GRANT ALL ON shop TO attacker');
    # The table is locked.
    $holder = $attacker->session;
    $holder->value('BEGIN; LOCK TABLE shop');
    $result = $db->run("SET statement_timeout = '20s'; $lists[0]");
    is($result->{out}, '0', 'a locked table is not counted');
    like($result->{err}, qr/WARNING:  \w+: table public.shop is locked: its rows are left out/, 'a warning says so');
    $db->shows("SET statement_timeout = '20s'; SELECT get_gateway_pool_resources('$beta', '$theirs') -> 'shop'", 'null', 'resources show null for a locked table');
    $result = $db->run("SET statement_timeout = '20s'; DELETE FROM gateway_pools WHERE id = '$theirs'");
    is($result->{state}, '55P03 gateway_pools_in_use', 'the deletion guard refuses');
    like($result->{err}, qr/public\.shop/, 'its error names the table');
    $db->shows(q{SET statement_timeout = '20s'; SELECT problem, remedy FROM check_gateway_pools() WHERE object = 'public.shop."gatewayPoolId"'},
        'rows not checked|Check again when no table is locked.', 'check_gateway_pools() continues, and reports the table');
    $holder->value('ROLLBACK');
    # Only an index is locked.
    $holder->value('BEGIN; REINDEX TABLE shop');
    $db->shows("SET statement_timeout = '20s'; $lists[0]", '1', 'a locked index is not used');
    $holder->value('ROLLBACK');
    $holder->end;
    # Deletion by the function: code that the owner's triggers leave in the session does not run as the caller.
    $attacker->value('UPDATE shop SET "gatewayPoolId" = NULL');
    $db->value(q{SELECT grant_gateway_pool_access('tenant', '{list, delete}')});
    foreach my $caller ($db->as('tenant'), $db)
    {
        my $who = $caller->{role} // 'a superuser';

        $db->value(qq{INSERT INTO gateway_pools (id, "orgId", name) VALUES ('$theirs', '$beta', 'theirs') ON CONFLICT DO NOTHING});
        $result = ran_as($caller, "BEGIN; SELECT delete_gateway_pool('$beta', '$theirs'); COMMIT");
        unlike($result->{ran}, qr/ as (?!attacker$)/m, "$who deletes a pool: the owner's code runs only as the owner");
    }

    # REFERENCES does not include SELECT.
    $db->value(q{CREATE TABLE secrets (id uuid PRIMARY KEY, name text); GRANT REFERENCES ON secrets TO attacker;
        INSERT INTO secrets VALUES ('} . $auth . q{', 'top secret')});
    $attacker->value(qq{CREATE TABLE named (id int, "identityId" uuid REFERENCES secrets, "gatewayPoolId" uuid REFERENCES gateway_pools);
        INSERT INTO named VALUES (1, '$auth', '$theirs')});
    my $identity = "SELECT get_gateway_pool_resources('$beta', '$theirs') -> 'named' -> 0 ->> 'identityName'";
    $db->shows($identity, '', 'a name that the owner of a table may not read is not shown');
    $db->value('GRANT SELECT (name) ON secrets TO attacker');
    $db->shows($identity, 'top secret', 'a name that the owner may read is shown');
    $db->value('ALTER TABLE secrets ENABLE ROW LEVEL SECURITY');
    $db->shows($identity, '', 'a name behind row-level security is not shown');
    $attacker->value('DROP TABLE named');

    # Values that are small on disk but long: 480 MB.
    $attacker->value(qq{CREATE TABLE bomb (id int, name text, "gatewayPoolId" uuid REFERENCES gateway_pools);
        ALTER TABLE bomb ALTER name SET STORAGE MAIN;
        INSERT INTO bomb SELECT i, repeat('a', 600000), '$theirs' FROM generate_series(1, 800) i});
    my $session = $db->session;
    my $backend = $session->value('SELECT pg_backend_pid()');
    $session->shows("SELECT count(*), max(r ->> 'name') FROM jsonb_array_elements(get_gateway_pool_resources('$beta', '$theirs') -> 'bomb') r", '800|',
        'long values are not shown as names');
    my ($peak) = slurp_file("/proc/$backend/status") =~ /^VmHWM:\s*(\d+) kB/m;
    cmp_ok($peak, '<', 150_000, 'long values are not kept in memory');
    $session->end;
    $attacker->value('DROP TABLE bomb');

    # Two tables with the same key among the resources.
    $db->value(qq{CREATE TABLE kubernetes_auths (id text, "gatewayPoolId" uuid REFERENCES gateway_pools); INSERT INTO kubernetes_auths VALUES ('other', '$pool');
        UPDATE identity_kubernetes_auths SET "gatewayPoolId" = '$pool' WHERE id = '$auth'});
    $db->shows("SELECT string_agg(k, ' ' ORDER BY k) FROM jsonb_object_keys(get_gateway_pool_resources('$acme', '$pool')) k",
        'kubernetesAuths public.kubernetes_auths.gatewayPoolId shop', 'each consumer has its own key');
    $db->shows("SELECT get_gateway_pool_resources('$acme', '$pool') -> 'kubernetesAuths' -> 0 ->> 'id'", $auth, 'each key shows its own consumer');
}

# 8. A partition that is being detached has no visible parent, but still its triggers.
{
    my $db = make_database('detaching');
    my $reader = $db->session;

    $db->as('attacker')->value(q{CREATE TABLE mine (id int, "gatewayPoolId" uuid) PARTITION BY LIST (id);
        CREATE TABLE mine_1 PARTITION OF mine FOR VALUES IN (1);
        CREATE TRIGGER t BEFORE INSERT ON mine FOR EACH ROW EXECUTE FUNCTION gateway_pool_internal.consumer_route('gatewayPoolId');
        CREATE TRIGGER u AFTER INSERT ON mine FOR EACH ROW EXECUTE FUNCTION gateway_pool_internal.consumer_enforce('gatewayPoolId')});
    $db->value(q{CREATE TABLE things (id int, "orgId" uuid, "gatewayPoolId" uuid) PARTITION BY LIST (id);
        CREATE TABLE things_1 PARTITION OF things FOR VALUES IN (1); SELECT register_pool_consumer('things')});
    $reader->value('BEGIN; SELECT FROM mine, things');
    foreach my $table (qw(mine things))
    {
        $db->fails("SET statement_timeout = '1s'; ALTER TABLE $table DETACH PARTITION ${table}_1 CONCURRENTLY", '57014', "$table: a detachment stays pending");
    }
    $reader->value('ROLLBACK');
    $reader->end;
    $db->shows('SELECT count(*) FROM pg_inherits WHERE inhdetachpending', 2, 'two partitions are pending');
    $db->as('attacker')->fails("INSERT INTO mine_1 VALUES (1, '$pool')", '55000 gateway_pools_not_installed', 'a table that is not registered is refused');
    $db->fails("INSERT INTO things_1 VALUES (1, '$acme', '$theirs')", '23503 gateway_pools_same_org', 'the rules apply until the partition is detached');
    $db->works("INSERT INTO things_1 VALUES (1, '$acme', '$pool')", 'INSERT 0 1', 'valid rows are accepted');
}

done_testing();
