-- A database as Infisical's migrations make it, which belongs to an ordinary role, with the extension in a
-- schema of its own: for the tests of examples/infisical.  Run by a superuser in that database.

\set ON_ERROR_STOP on
SET client_min_messages = warning;
\ir host.sql
GRANT CREATE ON SCHEMA public TO infisical;
SELECT host_test.make_host('public', stage => 2, owner => 'infisical') \g /dev/null
SELECT host_test.migrate_pools('public') \g /dev/null
SELECT host_test.make_other_consumers('public') \g /dev/null

CREATE SCHEMA gateway_pool;
GRANT USAGE ON SCHEMA gateway_pool TO PUBLIC;
CREATE EXTENSION gateway_pool SCHEMA gateway_pool;
SELECT gateway_pool.register_infisical_consumers() \g /dev/null

-- Each organization has a plan, as in a licensed instance.
ALTER DATABASE infisical SET gateway_pool.default_entitlement = on;
ALTER DATABASE infisical SET gateway_pool.max_pools_per_org = -1;
