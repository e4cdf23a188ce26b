# Out of memory at any allocation in what the worker and sessions keep: an error, and
# after it all is as if it had not been.
#
# test/faults.c makes the allocations of chosen memory contexts fail.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;
use Patience qw(freeze soon);
use Peers qw(tls_material nginx);
use PoolDatabase qw(start_node compile_library);
use PostgreSQL::Test::Utils;
use Probed;
use Test::More;
use Time::HiRes qw(sleep);

my $dir = PostgreSQL::Test::Utils::tempdir;
my $peers = Peers->new;
my $tls = tls_material($dir);
my $nginx = nginx($dir, tls => $tls);
my ($ca, $other_ca) = map { slurp_file($tls->{$_}) } qw(ca other_ca);
my $library = compile_library('faults.c');
my $node = start_node('main', conf => join "\n", "shared_preload_libraries = 'gateway_pool, $library'", 'gateway_pool.default_entitlement = on',
    "gateway_pool.probe_denied_networks = 'fe80::/10'", 'gateway_pool.probe_interval = 100ms', 'gateway_pool.probe_timeout = 100ms', 'gateway_pool.probe_fall = 1',
    'gateway_pool.probe_rise = 1', 'gateway_pool.max_pools_per_org = -1');
my $db = Probed->of_acme($node);
my $worker = $db->worker;
my @hosts = map { "host $_" } 1 .. 2;
my %peer = map { $_ => $peers->start('http', 200) } @hosts;

# Has allocations in the worker's memory fail, and returns a pattern of the log.
sub plant
{
    my ($at, %also) = @_;

    $node->append_conf('postgresql.conf', join "\n", "faults.at = $at", map { "$_ = $also{$_}" } keys %also);
    # The postmaster would pass a reload on later.
    kill 'HUP', $worker;
    return qr/planted at $at: /;
}

# Ticks of processor time that the worker has used.
sub ticks
{
    my @fields = split / /, slurp_file("/proc/$worker/stat") =~ s/^.*\) //r;
    return $fields[11] + $fields[12];
}

subtest 'the worker takes in changed probes' => sub {
    my $failures = 0;
    my $log;

    $db->add(@hosts, 'verified');
    for (my $at = 1; ; $at++)
    {
        my $good = $at % 2;
        my $sql = join '', map { Probed::probe_sql($_, 'http', $peer{$_}{target}, path => "/$at", server_name => "$at.test") } @hosts;
        my $begun = -s $node->logfile;

        # It meets the changes and the fault at once.
        freeze($worker);
        $db->value("BEGIN;$sql" . Probed::probe_sql('verified', 'tls', "127.0.0.1:$nginx->{https}{name}", server_name => 'gw.test',
                ca_certificate => $good ? $ca : $other_ca) . 'COMMIT');
        my $planted = plant($at, 'gateway_pool.probe_concurrency' => $at + 4);
        kill 'CONT', $worker;

        my @left = soon(sub { !grep { $peer{$_}->count->{last} !~ m{^GET /$at HTTP/1.1\r\nHost: $at.test:} } @hosts }) ? () : 'requests';
        push @left, 'verdicts' unless soon(sub {
                my %known = $db->known;
                return $known{verified}[0] =~ ($good ? qr/^up$/ : qr/^down: tls chain/) && !grep { $known{$_}[0] ne 'up' } @hosts;
        });
        push @left, 'problem' unless soon(sub { $db->value('SELECT count(*) FROM gateway_pool_workers WHERE problem IS NOT NULL') eq '0' });
        push @left, 'worker' if $db->worker ne $worker;
        $log = slurp_file($node->logfile, $begun);
        last unless is("@left", '', "allocation $at: all is as set afterwards") && $log =~ $planted;
        $failures++;
    }
    cmp_ok($failures, '>=', 8, 'several allocations failed');
    unlike($log, qr/terminated by signal/, 'nothing crashed');
};

subtest 'the worker waits after an error in its probes' => sub {
    my @many = map { "many $_" } 1 .. 40;
    my $peer = $peers->start('open');
    my $begun = -s $node->logfile;

    plant(0);
    $db->add(@many);
    $db->value(join '', map { Probed::probe_sql($_, 'tcp', $peer->{target}) } @many);
    $db->comes_to(map { ($_ => [ 'up', 'healthy: probe up' ]) } @many);

    # The first allocation is that of the members of pools, when it reads the tables.
    my $planted = plant(-2);
    ok(soon(sub { $db->value(q{SELECT count(*) FROM gateway_pool_workers WHERE problem IS NULL AND "lastRoundAt" > clock_timestamp() - interval '1 s'}) eq '1' }), 'it runs');
    # It reads the tables once a second.
    my $round = q{SELECT "lastRoundAt" FROM gateway_pool_workers WHERE database = current_database()};
    my $first = $db->value($round);
    ok(soon(sub { $db->value("SELECT ($round) > timestamptz '$first' + interval '2 s'") eq 't' }), 'its rounds go on');
    $peer->stop;
    ok(soon(sub { slurp_file($node->logfile, $begun) =~ $planted }), 'an error has ended its probes');
    my $before = ticks();
    # A measured rate: the processor time that it takes.
    sleep 3;
    my $used = ticks() - $before;
    note("it uses $used ticks");
    cmp_ok($used, '<', 50, 'it uses hardly any processor time for three seconds');
    plant(0);
    $db->comes_to(map { ($_ => [ 'down: refused', 'unhealthy: probe down: refused' ]) } @many);
    is($db->worker, $worker, 'the worker is the same');
};

# The cache is made for 115 pools, and grows after that.
subtest 'a session fills its cache of pools' => sub {
    my $pools = 125;
    my $session = $db->session;

    $db->value(qq{
        DELETE FROM gateway_probes;
        SELECT record_gateway_heartbeat(id, '1 h') FROM gateways_v2 WHERE name = 'host 1';
        INSERT INTO gateway_pools (id, "orgId", name) SELECT lpad(i::text, 32, '0')::uuid, o.id, 'pool-' || i FROM generate_series(1, $pools) i, organizations o;
        INSERT INTO gateway_pool_memberships ("gatewayPoolId", "gatewayId") SELECT p.id, g.id FROM gateway_pools p, gateways_v2 g WHERE g.name = 'host 1'});
    $session->value(q{
        CREATE FUNCTION picks(OUT failed int, OUT wrong int) LANGUAGE plpgsql AS $$
        DECLARE
            pool uuid;
        BEGIN
            failed := 0;
            wrong := 0;
            FOR pool IN SELECT id FROM gateway_pools LOOP
                BEGIN
                    wrong := wrong + (pick_healthy_gateway(pool) IS DISTINCT FROM (SELECT id FROM gateways_v2 WHERE name = 'host 1'))::int;
                EXCEPTION WHEN out_of_memory THEN
                    failed := failed + 1;
                END;
            END LOOP;
        END $$;
        SET faults.context = 'gateway_pool pools'});
    $session->value('SELECT picks()');
    # There are two allocations for each pool: these are those of the last ones.
    my ($all, $at) = ('', 2 * 110);
    do
    {
        $at++;
        $session->value(q{UPDATE gateway_pool_memberships SET "pickWeight" = 1 + "pickWeight" % 2});
        $session->value("SET faults.at = $at");
        $all = join ' ', map { $session->value('SELECT picks()') } 1 .. 2;
    } while ($all eq '(1,0) (0,0)');
    is($all, '(0,0) (0,0)', 'each allocation fails one pick, and no other');
    cmp_ok($at, '>', 2 * $pools, 'there were two for each pool, and more');
    $session->end;
};

$node->stop;
done_testing();
