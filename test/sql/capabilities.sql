\i test/setup.sql
-- Values that the host's columns accept, but the types that the extension uses do not,
-- and large ones: they affect only their gateway; a session stores equal values once, up to a bound.
SELECT host_test.make_host('app', 2);
CREATE EXTENSION gateway_pool SCHEMA app;
\set acme '\'00000000-0000-0000-0000-00000000000a\''
\set pool '\'00000000-0000-0000-0000-000000000001\''
SELECT host_test.add_org('app', 'acme', :acme);
SELECT set_gateway_pool_entitlement(:acme, true, -1);
INSERT INTO gateway_pools (id, "orgId", name) VALUES (:pool, :acme, 'eu');
SELECT host_test.add_gateway('app', :acme, 'g' || i, '0s', ('00000000-0000-0000-0000-0000000000a' || i)::uuid)
  FROM generate_series(1, 3) i;
INSERT INTO gateway_pool_memberships ("gatewayPoolId", "gatewayId") SELECT :pool, id FROM gateways_v2;
DROP INDEX gateways_v2_capabilities_gin_idx;
ALTER TABLE gateways_v2 ALTER capabilities TYPE json;
UPDATE gateways_v2 SET capabilities = '{"ssh": true}' WHERE name <> 'g3';

-- Returns what picks, explanations and views report while g1 has such values, in a session
-- that has cached the pool, and within a subtransaction, which the extension does not end.
CREATE FUNCTION app.seen() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    seen text;
BEGIN
    BEGIN
        SELECT concat_ws(' | ',
            (SELECT string_agg(DISTINCT g.name, ' ' ORDER BY g.name)
               FROM (SELECT app.pick_healthy_gateway('00000000-0000-0000-0000-000000000001') p FROM generate_series(1, 200)) s
               JOIN app.gateways_v2 g ON g.id = p),
            (SELECT string_agg(DISTINCT g.name, ' ' ORDER BY g.name)
               FROM (SELECT app.pick_healthy_gateway('00000000-0000-0000-0000-000000000001', capabilities => '{"ssh": true}') p
                       FROM generate_series(1, 200)) s
               JOIN app.gateways_v2 g ON g.id = p),
            (SELECT string_agg(verdict, ', ' ORDER BY name)
               FROM app.explain_gateway_pick('00000000-0000-0000-0000-000000000001', capabilities => '{"ssh": true}')),
            (SELECT string_agg(verdict, ', ' ORDER BY name) FROM app.explain_gateway_pick('00000000-0000-0000-0000-000000000001')),
            (SELECT label FROM app.gateway_pool_status))
          INTO seen;
        PERFORM set_config('work_mem', '4567kB', true);
        RAISE USING ERRCODE = 'P0999';
    EXCEPTION WHEN SQLSTATE 'P0999' THEN
        RETURN concat_ws(' | ', seen, current_setting('work_mem') <> '4567kB');
    END;
END
$$;
SELECT seen();
UPDATE gateways_v2 SET capabilities = '{"ssh": true, "version": "\u0000"}' WHERE name = 'g1';
SELECT seen();
UPDATE gateways_v2 SET capabilities = '{"ssh": true, "version": "\ud800"}' WHERE name = 'g1';
SELECT seen();
UPDATE gateways_v2 SET capabilities = '{"ssh": true, "load": 1e1000000}' WHERE name = 'g1';
SELECT seen();
-- Nested deeper than the stack limit of the session that picks.
SET max_stack_depth = '7MB';
UPDATE gateways_v2 SET capabilities = ('{"ssh": true, "deep": ' || repeat('[', 12000) || repeat(']', 12000) || '}')::json WHERE name = 'g1';
SET max_stack_depth = '200kB';
SELECT seen();
RESET max_stack_depth;
UPDATE gateways_v2 SET capabilities = '{"ssh": true, "version": "\u00e9"}' WHERE name = 'g1';
SELECT seen();
-- All gateways have such values.
UPDATE gateways_v2 SET capabilities = '{"ssh": true, "version": "\u0000"}';
SELECT fails($$SELECT pick_healthy_gateway('00000000-0000-0000-0000-000000000001', capabilities => '{"ssh": true}')$$);
SELECT pick_healthy_gateway(:pool) IS NOT NULL;
-- Times-to-live of type numeric: NaN, huge and negative.
ALTER TABLE gateways_v2 ALTER "heartbeatTTL" TYPE numeric;
UPDATE gateways_v2 SET "heartbeatTTL" = CASE name WHEN 'g1' THEN 'NaN' WHEN 'g2' THEN 1e30 ELSE -1e30 END;
SELECT name, status, "heartbeatExpiresAt" > now() + '1 year' AS far FROM gateway_status ORDER BY 1;
SELECT pick_healthy_gateway(:pool) IS NOT NULL;
UPDATE gateways_v2 SET "heartbeatTTL" = 3600;
ALTER TABLE gateways_v2 ALTER "heartbeatTTL" TYPE int;
ALTER TABLE gateways_v2 ALTER capabilities TYPE jsonb USING '{"ssh": true}'::jsonb;
SELECT seen();

CREATE FUNCTION app.name_of(id uuid) RETURNS text LANGUAGE sql AS $$
    SELECT name FROM app.gateways_v2 g WHERE g.id = name_of.id
$$;
-- Memory of a session: none for picks without capabilities; one copy of 200 kB that 300
-- pools share; for 100 kB that are different in each pool, no more than the bound; values
-- that exceed the bound work too.
CREATE FUNCTION app.kept_megabytes() RETURNS int LANGUAGE sql AS $$
    SELECT sum(total_bytes) / 1048576 FROM pg_backend_memory_contexts WHERE name LIKE 'gateway_pool%'
$$;
CREATE FUNCTION app.large(seed int, kilobytes int) RETURNS jsonb LANGUAGE sql AS $$
    SELECT jsonb_build_object('ssh', true, 'seed', seed, 'padding', repeat('x', kilobytes * 1024))
$$;
INSERT INTO gateway_pools ("orgId", name) SELECT :acme, 'm' || i FROM generate_series(1, 300) i;
INSERT INTO gateway_pool_memberships ("gatewayPoolId", "gatewayId")
SELECT p.id, g.id FROM gateway_pools p, gateways_v2 g WHERE p.name ~ '^m' AND g.name IN ('g1', 'g2');
UPDATE gateways_v2 SET capabilities = large(1, 200);
SELECT count(pick_healthy_gateway(id)), kept_megabytes() < 2 AS none FROM gateway_pools GROUP BY ();
SELECT count(pick_healthy_gateway(id, capabilities => '{"ssh": true}')) FROM gateway_pools;
SELECT kept_megabytes() < 2 AS one_copy;
SELECT count(pick_healthy_gateway(id, capabilities => '{"ssh": true, "seed": 2}', null_if_none => true)) FROM gateway_pools;

SELECT count(host_test.add_gateway('app', :acme, 'd' || i, '0s')) FROM generate_series(1, 300) i;
UPDATE gateways_v2 SET capabilities = large(substr(name, 2)::int, 100) WHERE name ~ '^d';
SET client_min_messages = error;
DELETE FROM gateway_pool_memberships WHERE "gatewayPoolId" <> :pool;
RESET client_min_messages;
INSERT INTO gateway_pool_memberships ("gatewayPoolId", "gatewayId")
SELECT p.id, g.id FROM gateway_pools p JOIN gateways_v2 g ON substr(p.name, 2) = substr(g.name, 2) WHERE p.name ~ '^m' AND g.name ~ '^d';
SELECT count(DISTINCT pick_healthy_gateway(id, capabilities => '{"ssh": true}')), kept_megabytes() BETWEEN 8 AND 17 AS bounded
  FROM gateway_pools GROUP BY ();
SELECT count(pick_healthy_gateway(id, capabilities => format('{"seed": %s}', substr(name, 2))::jsonb)) FROM gateway_pools WHERE name ~ '^m';

UPDATE gateways_v2 SET capabilities = large(1, 20 * 1024) WHERE name = 'g1';
SELECT name_of(pick_healthy_gateway(:pool, capabilities => '{"seed": 1}', exclude => ARRAY(SELECT id FROM gateways_v2 WHERE name IN ('g2', 'g3'))))
  FROM generate_series(1, 3);
SELECT count(DISTINCT pick_healthy_gateway(:pool)) FROM generate_series(1, 100);
SELECT kept_megabytes() <= 17 AS bounded;
