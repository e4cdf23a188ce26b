
-- The schema of the internal functions.  If a schema of this name exists, CREATE SCHEMA stops the
-- script.  Function bodies name only objects of this schema and of pg_catalog: the owner of any
-- other schema could put look-alikes into it.

CREATE SCHEMA gateway_pool_internal;
GRANT USAGE ON SCHEMA gateway_pool_internal TO PUBLIC;
