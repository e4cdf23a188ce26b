# Access control beyond one session: privileges that are revoked while a session is
# open, a dump by a backup role, notifications, and the role as which code runs.

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

subtest 'revoking a privilege takes effect at the next call of an open session' => sub {
    my $session = $db->as('tenant')->session;

    $session->shows($pick, 't', 'the role can pick');
    $session->shows("SELECT name FROM create_gateway_pool('$acme', 'mine')", 'mine', 'the role can create pools');
    $db->value(q{SELECT revoke_gateway_pool_access('tenant', '{pick}')});
    $session->fails($pick, '42501 gateway_pools_access', 'without pick, the role cannot pick');
    $session->shows("SELECT name FROM create_gateway_pool('$acme', 'mine-too')", 'mine-too', 'without pick, the role can create pools');
    $db->value(q{SELECT revoke_gateway_pool_access('tenant', '{create}')});
    $session->fails("SELECT name FROM create_gateway_pool('$acme', 'x')", '42501 gateway_pools_access', 'without create, the role cannot create pools');
    $session->fails(qq{INSERT INTO gateway_pools ("orgId", name) VALUES ('$acme', 'x')}, '42501', 'without create, it cannot do so by a plain statement');
    $session->value('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM pg_class');
    $db->value(q{SELECT grant_gateway_pool_access('tenant', '{pick}')});
    $session->shows($pick, 't', 'a granted privilege applies under an old snapshot');
    $db->value(q{SELECT revoke_gateway_pool_access('tenant', '{pick}')});
    $session->fails($pick, '42501 gateway_pools_access', 'a revoked privilege is missing under an old snapshot');
    $session->value('ROLLBACK');
    $db->value(q{GRANT other TO tenant});
    $session->shows($pick, 't', 'the role can pick by membership in another role');
    $db->value(q{REVOKE other FROM tenant});
    $session->fails($pick, '42501 gateway_pools_access', 'the role cannot pick after its membership ends');
    $db->value(q{SELECT grant_gateway_pool_access('tenant', '{pick, create, edit, delete}')});
    $session->end;
};

subtest 'functions handle concurrent changes as plain statements do' => sub {
    my $session = $db->as('tenant')->session;
    my $id = $db->value(q{SELECT id FROM gateway_pools WHERE name = 'mine'});

    foreach my $call ("update_gateway_pool('$acme', '$id', 'theirs')", "delete_gateway_pool('$acme', '$id')")
    {
        $session->value('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM pg_class');
        $db->value(q{UPDATE gateway_pools SET name = name WHERE name = 'mine'});
        $session->fails("SELECT name FROM $call", '40001', "REPEATABLE READ: $call fails");
        $session->value('ROLLBACK');
    }
    $session->value('BEGIN ISOLATION LEVEL READ COMMITTED; SELECT count(*) FROM pg_class');
    $db->value(q{UPDATE gateway_pools SET name = name WHERE name = 'mine'});
    $session->shows("SELECT name FROM update_gateway_pool('$acme', '$id', 'ours')", 'ours', 'READ COMMITTED: the function succeeds');
    $session->value('ROLLBACK');
    $session->end;
};

subtest 'the role as which code runs' => sub {
    my $host = WatchedDatabase->create_with_host_functions($node, 'owned');
    my $superuser = $host->value('SELECT current_user');
    my $tenant = $host->as('tenant');
    my $id = pool_id(1);

    $host->value(qq{
        SELECT host_test.make_host('public', 2, 'plain_owner'); CREATE EXTENSION gateway_pool;
        SELECT host_test.make_other_consumers('public', true);
        SELECT host_test.add_org('public', 'acme', '$acme');
        SELECT grant_gateway_pool_access('tenant', '{create, delete}');
        CREATE TABLE fired (n serial, operation text, role name);
        GRANT ALL ON fired, fired_n_seq TO PUBLIC; GRANT CREATE ON SCHEMA public TO plain_owner});
    $host->as('plain_owner')->value(q{
        CREATE FUNCTION note_firing() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN INSERT INTO public.fired (operation, role) VALUES (TG_NAME, current_user); RETURN NULL; END $$;
        CREATE TRIGGER at_once AFTER INSERT OR DELETE ON gateway_pools FOR EACH ROW EXECUTE FUNCTION note_firing()});
    $tenant->works("SELECT create_gateway_pool('$acme', 'x')", 'a role can create a pool');
    $host->works("SELECT create_gateway_pool('$acme', 'y')", 'a superuser can create a pool');
    $host->shows('SELECT operation, role FROM fired ORDER BY n', "at_once|plain_owner\nat_once|plain_owner",
        q{a trigger of the owner's runs as the owner});
    # A deferred key is checked at the end of the transaction.
    $tenant->works(qq{SELECT delete_gateway_pool('$acme', (SELECT id FROM create_gateway_pool('$acme', 'z')))},
        'a pool can be deleted in spite of deferred keys');
    # Code that a trigger of the owner's leaves in the session does not run as a superuser.
    $host->as('plain_owner')->value(q{
        CREATE FUNCTION note() RETURNS int LANGUAGE plpgsql AS $$
            BEGIN INSERT INTO public.fired (operation, role) VALUES ('held', current_user); RETURN 1; END $$;
        CREATE FUNCTION leave() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN EXECUTE 'DECLARE held CURSOR WITH HOLD FOR SELECT public.note()'; RETURN NULL; END $$;
        CREATE TRIGGER leave AFTER INSERT ON gateway_pools FOR EACH ROW EXECUTE FUNCTION leave()});
    $host->fails("SELECT create_gateway_pool('$acme', 'v')", '42501', 'the call of a superuser fails if the owner\'s trigger declares a holdable cursor');
    $host->shows(q{SELECT count(*) FROM fired WHERE operation = 'held'}, 0, 'the cursor does not run');
    $host->as('plain_owner')->value('DROP TRIGGER leave ON gateway_pools');
    $host->fails("SELECT delete_gateway_pool('$acme', id) FROM gateway_pools WHERE name = 'x'", '42501', 'a superuser cannot delete a pool with deferred keys');
    $host->works("SET ROLE plain_owner; SELECT delete_gateway_pool('$acme', id) FROM gateway_pools WHERE name = 'x'", 'the owner\'s role can');
    # The caller's search path does not apply to the function's statement.
    $tenant->works(qq{SET search_path = pg_temp; CREATE TEMP TABLE gateway_pools (id uuid, "orgId" uuid, name text);
        SELECT public.create_gateway_pool('$acme', 'w'); SELECT 1 / (1 - count(*)) FROM gateway_pools},
        'a temporary table of the caller\'s does not replace gateway_pools');
    $host->shows(q{SELECT count(*) FROM gateway_pools WHERE name = 'w'}, 1, 'the row is in gateway_pools');
};

$db->value('SELECT enable_gateway_pool_isolation()');
$db->value(qq{INSERT INTO gateway_pool_tenants VALUES ('tenant', '$acme'), ('other', '$bolt')});

subtest 'changes of tenants take effect in an open session' => sub {
    my $session = $db->as('tenant')->session;

    $session->shows($pick, 't', 'a tenant picks from its own pool');
    # The session caches what a role may see.
    $db->value('BEGIN; LOCK TABLE gateway_pools, gateway_pool_memberships, gateway_pool_tenants, gateways_v2');
    $session->shows("SET statement_timeout = '10s'; $pick; RESET statement_timeout", 't', 'the next pick reads no table');
    $db->value('ROLLBACK');
    $session->fails(q{SELECT pick_healthy_gateway('} . pool_id(9) . q{')}, 'P0002 gateway_pools_not_found', 'a tenant cannot pick from another organization\'s pool');
    # The members of a hidden pool are not read, so neither time nor a warning reveals them.
    $db->value('BEGIN; LOCK TABLE gateway_pool_memberships');
    $session->value("SET statement_timeout = '10s'");
    $session->fails(q{SELECT } . $_ . q{('} . pool_id(9) . q{')}, 'P0002 gateway_pools_not_found', "$_ does not read members of a hidden pool")
      foreach qw(pick_healthy_gateway pick_healthy_gateways);
    $session->value('RESET statement_timeout');
    $db->value('ROLLBACK');
    $db->value(q{DELETE FROM gateway_pool_tenants WHERE "roleName" = 'tenant'});
    $session->fails($pick, 'P0002 gateway_pools_not_found', 'without its tenant row, the role cannot pick');
    $db->value(qq{INSERT INTO gateway_pool_tenants VALUES ('tenant', '$acme')});
    $session->shows($pick, 't', 'with a new tenant row, it can pick');
    $db->value(q{SET session_replication_role = replica; DELETE FROM gateway_pool_tenants WHERE "roleName" = 'tenant'; RESET session_replication_role});
    $session->fails($pick, 'P0002 gateway_pools_not_found', 'changes by replication take effect');
    $db->value(qq{INSERT INTO gateway_pool_tenants VALUES ('tenant', '$acme')});
    $session->shows($pick, 't', 'changes back take effect');
    $db->value('SELECT disable_gateway_pool_isolation(); DELETE FROM gateway_pool_tenants WHERE "roleName" = \'tenant\'');
    $session->shows($pick, 't', 'the role can pick after isolation is disabled');
    $db->value('SELECT enable_gateway_pool_isolation()');
    $session->fails($pick, 'P0002 gateway_pools_not_found', 'the role cannot pick after isolation is enabled');
    $db->value(qq{INSERT INTO gateway_pool_tenants VALUES ('tenant', '$acme')});
    $session->end;
};

subtest 'a notification under isolation has no content' => sub {
    my $listener = $db->as('other')->session;
    my $heard = '';

    $listener->value('LISTEN gateway_health');
    $db->beat(1, 0);
    $db->waits_for_event(1, 'healthy unhealthy heartbeat failed');
    soon(sub { $heard .= $listener->value('SELECT 1'); return $heard =~ /notification/ });
    like($heard, qr/notification "gateway_health" received/, 'a listener gets a notification');
    unlike($heard, qr/payload/, 'the notification has no payload');
    $db->value('SELECT disable_gateway_pool_isolation()');
    $db->beat(1, 3600);
    $db->waits_for_event(1, 'unhealthy healthy heartbeat fresh');
    $heard = '';
    soon(sub { $heard .= $listener->value('SELECT 1'); return $heard =~ /payload/ });
    like($heard, qr/payload "\{"gatewayId"/, 'without isolation, it has a payload');
    $db->value('SELECT enable_gateway_pool_isolation()');
    $listener->end;
};

subtest 'a dump by a backup role' => sub {
    my $file = PostgreSQL::Test::Utils::tempdir . '/dump';
    my $copy = WatchedDatabase->create_with_host_functions($node, 'copy');
    my ($objects, $rows);

    # No changes during the dump.
    $node->append_conf('postgresql.conf', 'gateway_pool.worker = off');
    $node->restart;
    $db->reconnect;
    ($objects, $rows) = ($db->objects('public'), $db->rows('public'));
    $db->value('RESET search_path');

    $node->command_fails_like([ 'pg_dump', '-U', 'blind', '-f', $file, $node->connstr('app') ], qr/row-level security/,
        'the dump of a role without BYPASSRLS fails instead of being incomplete');
    $node->command_ok([ 'pg_dump', '-U', 'backup', '-N', 'host_test', '-f', $file, $node->connstr('app') ], 'a role with BYPASSRLS can dump');
    $node->command_ok([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('copy'), '-f', $file ], 'the dump can be restored');
    same_lines($copy->objects('public'), $objects, 'grants, policies and all other objects are the same');
    same_lines($copy->rows('public'), $rows, 'tenants and all other rows are the same');
    $copy->shows(q{SELECT * FROM check_gateway_pools() WHERE problem <> 'worker not running'}, '', 'check_gateway_pools() reports no problem');
    $copy->as('tenant')->shows($pick, 't', 'a tenant can pick in the copy');
    $copy->as('tenant')->fails(q{SELECT pick_healthy_gateway('} . pool_id(9) . q{')}, 'P0002 gateway_pools_not_found', 'a tenant picks only from its own pools');
    $copy->as('other')->shows('SELECT name FROM gateway_pools', 'b', 'another tenant sees its own pools');
    $copy->as('blind')->shows('SELECT name FROM gateway_pools', '', 'a role that is no tenant sees nothing');
    foreach my $action (qw(list create edit delete attach pick))
    {
        my $has = "SELECT has_gateway_pool_access('tenant', '$action'), has_gateway_pool_access('other', '$action')";
        $copy->shows($has, $db->value($has), "access for $action is the same");
    }
};

$node->stop;
done_testing();
