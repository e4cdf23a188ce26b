\i test/setup.sql
-- Unexpected calls by any role, and unexpected tables of an owner: no crash, no wrong
-- answer, and no code of the owner runs with the rights of another role.
SET client_min_messages = warning;
CREATE ROLE regress_hostile;
GRANT EXECUTE ON FUNCTION public.fails TO regress_hostile;
SELECT host_test.make_host('app', 2, 'regress_hostile');
CREATE EXTENSION gateway_pool SCHEMA app;
\i test/first_pick.sql
\set acme '\'00000000-0000-0000-0000-00000000000a\''
\set pool '\'00000000-0000-0000-0000-000000000001\''
SELECT host_test.add_org('app', 'acme', :acme);
SELECT host_test.add_gateway('app', :acme, 'g', '0', '00000000-0000-0000-0000-0000000000a1');
SELECT host_test.add_kubernetes_auth('app', :acme, 'k', '00000000-0000-0000-0000-0000000000c1');
SELECT set_gateway_pool_entitlement(:acme, true);
INSERT INTO gateway_pools (id, "orgId", name) VALUES (:pool, :acme, 'eu');
INSERT INTO gateway_pool_memberships ("gatewayPoolId", "gatewayId") VALUES (:pool, '00000000-0000-0000-0000-0000000000a1');

--
-- Functions that other functions use
--
SELECT is_gateway_pool_name(NULL);
CREATE ROLE regress_nobody;
GRANT USAGE ON SCHEMA app TO regress_nobody;
GRANT EXECUTE ON FUNCTION public.fails TO regress_nobody;
SET ROLE regress_nobody;
SELECT fails($$SELECT list_gateway_pools('00000000-0000-0000-0000-00000000000a')$$) LIMIT 2;
SELECT fails($$SELECT get_gateway_pool('00000000-0000-0000-0000-00000000000a', '00000000-0000-0000-0000-000000000001')$$) LIMIT 2;
SELECT fails('SELECT * FROM gateway_pool_internal.row_problems()') LIMIT 2;
RESET ROLE;

--
-- Trigger functions on events that they are not made for
--
CREATE FUNCTION public.delete_with(target regclass, timing text, trigger_function text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('CREATE TRIGGER other %s DELETE ON %s FOR EACH ROW EXECUTE FUNCTION %s', timing, target, trigger_function);
    EXECUTE format('DELETE FROM %s', target);
    RAISE 'no error';
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE || ' ' || SQLERRM;
END
$$;
INSERT INTO gateway_probes ("gatewayId", protocol, address) VALUES ('00000000-0000-0000-0000-0000000000a1', 'tcp', 'localhost:1');
SELECT target, f, delete_with(target::regclass, timing, f) FROM (VALUES
    ('gateway_pools', 'AFTER', 'gateway_pool_internal.pools_enforce()'), ('gateway_pools', 'BEFORE', 'gateway_pool_internal.pools_refuse_move()'),
    ('gateway_pool_memberships', 'AFTER', 'gateway_pool_internal.memberships_enforce()'), ('gateway_probes', 'BEFORE', 'gateway_pool_internal.probes_enforce()'),
    ('gateway_probes', 'BEFORE', 'gateway_pool_internal.set_timestamp(''updatedAt'')'),
    ('identity_kubernetes_auths', 'BEFORE', 'gateway_pool_internal.consumer_route(''gatewayPoolId'')'),
    ('identity_kubernetes_auths', 'AFTER', 'gateway_pool_internal.consumer_enforce(''gatewayPoolId'')')) v (target, timing, f);
DELETE FROM gateway_probes;

--
-- Columns without their NOT NULL, with another type or another name
--
CREATE FUNCTION public.all_readers() RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    reader text;
BEGIN
    FOREACH reader IN ARRAY ARRAY[
        'SELECT string_agg(name, '','') FROM app.gateway_status', 'SELECT string_agg(name, '','') FROM app.gateway_pool_members',
        'SELECT string_agg(name || '' '' || label, '','' ORDER BY name) FROM app.gateway_pool_status', 'SELECT count(*)::text FROM app.gateway_options',
        'SELECT app.pick_healthy_gateway(''00000000-0000-0000-0000-000000000001'', null_if_none => true)::text',
        'SELECT string_agg(problem, '','') FROM app.check_gateway_pools()'] LOOP
        BEGIN
            EXECUTE reader INTO reader;
            RETURN NEXT coalesce(reader, 'NULL');
        EXCEPTION WHEN OTHERS THEN
            RETURN NEXT SQLSTATE || ' ' || SQLERRM;
        END;
    END LOOP;
END
$$;
SELECT all_readers();
BEGIN;
ALTER TABLE gateways_v2 ALTER "orgId" DROP NOT NULL, ALTER name DROP NOT NULL;
ALTER TABLE gateways_v2 DISABLE TRIGGER "GatewayPools_refuse_move";
UPDATE gateways_v2 SET "orgId" = NULL;
SELECT all_readers();
UPDATE gateways_v2 SET "orgId" = :acme, name = NULL;
SELECT all_readers();
ROLLBACK;
BEGIN;
ALTER TABLE gateway_pools ALTER name DROP NOT NULL, ALTER "createdAt" TYPE text;
SELECT fails($$UPDATE gateway_pools SET name = NULL$$) LIMIT 2;
ALTER TABLE gateway_pools DISABLE TRIGGER "GatewayPools_enforce";
UPDATE gateway_pools SET name = NULL, "createdAt" = '2001-01-01';
SELECT all_readers();
SELECT "createdAt" FROM gateway_pool_status;
ROLLBACK;
BEGIN;
ALTER TABLE gateway_pools DROP CONSTRAINT gateway_pools_orgid_foreign;
ALTER TABLE gateway_pools ALTER "orgId" TYPE text;
SELECT all_readers();
ROLLBACK;
BEGIN;
ALTER TABLE gateways_v2 RENAME COLUMN "orgId" TO org;
UPDATE gateways_v2 SET heartbeat = now();
SELECT fails($$SELECT * FROM gateway_status$$) LIMIT 2;
ROLLBACK;
-- A renamed table is found by a session that has picked before.
BEGIN;
SELECT pick_healthy_gateway(:pool);
ALTER TABLE gateways_v2 RENAME TO gateways_v3;
SELECT pick_healthy_gateway(:pool);
CREATE TABLE app.gateways_v2 (LIKE app.gateways_v3);
SELECT pick_healthy_gateway(:pool);
ROLLBACK;

--
-- Consumers with unusual keys
--
-- A key of several columns makes a consumer, and two keys on one column make one.
ALTER TABLE gateway_pools ADD CONSTRAINT org_and_id UNIQUE ("orgId", id);
CREATE TABLE app.many (org uuid, pool uuid, FOREIGN KEY (org, pool) REFERENCES app.gateway_pools ("orgId", id) ON DELETE SET NULL,
                       FOREIGN KEY (pool) REFERENCES app.gateway_pools (id));
INSERT INTO app.many VALUES (:acme, :pool);
SELECT fails($$DELETE FROM gateway_pools$$);
SELECT name, "connectedResourcesCount" FROM gateway_pool_status;
SELECT get_gateway_pool_resources(:acme, :pool) -> 'many.pool';
DROP TABLE app.many;
ALTER TABLE gateway_pools DROP CONSTRAINT org_and_id;
-- A table of the same name in another schema.
CREATE SCHEMA regress_other;
CREATE TABLE regress_other.identity_kubernetes_auths (id int, "gatewayPoolId" uuid REFERENCES app.gateway_pools);
INSERT INTO regress_other.identity_kubernetes_auths VALUES (1, :pool);
UPDATE identity_kubernetes_auths SET "gatewayPoolId" = :pool;
SELECT "connectedResourcesCount" FROM gateway_pool_status;
SELECT jsonb_path_query_array(get_gateway_pool_resources(:acme, :pool), '$.*[*].id');
DROP SCHEMA regress_other CASCADE;
UPDATE identity_kubernetes_auths SET "gatewayPoolId" = NULL;
-- A column of a type of its owner that has a cast to uuid.
CREATE TYPE app.sly AS ENUM ('sly');
CREATE FUNCTION app.evil(app.sly) RETURNS uuid LANGUAGE plpgsql AS $$
BEGIN
    IF current_setting('is_superuser') = 'on' THEN
        ALTER ROLE regress_hostile SUPERUSER;
    END IF;
    RETURN '00000000-0000-0000-0000-000000000001';
EXCEPTION WHEN insufficient_privilege THEN
    RAISE EXCEPTION 'not a superuser';
END
$$;
CREATE CAST (app.sly AS uuid) WITH FUNCTION app.evil(app.sly) AS IMPLICIT;
CREATE TABLE app.odd (id int, pool app.sly REFERENCES app.gateway_pools);
SELECT all_readers();
DROP TABLE app.odd;
-- Another trigger sets the gateway after the extension's trigger has cleared it.
CREATE FUNCTION app.set_both() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW."gatewayV2Id" := '00000000-0000-0000-0000-0000000000a1';
    RETURN NEW;
END
$$;
CREATE TRIGGER zzz BEFORE UPDATE ON identity_kubernetes_auths FOR EACH ROW EXECUTE FUNCTION app.set_both();
SELECT fails($$UPDATE identity_kubernetes_auths SET "gatewayPoolId" = '00000000-0000-0000-0000-000000000001'$$);
DROP TRIGGER zzz ON identity_kubernetes_auths;
-- An org_query cannot write.
CREATE TABLE app.precious (id int);
INSERT INTO app.precious VALUES (1);
DROP TRIGGER "GatewayPools_enforce" ON identity_kubernetes_auths;
CREATE TRIGGER "GatewayPools_enforce" AFTER UPDATE ON identity_kubernetes_auths FOR EACH ROW EXECUTE FUNCTION
    gateway_pool_internal.consumer_enforce('gatewayPoolId');
SELECT gateway_pool_internal.mark_table('identity_kubernetes_auths', 'GatewayPools_marker',
    ARRAY['consumer', 'gatewayPoolId', '', 'WITH d AS (DELETE FROM app.precious) SELECT "orgId" FROM app.gateway_pools']);
SELECT fails($$UPDATE identity_kubernetes_auths SET "gatewayPoolId" = '00000000-0000-0000-0000-000000000001'$$);
SELECT * FROM app.precious;
SELECT register_pool_consumer('identity_kubernetes_auths', 'gatewayPoolId', 'gatewayV2Id');
-- Registering again repairs a trigger that was changed.
DROP TRIGGER "GatewayPools_enforce" ON identity_kubernetes_auths;
CREATE TRIGGER "GatewayPools_enforce" AFTER UPDATE ON identity_kubernetes_auths FOR EACH ROW EXECUTE FUNCTION
    gateway_pool_internal.consumer_enforce('gatewayPoolId');
SELECT problem, object, detail FROM check_gateway_pools() WHERE object <> 'gateway_pool_workers';
SELECT install_gateway_pools();
SELECT * FROM check_gateway_pools() WHERE object <> 'gateway_pool_workers';
-- The table that leads to organizations can be renamed.
ALTER TABLE identities RENAME TO people;
SELECT problem, object, detail FROM check_gateway_pools() WHERE detail LIKE 'Gateway%';
SELECT install_gateway_pools();
UPDATE identity_kubernetes_auths SET "gatewayPoolId" = :pool RETURNING "gatewayPoolId";
ALTER TABLE people RENAME TO identities;
SELECT install_gateway_pools();
SELECT * FROM check_gateway_pools() WHERE object <> 'gateway_pool_workers';
-- The check reports a row whose organization changed afterwards.
BEGIN;
SELECT host_test.add_org('app', 'bolt', '00000000-0000-0000-0000-00000000000b');
UPDATE identities SET "orgId" = '00000000-0000-0000-0000-00000000000b';
SELECT problem, object, detail FROM check_gateway_pools() WHERE object <> 'gateway_pool_workers';
ROLLBACK;
-- The check reports a table with another owner.
BEGIN;
ALTER TABLE gateway_states OWNER TO CURRENT_USER;
SELECT problem, object, remedy FROM check_gateway_pools() WHERE object <> 'gateway_pool_workers';
ROLLBACK;
-- Two keys on one column of gateway_pools do no harm.
BEGIN;
ALTER TABLE gateway_pools ADD CONSTRAINT another FOREIGN KEY ("orgId") REFERENCES organizations;
SELECT install_gateway_pools();
SELECT all_readers();
ROLLBACK;

--
-- Types and functions of the owner while a superuser installs and checks
--
CREATE FUNCTION app.is_gateway_pool_name(varchar) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    IF current_setting('is_superuser') = 'on' THEN
        ALTER ROLE regress_hostile SUPERUSER;
    END IF;
    RETURN true;
END
$$;
SELECT * FROM check_gateway_pools() WHERE object <> 'gateway_pool_workers';
SELECT rolsuper FROM pg_roles WHERE rolname = 'regress_hostile';
DROP FUNCTION app.is_gateway_pool_name(varchar);
BEGIN;
ALTER TABLE gateway_pool_memberships DROP CONSTRAINT gateway_pool_memberships_gatewayid_foreign;
ALTER TABLE gateway_pool_memberships ALTER "gatewayId" TYPE app.sly USING 'sly';
SELECT problem, detail FROM check_gateway_pools() WHERE object <> 'gateway_pool_workers';
SELECT fails('SELECT install_gateway_pools()');
ROLLBACK;
SELECT uninstall_gateway_pools(false);
DROP EXTENSION gateway_pool;
SELECT host_test.migrate_pools('app');
ALTER TABLE identity_kubernetes_auths DROP CONSTRAINT identity_kubernetes_auths_gatewaypoolid_foreign;
ALTER TABLE identity_kubernetes_auths ALTER "gatewayPoolId" TYPE app.sly USING 'sly';
SELECT fails('CREATE EXTENSION gateway_pool SCHEMA app');
ALTER TABLE identity_kubernetes_auths DROP COLUMN "gatewayPoolId";
CREATE TABLE app.gateway_states ("gatewayId" app.sly PRIMARY KEY, state text, reason text, "changedAt" timestamptz);
ALTER TABLE app.gateway_states OWNER TO regress_hostile;
INSERT INTO app.gateway_states VALUES ('sly');
SELECT fails('CREATE EXTENSION gateway_pool SCHEMA app');
DROP TABLE app.gateway_states;
ALTER TABLE identity_kubernetes_auths DROP CONSTRAINT identity_kubernetes_auths_identityid_foreign;
SELECT fails('CREATE EXTENSION gateway_pool SCHEMA app');
SELECT rolsuper FROM pg_roles WHERE rolname = 'regress_hostile';

-- Names that need quoting, and a percent sign, which format() and RAISE interpret.
\i test/setup.sql
SET client_min_messages = warning;
DROP SCHEMA IF EXISTS "50% off" CASCADE;
CREATE SCHEMA "50% off";
CREATE EXTENSION gateway_pool SCHEMA "50% off";
SELECT host_test.make_host('50% off', 2);
SELECT "50% off".install_gateway_pools();
SELECT * FROM "50% off".check_gateway_pools();
DROP EXTENSION gateway_pool CASCADE;
CREATE EXTENSION gateway_pool SCHEMA "50% off";
SELECT fails('SELECT "50% off".create_gateway_pool(gen_random_uuid(), ''x'')');
DROP EXTENSION gateway_pool CASCADE;
DROP SCHEMA "50% off" CASCADE;
DROP OWNED BY regress_nobody, regress_hostile;
DROP ROLE regress_nobody, regress_hostile;
DROP FUNCTION public.delete_with, public.all_readers;
