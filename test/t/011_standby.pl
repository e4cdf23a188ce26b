# Picks on a hot standby, through its promotion, and on a subscriber of logical
# replication: replayed and applied changes invalidate caches.

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

# Some tests here wait for a heartbeat to expire, so there is no grace.
my $settings = q{
    timezone = 'UTC'
    shared_preload_libraries = 'gateway_pool'
    gateway_pool.startup_grace = 0
    gateway_pool.heartbeat_grace = 0
    gateway_pool.default_entitlement = on
    max_prepared_transactions = 5
    restart_after_crash = on
};

# Makes the host with its gateways, all fresh, and the pool of 1 and 2; or without rows.
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

# Returns all gateways that picks can return, by the last digits of their ids, and the
# result of a single pick if it is not among them.
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

# Asserts that a session comes to see them.
sub comes_to_see
{
    my ($session, $expected, $label) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;
    return $session->shows_soon($picks, $expected, $label);
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

# Changes in sequence; each is seen by all warm sessions.  A standby learns of
# heartbeats with some delay.
my @changes = (
    [ 'a member is added', join_sql(3), '123' ],
    [ 'a member is removed', leave_sql(1), '23' ],
    [ 'the gateway of a member is replaced', qq{UPDATE gateway_pool_memberships SET "gatewayId" = '$gateway{4}' WHERE "gatewayId" = '$gateway{2}'}, '34' ],
    [ 'a state is set', drain_sql(3), '4' ],
    [ 'states are truncated', 'TRUNCATE gateway_states', '34' ],
    [ 'a gateway is deleted', qq{DELETE FROM gateways_v2 WHERE id = '$gateway{4}'}, '3' ],
    [ 'subtransactions are rolled back', 'BEGIN; ' . join_sql(1) . '; SAVEPOINT s; ' . join_sql(5) . '; ROLLBACK TO s; ' . join_sql(2) . '; COMMIT', '123' ],
    [ 'a transaction in two phases', 'BEGIN; ' . leave_sql(3) . q{; PREPARE TRANSACTION 'p'; COMMIT PREPARED 'p'}, '12' ],
    [ 'members are truncated', 'TRUNCATE gateway_pool_memberships', 'none' ],
    [ 'two members are added', join_sql(1) . ';' . join_sql(2), '12' ]);

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

subtest 'standby: replayed changes' => sub {
    my $old = $there->session;

    sees($_, '12', 'the pool is seen') foreach $reader, $reader, $old, $old;
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
    sees($reader, '12', 'changes that are rolled back or prepared are not seen');
    $db->value(q{ROLLBACK PREPARED 'p'});
    replay();
    sees($reader, '12', 'nor are they after ROLLBACK PREPARED');
    $old->end;
};

subtest 'standby: heartbeats' => sub {
    # Heartbeats do not reach shared memory there: gateways are read every 5 s.
    foreach ([ fail_sql(1), '2', 'a failed heartbeat is seen' ], [ heard_sql(1, 180), '12', 'a fresh heartbeat is seen' ],
        [ qq{UPDATE gateways_v2 SET "heartbeatTTL" = NULL WHERE id = '$gateway{2}'}, '1', 'a NULL heartbeat is seen' ])
    {
        my ($change, $after, $what) = @$_;

        $db->value($change);
        replay();
        comes_to_see($reader, $after, $what);
    }

    # A heartbeat expires after the next one has been replayed.  If it expires before the
    # reader has seen it, a longer one is tried.
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
    sees($reader, '12', 'no heartbeat expires early');

    # A gateway without a new heartbeat expires in time, or earlier.
    $db->value(heard_sql(2, 1));
    replay();
    comes_to_see($reader, '1', 'a heartbeat expires');
};

subtest 'standby: reports' => sub {
    my $other = $there->session;
    my $least_loaded = qq{SELECT right(pick_healthy_gateway('$pool', strategy => 'least_loaded')::text, 1)};

    sees($_, '1', 'one has expired') foreach $other, $other;
    $reader->value("SELECT record_gateway_heartbeat('$gateway{2}', '5 min')");
    sees($_, '12', 'a reported heartbeat counts') foreach $reader, $other;
    $db->shows($picks, '1', 'the primary does not know it');

    $reader->value("SELECT report_gateway_failure('$gateway{1}', 'timeout')");
    $other->shows("SELECT count(*) FROM generate_series(1, 100) WHERE pick_healthy_gateway('$pool') = '$gateway{2}'", 100,
        'a reported failure counts');
    $other->shows(qq{SELECT status, reason FROM gateway_status WHERE "gatewayId" = '$gateway{1}'}, 'degraded|suspect: timeout',
        'the reason of a failure is shown');

    $reader->value("SELECT record_gateway_heartbeat('$gateway{3}', '5 min')");
    $db->value(leave_sql(1) . ';' . join_sql(3));
    replay();
    $reader->value("SELECT report_gateway_load('$gateway{2}', 3), report_gateway_load('$gateway{3}', 1)");
    $other->shows("$least_loaded; $least_loaded; SELECT release_gateway('$gateway{3}'), release_gateway('$gateway{2}')", "3\n3\nt|f",
        'loads are reported, places reserved and released');
    $db->value(leave_sql(3) . ';' . join_sql(1));
    replay();
    $other->end;
};

subtest 'standby: rights and tenants' => sub {
    my $tenant;
    my $replays = sub { $db->value($_[0]); replay() };

    $replays->("CREATE ROLE tenant LOGIN; SELECT grant_gateway_pool_access('tenant', '{list}')");
    $tenant = $there->as('tenant')->session;
    sees($tenant, '12', 'a role with access can pick');
    $replays->('SELECT enable_gateway_pool_isolation()');
    $tenant->fails($picks, 'P0002 gateway_pools_not_found', 'after isolation is enabled, it cannot');
    $tenant->shows('SELECT count(*) FROM gateway_pools', 0, 'it sees no rows');
    $replays->("INSERT INTO gateway_pool_tenants VALUES ('tenant', '$acme')");
    sees($tenant, '12', 'as a tenant it can pick');
    $tenant->shows('SELECT count(*) FROM gateway_pools', 1, 'it sees the pool');
    $replays->('DELETE FROM gateway_pool_tenants');
    $tenant->fails($picks, 'P0002 gateway_pools_not_found', 'after its tenant row is deleted, it cannot pick');
    $replays->('SELECT disable_gateway_pool_isolation()');
    sees($tenant, '12', 'after isolation is disabled, it can');
    $replays->("SELECT revoke_gateway_pool_access('tenant', '{list}')");
    $tenant->fails($picks, '42501 gateway_pools_access', 'after access is revoked, it cannot');
    $tenant->end;
    $replays->('DROP ROLE tenant');
};

subtest 'standby: promotion' => sub {
    my $grace = 6;

    # Gateway 5 has expired long ago, and the primary has recorded that: no grace applies
    # to it after promotion.
    $db->value(qq{UPDATE gateways_v2 SET heartbeat = now() - interval '1 hour' WHERE id = '$gateway{5}'});
    wait_until($db, qq{'unhealthy' = (SELECT status FROM gateway_health WHERE "gatewayId" = '$gateway{5}')});
    $db->value(join ';', heard_sql(1, 180), heard_sql(2, 180), join_sql(5));
    replay();
    sees($reader, '12', 'the pool is seen');
    $standby->append_conf('postgresql.conf', "gateway_pool.startup_grace = $grace");
    $standby->reload;
    wait_until($reader, "current_setting('gateway_pool.startup_grace') = '${grace}s' AND clock_timestamp() > pg_postmaster_start_time() + interval '$grace s'");
    comes_to_see($reader, '12', 'the grace of the start is over');
    $reader->shows(qq{SELECT status FROM gateway_status WHERE "gatewayId" = '$gateway{5}'}, 'unhealthy', 'an expired gateway is unhealthy');

    $standby->promote;
    sees($reader, '12', 'promoted: what the primary recorded is not forgotten');
    $reader->shows(qq{SELECT status, reason FROM gateway_status WHERE "gatewayId" = '$gateway{5}'},
        'unhealthy|heartbeat expired', 'an expired gateway is unhealthy');

    my $writer = $there->session;
    sees($_, '12', 'the pool is seen') foreach $reader, $writer;
    foreach (
        [ fail_sql(1), '2', 'failed' ], [ heard_sql(1, 180), '12', 'fresh' ],
        [ heard_sql(5, 180), '125', 'fresh after long' ], [ drain_sql(2), '15', 'drained' ],
        [ 'DELETE FROM gateway_states', '125', 'active' ], [ leave_sql(5), '12', 'removed' ])
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

    # The pool as at the beginning.
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
    sees($_, '12', 'the pool is seen') foreach @sessions, @sessions;
    foreach (@changes,
        [ 'a heartbeat fails', fail_sql(1), '2' ],
        [ 'a heartbeat becomes NULL', qq{UPDATE gateways_v2 SET "heartbeatTTL" = NULL WHERE id = '$gateway{2}'}, 'none' ],
        [ 'a heartbeat arrives', heard_sql(1, 180), '1' ],
        [ 'two heartbeats, one rolled back', 'BEGIN; ' . heard_sql(2, 180) . '; SAVEPOINT s; ' . fail_sql(1) . '; ROLLBACK TO s; COMMIT', '12' ],
        [ 'a heartbeat in two phases', 'BEGIN; ' . fail_sql(2) . q{; PREPARE TRANSACTION 'p'; COMMIT PREPARED 'p'}, '1' ],
        [ 'a heartbeat expires', qq{UPDATE gateways_v2 SET heartbeat = now() - interval '1 hour' WHERE id = '$gateway{1}'}, 'none' ],
        [ 'all heartbeats arrive', 'UPDATE gateways_v2 SET heartbeat = now(), "heartbeatTTL" = 180', '12' ])
    {
        my ($what, $change, $after) = @$_;

        $db->value($change);
        $applied->();
        sees($_, $after, $what) foreach @sessions;
    }

    $here->value("SELECT record_gateway_heartbeat('$gateway{1}')");
    $db->value(fail_sql(1));
    $applied->();
    sees($_, '2', 'an applied failure overrides a report') foreach @sessions;

    # With isolation enabled on both sides, replication continues.
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
    $_->fails("SELECT pick_healthy_gateway('$pool')", 'P0002 gateway_pools_not_found', 'the deletion of the organization is seen') foreach @sessions;
    my $logged = q{SELECT id, "eventType", "sessionUser", "eventMetadata" FROM gateway_pool_audit_logs ORDER BY id};
    like($db->value($logged), qr/gateway-pool-delete/, 'the audit log has rows');
    $here->shows($logged, $db->value($logged), 'the audit log is replicated, and applied changes are not logged again');

    $_->end foreach @sessions;
    $here->value('DROP SUBSCRIPTION everything');
    $subscriber->stop;
};

done_testing();
