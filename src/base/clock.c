/*
 * clock.c
 *		The monotonic clock, on which all times in shared memory are.
 */
#include "postgres.h"

#include "base/clock.h"
#include "utils/timestamp.h"

/* Two readings further apart than this, in microseconds, were interrupted. */
#define CLOSE_READINGS INT64CONST(5)

/* clock_wall_offset returns the current difference of wall time and monotonic time. */
int64
clock_wall_offset(void)
{
	int64		best = PG_INT64_MAX;
	int64		offset = 0;

	for (int i = 0; i < 8 && best > CLOSE_READINGS; i++)
	{
		int64		before = clock_monotonic();
		TimestampTz wall = GetCurrentTimestamp();
		int64		gap = clock_monotonic() - before;

		if (gap < best)
		{
			best = gap;
			offset = wall - (before + gap / 2);
		}
	}
	return offset;
}
