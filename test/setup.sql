-- The start of every regression test: drops the extension and schema app, and defines
-- functions that make a host, and fails(), which returns all of an error.
\set ECHO none
\pset format unaligned
\pset tuples_only on
\o /dev/null
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS gateway_pool CASCADE;
DROP SCHEMA IF EXISTS app CASCADE;
\i test/host.sql

CREATE OR REPLACE FUNCTION public.fails(statement text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    state text;
    message text;
    detail text;
    hint text;
    table_name text;
    constraint_name text;
BEGIN
    EXECUTE statement;
    RETURN NEXT 'no error';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS
        state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL,
        hint = PG_EXCEPTION_HINT, table_name = TABLE_NAME, constraint_name = CONSTRAINT_NAME;
    RETURN NEXT concat_ws(' ', state, nullif(table_name, ''), nullif(constraint_name, ''));
    RETURN NEXT '  ' || message;
    IF detail <> '' THEN
        RETURN NEXT '  DETAIL: ' || detail;
    END IF;
    IF hint <> '' THEN
        RETURN NEXT '  HINT: ' || hint;
    END IF;
END
$$;

SET timezone = 'UTC';
SET search_path = app, public;
RESET client_min_messages;
\o
\set ECHO all
