# What a pick sees of a pool in the cache: exactly the changes committed before the pick
# began, and those of its own transaction.
#
# Every session picks from the pool before each change, so that a missing invalidation
# would show.

use strict;
use warnings FATAL => 'all';

use File::Spec::Functions qw(rel2abs);
use FindBin;
use lib $FindBin::RealBin;
use Patience qw(soon);
use PoolDatabase qw(start_node);
use PostgreSQL::Test::Utils;
use Test::More;

my $acme = 'a0000000-0000-4000-8000-000000000001';
my $pool = 'b0000000-0000-4000-8000-000000000001';
my $fleet = 'b0000000-0000-4000-8000-000000000002';
my $relay = '80000000-0000-4000-8000-000000000001';
my %gateway = map { ($_ => "90000000-0000-4000-8000-00000000000$_") } 1 .. 9;

# Some tests here wait for a heartbeat to expire, so there is no grace.
my $node = start_node('main', conf => q{
    shared_preload_libraries = 'gateway_pool'
    gateway_pool.startup_grace = 0
    gateway_pool.heartbeat_grace = 0
    gateway_pool.default_entitlement = on
    max_prepared_transactions = 5
    restart_after_crash = on});
$node->safe_psql('postgres', q{
    CREATE ROLE app_owner LOGIN; CREATE ROLE app LOGIN; CREATE ROLE stranger LOGIN;
    CREATE ROLE newcomer LOGIN; CREATE ROLE administrator LOGIN SUPERUSER});

my $db = PoolDatabase->create_with_host_functions($node, 'app');
$db->value(qq{
    SELECT host_test.make_host('public', 2, 'app_owner');
    CREATE EXTENSION gateway_pool;
    SELECT host_test.add_org('public', 'acme', '$acme');
    INSERT INTO relays (id, name, host) VALUES ('$relay', 'r', '127.0.0.1');
    INSERT INTO gateway_pools (id, "orgId", name) VALUES ('$pool', '$acme', 'edge'), ('$fleet', '$acme', 'fleet');
    GRANT SELECT ON gateway_pools TO app});

# Returns all gateways that picks of a pool can return, by the last digits of their
# ids, and the result of a single pick if it is not among them.
sub picks_sql
{
    my ($of, $digits) = ($_[0] // $pool, $_[1] // 1);
    return qq{
        SELECT concat_ws(' and single ', many, CASE WHEN strpos(many, single) = 0 THEN single END)
          FROM (SELECT coalesce(ltrim(right(pick_healthy_gateway('$of', null_if_none => true)::text, $digits), '0'),
                                'none') AS single) AS s,
               (SELECT coalesce(string_agg(ltrim(right(p::text, $digits), '0'), '' ORDER BY p), 'none') AS many
                  FROM pick_healthy_gateways('$of', 9, null_if_none => true) AS p) AS m};
}

sub picks
{
    my ($session, @of) = @_;
    return $session->value(picks_sql(@of));
}

sub sees
{
    my ($session, $expected, $label, @of) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;
    return is(picks($session, @of), $expected, $label);
}

# Two sessions that only pick, and one that writes and picks.
my ($reader, $other, $writer) = map { $db->as($_)->session } qw(app app app_owner);

# Gateways 1 and 2 are members, all gateways are fresh, no gateway has a state, and
# every session has seen that.
sub start_case
{
    my (@sessions) = @_;

    $writer->value(qq{
        BEGIN;
        DELETE FROM gateway_pool_memberships WHERE "gatewayPoolId" = '$pool';
        INSERT INTO gateways_v2 (id, "orgId", name, "relayId") SELECT g, '$acme', 'g' || n, '$relay'
          FROM unnest('{@{[join ',', @gateway{1 .. 5}]}}'::uuid[]) WITH ORDINALITY AS t (g, n) ON CONFLICT DO NOTHING;
        UPDATE gateways_v2 SET heartbeat = clock_timestamp(), "heartbeatTTL" = 180, "relayId" = '$relay', capabilities = '{}'
         WHERE id < '91000000-0000-4000-8000-000000000000';
        INSERT INTO gateway_pool_memberships ("gatewayPoolId", "gatewayId") VALUES ('$pool', '$gateway{1}'), ('$pool', '$gateway{2}');
        DELETE FROM gateway_states;
        COMMIT});
    foreach my $session ($reader, $other, $writer, @sessions)
    {
        foreach (1, 2)
        {
            my $seen = picks($session);
            die "a case begins with '$seen'" if $seen ne '12';
        }
    }
    return;
}

sub join_sql { return qq{INSERT INTO gateway_pool_memberships ("gatewayPoolId", "gatewayId") VALUES ('$pool', '$gateway{$_[0]}')} }
sub leave_sql { return qq{DELETE FROM gateway_pool_memberships WHERE "gatewayPoolId" = '$pool' AND "gatewayId" = '$gateway{$_[0]}'} }
sub drain_sql { return qq{INSERT INTO gateway_states ("gatewayId", state) VALUES ('$gateway{$_[0]}', 'draining')} }
sub fail_sql { return qq{UPDATE gateways_v2 SET "heartbeatTTL" = 0 WHERE id = '$gateway{$_[0]}'} }
sub heard_sql { return qq{UPDATE gateways_v2 SET heartbeat = clock_timestamp(), "heartbeatTTL" = 180 WHERE id = '$gateway{$_[0]}'} }

# Changes to a pool of 1 and 2, and the picks after them.
my @changes = (
    [ 'a member is added', join_sql(3), '123' ],
    [ 'a member is removed', leave_sql(1), '2' ],
    [ 'the gateway of a member is replaced', qq{UPDATE gateway_pool_memberships SET "gatewayId" = '$gateway{4}' WHERE "gatewayId" = '$gateway{1}'}, '24' ],
    [ 'a state is set', drain_sql(1), '2' ],
    [ 'a heartbeat fails', fail_sql(2), '1' ],
    [ 'a heartbeat becomes NULL', qq{UPDATE gateways_v2 SET "heartbeatTTL" = NULL WHERE id = '$gateway{1}'}, '2' ],
    [ 'a gateway is deleted', qq{DELETE FROM gateways_v2 WHERE id = '$gateway{1}'}, '2' ],
    [ 'several changes', join(';', join_sql(3), drain_sql(1), fail_sql(2)), '3' ]);

subtest 'own change in the same transaction' => sub {
    foreach (@changes)
    {
        my ($what, $change, $after) = @$_;

        start_case();
        $writer->value("BEGIN; $change");
        sees($writer, $after, "$what: its own session sees it");
        sees($reader, '12', "$what: other sessions do not");
        sees($writer, $after, "$what: its own session still sees it");
        $writer->value('COMMIT');
        sees($_, $after, "$what: all sessions see it after COMMIT") foreach $reader, $other, $writer;
    }
};

subtest 'after ROLLBACK' => sub {
    foreach (@changes)
    {
        my ($what, $change, $after) = @$_;

        start_case();
        $writer->value("BEGIN; $change");
        sees($writer, $after, "$what: its own session sees it before");
        $writer->value('ROLLBACK');
        sees($_, '12', "$what: no session sees it after") foreach $writer, $reader;
    }
};

subtest 'after ROLLBACK TO SAVEPOINT' => sub {
    foreach (@changes)
    {
        my ($what, $change, $after) = @$_;

        start_case();
        $writer->value('BEGIN; ' . join_sql(5) . '; SAVEPOINT s');
        sees($writer, '125', "$what: the change before the savepoint is seen");
        $writer->value("SAVEPOINT t; $change; RELEASE t");
        sees($writer, $after . '5', "$what: the change after it is seen too");
        $writer->value('ROLLBACK TO s');
        sees($writer, '125', "$what: only the first change is left");
        $writer->value('COMMIT');
        sees($_, '125', "$what: all sessions see it after COMMIT") foreach $reader, $writer;
    }

    start_case();
    $writer->value('BEGIN; ' . fail_sql(1) . '; SAVEPOINT s; ' . fail_sql(2) . '; ' . heard_sql(1) . '; ROLLBACK TO s; COMMIT');
    sees($_, '2', 'the heartbeat that was kept is published, the other one is not') foreach $reader, $writer;
    start_case();
    $writer->value('BEGIN; SAVEPOINT s; ' . fail_sql(1) . '; SAVEPOINT t; ' . fail_sql(2) . '; RELEASE t; RELEASE s; COMMIT');
    sees($_, 'none', 'heartbeats of released subtransactions are published') foreach $reader, $writer;
};

# The rows are inserted one by one; when the last one is evaluated, the others exist,
# uncommitted, and their AFTER triggers have not fired yet.
$writer->value(qq{
    CREATE FUNCTION seen() RETURNS text LANGUAGE plpgsql AS \$function\$ BEGIN RETURN (@{[picks_sql()]}); END \$function\$;
    CREATE FUNCTION or_fail(gateway uuid) RETURNS uuid LANGUAGE plpgsql AS \$function\$
    BEGIN
        IF gateway IS NULL THEN
            RAISE EXCEPTION 'failed having seen %', seen();
        END IF;
        RETURN gateway;
    END
    \$function\$});

subtest 'after a statement that fails midway' => sub {
    my %statement = (
        memberships => [ qq{INSERT INTO gateway_pool_memberships ("gatewayPoolId", "gatewayId")
            SELECT '$pool', or_fail(g) FROM unnest('{$gateway{3},NULL}'::uuid[]) AS t (g)}, '123' ],
        states => [ qq{INSERT INTO gateway_states ("gatewayId", state)
            SELECT or_fail(g), 'draining' FROM unnest('{$gateway{1},NULL}'::uuid[]) AS t (g)}, '2' ]);

    # The cache must be empty when the statement begins, because of another session: a change
    # of the session's own would be undone together with the statement.
    my $empty_cache = sub { $db->value(qq{UPDATE gateway_pool_memberships SET "pickWeight" = "pickWeight" WHERE "gatewayPoolId" = '$pool'}) };

    foreach my $table (sort keys %statement)
    {
        my ($statement, $inside) = @{ $statement{$table} };
        my $error;

        start_case();
        $empty_cache->();
        $error = $writer->fails($statement, 'P0001', "$table: a statement fails");
        like($error, qr/failed having seen $inside$/m, "$table: a pick inside of it sees its row");
        sees($_, '12', "$table: later picks do not") foreach $writer, $reader;

        start_case();
        $writer->value('BEGIN; SAVEPOINT s');
        $empty_cache->();
        $error = $writer->fails($statement, 'P0001', "$table, savepoint: a statement fails");
        like($error, qr/failed having seen $inside$/m, "$table, savepoint: a pick inside of it sees its row");
        $writer->value('ROLLBACK TO s');
        sees($writer, '12', "$table, savepoint: a pick after the rollback does not");
        $writer->value('COMMIT');
        sees($_, '12', "$table, savepoint: picks after COMMIT do not") foreach $writer, $reader;

        start_case();
        $writer->value('BEGIN');
        $empty_cache->();
        $writer->value("DO \$\$ BEGIN $statement; EXCEPTION WHEN raise_exception THEN IF SQLERRM NOT LIKE '%seen $inside' THEN RAISE; END IF; END \$\$");
        sees($writer, '12', "$table, exception caught: later picks do not see the row");
        $writer->value('COMMIT');
        sees($_, '12', "$table, exception caught: picks after COMMIT do not") foreach $writer, $reader;
    }

    # The last row violates a constraint, after a trigger has picked.
    $writer->value(q{
        CREATE FUNCTION pick_at_row() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE NOTICE 'at the last row: %', seen();
            RETURN NEW;
        END
        $$;
        CREATE TRIGGER a_pick BEFORE INSERT ON gateway_pool_memberships FOR EACH ROW WHEN (NEW."pickWeight" < 0) EXECUTE FUNCTION pick_at_row()});
    start_case();
    $writer->value('BEGIN; SAVEPOINT s');
    $empty_cache->();
    my $error = $writer->fails(qq{INSERT INTO gateway_pool_memberships ("gatewayPoolId", "gatewayId", "pickWeight")
        VALUES ('$pool', '$gateway{3}', 1), ('$pool', '$gateway{4}', 1), ('$pool', '$gateway{5}', -1)}, '23514 gateway_pool_memberships_pickWeight_check',
        'trigger: the last row is refused');
    like($error, qr/at the last row: 1234$/m, 'trigger: a pick at the last row sees the others');
    $writer->value('ROLLBACK TO s');
    sees($writer, '12', 'trigger: a pick after the rollback does not');
    $writer->value('COMMIT');
    sees($_, '12', 'trigger: picks after COMMIT do not') foreach $writer, $reader;
    $writer->value('DROP TRIGGER a_pick ON gateway_pool_memberships');
};

subtest 'PREPARE TRANSACTION, COMMIT PREPARED' => sub {
    foreach (@changes, [ 'a heartbeat arrives', qq{UPDATE gateways_v2 SET heartbeat = heartbeat + '1s' WHERE id = '$gateway{1}'}, '12' ])
    {
        my ($what, $change, $after) = @$_;

        start_case();
        $writer->value("BEGIN; $change");
        sees($writer, $after, "$what: its transaction sees it");
        $writer->value("PREPARE TRANSACTION 'p'");
        sees($_, '12', "$what: no session sees it while prepared") foreach $writer, $reader;
        $db->value("COMMIT PREPARED 'p'");
        sees($_, $after, "$what: all sessions see it after COMMIT PREPARED") foreach $reader, $other, $writer;
    }

    start_case();
    $writer->value(fail_sql(1));
    sees($reader, '2', 'a gateway has failed');
    $writer->value('BEGIN; ' . heard_sql(1) . "; PREPARE TRANSACTION 'p'");
    sees($_, '2', 'its next heartbeat is prepared, and not seen') foreach $writer, $reader;
    $writer->value("COMMIT PREPARED 'p'");
    sees($_, '12', 'all sessions see it after COMMIT PREPARED') foreach $reader, $other, $writer;
};

subtest 'ROLLBACK PREPARED' => sub {
    foreach (@changes)
    {
        my ($what, $change, $after) = @$_;

        start_case();
        $writer->value("BEGIN; $change");
        sees($writer, $after, "$what: its transaction sees it");
        $writer->value("PREPARE TRANSACTION 'p'");
        $db->value("ROLLBACK PREPARED 'p'");
        sees($_, '12', "$what: no session sees it after ROLLBACK PREPARED") foreach $reader, $other, $writer;
    }
};

subtest 'a transaction that is older than the commit' => sub {
    my $auditor = $db->as('app_owner')->session;

    foreach my $level ('REPEATABLE READ', 'SERIALIZABLE', 'SERIALIZABLE READ ONLY')
    {
        foreach (@changes)
        {
            my ($what, $change, $after) = @$_;
            my $snapshot = q{SELECT (SELECT array_agg("gatewayId" ORDER BY 1) FROM gateway_pool_memberships),
                (SELECT array_agg("heartbeatTTL" ORDER BY id) FROM gateways_v2), (SELECT count(*) FROM gateway_states)};
            my $before;

            start_case($auditor);
            $auditor->value("BEGIN ISOLATION LEVEL $level");
            $before = $auditor->value($snapshot);
            sees($auditor, '12', "$level, $what: before");
            $writer->value($change);
            sees($auditor, $after, "$level, $what: a pick sees it");
            is($auditor->value($snapshot), $before, "$level, $what: plain queries do not see it");
            $auditor->value('COMMIT');
            sees($auditor, $after, "$level, $what: a pick sees it after COMMIT");
        }
    }
    $auditor->end;
};

subtest 'TRUNCATE' => sub {
    start_case();
    $writer->value(drain_sql(1));
    sees($reader, '2', 'a gateway is drained');
    $writer->value('BEGIN; TRUNCATE gateway_states');
    sees($writer, '12', 'states: its transaction sees it');
    $writer->value('ROLLBACK');
    sees($_, '2', 'states: no session sees it after ROLLBACK') foreach $writer, $reader;
    $writer->value('TRUNCATE gateway_states');
    sees($_, '12', 'states: all sessions see it') foreach $reader, $other, $writer;

    start_case();
    $writer->value('TRUNCATE gateway_pool_memberships');
    sees($_, 'none', 'memberships: all sessions see it') foreach $reader, $other, $writer;

    start_case();
    $writer->value('BEGIN; TRUNCATE gateways_v2 CASCADE');
    sees($writer, 'none', 'gateways: its transaction sees it');
    $writer->value('ROLLBACK');
    sees($_, '12', 'gateways: no session sees it after ROLLBACK') foreach $writer, $reader;
    $writer->value('TRUNCATE gateways_v2 CASCADE');
    sees($_, 'none', 'gateways: all sessions see it') foreach $reader, $other, $writer;
    start_case();
    $writer->value(fail_sql(1));
    sees($_, '2', 'gateways with the same ids are added again, and their heartbeats seen') foreach $reader, $other, $writer;
};

subtest 'COPY' => sub {
    my $file = rel2abs($node->basedir . '/rows');

    start_case();
    append_to_file($file, "$pool\t$gateway{3}\n$pool\t$gateway{4}\n");
    $db->value(qq{COPY gateway_pool_memberships ("gatewayPoolId", "gatewayId") FROM '$file'});
    sees($_, '1234', 'memberships are seen') foreach $reader, $other, $writer;
    unlink $file;
    append_to_file($file, "$gateway{1}\tdraining\n$gateway{4}\tmaintenance\n");
    $db->value(qq{COPY gateway_states ("gatewayId", state) FROM '$file'});
    sees($_, '23', 'states are seen') foreach $reader, $other, $writer;
    unlink $file;
};

subtest 'cascades' => sub {
    my $gone = 'a0000000-0000-4000-8000-000000000009';
    my $gone_pool = 'b0000000-0000-4000-8000-000000000009';

    start_case();
    $writer->value(qq{DELETE FROM gateways_v2 WHERE id = '$gateway{1}'});
    sees($_, '2', 'the deletion of a gateway is seen') foreach $reader, $other, $writer;

    foreach my $delete (qq{DELETE FROM gateway_pools WHERE id = '$gone_pool'}, qq{DELETE FROM organizations WHERE id = '$gone'})
    {
        $writer->value(qq{
            INSERT INTO organizations (id, name, slug) VALUES ('$gone', 'gone', 'gone') ON CONFLICT DO NOTHING;
            INSERT INTO gateways_v2 (id, "orgId", "relayId", name, heartbeat, "heartbeatTTL")
                VALUES ('$gateway{9}', '$gone', '$relay', 'g9', now(), 180) ON CONFLICT DO NOTHING;
            INSERT INTO gateway_pools (id, "orgId", name) VALUES ('$gone_pool', '$gone', 'gone');
            INSERT INTO gateway_pool_memberships ("gatewayPoolId", "gatewayId") VALUES ('$gone_pool', '$gateway{9}')});
        sees($_, '9', 'the pool is seen before', $gone_pool) foreach $reader, $reader, $other, $writer, $writer;
        $writer->value("BEGIN; $delete");
        $writer->value('SAVEPOINT s');
        $writer->fails(picks_sql($gone_pool), 'P0002 gateway_pools_not_found', "$delete: its transaction does not find the pool");
        $writer->value('ROLLBACK TO s');
        sees($reader, '9', 'other sessions find it', $gone_pool);
        $writer->value('ROLLBACK');
        sees($_, '9', 'all sessions find it after ROLLBACK', $gone_pool) foreach $reader, $writer;
        $writer->value($delete);
        $_->fails(picks_sql($gone_pool), 'P0002 gateway_pools_not_found', 'no session finds it after COMMIT') foreach $reader, $other, $writer;
    }
};

subtest 'session_replication_role = replica' => sub {
    my $replica = $db->session;

    start_case();
    $replica->value('SET session_replication_role = replica');
    foreach (
        [ 'a member is added', join_sql(3), '123' ],
        [ 'a member is removed', leave_sql(2), '13' ],
        [ 'a state is set', drain_sql(1), '3' ],
        [ 'a state is deleted', 'DELETE FROM gateway_states', '13' ],
        [ 'a heartbeat fails', fail_sql(3), '1' ],
        [ 'a heartbeat arrives', heard_sql(3), '13' ],
        [ 'a heartbeat becomes NULL', qq{UPDATE gateways_v2 SET "heartbeatTTL" = NULL WHERE id = '$gateway{1}'}, '3' ],
        [ 'a table is truncated', 'TRUNCATE gateway_pool_memberships', 'none' ])
    {
        my ($what, $change, $after) = @$_;

        $replica->value($change);
        sees($_, $after, $what) foreach $reader, $other, $writer, $replica;
    }
    $replica->end;
};

subtest 'ON CONFLICT' => sub {
    my $state = sub { qq{INSERT INTO gateway_states ("gatewayId", state) VALUES ('$gateway{1}', '$_[0]')
        ON CONFLICT ("gatewayId") DO UPDATE SET state = EXCLUDED.state} };
    my $member = sub { join_sql(1) . qq{ ON CONFLICT ("gatewayPoolId", "gatewayId") DO $_[0]} };

    start_case();
    foreach (
        [ 'a state is inserted', $state->('draining'), '2' ],
        [ 'a state is updated', $state->('active'), '12' ],
        [ 'a state is updated back', $state->('maintenance'), '2' ],
        [ 'DO NOTHING for a state', qq{INSERT INTO gateway_states ("gatewayId", state) VALUES ('$gateway{1}', 'active') ON CONFLICT DO NOTHING}, '2' ],
        [ 'states are deleted', 'DELETE FROM gateway_states', '12' ],
        [ 'DO NOTHING for a member', $member->('NOTHING'), '12' ],
        [ 'the gateway of a member is replaced', $member->(qq{UPDATE SET "gatewayId" = '$gateway{3}'}), '23' ],
        [ 'a member is inserted', $member->('NOTHING'), '123' ])
    {
        my ($what, $change, $after) = @$_;

        $writer->value($change);
        sees($_, $after, $what) foreach $reader, $other, $writer;
    }

    $writer->value($member->('UPDATE SET "pickPriority" = 1'));
    $reader->shows("SELECT count(*) FROM generate_series(1, 100) WHERE pick_healthy_gateway('$pool') = '$gateway{1}'", 0,
        'a later priority is seen');
    $writer->value($member->('UPDATE SET "pickPriority" = -1'));
    $reader->shows("SELECT count(*) FROM generate_series(1, 100) WHERE pick_healthy_gateway('$pool') = '$gateway{1}'", 100,
        'an earlier priority is seen');
};

subtest 'SET ROLE and privileges' => sub {
    my $session = $db->session;
    my $stranger = $db->as('stranger')->session;
    my $newcomer = $db->as('newcomer')->session;
    my $administrator = $db->as('administrator')->session;
    my $refused = sub { $_[0]->fails("SELECT pick_healthy_gateway('$pool')", '42501 gateway_pools_access', $_[1]) };

    start_case($session, $administrator);
    foreach (1, 2)
    {
        $session->value('SET ROLE app');
        sees($session, '12', 'a role with the privilege can pick');
        $session->value('SET ROLE stranger');
        $refused->($session, 'a role without it cannot');
        $session->value('SET ROLE app_owner');
        sees($session, '12', 'the owner can pick');
        $session->value('SET ROLE newcomer');
        $refused->($session, 'another role without it cannot');
    }
    $session->value('BEGIN; SET LOCAL ROLE app');
    sees($session, '12', 'SET LOCAL ROLE: the role can pick');
    $session->value('COMMIT');
    $refused->($session, 'after the transaction it cannot');
    $session->value('RESET ROLE');
    sees($session, '12', 'the superuser can pick');

    $writer->value('BEGIN; REVOKE SELECT ON gateway_pools FROM app');
    sees($reader, '12', 'REVOKE has no effect before COMMIT');
    $writer->value('COMMIT');
    $refused->($_, 'REVOKE takes effect at COMMIT') foreach $reader, $other;
    $writer->value('BEGIN; GRANT SELECT ON gateway_pools TO app; ROLLBACK');
    $refused->($reader, 'GRANT that is rolled back has no effect');
    $writer->value('GRANT SELECT ON gateway_pools TO app');
    sees($_, '12', 'GRANT takes effect') foreach $reader, $other;

    $refused->($newcomer, 'a role that is not a member cannot pick');
    $db->value('GRANT app TO newcomer');
    sees($newcomer, '12', 'a role that becomes a member can') foreach 1, 2;
    $db->value('REVOKE app FROM newcomer');
    $refused->($newcomer, 'a role whose membership ends cannot');

    $refused->($stranger, 'without a grant to PUBLIC, a stranger cannot pick');
    $writer->value('GRANT SELECT ON gateway_pools TO PUBLIC');
    sees($stranger, '12', 'with a grant to PUBLIC, a stranger can pick') foreach 1, 2;
    $writer->value('REVOKE SELECT ON gateway_pools FROM PUBLIC');
    $refused->($stranger, 'after its revocation, a stranger cannot pick');

    $db->value('ALTER ROLE administrator NOSUPERUSER');
    $refused->($administrator, 'a former superuser cannot pick');
    $_->end foreach $session, $stranger, $newcomer, $administrator;
};

subtest 'the next pick sees a heartbeat' => sub {
    start_case();
    foreach (1 .. 20)
    {
        foreach (
            [ fail_sql(1), '2', 'failed' ],
            [ heard_sql(1), '12', 'fresh' ],
            [ qq{UPDATE gateways_v2 SET "heartbeatTTL" = NULL WHERE id = '$gateway{1}'}, '2', 'NULL' ],
            [ heard_sql(1), '12', 'fresh again' ],
            [ qq{UPDATE gateways_v2 SET heartbeat = now() - interval '1 hour' WHERE id = '$gateway{1}'}, '2', 'expired' ])
        {
            my ($change, $after, $what) = @$_;
            my @seen;

            $writer->value($change);
            @seen = map { picks($_) } $reader, $other;
            next if "@seen" eq "$after $after";
            return fail("$what: seen @seen");
        }
    }
    pass('failed, fresh, NULL, fresh, expired');

    start_case();
    $db->value(qq{SELECT record_gateway_heartbeat('$gateway{1}')});
    $writer->value(qq{UPDATE gateways_v2 SET heartbeat = now() - interval '1 hour' WHERE id = '$gateway{1}'});
    sees($reader, '12', 'a later report keeps the gateway healthy');
    $writer->value(fail_sql(1));
    sees($reader, '2', 'a failure recorded by the host after it counts');
    $db->value(qq{SELECT record_gateway_heartbeat('$gateway{1}')});
    sees($reader, '12', 'a report after the failure counts');
    $writer->value(qq{UPDATE gateways_v2 SET "heartbeatTTL" = NULL WHERE id = '$gateway{1}'});
    sees($reader, '2', 'a NULL recorded by the host after it counts');
    $db->value(qq{SELECT record_gateway_heartbeat('$gateway{1}')});
    $writer->value(qq{UPDATE gateways_v2 SET name = name WHERE id = '$gateway{1}'});
    sees($reader, '12', 'a report counts if the host records nothing new');
};

subtest 'heartbeats of 3,000 gateways in one transaction' => sub {
    my @of = ($fleet, 4);
    my $all = 'UPDATE gateways_v2 SET "heartbeatTTL" = %s WHERE id > \'91000000-0000-4000-8000-000000000000\'';
    my $down = sprintf $all, '0';
    my $up = sprintf $all, '180, heartbeat = clock_timestamp()';

    start_case();
    $writer->value(qq{
        INSERT INTO gateways_v2 (id, "orgId", "relayId", name, heartbeat, "heartbeatTTL")
            SELECT ('91000000-0000-4000-8000-' || lpad(n::text, 12, '0'))::uuid, '$acme', '$relay', 'fleet' || n, now(), 180
              FROM generate_series(1, 3000) AS n;
        INSERT INTO gateway_pool_memberships ("gatewayPoolId", "gatewayId")
            SELECT '$fleet', ('91000000-0000-4000-8000-' || lpad(n::text, 12, '0'))::uuid
              FROM unnest('{1,1024,1025,2000,3000}'::int[]) AS n});
    my $everybody = '11024102520003000';
    sees($_, $everybody, 'all are fresh', @of) foreach $reader, $reader, $writer, $writer;

    $writer->value("BEGIN; $down");
    sees($writer, 'none', 'its transaction sees the failures', @of);
    sees($reader, $everybody, 'other sessions do not', @of);
    $writer->value('ROLLBACK');
    sees($_, $everybody, 'no session does after ROLLBACK', @of) foreach $reader, $writer;

    $writer->value("BEGIN; SAVEPOINT s; $down");
    sees($writer, 'none', 'the subtransaction sees the failures', @of);
    $writer->value('ROLLBACK TO s');
    sees($writer, $everybody, 'after ROLLBACK TO it does not', @of);
    $writer->value('COMMIT');
    sees($_, $everybody, 'no session does after COMMIT', @of) foreach $reader, $writer;

    foreach (1 .. 3)
    {
        $writer->value($down);
        sees($_, 'none', 'all have failed', @of) foreach $reader, $other, $writer;
        $writer->value($up);
        sees($_, $everybody, 'all are fresh', @of) foreach $reader, $other, $writer;
    }
    $writer->value(q{DELETE FROM gateways_v2 WHERE id > '91000000-0000-4000-8000-000000000000'});
    sees($_, 'none', 'all are deleted', @of) foreach $reader, $other, $writer;
};

subtest 'the columns of the host change' => sub {
    my $migration = sub { $db->value("SELECT host_test.$_[0]('public')"); return };
    my $capable = sub { $_[0]->value(qq{SELECT coalesce(right(pick_healthy_gateway('$pool',
        capabilities => '{"pkcs11": true}', null_if_none => true)::text, 1), 'none')}) };

    start_case();
    $writer->value(fail_sql(1));
    sees($_, '2', 'a gateway has failed') foreach $reader, $writer;
    $migration->('unmigrate_heartbeat_ttl');
    sees($_, '12', 'without times-to-live, its heartbeat is fresh') foreach $reader, $other, $writer;
    $writer->value(qq{UPDATE gateways_v2 SET "lastHealthCheckStatus" = 'failed' WHERE id = '$gateway{2}'});
    sees($_, '1', 'the last check of another gateway has failed') foreach $reader, $other, $writer;
    $migration->('migrate_heartbeat_ttl');
    sees($_, '1', 'it is failed with times-to-live, too') foreach $reader, $other, $writer;
    $writer->value(heard_sql(2));
    sees($_, '12', 'its next heartbeat is seen') foreach $reader, $other, $writer;

    start_case();
    $writer->value(qq{UPDATE gateways_v2 SET capabilities = '{"pkcs11": true}' WHERE id = '$gateway{2}'});
    is($capable->($_), '2', 'a gateway gets a capability') foreach $reader, $reader, $other, $writer;
    $migration->('unmigrate_capabilities');
    is($capable->($_), 'none', 'without the column, no gateway has capabilities') foreach $reader, $other, $writer;
    sees($_, '12', 'picks without capabilities do not need the column') foreach $reader, $other, $writer;
    $migration->('migrate_capabilities');
    is($capable->($_), 'none', 'with the new column, no gateway has capabilities') foreach $reader, $other, $writer;
    $writer->value(qq{UPDATE gateways_v2 SET capabilities = '{"pkcs11": true}' WHERE id = '$gateway{1}'});
    is($capable->($_), '1', 'a new capability is seen') foreach $reader, $other, $writer;

    start_case();
    $writer->value(qq{UPDATE gateways_v2 SET "relayId" = NULL WHERE id = '$gateway{1}'});
    sees($_, '2', 'a gateway has no configured path') foreach $reader, $writer;
    $migration->('unmigrate_direct_address');
    sees($_, '12', 'without direct paths, the relay path counts') foreach $reader, $other, $writer;
    $migration->('migrate_direct_address');
    sees($_, '2', 'with direct paths, no path is configured') foreach $reader, $other, $writer;
    $writer->value(qq{UPDATE gateways_v2 SET "directAddress" = '10.0.0.1:1', "directHeartbeat" = now() WHERE id = '$gateway{1}'});
    sees($_, '12', 'a direct path is configured') foreach $reader, $other, $writer;

    # Uncommitted changes of columns are not visible to other sessions.
    $writer->value('UPDATE gateways_v2 SET "directAddress" = NULL, "directHeartbeat" = NULL');
    start_case();
    $writer->value(fail_sql(2));
    sees($_, '1', 'a gateway has failed') foreach $reader, $writer;
    foreach (
        [ 'DROP COLUMN "heartbeatTTL"', '12' ],
        [ 'DROP COLUMN heartbeat', 'none' ],
        [ 'RENAME COLUMN heartbeat TO heard', 'none' ])
    {
        my ($change, $after) = @$_;

        $writer->value("BEGIN; ALTER TABLE gateways_v2 $change");
        sees($writer, $after, "$change: its transaction sees it");
        sees($reader, '1', "$change: other sessions do not");
        $writer->value('ROLLBACK');
        sees($reader, '1', "$change: nor after ROLLBACK");
        sees($writer, '1', "$change: its session does not after ROLLBACK");
    }
};

subtest 'a heartbeat that was not published' => sub {
    start_case();

    # Gateway 1 has a short time-to-live, and gets a heartbeat without a trigger: sessions use
    # the former heartbeat until it expires.
    $writer->value(qq{
        UPDATE gateways_v2 SET heartbeat = clock_timestamp(), "heartbeatTTL" = 2 WHERE id = '$gateway{1}';
        CREATE TEMPORARY TABLE ends AS SELECT heartbeat + interval '2 s' AS at FROM gateways_v2 WHERE id = '$gateway{1}'});
    my @seen = map { picks($_) } $reader, $reader;
    my $in_time = $writer->value('SELECT clock_timestamp() < at FROM ends');
    is("@seen", '12 12', 'the former heartbeat is fresh') if $in_time eq 't';
    $db->value('ALTER TABLE gateways_v2 DISABLE TRIGGER USER');
    $writer->value(heard_sql(1));
    # Until a time-to-live is over.
    $writer->value(q{SELECT pg_sleep(greatest(0.1, 0.1 + extract(epoch FROM at - clock_timestamp()))) FROM ends});
    sees($_, '12', 'the former heartbeat has expired, and the new one is found') foreach $reader, $other, $writer;

    # All members at once; one without a new heartbeat expires.
    $db->value('ALTER TABLE gateways_v2 ENABLE TRIGGER USER');
    $db->value('ALTER TABLE gateways_v2 ENABLE ALWAYS TRIGGER "GatewayPools_invalidate"');
    start_case();
    $writer->value(qq{
        INSERT INTO gateway_pool_memberships ("gatewayPoolId", "gatewayId") VALUES ('$pool', '$gateway{3}');
        UPDATE gateways_v2 SET heartbeat = clock_timestamp(), "heartbeatTTL" = 2 WHERE id IN ('$gateway{1}', '$gateway{2}', '$gateway{3}');
        DROP TABLE ends;
        CREATE TEMPORARY TABLE ends AS SELECT max(heartbeat) + interval '2 s' AS at FROM gateways_v2 WHERE "heartbeatTTL" = 2});
    @seen = map { picks($_) } $reader, $reader;
    $in_time = $writer->value('SELECT clock_timestamp() < at FROM ends');
    is("@seen", '123 123', 'the former heartbeats are fresh') if $in_time eq 't';
    $db->value('ALTER TABLE gateways_v2 DISABLE TRIGGER USER');
    $writer->value(heard_sql($_)) foreach 1, 2;
    # Until all times-to-live are over.
    $writer->value(q{SELECT pg_sleep(greatest(0.1, 0.1 + extract(epoch FROM at - clock_timestamp()))) FROM ends});
    sees($_, '12', 'all former heartbeats have expired, and two new ones are found') foreach $reader, $other, $writer;

    $db->value('ALTER TABLE gateways_v2 ENABLE TRIGGER USER');
    $db->value('ALTER TABLE gateways_v2 ENABLE ALWAYS TRIGGER "GatewayPools_invalidate"');
};

# Returns how often the memberships have been read, by this session and all sessions that
# were passed before.
sub reads_after
{
    my ($session) = @_;

    $session->value('SELECT pg_stat_force_next_flush()');
    return $db->value('SELECT seq_scan + idx_scan FROM pg_stat_all_tables WHERE relid = \'gateway_pool_memberships\'::regclass');
}

subtest 'heartbeats invalidate no cached pool' => sub {
    my $pick_often = "SELECT count(*) FROM generate_series(1, 50) WHERE pick_healthy_gateway('$pool') IS NOT NULL";
    my ($before, $after);

    # No worker, because it reads members, too.
    $node->safe_psql('postgres', q{ALTER SYSTEM SET gateway_pool.worker = off; SELECT pg_reload_conf()});
    ok(soon(sub { $db->value(q{SELECT count(*) FROM gateway_pool_workers WHERE database = current_database() AND pid IS NOT NULL}) eq '0' }), 'the worker has stopped');
    start_case();
    reads_after($_) foreach $writer, $other;
    $reader->value($pick_often);
    $before = reads_after($reader);
    foreach my $round (1 .. 20)
    {
        $writer->value(qq{
            DO \$\$
            BEGIN
                FOR i IN 1 .. 100 LOOP
                    UPDATE gateways_v2 SET heartbeat = clock_timestamp(), "heartbeatTTL" = 180
                     WHERE id = CASE i % 2 WHEN 0 THEN '$gateway{1}' ELSE '$gateway{2}' END::uuid;
                    COMMIT;
                END LOOP;
            END
            \$\$});
        $reader->value($pick_often);
        # A busy table is vacuumed often.
        $db->value('VACUUM ANALYZE gateways_v2') if $round == 10;
    }
    reads_after($writer);
    $after = reads_after($reader);
    cmp_ok($after - $before, '<=', 2, '2,000 heartbeats and VACUUM: pools are not read again');

    $writer->value(q{UPDATE gateway_pool_memberships SET "pickWeight" = 2});
    $before = reads_after($writer);
    $reader->value($pick_often);
    $after = reads_after($reader);
    cmp_ok($after - $before, '>=', 1, 'a change of members: they are read again');
    $reader->value($pick_often);
    is(reads_after($reader), $after, 'they are read once');

    # The reads by picks are counted apart from those by the change.
    $before = $after;
    foreach (1 .. 20)
    {
        $writer->value(q{UPDATE gateway_pool_memberships SET "pickWeight" = "pickWeight" + 1});
        $reader->value($pick_often);
    }
    cmp_ok(reads_after($reader) - $before, '>=', 20, '20 changes of members: they are read each time');
    $node->safe_psql('postgres', q{ALTER SYSTEM RESET gateway_pool.worker; SELECT pg_reload_conf()});
};

subtest 'crash and restart' => sub {
    my $log = -s $node->logfile;
    my $setting = sub {
        my ($value) = @_;
        $node->safe_psql('postgres', "ALTER SYSTEM SET gateway_pool.startup_grace = '$value'");
        $node->safe_psql('postgres', 'SELECT pg_reload_conf()');
    };
    my $expire = sub {
        return qq{UPDATE gateways_v2 SET heartbeat = now() - interval '1 hour' WHERE id IN ('} . join(q{', '}, @gateway{@_}) . q{')};
    };

    # No worker: it would record the expired heartbeats, and grace does not apply to recorded ones.
    $node->safe_psql('postgres', 'ALTER SYSTEM SET gateway_pool.worker = off');
    $node->safe_psql('postgres', 'SELECT pg_reload_conf()');
    $writer->value('DELETE FROM gateway_health') if $node->poll_query_until($db->{name},
        q{SELECT count(*) = 0 FROM gateway_pool_workers WHERE database IS NOT NULL AND pid IS NOT NULL});

    start_case();
    $writer->value($expire->(2, 3, 4) . ';' . join(';', map { join_sql($_) } 3, 4) . ';'
          . qq{INSERT INTO gateway_health ("gatewayId", status) VALUES ('$gateway{3}', 'unhealthy')});
    sees($_, '1', 'before: one gateway is fresh') foreach $reader, $writer;
    $setting->('10min');
    my $victim = $db->session;
    my $pid = $victim->value('SELECT pg_backend_pid()');
    $victim->value('BEGIN; ' . leave_sql(1) . '; ' . join_sql(5));
    sees($victim, '245', 'an uncommitted transaction has grace for expired heartbeats that were not recorded');
    kill 'KILL', $pid or die "kill: $!";
    $db->wait_for_recovery($log);
    foreach ($victim, $reader, $other, $writer)
    {
        eval { $_->end };
    }

    ($reader, $other, $writer) = map { $db->as($_)->session } qw(app app app_owner);
    sees($reader, '124', 'after: expired gateways have grace, except for one recorded as unhealthy');
    $reader->shows("SELECT count(*) FROM generate_series(1, 100) WHERE pick_healthy_gateway('$pool') = '$gateway{1}'", 100,
        'fresh gateways are picked first');
    $writer->shows(q{SELECT string_agg(right("gatewayId"::text, 1) || ' ' || status, ', ' ORDER BY "gatewayId") FROM gateway_status
        WHERE right("gatewayId"::text, 1) IN ('1', '2', '3', '4')},
        '1 healthy, 2 degraded, 3 unhealthy, 4 degraded', 'gateway_status shows the same');
    $reader->value("SELECT report_gateway_failure('$gateway{4}')");
    sees($_, '12', 'a reported failure ends the grace') foreach $reader, $other;
    $writer->value(leave_sql(2));
    sees($_, '1', 'changes of members are seen') foreach $reader, $other, $writer;
    $writer->value(fail_sql(1));
    sees($_, 'none', 'heartbeats are seen') foreach $reader, $other, $writer;
    $writer->value(join_sql(2));
    sees($_, '2', 'an expired gateway has grace, a failed one has none') foreach $reader, $other, $writer;

    $setting->('0');
    $node->poll_query_until('app', 'SELECT status = \'unhealthy\' FROM gateway_status WHERE right("gatewayId"::text, 1) = \'2\'')
      or die 'the setting is not read';
    # Each session reads the configuration file later.
    foreach my $session ($reader, $other, $writer)
    {
        soon(sub { $session->value('SHOW gateway_pool.startup_grace') eq '0' });
        sees($session, 'none', 'without grace, expired gateways are unhealthy');
    }
    start_case();
};

$_->end foreach $reader, $other, $writer;
done_testing();
