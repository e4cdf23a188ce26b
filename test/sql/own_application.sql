\i test/setup.sql
-- An application of one's own: two tables of any names, in any schema.
SET client_min_messages = warning;
DROP SCHEMA IF EXISTS gateway_pool CASCADE;
CREATE SCHEMA gateway_pool;
GRANT USAGE ON SCHEMA gateway_pool TO PUBLIC;
CREATE EXTENSION gateway_pool SCHEMA gateway_pool;
CREATE SCHEMA app;
SET search_path = app, gateway_pool, public;
CREATE FUNCTION public.undo() RETURNS void LANGUAGE plpgsql AS $$ BEGIN RAISE 'undone' USING ERRCODE = 'XXUND'; END $$;
-- Makes tables, installs, and returns the error, or what was installed; then undoes all.
CREATE FUNCTION public.install_says(tables text, install text DEFAULT $$install_gateway_pools('tenants', 'agents')$$)
    RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    lines text[];
BEGIN
    BEGIN
        EXECUTE tables;
        lines := ARRAY(SELECT public.fails('SELECT ' || install));
        IF lines = '{no error}' THEN
            lines := ARRAY(SELECT format('organization of a gateway: %s', gateway_pool_internal.org_column(h.gateways, h.organizations))
                             FROM gateway_pool_internal.host_tables() h);
        END IF;
        PERFORM public.undo();
    EXCEPTION WHEN SQLSTATE 'XXUND' THEN
        RETURN QUERY SELECT unnest(lines);
    END;
END
$$;

--
-- What install says of tables that it cannot use: which column is missing, and what for
--
-- No tables are named, or one.
SELECT install_says('', 'install_gateway_pools()');
SELECT install_says('CREATE TABLE tenants (id uuid PRIMARY KEY)', $$install_gateway_pools(organizations => 'tenants')$$);
SELECT install_says('CREATE TABLE agents (id uuid PRIMARY KEY)', $$install_gateway_pools(gateways => 'agents')$$);
SELECT install_says('CREATE TABLE agents (id uuid PRIMARY KEY)', $$install_gateway_pools('agents', 'agents')$$);
-- No key; keys of other types and names; a key of two columns; no unique key that a foreign key can use.
SELECT install_says('CREATE TABLE tenants (id uuid); CREATE TABLE agents (id uuid, "orgId" uuid)');
SELECT install_says('CREATE TABLE tenants (id bigint PRIMARY KEY); CREATE TABLE agents (id text PRIMARY KEY, tenant bigint REFERENCES tenants)');
SELECT install_says('CREATE TABLE tenants (id text PRIMARY KEY); CREATE TABLE agents (id uuid PRIMARY KEY, tenant text REFERENCES tenants)');
SELECT install_says('CREATE TABLE tenants (tenant_id uuid PRIMARY KEY); CREATE TABLE agents (agent_id uuid PRIMARY KEY, tenant uuid REFERENCES tenants)');
SELECT install_says('CREATE TABLE tenants (id uuid, region text, PRIMARY KEY (id, region));
                     CREATE TABLE agents (id uuid PRIMARY KEY, tenant uuid, region text, FOREIGN KEY (tenant, region) REFERENCES tenants)');
SELECT install_says('CREATE TABLE tenants (id uuid UNIQUE DEFERRABLE, name text); CREATE UNIQUE INDEX ON tenants (id) WHERE name > '''';
                     CREATE TABLE agents (id uuid, "orgId" uuid); CREATE UNIQUE INDEX ON agents ((id::text))');
-- A column of a domain, whose check the owner defines.
SELECT install_says('CREATE DOMAIN key AS uuid; CREATE TABLE tenants (id uuid PRIMARY KEY);
                     CREATE TABLE agents (id key PRIMARY KEY, tenant key REFERENCES tenants)');
-- Nothing says which organization a gateway belongs to, or two columns do.
SELECT install_says('CREATE TABLE tenants (id uuid PRIMARY KEY); CREATE TABLE agents (id uuid PRIMARY KEY, tenant uuid NOT NULL)');
SELECT install_says('CREATE TABLE tenants (id uuid PRIMARY KEY); CREATE TABLE agents (id uuid PRIMARY KEY, orgId uuid NOT NULL)');
SELECT install_says('CREATE TABLE tenants (id uuid PRIMARY KEY, code uuid UNIQUE); CREATE TABLE agents (id uuid PRIMARY KEY, tenant uuid REFERENCES tenants (code))');
SELECT install_says('CREATE TABLE tenants (id uuid PRIMARY KEY);
                     CREATE TABLE agents (id uuid PRIMARY KEY, owner uuid NOT NULL REFERENCES tenants, user_of uuid NOT NULL REFERENCES tenants)');
-- The arguments are exchanged.
SELECT install_says('CREATE TABLE tenants (id uuid PRIMARY KEY); CREATE TABLE agents (id uuid PRIMARY KEY, tenant uuid NOT NULL REFERENCES tenants)',
                    $$install_gateway_pools('agents', 'tenants')$$);
-- No plain tables.
SELECT install_says('CREATE TABLE t (id uuid PRIMARY KEY); CREATE VIEW tenants AS SELECT * FROM t; CREATE MATERIALIZED VIEW agents AS SELECT * FROM t');
SELECT install_says('CREATE TABLE tenants (id uuid PRIMARY KEY) PARTITION BY HASH (id);
                     CREATE TABLE agents (id uuid PRIMARY KEY, tenant uuid NOT NULL REFERENCES tenants) PARTITION BY HASH (id)');
SELECT install_says('CREATE UNLOGGED TABLE tenants (id uuid PRIMARY KEY); CREATE UNLOGGED TABLE agents (id uuid PRIMARY KEY, tenant uuid NOT NULL REFERENCES tenants)');
SELECT install_says('CREATE TEMP TABLE tenants (id uuid PRIMARY KEY); CREATE TEMP TABLE agents (id uuid PRIMARY KEY, tenant uuid NOT NULL REFERENCES tenants)');
-- Names that were written without quotes, and are in lower case; and with them.
SELECT install_says('CREATE TABLE Tenants (Id uuid PRIMARY KEY); CREATE TABLE Agents (Id uuid PRIMARY KEY, TenantId uuid NOT NULL REFERENCES Tenants)',
                    $$install_gateway_pools('Tenants', 'Agents')$$);
SELECT install_says('CREATE TABLE "Tenants" (id uuid PRIMARY KEY)', $$install_gateway_pools('Tenants', 'Agents')$$);
-- A second host.
SELECT install_says('CREATE TABLE tenants (id uuid PRIMARY KEY); CREATE TABLE agents (id uuid PRIMARY KEY, tenant uuid NOT NULL REFERENCES tenants);
                     SELECT install_gateway_pools(''tenants'', ''agents'');
                     CREATE TABLE teams (id uuid PRIMARY KEY); CREATE TABLE nodes (id uuid PRIMARY KEY, team uuid NOT NULL REFERENCES teams)',
                    $$install_gateway_pools('teams', 'nodes')$$);
-- A Kubernetes auths table that does not say which organization its rows belong to.
SELECT install_says('CREATE TABLE tenants (id uuid PRIMARY KEY); CREATE TABLE agents (id uuid PRIMARY KEY, tenant uuid NOT NULL REFERENCES tenants);
                     CREATE TABLE clusters (id uuid PRIMARY KEY, "identityId" uuid REFERENCES agents, "gatewayV2Id" text)',
                    $$install_gateway_pools('tenants', 'agents', 'clusters')$$);
SELECT install_says('CREATE TABLE tenants (id uuid PRIMARY KEY); CREATE TABLE agents (id uuid PRIMARY KEY, tenant uuid NOT NULL REFERENCES tenants);
                     CREATE TABLE people (id uuid PRIMARY KEY); CREATE TABLE clusters (id uuid PRIMARY KEY, "identityId" uuid REFERENCES people)',
                    $$install_gateway_pools('tenants', 'agents', 'clusters')$$);

--
-- Tables that it can use
--
SELECT install_says(t) FROM unnest(ARRAY[
    'CREATE TABLE tenants (id uuid PRIMARY KEY); CREATE TABLE agents (id uuid PRIMARY KEY, tenant uuid NOT NULL REFERENCES tenants)',
    -- nullable; by another unique key; without a foreign key; not validated; deferrable, with an action
    'CREATE TABLE tenants (id uuid PRIMARY KEY); CREATE TABLE agents (id uuid PRIMARY KEY, tenant uuid REFERENCES tenants)',
    'CREATE TABLE tenants (n int PRIMARY KEY, id uuid UNIQUE); CREATE TABLE agents (n int PRIMARY KEY, id uuid UNIQUE, tenant uuid REFERENCES tenants (id))',
    'CREATE TABLE tenants (id uuid PRIMARY KEY); CREATE TABLE agents (id uuid PRIMARY KEY, "orgId" uuid)',
    'CREATE TABLE tenants (id uuid PRIMARY KEY); CREATE TABLE agents (id uuid PRIMARY KEY, tenant uuid);
     ALTER TABLE agents ADD FOREIGN KEY (tenant) REFERENCES tenants NOT VALID',
    'CREATE TABLE tenants (id uuid PRIMARY KEY); CREATE TABLE agents (id uuid PRIMARY KEY,
     tenant uuid REFERENCES tenants ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED)',
    -- several keys: the one called "orgId", or the one that is NOT NULL; the same key twice
    'CREATE TABLE tenants (id uuid PRIMARY KEY); CREATE TABLE agents (id uuid PRIMARY KEY, owner uuid NOT NULL REFERENCES tenants, "orgId" uuid REFERENCES tenants)',
    'CREATE TABLE tenants (id uuid PRIMARY KEY); CREATE TABLE agents (id uuid PRIMARY KEY, made_by uuid REFERENCES tenants, tenant uuid NOT NULL REFERENCES tenants)',
    'CREATE TABLE tenants (id uuid PRIMARY KEY); CREATE TABLE agents (id uuid PRIMARY KEY, tenant uuid REFERENCES tenants REFERENCES tenants ON DELETE CASCADE)',
    -- a key to another table, and "orgId" without a key; quoted names; the organizations reference gateways, too
    'CREATE TABLE tenants (id uuid PRIMARY KEY); CREATE TABLE t (id uuid PRIMARY KEY); CREATE TABLE agents (id uuid PRIMARY KEY, a uuid REFERENCES t, "orgId" uuid)',
    'CREATE TABLE tenants (id uuid PRIMARY KEY); CREATE TABLE agents (id uuid PRIMARY KEY, "the ""tenant"" (%s)" uuid NOT NULL REFERENCES tenants)',
    'CREATE TABLE tenants (id uuid PRIMARY KEY); CREATE TABLE agents (id uuid PRIMARY KEY, tenant uuid NOT NULL REFERENCES tenants);
     ALTER TABLE tenants ADD main uuid REFERENCES agents']) t;
-- In other schemas than the extension's, each in one of its own.
SELECT install_says('CREATE SCHEMA a; CREATE SCHEMA b; CREATE TABLE a.tenants (id uuid PRIMARY KEY);
                     CREATE TABLE b.agents (id uuid PRIMARY KEY, tenant uuid NOT NULL REFERENCES a.tenants)',
                    $$install_gateway_pools(gateways => 'b.agents', organizations => 'a.tenants')$$);
-- The keys that earlier installations made tell which tables were the host's.
SELECT install_says('CREATE TABLE tenants (id uuid PRIMARY KEY); CREATE TABLE agents (id uuid PRIMARY KEY, tenant uuid NOT NULL REFERENCES tenants);
                     SELECT install_gateway_pools(''tenants'', ''agents''); SELECT uninstall_gateway_pools()', 'install_gateway_pools()');

--
-- The two tables, and everything at them
--
CREATE TABLE tenants (id uuid PRIMARY KEY);
CREATE TABLE agents (id uuid PRIMARY KEY, tenant uuid NOT NULL REFERENCES tenants);
SELECT install_gateway_pools(organizations => 'tenants', gateways => 'agents');
SELECT * FROM check_gateway_pools() WHERE object <> 'gateway_pool_workers';
\set acme '\'00000000-0000-0000-0000-00000000000a\''
\set bolt '\'00000000-0000-0000-0000-00000000000b\''
\set eu '\'00000000-0000-0000-0000-000000000001\''
\set lab '\'00000000-0000-0000-0000-000000000002\''
\set a1 '\'00000000-0000-0000-0000-0000000000a1\''
\set a2 '\'00000000-0000-0000-0000-0000000000a2\''
\set b1 '\'00000000-0000-0000-0000-0000000000b1\''
INSERT INTO tenants VALUES (:acme), (:bolt);
INSERT INTO agents VALUES (:a1, :acme), (:a2, :acme), (:b1, :bolt);
SELECT set_gateway_pool_entitlement(id, true) FROM tenants;
INSERT INTO gateway_pools (id, "orgId", name) VALUES (:eu, :acme, 'eu'), (:lab, :bolt, 'lab');
INSERT INTO gateway_pool_memberships ("gatewayPoolId", "gatewayId") VALUES (:eu, :a1), (:eu, :a2), (:lab, :b1);
SELECT record_gateway_heartbeat(id) FROM agents;
SELECT pick_healthy_gateway(:lab);
-- Without a column name, the id is the name.
SELECT name, status FROM gateway_status ORDER BY 1;
SELECT gateway_id(:acme, :a1);
-- The rules: same organization, no move of a member, deletion with the organization.
SELECT fails($$INSERT INTO gateway_pool_memberships ("gatewayPoolId", "gatewayId")
               VALUES ('00000000-0000-0000-0000-000000000001', '00000000-0000-0000-0000-0000000000b1')$$);
SELECT fails($$SELECT add_gateway_to_pool('00000000-0000-0000-0000-00000000000a', '00000000-0000-0000-0000-000000000001', '00000000-0000-0000-0000-0000000000b1')$$);
SELECT fails($$UPDATE agents SET tenant = '00000000-0000-0000-0000-00000000000b' WHERE id = '00000000-0000-0000-0000-0000000000a1'$$);
BEGIN;
DELETE FROM agents WHERE tenant = :bolt;
SELECT fails('SELECT pick_healthy_gateway(''00000000-0000-0000-0000-000000000002'')') LIMIT 2;
DELETE FROM tenants WHERE id = :bolt;
SELECT name FROM gateway_pools;
SELECT "eventType", "eventMetadata" ->> 'gatewayName' FROM gateway_pool_audit_logs WHERE "eventType" ~ 'remove';
ROLLBACK;
-- A member moves after it has left its pool; then it belongs to the other organization.
BEGIN;
DELETE FROM gateway_pool_memberships WHERE "gatewayId" = :a1;
UPDATE agents SET tenant = :bolt WHERE id = :a1;
SELECT "orgId" FROM gateway_status WHERE "gatewayId" = :a1;
SELECT "gatewayId" FROM add_gateway_to_pool(:bolt, :lab, :a1);
ROLLBACK;
-- A migration of the host renames the column, changes it, adds keys, names and heartbeats: nothing stops.
ALTER TABLE agents RENAME tenant TO "Owner of it";
SELECT pick_healthy_gateway(:lab);
SELECT "gatewayId", "orgId" FROM gateway_status WHERE "gatewayId" = :b1;
SELECT fails($$UPDATE agents SET "Owner of it" = '00000000-0000-0000-0000-00000000000b' WHERE id = '00000000-0000-0000-0000-0000000000a1'$$) LIMIT 2;
ALTER TABLE agents ADD seller uuid REFERENCES tenants, ADD maker uuid REFERENCES tenants;
UPDATE agents SET seller = "Owner of it", maker = :acme;
ALTER TABLE agents ALTER seller SET NOT NULL;
SELECT install_gateway_pools();
SELECT "gatewayId", "orgId" FROM gateway_status WHERE "gatewayId" = :b1;
ALTER TABLE agents DROP seller, DROP maker;
ALTER TABLE agents ADD name json, ADD heartbeat timestamptz;
UPDATE agents SET name = '"b one"', heartbeat = clock_timestamp() WHERE id = :b1;
SELECT name, status FROM gateway_status WHERE "orgId" = :bolt;
ALTER TABLE agents DROP name, DROP heartbeat;
ALTER TABLE agents RENAME "Owner of it" TO tenant;
-- What was reported ended with the heartbeat of the table.
SELECT record_gateway_heartbeat(:b1);
SELECT pick_healthy_gateway(:lab);
-- Without the key, no column says it; the application and the deletions go on, and the doctor names it.
BEGIN;
ALTER TABLE agents DROP CONSTRAINT agents_tenant_fkey;
SELECT fails('SELECT * FROM gateway_status');
SELECT * FROM check_gateway_pools() WHERE object <> 'gateway_pool_workers';
UPDATE agents SET tenant = tenant;
DELETE FROM agents WHERE id = :b1;
ROLLBACK;

--
-- Consumers: what the organization of a row is
--
CREATE TABLE by_key (id int, tenant uuid REFERENCES tenants, agent uuid REFERENCES agents);
CREATE TABLE by_name (id int, "orgId" uuid, agent uuid);
CREATE TABLE by_other_name (id int, "orgId" uuid, "identityId" uuid, agent uuid);
CREATE TABLE people (id uuid PRIMARY KEY, employer uuid REFERENCES tenants);
CREATE TABLE by_person (id int, "identityId" uuid REFERENCES people, agent uuid);
CREATE TABLE by_query (id int, agent uuid);
CREATE TABLE strangers (id uuid PRIMARY KEY);
INSERT INTO people VALUES ('00000000-0000-0000-0000-00000000001a', :acme);
SELECT register_pool_consumer(c, 'pool', 'agent') FROM unnest('{by_key,by_name,by_other_name,by_person}'::regclass[]) c;
SELECT register_pool_consumer('by_query', 'pool', 'agent', 'SELECT a.tenant FROM agents a WHERE a.id = (SELECT min(b.id::text)::uuid FROM agents b)');
SELECT consumer, org_query IS NULL FROM gateway_pool_consumers() ORDER BY 1;
INSERT INTO by_key VALUES (1, :acme);
INSERT INTO by_name VALUES (1, :acme);
INSERT INTO by_other_name VALUES (1, :acme, :bolt);
INSERT INTO by_person VALUES (1, '00000000-0000-0000-0000-00000000001a');
INSERT INTO by_query VALUES (1);
SELECT c, public.fails(format('UPDATE %s SET pool = %L', c, :lab)), public.fails(format('UPDATE %s SET agent = %L', c, :b1))
  FROM unnest('{by_key,by_name,by_other_name,by_person,by_query}'::regclass[]) c;
SELECT c, public.fails(format('UPDATE %s SET pool = %L', c, :eu)), public.fails(format('UPDATE %s SET agent = %L', c, :a1))
  FROM unnest('{by_key,by_name,by_other_name,by_person,by_query}'::regclass[]) c;
ALTER TABLE by_key RENAME tenant TO organization;
ALTER TABLE people RENAME employer TO organization;
SELECT c, public.fails(format('UPDATE %s SET pool = %L', c, :lab)) FROM unnest('{by_key,by_person}'::regclass[]) c;
SELECT c, public.fails(format('UPDATE %s SET pool = %L', c, :eu)) FROM unnest('{by_key,by_person}'::regclass[]) c;
SELECT name, "connectedResourcesCount" FROM gateway_pool_status ORDER BY 1;
SELECT * FROM check_gateway_pools() WHERE object <> 'gateway_pool_workers';
-- The column has gone since.
BEGIN;
ALTER TABLE by_key DROP organization;
SELECT fails($$UPDATE by_key SET agent = '00000000-0000-0000-0000-0000000000a2'$$);
SELECT problem, object, detail FROM check_gateway_pools() WHERE object <> 'gateway_pool_workers';
ROLLBACK;
-- None, or two.
CREATE TABLE without (id int, "identityId" uuid REFERENCES strangers, "orgId" text);
SELECT fails($$SELECT register_pool_consumer('without')$$);
CREATE TABLE twice (id int, seller uuid NOT NULL REFERENCES tenants, buyer uuid NOT NULL REFERENCES tenants);
SELECT fails($$SELECT register_pool_consumer('twice')$$);
SELECT register_pool_consumer('twice', org_query => 'SELECT ($1).buyer');
ALTER TABLE twice ALTER seller DROP NOT NULL;
SELECT unregister_pool_consumer('twice');
SELECT register_pool_consumer('twice');
INSERT INTO twice (id, seller, buyer, "gatewayPoolId") VALUES (1, :bolt, :acme, :eu);
-- A host's table that references pools and identities is not taken for one of Kubernetes auths.
CREATE TABLE alike (id int, "identityId" uuid REFERENCES strangers, "gatewayPoolId" uuid REFERENCES gateway_pools, agent uuid);
SELECT install_gateway_pools();
SELECT count(*) FROM gateway_pool_consumers() WHERE consumer = 'alike'::regclass;
DROP TABLE alike;
-- Registered by a query; install goes on.
CREATE TABLE clusters (id int, "identityId" uuid REFERENCES strangers, "gatewayV2Id" uuid REFERENCES agents);
SELECT register_pool_consumer('clusters', gateway_column => 'gatewayV2Id', org_query => 'SELECT a.tenant FROM agents a WHERE a.id = ($1)."gatewayV2Id"');
DROP TABLE gateway_pool.gateway_states;
SELECT install_gateway_pools();
SELECT * FROM check_gateway_pools() WHERE object <> 'gateway_pool_workers';
DROP TABLE by_key, by_name, by_other_name, by_person, by_query, people, twice, without, clusters, strangers;

--
-- Every function and every view works there, and with isolation shows a role its own organization alone
--
CREATE TABLE connections (id int PRIMARY KEY, tenant uuid NOT NULL REFERENCES tenants, agent uuid REFERENCES agents);
SELECT register_pool_consumer('connections', 'pool', 'agent');
INSERT INTO connections (id, tenant, pool) VALUES (1, :acme, :eu), (2, :bolt, :lab);
SELECT set_gateway_probe(id, 'tcp', '192.0.2.1:9', required => false, probe_interval => '1 s', timeout => '100 ms') FROM agents;
SELECT record_gateway_heartbeat(id) FROM agents;
CREATE TABLE public.calls (n serial, statement text);
INSERT INTO public.calls (statement)
SELECT 'SELECT * FROM ' || c.oid::regclass FROM pg_class c WHERE c.relnamespace = 'gateway_pool'::regnamespace AND c.relkind = 'v' ORDER BY c.relname COLLATE "C";
INSERT INTO public.calls (statement) SELECT unnest(ARRAY[
    'SELECT * FROM gateway_status(ORG, GATEWAY)', 'SELECT * FROM gateway_probe_status(ORG, GATEWAY)',
    'SELECT * FROM gateway_pool_members(ORG, POOL)', 'SELECT * FROM gateway_pool_status(ORG, POOL)', 'SELECT * FROM gateway_options(ORG)',
    'SELECT * FROM gateway_pool_stats()', 'SELECT * FROM gateway_pool_workers()', 'SELECT reset_gateway_pool_stats()',
    'SELECT pick_healthy_gateway(POOL)', 'SELECT pick_healthy_gateways(POOL)', 'SELECT resolve_gateway(GATEWAY, NULL)', 'SELECT resolve_gateway(NULL, POOL)',
    'SELECT * FROM explain_gateway_pick(POOL)',
    'SELECT record_gateway_heartbeat(GATEWAY)', 'SELECT report_gateway_failure(GATEWAY)', 'SELECT report_gateway_load(GATEWAY, 1)', 'SELECT release_gateway(GATEWAY)',
    'SELECT create_gateway_pool(ORG, ''new'')', 'SELECT list_gateway_pools(ORG)', 'SELECT get_gateway_pool(ORG, POOL)', 'SELECT update_gateway_pool(ORG, POOL, ''new'')',
    'SELECT delete_gateway_pool(ORG, POOL)', 'SELECT remove_gateway_from_pool(ORG, POOL, GATEWAY)', 'SELECT add_gateway_to_pool(ORG, POOL, GATEWAY)',
    'SELECT set_gateway_pool_members(ORG, POOL, ARRAY[GATEWAY])', 'SELECT get_gateway_pool_resources(ORG, POOL)', 'SELECT * FROM gateway_dependents(GATEWAY)', 'SELECT get_gateway_pool_plan(ORG)',
    'SELECT gateway_pool_id(ORG, NAME)', 'SELECT gateway_id(ORG, GATEWAY::text)', 'SELECT is_gateway_pool_name(NAME)',
    'SELECT set_gateway_pool_entitlement(ORG, true)', 'SELECT set_gateway_state(GATEWAY, ''draining'')',
    'SELECT set_gateway_probe(GATEWAY, ''tcp'', ''192.0.2.1:9'')', 'SELECT clear_gateway_probe(GATEWAY)', 'SELECT verdict FROM probe_gateway(GATEWAY, ''30 s'')',
    'SELECT grant_gateway_pool_access(''regress_own'', ''{list,create,edit,delete,attach,pick}'')', 'SELECT has_gateway_pool_access(''regress_own'', ''list'')',
    'SELECT revoke_gateway_pool_access(''regress_own'', ''{list}'')',
    'SELECT * FROM gateway_pool_consumers()', 'SELECT register_infisical_consumers()', 'SELECT register_pool_consumer(''connections'', ''pool'', ''agent'')',
    'SELECT unregister_pool_consumer(''connections'', ''pool'')', 'SELECT * FROM check_gateway_pools() WHERE object <> ''gateway_pool_workers''',
    'SELECT install_gateway_pools()', 'SELECT enable_gateway_pool_isolation()', 'SELECT disable_gateway_pool_isolation()', 'SELECT uninstall_gateway_pools(false)',
    'UPDATE agents SET tenant = tenant WHERE id = GATEWAY', 'UPDATE connections SET pool = NULL WHERE pool = POOL', 'UPDATE connections SET agent = GATEWAY WHERE pool = POOL',
    'DELETE FROM agents WHERE id = GATEWAY']);
-- No function of the extension is left out.
SELECT DISTINCT 'not called: ' || p.proname
  FROM pg_proc p
 WHERE p.pronamespace = 'gateway_pool'::regnamespace AND NOT EXISTS (SELECT FROM public.calls c WHERE c.statement ~ ('\m' || p.proname || '\('));
-- Returns the number of rows of a statement as a role, for one of the organizations, or its error; undoes it.
CREATE FUNCTION public.outcome(statement text, org text, role text DEFAULT current_user) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    word record;
    n bigint;
BEGIN
    FOR word IN
        SELECT w.word, CASE org WHEN 'acme' THEN w.acme ELSE w.bolt END AS value
          FROM (VALUES ('ORG', '00000000-0000-0000-0000-00000000000a', '00000000-0000-0000-0000-00000000000b'),
                       ('POOL', '00000000-0000-0000-0000-000000000001', '00000000-0000-0000-0000-000000000002'),
                       ('GATEWAY', '00000000-0000-0000-0000-0000000000a1', '00000000-0000-0000-0000-0000000000b1')) w (word, acme, bolt)
         UNION ALL
        SELECT 'NAME', CASE org WHEN 'acme' THEN 'eu' ELSE 'lab' END
    LOOP
        statement := replace(statement, word.word, quote_literal(word.value) || CASE word.word WHEN 'NAME' THEN '' ELSE '::uuid' END);
    END LOOP;
    BEGIN
        EXECUTE format('SET LOCAL ROLE %I', role);
        EXECUTE statement;
        GET DIAGNOSTICS n = ROW_COUNT;
        PERFORM public.undo();
    EXCEPTION
        WHEN SQLSTATE 'XXUND' THEN
            -- These rows depend on the moment.
            RETURN CASE WHEN statement ~ 'FROM gateway_(pool_workers|pool_stats|probe_status)' THEN 'no error' ELSE n::text END;
        WHEN OTHERS THEN
            RETURN SQLSTATE || ' ' || SQLERRM;
    END;
END
$$;
CREATE ROLE regress_own;
GRANT USAGE ON SCHEMA app TO regress_own;
GRANT ALL ON ALL TABLES IN SCHEMA gateway_pool, app TO regress_own;
GRANT EXECUTE ON FUNCTION public.undo TO regress_own;
INSERT INTO gateway_pool_tenants VALUES ('regress_own', :acme);
SET client_min_messages = error;
SELECT statement, outcome(statement, 'acme'), outcome(statement, 'bolt') FROM public.calls ORDER BY n;
SELECT enable_gateway_pool_isolation();
SELECT statement, outcome(statement, 'acme', 'regress_own'), outcome(statement, 'bolt', 'regress_own') FROM public.calls ORDER BY n;
SELECT * FROM check_gateway_pools() WHERE object <> 'gateway_pool_workers';
SELECT disable_gateway_pool_isolation();
DROP OWNED BY regress_own;
DROP ROLE regress_own;
DROP TABLE public.calls;
DROP FUNCTION public.outcome, public.undo, public.install_says;
DROP EXTENSION gateway_pool CASCADE;
DROP SCHEMA app, gateway_pool CASCADE;
