-- Gateway pools for an application of one's own, from two tables to a pick.
--
-- Run it in an empty database of a server that preloads the library, as a superuser:
--
--     createdb example && psql -X -d example -f examples/own_application.sql
--
-- With -v probe_address=HOST:PORT, the probe of part 5 connects to a port of yours.  One on
-- the server's own machine is refused by default: docs/install.md has how to allow it.

\set ON_ERROR_STOP on
\if :{?probe_address} \else \set probe_address 192.0.2.10:9443 \endif
\set acme  '\'aaaaaaaa-0000-4000-8000-000000000000\''
\set east  '\'aaaaaaaa-0000-4000-8000-000000000001\''
\set west  '\'aaaaaaaa-0000-4000-8000-000000000002\''
\set spare '\'aaaaaaaa-0000-4000-8000-000000000003\''

\echo '1. The tables of the application: any names, in any schema'
-- Needed are the keys, of type uuid and named id, and the column by which a gateway belongs to an
-- organization.  Where the gateways table has columns such as name and heartbeat, they are used.
CREATE TABLE tenants (id uuid PRIMARY KEY);
CREATE TABLE agents (id uuid PRIMARY KEY, tenant uuid NOT NULL REFERENCES tenants);
INSERT INTO tenants VALUES (:acme);
INSERT INTO agents VALUES (:east, :acme), (:west, :acme), (:spare, :acme);

\echo '2. Install'
CREATE EXTENSION gateway_pool;
SELECT install_gateway_pools(organizations => 'tenants', gateways => 'agents');

\echo '3. A plan that includes pools, and a pool of three agents, one of them for emergencies'
SELECT set_gateway_pool_entitlement(:acme, enabled => true);
SELECT name FROM create_gateway_pool(:acme, 'office');
SELECT gateway_pool_id(:acme, 'office') AS office \gset
SELECT "gatewayId", priority FROM add_gateway_to_pool(:acme, :'office', :east);
SELECT "gatewayId", priority FROM add_gateway_to_pool(:acme, :'office', :west);
SELECT "gatewayId", priority FROM add_gateway_to_pool(:acme, :'office', :spare, priority => 1);

\echo '4. Heartbeats: the application reports them, as often as it hears from an agent'
SELECT record_gateway_heartbeat(id, ttl => interval '1 minute') FROM agents;
SELECT name, label FROM gateway_pool_status;

\echo '5. A probe: the server connects to an agent by itself'
-- The verdict of one that is not required makes an agent with a fresh heartbeat degraded at worst.
SELECT set_gateway_probe(:west, 'tcp', :'probe_address', required => false);
SELECT verdict, reason FROM probe_gateway(:west, timeout => '30 s');
SELECT clear_gateway_probe(:west);

\echo '6. Picks: one agent, another one after a failure, and why'
SELECT pick_healthy_gateway(:'office') IN (:east, :west) AS picked;
SELECT report_gateway_failure(:east, 'connection refused');
SELECT pick_healthy_gateway(:'office');
SELECT "gatewayId", status, verdict, share FROM explain_gateway_pick(:'office');

\echo '7. A consumer: a table whose rows are reached through a pool, or directly through an agent'
-- The pool column is added.  The organization of a row is that of its column that references tenants.
CREATE TABLE connections (
    id     int PRIMARY KEY,
    target text NOT NULL,
    tenant uuid NOT NULL REFERENCES tenants,
    agent  uuid REFERENCES agents);
SELECT register_pool_consumer('connections', pool_column => 'pool', gateway_column => 'agent');
INSERT INTO connections (id, target, tenant, agent) VALUES (1, 'db.office.example:5432', :acme, :east);
UPDATE connections SET pool = :'office' WHERE id = 1 RETURNING target, agent, pool = :'office' AS "has the pool";
SELECT c.target, pick_healthy_gateway(c.pool) FROM connections c WHERE c.id = 1;

\echo '8. A pool that is in use cannot be deleted'
\set ON_ERROR_STOP off
SELECT delete_gateway_pool(:acme, :'office');
\set ON_ERROR_STOP on
SELECT get_gateway_pool_resources(:acme, :'office');

\echo '9. No problem is left'
SELECT * FROM check_gateway_pools();
