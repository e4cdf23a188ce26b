\i test/setup.sql
-- Each action, for a role that has only this action, and for one that has all
-- others: by functions, by plain statements and by views.
SET client_min_messages = error;
SELECT host_test.make_host('app', 2);
CREATE EXTENSION gateway_pool SCHEMA app;
\i test/first_pick.sql
\set acme '\'00000000-0000-0000-0000-00000000000a\''
\set pool '\'00000000-0000-0000-0000-000000000001\''
\set spare '\'00000000-0000-0000-0000-000000000002\''
\set g1 '\'00000000-0000-0000-0000-0000000000a1\''
\set g2 '\'00000000-0000-0000-0000-0000000000a2\''
\set auth '\'00000000-0000-0000-0000-0000000000c1\''
SELECT host_test.add_org('app', 'acme', :acme);
SELECT host_test.add_gateway('app', :acme, 'g1', '0', :g1), host_test.add_gateway('app', :acme, 'g2', '0', :g2);
SELECT host_test.add_kubernetes_auth('app', :acme, 'k', :auth);
SELECT set_gateway_pool_entitlement(:acme, true);
INSERT INTO gateway_pools (id, "orgId", name) VALUES (:pool, :acme, 'eu'), (:spare, :acme, 'spare');
INSERT INTO gateway_pool_memberships ("gatewayPoolId", "gatewayId") VALUES (:pool, :g1);
-- Another consumer, with a pool column only.
CREATE TABLE app_connections (id int PRIMARY KEY, "orgId" uuid, "gatewayPoolId" uuid REFERENCES gateway_pools);
SELECT register_pool_consumer('app_connections');
INSERT INTO app_connections VALUES (1, :acme, NULL);

-- For each action, one role that has only this one, and one that has all others.
CREATE TABLE public.actions AS SELECT action, 'regress_only_' || action AS alone, 'regress_but_' || action AS others
  FROM unnest('{list,create,edit,delete,attach,pick}'::text[]) action;
DO $$
DECLARE
    a record;
BEGIN
    FOR a IN SELECT * FROM public.actions LOOP
        EXECUTE format('CREATE ROLE %I; CREATE ROLE %I; GRANT USAGE ON SCHEMA app TO %1$I, %2$I', a.alone, a.others);
    END LOOP;
END
$$;
SELECT action, grant_gateway_pool_access(alone::regrole, ARRAY[action]),
       grant_gateway_pool_access(others::regrole, ARRAY(SELECT o.action FROM public.actions o WHERE o.action <> a.action))
  FROM public.actions a ORDER BY 1;
-- What was granted: list includes pick.
SELECT a.action, (SELECT string_agg(o.action, ' ' ORDER BY 1) FROM public.actions o WHERE has_gateway_pool_access(a.alone::regrole, o.action)),
       (SELECT string_agg(o.action, ' ' ORDER BY 1) FROM public.actions o WHERE has_gateway_pool_access(a.others::regrole, o.action))
  FROM public.actions a ORDER BY 1;
SELECT c.relname, x.grantee::regrole, string_agg(x.privilege_type, ' ' ORDER BY 1)
  FROM pg_class c, aclexplode(c.relacl) x WHERE x.grantee::regrole::text LIKE 'regress_only%' GROUP BY 1, 2 ORDER BY 1, 2::text;
SELECT c.relname, x.grantee::regrole, x.privilege_type, string_agg(t.attname, ' ' ORDER BY t.attnum)
  FROM pg_attribute t JOIN pg_class c ON c.oid = t.attrelid, aclexplode(t.attacl) x
 WHERE x.grantee::regrole::text LIKE 'regress_only%' GROUP BY 1, 2, 3 ORDER BY 1, 2::text, 3;

-- Returns how a statement ends for a role; its changes are undone.
CREATE FUNCTION public.ends(role text, statement text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('SET LOCAL ROLE %I', role);
    EXECUTE statement;
    RAISE SQLSTATE 'ZZ000';
EXCEPTION
    WHEN SQLSTATE 'ZZ000' THEN RETURN 'done';
    WHEN OTHERS THEN RETURN SQLSTATE || ' ' || SQLERRM;
END
$$;
CREATE TABLE public.statements (n int GENERATED ALWAYS AS IDENTITY, statement text);
INSERT INTO public.statements (statement) VALUES
    ($$SELECT create_gateway_pool(ACME, 'x')$$),
    ($$INSERT INTO gateway_pools ("orgId", name) VALUES (ACME, 'x')$$),
    ($$INSERT INTO gateway_pools (id, "orgId", name) VALUES (gen_random_uuid(), ACME, 'x')$$),
    ($$INSERT INTO gateway_pools ("orgId", name) VALUES (ACME, 'x') RETURNING name$$),
    ($$SELECT list_gateway_pools(ACME)$$),
    ($$SELECT get_gateway_pool(ACME, POOL)$$),
    ($$SELECT get_gateway_pool_resources(ACME, POOL)$$),
    ($$SELECT get_gateway_pool_plan(ACME)$$),
    ($$SELECT gateway_pool_id(ACME, 'eu')$$),
    ($$SELECT gateway_id(ACME, 'g1')$$),
    ($$SELECT gateway_dependents(G1)$$),
    ($$SELECT name FROM gateway_pools$$),
    ($$SELECT id FROM gateway_pools$$),
    ($$SELECT "pickWeight" FROM gateway_pool_memberships$$),
    ($$SELECT * FROM gateway_pool_status$$),
    ($$SELECT * FROM gateway_pool_members$$),
    ($$SELECT * FROM gateway_status$$),
    ($$SELECT * FROM gateway_probe_status$$),
    ($$SELECT * FROM gateway_options$$),
    ($$SELECT * FROM gateway_pool_stats$$),
    ($$SELECT * FROM check_gateway_pools()$$),
    ($$SELECT update_gateway_pool(ACME, POOL, 'x')$$),
    ($$SELECT update_gateway_pool(ACME, POOL, NULL)$$),
    ($$UPDATE gateway_pools SET name = 'x' WHERE id = POOL$$),
    ($$UPDATE gateway_pools SET name = name || 'x'$$),
    ($$UPDATE gateway_pools SET name = 'x' WHERE false$$),
    ($$UPDATE gateway_pools SET "orgId" = ACME$$),
    ($$SELECT add_gateway_to_pool(ACME, POOL, G2)$$),
    ($$SELECT add_gateway_to_pool(ACME, POOL, G2, 7, 2)$$),
    ($$INSERT INTO gateway_pool_memberships ("gatewayPoolId", "gatewayId") VALUES (POOL, G2)$$),
    ($$INSERT INTO gateway_pool_memberships ("gatewayPoolId", "gatewayId", "pickWeight", "pickPriority") VALUES (POOL, G2, 2, 3)$$),
    ($$UPDATE gateway_pool_memberships SET "pickWeight" = 2, "pickPriority" = 3$$),
    ($$UPDATE gateway_pool_memberships SET "gatewayId" = G2$$),
    ($$SELECT remove_gateway_from_pool(ACME, POOL, G1)$$),
    ($$SELECT set_gateway_pool_members(ACME, POOL, ARRAY[G2]::uuid[])$$),
    ($$DELETE FROM gateway_pool_memberships$$),
    ($$SELECT delete_gateway_pool(ACME, SPARE)$$),
    ($$DELETE FROM gateway_pools$$),
    ($$DELETE FROM gateway_pools WHERE id = SPARE$$),
    ($$TRUNCATE gateway_pools CASCADE$$),
    ($$UPDATE identity_kubernetes_auths SET "gatewayPoolId" = POOL$$),
    ($$UPDATE identity_kubernetes_auths SET "gatewayPoolId" = NULL, "gatewayV2Id" = G1$$),
    ($$UPDATE identity_kubernetes_auths SET "identityId" = gen_random_uuid()$$),
    ($$UPDATE app_connections SET "gatewayPoolId" = POOL$$),
    ($$UPDATE app_connections SET "orgId" = ACME$$),
    ($$SELECT pick_healthy_gateway(POOL)$$),
    ($$SELECT pick_healthy_gateway(POOL, strategy => 'least_loaded')$$),
    ($$SELECT pick_healthy_gateways(POOL)$$),
    ($$SELECT resolve_gateway(NULL, POOL)$$),
    ($$SELECT explain_gateway_pick(POOL)$$),
    ($$SELECT report_gateway_failure(G1)$$),
    ($$SELECT release_gateway(G1)$$),
    ($$SELECT record_gateway_heartbeat(G1)$$),
    ($$SELECT report_gateway_load(G1, 1)$$),
    ($$SELECT probe_gateway(G1)$$),
    ($$SELECT set_gateway_state(G1, 'active')$$),
    ($$SELECT set_gateway_probe(G1, 'tcp', 'gw:1')$$),
    ($$SELECT set_gateway_pool_entitlement(ACME, true)$$),
    ($$SELECT reset_gateway_pool_stats()$$),
    ($$SELECT name FROM organizations$$),
    ($$SELECT name FROM gateways_v2$$);
UPDATE public.statements SET statement = replace(replace(replace(replace(replace(statement, 'ACME', $$'00000000-0000-0000-0000-00000000000a'$$),
    'POOL', $$'00000000-0000-0000-0000-000000000001'$$), 'SPARE', $$'00000000-0000-0000-0000-000000000002'$$),
    'G1', $$'00000000-0000-0000-0000-0000000000a1'$$), 'G2', $$'00000000-0000-0000-0000-0000000000a2'$$);
-- Each statement, with the actions that suffice alone, and those without which it fails.
SELECT regexp_replace(s.statement, '''(0+-)+0+', '''', 'g'),
       coalesce(string_agg(a.action, ' ' ORDER BY a.action) FILTER (WHERE ends(a.alone, s.statement) = 'done'), '-') AS alone,
       coalesce(string_agg(a.action, ' ' ORDER BY a.action) FILTER (WHERE ends(a.others, s.statement) <> 'done'), '-') AS needs
  FROM public.statements s CROSS JOIN public.actions a
 GROUP BY s.n, s.statement ORDER BY s.n;
-- Every refusal is a missing privilege.
SELECT s.statement, a.action, e
  FROM public.statements s CROSS JOIN public.actions a CROSS JOIN unnest(ARRAY[a.alone, a.others]) role CROSS JOIN ends(role, s.statement) e
 WHERE e <> 'done' AND e !~ '^42501 (permission denied for table|must be owner of table) \w+$';
-- A role that has nothing can do what each function does after the commands of the hints alone.
CREATE ROLE "regress No one";
GRANT USAGE ON SCHEMA app TO "regress No one";
CREATE FUNCTION public.obey(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    hint text;
    commands text[] := '{}';
BEGIN
    FOR i IN 1 .. 5 LOOP
        BEGIN
            SET LOCAL ROLE "regress No one";
            EXECUTE statement;
            RAISE SQLSTATE 'ZZ000';
        EXCEPTION
            WHEN SQLSTATE 'ZZ000' OR object_not_in_prerequisite_state THEN EXIT;
            WHEN insufficient_privilege THEN
                GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
        END;
        hint := substring(hint FROM '^The owner of the table can grant the privilege with (.*)\.$');
        EXECUTE CASE WHEN hint ~ '^grant_' THEN 'SELECT ' ELSE '' END || hint;
        commands := commands || hint;
    END LOOP;
    RAISE SQLSTATE 'ZZ000' USING MESSAGE = array_to_string(commands, '; ');
EXCEPTION
    WHEN SQLSTATE 'ZZ000' THEN RETURN SQLERRM;
END
$$;
SELECT regexp_replace(s.statement, '^SELECT (\w+).*', '\1'), obey(s.statement)
  FROM public.statements s
 WHERE s.statement ~ '^SELECT (?!reset)\w+\(' ORDER BY s.n;
DROP FUNCTION public.obey;
DROP OWNED BY "regress No one";
DROP ROLE "regress No one";
-- An error shows the name of a pool only to a role that may read it.
SELECT role, ends(role, $$SELECT pick_healthy_gateway('00000000-0000-0000-0000-000000000002')$$) FROM unnest('{regress_only_list,regress_only_pick}'::text[]) role;

--
-- Privileges are checked before the entitlement, and that before existence
--
CREATE ROLE regress_access;
GRANT USAGE ON SCHEMA app TO regress_access;
SELECT set_gateway_pool_entitlement(:acme, false);
SELECT ends('regress_access', $$SELECT delete_gateway_pool('00000000-0000-0000-0000-00000000000a', NULL)$$);
SELECT ends('regress_only_delete', $$SELECT delete_gateway_pool('00000000-0000-0000-0000-00000000000a', NULL)$$);
SELECT set_gateway_pool_entitlement(:acme, true);
SELECT ends('regress_only_delete', $$SELECT delete_gateway_pool('00000000-0000-0000-0000-00000000000a', NULL)$$);
SELECT ends('regress_only_delete', $$SELECT delete_gateway_pool('00000000-0000-0000-0000-00000000000a', '00000000-0000-0000-0000-0000000000ff')$$);
SELECT ends('regress_only_create', $$SELECT create_gateway_pool('00000000-0000-0000-0000-00000000000a', 'a b')$$);
SELECT ends('regress_only_create', $$SELECT create_gateway_pool('00000000-0000-0000-0000-00000000000a', 'eu')$$);

--
-- Changes of privileges take effect at the next call of a session, however they are made
--
\set may 'SELECT has_gateway_pool_access(\'regress_access\', \'pick\'), ends(\'regress_access\', $$SELECT pick_healthy_gateway(\'00000000-0000-0000-0000-000000000001\')$$);'
:may
SELECT grant_gateway_pool_access('regress_access', '{pick}');
:may
SELECT revoke_gateway_pool_access('regress_access', '{pick}');
:may
GRANT SELECT (id) ON gateway_pools TO regress_access;
:may
REVOKE SELECT (id) ON gateway_pools FROM regress_access;
:may
GRANT SELECT ON gateway_pools TO PUBLIC;
:may
REVOKE SELECT ON gateway_pools FROM PUBLIC;
:may
GRANT regress_only_pick TO regress_access;
:may
REVOKE regress_only_pick FROM regress_access;
:may
GRANT regress_only_pick TO regress_access;
ALTER ROLE regress_access NOINHERIT;
GRANT regress_only_pick TO regress_access;
SELECT ends('regress_access', $$SET LOCAL ROLE regress_only_pick; SELECT pick_healthy_gateway('00000000-0000-0000-0000-000000000001')$$);
ALTER ROLE regress_access INHERIT;
REVOKE regress_only_pick FROM regress_access;
:may
ALTER ROLE regress_access SUPERUSER;
:may
ALTER ROLE regress_access NOSUPERUSER;
:may
-- Changes that are rolled back have no effect.
BEGIN;
SELECT grant_gateway_pool_access('regress_access', '{pick}');
:may
ROLLBACK;
:may
BEGIN;
SAVEPOINT s;
GRANT regress_only_list TO regress_access;
:may
ROLLBACK TO s;
:may
COMMIT;

--
-- list and pick on the same table
--
SELECT grant_gateway_pool_access('regress_access', '{list, pick}');
SELECT revoke_gateway_pool_access('regress_access', '{list}');
SELECT has_gateway_pool_access('regress_access', 'list'), has_gateway_pool_access('regress_access', 'pick');
SELECT revoke_gateway_pool_access('regress_access', '{pick}');
SELECT grant_gateway_pool_access('regress_access', '{list}');
-- list includes pick, so pick alone cannot be revoked.
SELECT fails($$SELECT revoke_gateway_pool_access('regress_access', '{pick}')$$);
SELECT revoke_gateway_pool_access('regress_access', '{list}');
SELECT has_gateway_pool_access('regress_access', 'list'), has_gateway_pool_access('regress_access', 'pick');
SELECT grant_gateway_pool_access('regress_access', '{pick, list}');
SELECT revoke_gateway_pool_access('regress_access', '{pick, list}');
SELECT has_gateway_pool_access('regress_access', 'list'), has_gateway_pool_access('regress_access', 'pick');

-- Revoking removes grants on whole tables of gateway pools, but not those on the host's tables.
GRANT INSERT, UPDATE, DELETE ON gateway_pools, gateway_pool_memberships TO regress_access;
GRANT UPDATE ON identity_kubernetes_auths, app_connections TO regress_access;
SELECT string_agg(action, ' ' ORDER BY 1) FROM public.actions WHERE has_gateway_pool_access('regress_access', action);
SELECT revoke_gateway_pool_access('regress_access', '{create, edit, delete}');
SELECT string_agg(action, ' ' ORDER BY 1) FROM public.actions WHERE has_gateway_pool_access('regress_access', action);
SELECT fails($$SELECT revoke_gateway_pool_access('regress_access', '{attach}')$$);
REVOKE UPDATE ON identity_kubernetes_auths, app_connections FROM regress_access;

-- An action needs all of its privileges: attach on every consumer, edit on all that it changes.
GRANT UPDATE ("gatewayPoolId", "gatewayV2Id") ON identity_kubernetes_auths TO regress_access;
SELECT has_gateway_pool_access('regress_access', 'attach');
GRANT UPDATE ("gatewayPoolId") ON app_connections TO regress_access;
SELECT has_gateway_pool_access('regress_access', 'attach');
REVOKE UPDATE ("gatewayV2Id") ON identity_kubernetes_auths FROM regress_access;
SELECT has_gateway_pool_access('regress_access', 'attach');
SELECT revoke_gateway_pool_access('regress_access', '{attach}');
GRANT UPDATE (name) ON gateway_pools TO regress_access;
SELECT has_gateway_pool_access('regress_access', 'edit');
-- A function needs only the privileges for what it does.
SELECT ends('regress_access', $$SELECT update_gateway_pool('00000000-0000-0000-0000-00000000000a', '00000000-0000-0000-0000-000000000001', 'x')$$);
SELECT ends('regress_access', $$SELECT remove_gateway_from_pool('00000000-0000-0000-0000-00000000000a', '00000000-0000-0000-0000-000000000001', '00000000-0000-0000-0000-0000000000a1')$$);
SELECT revoke_gateway_pool_access('regress_access', '{edit}');

--
-- Who may grant
--
SELECT ends('regress_access', $$SELECT grant_gateway_pool_access('regress_access', '{pick}')$$);
SELECT ends('regress_access', $$SELECT grant_gateway_pool_access('regress_only_pick', '{pick}')$$);
SELECT ends('regress_access', $$SELECT revoke_gateway_pool_access('regress_only_pick', '{pick}')$$);
-- A role can grant by its own grant option, but no more than that.
GRANT SELECT (id) ON gateway_pools TO regress_access WITH GRANT OPTION;
SELECT ends('regress_access', $$SELECT grant_gateway_pool_access('regress_only_create', '{pick}')$$);
SELECT ends('regress_access', $$SELECT grant_gateway_pool_access('regress_only_create', '{list}')$$);
SELECT ends('regress_access', $$SELECT grant_gateway_pool_access('regress_only_create', '{pick, delete}')$$);
SELECT ends('regress_access', $$SELECT revoke_gateway_pool_access('regress_only_pick', '{pick}')$$);
SET client_min_messages = error;
GRANT INSERT ("orgId") ON gateway_pools TO regress_access WITH GRANT OPTION;
SELECT ends('regress_access', $$SELECT grant_gateway_pool_access('regress_only_pick', '{create}')$$);
SET client_min_messages = warning;
REVOKE ALL (id, "orgId") ON gateway_pools FROM regress_access;
-- Access that is inherited, or that a superuser or owner has, cannot be revoked.
GRANT regress_only_delete TO regress_access;
SELECT fails($$SELECT revoke_gateway_pool_access('regress_access', '{delete}')$$);
REVOKE regress_only_delete FROM regress_access;
SELECT has_gateway_pool_access(current_user::regrole, 'attach');
SELECT count(*) FROM fails(format($$SELECT revoke_gateway_pool_access(%L, '{delete}')$$, current_user)) f WHERE f ~ '^42501';

--
-- Arguments
--
SELECT fails($$SELECT grant_gateway_pool_access(NULL, '{pick}')$$), fails($$SELECT grant_gateway_pool_access('regress_access', NULL)$$);
SELECT fails($$SELECT grant_gateway_pool_access('regress_access', '{pick, NULL}')$$), fails($$SELECT revoke_gateway_pool_access('regress_access', '{NULL}')$$);
SELECT fails($$SELECT grant_gateway_pool_access('regress_access', '{pick, drive}')$$);
SELECT fails($$SELECT grant_gateway_pool_access('regress_access', '{PICK}')$$);
SELECT fails($$SELECT has_gateway_pool_access('regress_access', NULL)$$), fails($$SELECT has_gateway_pool_access(NULL, 'pick')$$);
SELECT fails($$SELECT has_gateway_pool_access('regress_access', '')$$);
SELECT fails($$SELECT has_gateway_pool_access(0, 'pick')$$);
SELECT fails($$SELECT grant_gateway_pool_access(4294967295, '{pick}')$$);
SELECT grant_gateway_pool_access('regress_access', '{}'), revoke_gateway_pool_access('regress_access', '{}');
-- Granting again changes nothing, and names that need quotes work.
CREATE ROLE "regress ""access""";
SELECT grant_gateway_pool_access('"regress ""access"""', '{create, edit, attach, create}');
SELECT grant_gateway_pool_access('"regress ""access"""', '{create, edit}');
SELECT string_agg(action, ' ' ORDER BY 1) FROM public.actions WHERE has_gateway_pool_access('"regress ""access"""', action);
SELECT revoke_gateway_pool_access('"regress ""access"""', '{list, create, edit, delete, attach, pick}');
SELECT revoke_gateway_pool_access('"regress ""access"""', '{list, create, edit, delete, attach, pick}');
SELECT count(*) FROM pg_shdepend WHERE refobjid = '"regress ""access"""'::regrole;

-- attach needs a registered consumer, and every action needs an installation.
SELECT unregister_pool_consumer('app_connections'), unregister_pool_consumer('identity_kubernetes_auths');
SELECT fails($$SELECT grant_gateway_pool_access('regress_access', '{attach}')$$);
SELECT grant_gateway_pool_access('regress_access', '{pick}');
DROP TABLE app_connections;
SELECT uninstall_gateway_pools(false);
SELECT fails($$SELECT grant_gateway_pool_access('regress_access', '{pick}')$$);

DROP EXTENSION gateway_pool;
DROP SCHEMA app CASCADE;
DO $$
DECLARE
    role text;
BEGIN
    FOR role IN SELECT unnest(ARRAY[alone, others]) FROM public.actions UNION SELECT unnest('{regress_access,"regress \"access\""}'::text[]) LOOP
        EXECUTE format('DROP OWNED BY %I; DROP ROLE %1$I', role);
    END LOOP;
END
$$;
DROP TABLE public.actions, public.statements;
DROP FUNCTION public.ends(text, text);
