# A model of the rules, compared with every pick, over random sequences of events:
# memberships, states, heartbeats, reports, time and transactions, in several sessions
# at once.
#
# The sequence is the same in each run, so that a new failure comes from a change;
# GATEWAY_POOL_TEST_SEED selects another one, GATEWAY_POOL_TEST_EVENTS its length.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;
use List::Util qw(first max min sum0);
use MovedClock;
use PoolDatabase qw(start_node);
use Test::More;

my $seed = $ENV{GATEWAY_POOL_TEST_SEED} // 1;
my $events = $ENV{GATEWAY_POOL_TEST_EVENTS} // 3000;
srand($seed);

my $acme = 'a0000000-0000-4000-8000-000000000001';
my @gateways = map { "90000000-0000-4000-8000-00000000000$_" } 1 .. 7;
my @pools = map { "b0000000-0000-4000-8000-00000000000$_" } 1 .. 2;

my $clock = MovedClock->new;
my $node = $clock->during(sub { start_node('main', conf => "autovacuum = off\ngateway_pool.default_entitlement = on") });
my $db = PoolDatabase->create_with_host_functions($node, 'app');

$db->value(join(';', qq{
    SELECT host_test.make_host('public', 2);
    CREATE EXTENSION gateway_pool;
    SELECT host_test.add_org('public', 'acme', '$acme')},
    (map { "SELECT host_test.add_gateway('public', '$acme', 'g$_', NULL, '$gateways[$_]')" } 0 .. $#gateways),
    (map { qq{INSERT INTO gateway_pools (id, "orgId", name) VALUES ('$pools[$_]', '$acme', 'p$_')} } 0 .. $#pools),
    q{CREATE FUNCTION observe(pool uuid) RETURNS text LANGUAGE plpgsql AS $$
    DECLARE
        least uuid := pick_healthy_gateway(pool, strategy => 'least_loaded', null_if_none => true);
    BEGIN
        IF least IS NOT NULL THEN
            PERFORM release_gateway(least, opened => false);
        END IF;
        RETURN concat_ws('|',
            pick_healthy_gateway(pool, null_if_none => true), least,
            pick_healthy_gateway(pool, strategy => 'sticky', sticky_key => 'k', null_if_none => true),
            pick_healthy_gateway(pool, strategy => 'sticky', sticky_key => 'k', null_if_none => true))
            || '/' || (SELECT coalesce(string_agg("gatewayId"::text, '|' ORDER BY name) FILTER (WHERE candidate), '') FROM explain_gateway_pick(pool));
    END
    $$}));

# The model.  $committed has the committed values; each transaction has layers of changes
# above it, one for each savepoint; reports and time are common to all sessions.
my ($committed, $now) = ({}, 0);
my (%reported, %failed_at, %load);
my @sessions = map { { db => $db->session, layers => [], name => $_ } } 1 .. 4;

sub value
{
    my ($session, $key) = @_;
    return (first { exists $_->{$key} } reverse(@{ $session->{layers} }), $committed, { $key => undef })->{$key};
}

sub is_own { my ($session, $key) = @_; return scalar grep { exists $_->{$key} } @{ $session->{layers} } }

# A heartbeat is [ expiry ], 'failed', or undef for never.
sub evidence { my ($beat) = @_; return !defined $beat ? 'never' : !ref $beat ? $beat : $beat->[0] > $now ? 'fresh' : 'expired' }

sub status
{
    my ($session, $g) = @_;
    my $table = evidence(value($session, "beat $g"));
    my ($own, $was) = (value($session, "beat $g"), $committed->{"beat $g"});
    # A row that this transaction changed to failed or never ends earlier reports at COMMIT.
    my $report = !ref $own && ($own // '') ne ($was // '') ? 'never' : evidence($reported{$g});
    my $suspect = defined $failed_at{$g} && $failed_at{$g} + 60 > $now;

    return $suspect ? 'degraded' : 'healthy' if $table eq 'fresh' || $report eq 'fresh';
    return $table eq 'never' && $report eq 'never' ? 'unknown' : 'unhealthy';
}

# Returns the candidates of a pick: gateway => weight.
sub candidates
{
    my ($session, $p) = @_;
    my %member = map { my $m = value($session, "member $p $_"); $m ? ($_ => $m) : () } 0 .. $#gateways;

    my %status = map { ($_ => status($session, $_)) } grep { (value($session, "state $_") // 'active') eq 'active' } keys %member;
    my @left = grep { $status{$_} eq 'healthy' } keys %status;
    @left = grep { $status{$_} eq 'degraded' } keys %status unless @left;
    my $tier = min(map { $member{$_}{priority} } @left);
    @left = grep { $member{$_}{priority} == $tier } @left;
    my $all = sum0(map { $member{$_}{weight} } @left);
    return map { ($_ => $all ? $member{$_}{weight} : 1) } grep { !$all || $member{$_}{weight} } @left;
}

# Returns those of them that least_loaded can pick.
sub least_loaded
{
    my (%weight) = @_;
    return %weight if grep { !$load{$_} || $load{$_}[1] + 35 <= $now } keys %weight;
    my %score = map { ($_ => ($load{$_}[0] + 1) / $weight{$_}) } keys %weight;
    my $least = min(values %score);
    return map { ($_ => 1) } grep { abs($score{$_} - $least) < 1e-9 } keys %score;
}

# Returns true if a mark expires so soon, or expired so recently, that it may be either.
sub is_ambiguous
{
    return scalar grep { defined && abs($_ - $now) < 5 }
      (map { ref $_ eq 'ARRAY' ? $_->[0] : () } (map { values %$_ } $committed, map { @{ $_->{layers} } } @sessions), values %reported),
      (map { $_ + 60 } values %failed_at), (map { $_->[1] + 35 } values %load);
}

sub store
{
    my ($session, $key, $new) = @_;
    return $session->{layers}[-1]{$key} = $new if @{ $session->{layers} };
    return apply({ $key => $new });
}

# A row that changes to failed, or to never, ends earlier reports; intermediate values
# within the transaction have no effect.
sub apply
{
    my ($changes) = @_;

    foreach my $key (keys %$changes)
    {
        if ($key =~ /^beat (\d+)/ && (!ref $changes->{$key}))
        {
            my $was = $committed->{$key};
            delete $reported{$1} if defined $changes->{$key} ? !defined $was || ref $was : defined $was;
        }
        $committed->{$key} = $changes->{$key};
    }
    return;
}

# Sessions must not wait for each other: a session that wrote a thing keeps it until its transaction ends.
my %holder;
sub may_write
{
    my ($session, @things) = @_;
    return 0 if $session->{read_only} || grep { ($holder{$_} // $session) != $session } @things;
    $holder{$_} = $session foreach @{ $session->{layers} } ? @things : ();
    return 1;
}
sub end_of { my ($session) = @_; delete @holder{ grep { $holder{$_} == $session } keys %holder }; $session->{layers} = []; $session->{read_only} = 0; return }
sub any { return $_[ rand @_ ] }

my %event = (
    begin => sub {
        my ($s) = @_;
        return if @{ $s->{layers} };
        $s->{layers} = [ {} ];
        $s->{read_only} = rand() < 0.3;
        return $s->{read_only} ? 'BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM gateway_pools' : 'BEGIN';
    },
    commit => sub { my ($s) = @_; return if !@{ $s->{layers} }; apply({ map { %$_ } @{ $s->{layers} } }); end_of($s); return 'COMMIT' },
    rollback => sub { my ($s) = @_; return if !@{ $s->{layers} }; end_of($s); return 'ROLLBACK' },
    savepoint => sub {
        my ($s) = @_;
        return if !@{ $s->{layers} } || @{ $s->{layers} } > 4;
        push @{ $s->{layers} }, {};
        return 'SAVEPOINT s' . $#{ $s->{layers} };
    },
    back => sub {
        my ($s) = @_;
        return if @{ $s->{layers} } < 2;
        my $to = 1 + int(rand $#{ $s->{layers} });
        splice @{ $s->{layers} }, $to, @{ $s->{layers} }, {};
        return "ROLLBACK TO s$to";
    },
    add => sub {
        my ($s) = @_;
        my ($p, $g) = (int(rand @pools), int(rand @gateways));
        my $member = { weight => any(0, 1, 1, 2, 7), priority => any(0, 0, 1) };
        return if !may_write($s, "pool $p", "gateway $g");
        store($s, "member $p $g", $member);
        return qq{INSERT INTO gateway_pool_memberships ("gatewayPoolId", "gatewayId", "pickWeight", "pickPriority") VALUES ('$pools[$p]', '$gateways[$g]',
                  $member->{weight}, $member->{priority}) ON CONFLICT ("gatewayPoolId", "gatewayId") DO UPDATE SET "pickWeight" = excluded."pickWeight", "pickPriority" = excluded."pickPriority"};
    },
    remove => sub {
        my ($s) = @_;
        my ($p, $g) = (int(rand @pools), int(rand @gateways));
        return if !may_write($s, "pool $p", "gateway $g");
        store($s, "member $p $g", undef);
        return qq{DELETE FROM gateway_pool_memberships WHERE "gatewayPoolId" = '$pools[$p]' AND "gatewayId" = '$gateways[$g]'};
    },
    state => sub {
        my ($s) = @_;
        my ($g, $state) = (int(rand @gateways), any(qw(active active draining maintenance)));
        return if !may_write($s, "gateway $g");
        store($s, "state $g", $state);
        return "SELECT set_gateway_state('$gateways[$g]', '$state')";
    },
    beat => sub {
        my ($s) = @_;
        my $g = int(rand @gateways);
        return if !may_write($s, "gateway $g");
        store($s, "beat $g", [ $now + 330 ]);
        return qq{UPDATE gateways_v2 SET heartbeat = clock_timestamp(), "heartbeatTTL" = 300 WHERE id = '$gateways[$g]'};
    },
    fail => sub {
        my ($s) = @_;
        my $g = int(rand @gateways);
        return if !may_write($s, "gateway $g");
        store($s, "beat $g", 'failed');
        return qq{UPDATE gateways_v2 SET heartbeat = coalesce(heartbeat, '2000-01-01'), "heartbeatTTL" = 0 WHERE id = '$gateways[$g]'};
    },
    enrol => sub {
        my ($s) = @_;
        my $g = int(rand @gateways);
        return if !may_write($s, "gateway $g");
        store($s, "beat $g", undef);
        return qq{UPDATE gateways_v2 SET heartbeat = NULL, "heartbeatTTL" = NULL WHERE id = '$gateways[$g]'};
    },
    report => sub { my $g = int(rand @gateways); $reported{$g} = [ $now + 130 ]; return "SELECT record_gateway_heartbeat('$gateways[$g]', '100 s')" },
    suspect => sub { my $g = int(rand @gateways); $failed_at{$g} = $now; return "SELECT report_gateway_failure('$gateways[$g]')" },
    load => sub { my ($g, $n) = (int(rand @gateways), int(rand 4)); $load{$g} = [ $n, $now ]; return "SELECT report_gateway_load('$gateways[$g]', $n)" },
    time => sub { my $by = any(10, 25, 40, 90); $clock->advance($by); $now += $by; return 'SELECT 1' });
my @kinds = ((qw(begin commit savepoint back add remove state beat beat beat fail report suspect load load load time) x 2), qw(rollback enrol));

my ($compared, $without, @trail) = (0, 0);
foreach (1 .. $events)
{
    my ($session, $kind) = (any(@sessions), any(@kinds));
    my $sql = $event{$kind}->($session) // next;
    push @trail, "$session->{name}: $sql";
    $session->{db}->value($sql);
    next if is_ambiguous();

    my ($looking, $p) = (any(@sessions), int(rand @pools));
    my $said = $looking->{db}->value("SELECT observe('$pools[$p]')");
    my ($picks, $explained) = split m{/}, $said, -1;
    my %weight = candidates($looking, $p);
    my %least = least_loaded(%weight);
    my $expected = join('|', map { $gateways[$_] } sort keys %weight);
    my %may = map { ($gateways[$_] => 1) } keys %weight;
    my %may_least = map { ($gateways[$_] => 1) } keys %least;
    my ($random, $least, @sticky) = split /\|/, $picks;

    $compared++;
    $without++ if !%weight;
    if ($explained ne $expected || (%weight ? !($may{$random} && $may_least{$least} && $may{ $sticky[0] } && $sticky[0] eq $sticky[1]) : $picks ne ''))
    {
        fail("event $_ of seed $seed");
        diag("session $looking->{name} looks at pool $p, $now s after the start: picks $picks\n explained $explained\n expected  $expected");
        diag(join("\n", @trail[ max(0, $#trail - 60) .. $#trail ]));
        last;
    }
    if (!%weight && rand() < 0.1 && !@{ $looking->{layers} })
    {
        $looking->{db}->fails("SELECT pick_healthy_gateway('$pools[$p]')", '55000 gateway_pools_no_eligible_member', "no eligible member after event $_");
    }
}
note("seed $seed: $compared picks compared, $without without a result");
cmp_ok($compared, '>', $events / 3, 'picks are compared with the model');
cmp_ok($without, '<', $compared / 2, 'most picks have a result');
$_->{db}->end foreach @sessions;
$node->stop;
done_testing();
