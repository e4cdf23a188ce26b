# The launcher and its workers: one worker for each database with gateway pools, and
# none elsewhere; workers do not block commands on databases, and come back after they
# have ended for any reason.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;
use Patience qw(awakes freeze prompt soon);
use PoolDatabase qw(init_node start_node);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $acme = 'a0000000-0000-4000-8000-000000000001';
my $pool = 'b0000000-0000-4000-8000-000000000001';
my $settings = "gateway_pool.default_entitlement = on\nmax_worker_processes = 16\nmax_prepared_transactions = 2\nrestart_after_crash = on";

# Returns the databases with a worker, by name; with a question mark if it is not, or not
# yet, probing.
my $served = q{
    SELECT coalesce(string_agg(CASE WHEN query LIKE '%probing' THEN datname ELSE datname || '?' END, ' ' ORDER BY datname), '-')
      FROM pg_stat_activity WHERE backend_type = 'gateway_pool worker'};

sub pid_sql { return "SELECT pid FROM pg_stat_activity WHERE backend_type = 'gateway_pool worker' AND datname = '$_[0]'" }
my $launcher = q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'gateway_pool launcher'};

# Asserts that statements succeed within two seconds, as commands on databases are
# promised to.
sub works_soon
{
    my ($db, $sql, $label) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;
    return prompt(2, $label, sub { $db->works($sql, $label) });
}

# Asserts which databases come to be served, by a request of their own: the launcher looks
# at all databases every 50 s, which would hide that one was lost.
sub serves
{
    my ($db, $expected, $label) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;
    return $db->shows_within(40, $served, $expected, $label);
}

# Asserts that processes end.
sub gone
{
    my ($label, @pids) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;
    return ok(soon(sub { !grep { kill 0, $_ } @pids }), $label);
}

sub all_pids
{
    return split /\n/, $_[0]->value(q{SELECT pid FROM pg_stat_activity WHERE backend_type LIKE 'gateway_pool %'});
}

my $node = start_node('main', conf => $settings);
my $main = PoolDatabase->new($node, 'postgres')->session;
my $app;

$main->shows_soon($launcher, qr/\d+/, 'the launcher runs');

subtest 'installed, or not' => sub {
    $app = PoolDatabase->create_with_host($node, 'app');
    $app->value('BEGIN; CREATE EXTENSION gateway_pool; ROLLBACK');
    $app->value('BEGIN; SAVEPOINT s; CREATE EXTENSION gateway_pool; ROLLBACK TO s; COMMIT');
    serves($main, '-', 'an installation that is rolled back gets no worker');
    $app->works('CREATE EXTENSION gateway_pool', 'CREATE EXTENSION works');
    serves($main, 'app', 'the database gets a worker after the commit');
    $app->shows('SELECT * FROM check_gateway_pools()', '', 'check_gateway_pools() reports no problem');

    my $pid = $main->value(pid_sql('app'));
    $app->value('BEGIN; DROP EXTENSION gateway_pool CASCADE; ROLLBACK');
    $app->value('BEGIN; SELECT uninstall_gateway_pools(); ROLLBACK');
    $app->value('BEGIN; DROP EXTENSION gateway_pool CASCADE; CREATE EXTENSION gateway_pool; COMMIT');
    # A round after the worker was woken.
    my $round = $app->value('SELECT now()');
    $app->shows_soon(qq{SELECT "lastRoundAt" > '$round' FROM gateway_pool_workers WHERE database = 'app'}, 't', 'the worker continues');
    $main->shows(pid_sql('app'), $pid, 'the worker is the same after a DROP EXTENSION that is rolled back or followed by CREATE EXTENSION');

    $app->value(qq{SELECT host_test.add_org('public', 'acme', '$acme'); SELECT host_test.add_gateway('public', '$acme', 'g1', '0s');
        INSERT INTO gateway_pools (id, "orgId", name) VALUES ('$pool', '$acme', 'edge');
        INSERT INTO gateway_pool_memberships ("gatewayPoolId", "gatewayId") SELECT '$pool', id FROM gateways_v2});
    my $session = $app->session;
    $session->value('SELECT uninstall_gateway_pools(); SELECT install_gateway_pools()') foreach 1 .. 20;
    $session->end;
    serves($main, 'app', 'the database has a worker after many installations');
    $app->value('SELECT uninstall_gateway_pools()');
    serves($main, '-', 'the worker ends after uninstalling');
    $app->shows_soon(q{SELECT count(*) FROM gateway_pool_workers WHERE database = 'app'}, '0', 'its row in gateway_pool_workers is removed');
    $app->fails("SELECT pick_healthy_gateway('$pool')", '55000 gateway_pools_not_installed', 'picks fail');
    $app->shows(q{SELECT count(*) FROM gateway_pool_workers WHERE database = 'app'}, '0', 'a failed pick requests no worker');
    $app->value('SELECT install_gateway_pools()');
    serves($main, 'app', 'the worker is back after installing');
    $app->value('DROP EXTENSION gateway_pool CASCADE');
    serves($main, '-', 'the worker ends with the extension');
    $app->value(q{BEGIN; CREATE EXTENSION gateway_pool; PREPARE TRANSACTION 'p'});
    $app->value(q{COMMIT PREPARED 'p'});
    serves($main, '-', 'a prepared installation requests no worker');
    $app->value("SELECT pick_healthy_gateway('$pool')");
    serves($main, 'app', 'the first pick requests a worker');

    PoolDatabase->create($node, 'empty')->value('CREATE EXTENSION gateway_pool');
    $node->safe_psql('template1', 'CREATE EXTENSION gateway_pool');
    serves($main, 'app', 'a database without a host gets no worker');
    $node->safe_psql('template1', 'DROP EXTENSION gateway_pool');

    # Several times: a commit wakes the launcher before it outdates what the launcher has cached.
    my $inside = $app->session;
    foreach (map { ([ 'IS_TEMPLATE true', 'IS_TEMPLATE false' ], [ 'ALLOW_CONNECTIONS false', 'ALLOW_CONNECTIONS true' ]) } 1 .. 4)
    {
        $main->value("ALTER DATABASE app $_->[0]");
        serves($main, '-', "no worker with $_->[0]");
        $inside->value("SELECT host_test.add_gateway('public', '$acme', gen_random_uuid()::varchar(32))");
        $inside->shows_soon(q{SELECT count(*) FROM gateway_pool_workers WHERE database = 'app'}, '0', 'a request is refused');
        $main->value("ALTER DATABASE app $_->[1]");
        serves($main, 'app', "the worker is back with $_->[1]");
    }
    $inside->value(q{DELETE FROM gateways_v2 WHERE name <> 'g1'});
    $inside->end;
};

subtest 'a dump' => sub {
    $main->value('CREATE DATABASE restored TEMPLATE template0');
    my $dump = $node->basedir . '/dump';
    $node->command_ok([ 'pg_dump', '-f', $dump, $node->connstr('app') ], 'pg_dump succeeds');
    $node->command_ok([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-f', $dump, $node->connstr('restored') ], 'the dump can be restored');
    my $restored = PoolDatabase->new($node, 'restored');
    $restored->value("SELECT pick_healthy_gateway('$pool')");
    serves($main, 'app restored', 'the restored database gets a worker after the first pick');
    works_soon($main, 'DROP DATABASE restored', 'DROP DATABASE works');

    $main->value('CREATE DATABASE restored TEMPLATE template0');
    $node->command_ok([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-f', $dump, $node->connstr('restored') ], 'the dump can be restored again');
    # Without triggers, as a dump restores rows.
    $restored->value(q{SET session_replication_role = replica; ALTER TABLE gateway_probes DISABLE TRIGGER ALL;
        INSERT INTO gateway_probes ("gatewayId", protocol, address) SELECT id, 'tcp', '127.0.0.1:1' FROM gateways_v2});
    $restored->fails(q{SELECT probe_gateway(gen_random_uuid(), '1 s')}, 'P0002 gateway_pools_not_found', 'probe_gateway() refuses an unknown gateway');
    serves($main, 'app restored', 'the restored database gets a worker after the first probe_gateway()');
    works_soon($main, 'DROP DATABASE restored', 'DROP DATABASE works again');
};

subtest 'warm picks' => sub {
    my $session = $app->session;
    my $marker = $app->value(q{SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE tgrelid = 'organizations'::regclass AND tgname = 'GatewayPools_marker'});
    my $pick = "SELECT pick_healthy_gateway('$pool')";

    $session->value($pick) foreach 1 .. 2;
    $app->value('DROP TRIGGER "GatewayPools_marker" ON organizations');
    serves($main, '-', 'the worker ends without a marker');
    $app->value($marker);
    serves($main, '-', 'the marker alone requests no worker');
    $session->value($pick);
    serves($main, 'app', 'a pick from a cached pool requests a worker');
    $session->end;
};

subtest 'commands on databases with a worker' => sub {
    my $tablespace = PostgreSQL::Test::Utils::tempdir;
    $main->value("CREATE TABLESPACE elsewhere LOCATION '$tablespace'");

    # STRATEGY exists since version 15.
    my @strategies = $main->value("SELECT current_setting('server_version_num')::int >= 150000") eq 't' ?
      ('', 'STRATEGY wal_log', 'STRATEGY file_copy') : ('');
    foreach my $strategy (@strategies)
    {
        works_soon($main, "CREATE DATABASE copy TEMPLATE app $strategy", "CREATE DATABASE TEMPLATE $strategy");
        serves($main, 'app copy', 'both databases have a worker');
        works_soon($main, 'DROP DATABASE copy', 'DROP DATABASE works');
        serves($main, 'app', 'one worker is left');
    }
    $main->value('CREATE DATABASE copy TEMPLATE app');
    serves($main, 'app copy', 'both databases have a worker again');
    works_soon($main, 'ALTER DATABASE copy RENAME TO other', 'RENAME works');
    serves($main, 'app other', 'the database has a worker under its new name');
    my $block = PoolDatabase->new($node, 'postgres')->session;
    works_soon($block, 'BEGIN; ALTER DATABASE other RENAME TO third; ALTER DATABASE third RENAME TO fourth', 'two RENAMEs in a transaction work');
    $app->shows(q{SELECT state FROM gateway_pool_workers WHERE database = 'other'}, 'wanted', 'no worker runs before the transaction ends');
    $block->value('ROLLBACK');
    serves($main, 'app other', 'the worker is back after ROLLBACK');
    works_soon($block, 'BEGIN; SAVEPOINT s; ALTER DATABASE other RENAME TO third; ROLLBACK TO s', 'RENAME after a savepoint works');
    serves($main, 'app other', 'the worker is back after ROLLBACK TO');
    works_soon($block, 'SAVEPOINT s; ALTER DATABASE other RENAME TO third; RELEASE s', 'RENAME in a released savepoint works');
    $app->shows(q{SELECT state FROM gateway_pool_workers WHERE database = 'other'}, 'wanted', 'no worker runs yet');
    $block->value('COMMIT');
    $block->end;
    serves($main, 'app third', 'the worker is back after COMMIT');
    works_soon($main, q{BEGIN; ALTER DATABASE third RENAME TO other; PREPARE TRANSACTION 'p'}, 'RENAME in a prepared transaction works');
    $main->value(q{COMMIT PREPARED 'p'});
    serves($main, 'app other', 'the worker is back after COMMIT PREPARED');
    works_soon($main, 'ALTER DATABASE other SET TABLESPACE elsewhere', 'SET TABLESPACE works');
    serves($main, 'app other', 'the worker runs in the other tablespace');
    works_soon($main, 'ALTER DATABASE other SET TABLESPACE pg_default', 'SET TABLESPACE back works');
    works_soon($main, 'DROP DATABASE other WITH (FORCE)', 'DROP DATABASE WITH (FORCE) works');
    $main->value('DROP TABLESPACE elsewhere');
    serves($main, 'app', 'one worker is left');

    my $pid = $main->value(pid_sql('app'));
    $main->value('CREATE ROLE somebody LOGIN; CREATE ROLE maker LOGIN CREATEDB; CREATE ROLE owner LOGIN');
    my ($somebody, $maker, $owner) = map { PoolDatabase->new($node, 'postgres')->as($_) } qw(somebody maker owner);
    $somebody->fails($_, '42501', "refused: $_")
      foreach 'DROP DATABASE app', 'ALTER DATABASE app RENAME TO mine', 'ALTER DATABASE app SET TABLESPACE pg_default', 'CREATE DATABASE mine TEMPLATE app';
    $maker->fails('CREATE DATABASE mine TEMPLATE app', '42501', 'a role with CREATEDB cannot copy another role\'s database');
    $main->fails('DROP DATABASE none', '3D000', 'a missing database cannot be dropped');
    $main->shows(pid_sql('app'), $pid, 'refused commands of other roles do not end the worker');

    $main->fails('BEGIN; DROP DATABASE app', '25001', 'DROP DATABASE in a transaction fails');
    $main->value('ROLLBACK');
    serves($main, 'app', 'the worker is back after a failed command');
    $main->value('ALTER DATABASE app OWNER TO owner');
    $owner->fails('ALTER DATABASE app RENAME TO mine', '42501', 'an owner without CREATEDB cannot rename');
    serves($main, 'app', 'the worker is back after it');

    # A frozen worker: the command waits, and then fails with PostgreSQL's usual error.
    $pid = $main->value(pid_sql('app'));
    freeze($pid);
    my $begin = time;
    prompt(10, 'it does not wait long', sub { $main->fails('ALTER DATABASE app RENAME TO mine', '55006', 'RENAME fails while the worker hangs') });
    cmp_ok(time - $begin, '>', 2, 'it waits for the worker');
    kill 'CONT', $pid;
    gone('the worker ends when it can', $pid);
    serves($main, 'app', 'the database has a worker after it');

    # The waiting command is terminated: it does not keep the worker away any more.
    freeze($pid = $main->value(pid_sql('app')));
    my $waiter = PoolDatabase->new($node, 'postgres')->session;
    my $backend = $waiter->value('SELECT pg_backend_pid()');
    $waiter->{session}->query_until(qr/begun/, "\\echo begun\nALTER DATABASE app RENAME TO mine;\n");
    $main->shows_soon("SELECT state FROM pg_stat_activity WHERE pid = $backend", 'active', 'a command waits');
    $main->shows_soon("SELECT wait_event_type FROM pg_stat_activity WHERE pid = $backend", 'Extension', 'it waits for the worker');
    $main->value("SELECT pg_terminate_backend($backend)");
    gone('the command ends', $backend);
    kill 'CONT', $pid;
    gone('the worker ends, too', $pid);
    eval { $waiter->end };
    serves($main, 'app', 'the database has a worker after it');
};

subtest 'workers and launcher come back' => sub {
    my $pid = $main->value(pid_sql('app'));
    $main->value("SELECT pg_terminate_backend($pid)");
    $main->shows_soon(pid_sql('app') . " AND pid <> $pid AND query = 'probing'", qr/\d+/, 'a terminated worker is replaced');

    my $doctor = $app->session;
    my $old = $main->value($launcher);
    $main->value("SELECT pg_terminate_backend($old)");
    gone('the terminated launcher has ended', $old);
    $doctor->shows('SELECT problem, detail FROM check_gateway_pools()', 'worker not running|The launcher does not run.', 'check_gateway_pools() reports it');
    $doctor->end;
    works_soon($main, 'CREATE DATABASE copy TEMPLATE app', 'commands work without the launcher');
    $main->shows_soon("$launcher AND pid <> $old", qr/\d+/, 'the launcher is back');
    serves($main, 'app copy', 'both databases have a worker');
    $pid = $main->value(pid_sql('app'));
    $old = $main->value($launcher);
    $main->value("SELECT pg_terminate_backend($old)");
    $main->shows_soon("$launcher AND pid <> $old", qr/\d+/, 'the launcher is back again');
    serves($main, 'app copy', 'both databases have a worker');
    $main->shows(pid_sql('app'), $pid, 'the worker is the same');

    my @pids = all_pids($main);
    $main->value("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type LIKE 'gateway_pool %'");
    gone('all terminated at once: all end', @pids);
    $main->shows_soon($served, 'app copy', 'all terminated at once: all are back');

    $pid = $main->value(pid_sql('app'));
    $main->value("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE backend_type LIKE 'gateway_pool %'");
    my $now = $app->value('SELECT now()');
    $app->shows_soon(q{SELECT problem FROM gateway_pool_workers WHERE database = 'app'}, qr/(canceling.*)?/, 'a canceled worker reports that, or nothing');
    $app->shows_soon(qq{SELECT "lastRoundAt" > '$now' AND problem IS NULL FROM gateway_pool_workers WHERE database = 'app'}, 't', 'a canceled worker continues');
    $main->shows(pid_sql('app'), $pid, 'it is the same worker');

    my $offset = -s $node->logfile;
    @pids = all_pids($main);
    kill 'KILL', $main->value(pid_sql('app'));
    $app->wait_for_recovery($offset);
    eval { $main->end };
    $main = PoolDatabase->new($node, 'postgres')->session;
    gone('a crash ends all', @pids);
    $main->shows_soon($served, 'app copy', 'all are back after it');
    works_soon($main, 'DROP DATABASE copy', 'DROP DATABASE works');
};

subtest 'gateway_pool.worker is off' => sub {
    my $off = 'worker not running|Setting gateway_pool.worker is off.';

    $node->append_conf('postgresql.conf', 'gateway_pool.worker = off');
    $node->reload;
    serves($main, '-', 'all workers have ended');
    $app->shows('SELECT problem, detail FROM check_gateway_pools()', $off, 'check_gateway_pools() reports the setting');
    $app->shows(q{SELECT state, problem FROM gateway_pool_workers WHERE database = 'app'}, 'wanted|gateway_pool.worker is off', 'gateway_pool_workers shows it');
    works_soon($main, 'CREATE DATABASE copy TEMPLATE app', 'CREATE DATABASE works');
    $node->append_conf('postgresql.conf', 'gateway_pool.worker = on');
    $node->reload;
    serves($main, 'app copy', 'all workers are back');
    $app->shows('SELECT * FROM check_gateway_pools()', '', 'check_gateway_pools() reports no problem');

    $node->append_conf('postgresql.conf', 'gateway_pool.worker = off');
    $main->end;
    $node->restart;
    $main = PoolDatabase->new($node, 'postgres')->session;
    $main->shows_soon($launcher, qr/\d+/, 'off at the start: the launcher runs');
    $app->shows('SELECT problem, detail FROM check_gateway_pools()', $off, 'off at the start: check_gateway_pools() reports the setting');
    serves($main, '-', 'off at the start: no worker runs');
    $node->append_conf('postgresql.conf', 'gateway_pool.worker = on');
    $node->reload;
    serves($main, 'app copy', 'all workers run after the setting is on');
    $main->value('DROP DATABASE copy');
};

subtest 'rows of gateway_pool_workers by role' => sub {
    $main->value('CREATE ROLE watcher LOGIN IN ROLE pg_monitor');
    $main->value('CREATE DATABASE copy TEMPLATE app');
    serves($main, 'app copy', 'two workers run');
    my $rows = q{SELECT string_agg(coalesce(database, 'launcher'), ' ' ORDER BY database) FROM gateway_pool_workers};
    $app->as('somebody')->shows($rows, 'app', 'a role without privileges sees the worker of its database');
    $app->as('watcher')->shows($rows, 'app copy launcher', 'a member of pg_monitor sees all');
    $app->shows($rows, 'app copy launcher', 'a superuser sees all');
    $main->value('DROP DATABASE copy');
};

subtest 'idle processes' => sub {
    my %pid = (worker => $main->value(pid_sql('app')), launcher => $main->value($launcher));
    my $switches = sub { slurp_file("/proc/$_[0]/status") =~ /^voluntary_ctxt_switches:\s+(\d+)/m or die; return $1 };

    # Until the end of the subtest before is processed.
    $app->shows_soon(q{SELECT string_agg(coalesce(database, 'launcher'), ' ' ORDER BY database) FROM gateway_pool_workers}, 'app launcher', 'no other process is left');
    # The worker may be reading its tables at this moment.
    $main->shows_soon(qq{SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'gateway_pool %'
        AND (xact_start IS NOT NULL OR backend_xmin IS NOT NULL OR state <> 'idle')}, '0', 'no transaction is open');
    $main->shows_soon(q{SELECT string_agg(wait_event, ' ' ORDER BY wait_event) FROM pg_stat_activity WHERE backend_type LIKE 'gateway_pool %'},
        $node->pg_version >= 17 ? 'GatewayPoolLauncherMain GatewayPoolWorkerMain' : 'Extension Extension', 'they show what they wait for');
    $main->shows_soon("SELECT count(*) FROM pg_locks WHERE pid IN ($pid{worker}, $pid{launcher})", '0', 'no lock is held');

    my %before = map { ($_ => $switches->($pid{$_})) } keys %pid;
    # A measured rate: how often they wake up.
    $main->value('SELECT pg_sleep(3)');
    my %woken = map { ($_ => $switches->($pid{$_}) - $before{$_}) } keys %pid;
    ok($woken{worker} >= 2 && $woken{worker} <= 6, 'the worker wakes up at most twice a second') || diag($woken{worker});
    ok($woken{launcher} <= 1, 'the launcher sleeps') || diag($woken{launcher});
};

subtest 'errors' => sub {
    my $pid = $main->value(pid_sql('app'));
    my $offset = -s $node->logfile;
    my $blocker = $app->session;
    my $problem = q{SELECT coalesce(problem, 'none') FROM gateway_pool_workers WHERE database = 'app'};

    $blocker->value('BEGIN; LOCK TABLE gateways_v2 IN ACCESS EXCLUSIVE MODE');
    # The worker reads again, and finds a table locked.
    $app->value('ALTER TABLE gateway_health SET (fillfactor = 100)');
    $blocker->shows_soon($problem, qr/a table or a row is locked: .*/, 'gateway_pool_workers shows that a table is locked');
    $blocker->shows(q{SELECT string_agg(problem, ' ') FROM check_gateway_pools()}, 'worker fails', 'check_gateway_pools() reports it');
    $main->shows(qq{SELECT count(*) FROM pg_locks WHERE pid = $pid}, '0', 'the worker holds no locks');
    # It retries in each turn; only the log could show that, and must not.
    awakes($pid, 5);
    $blocker->value('COMMIT');
    $app->shows_soon($problem, 'none', 'the worker continues');
    $main->shows(pid_sql('app'), $pid, 'it is the same worker');
    my @logged = slurp_file($node->logfile, $offset) =~ /LOG:  gateway_pool worker for database "app" has a problem: a table or a row is locked/g;
    is(scalar @logged, 1, 'the problem is logged once');
    $blocker->end;
};

subtest 'stops of the server' => sub {
    foreach my $mode ('fast', 'smart', 'immediate')
    {
        my @pids = all_pids($main);
        cmp_ok(scalar @pids, '>=', 2, "$mode stop: launcher and worker run before");
        $main->end;
        prompt(5, "$mode stop", sub { $node->stop($mode) });
        gone("$mode stop: all processes end", @pids);
        $node->start;
        $main = PoolDatabase->new($node, 'postgres')->session;
        serves($main, 'app', 'the database has a worker from the start on');
    }
    my @pids = all_pids($main);
    $node->kill9;
    gone('all processes end when the postmaster is killed', @pids);
    eval { $main->end };
    my ($out, $err);
    my $ran = IPC::Run::run([ 'postgres', '--single', '-D', $node->data_dir, 'postgres' ],
        '<', \"DROP DATABASE empty\n", '>', \$out, '2>', \$err);
    ok($ran, 'single-user mode works') || diag($err);
    unlike($err, qr/ERROR/, 'a command on a database works there');

    my @pg_ctl = ('pg_ctl', '-w', '-D', $node->data_dir, '-l', $node->logfile);
    $node->command_ok([ @pg_ctl, '-o', '-b', 'start' ], 'the server starts in binary upgrade mode');
    is($node->safe_psql('postgres', "SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'gateway_pool %'"), '0', 'no process of the extension runs there');
    $node->command_ok([ @pg_ctl, 'stop' ], 'the server stops');
    $node->start;
    $main = PoolDatabase->new($node, 'postgres')->session;
    serves($main, 'app', 'the database has a worker from the start on');
    $main->end;
    $node->stop;
};

subtest 'too few worker processes' => sub {
    # The launcher of logical replication takes one process, too.
    my $few = start_node('few', conf => q{
        gateway_pool.default_entitlement = on
        max_worker_processes = 3
        shared_preload_libraries = 'pg_stat_statements, gateway_pool'});
    my $session = PoolDatabase->new($few, 'postgres')->session;
    my ($one, @others) = map { PoolDatabase->create_with_host($few, $_) } qw(one two three four);
    $_->value('CREATE EXTENSION gateway_pool') foreach $one, @others;
    serves($session, 'one', 'one of four databases has a worker');
    my $reason = 'no background worker is free: raise max_worker_processes';
    foreach my $db (@others)
    {
        $db->shows_soon('SELECT problem, detail FROM check_gateway_pools()',
            qq{worker not running|Its state is "wanted": $reason.}, "$db->{name}: check_gateway_pools() gives the reason");
        $db->shows(q{SELECT state, problem FROM gateway_pool_workers WHERE database = current_database()}, "wanted|$reason",
            "$db->{name}: gateway_pool_workers gives the reason");
        my @warnings = slurp_file($few->logfile) =~ /WARNING:  no background worker is free to serve gateway pools of database "$db->{name}"/g;
        is(scalar @warnings, 1, "$db->{name}: the log gives the reason once");
    }
    $session->value('CREATE EXTENSION pg_stat_statements');
    works_soon($session, 'DROP DATABASE one', 'DROP DATABASE works');
    $session->shows("SELECT count(*) FROM pg_stat_statements WHERE query = 'DROP DATABASE one'", 1, 'a library that was loaded before sees the command, too');
    $session->shows_within(40, $served, qr/two|three|four/, 'another gets a worker when a process is free');
    my $served_now = PoolDatabase->new($few, $session->value($served));
    $served_now->shows('SELECT * FROM check_gateway_pools()', '', 'check_gateway_pools() reports no problem');
    my @warnings = slurp_file($few->logfile) =~ /WARNING:  no background worker is free to serve gateway pools of database "(?!postgres)/g;
    is(scalar @warnings, 3, 'nothing is logged again');
    $session->end;
    $few->stop;
};

subtest 'standby' => sub {
    my $primary = PostgreSQL::Test::Cluster->new('primary');
    init_node($primary, allows_streaming => 1);
    $primary->append_conf('postgresql.conf', "shared_preload_libraries = 'gateway_pool'\n$settings");
    $primary->start;
    my $session = PoolDatabase->new($primary, 'postgres')->session;
    my $replayed = sub { $primary->wait_for_catchup($_[0], 'replay', $primary->lsn('insert')) };
    my $there = PoolDatabase->create_with_host($primary, 'app');
    $there->value('CREATE EXTENSION gateway_pool');
    serves($session, 'app', 'the database has a worker on the primary');
    $primary->backup('backup');

    my $standby = PostgreSQL::Test::Cluster->new('standby');
    $standby->init_from_backup($primary, 'backup', has_streaming => 1);
    $standby->start;
    my $reader = PoolDatabase->new($standby, 'postgres')->session;
    $reader->shows_soon($served, 'app', 'the database has a worker on the standby');
    $reader->shows("SELECT query FROM pg_stat_activity WHERE backend_type = 'gateway_pool worker'", 'standby: probing', 'it runs as a worker of a standby');

    $session->value('CREATE DATABASE copy TEMPLATE app');
    $replayed->($standby);
    PoolDatabase->new($standby, 'copy')->run("SELECT pick_healthy_gateway('$pool')");
    serves($reader, 'app copy', 'the first pick there requests one');
    $reader->fails('DROP DATABASE app', '25006', 'DROP DATABASE is refused on a standby');
    $session->value('DROP DATABASE copy');
    $replayed->($standby);
    serves($reader, 'app', 'the worker ends when DROP DATABASE is replayed');
    $reader->shows_soon(q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'gateway_pool launcher'}, '1', 'the launcher continues');
    $there->value('SELECT uninstall_gateway_pools()');
    $replayed->($standby);
    serves($reader, '-', 'the worker ends after uninstalling on the primary');
    $there->value('SELECT install_gateway_pools()');
    $replayed->($standby);
    PoolDatabase->new($standby, 'app')->run("SELECT pick_healthy_gateway('$pool')");
    serves($reader, 'app', 'the worker is back after installing and a pick');

    my $pid = $reader->value(pid_sql('app'));
    $standby->promote;
    $reader->shows_soon("SELECT query FROM pg_stat_activity WHERE pid = $pid", 'probing', 'after promotion the same worker continues');
    works_soon($reader, 'CREATE DATABASE copy TEMPLATE app', 'CREATE DATABASE works');
    serves($reader, 'app copy', 'both databases have a worker');
    $_->end foreach $session, $reader;
    $standby->stop;
    $primary->stop;
};

done_testing();
