# Transactions that publish and then drop what they publish to: prepared, committed and
# rolled back; statements during which another session drops the tables, or which drop
# the extension themselves; concurrent changes of access.  None ends in an internal error.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;
use PoolDatabase qw(start_node);
use PostgreSQL::Test::Utils;
use Test::More;
use WatchedDatabase qw(gateway_id pool_id $acme);

my $node = start_node('main', conf => "max_prepared_transactions = 4\ngateway_pool.default_entitlement = on\ngateway_pool.heartbeat_grace = 0");
my $model = WatchedDatabase->create($node, 'model');
my $count = 0;

# A pool of gateways without heartbeats.
$model->add_gateways(1, 2);
$model->add_pool(1, 1, 2);
$model->end;

# Makes a database like that.
sub make_database
{
    my $name = 'app' . ++$count;
    my $db;

    $node->safe_psql('postgres', "CREATE DATABASE $name TEMPLATE model");
    $db = WatchedDatabase->new($node, $name)->session;
    $db->value('SET client_min_messages = error');
    return $db;
}

sub drop_database
{
    my ($db) = @_;

    $db->end;
    $node->safe_psql('postgres', "DROP DATABASE $db->{name}");
    return;
}

my $heartbeat = q{UPDATE gateways_v2 SET heartbeat = now(), "heartbeatTTL" = 600 WHERE name = 'g1'};
my $many = qq{INSERT INTO gateways_v2 ("orgId", name, heartbeat) SELECT '$acme', 'many ' || n, now() FROM generate_series(1, 2000) n};
my $drop = 'DROP EXTENSION gateway_pool CASCADE';
my $remake = 'CREATE EXTENSION gateway_pool';
my $pick = sprintf q{SELECT name FROM gateways_v2 WHERE id = pick_healthy_gateway('%s', null_if_none => true)}, pool_id(1);

# The statements, and the gateway that is picked after them; a dropped extension is created again before the pick.
my @transactions = (
    [ 'a heartbeat', "$heartbeat", 'g1' ],
    [ 'a heartbeat, and DROP EXTENSION', "$heartbeat; $drop", 'g1' ],
    [ 'DROP EXTENSION, and a heartbeat', "$drop; $heartbeat", 'g1' ],
    [ 'DROP and CREATE EXTENSION', "$heartbeat; $drop; $remake", 'g1' ],
    [ 'a heartbeat after both', "$drop; $remake; $heartbeat", 'g1' ],
    [ 'more heartbeats than are published one by one', "$many; $heartbeat; $drop", 'g1' ],
    [ 'DROP EXTENSION that is rolled back', "$heartbeat; SAVEPOINT s; $drop; ROLLBACK TO s", 'g1' ],
    [ 'a heartbeat and DROP EXTENSION that are rolled back', "SAVEPOINT s; $heartbeat; $drop; ROLLBACK TO s", '' ],
    [ 'DELETE', "DELETE FROM gateways_v2 WHERE name = 'g2'; $heartbeat; $drop", 'g1' ],
    [ 'TRUNCATE', "TRUNCATE gateways_v2 CASCADE; $drop", '' ],
    [ 'a pick and a state', "$pick; SELECT set_gateway_state(id, 'draining', 'test') FROM gateways_v2 WHERE name = 'g2'; $heartbeat; $drop", 'g1' ],
    [ 'DROP TABLE', "$heartbeat; DROP TABLE gateway_health, gateway_states", 'g1' ],
    [ 'uninstall_gateway_pools()', "$heartbeat; SELECT uninstall_gateway_pools()", 'g1' ]);

foreach (@transactions)
{
    my ($name, $sql, $picked) = @$_;

    subtest $name => sub {
        foreach my $commit ('COMMIT', q{PREPARE TRANSACTION 'p'; COMMIT PREPARED 'p'})
        {
            my $db = make_database();
            my $other = $db->session;

            $other->value("SET client_min_messages = error; $pick");
            foreach my $end ($commit =~ s/COMMIT/ROLLBACK/r, $commit)
            {
                $db->works("BEGIN; $sql; $end", $end);
                foreach my $session ($db, $other)
                {
                    $session->value('CREATE EXTENSION IF NOT EXISTS gateway_pool; SELECT install_gateway_pools()') if $end eq $commit;
                    $session->shows($pick, $end eq $commit ? $picked : '', 'the pick is as expected');
                }
            }
            $other->end;
            drop_database($db);
        }
    };
}

subtest 'a table is dropped during a statement' => sub {
    foreach my $statement ($pick, 'SELECT count(*) FROM gateway_status', 'SELECT count(*) FROM gateway_pool_status', $heartbeat)
    {
        foreach my $table (qw(gateways_v2 gateway_pools))
        {
            my $db = make_database();
            my ($waiter, $other) = ($db->session, $db->session);
            my $backend = $waiter->value('SELECT pg_backend_pid()');
            my $result;

            $waiter->value("SET client_min_messages = error; $pick");
            $db->value("BEGIN; ALTER TABLE $table ADD COLUMN other int; DROP TABLE $table CASCADE");
            $waiter->{session}->query_until(qr/begun/, "\\echo begun\n$statement;\n");
            $other->shows_soon("SELECT state = 'idle' OR wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = $backend", 't', "$statement: it waits, or need not wait");
            $db->value('COMMIT');
            $result = $waiter->run('SELECT 1');
            like($result->{state}, qr/^(?:42P01.*|55000.*)?$/, "DROP TABLE $table: the error says so, or there is none") || diag($result->{err});
            $_->end foreach $waiter, $other;
            drop_database($db);
        }
    }
};

subtest 'a statement drops the extension while it runs' => sub {
    my $db = make_database();
    my $offset = -s $node->logfile;
    my $pool = pool_id(1);
    my $gateway = gateway_id(1);

    $db->value('CREATE FUNCTION drop_it() RETURNS void LANGUAGE plpgsql AS $$ BEGIN DROP EXTENSION gateway_pool CASCADE; END $$');
    foreach my $call ("pick_healthy_gateway('$pool', null_if_none => true)", "record_gateway_heartbeat('$gateway')",
        "report_gateway_failure('$gateway')", "resolve_gateway(NULL, '$pool')", 'gateway_pool_internal.want_worker()')
    {
        my $result = $db->run("SELECT CASE n WHEN 2 THEN drop_it()::text ELSE $call\::text END FROM generate_series(1, 3) n");

        like($result->{state}, qr/^(?:55000.*)?$/, "$call: the error says so, or there is none") || diag($result->{err});
        $db->value("SET client_min_messages = error; CREATE EXTENSION IF NOT EXISTS gateway_pool; $heartbeat");
    }
    unlike(slurp_file($node->logfile, $offset), qr/was terminated by signal/, 'the server does not crash');
    drop_database($db);
};

subtest 'concurrent changes of access' => sub {
    my $db = make_database();

    $db->value('CREATE ROLE one; CREATE ROLE two');
    foreach my $first ("grant_gateway_pool_access('one', '{list,create}')", "revoke_gateway_pool_access('one', '{create}')")
    {
        my ($waiter, $other) = ($db->session, $db->session);
        my $backend = $waiter->value('SELECT pg_backend_pid()');

        $db->value("BEGIN; SELECT $first");
        $waiter->{session}->query_until(qr/begun/, "\\echo begun\nSELECT grant_gateway_pool_access('two', '{list}');\n");
        $other->shows_soon("SELECT wait_event_type FROM pg_stat_activity WHERE pid = $backend", 'Lock', "$first: another change waits");
        $db->value('COMMIT');
        $waiter->works('SELECT 1', 'it succeeds after the commit');
        $waiter->value("SELECT revoke_gateway_pool_access('two', '{list}')");
        $_->end foreach $waiter, $other;
    }
    $db->shows("SELECT has_gateway_pool_access('one', 'list'), has_gateway_pool_access('one', 'create')", 't|f', 'both changes are made');
    drop_database($db);
};

$node->stop;
done_testing();
