\i test/setup.sql
-- The audit log: one row per change, however it is made; none for changes that are rolled back.
SELECT host_test.make_host('app', 2);
CREATE EXTENSION gateway_pool SCHEMA app;
SELECT host_test.make_other_consumers('app');
SELECT register_pool_consumer('app_connections', gateway_column => 'gatewayId');
SELECT host_test.add_org('app', 'acme', '00000000-0000-0000-0000-00000000000a'),
       host_test.add_org('app', 'bolt', '00000000-0000-0000-0000-00000000000b');
SELECT host_test.add_gateway('app', '00000000-0000-0000-0000-00000000000a', 'g' || i, '0s', ('00000000-0000-0000-0000-0000000000a' || i)::uuid)
  FROM generate_series(1, 3) i;
SELECT set_gateway_pool_entitlement(id, true) FROM organizations;
SELECT host_test.add_kubernetes_auth('app', '00000000-0000-0000-0000-00000000000a', 'k', '00000000-0000-0000-0000-0000000000c1');
SELECT host_test.add_app_connection('app', '00000000-0000-0000-0000-00000000000a', 'db', NULL, '00000000-0000-0000-0000-0000000000f1');

-- Returns the rows since the last call; ids by their last digits.
CREATE TABLE public.seen AS SELECT coalesce(max(id), 0) AS id FROM gateway_pool_audit_logs;
CREATE FUNCTION public.logged() RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
    RETURN QUERY
        SELECT concat_ws(' ', coalesce(right("orgId"::text, 1), '-'), "eventType",
                         (SELECT string_agg(m.key || '=' || coalesce(regexp_replace(m.value, '^[-0]+(?=.)', ''), 'null'), ' ' ORDER BY m.place)
                            FROM jsonb_each_text("eventMetadata") WITH ORDINALITY m (key, value, place)))
          FROM gateway_pool_audit_logs l WHERE l.id > (SELECT s.id FROM public.seen s) ORDER BY l."eventType", l."eventMetadata"::text;
    UPDATE public.seen s SET id = (SELECT max(l.id) FROM gateway_pool_audit_logs l);
END
$$;

--
-- Changes by functions
--
SELECT name FROM create_gateway_pool('00000000-0000-0000-0000-00000000000a', ' X ');
UPDATE gateway_pools SET id = '00000000-0000-0000-0000-000000000001';
SELECT regexp_replace(l, '[0-9a-f]+(-[0-9a-f]+){3,}', '...', 'g') FROM logged() l;
SELECT name FROM update_gateway_pool('00000000-0000-0000-0000-00000000000a', '00000000-0000-0000-0000-000000000001', 'y');
SELECT * FROM logged();
SELECT name FROM update_gateway_pool('00000000-0000-0000-0000-00000000000a', '00000000-0000-0000-0000-000000000001', 'y');
SELECT name FROM update_gateway_pool('00000000-0000-0000-0000-00000000000a', '00000000-0000-0000-0000-000000000001', NULL);
SELECT * FROM logged();
SELECT weight FROM add_gateway_to_pool('00000000-0000-0000-0000-00000000000a', '00000000-0000-0000-0000-000000000001', '00000000-0000-0000-0000-0000000000a1', 3);
SELECT * FROM logged();
SELECT "gatewayId" FROM remove_gateway_from_pool('00000000-0000-0000-0000-00000000000a', '00000000-0000-0000-0000-000000000001', '00000000-0000-0000-0000-0000000000a1');
SELECT * FROM logged();
SELECT set_gateway_state('00000000-0000-0000-0000-0000000000a1', 'active');
SELECT * FROM logged();
SELECT set_gateway_state('00000000-0000-0000-0000-0000000000a1', 'draining', 'new kernel');
SELECT * FROM logged();
SELECT set_gateway_state('00000000-0000-0000-0000-0000000000a1', 'draining', 'new kernel');
SELECT set_gateway_state('00000000-0000-0000-0000-0000000000a1', 'active');
SELECT * FROM logged();
SELECT name FROM delete_gateway_pool('00000000-0000-0000-0000-00000000000a', '00000000-0000-0000-0000-000000000001');
SELECT * FROM logged();

--
-- Changes by plain statements: INSERT, ON CONFLICT, UPDATE, DELETE, COPY, MERGE
--
INSERT INTO gateway_pools (id, "orgId", name) VALUES ('00000000-0000-0000-0000-000000000001', '00000000-0000-0000-0000-00000000000a', 'x'),
    ('00000000-0000-0000-0000-000000000002', '00000000-0000-0000-0000-00000000000a', 'y');
SELECT * FROM logged();
INSERT INTO gateway_pools (id, "orgId", name) VALUES ('00000000-0000-0000-0000-000000000001', '00000000-0000-0000-0000-00000000000a', 'x') ON CONFLICT DO NOTHING;
INSERT INTO gateway_pools (id, "orgId", name) VALUES ('00000000-0000-0000-0000-000000000001', '00000000-0000-0000-0000-00000000000a', 'x')
    ON CONFLICT (id) DO UPDATE SET name = 'x-2';
SELECT * FROM logged();
COPY gateway_pool_memberships ("gatewayPoolId", "gatewayId") FROM stdin;
00000000-0000-0000-0000-000000000001	00000000-0000-0000-0000-0000000000a1
00000000-0000-0000-0000-000000000001	00000000-0000-0000-0000-0000000000a2
\.
SELECT * FROM logged();
UPDATE gateway_pool_memberships SET "pickWeight" = 5, "pickPriority" = 1 WHERE "gatewayId" = '00000000-0000-0000-0000-0000000000a1';
UPDATE gateway_pool_memberships SET "pickWeight" = "pickWeight", "updatedAt" = now();
SELECT * FROM logged();
UPDATE gateway_pool_memberships SET "gatewayPoolId" = '00000000-0000-0000-0000-000000000002' WHERE "gatewayId" = '00000000-0000-0000-0000-0000000000a2';
UPDATE gateway_pool_memberships SET "gatewayId" = '00000000-0000-0000-0000-0000000000a3' WHERE "gatewayId" = '00000000-0000-0000-0000-0000000000a2';
SELECT * FROM logged();
SELECT current_setting('server_version_num')::int >= 150000 AS has_merge \gset
\if :has_merge
MERGE INTO gateway_pool_memberships m USING (VALUES ('00000000-0000-0000-0000-0000000000a1'::uuid, 7), ('00000000-0000-0000-0000-0000000000a2', 8)) v (g, w)
    ON m."gatewayId" = v.g WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT ("gatewayPoolId", "gatewayId", "pickWeight")
    VALUES ('00000000-0000-0000-0000-000000000001', v.g, v.w);
\endif
SELECT * FROM logged();
UPDATE gateway_pools SET "orgId" = '00000000-0000-0000-0000-00000000000b' WHERE false;
-- A pool without members moves; the row belongs to the new organization.
INSERT INTO gateway_pools (id, "orgId", name) VALUES ('00000000-0000-0000-0000-000000000003', '00000000-0000-0000-0000-00000000000a', 'mover');
UPDATE gateway_pools SET "orgId" = '00000000-0000-0000-0000-00000000000b', name = 'moved' WHERE name = 'mover';
SELECT * FROM logged();
DELETE FROM gateway_states;
INSERT INTO gateway_states VALUES ('00000000-0000-0000-0000-0000000000a2', 'maintenance', NULL);
DELETE FROM gateway_states;
SELECT * FROM logged();

--
-- Probes, entitlements and tenants
--
SELECT set_gateway_probe('00000000-0000-0000-0000-0000000000a1', 'https', 'gw1.test:443', path => '/health', expected_status => '200-299',
                         ca_certificate => E'-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n', probe_interval => '2 s');
SELECT * FROM logged();
SELECT "eventMetadata" ->> 'caCertificateSha256' = encode(sha256(E'-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n'), 'hex')
  FROM gateway_pool_audit_logs ORDER BY id DESC LIMIT 1;
-- Set again, nothing changes.
SELECT set_gateway_probe('00000000-0000-0000-0000-0000000000a1', 'https', 'gw1.test:443', path => '/health', expected_status => '200-299',
                         ca_certificate => E'-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n', probe_interval => '2 s');
SELECT * FROM logged();
SELECT set_gateway_probe('00000000-0000-0000-0000-0000000000a1', 'tcp', 'gw2.test:443', required => false);
SELECT * FROM logged();
SELECT clear_gateway_probe('00000000-0000-0000-0000-0000000000a1');
SELECT * FROM logged();
SELECT set_gateway_pool_entitlement('00000000-0000-0000-0000-00000000000a', true, 3, expires_at => '2100-01-01 00:00+00');
SELECT set_gateway_pool_entitlement('00000000-0000-0000-0000-00000000000a', true, 3, expires_at => '2100-01-01 00:00+00');
SELECT * FROM logged();
DELETE FROM gateway_pool_entitlements WHERE "orgId" = '00000000-0000-0000-0000-00000000000a';
SELECT * FROM logged();
SELECT set_gateway_pool_entitlement('00000000-0000-0000-0000-00000000000a', true);
SELECT * FROM logged();
INSERT INTO gateway_pool_tenants VALUES ('regress_tenant', '00000000-0000-0000-0000-00000000000a');
UPDATE gateway_pool_tenants SET "roleName" = 'regress_other';
UPDATE gateway_pool_tenants SET "orgId" = '00000000-0000-0000-0000-00000000000b';
UPDATE gateway_pool_tenants SET "roleName" = "roleName";
DELETE FROM gateway_pool_tenants;
SELECT * FROM logged();
-- TRUNCATE, and the deletion of the organization or the gateway.
BEGIN;
INSERT INTO gateway_pool_tenants VALUES ('regress_tenant', '00000000-0000-0000-0000-00000000000a');
SELECT set_gateway_probe('00000000-0000-0000-0000-0000000000a1', 'tcp', 'gw1.test:1'), set_gateway_probe('00000000-0000-0000-0000-0000000000a3', 'tcp', 'gw3.test:1');
SELECT count(*) FROM logged();
SAVEPOINT a;
TRUNCATE gateway_probes, gateway_pool_entitlements, gateway_pool_tenants;
SELECT * FROM logged();
ROLLBACK TO a;
DELETE FROM gateways_v2 WHERE name = 'g3';
SELECT * FROM logged();
DELETE FROM organizations WHERE name = 'acme';
SELECT * FROM logged() l WHERE l ~ 'tenant|entitlement|probe';
ROLLBACK;

--
-- Consumers
--
UPDATE identity_kubernetes_auths SET "gatewayPoolId" = '00000000-0000-0000-0000-000000000001';
SELECT * FROM logged();
UPDATE identity_kubernetes_auths SET "gatewayPoolId" = '00000000-0000-0000-0000-000000000002', "allowedNames" = 'a';
UPDATE identity_kubernetes_auths SET "allowedNames" = 'b', "gatewayPoolId" = "gatewayPoolId";
SELECT * FROM logged();
UPDATE identity_kubernetes_auths SET "gatewayV2Id" = '00000000-0000-0000-0000-0000000000a1';
SELECT * FROM logged();
UPDATE app_connections SET "gatewayPoolId" = '00000000-0000-0000-0000-000000000001';
DELETE FROM app_connections;
SELECT host_test.add_app_connection('app', '00000000-0000-0000-0000-00000000000a', 'db', '00000000-0000-0000-0000-000000000001', '00000000-0000-0000-0000-0000000000f1');
SELECT * FROM logged();

--
-- No row for changes that are refused or rolled back, entirely or in part
--
SELECT fails($$DELETE FROM gateway_pools WHERE id = '00000000-0000-0000-0000-000000000001'$$);
SELECT fails($$INSERT INTO gateway_pools ("orgId", name) VALUES ('00000000-0000-0000-0000-00000000000a', 'Bad Name')$$);
BEGIN;
UPDATE gateway_pools SET name = name || '-r';
ROLLBACK;
BEGIN;
INSERT INTO gateway_pools (id, "orgId", name) VALUES ('00000000-0000-0000-0000-000000000004', '00000000-0000-0000-0000-00000000000a', 'kept');
SAVEPOINT s;
UPDATE gateway_pools SET name = 'not-kept' WHERE name = 'kept';
ROLLBACK TO s;
COMMIT;
SELECT * FROM logged();

--
-- Cascades of a gateway, a pool and an organization, with the deleted names
--
DELETE FROM gateways_v2 WHERE name = 'g3';
SELECT * FROM logged();
INSERT INTO gateway_pool_memberships ("gatewayPoolId", "gatewayId") SELECT '00000000-0000-0000-0000-000000000004', id FROM gateways_v2;
SELECT count(*) FROM logged();
DELETE FROM gateway_pools WHERE name = 'kept';
SELECT * FROM logged();
-- With the guard disabled, the foreign key's own action is logged too.
UPDATE identity_kubernetes_auths SET "gatewayPoolId" = '00000000-0000-0000-0000-000000000002';
SELECT count(*) FROM logged();
ALTER TABLE gateway_pools DISABLE TRIGGER "GatewayPools_refuse_delete";
DELETE FROM gateway_pools WHERE name = 'y';
ALTER TABLE gateway_pools ENABLE TRIGGER "GatewayPools_refuse_delete";
SELECT * FROM logged();
UPDATE identity_kubernetes_auths SET "gatewayPoolId" = '00000000-0000-0000-0000-000000000001';
SELECT count(*) FROM logged();
SELECT "gatewayId", name FROM gateway_pool_members ORDER BY name;
SELECT set_gateway_state('00000000-0000-0000-0000-0000000000a1', 'draining');
SELECT * FROM logged();
DELETE FROM organizations WHERE name = 'acme';
SELECT * FROM logged();

--
-- TRUNCATE is logged row by row
--
SELECT host_test.add_org('app', 'acme', '00000000-0000-0000-0000-00000000000a');
SELECT set_gateway_pool_entitlement('00000000-0000-0000-0000-00000000000a', true);
SELECT host_test.add_gateway('app', '00000000-0000-0000-0000-00000000000a', 'g1', '0s', '00000000-0000-0000-0000-0000000000a1');
SELECT host_test.add_kubernetes_auth('app', '00000000-0000-0000-0000-00000000000a', 'k', '00000000-0000-0000-0000-0000000000c1');
INSERT INTO gateway_pools (id, "orgId", name) VALUES ('00000000-0000-0000-0000-000000000001', '00000000-0000-0000-0000-00000000000a', 'x');
INSERT INTO gateway_pool_memberships ("gatewayPoolId", "gatewayId") SELECT '00000000-0000-0000-0000-000000000001', id FROM gateways_v2;
UPDATE identity_kubernetes_auths SET "gatewayPoolId" = '00000000-0000-0000-0000-000000000001';
INSERT INTO gateway_states SELECT id, 'draining' FROM gateways_v2;
SELECT count(*) FROM logged();
BEGIN;
TRUNCATE gateway_pool_memberships, gateway_states;
SELECT * FROM logged();
ROLLBACK;
TRUNCATE identity_kubernetes_auths;
SELECT * FROM logged();
SET client_min_messages = warning;
TRUNCATE gateway_pools CASCADE;
RESET client_min_messages;
SELECT * FROM logged();

--
-- A statement that deletes members before their pool or gateway; a pool and a gateway with the same id
--
SET client_min_messages = warning;
TRUNCATE gateway_pools CASCADE;
RESET client_min_messages;
INSERT INTO gateway_pools (id, "orgId", name) VALUES ('00000000-0000-0000-0000-000000000001', '00000000-0000-0000-0000-00000000000a', 'x'),
    ('00000000-0000-0000-0000-0000000000a1', '00000000-0000-0000-0000-00000000000a', 'twin');
INSERT INTO gateway_pool_memberships ("gatewayPoolId", "gatewayId") SELECT p.id, g.id FROM gateway_pools p CROSS JOIN gateways_v2 g;
SELECT count(*) > 0 FROM logged();
BEGIN;
WITH m AS (DELETE FROM gateway_pool_memberships RETURNING 1),
     p AS (DELETE FROM gateway_pools WHERE name = 'x' AND (SELECT count(*) FROM m) > 0 RETURNING 1),
     g AS (DELETE FROM gateways_v2 WHERE (SELECT count(*) FROM p) > 0 RETURNING 1)
SELECT count(*) FROM g;
SELECT * FROM logged();
ROLLBACK;
BEGIN;
DELETE FROM organizations WHERE name = 'acme';
SELECT * FROM logged();
ROLLBACK;
DELETE FROM gateway_pools;
SELECT count(*) FROM logged();

-- A host whose gateways table has no name column can still delete gateways.
INSERT INTO gateway_pools (id, "orgId", name) VALUES ('00000000-0000-0000-0000-000000000001', '00000000-0000-0000-0000-00000000000a', 'x');
INSERT INTO gateway_pool_memberships ("gatewayPoolId", "gatewayId") SELECT '00000000-0000-0000-0000-000000000001', id FROM gateways_v2;
SELECT count(*) FROM logged();
BEGIN;
ALTER TABLE gateways_v2 RENAME name TO label;
DELETE FROM gateways_v2;
SELECT * FROM logged();
ROLLBACK;
-- A trigger of the host deletes the members first, in a statement that does not see the gateway any more.
BEGIN;
CREATE FUNCTION host_deletes_members() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM app.gateway_pool_memberships WHERE "gatewayId" = OLD.id;
    RETURN NULL;
END $$;
CREATE TRIGGER "H_members" AFTER DELETE ON gateways_v2 FOR EACH ROW EXECUTE FUNCTION host_deletes_members();
DELETE FROM gateways_v2;
SELECT * FROM logged();
ROLLBACK;
DELETE FROM gateway_pools;
SELECT count(*) FROM logged();

--
-- Who made a change
--
CREATE ROLE regress_editor;
GRANT regress_editor TO CURRENT_USER;
GRANT USAGE ON SCHEMA app TO regress_editor;
GRANT SELECT, INSERT, UPDATE, DELETE ON gateway_pools TO regress_editor;
SET gateway_pool.actor = 'user 4711 "O''Brien" \ ☃';
SET ROLE regress_editor;
INSERT INTO gateway_pools (id, "orgId", name) VALUES ('00000000-0000-0000-0000-000000000001', '00000000-0000-0000-0000-00000000000a', 'x');
DELETE FROM gateway_pools;
RESET ROLE;
RESET gateway_pool.actor;
INSERT INTO gateway_pools (id, "orgId", name) VALUES ('00000000-0000-0000-0000-000000000001', '00000000-0000-0000-0000-00000000000a', 'x');
SELECT "eventType", actor, "sessionUser" = session_user AS session, "currentUser" = session_user AS myself, "createdAt" > now() - interval '1 minute' AS now
  FROM gateway_pool_audit_logs ORDER BY id DESC LIMIT 3;
SELECT "currentUser" FROM gateway_pool_audit_logs WHERE actor IS NOT NULL GROUP BY 1;
-- Granting and revoking, if it changes anything.
SELECT count(*) FROM logged();
SELECT grant_gateway_pool_access('regress_editor', '{edit,list,pick}');
SELECT grant_gateway_pool_access('regress_editor', '{list}');
SELECT * FROM logged();
SELECT revoke_gateway_pool_access('regress_editor', '{edit}');
SELECT revoke_gateway_pool_access('regress_editor', '{edit,create}');
SELECT fails($$SELECT grant_gateway_pool_access('regress_editor', '{create,everything}')$$);
SELECT * FROM logged();
-- An actor has at most 256 bytes and no control characters.
SELECT fails($$SET gateway_pool.actor = E'a\nb'$$);
SELECT fails($$SET gateway_pool.actor = E'a\u009bb'$$);
SELECT right(fails($$SELECT set_config('gateway_pool.actor', repeat('a', 257), false)$$), 60);
SELECT length(set_config('gateway_pool.actor', repeat('a', 256), false));
RESET gateway_pool.actor;

--
-- The log is append-only, also for the owner and a superuser
--
SELECT count(*) > 0 FROM gateway_pool_audit_logs;
SELECT s, fails(s) FROM unnest(ARRAY[
    $$INSERT INTO gateway_pool_audit_logs ("orgId", "eventType", "eventMetadata") VALUES (NULL, 'gateway-pool-create', '{}')$$,
    $$UPDATE gateway_pool_audit_logs SET actor = 'somebody else'$$, $$DELETE FROM gateway_pool_audit_logs$$,
    $$TRUNCATE gateway_pool_audit_logs$$]) s;
-- Also within a change that is logged.
CREATE FUNCTION public.forge() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO app.gateway_pool_audit_logs ("eventType", "eventMetadata") VALUES ('forged', '{}');
    RETURN NEW;
END
$$;
CREATE TRIGGER forge BEFORE UPDATE ON gateway_pools FOR EACH ROW EXECUTE FUNCTION public.forge();
SELECT fails($$UPDATE gateway_pools SET name = 'z'$$);
DROP TRIGGER forge ON gateway_pools;
-- If a row cannot be written to the log, the change fails.
CREATE FUNCTION public.swallow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER swallow BEFORE INSERT ON gateway_pool_audit_logs FOR EACH ROW EXECUTE FUNCTION public.swallow();
SELECT fails($$UPDATE gateway_pools SET name = 'z'$$);
DROP TRIGGER swallow ON gateway_pool_audit_logs;
-- The trigger functions work only on their own tables.
CREATE TABLE public.stray (id uuid, "orgId" uuid, name text, "gatewayPoolId" uuid);
CREATE TRIGGER t AFTER INSERT ON public.stray FOR EACH ROW EXECUTE FUNCTION gateway_pool_internal.pools_audit();
SELECT fails($$INSERT INTO public.stray VALUES (gen_random_uuid())$$);
DROP TRIGGER t ON public.stray;
CREATE TRIGGER t AFTER INSERT ON public.stray FOR EACH ROW EXECUTE FUNCTION gateway_pool_internal.consumer_audit('gatewayPoolId');
SELECT fails($$INSERT INTO public.stray VALUES (gen_random_uuid())$$);
DROP TRIGGER t ON public.stray;
CREATE TRIGGER t BEFORE INSERT ON public.stray FOR EACH ROW EXECUTE FUNCTION gateway_pool_internal.consumer_audit('gatewayPoolId');
SELECT fails($$INSERT INTO public.stray VALUES (gen_random_uuid())$$);
DROP TABLE public.stray;
SELECT fails('SELECT gateway_pool_internal.pools_audit()'), fails('SELECT gateway_pool_internal.audit_logs_refuse()');
-- The rows survive the extension, and new ones follow after it is created again.
SELECT count(*) AS rows FROM gateway_pool_audit_logs \gset
SET client_min_messages = warning;
DROP EXTENSION gateway_pool CASCADE;
CREATE EXTENSION gateway_pool SCHEMA app;
RESET client_min_messages;
SELECT count(*) = :rows FROM gateway_pool_audit_logs;
UPDATE gateway_pools SET name = 'again';
SELECT * FROM logged();
SELECT fails('DELETE FROM gateway_pool_audit_logs');

DROP OWNED BY regress_editor;
DROP ROLE regress_editor;
DROP TABLE public.seen;
DROP FUNCTION public.logged, public.forge, public.swallow;
