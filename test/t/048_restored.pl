# A database that is restored from a dump, or that a standby replays, gets its worker
# within a minute, although no session has requested one.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;
use Patience qw(is_prompt);
use PoolDatabase qw(start_node);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $served = q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'gateway_pool worker' AND datname = 'restored' AND query LIKE '%probing'};

# What is promised.
my $minute = 60;

my $primary = start_node('primary', allows_streaming => 1, conf => 'gateway_pool.default_entitlement = on');
my $original = PoolDatabase->create_with_host($primary, 'original');
$original->value('CREATE EXTENSION gateway_pool');
$primary->backup('backup');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'backup', has_streaming => 1);
$standby->start;

my ($here, $there) = map { PoolDatabase->new($_, 'postgres')->session } $primary, $standby;
my $dump = $primary->basedir . '/dump';
$primary->command_ok([ 'pg_dump', '-Fc', '-f', $dump, $primary->connstr('original') ], 'pg_dump succeeds');
$here->value('CREATE DATABASE restored TEMPLATE template0');
$primary->command_ok([ 'pg_restore', '--exit-on-error', '-d', $primary->connstr('restored'), $dump ], 'pg_restore succeeds');
my $begin = time;
my $begun = $original->value(q{SELECT backend_start FROM pg_stat_activity WHERE backend_type = 'gateway_pool worker' AND datname = 'original'});
# Longer waits than what is promised, which is measured.
$here->shows_within(2 * $minute, $served, 1, 'the restored database has a worker');
$there->shows_within(2 * $minute, $served, 1, 'so it has on a standby');
is_prompt($minute, time - $begin, 'both have one');
is($original->value(q{SELECT backend_start FROM pg_stat_activity WHERE backend_type = 'gateway_pool worker' AND datname = 'original'}), $begun,
    'the worker of the other database is the same');
PoolDatabase->new($primary, 'restored')->shows('SELECT * FROM check_gateway_pools()', '', 'check_gateway_pools() reports no problem');
$_->end foreach $here, $there;
$_->stop foreach $standby, $primary;
done_testing();
