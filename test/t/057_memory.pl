# What is bad is not forgotten: after a restart, a crash or a promotion, a verdict that
# was recorded counts until the server's own probes decide, and pins nothing that is no
# longer configured.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;
use Patience qw(is_prompt soon);
use Peers;
use PostgreSQL::Test::Cluster;
use Test::More;
use Time::HiRes qw(time);
use WatchedDatabase qw(start_watching_node gateway_id pool_id $acme);

my $peers = Peers->new;
my $node = start_watching_node('main', allows_streaming => 1, conf => 'gateway_pool.startup_grace = 180');
my $db = WatchedDatabase->create($node);
my ($good, $bad) = map { $peers->start('open') } 1, 2;
my $number = 0;

# Adds a pool of two gateways with fresh heartbeats and probes, and returns the number of
# both; the second is probed at an address of its own, and falls.  Nothing but the verdict
# speaks against it.
sub pool_of_good_and_bad
{
    my ($interval) = @_;
    my $often = "probe_interval => '$interval', timeout => '1 s', rise => 1, fall => 1";
    my ($first, $second) = ($number + 1, $number + 2);

    $bad->restart;
    $db->add_gateways($first, $second);
    $db->add_pool($second, $first, $second);
    $db->beat($_, 3600) foreach $first, $second;
    $db->probe($first, $good, 'tcp', $often);
    $db->probe($second, $bad, 'tcp', $often);
    $db->waits_for(verdict_is($second, 'up'), "g$second: up");
    $bad->stop;
    $db->value("SELECT probe_gateway('" . gateway_id($second) . "')");
    $db->waits_for(verdict_is($second, 'down'), "g$second: down");
    is(picks_of_bad($db), 0, 'it is not picked') if ($number = $second);
    return $second;
}

sub verdict_is
{
    my ($gateway, $verdict) = @_;
    return q{'} . $verdict . q{' = (SELECT "probeVerdict" FROM gateway_health WHERE "gatewayId" = '} . gateway_id($gateway) . q{')};
}

# Returns how many of 200 picks of the last pool return the bad gateway.
sub picks_of_bad
{
    my ($where) = @_;
    return $where->value(sprintf q{SELECT count(*) FROM generate_series(1, 200) WHERE pick_healthy_gateway('%s', null_if_none => true) = '%s'},
        pool_id($number), gateway_id($number));
}

# Restarts the server, in the way given, and connects again.  The worker commits
# asynchronously: its rows survive a crash after the next commit of a session.
sub restart
{
    my ($mode, $meanwhile) = @_;
    $db->value(q{SELECT pg_logical_emit_message(true, '', '')});
    $node->stop($mode);
    $meanwhile->() if $meanwhile;
    $node->start;
    $db->reconnect;
    return;
}

foreach my $interval ('2 s', '30 s', '1 h')
{
    subtest "interval $interval" => sub {
        my $gateway = pool_of_good_and_bad($interval);
        my $begun;

        $db->shows(q{SELECT "probeTarget", "probeVerdict", falls, "lastFallAt" > now() - interval '1 min' FROM gateway_health WHERE "gatewayId" = '}
              . gateway_id($gateway) . q{'}, "tcp://$bad->{target}|down|1|t", 'the row names the target');
        foreach my $mode ('fast', 'immediate')
        {
            my $picks = 0;
            my $rounds = 0;

            restart($mode);
            soon(sub {
                $picks += picks_of_bad($db);
                $rounds++;
                return $db->value(q{SELECT count(*) FROM gateway_probe_status WHERE verdict = 'down' AND "lastProbeAt" > pg_postmaster_start_time()
                    AND "gatewayId" = '} . gateway_id($gateway) . q{'});
            });
            is($picks, 0, "$mode: zero picks in $rounds rounds until the first probe");
            is(picks_of_bad($db), 0, "$mode: none after the first probe");
            $db->shows(q{SELECT count(*) FROM gateway_health_events WHERE "occurredAt" > pg_postmaster_start_time() AND "gatewayId" = '}
                  . gateway_id($gateway) . q{'}, '0', "$mode: no event");
        }

        # The first probe comes within seconds, and decides.
        restart('immediate', sub { $bad->restart });
        $begun = time;
        $db->waits_for(verdict_is($gateway, 'up'), 'the first probe decides');
        is_prompt(25, time - $begun, 'and comes soon');
        cmp_ok(picks_of_bad($db), '>', 50, 'it is picked');
    };
}

subtest 'falls are remembered' => sub {
    my $gateway = pool_of_good_and_bad('2 s');

    foreach (1, 2)
    {
        $bad->restart;
        $db->waits_for(verdict_is($gateway, 'up'), 'it is up');
        $bad->stop;
        $db->waits_for(verdict_is($gateway, 'down'), 'it falls');
        restart('immediate');
    }
    $bad->restart;
    $db->waits_for_event($gateway, 'unhealthy degraded keeps falling');
    $db->shows(q{SELECT falls FROM gateway_probe_status WHERE "gatewayId" = '} . gateway_id($gateway) . q{'}, '3', 'three falls');
};

subtest 'nothing is pinned' => sub {
    my $other = $peers->start('open');
    my %change = (
        cleared => sub { return "SELECT clear_gateway_probe('" . gateway_id($_[0]) . "')" },
        moved => sub { return WatchedDatabase::probe_sql($_[0], $other, 'tcp', q{probe_interval => '1 h', timeout => '1 s'}) });

    foreach my $how (sort keys %change)
    {
        # With the worker, in the session that changes it and in another.
        my $sql = $change{$how}->(pool_of_good_and_bad('1 h'));
        my $session = $db->session;

        is(picks_of_bad($session), 0, 'another session does not pick it');
        $db->value("BEGIN; $sql; " . sprintf q{SELECT pick_healthy_gateway('%s'); ROLLBACK}, pool_id($number));
        is(picks_of_bad($db), 0, "$how, picked and rolled back: it is still down");
        is(picks_of_bad($session), 0, "$how and rolled back: for others, too");
        $db->value($sql);
        cmp_ok(picks_of_bad($session), '>', 50, "$how: it is picked at once");
        $session->end;

        # Without a worker, after a restart.
        $sql = $change{$how}->(pool_of_good_and_bad('1 h'));
        $node->append_conf('postgresql.conf', 'gateway_pool.worker = off');
        restart('immediate');
        is(picks_of_bad($db), 0, 'without a worker, what was recorded counts');
        $db->value($sql);
        cmp_ok(picks_of_bad($db), '>', 50, "$how without a worker: it is picked at once");
        restart('immediate');
        cmp_ok(picks_of_bad($db), '>', 50, "$how, and restarted: it is picked");
        $node->append_conf('postgresql.conf', 'gateway_pool.worker = on');
        restart('fast');
    }
};

subtest 'an address that changes' => sub {
    my ($up, $down) = map { $peers->start('open') } 1, 2;
    my $status = sub { return q{(SELECT status FROM gateway_status WHERE "gatewayId" = '} . gateway_id($number) . q{')} };
    my $begun;

    $down->stop;
    $number++;
    $db->add_gateways($number);
    foreach ([ $up, 'healthy' ], [ $down, 'unhealthy' ], [ $up, 'healthy' ])
    {
        my ($peer, $expected) = @$_;

        $begun = time;
        $db->probe($number, $peer, 'tcp', q{probe_interval => '1 h', timeout => '1 s', rise => 1, fall => 1});
        # It is judged by the new address, or not at all.
        soon(sub { $db->value('SELECT ' . $status->()) =~ /^(?:unknown|$expected)$/ }, 5);
        $db->waits_for($status->() . " = '$expected'", "the address changes: $expected");
        is_prompt(25, time - $begun, 'it is known');
    }
};

# A standby without a worker of its own: its slots are made before the primary records.
subtest 'standby and promotion' => sub {
    my $gateway = pool_of_good_and_bad('1 h');
    my $reported = $gateway + 1;
    my $standby = PostgreSQL::Test::Cluster->new('standby');
    my $there;

    $bad->restart;
    $db->value("SELECT probe_gateway('" . gateway_id($gateway) . "')");
    $db->add_gateways($reported);
    $db->add_pool($reported, $reported);
    $number = $gateway;
    $node->backup('backup');
    $standby->init_from_backup($node, 'backup', has_streaming => 1);
    $standby->append_conf('postgresql.conf', 'gateway_pool.worker = off');
    $standby->start;
    $there = bless { %{ PoolDatabase->new($standby, 'app')->session } }, 'WatchedDatabase';
    my $picks_reported = sprintf q{pick_healthy_gateway('%s', null_if_none => true) IS NOT NULL}, pool_id($reported);

    cmp_ok(picks_of_bad($there), '>', 50, 'the standby picks a gateway that is up');
    $there->shows("SELECT $picks_reported", 'f', 'and none without evidence');

    $bad->stop;
    $db->value("SELECT probe_gateway('" . gateway_id($gateway) . "')");
    $db->waits_for(verdict_is($gateway, 'down'), 'the primary records that it is down');
    $db->report($reported, 600);
    $db->waits_for_event($reported, 'unknown healthy heartbeat fresh');
    $db->value(q{SELECT pg_logical_emit_message(true, '', '')});
    $node->wait_for_catchup($standby, 'replay', $node->lsn('insert'));
    ok(soon(sub { picks_of_bad($there) == 0 }), 'the standby stops to pick it');
    $there->waits_for($picks_reported, 'and picks one whose heartbeat was reported to the primary');

    $node->stop('immediate');
    $standby->promote;
    is(picks_of_bad($there), 0, 'after promotion, zero picks of it');
    $there->shows("SELECT $picks_reported", 't', 'and the other is picked');
    $standby->append_conf('postgresql.conf', 'gateway_pool.worker = on');
    $standby->reload;
    $there->waits_for(q{EXISTS (SELECT FROM gateway_probe_status WHERE verdict = 'down' AND "lastProbeAt" > pg_postmaster_start_time() AND "gatewayId" = '}
          . gateway_id($gateway) . q{')}, 'its own probe says so, too');
    is(picks_of_bad($there), 0, 'still zero picks');
    is($there->events(0, $gateway), "g$gateway unknown healthy heartbeat fresh\ng$gateway healthy unhealthy probe down: refused\n"
          . "g$gateway unhealthy healthy heartbeat fresh\ng$gateway healthy unhealthy probe down: refused", 'no event of the promotion');
    is($there->events(0, $reported), "g$reported unknown healthy heartbeat fresh", 'nor of the reported one');
    $there->end;
    $standby->stop;
};

is($peers->end, 0, 'the peers end');
done_testing;
