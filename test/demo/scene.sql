-- A host application with two organizations, and the extension installed beside it, in a schema of its own.
-- Globex already has a pool with a member, and a Kubernetes auth attached to it.

\set ON_ERROR_STOP on
SET client_min_messages = warning;
\ir ../host.sql
SELECT host_test.make_host('public', stage => 0) \g /dev/null
\echo '  => CREATE SCHEMA gateway_pool;'
CREATE SCHEMA gateway_pool;
\echo '  => GRANT USAGE ON SCHEMA gateway_pool TO PUBLIC;'
GRANT USAGE ON SCHEMA gateway_pool TO PUBLIC;
\echo '  => CREATE EXTENSION gateway_pool SCHEMA gateway_pool;'
CREATE EXTENSION gateway_pool SCHEMA gateway_pool;
\echo '  => ALTER DATABASE' :DBNAME 'SET search_path = public, gateway_pool;'
ALTER DATABASE :"DBNAME" SET search_path = public, gateway_pool;
SET search_path = public, gateway_pool;

SELECT host_test.add_org('public', 'Acme') AS acme, host_test.add_org('public', 'Globex') AS globex \gset
SELECT host_test.add_gateway('public', :'acme', name)
    FROM unnest('{primary, standby-1, standby-2}'::text[]) AS name \g /dev/null
SELECT host_test.add_gateway('public', :'acme', name, NULL)
    FROM unnest('{edge-1, edge-2, edge-3}'::text[]) AS name \g /dev/null
SELECT host_test.add_kubernetes_auth('public', :'acme', 'deploy-bot') \g /dev/null

SELECT host_test.add_gateway('public', :'globex', 'stranger') AS stranger,
       host_test.add_kubernetes_auth('public', :'globex', 'other-bot') AS other_bot \gset
SELECT set_gateway_pool_entitlement(:'globex', true) \g /dev/null
SELECT id AS lab FROM create_gateway_pool(:'globex', 'lab') \gset
SELECT add_gateway_to_pool(:'globex', :'lab', :'stranger') \g /dev/null
UPDATE identity_kubernetes_auths SET "gatewayPoolId" = :'lab' WHERE id = :'other_bot';

\ir functions.sql
