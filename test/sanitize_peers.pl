# The worker probes all kinds of bad gateways, while their probes and tables change:
# run by test/sanitize on a server that checks the use of memory.  The results of
# probes are not checked here, but the worker has to stay alive.

use strict;
use warnings FATAL => 'all';

use FindBin;
BEGIN { $FindBin::RealBin .= '/t' }
use IO::Socket::INET;
use IPC::Open2;
use Patience qw(soon);
use Peers qw(tls_material nginx s_server);
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $acme = 'a0000000-0000-4000-8000-000000000001';
my $pool = 'b0000000-0000-4000-8000-000000000001';
my @kinds = ([ 'open' ], [ 'silent' ], [ 'tlssilent' ], [ 'reset' ], [ 'refused' ], [ 'blackhole' ], [ 'http', 200 ],
    [ 'http', 503, 10000 ], [ 'http', 200, 0, 'X-Long: ' . 'x' x 5000 ], [ 'redirect', 'http://127.0.0.1:1/' ], [ 'continue', 50 ],
    [ 'slow', 100 ], [ 'drip', 5 ], [ 'half' ], [ 'halfclose' ], [ 'wrongcl' ], [ 'http09' ], [ 'garbage' ],
    [ 'tlsgarbage' ], [ 'endless' ], [ 'endless-lines' ], [ 'bigbody' ]);
my @protocols = qw(tcp tls http https);

# Test modules have removed other settings of servers from the environment.
@ENV{qw(PGHOST PGUSER)} = ($ENV{SERVER}, 'postgres');

# One session runs all statements: to start one takes long under valgrind.
my ($from, $to);
my $asked = 0;

sub begin_session
{
    my ($database) = @_;
    open2($from, $to, 'sh', '-c', "exec psql -XqAt -d $database 2>&1");
    run_sql('SET client_min_messages = error');
    return;
}

# Runs statements, and returns all output, errors as well.
sub run_sql
{
    my $output = '';
    my $end = 'answered ' . ++$asked;

    print $to join(";\n", @_, 'ROLLBACK', "\\echo $end\n");
    $to->flush;
    until ($output =~ s/^$end\n\z//m)
    {
        sysread $from, $output, 65536, length $output or die "the session ended at: @_: $output";
    }
    chomp $output;
    return $output;
}

sub value
{
    my $output = run_sql(@_);

    die "@_: $output" if $output =~ /^(?:ERROR|FATAL|server closed)/m;
    return $output;
}

# Runs statements that may fail, because a gateway is gone or a table is locked.
sub attempt
{
    my $output = run_sql(@_);

    die "@_: $output" if $output =~ /^(?:FATAL|PANIC|server closed)/m;
    return;
}

# A name server: it answers with an alias and an address for live.test, not at all for
# silent.test, with a short message for short.test, without an address for empty.test,
# and with NXDOMAIN for all others.
sub serve_names
{
    my ($port) = @_;
    my $socket = IO::Socket::INET->new(Proto => 'udp', LocalAddr => '127.0.0.1', LocalPort => $port) or die "bind: $@";
    my $parent = $$;
    my $pid = fork // die "fork: $!";

    return $pid if $pid;
    $SIG{ALRM} = sub { getppid == $parent or POSIX::_exit(0); alarm 1 };
    alarm 1;
    for (;;)
    {
        my $client = $socket->recv(my $query, 512) // next;
        my ($id) = unpack 'n', $query;
        my ($name, $place) = ('', 12);
        while (my $length = unpack "\@$place C", $query)
        {
            $name .= substr($query, $place + 1, $length) . '.';
            $place += $length + 1;
        }
        my $question = substr $query, 12, $place + 5 - 12;
        my ($type) = unpack "\@@{[ $place + 1 ]} n", $query;
        my $answer = sub { my ($code, @records) = @_; $socket->send(pack('n6', $id, 0x8180 | $code, 1, scalar @records, 0, 0) . $question . join('', @records)) };
        if ($name eq 'silent.test.') { next }
        elsif ($name eq 'short.test.') { $socket->send(pack('n6', $id, 0x8180, 1, 5, 0, 0) . $question . "\xc0\x0c\x00\x01\x00") }
        elsif ($name eq 'empty.test.') { $answer->(0) }
        elsif ($name eq 'live.test.' && $type == 1)
        {
            my $alias = "\x05other\x04test\x00";
            $answer->(0, pack('n n n N n/a', 0xc00c, 5, 1, 5, $alias), $alias . pack('n n N n C4', 1, 1, 5, 4, 127, 0, 0, 1));
        }
        elsif ($name eq 'live.test.') { $answer->(0) }
        else { $answer->(3) }
    }
}

sub worker { return value(q{SELECT coalesce(max(pid), 0) FROM gateway_pool_workers WHERE database = 'app'}) }

# Waits until a condition holds.
sub wait_until
{
    my ($sql) = @_;

    soon(sub { value($sql) eq 't' }, 300) or die "never: $sql";
    return;
}

my $dns = serve_names($ENV{DNS_PORT});
my $peers = Peers->new;
my $tls = tls_material(PostgreSQL::Test::Utils::tempdir);
my $nginx = nginx(PostgreSQL::Test::Utils::tempdir, tls => $tls);
my $ca = slurp_file($tls->{ca});

# Arguments of set_gateway_probe, from the protocol on.
my @ways;
my @peers;
foreach my $kind (@kinds)
{
    my $peer = $peers->start(@$kind);
    push @peers, $peer;
    push @ways, map { [ $_, $peer->{target} ] } @protocols;
}
foreach my $name (qw(live silent short empty absent))
{
    push @ways, [ 'tcp', "$name.test:$peers[0]->{port}" ], [ 'http', "$name.test:$nginx->{http}" ];
}
push @ways, [ 'tcp', 'localhost:' . $peers[0]->{port} ];
push @ways, map { [ 'http', "127.0.0.1:$nginx->{http}", $_ ] } qw(/health /down /redirect /big);
foreach my $name (sort keys %{ $nginx->{https} })
{
    push @ways, map { [ $_, "127.0.0.1:$nginx->{https}{$name}", '/health', undef, 'gw.test', 'true', $ca ],
        [ $_, "127.0.0.1:$nginx->{https}{$name}", '/health', '200-399', undef, 'true', undef ],
        [ $_, "127.0.0.1:$nginx->{https}{$name}", '/health', undef, undef, 'false', "-----BEGIN CERTIFICATE-----\nbad\n-----END CERTIFICATE-----\n" ] } qw(tls https);
}

sub probe
{
    my ($gateway, $way) = @_;
    my ($protocol, $address, $path, $status, $name, $verify, $certificate) = @$way;
    my $text = sub { defined $_[0] ? "'$_[0]'" : 'NULL' };

    return "SELECT set_gateway_probe('$gateway', '$protocol', '$address', "
      . join(', ', $text->($protocol =~ /http/ ? $path : undef), $text->($protocol =~ /http/ ? $status : undef),
        $text->($protocol =~ /tls|https/ ? $name : undef), $verify // 'true', $text->($protocol =~ /tls|https/ ? $certificate : undef)) . ')';
}

sub gateway { return sprintf '90000000-0000-4000-8000-%012d', $_[0] }
sub any { return $_[ rand @_ ] }

begin_session('postgres');
value('CREATE DATABASE app TEMPLATE template0');
begin_session('app');
value(slurp_file("$FindBin::RealBin/../host.sql"));
value("SELECT host_test.make_host('public', 2); CREATE EXTENSION gateway_pool; SELECT host_test.add_org('public', 'acme', '$acme');"
      . qq{INSERT INTO gateway_pools (id, "orgId", name) VALUES ('$pool', '$acme', 'edge')});
my $next = 0;
my $add = sub {
    my $id = gateway($next);
    return ("SELECT host_test.add_gateway('public', '$acme', 'gateway " . $next++ . "', '0 s', '$id')",
        qq{INSERT INTO gateway_pool_memberships ("gatewayPoolId", "gatewayId") VALUES ('$pool', '$id')});
};
value('BEGIN', (map { ($add->(), probe(gateway($next - 1), $_)) } @ways), 'COMMIT');
wait_until(q{SELECT count(*) > 0 FROM gateway_pool_workers WHERE database = 'app' AND targets > 0});
my $first = worker();
wait_until('SELECT bool_and("lastProbeAt" IS NOT NULL) FROM gateway_probe_status');
my $failures = value(q{SELECT string_agg(concat_ws(' ', reason, n), ', ' ORDER BY n DESC) FROM (SELECT reason, count(*) n FROM gateway_probe_status GROUP BY 1) s});
note(sprintf '%.1f at first: %s', time - $^T, $failures);
# The name server is asked, and answers.
wait_until(qq{SELECT bool_and(s.reason = 'dns: ' || w.says) FROM (VALUES ('silent', 'timed out'), ('empty', 'no address'), ('absent', 'no such name')) AS w (name, says)
    JOIN gateway_probes p ON p.address LIKE w.name || '.test:%' JOIN gateway_probe_status s USING ("gatewayId")});
wait_until(q{SELECT bool_and(s.reason NOT LIKE 'dns: %') FROM gateway_probes p JOIN gateway_probe_status s USING ("gatewayId") WHERE p.address LIKE 'live.test:%'});

my $stopped;

# Actions.  The durations of locks and broken tables are arbitrary.
my %act = (
    change => sub { attempt(map { probe(gateway(rand $next), any(@ways)) } 1 .. 10) },
    clear => sub { attempt("SELECT clear_gateway_probe('" . gateway(rand $next) . "')") },
    'change peers' => sub { my $peer = any(@peers); $peer->kind(@{ any(@kinds) }) },
    # A peer stays stopped until the next one is stopped.
    restart => sub { $stopped->restart if $stopped; $stopped = any(@peers); $stopped->stop },
    delete => sub { attempt(qq{DELETE FROM gateways_v2 WHERE id = '} . gateway(rand $next) . q{'}) },
    add => sub { attempt('BEGIN', $add->(), probe(gateway($next - 1), any(@ways)), 'COMMIT') },
    concurrency => sub { attempt('ALTER SYSTEM SET gateway_pool.probe_concurrency = ' . any(2, 3, 8, 64, 256), 'SELECT pg_reload_conf()') },
    settings => sub { attempt("ALTER SYSTEM SET gateway_pool.probe_denied_networks = '" . any('fe80::/10', '127.0.0.0/8') . q{'}, 'SELECT pg_reload_conf()') },
    lock => sub { attempt('BEGIN', 'LOCK TABLE ' . any(qw(gateway_health gateway_health_events gateway_probes gateway_pools gateways_v2)), 'SELECT pg_sleep(0.4)', 'COMMIT') },
    'lock rows' => sub { attempt('BEGIN', 'DELETE FROM gateways_v2 WHERE random() < 0.1', 'SELECT pg_sleep(0.5)', 'ROLLBACK') },
    cancel => sub { attempt("SELECT pg_cancel_backend($first)") },
    ask => sub { attempt(map { "SELECT probe_gateway('" . gateway(rand $next) . "', '0.3 s')" } 1 .. 5) },
    report => sub { attempt(map { ("SELECT report_gateway_failure('" . gateway(rand $next) . "', 'reset')", "SELECT record_gateway_heartbeat('" . gateway(rand $next) . "', '1 s')") } 1 .. 5) },
    'break' => sub { attempt('ALTER TABLE gateway_health_events ADD CONSTRAINT never CHECK (false) NOT VALID', 'SELECT pg_sleep(1.2)', 'ALTER TABLE gateway_health_events DROP CONSTRAINT never') },
    'look again' => sub { attempt('SELECT install_gateway_pools()') });
my $end = time + $ENV{SECONDS_LONG};
my %done;
while (time < $end || grep { !$done{$_} } keys %act)
{
    my ($act) = sort { ($done{$a} // 0) <=> ($done{$b} // 0) || rand() <=> 0.5 } keys %act;
    $act = any(sort keys %act) if rand() < 0.7 && time < $end;
    $done{$act}++;
    note(sprintf '%.1f %s', time - $^T, $act);
    $act{$act}->();
    if (worker() != $first)
    {
        fail("the worker has ended at: $act");
        last;
    }
}
note(join ', ', map { "$_ $done{$_}" } sort keys %done);
is(worker(), $first, 'the worker is the same at the end');
cmp_ok(value('SELECT targets FROM gateway_pool_workers WHERE database = \'app\''), '>', 0, 'the worker still probes');

# Clean ends: by a signal, by uninstalling, and finally with the server.
value("SELECT pg_terminate_backend($first)");
wait_until("SELECT count(*) > 0 FROM gateway_pool_workers WHERE database = 'app' AND pid <> $first AND targets > 0");
value('SELECT uninstall_gateway_pools()');
wait_until(q{SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'gateway_pool worker'});
value('SELECT install_gateway_pools()');
wait_until(q{SELECT count(*) > 0 FROM gateway_pool_workers WHERE database = 'app' AND targets > 0});
pass('workers have ended and been started again');

kill 'TERM', $dns;
waitpid $dns, 0;
done_testing();
