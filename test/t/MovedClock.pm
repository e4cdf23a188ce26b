# The clocks of a test server, which a test can set: see test/clock.c.

package MovedClock;

use strict;
use warnings FATAL => 'all';

use FindBin;
use PostgreSQL::Test::Utils;

# New clocks, not moved yet, for a server that is started within during().
sub new
{
    my ($class) = @_;
    my $dir = PostgreSQL::Test::Utils::tempdir;
    my $self = bless { library => "$dir/clock.so", file => "$dir/clock", passed => 0, set => 0 }, $class;

    system('cc', '-O2', '-Wall', '-Werror', '-fPIC', '-shared', '-o', $self->{library},
        "$FindBin::RealBin/../clock.c") == 0 or die 'cc failed';
    open my $file, '>', $self->{file} or die "open: $!";
    binmode $file;
    syswrite $file, pack('q2', 0, 0);
    close $file;
    return $self;
}

# Runs code that starts or restarts a server whose clocks are these.
sub during
{
    my ($self, $code) = @_;
    local $ENV{LD_PRELOAD} = $self->{library};
    local $ENV{GATEWAY_POOL_TEST_CLOCK} = $self->{file};
    return $code->();
}

# Each offset is one aligned word in a shared page, so a reader never sees half of it.
sub write_offset
{
    my ($self, $place, $seconds) = @_;

    open my $file, '+<', $self->{file} or die "open: $!";
    binmode $file;
    sysseek $file, 8 * $place, 0;
    syswrite $file, pack('q', int(1e9 * $seconds)) or die "write: $!";
    close $file;
    return;
}

# Lets some seconds pass.
sub advance
{
    my ($self, $seconds) = @_;
    return $self->write_offset(0, $self->{passed} += $seconds);
}

# Sets the wall clock forward, or back, by some seconds.
sub set_wall
{
    my ($self, $seconds) = @_;
    return $self->write_offset(1, $self->{set} += $seconds);
}

1;
