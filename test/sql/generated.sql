\i test/setup.sql
-- Generated columns: triggers read no value of a virtual one, and BEFORE triggers none of a stored one.
SET client_min_messages = error;
CREATE SCHEMA app;
CREATE EXTENSION gateway_pool SCHEMA app;
\set acme '\'00000000-0000-0000-0000-00000000000a\''
\set bolt '\'00000000-0000-0000-0000-00000000000b\''
CREATE TABLE tenants (id uuid PRIMARY KEY);
INSERT INTO tenants VALUES (:acme), (:bolt);
CREATE TABLE agents (id uuid PRIMARY KEY, name text, tenant uuid, "orgId" uuid GENERATED ALWAYS AS (tenant) STORED REFERENCES tenants,
                     heartbeat timestamptz, "heartbeatTTL" int, capabilities jsonb);
SELECT install_gateway_pools('tenants', 'agents');
SELECT set_gateway_pool_entitlement(:acme, true), set_gateway_pool_entitlement(:bolt, true);
INSERT INTO agents (id, name, tenant) VALUES ('00000000-0000-0000-0000-0000000000a1', 'a', :acme), ('00000000-0000-0000-0000-0000000000a2', 'b', :acme);
INSERT INTO gateway_pools (id, "orgId", name) VALUES ('00000000-0000-0000-0000-000000000001', :acme, 'acme'), ('00000000-0000-0000-0000-000000000002', :bolt, 'bolt');
INSERT INTO gateway_pool_memberships ("gatewayPoolId", "gatewayId") VALUES ('00000000-0000-0000-0000-000000000001', '00000000-0000-0000-0000-0000000000a1');
CREATE FUNCTION public.picked() RETURNS text LANGUAGE sql VOLATILE AS
    $$SELECT name FROM app.agents WHERE id = app.pick_healthy_gateway('00000000-0000-0000-0000-000000000001', null_if_none => true)$$;

-- A member does not move by a column from which its organization is computed.
SELECT fails(format('UPDATE agents SET tenant = %L WHERE name = ''a''', :bolt));
SELECT fails('UPDATE agents SET tenant = NULL WHERE name = ''a''');
UPDATE agents SET heartbeat = now(), "heartbeatTTL" = 600, tenant = tenant WHERE name = 'a';
SELECT picked();
UPDATE agents SET tenant = :bolt WHERE name = 'b' RETURNING "orgId";

-- Consumers.
CREATE TABLE conn (name text, tenant uuid, "orgId" uuid GENERATED ALWAYS AS (tenant) STORED);
SELECT register_pool_consumer('conn');
INSERT INTO conn VALUES ('c', :acme);
UPDATE conn SET "gatewayPoolId" = '00000000-0000-0000-0000-000000000001';
SELECT fails(format('UPDATE conn SET tenant = %L', :bolt));
SELECT fails(format('INSERT INTO conn (tenant, "gatewayPoolId") VALUES (%L, ''00000000-0000-0000-0000-000000000001'')', :bolt));
CREATE TABLE direct (tenant uuid, "orgId" uuid, one uuid, gateway uuid GENERATED ALWAYS AS (one) STORED);
SELECT fails($$SELECT register_pool_consumer('direct', gateway_column => 'gateway')$$);
ALTER TABLE direct DROP COLUMN gateway, ADD COLUMN gateway uuid;
SELECT register_pool_consumer('direct', gateway_column => 'gateway');
ALTER TABLE direct DROP COLUMN gateway, ADD COLUMN gateway uuid GENERATED ALWAYS AS (one) STORED;
SELECT fails(format('INSERT INTO direct ("orgId", one) VALUES (%L, ''00000000-0000-0000-0000-0000000000a1'')', :acme));
DROP TABLE direct;
SELECT problem, object, detail, remedy FROM check_gateway_pools() WHERE problem LIKE '%org%' OR problem = 'rows not checked';

-- Virtual ones.
SELECT current_setting('server_version_num')::int >= 180000 AS has_virtual \gset
\if :has_virtual
BEGIN;
SELECT uninstall_gateway_pools(false);
ALTER TABLE agents DROP COLUMN "orgId" CASCADE, ADD COLUMN "orgId" uuid GENERATED ALWAYS AS (tenant) VIRTUAL;
SELECT fails($$SELECT install_gateway_pools('tenants', 'agents')$$);
ROLLBACK;
-- It becomes virtual later.
ALTER TABLE agents DROP COLUMN "orgId" CASCADE, ADD COLUMN "orgId" uuid GENERATED ALWAYS AS (tenant) VIRTUAL;
SELECT problem, object, detail, remedy FROM check_gateway_pools() WHERE problem LIKE '%virtual%';
SELECT fails(format('UPDATE agents SET tenant = %L WHERE name = ''a''', :bolt));
SELECT fails('DELETE FROM agents WHERE name = ''a''');
UPDATE agents SET "heartbeatTTL" = 500 WHERE name = 'a';
SELECT picked();
ALTER TABLE agents DROP COLUMN "orgId" CASCADE, ADD COLUMN "orgId" uuid GENERATED ALWAYS AS (tenant) STORED REFERENCES tenants;
-- Heartbeats and capabilities are read by a query.
ALTER TABLE agents DROP COLUMN heartbeat, ADD COLUMN seen timestamptz, ADD COLUMN heartbeat timestamptz GENERATED ALWAYS AS (seen) VIRTUAL;
SELECT picked();
UPDATE agents SET seen = now() WHERE name = 'a';
SELECT picked();
UPDATE agents SET seen = now() - interval '1 day' WHERE name = 'a';
SELECT picked();
UPDATE agents SET seen = now() WHERE name = 'a';
ALTER TABLE agents DROP COLUMN capabilities, ADD COLUMN able jsonb, ADD COLUMN capabilities jsonb GENERATED ALWAYS AS (able) VIRTUAL;
SELECT pick_healthy_gateway('00000000-0000-0000-0000-000000000001', capabilities => '{"ssh": true}', null_if_none => true);
UPDATE agents SET able = '{"ssh": true}';
SELECT pick_healthy_gateway('00000000-0000-0000-0000-000000000001', capabilities => '{"ssh": true}', null_if_none => true);
-- Consumers.
ALTER TABLE conn DROP COLUMN "orgId", ADD COLUMN "orgId" uuid GENERATED ALWAYS AS (tenant) VIRTUAL;
SELECT fails(format('UPDATE conn SET tenant = %L', :bolt));
SELECT fails('INSERT INTO conn (tenant, "gatewayPoolId") SELECT tenant, "gatewayPoolId" FROM conn');
UPDATE conn SET "gatewayPoolId" = NULL;
SELECT problem, object, detail, remedy FROM check_gateway_pools() WHERE problem LIKE '%virtual%' OR problem = 'rows not checked';
CREATE TABLE other (tenant uuid, "orgId" uuid GENERATED ALWAYS AS (tenant) VIRTUAL, plain uuid);
SELECT s, fails(format('SELECT register_pool_consumer(''other'', org_query => %L)', s)) FROM unnest(ARRAY[
    NULL, 'SELECT ($1)."orgId"', 'SELECT o.id FROM tenants o WHERE o.id = ($1)."orgId"', 'SELECT r.tenant FROM (SELECT ($1).*) r',
    'SELECT (SELECT o.id FROM tenants o WHERE ROW($1) IS NOT NULL LIMIT 1)', 'SELECT ($1).tenant']) s;
INSERT INTO other (tenant, "gatewayPoolId") VALUES (:acme, '00000000-0000-0000-0000-000000000001');
SELECT fails(format('UPDATE other SET tenant = %L', :bolt));
ALTER TABLE other DROP COLUMN tenant CASCADE;
ALTER TABLE other ADD COLUMN tenant uuid GENERATED ALWAYS AS (plain) VIRTUAL;
SELECT fails(format('UPDATE other SET plain = %L', :acme));
\endif
DROP FUNCTION public.picked;
