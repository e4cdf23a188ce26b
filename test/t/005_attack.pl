# A role that can define objects and has some privileges on pools gains no others by
# them: not by names that come first on a search path, not by tables that other roles
# fill or register, not by an org_query; and it cannot forge rows of the audit log.

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
my $gateway = '90000000-0000-4000-8000-000000000001';

my $node = start_node('main', conf => 'gateway_pool.worker = off');
my $superuser = $node->safe_psql('postgres', 'SELECT current_user');
my ($db, $owner, $attacker);

$node->safe_psql('postgres', 'CREATE ROLE app_owner LOGIN; CREATE ROLE attacker LOGIN; CREATE ROLE other LOGIN; GRANT other TO attacker');
$db = PoolDatabase->create_with_host($node, 'app', 2, 'app_owner');
$owner = $db->as('app_owner');
$attacker = $db->as('attacker');
$db->value(qq{
    CREATE EXTENSION gateway_pool;
    SELECT host_test.add_org('public', 'acme', '$acme'), host_test.add_org('public', 'beta', '$beta');
    SELECT host_test.add_gateway('public', '$acme', 'g1', '0s', '$gateway');
    UPDATE gateways_v2 SET "heartbeatTTL" = 86400;
    SELECT set_gateway_pool_entitlement(id, true) FROM organizations;
    INSERT INTO gateway_pools (id, "orgId", name) VALUES ('$pool', '$acme', 'edge'), ('$spare', '$acme', 'spare'), ('$theirs', '$beta', 'theirs');
    INSERT INTO gateway_pool_memberships ("gatewayPoolId", "gatewayId") VALUES ('$pool', '$gateway');
    SELECT host_test.add_kubernetes_auth('public', '$acme', 'k');
    CREATE SCHEMA attacker AUTHORIZATION attacker;
    GRANT USAGE ON SCHEMA attacker TO PUBLIC;
    GRANT SELECT ON gateway_pools TO attacker});

# Code of the attacker logs the role as which it runs, and tries to get more privileges.
$attacker->value(q[
    SET search_path = attacker;
    CREATE FUNCTION trap(place text) RETURNS boolean LANGUAGE plpgsql AS $$
    DECLARE
        attempt text;
    BEGIN
        RAISE LOG 'trap: [%] ran as [%]', place, current_user;
        FOREACH attempt IN ARRAY ARRAY['RESET ROLE', 'SET ROLE NONE', format('SET ROLE %I', session_user), 'SET ROLE app_owner',
            'RESET SESSION AUTHORIZATION', 'ALTER ROLE attacker SUPERUSER', 'GRANT app_owner TO attacker']
        LOOP
            BEGIN
                EXECUTE attempt;
                IF attempt ~ '^(ALTER|GRANT)' THEN
                    RAISE LOG 'trap: [got more by %] ran as [%]', place, current_user;
                END IF;
            EXCEPTION WHEN OTHERS THEN
                NULL;
            END;
        END LOOP;
        RETURN true;
    END
    $$;
    CREATE FUNCTION trap_trigger() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM attacker.trap(pg_catalog.format('trigger %s', TG_TABLE_NAME));
        RETURN CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END;
    END
    $$]);

# Runs a statement: returns its result, with "place as role" for each trap that ran.
sub run_past_traps
{
    my ($as, $sql) = @_;
    my $offset = -s $node->logfile;
    my $result = $as->run($sql);
    my $log = slurp_file($node->logfile, $offset);
    my %ran;

    # Not the text of a statement that failed.
    $ran{"$1 as $2"} = 1 while $log =~ /LOG:  trap: \[([^%\]]+)\] ran as \[([^%\]]+)\]/g;
    $result->{traps} = join("\n", sort keys %ran);
    return $result;
}

# 1. Names that come first on the caller's search path.
{
    my $calls = $db->value(q{
        SELECT format('public.%I(%s)', p.proname, (SELECT string_agg(format('NULL::%s', format_type(a.type, NULL)), ', ' ORDER BY a.place)
                                                     FROM unnest(p.proargtypes) WITH ORDINALITY a (type, place)))
          FROM pg_proc p JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
          JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'gateway_pool'
         WHERE p.prorettype <> 'trigger'::regtype ORDER BY 1});
    # Calls that change more than this part expects, or have special arguments, are made below.
    my @calls = grep { !/uninstall|\.install|able_gateway_pool_isolation/ } split /\n/, $calls;

    cmp_ok(scalar @calls, '>=', 40, 'there are functions to call');
    # Operators and functions for the types that the extension uses; tables and functions with its names and the host's.
    $attacker->value(q{SET search_path = attacker;} . join(';', map {
        my ($name, $type, $result) = @$_;
        (my $word = $name) =~ s/\W/sprintf '_%x', ord $&/ge;
        "CREATE FUNCTION op_$word\_$type(a $type, b $type) RETURNS $result LANGUAGE plpgsql AS
            \$\$ BEGIN PERFORM attacker.trap('operator $name of $type'); RETURN NULL; END \$\$;
         CREATE OPERATOR $name (FUNCTION = op_$word\_$type, LEFTARG = $type, RIGHTARG = $type)"
    } ((map { my $type = $_; map { [ $_, $type, 'boolean' ] } qw(= <> < >) } qw(uuid text name oid int)), [ '||', 'text', 'text' ])));
    $attacker->value(q{SET search_path = attacker;} . join(';', map {
        "CREATE FUNCTION $_ LANGUAGE plpgsql AS \$\$ BEGIN PERFORM attacker.trap('function $_'); RETURN NULL; END \$\$"
    } 'lower(text) RETURNS text', 'length(text) RETURNS int', 'get_gateway_pool_plan(uuid) RETURNS boolean', 'current_setting(text) RETURNS text', 'gen_random_uuid() RETURNS uuid',
        'to_regclass(text) RETURNS regclass', 'pg_get_triggerdef(oid) RETURNS text', 'clock_timestamp() RETURNS timestamptz'));
    $attacker->value('SET search_path = attacker;' . join(';', map {
        "CREATE TABLE $_ (id uuid, \"orgId\" uuid, name text, \"gatewayPoolId\" uuid, \"gatewayId\" uuid);
         CREATE TRIGGER t BEFORE INSERT OR UPDATE OR DELETE ON $_ FOR EACH ROW EXECUTE FUNCTION trap_trigger()"
    } qw(gateway_pools gateway_pool_memberships gateway_pool_audit_logs gateway_pool_entitlements identities organizations gateways_v2)));

    is(run_past_traps($attacker, qq{SET search_path = attacker, public, pg_catalog;
            SELECT '$acme'::uuid = '$acme', lower('A'), 'a'::text || 'b'; DELETE FROM gateway_pools; INSERT INTO gateway_pools VALUES (NULL)})->{traps},
        join("\n", map { "$_ as attacker" } 'function lower(text) RETURNS text', 'operator = of text', 'operator = of uuid', 'operator || of text',
            'trigger gateway_pools'),
        'the traps work');
    foreach my $victim ($superuser, 'app_owner')
    {
        my $session = $db->as($victim)->session;
        my @sprung;

        $session->value('SET search_path = attacker, public, pg_catalog');
        foreach my $call (@calls, "public.pick_healthy_gateway('$pool')", "public.explain_gateway_pick('$pool')",
            "public.list_gateway_pools('$acme')", "public.get_gateway_pool('$acme', '$pool')", "public.gateway_options('$acme')",
            "public.create_gateway_pool('$acme', 'made-by-$victim')", "public.update_gateway_pool('$acme', '$spare', 'renamed')",
            "public.update_gateway_pool('$acme', '$spare', 'spare')", "public.add_gateway_to_pool('$acme', '$spare', '$gateway')",
            "public.remove_gateway_from_pool('$acme', '$spare', '$gateway')", "public.set_gateway_state('$gateway', 'active')",
            "public.get_gateway_pool_resources('$acme', '$pool')", 'public.check_gateway_pools()', 'public.gateway_pool_consumers()', 'public.enable_gateway_pool_isolation()',
            'public.disable_gateway_pool_isolation()')
        {
            my $result = run_past_traps($session, "SELECT * FROM $call");
            push @sprung, "$call: $result->{traps}" if $result->{traps} ne '' || $result->{state} =~ /unknown/;
        }
        is("@sprung", '', "$victim, a malicious schema first on the path: no object in it runs");
        my $result = run_past_traps($session, qq{UPDATE public.identity_kubernetes_auths SET "gatewayPoolId" = NULL;
            UPDATE public.identity_kubernetes_auths SET "gatewayPoolId" = '$pool';
            INSERT INTO public.gateway_pools ("orgId", name) VALUES ('$acme', 'x'); DELETE FROM public.gateway_pools WHERE name OPERATOR(pg_catalog.=) 'x';
            SELECT public.install_gateway_pools()});
        is("$result->{traps}$result->{state}", '', "$victim: nor by triggers or install_gateway_pools()");
        $session->end;
    }
    $attacker->value('DROP OPERATOR attacker.= (uuid, uuid), attacker.= (text, text)');
    # One of the calls has enabled it.
    $db->value('SELECT disable_gateway_pool_isolation()');
}

# 2. A table of the attacker's that the superuser registers, fills and reads.
{
    my $result;

    $attacker->value(q{
        CREATE TABLE attacker.shop (id uuid DEFAULT gen_random_uuid(), "orgId" uuid, note boolean DEFAULT attacker.trap('default of shop'),
                                    "gatewayPoolId" uuid, CONSTRAINT trapped CHECK (attacker.trap('check of shop')));
        CREATE TRIGGER zz_trap BEFORE INSERT OR UPDATE OR DELETE ON attacker.shop FOR EACH ROW EXECUTE FUNCTION attacker.trap_trigger();
        CREATE POLICY trap ON attacker.shop USING (attacker.trap('policy of shop'));
        ALTER TABLE attacker.shop ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY});
    $attacker->fails(q{SELECT register_pool_consumer('attacker.shop')}, '42501 gateway_pools_access', 'a role without REFERENCES on pools cannot register its table');
    $result = run_past_traps($db, q{SELECT register_pool_consumer('attacker.shop')});
    is("$result->{traps}$result->{state}", '', 'a superuser registers the table: no code of its owner runs');
    # The table's own triggers, checks and defaults run as the writing role, by PostgreSQL's rule; here only what the extension adds.
    $attacker->value(qq{ALTER TABLE attacker.shop DISABLE TRIGGER zz_trap, DROP CONSTRAINT trapped, ALTER note DROP DEFAULT});
    $db->value(qq{INSERT INTO attacker.shop (id, "orgId", "gatewayPoolId") VALUES ('$pool', '$acme', '$pool')});
    foreach my $statement (q{SELECT * FROM gateway_pool_status}, "SELECT get_gateway_pool_resources('$acme', '$pool')",
        "DELETE FROM gateway_pools WHERE id = '$pool'", 'SELECT * FROM check_gateway_pools()',
        q{UPDATE attacker.shop SET "gatewayPoolId" = NULL}, qq{UPDATE attacker.shop SET "gatewayPoolId" = '$spare'})
    {
        $result = run_past_traps($db, $statement);
        unlike($result->{traps}, qr/ as (?!attacker$)/m, "$statement: code of the attacker runs only as the attacker");
    }
    # The log names a consumer with its schema.
    $attacker->value('ALTER TABLE attacker.shop RENAME TO identity_kubernetes_auths');
    $attacker->value(qq{UPDATE attacker.identity_kubernetes_auths SET "gatewayPoolId" = '$pool'});
    $db->shows(q{SELECT "eventMetadata"->>'resource', "sessionUser", "currentUser" FROM gateway_pool_audit_logs ORDER BY id DESC LIMIT 1},
        'attacker.identity_kubernetes_auths|attacker|attacker', 'the log does not confuse the table with another one of that name');
    $attacker->fails(qq{UPDATE attacker.identity_kubernetes_auths SET "gatewayPoolId" = '$theirs'}, '23503 gateway_pools_same_org',
        'the table cannot reference another organization\'s pool');
    $db->value(q{SELECT unregister_pool_consumer('attacker.identity_kubernetes_auths')});
    $attacker->value('DROP TABLE attacker.identity_kubernetes_auths');
}

# 3. The org_query: it may call any function, runs as its author, and may only read.
{
    my $result;

    $db->value('GRANT REFERENCES ON gateway_pools TO attacker');
    $attacker->value(qq[
        CREATE TABLE attacker.notes (a int);
        CREATE FUNCTION attacker.org_of(id uuid) RETURNS uuid LANGUAGE plpgsql AS \$\$
        BEGIN
            PERFORM attacker.trap('query of the organization');
            BEGIN
                SET ROLE other;
                RAISE LOG 'trap: [%] ran as [%]', 'SET ROLE in the query', current_user;
            EXCEPTION WHEN OTHERS THEN
                NULL;
            END;
            RETURN '$acme';
        END
        \$\$;
        CREATE TABLE attacker.shop (id uuid DEFAULT gen_random_uuid(), note text, direct uuid);
        GRANT ALL ON attacker.shop TO PUBLIC]);
    $attacker->fails(q{SELECT register_pool_consumer('attacker.shop')}, '42501 gateway_pools_access', 'a role that does not own the pools cannot register a consumer');
    $db->value(q{SELECT register_pool_consumer('attacker.shop', 'gatewayPoolId', 'direct', 'SELECT attacker.org_of(($1).id)')});
    foreach my $victim ($superuser, 'app_owner')
    {
        $result = run_past_traps($db->as($victim), qq{INSERT INTO attacker.shop ("gatewayPoolId") VALUES ('$pool');
            UPDATE attacker.shop SET note = 'x'; UPDATE attacker.shop SET "gatewayPoolId" = '$spare'; SELECT * FROM check_gateway_pools()});
        is($result->{traps}, 'query of the organization as attacker', "$victim writes to the table: the query runs as its author");
        is($result->{state}, '', 'the write succeeds');
    }
    foreach my $query (q{WITH n AS (INSERT INTO attacker.notes VALUES (1) RETURNING 1) SELECT NULL::uuid}, q{SELECT id FROM public.gateway_pools FOR UPDATE},
        q{SELECT NULL::uuid; ALTER ROLE attacker SUPERUSER}, q{SELECT gen_random_uuid()) FROM (SELECT 1})
    {
        my $state = $attacker->run("SELECT register_pool_consumer('attacker.shop', 'gatewayPoolId', 'direct', \$q\$$query\$q\$)")->{state};
        like($state, qr/^(22023|42601)$/, "an org_query that does not only read is refused: $query");
        # If its trigger is attached by hand, it is refused when it runs.
        $attacker->value(qq{DROP TRIGGER IF EXISTS hand ON attacker.shop; DROP TRIGGER IF EXISTS "GatewayPools_enforce" ON attacker.shop;
            CREATE TRIGGER hand AFTER INSERT OR UPDATE ON attacker.shop FOR EACH ROW
            EXECUTE FUNCTION gateway_pool_internal.consumer_enforce('gatewayPoolId', 'direct', \$q\$$query\$q\$)} =~ s/\$q\$(.*?)\$q\$/"'" . $1 =~ s{'}{''}gr . "'"/er);
        isnt($db->run(qq{UPDATE attacker.shop SET "gatewayPoolId" = '$pool'})->{state}, '', 'it is also refused when it runs');
    }
    $db->shows('SELECT count(*) FROM attacker.notes', 0, 'nothing is written');
    # An org_query that reads pools needs its author's privileges.
    $db->value('REVOKE SELECT ON gateway_pools FROM attacker');
    $attacker->value(q{DROP TRIGGER hand ON attacker.shop});
    $attacker->fails(q{SELECT pick_healthy_gateway('} . $pool . q{')}, '42501 gateway_pools_access', 'the attacker has lost its privileges');
    $db->value(q{SELECT register_pool_consumer('attacker.shop', 'gatewayPoolId', 'direct', 'SELECT p."orgId" FROM public.gateway_pools p WHERE p.id = ($1)."gatewayPoolId"')});
    $db->fails(qq{UPDATE attacker.shop SET "gatewayPoolId" = '$pool'}, '42501', 'the query has lost them too, whichever role writes');
    $db->value(q{SELECT unregister_pool_consumer('attacker.shop'); REVOKE REFERENCES ON gateway_pools FROM attacker});
    $attacker->value('DROP TABLE attacker.shop; DROP FUNCTION attacker.org_of');
}

# 4. The audit log.
{
    my $count = sub { return $db->value('SELECT count(*) FROM gateway_pool_audit_logs') };
    my $before;

    $db->value('GRANT SELECT, INSERT, UPDATE, DELETE ON gateway_pools TO attacker;
                GRANT ALL ON gateway_pool_audit_logs TO attacker; GRANT SELECT ON gateway_pools TO other; GRANT INSERT ON gateway_pools TO other');
    $before = $count->();
    $attacker->fails($_, '42501 gateway_pool_audit_logs_append_only', "the attacker may not: $_") foreach
      q{INSERT INTO public.gateway_pool_audit_logs ("eventType", "eventMetadata") VALUES ('gateway-pool-delete', '{}')},
      q{UPDATE public.gateway_pool_audit_logs SET "sessionUser" = 'somebody'}, 'DELETE FROM public.gateway_pool_audit_logs',
      'TRUNCATE public.gateway_pool_audit_logs', qq{COPY public.gateway_pool_audit_logs ("eventType", "eventMetadata") FROM stdin;\nforged\t{}\n\\.};
    # Through a view and a rule of the attacker's.
    $attacker->value(q{CREATE VIEW attacker.logs AS SELECT * FROM public.gateway_pool_audit_logs;
        CREATE VIEW attacker.door AS SELECT 1 AS a;
        CREATE RULE door AS ON INSERT TO attacker.door DO INSTEAD
            INSERT INTO public.gateway_pool_audit_logs ("eventType", "eventMetadata") VALUES ('forged', '{}');
        CREATE RULE pools AS ON UPDATE TO attacker.door DO INSTEAD UPDATE public.gateway_pools SET "orgId" = '} . $beta . q{';
        GRANT ALL ON attacker.logs, attacker.door TO PUBLIC});
    foreach my $victim ($superuser, 'app_owner', 'attacker')
    {
        $db->as($victim)->fails(q{INSERT INTO attacker.logs ("eventType", "eventMetadata") VALUES ('forged', '{}')},
            '42501 gateway_pool_audit_logs_append_only', "$victim: not through a view");
        $db->as($victim)->fails('INSERT INTO attacker.door VALUES (1)', '42501 gateway_pool_audit_logs_append_only', "$victim: not through a rule");
    }
    $db->fails('UPDATE attacker.door SET a = 2', '23503 gateway_pools_same_org', 'a rule of the attacker\'s does not bypass the extension\'s rules');
    is($count->(), $before, 'no row is forged or lost');

    # Changes by the attacker are logged as the attacker's.
    $attacker->value(qq{
        CREATE FUNCTION attacker.as_other() RETURNS void LANGUAGE plpgsql AS \$\$
        BEGIN
            SET LOCAL ROLE other;
            INSERT INTO public.gateway_pools ("orgId", name) VALUES ('$acme', 'by-other');
        END
        \$\$;
        SET gateway_pool.actor = 'the administrator", "sessionUser": "postgres';
        SELECT attacker.as_other();
        DELETE FROM public.gateway_pools WHERE name = 'by-other'});
    $db->shows(q{SELECT "eventType", actor, "sessionUser", "currentUser", "eventMetadata"->>'name' FROM gateway_pool_audit_logs ORDER BY id DESC LIMIT 2},
        join("\n", map { "gateway-pool-$_|the administrator\", \"sessionUser\": \"postgres|attacker|" . ($_ eq 'create' ? 'other' : 'attacker') . '|by-other' } qw(delete create)),
        'SET ROLE in a function, and a deceptive actor, are logged as they are');
    foreach my $actor ("a\nb", "a\rb", "a\tb", "\e[2J", "\x7f")
    {
        $attacker->fails("SET gateway_pool.actor = '$actor'", '22023', sprintf 'an actor with character %s is refused', unpack 'H*', $actor);
    }
    # Changes by a SECURITY DEFINER function are logged as the caller's.
    $owner->value(q{CREATE FUNCTION public.rename(pool uuid) RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog
                    AS $$ UPDATE public.gateway_pools SET name = 'renamed' WHERE id = pool $$}) if $db->value('GRANT CREATE ON SCHEMA public TO app_owner') eq '';
    $attacker->value("SELECT public.rename('$spare')");
    $db->shows(q{SELECT "sessionUser", "currentUser" FROM gateway_pool_audit_logs ORDER BY id DESC LIMIT 1}, 'attacker|attacker',
        'a change by a function of the owner\'s is logged as its caller\'s');
}

$db->shows('SELECT problem, object FROM check_gateway_pools() WHERE problem <> \'worker not running\'', '', 'check_gateway_pools() reports no problem after all this');
$db->shows(q{SELECT rolname FROM pg_roles r WHERE rolname = 'attacker' AND (rolsuper OR pg_has_role(r.oid, 'app_owner', 'MEMBER'))}, '', 'the attacker has no more privileges than before');
$node->stop;
done_testing();
