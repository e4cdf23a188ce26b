\i test/setup.sql
-- Any table can be a consumer: tables of the host, each with other keys.
SELECT host_test.make_host('app', 2);
CREATE EXTENSION gateway_pool SCHEMA app;
SELECT host_test.make_other_consumers('app');
SELECT host_test.add_org('app', 'acme', '00000000-0000-0000-0000-00000000000a'),
       host_test.add_org('app', 'bolt', '00000000-0000-0000-0000-00000000000b');
SELECT host_test.add_gateway('app', '00000000-0000-0000-0000-00000000000a', 'g', '0s', '00000000-0000-0000-0000-0000000000a1');
SELECT set_gateway_pool_entitlement(id, true) FROM organizations;
INSERT INTO gateway_pools (id, "orgId", name) VALUES
    ('00000000-0000-0000-0000-000000000001', '00000000-0000-0000-0000-00000000000a', 'x'),
    ('00000000-0000-0000-0000-000000000002', '00000000-0000-0000-0000-00000000000a', 'y'),
    ('00000000-0000-0000-0000-000000000003', '00000000-0000-0000-0000-00000000000b', 'other');
INSERT INTO gateway_pool_memberships ("gatewayPoolId", "gatewayId")
SELECT p.id, g.id FROM gateway_pools p JOIN gateways_v2 g USING ("orgId");
INSERT INTO gateways (id, name, "serialNumber", "keyAlgorithm", "issuedAt", expiration, "relayAddress", "identityId")
SELECT '00000000-0000-0000-0000-0000000000d1', 'v1', 's', 'k', now(), now(), '', id FROM identities LIMIT 1;
CREATE FUNCTION public.id_of(word text) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE word WHEN 'x' THEN '00000000-0000-0000-0000-000000000001'
                     WHEN 'y' THEN '00000000-0000-0000-0000-000000000002'
                     WHEN 'other' THEN '00000000-0000-0000-0000-000000000003'
                     WHEN 'none' THEN '00000000-0000-0000-0000-0000000000ff'
                     WHEN 'g' THEN '00000000-0000-0000-0000-0000000000a1'
                     WHEN 'v' THEN '00000000-0000-0000-0000-0000000000d1' END::uuid
$$;
CREATE FUNCTION public.word_of(id uuid) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT coalesce((SELECT w FROM unnest('{x,y,other,g,v}'::text[]) w WHERE id_of(w) = id), '-')
$$;
-- Returns triggers, keys and indexes for gateway pools on a table.
CREATE FUNCTION public.parts(relation regclass) RETURNS SETOF text LANGUAGE sql AS $$
    SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE tgrelid = relation AND tgname LIKE 'GatewayPools%'
    UNION ALL
    SELECT conname || ': ' || pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = relation AND confrelid = 'gateway_pools'::regclass
    UNION ALL
    SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = relation AND pg_get_indexdef(indexrelid) LIKE '%ool%'
    ORDER BY 1
$$;

--
-- app_connections: has "orgId", RESTRICT, no index; "gatewayId" is the direct gateway
--
INSERT INTO app_connections (id, name, app, "orgId") VALUES ('00000000-0000-0000-0000-0000000000f1', 'db', 'postgres', '00000000-0000-0000-0000-00000000000a');
SELECT register_pool_consumer('app_connections', gateway_column => 'gatewayId');
SELECT parts('app_connections');
UPDATE app_connections SET "gatewayPoolId" = id_of('x') RETURNING word_of("gatewayPoolId"), word_of("gatewayId");
UPDATE app_connections SET "gatewayId" = id_of('g') RETURNING word_of("gatewayPoolId"), word_of("gatewayId");
UPDATE app_connections SET "gatewayPoolId" = id_of('y') RETURNING word_of("gatewayPoolId"), word_of("gatewayId");
SELECT fails($$UPDATE app_connections SET "gatewayPoolId" = id_of('x'), "gatewayId" = id_of('g')$$);
SELECT fails(format('UPDATE app_connections SET "gatewayPoolId" = id_of(%L)', p)) FROM unnest('{other,none}'::text[]) p;
SELECT fails('DELETE FROM gateway_pools WHERE name = ''y''');
-- A row with a pool cannot move to another organization; without one it can.
SELECT fails($$UPDATE app_connections SET "orgId" = '00000000-0000-0000-0000-00000000000b'$$);
UPDATE app_connections SET "orgId" = '00000000-0000-0000-0000-00000000000b', "gatewayPoolId" = NULL;
UPDATE app_connections SET "orgId" = '00000000-0000-0000-0000-00000000000a', "gatewayPoolId" = id_of('x') RETURNING word_of("gatewayPoolId");
-- A row that references a foreign pool already can be updated.
SET session_replication_role = replica;
UPDATE app_connections SET "gatewayPoolId" = id_of('other');
RESET session_replication_role;
UPDATE app_connections SET name = 'db2' RETURNING name;
SELECT problem, object, detail FROM check_gateway_pools() WHERE object <> 'gateway_pool_workers';
UPDATE app_connections SET "gatewayPoolId" = id_of('x');

--
-- dynamic_secrets: no pool column yet; the organization is three joins away
--
SELECT fails($$SELECT register_pool_consumer('dynamic_secrets', gateway_column => 'gatewayV2Id')$$);
SELECT register_pool_consumer('dynamic_secrets', gateway_column => 'gatewayV2Id', org_query =>
    'SELECT p."orgId" FROM secret_folders f JOIN project_environments e ON e.id = f."envId" JOIN projects p ON p.id = e."projectId"
      WHERE f.id = ($1)."folderId"');
SELECT parts('dynamic_secrets');
SELECT col_description('dynamic_secrets'::regclass, attnum) FROM pg_attribute WHERE attrelid = 'dynamic_secrets'::regclass AND attname = 'gatewayPoolId';
INSERT INTO projects VALUES ('a', 'a', '00000000-0000-0000-0000-00000000000a'), ('b', 'b', '00000000-0000-0000-0000-00000000000b');
INSERT INTO project_environments (id, name, slug, "projectId") VALUES
    ('00000000-0000-0000-0000-00000000e00a', 'ea', 'ea', 'a'), ('00000000-0000-0000-0000-00000000e00b', 'eb', 'eb', 'b');
INSERT INTO secret_folders VALUES ('00000000-0000-0000-0000-00000000f00a', 'fa', '00000000-0000-0000-0000-00000000e00a'),
                                  ('00000000-0000-0000-0000-00000000f00b', 'fb', '00000000-0000-0000-0000-00000000e00b');
INSERT INTO dynamic_secrets (name, type, "folderId", "gatewayId", "gatewayPoolId")
VALUES ('s', 'sql', '00000000-0000-0000-0000-00000000f00a', id_of('v'), id_of('x'))
RETURNING word_of("gatewayId"), word_of("gatewayV2Id"), word_of("gatewayPoolId");
SELECT fails($$UPDATE dynamic_secrets SET "gatewayPoolId" = id_of('other')$$);
SELECT fails($$UPDATE dynamic_secrets SET "folderId" = '00000000-0000-0000-0000-00000000f00b'$$);
UPDATE dynamic_secrets SET "folderId" = '00000000-0000-0000-0000-00000000f00b', "gatewayPoolId" = id_of('other') RETURNING word_of("gatewayPoolId");
SELECT get_gateway_pool_resources('00000000-0000-0000-0000-00000000000b', id_of('other')) -> 'dynamicSecrets' -> 0 ->> 'name';

--
-- identity_auth_templates: three gateway columns, the host's own keys and index
--
SELECT register_pool_consumer('identity_auth_templates', gateway_column => 'gatewayV2Id');
SELECT parts('identity_auth_templates');
INSERT INTO identity_auth_templates (name, "orgId", "authMethod", "gatewayId") VALUES ('t', '00000000-0000-0000-0000-00000000000a', 'kubernetes', id_of('v'));
UPDATE identity_auth_templates SET "gatewayPoolId" = id_of('x') RETURNING word_of("gatewayId"), word_of("gatewayV2Id"), word_of("gatewayPoolId");
UPDATE identity_auth_templates SET "gatewayV2Id" = id_of('g') RETURNING word_of("gatewayId"), word_of("gatewayV2Id"), word_of("gatewayPoolId");
UPDATE identity_auth_templates SET "gatewayPoolId" = id_of('y') RETURNING word_of("gatewayId"), word_of("gatewayV2Id"), word_of("gatewayPoolId");

--
-- resource_kubernetes_auths: deferrable NO ACTION, a partial index, organization through a gateway
--
SELECT register_pool_consumer('resource_kubernetes_auths', gateway_column => 'gatewayV2Id', org_query =>
    'SELECT g."orgId" FROM resource_auth_methods m JOIN gateways_v2 g ON g.id = m."gatewayId" WHERE m.id = ($1)."authMethodId"');
SELECT parts('resource_kubernetes_auths');
SELECT host_test.add_resource_kubernetes_auth('app', id_of('g'), id_of('x'), '00000000-0000-0000-0000-0000000000e1');
SELECT fails($$UPDATE resource_kubernetes_auths SET "gatewayPoolId" = id_of('other')$$);
SELECT fails('DELETE FROM gateway_pools WHERE name = ''x''');
SELECT name, "connectedResourcesCount" FROM gateway_pool_status ORDER BY name;
SELECT jsonb_object_keys(get_gateway_pool_resources('00000000-0000-0000-0000-00000000000a', id_of('x')));

--
-- All consumers: entitlement and policy; an update of other columns is not checked
--
CREATE FUNCTION public.each(statement text) RETURNS SETOF text LANGUAGE sql AS $$
    SELECT consumer || ': ' || fails(format(statement, consumer)) FROM gateway_pool_consumers() ORDER BY consumer::text
$$;
SELECT host_test.add_kubernetes_auth('app', '00000000-0000-0000-0000-00000000000a', 'k', '00000000-0000-0000-0000-0000000000c1');
SELECT * FROM each('UPDATE %s SET "gatewayPoolId" = NULL');
UPDATE dynamic_secrets SET "folderId" = '00000000-0000-0000-0000-00000000f00a';
UPDATE gateway_pool_entitlements SET "gatewayPool" = false;
SELECT * FROM each('UPDATE %s SET "gatewayPoolId" = id_of(''x'')') e WHERE e NOT LIKE '%HINT%';
UPDATE gateway_pool_entitlements SET "gatewayPool" = true;
SELECT * FROM each('UPDATE %s SET "gatewayPoolId" = id_of(''x'')');
UPDATE gateway_pool_entitlements SET "gatewayPool" = false;
UPDATE organizations SET "requireGatewayPools" = true;
DELETE FROM gateway_pool_memberships;
SELECT * FROM each('UPDATE %s SET "updatedAt" = now(), "gatewayPoolId" = "gatewayPoolId"');
-- The policy applies without an entitlement.
SELECT fails($$UPDATE app_connections SET "gatewayId" = id_of('g')$$);
SELECT fails($$UPDATE dynamic_secrets SET "gatewayV2Id" = id_of('g')$$);
SELECT fails($$UPDATE identity_auth_templates SET "gatewayV2Id" = id_of('g')$$);
SELECT fails($$UPDATE resource_kubernetes_auths SET "gatewayV2Id" = id_of('g')$$);
SELECT fails($$UPDATE identity_kubernetes_auths SET "gatewayV2Id" = id_of('g')$$);
UPDATE organizations SET "requireGatewayPools" = false;
UPDATE gateway_pool_entitlements SET "gatewayPool" = true;

--
-- Markers in the catalog are the registry
--
SELECT * FROM gateway_pool_consumers() ORDER BY consumer::text;
SELECT * FROM check_gateway_pools() WHERE object <> 'gateway_pool_workers';
-- Registering again changes nothing; with other arguments it replaces them.
SELECT register_pool_consumer('app_connections', gateway_column => 'gatewayId');
SELECT register_pool_consumer('app_connections');
SELECT gateway_column FROM gateway_pool_consumers() WHERE consumer = 'app_connections'::regclass;
SELECT register_pool_consumer('app_connections', 'gatewayPoolId', 'gatewayId', 'SELECT ($1)."orgId"');
SELECT org_query FROM gateway_pool_consumers() WHERE consumer = 'app_connections'::regclass;
-- A missing part is reported, and created again.
DROP INDEX gateway_pool_ix_app_connections_gatewaypoolid;
DROP TRIGGER "GatewayPools_audit" ON app_connections;
SELECT * FROM check_gateway_pools() WHERE object <> 'gateway_pool_workers';
SELECT register_pool_consumer('app_connections', gateway_column => 'gatewayId');
SELECT * FROM check_gateway_pools() WHERE object <> 'gateway_pool_workers';
-- If the pool column is dropped, the check names both remedies.
BEGIN;
ALTER TABLE app_connections DROP COLUMN "gatewayPoolId";
SELECT problem, remedy FROM check_gateway_pools() WHERE object <> 'gateway_pool_workers';
SELECT unregister_pool_consumer('app_connections');
SELECT * FROM check_gateway_pools() WHERE object <> 'gateway_pool_workers';
ROLLBACK;

--
-- Unregistering drops what register_pool_consumer() created, and keeps what the host created
--
SELECT unregister_pool_consumer('app_connections'), unregister_pool_consumer('resource_kubernetes_auths');
SELECT parts('app_connections');
SELECT parts('resource_kubernetes_auths');
SELECT problem, object FROM check_gateway_pools() WHERE object <> 'gateway_pool_workers';
SELECT unregister_pool_consumer('dynamic_secrets', keep_data => false);
SELECT parts('dynamic_secrets');
SELECT count(*) FROM pg_attribute WHERE attrelid = 'dynamic_secrets'::regclass AND attname = 'gatewayPoolId';
SELECT fails($$SELECT unregister_pool_consumer('dynamic_secrets')$$);
SELECT fails($$SELECT unregister_pool_consumer('app_connections', 'x"y')$$);

--
-- Several columns, unusual names, another schema, partitions
--
CREATE SCHEMA other;
CREATE TABLE other."Odd one" (id int, "orgId" uuid, "it's \ pool" uuid, "direct" uuid, "gatewayPoolId" uuid);
SELECT register_pool_consumer('other."Odd one"', 'it''s \ pool', 'direct'), register_pool_consumer('other."Odd one"');
SELECT consumer, pool_column, gateway_column FROM gateway_pool_consumers() WHERE consumer = 'other."Odd one"'::regclass ORDER BY 2;
SELECT register_pool_consumer('other."Odd one"', 'it''s \ pool', 'direct', E'SELECT ($1)."orgId" WHERE \'\\\' <> \'\'\'\'');
SELECT * FROM check_gateway_pools() WHERE object LIKE '%Odd%' OR detail LIKE '%Odd%';
INSERT INTO other."Odd one" VALUES (1, '00000000-0000-0000-0000-00000000000a', id_of('x'), NULL, id_of('y'));
SELECT fails($$UPDATE other."Odd one" SET "it's \ pool" = id_of('other')$$);
SELECT fails($$UPDATE other."Odd one" SET "it's \ pool" = id_of('y'), direct = id_of('g')$$);
SELECT name, "connectedResourcesCount" FROM gateway_pool_status ORDER BY name;
SELECT unregister_pool_consumer('other."Odd one"', 'it''s \ pool');
SELECT pool_column FROM gateway_pool_consumers() WHERE consumer = 'other."Odd one"'::regclass;
CREATE TABLE other.parts (id int, "orgId" uuid) PARTITION BY RANGE (id);
CREATE TABLE other.part PARTITION OF other.parts FOR VALUES FROM (0) TO (10);
SELECT register_pool_consumer('other.parts');
CREATE TABLE other.part2 PARTITION OF other.parts FOR VALUES FROM (10) TO (20);
INSERT INTO other.parts VALUES (1, '00000000-0000-0000-0000-00000000000a', id_of('x')), (11, '00000000-0000-0000-0000-00000000000a', id_of('x'));
SELECT fails($$UPDATE other.parts SET "gatewayPoolId" = id_of('other') WHERE id = 11$$);
SELECT fails($$INSERT INTO other.part VALUES (2, '00000000-0000-0000-0000-00000000000a', id_of('none'))$$);
SELECT name, "connectedResourcesCount" FROM gateway_pool_status ORDER BY name;
SELECT count(*) FROM gateway_pool_consumers() WHERE consumer::text LIKE 'other.part%';
SELECT problem, object FROM check_gateway_pools() WHERE object LIKE 'other.part%';
SELECT unregister_pool_consumer('other.parts');

-- Names that would collide: of tables, of long columns and of triggers
CREATE TABLE other.alike ("orgId" uuid, pool uuid, "Pool" uuid, truncate uuid, truncate_pool uuid, "gatewayPoolId" uuid,
                          a_column_with_a_name_that_is_long_enough_1 uuid, a_column_with_a_name_that_is_long_enough_2 uuid);
CREATE TABLE other."Alike" (LIKE other.alike);
SELECT register_pool_consumer(attrelid, attname) FROM pg_attribute
 WHERE attrelid IN ('other.alike'::regclass, 'other."Alike"'::regclass) AND attnum > 1;
SELECT consumer, count(*), count(DISTINCT pool_column) FROM gateway_pool_consumers() WHERE consumer::text ~* 'alike' GROUP BY 1 ORDER BY 1;
SELECT tgrelid::regclass, count(*) FROM pg_trigger WHERE tgname LIKE 'GatewayPools%' AND tgrelid::regclass::text ~* 'alike' GROUP BY 1 ORDER BY 1;
SELECT problem, object, detail FROM check_gateway_pools() WHERE object ~* 'alike';
SELECT count(unregister_pool_consumer(consumer, pool_column)::text) FROM gateway_pool_consumers() WHERE consumer::text ~* 'alike';
SELECT parts('other.alike');

--
-- Tables and arguments that are refused
--
CREATE TABLE other.bare (id int, text_column text, "gatewayV2Id" uuid NOT NULL, "orgId" uuid);
CREATE VIEW other.a_view AS SELECT * FROM other.bare;
CREATE TEMP TABLE temporary ("orgId" uuid);
SELECT s, fails(format('SELECT register_pool_consumer(%s)', s)) FROM unnest(ARRAY[
    $$NULL$$, $$'other.bare', NULL$$, $$'other.bare', 'text_column'$$, $$'other.bare', 'gatewayV2Id'$$,
    $$'other.bare', 'gatewayPoolId', 'gatewayV2Id'$$, $$'other.bare', 'gatewayPoolId', 'gatewayPoolId'$$,
    $$'other.bare', 'gatewayPoolId', 'missing'$$, $$'other.a_view'$$, $$'temporary'$$, $$'gateway_pool_memberships'$$,
    $$'other.bare', 'gatewayPoolId', NULL, 'SELECT'$$, $$'other.bare', 'gatewayPoolId', NULL, ''$$,
    $$'other.bare', 'gatewayPoolId', NULL, 'SELECT 1'$$, $$'other.bare', 'gatewayPoolId', NULL, 'SELECT ($1).missing'$$,
    $$'other.bare', 'gatewayPoolId', NULL, 'SELECT "orgId" FROM missing'$$,
    $$'other.bare', 'gatewayPoolId', NULL, 'SELECT ($1)."orgId"; SELECT 1'$$,
    $$'other.bare', 'gatewayPoolId', NULL, 'DELETE FROM organizations RETURNING id'$$,
    $$'other.bare', 'gatewayPoolId', NULL, 'WITH d AS (DELETE FROM organizations RETURNING id) SELECT id FROM d'$$,
    $$'other.bare', 'gatewayPoolId', NULL, 'SELECT id FROM organizations FOR UPDATE'$$,
    $$'other.bare', 'gatewayPoolId', NULL, 'SELECT (SELECT id FROM organizations LIMIT 1 FOR SHARE)'$$,
    $$'other.bare', 'gatewayPoolId', NULL, 'WITH o AS (SELECT id FROM organizations FOR KEY SHARE) SELECT id FROM o'$$,
    $$'other.bare', 'gatewayPoolId', NULL, 'SELECT (SELECT "orgId" FROM temporary)'$$,
    $$'other.bare', 'gatewayPoolId', NULL, 'SELECT id INTO other.made FROM organizations'$$]) s;
SELECT parts('other.bare');
-- Constants and operators keep the meaning that they had at registration, or are refused.
SET DateStyle = 'SQL, DMY';
SET IntervalStyle = 'sql_standard';
SET extra_float_digits = 0;
SET quote_all_identifiers = on;
SELECT current_setting('server_version_num')::int >= 150000 AS has_querydef \gset
\if :has_querydef
SELECT gateway_pool_internal.qualify_consumer_query('other.bare', $$SELECT "orgId" FROM other.bare WHERE date '01/02/2020' < now() - interval '-1 day +2 hours' AND 0.1::float8 < float8 '0.30000000000000004'$$) ~
       $$^SELECT "orgId"\s+FROM other.bare\s+WHERE .*'2020-02-01'::date.*'-1 days \+02:00:00'::interval.*0.30000000000000004$$;
\else
SELECT true;
\endif
RESET DateStyle;
RESET IntervalStyle;
RESET extra_float_digits;
RESET quote_all_identifiers;
CREATE DOMAIN other.word AS text;
CREATE FUNCTION other.is_same(a other.word, b other.word) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT lower($1::text) = lower($2::text)';
CREATE OPERATOR other.= (FUNCTION = other.is_same, LEFTARG = other.word, RIGHTARG = other.word);
CREATE TABLE other.words (word other.word, "orgId" uuid);
SET search_path = app, other, public;
SELECT c, left(public.fails(format('SELECT gateway_pool_internal.qualify_consumer_query(''other.words'', ''SELECT w."orgId" FROM other.words w %s'')', c)), 80) FROM unnest(ARRAY[
    'WHERE w.word OPERATOR(other.=) ($1).word', 'WHERE w.word IS NOT DISTINCT FROM ($1).word', 'WHERE NULLIF(w.word, ($1).word) IS NULL',
    'WHERE CASE ($1).word WHEN w.word THEN true END', 'JOIN (SELECT ($1).word) r USING (word)', 'WHERE ($1).word IN (SELECT word FROM other.words)']) c;
SET search_path = app, public;
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT fails($$SELECT register_pool_consumer('other.bare')$$);
ROLLBACK;
GRANT USAGE ON SCHEMA app, other TO pg_monitor;
SET ROLE pg_monitor;
SELECT fails($$SELECT register_pool_consumer('other.bare')$$);
RESET ROLE;
-- Uninstalling ends all registrations; dropping the tables drops the extension's keys, and stops at a key of the host's.
SELECT uninstall_gateway_pools();
SELECT count(*) FROM gateway_pool_consumers();
SELECT install_gateway_pools();
SELECT register_pool_consumer('app_connections', gateway_column => 'gatewayId'), register_pool_consumer('other."Odd one"', 'it''s \ pool');
SELECT fails('SELECT uninstall_gateway_pools(false)');
ALTER TABLE app_connections DROP CONSTRAINT app_connections_gatewaypoolid_foreign;
ALTER TABLE identity_auth_templates DROP CONSTRAINT identity_auth_templates_gatewaypoolid_foreign;
ALTER TABLE resource_kubernetes_auths DROP CONSTRAINT resource_kubernetes_auths_gatewaypoolid_foreign;
SELECT uninstall_gateway_pools(false);
SELECT attname FROM pg_attribute WHERE attrelid = 'other."Odd one"'::regclass AND attnum > 0 ORDER BY attnum;
SELECT count(*) FROM pg_constraint WHERE conrelid = 'other."Odd one"'::regclass;
SET client_min_messages = warning;
DROP SCHEMA other CASCADE;
DROP FUNCTION public.parts, public.each, public.word_of, public.id_of;
