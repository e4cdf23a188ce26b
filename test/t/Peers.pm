# Gateways to probe: the fake ones of test/peers/peers.c, and real servers, nginx and
# openssl, with valid and invalid certificates.

package Peers;

use strict;
use warnings FATAL => 'all';

use Exporter 'import';
use FindBin;
use IO::Select;
use IPC::Open2;
use IPC::Open3;
use POSIX qw(strftime);
use Patience qw($patience soon);
use PostgreSQL::Test::Utils;

our @EXPORT_OK = qw(tls_material certificate hostile_material bundle nginx s_server);

# Builds the fake gateways and starts their process, which ends with the object.
sub new
{
    my ($class) = @_;
    my $program = PostgreSQL::Test::Utils::tempdir . '/peers';
    my $self = bless { owner => $$ }, $class;

    system('cc', '-O2', '-Wall', '-Wextra', '-Werror', '-o', $program, "$FindBin::RealBin/../peers/peers.c") == 0
      or die 'cc failed';
    $self->{pid} = open2($self->{from}, $self->{to}, $program);
    return $self;
}

# Sends a command and returns the answer, without its "ok"; for an error, returns
# undef and sets {error}.
sub ask
{
    my ($self, $words, $seconds) = @_;
    my $command = join ' ', map { s/([^!-~]|\\)/sprintf '\\x%02x', ord $1/ger } @$words;
    my $from = IO::Select->new($self->{from});
    my $answer = '';

    local $SIG{PIPE} = 'IGNORE';
    syswrite $self->{to}, "$command\n" or die "the peers are gone: $!";
    until ($answer =~ s/\n\z//)
    {
        $! = 0;
        if (!$from->can_read($seconds // $patience))
        {
            # A signal interrupts the wait, such as when stopped peers continue.
            next if $!{EINTR};
            die "no answer to: $command";
        }
        sysread $self->{from}, $answer, 65536, length $answer or die "the peers ended at: $command";
    }
    $self->{error} = $answer =~ s/^error // ? $answer : '';
    return $self->{error} eq '' ? $answer =~ s/^ok ?//r : undef;
}

# The same, but an error ends the test.
sub command
{
    my ($self, @words) = @_;
    return $self->ask(\@words) // die "@words: $self->{error}";
}

# Starts a peer of some kind, with its arguments, on a port of 127.0.0.1.
sub start
{
    my ($self, $kind, @arguments) = @_;
    return $self->start_at('127.0.0.1', $kind, @arguments);
}

# The same on an address: 127.0.0.2, 127.0.0.2:8443, ::1 or [::1]:8443.
sub start_at
{
    my ($self, $address, $kind, @arguments) = @_;
    return Peers::Peer->new($self, split / /, $self->command('start', $kind, $address, @arguments));
}

# Starts many peers of the same kind, and returns them.
sub fleet
{
    my ($self, $number, $kind, @arguments) = @_;
    return $self->fleet_at('127.0.0.1', $number, $kind, @arguments);
}

sub fleet_at
{
    my ($self, $address, $number, $kind, @arguments) = @_;
    my ($host, @fleet) = split / /, $self->command('fleet', $number, $kind, $address, @arguments);

    return map { my ($id, $port) = split /:/; Peers::Peer->new($self, $id, $host, $port) } @fleet;
}

# Returns all peers: for each id, kind, address, port and up or stopped.
sub list
{
    my ($self) = @_;
    return map { my ($id, @rest) = split / /; $id => \@rest } split /, /, $self->command('list');
}

# Ends the process, and returns its exit status: 0 is success.
sub end
{
    my ($self) = @_;

    return $self->{status} unless $self->{pid} && $self->{owner} == $$;
    local $?;
    close $self->{to};
    waitpid delete $self->{pid}, 0;
    return $self->{status} = $?;
}

sub DESTROY
{
    my ($self) = @_;
    $self->end;
    return;
}

# Runs openssl, with its output in a log.
sub run_openssl
{
    my ($log, @arguments) = @_;

    open my $input, '<', '/dev/null' or die "open: $!";
    open my $output, '>>', $log or die "open: $!";
    waitpid open3('<&' . fileno $input, '>&' . fileno $output, undef, 'openssl', @arguments), 0;
    die "openssl @arguments: " . slurp_file($log) if $? != 0;
    return;
}

# Makes two authorities, and server certificates with one key. Returns their files:
# ca, other_ca, key, and in cert those with at most one fault:
#   name       for gw.test
#   ip         for 127.0.0.1
#   expired    since yesterday, for gw.test
#   expiring   in ten days, for gw.test
#   stranger   for gw.test, by the other authority
sub tls_material
{
    my ($dir) = @_;
    my $day = 24 * 60 * 60;
    my %tls = (dir => $dir, ca => "$dir/ca.crt", other_ca => "$dir/other_ca.crt", key => "$dir/server.key");
    my %wanted = (
        name => [ 'ca', 'gw_test', -1, 365 ],
        ip => [ 'ca', 'loopback', -1, 365 ],
        expired => [ 'ca', 'gw_test', -30, -1 ],
        expiring => [ 'ca', 'gw_test', -1, 10 ],
        stranger => [ 'other_ca', 'gw_test', -1, 365 ]);
    my $config = "$dir/openssl.cnf";
    my $log = "$dir/openssl.log";

    append_to_file($config, "[req]\nprompt = no\ndistinguished_name = subject\n[subject]\nCN = gateway_pool test\n"
          . "[authority]\nbasicConstraints = critical, CA:TRUE\nkeyUsage = critical, keyCertSign\n"
          . "subjectKeyIdentifier = hash\n[subject_rules]\ncommonName = supplied\n"
          . "[gw_test]\nsubjectAltName = DNS:gw.test\n[loopback]\nsubjectAltName = IP:127.0.0.1\n"
          . join('', map { "[$_]\ndatabase = $dir/$_.index\nnew_certs_dir = $dir\nrand_serial = yes\n"
                  . "default_md = sha256\n"
                  . "policy = subject_rules\nunique_subject = no\ncertificate = $dir/$_.crt\nprivate_key = $dir/$_.key\n" } qw(ca other_ca)));
    my @new_key = ('-config', $config, '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes');
    foreach my $ca (qw(ca other_ca))
    {
        append_to_file("$dir/$ca.index", '');
        run_openssl($log, 'req', '-x509', @new_key, '-extensions', 'authority', '-subj', "/CN=$ca", '-days', '3650',
            '-keyout', "$dir/$ca.key", '-out', "$dir/$ca.crt");
    }
    run_openssl($log, 'req', '-new', @new_key, '-subj', '/CN=gateway', '-keyout', $tls{key}, '-out', "$dir/server.csr");
    foreach my $name (sort keys %wanted)
    {
        my ($ca, $extensions, @days) = @{ $wanted{$name} };

        $tls{cert}{$name} = certificate(\%tls, $name, $ca, $extensions, map { time + $_ * $day } @days);
    }
    return \%tls;
}

# Makes a certificate with the key of tls_material(...): its name, its authority, the
# section of its extensions, and since and until when it is valid. Returns its file.
sub certificate
{
    my ($tls, $name, $ca, $extensions, @times) = @_;
    my ($dir, $file) = ($tls->{dir}, "$tls->{dir}/$name.crt");
    my ($from, $until) = map { strftime('%Y%m%d%H%M%SZ', gmtime $_) } @times;

    run_openssl("$dir/openssl.log", 'ca', '-batch', '-notext', '-config', "$dir/openssl.cnf", '-name', $ca, '-extensions', $extensions,
        '-startdate', $from, '-enddate', $until, '-in', "$dir/server.csr", '-out', $file);
    return $file;
}

# Makes what a hostile gateway presents, with the key of tls_material(...). Returns
# its files:
# talker   a certificate by its authority for no name; its subject looks like a
# reason
# chain    the certificates of 150 authorities
# large    one with a key of 16,384 bits; there is no private key for it
# dh       Diffie-Hellman parameters of 9,990 bits
sub hostile_material
{
    my ($dir, $tls, $subject) = @_;
    my $log = "$dir/openssl.log";
    my %hostile = map { $_ => "$dir/hostile_$_.pem" } qw(talker chain large dh);
    my $number = sub { my ($bits) = @_; return '0x' . 'f' x ($bits / 4) };
    my $write = sub { my ($name, @lines) = @_; append_to_file("$dir/$name", join "\n", @lines, ''); return "$dir/$name" };

    run_openssl($log, 'req', '-new', '-utf8', '-config', "$dir/openssl.cnf", '-key', $tls->{key}, '-subj', "/CN=$subject", '-out', "$dir/talker.csr");
    run_openssl($log, 'x509', '-req', '-in', "$dir/talker.csr", '-CA', $tls->{ca}, '-CAkey', "$dir/ca.key", '-set_serial', '1', '-days', '10',
        '-out', $hostile{talker});
    append_to_file($hostile{chain}, slurp_file($tls->{ca}) x 150);

    # OpenSSL would take minutes to generate such a key.
    my $key = $write->('large.cnf', 'asn1 = SEQUENCE:key', '[key]', 'kind = SEQUENCE:kind', 'bits = BITWRAP,SEQUENCE:numbers', '[kind]',
        'oid = OID:rsaEncryption', 'no = NULL', '[numbers]', 'modulus = INTEGER:' . $number->(16_384), 'exponent = INTEGER:65537');
    run_openssl($log, 'asn1parse', '-genconf', $key, '-noout', '-out', "$dir/large.der");
    run_openssl($log, 'x509', '-req', '-in', "$dir/server.csr", '-CA', $tls->{ca}, '-CAkey', "$dir/ca.key", '-set_serial', '2', '-days', '10',
        '-force_pubkey', "$dir/large.der", '-keyform', 'DER', '-out', $hostile{large});

    my $dh = $write->('dh.cnf', 'asn1 = SEQUENCE:numbers', '[numbers]', 'p = INTEGER:0x2' . 'f' x 2497, 'g = INTEGER:2');
    run_openssl($log, 'asn1parse', '-genconf', $dh, '-noout', '-out', "$dir/dh.der");
    run_openssl($log, 'dhparam', '-inform', 'DER', '-in', "$dir/dh.der", '-out', $hostile{dh});
    return \%hostile;
}

# Returns a list of CA certificates in PEM format with some bytes: unknown ones, and
# that of a file as the last.
sub bundle
{
    my ($file, $number, $bytes) = @_;
    my $dir = PostgreSQL::Test::Utils::tempdir;
    my $known = slurp_file($file);
    my $bundle = '';

    foreach my $i (1 .. $number - 1)
    {
        # The certificate takes three quarters of the text.
        my $padding = int(($bytes - length($known)) / ($number - 1) * 0.73) - 400;

        run_openssl("$dir/openssl.log", 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes',
            '-subj', "/CN=authority $i", '-addext', 'nsComment=' . 'x' x $padding, '-days', 30, '-keyout', "$dir/key", '-out', "$dir/crt");
        $bundle .= slurp_file("$dir/crt");
    }
    return $bundle . $known;
}

# Starts nginx with its files in a directory: on the port http, and with TLS on
# a port of https for each certificate of tls => tls_material(...). It serves
#   /health     200
#   /down       503
#   /redirect   302, to redirect => or to /health
#   /big        200 and 16 MB
# The requests are in access_log.
sub nginx
{
    my ($dir, %conf) = @_;
    my $tls = $conf{tls} // { cert => {} };
    my $redirect = $conf{redirect} // '/health';
    local $ENV{PATH} = "$ENV{PATH}:/usr/sbin";
    my $build = `nginx -V 2>&1`;
    my $temporary = join '', map { "    ${_}_temp_path $dir/$_;\n" }
      grep { $build !~ /--without-http_${_}_module/ } qw(proxy fastcgi uwsgi scgi);
    my $http = Peers::Server->new;
    my %https = map { $_ => Peers::Server->reserve_port } sort keys %{ $tls->{cert} };
    my $site = sub {
        my ($listen) = @_;
        return "    server {\n        listen 127.0.0.1:$listen;\n        root $dir;\n"
          . "        location = /health { return 200 'fine'; }\n        location = /down { return 503 'down'; }\n"
          . "        location = /redirect { return 302 $redirect; }\n";
    };

    open my $big, '>', "$dir/big" or die "open: $!";
    truncate $big, 16 * 1024 * 1024 or die "truncate: $!";
    close $big;
    append_to_file("$dir/nginx.conf",
        "daemon off;\npid $dir/nginx.pid;\nerror_log $dir/error.log;\nworker_processes 1;\n"
          . "events { worker_connections 1024; }\n"
          . "http {\n    access_log $dir/access.log;\n    client_body_temp_path $dir/body;\n"
          . $temporary . $site->("$http->{port}") . "    }\n"
          . join('', map { $site->($https{$_}->sockport . ' ssl')
                  . "        ssl_certificate $tls->{cert}{$_};\n        ssl_certificate_key $tls->{key};\n    }\n" } sort keys %https) . "}\n");
    $http->run("$dir/nginx.log", 'nginx', '-p', $dir, '-c', "$dir/nginx.conf");
    $http->{http} = $http->{port};
    $http->{https} = { map { $_ => $https{$_}->sockport } keys %https };
    $http->{reserved_too} = [ values %https ];
    $http->{access_log} = "$dir/access.log";
    return $http;
}

# Starts openssl s_server with a certificate and its key, and with arguments =>
# [...] or as a web server with one page, on a new port or that of server => one that has
# stopped. It serves one connection after another.
sub s_server
{
    my ($dir, $cert, $key, %opts) = @_;
    my $server = $opts{server} // Peers::Server->new;

    $server->run("$dir/s_server.$server->{port}.log", 'openssl', 's_server', '-accept', "127.0.0.1:$server->{port}",
        '-cert', $cert, '-key', $key, @{ $opts{arguments} // [ '-quiet', '-www' ] });
    return $server;
}

# A fake gateway: its id, address and port, and its target, which is both of them.
package Peers::Peer;

use Patience qw($patience);

sub new
{
    my ($class, $peers, $id, $address, $port) = @_;
    my $target = ($address =~ /:/ ? "[$address]" : $address) . ":$port";

    return bless { peers => $peers, id => $id, address => $address, port => $port, target => $target }, $class;
}

# Changes its behavior for new connections.
sub kind
{
    my ($self, $kind, @arguments) = @_;
    $self->{peers}->command('kind', $self->{id}, $kind, @arguments);
    return;
}

# Stops listening and closes all connections; the port stays reserved.
sub stop
{
    my ($self) = @_;
    $self->{peers}->command('stop', $self->{id});
    return;
}

sub restart
{
    my ($self) = @_;
    $self->{peers}->command('restart', $self->{id});
    return;
}

# Returns its counters since its start: accepted and closed connections, sent bytes,
# requests, and the last request unchanged.
sub count
{
    my ($self) = @_;
    my ($numbers, $last) = split / last=/, $self->{peers}->command('count', $self->{id}), 2;
    my %count = map { split /=/ } split / /, $numbers;

    $count{last} = $last =~ s/\\x(..)/chr hex $1/ger;
    return \%count;
}

# Waits for a number of accepted connections (or of another counter) since its start;
# returns true if it is reached within some seconds.
sub wait_for
{
    my ($self, $number, $counter, $seconds) = @_;

    $seconds //= $patience;
    return defined $self->{peers}->ask([ 'wait', $self->{id}, $number, $counter // 'accepted', $seconds ],
        $seconds + $patience);
}

# A program that listens on a port, which is reserved for it before.
package Peers::Server;

use IO::Socket::INET;
use IPC::Open3;
use POSIX qw(WNOHANG);
use Patience qw(soon);

# Returns a socket that does not listen, but keeps other processes from getting the port
# unless they ask for it.
sub reserve_port
{
    return IO::Socket::INET->new(Proto => 'tcp', LocalAddr => '127.0.0.1', ReuseAddr => 1) // die "bind: $@";
}

sub new
{
    my ($class) = @_;
    my $reserved = reserve_port();

    return bless { reserved => $reserved, address => '127.0.0.1', port => $reserved->sockport, owner => $$ }, $class;
}

# Starts the program and returns when it accepts connections.
sub run
{
    my ($self, $log, @command) = @_;

    open my $output, '>', $log or die "open: $!";
    $self->{pid} = open3($self->{input}, '>&' . fileno $output, undef, @command);
    my $listens = sub {
        return 1 if IO::Socket::INET->new(PeerAddr => $self->{address}, PeerPort => $self->{port});
        local $?;
        return 0 if waitpid($self->{pid}, WNOHANG) == 0;
        delete $self->{pid};
        die "@command ended: " . PostgreSQL::Test::Utils::slurp_file($log);
    };
    soon($listens) or die "@command does not listen";
    return;
}

sub stop
{
    my ($self) = @_;

    return unless $self->{pid} && $self->{owner} == $$;
    local $?;
    kill 'TERM', $self->{pid};
    waitpid delete $self->{pid}, 0;
    return;
}

sub DESTROY
{
    my ($self) = @_;
    $self->stop;
    return;
}

1;
