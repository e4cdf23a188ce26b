# A database whose gateways are monitored by a worker: its events, its notifications,
# and its own status.

package WatchedDatabase;

use strict;
use warnings FATAL => 'all';

use Exporter 'import';
use FindBin;
use lib $FindBin::RealBin;
use Patience qw(soon);
use PoolDatabase qw(start_node);
use Test::More;

our @ISA = ('PoolDatabase');
our @EXPORT_OK = qw(start_watching_node gateway_id pool_id $acme);

our $acme = 'a0000000-0000-4000-8000-000000000001';

sub gateway_id { return sprintf '90000000-0000-4000-8000-%012d', $_[0] }
sub pool_id { return sprintf 'b0000000-0000-4000-8000-%012d', $_[0] }

# Starts a server that probes loopback addresses in short intervals, and has no
# heartbeat_grace.
sub start_watching_node
{
    my ($name, %params) = @_;

    $params{conf} = join "\n", 'autovacuum = off', 'gateway_pool.default_entitlement = on', 'gateway_pool.heartbeat_grace = 0',
      "gateway_pool.probe_denied_networks = 'fe80::/10'", 'gateway_pool.probe_interval = 200ms', 'gateway_pool.probe_timeout = 200ms',
      'gateway_pool.probe_retry_interval = 50ms', $params{conf} // '';
    return start_node($name, %params);
}

# Returns a session in a new database with one organization.
sub create
{
    my ($class, $node, $name) = @_;
    my $self = $class->create_with_host_functions($node, $name // 'app')->session;

    $self->value(qq{SELECT host_test.make_host('public', 2); CREATE EXTENSION gateway_pool; SELECT host_test.add_org('public', 'acme', '$acme')});
    return $self;
}

sub create_with_host_functions
{
    my ($class, @arguments) = @_;
    return bless PoolDatabase->create_with_host_functions(@arguments), $class;
}

# Opens another session after the server has been restarted.
sub reconnect
{
    my ($self) = @_;

    eval { $self->end };
    $self->{session} = $self->connect;
    return;
}

# Adds gateways without heartbeats: g1, g2 and so on.
sub add_gateways
{
    my ($self, @numbers) = @_;
    return $self->value(join ';', map { "SELECT host_test.add_gateway('public', '$acme', 'g$_', NULL, '" . gateway_id($_) . "')" } @numbers);
}

# Adds a pool with some of them.
sub add_pool
{
    my ($self, $number, @gateways) = @_;
    my $pool = pool_id($number);

    return $self->value(join ';', qq{INSERT INTO gateway_pools (id, "orgId", name) VALUES ('$pool', '$acme', 'pool-$number')},
        map { qq{INSERT INTO gateway_pool_memberships ("gatewayPoolId", "gatewayId") VALUES ('$pool', '} . gateway_id($_) . q{')} } @gateways);
}

# Sets the probe of a gateway to a peer, with more arguments of set_gateway_probe().
sub probe
{
    my ($self, $number, $peer, $protocol, $more) = @_;
    return $self->value(probe_sql($number, $peer, $protocol, $more));
}

sub probe_sql
{
    my ($number, $peer, $protocol, $more) = @_;
    return sprintf q{SELECT set_gateway_probe('%s', '%s', '%s'%s)}, gateway_id($number), $protocol // 'tcp', $peer->{target},
      defined $more ? ", $more" : '';
}

# Writes a heartbeat to the host's table.
sub beat
{
    my ($self, $number, $seconds) = @_;
    return $self->value(qq{UPDATE gateways_v2 SET heartbeat = clock_timestamp(), "heartbeatTTL" = $seconds WHERE id = '} . gateway_id($number) . q{'});
}

# Reports a heartbeat.
sub report
{
    my ($self, $number, $seconds) = @_;
    return $self->value("SELECT record_gateway_heartbeat('" . gateway_id($number) . "', '$seconds s')");
}

# Returns the events after an event, of all gateways or one, one per line: "g1 unknown healthy heartbeat fresh".
sub events
{
    my ($self, $after, $number) = @_;
    my $condition = defined $number ? qq{ AND "gatewayId" = '} . gateway_id($number) . q{'} : '';

    return $self->value(q{SELECT concat_ws(' ', "gatewayName", "oldStatus", "newStatus", reason) FROM gateway_health_events}
          . qq{ WHERE id > $after$condition ORDER BY id});
}

sub last_event { return $_[0]->value('SELECT coalesce(max(id), 0) FROM gateway_health_events') }

# Waits until a condition holds, and asserts that it does in time.
sub waits_for
{
    my ($self, $condition, $label) = @_;
    my $holds = soon(sub { $self->value("SELECT $condition") eq 't' });

    local $Test::Builder::Level = $Test::Builder::Level + 1;
    ok($holds, $label) || diag($self->state);
    return $holds;
}

# Waits until the last event of a gateway is this: "unknown healthy heartbeat fresh".
sub waits_for_event
{
    my ($self, $number, $event, $label) = @_;
    my $id = gateway_id($number);

    local $Test::Builder::Level = $Test::Builder::Level + 1;
    return $self->waits_for(qq{(SELECT concat_ws(' ', "oldStatus", "newStatus", reason) FROM gateway_health_events
        WHERE "gatewayId" = '$id' ORDER BY id DESC LIMIT 1) IS NOT DISTINCT FROM '$event'}, $label // "g$number: $event");
}

# Returns the state of worker and gateways, to diagnose a failed test; does not wait long for locks.
sub state
{
    my ($self) = @_;
    my $result = $self->run(q{
        SET lock_timeout = 1000;
        SELECT * FROM gateway_pool_workers;
        SELECT name, status, reason FROM gateway_status LIMIT 20;
        SELECT * FROM (SELECT * FROM gateway_health_events ORDER BY id DESC LIMIT 20) e ORDER BY id;
        RESET lock_timeout});

    return "$result->{out}\n$result->{err}";
}

# Returns a column of gateway_pool_workers for this database.
sub worker
{
    my ($self, $column) = @_;
    return $self->value(qq{SELECT "$column" FROM gateway_pool_workers WHERE "databaseId" = (SELECT oid FROM pg_database WHERE datname = current_database())});
}

# Returns a session that listens.
sub listener
{
    my ($self) = @_;
    my $listener = $self->session;

    $listener->value('LISTEN gateway_health');
    return $listener;
}

# Returns the payloads that a listener has received since the last call.
sub hears
{
    my ($self) = @_;
    return $self->value('SELECT 1') =~ /notification "gateway_health" with payload "(\{.*\})" received/g;
}

1;
