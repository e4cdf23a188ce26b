# Waiting for what comes by itself: until it is there, for some time at most.

package Patience;

use strict;
use warnings FATAL => 'all';

use Exporter 'import';
use PostgreSQL::Test::Utils;
use Time::HiRes qw(sleep time);

our @EXPORT_OK = qw($patience soon freeze);

# For how long we wait, in seconds, for what should come at once.
our $patience = 60;

# Waits until code returns what is true, for some seconds at most, and returns what
# it returned last.
sub soon
{
    my ($code, $seconds) = @_;
    my $end = time + ($seconds // $patience);

    for (;;)
    {
        my $begun = time;
        my $found = $code->();

        return $found if $found || $begun > $end;
        # Who looks has a processor for half of the time at most.
        my $taken = time - $begun;
        sleep($taken > 0.01 ? $taken : 0.01);
    }
}

# Stops a process, and returns when it does nothing any more; CONT lets it go on.
sub freeze
{
    my ($pid) = @_;

    kill 'STOP', $pid or die "kill: $!";
    soon(sub { slurp_file("/proc/$pid/stat") =~ /\) T / }) or die "$pid does not stop";
    return;
}

1;
