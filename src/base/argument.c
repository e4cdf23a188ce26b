/*
 * argument.c
 *		Arguments of SQL functions.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "base/argument.h"
#include "base/clean_text.h"

/* Longer values are not shown in messages, in bytes. */
#define SHOWN_MAX 63

/* argument_require raises 22023 if an argument is null. */
void
argument_require(FunctionCallInfo fcinfo, int argument, const char *name)
{
	if (PG_ARGISNULL(argument))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must not be null", name)));
}

/* argument_uuid returns an argument of type uuid, and raises 22023 if it is null. */
pg_uuid_t *
argument_uuid(FunctionCallInfo fcinfo, int argument, const char *name)
{
	argument_require(fcinfo, argument, name);
	return PG_GETARG_UUID_P(argument);
}

/*
 * argument_duration returns an interval that is not null in microseconds, at most
 * "longest".  A month is 30 days.  Raises 22023 if it is not positive.
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
				 errmsg("%s must be greater than zero", name)));
	return Min(microseconds, longest);
}

/* argument_refuse_word raises 22023 for a word that is none of its kind; shows it if it is short. */
void
argument_refuse_word(const char *kind, const text *word, const char *hint)
{
	char	   *shown = text_to_cstring(word);

	clean_text_in_place(shown);
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 strlen(shown) <= SHOWN_MAX ? errmsg("unrecognized %s \"%s\"", kind, shown) : errmsg("unrecognized %s", kind),
			 errhint("%s", hint)));
}
