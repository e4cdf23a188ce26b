/*
 * argument.c
 *		Arguments of SQL functions.
 */
#include "postgres.h"

#include "utils/timestamp.h"

#include "base/argument.h"

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

/*
 * argument_duration reads an interval that is not null, in microseconds, months
 * being 30 days, and raises 22023 if it is not positive; "longest" is what longer
 * ones are taken for.
 */
int64
argument_duration(FunctionCallInfo fcinfo, int argument, const char *name, int64 longest)
{
	const Interval *interval = PG_GETARG_INTERVAL_P(argument);
	double		days = (double) interval->month * DAYS_PER_MONTH + interval->day;
	double		microseconds = days * USECS_PER_DAY + interval->time;

	if (microseconds <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must be longer than 0", name)));
	return Min(microseconds, longest);
}
