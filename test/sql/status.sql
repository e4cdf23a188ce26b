\i test/setup.sql
-- The status at the limits of every stage of the host's table, and the views.
CREATE FUNCTION public.statuses() RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
    RETURN QUERY SELECT concat_ws(' | ', name, status, reason, state, "lastHeartbeatAt" IS NOT NULL,
                     round(extract(epoch FROM "heartbeatExpiresAt" - "lastHeartbeatAt")))
      FROM app.gateway_status ORDER BY name COLLATE "C";
END
$$;
\set acme '\'00000000-0000-0000-0000-00000000000a\''
\set bolt '\'00000000-0000-0000-0000-00000000000b\''

-- No columns with evidence.
SELECT host_test.make_host('app', -1);
CREATE EXTENSION gateway_pool SCHEMA app;
\i test/first_pick.sql
SELECT host_test.add_org('app', 'acme', :acme);
SELECT host_test.add_gateway('app', :acme, 'any') IS NOT NULL;
SELECT statuses();
\i test/setup.sql

-- Heartbeats are fresh for heartbeat_timeout, unless the host's check failed.
SELECT host_test.make_host('app', 0);
CREATE EXTENSION gateway_pool SCHEMA app;
SELECT host_test.add_org('app', 'acme', :acme);
SELECT count(host_test.add_gateway('app', :acme, n, a)) FROM (VALUES
    ('fresh', interval '0'), ('just fresh', '59 min 50 s'), ('just expired', '1 h 1 ms'), ('in grace', '1 h 10 s'),
    ('never', NULL), ('failed', '0'), ('healthy', '0'), ('failed and never', NULL), ('future', '-1 day')) v (n, a);
UPDATE gateways_v2 SET "lastHealthCheckStatus" = 'failed' WHERE name LIKE 'failed%';
UPDATE gateways_v2 SET "lastHealthCheckStatus" = 'healthy' WHERE name = 'healthy';
SELECT statuses();
\i test/setup.sql

-- Times-to-live and grace.
SELECT host_test.make_host('app', 1);
CREATE EXTENSION gateway_pool SCHEMA app;
SELECT host_test.add_org('app', 'acme', :acme);
SELECT count(host_test.add_gateway('app', :acme, n, a)) FROM (VALUES
    ('fresh', interval '0'), ('just fresh', '200 s'), ('just expired', '210 s 1 ms'), ('long', '1 h'),
    ('never', NULL), ('zero', '0'), ('no ttl', '0'), ('negative', '0'), ('huge', '0'), ('future', '-1 day')) v (n, a);
UPDATE gateways_v2 SET "heartbeatTTL" = CASE name WHEN 'zero' THEN 0 WHEN 'negative' THEN -5 WHEN 'no ttl' THEN NULL
    WHEN 'long' THEN 3600 WHEN 'huge' THEN 2147483647 ELSE "heartbeatTTL" END;
SELECT statuses();
UPDATE gateways_v2 SET heartbeat = 'infinity' WHERE name = 'future';
UPDATE gateways_v2 SET heartbeat = '-infinity' WHERE name = 'fresh';
SELECT s FROM statuses() s WHERE s ~ '^(fresh|future)';
\i test/setup.sql

-- Two paths, each if it is configured.
SELECT host_test.make_host('app', 2);
CREATE EXTENSION gateway_pool SCHEMA app;
SELECT host_test.add_org('app', 'acme', :acme);
SELECT count(host_test.add_gateway('app', :acme, format('relay %s, direct %s', r, d),
                                   CASE r WHEN 'fresh' THEN interval '0' WHEN 'stale' THEN '1 h' WHEN 'leftover' THEN '0' END))
  FROM unnest('{none,fresh,stale,leftover}'::text[]) r, unnest('{none,fresh,stale,leftover}'::text[]) d;
UPDATE gateways_v2 SET
    "heartbeatTTL" = 180,
    "relayId" = CASE WHEN name ~ 'relay (none|leftover)' THEN NULL ELSE "relayId" END,
    "directAddress" = CASE WHEN name ~ 'direct (none|leftover)' THEN NULL ELSE '192.0.2.1:8443' END,
    "directHeartbeat" = CASE WHEN name ~ 'direct none' THEN NULL WHEN name ~ 'direct stale' THEN clock_timestamp() - interval '2 h'
                             ELSE clock_timestamp() END;
SELECT statuses();
-- The host's columns can have other types.
DROP INDEX gateways_v2_capabilities_gin_idx;
ALTER TABLE gateways_v2 ALTER "heartbeatTTL" TYPE numeric, ALTER name TYPE text, ALTER capabilities TYPE json,
    ALTER heartbeat TYPE timestamp;
SELECT statuses() LIMIT 3;
\i test/setup.sql

--
-- The views, the options and picks agree
--
SELECT host_test.make_host('app', 2);
CREATE EXTENSION gateway_pool SCHEMA app;
SELECT host_test.add_org('app', 'acme', :acme), host_test.add_org('app', 'bolt', :bolt);
SELECT set_gateway_pool_entitlement(o, true) FROM unnest(ARRAY[:acme, :bolt]::uuid[]) o;
INSERT INTO gateway_pools (id, "orgId", name)
SELECT ('00000000-0000-0000-0000-00000000000' || i)::uuid, :acme, n
  FROM unnest('{green,yellow,red,empty}'::text[]) WITH ORDINALITY v (n, i);
INSERT INTO gateway_pools (id, "orgId", name) VALUES ('00000000-0000-0000-0000-000000000005', :bolt, 'theirs');
SELECT count(host_test.add_gateway('app', :acme, n, a, i::uuid)) FROM (VALUES
    ('up', interval '0', '00000000-0000-0000-0000-0000000000a1'), ('up2', '0', '00000000-0000-0000-0000-0000000000a2'),
    ('down', '1 day', '00000000-0000-0000-0000-0000000000a3'), ('never', NULL, '00000000-0000-0000-0000-0000000000a4')) v (n, a, i);
SELECT host_test.add_gateway('app', :bolt, 'theirs', '0', '00000000-0000-0000-0000-0000000000b1');
INSERT INTO gateway_pool_memberships ("gatewayPoolId", "gatewayId", "pickWeight", "pickPriority")
SELECT p.id, g.id, 3, 2 FROM (VALUES ('green', 'up'), ('green', 'up2'), ('yellow', 'up'), ('yellow', 'down'), ('yellow', 'never'),
                                     ('red', 'down'), ('theirs', 'theirs')) v (p, g)
  JOIN gateway_pools p ON p.name = v.p JOIN gateways_v2 g ON g.name = v.g;
\i test/first_pick.sql
SELECT set_gateway_state('00000000-0000-0000-0000-0000000000a2', 'maintenance');
SELECT name, "memberCount", "healthyMemberCount", health, label, "connectedResourcesCount", "memberGatewayIds"
  FROM gateway_pool_status ORDER BY name;
DELETE FROM gateway_states;
SELECT name, "memberCount", "healthyMemberCount", health, label FROM gateway_pool_status WHERE name = 'green';
SELECT p.name, m.name, m."pickWeight", m."pickPriority", m.status, m.state, m.reason, m."activeConnections" IS NULL
  FROM gateway_pool_members m JOIN gateway_pools p ON p.id = m."gatewayPoolId" ORDER BY 1, 2;
SELECT kind, name, health, label, cardinality("poolIds") FROM gateway_options WHERE "orgId" = :acme ORDER BY kind DESC, name;
-- The gateways that can be added to a pool.
SELECT name FROM gateway_options WHERE "orgId" = :acme AND kind = 'gateway'
   AND NOT "poolIds" @> ARRAY['00000000-0000-0000-0000-000000000002'::uuid] ORDER BY name;
-- Entitlement and policy decide what can be newly set.
SELECT kind, bool_and(selectable) FROM gateway_options GROUP BY 1 ORDER BY 1;
UPDATE gateway_pool_entitlements SET "expiresAt" = now() WHERE "orgId" = :bolt;
UPDATE organizations SET "requireGatewayPools" = true WHERE id = :acme;
SELECT o.name, kind, bool_and(selectable), bool_or(selectable) FROM gateway_options g JOIN organizations o ON o.id = g."orgId" GROUP BY 1, 2 ORDER BY 1, 2;
BEGIN;
ALTER TABLE organizations DROP COLUMN "requireGatewayPools";
SELECT bool_and(selectable) FROM gateway_options WHERE kind = 'gateway';
ROLLBACK;
UPDATE gateway_pool_entitlements SET "expiresAt" = NULL;
UPDATE organizations SET "requireGatewayPools" = false;
-- The functions behind the views read one organization, or one row.
SELECT (SELECT count(*) FROM gateway_pool_status(:bolt)), (SELECT count(*) FROM gateway_pool_status(:acme, '00000000-0000-0000-0000-000000000005')),
       (SELECT count(*) FROM gateway_pool_members(NULL, '00000000-0000-0000-0000-000000000002')),
       (SELECT count(*) FROM gateway_status(:acme)), (SELECT count(*) FROM gateway_status(NULL, '00000000-0000-0000-0000-0000000000b1')),
       (SELECT count(*) FROM gateway_options(:bolt)), (SELECT count(*) FROM gateway_options());
-- The number of eligible members, counted in three ways.
SELECT bool_and(s."healthyMemberCount" = (SELECT count(*) FROM gateway_pool_members m
                                           WHERE m."gatewayPoolId" = s.id AND m.state = 'active' AND m.status IN ('healthy', 'degraded'))
            AND s."healthyMemberCount" = (SELECT count(*) FROM explain_gateway_pick(s.id) WHERE candidate)
            AND (s."healthyMemberCount" = 0) = (pick_healthy_gateway(s.id, null_if_none => true) IS NULL))
  FROM gateway_pool_status s;
DROP FUNCTION public.statuses;
