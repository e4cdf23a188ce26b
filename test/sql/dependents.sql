\i test/setup.sql
-- What depends on a gateway: pools, and rows of consumers.
SELECT host_test.make_host('app', 2);
CREATE EXTENSION gateway_pool SCHEMA app;
\i test/first_pick.sql
SET client_min_messages = error;
SELECT host_test.make_other_consumers('app');
SELECT register_pool_consumer('app_connections', gateway_column => 'gatewayId');
\set acme '\'00000000-0000-0000-0000-00000000000a\''
\set g1 '\'00000000-0000-0000-0000-0000000000a1\''
\set g2 '\'00000000-0000-0000-0000-0000000000a2\''
SELECT host_test.add_org('app', 'acme', :acme);
SELECT host_test.add_gateway('app', :acme, 'g1', '0', :g1), host_test.add_gateway('app', :acme, 'g2', '0', :g2), host_test.add_gateway('app', :acme, 'g3', NULL, '00000000-0000-0000-0000-0000000000a3');
SELECT set_gateway_pool_entitlement(:acme, true);
INSERT INTO gateway_pools (id, "orgId", name) VALUES ('00000000-0000-0000-0000-000000000001', :acme, 'alone'), ('00000000-0000-0000-0000-000000000002', :acme, 'both'),
    ('00000000-0000-0000-0000-000000000003', :acme, 'other'), ('00000000-0000-0000-0000-000000000004', :acme, 'unused');
INSERT INTO gateway_pool_memberships ("gatewayPoolId", "gatewayId")
SELECT ('00000000-0000-0000-0000-00000000000' || p)::uuid, ('00000000-0000-0000-0000-0000000000a' || g)::uuid
  FROM (VALUES (1, 1), (1, 3), (2, 1), (2, 2), (3, 2), (4, 1)) m (p, g);
SELECT host_test.add_kubernetes_auth('app', :acme, 'k' || n, ('00000000-0000-0000-0000-0000000000c' || n)::uuid) FROM generate_series(1, 4) n;
SELECT host_test.add_app_connection('app', :acme, 'db' || n, NULL, ('00000000-0000-0000-0000-0000000000f' || n)::uuid) FROM generate_series(1, 3) n;
UPDATE identity_kubernetes_auths SET "gatewayPoolId" = '00000000-0000-0000-0000-000000000001' WHERE id = '00000000-0000-0000-0000-0000000000c1';
UPDATE identity_kubernetes_auths SET "gatewayPoolId" = '00000000-0000-0000-0000-000000000003' WHERE id = '00000000-0000-0000-0000-0000000000c2';
UPDATE identity_kubernetes_auths SET "gatewayV2Id" = :g1 WHERE id = '00000000-0000-0000-0000-0000000000c3';
UPDATE identity_kubernetes_auths SET "gatewayV2Id" = :g2 WHERE id = '00000000-0000-0000-0000-0000000000c4';
UPDATE app_connections SET "gatewayPoolId" = '00000000-0000-0000-0000-000000000002' WHERE name = 'db1';
UPDATE app_connections SET "gatewayId" = :g1 WHERE name = 'db2';
RESET client_min_messages;
CREATE FUNCTION public.dependents(gateway uuid) RETURNS SETOF text LANGUAGE sql AS $$
    SELECT concat_ws(' | ', kind, consumer, right(id, 2), name, coalesce(right("gatewayPoolId"::text, 1) || ' ' || "poolName", '-'), coalesce("onlyEligible"::text, '-'))
      FROM app.gateway_dependents(gateway) ORDER BY kind, consumer::text, id
$$;
SELECT dependents(:g1);
SELECT dependents(:g2);
SELECT dependents('00000000-0000-0000-0000-0000000000a3');
-- A gateway that is not eligible is not the only eligible member.
SET client_min_messages = error;
SELECT set_gateway_state(:g1, 'draining');
RESET client_min_messages;
SELECT dependents(:g1);
SELECT dependents(:g2);
DELETE FROM gateway_states;
-- Without indexes, and with another column and no name.
DROP INDEX gateway_pool_ix_identity_kubernetes_auths_gatewaypoolid;
ALTER TABLE app_connections RENAME name TO label;
SELECT dependents(:g1);
-- After a downgrade, too.
SELECT set_gateway_pool_entitlement(:acme, false);
SELECT count(*) FROM gateway_dependents(:g1);
SELECT fails($$SELECT gateway_dependents('00000000-0000-0000-0000-0000000000ff')$$);
SELECT fails('SELECT gateway_dependents(NULL)');
-- A gateway on which nothing depends.
SELECT host_test.add_gateway('app', :acme, 'g9', '0', '00000000-0000-0000-0000-0000000000a9');
SELECT * FROM gateway_dependents('00000000-0000-0000-0000-0000000000a9');
-- The names of identities are shown only if the owner of the consumer may read them: the owner of both may.
SELECT count(name) FROM gateway_dependents(:g1) WHERE consumer = 'identity_kubernetes_auths'::regclass;
DROP FUNCTION public.dependents;
