-- complain if script is sourced in psql, rather than via CREATE EXTENSION
\echo Use "CREATE EXTENSION gateway_pool" to load this file. \quit

-- All names below are schema-qualified, so that no object of another role is used in place of the intended one.
SET LOCAL search_path TO pg_catalog, pg_temp;
