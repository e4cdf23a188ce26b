\i test/setup.sql
-- Names: with the extension in a schema of its own, no later migration of the host finds a name taken,
-- but for those that the host's own migration of gateway pools makes.
SET client_min_messages = error;
DROP SCHEMA IF EXISTS gateway_pool CASCADE;
CREATE SCHEMA gateway_pool;
GRANT USAGE ON SCHEMA gateway_pool TO PUBLIC;
SELECT host_test.make_host('app', 2);
SET search_path = app, gateway_pool, public;
-- The names in the host's schema: of relations, and of constraints and triggers, which are unique in a table.
CREATE VIEW public.names AS
    SELECT 'relation' AS kind, NULL::name AS table_name, relname AS name FROM pg_class WHERE relnamespace = 'app'::regnamespace
     UNION
    SELECT 'type', NULL, typname FROM pg_type WHERE typnamespace = 'app'::regnamespace
     UNION
    SELECT 'function', NULL, proname FROM pg_proc WHERE pronamespace = 'app'::regnamespace
     UNION
    SELECT 'constraint', c.relname, k.conname FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid
     WHERE c.relnamespace = 'app'::regnamespace AND k.contype <> 'n'
     UNION
    SELECT 'trigger', c.relname, t.tgname FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
     WHERE c.relnamespace = 'app'::regnamespace AND NOT t.tgisinternal;
CREATE TABLE public.ours AS TABLE public.names WITH NO DATA;
CREATE TABLE public.before AS TABLE public.names;

CREATE EXTENSION gateway_pool SCHEMA gateway_pool;
SELECT install_gateway_pools('organizations', 'gateways_v2');
INSERT INTO public.ours SELECT * FROM public.names EXCEPT SELECT * FROM public.before;
SELECT host_test.make_all_consumers('app');
CREATE TABLE connections (id int PRIMARY KEY, "orgId" uuid);
TRUNCATE public.before;
INSERT INTO public.before SELECT * FROM public.names;
SELECT count(*) FROM register_infisical_consumers() WHERE registered;
SELECT register_pool_consumer('connections');
INSERT INTO public.ours SELECT * FROM public.names EXCEPT SELECT * FROM public.before;

-- All that is made there; a consumer has the same triggers, index and key as Kubernetes auths.
SELECT kind, table_name, name FROM public.ours
 WHERE table_name ~ '^gateway_pool' OR table_name = 'identity_kubernetes_auths' OR table_name IS NULL AND name ~ 'gateway_pool(_|s)|identity_kub'
 ORDER BY kind, table_name COLLATE "C", name COLLATE "C";
SELECT kind, table_name, name FROM public.ours
 WHERE lower(name) ~ '_(index|unique|foreign|pkey|seq|updatedat)$' ORDER BY kind, table_name COLLATE "C", name COLLATE "C";

SELECT host_test.add_org('app', 'acme', '00000000-0000-0000-0000-00000000000a');
SELECT host_test.add_gateway('app', '00000000-0000-0000-0000-00000000000a', 'g', '0', '00000000-0000-0000-0000-0000000000a1');
SELECT set_gateway_pool_entitlement('00000000-0000-0000-0000-00000000000a', true);
SELECT name FROM create_gateway_pool('00000000-0000-0000-0000-00000000000a', 'x');
SELECT gateway_pool_id('00000000-0000-0000-0000-00000000000a', 'x') AS x \gset
SELECT "gatewayId" FROM add_gateway_to_pool('00000000-0000-0000-0000-00000000000a', :'x', '00000000-0000-0000-0000-0000000000a1');
SELECT pick_healthy_gateway(:'x');

--
-- What the host's migrations may make
--
-- Runs statements; returns those that fail because of a name of ours.
CREATE FUNCTION public.taken(statements text[]) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    statement text;
BEGIN
    FOREACH statement IN ARRAY statements
    LOOP
        BEGIN
            EXECUTE statement;
        EXCEPTION
            WHEN duplicate_table OR duplicate_object OR duplicate_column THEN
                RETURN QUERY
                    SELECT format('%s %s', o.kind, o.name)
                      FROM regexp_match(SQLERRM, '^(\w+) "([^"]*)"(?: (?:for|of) relation "([^"]*)")? already exists$') m
                      JOIN public.ours o ON o.kind = m[1] AND o.name = m[2] AND o.table_name IS NOT DISTINCT FROM m[3];
        END;
    END LOOP;
END
$$;
CREATE TABLE public.columns AS
    SELECT c.relname, a.attname, format_type(a.atttypid, NULL) IN ('json', 'bytea[]') AS unordered
      FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
     WHERE c.relnamespace = 'app'::regnamespace AND c.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped
       AND (c.relname IN ('gateway_pools', 'gateway_pool_memberships', 'organizations', 'gateways_v2')
            OR EXISTS (SELECT FROM gateway_pool_consumers() g WHERE g.consumer = c.oid));
SELECT count(DISTINCT relname) FROM public.columns;
-- Columns.
SELECT taken(array_agg(format('ALTER TABLE %I ADD %I text', c.relname, n)))
  FROM (SELECT DISTINCT relname FROM public.columns) c
 CROSS JOIN unnest('{weight,priority,pick_weight,state,status,reason,health,strategy,position,tags}'::text[]) n;
-- An index, a unique key and a foreign key of each column, and of each two columns of our tables; the name of a
-- constraint is unique in its table, whatever its kind.
SELECT taken(array_agg(s ORDER BY s COLLATE "C"))
  FROM public.columns c
 CROSS JOIN LATERAL (VALUES
    (format('CREATE INDEX %I ON %I (%I)', lower(c.relname || '_' || c.attname || '_index'), c.relname, c.attname)),
    (format('ALTER TABLE %I ADD CONSTRAINT %I UNIQUE (id, %I)', c.relname, lower(c.relname || '_' || c.attname || '_unique'), c.attname)),
    (format('ALTER TABLE %I ADD CONSTRAINT %I CHECK (true)', c.relname, lower(c.relname || '_' || c.attname || '_foreign')))) v (s)
 WHERE NOT c.unordered AND c.attname <> 'id';
SELECT taken(array_agg(s ORDER BY s COLLATE "C"))
  FROM public.columns c
  JOIN public.columns d ON d.relname = c.relname AND d.attname <> c.attname
 CROSS JOIN LATERAL (VALUES
    (format('CREATE INDEX %I ON %I (%I, %I)', lower(c.relname || '_' || c.attname || '_' || d.attname || '_index'), c.relname, c.attname, d.attname)),
    (format('ALTER TABLE %I ADD CONSTRAINT %I UNIQUE (%I, %I)',
            c.relname, lower(c.relname || '_' || c.attname || '_' || d.attname || '_unique'), c.attname, d.attname))) v (s)
 WHERE c.relname IN ('gateway_pools', 'gateway_pool_memberships');
SELECT taken(array_agg(format('ALTER TABLE %I ADD CONSTRAINT %I CHECK (true)', c.relname, c.relname || '_pkey') ORDER BY c.relname))
  FROM (SELECT DISTINCT relname FROM public.columns) c;
-- The trigger of "updatedAt".
SELECT taken(array_agg(format('CREATE TRIGGER %I BEFORE UPDATE ON %I FOR EACH ROW EXECUTE FUNCTION on_update_timestamp()', c.relname || '_updatedAt', c.relname)
             ORDER BY c.relname))
  FROM (SELECT DISTINCT relname FROM public.columns) c;
-- Tables of the names that are in the schema of the extension, with their indexes, keys and triggers; and types and functions.
SELECT taken(array_agg(format('CREATE TABLE app.%I (id serial PRIMARY KEY, "gatewayId" uuid REFERENCES gateways_v2, state text, "updatedAt" timestamptz);
                               CREATE INDEX %I ON app.%I (state); ALTER TABLE app.%I ADD CONSTRAINT %I UNIQUE ("gatewayId", state);
                               CREATE TRIGGER %I BEFORE UPDATE ON app.%I FOR EACH ROW EXECUTE FUNCTION on_update_timestamp()',
                              c.relname, c.relname || '_state_index', c.relname, c.relname, c.relname || '_unique', c.relname || '_updatedAt', c.relname)))
  FROM pg_class c WHERE c.relnamespace = 'gateway_pool'::regnamespace AND c.relkind IN ('r', 'v');
SELECT relname FROM pg_class WHERE relnamespace = 'app'::regnamespace AND relkind = 'r' AND relname ~ '^gateway_(h|s|pr)' ORDER BY 1;
SELECT taken(array_agg(DISTINCT format('CREATE FUNCTION app.%I() RETURNS int LANGUAGE sql AS ''SELECT 1''', p.proname)))
  FROM pg_proc p WHERE p.pronamespace = 'gateway_pool'::regnamespace;
SELECT count(*) FROM pg_class WHERE relnamespace = 'app'::regnamespace AND relname = 'identity_kubernetes_auths_gatewaypoolid_index';

-- Picks go on, and health, reports, and the rest.
SELECT gateway_pool.pick_healthy_gateway(:'x');
SELECT status, state FROM gateway_pool.gateway_status;
SELECT gateway_pool.set_gateway_state('00000000-0000-0000-0000-0000000000a1', 'draining');
SELECT fails(format('SELECT gateway_pool.pick_healthy_gateway(%L)', :'x')) LIMIT 2;
SELECT gateway_pool.set_gateway_state('00000000-0000-0000-0000-0000000000a1', 'active');
UPDATE gateways_v2 SET heartbeat = now() - interval '1 day';
SELECT status FROM gateway_pool.gateway_status;
UPDATE gateways_v2 SET heartbeat = now();
SELECT gateway_pool.pick_healthy_gateway(:'x');
SELECT * FROM gateway_pool.check_gateway_pools() WHERE object <> 'gateway_pool_workers';
SELECT gateway_pool.install_gateway_pools();
SELECT * FROM gateway_pool.check_gateway_pools() WHERE object <> 'gateway_pool_workers';
SELECT count(*) FROM gateway_pool.register_infisical_consumers() WHERE registered;
-- Again from the start: the extension's own tables are found, not the host's of the same names.
DROP EXTENSION gateway_pool CASCADE;
CREATE EXTENSION gateway_pool SCHEMA gateway_pool;
SELECT gateway_pool.install_gateway_pools('organizations', 'gateways_v2');
SELECT count(*) FROM gateway_pool.register_infisical_consumers() WHERE registered;
SELECT gateway_pool.register_pool_consumer('connections');
SELECT * FROM gateway_pool.check_gateway_pools() WHERE object <> 'gateway_pool_workers';
SELECT gateway_pool.pick_healthy_gateway(:'x');
DROP EXTENSION gateway_pool CASCADE;
DROP SCHEMA app, gateway_pool CASCADE;
DROP TABLE public.ours, public.before, public.columns;
DROP FUNCTION public.taken;
