-- complain if the script is sourced in psql rather than run by CREATE EXTENSION
\echo Use "CREATE EXTENSION gateway_pool" to load this file. \quit

-- All names below are qualified: nothing that others made is taken for what is meant.
SET LOCAL search_path TO pg_catalog, pg_temp;
