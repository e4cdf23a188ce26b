\i test/setup.sql
-- All members of a pool, set at once.
SELECT host_test.make_host('app', 2);
CREATE EXTENSION gateway_pool SCHEMA app;
\i test/first_pick.sql
\set acme '\'00000000-0000-0000-0000-00000000000a\''
\set bolt '\'00000000-0000-0000-0000-00000000000b\''
\set eu '\'00000000-0000-0000-0000-000000000001\''
SELECT host_test.add_org('app', 'acme', :acme), host_test.add_org('app', 'bolt', :bolt);
SELECT host_test.add_gateway('app', :acme, 'g' || n, '0', ('00000000-0000-0000-0000-0000000000a' || n)::uuid) FROM generate_series(1, 4) n;
SELECT host_test.add_gateway('app', :bolt, 'b1', '0', '00000000-0000-0000-0000-0000000000b1');
SELECT set_gateway_pool_entitlement(:acme, true, NULL, 2), set_gateway_pool_entitlement(:bolt, true);
INSERT INTO gateway_pools (id, "orgId", name) VALUES (:eu, :acme, 'eu'), ('00000000-0000-0000-0000-000000000009', :bolt, 'eu');
-- Gateways by number, as an array; and numbers of an array.
CREATE FUNCTION public.gateways(VARIADIC numbers int[]) RETURNS uuid[] LANGUAGE sql AS
    $$ SELECT array_agg(('00000000-0000-0000-0000-0000000000a' || n)::uuid ORDER BY o) FROM unnest(numbers) WITH ORDINALITY u (n, o) $$;
CREATE FUNCTION public.numbers(ids uuid[]) RETURNS text LANGUAGE sql AS
    $$ SELECT string_agg(right(i::text, 1), ' ' ORDER BY o) FROM unnest(ids) WITH ORDINALITY u (i, o) $$;
CREATE VIEW public.now_members AS
    SELECT string_agg(format('%s:%s/%s', right("gatewayId"::text, 1), "pickWeight", "pickPriority"), ' ' ORDER BY "gatewayId") AS members
      FROM app.gateway_pool_memberships;
CREATE FUNCTION public.refuses(gateway_ids text) RETURNS SETOF text LANGUAGE sql AS
    $$ SELECT fails(format('SELECT set_gateway_pool_members(''00000000-0000-0000-0000-00000000000a'', ''00000000-0000-0000-0000-000000000001'', %s)', gateway_ids)) $$;

-- Adds and removes what differs.  An element that repeats counts once.
SELECT numbers(added) AS added, numbers(removed) AS removed FROM set_gateway_pool_members(:acme, :eu, gateways(2, 1, 2));
SELECT * FROM now_members;
UPDATE gateway_pool_memberships SET "pickWeight" = 7, "pickPriority" = 3 WHERE "gatewayId" = (gateways(2))[1];
SELECT xmin, id FROM gateway_pool_memberships WHERE "gatewayId" = (gateways(2))[1] \gset kept_
SELECT numbers(added) AS added, numbers(removed) AS removed FROM set_gateway_pool_members(:acme, :eu, gateways(2, 3));
SELECT * FROM now_members;
-- The member that stays is the same row, unwritten.
SELECT xmin = :'kept_xmin' AND id = :'kept_id' AS same FROM gateway_pool_memberships WHERE "gatewayId" = (gateways(2))[1];
-- Again: nothing to do, and nothing is recorded.
SELECT count(*) FROM gateway_pool_audit_logs \gset before_
SELECT * FROM set_gateway_pool_members(:acme, :eu, gateways(3, 2));
SELECT count(*) = :before_count FROM gateway_pool_audit_logs;
-- A full pool can change all its members.
SELECT numbers(added) AS added, numbers(removed) AS removed FROM set_gateway_pool_members(:acme, :eu, gateways(1, 4));
SELECT * FROM now_members;
SELECT "eventType", "eventMetadata" ->> 'gatewayName' AS gateway FROM gateway_pool_audit_logs ORDER BY id DESC LIMIT 4;

-- What is refused changes nothing.
SELECT refuses('gateways(1, 2, 3)');
SELECT refuses($$'{00000000-0000-0000-0000-0000000000a2, 00000000-0000-0000-0000-0000000000b1}'$$);
SELECT refuses($$'{00000000-0000-0000-0000-0000000000a2, 00000000-0000-0000-0000-0000000000ff}'$$);
SELECT refuses('NULL');
SELECT refuses('ARRAY[NULL]::uuid[]');
SELECT fails($$SELECT set_gateway_pool_members('00000000-0000-0000-0000-00000000000a', '00000000-0000-0000-0000-000000000009', '{}')$$);
SELECT fails($$SELECT set_gateway_pool_members('00000000-0000-0000-0000-00000000000a', NULL, '{}')$$);
SELECT fails($$SELECT set_gateway_pool_members(NULL, '00000000-0000-0000-0000-000000000001', '{}')$$);
SELECT set_gateway_pool_entitlement(:acme, false);
SELECT refuses('gateways(1)');
SELECT set_gateway_pool_entitlement(:acme, true);
SELECT * FROM now_members;

-- An array of any dimensions is a set; an empty one empties the pool.
SELECT numbers(added) AS added, numbers(removed) AS removed FROM set_gateway_pool_members(:acme, :eu, ARRAY[gateways(1, 2), gateways(3, 1)]);
SELECT numbers(added) AS added, numbers(removed) AS removed FROM set_gateway_pool_members(:acme, :eu, '{}');
SELECT * FROM set_gateway_pool_members(:acme, :eu, '{}');

DROP VIEW public.now_members;
-- A host whose migration dropped weight and priority.
ALTER TABLE gateway_pool_memberships DROP COLUMN "pickWeight", DROP COLUMN "pickPriority";
SELECT numbers(added) AS added, numbers(removed) AS removed FROM set_gateway_pool_members(:acme, :eu, gateways(1));

-- The owner's own policies apply to the statement: a member that the role does not see stays.
CREATE ROLE regress_members;
GRANT USAGE ON SCHEMA app TO regress_members;
GRANT SELECT ON gateway_pools, gateways_v2 TO regress_members;
GRANT SELECT, INSERT, DELETE ON gateway_pool_memberships TO regress_members;
SELECT numbers(added) AS added, numbers(removed) AS removed FROM set_gateway_pool_members(:acme, :eu, gateways(1, 2));
ALTER TABLE gateway_pool_memberships ENABLE ROW LEVEL SECURITY;
CREATE POLICY visible ON gateway_pool_memberships TO regress_members USING ("gatewayId" <> '00000000-0000-0000-0000-0000000000a1');
SET ROLE regress_members;
SELECT numbers(added) AS added, numbers(removed) AS removed FROM set_gateway_pool_members(:acme, :eu, gateways(3));
RESET ROLE;
SELECT numbers(array_agg("gatewayId" ORDER BY 1)) FROM gateway_pool_memberships;
DROP OWNED BY regress_members;
DROP ROLE regress_members;
DROP FUNCTION public.gateways, public.numbers, public.refuses;
