\i test/setup.sql
-- Installing, adopting, uninstalling.
SET client_min_messages = warning;
-- Returns the objects of gateway pools that are not members of the extension.
CREATE FUNCTION public.parts(schema text DEFAULT 'app') RETURNS SETOF text LANGUAGE sql AS $$
    SELECT format('table %s of %s', c.relname, c.relowner::regrole)
      FROM pg_class c WHERE c.relnamespace = schema::regnamespace AND c.relkind = 'r' AND c.relname ~ '^gateway_'
    UNION ALL
    SELECT format('%s %s', t.tgrelid::regclass::text, t.tgname)
      FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
     WHERE c.relnamespace = schema::regnamespace AND NOT t.tgisinternal AND (t.tgname ~ '^GatewayPools' OR c.relname ~ '^gateway_')
    UNION ALL
    SELECT format('%s: %s', k.conname, pg_get_constraintdef(k.oid))
      FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid
     WHERE c.relnamespace = schema::regnamespace AND (c.relname ~ '^gateway_' OR k.conname ~ 'gatewaypoolid')
       AND k.contype <> 'n' -- there from 18 on
     ORDER BY 1
$$;
CREATE FUNCTION public.members() RETURNS TABLE (kind text, n bigint) LANGUAGE sql AS $$
    SELECT d.classid::regclass::text, count(*) FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid
     WHERE d.refclassid = 'pg_extension'::regclass AND e.extname = 'gateway_pool' AND d.deptype = 'e'
       AND d.classid <> 'pg_type'::regclass -- from 17 on, the row types of views too
     GROUP BY 1 ORDER BY 1
$$;

--
-- In a host's schema, install creates everything; only functions and views are members
--
SELECT host_test.make_host('app', 0);
CREATE EXTENSION gateway_pool SCHEMA app;
SET search_path = app, public;
SELECT parts();
SELECT kind FROM members();
SELECT relkind, count(*) FROM pg_class WHERE relnamespace = 'app'::regnamespace AND relkind = 'v' GROUP BY 1;
SELECT count(*) FROM check_gateway_pools() WHERE object <> 'gateway_pool_workers';
-- Installing again changes nothing.
CREATE TABLE public.before AS SELECT oid, relname FROM pg_class WHERE relnamespace = 'app'::regnamespace;
SELECT install_gateway_pools();
SELECT count(*) FROM public.before FULL JOIN pg_class c USING (oid) WHERE c.relnamespace = 'app'::regnamespace AND before.oid IS NULL;
DROP TABLE public.before;
SHOW lock_timeout;
-- Every object has a comment, and every column of the views and of the tables.
SELECT 'without a comment: ' || pg_describe_object(d.classid, d.objid, 0)
  FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid
 WHERE e.extname = 'gateway_pool' AND d.deptype = 'e' AND d.classid IN ('pg_proc'::regclass, 'pg_class'::regclass)
   AND obj_description(d.objid, d.classid::regclass::name) IS NULL;
SELECT 'without a comment: ' || relname FROM pg_class
 WHERE relnamespace = 'app'::regnamespace AND relkind = 'r' AND relname ~ '^gateway_(p|s)' AND obj_description(oid, 'pg_class') IS NULL;
SELECT format('without a comment: %s.%I', a.attrelid::regclass, a.attname)
  FROM pg_attribute a
 WHERE (a.attrelid = ANY (gateway_pool_internal.our_tables())
        OR a.attrelid IN (SELECT d.objid FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid
                           WHERE e.extname = 'gateway_pool' AND d.deptype = 'e' AND d.classid = 'pg_class'::regclass))
   AND a.attnum > 0 AND NOT a.attisdropped AND col_description(a.attrelid, a.attnum) IS NULL;
-- No column, default or key of the tables depends on the extension: dropping it drops only triggers.
SELECT fails('DROP EXTENSION gateway_pool') LIMIT 2;
DROP EXTENSION gateway_pool CASCADE;
SELECT parts();
CREATE EXTENSION gateway_pool SCHEMA app;
SELECT count(*) FROM parts();
SELECT count(*) FROM check_gateway_pools() WHERE object <> 'gateway_pool_workers';

--
-- Uninstalling
--
SELECT host_test.add_org('app', 'acme', '00000000-0000-0000-0000-00000000000a');
SELECT set_gateway_pool_entitlement('00000000-0000-0000-0000-00000000000a', true);
SELECT name FROM create_gateway_pool('00000000-0000-0000-0000-00000000000a', 'eu');
SELECT uninstall_gateway_pools();
SELECT count(*) FROM parts() p WHERE p ~ 'GatewayPools';
SELECT name FROM gateway_pools;
DROP EXTENSION gateway_pool;
CREATE EXTENSION gateway_pool SCHEMA app;
SELECT count(*) FROM check_gateway_pools() WHERE object <> 'gateway_pool_workers';
SELECT count(*) FROM gateway_pool_entitlements;
SELECT uninstall_gateway_pools(keep_data => false);
SELECT parts();
SELECT count(*) FROM pg_attribute WHERE attrelid = 'identity_kubernetes_auths'::regclass AND attname = 'gatewayPoolId';
SELECT fails($$SELECT pick_healthy_gateway(gen_random_uuid())$$);
SELECT fails($$SELECT create_gateway_pool(gen_random_uuid(), 'x')$$);
SELECT fails($$SELECT set_gateway_pool_entitlement(gen_random_uuid(), true)$$);
SELECT fails($$SELECT set_gateway_state(gen_random_uuid(), 'active')$$);
SELECT fails($$SELECT * FROM gateway_pool_status$$);
-- The host can still write.
UPDATE organizations SET name = 'acme';
SELECT host_test.add_gateway('app', '00000000-0000-0000-0000-00000000000a', 'g', '0', '00000000-0000-0000-0000-0000000000a1');
UPDATE gateways_v2 SET heartbeat = now();
SELECT install_gateway_pools();
SELECT count(*) FROM check_gateway_pools() WHERE object <> 'gateway_pool_workers';
-- A table that references pools by a key of the host's blocks uninstalling.
SELECT host_test.make_other_consumers('app');
SELECT fails('SELECT uninstall_gateway_pools(false)') LIMIT 2;
SELECT count(*) > 0 FROM parts() p WHERE p ~ 'GatewayPools';

--
-- Host tables that are created after the extension, are missing, are in another schema, or have other names
--
\i test/setup.sql
SET client_min_messages = warning;
CREATE SCHEMA app;
CREATE EXTENSION gateway_pool SCHEMA app;
SELECT fails('SELECT install_gateway_pools()');
SELECT * FROM check_gateway_pools() WHERE object <> 'gateway_pool_workers';
SELECT host_test.make_host('app', 2);
SELECT install_gateway_pools();
SELECT count(*) FROM check_gateway_pools() WHERE object <> 'gateway_pool_workers';
DROP SCHEMA IF EXISTS elsewhere CASCADE;
SELECT host_test.make_host('elsewhere', 2);
SELECT fails($$SELECT install_gateway_pools('elsewhere.organizations', 'elsewhere.gateways_v2', 'elsewhere.identity_kubernetes_auths')$$);
DROP SCHEMA elsewhere CASCADE;

\i test/setup.sql
SET client_min_messages = warning;
SELECT host_test.make_host('app', 2);
ALTER TABLE app.organizations RENAME TO tenants;
ALTER TABLE app.gateways_v2 RENAME TO agents;
ALTER TABLE app.identity_kubernetes_auths RENAME TO cluster_auths;
CREATE EXTENSION gateway_pool SCHEMA app;
SELECT fails('SELECT install_gateway_pools()');
SELECT install_gateway_pools('tenants', 'agents', 'cluster_auths');
SELECT install_gateway_pools();
SELECT p FROM parts() p WHERE p ~ 'tenants|agents|cluster';
SELECT * FROM check_gateway_pools() WHERE object <> 'gateway_pool_workers';
DROP EXTENSION gateway_pool CASCADE;
CREATE EXTENSION gateway_pool SCHEMA app;
SELECT * FROM check_gateway_pools() WHERE object <> 'gateway_pool_workers';

--
-- Adopting tables that the host's own migration created
--
\i test/setup.sql
SET client_min_messages = warning;
SELECT host_test.make_host('app', 0);
SELECT host_test.migrate_pools('app', 255, 'RESTRICT');
SELECT host_test.add_org('app', 'acme', '00000000-0000-0000-0000-00000000000a'), host_test.add_org('app', 'bolt', '00000000-0000-0000-0000-00000000000b');
SELECT host_test.add_gateway('app', '00000000-0000-0000-0000-00000000000a', 'a', '0', '00000000-0000-0000-0000-0000000000a1'),
       host_test.add_gateway('app', '00000000-0000-0000-0000-00000000000b', 'b', '0', '00000000-0000-0000-0000-0000000000b1'),
       host_test.add_kubernetes_auth('app', '00000000-0000-0000-0000-00000000000a', 'k', '00000000-0000-0000-0000-0000000000c1');
INSERT INTO gateway_pools (id, "orgId", name) VALUES
    ('00000000-0000-0000-0000-000000000001', '00000000-0000-0000-0000-00000000000a', 'Old Name, ' || repeat('wide', 20)),
    ('00000000-0000-0000-0000-000000000002', '00000000-0000-0000-0000-00000000000a', 'eu');
INSERT INTO gateway_pool_memberships (id, "gatewayPoolId", "gatewayId") VALUES
    ('00000000-0000-0000-0000-000000000011', '00000000-0000-0000-0000-000000000001', '00000000-0000-0000-0000-0000000000a1'),
    ('00000000-0000-0000-0000-000000000012', '00000000-0000-0000-0000-000000000001', '00000000-0000-0000-0000-0000000000b1');
UPDATE identity_kubernetes_auths SET "gatewayPoolId" = '00000000-0000-0000-0000-000000000001', "gatewayV2Id" = '00000000-0000-0000-0000-0000000000a1';
CREATE EXTENSION gateway_pool SCHEMA app;
SELECT p FROM parts() p WHERE p ~ 'gatewaypoolid|updatedAt';
SELECT "orgId", "gatewayPool", "maxPools" FROM gateway_pool_entitlements;
SELECT left(name, 12), length(name) FROM gateway_pools ORDER BY id;
SELECT "pickWeight", "pickPriority" FROM gateway_pool_memberships;
SELECT problem, object, detail FROM check_gateway_pools() WHERE object <> 'gateway_pool_workers';
-- Rows that break the rules work, and stay until they change.
UPDATE gateway_pools SET "createdAt" = now() WHERE id = '00000000-0000-0000-0000-000000000001';
UPDATE gateway_pool_memberships SET "pickWeight" = 2;
UPDATE identity_kubernetes_auths SET "accessTokenTTL" = 1;
SELECT fails($$UPDATE gateway_pools SET name = name || '.' WHERE id = '00000000-0000-0000-0000-000000000001'$$);
SELECT fails($$INSERT INTO gateway_pools ("orgId", name) VALUES ('00000000-0000-0000-0000-00000000000a', repeat('a', 33))$$);
UPDATE gateway_pools SET name = 'us' WHERE id = '00000000-0000-0000-0000-000000000001' RETURNING name;
-- Entitlements for adopted pools are given only once.
DELETE FROM gateway_pool_entitlements;
SELECT install_gateway_pools();
SELECT count(*) FROM gateway_pool_entitlements;

--
-- Installed before the host's own migration, which then creates nothing
--
\i test/setup.sql
SET client_min_messages = warning;
SELECT host_test.make_host('app', 0);
CREATE EXTENSION gateway_pool SCHEMA app;
CREATE TEMP TABLE before AS SELECT p FROM parts() p;
SELECT host_test.migrate_pools('app');
SELECT p FROM parts() p EXCEPT SELECT p FROM before;
-- Its down migration drops pools, memberships and column; the host works, and installing again works.
SELECT host_test.unmigrate_pools('app');
SELECT host_test.add_org('app', 'acme', '00000000-0000-0000-0000-00000000000a');
SELECT host_test.add_gateway('app', '00000000-0000-0000-0000-00000000000a', 'a', '0', '00000000-0000-0000-0000-0000000000a1'),
       host_test.add_kubernetes_auth('app', '00000000-0000-0000-0000-00000000000a', 'k', '00000000-0000-0000-0000-0000000000c1');
UPDATE gateways_v2 SET heartbeat = now();
UPDATE identity_kubernetes_auths SET "gatewayV2Id" = '00000000-0000-0000-0000-0000000000a1';
SELECT fails($$SELECT * FROM gateway_status$$);
SELECT install_gateway_pools();
SELECT p FROM parts() p EXCEPT SELECT p FROM before;
SELECT p FROM before EXCEPT SELECT p FROM parts() p;
DROP TABLE before;

--
-- Owners and grants
--
\i test/setup.sql
SET client_min_messages = warning;
CREATE FUNCTION public.grants() RETURNS SETOF text LANGUAGE sql AS $$
    SELECT format('%s to %s: %s', relname, grantee::regrole, string_agg(privilege_type || CASE WHEN is_grantable THEN '*' ELSE '' END, ' ' ORDER BY privilege_type))
      FROM pg_class, aclexplode(relacl)
     WHERE relnamespace::regnamespace::text = 'app' AND relname ~ '^gateway_(p|s)' AND relkind = 'r' AND grantee <> relowner
     GROUP BY relname, grantee ORDER BY relname COLLATE "C", grantee::regrole::text COLLATE "C"
$$;
CREATE ROLE regress_host_owner;
CREATE ROLE regress_host_app;
CREATE ROLE regress_host_reader;
SELECT host_test.make_host('app', 2, 'regress_host_owner');
GRANT SELECT, INSERT, UPDATE, DELETE, TRIGGER ON app.gateways_v2 TO regress_host_app;
GRANT SELECT ON app.gateways_v2 TO regress_host_reader WITH GRANT OPTION;
CREATE EXTENSION gateway_pool SCHEMA app;
SELECT p FROM parts() p WHERE p ~ '^table';
-- A script grants nothing; the next call copies the grants of the gateways table, except to entitlements.
SELECT grants();
SELECT install_gateway_pools();
SELECT grants();
-- Later calls grant nothing.
REVOKE INSERT, UPDATE, DELETE ON gateway_pools FROM regress_host_app;
SELECT install_gateway_pools();
SELECT grants() LIMIT 3;
-- Tables of another owner are not adopted.
\i test/setup.sql
SET client_min_messages = warning;
SELECT host_test.make_host('app', 2, 'regress_host_owner');
CREATE TABLE app.gateway_pools (id uuid, "orgId" uuid, name text, "createdAt" timestamptz, "updatedAt" timestamptz);
SELECT fails('CREATE EXTENSION gateway_pool SCHEMA app');
DROP TABLE app.gateway_pools;
CREATE VIEW app.gateway_pools AS SELECT NULL::uuid AS id, NULL::uuid AS "orgId", ''::text AS name, now() AS "createdAt", now() AS "updatedAt";
ALTER VIEW app.gateway_pools OWNER TO regress_host_owner;
SELECT fails('CREATE EXTENSION gateway_pool SCHEMA app');
DROP VIEW app.gateway_pools;
-- Tables with other columns are not adopted.
ALTER TABLE app.gateways_v2 ALTER "orgId" DROP NOT NULL;
CREATE TABLE app.gateway_pools (id int);
ALTER TABLE app.gateway_pools OWNER TO regress_host_owner;
SELECT fails('CREATE EXTENSION gateway_pool SCHEMA app');
DROP TABLE app.gateway_pools;
-- The first installation needs a superuser.
CREATE EXTENSION gateway_pool SCHEMA app;
SELECT uninstall_gateway_pools(false);
GRANT USAGE, CREATE ON SCHEMA app TO regress_host_app;
GRANT EXECUTE ON FUNCTION public.fails TO regress_host_app;
SET ROLE regress_host_app;
SELECT fails('SELECT app.install_gateway_pools()');
GRANT EXECUTE ON FUNCTION public.fails TO regress_host_owner;
SET ROLE regress_host_owner;
SELECT fails('SELECT app.install_gateway_pools()');
RESET ROLE;
SELECT install_gateway_pools();
-- After it, the owner of the gateways table may install again.
DROP TABLE gateway_pool_memberships, gateway_states;
SET ROLE regress_host_owner;
SELECT app.install_gateway_pools();
RESET ROLE;
SELECT count(*) FROM check_gateway_pools() WHERE object <> 'gateway_pool_workers';
SELECT p FROM parts() p WHERE p ~ '^table';
-- At a higher isolation level, install could overlook changes.
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT fails('SELECT install_gateway_pools()');
ROLLBACK;
-- Install waits for locks for at most 5 s, and restores the caller's lock_timeout.
SET lock_timeout = '3s';
SELECT install_gateway_pools();
SHOW lock_timeout;
RESET lock_timeout;
DROP EXTENSION gateway_pool CASCADE;
DROP SCHEMA app CASCADE;
DROP OWNED BY regress_host_owner, regress_host_app, regress_host_reader;
DROP ROLE regress_host_owner, regress_host_app, regress_host_reader;
DROP FUNCTION public.parts, public.members, public.grants;
