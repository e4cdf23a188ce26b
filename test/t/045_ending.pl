# Launcher and worker end when requested, whatever they wait for, and whatever code of a
# table's owner they run: for example, a trigger that catches every ERROR and continues.
# Code that cannot be canceled ends its worker; the next worker skips that table for a
# while, and probes of other gateways continue.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;
use Patience qw(awakes is_prompt prompt soon);
use Peers;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);
use WatchedDatabase qw(start_watching_node gateway_id);

my $peers = Peers->new;
my $node = start_watching_node('main', conf => "max_prepared_transactions = 2\nlog_min_messages = log");
my $db = WatchedDatabase->create($node);
my ($steady, $failing) = ($peers->start('http', 200), $peers->start('open'));

# The time limit of a write, with a second for canceling it; then the next worker has to
# start, and to read the probes.
my $limit = 3;
my $restart = 3;

$db->value('CREATE ROLE owner LOGIN');
$db->value("ALTER TABLE $_ OWNER TO owner") foreach split /\n/, $db->value(
    q{SELECT tablename FROM pg_tables WHERE schemaname = 'public'});
$db->value('GRANT CREATE ON SCHEMA public TO owner');
$db->add_gateways(1, 2);
$db->probe(1, $steady, 'http');
$db->probe(2, $failing);
$db->waits_for_event($_, 'unknown healthy probe up') foreach 1, 2;

my $owner = $db->as('owner');

# Code that never ends, as far as its author can achieve that.
my $catch = 'EXCEPTION WHEN query_canceled OR assert_failure OR others THEN NULL; END';
my %forever = (
    sleeps => "LOOP BEGIN PERFORM pg_sleep(1000); $catch; END LOOP;",
    spins => "LOOP BEGIN LOOP NULL; END LOOP; $catch; END LOOP;",
    waits => "SET LOCAL lock_timeout = 0; LOOP BEGIN PERFORM pg_advisory_xact_lock(45); $catch; END LOOP;",
    queries => "LOOP BEGIN PERFORM count(*) FROM pg_class a, pg_class b, pg_class c; $catch; END LOOP;");

sub trigger_sql
{
    my ($table, $body, $when) = @_;
    return "CREATE OR REPLACE FUNCTION forever() RETURNS trigger LANGUAGE plpgsql AS \$\$ BEGIN $body RETURN NULL; END \$\$;
        CREATE TRIGGER forever $when ON $table FOR EACH ROW EXECUTE FUNCTION forever()";
}

sub drop_sql { return 'DROP FUNCTION IF EXISTS forever() CASCADE' }

sub gone
{
    my ($seconds, $label, @pids) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;
    return prompt($seconds, $label, sub { ok(soon(sub { !grep { kill 0, $_ } @pids }), $label) });
}

# Waits until the worker runs that code.
sub is_stuck
{
    my ($label, $doing) = @_;

    $doing //= 'recording changes of health';
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    return $db->waits_for("EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'gateway_pool worker' AND state = 'active'
        AND query = '$doing' AND clock_timestamp() - xact_start > '200 ms')", $label);
}

# Makes the worker write to both tables.
sub change
{
    my ($up) = $db->value(sprintf q{SELECT status = 'healthy' FROM gateway_status WHERE "gatewayId" = '%s'}, gateway_id(2)) eq 't';

    $up ? $failing->stop : $failing->restart;
    return;
}

sub is_written
{
    my ($label) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;
    return $db->waits_for(q{EXISTS (SELECT FROM gateway_pool_workers WHERE "queueLength" = 0 AND problem IS NULL AND targets = 2)
        AND NOT EXISTS (SELECT FROM gateway_status s JOIN gateway_health h USING ("gatewayId") WHERE s.status <> h.status)}, $label);
}

foreach my $how (sort keys %forever)
{
    subtest "a trigger that $how: pg_terminate_backend" => sub {
        my $pid = $db->worker('pid');
        my $holder = $db->session;

        $holder->value('SELECT pg_advisory_lock(45)');
        $owner->value(trigger_sql('gateway_health', $forever{$how}, 'AFTER INSERT OR UPDATE'));
        change();
        is_stuck('the trigger runs');
        $db->value("SELECT pg_terminate_backend($pid)");
        gone(1, 'the worker ends at once', $pid);
        $owner->value(drop_sql());
        $holder->end;
        is_written('the next worker records, after the trigger is dropped');
    };
}

subtest 'a BEFORE trigger on another table' => sub {
    my $pid = $db->worker('pid');

    $owner->value(trigger_sql('gateway_health_events', $forever{sleeps}, 'BEFORE INSERT'));
    change();
    is_stuck('the trigger runs');
    $db->value("SELECT pg_terminate_backend($pid)");
    gone(1, 'the worker ends at once', $pid);
    $owner->value(drop_sql());
    is_written('the next worker records');
};

# A restricted operation cannot queue deferred triggers.
subtest 'a deferred trigger' => sub {
    my $pid = $db->worker('pid');

    $owner->value(trigger_sql('gateway_health', $forever{sleeps}, 'AFTER INSERT OR UPDATE') =~ s/(CREATE) (TRIGGER.*) FOR EACH/$1 CONSTRAINT $2 DEFERRABLE INITIALLY DEFERRED FOR EACH/r);
    change();
    $db->waits_for(q{EXISTS (SELECT FROM gateway_pool_workers WHERE problem LIKE 'gateway_health: cannot fire deferred trigger%')}, 'it is refused, and reported');
    is($db->worker('pid'), $pid, 'the worker is the same');
    $owner->value(drop_sql());
    is_written('the worker records after the trigger is dropped');
};

# Canceling a statement that takes too long is an ERROR, unless it is caught.
subtest 'a trigger that can be canceled' => sub {
    my $pid = $db->worker('pid');

    $owner->value(trigger_sql('gateway_health', 'PERFORM pg_sleep(1000);', 'AFTER INSERT OR UPDATE'));
    change();
    $db->waits_for(q{EXISTS (SELECT FROM gateway_pool_workers WHERE problem = 'gateway_health: canceling statement due to statement timeout')}, 'gateway_pool_workers names the table');
    is($db->worker('pid'), $pid, 'the same worker continues');
    $owner->value(drop_sql());
    is_written('the worker records after the trigger is dropped');
};

# Pauses between attempts to run code that ends a worker; other gateways are probed meanwhile.
subtest 'a trigger that cannot be canceled' => sub {
    my $offset = -s $node->logfile;
    my (%tried, @at, $last, $longest, $looked, $accepted);

    $owner->value(trigger_sql('gateway_health', $forever{sleeps}, 'AFTER INSERT OR UPDATE'));
    change();
    ($accepted, $looked, $longest) = ($steady->count->{accepted}, time, 0);
    soon(sub {
        my $now = $steady->count->{accepted};
        my $try = $db->value(q{SELECT pid || ' ' || extract(epoch FROM xact_start) FROM pg_stat_activity
            WHERE backend_type = 'gateway_pool worker' AND query = 'recording changes of health' AND clock_timestamp() - xact_start > '200 ms'});

        ($accepted, $looked) = ($now, time) if $now != $accepted;
        $longest = time - $looked if time - $looked > $longest;
        if ($try ne '')
        {
            ($last, my $at) = split / /, $try;
            push @at, $at unless $tried{$last}++;
        }
        return @at >= 3;
    });
    is(scalar(@at), 3, 'the write is attempted again');
    is(scalar(keys %tried), 3, 'each time by another worker');
    cmp_ok($at[1] - $at[0], '>', $limit + 3, 'after a pause');
    cmp_ok($at[2] - $at[1], '>', 1.4 * ($at[1] - $at[0] - $limit) + $limit, 'after a longer pause');
    is_prompt($limit + $restart, $longest, 'other gateways are probed meanwhile');
    diag(sprintf 'attempts after %.1f s and %.1f s; the longest time without a probe: %.1f s', $at[1] - $at[0], $at[2] - $at[1], $longest);

    my $said = 'gateway_health is not written for now: its triggers took too long, and could not be canceled';
    $db->waits_for("EXISTS (SELECT FROM gateway_pool_workers WHERE state = 'running' AND pid <> $last AND problem = '$said')", 'gateway_pool_workers names the table and the reason');
    $db->shows("SELECT detail FROM check_gateway_pools() WHERE problem = 'worker fails'", $said, 'check_gateway_pools() reports it');
    my $pid = $db->worker('pid');
    $db->value("SELECT pg_terminate_backend($pid)");
    gone(1, 'a worker that skips the table ends at once', $pid);
    $db->waits_for("EXISTS (SELECT FROM gateway_pool_workers WHERE state = 'running' AND pid <> $pid AND problem = '$said')", 'the next worker skips it, too');
    $owner->value(drop_sql());
    is_written('the table is written after the trigger is dropped');
    $db->shows(q{SELECT count(*) FROM check_gateway_pools() WHERE problem LIKE 'worker %'}, 0, 'check_gateway_pools() reports no problem after that');
    like(slurp_file($node->logfile, $offset), qr/LOG:  gateway_pool worker for database "app" has a problem: gateway_health is not written for now/, 'the log has the problem');
    unlike(slurp_file($node->logfile, $offset), qr/was terminated by signal/, 'the server does not crash');
};

# The process that reads the gateways runs a cast of the owner's from a type of the owner's.
subtest 'code that reading runs' => sub {
    my $type = $db->value(q{SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 'gateways_v2'::regclass AND attname = 'heartbeat'});
    my $said = 'the tables are not read for now: that took too long, and could not be canceled';
    my $pid;

    $db->beat(1, 600);
    $owner->value("CREATE TYPE beat AS (at timestamptz);
        CREATE FUNCTION beat_at(b beat) RETURNS timestamptz LANGUAGE plpgsql AS 'BEGIN RETURN b.at; END';
        CREATE CAST (beat AS timestamptz) WITH FUNCTION beat_at(beat);
        ALTER TABLE gateways_v2 ALTER heartbeat TYPE beat USING row(heartbeat)::beat;
        CREATE OR REPLACE FUNCTION beat_at(b beat) RETURNS timestamptz LANGUAGE plpgsql AS \$\$ BEGIN $forever{spins} END \$\$");
    is_stuck('the cast runs', 'reading gateways');
    $pid = $db->worker('pid');
    $db->value("SELECT pg_terminate_backend($pid)");
    gone(1, 'the worker ends at once', $pid);
    $db->waits_for("EXISTS (SELECT FROM gateway_pool_workers WHERE state = 'running' AND problem = '$said')", 'the tables are not read, and that is reported');
    $db->shows("SELECT detail FROM check_gateway_pools() WHERE problem = 'worker fails'", $said, 'check_gateway_pools() reports it');
    $owner->value("ALTER TABLE gateways_v2 ALTER heartbeat TYPE $type USING NULL; DROP TYPE beat CASCADE");
    is_written('the worker continues after the type is dropped');
};

# Reported heartbeats are recorded at shutdown, if that is fast.
subtest 'a fast shutdown' => sub {
    my %at_work = (
        'between two transactions' => sub { $db->report(1, 3600); $_[0]->() },
        'within one' => sub { $_[0]->(); change(); is_stuck('the trigger runs') });

    foreach my $when (sort keys %at_work)
    {
        foreach my $how (qw(sleeps spins))
        {
            $at_work{$when}->(sub { $owner->value(trigger_sql('gateway_health', $forever{$how}, 'AFTER INSERT OR UPDATE')) });
            prompt(5, "$when, a trigger that $how: it is fast", sub { $node->stop('fast') });
            $node->start;
            $db->reconnect;
            $owner->value(drop_sql());
            is_written('changes are recorded after the trigger is dropped');
        }
    }
};

# A prepared transaction keeps its locks without a session that could be terminated.
subtest 'pg_database is locked' => sub {
    my $session = $db->session;
    my $launcher = $session->value(q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'gateway_pool launcher'});
    my $worker = $session->worker('pid');
    my $processes = sub {
        my $postmaster = (split /\n/, slurp_file($node->data_dir . '/postmaster.pid'))[0];
        my @pids = split ' ', slurp_file("/proc/$postmaster/task/$postmaster/children");
        return grep { my $pid = $_; (eval { slurp_file("/proc/$pid/cmdline") } // '') =~ /gateway_pool launcher/ } @pids;
    };

    $session->value(q{BEGIN; LOCK TABLE pg_database IN ACCESS EXCLUSIVE MODE; PREPARE TRANSACTION 'lock'});
    $session->value("SELECT pg_terminate_backend($worker)");
    gone(1, 'the worker ends', $worker);
    # The launcher looks again and again, and would start another worker.
    awakes($launcher, 3);
    $session->shows(q{SELECT count(*) FROM pg_locks WHERE NOT granted}, 0, 'no process waits for the lock');
    $session->value("SELECT pg_terminate_backend($launcher)");
    gone(1, 'the launcher ends', $launcher);
    $session->value(q{ROLLBACK PREPARED 'lock'});
    $session->waits_for(q{2 = (SELECT count(*) FROM gateway_pool_workers WHERE state = 'running')}, 'both are back');

    $session->value(q{BEGIN; LOCK TABLE pg_database IN ACCESS EXCLUSIVE MODE; PREPARE TRANSACTION 'lock'});
    # New connections wait from now on.
    prompt(5, 'a fast shutdown is fast', sub { $node->stop('fast') });
    $node->start;
    ok(soon(sub { $processes->() == 1 }), 'the launcher runs after a start with the lock');
    prompt(5, 'another fast shutdown is fast', sub { $node->stop('fast') });
};

done_testing();
