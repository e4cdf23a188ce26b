# README and docs: their SQL runs, and prints what they show; links lead somewhere.
#
# Each document begins in a new database with the host's tables.  CONTRIBUTING says how
# blocks are written.

use strict;
use warnings FATAL => 'all';
use utf8;

use FindBin;
use lib $FindBin::RealBin;
use Docs;
use IO::Socket::INET;
use IPC::Run qw(run);
use PoolDatabase qw(start_node);
use PostgreSQL::Test::Utils;
use Test::More;

# Examples probe addresses of networks for documentation, and this one, at which a port is open.  Copies of this test
# that run at once share it.
my $port = IO::Socket::INET->new(LocalAddr => '127.0.2.1', LocalPort => 8443, Listen => 64, ReuseAddr => 1, ReusePort => 1)
  or die "127.0.2.1:8443: $!";
my $node = start_node('docs', conf => "gateway_pool.probe_denied_networks = 'fe80::/10'\n" .
      "gateway_pool.probe_allowed_networks = '127.0.2.0/24, 192.0.2.0/24, 198.51.100.0/24, 203.0.113.0/24, 2001:db8::/32'\n" .
      'max_prepared_transactions = 10');
my $not_run = 0;

foreach my $document (Docs->for_users)
{
    my ($database, @databases) = ('host');

    foreach my $step (@{ $document->{steps} })
    {
        if ($step->{kind} eq 'database')
        {
            $database = $step->{text};
            push @databases, [ $database ];
            next;
        }
        push @databases, [ $database ] unless @databases;
        push @{ $databases[-1] }, $step if $step->{kind} =~ /^(?:sql|output|run|not run)$/;
    }
    run_steps($document, @$_) foreach @databases;
}

foreach my $document (Docs->all)
{
    is(join("\n", $document->broken_links), '', "$document->{name}: links");
}
note("blocks that are not run: $not_run");
$node->stop;
done_testing();

# Runs the blocks of a document in a new database.
sub run_steps
{
    my ($document, $database, @steps) = @_;
    my ($host, $name) = $database =~ /^(empty|host)(?:\s+(\w+))?$/ or die "$document->{name}: unknown database: $database";
    my ($script, $output, @blocks) = '';

    while (my $step = shift @steps)
    {
        my $block = { %$step, shown => @steps && $steps[0]->{kind} eq 'output' ? shift(@steps)->{text} : undef };
        my $where = "$document->{name}:$step->{line}";

        if ($step->{kind} eq 'not run')
        {
            my $skipped = shift @steps;

            $not_run++;
            ok($step->{text} ne '' && $skipped && $skipped->{kind} eq 'sql', "$where: not run: $step->{text}");
            shift @steps if @steps && $steps[0]->{kind} eq 'output';
            next;
        }
        if ($step->{kind} eq 'output')
        {
            fail("$where: an output without SQL before it");
            next;
        }
        $script .= "\\echo ==== $step->{line}\n$block->{text}\n";
        push @blocks, $block;
    }
    return unless @blocks;

    $name //= 'example';
    if ($host eq 'host')
    {
        PoolDatabase->create_with_host($node, $name);
    }
    else
    {
        PoolDatabase->create($node, $name);
    }
    run([ 'psql', '-X', '-P', 'pager=off', '-d', $node->connstr($name) ], '<', \$script, '>&', \$output,
        init => sub { $ENV{PGTZ} = 'UTC'; delete @ENV{grep { /^LC_|^LANG/ } keys %ENV}; $ENV{LC_ALL} = 'C.UTF-8' });
    utf8::decode($output);
    my (undef, @parts) = split /^==== (\d+)\n/m, $output;
    my %output = @parts;

    foreach my $block (@blocks)
    {
        compare("$document->{name}:$block->{line}", $output{ $block->{line} }, $block->{shown});
    }
    $node->safe_psql('postgres', "DROP DATABASE $name WITH (FORCE)");
    $node->safe_psql('postgres', "SELECT format('DROP ROLE %I', rolname) FROM pg_roles WHERE rolname !~ '^pg_' AND NOT rolsuper \\gexec");
    $node->safe_psql('postgres', 'ALTER SYSTEM RESET ALL; SELECT pg_reload_conf()');
}

# Asserts the output of a block.  Without one that is shown, it has no error.
sub compare
{
    my ($where, $got, $shown) = @_;

    $got = tidy($got // "was not reached\n");
    if (!defined $shown)
    {
        unlike($got, qr/^(?:ERROR|FATAL|PANIC|psql|invalid command|was not reached)/m, "$where: runs");
        return;
    }
    # A line of nothing but the mark stands for any lines; blanks around it are for the eye.
    my $pattern = join '', map { /^\s*…\s*$/ ? '(?:.*\n)*?' : join('.*', map { quotemeta } split(/ *… */, $_, -1)) . "\n" }
      split /\n/, tidy($shown);

    return if ok($got =~ /\A$pattern\z/, "$where: prints what is shown");
    utf8::encode($got);
    diag("$where: the output is\n$got");
}

# Without blanks at the end of lines, and without empty lines around.
sub tidy
{
    my ($text) = @_;
    return $text =~ s/[ \t]+$//gmr =~ s/\A\n+//r =~ s/\n*\z/\n/r;
}
