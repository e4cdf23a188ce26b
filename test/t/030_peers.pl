# The fake gateways that other tests probe behave as their kinds say.

use strict;
use warnings FATAL => 'all';

use Errno qw(EADDRINUSE ECONNREFUSED EINPROGRESS);
use FindBin;
use IO::Select;
use IO::Socket::IP;
use IPC::Run qw(start);
use lib $FindBin::RealBin;
use Peers qw(tls_material nginx s_server);
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $get = "GET /health?x=\\1 HTTP/1.1\r\nHost: gw.test\r\n\r\n";
my $fine = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n";
my $peers = Peers->new;

# Starts to connect, and returns the socket.
sub begin
{
    my ($peer) = @_;
    my $socket = IO::Socket::IP->new(PeerHost => $peer->{address}, PeerPort => $peer->{port}, Blocking => 0)
      or die "connect: $@";
    return $socket;
}

# Returns how many of these sockets connect within 0.1 s.
sub connected
{
    my @connected = IO::Select->new(@_)->can_write(0.1);
    return scalar @connected;
}

# Connects and sends something; returns the socket, or undef with $! if refused.
sub say_to
{
    my ($peer, $what) = @_;
    my $socket = IO::Socket::IP->new(PeerHost => $peer->{address}, PeerPort => $peer->{port});

    syswrite $socket, $what if $socket && defined $what;
    return $socket;
}

# Reads until the peer ends the connection or has sent enough; returns what it sent and
# what came then.
sub hear
{
    my ($socket, $enough) = @_;
    my $select = IO::Select->new($socket);
    my $said = '';

    until ($enough && $said =~ $enough)
    {
        $select->can_read(10) or return ($said, 'nothing');
        my $length = sysread $socket, $said, 65536, length $said;
        return ($said, $!{ECONNRESET} ? 'reset' : "$!") unless defined $length;
        return ($said, 'end') if $length == 0;
    }
    return ($said, 'more');
}

# Returns the inode of the socket that listens on a peer's port.
sub listener
{
    my ($peer) = @_;
    my $port = sprintf '%04X', $peer->{port};
    return slurp_file('/proc/net/tcp') =~ / \w+:$port \w+:0000 0A(?: +\S+){5} +(\d+)/ ? $1 : undef;
}

# Asserts that nothing has arrived: what a peer sends at once has arrived when it has counted the reason.
sub is_silent
{
    my ($socket, $label) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;
    return ok(!IO::Select->new($socket)->can_read(0), $label);
}

sub is_heard
{
    my ($peer, $said, $then, $label) = @_;
    my $socket = say_to($peer, $get);

    local $Test::Builder::Level = $Test::Builder::Level + 1;
    return is_deeply([ hear($socket, $then eq 'more' ? qr/\Q$said\E/ : undef) ], [ $said, $then ], $label);
}

# Kinds that send nothing.
{
    my $open = $peers->start('open');
    my $socket = say_to($open, $get);

    ok($open->wait_for(1, 'requests'), 'open: it reads');
    is_silent($socket, 'open: it sends nothing');
    is($open->count->{last}, $get, 'open: it reports the request unchanged');
    is($open->count->{closed}, 0, 'open: the connection stays');
    close $socket;
    ok($open->wait_for(1, 'closed'), 'open: it closes when the client does');

    my $silent = $peers->start('silent');
    $socket = say_to($silent, $get);
    ok($silent->wait_for(1), 'silent: it accepts');
    is_silent($socket, 'silent: it sends nothing');
    close $socket;
    ok($silent->wait_for(1, 'closed'), 'silent: it notices that the client has closed');
    is($silent->count->{requests}, 0, 'silent: it does not read');

    my $begun = time;
    ok(!$silent->wait_for(2, 'accepted', 0), 'a wait can time out');
    cmp_ok(time - $begun, '<', 10, 'it times out in time');
    is($silent->{peers}->{error}, 'only 1', 'its error says so');
}

# Kinds that refuse connections.
{
    my $refused = $peers->start('refused');
    is(say_to($refused), undef, 'refused: connecting fails');
    is($! + 0, ECONNREFUSED, 'refused: the error is ECONNREFUSED');
    is(IO::Socket::IP->new(LocalHost => '127.0.0.1', LocalPort => $refused->{port}, Listen => 1), undef, 'refused: another process cannot bind the port');
    is($! + 0, EADDRINUSE, 'refused: the error is EADDRINUSE');
    $refused->kind('open');
    ok(say_to($refused), 'refused: it accepts when its kind becomes open');
    $refused->kind('refused');
    is(say_to($refused), undef, 'open: it refuses when its kind becomes refused');

    my $reset = $peers->start('reset');
    is_deeply([ hear(say_to($reset)) ], [ '', 'reset' ], 'reset: the connection is reset at once');
    is($reset->count->{closed}, 1, 'reset: it is counted as closed');

    foreach my $address ('127.0.0.1', '127.0.0.7', '::1')
    {
        my $hole = $peers->start_at($address, 'blackhole');
        $hole->kind('open');
        is($hole->count->{accepted}, 0, "blackhole $address: without attempts to connect, none is accepted later");
        $hole->kind('blackhole');
        my @sockets = map { begin($hole) } 1 .. 3;

        is(connected(@sockets), 0, "blackhole $address: no connection is accepted");
        $hole->kind('http', 200);
        my $socket = begin($hole);
        IO::Select->new($socket)->can_write(10);
        syswrite $socket, $get;
        like((hear($socket, qr/\r\n\r\n/))[0], qr/^HTTP\/1.1 200 /, "blackhole $address: it answers when its kind becomes http");
        $hole->kind('blackhole');
        my $last = begin($hole);
        is(connected($last), 0, "blackhole $address: it accepts none when it is a black hole again");
        $hole->kind('open');
        # Connections whose packets were dropped retry after a second.
        push @sockets, $last;
        ok($hole->wait_for(scalar @sockets + 1), "blackhole $address: waiting connections are accepted later")
          if $address eq '::1';
        $hole->stop;
        is(say_to($hole), undef, "blackhole $address: it can be stopped");
    }
}

# Kinds that answer.
{
    my $http = $peers->start('http', 503, 1000, 'X-Of: a \\ and "b"', 'Retry-After: 5');
    my $head = "HTTP/1.1 503 Status\r\nX-Of: a \\ and \"b\"\r\nRetry-After: 5\r\nContent-Length: 1000\r\n\r\n";
    my $whole = $head . 'b' x 999 . "\n";

    is_heard($http, $whole, 'more', 'http: it sends status, headers and body');
    is($http->count->{sent}, length $whole, 'http: sent bytes are counted');
    my $socket = say_to($http, $get x 3);
    is((hear($socket, qr/(?:b\n.*){3}\z/s))[0], $whole x 3, 'http: three requests get three answers');
    is($http->count->{requests}, 4, 'http: requests are counted');
    syswrite $socket, "HEAD / HTTP/1.1\r\n";
    syswrite $socket, "Host: gw.test\r\n\r\n";
    is((hear($socket, qr/\r\n\r\n/))[0], $head, 'http: HEAD gets no body');
    is_silent($socket, 'http: HEAD gets no body later either');
    is($http->count->{last}, "HEAD / HTTP/1.1\r\nHost: gw.test\r\n\r\n", 'http: the last request is reported');
    foreach my $length (8194, 100_000)
    {
        syswrite $socket, 'GET /' . 'x' x ($length - 18) . " HTTP/1.1\r\n\r\n";
        is((hear($socket, qr{\n\z}))[0], $whole, "http: a head of $length bytes is accepted");
    }
    $http->kind('http', 200, 0, 'Connection: close');
    is_heard($http, "HTTP/1.1 200 Status\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", 'end', 'http: it closes if its header says so');
    $http->kind('http', 204);
    is_heard($http, "HTTP/1.1 204 Status\r\n\r\n", 'more', 'http: a status without body works');

    my $large = $peers->start('http', 200, 5_000_000);
    my ($said) = hear(say_to($large, $get), qr/b\n\z/);
    is(length $said, $large->count->{sent}, 'http: a body larger than a socket buffer is sent');

    is_heard($peers->start('redirect', 'https://10.0.0.1/a b'),
        "HTTP/1.1 302 Found\r\nLocation: https://10.0.0.1/a b\r\nContent-Length: 0\r\n\r\n", 'more', 'redirect: it sends status and location');
    is_heard($peers->start('continue'), "HTTP/1.1 100 Continue\r\n\r\n" x 3 . $fine, 'more', 'continue: it sends three interim answers');
    is_heard($peers->start('continue', 1), "HTTP/1.1 100 Continue\r\n\r\n" . $fine, 'more', 'continue: it sends one interim answer');

    my $slow = $peers->start('slow', 150);
    my $begun = time;
    is_heard($slow, $fine, 'more', 'slow: it sends the whole answer');
    cmp_ok(time - $begun, '>=', 0.15, 'slow: it does not send it before');
    $slow->kind('slow', 3_600_000);
    $socket = say_to($slow, $get);
    ok($slow->wait_for(2, 'requests'), 'slow: it reads');
    is_silent($socket, 'slow: it is silent until then');
    # The other connection has closed by itself.
    $slow->wait_for(1, 'closed');
    close $socket;
    ok($slow->wait_for(2, 'closed'), 'slow: it notices that the client has closed');

    # The answer that is due first is sent first, whatever the order of the requests.
    foreach my $delays ([ 50, 3_600_000 ], [ 3_600_000, 50 ])
    {
        my @waiting = map {
            my $peer = $peers->start('slow', $_);
            my $socket = say_to($peer, $get);
            $peer->wait_for(1, 'requests');
            $socket
        } @$delays;
        is((hear($waiting[$delays->[0] == 50 ? 0 : 1], qr{ok\n}))[0], $fine, 'slow: a slower peer does not delay the answer');
    }

    my $drip = $peers->start('drip');
    $begun = time;
    $socket = say_to($drip, $get);
    my ($drops) = hear($socket, qr{...}s);
    cmp_ok(time - $begun, '>=', 0.1 * length $drops, 'drip: it sends a byte every 100 ms');
    is($drops, substr($fine, 0, length $drops), 'drip: the bytes are those of an answer');
    $drip->kind('drip', 1);
    is_heard($drip, $fine, 'more', 'drip: it sends the whole answer in the end');
}

# Kinds with bad answers.
{
    foreach my $kind (qw(half halfclose wrongcl http09 tlsgarbage endless endless-lines bigbody))
    {
        my $peer = $peers->start($kind);
        my $socket = say_to($peer);

        $peer->wait_for(1);
        is_silent($socket, "$kind: it sends nothing without a request");
    }
    is_heard($peers->start('half'), 'HTTP/1.1 2', 'more', 'half: it sends a part');
    is_heard($peers->start('halfclose'), 'HTTP/1.1 2', 'end', 'halfclose: it sends a part and closes');
    is_heard($peers->start('wrongcl'), "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nok\n", 'reset', 'wrongcl: it sends less than the stated length');
    is_heard($peers->start('http09'), "<p>It works!</p>\n", 'end', 'http09: it sends a body alone');

    my $half = $peers->start('half');
    my $socket = say_to($half, $get x 2);
    ok($half->wait_for(2, 'requests'), 'half: it reads');
    is((hear($socket, qr/2/))[0], 'HTTP/1.1 2', 'half: it sends no more than a part');
    is_silent($socket, 'half: it is silent after that');

    my $garbage = $peers->start('garbage');
    my ($said, $then) = hear(say_to($garbage), qr/\x7f/);
    unlike($said, qr/HTTP/, 'garbage: it sends no answer');
    is($then, 'more', 'garbage: it sends without a request');

    my %endless = (
        endless => qr{^HTTP/1.1 200 OK\r\nX-Endless: a+\z},
        'endless-lines' => qr{^HTTP/1.1 200 OK\r\n(?:X-Endless: a line of 38 bytes in all\r\n)+[^\n]*\z},
        bigbody => qr{^HTTP/1.1 200 OK\r\n\r\na+\z});
    foreach my $kind (sort keys %endless)
    {
        my $peer = $peers->start($kind);

        $socket = say_to($peer, $get);
        # Until the sockets are full: it sends what it can between two commands.
        my $sent = -1;
        $sent = $_ while ($_ = $peer->count->{sent}) != $sent || $_ == 0;
        my $many = int($sent / 10_000) + 100;
        ($said, $then) = hear($socket, qr/^(?:.{10000}){$many}/s);
        ok($said =~ $endless{$kind}, "$kind: it sends what its kind says");
        is($then, 'more', "$kind: it does not end");
        close $socket;
        ok($peer->wait_for(1, 'closed'), "$kind: it closes when the client does");
    }
}

# A peer's kind changes while it runs.
{
    my $peer = $peers->start('open');
    my $old = say_to($peer);

    $peer->wait_for(1);
    my $listener = listener($peer);
    $peer->kind('blackhole');
    $peer->kind('tlssilent');
    $peer->kind('http', 200);
    is(listener($peer), $listener, 'kind: it listens without a gap');
    is_heard($peer, "HTTP/1.1 200 Status\r\nContent-Length: 3\r\n\r\nbb\n", 'more', 'kind: new connections get the new kind');
    syswrite $old, $get;
    ok($peer->wait_for(2, 'requests'), 'kind: an old connection is read');
    is_silent($old, 'kind: it keeps the old kind');
    $peer->stop;
    is((hear($old))[1], 'end', 'stop: it closes connections');
    is(say_to($peer), undef, 'stop: it refuses connections');
    my $unused = $peers->start('open');
    $unused->stop;
    is(IO::Socket::IP->new(LocalHost => '127.0.0.1', LocalPort => $unused->{port}, Listen => 1), undef, 'stop: it keeps the port');
    my %list = $peers->list;
    is_deeply($list{ $peer->{id} }, [ 'http', '127.0.0.1', $peer->{port}, 'stopped' ], 'list: it shows kind, address, port and state');
    $peer->kind('half');
    is(say_to($peer), undef, 'stop: it refuses with a new kind, too');
    $peer->restart;
    is_heard($peer, 'HTTP/1.1 2', 'more', 'restart: it has the same port and the new kind');
    is($peer->count->{accepted}, 3, 'restart: its counts continue');

    my $again = $peers->start_at("127.0.0.9:$peer->{port}", 'http', 200);
    is($again->{target}, "127.0.0.9:$peer->{port}", 'a peer can have a given port');
    is($peers->ask([ 'start', 'open', $again->{target} ]), undef, 'a port that is taken is refused');
    is($peers->start_at("[::1]:$peer->{port}", 'open')->{target}, "[::1]:$peer->{port}", 'a peer can have a port of ::1');
    is($peers->ask([ 'start', 'open', '0.0.0.0' ]), undef, 'an address that is not loopback is refused');
    is($peers->{error}, 'not a loopback address: 0.0.0.0', 'the error says so');
    foreach my $command ([], ['dance'], ['start'], [ 'start', 'dancer' ], [ 'start', 'http', 'x' ], [ 'start', 'open', '127.0.0.1:0' ],
        [ 'stop', 0 ], [ 'stop', 9999 ], [ 'wait', 1, 1, 'dances' ], [ 'fleet', 0, 'open' ], [ 'x' x 1000, ('y') x 100 ])
    {
        is($peers->ask($command), undef, "refused as a command: @$command[0 .. ($#$command < 3 ? $#$command : 3)]");
    }
}

# Many peers at once.
{
    my @fleet = $peers->fleet_at('127.0.0.3', 400, 'http', 200);
    my %ports = map { $_->{port} => 1 } @fleet;
    my @sockets = map { say_to($_, $get) } @fleet;

    is(scalar(keys %ports), 400, 'fleet: each has a port');
    is(scalar(grep { (hear($_, qr/bb\n/))[1] eq 'more' } @sockets), 400, 'fleet: all answer');
    my @holes = $peers->fleet(50, 'blackhole');
    is(connected(map { begin($_) } @holes), 0, 'fleet: black holes accept no connections');
}

# Certificates, and servers with them.
{
    my $dir = PostgreSQL::Test::Utils::tempdir;
    my $tls = tls_material($dir);
    my $nginx = nginx($dir, tls => $tls, redirect => 'http://127.0.0.1:9/');
    my %status = ('/health' => 200, '/down' => 503, '/redirect' => 302, '/big' => 200, '/else' => 404);

    # Returns the verification error of openssl for a server, 'none' if there is none, or its output.
    my $verify = sub {
        my ($port, @arguments) = @_;
        my $said = '';
        my $ok = IPC::Run::run([ 'openssl', 's_client', '-connect', "127.0.0.1:$port", '-verify_return_error', @arguments ],
            '<', \'', '>&', \$said, IPC::Run::timeout(30));
        return $said =~ /verify error:num=\d+:(.*)/ ? $1 : $ok ? 'none' : $said;
    };
    my @trust = ('-CAfile', $tls->{ca});
    my @named = (@trust, '-servername', 'gw.test', '-verify_hostname', 'gw.test');

    foreach my $path (sort keys %status)
    {
        my ($said) = hear(say_to({ address => '127.0.0.1', port => $nginx->{http} }, "GET $path HTTP/1.0\r\n\r\n"));
        like($said, qr/^HTTP\/1.1 $status{$path} /, "nginx: $path");
        like($said, qr/^Location: http:\/\/127.0.0.1:9\/\r$/m, 'nginx: the redirect has its location') if $path eq '/redirect';
        cmp_ok(length $said, '>', 16 * 1024 * 1024, 'nginx: the big answer is big') if $path eq '/big';
    }
    my %https = %{ $nginx->{https} };
    is($verify->($https{name}, @named), 'none', 'certificate for a name: accepted');
    is($verify->($https{name}, @trust, '-verify_hostname', 'other.test'), 'hostname mismatch', 'certificate for another name: refused');
    is($verify->($https{name}, @trust, '-verify_ip', '127.0.0.1'), 'IP address mismatch', 'certificate for a name, not for the address: refused');
    is($verify->($https{ip}, @trust, '-verify_ip', '127.0.0.1'), 'none', 'certificate for an address: accepted');
    is($verify->($https{expired}, @named), 'certificate has expired', 'expired certificate: refused');
    is($verify->($https{expired}, @named, '-no_check_time'), 'none', 'expired certificate: it has no other error');
    is($verify->($https{expiring}, @named), 'none', 'certificate that expires in ten days: accepted');
    is($verify->($https{expiring}, @named, '-attime', int(time + 9.9 * 86400)), 'none', 'certificate that expires in ten days: accepted in nine');
    is($verify->($https{expiring}, @named, '-attime', int(time + 10.1 * 86400)), 'certificate has expired', 'certificate that expires in ten days: refused after ten');
    like($verify->($https{stranger}, @named), qr/issuer/, 'certificate of another authority: refused');
    is($verify->($https{stranger}, '-CAfile', $tls->{other_ca}, '-verify_hostname', 'gw.test'), 'none', 'certificate of another authority: accepted if that is trusted');

    my $server = s_server($dir, $tls->{cert}{ip}, $tls->{key}, arguments => [ '-quiet', '-www', '-tls1_2' ]);
    is($verify->($server->{port}, @trust, '-verify_ip', '127.0.0.1', '-tls1_2'), 'none', 's_server: its certificate is accepted');
    isnt($verify->($server->{port}, @trust, '-tls1_3'), 'none', 's_server: its arguments apply');
    $server->stop;
    is(say_to($server), undef, 's_server: it can be stopped');
    $nginx->stop;
    is(say_to($nginx), undef, 'nginx: it can be stopped');
    like(slurp_file($nginx->{access_log}), qr{"GET /down HTTP/1.0" 503}, 'nginx: it writes a log');

    # Servers that only seem to have certificates.
    my $garbage = $peers->start('tlsgarbage');
    like($verify->($garbage->{port}), qr/wrong version number|packet length/, 'tlsgarbage: its answer is no TLS');
    is($garbage->count->{requests}, 1, 'tlsgarbage: it answers after the first record');
    my $silent = $peers->start('tlssilent');
    my $client = start([ 'openssl', 's_client', '-connect', $silent->{target} ], '<', \'', '>&', \my $said);
    ok($silent->wait_for(1, 'requests'), 'tlssilent: it reads the first record');
    like($silent->count->{last}, qr/^\x16\x03.{3}\x01/s, 'tlssilent: that is a ClientHello');
    is($silent->count->{sent}, 0, 'tlssilent: it sends nothing');
    $client->kill_kill;
    ok($silent->wait_for(1, 'closed'), 'tlssilent: it closes when the client does');
}

# The process can be ended while a command waits.
{
    my $peer = $peers->start('open');
    my $socket = say_to($peer);

    syswrite $peers->{to}, "wait $peer->{id} 2\n";
    is($peers->end, 0, 'end: the process ends well');
    is((hear($socket))[1], 'end', 'end: all connections are closed');
}

done_testing();
