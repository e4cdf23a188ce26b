# No function, operator, cast or look-alike runs that a role made which may create
# objects in the extension's schema, or owns it, when another role calls the extension:
# each inner call is qualified, and its arguments have exactly the declared types.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;
use PoolDatabase qw(start_node);
use PostgreSQL::Test::Utils;
use Test::More;

my $acme = 'a0000000-0000-4000-8000-000000000001';
my $pool = 'b0000000-0000-4000-8000-000000000001';
my $gateway = '90000000-0000-4000-8000-000000000001';

my $node = start_node('main', conf => 'gateway_pool.worker = off');

$node->safe_psql('postgres', 'CREATE ROLE app_owner LOGIN; CREATE ROLE squatter LOGIN; CREATE ROLE schema_owner LOGIN');

# A squatter's objects count each time that they run; a rollback does not undo that.
my $make_traps = q[
    CREATE SEQUENCE public.sprung;
    GRANT USAGE, SELECT ON SEQUENCE public.sprung TO PUBLIC;
    CREATE TABLE public.sprung_by (name text);
    GRANT INSERT ON public.sprung_by TO PUBLIC;
    CREATE FUNCTION public.spring(name text) RETURNS void LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM pg_catalog.nextval('public.sprung'::pg_catalog.regclass);
        RAISE LOG 'sprung: % as %', name, current_user;
    END
    $$;
    -- For each function of ours, in a schema: each argument in turn as text, as anyelement, and all of them as an array.
    CREATE FUNCTION public.make_overloads(target text) RETURNS int LANGUAGE plpgsql AS $make$
    DECLARE
        f record;
        types text[];
        signature text;
        made int := 0;
    BEGIN
        FOR f IN
            SELECT p.proname, ARRAY(SELECT format_type(a, NULL) FROM unnest(p.proargtypes) a) AS types,
                   CASE WHEN p.proretset AND p.proallargtypes IS NOT NULL THEN 'SETOF record'
                        WHEN p.prorettype = 'record'::regtype THEN 'record'
                        ELSE pg_get_function_result(p.oid) END AS result
              FROM pg_proc p
              JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
              JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'gateway_pool'
             WHERE p.prorettype <> 'trigger'::regtype AND p.pronargs > 0
        LOOP
            FOR i IN 1 .. cardinality(f.types) LOOP
                FOREACH signature IN ARRAY ARRAY['text', 'anyelement', 'variadic'] LOOP
                    types := f.types;
                    types[i] := signature;
                    IF signature = 'variadic' THEN
                        types := f.types[1 : i - 1] || 'VARIADIC text[]'::text;
                    END IF;
                    BEGIN
                        EXECUTE format('CREATE FUNCTION %s.%I(%s) RETURNS %s LANGUAGE plpgsql AS $f$ BEGIN PERFORM public.spring(%L); RETURN%s; END $f$',
                                       target, f.proname, array_to_string(types, ', '), f.result, f.proname || '(' || array_to_string(types, ', ') || ')',
                                       CASE WHEN f.result LIKE 'SETOF%' OR f.result LIKE 'TABLE%' OR f.result = 'void' THEN '' ELSE ' NULL' END);
                        made := made + 1;
                    EXCEPTION
                        -- Those whose argument has that type already, and polymorphic results.
                        WHEN duplicate_function OR invalid_function_definition THEN NULL;
                    END;
                END LOOP;
            END LOOP;
        END LOOP;
        RETURN made;
    END
    $make$;
    -- For each type that our SQL compares or joins: operators of exactly that type, and a cast from one of the maker's own.
    CREATE FUNCTION public.make_operators(target text) RETURNS int LANGUAGE plpgsql AS $make$
    DECLARE
        t text;
        o text;
        made int := 0;
    BEGIN
        EXECUTE format('CREATE TYPE %s.sly AS ENUM (''sly'')', target);
        FOREACH t IN ARRAY ARRAY['uuid', 'text', 'name', '"char"', 'varchar', 'oid', 'regclass', 'regnamespace', 'regrole', 'regprocedure', 'regtype',
                                 'int2', 'int4', 'int8', 'bool', 'bytea', 'timestamptz', 'interval', 'jsonb', 'uuid[]', 'text[]', 'int2[]', 'oid[]'] LOOP
            EXECUTE format('CREATE FUNCTION %s.compare(a %s, b %s) RETURNS boolean LANGUAGE plpgsql AS $f$ BEGIN PERFORM public.spring(%L); RETURN true; END $f$',
                           target, t, t, 'operator of ' || t);
            FOREACH o IN ARRAY ARRAY['=', '<>', '<', '>', '<=', '>=', '~', '||'] LOOP
                EXECUTE format('CREATE OPERATOR %s.%s (FUNCTION = %s.compare, LEFTARG = %s, RIGHTARG = %s)', target, o, target, t, t);
                made := made + 1;
            END LOOP;
            EXECUTE format('CREATE FUNCTION %s.%I(v %s.sly) RETURNS %s LANGUAGE plpgsql AS $f$ BEGIN PERFORM public.spring(%L); RETURN NULL; END $f$',
                           target, 'cast to ' || t, target, t, 'cast to ' || t);
            EXECUTE format('CREATE CAST (%s.sly AS %s) WITH FUNCTION %s.%I(%s.sly) AS IMPLICIT', target, t, target, 'cast to ' || t, target);
            made := made + 1;
        END LOOP;
        RETURN made;
    END
    $make$];

# Lists a call of each function for users, with arguments of exactly the declared types.
my $list_calls = qq{
    SET search_path = pg_catalog;
    SELECT format('%s %I.%I(%s)', CASE WHEN p.proretset OR p.prorettype = 'record'::regtype THEN 'SELECT * FROM' ELSE 'SELECT' END,
                  n.nspname, p.proname, (SELECT coalesce(string_agg(CASE
                        WHEN p.proargnames[a.place] IN ('org_id') THEN '''$acme'''
                        WHEN p.proargnames[a.place] IN ('pool_id') THEN '''$pool'''
                        WHEN p.proargnames[a.place] IN ('gateway_id') THEN '''$gateway'''
                        WHEN p.proargnames[a.place] = 'name' THEN '''made-' || left(md5(p.proname), 8) || ''''
                        WHEN p.proargnames[a.place] = 'strategy' THEN '''random'''
                        WHEN p.proargnames[a.place] = 'state' THEN '''draining'''
                        WHEN p.proargnames[a.place] = 'protocol' THEN '''tcp'''
                        WHEN p.proargnames[a.place] = 'address' THEN '''127.0.0.1:1'''
                        WHEN p.proargnames[a.place] = 'actions' THEN '''{pick}'''
                        WHEN p.proargnames[a.place] = 'action' THEN '''pick'''
                        WHEN p.proargnames[a.place] = 'role' THEN '''squatter'''
                        WHEN p.proargnames[a.place] = 'consumer' THEN '''app.connections'''
                        WHEN p.proargnames[a.place] = 'pool_column' THEN '''gatewayPoolId'''
                        WHEN a.type = 'boolean'::regtype THEN 'true'
                        WHEN a.type = 'integer'::regtype THEN '1'
                        ELSE 'NULL' END || '::' || format_type(a.type, NULL), ', ' ORDER BY a.place), '')
                     FROM unnest(p.proargtypes) WITH ORDINALITY a (type, place)))
      FROM pg_proc p
      JOIN pg_namespace n ON n.oid = p.pronamespace AND n.nspname <> 'gateway_pool_internal'
      JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
      JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'gateway_pool'
     -- Calls that delete or drop come last.
     ORDER BY p.proname ~ '^uninstall', p.proname ~ '^delete', p.proname ~ '^(remove|unregister|disable)', p.proname};

sub sprung
{
    my ($db) = @_;
    return $db->value('SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM public.sprung');
}

foreach my $arrangement ([ 'app', 'the schema of the host' ], [ 'pools', 'a schema of its own' ])
{
    my ($schema, $label) = @$arrangement;
    my $db = PoolDatabase->create_with_host_functions($node, "over_$schema");
    my $squatter = $db->as('squatter');
    my ($before, @calls);

    $db->value(qq{
        SELECT host_test.make_host('app', 2, 'app_owner');
        CREATE SCHEMA IF NOT EXISTS "$schema";
        GRANT USAGE, CREATE ON SCHEMA "$schema", public TO squatter, app_owner;
        $make_traps});

    # Before the extension exists: its script does not use these instead of the server's operators, types and functions.
    $squatter->value(qq{SELECT public.make_operators('"$schema"'), public.make_operators('public')});
    $squatter->value(qq{
        CREATE FUNCTION "$schema".$_ LANGUAGE plpgsql AS \$\$ BEGIN PERFORM public.spring('$_'); RETURN NULL; END \$\$})
      foreach 'string_agg(text, anyelement) RETURNS text', 'format(text, text) RETURNS text', 'format(text, anyelement) RETURNS text',
      'to_regclass(anyelement) RETURNS regclass', 'coalesce(uuid, uuid) RETURNS uuid';
    $db->works(qq{CREATE EXTENSION gateway_pool SCHEMA "$schema"}, "$label: CREATE EXTENSION works with a squatter's objects");
    $db->works(qq{SELECT "$schema".install_gateway_pools('app.organizations'::regclass, 'app.gateways_v2'::regclass, NULL::regclass)},
        "$label: install_gateway_pools() works");
    is(sprung($db), 0, "$label: no object of the squatter's ran during installation");

    cmp_ok($squatter->value(qq{SELECT public.make_overloads('"$schema"')}), '>', 100, "$label: there are overloads in the extension's schema");
    cmp_ok($squatter->value(q{SELECT public.make_overloads('public')}), '>', 100, "$label: there are overloads in public");
    $db->value(qq{
        SELECT host_test.add_org('app', 'acme', '$acme');
        SELECT host_test.add_gateway('app', '$acme', 'g', '0s', '$gateway');
        UPDATE app.gateways_v2 SET "heartbeatTTL" = 86400;
        SELECT "$schema".set_gateway_pool_entitlement('$acme'::uuid, true, NULL::int, NULL::int, NULL::timestamptz);
        INSERT INTO app.gateway_pools (id, "orgId", name) VALUES ('$pool', '$acme', 'eu');
        INSERT INTO app.gateway_pool_memberships ("gatewayPoolId", "gatewayId") VALUES ('$pool', '$gateway');
        CREATE TABLE app.connections (id int, "orgId" uuid);
        ALTER TABLE app.connections OWNER TO app_owner;
        GRANT USAGE ON SCHEMA app, "$schema" TO PUBLIC});
    @calls = split /\n/, $db->value($list_calls);
    cmp_ok(scalar @calls, '>=', 35, "$label: there are functions to call");

    # As the owner of the tables, then as a superuser, both with the squatter's schema first on the path.
    foreach my $who ([ 'the owner', $db->as('app_owner') ], [ 'a superuser', $db ])
    {
        my ($caller, $session) = ($who->[0], $who->[1]->session);
        my ($called, %failed) = (0);

        $before = sprung($db);
        $session->run(qq{SET search_path = "$schema", public, pg_catalog});
        foreach my $call (@calls)
        {
            next if $call =~ /uninstall/ && $caller eq 'the owner';
            my $result = $session->run("$call;");
            $result->{state} eq '' ? $called++ : ($failed{$call} = "$result->{state} $result->{message}");
        }
        is(sprung($db), $before, "$label: no object of the squatter's runs in calls by $caller")
          || diag(join "\n", grep { /sprung:/ } split /\n/, slurp_file($node->logfile));
        cmp_ok($called, '>=', 25, "$label: most calls by $caller succeed") || diag(explain(\%failed));
        $session->end;
        # Insert deleted pools again.
        $db->value(qq{INSERT INTO app.gateway_pools (id, "orgId", name) VALUES ('$pool', '$acme', 'eu') ON CONFLICT DO NOTHING})
          if $caller eq 'the owner';
    }

    # The traps work.
    $before = sprung($db);
    $db->run(qq{SET search_path = "$schema", public; SELECT is_gateway_pool_name(1)});
    cmp_ok(sprung($db), '>', $before, "$label: an overload runs in a call without types");
}

# The owner of the extension's schema renames it and puts look-alikes in its place.
{
    my $db = PoolDatabase->create_with_host_functions($node, 'look_alikes');
    my $schema_owner = $db->as('schema_owner');
    my $before;

    $db->value(qq{
        SELECT host_test.make_host('app', 2, 'app_owner');
        CREATE SCHEMA pools AUTHORIZATION schema_owner;
        GRANT USAGE ON SCHEMA pools, app TO PUBLIC;
        GRANT CREATE ON DATABASE look_alikes TO schema_owner;
        $make_traps;
        CREATE EXTENSION gateway_pool SCHEMA pools;
        SELECT pools.install_gateway_pools('app.organizations', 'app.gateways_v2');
        SELECT host_test.add_org('app', 'acme', '$acme');
        SELECT host_test.add_gateway('app', '$acme', 'g', '0s', '$gateway');
        SELECT pools.set_gateway_pool_entitlement('$acme', true)});
    $schema_owner->value(q{
        ALTER SCHEMA pools RENAME TO moved;
        CREATE SCHEMA pools;
        GRANT USAGE ON SCHEMA pools TO PUBLIC});
    # The same names and types: the schema's owner may create them there.
    $schema_owner->value(q{
        DO $do$
        DECLARE
            f record;
        BEGIN
            FOR f IN
                SELECT p.proname, array_to_string(ARRAY(SELECT format_type(a, NULL) FROM unnest(p.proargtypes) a), ', ') AS types
                  FROM pg_proc p
                  JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
                  JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'gateway_pool'
                 WHERE p.prorettype <> 'trigger'::regtype
            LOOP
                EXECUTE format('CREATE OR REPLACE FUNCTION pools.%I(%s) RETURNS void LANGUAGE plpgsql AS $f$ BEGIN PERFORM public.spring(%L); END $f$',
                               f.proname, f.types, f.proname);
            END LOOP;
        END
        $do$;
        SELECT public.make_overloads('pools');
        CREATE TABLE pools.gateway_pool_entitlements (id int);
        CREATE TABLE pools.gateway_pools (id int)});
    $before = sprung($db);
    foreach my $who ([ 'the owner', $db->as('app_owner') ], [ 'a superuser', $db ])
    {
        my ($caller, $session) = @$who;

        $session->works('SELECT count(*) FROM moved.check_gateway_pools()', "$caller: check_gateway_pools() works in a renamed schema");
        $session->works('SELECT moved.install_gateway_pools()', "$caller: install_gateway_pools() works");
        $session->works('SELECT moved.enable_gateway_pool_isolation(); SELECT moved.disable_gateway_pool_isolation()', "$caller: isolation works");
        $session->shows("SELECT name FROM moved.create_gateway_pool('$acme', '" . ($caller =~ s/\W+/-/gr) . "')", $caller =~ s/\W+/-/gr,
            "$caller: creating a pool works");
        $session->works("SELECT moved.set_gateway_state('$gateway', 'active'), moved.set_gateway_pool_entitlement('$acme', true);
            SELECT * FROM moved.gateway_options; SELECT * FROM moved.list_gateway_pools('$acme')", "$caller: other functions work");
    }
    is(sprung($db), $before, "no object of the schema's owner ran");
    $db->shows(q{SELECT problem, remedy FROM moved.check_gateway_pools() WHERE problem <> 'worker not running'}, '', 'check_gateway_pools() reports no problem');
}

# No body names the extension's schema, or any but pg_catalog and the internal one.
{
    my $db = PoolDatabase->create($node, 'bodies');

    $db->value('CREATE SCHEMA odd_name_of_a_schema; CREATE EXTENSION gateway_pool SCHEMA odd_name_of_a_schema');
    $db->shows(q{
        SELECT p.oid::regprocedure FROM pg_proc p
          JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
          JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'gateway_pool'
         WHERE p.prosrc LIKE '%odd_name_of_a_schema%' OR p.proconfig::text LIKE '%odd_name_of_a_schema%'}, '', 'no body names the schema of the extension');
    $db->shows(q{
        SELECT p.oid::regprocedure FROM pg_proc p
          JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
          JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'gateway_pool'
          JOIN pg_language l ON l.oid = p.prolang AND l.lanname IN ('sql', 'plpgsql')
         WHERE NOT coalesce(p.proconfig @> '{"search_path=pg_catalog, pg_temp"}', false)
           AND p.proname <> 'register_pool_consumer'}, '', 'each body but one sets its search_path');
}

# An existing schema with the internal name stops the script.
{
    my $db = PoolDatabase->create($node, 'squatted');

    $db->value('GRANT CREATE ON DATABASE squatted TO squatter');
    $db->as('squatter')->value('CREATE SCHEMA gateway_pool_internal; GRANT USAGE ON SCHEMA gateway_pool_internal TO PUBLIC');
    $db->fails('CREATE EXTENSION gateway_pool', '42P06', "an existing internal schema stops CREATE EXTENSION");
    $db->value('DROP SCHEMA gateway_pool_internal');
    $db->works('CREATE EXTENSION gateway_pool', 'without it, CREATE EXTENSION succeeds');
    $db->as('squatter')->fails('CREATE FUNCTION gateway_pool_internal.f() RETURNS int LANGUAGE sql AS $$ SELECT 1 $$', '42501',
        'other roles cannot create objects in it');
    $db->value('GRANT CREATE ON SCHEMA public TO squatter');
    $db->as('squatter')->value('CREATE TABLE t ()');
    $db->as('squatter')->fails(q{CREATE TRIGGER t BEFORE TRUNCATE ON t FOR EACH STATEMENT
        EXECUTE FUNCTION gateway_pool_internal.table_marker('gateways')}, '42501', 'other roles cannot mark a table by a trigger');
    $db->as('squatter')->fails(q{SELECT gateway_pool_internal.mark_table('t', 'GatewayPools_marker', '{gateways}')}, '42501 gateway_pools_access', 'other roles cannot mark a table by mark_table()');
}

done_testing();
