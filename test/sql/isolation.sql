\i test/setup.sql
-- Isolation of roles by organization: rows of another organization behave as if
-- they did not exist.
SET client_min_messages = warning;
SET datestyle = iso;
SELECT host_test.make_host('app', 2);
CREATE EXTENSION gateway_pool SCHEMA app;
\i test/first_pick.sql
\set acme '\'00000000-0000-0000-0000-00000000000a\''
\set bolt '\'00000000-0000-0000-0000-00000000000b\''
\set a1 '\'00000000-0000-0000-0000-0000000000a1\''
\set b1 '\'00000000-0000-0000-0000-0000000000b1\''
\set apool '\'00000000-0000-0000-0000-000000000001\''
\set bpool '\'00000000-0000-0000-0000-000000000009\''
SELECT host_test.add_org('app', 'acme', :acme), host_test.add_org('app', 'bolt', :bolt);
SELECT host_test.add_gateway('app', :acme, 'a1', '0', :a1), host_test.add_gateway('app', :acme, 'a2', '0', '00000000-0000-0000-0000-0000000000a2'),
       host_test.add_gateway('app', :bolt, 'b1', '0', :b1), host_test.add_gateway('app', :bolt, 'b2', '0', '00000000-0000-0000-0000-0000000000b2');
SELECT host_test.add_kubernetes_auth('app', :acme, 'ka', '00000000-0000-0000-0000-0000000000c1'),
       host_test.add_kubernetes_auth('app', :bolt, 'kb', '00000000-0000-0000-0000-0000000000c2');
SELECT set_gateway_pool_entitlement(:acme, true, 7), set_gateway_pool_entitlement(:bolt, true, 8);
INSERT INTO gateway_pools (id, "orgId", name) VALUES (:apool, :acme, 'a'), ('00000000-0000-0000-0000-000000000002', :acme, 'a-spare'), (:bpool, :bolt, 'b');
INSERT INTO gateway_pool_memberships ("gatewayPoolId", "gatewayId") VALUES (:apool, :a1), (:bpool, :b1);
UPDATE identity_kubernetes_auths SET "gatewayPoolId" = :apool WHERE id = '00000000-0000-0000-0000-0000000000c1';
UPDATE identity_kubernetes_auths SET "gatewayPoolId" = :bpool WHERE id = '00000000-0000-0000-0000-0000000000c2';
SELECT set_gateway_state(:a1, 'active', 'of a'), set_gateway_state(:b1, 'active', 'of b');
SELECT set_gateway_probe(:a1, 'tcp', 'localhost:1', required => false), set_gateway_probe(:b1, 'tcp', 'localhost:1', required => false);
INSERT INTO gateway_health ("gatewayId", status) VALUES (:a1, 'healthy'), (:b1, 'healthy') ON CONFLICT DO NOTHING;
INSERT INTO gateway_health_events ("gatewayId", "orgId", "oldStatus", "newStatus") VALUES (:a1, :acme, 'unknown', 'healthy'), (:b1, :bolt, 'unknown', 'healthy');

-- These roles have every privilege on the tables, so privileges do not distinguish them.
CREATE ROLE regress_a;
CREATE ROLE regress_b;
CREATE ROLE regress_a_member IN ROLE regress_a;
CREATE ROLE regress_both IN ROLE regress_a, regress_b;
CREATE ROLE regress_none;
CREATE ROLE regress_backup BYPASSRLS;
GRANT USAGE ON SCHEMA app TO PUBLIC;
GRANT ALL ON gateway_pools, gateway_pool_memberships, gateway_pool_entitlements, gateway_states, gateway_probes, gateway_health,
    gateway_health_events, gateway_pool_audit_logs, identity_kubernetes_auths TO regress_a, regress_b, regress_none, regress_backup;
GRANT SELECT ON gateway_pool_tenants TO regress_a, regress_b, regress_backup;
INSERT INTO gateway_pool_tenants VALUES ('regress_a', :acme), ('regress_b', :bolt);

-- Returns how a statement ends for a role, with its result or the whole error, but
-- without ids and times; its changes are undone.
CREATE FUNCTION public.ends(role text, statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    outcome text;
    state text;
    message text;
    detail text;
    hint text;
    table_name text;
    constraint_name text;
BEGIN
    BEGIN
        EXECUTE format('SET LOCAL ROLE %I', role);
        IF statement ~ '^SELECT' THEN
            EXECUTE format('SELECT coalesce(string_agg(q::text, %L), %L) FROM (%s) q', ' ', 'no row', statement) INTO outcome;
        ELSE
            EXECUTE statement;
            GET DIAGNOSTICS outcome = ROW_COUNT;
            outcome := outcome || ' rows';
        END IF;
        RAISE SQLSTATE 'ZZ000';
    EXCEPTION
        WHEN SQLSTATE 'ZZ000' THEN
            NULL;
        WHEN OTHERS THEN
            GET STACKED DIAGNOSTICS
                state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL,
                hint = PG_EXCEPTION_HINT, table_name = TABLE_NAME, constraint_name = CONSTRAINT_NAME;
            outcome := concat_ws(' / ', state, message, nullif(detail, ''), nullif(hint, ''), nullif(table_name, ''), nullif(constraint_name, ''));
    END;
    outcome := regexp_replace(outcome, '[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}', 'ID', 'g');
    RETURN regexp_replace(outcome, '\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d+)?\+00(:00)?', 'TIME', 'g');
END
$$;
-- Returns the organizations whose rows of a table or view a role sees.
CREATE FUNCTION public.sees(role text, relation text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    outcome text;
BEGIN
    EXECUTE format('SET LOCAL ROLE %I', role);
    EXECUTE format($q$
        SELECT concat(CASE WHEN bool_or(t::text ~ '00000000000a|0000000000a\d|000000000001') THEN 'a' END,
                      CASE WHEN bool_or(t::text ~ '00000000000b|0000000000b\d|000000000009') THEN 'b' END) FROM app.%I t$q$, relation) INTO outcome;
    RESET ROLE;
    RETURN coalesce(nullif(outcome, ''), '-');
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE;
END
$$;
CREATE VIEW public.seen AS
    SELECT relation, string_agg(format('%s: %s', role, sees('regress_' || role, relation)), ', ' ORDER BY place) AS seen
      FROM unnest('{gateway_pools,gateway_pool_memberships,gateway_pool_entitlements,gateway_states,gateway_probes,gateway_health,
                    gateway_health_events,gateway_pool_audit_logs,gateway_pool_tenants,gateway_pool_status,gateway_pool_members,gateway_status,
                    gateway_options,gateway_pool_stats}'::text[]) relation
     CROSS JOIN unnest('{a,a_member,b,both,none,backup}'::text[]) WITH ORDINALITY r (role, place)
     GROUP BY relation;
SELECT reset_gateway_pool_stats();
SELECT count(*) FROM (SELECT pick_healthy_gateway(:apool), pick_healthy_gateway(:bpool)) p;

-- Off, as installed.
SELECT seen FROM public.seen WHERE relation = 'gateway_pools';
SELECT relname FROM pg_class WHERE relnamespace = 'app'::regnamespace AND relrowsecurity;

--
-- On
--
SET ROLE regress_a;
SELECT fails('SELECT enable_gateway_pool_isolation()');
SELECT fails('SELECT disable_gateway_pool_isolation()');
RESET ROLE;
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT fails('SELECT enable_gateway_pool_isolation()');
SELECT fails('SELECT disable_gateway_pool_isolation()');
ROLLBACK;
SET client_min_messages = notice;
SELECT enable_gateway_pool_isolation();
SELECT enable_gateway_pool_isolation();
SET client_min_messages = warning;
SELECT c.relname, c.relrowsecurity, c.relforcerowsecurity, string_agg(concat(p.policyname, ' ', p.cmd, ' ', p.roles, ' ', p.qual, p.with_check), '; ')
  FROM pg_class c LEFT JOIN pg_policies p ON p.schemaname = 'app' AND p.tablename = c.relname
 WHERE c.relnamespace = 'app'::regnamespace AND c.relkind = 'r' AND c.relname LIKE 'gateway\_%' GROUP BY 1, 2, 3 ORDER BY 1;
SELECT * FROM check_gateway_pools() WHERE object <> 'gateway_pool_workers';
-- No table of the host, such as a consumer, is isolated, and no table has FORCE.
SELECT relname FROM pg_class WHERE relnamespace = 'app'::regnamespace AND (relrowsecurity AND relname NOT LIKE 'gateway\_%' OR relforcerowsecurity);
SELECT * FROM public.seen ORDER BY 1;
-- Isolated roles do not see the worker's counts and problems, which concern all organizations.
SELECT bool_and(ends(role, 'SELECT count(*) FROM gateway_pool_workers') = '(0)') FROM unnest('{regress_a,regress_both,regress_none}'::text[]) role;
-- The owner and superusers see all rows.
SELECT (SELECT count(*) FROM gateway_pools), (SELECT count(*) FROM gateway_pool_status), (SELECT count(*) FROM gateway_pool_tenants);

--
-- Foreign rows behave like missing ones
--
CREATE TABLE public.statements (n int GENERATED ALWAYS AS IDENTITY, statement text);
INSERT INTO public.statements (statement) VALUES
    ($$SELECT * FROM create_gateway_pool(ORG, 'x')$$), ($$SELECT * FROM create_gateway_pool(ORG, 'b')$$), ($$SELECT * FROM create_gateway_pool(ORG, 'a b')$$),
    ($$SELECT * FROM create_gateway_pool(ORG, NULL)$$),
    ($$SELECT * FROM list_gateway_pools(ORG)$$),
    ($$SELECT * FROM get_gateway_pool(ORG, POOL)$$), ($$SELECT * FROM get_gateway_pool(ACME, POOL)$$), ($$SELECT * FROM get_gateway_pool(ORG, APOOL)$$),
    ($$SELECT * FROM update_gateway_pool(ORG, POOL, 'x')$$), ($$SELECT * FROM update_gateway_pool(ACME, POOL, 'x')$$),
    ($$SELECT * FROM delete_gateway_pool(ORG, POOL)$$), ($$SELECT * FROM delete_gateway_pool(ACME, POOL)$$),
    ($$SELECT * FROM add_gateway_to_pool(ORG, POOL, GATEWAY)$$), ($$SELECT * FROM add_gateway_to_pool(ACME, POOL, A1)$$),
    ($$SELECT * FROM add_gateway_to_pool(ACME, APOOL, GATEWAY)$$), ($$SELECT * FROM add_gateway_to_pool(ACME, APOOL, GATEWAY, NULL)$$),
    ($$SELECT * FROM remove_gateway_from_pool(ORG, POOL, GATEWAY)$$), ($$SELECT * FROM remove_gateway_from_pool(ACME, APOOL, GATEWAY)$$),
    ($$SELECT * FROM set_gateway_pool_members(ORG, POOL, ARRAY[GATEWAY]::uuid[])$$), ($$SELECT * FROM set_gateway_pool_members(ORG, POOL, '{}')$$),
    ($$SELECT * FROM set_gateway_pool_members(ACME, POOL, '{}')$$), ($$SELECT * FROM set_gateway_pool_members(ACME, APOOL, ARRAY[A1, GATEWAY]::uuid[])$$),
    ($$SELECT get_gateway_pool_resources(ORG, POOL)$$), ($$SELECT get_gateway_pool_resources(ACME, POOL)$$),
    ($$SELECT * FROM get_gateway_pool_plan(ORG)$$), ($$SELECT gateway_pool_id(ORG, 'b')$$), ($$SELECT gateway_id(ORG, 'b1')$$), ($$SELECT * FROM gateway_dependents(GATEWAY)$$),
    ($$SELECT pick_healthy_gateway(POOL)$$), ($$SELECT pick_healthy_gateway(POOL, null_if_none => true)$$),
    ($$SELECT pick_healthy_gateway(POOL, strategy => 'least_loaded')$$), ($$SELECT pick_healthy_gateway(POOL, ARRAY[GATEWAY]::uuid[])$$),
    ($$SELECT pick_healthy_gateways(POOL, 3)$$), ($$SELECT resolve_gateway(NULL, POOL)$$), ($$SELECT * FROM explain_gateway_pick(POOL)$$),
    ($$SELECT report_gateway_failure(GATEWAY, 'x')$$), ($$SELECT release_gateway(GATEWAY)$$), ($$SELECT record_gateway_heartbeat(GATEWAY)$$),
    ($$SELECT record_gateway_heartbeat(GATEWAY, '-1 s')$$), ($$SELECT report_gateway_load(GATEWAY, 1)$$), ($$SELECT report_gateway_load(GATEWAY, -1)$$),
    ($$SELECT release_gateway(GATEWAY, NULL)$$), ($$SELECT * FROM probe_gateway(GATEWAY)$$), ($$SELECT * FROM probe_gateway(GATEWAY, '0 s')$$),
    ($$SELECT set_gateway_state(GATEWAY, 'active')$$), ($$SELECT set_gateway_probe(GATEWAY, 'tcp', 'localhost:1')$$), ($$SELECT clear_gateway_probe(GATEWAY)$$),
    ($$SELECT set_gateway_pool_entitlement(ORG, true)$$),
    ($$SELECT * FROM gateway_pool_status(ORG)$$), ($$SELECT * FROM gateway_pool_status(NULL, POOL)$$), ($$SELECT * FROM gateway_pool_status(ORG, POOL)$$),
    ($$SELECT * FROM gateway_pool_members(ORG)$$), ($$SELECT * FROM gateway_pool_members(NULL, POOL)$$),
    ($$SELECT * FROM gateway_status(ORG)$$), ($$SELECT * FROM gateway_status(NULL, GATEWAY)$$),
    ($$SELECT * FROM gateway_probe_status(ORG)$$), ($$SELECT * FROM gateway_probe_status(NULL, GATEWAY)$$), ($$SELECT * FROM gateway_options(ORG)$$),
    ($$SELECT * FROM gateway_pool_audit_logs WHERE "orgId" = ORG$$),
    ($$INSERT INTO gateway_pool_audit_logs ("orgId", "eventType", "eventMetadata") VALUES (ORG, 'x', '{}')$$),
    ($$SELECT gateway_pool_internal.is_tenant(ORG)$$), ($$SELECT gateway_pool_internal.is_tenant_of_pool(POOL)$$), ($$SELECT gateway_pool_internal.is_tenant_of_gateway(GATEWAY)$$),
    ($$INSERT INTO gateway_pools ("orgId", name) VALUES (ORG, 'x')$$), ($$INSERT INTO gateway_pools ("orgId", name) VALUES (ORG, 'b')$$),
    ($$UPDATE gateway_pools SET name = 'x' WHERE id = POOL$$), ($$UPDATE gateway_pools SET "orgId" = ORG WHERE name = 'a-spare'$$),
    ($$DELETE FROM gateway_pools WHERE id = POOL$$), ($$SELECT * FROM gateway_pools WHERE id = POOL$$), ($$SELECT * FROM gateway_pools WHERE "orgId" = ORG FOR UPDATE$$),
    ($$INSERT INTO gateway_pool_memberships ("gatewayPoolId", "gatewayId") VALUES (POOL, A1)$$),
    ($$INSERT INTO gateway_pool_memberships ("gatewayPoolId", "gatewayId") VALUES (POOL, GATEWAY)$$),
    ($$INSERT INTO gateway_pool_memberships ("gatewayPoolId", "gatewayId") VALUES (APOOL, GATEWAY)$$),
    ($$UPDATE gateway_pool_memberships SET "gatewayPoolId" = POOL$$), ($$UPDATE gateway_pool_memberships SET "gatewayId" = GATEWAY$$),
    ($$UPDATE gateway_pool_memberships SET "pickWeight" = 5 WHERE "gatewayPoolId" = POOL$$), ($$DELETE FROM gateway_pool_memberships WHERE "gatewayId" = GATEWAY$$),
    ($$INSERT INTO gateway_pool_entitlements ("orgId", "gatewayPool") VALUES (ORG, true)$$), ($$DELETE FROM gateway_pool_entitlements WHERE "orgId" = ORG$$),
    ($$INSERT INTO gateway_states ("gatewayId", state) VALUES (GATEWAY, 'draining')$$), ($$UPDATE gateway_states SET state = 'draining' WHERE "gatewayId" = GATEWAY$$),
    ($$INSERT INTO gateway_probes ("gatewayId", protocol, address) VALUES (GATEWAY, 'tcp', 'localhost:1')$$), ($$DELETE FROM gateway_probes WHERE "gatewayId" = GATEWAY$$),
    ($$INSERT INTO gateway_health ("gatewayId", status) VALUES (GATEWAY, 'unhealthy')$$), ($$UPDATE gateway_health SET status = 'unhealthy' WHERE "gatewayId" = GATEWAY$$),
    ($$INSERT INTO gateway_health_events ("gatewayId", "orgId", "oldStatus", "newStatus") VALUES (GATEWAY, ORG, 'unknown', 'healthy')$$),
    ($$UPDATE identity_kubernetes_auths SET "gatewayPoolId" = POOL WHERE "gatewayPoolId" = APOOL$$),
    ($$UPDATE identity_kubernetes_auths SET "gatewayPoolId" = POOL WHERE "gatewayPoolId" IS DISTINCT FROM APOOL$$);
UPDATE public.statements SET statement = replace(replace(replace(statement, 'ACME', $$'00000000-0000-0000-0000-00000000000a'$$),
    'APOOL', $$'00000000-0000-0000-0000-000000000001'$$), 'A1', $$'00000000-0000-0000-0000-0000000000a1'$$);
CREATE FUNCTION public.with_ids(statement text, org text, pool text, gateway text) RETURNS text LANGUAGE sql AS $$
    SELECT replace(replace(replace(statement, 'ORG', quote_literal('00000000-0000-0000-0000-0000000000' || org)),
                           'POOL', quote_literal('00000000-0000-0000-0000-0000000000' || pool)), 'GATEWAY', quote_literal('00000000-0000-0000-0000-0000000000' || gateway))
$$;
-- The host has to hide the consumer's row of the other organization; it has no pool now.
UPDATE identity_kubernetes_auths SET "gatewayPoolId" = NULL WHERE "gatewayPoolId" = :bpool;
UPDATE organizations SET "requireGatewayPools" = true WHERE id = :bolt;
-- Each statement: how it ends for rows of the other organization, and for missing ones.
CREATE VIEW public.compared AS
    SELECT s.n, regexp_replace(s.statement, '''(0+-)+0+', '''', 'g') AS statement, role, o.foreign_row, o.missing_row
      FROM unnest('{regress_a,regress_a_member,regress_none}'::text[]) role
     CROSS JOIN public.statements s
     CROSS JOIN LATERAL (SELECT ends(role, with_ids(s.statement, '0b', '09', 'b1')), ends(role, with_ids(s.statement, 'ff', 'fe', 'fd'))) o (foreign_row, missing_row);
SELECT statement, CASE WHEN foreign_row = missing_row THEN foreign_row ELSE 'FOREIGN ' || foreign_row || ' MISSING ' || missing_row END
  FROM public.compared WHERE role = 'regress_a' ORDER BY n;
SELECT role, statement, foreign_row, missing_row FROM public.compared WHERE foreign_row <> missing_row;
-- The same with default_entitlement on.
SET gateway_pool.default_entitlement = on;
SELECT role, statement, foreign_row, missing_row FROM public.compared WHERE foreign_row <> missing_row;
SELECT statement, foreign_row FROM public.compared WHERE role = 'regress_a' AND statement ~ 'create|list|get_gateway_pool\(|plan' ORDER BY n;
RESET gateway_pool.default_entitlement;
-- The actions do not allow choosing an id, because that would reveal which ids exist.
CREATE ROLE regress_actions IN ROLE regress_none;
REVOKE regress_none FROM regress_actions;
SELECT grant_gateway_pool_access('regress_actions', '{list, create, edit, delete, attach, pick}');
INSERT INTO gateway_pool_tenants VALUES ('regress_actions', :acme);
SELECT ends('regress_actions', with_ids(s, '0a', '09', 'b1')), ends('regress_actions', with_ids(s, '0a', 'fe', 'fd'))
  FROM unnest(ARRAY[$$INSERT INTO gateway_pools (id, "orgId", name) VALUES (POOL, ORG, 'x')$$, $$UPDATE gateway_pools SET id = POOL WHERE name = 'a-spare'$$]) s;

--
-- Rows of the own organization work as without isolation
--
SELECT regexp_replace(s.statement, '''(0+-)+0+', '''', 'g'),
       left(ends('regress_a', with_ids(s.statement, '0a', '01', 'a2')), 80) AS a, left(ends('regress_b', with_ids(s.statement, '0a', '01', 'a2')), 60) AS b
  FROM public.statements s WHERE s.statement !~ 'probe_gateway|gateway_status|pool_members\(|_options|gateway_health|probe_status' ORDER BY n;
SELECT role, ends(role, 'SELECT pick_healthy_gateway(''00000000-0000-0000-0000-000000000001'')') AS a, ends(role, 'SELECT pick_healthy_gateway(''00000000-0000-0000-0000-000000000009'')') AS b
  FROM unnest('{regress_a,regress_a_member,regress_b,regress_both,regress_none,regress_backup}'::text[]) role;
SELECT ends('regress_a', 'SELECT * FROM check_gateway_pools()');
SELECT ends('regress_backup', 'SELECT * FROM check_gateway_pools()');
SELECT ends('regress_a', 'SELECT "gatewayPoolId", "orgId", picks > 0 FROM gateway_pool_stats WHERE "gatewayId" IS NULL');
SELECT ends('regress_a', 'INSERT INTO gateway_pool_tenants VALUES (''regress_a'', ''00000000-0000-0000-0000-00000000000b'')');

--
-- Changes of tenants
--
\set who 'SELECT ends(\'regress_a\', $$SELECT pick_healthy_gateway(\'00000000-0000-0000-0000-000000000001\')$$) AS a, ends(\'regress_a\', $$SELECT pick_healthy_gateway(\'00000000-0000-0000-0000-000000000009\')$$) AS b, ends(\'regress_a\', \'SELECT name FROM gateway_pools ORDER BY 1\');'
:who
INSERT INTO gateway_pool_tenants VALUES ('regress_a', :bolt);
:who
UPDATE gateway_pool_tenants SET "roleName" = 'regress_none' WHERE "roleName" = 'regress_a' AND "orgId" = :bolt;
:who
BEGIN;
INSERT INTO gateway_pool_tenants VALUES ('regress_a', :bolt);
:who
ROLLBACK;
:who
BEGIN;
SAVEPOINT s;
DELETE FROM gateway_pool_tenants;
:who
ROLLBACK TO s;
:who
TRUNCATE gateway_pool_tenants;
:who
ROLLBACK;
:who
-- A statement that fails midway invalidates nothing.
BEGIN;
SAVEPOINT s;
CREATE FUNCTION public.picks() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE WARNING '%', ends('regress_a', 'SELECT pick_healthy_gateway(''00000000-0000-0000-0000-000000000009'')');
    RAISE 'stop';
END
$$;
CREATE TRIGGER zz_picks AFTER INSERT ON gateway_pool_tenants FOR EACH ROW EXECUTE FUNCTION public.picks();
INSERT INTO gateway_pool_tenants VALUES ('regress_a', :bolt);
ROLLBACK TO s;
:who
ROLLBACK;
-- Changes of roles.
GRANT regress_b TO regress_a;
:who
BEGIN;
REVOKE regress_b FROM regress_a;
:who
ROLLBACK;
:who
REVOKE regress_b FROM regress_a;
ALTER ROLE regress_a BYPASSRLS;
:who
ALTER ROLE regress_a NOBYPASSRLS;
ALTER ROLE regress_a RENAME TO regress_a_new;
SELECT ends('regress_a_new', 'SELECT name FROM gateway_pools');
SELECT problem, object, detail, regexp_replace(remedy, 'app\.', '') FROM check_gateway_pools() WHERE object <> 'gateway_pool_workers';
ALTER ROLE regress_a_new RENAME TO regress_a;
:who
-- Deleting an organization deletes its tenants.
BEGIN;
DELETE FROM organizations WHERE id = :acme;
SELECT "roleName" FROM gateway_pool_tenants ORDER BY 1;
ROLLBACK;

--
-- A query of one role, and a function of another role
--
CREATE FUNCTION public.pools_of_owner() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS 'SELECT count(*) FROM app.gateway_pools';
CREATE FUNCTION public.status_of_owner() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS 'SELECT count(*) FROM app.gateway_pool_status';
SET ROLE regress_a;
SELECT (SELECT count(*) FROM gateway_pools), public.pools_of_owner(), (SELECT count(*) FROM gateway_pool_status), public.status_of_owner(), (SELECT count(*) FROM gateway_pools);
PREPARE pools AS SELECT name FROM gateway_pools ORDER BY 1;
EXECUTE pools;
SET ROLE regress_b;
EXECUTE pools;
RESET ROLE;
EXECUTE pools;
DEALLOCATE pools;

--
-- Without the extension only the owner sees rows; after CREATE EXTENSION all is as before
--
SELECT disable_gateway_pool_isolation();
SELECT seen FROM public.seen WHERE relation IN ('gateway_pools', 'gateway_status');
SELECT count(*) FROM pg_policies WHERE schemaname = 'app';
SELECT relname FROM pg_class WHERE relnamespace = 'app'::regnamespace AND relrowsecurity;
SELECT disable_gateway_pool_isolation();
SELECT enable_gateway_pool_isolation();
DROP VIEW public.seen;
CREATE VIEW public.seen AS
    SELECT relation, string_agg(format('%s: %s', role, sees('regress_' || role, relation)), ', ' ORDER BY place) AS seen
      FROM unnest('{gateway_pools,gateway_pool_memberships,gateway_states,gateway_health_events,gateway_pool_audit_logs}'::text[]) relation
     CROSS JOIN unnest('{a,b,none,backup}'::text[]) WITH ORDINALITY r (role, place)
     GROUP BY relation;
SELECT fails('DROP EXTENSION gateway_pool') LIMIT 1;
DROP EXTENSION gateway_pool CASCADE;
SELECT * FROM public.seen ORDER BY 1;
SELECT count(*) FROM gateway_pools;
CREATE EXTENSION gateway_pool SCHEMA app;
SELECT * FROM check_gateway_pools() WHERE object <> 'gateway_pool_workers';
SELECT * FROM public.seen ORDER BY 1;
:who
-- Missing parts are reported, and installing again repairs them.
DROP POLICY "GatewayPools_isolation" ON gateway_states;
ALTER POLICY "GatewayPools_isolation" ON gateway_pool_memberships USING (true);
ALTER TABLE gateway_health DISABLE ROW LEVEL SECURITY;
SELECT problem, object, detail FROM check_gateway_pools() WHERE object <> 'gateway_pool_workers';
SELECT install_gateway_pools();
SELECT * FROM check_gateway_pools() WHERE object <> 'gateway_pool_workers';
ALTER TABLE gateway_pools DISABLE ROW LEVEL SECURITY;
SELECT problem, object, detail FROM check_gateway_pools() WHERE object <> 'gateway_pool_workers';
-- Tables with remaining policies still show no rows.
SELECT ends('regress_a', 'SELECT count(*) FROM gateway_pools'), ends('regress_a', 'SELECT count(*) FROM gateway_pool_memberships'), ends('regress_none', 'SELECT count(*) FROM gateway_states');
SELECT disable_gateway_pool_isolation();
SELECT * FROM check_gateway_pools() WHERE object <> 'gateway_pool_workers';
-- Tables that the owner isolates by other policies stay isolated.
ALTER TABLE gateway_probes ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON gateway_probes USING (required);
-- So do tables of any owner with policies that call functions of the extension.
CREATE POLICY own ON gateway_states AS RESTRICTIVE USING (gateway_pool_internal.is_tenant_of_gateway("gatewayId"));
CREATE TABLE public.strangers ("orgId" uuid);
ALTER TABLE public.strangers OWNER TO regress_none;
CREATE POLICY own ON public.strangers AS RESTRICTIVE USING (gateway_pool_internal.is_tenant("orgId"));
SELECT enable_gateway_pool_isolation();
SELECT disable_gateway_pool_isolation();
SELECT polname, polrelid::regclass FROM pg_policy ORDER BY 2;
DROP TABLE public.strangers;
DROP POLICY own ON gateway_states;
SELECT enable_gateway_pool_isolation();
SELECT disable_gateway_pool_isolation();
SELECT relname FROM pg_class WHERE relnamespace = 'app'::regnamespace AND relrowsecurity;
SELECT * FROM check_gateway_pools() WHERE object <> 'gateway_pool_workers';
DROP POLICY own ON gateway_probes;
-- Uninstalling leaves row-level security enabled, too.
SELECT enable_gateway_pool_isolation();
SELECT uninstall_gateway_pools();
DROP EXTENSION gateway_pool;
SELECT * FROM public.seen ORDER BY 1;
CREATE EXTENSION gateway_pool SCHEMA app;
SELECT * FROM public.seen ORDER BY 1;
SELECT uninstall_gateway_pools(false);
SELECT count(*) FROM pg_class WHERE relnamespace = 'app'::regnamespace AND relname LIKE 'gateway_pool%' AND relkind = 'r';

DROP EXTENSION gateway_pool;
DROP VIEW public.seen, public.compared;
DROP SCHEMA app CASCADE;
DROP TABLE public.statements;
DROP FUNCTION public.ends(text, text), public.sees(text, text), public.with_ids(text, text, text, text), public.pools_of_owner(), public.status_of_owner();
DROP ROLE regress_a, regress_b, regress_a_member, regress_both, regress_none, regress_backup, regress_actions;
