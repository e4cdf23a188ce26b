# Who may do what, beyond one session: rights that are revoked while a session is
# open, a dump by a role that backs up, what listeners hear, and whose code runs.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;
use Patience qw(soon);
use PoolDatabase qw(same_lines);
use PostgreSQL::Test::Utils;
use Test::More;
use WatchedDatabase qw(start_watching_node gateway_id pool_id $acme);

my $bolt = 'a0000000-0000-4000-8000-000000000002';
my $missing = 'ffffffff-0000-4000-8000-000000000000';
my $node = start_watching_node('main');
my $db = WatchedDatabase->create($node);

$node->safe_psql('postgres', q{
    CREATE ROLE tenant LOGIN; CREATE ROLE other LOGIN; CREATE ROLE backup LOGIN BYPASSRLS; CREATE ROLE blind LOGIN;
    CREATE ROLE plain_owner LOGIN;
    GRANT pg_read_all_data TO backup, blind});
$db->value(qq{
    SELECT host_test.add_org('public', 'bolt', '$bolt');
    SELECT host_test.add_gateway('public', '$bolt', 'b1', '0s', '$missing')});
$db->add_gateways(1, 2);
$db->beat($_, 3600) foreach 1, 2;
$db->add_pool(1, 1, 2);
$db->value(qq{INSERT INTO gateway_pools (id, "orgId", name) VALUES ('} . pool_id(9) . qq{', '$bolt', 'b')});
$db->value(q{SELECT grant_gateway_pool_access('tenant', '{pick, create, edit, delete}'),
                    grant_gateway_pool_access('other', '{list, attach}')});

$db->waits_for_event($_, 'unknown healthy heartbeat fresh') foreach 1, 2;
my $pick = q{SELECT pick_healthy_gateway('} . pool_id(1) . q{') IS NOT NULL};

subtest 'a right that is revoked is gone at the next call of an open session' => sub {
    my $session = $db->as('tenant')->session;

    $session->shows($pick, 't', 'it picks');
    $session->shows("SELECT name FROM create_gateway_pool('$acme', 'mine')", 'mine', 'it creates');
    $db->value(q{SELECT revoke_gateway_pool_access('tenant', '{pick}')});
    $session->fails($pick, '42501', 'it does not pick any more');
    $session->shows("SELECT name FROM create_gateway_pool('$acme', 'mine-too')", 'mine-too', 'but creates');
    $db->value(q{SELECT revoke_gateway_pool_access('tenant', '{create}')});
    $session->fails("SELECT name FROM create_gateway_pool('$acme', 'x')", '42501', 'it does not create any more');
    $session->fails(qq{INSERT INTO gateway_pools ("orgId", name) VALUES ('$acme', 'x')}, '42501', 'nor by a plain statement');
    $session->value('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM pg_class');
    $db->value(q{SELECT grant_gateway_pool_access('tenant', '{pick}')});
    $session->shows($pick, 't', 'what is granted counts within an old snapshot');
    $db->value(q{SELECT revoke_gateway_pool_access('tenant', '{pick}')});
    $session->fails($pick, '42501', 'and what is revoked');
    $session->value('ROLLBACK');
    $db->value(q{GRANT other TO tenant});
    $session->shows($pick, 't', 'by another role it picks');
    $db->value(q{REVOKE other FROM tenant});
    $session->fails($pick, '42501', 'until that is taken away');
    $db->value(q{SELECT grant_gateway_pool_access('tenant', '{pick, create, edit, delete}')});
    $session->end;
};

subtest 'functions meet concurrent changes as plain statements do' => sub {
    my $session = $db->as('tenant')->session;
    my $id = $db->value(q{SELECT id FROM gateway_pools WHERE name = 'mine'});

    foreach my $call ("update_gateway_pool('$acme', '$id', 'theirs')", "delete_gateway_pool('$acme', '$id')")
    {
        $session->value('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM pg_class');
        $db->value(q{UPDATE gateway_pools SET name = name WHERE name = 'mine'});
        $session->fails("SELECT name FROM $call", '40001', "REPEATABLE READ: $call is told of it");
        $session->value('ROLLBACK');
    }
    $session->value('BEGIN ISOLATION LEVEL READ COMMITTED; SELECT count(*) FROM pg_class');
    $db->value(q{UPDATE gateway_pools SET name = name WHERE name = 'mine'});
    $session->shows("SELECT name FROM update_gateway_pool('$acme', '$id', 'ours')", 'ours', 'READ COMMITTED: it goes on');
    $session->value('ROLLBACK');
    $session->end;
};

subtest 'whose code runs' => sub {
    my $host = WatchedDatabase->create_with_host_functions($node, 'owned');
    my $superuser = $host->value('SELECT current_user');
    my $tenant = $host->as('tenant');
    my $id = pool_id(1);

    $host->value(qq{
        SELECT host_test.make_host('public', 2, 'plain_owner'); CREATE EXTENSION gateway_pool;
        SELECT host_test.make_other_consumers('public', true);
        SELECT host_test.add_org('public', 'acme', '$acme');
        SELECT grant_gateway_pool_access('tenant', '{create, delete}');
        CREATE TABLE told (n serial, operation text, role name);
        GRANT ALL ON told, told_n_seq TO PUBLIC; GRANT CREATE ON SCHEMA public TO plain_owner});
    $host->as('plain_owner')->value(q{
        CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN INSERT INTO public.told (operation, role) VALUES (TG_NAME, current_user); RETURN NULL; END $$;
        CREATE TRIGGER at_once AFTER INSERT OR DELETE ON gateway_pools FOR EACH ROW EXECUTE FUNCTION tell()});
    $tenant->works("SELECT create_gateway_pool('$acme', 'x')", 'a role creates');
    $host->works("SELECT create_gateway_pool('$acme', 'y')", 'a superuser creates');
    $host->shows('SELECT operation, role FROM told ORDER BY n', "at_once|plain_owner\nat_once|plain_owner",
        q{a trigger of the owner's runs as the owner});
    # A consumer whose key is deferred is looked at when the transaction ends.
    $tenant->works(qq{SELECT delete_gateway_pool('$acme', (SELECT id FROM create_gateway_pool('$acme', 'z')))},
        'a pool is deleted beside deferred keys');
    # What a trigger of the owner's leaves in the session does not run as a superuser.
    $host->as('plain_owner')->value(q{
        CREATE FUNCTION note() RETURNS int LANGUAGE plpgsql AS $$
            BEGIN INSERT INTO public.told (operation, role) VALUES ('held', current_user); RETURN 1; END $$;
        CREATE FUNCTION leave() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN EXECUTE 'DECLARE held CURSOR WITH HOLD FOR SELECT public.note()'; RETURN NULL; END $$;
        CREATE TRIGGER leave AFTER INSERT ON gateway_pools FOR EACH ROW EXECUTE FUNCTION leave()});
    $host->fails("SELECT create_gateway_pool('$acme', 'v')", '42501', 'a superuser, a cursor of the owner\'s that is to be held');
    $host->shows(q{SELECT count(*) FROM told WHERE operation = 'held'}, 0, 'it does not run');
    $host->as('plain_owner')->value('DROP TRIGGER leave ON gateway_pools');
    $host->fails("SELECT delete_gateway_pool('$acme', id) FROM gateway_pools WHERE name = 'x'", '42501', 'nor does he delete beside deferred keys');
    $host->works("SET ROLE plain_owner; SELECT delete_gateway_pool('$acme', id) FROM gateway_pools WHERE name = 'x'", 'but by the owner\'s role');
    # The function is called with the path of the caller's, its statement with another one.
    $tenant->works(qq{SET search_path = pg_temp; CREATE TEMP TABLE gateway_pools (id uuid, "orgId" uuid, name text);
        SELECT public.create_gateway_pool('$acme', 'w'); SELECT 1 / (1 - count(*)) FROM gateway_pools},
        'no table of the caller stands in for ours');
    $host->shows(q{SELECT count(*) FROM gateway_pools WHERE name = 'w'}, 1, 'it is ours that was written');
};

$db->value('SELECT enable_gateway_pool_isolation()');
$db->value(qq{INSERT INTO gateway_pool_tenants VALUES ('tenant', '$acme'), ('other', '$bolt')});

subtest 'tenants change under an open session' => sub {
    my $session = $db->as('tenant')->session;

    $session->shows($pick, 't', 'it picks from its own');
    # What is known of it is read once.
    $db->value('BEGIN; LOCK TABLE gateway_pools, gateway_pool_memberships, gateway_pool_tenants, gateways_v2');
    $session->shows("SET statement_timeout = '10s'; $pick; RESET statement_timeout", 't', 'again, without a look at a table');
    $db->value('ROLLBACK');
    $session->fails(q{SELECT pick_healthy_gateway('} . pool_id(9) . q{')}, 'P0002 gateway_pools_not_found', 'and not from the other');
    # What there is of a hidden pool is not even read: neither time nor a warning tells of it.
    $db->value('BEGIN; LOCK TABLE gateway_pool_memberships');
    $session->value("SET statement_timeout = '10s'");
    $session->fails(q{SELECT } . $_ . q{('} . pool_id(9) . q{')}, 'P0002 gateway_pools_not_found', "nor are members of the other read by $_")
      foreach qw(pick_healthy_gateway pick_healthy_gateways);
    $session->value('RESET statement_timeout');
    $db->value('ROLLBACK');
    $db->value(q{DELETE FROM gateway_pool_tenants WHERE "roleName" = 'tenant'});
    $session->fails($pick, 'P0002 gateway_pools_not_found', 'it does not pick any more');
    $db->value(qq{INSERT INTO gateway_pool_tenants VALUES ('tenant', '$acme')});
    $session->shows($pick, 't', 'it does again');
    $db->value(q{SET session_replication_role = replica; DELETE FROM gateway_pool_tenants WHERE "roleName" = 'tenant'; RESET session_replication_role});
    $session->fails($pick, 'P0002 gateway_pools_not_found', q{what replication changes counts as well});
    $db->value(qq{INSERT INTO gateway_pool_tenants VALUES ('tenant', '$acme')});
    $session->shows($pick, 't', 'and back');
    $db->value('SELECT disable_gateway_pool_isolation(); DELETE FROM gateway_pool_tenants WHERE "roleName" = \'tenant\'');
    $session->shows($pick, 't', 'isolation ends under it');
    $db->value('SELECT enable_gateway_pool_isolation()');
    $session->fails($pick, 'P0002 gateway_pools_not_found', 'and begins');
    $db->value(qq{INSERT INTO gateway_pool_tenants VALUES ('tenant', '$acme')});
    $session->end;
};

subtest 'who listens hears that something changed, not what' => sub {
    my $listener = $db->as('other')->session;
    my $heard = '';

    $listener->value('LISTEN gateway_health');
    $db->beat(1, 0);
    $db->waits_for_event(1, 'healthy unhealthy heartbeat failed');
    soon(sub { $heard .= $listener->value('SELECT 1'); return $heard =~ /notification/ });
    like($heard, qr/notification "gateway_health" received/, 'a notification');
    unlike($heard, qr/payload/, 'without a payload');
    $db->value('SELECT disable_gateway_pool_isolation()');
    $db->beat(1, 3600);
    $db->waits_for_event(1, 'unhealthy healthy heartbeat fresh');
    $heard = '';
    soon(sub { $heard .= $listener->value('SELECT 1'); return $heard =~ /payload/ });
    like($heard, qr/payload "\{"gatewayId"/, 'and with one where there is no isolation');
    $db->value('SELECT enable_gateway_pool_isolation()');
    $listener->end;
};

subtest 'a dump by a role that backs up' => sub {
    my $file = PostgreSQL::Test::Utils::tempdir . '/dump';
    my $copy = WatchedDatabase->create_with_host_functions($node, 'copy');
    my ($objects, $rows);

    # Nothing of it changes meanwhile.
    $node->append_conf('postgresql.conf', 'gateway_pool.worker = off');
    $node->restart;
    $db->reconnect;
    ($objects, $rows) = ($db->objects('public'), $db->rows('public'));
    $db->value('RESET search_path');

    $node->command_fails_like([ 'pg_dump', '-U', 'blind', '-f', $file, $node->connstr('app') ], qr/row-level security/,
        'a role without BYPASSRLS is refused rather than given half');
    $node->command_ok([ 'pg_dump', '-U', 'backup', '-N', 'host_test', '-f', $file, $node->connstr('app') ], 'a role with BYPASSRLS dumps');
    $node->command_ok([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('copy'), '-f', $file ], 'it is restored');
    same_lines($copy->objects('public'), $objects, 'grants, policies and all else are the same');
    same_lines($copy->rows('public'), $rows, 'tenants and all other rows are the same');
    $copy->shows(q{SELECT * FROM check_gateway_pools() WHERE problem <> 'worker not running'}, '', 'nothing to complain of');
    $copy->as('tenant')->shows($pick, 't', 'a tenant picks');
    $copy->as('tenant')->fails(q{SELECT pick_healthy_gateway('} . pool_id(9) . q{')}, 'P0002 gateway_pools_not_found', 'from its own alone');
    $copy->as('other')->shows('SELECT name FROM gateway_pools', 'b', 'another one sees its own');
    $copy->as('blind')->shows('SELECT name FROM gateway_pools', '', 'who is none sees nothing');
    foreach my $action (qw(list create edit delete attach pick))
    {
        my $has = "SELECT has_gateway_pool_access('tenant', '$action'), has_gateway_pool_access('other', '$action')";
        $copy->shows($has, $db->value($has), "rights to $action are the same");
    }
};

$node->stop;
done_testing();
