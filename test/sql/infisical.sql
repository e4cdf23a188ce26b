\i test/setup.sql
-- The tables of Infisical, registered in one step.
SELECT host_test.make_host('app', 2);
CREATE EXTENSION gateway_pool SCHEMA app;
\set acme '\'00000000-0000-0000-0000-00000000000a\''
\set bolt '\'00000000-0000-0000-0000-00000000000b\''
SELECT host_test.add_org('app', 'acme', :acme), host_test.add_org('app', 'bolt', :bolt);
SELECT host_test.add_gateway('app', :acme, 'g', '0s', '00000000-0000-0000-0000-0000000000a1'),
       host_test.add_gateway('app', :bolt, 'h', '0s', '00000000-0000-0000-0000-0000000000b1');
SELECT set_gateway_pool_entitlement(o, true) FROM unnest(ARRAY[:acme, :bolt]::uuid[]) o;
INSERT INTO gateway_pools (id, "orgId", name) VALUES
    ('00000000-0000-0000-0000-000000000001', :acme, 'x'),
    ('00000000-0000-0000-0000-000000000002', :acme, 'y'),
    ('00000000-0000-0000-0000-000000000003', :bolt, 'other');
INSERT INTO gateway_pool_memberships ("gatewayPoolId", "gatewayId")
SELECT p.id, g.id FROM gateway_pools p JOIN gateways_v2 g USING ("orgId");
INSERT INTO gateways (id, name, "serialNumber", "keyAlgorithm", "issuedAt", expiration, "relayAddress", "identityId")
SELECT '00000000-0000-0000-0000-0000000000d1', 'v1', 's', 'k', now(), now(), '', id FROM identities LIMIT 1;

-- Without the tables: only the first is there.
SELECT * FROM register_infisical_consumers();

-- The worker may not run yet, or wait for locks of this session.
-- Tables that have a pool column, with a foreign key on it or without, are named by the check until they are registered.
SELECT host_test.make_all_consumers('app');
BEGIN;
ALTER TABLE pam_domains DROP CONSTRAINT pam_domains_gatewaypoolid_foreign;
SELECT * FROM check_gateway_pools() WHERE object <> 'gateway_pool_workers';
ROLLBACK;
SELECT * FROM register_infisical_consumers();
SELECT * FROM gateway_pool_consumers() ORDER BY consumer::text;
SELECT * FROM check_gateway_pools() WHERE object <> 'gateway_pool_workers';
-- A second call changes nothing.
CREATE TEMP TABLE parts AS SELECT oid, xmin::text AS version FROM pg_trigger WHERE tgname LIKE 'GatewayPools%';
SELECT registered, reason, count(*) FROM register_infisical_consumers() GROUP BY 1, 2;
SELECT count(*) FROM (SELECT oid, xmin::text FROM pg_trigger WHERE tgname LIKE 'GatewayPools%' EXCEPT SELECT * FROM parts) p;
-- A migration makes one anew.
BEGIN;
DROP TABLE pam_accounts;
CREATE TABLE pam_accounts (id uuid, "folderId" uuid, "gatewayPoolId" uuid);
SELECT problem, object, remedy FROM check_gateway_pools() WHERE object <> 'gateway_pool_workers';
SELECT * FROM register_infisical_consumers() WHERE consumer = 'app.pam_accounts';
SELECT * FROM check_gateway_pools() WHERE object <> 'gateway_pool_workers';
ROLLBACK;

--
-- Tables that cannot be registered stop no others
--
SELECT unregister_pool_consumer(consumer) FROM gateway_pool_consumers();
CREATE ROLE regress_gateway_pool;
GRANT USAGE, CREATE ON SCHEMA app TO regress_gateway_pool;
BEGIN;
ALTER TABLE app_connections OWNER TO regress_gateway_pool;
ALTER TABLE identity_auth_templates RENAME TO templates;
CREATE VIEW identity_auth_templates AS SELECT * FROM templates;
ALTER TABLE dynamic_secrets DROP COLUMN "gatewayPoolId";
ALTER TABLE pki_discovery_configs DROP COLUMN "projectId";
ALTER TABLE pam_domains DROP CONSTRAINT pam_domains_gatewaypoolid_foreign, ALTER COLUMN "gatewayPoolId" TYPE text;
ALTER TABLE pam_account_templates ALTER COLUMN "gatewayId" SET NOT NULL;
ALTER TABLE pam_discovery_sources DROP COLUMN "gatewayId";
-- Another role's view in place of a table that the query reads.
ALTER TABLE pam_folders RENAME TO folders;
CREATE VIEW pam_folders AS SELECT * FROM folders;
ALTER VIEW pam_folders OWNER TO regress_gateway_pool;
SELECT * FROM register_infisical_consumers();
SELECT consumer, gateway_column FROM gateway_pool_consumers() ORDER BY consumer::text;
SELECT problem, object, remedy FROM check_gateway_pools() WHERE object <> 'gateway_pool_workers';
ROLLBACK;
-- An error concerns the whole call.
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT fails('SELECT * FROM register_infisical_consumers()');
ROLLBACK;
SET ROLE regress_gateway_pool;
SELECT public.fails('SELECT * FROM app.register_infisical_consumers()');
RESET ROLE;
REVOKE ALL ON SCHEMA app FROM regress_gateway_pool;
DROP ROLE regress_gateway_pool;
-- Settings of the session have no effect.
SET quote_all_identifiers = on;
-- 19 has no other strings than the standard's.
DO $$
BEGIN
    SET standard_conforming_strings = off;
EXCEPTION WHEN OTHERS THEN
    NULL;
END
$$;
SET search_path = public;
SELECT registered, reason, count(*) FROM app.register_infisical_consumers() GROUP BY 1, 2;
RESET quote_all_identifiers;
RESET standard_conforming_strings;
SET search_path = app, public;
SELECT registered, reason, count(*) FROM register_infisical_consumers() GROUP BY 1, 2;
SELECT count(*), current_setting('lock_timeout') FROM gateway_pool_consumers();

--
-- The rules on all of them
--
CREATE FUNCTION public.id_of(word text) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE word WHEN 'x' THEN '00000000-0000-0000-0000-000000000001'
                     WHEN 'y' THEN '00000000-0000-0000-0000-000000000002'
                     WHEN 'other' THEN '00000000-0000-0000-0000-000000000003'
                     WHEN 'g' THEN '00000000-0000-0000-0000-0000000000a1'
                     WHEN 'h' THEN '00000000-0000-0000-0000-0000000000b1'
                     WHEN 'v' THEN '00000000-0000-0000-0000-0000000000d1' END::uuid
$$;
CREATE FUNCTION public.word_of(id uuid) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT coalesce((SELECT w FROM unnest('{x,y,other,g,h,v}'::text[]) w WHERE id_of(w) = id), '-')
$$;
-- Sets a column of each consumer's row that has it, and returns which consumers have the same result:
-- pool, gateway and the retired gateway of the row, or the error.
CREATE TEMP TABLE results (result text, consumer text);
CREATE FUNCTION public.set_all(kind text, value text) RETURNS TABLE (result text, consumers text) LANGUAGE plpgsql AS $$
DECLARE
    c record;
    written text;
BEGIN
    DELETE FROM results;
    FOR c IN
        SELECT g.consumer, CASE kind WHEN 'pool' THEN g.pool_column ELSE coalesce(g.gateway_column, 'gatewayV2Id') END AS target,
               coalesce(g.gateway_column, 'gatewayV2Id') AS gateway_column,
               CASE WHEN EXISTS (SELECT FROM pg_attribute WHERE attrelid = g.consumer AND attname = 'gatewayId') AND
                         coalesce(g.gateway_column, '') <> 'gatewayId' THEN '"gatewayId"' ELSE 'NULL' END AS retired
          FROM gateway_pool_consumers() g
    LOOP
        BEGIN
            EXECUTE format('UPDATE %s SET %I = public.id_of(%L) RETURNING public.word_of(%I) || '' '' || public.word_of(%I) || '' '' || public.word_of(%s)',
                           c.consumer, c.target, value, 'gatewayPoolId', c.gateway_column, c.retired) INTO written;
        EXCEPTION WHEN OTHERS THEN
            GET STACKED DIAGNOSTICS written = CONSTRAINT_NAME;
            written := SQLSTATE || ' ' || written;
        END;
        INSERT INTO results VALUES (written, c.consumer::text);
    END LOOP;
    RETURN QUERY SELECT r.result, CASE WHEN count(*) > 6 THEN count(*)::text ELSE string_agg(r.consumer, ' ' ORDER BY r.consumer) END
                   FROM results r GROUP BY 1 ORDER BY 1;
END
$$;
SELECT host_test.add_project('app', :acme, 'web', 'a'), host_test.add_project('app', :bolt, 'api', 'b');
SELECT host_test.add_to_all_consumers('app', :acme, 'a', 'n', id_of('x'), id_of('g'));
UPDATE identity_kubernetes_auths SET "gatewayId" = id_of('v');
UPDATE identity_auth_templates SET "gatewayId" = id_of('v');
UPDATE dynamic_secrets SET "gatewayId" = id_of('v');
SELECT name, "connectedResourcesCount" FROM gateway_pool_status ORDER BY name;
SELECT count(*) FROM jsonb_object_keys(get_gateway_pool_resources(:acme, id_of('x')));
SELECT key, jsonb_array_length(value) FROM jsonb_each(get_gateway_pool_resources(:acme, id_of('x'))) ORDER BY key COLLATE "C";

-- One route: pool, gateway, retired gateway.  The table that enrolls gateways is registered without a gateway column.
SELECT * FROM set_all('pool', 'y');
SELECT * FROM set_all('gateway', 'g');
SELECT * FROM set_all('pool', 'x');
-- Another organization's pool and gateway, with the host's foreign keys on gateways and without.
SELECT * FROM set_all('pool', 'other');
SELECT * FROM set_all('gateway', 'h');
BEGIN;
DO $$
DECLARE
    key record;
BEGIN
    FOR key IN SELECT conrelid::regclass AS relation, conname FROM pg_constraint
                WHERE contype = 'f' AND confrelid = 'gateways_v2'::regclass
                  AND conrelid IN (SELECT consumer FROM gateway_pool_consumers())
    LOOP
        EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', key.relation, key.conname);
    END LOOP;
END
$$;
SELECT * FROM set_all('gateway', 'h');
SELECT * FROM set_all('gateway', 'g');
ROLLBACK;
-- The policy.
UPDATE organizations SET "requireGatewayPools" = true;
SELECT * FROM set_all('gateway', 'g');
UPDATE organizations SET "requireGatewayPools" = false;
-- The plan.
UPDATE gateway_pool_entitlements SET "gatewayPool" = false;
SELECT * FROM set_all('pool', 'y');
UPDATE gateway_pool_entitlements SET "gatewayPool" = true;
-- The deletion guard names all.
SELECT fails('DELETE FROM gateway_pools WHERE name = ''x''');
SELECT * FROM check_gateway_pools() WHERE object <> 'gateway_pool_workers';
SELECT "eventType", count(*) FROM gateway_pool_audit_logs WHERE "eventType" LIKE '%tach' GROUP BY 1 ORDER BY 1;

-- An organization whose pools RESTRICT keys of the host reference cannot be deleted, with the extension and without it:
-- 23503, from 18 on 23001.
BEGIN;
CREATE TEMP TABLE errors AS SELECT fails('DELETE FROM organizations WHERE name = ''acme''') AS line;
SELECT substr(line, 7) FROM errors WHERE line ~ '^23';
SELECT uninstall_gateway_pools();
SELECT * FROM errors EXCEPT SELECT fails('DELETE FROM organizations WHERE name = ''acme''');
ROLLBACK;
UPDATE app_connections SET "gatewayPoolId" = NULL;
UPDATE dynamic_secrets SET "gatewayPoolId" = NULL;
UPDATE pki_discovery_configs SET "gatewayPoolId" = NULL;
UPDATE pam_domains SET "gatewayPoolId" = NULL;
UPDATE pam_resources SET "gatewayPoolId" = NULL;
UPDATE agent_gateways SET "gatewayPoolId" = NULL;
DELETE FROM hsm_connectors;
BEGIN;
DELETE FROM organizations WHERE name = 'acme';
SET CONSTRAINTS ALL IMMEDIATE;
SELECT count(*) FROM resource_kubernetes_auths;
ROLLBACK;

-- A pool that SET NULL keys alone reference is not deleted; without the extension, it is.
UPDATE pam_accounts SET "gatewayPoolId" = id_of('y');
SELECT fails('DELETE FROM gateway_pools WHERE name = ''y''');
BEGIN;
SELECT uninstall_gateway_pools();
DELETE FROM gateway_pools WHERE name = 'y';
SELECT count(*), count("gatewayPoolId") FROM pam_accounts;
ROLLBACK;
-- The rows, as README finds them.
SELECT r.consumer, row ->> 'id' = (SELECT id::text FROM pam_accounts) AS is_the_account
  FROM jsonb_each(get_gateway_pool_resources(:acme, id_of('y'))) r (consumer, rows), jsonb_path_query(r.rows, '$[*]') row;
UPDATE pam_accounts SET "gatewayPoolId" = NULL;
DELETE FROM gateway_pools WHERE name = 'y';

-- A member that registers again through another organization is refused, and accepted after it has left its pools.
SELECT fails(format('UPDATE gateways_v2 SET "orgId" = %L WHERE id = id_of(''g'')', :bolt));
BEGIN;
DELETE FROM gateway_pool_memberships WHERE "gatewayId" = id_of('g');
UPDATE gateways_v2 SET "orgId" = :bolt WHERE id = id_of('g') RETURNING name;
ROLLBACK;
DROP FUNCTION public.set_all, public.word_of, public.id_of;

--
-- Infisical's role owns the tables, and the extension has a schema of its own
--
SET client_min_messages = warning;
DROP EXTENSION gateway_pool CASCADE;
DROP SCHEMA app CASCADE;
RESET client_min_messages;
CREATE ROLE regress_infisical;
SELECT host_test.make_host('app', 2, 'regress_infisical');
CREATE SCHEMA regress_pool;
GRANT USAGE ON SCHEMA regress_pool TO PUBLIC;
CREATE EXTENSION gateway_pool SCHEMA regress_pool;
SELECT regress_pool.install_gateway_pools('app.organizations', 'app.gateways_v2');
SELECT host_test.make_all_consumers('app');
SET ROLE regress_infisical;
SELECT registered, reason, count(*) FROM regress_pool.register_infisical_consumers() GROUP BY 1, 2 ORDER BY 1, 2;
SELECT * FROM regress_pool.check_gateway_pools() WHERE object <> 'gateway_pool_workers';
RESET ROLE;
SELECT registered, reason, count(*) FROM regress_pool.register_infisical_consumers() GROUP BY 1, 2 ORDER BY 1, 2;
SET client_min_messages = warning;
DROP EXTENSION gateway_pool CASCADE;
DROP SCHEMA app, regress_pool CASCADE;
DROP OWNED BY regress_infisical;
DROP ROLE regress_infisical;
