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
use PoolDatabase qw(init_node);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $milliseconds = 5000;
my $library = PostgreSQL::Test::Utils::tempdir . '/map.so';
my $node = PostgreSQL::Test::Cluster->new('main');
my @clients;

chomp(my $include = qx{pg_config --includedir-server});
system('cc', '-O2', '-Wall', '-Werror', '-fPIC', '-shared', '-I', $include, '-I', "$FindBin::RealBin/../../src", '-o', $library,
    "$FindBin::RealBin/../map.c") == 0 or die 'cc failed';
init_node($node);
$node->append_conf('postgresql.conf', "shared_preload_libraries = '$library'\nrestart_after_crash = off");
$node->start;
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
