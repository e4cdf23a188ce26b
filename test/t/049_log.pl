# What the server's log says of workers and pools: one line for each event, and none while
# nothing changes.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;
use Patience qw(soon);
use Peers;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use WatchedDatabase qw(start_watching_node gateway_id pool_id $acme);

my $peers = Peers->new;
my $node = start_watching_node('main', allows_streaming => 1, conf => "gateway_pool.max_pools_per_org = -1\ngateway_pool.startup_grace = 3min");
my $db = WatchedDatabase->create($node);
my $maintenance = PoolDatabase->new($node, 'postgres')->session;
my ($peer, $other) = map { $peers->start('http', 200) } 1, 2;
my $worker = 'gateway_pool worker for database "app"';
my $beta = 'b0000000-0000-4000-8000-000000000002';
my $number = qr/\d+\.\d/;
my %offset = ($node->name => 0);

# The lines of workers since the last call, without the time; each with its DETAIL.
sub lines
{
    my ($where) = @_;
    my $log = slurp_file($where->logfile, $offset{ $where->name } // 0);

    $log =~ s/[^\n]*\z//;
    $offset{ $where->name } += length $log;
    return $log =~ /LOG:  ((?:gateway_pool worker for|gateway pool|\d+ more gateway pools?) .*(?:\n.*DETAIL:  .*)?)/g;
}

# Waits for some lines, and asserts that they are these, in any order: each a pattern.
sub says
{
    my ($where, $label, @expected) = @_;
    my @said;

    soon(sub { push @said, lines($where); return @said >= @expected }) or diag($db->state);
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my @missing = grep { my $pattern = $_; !grep { /^$pattern$/s } @said } @expected;
    return ok(@said == @expected && !@missing, $label) || diag(join "\n", 'it says:', @said, 'missing:', @missing);
}

# Asserts that so many pools of one organization have a line or are counted in one, that few
# have a line, and that there is a line besides, of another organization.
sub sums
{
    my ($where, $expected, $line, $sum, $besides) = @_;
    my @said;
    my $more;

    soon(sub { push @said, lines($where); return ($more) = map { /$sum/ } @said });
    my $own = grep { /^gateway pool "many-\d+" .*$line/ } @said;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    cmp_ok($own, '<=', 10, "$own pools have a line");
    ok((grep { /^$besides/ } @said), 'so has one of another organization') or diag(join "\n", @said);
    return is($own + ($more // 0), $expected, 'the others are counted in one');
}

sub lost { return qr/gateway pool "pool-$_[1]" \(\Q${\ pool_id($_[1]) }\E\) in database "$_[0]" has lost its last eligible member\n.*DETAIL:  The pool belongs to organization $acme\. $_[2]/ }
sub back { return qr/gateway pool "pool-$_[1]" \(\Q${\ pool_id($_[1]) }\E\) in database "$_[0]" has an eligible member again, after $number s/ }

# The worker has read and recorded everything so far.
sub settles
{
    return $db->waits_for(q{NOT EXISTS (SELECT FROM gateway_pool_workers WHERE problem <> '' OR "queueLength" > 0)
        AND EXISTS (SELECT FROM gateway_pool_workers WHERE activity LIKE '%probing')}, 'the worker settles');
}

# The worker has read its tables after what was done before: it probes a new gateway.
sub reads
{
    my $new = $peers->start('http', 200);

    $db->probe(3, $new, 'http');
    ok($new->wait_for(3), 'the worker reads its tables');
    return $db->value("SELECT clear_gateway_probe('" . gateway_id(3) . "')");
}

says($node, 'a worker is ready', qr/$worker is ready: gateways: 0, probed: 0/);

subtest 'pools' => sub {
    $db->add_gateways(1 .. 4);
    $db->add_pool(1, 1 .. 4);
    $db->add_pool(2, 4);
    $db->probe(1, $peer, 'http');
    $db->probe(2, $other, 'http');
    $db->beat(4, 600);
    $db->waits_for_event($_, 'unknown healthy probe up') foreach 1, 2;
    $db->waits_for_event(4, 'unknown healthy heartbeat fresh');
    settles();
    is_deeply([ lines($node) ], [], 'the first eligible member of a new pool is no news');

    $peer->stop;
    $db->waits_for_event(1, 'healthy unhealthy probe down: refused');
    $db->value("SELECT set_gateway_state('" . gateway_id(4) . "', 'draining', 'test')");
    says($node, 'a state takes the last member of one pool', lost('app', 2, 'Of 1 member, 1 draining\.'));
    $other->stop;
    says($node, 'the last eligible member falls',
        lost('app', 1, 'Of 4 members, 2 unhealthy \(probe down\), 1 unknown \(no evidence\), 1 draining\.'));
    $other->restart;
    says($node, 'it is back', back('app', 1));
    $db->value("SELECT set_gateway_state('" . gateway_id(4) . "', 'active')");
    says($node, 'so is the other pool', back('app', 2));

    $db->value(q{DELETE FROM gateway_pool_memberships WHERE "gatewayPoolId" = '} . pool_id(2) . q{'});
    says($node, 'a pool has no members any more', lost('app', 2, 'The pool has no members\.'));
    $db->value(q{INSERT INTO gateway_pool_memberships ("gatewayPoolId", "gatewayId") VALUES ('} . pool_id(2) . q{', '} . gateway_id(4) . q{')});
    says($node, 'it has one again', back('app', 2));
    $db->value(q{DELETE FROM gateway_pools WHERE id = '} . pool_id(2) . q{'});
    reads();
    is_deeply([ lines($node) ], [], 'a pool that is deleted is no news');
    $db->beat(4, 0);
    $db->waits_for_event(4, 'healthy unhealthy heartbeat failed');
};

subtest 'nothing changes' => sub {
    my $accepted = $other->count->{accepted};

    ok($other->wait_for($accepted + 20), 'gateways are probed');
    is_deeply([ lines($node) ], [], 'no line');
};

# A name that breaks the rule, as tables of another migration may have it.
subtest 'a hostile name' => sub {
    $db->value(q{ALTER TABLE gateway_pools DISABLE TRIGGER ALL});
    $db->value(qq{INSERT INTO gateway_pools (id, "orgId", name) VALUES ('} . pool_id(3) . qq{', '$acme', E'a\\nLOG:  b\\x1b[2J')});
    $db->value(q{ALTER TABLE gateway_pools ENABLE TRIGGER ALL; SELECT install_gateway_pools()});
    $db->value(q{INSERT INTO gateway_pool_memberships ("gatewayPoolId", "gatewayId") VALUES ('} . pool_id(3) . q{', '} . gateway_id(4) . q{')});
    reads();
    $db->beat(4, 600);
    $db->waits_for_event(4, 'unhealthy healthy heartbeat fresh');
    $db->beat(4, 0);
    says($node, 'it is in one line, without control characters', qr/gateway pool "a LOG:  b \[2J" .* has lost its last eligible member\n.*/);
    $db->value(q{DELETE FROM gateway_pools WHERE id = '} . pool_id(3) . q{'});
    $db->waits_for_event(4, 'healthy unhealthy heartbeat failed');
    reads();
};

# A whole network fails.
subtest 'many pools at once' => sub {
    $db->value(qq{INSERT INTO gateway_pools (id, "orgId", name) SELECT ('b0000000-0000-4000-8000-' || lpad(n::text, 12, '0'))::uuid, '$acme', 'many-' || n
        FROM generate_series(101, 150) n; INSERT INTO gateway_pool_memberships ("gatewayPoolId", "gatewayId")
        SELECT id, '} . gateway_id(4) . q{' FROM gateway_pools WHERE name LIKE 'many-%'});
    $db->value("SELECT host_test.add_org('public', 'beta', '$beta'); SELECT host_test.add_gateway('public', '$beta', 'g5', NULL, '" . gateway_id(5) . "')");
    $db->value(q{INSERT INTO gateway_pools (id, "orgId", name) VALUES ('} . pool_id(5) . qq{', '$beta', 'beta')});
    $db->value(q{INSERT INTO gateway_pool_memberships ("gatewayPoolId", "gatewayId") VALUES ('} . pool_id(5) . q{', '} . gateway_id(5) . q{')});
    reads();
    $db->beat($_, 600) foreach 4, 5;
    $db->waits_for_event(4, 'unhealthy healthy heartbeat fresh');
    $db->waits_for_event(5, 'unknown healthy heartbeat fresh');
    lines($node);
    $db->beat(4, 0);
    $db->waits_for_event(4, 'healthy unhealthy heartbeat failed');
    $db->beat(5, 0);
    sums($node, 50, qr/lost its last eligible member$/m, qr/(\d+) more gateway pools in database "app" have lost their last eligible members/,
        qr/gateway pool "beta" .* has lost its last eligible member/);
    $db->beat(4, 600);
    $db->waits_for_event(4, 'unhealthy healthy heartbeat fresh');
    $db->beat(5, 600);
    sums($node, 50, qr/has an eligible member again, after $number s/, qr/(\d+) more gateway pools in database "app" have eligible members again/,
        qr/gateway pool "beta" .* has an eligible member again/);
    $db->value(qq{DELETE FROM organizations WHERE id = '$beta'});
    $db->value(q{DELETE FROM gateway_pools WHERE name LIKE 'many-%'});
    reads();
    $db->beat(4, 0);
    $db->waits_for_event(4, 'healthy unhealthy heartbeat failed');
    is_deeply([ lines($node) ], [], 'deleted ones are no news');
};

subtest 'a problem' => sub {
    my $locked = 'a table or a row is locked: changes wait until they can be recorded';
    my $session = $db->session;

    $session->value('BEGIN; LOCK TABLE gateway_health IN ACCESS EXCLUSIVE MODE');
    # Reading and recording meet the lock, again and again.
    $db->beat(4, 600);
    $db->waits_for(q{EXISTS (SELECT FROM gateway_pool_workers WHERE problem LIKE '%locked%')}, 'a table is locked');
    my $accepted = $other->count->{accepted};
    ok($other->wait_for($accepted + 10), 'the worker goes on');
    $session->value('ROLLBACK');
    $session->end;
    says($node, 'it is logged once, and its end', qr/$worker has a problem: $locked/, qr/$worker has recovered after $number s from: $locked/);
    $db->beat(4, 0);
    $db->waits_for_event(4, 'healthy unhealthy heartbeat failed');
};

subtest 'ends' => sub {
    my $pid = $db->worker('pid');
    my $set_worker = sub { $node->append_conf('postgresql.conf', "gateway_pool.worker = $_[0]"); $node->reload };
    my $ready = qr/$worker is ready: gateways: 4, probed: 2/;

    $maintenance->value("SELECT pg_terminate_backend($pid)");
    says($node, 'terminated', qr/$worker ends: shutdown of the server, or administrator command/, $ready);
    $set_worker->('off');
    says($node, 'switched off', qr/$worker ends: gateway_pool\.worker is off/);
    $set_worker->('on');
    says($node, 'and on', $ready);
    $db->end;
    $maintenance->value('CREATE DATABASE copy TEMPLATE app');
    says($node, 'copied', qr/$worker ends: a command needs the database without connections/, $ready,
        qr/gateway_pool worker for database "copy" is ready: gateways: 4, probed: 2/);
    PoolDatabase->new($node, 'copy')->value('DROP EXTENSION gateway_pool CASCADE');
    says($node, 'DROP EXTENSION', qr/gateway_pool worker for database "copy" ends: gateway pools are not installed any more/);
    $maintenance->value('ALTER DATABASE app IS_TEMPLATE true');
    says($node, 'made a template', qr/$worker ends: the database is a template, allows no connections, or is dropped/);
    $maintenance->value('ALTER DATABASE app IS_TEMPLATE false');
    says($node, 'and no longer', $ready);
    $maintenance->end;
    $node->restart;
    $db->reconnect;
    says($node, 'restarted', qr/$worker ends: shutdown of the server, or administrator command/, $ready);
};

# A pool that had no eligible member when the worker started.
subtest 'lost before the start' => sub {
    $other->stop;
    says($node, 'the pool is lost', lost('app', 1, '.*'));
    $db->waits_for_event(2, 'healthy unhealthy probe down: refused');
    $node->restart;
    $db->reconnect;
    says($node, 'a restart says nothing of it', qr/$worker ends: .*/, qr/$worker is ready: .*/);
    $other->restart;
    says($node, 'it is back', qr/gateway pool "pool-1" .* in database "app" has an eligible member again, after more than $number s/);
};

subtest 'standby' => sub {
    my $standby = PostgreSQL::Test::Cluster->new('standby');

    $node->backup('backup');
    $standby->init_from_backup($node, 'backup', has_streaming => 1);
    $standby->start;
    says($standby, 'its own worker is ready', qr/$worker is ready: gateways: 4, probed: 2/);

    # The primary records nothing: the standby's worker looks for itself.
    $node->append_conf('postgresql.conf', 'gateway_pool.worker = off');
    $node->reload;
    says($node, 'the worker of the primary ends', qr/$worker ends: gateway_pool\.worker is off/);
    $other->stop;
    says($standby, 'the standby has lost it', lost('app', 1, '.*'));
    my $accepted = $peers->start('http', 200);
    $db->probe(3, $accepted, 'http');
    ok($accepted->wait_for(5), 'the standby reads its tables and probes');
    says($standby, 'it has it back', back('app', 1));
    $db->value("SELECT clear_gateway_probe('" . gateway_id(3) . "')");
    says($standby, 'and lost again', lost('app', 1, '.*'));
    $node->stop;
    $standby->promote;
    $other->restart;
    says($standby, 'after the promotion, one line', back('app', 1));
    $standby->stop;
    says($standby, 'it ends', qr/$worker ends: shutdown .*/);
};

done_testing();
