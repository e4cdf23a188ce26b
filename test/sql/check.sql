\i test/setup.sql
-- check_gateway_pools() finds each problem that it names.
SET client_min_messages = warning;
SELECT host_test.make_host('app', 2);
CREATE EXTENSION gateway_pool SCHEMA app;
SELECT * FROM check_gateway_pools() WHERE object <> 'gateway_pool_workers';
\set acme '\'00000000-0000-0000-0000-00000000000a\''
\set bolt '\'00000000-0000-0000-0000-00000000000b\''
SELECT host_test.add_org('app', 'acme', :acme), host_test.add_org('app', 'bolt', :bolt);
SELECT host_test.add_gateway('app', :acme, 'a1', '0', '00000000-0000-0000-0000-0000000000a1'),
       host_test.add_gateway('app', :acme, 'a2', '0', '00000000-0000-0000-0000-0000000000a2'),
       host_test.add_gateway('app', :bolt, 'b1', '0', '00000000-0000-0000-0000-0000000000b1'),
       host_test.add_kubernetes_auth('app', :acme, 'k', '00000000-0000-0000-0000-0000000000c1');
SELECT set_gateway_pool_entitlement(:acme, true), set_gateway_pool_entitlement(:bolt, true);
INSERT INTO gateway_pools (id, "orgId", name) VALUES
    ('00000000-0000-0000-0000-000000000001', :acme, 'eu'), ('00000000-0000-0000-0000-000000000002', :acme, 'us'),
    ('00000000-0000-0000-0000-000000000003', :bolt, 'eu');
INSERT INTO gateway_pool_memberships (id, "gatewayPoolId", "gatewayId") VALUES
    ('00000000-0000-0000-0000-000000000011', '00000000-0000-0000-0000-000000000001', '00000000-0000-0000-0000-0000000000a1'),
    ('00000000-0000-0000-0000-000000000012', '00000000-0000-0000-0000-000000000001', '00000000-0000-0000-0000-0000000000a2');
SELECT * FROM check_gateway_pools() WHERE object <> 'gateway_pool_workers';

-- Problems of rows.
BEGIN;
SELECT set_gateway_pool_entitlement(:bolt, false);
SELECT set_gateway_pool_entitlement(:acme, true, max_pools => 1, max_gateways_per_pool => 1);
SET LOCAL session_replication_role = replica;
UPDATE gateway_pools SET name = 'Off Rule' WHERE id = '00000000-0000-0000-0000-000000000002';
UPDATE gateway_pool_memberships SET "gatewayId" = '00000000-0000-0000-0000-0000000000b1' WHERE id = '00000000-0000-0000-0000-000000000012';
UPDATE identity_kubernetes_auths SET "gatewayPoolId" = '00000000-0000-0000-0000-000000000001', "gatewayV2Id" = '00000000-0000-0000-0000-0000000000a1';
SELECT * FROM check_gateway_pools() WHERE object <> 'gateway_pool_workers';
ROLLBACK;

-- An expired entitlement counts as none.
BEGIN;
SELECT set_gateway_pool_entitlement(:bolt, true, expires_at => '2001-01-01');
SELECT problem, object FROM check_gateway_pools() WHERE object <> 'gateway_pool_workers';
ROLLBACK;

-- Problems of objects.
BEGIN;
ALTER TABLE gateway_pools DISABLE TRIGGER "GatewayPools_refuse_delete";
ALTER TABLE gateways_v2 ENABLE REPLICA TRIGGER "GatewayPools_refuse_move";
ALTER TABLE gateway_pools DISABLE TRIGGER "GatewayPools_invalidate";
ALTER TABLE gateways_v2 DISABLE TRIGGER "GatewayPools_invalidate_truncate";
SELECT * FROM check_gateway_pools() WHERE object <> 'gateway_pool_workers';
-- After the remedies, there is no problem.
SELECT remedy FROM check_gateway_pools() WHERE problem = 'trigger disabled' \gexec
SELECT * FROM check_gateway_pools() WHERE object <> 'gateway_pool_workers';
ROLLBACK;
BEGIN;
DROP TRIGGER "GatewayPools_enforce" ON gateway_pool_memberships;
DROP TRIGGER "GatewayPools_route" ON identity_kubernetes_auths;
DROP INDEX gateway_pool_ix_memberships_gatewayid;
ALTER TABLE gateway_pools DROP CONSTRAINT gateway_pools_orgid_name_unique;
ALTER TABLE gateway_states DROP CONSTRAINT gateway_pool_fk_states_gatewayid;
SELECT problem, object, detail, remedy FROM check_gateway_pools() WHERE object <> 'gateway_pool_workers';
SELECT install_gateway_pools();
SELECT * FROM check_gateway_pools() WHERE object <> 'gateway_pool_workers';
ROLLBACK;
BEGIN;
DROP TABLE gateway_states;
SELECT problem, object, detail FROM check_gateway_pools() WHERE object <> 'gateway_pool_workers';
ROLLBACK;

-- A table that is not registered is reported; after registration it is not; a failing org_query hides no other rows.
BEGIN;
SELECT host_test.make_other_consumers('app');
SELECT * FROM check_gateway_pools() WHERE object <> 'gateway_pool_workers';
SELECT register_pool_consumer('app_connections', gateway_column => 'gatewayId');
SELECT problem, object FROM check_gateway_pools() WHERE object <> 'gateway_pool_workers';
SELECT register_pool_consumer('identity_auth_templates', 'gatewayPoolId', 'gatewayV2Id', 'SELECT t."orgId" FROM identity_auth_templates t WHERE t.id = ($1).id');
INSERT INTO identity_auth_templates (name, "orgId", "authMethod", "gatewayPoolId") SELECT 't', "orgId", 'k', id FROM gateway_pools LIMIT 1;
ALTER TABLE identity_auth_templates RENAME TO templates;
SELECT * FROM check_gateway_pools() WHERE object <> 'gateway_pool_workers';
ROLLBACK;

-- A foreign key of two columns makes a consumer too, and two keys on one column make one.
BEGIN;
ALTER TABLE gateway_pools ADD UNIQUE (id, "orgId");
CREATE TABLE pair (id int, "orgId" uuid, pool uuid REFERENCES gateway_pools, FOREIGN KEY ("orgId", pool) REFERENCES gateway_pools ("orgId", id));
CREATE TABLE only_pair (id int, "orgId" uuid, pool uuid, FOREIGN KEY ("orgId", pool) REFERENCES gateway_pools ("orgId", id));
SELECT problem, object FROM check_gateway_pools() WHERE object <> 'gateway_pool_workers';
ROLLBACK;
-- An owner who may not read pools does not hide the rows of the table.
BEGIN;
CREATE ROLE regress_gateway_pool;
GRANT USAGE ON SCHEMA app TO regress_gateway_pool;
GRANT REFERENCES ON gateway_pools TO regress_gateway_pool;
CREATE TABLE theirs ("orgId" uuid);
ALTER TABLE theirs OWNER TO regress_gateway_pool;
SELECT register_pool_consumer('theirs');
INSERT INTO theirs SELECT "orgId", id FROM gateway_pools;
SELECT * FROM check_gateway_pools() WHERE object <> 'gateway_pool_workers';
SET LOCAL session_replication_role = replica;
INSERT INTO theirs SELECT :bolt, id FROM gateway_pools;
SELECT problem, object, detail FROM check_gateway_pools() WHERE object <> 'gateway_pool_workers';
ROLLBACK;
-- Publications of what each server writes for itself; that of other tables is none of these.
BEGIN;
SET LOCAL client_min_messages = error; -- wal_level
CREATE PUBLICATION "no Health" FOR TABLE gateway_pools, gateway_pool_audit_logs;
CREATE PUBLICATION "one Table" FOR TABLE gateway_pools, gateway_health;
CREATE PUBLICATION two FOR TABLE gateway_health, gateway_health_events;
CREATE PUBLICATION everything FOR ALL TABLES;
RESET client_min_messages;
SELECT * FROM check_gateway_pools() WHERE object <> 'gateway_pool_workers';
ALTER PUBLICATION two DROP TABLE app.gateway_health, app.gateway_health_events;
DROP PUBLICATION everything;
SELECT object FROM check_gateway_pools() WHERE object <> 'gateway_pool_workers';
ROLLBACK;
-- Settings of the session have no effect.
BEGIN;
SET LOCAL quote_all_identifiers = on;
SELECT * FROM check_gateway_pools() WHERE object <> 'gateway_pool_workers';
ROLLBACK;

-- The check needs privileges.
CREATE ROLE regress_gateway_pool;
GRANT USAGE ON SCHEMA app TO regress_gateway_pool;
GRANT EXECUTE ON FUNCTION public.fails TO regress_gateway_pool;
SET ROLE regress_gateway_pool;
SELECT fails('SELECT * FROM app.check_gateway_pools()');
RESET ROLE;
DROP OWNED BY regress_gateway_pool;
DROP ROLE regress_gateway_pool;
