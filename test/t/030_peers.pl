# The gateways that other tests probe do what their kinds say.

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

# Begins to connect, and returns the socket.
sub begin
{
    my ($peer) = @_;
    my $socket = IO::Socket::IP->new(PeerHost => $peer->{address}, PeerPort => $peer->{port}, Blocking => 0)
      or die "connect: $@";
    return $socket;
}

# How many of these sockets get connected, if there is no reason to wait.
sub connected
{
    my @connected = IO::Select->new(@_)->can_write(0.1);
    return scalar @connected;
}

# Connects and says something; returns the socket, or undef with $! if refused.
sub say_to
{
    my ($peer, $what) = @_;
    my $socket = IO::Socket::IP->new(PeerHost => $peer->{address}, PeerPort => $peer->{port});

    syswrite $socket, $what if $socket && defined $what;
    return $socket;
}

# Listens until the other side ends the connection or has said enough; returns
# what it said and what came then.
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

# The inode of the socket that listens on a peer's port.
sub listener
{
    my ($peer) = @_;
    my $port = sprintf '%04X', $peer->{port};
    return slurp_file('/proc/net/tcp') =~ / \w+:$port \w+:0000 0A(?: +\S+){5} +(\d+)/ ? $1 : undef;
}

# What is said at once: all of it is there when the peer has counted the reason.
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

# Those who say nothing.
{
    my $open = $peers->start('open');
    my $socket = say_to($open, $get);

    ok($open->wait_for(1, 'requests'), 'open: reads');
    is_silent($socket, 'open: says nothing');
    is($open->count->{last}, $get, 'open: the request as it came');
    is($open->count->{closed}, 0, 'open: stays');
    close $socket;
    ok($open->wait_for(1, 'closed'), 'open: closes when the other side does');

    my $silent = $peers->start('silent');
    $socket = say_to($silent, $get);
    ok($silent->wait_for(1), 'silent: accepts');
    is_silent($socket, 'silent: says nothing');
    close $socket;
    ok($silent->wait_for(1, 'closed'), 'silent: sees that the other side has gone');
    is($silent->count->{requests}, 0, 'silent: does not read');

    my $begun = time;
    ok(!$silent->wait_for(2, 'accepted', 0), 'a wait that ends without it');
    cmp_ok(time - $begun, '<', 10, 'when its time has passed');
    is($silent->{peers}->{error}, 'only 1', 'and says so');
}

# Those who do not let in.
{
    my $refused = $peers->start('refused');
    is(say_to($refused), undef, 'refused: no connection');
    is($! + 0, ECONNREFUSED, 'refused: is what it says');
    is(IO::Socket::IP->new(LocalHost => '127.0.0.1', LocalPort => $refused->{port}, Listen => 1), undef, 'refused: nobody else');
    is($! + 0, EADDRINUSE, 'refused: takes the port');
    $refused->kind('open');
    ok(say_to($refused), 'refused: until it is open');
    $refused->kind('refused');
    is(say_to($refused), undef, 'open: until it is refused');

    my $reset = $peers->start('reset');
    is_deeply([ hear(say_to($reset)) ], [ '', 'reset' ], 'reset: at once');
    is($reset->count->{closed}, 1, 'reset: closed');

    foreach my $address ('127.0.0.1', '127.0.0.7', '::1')
    {
        my $hole = $peers->start_at($address, 'blackhole');
        $hole->kind('open');
        is($hole->count->{accepted}, 0, "blackhole $address: lets nobody in later, were there nobody");
        $hole->kind('blackhole');
        my @sockets = map { begin($hole) } 1 .. 3;

        is(connected(@sockets), 0, "blackhole $address: nobody gets in");
        $hole->kind('http', 200);
        my $socket = begin($hole);
        IO::Select->new($socket)->can_write(10);
        syswrite $socket, $get;
        like((hear($socket, qr/\r\n\r\n/))[0], qr/^HTTP\/1.1 200 /, "blackhole $address: lets in when it is none");
        $hole->kind('blackhole');
        my $last = begin($hole);
        is(connected($last), 0, "blackhole $address: again");
        $hole->kind('open');
        # All whose packets were dropped try again, after a second.
        push @sockets, $last;
        ok($hole->wait_for(scalar @sockets + 1), "blackhole $address: those who wait get in later")
          if $address eq '::1';
        $hole->stop;
        is(say_to($hole), undef, "blackhole $address: stopped");
    }
}

# Those who answer.
{
    my $http = $peers->start('http', 503, 1000, 'X-Of: a \\ and "b"', 'Retry-After: 5');
    my $head = "HTTP/1.1 503 Status\r\nX-Of: a \\ and \"b\"\r\nRetry-After: 5\r\nContent-Length: 1000\r\n\r\n";
    my $whole = $head . 'b' x 999 . "\n";

    is_heard($http, $whole, 'more', 'http: status, headers and body');
    is($http->count->{sent}, length $whole, 'http: bytes are counted');
    my $socket = say_to($http, $get x 3);
    is((hear($socket, qr/(?:b\n.*){3}\z/s))[0], $whole x 3, 'http: three requests, three answers');
    is($http->count->{requests}, 4, 'http: counted');
    syswrite $socket, "HEAD / HTTP/1.1\r\n";
    syswrite $socket, "Host: gw.test\r\n\r\n";
    is((hear($socket, qr/\r\n\r\n/))[0], $head, 'http: HEAD has no body');
    is_silent($socket, 'http: not later either');
    is($http->count->{last}, "HEAD / HTTP/1.1\r\nHost: gw.test\r\n\r\n", 'http: the last request');
    foreach my $length (8194, 100_000)
    {
        syswrite $socket, 'GET /' . 'x' x ($length - 18) . " HTTP/1.1\r\n\r\n";
        is((hear($socket, qr{\n\z}))[0], $whole, "http: a head of $length bytes");
    }
    $http->kind('http', 200, 0, 'Connection: close');
    is_heard($http, "HTTP/1.1 200 Status\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", 'end', 'http: closes if it says so');
    $http->kind('http', 204);
    is_heard($http, "HTTP/1.1 204 Status\r\n\r\n", 'more', 'http: a status without body');

    my $large = $peers->start('http', 200, 5_000_000);
    my ($said) = hear(say_to($large, $get), qr/b\n\z/);
    is(length $said, $large->count->{sent}, 'http: a body larger than what a socket holds');

    is_heard($peers->start('redirect', 'https://10.0.0.1/a b'),
        "HTTP/1.1 302 Found\r\nLocation: https://10.0.0.1/a b\r\nContent-Length: 0\r\n\r\n", 'more', 'redirect');
    is_heard($peers->start('continue'), "HTTP/1.1 100 Continue\r\n\r\n" x 3 . $fine, 'more', 'continue: thrice');
    is_heard($peers->start('continue', 1), "HTTP/1.1 100 Continue\r\n\r\n" . $fine, 'more', 'continue: once');

    my $slow = $peers->start('slow', 150);
    my $begun = time;
    is_heard($slow, $fine, 'more', 'slow: the whole answer');
    cmp_ok(time - $begun, '>=', 0.15, 'slow: not before');
    $slow->kind('slow', 3_600_000);
    $socket = say_to($slow, $get);
    ok($slow->wait_for(2, 'requests'), 'slow: reads');
    is_silent($socket, 'slow: is silent');
    # The other connection has gone by itself.
    $slow->wait_for(1, 'closed');
    close $socket;
    ok($slow->wait_for(2, 'closed'), 'slow: sees that nobody waits');

    # Whoever is due first is answered first, in whatever order they came.
    foreach my $delays ([ 50, 3_600_000 ], [ 3_600_000, 50 ])
    {
        my @waiting = map {
            my $peer = $peers->start('slow', $_);
            my $socket = say_to($peer, $get);
            $peer->wait_for(1, 'requests');
            $socket
        } @$delays;
        is((hear($waiting[$delays->[0] == 50 ? 0 : 1], qr{ok\n}))[0], $fine, 'slow: beside one that is slower');
    }

    my $drip = $peers->start('drip');
    $begun = time;
    $socket = say_to($drip, $get);
    my ($drops) = hear($socket, qr{...}s);
    cmp_ok(time - $begun, '>=', 0.1 * length $drops, 'drip: a byte each 100 ms');
    is($drops, substr($fine, 0, length $drops), 'drip: of an answer');
    $drip->kind('drip', 1);
    is_heard($drip, $fine, 'more', 'drip: in the end it is an answer');
}

# Those who answer badly.
{
    foreach my $kind (qw(half halfclose wrongcl http09 tlsgarbage endless endless-lines bigbody))
    {
        my $peer = $peers->start($kind);
        my $socket = say_to($peer);

        $peer->wait_for(1);
        is_silent($socket, "$kind: says nothing unasked");
    }
    is_heard($peers->start('half'), 'HTTP/1.1 2', 'more', 'half');
    is_heard($peers->start('halfclose'), 'HTTP/1.1 2', 'end', 'halfclose');
    is_heard($peers->start('wrongcl'), "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nok\n", 'reset', 'wrongcl');
    is_heard($peers->start('http09'), "<p>It works!</p>\n", 'end', 'http09');

    my $half = $peers->start('half');
    my $socket = say_to($half, $get x 2);
    ok($half->wait_for(2, 'requests'), 'half: reads');
    is((hear($socket, qr/2/))[0], 'HTTP/1.1 2', 'half: no more than that');
    is_silent($socket, 'half: then silence');

    my $garbage = $peers->start('garbage');
    my ($said, $then) = hear(say_to($garbage), qr/\x7f/);
    unlike($said, qr/HTTP/, 'garbage: no answer');
    is($then, 'more', 'garbage: unasked');

    my %endless = (
        endless => qr{^HTTP/1.1 200 OK\r\nX-Endless: a+\z},
        'endless-lines' => qr{^HTTP/1.1 200 OK\r\n(?:X-Endless: a line of 38 bytes in all\r\n)+[^\n]*\z},
        bigbody => qr{^HTTP/1.1 200 OK\r\n\r\na+\z});
    foreach my $kind (sort keys %endless)
    {
        my $peer = $peers->start($kind);

        $socket = say_to($peer, $get);
        # Until the sockets are full: between two answers it says what it can.
        my $sent = -1;
        $sent = $_ while ($_ = $peer->count->{sent}) != $sent || $_ == 0;
        my $many = int($sent / 10_000) + 100;
        ($said, $then) = hear($socket, qr/^(?:.{10000}){$many}/s);
        ok($said =~ $endless{$kind}, "$kind: what it says");
        is($then, 'more', "$kind: and more");
        close $socket;
        ok($peer->wait_for(1, 'closed'), "$kind: ends with the connection");
    }
}

# What they do is changed while they do it.
{
    my $peer = $peers->start('open');
    my $old = say_to($peer);

    $peer->wait_for(1);
    my $listener = listener($peer);
    $peer->kind('blackhole');
    $peer->kind('tlssilent');
    $peer->kind('http', 200);
    is(listener($peer), $listener, 'kind: it listens all the time');
    is_heard($peer, "HTTP/1.1 200 Status\r\nContent-Length: 3\r\n\r\nbb\n", 'more', 'kind: new connections are of the new one');
    syswrite $old, $get;
    ok($peer->wait_for(2, 'requests'), 'kind: an old one');
    is_silent($old, 'kind: is of the old one');
    $peer->stop;
    is((hear($old))[1], 'end', 'stop: ends connections');
    is(say_to($peer), undef, 'stop: refuses');
    my $unused = $peers->start('open');
    $unused->stop;
    is(IO::Socket::IP->new(LocalHost => '127.0.0.1', LocalPort => $unused->{port}, Listen => 1), undef, 'stop: keeps the port');
    my %list = $peers->list;
    is_deeply($list{ $peer->{id} }, [ 'http', '127.0.0.1', $peer->{port}, 'stopped' ], 'list');
    $peer->kind('half');
    is(say_to($peer), undef, 'stop: whatever kind it becomes');
    $peer->restart;
    is_heard($peer, 'HTTP/1.1 2', 'more', 'restart: on the same port, as what it is now');
    is($peer->count->{accepted}, 3, 'restart: it is still counted');

    my $again = $peers->start_at("127.0.0.9:$peer->{port}", 'http', 200);
    is($again->{target}, "127.0.0.9:$peer->{port}", 'a port of our choice');
    is($peers->ask([ 'start', 'open', $again->{target} ]), undef, 'is taken then');
    is($peers->start_at("[::1]:$peer->{port}", 'open')->{target}, "[::1]:$peer->{port}", 'a port of ::1');
    is($peers->ask([ 'start', 'open', '0.0.0.0' ]), undef, 'an address that is not loopback');
    is($peers->{error}, 'not a loopback address: 0.0.0.0', 'is refused');
    foreach my $command ([], ['dance'], ['start'], [ 'start', 'dancer' ], [ 'start', 'http', 'x' ], [ 'start', 'open', '127.0.0.1:0' ],
        [ 'stop', 0 ], [ 'stop', 9999 ], [ 'wait', 1, 1, 'dances' ], [ 'fleet', 0, 'open' ], [ 'x' x 1000, ('y') x 100 ])
    {
        is($peers->ask($command), undef, "not a command: @$command[0 .. ($#$command < 3 ? $#$command : 3)]");
    }
}

# Many at once.
{
    my @fleet = $peers->fleet_at('127.0.0.3', 400, 'http', 200);
    my %ports = map { $_->{port} => 1 } @fleet;
    my @sockets = map { say_to($_, $get) } @fleet;

    is(scalar(keys %ports), 400, 'fleet: ports');
    is(scalar(grep { (hear($_, qr/bb\n/))[1] eq 'more' } @sockets), 400, 'fleet: all answer');
    my @holes = $peers->fleet(50, 'blackhole');
    is(connected(map { begin($_) } @holes), 0, 'fleet: black holes');
}

# Certificates, and servers that have them.
{
    my $dir = PostgreSQL::Test::Utils::tempdir;
    my $tls = tls_material($dir);
    my $nginx = nginx($dir, tls => $tls, redirect => 'http://127.0.0.1:9/');
    my %status = ('/health' => 200, '/down' => 503, '/redirect' => 302, '/big' => 200, '/else' => 404);

    # What openssl has against a server, and its exit status.
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
        like($said, qr/^Location: http:\/\/127.0.0.1:9\/\r$/m, 'nginx: where to') if $path eq '/redirect';
        cmp_ok(length $said, '>', 16 * 1024 * 1024, 'nginx: large') if $path eq '/big';
    }
    my %https = %{ $nginx->{https} };
    is($verify->($https{name}, @named), 'none', 'certificate of a name');
    is($verify->($https{name}, @trust, '-verify_hostname', 'other.test'), 'hostname mismatch', 'certificate of another name');
    is($verify->($https{name}, @trust, '-verify_ip', '127.0.0.1'), 'IP address mismatch', 'certificate of a name, not the address');
    is($verify->($https{ip}, @trust, '-verify_ip', '127.0.0.1'), 'none', 'certificate of an address');
    is($verify->($https{expired}, @named), 'certificate has expired', 'expired certificate');
    is($verify->($https{expired}, @named, '-no_check_time'), 'none', 'and nothing else');
    is($verify->($https{expiring}, @named), 'none', 'certificate that expires');
    is($verify->($https{expiring}, @named, '-attime', int(time + 9.9 * 86400)), 'none', 'not in nine days');
    is($verify->($https{expiring}, @named, '-attime', int(time + 10.1 * 86400)), 'certificate has expired', 'but in ten');
    like($verify->($https{stranger}, @named), qr/issuer/, 'certificate of another authority');
    is($verify->($https{stranger}, '-CAfile', $tls->{other_ca}, '-verify_hostname', 'gw.test'), 'none', 'who is trusted by others');

    my $server = s_server($dir, $tls->{cert}{ip}, $tls->{key}, arguments => [ '-quiet', '-www', '-tls1_2' ]);
    is($verify->($server->{port}, @trust, '-verify_ip', '127.0.0.1', '-tls1_2'), 'none', 's_server');
    isnt($verify->($server->{port}, @trust, '-tls1_3'), 'none', 's_server with arguments');
    $server->stop;
    is(say_to($server), undef, 's_server stopped');
    $nginx->stop;
    is(say_to($nginx), undef, 'nginx stopped');
    like(slurp_file($nginx->{access_log}), qr{"GET /down HTTP/1.0" 503}, 'nginx: log');

    # And those that only seem to have one.
    my $garbage = $peers->start('tlsgarbage');
    like($verify->($garbage->{port}), qr/wrong version number|packet length/, 'tlsgarbage');
    is($garbage->count->{requests}, 1, 'tlsgarbage: after the first record');
    my $silent = $peers->start('tlssilent');
    my $client = start([ 'openssl', 's_client', '-connect', $silent->{target} ], '<', \'', '>&', \my $said);
    ok($silent->wait_for(1, 'requests'), 'tlssilent: reads the first record');
    like($silent->count->{last}, qr/^\x16\x03.{3}\x01/s, 'tlssilent: which is a ClientHello');
    is($silent->count->{sent}, 0, 'tlssilent: says nothing');
    $client->kill_kill;
    ok($silent->wait_for(1, 'closed'), 'tlssilent: ends with the connection');
}

# The end, also while a command waits.
{
    my $peer = $peers->start('open');
    my $socket = say_to($peer);

    syswrite $peers->{to}, "wait $peer->{id} 2\n";
    is($peers->end, 0, 'end');
    is((hear($socket))[1], 'end', 'with all connections');
}

done_testing();
