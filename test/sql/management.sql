\i test/setup.sql
-- The management functions, one per endpoint.
SELECT host_test.make_host('app', 2);
CREATE EXTENSION gateway_pool SCHEMA app;
\i test/first_pick.sql
\set acme '\'00000000-0000-0000-0000-00000000000a\''
\set bolt '\'00000000-0000-0000-0000-00000000000b\''
\set g1 '\'00000000-0000-0000-0000-0000000000a1\''
SELECT host_test.add_org('app', 'acme', :acme), host_test.add_org('app', 'bolt', :bolt);
SELECT host_test.add_gateway('app', :acme, 'g1', '0', :g1), host_test.add_gateway('app', :acme, 'g2', NULL, '00000000-0000-0000-0000-0000000000a2'),
       host_test.add_gateway('app', :bolt, 'b1', '0', '00000000-0000-0000-0000-0000000000b1');

-- All eight check the entitlement first.
SELECT f, (SELECT string_agg(e, E'\n') FROM fails(f) e) FROM unnest(ARRAY[
    $$SELECT create_gateway_pool('00000000-0000-0000-0000-00000000000a', 'eu')$$,
    $$SELECT list_gateway_pools('00000000-0000-0000-0000-00000000000a')$$,
    $$SELECT get_gateway_pool('00000000-0000-0000-0000-00000000000a', NULL)$$,
    $$SELECT update_gateway_pool('00000000-0000-0000-0000-00000000000a', NULL, 'eu')$$,
    $$SELECT delete_gateway_pool('00000000-0000-0000-0000-00000000000a', NULL)$$,
    $$SELECT add_gateway_to_pool('00000000-0000-0000-0000-00000000000a', NULL, NULL)$$,
    $$SELECT remove_gateway_from_pool('00000000-0000-0000-0000-00000000000a', NULL, NULL)$$,
    $$SELECT get_gateway_pool_resources('00000000-0000-0000-0000-00000000000a', NULL)$$]) f;
SELECT "gatewayPool", "expiresAt", "maxPools", "usedPools", "maxGatewaysPerPool" FROM get_gateway_pool_plan(:acme);
SELECT set_gateway_pool_entitlement(:acme, true, 3, NULL, '2100-01-01 00:00+00');
SELECT "gatewayPool", "expiresAt", "maxPools", "usedPools", "maxGatewaysPerPool" FROM get_gateway_pool_plan(:acme);
SELECT set_gateway_pool_entitlement(:acme, true);
SELECT set_gateway_pool_entitlement(:bolt, true);
SELECT "gatewayPool", "expiresAt", "maxPools", "usedPools", "maxGatewaysPerPool" FROM get_gateway_pool_plan(:acme);

-- Create: the name is trimmed and lower-cased first.
SELECT name, "orgId", "createdAt" = "updatedAt" FROM create_gateway_pool(:acme, E' \tEu-West\n');
SELECT name FROM create_gateway_pool(name => 'asia', org_id => :acme);
SELECT fails($$SELECT create_gateway_pool('00000000-0000-0000-0000-00000000000a', 'EU-west')$$);
-- A fixed id for the statements below.
UPDATE gateway_pools SET id = '00000000-0000-0000-0000-000000000001' WHERE name = 'eu-west';
INSERT INTO gateway_pools (id, "orgId", name) VALUES ('00000000-0000-0000-0000-000000000009', :bolt, 'eu-west');
\set eu '\'00000000-0000-0000-0000-000000000001\''

-- Members.
SELECT "gatewayPoolId", "gatewayId", weight, priority FROM add_gateway_to_pool(:acme, :eu, :g1);
SELECT "gatewayId", weight, priority FROM add_gateway_to_pool(:acme, :eu, '00000000-0000-0000-0000-0000000000a2', weight => 5, priority => -1);
SELECT fails($$SELECT add_gateway_to_pool('00000000-0000-0000-0000-00000000000a', '00000000-0000-0000-0000-000000000001', '00000000-0000-0000-0000-0000000000a1')$$);
SELECT fails($$SELECT add_gateway_to_pool('00000000-0000-0000-0000-00000000000a', '00000000-0000-0000-0000-000000000001', '00000000-0000-0000-0000-0000000000b1')$$);
SELECT fails($$SELECT add_gateway_to_pool('00000000-0000-0000-0000-00000000000a', '00000000-0000-0000-0000-000000000009', '00000000-0000-0000-0000-0000000000a1')$$);

-- List, get.
SELECT host_test.add_kubernetes_auth('app', :acme, 'k', '00000000-0000-0000-0000-0000000000c1');
UPDATE identity_kubernetes_auths SET "gatewayPoolId" = :eu;
SELECT name, "memberCount", "healthyMemberCount", cardinality("memberGatewayIds"), "connectedResourcesCount", health, label FROM list_gateway_pools(:acme);
SELECT name, jsonb_path_query_array(gateways, '$[*].name'), jsonb_path_query_array(gateways, '$[*].status'),
       jsonb_path_query_array(gateways, '$[*].reason'), jsonb_path_query_array(gateways, '$[*].id'),
       gateways -> 0 ? 'heartbeat', gateways -> 1 -> 'heartbeat'
  FROM get_gateway_pool(:acme, :eu);
SELECT name, gateways FROM get_gateway_pool(:acme, (SELECT id FROM gateway_pools WHERE name = 'asia'));
SELECT jsonb_path_query_array(get_gateway_pool_resources(:acme, :eu), '$.kubernetesAuths[*].identityName');
SELECT get_gateway_pool_resources(:acme, (SELECT id FROM gateway_pools WHERE name = 'asia'));

-- Update: NULL keeps the name.
SELECT name, "updatedAt" > "createdAt" FROM update_gateway_pool(:acme, :eu, ' EU ');
SELECT name FROM update_gateway_pool(:acme, :eu, NULL);
SELECT fails($$SELECT update_gateway_pool('00000000-0000-0000-0000-00000000000a', '00000000-0000-0000-0000-000000000001', 'asia')$$);
SELECT fails($$SELECT update_gateway_pool('00000000-0000-0000-0000-00000000000a', '00000000-0000-0000-0000-000000000001', 'a b')$$);

-- A pool of another organization is not found.
SELECT (SELECT string_agg(e, E'\n') FROM fails(f) e) FROM unnest(ARRAY[
    $$SELECT get_gateway_pool('00000000-0000-0000-0000-00000000000a', '00000000-0000-0000-0000-000000000009')$$,
    $$SELECT update_gateway_pool('00000000-0000-0000-0000-00000000000a', '00000000-0000-0000-0000-000000000009', 'x')$$,
    $$SELECT delete_gateway_pool('00000000-0000-0000-0000-00000000000a', '00000000-0000-0000-0000-000000000009')$$,
    $$SELECT remove_gateway_from_pool('00000000-0000-0000-0000-00000000000a', '00000000-0000-0000-0000-000000000009', '00000000-0000-0000-0000-0000000000a1')$$,
    $$SELECT get_gateway_pool_resources('00000000-0000-0000-0000-00000000000a', '00000000-0000-0000-0000-000000000009')$$]) f;
SELECT name FROM gateway_pools WHERE "orgId" = :bolt;

-- Remove, delete.
SELECT "gatewayId" FROM remove_gateway_from_pool(:acme, :eu, :g1);
SELECT fails($$SELECT remove_gateway_from_pool('00000000-0000-0000-0000-00000000000a', '00000000-0000-0000-0000-000000000001', '00000000-0000-0000-0000-0000000000a1')$$);
SELECT fails($$SELECT remove_gateway_from_pool('00000000-0000-0000-0000-00000000000a', '00000000-0000-0000-0000-000000000001', '00000000-0000-0000-0000-0000000000b1')$$);
SELECT fails($$SELECT delete_gateway_pool('00000000-0000-0000-0000-00000000000a', '00000000-0000-0000-0000-000000000001')$$);
UPDATE identity_kubernetes_auths SET "gatewayPoolId" = NULL;
SELECT id, name FROM delete_gateway_pool(:acme, :eu);
SELECT count(*) FROM gateway_pool_memberships;

-- States.
SELECT set_gateway_state(:g1, 'maintenance', 'new disk');
SELECT set_gateway_state(:g1, 'draining');
SELECT state, reason FROM gateway_states;

--
-- Privileges are those on the tables
--
CREATE ROLE regress_gateway_pool;
GRANT USAGE ON SCHEMA app TO regress_gateway_pool;
GRANT EXECUTE ON FUNCTION public.fails TO regress_gateway_pool;
INSERT INTO gateway_pools (id, "orgId", name) VALUES (:eu, :acme, 'eu');
INSERT INTO gateway_pool_memberships ("gatewayPoolId", "gatewayId") VALUES (:eu, :g1);
DELETE FROM gateway_states;
SET ROLE regress_gateway_pool;
SELECT f, (SELECT e FROM fails(f) e LIMIT 1), (SELECT e FROM fails(f) e OFFSET 1 LIMIT 1) FROM unnest(ARRAY[
    $$SELECT create_gateway_pool('00000000-0000-0000-0000-00000000000a', 'x')$$,
    $$SELECT list_gateway_pools('00000000-0000-0000-0000-00000000000a')$$,
    $$SELECT get_gateway_pool('00000000-0000-0000-0000-00000000000a', '00000000-0000-0000-0000-000000000001')$$,
    $$SELECT update_gateway_pool('00000000-0000-0000-0000-00000000000a', '00000000-0000-0000-0000-000000000001', 'x')$$,
    $$SELECT delete_gateway_pool('00000000-0000-0000-0000-00000000000a', '00000000-0000-0000-0000-000000000001')$$,
    $$SELECT add_gateway_to_pool('00000000-0000-0000-0000-00000000000a', '00000000-0000-0000-0000-000000000001', '00000000-0000-0000-0000-0000000000a2')$$,
    $$SELECT remove_gateway_from_pool('00000000-0000-0000-0000-00000000000a', '00000000-0000-0000-0000-000000000001', '00000000-0000-0000-0000-0000000000a1')$$,
    $$SELECT get_gateway_pool_resources('00000000-0000-0000-0000-00000000000a', '00000000-0000-0000-0000-000000000001')$$,
    $$SELECT get_gateway_pool_plan('00000000-0000-0000-0000-00000000000a')$$,
    $$SELECT set_gateway_pool_entitlement('00000000-0000-0000-0000-00000000000a', true)$$,
    $$SELECT set_gateway_state('00000000-0000-0000-0000-0000000000a1', 'active')$$,
    $$SELECT pick_healthy_gateway('00000000-0000-0000-0000-000000000001')$$,
    $$SELECT pick_healthy_gateways('00000000-0000-0000-0000-000000000001')$$,
    $$SELECT explain_gateway_pick('00000000-0000-0000-0000-000000000001')$$,
    $$SELECT resolve_gateway(NULL, '00000000-0000-0000-0000-000000000001')$$,
    $$SELECT * FROM gateway_pool_status$$, $$SELECT * FROM gateway_pool_members$$,
    $$SELECT * FROM gateway_status$$, $$SELECT * FROM gateway_options$$]) f;
RESET ROLE;
-- SELECT on gateway_pools allows listing and picking, and nothing else.
GRANT SELECT ON gateway_pools TO regress_gateway_pool;
SET ROLE regress_gateway_pool;
\i test/first_pick.sql
SELECT pick_healthy_gateway(:eu), resolve_gateway(NULL, :eu), (SELECT count(*) FROM pick_healthy_gateways(:eu)), (SELECT count(*) FROM explain_gateway_pick(:eu));
SELECT count(*) FROM list_gateway_pools(:acme);
SELECT (SELECT count(*) FROM gateway_pool_status), (SELECT count(*) FROM gateway_pool_members), (SELECT count(*) FROM gateway_status), (SELECT count(*) FROM gateway_options);
SELECT get_gateway_pool_resources(:acme, :eu);
SELECT fails($$SELECT create_gateway_pool('00000000-0000-0000-0000-00000000000a', 'x')$$);
SELECT fails($$SELECT add_gateway_to_pool('00000000-0000-0000-0000-00000000000a', '00000000-0000-0000-0000-000000000001', '00000000-0000-0000-0000-0000000000a2')$$);
SELECT fails($$SELECT set_gateway_state('00000000-0000-0000-0000-0000000000a1', 'draining')$$);
RESET ROLE;
-- The rules read tables that the role cannot read: organizations, gateways, entitlements.
GRANT INSERT, UPDATE, DELETE ON gateway_pools TO regress_gateway_pool;
GRANT SELECT, INSERT, DELETE ON gateway_pool_memberships TO regress_gateway_pool;
GRANT SELECT, INSERT, UPDATE ON gateway_states TO regress_gateway_pool;
SET ROLE regress_gateway_pool;
SELECT name FROM create_gateway_pool(:acme, 'mine');
SELECT name FROM update_gateway_pool(:acme, (SELECT id FROM gateway_pools WHERE name = 'mine'), 'ours');
SELECT "gatewayId" FROM add_gateway_to_pool(:acme, (SELECT id FROM gateway_pools WHERE name = 'ours'), :g1);
SELECT "gatewayId" FROM remove_gateway_from_pool(:acme, (SELECT id FROM gateway_pools WHERE name = 'ours'), :g1);
SELECT name FROM delete_gateway_pool(:acme, (SELECT id FROM gateway_pools WHERE name = 'ours'));
SELECT set_gateway_state(:g1, 'draining');
SELECT fails($$SELECT set_gateway_pool_entitlement('00000000-0000-0000-0000-00000000000a', true)$$);
RESET ROLE;
REVOKE ALL ON gateway_pools FROM regress_gateway_pool;
SET ROLE regress_gateway_pool;
SELECT fails($$SELECT pick_healthy_gateway('00000000-0000-0000-0000-000000000001')$$);
RESET ROLE;
DROP OWNED BY regress_gateway_pool;
DROP ROLE regress_gateway_pool;
