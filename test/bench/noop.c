/*
 * noop.c
 *		A call that does nothing, whose cost is subtracted from that of a pick, and
 *		the processor time of this backend.
 */
#include "postgres.h"

#include <time.h>

#include "fmgr.h"
#include "utils/uuid.h"

PG_MODULE_MAGIC;

PG_FUNCTION_INFO_V1(noop);
PG_FUNCTION_INFO_V1(processor_us);

/* noop(id uuid) returns uuid: its argument. */
Datum
noop(PG_FUNCTION_ARGS)
{
	PG_RETURN_UUID_P(PG_GETARG_UUID_P(0));
}

/* processor_us() returns double precision: microseconds. */
Datum
processor_us(PG_FUNCTION_ARGS)
{
	struct timespec used;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
	PG_RETURN_FLOAT8(used.tv_sec * 1e6 + used.tv_nsec / 1e3);
}
