# A map of slots that is nearly full, while slots are taken and freed all the time: a
# session that finds a free slot gets it, and finds it again.
#
# The map runs alone, in a server of its own: see test/map.c. With 62 of 64 slots
# taken, eight sessions take slots and free them.

use strict;
use warnings FATAL => 'all';

use FindBin;
use IPC::Run qw(start finish);
use lib $FindBin::RealBin;
use PoolDatabase qw(preload_alone);
use PostgreSQL::Test::Cluster;
use Test::More;

my $milliseconds = 5000;
my $node = PostgreSQL::Test::Cluster->new('main');
my $library = preload_alone($node, 'map.c');
my @clients;

$node->safe_psql('postgres', qq{
    CREATE FUNCTION map_fill(n int) RETURNS int LANGUAGE C AS '$library';
    CREATE FUNCTION map_churn(milliseconds int) RETURNS bigint LANGUAGE C AS '$library'});

is($node->safe_psql('postgres', 'SELECT map_fill(62)'), '62', '62 slots are taken');
foreach (1 .. 8)
{
    my $client = {};

    $client->{run} = start [ 'psql', '-XqAt', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('postgres'), '-c', "SELECT map_churn($milliseconds)" ],
      '<', \undef, '>', \$client->{out}, '2>', \$client->{err};
    push @clients, $client;
}
finish $_->{run} foreach @clients;
if (is(join('', map { $_->{err} } @clients), '', 'no session has an error'))
{
    cmp_ok((sort { $a <=> $b } map { $_->{out} } @clients)[0], '>', 1000, 'each session takes many slots');
    is($node->safe_psql('postgres', 'SELECT map_fill(3)'), '2', 'two slots are free again, and no more');
    $node->stop;
}
done_testing();
