/*
 * clock.c
 *		The monotonic clock, by which all evidence in shared memory is judged.
 */
#include "postgres.h"

#include "base/clock.h"
#include "utils/timestamp.h"

/* Readings further apart than this were interrupted by something. */
#define CLOSE_READINGS INT64CONST(5)

/*
 * clock_wall_offset returns what is to be added to a monotonic time to get the
 * wall time that the system's clock gives it at the moment.
 */
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
