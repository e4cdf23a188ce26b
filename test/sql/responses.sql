\i test/setup.sql
-- Names and types of what the functions return, against those of the API's responses.
SELECT host_test.make_host('app', 2);
CREATE EXTENSION gateway_pool SCHEMA app;
SELECT host_test.make_all_consumers('app');
SELECT bool_and(registered) FROM register_infisical_consumers();
\set acme '\'00000000-0000-0000-0000-00000000000a\''
\set g '\'00000000-0000-0000-0000-0000000000a1\''
\set x '\'00000000-0000-0000-0000-000000000001\''
SELECT host_test.add_org('app', 'acme', :acme);
SELECT host_test.add_gateway('app', :acme, 'g', '0s', :g), host_test.add_gateway('app', :acme, 'never', NULL, '00000000-0000-0000-0000-0000000000a2');
SELECT set_gateway_pool_entitlement(:acme, true);
INSERT INTO gateway_pools (id, "orgId", name) VALUES (:x, :acme, 'x');
SELECT count(add_gateway_to_pool(:acme, :x, id)) FROM gateways_v2;
SELECT host_test.add_project('app', :acme, 'web', 'a'), host_test.add_to_all_consumers('app', :acme, 'a', 'n', :x, :g);

--
-- Rows: a number is an int, which a driver returns as a number, and a date is a timestamptz
--
CREATE TEMP TABLE expected (function text, name text, type text);
INSERT INTO expected
SELECT f, c.name, c.type
  FROM unnest('{create_gateway_pool,list_gateway_pools,get_gateway_pool,update_gateway_pool,delete_gateway_pool,gateway_pool_status}'::text[]) f,
       (VALUES ('id', 'uuid'), ('orgId', 'uuid'), ('name', 'text'), ('createdAt', 'timestamptz'), ('updatedAt', 'timestamptz')) c (name, type)
 UNION ALL
SELECT f, c.name, c.type
  FROM unnest('{list_gateway_pools,gateway_pool_status}'::text[]) f,
       (VALUES ('memberCount', 'int'), ('healthyMemberCount', 'int'), ('memberGatewayIds', 'uuid[]'), ('connectedResourcesCount', 'int')) c (name, type)
 UNION ALL
SELECT 'get_gateway_pool', 'gateways', 'jsonb'
 UNION ALL
SELECT f, c.name, c.type
  FROM unnest('{add_gateway_to_pool,remove_gateway_from_pool}'::text[]) f,
       (VALUES ('id', 'uuid'), ('gatewayPoolId', 'uuid'), ('gatewayId', 'uuid'), ('createdAt', 'timestamptz')) c (name, type)
 UNION ALL
SELECT 'get_gateway_pool_plan', c.name, c.type
  FROM (VALUES ('gatewayPool', 'boolean'), ('expiresAt', 'timestamptz'), ('maxPools', 'int'), ('usedPools', 'int'), ('maxGatewaysPerPool', 'int')) c (name, type)
 UNION ALL
SELECT f, c.name, c.type
  FROM unnest('{gateway_status,gateway_pool_members}'::text[]) f,
       (VALUES ('gatewayId', 'uuid'), ('name', 'text'), ('status', 'text'), ('lastHeartbeatAt', 'timestamptz'), ('heartbeatExpiresAt', 'timestamptz'),
               ('activeConnections', 'int'), ('reservations', 'int')) c (name, type);
SELECT e.function, e.name, e.type, a.type AS present_type
  FROM expected e
  LEFT JOIN (SELECT p.proname, n.name, t.type::regtype
               FROM pg_proc p, unnest(p.proargnames) WITH ORDINALITY n (name, place), unnest(p.proallargtypes) WITH ORDINALITY t (type, place)
              WHERE p.pronamespace = 'app'::regnamespace AND t.place = n.place AND p.proargmodes[n.place] <> 'i'
             ) a ON a.proname = e.function AND a.name = e.name
 WHERE a.type IS DISTINCT FROM e.type::regtype;
-- The views have the same.
SELECT e.function, e.name, e.type
  FROM expected e
  JOIN pg_class c ON c.relname = e.function AND c.relnamespace = 'app'::regnamespace
  LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = e.name
 WHERE a.atttypid IS DISTINCT FROM e.type::regtype;

--
-- Inside of JSON
--
CREATE FUNCTION public.types(value jsonb) RETURNS text LANGUAGE sql AS $$
    SELECT string_agg(key || ' ' || jsonb_typeof(value), ', ' ORDER BY key COLLATE "C") FROM jsonb_each(value)
$$;
SELECT types(gateway) FROM get_gateway_pool(:acme, :x), jsonb_array_elements(gateways) gateway;
SELECT key, types(value -> 0) FROM jsonb_each(get_gateway_pool_resources(:acme, :x)) ORDER BY key COLLATE "C";
SELECT r -> 'appConnections' -> 0 ->> 'projectName', r -> 'pamAccounts' -> 0 ->> 'projectId',
       r -> 'dynamicSecrets' -> 0 ->> 'projectId', r -> 'dynamicSecrets' -> 0 ->> 'projectName', r -> 'dynamicSecrets' -> 0 ->> 'environmentSlug'
  FROM get_gateway_pool_resources(:acme, :x) r;
-- An app connection of no project.
UPDATE app_connections SET "projectId" = NULL;
SELECT types(get_gateway_pool_resources(:acme, :x) -> 'appConnections' -> 0);
-- Names that the owner of the consumer may not read are null, and so is what lies behind them.
CREATE ROLE regress_gateway_pool;
BEGIN;
GRANT USAGE ON SCHEMA app TO regress_gateway_pool;
ALTER TABLE pam_domains OWNER TO regress_gateway_pool;
ALTER TABLE dynamic_secrets OWNER TO regress_gateway_pool;
GRANT SELECT (id, "envId") ON secret_folders TO regress_gateway_pool;
GRANT SELECT (id, "projectId") ON project_environments TO regress_gateway_pool;
SELECT types(r -> 'pamDomains' -> 0), types(r -> 'dynamicSecrets' -> 0) FROM get_gateway_pool_resources(:acme, :x) r;
REVOKE SELECT (id, "projectId") ON project_environments FROM regress_gateway_pool;
SELECT types(r -> 'dynamicSecrets' -> 0) FROM get_gateway_pool_resources(:acme, :x) r;
ROLLBACK;
DROP ROLE regress_gateway_pool;
-- A row may reference a project and an identity of another organization: isolation hides their names.
CREATE ROLE regress_gateway_pool;
BEGIN;
SELECT host_test.add_org('app', 'bolt', '00000000-0000-0000-0000-00000000000b'),
       host_test.add_project('app', '00000000-0000-0000-0000-00000000000b', 'secret', 'b');
UPDATE app_connections SET "projectId" = 'b';
UPDATE project_environments SET "projectId" = 'b';
UPDATE identities SET "orgId" = '00000000-0000-0000-0000-00000000000b';
SELECT grant_gateway_pool_access('regress_gateway_pool', '{list}');
GRANT USAGE ON SCHEMA app TO regress_gateway_pool;
INSERT INTO gateway_pool_tenants VALUES ('regress_gateway_pool', :acme);
CREATE VIEW public.names AS
SELECT r -> 'appConnections' -> 0 ->> 'projectName' AS project, r -> 'dynamicSecrets' -> 0 ->> 'projectName' AS secret_project,
       r -> 'dynamicSecrets' -> 0 ->> 'environmentSlug' AS slug, r -> 'pamDomains' -> 0 ->> 'projectName' AS own_project,
       r -> 'kubernetesAuths' -> 0 ->> 'identityName' IS NOT NULL AS identity,
       (SELECT d.name IS NOT NULL FROM gateway_dependents('00000000-0000-0000-0000-0000000000a1') d
         WHERE d.consumer = 'identity_kubernetes_auths'::regclass LIMIT 1) AS dependent
  FROM get_gateway_pool_resources('00000000-0000-0000-0000-00000000000a', '00000000-0000-0000-0000-000000000001') r;
GRANT SELECT ON public.names TO regress_gateway_pool;
SET LOCAL ROLE regress_gateway_pool;
SELECT * FROM public.names;
RESET ROLE;
SELECT enable_gateway_pool_isolation();
SET LOCAL ROLE regress_gateway_pool;
SELECT * FROM public.names;
RESET ROLE;
ROLLBACK;
DROP ROLE regress_gateway_pool;
-- Keys that lead in a circle, to a partitioned table, and to an id of another type.
BEGIN;
ALTER TABLE secret_folders ADD COLUMN "folderId" uuid REFERENCES secret_folders;
UPDATE secret_folders SET "folderId" = id;
ALTER TABLE pki_discovery_configs ADD COLUMN "folderId" uuid REFERENCES pki_discovery_configs;
UPDATE pki_discovery_configs SET "folderId" = id;
CREATE TABLE parts (extra int, name text, id varchar(36) PRIMARY KEY) PARTITION BY LIST (id);
CREATE TABLE part (id varchar(36) NOT NULL, name text, extra int);
ALTER TABLE parts ATTACH PARTITION part FOR VALUES IN ('a');
INSERT INTO parts VALUES (1, 'in a partition', 'a');
ALTER TABLE pam_resources DROP CONSTRAINT "pam_resources_projectId_fkey", ADD FOREIGN KEY ("projectId") REFERENCES parts;
CREATE TABLE numbers (id int PRIMARY KEY, name text);
ALTER TABLE pam_domains DROP CONSTRAINT "pam_domains_projectId_fkey";
SET LOCAL session_replication_role = replica;
UPDATE pam_domains SET "projectId" = '1';
SET LOCAL session_replication_role = origin;
ALTER TABLE pam_domains ALTER "projectId" TYPE int USING "projectId"::int;
INSERT INTO numbers VALUES (1, 'a number');
ALTER TABLE pam_domains ADD FOREIGN KEY ("projectId") REFERENCES numbers;
SELECT r -> 'dynamicSecrets' -> 0 ->> 'projectName', r -> 'pkiDiscoveryConfigs' -> 0 ->> 'projectName',
       r -> 'pamResources' -> 0 ->> 'projectName', types(r -> 'pamDomains' -> 0)
  FROM get_gateway_pool_resources(:acme, :x) r;
ROLLBACK;

-- Times are in UTC and ISO 8601, whatever the settings of the session.
SET TimeZone = 'Asia/Kolkata';
SET DateStyle = 'SQL, DMY';
UPDATE gateways_v2 SET heartbeat = '2026-01-02 03:04:05.678+05:30' WHERE id = :g;
SELECT gateways -> 0 ->> 'heartbeat' FROM get_gateway_pool(:acme, :x);
UPDATE gateways_v2 SET heartbeat = now() WHERE id = :g;
SELECT gateways -> 0 ->> 'heartbeat' ~ '^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?\+00:00$' FROM get_gateway_pool(:acme, :x);
RESET TimeZone;
RESET DateStyle;

-- The longest time-to-live that an agent can send.
UPDATE gateways_v2 SET "heartbeatTTL" = 2147483647 WHERE id = :g;
SELECT gateways -> 0 -> 'heartbeatTTL', gateways -> 0 ->> 'status' FROM get_gateway_pool(:acme, :x);
SELECT name, status, "heartbeatExpiresAt" > '2090-01-01' FROM gateway_status ORDER BY name;
SELECT "healthyMemberCount", label FROM list_gateway_pools(:acme);
SELECT name, health FROM gateway_options ORDER BY name;
SELECT pick_healthy_gateway(:x) = :g, (SELECT count(*) FROM explain_gateway_pick(:x));
SELECT * FROM check_gateway_pools() WHERE object <> 'gateway_pool_workers';
-- A host without the column.
BEGIN;
ALTER TABLE gateways_v2 DROP COLUMN "heartbeatTTL";
SELECT types(gateway) FROM get_gateway_pool(:acme, :x), jsonb_array_elements(gateways) gateway;
ROLLBACK;
DROP FUNCTION public.types;
