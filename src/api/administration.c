/*
 * administration.c
 *		Functions for plans of organizations, and for states and probes of gateways.
 *
 * Each that writes checks the rights that a plain statement needs, then its arguments,
 * then that the gateway exists, and writes one row.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "api/management.h"
#include "api/table_change.h"
#include "base/argument.h"
#include "base/clean_text.h"
#include "base/result_row.h"
#include "rules/probe_address.h"
#include "rules/selection.h"
#include "tables/access.h"
#include "tables/entitlement.h"
#include "tables/gateway_rows.h"
#include "tables/isolation.h"
#include "tables/owner.h"
#include "tables/same_org.h"

PG_FUNCTION_INFO_V1(set_gateway_pool_entitlement);
PG_FUNCTION_INFO_V1(get_gateway_pool_plan);
PG_FUNCTION_INFO_V1(set_gateway_state);
PG_FUNCTION_INFO_V1(set_gateway_probe);
PG_FUNCTION_INFO_V1(clear_gateway_probe);

/*
 * set_gateway_pool_entitlement(org_id uuid, enabled boolean, max_pools int,
 *     max_gateways_per_pool int, expires_at timestamptz)
 *
 * Needs INSERT and UPDATE on gateway_pool_entitlements.  Errors: NULL for the first
 * two 22023, a limit below -1 23514, no such organization 23503.
 */
Datum
set_gateway_pool_entitlement(PG_FUNCTION_ARGS)
{
	PoolCatalog catalog;
	TableChange change = {0};

	catalog_open(&catalog);
	access_require(&catalog, RIGHT_ADD_ENTITLEMENT);
	access_require(&catalog, RIGHT_CHANGE_ENTITLEMENT);
	argument_require(fcinfo, 0, "org_id");
	argument_require(fcinfo, 1, "enabled");
	if (isolation_hides(&catalog, PG_GETARG_UUID_P(0)))
		management_refuse_foreign(catalog.entitlements);

	change.relation = catalog.entitlements;
	change.sql = psprintf("INSERT INTO %s (\"orgId\", \"gatewayPool\", \"maxPools\", \"maxGatewaysPerPool\", \"expiresAt\")"
						  " VALUES ($1, $2, $3, $4, $5) ON CONFLICT (\"orgId\") DO UPDATE"
						  " SET \"gatewayPool\" = excluded.\"gatewayPool\", \"maxPools\" = excluded.\"maxPools\","
						  " \"maxGatewaysPerPool\" = excluded.\"maxGatewaysPerPool\", \"expiresAt\" = excluded.\"expiresAt\"",
						  catalog_name(catalog.entitlements));
	table_change_call_argument(&change, UUIDOID, fcinfo, 0);
	table_change_call_argument(&change, BOOLOID, fcinfo, 1);
	table_change_call_argument(&change, INT4OID, fcinfo, 2);
	table_change_call_argument(&change, INT4OID, fcinfo, 3);
	table_change_call_argument(&change, TIMESTAMPTZOID, fcinfo, 4);
	(void) table_change_run_silently(&change);
	PG_RETURN_VOID();
}

/*
 * get_gateway_pool_plan(org_id uuid) returns one row: the entitlement of the
 * organization as of now and the number of its pools.  Needs SELECT on gateway_pools.
 */
Datum
get_gateway_pool_plan(PG_FUNCTION_ARGS)
{
	PoolCatalog catalog;
	Entitlement entitlement;
	const pg_uuid_t *org;
	int64		pool_count = 0;
	ResultRow	row;

	catalog_open(&catalog);
	access_require(&catalog, RIGHT_LIST);
	org = argument_uuid(fcinfo, 0, "org_id");
	if (isolation_hides(&catalog, org))
		org = NULL;
	entitlement = entitlement_read(&catalog, org);
	if (org != NULL)
		pool_count = owner_count(catalog.pools,
								 psprintf("SELECT count(*) FROM %s WHERE \"orgId\" = $1", catalog_name(catalog.pools)), org);
	result_begin_one(&row, fcinfo);
	result_put(&row, "gatewayPool", BoolGetDatum(entitlement.gateway_pool));
	result_put_if(&row, "expiresAt", entitlement.expires, TimestampTzGetDatum(entitlement.expires_at));
	result_put(&row, "maxPools", Int32GetDatum(entitlement.max_pools));
	result_put(&row, "usedPools", Int32GetDatum(pool_count));
	result_put(&row, "maxGatewaysPerPool", Int32GetDatum(entitlement.max_gateways_per_pool));
	PG_RETURN_DATUM(result_datum(&row));
}

/* Returns the first argument, a gateway's id, and locks its row; P0002 if it does not exist or is hidden. */
static const pg_uuid_t *
require_gateway(FunctionCallInfo fcinfo, const PoolCatalog *catalog)
{
	const pg_uuid_t *id = argument_uuid(fcinfo, 0, "gateway_id");

	if (isolation_hides_gateway(catalog, id) || same_org_lock(catalog, catalog->gateways, id) == NULL)
		gateway_rows_refuse_missing(catalog, id);
	return id;
}

/* Raises 22023 unless a word is the name of a state. */
static void
require_state(const text *word)
{
	for (GatewayState state = GATEWAY_ACTIVE; state <= GATEWAY_MAINTENANCE; state++)
		if (strcmp(text_to_cstring(word), gateway_state_name(state)) == 0)
			return;
	argument_refuse_word("gateway state", word, "The states are active, draining and maintenance.");
}

/* Raises 22023 unless a state may have this end: in the future, and not of state active. */
static void
require_end(const text *state, TimestampTz end)
{
	if (strcmp(text_to_cstring(state), gateway_state_name(GATEWAY_ACTIVE)) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("until must be null for state active")));
	if (end <= GetCurrentTimestamp())
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("until must be in the future")));
}

/*
 * set_gateway_state(gateway_id uuid, state text, reason text, until timestamptz)
 *
 * From "until" on the gateway is active again, without a change of the row.  Needs
 * INSERT and UPDATE on gateway_states (state, reason, until).  Errors: NULL or an
 * unrecognized state, an end that is past or is of state active 22023, no such gateway
 * P0002, a reason of more than 1,000 characters 23514.  Control characters in it
 * become blanks.
 */
Datum
set_gateway_state(PG_FUNCTION_ARGS)
{
	PoolCatalog catalog;
	TableChange change = {0};
	char	   *reason = NULL;

	catalog_open(&catalog);
	access_require(&catalog, RIGHT_ADD_STATE);
	access_require(&catalog, RIGHT_CHANGE_STATE);
	argument_require(fcinfo, 0, "gateway_id");
	argument_require(fcinfo, 1, "state");
	require_state(PG_GETARG_TEXT_PP(1));
	if (!PG_ARGISNULL(3))
		require_end(PG_GETARG_TEXT_PP(1), PG_GETARG_TIMESTAMPTZ(3));
	(void) require_gateway(fcinfo, &catalog);

	change.relation = catalog.states;
	change.sql = psprintf("INSERT INTO %s (\"gatewayId\", state, reason, until) VALUES ($1, $2, $3, $4)"
						  " ON CONFLICT (\"gatewayId\") DO UPDATE SET state = excluded.state, reason = excluded.reason, until = excluded.until",
						  catalog_name(catalog.states));
	if (!PG_ARGISNULL(2))
	{
		reason = text_to_cstring(PG_GETARG_TEXT_PP(2));
		clean_text_in_place(reason);
	}
	table_change_call_argument(&change, UUIDOID, fcinfo, 0);
	table_change_call_argument(&change, TEXTOID, fcinfo, 1);
	table_change_argument(&change, TEXTOID, reason == NULL, reason == NULL ? 0 : CStringGetTextDatum(reason));
	table_change_call_argument(&change, TIMESTAMPTZOID, fcinfo, 3);
	(void) table_change_run_silently(&change);
	PG_RETURN_VOID();
}

/* Adds an interval in whole milliseconds, null for NULL; the table's constraints limit it. */
static void
add_milliseconds(TableChange *change, FunctionCallInfo fcinfo, int argument, const char *name)
{
	int64		milliseconds = 0;

	if (!PG_ARGISNULL(argument))
		milliseconds = (argument_duration(fcinfo, argument, name, PG_INT32_MAX * INT64CONST(1000)) + 500) / 1000;
	table_change_argument(change, INT4OID, PG_ARGISNULL(argument), Int32GetDatum((int32) milliseconds));
}

/*
 * set_gateway_probe(gateway_id uuid, protocol text, address text, path text,
 *     expected_status text, server_name text, verify_tls boolean,
 *     ca_certificate text, probe_interval interval, timeout interval, rise int,
 *     fall int, required boolean)
 *
 * Needs INSERT and UPDATE on gateway_probes.  Errors: NULL for protocol,
 * address, verify_tls or required, an unrecognized protocol, or an interval that is
 * not positive 22023; no such gateway P0002; the table's constraints 23514.
 */
Datum
set_gateway_probe(PG_FUNCTION_ARGS)
{
	PoolCatalog catalog;
	TableChange change = {0};
	ProbeProtocol protocol;

	catalog_open(&catalog);
	access_require(&catalog, RIGHT_ADD_PROBE);
	access_require(&catalog, RIGHT_PROBE);
	argument_require(fcinfo, 0, "gateway_id");
	argument_require(fcinfo, 1, "protocol");
	argument_require(fcinfo, 2, "address");
	argument_require(fcinfo, 6, "verify_tls");
	argument_require(fcinfo, 12, "required");
	if (!probe_protocol_parse(text_to_cstring(PG_GETARG_TEXT_PP(1)), &protocol))
		argument_refuse_word("probe protocol", PG_GETARG_TEXT_PP(1), "The protocols are tcp, tls, http and https.");

	change.relation = catalog.probes;
	change.sql = psprintf("INSERT INTO %s (\"gatewayId\", protocol, address, path, \"expectedStatus\", \"serverName\", \"verifyTls\","
						  " \"caCertificate\", \"intervalMs\", \"timeoutMs\", rise, fall, required)"
						  " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) ON CONFLICT (\"gatewayId\") DO UPDATE"
						  " SET protocol = excluded.protocol, address = excluded.address, path = excluded.path,"
						  " \"expectedStatus\" = excluded.\"expectedStatus\", \"serverName\" = excluded.\"serverName\","
						  " \"verifyTls\" = excluded.\"verifyTls\", \"caCertificate\" = excluded.\"caCertificate\","
						  " \"intervalMs\" = excluded.\"intervalMs\", \"timeoutMs\" = excluded.\"timeoutMs\","
						  " rise = excluded.rise, fall = excluded.fall, required = excluded.required",
						  catalog_name(catalog.probes));
	table_change_call_argument(&change, UUIDOID, fcinfo, 0);
	for (int i = 1; i <= 5; i++)
		table_change_call_argument(&change, TEXTOID, fcinfo, i);
	table_change_call_argument(&change, BOOLOID, fcinfo, 6);
	table_change_call_argument(&change, TEXTOID, fcinfo, 7);
	add_milliseconds(&change, fcinfo, 8, "probe_interval");
	add_milliseconds(&change, fcinfo, 9, "timeout");
	table_change_call_argument(&change, INT4OID, fcinfo, 10);
	table_change_call_argument(&change, INT4OID, fcinfo, 11);
	table_change_call_argument(&change, BOOLOID, fcinfo, 12);
	(void) require_gateway(fcinfo, &catalog);
	(void) table_change_run_silently(&change);
	PG_RETURN_VOID();
}

/*
 * clear_gateway_probe(gateway_id uuid) returns boolean
 *
 * Returns true if the gateway had a probe.  Needs DELETE on gateway_probes.
 */
Datum
clear_gateway_probe(PG_FUNCTION_ARGS)
{
	PoolCatalog catalog;
	TableChange change = {0};

	catalog_open(&catalog);
	access_require(&catalog, RIGHT_REMOVE_PROBE);
	if (isolation_hides_gateway(&catalog, argument_uuid(fcinfo, 0, "gateway_id")))
		PG_RETURN_BOOL(false);
	change.relation = catalog.probes;
	change.sql = psprintf("DELETE FROM %s WHERE \"gatewayId\" = $1", catalog_name(catalog.probes));
	table_change_call_argument(&change, UUIDOID, fcinfo, 0);
	PG_RETURN_BOOL(table_change_run_silently(&change) > 0);
}
