# Shared memory of one server and several databases: evidence does not mix,
# slots of databases that are gone are used again, and where there are too few,
# or none at all since the library is not preloaded, picks are right anyway.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;
use Patience qw(soon);
use PoolDatabase qw(start_node);
use PostgreSQL::Test::Utils;
use Test::More;

my $acme = 'a0000000-0000-4000-8000-000000000001';
my $pool = 'b0000000-0000-4000-8000-000000000001';

# A full map is looked through for slots that are not needed any more this often.
my $sweep_pause = 10;

sub gateway { return sprintf '90000000-0000-4000-8000-%012d', $_[0] }

# The host with so many gateways, all fresh and members of the pool.
sub make_database
{
    my ($node, $name, $gateways) = @_;
    my $db = PoolDatabase->create_with_host_functions($node, $name);

    $db->value(qq{SELECT host_test.make_host('public', 2); CREATE EXTENSION gateway_pool;
        SELECT host_test.add_org('public', 'acme', '$acme');
        INSERT INTO gateway_pools (id, "orgId", name) VALUES ('$pool', '$acme', 'edge')});
    add_gateways($db, 1, $gateways);
    return $db;
}

sub add_gateways
{
    my ($db, $first, $last) = @_;

    return $db->value(qq{
        SELECT host_test.add_gateway('public', '$acme', 'g' || n, '0s', ('90000000-0000-4000-8000-' || lpad(n::text, 12, '0'))::uuid)
          FROM generate_series($first, $last) AS n;
        INSERT INTO gateway_pool_memberships ("gatewayPoolId", "gatewayId")
            SELECT '$pool', ('90000000-0000-4000-8000-' || lpad(n::text, 12, '0'))::uuid FROM generate_series($first, $last) AS n});
}

# The numbers of all gateways that picks may fall on, and one of a pick that is
# not among them.
my $picks = qq{
    SELECT concat_ws(' and single ', many, CASE WHEN single <> ALL (string_to_array(many, ' ')) THEN single END)
      FROM (SELECT coalesce(ltrim(right(pick_healthy_gateway('$pool', null_if_none => true)::text, 4), '0'), 'none') AS single) AS s,
           (SELECT coalesce(string_agg(ltrim(right(p::text, 4), '0'), ' ' ORDER BY p), 'none') AS many
              FROM pick_healthy_gateways('$pool', 1000, null_if_none => true) AS p) AS m};

sub sees
{
    my ($session, $expected, $label) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;
    return $session->shows($picks, $expected, $label);
}

# The only gateway that single picks fall on, of 100.
sub always
{
    my ($session, $expected, $label) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;
    return $session->shows(qq{SELECT string_agg(DISTINCT ltrim(right(pick_healthy_gateway('$pool')::text, 4), '0'), ' ')
        FROM generate_series(1, 100)}, $expected, $label);
}

sub fail_sql { return qq{UPDATE gateways_v2 SET "heartbeatTTL" = 0 WHERE id = '@{[gateway($_[0])]}'} }
sub heard_sql { return qq{UPDATE gateways_v2 SET heartbeat = clock_timestamp(), "heartbeatTTL" = 180 WHERE id = '@{[gateway($_[0])]}'} }
sub expire_sql { return qq{UPDATE gateways_v2 SET heartbeat = now() - interval '1 hour' WHERE id = '@{[gateway($_[0])]}'} }
sub report_sql { return qq{SELECT record_gateway_heartbeat('@{[gateway($_[0])]}')} }

# What statements print and how often they warn.
sub with_warnings
{
    my ($session, $sql) = @_;
    my $result = $session->run($sql);
    my @warnings = $result->{err} =~ /^.*WARNING:  .*$/mg;

    diag($result->{err}) if $result->{state} ne '';
    return "$result->{out}, " . @warnings . ' warnings';
}

my $settings = q{
    gateway_pool.startup_grace = 0
    gateway_pool.heartbeat_grace = 0
    gateway_pool.default_entitlement = on
};
my $node = start_node('main', conf => qq{
    shared_preload_libraries = 'gateway_pool'
    gateway_pool.max_gateways = 20
    $settings});

subtest 'two databases with the same ids' => sub {
    my @db = map { make_database($node, $_, 3) } 'a', 'b';
    my ($here, $there) = map { $_->session } @db;
    my $least_loaded = qq{SELECT string_agg(right(pick_healthy_gateway('$pool', strategy => 'least_loaded')::text, 1), '')
        FROM generate_series(1, 2)};

    sees($_, '1 2 3', 'before') foreach $here, $here, $there, $there;
    $here->value(fail_sql(1));
    sees($here, '2 3', 'failed in the one');
    sees($there, '1 2 3', 'not in the other');
    $there->value(fail_sql(2));
    sees($here, '2 3', 'another failed in the other');
    sees($there, '1 3', 'where it is seen');

    # Gone in both; heard of in one.
    $_->value(join ';', heard_sql(1), heard_sql(2), expire_sql(3)) foreach @db;
    sees($_, '1 2', 'expired in both') foreach $here, $there;
    $here->value(report_sql(3));
    sees($here, '1 2 3', 'a heartbeat was reported in the one');
    sees($there, '1 2', 'not in the other');
    $here->value(q{DELETE FROM gateway_pool_memberships WHERE "gatewayId" = '} . gateway(3) . q{'});
    sees($here, '1 2', 'a member has gone in the one');
    $there->value(report_sql(3));
    sees($there, '1 2 3', 'but not in the other');
    $there->value(fail_sql(3));
    sees($_, '1 2', 'two are left') foreach $here, $there;

    $here->value(q{SELECT report_gateway_failure('} . gateway(1) . q{', 'reset')});
    always($here, '2', 'suspect in the one');
    always($there, '1 2', 'not in the other');
    $there->shows(q{SELECT count(*) FROM gateway_status WHERE "suspectUntil" IS NOT NULL}, 0, 'nor does a view there say so');
    $there->value(q{SELECT report_gateway_failure('} . gateway(2) . q{')});
    always($here, '2', 'another is suspect in the other');
    always($there, '1', 'where it is seen');

    # Loads, of those two and a third one each.
    foreach ($here, $there)
    {
        $_->value(heard_sql(3));
        $_->value(qq{INSERT INTO gateway_pool_memberships ("gatewayPoolId", "gatewayId") VALUES ('$pool', '@{[gateway(3)]}') ON CONFLICT DO NOTHING});
    }
    $here->value("SELECT report_gateway_load('@{[gateway(2)]}', 7), report_gateway_load('@{[gateway(3)]}', 0)");
    $there->value("SELECT report_gateway_load('@{[gateway(1)]}', 0), report_gateway_load('@{[gateway(3)]}', 7)");
    $here->shows($least_loaded, '33', 'least load in the one');
    $there->shows($least_loaded, '11', 'and in the other');
    $here->shows(qq{SELECT release_gateway('@{[gateway(3)]}'), release_gateway('@{[gateway(1)]}')}, 't|f', 'places taken in the one');
    $there->shows(qq{SELECT release_gateway('@{[gateway(1)]}'), release_gateway('@{[gateway(3)]}')}, 't|f', 'and in the other');

    # Where all rows go, all slots of the database do, and of no other.
    $there->value('TRUNCATE gateways_v2 CASCADE');
    sees($there, 'none', 'truncated in the other');
    $here->shows(qq{SELECT right(pick_healthy_gateway('$pool', strategy => 'least_loaded')::text, 1)}, '3', 'nothing is lost in the one');
    always($here, '2 3', 'suspects neither');

    $_->end foreach $here, $there;
    $node->safe_psql('postgres', "DROP DATABASE $_") foreach 'a', 'b';
};

subtest 'DROP DATABASE' => sub {
    my ($a, $b, $session);

    # Nobody has looked for slots in vain a short while ago.
    $node->restart;
    $a = make_database($node, 'a', 18);
    $a->value($picks);
    $a->value(join ';', map { "SELECT record_gateway_heartbeat('@{[gateway($_)]}'), report_gateway_load('@{[gateway($_)]}', 1)" } 1 .. 18);
    $node->safe_psql('postgres', 'DROP DATABASE a');
    $b = make_database($node, 'b', 18);
    $session = $b->session;
    $session->works(report_sql($_), "gateway $_ has a slot") foreach 1 .. 18;
    $session->works("SELECT report_gateway_load('@{[gateway($_)]}', @{[$_ == 7 ? 1 : 2]})", "gateway $_ reports its load") foreach 1 .. 18;
    $session->shows(qq{SELECT ltrim(right(pick_healthy_gateway('$pool', strategy => 'least_loaded')::text, 4), '0')}, '7', 'least_loaded works');
    is(with_warnings($session, $picks), join(' ', 1 .. 18) . ', 0 warnings', 'no pick reads the tables');
    $b->shows(q{SELECT count(*) FROM check_gateway_pools() WHERE problem ~ 'full'}, 0, 'there is room');
    $session->end;
    $node->safe_psql('postgres', 'DROP DATABASE b');
};

subtest 'more gateways than slots' => sub {
    my $db = make_database($node, 'crowded', 25);
    my ($reader, $writer) = map { $db->session } 1, 2;
    my $all = join ' ', 1 .. 25;
    my @refused;

    # The slots of the databases before may still be to be found.
    soon(sub { @refused = grep { $db->run(report_sql($_))->{state} =~ /^53400/ } 1 .. 25; return @refused <= 5 }, $sweep_pause + 10);
    is(@refused, 5, 'as many have slots as there are');
    foreach my $report ('record_gateway_heartbeat(%s)', 'report_gateway_failure(%s)', 'report_gateway_load(%s, 1)', 'release_gateway(%s)')
    {
        my $error = $db->fails('SELECT ' . sprintf($report, q{'} . gateway($refused[0]) . q{'}), '53400 gateway_pools_map_full', "no room: $report");
        like($error, qr/^HINT:  .*gateway_pool\.max_gateways/m, 'the hint names the setting');
    }

    is(with_warnings($reader, $picks), "$all, 1 warnings", 'all are picked, with one warning');
    is(with_warnings($reader, $picks), "$all, 0 warnings", 'and no more');
    is(with_warnings($writer, "SELECT count(*) FROM generate_series(1, 100) WHERE pick_healthy_gateway('$pool') IS NOT NULL"), '100, 1 warnings',
        'one in each session');

    foreach my $with_slot (0, 1)
    {
        my $gateway = $with_slot ? (grep { my $n = $_; !grep { $_ == $n } @refused } 1 .. 25)[0] : $refused[0];
        my $without = join ' ', grep { $_ != $gateway } 1 .. 25;
        my $which = $with_slot ? 'with a slot' : 'without a slot';

        foreach (
            [ fail_sql($gateway), $without, 'failed' ], [ heard_sql($gateway), $all, 'fresh' ],
            [ qq{INSERT INTO gateway_states ("gatewayId", state) VALUES ('@{[gateway($gateway)]}', 'draining')}, $without, 'drained' ],
            [ 'DELETE FROM gateway_states', $all, 'active' ],
            [ qq{DELETE FROM gateway_pool_memberships WHERE "gatewayId" = '@{[gateway($gateway)]}'}, $without, 'no member' ],
            [ qq{INSERT INTO gateway_pool_memberships ("gatewayPoolId", "gatewayId") VALUES ('$pool', '@{[gateway($gateway)]}')}, $all, 'member' ])
        {
            my ($change, $after, $what) = @$_;

            $writer->value("BEGIN; $change");
            sees($writer, $after, "$which, $what: its transaction sees it");
            $writer->value('ROLLBACK');
            $writer->value("BEGIN; SAVEPOINT s; $change; ROLLBACK TO s; COMMIT");
            $writer->value($change);
            sees($reader, $after, "$which, $what: others do after COMMIT");
        }
    }

    # Room is made: five leave, and with them their slots.
    $writer->value(join ';', map { "DELETE FROM gateways_v2 WHERE id = '@{[gateway($_)]}'" }
          (grep { my $n = $_; !grep { $_ == $n } @refused } 1 .. 25)[0 .. 4]);
    $writer->value($picks);
    $reader->works(report_sql($_), "gateway $_ has a slot by now") foreach @refused;
    my $session = $db->session;
    like(with_warnings($session, $picks), qr/, 0 warnings$/, 'a new session has nothing to warn of');
    $_->end foreach $reader, $writer, $session;
    $node->safe_psql('postgres', 'DROP DATABASE crowded');
};
$node->stop;

subtest 'DROP EXTENSION, CREATE EXTENSION' => sub {
    $node->append_conf('postgresql.conf', 'gateway_pool.max_gateways = 100');
    $node->start;
    my $db = make_database($node, 'app', 3);
    my ($reader, $writer) = map { $db->session } 1, 2;
    my $leave = q{DELETE FROM gateway_pool_memberships WHERE "gatewayId" = '} . gateway(3) . q{'};
    my $join = qq{INSERT INTO gateway_pool_memberships ("gatewayPoolId", "gatewayId") VALUES ('$pool', '@{[gateway(3)]}')};

    foreach my $round (1, 2)
    {
        sees($_, '1 2 3', "round $round: before") foreach $reader, $reader, $writer, $writer;
        $db->value('DROP EXTENSION gateway_pool CASCADE');
        $_->fails($picks, '42883', "round $round: nothing picks") foreach $reader, $writer;
        # Nobody tells anybody of this.
        $writer->value($leave . ';' . fail_sql(1));
        $db->value('CREATE EXTENSION gateway_pool');
        sees($_, '2', "round $round: what changed meanwhile is seen") foreach $reader, $writer;
        $writer->value($join . ';' . heard_sql(1));
        sees($_, '1 2 3', "round $round: what changes after that is, too") foreach $reader, $writer;
    }

    $writer->value('BEGIN; DROP EXTENSION gateway_pool CASCADE; ROLLBACK');
    sees($_, '1 2 3', 'DROP EXTENSION that is rolled back') foreach $reader, $writer;
    $writer->value('BEGIN; DROP EXTENSION gateway_pool CASCADE; ' . $leave . '; CREATE EXTENSION gateway_pool');
    sees($writer, '1 2', 'gone and back in one transaction');
    $writer->value('COMMIT');
    sees($_, '1 2', 'committed') foreach $reader, $writer;
    $writer->value($join);
    sees($_, '1 2 3', 'a member comes') foreach $reader, $writer;

    $writer->value('SELECT uninstall_gateway_pools()');
    $writer->value($leave . ';' . fail_sql(1));
    $writer->value('SELECT install_gateway_pools()');
    sees($_, '2', 'uninstalled and installed again') foreach $reader, $writer;
    $_->end foreach $reader, $writer;
};
$node->stop;

subtest 'not preloaded' => sub {
    my $plain = start_node('plain', conf => qq{
        shared_preload_libraries = ''
        $settings});
    my $db = make_database($plain, 'app', 3);
    my ($session, $writer) = map { $db->session } 1, 2;
    my $one = q{'} . gateway(1) . q{'};
    my $sticky = qq{SELECT pick_healthy_gateway('$pool', strategy => 'sticky', sticky_key => 'key' || n) FROM generate_series(1, 50) AS n};

    is(with_warnings($session, $picks), '1 2 3, 1 warnings', 'picks work, with one warning');
    is(with_warnings($session, $picks), '1 2 3, 0 warnings', 'and no more');
    is(with_warnings($session, "SELECT count(*) FROM explain_gateway_pick('$pool') WHERE candidate"), '3, 0 warnings', 'nor of others');
    my $other = $db->session;
    my $warning = $other->run($picks)->{err};
    like($warning, qr/WARNING:  .*not preloaded/, 'the warning says why');
    like($warning, qr/^HINT:  .*shared_preload_libraries/m, 'and what to do');
    is($other->value($sticky), $session->value($sticky), 'sticky picks are the same in each session');
    $session->shows("SELECT count(DISTINCT g) > 1 FROM ($sticky) AS s (g)", 't', 'and are different ones');
    $other->end;

    foreach my $report ("record_gateway_heartbeat($one)", "report_gateway_failure($one)", "report_gateway_load($one, 1)", "release_gateway($one)",
        "pick_healthy_gateway('$pool', strategy => 'least_loaded')", "pick_healthy_gateways('$pool', 2, strategy => 'least_loaded')",
        "explain_gateway_pick('$pool', strategy => 'least_loaded')")
    {
        my $error = $session->fails("SELECT $report", '55000 gateway_pools_not_preloaded', "refused: $report");
        like($error, qr/^HINT:  .*shared_preload_libraries/m, 'the hint says what to do');
    }

    foreach (
        [ fail_sql(1), '2 3', 'failed' ], [ heard_sql(1), '1 2 3', 'fresh' ],
        [ qq{INSERT INTO gateway_states ("gatewayId", state) VALUES ($one, 'draining')}, '2 3', 'drained' ],
        [ 'DELETE FROM gateway_states', '1 2 3', 'active' ],
        [ qq{DELETE FROM gateway_pool_memberships WHERE "gatewayId" = $one}, '2 3', 'no member' ],
        [ 'TRUNCATE gateways_v2 CASCADE', 'none', 'truncated' ])
    {
        my ($change, $after, $what) = @$_;

        $writer->value("BEGIN; $change");
        sees($writer, $after, "$what: its transaction sees it");
        $writer->value('ROLLBACK');
        $writer->value($change);
        sees($session, $after, "$what: others do after COMMIT");
    }
    $_->end foreach $session, $writer;
    $plain->stop;
};

done_testing();
