\i test/setup.sql
-- The rules on pools and members, by plain statements.
SELECT host_test.make_host('app', 2);
CREATE EXTENSION gateway_pool SCHEMA app;
\i test/first_pick.sql
\set acme '\'00000000-0000-0000-0000-00000000000a\''
\set bolt '\'00000000-0000-0000-0000-00000000000b\''
SELECT host_test.add_org('app', 'acme', :acme), host_test.add_org('app', 'bolt', :bolt);
SELECT host_test.add_gateway('app', :acme, 'a' || i, '0s', ('00000000-0000-0000-0000-0000000000a' || i)::uuid)
  FROM generate_series(1, 3) i;
SELECT host_test.add_gateway('app', :bolt, 'b' || i, '0s', ('00000000-0000-0000-0000-0000000000b' || i)::uuid)
  FROM generate_series(1, 2) i;
\set a1 '\'00000000-0000-0000-0000-0000000000a1\''
\set a2 '\'00000000-0000-0000-0000-0000000000a2\''
\set b1 '\'00000000-0000-0000-0000-0000000000b1\''

--
-- Entitlement
--
SELECT fails($$INSERT INTO gateway_pools ("orgId", name) VALUES ('00000000-0000-0000-0000-00000000000a', 'eu')$$);
SET gateway_pool.default_entitlement = on;
BEGIN;
INSERT INTO gateway_pools ("orgId", name) VALUES (:acme, 'eu') RETURNING name;
ROLLBACK;
RESET gateway_pool.default_entitlement;
INSERT INTO gateway_pool_entitlements ("orgId", "gatewayPool", "expiresAt") VALUES (:acme, true, '2001-01-01 00:00+00');
SELECT fails($$INSERT INTO gateway_pools ("orgId", name) VALUES ('00000000-0000-0000-0000-00000000000a', 'eu')$$);
UPDATE gateway_pool_entitlements SET "expiresAt" = clock_timestamp() + interval '1 hour' WHERE "orgId" = :acme;
INSERT INTO gateway_pools (id, "orgId", name) VALUES ('00000000-0000-0000-0000-000000000001', :acme, 'eu') RETURNING name;
\set eu '\'00000000-0000-0000-0000-000000000001\''
-- An entitlement row overrides the setting.
INSERT INTO gateway_pool_entitlements ("orgId", "gatewayPool") VALUES (:bolt, false);
SET gateway_pool.default_entitlement = on;
SELECT fails($$INSERT INTO gateway_pools ("orgId", name) VALUES ('00000000-0000-0000-0000-00000000000b', 'us')$$);
RESET gateway_pool.default_entitlement;

INSERT INTO gateway_pool_memberships ("gatewayPoolId", "gatewayId") VALUES (:eu, :a1) RETURNING "pickWeight", "pickPriority";
\i test/first_pick.sql
-- After a downgrade, new names and members are refused; weights, removals, deletions and picks work.
UPDATE gateway_pool_entitlements SET "gatewayPool" = false WHERE "orgId" = :acme;
SELECT fails($$UPDATE gateway_pools SET name = 'eu-2'$$);
SELECT fails($$INSERT INTO gateway_pool_memberships ("gatewayPoolId", "gatewayId")
    VALUES ('00000000-0000-0000-0000-000000000001', '00000000-0000-0000-0000-0000000000a2')$$);
SELECT fails($$UPDATE gateway_pool_memberships SET "gatewayId" = '00000000-0000-0000-0000-0000000000a2'$$);
UPDATE gateway_pools SET name = 'eu', "createdAt" = now() WHERE id = :eu RETURNING name;
UPDATE gateway_pool_memberships SET "pickWeight" = 7 RETURNING "pickWeight";
SELECT pick_healthy_gateway(:eu);
BEGIN;
DELETE FROM gateway_pool_memberships RETURNING "gatewayId";
DELETE FROM gateway_pools RETURNING name;
ROLLBACK;
UPDATE gateway_pool_entitlements SET "gatewayPool" = true;

--
-- Names
--
SELECT n, is_gateway_pool_name(n) FROM unnest(ARRAY[
    'a', 'a-b-1', '0', repeat('a', 32), '', '-', '-a', 'a-', 'a--b', 'A', 'a_b', 'a b', 'ä', 'a.b', E'a\n', ' a', repeat('a', 33)]) n;
SELECT is_gateway_pool_name(NULL) IS NULL;
SELECT fails(format('INSERT INTO gateway_pools ("orgId", name) VALUES (%L, %L)', '00000000-0000-0000-0000-00000000000a', n))
  FROM unnest(ARRAY['', 'Eu', 'e u', 'e--u', E'eu\n', 'eü', repeat('a', 33)]) n;
SELECT fails($$UPDATE gateway_pools SET name = 'Eu'$$);
SELECT fails($$INSERT INTO gateway_pools ("orgId", name) VALUES ('00000000-0000-0000-0000-00000000000a', 'eu')$$);
SELECT fails($$INSERT INTO gateway_pools ("orgId", name) VALUES ('00000000-0000-0000-0000-00000000000a', NULL)$$) LIMIT 2;
-- The name is unique per organization.
INSERT INTO gateway_pools (id, "orgId", name) VALUES ('00000000-0000-0000-0000-000000000002', :bolt, 'eu') RETURNING name;
\set bolt_eu '\'00000000-0000-0000-0000-000000000002\''

--
-- Limits
--
SET gateway_pool.max_pools_per_org = 2;
INSERT INTO gateway_pools ("orgId", name) VALUES (:acme, 'us') RETURNING name;
SELECT fails($$INSERT INTO gateway_pools ("orgId", name) VALUES ('00000000-0000-0000-0000-00000000000a', 'ap')$$);
-- A statement over the limit inserts no rows.
UPDATE gateway_pool_entitlements SET "maxPools" = 4 WHERE "orgId" = :acme;
SELECT fails($$INSERT INTO gateway_pools ("orgId", name)
    SELECT '00000000-0000-0000-0000-00000000000a', 'p' || i FROM generate_series(1, 3) i$$);
INSERT INTO gateway_pools ("orgId", name) SELECT :acme, 'p' || i FROM generate_series(1, 2) i RETURNING name;
-- A lower limit removes nothing; renaming a pool does not count as a new one; moving one in does.
UPDATE gateway_pool_entitlements SET "maxPools" = 0 WHERE "orgId" = :acme;
UPDATE gateway_pools SET name = 'p3' WHERE name = 'p2' RETURNING name;
SELECT fails($$UPDATE gateway_pools SET "orgId" = '00000000-0000-0000-0000-00000000000a', name = 'moved'
    WHERE "orgId" = '00000000-0000-0000-0000-00000000000b'$$);
-- No limit.
UPDATE gateway_pool_entitlements SET "maxPools" = -1 WHERE "orgId" = :acme;
INSERT INTO gateway_pools ("orgId", name) SELECT :acme, 'q' || i FROM generate_series(1, 60) i;
SELECT * FROM get_gateway_pool_plan(:acme) \gset plan_
SELECT :'plan_gatewayPool', :'plan_maxPools', :'plan_usedPools', :'plan_maxGatewaysPerPool';
DELETE FROM gateway_pools WHERE "orgId" = :acme AND name <> 'eu';
RESET gateway_pool.max_pools_per_org;
SELECT fails($$UPDATE gateway_pool_entitlements SET "maxPools" = -2$$) LIMIT 2;

SET gateway_pool.max_gateways_per_pool = 1;
SELECT fails($$INSERT INTO gateway_pool_memberships ("gatewayPoolId", "gatewayId")
    VALUES ('00000000-0000-0000-0000-000000000001', '00000000-0000-0000-0000-0000000000a2')$$);
UPDATE gateway_pool_entitlements SET "maxGatewaysPerPool" = 2 WHERE "orgId" = :acme;
INSERT INTO gateway_pool_memberships ("gatewayPoolId", "gatewayId") VALUES (:eu, :a2) RETURNING "gatewayId";
-- The gateway of a member can be replaced.
UPDATE gateway_pool_memberships SET "gatewayId" = '00000000-0000-0000-0000-0000000000a3' WHERE "gatewayId" = :a2
    RETURNING "gatewayId";
-- A member that moves to another pool counts as a new one there.
INSERT INTO gateway_pools (id, "orgId", name) VALUES ('00000000-0000-0000-0000-000000000003', :acme, 'us');
INSERT INTO gateway_pool_memberships ("gatewayPoolId", "gatewayId")
    VALUES ('00000000-0000-0000-0000-000000000003', :a2);
SELECT fails($$UPDATE gateway_pool_memberships SET "gatewayPoolId" = '00000000-0000-0000-0000-000000000001'
    WHERE "gatewayPoolId" = '00000000-0000-0000-0000-000000000003'$$);
RESET gateway_pool.max_gateways_per_pool;
SELECT fails('SET gateway_pool.max_pools_per_org = -2');

--
-- Members
--
SELECT fails($$INSERT INTO gateway_pool_memberships ("gatewayPoolId", "gatewayId")
    VALUES ('00000000-0000-0000-0000-000000000001', '00000000-0000-0000-0000-0000000000a1')$$);
SELECT fails($$INSERT INTO gateway_pool_memberships ("gatewayPoolId", "gatewayId", "pickWeight")
    VALUES ('00000000-0000-0000-0000-000000000003', '00000000-0000-0000-0000-0000000000a1', -1)$$) LIMIT 2;
SELECT fails($$UPDATE gateway_pool_memberships SET "pickWeight" = 1001$$) LIMIT 2;
-- The error for another organization's gateway and for a missing one is the same.
SELECT fails(format('INSERT INTO gateway_pool_memberships ("gatewayPoolId", "gatewayId") VALUES (%L, %L)', p, g))
  FROM (VALUES ('00000000-0000-0000-0000-000000000001', '00000000-0000-0000-0000-0000000000b1'),
               ('00000000-0000-0000-0000-000000000001', '00000000-0000-0000-0000-0000000000ff'),
               ('00000000-0000-0000-0000-0000000000ff', '00000000-0000-0000-0000-0000000000a1'),
               ('00000000-0000-0000-0000-000000000002', '00000000-0000-0000-0000-0000000000a1')) v (p, g);

--
-- Moving to another organization
--
SELECT fails($$UPDATE gateways_v2 SET "orgId" = '00000000-0000-0000-0000-00000000000b' WHERE name = 'a1'$$);
SELECT fails($$UPDATE gateway_pools SET "orgId" = '00000000-0000-0000-0000-00000000000b' WHERE name = 'us'$$);
DELETE FROM gateway_pool_memberships WHERE "gatewayPoolId" = '00000000-0000-0000-0000-000000000003';
UPDATE gateway_pool_entitlements SET "gatewayPool" = true WHERE "orgId" = :bolt;
UPDATE gateway_pools SET "orgId" = :bolt WHERE name = 'us' RETURNING name;
UPDATE gateways_v2 SET "orgId" = :bolt WHERE name = 'a2' RETURNING name;
SELECT host_test.add_kubernetes_auth('app', :bolt, 'k', '00000000-0000-0000-0000-0000000000c1');
UPDATE identity_kubernetes_auths SET "gatewayPoolId" = '00000000-0000-0000-0000-000000000003';
SELECT fails($$UPDATE gateway_pools SET "orgId" = '00000000-0000-0000-0000-00000000000a' WHERE name = 'us'$$);

--
-- The deletion guard
--
SELECT fails($$DELETE FROM gateway_pools WHERE name = 'us'$$);
SELECT fails($$DELETE FROM gateway_pools$$);
SELECT fails($$TRUNCATE gateway_pools$$) LIMIT 1;
SET client_min_messages = warning;
SELECT fails($$TRUNCATE gateway_pools CASCADE$$);
RESET client_min_messages;
SELECT count(*) FROM gateway_pools;
-- With the guard disabled, the foreign key's own action applies.
BEGIN;
ALTER TABLE gateway_pools DISABLE TRIGGER "GatewayPools_refuse_delete";
DELETE FROM gateway_pools WHERE name = 'us' RETURNING name;
SELECT "gatewayPoolId" IS NULL FROM identity_kubernetes_auths;
ROLLBACK;
-- Deleting a detached pool deletes its members.
BEGIN;
UPDATE identity_kubernetes_auths SET "gatewayPoolId" = NULL;
DELETE FROM gateway_pools WHERE name = 'us' RETURNING name;
DELETE FROM gateway_pools WHERE "orgId" = :acme AND name = 'eu' RETURNING name;
SELECT count(*) FROM gateway_pool_memberships;
ROLLBACK;
-- Deleting a gateway removes it from its pools.
BEGIN;
DELETE FROM gateways_v2 WHERE name = 'a1';
SELECT count(*) FROM gateway_pool_memberships;
ROLLBACK;
-- Deleting an organization deletes its pools, even referenced ones; truncating organizations does, too.
BEGIN;
DELETE FROM organizations WHERE id = :bolt;
SELECT "orgId", name FROM gateway_pools ORDER BY 2;
SELECT count(*) FROM identity_kubernetes_auths;
ROLLBACK;
BEGIN;
SET LOCAL client_min_messages = warning;
TRUNCATE organizations CASCADE;
SELECT count(*) FROM gateway_pools;
ROLLBACK;
SELECT count(*) FROM gateway_pools;

--
-- Each table has one "updatedAt" trigger, which works; states keep the time of their change
--
SELECT tgrelid::regclass, count(*) FROM pg_trigger
 WHERE tgname LIKE '%\_updatedAt' AND tgrelid::regclass::text LIKE 'gateway\_p%' GROUP BY 1 ORDER BY 1;
UPDATE gateway_pools SET "updatedAt" = '2001-01-01' WHERE name = 'us' RETURNING "updatedAt" > '2002-01-01';
SELECT set_gateway_state(:a1, 'draining', 'new disk');
UPDATE gateway_states SET "changedAt" = '2001-01-01' RETURNING state, reason, "changedAt" > '2002-01-01';
SELECT fails($$UPDATE gateway_states SET state = 'off'$$) LIMIT 2;

--
-- The trigger functions refuse tables of others, whatever their columns
--
CREATE TABLE public.stray (id uuid, "orgId" uuid, name text);
CREATE FUNCTION public.attach(timing text, trigger_function text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('CREATE TRIGGER t %s ON public.stray FOR EACH %s EXECUTE FUNCTION %s', timing,
                   CASE WHEN timing ~ 'TRUNCATE' THEN 'STATEMENT' ELSE 'ROW' END, trigger_function);
    INSERT INTO public.stray VALUES (gen_random_uuid(), gen_random_uuid(), 'x');
    UPDATE public.stray SET "orgId" = gen_random_uuid();
    DELETE FROM public.stray;
    TRUNCATE public.stray;
    RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE || ' ' || SQLERRM;
END
$$;
SELECT t, f, attach(t, f) FROM (VALUES
    ('AFTER INSERT', 'gateway_pool_internal.pools_enforce()'), ('BEFORE UPDATE', 'gateway_pool_internal.pools_refuse_move()'), ('BEFORE INSERT', 'gateway_pool_internal.pools_refuse_move()'),
    ('BEFORE DELETE', 'gateway_pool_internal.pools_refuse_delete()'), ('BEFORE TRUNCATE', 'gateway_pool_internal.pools_refuse_delete()'),
    ('AFTER DELETE', 'gateway_pool_internal.pools_refuse_delete()'), ('AFTER UPDATE', 'gateway_pool_internal.memberships_enforce()'),
    ('BEFORE INSERT', 'gateway_pool_internal.probes_enforce()'), ('BEFORE UPDATE', 'gateway_pool_internal.set_timestamp()'),
    ('BEFORE UPDATE', 'gateway_pool_internal.set_timestamp(''name'')')) v (t, f);
ALTER TABLE public.stray DROP COLUMN "orgId", ADD COLUMN "orgId" text;
SELECT attach('BEFORE UPDATE', 'gateway_pool_internal.pools_refuse_move()');
ALTER TABLE public.stray DROP COLUMN "orgId", DROP COLUMN id, ADD COLUMN "orgID" uuid;
CREATE TRIGGER t BEFORE UPDATE ON public.stray FOR EACH ROW EXECUTE FUNCTION gateway_pool_internal.pools_refuse_move();
INSERT INTO public.stray VALUES ('x');
SELECT fails($$UPDATE public.stray SET name = 'y'$$);
SELECT fails('SELECT gateway_pool_internal.pools_refuse_delete()');
DROP TABLE public.stray;
DROP FUNCTION public.attach;
