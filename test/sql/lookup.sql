\i test/setup.sql
-- Ids of pools and gateways by their names.
SELECT host_test.make_host('app', 2);
CREATE EXTENSION gateway_pool SCHEMA app;
\i test/first_pick.sql
\set acme '\'00000000-0000-0000-0000-00000000000a\''
\set bolt '\'00000000-0000-0000-0000-00000000000b\''
SELECT host_test.add_org('app', 'acme', :acme), host_test.add_org('app', 'bolt', :bolt);
SELECT host_test.add_gateway('app', :acme, 'g1', '0', '00000000-0000-0000-0000-0000000000a1'),
       host_test.add_gateway('app', :bolt, 'g1', '0', '00000000-0000-0000-0000-0000000000b1');
SELECT set_gateway_pool_entitlement(:acme, true), set_gateway_pool_entitlement(:bolt, true);
INSERT INTO gateway_pools (id, "orgId", name) VALUES ('00000000-0000-0000-0000-000000000001', :acme, 'eu-west'), ('00000000-0000-0000-0000-000000000002', :bolt, 'eu-west');

SELECT gateway_pool_id(:acme, 'eu-west'), gateway_pool_id(:bolt, 'eu-west'), gateway_id(:acme, 'g1'), gateway_id(:bolt, 'g1');
SELECT "gatewayId" FROM add_gateway_to_pool(:acme, gateway_pool_id(:acme, 'eu-west'), gateway_id(:acme, 'g1'));
SELECT pick_healthy_gateway(gateway_pool_id(:acme, 'eu-west'));
-- Names are exact.  Long ones are not shown.
SELECT fails($$SELECT gateway_pool_id('00000000-0000-0000-0000-00000000000a', 'EU-west')$$);
SELECT fails($$SELECT gateway_pool_id('00000000-0000-0000-0000-00000000000a', '')$$);
SELECT fails($$SELECT gateway_pool_id('00000000-0000-0000-0000-00000000000a', E'eu\nwest')$$);
SELECT fails(format('SELECT gateway_pool_id(%L, %L)', :acme, repeat('x', 1000)));
SELECT fails($$SELECT gateway_pool_id('00000000-0000-0000-0000-00000000000c', 'eu-west')$$);
SELECT fails($$SELECT gateway_id('00000000-0000-0000-0000-00000000000a', 'g2')$$);
SELECT fails($$SELECT gateway_pool_id(NULL, 'eu-west')$$);
SELECT fails($$SELECT gateway_pool_id('00000000-0000-0000-0000-00000000000a', NULL)$$);
SELECT fails($$SELECT gateway_id(NULL, 'g1')$$);
SELECT fails($$SELECT gateway_id('00000000-0000-0000-0000-00000000000a', NULL)$$);
-- The plan does not matter.
SELECT set_gateway_pool_entitlement(:acme, false);
SELECT gateway_pool_id(:acme, 'eu-west'), gateway_id(:acme, 'g1');

-- A host may have gateways of the same name.
DO $$
DECLARE
    name_key name;
BEGIN
    FOR name_key IN SELECT conname FROM pg_constraint WHERE conrelid = 'gateways_v2'::regclass AND contype = 'u' LOOP
        EXECUTE format('ALTER TABLE gateways_v2 DROP CONSTRAINT %I', name_key);
    END LOOP;
END
$$;
SELECT host_test.add_gateway('app', :acme, 'g2', '0', '00000000-0000-0000-0000-0000000000a2');
UPDATE gateways_v2 SET name = 'g1' WHERE name = 'g2';
SELECT fails($$SELECT gateway_id('00000000-0000-0000-0000-00000000000a', 'g1')$$);
SELECT gateway_id(:bolt, 'g1');

-- The name of a pool is found in the unique index, by one plan for all calls.
SET gateway_pool.max_pools_per_org = -1;
INSERT INTO gateway_pools ("orgId", name) SELECT :bolt, 'pool-' || n FROM generate_series(1, 2000) n;
ANALYZE gateway_pools;
BEGIN;
SELECT pg_stat_get_xact_numscans('gateway_pools_orgid_name_unique'::regclass) AS index_scans, pg_stat_get_xact_numscans('gateway_pools'::regclass) AS sequential_scans \gset
SELECT count(gateway_pool_id(:bolt, 'pool-' || n)) FROM generate_series(1, 100) n;
SELECT pg_stat_get_xact_numscans('gateway_pools_orgid_name_unique'::regclass) - :index_scans AS index_scans,
       pg_stat_get_xact_numscans('gateway_pools'::regclass) - :sequential_scans AS sequential_scans;
COMMIT;
RESET gateway_pool.max_pools_per_org;

-- A table of another name is found by the next call.
ALTER TABLE gateway_pools RENAME TO renamed_pools;
SELECT gateway_pool_id(:acme, 'eu-west');
