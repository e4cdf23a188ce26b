/*
 * marker.c
 *		Markers: the triggers by which the tables of gateway pools are found.
 */
#include "postgres.h"

#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "base/argument.h"
#include "base/trigger_call.h"
#include "tables/catalog.h"

PG_FUNCTION_INFO_V1(table_marker);
PG_FUNCTION_INFO_V1(mark_table);

/*
 * table_marker(role, ...): BEFORE TRUNCATE, statement, of every table of gateway
 * pools, of the host's organizations and gateways, and of consumers
 *
 * The trigger marks the table.  When it fires, it invalidates what is cached about the
 * table.
 */
Datum
table_marker(PG_FUNCTION_ARGS)
{
	TriggerData *call = trigger_call(fcinfo, TRIGGER_EVENT_BEFORE, ON_TRUNCATE);

	CacheInvalidateRelcache(call->tg_relation);
	return PointerGetDatum(NULL);
}

static Oid
owner_of_function(Oid function)
{
	HeapTuple	row = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	Oid			owner;

	if (!HeapTupleIsValid(row))
		elog(ERROR, "cache lookup failed for function %u", function);
	owner = ((Form_pg_proc) GETSTRUCT(row))->proowner;
	ReleaseSysCache(row);
	return owner;
}

/*
 * Raises 42501 unless the caller may mark the table.  A marker decides which rows are
 * trusted: the owner of the extension, or a superuser, marks the gateways table.  Then
 * the owner of that table may mark other tables of the same owner, and consumers that
 * the caller owns.
 */
static void
require_right_to_mark(Oid extension_owner, Oid gateways, Oid relation, const char *role)
{
	Oid			user = GetUserId();
	Oid			owner = catalog_owner(relation);
	bool		is_host = strcmp(role, "gateways") == 0 || strcmp(role, "organizations") == 0;
	bool		is_consumer = strcmp(role, "consumer") == 0;

	if (has_privs_of_role(user, extension_owner))
		return;
	if (OidIsValid(gateways) && !is_host && has_privs_of_role(user, catalog_owner(gateways)) &&
		(is_consumer ? has_privs_of_role(user, owner) : owner == catalog_owner(gateways)))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("permission denied to make table %s a table of gateway pools", catalog_name(relation)),
			 errhint("Call install_gateway_pools() as a superuser."),
			 catalog_error_constraint(relation, "gateway_pools_access")));
}

/* Returns the command CREATE TRIGGER for a marker with these arguments. */
static char *
marker_sql(Oid relation, const char *name, Datum *arguments, int count)
{
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfo(&sql, "CREATE OR REPLACE TRIGGER %s BEFORE TRUNCATE ON %s FOR EACH STATEMENT"
					 " EXECUTE FUNCTION gateway_pool_internal.table_marker(", quote_identifier(name), catalog_name(relation));
	for (int i = 0; i < count; i++)
		appendStringInfo(&sql, "%s%s", i == 0 ? "" : ", ", quote_literal_cstr(TextDatumGetCString(arguments[i])));
	appendStringInfoChar(&sql, ')');
	return sql.data;
}

/*
 * mark_table(relation regclass, trigger_name name, arguments text[])
 *
 * Creates a marker of a table, with the rights of the extension's owner.  The first
 * argument is the role of the table.  Errors: NULL 22023, no right 42501.
 */
Datum
mark_table(PG_FUNCTION_ARGS)
{
	PoolCatalog catalog;
	Oid			relation;
	Oid			extension_owner;
	Oid			user;
	int			security_context;
	Datum	   *arguments;
	bool	   *nulls;
	int			count;
	const char *sql;
	int			result;

	argument_require(fcinfo, 0, "relation");
	argument_require(fcinfo, 1, "trigger_name");
	argument_require(fcinfo, 2, "arguments");
	relation = PG_GETARG_OID(0);
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(2), TEXTOID, -1, false, TYPALIGN_INT, &arguments, &nulls, &count);
	for (int i = 0; i < Max(count, 1); i++)
		if (count == 0 || nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("arguments must not be empty or contain null")));

	/* A missing table does not matter: it may be the one that is marked here. */
	(void) catalog_find(&catalog);
	extension_owner = owner_of_function(fcinfo->flinfo->fn_oid);
	require_right_to_mark(extension_owner, catalog.gateways, relation, TextDatumGetCString(arguments[0]));

	sql = marker_sql(relation, NameStr(*PG_GETARG_NAME(1)), arguments, count);
	SPI_connect();
	GetUserIdAndSecContext(&user, &security_context);
	SetUserIdAndSecContext(extension_owner, security_context | SECURITY_LOCAL_USERID_CHANGE | SECURITY_RESTRICTED_OPERATION);
	result = SPI_execute(sql, false, 0);
	SetUserIdAndSecContext(user, security_context);
	if (result != SPI_OK_UTILITY)
		elog(ERROR, "SPI_execute failed: %s", SPI_result_code_string(result));
	SPI_finish();
	PG_RETURN_VOID();
}
