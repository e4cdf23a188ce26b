# What a session publishes late never replaces what is newer: the heartbeat of a commit
# whose callback is held up, and the rows of a query that has ended, while other sessions
# change the same row in ways that publish nothing.  An abort that is late holds up no other
# session.  test/late.c holds up the session.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;
use Patience qw(soon);
use PoolDatabase qw(compile_library start_node);
use PostgreSQL::Test::Utils;
use Test::More;
use WatchedDatabase qw(gateway_id pool_id $acme);

my $node = start_node('main', conf => "max_prepared_transactions = 4\ngateway_pool.default_entitlement = on\ngateway_pool.worker = off");
my $library = compile_library('late.c');
my $db = WatchedDatabase->create($node);
my $dir = PostgreSQL::Test::Utils::tempdir;
my $count = 0;

$db->value("CREATE FUNCTION be_late(moment text, file text) RETURNS void LANGUAGE C AS '$library'");
$db->value(qq{INSERT INTO gateways_v2 ("orgId", name) SELECT '$acme', 'many ' || n FROM generate_series(1, 2000) n});

sub fresh { return sprintf q{UPDATE gateways_v2 SET heartbeat = clock_timestamp(), "heartbeatTTL" = 3600 WHERE id = '%s'}, gateway_id($_[0]) }
sub failed { return sprintf q{UPDATE gateways_v2 SET heartbeat = clock_timestamp(), "heartbeatTTL" = 0 WHERE id = '%s'}, gateway_id($_[0]) }
sub pick { return sprintf q{SELECT name FROM gateways_v2 WHERE id = pick_healthy_gateway('%s', null_if_none => true)}, pool_id($_[0]) }
my $many = q{UPDATE gateways_v2 SET heartbeat = clock_timestamp(), "heartbeatTTL" = 3600 WHERE name LIKE 'many %'};

# Starts statements in a session, without waiting for their end.
sub begin
{
    my ($session, $sql) = @_;
    return $session->{session}->query_until(qr/begun/, "\\echo begun\n$sql;\n");
}

# Starts statements in a new session, which is held up at the next moment of a kind;
# returns when it is.
sub begin_late
{
    my ($moment, $sql) = @_;
    my $late = $db->session;

    $late->{file} = "$dir/" . ++$count;
    $late->value("SELECT be_late('$moment', '$late->{file}')");
    begin($late, $sql);
    soon(sub { -e "$late->{file}.reached" }) or die 'the session is not held up';
    return $late;
}

# Lets the late session end, and waits until it has.
sub release
{
    my ($late) = @_;

    append_to_file($late->{file}, '');
    $late->run('SELECT 1');
    return $late->end;
}

# Runs statements in a session of its own until they have ended, or wait for another session.
sub run_or_wait
{
    my ($sql) = @_;
    my $session = $db->session;
    my $backend = $session->value('SELECT pg_backend_pid()');

    begin($session, $sql);
    $db->shows_within(60, "SELECT state = 'idle' OR wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = $backend", 't', 'other statements end or wait');
    return $session;
}

sub finish
{
    my ($session, $label) = @_;

    $session->works('SELECT 1', $label);
    return $session->end;
}

# Adds a gateway and a pool of it.
sub add
{
    my ($number) = @_;

    $db->add_gateways($number);
    return $db->add_pool($number, $number);
}

# A late commit of "failed", and a later one of a fresh heartbeat that publishes nothing.
my $number = 0;
foreach (
    [ 'a bulk transaction, in its queue', sub { "BEGIN; $_[0]; $many; COMMIT" } ],
    [ 'a bulk transaction, beyond its queue', sub { "BEGIN; $many; $_[0]; COMMIT" } ],
    [ 'a prepared transaction', sub { "BEGIN; $_[0]; PREPARE TRANSACTION 'p'; COMMIT PREPARED 'p'" } ])
{
    my ($what, $sql) = @$_;

    foreach my $savepoint ('', 'SAVEPOINT s')
    {
        subtest join(', after ', $what, $savepoint ? 'a savepoint' : ()) => sub {
            add(++$number);
            $db->value(fresh($number));
            $db->shows(pick($number), "g$number", 'the gateway is picked');
            my $late = begin_late('commit', "BEGIN; $savepoint; " . failed($number) . '; COMMIT');
            my $other = run_or_wait($sql->(fresh($number)));
            $db->run(pick($number));
            release($late);
            finish($other, 'the other statements succeed');
            $db->shows(pick($number), "g$number", 'the gateway is picked, as the last commit says');
            $db->session->shows(pick($number), "g$number", 'in a new session, too');
        };
    }
}

# A late commit, and a slot that is made after a later commit had no slot to publish to.
foreach (
    [ 'an update', sub { fresh($_[0]) } ],
    [ 'a deletion and insertion', sub {
        "BEGIN; CREATE TEMP TABLE saved ON COMMIT DROP AS SELECT * FROM gateways_v2 WHERE name = 'g$_[0]'; DELETE FROM gateways_v2 WHERE name = 'g$_[0]';"
          . qq{ UPDATE saved SET heartbeat = clock_timestamp(), "heartbeatTTL" = 3600; INSERT INTO gateways_v2 SELECT * FROM saved; }
          . q{INSERT INTO gateway_pool_memberships ("gatewayPoolId", "gatewayId") SELECT '} . pool_id($_[0]) . q{', id FROM saved; COMMIT} } ])
{
    my ($what, $sql) = @$_;

    foreach (
        [ 'a pick', \&pick ],
        [ 'a report', sub { "SELECT report_gateway_failure('" . gateway_id($_[0]) . "')" } ])
    {
        my ($maker, $first) = @$_;

        subtest "$what, and $maker makes the slot" => sub {
            add(++$number);
            my $late = begin_late('commit', failed($number));
            $db->value($sql->($number));
            my $other = run_or_wait($first->($number));
            $db->run(pick($number));
            release($late);
            finish($other, "$maker succeeds");
            $db->shows(pick($number), "g$number", 'the gateway is picked, as the last commit says');
        };
    }
}

# A transaction that aborts publishes nothing.
subtest 'a late abort' => sub {
    add(++$number);
    my $late = begin_late('abort', 'BEGIN; ' . failed($number) . '; ROLLBACK');
    foreach (
        [ 'a bulk transaction', $many ],
        [ 'a prepared transaction', 'BEGIN; ' . fresh($number) . q{; PREPARE TRANSACTION 'p'; COMMIT PREPARED 'p'} ],
        [ 'a pick that makes a slot', pick($number) ])
    {
        my ($what, $sql) = @$_;
        my $other = $db->session;

        $other->works("SET lock_timeout = '5s'; $sql", "$what does not wait for it");
        $other->end;
    }
    release($late);
};

# Rows that were read before a commit, and are published after a later reader's.
foreach (
    [ 'a prepared transaction', sub { 'BEGIN; ' . fresh($_[0]) . q{; PREPARE TRANSACTION 'p'; COMMIT PREPARED 'p'} } ],
    [ 'an update', sub { fresh($_[0]) } ])
{
    my ($what, $sql) = @$_;

    subtest "late reading, and $what" => sub {
        add(++$number);
        $db->value(failed($number));
        my $prepared = $what =~ /prepared/;
        $db->shows(pick($number), '', 'the gateway is not picked') if $prepared;
        my $late = begin_late('read', 'SELECT count(*) FROM gateway_status');
        $db->value($sql->($number));
        $db->shows(pick($number), "g$number", 'it is, after the commit');
        release($late);
        $db->shows(pick($number), "g$number", 'and after what was read before has been published');
    };
}

# A slot that was made, and whose row is not published yet.
subtest 'a warning, and a slot that is new' => sub {
    add(++$number);
    $db->value(fresh($number));
    my $late = begin_late('second read', pick($number));
    $node->psql('app', sprintf(q{DELETE FROM gateway_pool_memberships WHERE "gatewayId" = '%s'}, gateway_id($number)), stderr => \my $warnings);
    like($warnings, qr/WARNING:  gateway pool "\S+" has lost its last eligible member/, 'the pool had an eligible member before');
    release($late);
};

subtest 'late reading, and what the worker has recorded since' => sub {
    $node->append_conf('postgresql.conf', 'gateway_pool.startup_grace = 1d');
    $node->reload;
    $db->shows_soon('SHOW gateway_pool.startup_grace', '1d', 'the grace is as long as the test');
    add(++$number);
    $db->value(sprintf q{UPDATE gateways_v2 SET heartbeat = clock_timestamp() - interval '1 hour', "heartbeatTTL" = 60 WHERE id = '%s'}, gateway_id($number));
    $db->value(sprintf q{INSERT INTO gateway_health ("gatewayId", status) VALUES ('%s', 'unhealthy')}, gateway_id($number));
    my $late = begin_late('read', 'SELECT count(*) FROM gateway_status');
    $db->value(sprintf q{UPDATE gateway_health SET status = 'healthy', "changedAt" = clock_timestamp() WHERE "gatewayId" = '%s'}, gateway_id($number));
    $db->value('SELECT count(*) FROM gateway_status');
    $db->shows(pick($number), "g$number", 'an expired gateway is picked in the startup grace, because it was healthy last');
    release($late);
    $db->shows(pick($number), "g$number", 'and after what was read before has been published');
};

$db->end;
$node->stop;
done_testing();
