# Picks on a hot standby, through its promotion, and on a server to which rows
# come by logical replication: caches are told of what is replayed or applied.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;
use Patience qw(soon);
use PoolDatabase qw(init_node start_node);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $acme = 'a0000000-0000-4000-8000-000000000001';
my $pool = 'b0000000-0000-4000-8000-000000000001';
my %gateway = map { ($_ => "90000000-0000-4000-8000-00000000000$_") } 1 .. 5;

# An expiry is what some tests here wait for: no grace for it.
my $settings = q{
    timezone = 'UTC'
    shared_preload_libraries = 'gateway_pool'
    gateway_pool.startup_grace = 0
    gateway_pool.heartbeat_grace = 0
    gateway_pool.default_entitlement = on
    max_prepared_transactions = 5
    restart_after_crash = on
};

# The host, its gateways, all fresh, and the pool of 1 and 2; or without rows.
sub make_database
{
    my ($node, $with_rows) = @_;
    my $db = PoolDatabase->create_with_host_functions($node, 'app');

    $db->value(q{SELECT host_test.make_host('public', 2, 'app_owner'); CREATE EXTENSION gateway_pool});
    $db->value(qq{
        SELECT host_test.add_org('public', 'acme', '$acme');
        SELECT host_test.add_gateway('public', '$acme', 'g' || n, '0s', g)
          FROM unnest('{@{[join ',', @gateway{1 .. 5}]}}'::uuid[]) WITH ORDINALITY AS t (g, n);
        INSERT INTO gateway_pools (id, "orgId", name) VALUES ('$pool', '$acme', 'edge');
        INSERT INTO gateway_pool_memberships ("gatewayPoolId", "gatewayId") VALUES ('$pool', '$gateway{1}'), ('$pool', '$gateway{2}')})
      if $with_rows;
    return $db;
}

# All gateways that picks may fall on, by the last digits of their ids, and one
# of a pick that is not among them.
my $picks = qq{
    SELECT concat_ws(' and single ', many, CASE WHEN strpos(many, single) = 0 THEN single END)
      FROM (SELECT coalesce(right(pick_healthy_gateway('$pool', null_if_none => true)::text, 1), 'none') AS single) AS s,
           (SELECT coalesce(string_agg(right(p::text, 1), '' ORDER BY p), 'none') AS many
              FROM pick_healthy_gateways('$pool', 9, null_if_none => true) AS p) AS m};

sub sees
{
    my ($session, $expected, $label) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;
    return $session->shows($picks, $expected, $label);
}

# Asserts that a session sees it before so many seconds have gone.
sub sees_within
{
    my ($seconds, $session, $expected, $label) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;
    return $session->shows_within($seconds, $picks, $expected, $label);
}

sub wait_until
{
    my ($session, $condition) = @_;

    soon(sub { $session->value("SELECT $condition") eq 't' }) or die "never: $condition";
    return;
}

sub join_sql { return qq{INSERT INTO gateway_pool_memberships ("gatewayPoolId", "gatewayId") VALUES ('$pool', '$gateway{$_[0]}')} }
sub leave_sql { return qq{DELETE FROM gateway_pool_memberships WHERE "gatewayPoolId" = '$pool' AND "gatewayId" = '$gateway{$_[0]}'} }
sub drain_sql { return qq{INSERT INTO gateway_states ("gatewayId", state) VALUES ('$gateway{$_[0]}', 'draining')} }
sub fail_sql { return qq{UPDATE gateways_v2 SET "heartbeatTTL" = 0 WHERE id = '$gateway{$_[0]}'} }
sub heard_sql { return qq{UPDATE gateways_v2 SET heartbeat = clock_timestamp(), "heartbeatTTL" = $_[1] WHERE id = '$gateway{$_[0]}'} }

# One pool after the other, each seen by all that were warm before.  Of the
# heartbeats among them, a standby is told with some delay.
my @changes = (
    [ 'a member comes', join_sql(3), '123' ],
    [ 'a member goes', leave_sql(1), '23' ],
    [ 'a member becomes another', qq{UPDATE gateway_pool_memberships SET "gatewayId" = '$gateway{4}' WHERE "gatewayId" = '$gateway{2}'}, '34' ],
    [ 'a state comes', drain_sql(3), '4' ],
    [ 'states are truncated', 'TRUNCATE gateway_states', '34' ],
    [ 'a gateway goes', qq{DELETE FROM gateways_v2 WHERE id = '$gateway{4}'}, '3' ],
    [ 'subtransactions', 'BEGIN; ' . join_sql(1) . '; SAVEPOINT s; ' . join_sql(5) . '; ROLLBACK TO s; ' . join_sql(2) . '; COMMIT', '123' ],
    [ 'two phases', 'BEGIN; ' . leave_sql(3) . q{; PREPARE TRANSACTION 'p'; COMMIT PREPARED 'p'}, '12' ],
    [ 'members are truncated', 'TRUNCATE gateway_pool_memberships', 'none' ],
    [ 'two members come', join_sql(1) . ';' . join_sql(2), '12' ]);

my $primary = PostgreSQL::Test::Cluster->new('primary');
init_node($primary, allows_streaming => 'logical');
$primary->append_conf('postgresql.conf', $settings);
$primary->start;
$primary->safe_psql('postgres', 'CREATE ROLE app_owner LOGIN');
my $db = make_database($primary, 1);
$primary->backup('backup');

my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'backup', has_streaming => 1);
$standby->start;
my $there = PoolDatabase->new($standby, 'app');
my $reader = $there->session;

sub replay { return $primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert')) }

subtest 'standby: what is replayed' => sub {
    my $old = $there->session;

    sees($_, '12', 'the pool') foreach $reader, $reader, $old, $old;
    foreach (@changes)
    {
        my ($what, $change, $after) = @$_;

        $old->value('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM gateway_pools');
        $db->value($change);
        # A snapshot on the standby holds up the replay of a TRUNCATE.
        $old->value('COMMIT') if $what =~ /truncated/;
        replay();
        sees($_, $after, $what) foreach $reader, $old;
        $old->value('COMMIT') unless $what =~ /truncated/;
    }

    $db->value('BEGIN; ' . join_sql(3) . '; ROLLBACK');
    $db->value('BEGIN; ' . join_sql(3) . q{; PREPARE TRANSACTION 'p'});
    replay();
    sees($reader, '12', 'not what was rolled back or is prepared');
    $db->value(q{ROLLBACK PREPARED 'p'});
    replay();
    sees($reader, '12', 'nor what was after that');
    $old->end;
};

subtest 'standby: heartbeats' => sub {
    # They come without being published: pools are read every 5 s.
    foreach ([ fail_sql(1), '2', 'failed' ], [ heard_sql(1, 180), '12', 'fresh' ],
        [ qq{UPDATE gateways_v2 SET "heartbeatTTL" = NULL WHERE id = '$gateway{2}'}, '1', 'none' ])
    {
        my ($change, $after, $what) = @$_;

        $db->value($change);
        replay();
        sees_within(8, $reader, $after, $what);
    }

    # A heartbeat ends, and the next one is there.  A longer one is tried where it has
    # ended before the reader has seen it.
    my $ends;
    foreach my $seconds (3, 10, 30, 90)
    {
        $db->value(heard_sql(2, $seconds));
        $ends = $db->value(qq{SELECT heartbeat + interval '$seconds s' FROM gateways_v2 WHERE id = '$gateway{2}'});
        replay();
        $db->value('UPDATE gateway_pool_memberships SET "pickWeight" = "pickWeight"');
        replay();
        $reader->value($picks);
        my $in_time = $reader->value("SELECT clock_timestamp() < '$ends'") eq 't';
        $db->value(heard_sql(2, 180));
        replay();
        last if $in_time;
    }
    wait_until($reader, "clock_timestamp() > '$ends'");
    sees($reader, '12', 'none ends early');

    # One of which nothing is heard ends in time, if not before.
    $db->value(heard_sql(2, 1));
    replay();
    sees_within(8, $reader, '1', 'one ends');
};

subtest 'standby: reports' => sub {
    my $other = $there->session;
    my $least_loaded = qq{SELECT right(pick_healthy_gateway('$pool', strategy => 'least_loaded')::text, 1)};

    sees($_, '1', 'one has ended') foreach $other, $other;
    $reader->value("SELECT record_gateway_heartbeat('$gateway{2}', '5 min')");
    sees($_, '12', 'a heartbeat is reported') foreach $reader, $other;
    $db->shows($picks, '1', 'the primary knows nothing of that');

    $reader->value("SELECT report_gateway_failure('$gateway{1}', 'timeout')");
    $other->shows("SELECT count(*) FROM generate_series(1, 100) WHERE pick_healthy_gateway('$pool') = '$gateway{2}'", 100,
        'a failure is reported');
    $other->shows(qq{SELECT status, reason FROM gateway_status WHERE "gatewayId" = '$gateway{1}'}, 'degraded|suspect: timeout',
        'its reason is shown');

    $reader->value("SELECT record_gateway_heartbeat('$gateway{3}', '5 min')");
    $db->value(leave_sql(1) . ';' . join_sql(3));
    replay();
    $reader->value("SELECT report_gateway_load('$gateway{2}', 3), report_gateway_load('$gateway{3}', 1)");
    $other->shows("$least_loaded; $least_loaded; SELECT release_gateway('$gateway{3}'), release_gateway('$gateway{2}')", "3\n3\nt|f",
        'loads are reported, places taken and released');
    $db->value(leave_sql(3) . ';' . join_sql(1));
    replay();
    $other->end;
};

subtest 'standby: rights and tenants' => sub {
    my $tenant;
    my $replays = sub { $db->value($_[0]); replay() };

    $replays->("CREATE ROLE tenant LOGIN; SELECT grant_gateway_pool_access('tenant', '{list}')");
    $tenant = $there->as('tenant')->session;
    sees($tenant, '12', 'a role that may, picks');
    $replays->('SELECT enable_gateway_pool_isolation()');
    $tenant->fails($picks, 'P0002 gateway_pools_not_found', 'but not once it is isolated');
    $tenant->shows('SELECT count(*) FROM gateway_pools', 0, 'it sees nothing');
    $replays->("INSERT INTO gateway_pool_tenants VALUES ('tenant', '$acme')");
    sees($tenant, '12', 'as a tenant it picks');
    $tenant->shows('SELECT count(*) FROM gateway_pools', 1, 'and sees the pool');
    $replays->('DELETE FROM gateway_pool_tenants');
    $tenant->fails($picks, 'P0002 gateway_pools_not_found', 'until it is no tenant');
    $replays->('SELECT disable_gateway_pool_isolation()');
    sees($tenant, '12', 'or nobody is isolated');
    $replays->("SELECT revoke_gateway_pool_access('tenant', '{list}')");
    $tenant->fails($picks, '42501', 'a right is revoked');
    $tenant->end;
    $replays->('DROP ROLE tenant');
};

subtest 'standby: promotion' => sub {
    my $grace = 6;

    # 5 has ended long ago, and nobody reported anything else: as the primary has recorded
    # by the time at which the standby hears of it.
    $db->value(qq{UPDATE gateways_v2 SET heartbeat = now() - interval '1 hour' WHERE id = '$gateway{5}'});
    wait_until($db, qq{'unhealthy' = (SELECT status FROM gateway_health WHERE "gatewayId" = '$gateway{5}')});
    $db->value(join ';', heard_sql(1, 180), heard_sql(2, 180), join_sql(5));
    replay();
    sees($reader, '12', 'the pool');
    $standby->append_conf('postgresql.conf', "gateway_pool.startup_grace = $grace");
    $standby->reload;
    wait_until($reader, "current_setting('gateway_pool.startup_grace') = '${grace}s' AND clock_timestamp() > pg_postmaster_start_time() + interval '$grace s'");
    sees_within(8, $reader, '12', 'the grace of the start is over');
    $reader->shows(qq{SELECT status FROM gateway_status WHERE "gatewayId" = '$gateway{5}'}, 'unhealthy', 'what expired is unhealthy');

    $standby->promote;
    sees($reader, '125', 'promoted: there is grace again');
    $reader->shows(qq{SELECT status, reason FROM gateway_status WHERE "gatewayId" = '$gateway{5}'},
        'degraded|heartbeat expired, startup grace', 'what expired is degraded');
    sees_within($grace + 5, $reader, '12', 'which ends');

    my $writer = $there->session;
    sees($_, '12', 'the pool') foreach $reader, $writer;
    foreach (
        [ fail_sql(1), '2', 'failed' ], [ heard_sql(1, 180), '12', 'fresh' ],
        [ heard_sql(5, 180), '125', 'fresh after long' ], [ drain_sql(2), '15', 'drained' ],
        [ 'DELETE FROM gateway_states', '125', 'active' ], [ leave_sql(5), '12', 'no member' ])
    {
        my ($change, $after, $what) = @$_;

        $writer->value($change);
        sees($_, $after, "promoted, $what: the next pick sees it") foreach $reader, $writer;
    }
    $writer->end;
    $reader->end;
};
$standby->stop;

subtest 'logical replication' => sub {
    my $publisher = $primary->connstr('app') =~ s/'/''/gr;
    my $subscriber = start_node('subscriber', conf => $settings);
    my $here;

    # The pool as it was.
    $db->value(qq{
        INSERT INTO gateways_v2 (id, "orgId", "relayId", name) SELECT '$gateway{4}', "orgId", "relayId", 'g4' FROM gateways_v2 LIMIT 1;
        UPDATE gateways_v2 SET heartbeat = now(), "heartbeatTTL" = 180;
        DELETE FROM gateway_pool_memberships; INSERT INTO gateway_pool_memberships ("gatewayPoolId", "gatewayId")
            VALUES ('$pool', '$gateway{1}'), ('$pool', '$gateway{2}')});
    $subscriber->safe_psql('postgres', 'CREATE ROLE app_owner LOGIN');
    $here = make_database($subscriber, 0);
    $db->value('CREATE PUBLICATION everything FOR TABLE organizations, identities, relays, gateways_v2, gateway_pools,'
          . ' gateway_pool_memberships, gateway_states, gateway_pool_audit_logs');
    $here->value("CREATE SUBSCRIPTION everything CONNECTION '$publisher' PUBLICATION everything");
    $subscriber->wait_for_subscription_sync($primary, 'everything', 'app');

    my @sessions = map { $here->session } 1, 2;
    my $applied = sub { $primary->wait_for_catchup('everything') };
    sees($_, '12', 'the pool') foreach @sessions, @sessions;
    foreach (@changes,
        [ 'a heartbeat fails', fail_sql(1), '2' ],
        [ 'no heartbeat', qq{UPDATE gateways_v2 SET "heartbeatTTL" = NULL WHERE id = '$gateway{2}'}, 'none' ],
        [ 'a heartbeat comes', heard_sql(1, 180), '1' ],
        [ 'two heartbeats, one rolled back', 'BEGIN; ' . heard_sql(2, 180) . '; SAVEPOINT s; ' . fail_sql(1) . '; ROLLBACK TO s; COMMIT', '12' ],
        [ 'a heartbeat of two phases', 'BEGIN; ' . fail_sql(2) . q{; PREPARE TRANSACTION 'p'; COMMIT PREPARED 'p'}, '1' ],
        [ 'a heartbeat ends', qq{UPDATE gateways_v2 SET heartbeat = now() - interval '1 hour' WHERE id = '$gateway{1}'}, 'none' ],
        [ 'all come', 'UPDATE gateways_v2 SET heartbeat = now(), "heartbeatTTL" = 180', '12' ])
    {
        my ($what, $change, $after) = @$_;

        $db->value($change);
        $applied->();
        sees($_, $after, $what) foreach @sessions;
    }

    $here->value("SELECT record_gateway_heartbeat('$gateway{1}')");
    $db->value(fail_sql(1));
    $applied->();
    sees($_, '2', 'a failure that is applied outweighs what was reported') foreach @sessions;

    # With roles isolated on both sides it goes on as before.
    $_->value('SET client_min_messages = warning; SELECT enable_gateway_pool_isolation()') foreach $db, $here;
    foreach ([ 'a heartbeat', heard_sql(1, 180), '12' ], [ 'a state', drain_sql(2), '1' ],
        [ 'a member', qq{DELETE FROM gateway_pool_memberships WHERE "gatewayId" = '$gateway{1}'}, 'none' ])
    {
        my ($what, $change, $after) = @$_;

        $db->value($change);
        $applied->();
        sees($_, $after, "isolated, $what") foreach @sessions;
    }
    $db->value(qq{DELETE FROM organizations WHERE id = '$acme'});
    $applied->();
    $_->fails("SELECT pick_healthy_gateway('$pool')", 'P0002 gateway_pools_not_found', 'the organization is deleted') foreach @sessions;
    my $logged = q{SELECT id, "eventType", "sessionUser", "eventMetadata" FROM gateway_pool_audit_logs ORDER BY id};
    like($db->value($logged), qr/gateway-pool-delete/, 'there is something in the audit log');
    $here->shows($logged, $db->value($logged), 'it is what was published, and nothing of what was applied was logged once more');

    $_->end foreach @sessions;
    $here->value('DROP SUBSCRIPTION everything');
    $subscriber->stop;
};

done_testing();
