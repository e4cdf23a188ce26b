# Waiting for an asynchronous event, for some time at most.

package Patience;

use strict;
use warnings FATAL => 'all';

use Exporter 'import';
use PostgreSQL::Test::Utils;
use Time::HiRes qw(sleep time);

our @EXPORT_OK = qw($patience soon freeze);

# How many seconds to wait for an event that should happen at once.
our $patience = 60;

# Waits until code returns a true value, for some seconds at most, and returns its
# last value.
sub soon
{
    my ($code, $seconds) = @_;
    my $end = time + ($seconds // $patience);

    for (;;)
    {
        my $begun = time;
        my $found = $code->();

        return $found if $found || $begun > $end;
        # Use a processor for half of the time at most.
        my $taken = time - $begun;
        sleep($taken > 0.01 ? $taken : 0.01);
    }
}

# Stops a process, and returns when it has stopped; signal CONT continues it.
sub freeze
{
    my ($pid) = @_;

    kill 'STOP', $pid or die "kill: $!";
    soon(sub { slurp_file("/proc/$pid/stat") =~ /\) T / }) or die "$pid does not stop";
    return;
}

1;
