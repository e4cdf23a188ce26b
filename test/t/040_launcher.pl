# The launcher and its workers: one for each database that has gateway pools and
# none elsewhere, out of the way of commands on databases, and back after whatever
# may end them.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;
use Patience qw(freeze soon);
use PoolDatabase qw(init_node start_node);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $acme = 'a0000000-0000-4000-8000-000000000001';
my $pool = 'b0000000-0000-4000-8000-000000000001';
my $settings = "gateway_pool.default_entitlement = on\nmax_worker_processes = 16\nmax_prepared_transactions = 2\nrestart_after_crash = on";

# Databases whose workers serve, by name, and then those in which there is one that
# does not, or not yet.
my $served = q{
    SELECT coalesce(string_agg(CASE WHEN query LIKE '%probing' THEN datname ELSE datname || '?' END, ' ' ORDER BY datname), '-')
      FROM pg_stat_activity WHERE backend_type = 'gateway_pool worker'};

sub pid_sql { return "SELECT pid FROM pg_stat_activity WHERE backend_type = 'gateway_pool worker' AND datname = '$_[0]'" }
my $launcher = q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'gateway_pool launcher'};

# Asserts that statements run, and are done before two seconds have gone.
sub works_soon
{
    my ($db, $sql, $label) = @_;
    my $begin = time;

    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my $ok = $db->works($sql, $label);
    my $taken = time - $begin;
    return ok($taken < 2, sprintf '%s: in time', $label) && $ok || diag("$taken s");
}

sub serves
{
    my ($db, $expected, $label) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;
    return $db->shows_within(2, $served, $expected, $label);
}

# Asserts that processes are gone before so many seconds have passed.
sub gone
{
    my ($seconds, $label, @pids) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;
    return ok(soon(sub { !grep { kill 0, $_ } @pids }, $seconds), $label);
}

sub all_pids
{
    return split /\n/, $_[0]->value(q{SELECT pid FROM pg_stat_activity WHERE backend_type LIKE 'gateway_pool %'});
}

my $node = start_node('main', conf => $settings);
my $main = PoolDatabase->new($node, 'postgres')->session;
my $app;

$main->shows_within(5, $launcher, qr/\d+/, 'the launcher is there');

subtest 'installed, or not' => sub {
    $app = PoolDatabase->create_with_host($node, 'app');
    $app->value('BEGIN; CREATE EXTENSION gateway_pool; ROLLBACK');
    $app->value('BEGIN; SAVEPOINT s; CREATE EXTENSION gateway_pool; ROLLBACK TO s; COMMIT');
    serves($main, '-', 'none for an installation that was rolled back');
    $app->works('CREATE EXTENSION gateway_pool', 'CREATE EXTENSION');
    serves($main, 'app', 'served once it has committed');
    $app->shows('SELECT * FROM check_gateway_pools()', '', 'all is well');

    my $pid = $main->value(pid_sql('app'));
    $app->value('BEGIN; DROP EXTENSION gateway_pool CASCADE; ROLLBACK');
    $app->value('BEGIN; SELECT uninstall_gateway_pools(); ROLLBACK');
    $app->value('BEGIN; DROP EXTENSION gateway_pool CASCADE; CREATE EXTENSION gateway_pool; COMMIT');
    # A round after it was told.
    my $round = $app->value('SELECT now()');
    $app->shows_within(3, qq{SELECT "lastRoundAt" > '$round' FROM gateway_pool_workers WHERE database = 'app'}, 't', 'it goes on');
    $main->shows(pid_sql('app'), $pid, 'the same one after a DROP EXTENSION that was rolled back, or followed by its return');

    $app->value(qq{SELECT host_test.add_org('public', 'acme', '$acme'); SELECT host_test.add_gateway('public', '$acme', 'g1', '0s');
        INSERT INTO gateway_pools (id, "orgId", name) VALUES ('$pool', '$acme', 'edge');
        INSERT INTO gateway_pool_memberships ("gatewayPoolId", "gatewayId") SELECT '$pool', id FROM gateways_v2});
    my $session = $app->session;
    $session->value('SELECT uninstall_gateway_pools(); SELECT install_gateway_pools()') foreach 1 .. 20;
    $session->end;
    serves($main, 'app', 'there, however often it is uninstalled and installed');
    $app->value('SELECT uninstall_gateway_pools()');
    serves($main, '-', 'gone when uninstalled');
    $app->shows_within(2, q{SELECT count(*) FROM gateway_pool_workers WHERE database = 'app'}, '0', 'with all that was known of it');
    $app->fails("SELECT pick_healthy_gateway('$pool')", '55000 gateway_pools_not_installed', 'picks end');
    $app->shows(q{SELECT count(*) FROM gateway_pool_workers WHERE database = 'app'}, '0', 'and ask for none');
    $app->value('SELECT install_gateway_pools()');
    serves($main, 'app', 'back when installed');
    $app->value('DROP EXTENSION gateway_pool CASCADE');
    serves($main, '-', 'gone with the extension');
    $app->value(q{BEGIN; CREATE EXTENSION gateway_pool; PREPARE TRANSACTION 'p'});
    $app->value(q{COMMIT PREPARED 'p'});
    serves($main, '-', 'nobody tells of a prepared transaction');
    $app->value("SELECT pick_healthy_gateway('$pool')");
    serves($main, 'app', 'but the first to pick');

    PoolDatabase->create($node, 'empty')->value('CREATE EXTENSION gateway_pool');
    $node->safe_psql('template1', 'CREATE EXTENSION gateway_pool');
    serves($main, 'app', 'none where there is no host');
    $node->safe_psql('template1', 'DROP EXTENSION gateway_pool');

    foreach (['IS_TEMPLATE true', 'IS_TEMPLATE false'], ['ALLOW_CONNECTIONS false', 'ALLOW_CONNECTIONS true'])
    {
        $main->value("ALTER DATABASE app $_->[0]");
        serves($main, '-', "none with $_->[0]");
        $main->value("ALTER DATABASE app $_->[1]");
        serves($main, 'app', "back with $_->[1]");
    }
};

subtest 'a dump' => sub {
    $main->value('CREATE DATABASE restored TEMPLATE template0');
    my $dump = $node->basedir . '/dump';
    $node->command_ok([ 'pg_dump', '-f', $dump, $node->connstr('app') ], 'dumped');
    $node->command_ok([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-f', $dump, $node->connstr('restored') ], 'restored');
    my $restored = PoolDatabase->new($node, 'restored');
    $restored->value("SELECT pick_healthy_gateway('$pool')");
    serves($main, 'app restored', 'served from the first pick on');
    works_soon($main, 'DROP DATABASE restored', 'DROP DATABASE');
};

subtest 'commands on databases' => sub {
    my $tablespace = PostgreSQL::Test::Utils::tempdir;
    $main->value("CREATE TABLESPACE elsewhere LOCATION '$tablespace'");

    # STRATEGY is there from 15 on.
    my @strategies = $main->value("SELECT current_setting('server_version_num')::int >= 150000") eq 't' ?
      ('', 'STRATEGY wal_log', 'STRATEGY file_copy') : ('');
    foreach my $strategy (@strategies)
    {
        works_soon($main, "CREATE DATABASE copy TEMPLATE app $strategy", "CREATE DATABASE TEMPLATE $strategy");
        serves($main, 'app copy', 'both are served');
        works_soon($main, 'DROP DATABASE copy', 'DROP DATABASE');
        serves($main, 'app', 'one is left');
    }
    $main->value('CREATE DATABASE copy TEMPLATE app');
    serves($main, 'app copy', 'both again');
    works_soon($main, 'ALTER DATABASE copy RENAME TO other', 'RENAME');
    serves($main, 'app other', 'served by its new name');
    my $block = PoolDatabase->new($node, 'postgres')->session;
    works_soon($block, 'BEGIN; ALTER DATABASE other RENAME TO third; ALTER DATABASE third RENAME TO fourth', 'RENAME twice in a block');
    $app->shows(q{SELECT state FROM gateway_pool_workers WHERE database = 'other'}, 'wanted', 'no worker waits for its end');
    $block->value('ROLLBACK');
    serves($main, 'app other', 'rolled back, it is served');
    works_soon($block, 'BEGIN; SAVEPOINT s; ALTER DATABASE other RENAME TO third; ROLLBACK TO s', 'RENAME in a savepoint');
    serves($main, 'app other', 'rolled back to that, it is served');
    works_soon($block, 'SAVEPOINT s; ALTER DATABASE other RENAME TO third; RELEASE s', 'RENAME in one that is released');
    $app->shows(q{SELECT state FROM gateway_pool_workers WHERE database = 'other'}, 'wanted', 'not served yet');
    $block->value('COMMIT');
    $block->end;
    serves($main, 'app third', 'committed, it is served');
    works_soon($main, q{BEGIN; ALTER DATABASE third RENAME TO other; PREPARE TRANSACTION 'p'}, 'RENAME that is prepared');
    $main->value(q{COMMIT PREPARED 'p'});
    serves($main, 'app other', 'served when that has committed');
    works_soon($main, 'ALTER DATABASE other SET TABLESPACE elsewhere', 'SET TABLESPACE');
    serves($main, 'app other', 'served in the other tablespace');
    works_soon($main, 'ALTER DATABASE other SET TABLESPACE pg_default', 'SET TABLESPACE back');
    works_soon($main, 'DROP DATABASE other WITH (FORCE)', 'DROP DATABASE WITH (FORCE)');
    $main->value('DROP TABLESPACE elsewhere');
    serves($main, 'app', 'one is left');

    my $pid = $main->value(pid_sql('app'));
    $main->value('CREATE ROLE somebody LOGIN; CREATE ROLE maker LOGIN CREATEDB; CREATE ROLE owner LOGIN');
    my ($somebody, $maker, $owner) = map { PoolDatabase->new($node, 'postgres')->as($_) } qw(somebody maker owner);
    $somebody->fails($_, '42501', "refused: $_")
      foreach 'DROP DATABASE app', 'ALTER DATABASE app RENAME TO mine', 'ALTER DATABASE app SET TABLESPACE pg_default', 'CREATE DATABASE mine TEMPLATE app';
    $maker->fails('CREATE DATABASE mine TEMPLATE app', '42501', 'refused, to one who may make others');
    $main->fails('DROP DATABASE none', '3D000', 'there is none of that name');
    $main->shows(pid_sql('app'), $pid, 'commands of others leave the worker alone');

    $main->fails('BEGIN; DROP DATABASE app', '25001', 'not in a block');
    $main->value('ROLLBACK');
    serves($main, 'app', 'served after a command that failed');
    $main->value('ALTER DATABASE app OWNER TO owner');
    $owner->fails('ALTER DATABASE app RENAME TO mine', '42501', 'an owner who may not make databases');
    serves($main, 'app', 'served after that');

    # Its worker does not move: the command waits, and says as ever what is in its way.
    $pid = $main->value(pid_sql('app'));
    freeze($pid);
    my $begin = time;
    $main->fails('ALTER DATABASE app RENAME TO mine', '55006', 'a worker that hangs');
    my $taken = time - $begin;
    ok($taken > 2 && $taken < 10, 'is waited for, but not for ever') || diag("$taken s");
    kill 'CONT', $pid;
    gone(2, 'it ends when it can', $pid);
    serves($main, 'app', 'served after that');

    # One who waits for it is ended: nothing holds the database any more.
    freeze($pid = $main->value(pid_sql('app')));
    my $waiter = PoolDatabase->new($node, 'postgres')->session;
    my $backend = $waiter->value('SELECT pg_backend_pid()');
    $waiter->{session}->query_until(qr/begun/, "\\echo begun\nALTER DATABASE app RENAME TO mine;\n");
    $main->shows_within(5, "SELECT state FROM pg_stat_activity WHERE pid = $backend", 'active', 'a command waits');
    $main->shows_within(5, "SELECT wait_event_type FROM pg_stat_activity WHERE pid = $backend", 'Extension', 'for the worker');
    $main->value("SELECT pg_terminate_backend($backend)");
    gone(5, 'ended', $backend);
    kill 'CONT', $pid;
    gone(2, 'the worker ends, too', $pid);
    eval { $waiter->end };
    serves($main, 'app', 'served after that');
};

subtest 'what may end them' => sub {
    my $pid = $main->value(pid_sql('app'));
    $main->value("SELECT pg_terminate_backend($pid)");
    $main->shows_within(5, pid_sql('app') . " AND pid <> $pid AND query = 'probing'", qr/\d+/, 'a worker that was terminated is back');

    my $doctor = $app->session;
    my $old = $main->value($launcher);
    $main->value("SELECT pg_terminate_backend($old)");
    gone(2, 'the launcher was terminated', $old);
    $doctor->shows('SELECT problem, detail FROM check_gateway_pools()', 'worker not running|The launcher does not run.', 'the doctor says so');
    $doctor->end;
    works_soon($main, 'CREATE DATABASE copy TEMPLATE app', 'commands go on meanwhile');
    $main->shows_within(5, "$launcher AND pid <> $old", qr/\d+/, 'the launcher is back');
    serves($main, 'app copy', 'both are served');
    $pid = $main->value(pid_sql('app'));
    $old = $main->value($launcher);
    $main->value("SELECT pg_terminate_backend($old)");
    $main->shows_within(5, "$launcher AND pid <> $old", qr/\d+/, 'the launcher is back again');
    serves($main, 'app copy', 'both are served');
    $main->shows(pid_sql('app'), $pid, 'by the worker that was there');

    my @pids = all_pids($main);
    $main->value("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type LIKE 'gateway_pool %'");
    gone(2, 'all at once: all are gone', @pids);
    $main->shows_within(6, $served, 'app copy', 'all at once: all are back');

    $pid = $main->value(pid_sql('app'));
    $main->value("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE backend_type LIKE 'gateway_pool %'");
    my $now = $app->value('SELECT now()');
    $app->shows_within(3, q{SELECT problem FROM gateway_pool_workers WHERE database = 'app'}, qr/(canceling.*)?/, 'cancelled');
    $app->shows_within(5, qq{SELECT "lastRoundAt" > '$now' AND problem IS NULL FROM gateway_pool_workers WHERE database = 'app'}, 't', 'goes on');
    $main->shows(pid_sql('app'), $pid, 'the same one');

    my $offset = -s $node->logfile;
    @pids = all_pids($main);
    kill 'KILL', $main->value(pid_sql('app'));
    $app->wait_for_recovery($offset);
    eval { $main->end };
    $main = PoolDatabase->new($node, 'postgres')->session;
    gone(5, 'a crash ends all', @pids);
    $main->shows_within(6, $served, 'app copy', 'all are back after it');
    works_soon($main, 'DROP DATABASE copy', 'DROP DATABASE');
};

subtest 'switched off' => sub {
    my $off = 'worker not running|Setting gateway_pool.worker is off.';

    $node->append_conf('postgresql.conf', 'gateway_pool.worker = off');
    $node->reload;
    serves($main, '-', 'all have ended');
    $app->shows('SELECT problem, detail FROM check_gateway_pools()', $off, 'the doctor says so');
    $app->shows(q{SELECT state, problem FROM gateway_pool_workers WHERE database = 'app'}, 'wanted|gateway_pool.worker is off', 'the view, too');
    works_soon($main, 'CREATE DATABASE copy TEMPLATE app', 'CREATE DATABASE');
    $node->append_conf('postgresql.conf', 'gateway_pool.worker = on');
    $node->reload;
    serves($main, 'app copy', 'all are back');
    $app->shows('SELECT * FROM check_gateway_pools()', '', 'all is well');

    $node->append_conf('postgresql.conf', 'gateway_pool.worker = off');
    $main->end;
    $node->restart;
    $main = PoolDatabase->new($node, 'postgres')->session;
    $main->shows_within(5, $launcher, qr/\d+/, 'off at the start: there is a launcher');
    $app->shows('SELECT problem, detail FROM check_gateway_pools()', $off, 'and no worker');
    serves($main, '-', 'anywhere');
    $node->append_conf('postgresql.conf', 'gateway_pool.worker = on');
    $node->reload;
    serves($main, 'app copy', 'switched on');
    $main->value('DROP DATABASE copy');
};

subtest 'who sees what' => sub {
    $main->value('CREATE ROLE watcher LOGIN IN ROLE pg_monitor');
    $main->value('CREATE DATABASE copy TEMPLATE app');
    serves($main, 'app copy', 'two workers');
    my $rows = q{SELECT string_agg(coalesce(database, 'launcher'), ' ' ORDER BY database) FROM gateway_pool_workers};
    $app->as('somebody')->shows($rows, 'app', 'one who is nobody: his own database');
    $app->as('watcher')->shows($rows, 'app copy launcher', 'a member of pg_monitor: all');
    $app->shows($rows, 'app copy launcher', 'a superuser, too');
    $main->value('DROP DATABASE copy');
};

subtest 'at rest' => sub {
    my %pid = (worker => $main->value(pid_sql('app')), launcher => $main->value($launcher));
    my $switches = sub { slurp_file("/proc/$_[0]/status") =~ /^voluntary_ctxt_switches:\s+(\d+)/m or die; return $1 };

    # What the subtest before has left to do, is done.
    $app->shows_within(2, q{SELECT string_agg(coalesce(database, 'launcher'), ' ' ORDER BY database) FROM gateway_pool_workers}, 'app launcher', 'nothing else');
    $main->shows(qq{SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'gateway_pool %'
        AND (xact_start IS NOT NULL OR backend_xmin IS NOT NULL OR state <> 'idle')}, '0', 'no transaction');
    $main->shows("SELECT count(*) FROM pg_locks WHERE pid IN ($pid{worker}, $pid{launcher})", '0', 'no lock');

    my %before = map { ($_ => $switches->($pid{$_})) } keys %pid;
    # The time that is looked at.
    $main->value('SELECT pg_sleep(3)');
    my %woken = map { ($_ => $switches->($pid{$_}) - $before{$_}) } keys %pid;
    ok($woken{worker} >= 2 && $woken{worker} <= 6, 'the worker wakes up twice a second at most') || diag($woken{worker});
    ok($woken{launcher} <= 1, 'the launcher sleeps') || diag($woken{launcher});
};

subtest 'errors' => sub {
    my $pid = $main->value(pid_sql('app'));
    my $offset = -s $node->logfile;
    my $blocker = $app->session;
    my $problem = q{SELECT coalesce(problem, 'none') FROM gateway_pool_workers WHERE database = 'app'};

    $blocker->value('BEGIN; LOCK TABLE gateways_v2 IN ACCESS EXCLUSIVE MODE');
    # It looks again at what it serves, and finds a table locked.
    $app->value('ALTER TABLE gateway_health SET (fillfactor = 100)');
    $blocker->shows_within(5, $problem, qr/a table or a row is locked: .*/, 'the view says that a table is locked');
    $blocker->shows(q{SELECT string_agg(problem, ' ') FROM check_gateway_pools()}, 'worker fails', 'the doctor, too');
    $main->shows(qq{SELECT count(*) FROM pg_locks WHERE pid = $pid}, '0', 'it holds nothing');
    # It tries again each second, and nothing could tell of that but the log, which must not.
    $main->value('SELECT pg_sleep(3)');
    $blocker->value('COMMIT');
    $app->shows_within(10, $problem, 'none', 'it goes on');
    $main->shows(pid_sql('app'), $pid, 'the same one');
    my @logged = slurp_file($node->logfile, $offset) =~ /LOG:  gateway_pool: a table or a row is locked/g;
    is(scalar @logged, 1, 'logged once');
    $blocker->end;
};

subtest 'end of the server' => sub {
    foreach my $mode ('fast', 'smart', 'immediate')
    {
        my @pids = all_pids($main);
        cmp_ok(scalar @pids, '>=', 2, "$mode stop: launcher and worker are there");
        $main->end;
        my $begin = time;
        $node->stop($mode);
        cmp_ok(time - $begin, '<', 5, 'it does not take long');
        gone(1, 'all are gone', @pids);
        $node->start;
        $main = PoolDatabase->new($node, 'postgres')->session;
        serves($main, 'app', 'served from the start on');
    }
    my @pids = all_pids($main);
    $node->kill9;
    gone(5, 'the postmaster is killed: all are gone', @pids);
    eval { $main->end };
    my ($out, $err);
    my $ran = IPC::Run::run([ 'postgres', '--single', '-D', $node->data_dir, 'postgres' ],
        '<', \"DROP DATABASE empty\n", '>', \$out, '2>', \$err);
    ok($ran, 'single-user mode') || diag($err);
    unlike($err, qr/ERROR/, 'a command on a database');

    my @pg_ctl = ('pg_ctl', '-w', '-D', $node->data_dir, '-l', $node->logfile);
    $node->command_ok([ @pg_ctl, '-o', '-b', 'start' ], 'binary upgrade');
    is($node->safe_psql('postgres', "SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'gateway_pool %'"), '0', 'no process of ours');
    $node->command_ok([ @pg_ctl, 'stop' ], 'stopped');
    $node->start;
    $main = PoolDatabase->new($node, 'postgres')->session;
    serves($main, 'app', 'served from the start on');
    $main->end;
    $node->stop;
};

subtest 'too few processes' => sub {
    # Beside the launcher there is that of logical replication.
    my $few = start_node('few', conf => "gateway_pool.default_entitlement = on\nmax_worker_processes = 3");
    my $session = PoolDatabase->new($few, 'postgres')->session;
    my ($one, $two) = map { PoolDatabase->create_with_host($few, $_) } qw(one two);
    $_->value('CREATE EXTENSION gateway_pool') foreach $one, $two;
    serves($session, 'one', 'one of two is served');
    $two->shows_within(5, 'SELECT problem, detail FROM check_gateway_pools()',
        'worker not running|It is wanted: no background worker is free: raise max_worker_processes.', 'the doctor says why not the other');
    works_soon($session, 'DROP DATABASE one', 'DROP DATABASE');
    $session->shows_within(7, $served, 'two', 'the other is when a process is free');
    $two->shows('SELECT * FROM check_gateway_pools()', '', 'all is well');
    my @warnings = slurp_file($few->logfile) =~ /WARNING:  no background worker is free/g;
    is(scalar @warnings, 1, 'logged once');
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
    serves($session, 'app', 'served on the primary');
    $primary->backup('backup');

    my $standby = PostgreSQL::Test::Cluster->new('standby');
    $standby->init_from_backup($primary, 'backup', has_streaming => 1);
    $standby->start;
    my $reader = PoolDatabase->new($standby, 'postgres')->session;
    $reader->shows_within(5, $served, 'app', 'served on the standby');
    $reader->shows("SELECT query FROM pg_stat_activity WHERE backend_type = 'gateway_pool worker'", 'standby: probing', 'as one');

    $session->value('CREATE DATABASE copy TEMPLATE app');
    $replayed->($standby);
    $reader->shows($served, 'app', 'nobody tells of a database that is replayed');
    PoolDatabase->new($standby, 'copy')->run("SELECT pick_healthy_gateway('$pool')");
    serves($reader, 'app copy', 'but the first to pick there');
    $reader->fails('DROP DATABASE app', '25006', 'refused on a standby');
    $session->value('DROP DATABASE copy');
    $replayed->($standby);
    serves($reader, 'app', 'DROP DATABASE is replayed');
    $reader->shows_within(3, q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'gateway_pool launcher'}, '1', 'the launcher goes on');
    $there->value('SELECT uninstall_gateway_pools()');
    $replayed->($standby);
    serves($reader, '-', 'gone when uninstalled on the primary');
    $there->value('SELECT install_gateway_pools()');
    $replayed->($standby);
    PoolDatabase->new($standby, 'app')->run("SELECT pick_healthy_gateway('$pool')");
    serves($reader, 'app', 'back when installed');

    my $pid = $reader->value(pid_sql('app'));
    $standby->promote;
    $reader->shows_within(5, "SELECT query FROM pg_stat_activity WHERE pid = $pid", 'probing', 'promoted: the same goes on');
    works_soon($reader, 'CREATE DATABASE copy TEMPLATE app', 'CREATE DATABASE');
    serves($reader, 'app copy', 'both are served');
    $_->end foreach $session, $reader;
    $standby->stop;
    $primary->stop;
};

done_testing();
