# A database whose gateways are probed: one gateway per label, its probe, and what the
# views show of it.

package Probed;

use strict;
use warnings FATAL => 'all';

use Digest::MD5 qw(md5_hex);
use Patience qw(soon);
use PoolDatabase;
use Test::More;

use parent -norequire, 'PoolDatabase';

my $acme = 'a0000000-0000-4000-8000-000000000001';

# Returns a new database with one organization, which has no gateways yet.
sub of_acme
{
    my ($class, $node) = @_;
    my $self = $class->create_with_host_functions($node, 'app');

    $self->value("SELECT host_test.make_host('public', 2); CREATE EXTENSION gateway_pool;"
          . " SELECT host_test.add_org('public', 'acme', '$acme')");
    return $self;
}

# Returns the id of the gateway with a label.
sub id
{
    my ($label) = @_;
    return md5_hex($label) =~ s/(.{8})(.{4})(.{4})(.{4})(.{12})/$1-$2-$3-$4-$5/r;
}

sub literal
{
    my ($value) = @_;
    return defined $value ? q{'} . ($value =~ s/'/''/gr) . q{'} : 'NULL';
}

# Adds gateways without heartbeats.
sub add
{
    my ($self, @labels) = @_;

    $self->value(join '', map { "SELECT host_test.add_gateway('public', '$acme', " . literal($_) . ", NULL, '" . id($_) . "');\n" } @labels);
    return;
}

# Returns the statement that sets the probe of a gateway; further arguments of
# set_gateway_probe() by name.
sub probe_sql
{
    my ($label, $protocol, $address, %arguments) = @_;

    return 'SELECT set_gateway_probe(' . join(', ', map { literal($_) } id($label), $protocol, $address)
      . join('', map { ", $_ => " . literal($arguments{$_}) } sort keys %arguments) . ");\n";
}

# Adds a gateway and sets its probe.
sub probe
{
    my ($self, $label, @how) = @_;

    $self->add($label);
    $self->value(probe_sql($label, @how));
    return;
}

# Returns for each label "verdict: reason" of its probe, "status: reason", and the number
# of its falls.
sub known
{
    my ($self) = @_;
    # Called over and over: a new session each time would take most of the machine.
    $self->{reader} //= $self->session;
    my $rows = $self->{reader}->value(q{
        SELECT concat_ws(E'\t', s.name, concat_ws(': ', coalesce(p.verdict, 'not probed'), p.reason), s.status || ': ' || s.reason, p.falls)
          FROM gateway_status s LEFT JOIN gateway_probe_status p USING ("gatewayId")});
    return map { my ($label, @known) = split /\t/; $label => \@known } split /\n/, $rows;
}

# Asserts that gateways reach a state: label => [ probe, status ], each a text or a
# pattern.
sub comes_to
{
    my ($self, %expected) = @_;
    my %known;
    my $is = sub { my ($got, $expected) = @_; return defined $got && (ref $expected ? $got =~ $expected : $got eq $expected) };
    my $fits = sub { my ($label) = @_; return !grep { !$is->($known{$label}[$_], $expected{$label}[$_]) } 0 .. $#{ $expected{$label} } };

    local $Test::Builder::Level = $Test::Builder::Level + 1;
    soon(sub { %known = $self->known; return !grep { !$fits->($_) } keys %expected });
    my $all = 1;
    foreach my $label (sort keys %expected)
    {
        $all &= ok($fits->($label), "$label: $expected{$label}[0]")
          || diag("it is: @{ $known{$label} // [] }; expected: @{ $expected{$label} }");
    }
    return $all;
}

# Probes a gateway once, and returns "verdict: reason" after that.
sub now
{
    my ($self, $label, $timeout) = @_;
    return $self->value(q{SELECT concat_ws(': ', verdict, reason) FROM probe_gateway('} . id($label) . "', '" . ($timeout // '60 s') . "')");
}

# Returns the process id of the worker.
sub worker
{
    my ($self) = @_;
    my $pid = '';

    soon(sub { $pid = $self->value('SELECT pid FROM gateway_pool_workers WHERE pid IS NOT NULL AND database = current_database()'); return $pid ne '' });
    return $pid;
}

1;
