# The name server of a test: see test/peers/dns.c and test/resolv.c.

package NameServer;

use strict;
use warnings FATAL => 'all';

use FindBin;
use IPC::Open2;
use PostgreSQL::Test::Utils;

sub compile
{
    my ($to, @arguments) = @_;

    system('cc', '-O2', '-Wall', '-Werror', '-o', $to, @arguments) == 0 or die 'cc failed';
    return $to;
}

# Starts a name server without names; it ends with the object.
sub new
{
    my ($class) = @_;
    my $dir = PostgreSQL::Test::Utils::tempdir;
    my $self = bless { file => "$dir/resolv.conf", owner => $$ }, $class;

    $self->{library} = compile("$dir/resolv.so", '-fPIC', '-shared', "$FindBin::RealBin/../resolv.c");
    $self->{pid} = open2($self->{from}, $self->{to}, compile("$dir/dns", "$FindBin::RealBin/../peers/dns.c"));
    readline($self->{from}) =~ /^127\.0\.0\.1:(\d+)$/ or die 'no name server';
    $self->{port} = $1;
    append_to_file($self->{file}, "nameserver 127.0.0.1\nsearch test\noptions ndots:1\n");
    return $self;
}

# Runs code that starts or restarts a server that uses this name server.
sub during
{
    my ($self, $code) = @_;
    local $ENV{LD_PRELOAD} = $self->{library};
    local $ENV{GATEWAY_POOL_TEST_RESOLV} = $self->{file};
    local $ENV{GATEWAY_POOL_TEST_DNS_PORT} = $self->{port};
    return $code->();
}

sub command
{
    my ($self, @words) = @_;

    syswrite $self->{to}, "@words\n" or die "the name server is gone: $!";
    my $answer = readline $self->{from};
    $answer =~ s/^ok ?(.*)\n/$1/ or die "@words: $answer";
    return $answer;
}

# Sets the answer to queries for a name: answers with addresses, silent, servfail or
# absent.
sub set
{
    my ($self, $name, $how, @addresses) = @_;
    $self->command('set', $name, $how, @addresses);
    return;
}

# Returns the number of queries for a name.
sub count
{
    my ($self, $name) = @_;
    return $self->command('count', $name);
}

sub DESTROY
{
    my ($self) = @_;

    return unless $self->{pid} && $self->{owner} == $$;
    local $?;
    close $self->{to};
    waitpid $self->{pid}, 0;
    return;
}

1;
