# Waiting for an asynchronous event, for some time at most; if that was in vain, shows
# what the servers of the test were doing.

package Patience;

use strict;
use warnings FATAL => 'all';

use Exporter 'import';
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(clock sleep time);

our @EXPORT_OK = qw($patience soon awakes freeze watch prompt is_prompt);

# How many seconds to wait for an event that should happen at once.
our $patience = 60;

# Servers that are shown, each with its databases; how often that is done at most.
my %watched;
my $shows = 3;

# Has a server shown when a wait was in vain: its log, and gateway_pool_workers as seen
# in one of its databases.
sub watch
{
    my ($node, $database) = @_;

    $watched{ $node->name }{node} = $node;
    $watched{ $node->name }{databases}{$database} = 1 if defined $database;
    return;
}

sub show
{
    my ($node, @databases) = @_;
    my @log = split /\n/, slurp_file($node->logfile);
    my $workers = "no database shows gateway_pool_workers\n";

    foreach my $database (defined $node->{_pid} ? @databases : ())
    {
        my ($result, $out) = (1, '');

        eval { ($result, $out) = $node->psql($database, "\\x\nSELECT * FROM gateway_pool_workers", extra_params => ['--no-align'], timeout => 10, timed_out => \my $late) };
        next if ($result // 1) != 0;
        $workers = "$out\n";
        last;
    }
    return diag('server ' . $node->name . ", at " . localtime() . ":\n$workers" . join("\n", @log > 60 ? @log[ -60 .. -1 ] : @log));
}

# Shows all servers, and how busy the machine is.
sub show_all
{
    my ($seconds) = @_;

    return if $shows-- <= 0;
    diag("waited $seconds s in vain; load of the machine: " . slurp_file('/proc/loadavg'));
    show($_->{node}, sort keys %{ $_->{databases} }) foreach map { $watched{$_} } sort keys %watched;
    return;
}

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

        return $found if $found;
        if ($begun > $end)
        {
            show_all($seconds // $patience);
            return $found;
        }
        # Use a processor for half of the time at most.
        my $taken = time - $begun;
        sleep($taken > 0.01 ? $taken : 0.01);
    }
}

# Waits until a process has gone to sleep so many times more: in each turn of its loop,
# once at least.
sub awakes
{
    my ($pid, $times) = @_;
    my $slept = sub { slurp_file("/proc/$pid/status") =~ /^voluntary_ctxt_switches:\s+(\d+)/m or die; return $1 };
    my $end = $slept->() + $times;

    soon(sub { $slept->() >= $end }) or die "$pid does not wake up";
    return;
}

# Returns how many times longer than alone this process takes for a little work, at the moment.
sub slowness
{
    my ($begun, $used) = (time, clock());

    while (clock() - $used < 0.1) { }
    return (time - $begun) / 0.1;
}

# Runs code, and asserts that it took less than some seconds, as is promised; more are
# granted on a machine that is busy at the moment.  Returns what the code returns.
sub prompt
{
    my ($seconds, $label, $code) = @_;
    my $begun = time;
    my $result = $code->();

    local $Test::Builder::Level = $Test::Builder::Level + 1;
    is_prompt($seconds, time - $begun, $label);
    return $result;
}

# Asserts that something took less than some seconds, as prompt() does.
sub is_prompt
{
    my ($seconds, $taken, $label) = @_;
    my $slowness = $taken < $seconds ? 1 : slowness();

    local $Test::Builder::Level = $Test::Builder::Level + 1;
    return 1 if ok($taken < $seconds * $slowness, "$label: within $seconds s");
    diag(sprintf '%.1f s, on a machine that is %.1f times slower than an idle one', $taken, $slowness);
    show_all($seconds);
    return 0;
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
