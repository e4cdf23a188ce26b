\i test/setup.sql
-- A WARNING when a pool loses its last eligible member, by whatever statement.
SELECT host_test.make_host('app', 2);
CREATE EXTENSION gateway_pool SCHEMA app;
\set acme '\'00000000-0000-0000-0000-00000000000a\''
\set eu '\'00000000-0000-0000-0000-000000000001\''
\set g1 '\'00000000-0000-0000-0000-0000000000a1\''
\set g2 '\'00000000-0000-0000-0000-0000000000a2\''
\set dead '\'00000000-0000-0000-0000-0000000000a3\''
SELECT host_test.add_org('app', 'acme', :acme);
SELECT host_test.add_gateway('app', :acme, 'g1', '0', :g1), host_test.add_gateway('app', :acme, 'g2', '0', :g2), host_test.add_gateway('app', :acme, 'dead', NULL, :dead);
SELECT set_gateway_pool_entitlement(:acme, true);
INSERT INTO gateway_pools (id, "orgId", name) VALUES (:eu, :acme, 'eu'), ('00000000-0000-0000-0000-000000000002', :acme, 'asia');
INSERT INTO gateway_pool_memberships ("gatewayPoolId", "gatewayId") VALUES (:eu, :g1), (:eu, :g2), (:eu, :dead), ('00000000-0000-0000-0000-000000000002', :g1);
\i test/first_pick.sql

-- States: only the last eligible member, and each pool that loses it.
SELECT set_gateway_state(:g1, 'draining');
SELECT set_gateway_state(:g1, 'maintenance');
SELECT set_gateway_state(:g2, 'maintenance', until => '2100-01-01');
SELECT set_gateway_state(:dead, 'maintenance');
DELETE FROM gateway_states;
INSERT INTO gateway_states SELECT id, 'draining' FROM gateways_v2;
UPDATE gateway_states SET reason = 'x';
UPDATE gateway_states SET state = 'active';
UPDATE gateway_states SET state = 'draining' WHERE "gatewayId" = :g2;
DELETE FROM gateway_states;

-- Members.
BEGIN;
SELECT "gatewayId" FROM remove_gateway_from_pool(:acme, :eu, :g1);
SELECT "gatewayId" FROM remove_gateway_from_pool(:acme, :eu, :dead);
SELECT "gatewayId" FROM remove_gateway_from_pool(:acme, :eu, :g2);
ROLLBACK;
BEGIN;
DELETE FROM gateway_pool_memberships;
ROLLBACK;
BEGIN;
UPDATE gateway_pool_memberships SET "gatewayId" = :g2 WHERE "gatewayPoolId" <> :eu;
UPDATE gateway_pool_memberships SET "gatewayId" = :dead WHERE "gatewayPoolId" <> :eu;
ROLLBACK;
BEGIN;
SELECT cardinality(added), cardinality(removed) FROM set_gateway_pool_members(:acme, :eu, ARRAY[:dead, :g2]::uuid[]);
SELECT cardinality(added), cardinality(removed) FROM set_gateway_pool_members(:acme, :eu, ARRAY[:g1]::uuid[]);
SELECT cardinality(added), cardinality(removed) FROM set_gateway_pool_members(:acme, :eu, '{}');
ROLLBACK;

-- Gateways: deleted one by one, or together.
BEGIN;
DELETE FROM gateways_v2 WHERE name = 'g1';
DELETE FROM gateways_v2 WHERE name = 'dead';
DELETE FROM gateways_v2;
ROLLBACK;
BEGIN;
DELETE FROM gateways_v2;
ROLLBACK;
-- A gateway that was draining was not eligible.
BEGIN;
SELECT set_gateway_state(:g1, 'draining');
DELETE FROM gateways_v2 WHERE name = 'g1';
ROLLBACK;

-- Not when the pool goes, or its organization.
BEGIN;
DELETE FROM gateway_pools WHERE name = 'asia';
DELETE FROM organizations;
ROLLBACK;

-- A subtransaction that is rolled back leaves nothing behind.
BEGIN;
SAVEPOINT a;
DELETE FROM gateway_pool_memberships WHERE "gatewayPoolId" <> :eu;
ROLLBACK TO a;
UPDATE gateway_pool_memberships SET "pickWeight" = 2;
SELECT set_gateway_state(:g2, 'draining');
ROLLBACK;

-- Ten pools are named.
SET gateway_pool.max_pools_per_org = -1;
INSERT INTO gateway_pools (id, "orgId", name) SELECT ('00000000-0000-0000-0001-' || lpad(n::text, 12, '0'))::uuid, :acme, 'p-' || n FROM generate_series(1, 20) n;
INSERT INTO gateway_pool_memberships ("gatewayPoolId", "gatewayId") SELECT id, :g1 FROM gateway_pools WHERE name LIKE 'p-%';
BEGIN;
DELETE FROM gateways_v2 WHERE name = 'g1';
ROLLBACK;

-- The name is for roles that may list pools: also in a cascade and in a function, which run as the owner.
CREATE ROLE regress_warned;
GRANT USAGE ON SCHEMA app TO regress_warned;
GRANT SELECT, DELETE ON gateways_v2 TO regress_warned;
SELECT grant_gateway_pool_access('regress_warned', '{edit}');
DELETE FROM gateway_pools WHERE name LIKE 'p-%';
BEGIN;
SET LOCAL ROLE regress_warned;
DELETE FROM gateways_v2 WHERE name = 'g1';
SELECT "gatewayId" FROM remove_gateway_from_pool(:acme, :eu, :g2);
ROLLBACK;
-- An isolated role is warned of its own organization's pools alone.
SET client_min_messages = warning;
SELECT enable_gateway_pool_isolation();
RESET client_min_messages;
BEGIN;
SET LOCAL ROLE regress_warned;
DELETE FROM gateways_v2 WHERE name = 'g1';
ROLLBACK;
INSERT INTO gateway_pool_tenants VALUES ('regress_warned', :acme);
SELECT grant_gateway_pool_access('regress_warned', '{list}');
BEGIN;
SET LOCAL ROLE regress_warned;
DELETE FROM gateways_v2 WHERE name = 'g1';
ROLLBACK;
SELECT disable_gateway_pool_isolation();

-- A failure to examine a pool is no error: here a cast of the owner's fails.
CREATE FUNCTION public.fail(text) RETURNS int LANGUAGE plpgsql AS $$ BEGIN RAISE 'this cast fails'; END $$;
BEGIN;
CREATE CAST (text AS int) WITH FUNCTION public.fail(text);
ALTER TABLE gateway_pool_memberships ALTER "pickWeight" DROP DEFAULT, DROP CONSTRAINT "gateway_pool_memberships_pickWeight_check", ALTER "pickWeight" TYPE text;
SELECT fails('SELECT * FROM gateway_pool_members') LIMIT 1;
DELETE FROM gateway_pool_memberships WHERE "gatewayId" <> :dead;
SELECT count(*) FROM gateway_pool_memberships;
ROLLBACK;
DROP FUNCTION public.fail;
DROP OWNED BY regress_warned;
DROP ROLE regress_warned;
