\i test/setup.sql
-- The rules on rows of consumers.
SELECT host_test.make_host('app', 2);
CREATE EXTENSION gateway_pool SCHEMA app;
\set acme '\'00000000-0000-0000-0000-00000000000a\''
\set bolt '\'00000000-0000-0000-0000-00000000000b\''
SELECT host_test.add_org('app', 'acme', :acme), host_test.add_org('app', 'bolt', :bolt);
SELECT host_test.add_gateway('app', :acme, 'g', '0s', '00000000-0000-0000-0000-0000000000a1'),
       host_test.add_gateway('app', :acme, 'h', '0s', '00000000-0000-0000-0000-0000000000a2');
SELECT set_gateway_pool_entitlement(o, true) FROM unnest(ARRAY[:acme, :bolt]::uuid[]) o;
INSERT INTO gateway_pools (id, "orgId", name) VALUES
    ('00000000-0000-0000-0000-000000000001', :acme, 'x'),
    ('00000000-0000-0000-0000-000000000002', :acme, 'y'),
    ('00000000-0000-0000-0000-000000000003', :bolt, 'other');
INSERT INTO gateway_pool_memberships ("gatewayPoolId", "gatewayId")
SELECT p.id, g.id FROM gateway_pools p JOIN gateways_v2 g USING ("orgId");
SELECT host_test.add_kubernetes_auth('app', :acme, 'k', '00000000-0000-0000-0000-0000000000c1');
INSERT INTO gateways (id, name, "serialNumber", "keyAlgorithm", "issuedAt", expiration, "relayAddress", "identityId")
SELECT '00000000-0000-0000-0000-0000000000d1', 'v1', 's', 'k', now(), now(), '', id FROM identities LIMIT 1;

--
-- The values decide.  x, y are pools, g, h gateways, v is the retired gateway,
-- - is NULL, and a column that is not named is not written.
--
CREATE FUNCTION public.id_of(word text) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE word WHEN 'x' THEN '00000000-0000-0000-0000-000000000001'
                     WHEN 'y' THEN '00000000-0000-0000-0000-000000000002'
                     WHEN 'g' THEN '00000000-0000-0000-0000-0000000000a1'
                     WHEN 'h' THEN '00000000-0000-0000-0000-0000000000a2'
                     WHEN 'v' THEN '00000000-0000-0000-0000-0000000000d1' END::uuid
$$;
CREATE FUNCTION public.word_of(id uuid) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT coalesce((SELECT w FROM unnest('{x,y,g,h,v}'::text[]) w WHERE id_of(w) = id), '-')
$$;
CREATE FUNCTION public.written(was text, pool text, gateway text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    assignments text;
    state text;
    rule text;
    result text;
BEGIN
    SET LOCAL session_replication_role = replica;
    UPDATE identity_kubernetes_auths
       SET "gatewayPoolId" = id_of(split_part(was, ' ', 1)), "gatewayV2Id" = id_of(split_part(was, ' ', 2)),
           "gatewayId" = id_of(split_part(was, ' ', 3));
    SET LOCAL session_replication_role = origin;
    assignments := concat_ws(', ', format('"gatewayPoolId" = %L', id_of(pool)) || left(pool, 0),
                             format('"gatewayV2Id" = %L', id_of(gateway)) || left(gateway, 0));
    EXECUTE format('UPDATE identity_kubernetes_auths SET %s', coalesce(nullif(assignments, ''), '"updatedAt" = now()'));
    SELECT concat_ws(' ', word_of("gatewayPoolId"), word_of("gatewayV2Id"), word_of("gatewayId")) INTO result
      FROM identity_kubernetes_auths;
    RETURN result;
EXCEPTION WHEN check_violation THEN
    GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, rule = CONSTRAINT_NAME;
    RETURN concat_ws(' ', state, rule);
END
$$;
SELECT was, coalesce(pool, '.') AS set_pool, coalesce(gateway, '.') AS set_gateway, written(was, pool, gateway)
  FROM (VALUES
    -- only the pool changes
    ('- - -', 'x', NULL), ('- g -', 'x', NULL), ('- g -', 'x', 'g'), ('y - -', 'x', NULL), ('y - -', 'x', '-'), ('- g v', 'x', NULL),
    -- only the gateway changes
    ('- - -', NULL, 'g'), ('x - -', NULL, 'g'), ('x - -', 'x', 'g'), ('- h -', NULL, 'g'), ('x - v', NULL, 'g'),
    -- both change
    ('- - -', 'x', 'g'), ('y - -', 'x', 'g'), ('- h -', 'x', 'g'), ('- g -', 'x', '-'), ('x - -', '-', 'g'),
    -- one changes to NULL: the other keeps its value
    ('x - -', '-', NULL), ('- g -', NULL, '-'), ('- g -', '-', '-'), ('x - v', '-', NULL), ('x g -', '-', NULL), ('x g -', NULL, '-'),
    -- nothing changes: nothing is checked, even in rows with both
    ('x - -', 'x', NULL), ('x - -', NULL, NULL), ('- g -', NULL, 'g'), ('x g v', NULL, NULL), ('x g v', 'x', 'g')
  ) v (was, pool, gateway);

-- INSERT with both is refused, with one of them it is not.
SELECT host_test.add_identity('app', :acme, 'i' || i, ('00000000-0000-0000-0000-0000000000e' || i)::uuid) FROM generate_series(1, 2) i;
CREATE FUNCTION public.insert_auth(identity int, pool text, gateway text) RETURNS void LANGUAGE sql AS $$
    INSERT INTO identity_kubernetes_auths ("identityId", "accessTokenTrustedIps", "allowedNamespaces", "allowedNames",
                                           "allowedAudience", "gatewayPoolId", "gatewayV2Id", "gatewayId")
    VALUES (('00000000-0000-0000-0000-0000000000e' || identity)::uuid, '[]', '', '', '', id_of(pool), id_of(gateway), id_of('v'))
$$;
SELECT fails($$SELECT insert_auth(1, 'x', 'g')$$);
SELECT insert_auth(1, 'x', '-');
SELECT insert_auth(2, '-', 'g');
SELECT word_of("gatewayPoolId"), word_of("gatewayV2Id"), word_of("gatewayId")
  FROM identity_kubernetes_auths WHERE "identityId" <> (SELECT id FROM identities WHERE name = 'k') ORDER BY 1;
DELETE FROM identity_kubernetes_auths WHERE id <> '00000000-0000-0000-0000-0000000000c1';

--
-- Same organization; the error for a missing pool and for a foreign one is the same
--
SELECT written('- - -', '-', '-');
SELECT fails(format('UPDATE identity_kubernetes_auths SET "gatewayPoolId" = %L', p))
  FROM unnest(ARRAY['00000000-0000-0000-0000-000000000003', '00000000-0000-0000-0000-0000000000ff']) p;

--
-- Entitlement: needed to set a pool, not to keep or to clear it
--
UPDATE gateway_pool_entitlements SET "gatewayPool" = false WHERE "orgId" = :acme;
SELECT fails($$UPDATE identity_kubernetes_auths SET "gatewayPoolId" = '00000000-0000-0000-0000-000000000001'$$);
SELECT written('x - -', 'x', NULL), written('x - -', '-', NULL), written('x - -', NULL, 'g');
UPDATE gateway_pool_entitlements SET "gatewayPool" = true WHERE "orgId" = :acme;

--
-- Policy: no newly set gateway, with or without entitlement; an unchanged one is accepted
--
UPDATE organizations SET "requireGatewayPools" = true WHERE id = :acme;
SELECT written('- - -', NULL, 'g'), written('- h -', NULL, 'g'), written('x - -', NULL, 'g');
SELECT written('- g -', NULL, 'g'), written('- g -', NULL, NULL), written('- g -', 'x', NULL), written('- g -', NULL, '-');
SELECT written('- - -', '-', '-');
SELECT fails($$UPDATE identity_kubernetes_auths SET "gatewayV2Id" = '00000000-0000-0000-0000-0000000000a1'$$);
UPDATE gateway_pool_entitlements SET "gatewayPool" = false WHERE "orgId" = :acme;
SELECT written('- - -', NULL, 'g');
UPDATE gateway_pool_entitlements SET "gatewayPool" = true WHERE "orgId" = :acme;
-- Without the column of the policy, single gateways are accepted.
BEGIN;
ALTER TABLE organizations DROP COLUMN "requireGatewayPools";
SELECT written('- - -', NULL, 'g');
ROLLBACK;
UPDATE organizations SET "requireGatewayPools" = false;

--
-- Attaching a pool without an eligible member raises a warning, whatever the reason
--
SELECT written('- - -', 'x', NULL);
UPDATE gateways_v2 SET heartbeat = heartbeat - interval '1 day';
SELECT written('- - -', 'x', NULL);
SELECT written('x - -', 'x', NULL);
DELETE FROM gateway_pool_memberships;
SELECT written('- - -', 'y', NULL);

--
-- Another consumer: its triggers name its own columns and organization
--
SELECT host_test.make_other_consumers('app');
SELECT register_pool_consumer('app_connections', gateway_column => 'gatewayId');
SET client_min_messages = error;
SELECT host_test.add_app_connection('app', :acme, 'db', '00000000-0000-0000-0000-000000000001', '00000000-0000-0000-0000-0000000000f1');
RESET client_min_messages;
UPDATE app_connections SET "gatewayId" = id_of('g') RETURNING word_of("gatewayPoolId"), word_of("gatewayId");
UPDATE app_connections SET "gatewayPoolId" = id_of('x') RETURNING word_of("gatewayPoolId"), word_of("gatewayId");
SELECT fails($$UPDATE app_connections SET "gatewayPoolId" = '00000000-0000-0000-0000-000000000003'$$);
SELECT fails($$UPDATE app_connections SET "gatewayPoolId" = id_of('y'), "gatewayId" = id_of('g')$$);
-- Its foreign key makes it count for the deletion guard; the guard refuses before RESTRICT does.
UPDATE identity_kubernetes_auths SET "gatewayPoolId" = id_of('x');
SELECT fails($$DELETE FROM gateway_pools WHERE name = 'x'$$);
SELECT name, "connectedResourcesCount" FROM gateway_pool_status ORDER BY name;
SELECT get_gateway_pool_resources(:acme, id_of('x'));
-- Its columns can be dropped; no rules apply to a missing column.
ALTER TABLE app_connections DROP COLUMN "gatewayId";
UPDATE app_connections SET "gatewayPoolId" = id_of('y') RETURNING word_of("gatewayPoolId");
ALTER TABLE app_connections DROP COLUMN "gatewayPoolId";
UPDATE app_connections SET name = 'db2' RETURNING name;

-- The triggers refuse tables that do not reference pools, and bad arguments.
CREATE TABLE public.stray ("gatewayPoolId" uuid, "gatewayV2Id" uuid, "orgId" uuid);
CREATE TRIGGER t BEFORE INSERT ON public.stray FOR EACH ROW EXECUTE FUNCTION gateway_pool_internal.consumer_route('gatewayPoolId');
SELECT fails($$INSERT INTO public.stray VALUES (id_of('x'))$$);
DROP TRIGGER t ON public.stray;
CREATE TRIGGER t AFTER INSERT ON public.stray FOR EACH ROW EXECUTE FUNCTION gateway_pool_internal.consumer_enforce('gatewayPoolId');
SELECT fails($$INSERT INTO public.stray VALUES (id_of('x'))$$);
DROP TRIGGER t ON public.stray;
CREATE TRIGGER t AFTER INSERT ON public.stray FOR EACH ROW EXECUTE FUNCTION gateway_pool_internal.consumer_enforce();
SELECT fails($$INSERT INTO public.stray VALUES (id_of('x'))$$);
DROP TRIGGER t ON public.stray;
CREATE TRIGGER t BEFORE INSERT ON public.stray FOR EACH ROW EXECUTE FUNCTION gateway_pool_internal.consumer_enforce('gatewayPoolId');
SELECT fails($$INSERT INTO public.stray VALUES (id_of('x'))$$);
DROP TABLE public.stray;
SELECT fails('SELECT gateway_pool_internal.consumer_route()');
DROP FUNCTION public.insert_auth, public.written, public.word_of, public.id_of;
