-- The database of the programs in node/, python/ and go/.  A superuser runs it in an
-- empty database of a server that preloads the library.
--
--     createdb example && psql -X -d example -f examples/application.sql
--
-- Role app owns the application's tables, and so those of gateway_pool.

\set ON_ERROR_STOP on
CREATE ROLE app LOGIN;
GRANT CREATE ON SCHEMA public TO app;

SET ROLE app;
CREATE TABLE tenants (id uuid PRIMARY KEY DEFAULT gen_random_uuid());
CREATE TABLE agents (
    id      uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    tenant  uuid NOT NULL REFERENCES tenants,
    address text NOT NULL);
RESET ROLE;

SET client_min_messages = warning;
CREATE EXTENSION gateway_pool;
SELECT install_gateway_pools(organizations => 'tenants', gateways => 'agents') \g /dev/null

-- This application sells no plans: each tenant may have pools.
SELECT format('ALTER DATABASE %I SET gateway_pool.default_entitlement = on', current_database()) \gexec
