# What the worker writes into the tables and notifies, and that it writes nothing while
# nothing changes.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;
use Patience qw(is_prompt soon);
use Peers;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);
use WatchedDatabase qw(start_watching_node gateway_id pool_id $acme);

my $peers = Peers->new;
my $node = start_watching_node('main', conf => "gateway_pool.suspect_ttl = 2s\nmax_prepared_transactions = 5");
my $db = WatchedDatabase->create($node);

$node->safe_psql('postgres', 'CREATE EXTENSION pg_walinspect');

# Returns payloads in short: "g1 unknown healthy", "pool 1 healthy unhealthy".
sub short
{
    return map {
        my ($kind, $number) = /"(gateway|gatewayPool)Id":"[0-9a-f-]+?0*(\d+)"/ or die "what is $_?";
        my ($old, $new) = /"oldStatus":"(\w+)","status":"(\w+)"\}$/ or die "what is $_?";
        ($kind eq 'gateway' ? 'g' : 'pool ') . "$number $old $new"
    } @_;
}

# Waits for some payloads, and returns them.
sub hear
{
    my ($listener, $number) = @_;
    my @heard;

    soon(sub { push @heard, $listener->hears; return @heard >= $number });
    return @heard;
}

subtest 'transitions' => sub {
    my $listener = $db->listener;
    my $peer = $peers->start('open');
    my @heard;
    my $begun = $db->value('SELECT clock_timestamp()');
    my $beaten;

    $db->add_gateways(1 .. 4);
    $db->beat(1, 3);
    $db->report(2, 3);
    $beaten = $db->value('SELECT clock_timestamp()');
    $db->probe(3, $peer);
    $db->beat(4, 600);
    foreach ([ 1, 'unknown healthy heartbeat fresh' ], [ 2, 'unknown healthy heartbeat fresh' ], [ 3, 'unknown healthy probe up' ],
        [ 4, 'unknown healthy heartbeat fresh' ])
    {
        $db->waits_for_event(@$_);
    }
    $peer->stop;
    $db->value("SELECT report_gateway_failure('" . gateway_id(4) . "', 'timeout')");
    $db->waits_for_event(3, 'healthy unhealthy probe down: refused');
    $db->waits_for_event(4, 'healthy degraded suspect: timeout');
    $peer->restart;
    $db->waits_for_event($_, 'healthy unhealthy heartbeat expired') foreach 1, 2;
    $db->waits_for_event(4, 'degraded healthy heartbeat fresh');
    $db->waits_for_event(3, 'unhealthy healthy probe up');
    $db->beat(1, 600);
    $db->report(2, 600);
    $db->waits_for_event($_, 'unhealthy healthy heartbeat fresh') foreach 1, 2;

    # All transitions, each once, in order.
    is($db->events(0, 1), "g1 unknown healthy heartbeat fresh\ng1 healthy unhealthy heartbeat expired\ng1 unhealthy healthy heartbeat fresh",
        'transitions by a heartbeat in the table are recorded');
    is($db->events(0, 2), "g2 unknown healthy heartbeat fresh\ng2 healthy unhealthy heartbeat expired\ng2 unhealthy healthy heartbeat fresh",
        'transitions by a reported heartbeat are recorded');
    is($db->events(0, 3), "g3 unknown healthy probe up\ng3 healthy unhealthy probe down: refused\ng3 unhealthy healthy probe up", 'transitions by a probe are recorded');
    is($db->events(0, 4), "g4 unknown healthy heartbeat fresh\ng4 healthy degraded suspect: timeout\ng4 degraded healthy heartbeat fresh", 'transitions by a reported failure are recorded');
    $db->shows(q{SELECT bool_and("occurredAt" >= before) FROM (SELECT "occurredAt", lag("occurredAt", 1, "occurredAt") OVER (ORDER BY id) AS before
        FROM gateway_health_events) e}, 't', 'events are in order');
    $db->shows(qq{SELECT count(*) FROM gateway_health_events WHERE reason = 'heartbeat expired'
        AND "occurredAt" BETWEEN timestamptz '$begun' + '3 s' AND timestamptz '$beaten' + '4 s'}, 2, 'heartbeats expire in time');
    $db->shows(q{SELECT u."occurredAt" - d."occurredAt" BETWEEN '1.9 s' AND '3 s' FROM gateway_health_events d
        JOIN gateway_health_events u ON u."oldStatus" = 'degraded' WHERE d."newStatus" = 'degraded'}, 't', 'the suspect mark expires in time');
    $db->shows(qq{SELECT bool_and("orgId" = '$acme') FROM gateway_health_events}, 't', 'events have the organization');

    $db->shows(q{SELECT g.name, h.status, h.reason, h."changedAt" = e."occurredAt", h."lastHeartbeatAt" IS NOT NULL, h."heartbeatExpiresAt" > now(),
        h."lastProbeAt" IS NOT NULL, h."lastProbeMs" >= 0, h."consecutiveFailures", h."consecutiveSuccesses" > 0
        FROM gateway_health h JOIN gateways_v2 g ON g.id = h."gatewayId" JOIN gateway_health_events e
        ON e.id = (SELECT max(id) FROM gateway_health_events e WHERE e."gatewayId" = g.id) ORDER BY 1},
        "g1|healthy|heartbeat fresh|t|t|t|f||0|f\ng2|healthy|heartbeat fresh|t|t|t|f||0|f\ng3|healthy|probe up|t|f||t|t|0|t\ng4|healthy|heartbeat fresh|t|t|t|f||0|f",
        'gateway_health has the last status and evidence');
    $db->shows(q{SELECT count(*) FROM gateway_status s JOIN gateway_health h USING ("gatewayId")
        WHERE (s.status, s.reason, s."changedAt") IS DISTINCT FROM (h.status, h.reason, h."changedAt")}, 0, 'gateway_status agrees with it');

    @heard = hear($listener, 12);
    is_deeply([ short(@heard) ], [ map { s/^(g\d+ \w+ \w+) .*/$1/r } split /\n/, $db->events(0) ], 'each transition is notified once');
    is(scalar(grep { !/^\{"gatewayId":"[0-9a-f-]{36}","orgId":"$acme","oldStatus":"[a-z]+","status":"[a-z]+"\}$/ } @heard), 0,
        'payloads contain ids and statuses only');
    $listener->end;
};

subtest 'a listener finds the rows of a notification' => sub {
    my $listener = $db->listener;
    my $number = 40;
    my $missing = 0;
    my $heard = 0;
    my $last = $db->last_event;

    foreach my $round (1 .. $number)
    {
        $db->value(sprintf q{UPDATE gateways_v2 SET "heartbeatTTL" = %d WHERE id = '%s'}, $round % 2 ? 0 : 600, gateway_id(1));
        foreach my $payload (hear($listener, 1))
        {
            my ($old, $new) = $payload =~ /"oldStatus":"(\w+)","status":"(\w+)"/;
            my $found = $listener->value(qq{SELECT (SELECT count(*) FROM gateway_health_events WHERE id > $last AND "gatewayId" = '} . gateway_id(1)
                  . qq{' AND "oldStatus" = '$old' AND "newStatus" = '$new') || (SELECT h.status FROM gateway_health h WHERE h."gatewayId" = '}
                  . gateway_id(1) . q{')});
            $heard++;
            $missing++ if $found ne int(($heard + 1) / 2) . $new;
        }
    }
    is($heard, $number, 'each transition is notified once');
    is($missing, 0, 'its rows are visible');
    $listener->end;
};

subtest 'pools' => sub {
    my $listener = $db->listener;
    my $state = sub { $db->value("SELECT set_gateway_state('" . gateway_id($_[0]) . "', '$_[1]', 'test')") };
    my $is_told = sub {
        my ($what, @expected) = @_;
        is_deeply([ short(hear($listener, scalar @expected)) ], \@expected, $what);
    };

    # Seen together first, the pool has no eligible member.
    $db->value('BEGIN');
    $db->add_gateways(5, 6);
    $db->add_pool(1, 5, 6);
    $db->value('COMMIT');
    $db->beat(6, 600);
    $is_told->('the first member becomes eligible, the second in order', 'g6 unknown healthy', 'pool 1 unhealthy healthy');
    $db->beat(5, 600);
    $is_told->('another member becomes eligible', 'g5 unknown healthy');
    $state->(5, 'draining');
    $db->beat(6, 0);
    $is_told->('the last eligible member becomes unhealthy', 'g6 healthy unhealthy', 'pool 1 healthy unhealthy');
    $state->(5, 'active');
    $is_told->('a member becomes eligible by its state', 'pool 1 unhealthy healthy');
    $state->(5, 'maintenance');
    $is_told->('it is lost by its state', 'pool 1 healthy unhealthy');
    $db->value("SELECT set_gateway_state('" . gateway_id(5) . "', 'maintenance', until => clock_timestamp() + interval '1 s')");
    $is_told->('its state ends', 'pool 1 unhealthy healthy');
    like($db->value('SELECT clock_timestamp() - until FROM gateway_states'), qr/^00:00:0[012]/, 'not before the end, and soon after it');
    $state->(5, 'maintenance');
    $is_told->('it is lost again', 'pool 1 healthy unhealthy');
    $db->beat(6, 600);
    $is_told->('a member becomes eligible by its health', 'g6 unhealthy healthy', 'pool 1 unhealthy healthy');
    $db->value(qq{DELETE FROM gateway_pool_memberships WHERE "gatewayId" = '} . gateway_id(6) . q{'});
    $is_told->('it is lost by leaving the pool', 'pool 1 healthy unhealthy');
    $db->value(qq{DELETE FROM gateway_pool_memberships WHERE "gatewayPoolId" = '} . pool_id(1) . q{'});
    $db->value(qq{INSERT INTO gateway_pool_memberships ("gatewayPoolId", "gatewayId") VALUES ('} . pool_id(1) . q{', '} . gateway_id(6) . q{')});
    $is_told->('it is added again', 'pool 1 unhealthy healthy');
    $db->value(q{DELETE FROM gateways_v2 WHERE name = 'g6'});
    $is_told->('its gateway is deleted', 'pool 1 healthy unhealthy');

    # No notifications in another database, nor while the setting is off.
    $node->append_conf('postgresql.conf', 'gateway_pool.notify = off');
    $node->reload;
    $db->waits_for(q{current_setting('gateway_pool.notify') = 'off'}, 'notify is off');
    $db->beat(1, 0);
    $db->waits_for_event(1, 'healthy unhealthy heartbeat failed');
    $db->beat(1, 600);
    $db->waits_for_event(1, 'unhealthy healthy heartbeat fresh');
    $node->append_conf('postgresql.conf', 'gateway_pool.notify = on');
    $node->reload;
    $db->waits_for(q{current_setting('gateway_pool.notify') = 'on'}, 'notify is on');
    $db->beat(1, 0);
    $is_told->('nothing is notified while the setting is off', 'g1 healthy unhealthy');
    $listener->end;
};

subtest 'gateways that are added and deleted' => sub {
    my $last = $db->last_event;
    my $peer = $peers->start('http', 200);
    my $begun;

    $db->add_gateways(7);
    $db->probe(7, $peer, 'http');
    $begun = time;
    ok($peer->wait_for(1), 'a new gateway is probed');
    is_prompt(2.5, time - $begun, 'it is probed soon');
    $db->waits_for_event(7, 'unknown healthy probe up');

    # Recording its change waits for a lock until the gateway is deleted.
    {
        my $session = $db->session;

        $session->value('BEGIN; LOCK gateway_health IN ACCESS EXCLUSIVE MODE');
        $peer->stop;
        $db->waits_for(q{EXISTS (SELECT FROM gateway_pool_workers WHERE "queueLength" > 0)}, 'a change waits to be recorded');
        $session->value(q{DELETE FROM gateways_v2 WHERE name = 'g7'; COMMIT});
        $session->end;
    }
    $db->waits_for_event(7, 'healthy unhealthy probe down: refused', 'the change is recorded though the gateway is deleted');
    $db->waits_for(q{NOT EXISTS (SELECT FROM gateway_pool_workers WHERE "queueLength" > 0 OR problem <> '')}, 'no change waits');
    $db->shows(q{SELECT count(*) FROM gateway_health WHERE "gatewayId" = '} . gateway_id(7) . q{'}, 0, 'gateway_health has no row of it');
    is($db->events($last), "g7 unknown healthy probe up\ng7 healthy unhealthy probe down: refused", 'there are no other events');
};

subtest 'old events, and old rows of the audit log' => sub {
    my $last = $db->last_event;
    my $logged = $db->value('SELECT count(*) FROM gateway_pool_audit_logs');

    $db->value(qq{INSERT INTO gateway_health_events (id, "gatewayId", "orgId", "gatewayName", "oldStatus", "newStatus", reason, "occurredAt")
        OVERRIDING SYSTEM VALUE SELECT -n, gen_random_uuid(), '$acme', 'old', 'healthy', 'unhealthy', 'long ago', now() - interval '40 days'
        FROM generate_series(1, 1700) n});
    $db->value(qq{SET session_replication_role = replica;
        INSERT INTO gateway_pool_audit_logs (id, "orgId", "eventType", "eventMetadata", "createdAt") OVERRIDING SYSTEM VALUE
        SELECT -n, '$acme', 'gateway-pool-create', '{}', now() - interval '40 days' FROM generate_series(1, 1700) n;
        RESET session_replication_role});
    $node->restart;
    $db->reconnect;
    $db->waits_for(q{NOT EXISTS (SELECT FROM gateway_health_events WHERE id < 0)}, 'old events are pruned');
    $db->shows(qq{SELECT min(id), max(id) FROM gateway_health_events WHERE id <= $last}, "1|$last", 'other events stay');
    $db->shows('SELECT count(*) FROM gateway_pool_audit_logs', $logged + 1700, 'without audit_retention, the audit log keeps all rows');
    $node->append_conf('postgresql.conf', 'gateway_pool.audit_retention = 30d');
    $node->restart;
    $db->reconnect;
    $db->waits_for(q{NOT EXISTS (SELECT FROM gateway_pool_audit_logs WHERE id < 0)}, 'with audit_retention, old rows are pruned');
    $db->shows('SELECT count(*) > 0, count(*) FROM gateway_pool_audit_logs', "t|$logged", 'other rows stay');
};

# The files of the tables, their indexes and the sequence, and the WAL records for them.
my $ours = q{relname IN ('gateway_pools', 'gateway_pool_memberships', 'gateway_pool_entitlements', 'gateway_states', 'gateway_probes', 'gateway_health',
    'gateway_health_events', 'gateway_pool_audit_logs')};

sub files
{
    return join '|', split /\n/, $db->value(qq{SELECT pg_relation_filenode(c.oid) FROM pg_class c WHERE $ours
        UNION SELECT pg_relation_filenode(indexrelid) FROM pg_index i JOIN pg_class c ON c.oid = indrelid WHERE $ours
        UNION SELECT pg_relation_filenode(d.objid) FROM pg_depend d JOIN pg_class c ON c.oid = d.refobjid JOIN pg_class s ON s.oid = d.objid
        WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND s.relkind = 'S' AND c.$ours});
}

sub wal_since
{
    my ($from) = @_;
    my $database = $db->value('SELECT oid FROM pg_database WHERE datname = current_database()');

    # Makes sure that there is WAL, and that it can be read.
    $node->safe_psql('postgres', q{SELECT pg_logical_emit_message(false, 'test', ''); SELECT pg_switch_wal()});
    return $node->safe_psql('postgres', qq{SELECT count(*) FILTER (WHERE block_ref ~ '/$database/(} . files() . qq{)\\M'),
        count(*) FILTER (WHERE record_type = 'COMMIT') FROM pg_get_wal_records_info('$from', pg_current_wal_flush_lsn())});
}

subtest 'nothing is written while nothing changes' => sub {
    my @fleet = $peers->fleet(50, 'http', 200);
    my @gateways = (101 .. 150);
    my @counts;
    my $from;
    my $reporter;

    $db->add_gateways(@gateways);
    # On a busy machine an answer may take longer than the 200 ms of other probes here.
    $db->value(join ';', map { WatchedDatabase::probe_sql($gateways[$_], $fleet[$_], 'http', q{probe_interval => '1 s', timeout => '1 s'}) } 0 .. 49);
    $db->waits_for(q{50 = (SELECT count(*) FROM gateway_health WHERE status = 'healthy' AND reason = 'probe up' AND "gatewayId"::text LIKE '%1__')},
        'all gateways of a fleet are up');
    $db->report($_, 600) foreach 2, 101;
    $db->waits_for(q{'heartbeat fresh' = (SELECT reason FROM gateway_status WHERE name = 'g101')}, 'one of them has a fresh heartbeat too');
    $reporter = $db->session;

    # An event appears in the WAL, which shows that the next count works.
    $from = $db->value('SELECT pg_current_wal_insert_lsn()');
    $db->beat(4, 0);
    $db->waits_for_event(4, 'healthy unhealthy heartbeat failed');
    like(wal_since($from), qr/^[1-9]\d*\|[1-9]/, 'an event is in the WAL');

    $db->value('VACUUM');
    $from = $db->value('SELECT pg_current_wal_insert_lsn()');
    @counts = map { $_->count->{accepted} } @fleet;
    $reporter->value(q{SELECT record_gateway_heartbeat(id, '600 s') FROM gateways_v2, generate_series(1, 1000) WHERE name IN ('g2', 'g101')}) foreach 1 .. 10;
    ok($fleet[$_]->wait_for($counts[$_] + 9), 'gateways are probed often') foreach 0, 49;
    is(wal_since($from), '0|0', 'no WAL record is written, and no transaction') || diag($db->state);
    $reporter->end;
};

# After a restart all is as before: nothing is notified again, and evidence is kept.
subtest 'restarts' => sub {
    my $last;
    my @peers = map { $peers->start('open') } 1 .. 2;
    my $health = q{SELECT g.name, h.status, h.reason, h."changedAt" FROM gateway_health h JOIN gateways_v2 g ON g.id = h."gatewayId" WHERE g.name LIKE 'g2__' ORDER BY 1};
    my $status = q{SELECT name, status, reason FROM gateway_status WHERE name BETWEEN 'g201' AND 'g206' ORDER BY 1};
    my $pick = sub { $db->value(sprintf q{SELECT string_agg(g.name, ' ' ORDER BY g.name) FROM pick_healthy_gateways('%s', 10) p JOIN gateways_v2 g ON g.id = p}, pool_id(2)) };
    my $before;
    my $set_worker = sub {
        $node->append_conf('postgresql.conf', "gateway_pool.worker = $_[0]");
    };

    my $after_round = sub {
        my $round = $db->worker('lastRoundAt');
        $db->waits_for(qq{(SELECT "lastRoundAt" <> '$round' FROM gateway_pool_workers WHERE database = current_database())}, 'a round ends');
    };

    $node->append_conf('postgresql.conf', 'gateway_pool.startup_grace = 3min');
    $db->value(q{DELETE FROM gateways_v2 WHERE name NOT IN ('g1', 'g4')});
    $db->add_gateways(201 .. 208);
    $db->add_pool(2, 201 .. 206);
    # Its first member is not the eligible one.
    $db->add_pool(3, 4, 201);
    $db->report(201, 3600);
    $db->probe(202, $peers[0]);
    $db->beat(203, 3600);
    $db->probe(204, $peers[1]);
    $db->report(205, 4);
    $db->beat(206, 4);
    $db->waits_for_event(204, 'unknown healthy probe up');
    $peers[1]->stop;
    $db->waits_for_event($_, 'unknown healthy ' . ($_ == 202 ? 'probe up' : 'heartbeat fresh')) foreach 201 .. 203;
    $db->waits_for_event($_, 'healthy unhealthy heartbeat expired') foreach 205, 206;
    $db->waits_for_event(204, 'healthy unhealthy probe down: refused');
    is($pick->(), 'g201 g202 g203', 'three gateways are picked before');
    # A later report counts, which is not recorded yet.  A worker that is told to end while
    # it reads does not record it: the server is stopped just after a round.
    $db->report(201, 7200);
    $last = $db->last_event;
    $before = $db->value($health);

    foreach ([ 'fast', 207 ], [ 'immediate', 208 ])
    {
        my ($mode, $new) = @$_;
        my $listener;

        $set_worker->('off');
        $after_round->();
        $node->stop($mode);
        $node->start;
        $db->reconnect;
        is($pick->(), 'g201 g202 g203', "$mode, without a worker: the same gateways are picked at once");
        $db->shows($status, "g201|healthy|heartbeat fresh\ng202|degraded|probe overdue\ng203|healthy|heartbeat fresh\n"
              . "g204|unhealthy|probe down\ng205|unhealthy|heartbeat expired\ng206|unhealthy|heartbeat expired",
            'their statuses are known');
        $db->shows(q{SELECT h."heartbeatExpiresAt" > now() + interval '100 min' FROM gateway_status h WHERE name = 'g201'}, 't',
            'the last report counts');
        $listener = $db->listener;
        $set_worker->('on');
        $node->reload;
        $db->waits_for(q{2 = (SELECT count(*) FROM gateway_status WHERE name IN ('g202', 'g204') AND reason LIKE 'probe %' AND reason <> 'probe overdue')}, 'a worker probes');
        # The next notification would come after earlier ones.
        $db->report($new, 3600);
        is_deeply([ short(hear($listener, 1)) ], [ "g$new unknown healthy" ], 'only the new transition is notified');
        $db->waits_for_event($new, 'unknown healthy heartbeat fresh');
        is($db->events($last), "g$new unknown healthy heartbeat fresh", 'there are no other events');
        is($db->value($health) =~ s/\ng20[78].*//sr, $before, 'the rows of gateway_health are unchanged');
        $listener->end;
        $last = $db->last_event;

        # And again with a worker from the start.
        $node->stop($mode);
        $node->start;
        $db->reconnect;
        is($pick->(), 'g201 g202 g203', "$mode: the same gateways are picked at once");
        $db->waits_for(q{2 = (SELECT count(*) FROM gateway_status WHERE name IN ('g202', 'g204') AND reason LIKE 'probe %' AND reason <> 'probe overdue')}, 'gateways are probed');
        is($db->events($last), '', 'there are no events');
    }

    # Of recorded heartbeats, only reported ones count after a start: those in the table count by their rows.
    $node->append_conf('postgresql.conf', 'gateway_pool.startup_grace = 0');
    $node->reload;
    $db->waits_for(q{current_setting('gateway_pool.startup_grace') = '0'}, 'the grace is over');
    $db->value(q{UPDATE gateways_v2 SET heartbeat = heartbeat - interval '2 hours' WHERE name = 'g203'});
    is($pick->(), 'g201 g202', 'a gateway with an older heartbeat in its row is not picked');
    $db->waits_for_event(203, 'healthy unhealthy heartbeat expired');
};

# The worker detects deletions that their transaction does not publish.
subtest 'deletions that are not published' => sub {
    my %deletion = (
        'many at once' => [ [ 1001 .. 2100 ], '%s' ],
        'by COMMIT PREPARED' => [ [2201], q{BEGIN; %s; PREPARE TRANSACTION 'deletion'; COMMIT PREPARED 'deletion'} ]);

    foreach my $how (sort keys %deletion)
    {
        my ($numbers, $transaction) = @{ $deletion{$how} };
        my ($first, $last) = @$numbers[ 0, -1 ];
        my $report = qq{SELECT record_gateway_heartbeat('} . gateway_id($last) . q{')};

        $db->add_gateways(@$numbers);
        $db->value($report);
        $db->waits_for_event($last, 'unknown healthy heartbeat fresh');
        $db->value(sprintf $transaction, qq{DELETE FROM gateways_v2 WHERE id BETWEEN '} . gateway_id($first) . q{' AND '} . gateway_id($last) . q{'});
        ok(soon(sub { $db->run($report)->{state} eq 'P0002 gateway_pools_not_found' }), $how);
    }
};

# A session that only reads sees no change between a worker's end and the first probes of the next.
subtest 'another worker' => sub {
    my $last = $db->last_event;
    my $pid;

    # Results of probes are valid for three intervals, which is longer than this takes.
    $node->append_conf('postgresql.conf', 'gateway_pool.probe_interval = 4s');
    $node->restart;
    $db->reconnect;
    $db->waits_for(q{2 = (SELECT count("lastProbeAt") FROM gateway_probe_status WHERE verdict IN ('up', 'down'))}, 'gateways are probed');
    $pid = $db->worker('pid');
    $db->value(q{
        CREATE FUNCTION watch_terminate(worker int, OUT looks int, OUT others int, OUT came boolean) LANGUAGE plpgsql AS $$
        DECLARE
            ends timestamptz := clock_timestamp() + '60 s';
            probed timestamptz;
            known text;
            now text;
        BEGIN
            looks := 0; others := 0; came := false;
            LOOP
                now := (SELECT string_agg(concat(name, status, reason), ' ' ORDER BY name) FROM gateway_status);
                IF looks = 0 THEN
                    PERFORM pg_terminate_backend(worker);
                END IF;
                looks := looks + 1;
                others := others + (now IS DISTINCT FROM coalesce(known, now))::int;
                known := now;
                IF probed IS NULL THEN
                    probed := (SELECT clock_timestamp() FROM gateway_pool_workers
                                WHERE "databaseId" = (SELECT oid FROM pg_database WHERE datname = current_database()) AND pid <> worker AND targets > 0);
                END IF;
                came := (SELECT min("lastProbeAt") > probed FROM gateway_probe_status);
                EXIT WHEN came OR clock_timestamp() > ends;
            END LOOP;
        END $$});
    $db->shows("SELECT others, came, looks > 20 FROM watch_terminate($pid)", '0|t|t', 'a reading session sees no change');
    isnt($db->worker('pid'), $pid, 'the worker is another one');
    is($db->events($last), '', 'there are no events');
};

$node->stop;
done_testing();
