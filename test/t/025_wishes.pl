# Requests for a worker while the launcher decides about an earlier one: none is lost.
#
# The table of workers runs alone, in a server of its own: see test/wishes.c.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;
use PoolDatabase qw(preload_alone);
use PostgreSQL::Test::Cluster;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
my $library = preload_alone($node, 'wishes.c');

is($node->safe_psql('postgres', "CREATE FUNCTION wish_while_discarding() RETURNS text LANGUAGE C AS '$library'; SELECT wish_while_discarding()"),
    '1, woken', 'a request that comes while the one before is discarded stays, and wakes the launcher');
$node->stop;
done_testing();
