# The example of an application of one's own, and what the worker does for it.
#
# examples/own_application.sql runs in an empty database, with the settings of a new
# server but for the port of the agent that it probes, which is on this machine.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;
use IPC::Run qw(run);
use Peers;
use PoolDatabase qw(start_node);
use PostgreSQL::Test::Utils;
use Test::More;

my $east = 'aaaaaaaa-0000-4000-8000-000000000001';
my $west = 'aaaaaaaa-0000-4000-8000-000000000002';
my $spare = 'aaaaaaaa-0000-4000-8000-000000000003';
my $peers = Peers->new;
my $agent = $peers->start('open');
my $node = start_node('own', conf => "gateway_pool.probe_denied_networks = 'fe80::/10'\n" .
      "gateway_pool.probe_interval = 200ms\ngateway_pool.probe_retry_interval = 50ms\ngateway_pool.heartbeat_grace = 0");
my $app = PoolDatabase->create($node, 'app');
my ($out, $err);

run [ 'psql', '-XAtq', '-v', 'probe_address=' . $agent->{target}, '-d', $node->connstr('app'),
    '-f', "$FindBin::RealBin/../../examples/own_application.sql" ], '>', \$out, '2>', \$err;
is($?, 0, 'the example runs');
is($out =~ s/^\n//mgr, <<"END", 'and prints what it says');
1. The tables of the application: any names, in any schema
2. Install
3. A plan that includes pools, and a pool of three agents, one of them for emergencies
office
$east|0
$west|0
$spare|1
4. Heartbeats: the application reports them, as often as it hears from an agent
office|3/3 healthy
5. A probe: the server connects to an agent by itself
up|
t
6. Picks: one agent, another one after a failure, and why
t
$west
$east|degraded|degraded, and a healthy candidate is left|0
$west|healthy|candidate|1
$spare|healthy|a candidate with a lower priority number is left|0
7. A consumer: a table whose rows are reached through a pool, or directly through an agent
db.office.example:5432||t
db.office.example:5432|$west
8. A pool that is in use cannot be deleted
{"connections.pool": [{"id": 1}]}
9. No problem is left
END
like($err, qr/\A[^\n]*INFO:  gateway pools are not installed
DETAIL:  Schema public has no table named organizations or gateways_v2\.
HINT: [^\n]*
[^\n]*ERROR:  gateway pool "office" cannot be deleted because it is referenced by 1 row of connections
/, 'with the two messages that it provokes');

# The worker records changes, with the column of the organization under its name of the moment.
my $health = sub { return qq{SELECT status, "newStatus", "orgId" FROM gateway_health h JOIN gateway_health_events e USING ("gatewayId")
    WHERE h."gatewayId" = '$_[0]' ORDER BY e.id DESC LIMIT 1} };
my $acme = 'aaaaaaaa-0000-4000-8000-000000000000';

$app->shows_soon($health->($west), "healthy|healthy|$acme", 'the worker records that an agent is healthy');
$app->works('ALTER TABLE agents RENAME tenant TO "Owner"', 'the column of the organization is renamed');
$app->works(qq{SELECT set_gateway_probe('$west', 'tcp', '$agent->{target}')}, 'an agent is probed again');
$app->shows_soon(qq{SELECT verdict FROM gateway_probe_status WHERE "gatewayId" = '$west'}, 'up', 'and is up');
$agent->stop;
$app->shows_soon($health->($west), "unhealthy|unhealthy|$acme", 'the worker records that it is down');
$app->works(qq{SELECT record_gateway_heartbeat('$spare', ttl => interval '10 min')}, 'the third reports a heartbeat');
$app->shows(q{SELECT pick_healthy_gateway(gateway_pool_id('} . $acme . q{', 'office'))}, $spare,
    'picks go to the third while the first is degraded and the second down');
$agent->restart;
$app->shows_soon(qq{SELECT status FROM gateway_health WHERE "gatewayId" = '$west'}, 'healthy', 'and that it is up again');
$app->works(qq{SELECT record_gateway_heartbeat('$spare', ttl => interval '100 ms')}, 'an agent reports a short heartbeat');
$app->shows_soon($health->($spare), "unhealthy|unhealthy|$acme", 'the worker records that it has expired');
$app->shows(q{SELECT count(*) FROM gateway_health_events e LEFT JOIN agents a ON a.id = e."gatewayId" AND a."Owner" = e."orgId"
    AND e."gatewayName" = a.id::text WHERE a.id IS NULL}, 0, 'events have the organization, and the id as the name');
$node->restart;
$app->shows(qq{SELECT status FROM gateway_status WHERE "gatewayId" = '$spare'}, 'unhealthy', 'what was recorded is read after a restart');

# A dump, and an extension that was dropped and created again, find the tables again without their usual names.
my $copy = PoolDatabase->create($node, 'copy');
my $problems = q{SELECT * FROM check_gateway_pools() WHERE object <> 'gateway_pool_workers'};

run [ 'pg_dump', '-d', $node->connstr('app') ], '|', [ 'psql', '-XqAt', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('copy') ], '>', \$out, '2>', \$err;
is($?, 0, 'a dump is restored');
$copy->shows($problems, '', 'without a problem');
$copy->fails(q{INSERT INTO tenants VALUES ('bbbbbbbb-0000-4000-8000-000000000000'); UPDATE agents SET "Owner" = 'bbbbbbbb-0000-4000-8000-000000000000'},
    '23503 gateway_pools_same_org', 'and keeps the rules');
$copy->works('DROP EXTENSION gateway_pool CASCADE; CREATE EXTENSION gateway_pool', 'the extension is dropped and created again');
$copy->shows($problems =~ s/ WHERE/ WHERE problem <> 'consumer not registered' AND/r, '', 'and finds the tables');
$copy->works(q{SELECT register_pool_consumer('connections', 'pool', 'agent')}, 'the consumer is registered again');
$copy->shows($problems, '', 'no problem is left');
$copy->works(qq{SELECT pick_healthy_gateway(gateway_pool_id('$acme', 'office'), null_if_none => true)}, 'picks work');

# A tenant's agents go with their rows here; nothing is left.
$app->works("DELETE FROM connections; DELETE FROM agents WHERE id = '$spare'", 'an agent is deleted');
$app->shows(qq{SELECT count(*) FROM gateway_health WHERE "gatewayId" = '$spare'}, 0, 'with its record');
$app->fails("DELETE FROM tenants", '23503 agents_tenant_fkey', 'the application protects tenants that have agents');
$app->works('BEGIN; DELETE FROM agents; DELETE FROM tenants; COMMIT', 'a tenant goes after its agents');
$app->shows('SELECT count(*) FROM gateway_pools', 0, 'and takes its pools');
$app->shows($problems, '', 'no problem is left');

$node->stop;
is($peers->end, 0, 'the peers end');
done_testing;
