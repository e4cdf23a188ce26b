# Shared memory of one server with several databases: evidence does not mix, slots of
# dropped databases are used again, and if there are too few slots, or none because the
# library is not preloaded, picks are still right.

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

sub gateway { return sprintf '90000000-0000-4000-8000-%012d', $_[0] }

# Makes a host with some gateways, all fresh and members of the pool.
sub make_database
{
    my ($node, $name, $gateways, $options) = @_;
    my $db = PoolDatabase->create_with_host_functions($node, $name, $options);

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

# Returns the numbers of all gateways that picks can return, and the result of a single
# pick if it is not among them.
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

# Asserts that 100 single picks return only this gateway.
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

# Returns the output of statements and the number of warnings.
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

    sees($_, '1 2 3', 'all members are seen in both databases') foreach $here, $here, $there, $there;
    $here->value(fail_sql(1));
    sees($here, '2 3', 'a failed gateway is seen in its database');
    sees($there, '1 2 3', 'it is not in the other');
    $there->value(fail_sql(2));
    sees($here, '2 3', 'a failure in the other database is not seen in the first');
    sees($there, '1 3', 'it is seen in its own');

    # Expired in both; a report in one.
    $_->value(join ';', heard_sql(1), heard_sql(2), expire_sql(3)) foreach @db;
    sees($_, '1 2', 'two gateways are left in both') foreach $here, $there;
    $here->value(report_sql(3));
    sees($here, '1 2 3', 'a report is seen in its database');
    sees($there, '1 2', 'it is not in the other');
    $here->value(q{DELETE FROM gateway_pool_memberships WHERE "gatewayId" = '} . gateway(3) . q{'});
    sees($here, '1 2', 'a removed member is seen in its database');
    $there->value(report_sql(3));
    sees($there, '1 2 3', 'it is still a member in the other');
    $there->value(fail_sql(3));
    sees($_, '1 2', 'two gateways are left') foreach $here, $there;

    $here->value(q{SELECT report_gateway_failure('} . gateway(1) . q{', 'reset')});
    always($here, '2', 'a suspect gateway is not picked in its database');
    always($there, '1 2', 'it is picked in the other');
    $there->shows(q{SELECT count(*) FROM gateway_status WHERE "suspectUntil" IS NOT NULL}, 0, 'nor does gateway_status there show it as suspect');
    $there->value(q{SELECT report_gateway_failure('} . gateway(2) . q{')});
    always($here, '2', 'a failure reported in the other database is not seen in the first');
    always($there, '1', 'it is seen in its own');

    # Loads of these two and of a third one.
    foreach ($here, $there)
    {
        $_->value(heard_sql(3));
        $_->value(qq{INSERT INTO gateway_pool_memberships ("gatewayPoolId", "gatewayId") VALUES ('$pool', '@{[gateway(3)]}') ON CONFLICT DO NOTHING});
    }
    $here->value("SELECT report_gateway_load('@{[gateway(2)]}', 7), report_gateway_load('@{[gateway(3)]}', 0)");
    $there->value("SELECT report_gateway_load('@{[gateway(1)]}', 0), report_gateway_load('@{[gateway(3)]}', 7)");
    $here->shows($least_loaded, '33', 'the least load of its database is picked');
    $there->shows($least_loaded, '11', 'likewise in the other');
    $here->shows(qq{SELECT release_gateway('@{[gateway(3)]}'), release_gateway('@{[gateway(1)]}')}, 't|f', 'reservations exist in their database');
    $there->shows(qq{SELECT release_gateway('@{[gateway(1)]}'), release_gateway('@{[gateway(3)]}')}, 't|f', 'likewise in the other');

    # Truncating the gateways frees all slots of the database, and no others.
    $there->value('TRUNCATE gateways_v2 CASCADE');
    sees($there, 'none', 'the truncated gateways are gone');
    $here->shows(qq{SELECT right(pick_healthy_gateway('$pool', strategy => 'least_loaded')::text, 1)}, '3', 'the other database loses no loads');
    always($here, '2 3', 'it loses no suspects');

    $_->end foreach $here, $there;
    $node->safe_psql('postgres', "DROP DATABASE $_") foreach 'a', 'b';
};

subtest 'DROP DATABASE' => sub {
    my ($a, $b, $session);

    # Restart, so that no recent search for slots has failed.
    $node->restart;
    $a = make_database($node, 'a', 18);
    $a->value($picks);
    $a->value(join ';', map { "SELECT record_gateway_heartbeat('@{[gateway($_)]}'), report_gateway_load('@{[gateway($_)]}', 1)" } 1 .. 18);
    $node->safe_psql('postgres', 'DROP DATABASE a');
    $b = make_database($node, 'b', 18);
    $session = $b->session;
    $session->works(report_sql($_), "gateway $_ gets a slot") foreach 1 .. 18;
    $session->works("SELECT report_gateway_load('@{[gateway($_)]}', @{[$_ == 7 ? 1 : 2]})", "gateway $_ reports its load") foreach 1 .. 18;
    $session->shows(qq{SELECT ltrim(right(pick_healthy_gateway('$pool', strategy => 'least_loaded')::text, 4), '0')}, '7', 'least_loaded works');
    is(with_warnings($session, $picks), join(' ', 1 .. 18) . ', 0 warnings', 'no pick reads the tables');
    $b->shows(q{SELECT count(*) FROM check_gateway_pools() WHERE problem ~ 'full'}, 0, 'there is room in the map');
    $session->end;
    $node->safe_psql('postgres', 'DROP DATABASE b');
};

subtest 'more gateways than slots' => sub {
    my $db = make_database($node, 'crowded', 25);
    my ($reader, $writer) = map { $db->session } 1, 2;
    my $all = join ' ', 1 .. 25;
    my @refused;

    # Slots of the dropped databases may not have been freed yet: a full map is searched for them every 10 s.
    soon(sub { @refused = grep { $db->run(report_sql($_))->{state} =~ /^53400/ } 1 .. 25; return @refused <= 5 });
    is(@refused, 5, 'all slots are in use');
    foreach my $report ('record_gateway_heartbeat(%s)', 'report_gateway_failure(%s)', 'report_gateway_load(%s, 1)', 'release_gateway(%s)')
    {
        my $error = $db->fails('SELECT ' . sprintf($report, q{'} . gateway($refused[0]) . q{'}), '53400 gateway_pools_map_full', "no room: $report");
        like($error, qr/^HINT:  .*gateway_pool\.max_gateways/m, 'the hint names the setting');
    }

    is(with_warnings($reader, $picks), "$all, 1 warnings", 'all gateways are picked, with one warning');
    is(with_warnings($reader, $picks), "$all, 0 warnings", 'there is only one warning per session');
    is(with_warnings($writer, "SELECT count(*) FROM generate_series(1, 100) WHERE pick_healthy_gateway('$pool') IS NOT NULL"), '100, 1 warnings',
        'another session warns once');

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
            sees($reader, $after, "$which, $what: other sessions see it after COMMIT");
        }
    }

    # Deleting five gateways frees their slots.
    $writer->value(join ';', map { "DELETE FROM gateways_v2 WHERE id = '@{[gateway($_)]}'" }
          (grep { my $n = $_; !grep { $_ == $n } @refused } 1 .. 25)[0 .. 4]);
    $writer->value($picks);
    $reader->works(report_sql($_), "gateway $_ gets a slot") foreach @refused;
    my $session = $db->session;
    like(with_warnings($session, $picks), qr/, 0 warnings$/, 'a new session does not warn');
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
        $_->fails($picks, '42883', "round $round: picks fail") foreach $reader, $writer;
        # These changes publish nothing.
        $writer->value($leave . ';' . fail_sql(1));
        $db->value('CREATE EXTENSION gateway_pool');
        sees($_, '2', "round $round: changes made meanwhile are seen") foreach $reader, $writer;
        $writer->value($join . ';' . heard_sql(1));
        sees($_, '1 2 3', "round $round: later changes are seen too") foreach $reader, $writer;
    }

    $writer->value('BEGIN; DROP EXTENSION gateway_pool CASCADE; ROLLBACK');
    sees($_, '1 2 3', 'DROP EXTENSION that is rolled back has no effect') foreach $reader, $writer;
    $writer->value('BEGIN; DROP EXTENSION gateway_pool CASCADE; ' . $leave . '; CREATE EXTENSION gateway_pool');
    sees($writer, '1 2', 'dropping and creating the extension in one transaction works');
    $writer->value('COMMIT');
    sees($_, '1 2', 'it works after COMMIT') foreach $reader, $writer;
    $writer->value($join);
    sees($_, '1 2 3', 'a new member is seen') foreach $reader, $writer;

    $writer->value('SELECT uninstall_gateway_pools()');
    $writer->value($leave . ';' . fail_sql(1));
    $writer->value('SELECT install_gateway_pools()');
    sees($_, '2', 'uninstalling and installing again works') foreach $reader, $writer;
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
    is(with_warnings($session, $picks), '1 2 3, 0 warnings', 'there is only one warning per session');
    is(with_warnings($session, "SELECT count(*) FROM explain_gateway_pick('$pool') WHERE candidate"), '3, 0 warnings', 'explanations do not warn again');
    my $other = $db->session;
    my $warning = $other->run($picks)->{err};
    like($warning, qr/WARNING:  .*not preloaded/, 'the warning gives the reason');
    like($warning, qr/^HINT:  .*shared_preload_libraries/m, 'the hint says what to do');
    is($other->value($sticky), $session->value($sticky), 'sticky picks are the same in each session');
    $session->shows("SELECT count(DISTINCT g) > 1 FROM ($sticky) AS s (g)", 't', 'different keys lead to different gateways');
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
        sees($session, $after, "$what: other sessions see it after COMMIT");
    }
    $_->end foreach $session, $writer;
    $plain->stop;
};

subtest 'sticky keys in databases of other encodings' => sub {
    my $other = start_node('encodings', conf => 'gateway_pool.default_entitlement = on');
    my $sticky = qq{SET client_encoding = 'UTF8'; SELECT string_agg(right(pick_healthy_gateway('$pool', strategy => 'sticky', sticky_key => 'cl\xc3\xa9 ' || k)::text, 1), '' ORDER BY k)
        FROM generate_series(1, 50) k};
    my %found;

    foreach my $encoding ('UTF8', 'LATIN1', 'LATIN9')
    {
        $found{make_database($other, lc $encoding, 3, "ENCODING '$encoding' LOCALE 'C'")->value($sticky)}++;
    }
    is_deeply([ values %found ], [3], 'all find the same gateways');
    $other->stop;
};

done_testing();
