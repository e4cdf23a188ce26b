/*
 * clock.h
 *		The monotonic clock, by which all evidence in shared memory is judged.
 *
 * Times are microseconds.  A monotonic time means something until the machine
 * restarts; wall time is the server's TimestampTz.
 */
#ifndef GATEWAY_POOL_CLOCK_H
#define GATEWAY_POOL_CLOCK_H

#include <time.h>

#include "datatype/timestamp.h"

/*
 * When the machine started, 20 years: what happened long before that, such as a
 * heartbeat of yesterday, has a time that is not negative, too, and 0 is longer
 * ago than anything that matters.
 */
#define CLOCK_MACHINE_START (INT64CONST(20) * 365 * USECS_PER_DAY)

/* clock_monotonic reads CLOCK_MONOTONIC, and adds CLOCK_MACHINE_START. */
static inline int64
clock_monotonic(void)
{
	struct timespec now;

	(void) clock_gettime(CLOCK_MONOTONIC, &now);
	return CLOCK_MACHINE_START + (int64) now.tv_sec * USECS_PER_SEC + now.tv_nsec / 1000;
}

extern int64 clock_wall_offset(void);

#endif							/* GATEWAY_POOL_CLOCK_H */
