/*
 * argument.c
 *		Arguments of SQL functions.
 */
#include "postgres.h"

#include "utils/fmgrprotos.h"

#include "argument.h"

/* argument_require raises 22023 for NULL. */
void
argument_require(FunctionCallInfo fcinfo, int argument, const char *name)
{
	if (PG_ARGISNULL(argument))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must not be null", name)));
}

/* argument_uuid returns an id, and raises 22023 for NULL. */
pg_uuid_t *
argument_uuid(FunctionCallInfo fcinfo, int argument, const char *name)
{
	argument_require(fcinfo, argument, name);
	return PG_GETARG_UUID_P(argument);
}

/* uuid_text writes an id as users read it. */
char *
uuid_text(const pg_uuid_t *id)
{
	return DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(id)));
}
