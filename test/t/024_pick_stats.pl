# The statistics of picks when there is room for few: counts of deleted pools and members
# make room for new ones, and check_gateway_pools() reports a lack of room.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;
use PoolDatabase qw(start_node);
use Test::More;

my $acme = 'a0000000-0000-4000-8000-000000000001';
my $living = 'b0000000-0000-4000-8000-000000000001';
# 32 rows.
my $node = start_node('main',
    conf => "gateway_pool.max_gateways = 16\ngateway_pool.default_entitlement = on\ngateway_pool.max_pools_per_org = -1");
my $living_picks = 0;

# Makes a database with four gateways, and a procedure that creates pools of them, picks,
# and deletes the pools, or their members.
sub database
{
    my ($name) = @_;
    my $db = PoolDatabase->create_with_host_functions($node, $name);

    $db->value(qq{
        SELECT host_test.make_host('public', 2);
        CREATE EXTENSION gateway_pool;
        SELECT host_test.add_org('public', 'acme', '$acme');
        SELECT host_test.add_gateway('public', '$acme', 'g' || i, '0 s') FROM generate_series(1, 4) i;
        CREATE FUNCTION make(pool uuid, gateways int DEFAULT 4) RETURNS uuid LANGUAGE sql AS \$\$
            INSERT INTO gateway_pools (id, "orgId", name) VALUES (pool, '$acme', left(pool::text, 8));
            INSERT INTO gateway_pool_memberships ("gatewayPoolId", "gatewayId") SELECT pool, id FROM gateways_v2 ORDER BY name LIMIT gateways;
            SELECT pool
        \$\$;
        CREATE FUNCTION pick(pool uuid, times int) RETURNS bigint LANGUAGE sql AS \$\$
            SELECT count(pick_healthy_gateway(pool)) FROM generate_series(1, times)
        \$\$;
        CREATE PROCEDURE come_and_go(pools int, what text DEFAULT 'gateway_pools') LANGUAGE plpgsql AS \$\$
        DECLARE
            pool uuid;
        BEGIN
            FOR i IN 1 .. pools LOOP
                pool := make(gen_random_uuid());
                COMMIT;
                PERFORM pick(pool, 40);
                COMMIT;
                IF what <> '' THEN
                    EXECUTE format('DELETE FROM %I WHERE \$1 IN (id, %I)', what,
                        CASE what WHEN 'gateway_pools' THEN 'id' ELSE 'gatewayPoolId' END) USING pool;
                END IF;
                COMMIT;
            END LOOP;
        END
        \$\$});
    return $db->session;
}

my $db = database('app');
my $other = database('other');

# A pool that stays keeps its counts, and a new one is counted from its first pick on.
sub counts
{
    my ($label) = @_;
    my $fresh = $db->value('SELECT make(gen_random_uuid())');

    $db->shows("SELECT pick('$fresh', 100)", '100', "$label: a new pool can be picked from");
    # Picks each member, too, whose counts are removed before those of the pool.
    $db->value("SELECT pick('$living', 200)");
    $living_picks += 200;
    $db->shows(qq{SELECT "gatewayId" IS NULL, sum(picks) FROM gateway_pool_stats WHERE "gatewayPoolId" = '$fresh' GROUP BY 1 ORDER BY 1},
        "f|100\nt|100", "$label: the new pool and its members are counted");
    $db->shows(qq{SELECT "gatewayId" IS NULL, sum(picks) FROM gateway_pool_stats WHERE "gatewayPoolId" = '$living' GROUP BY 1 ORDER BY 1},
        "f|$living_picks\nt|$living_picks", "$label: the pool that stays has lost no counts");
    $db->shows('SELECT problem FROM check_gateway_pools()', '', "$label: there is room for all present pools and members");
    $db->value("DELETE FROM gateway_pools WHERE id = '$fresh'");
    return;
}

$db->value("SELECT make('$living')");
counts('at first');
$db->value('CALL come_and_go(12)');
counts('pools were deleted');
$db->value('TRUNCATE gateway_pool_memberships; DELETE FROM gateway_pools');
$db->value("SELECT make('$living')");
counts('all were deleted, and one made again');
$other->value('CALL come_and_go(12)');
counts('pools of another database were deleted');
$other->value("CALL come_and_go(4, '')");
$other->end;
$node->safe_psql('postgres', 'DROP DATABASE other WITH (FORCE)');
counts('another database was dropped');

# Gateways of a pool that stays are replaced.
$db->value(qq{
    CREATE PROCEDURE replace_members(pool uuid, times int) LANGUAGE plpgsql AS \$\$
    DECLARE
        gateway uuid;
    BEGIN
        FOR i IN 1 .. times LOOP
            gateway := host_test.add_gateway('public', '$acme', 'new' || i, '0 s');
            INSERT INTO gateway_pool_memberships ("gatewayPoolId", "gatewayId") VALUES (pool, gateway);
            COMMIT;
            PERFORM pick_healthy_gateway(pool, exclude => ARRAY(SELECT id FROM gateways_v2 WHERE id <> gateway));
            COMMIT;
            DELETE FROM gateways_v2 WHERE id = gateway;
            COMMIT;
        END LOOP;
    END
    \$\$});
my $busy = $db->value('SELECT make(gen_random_uuid())');
$db->value("CALL replace_members('$busy', 40)");
counts('members were replaced');
$db->shows(qq{SELECT picks FROM gateway_pool_stats WHERE "gatewayPoolId" = '$busy' AND "gatewayId" IS NULL}, 40, 'their pool counts all picks');

# Too many that stay: the last ones are counted, and the lack of room is reported.
$db->value("CALL come_and_go(9, '')");
$db->shows('SELECT problem, object FROM check_gateway_pools()', 'statistics full|gateway_pool.max_gateways', 'check_gateway_pools() reports too many pools and members');
my $last = $db->value('SELECT make(gen_random_uuid())');
$db->value("SELECT pick('$last', 100)");
$db->shows(qq{SELECT picks FROM gateway_pool_stats WHERE "gatewayPoolId" = '$last' AND "gatewayId" IS NULL}, 100, 'the last pool is counted');
$db->shows('SELECT count(*) BETWEEN 20 AND 32 FROM gateway_pool_stats', 't', 'there is room for 32 rows');
$db->value('DELETE FROM gateway_pools');
$db->shows('SELECT problem FROM check_gateway_pools()', '', 'check_gateway_pools() reports no problem after they are deleted');
$db->end;
$node->stop;
done_testing();
