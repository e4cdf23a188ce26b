/*
 * clock.h
 *		The monotonic clock, on which all times in shared memory are.
 *
 * Times are microseconds.  A monotonic time is valid until the machine restarts; wall
 * time is the server's TimestampTz.
 */
#ifndef GATEWAY_POOL_CLOCK_H
#define GATEWAY_POOL_CLOCK_H

#include <time.h>

#include "datatype/timestamp.h"

/*
 * The monotonic time of the machine's start: 20 years.  So times before the start, such
 * as yesterday's heartbeat, are not negative, and 0 is before all times that matter.
 */
#define CLOCK_MACHINE_START (INT64CONST(20) * 365 * USECS_PER_DAY)

/* clock_monotonic returns CLOCK_MONOTONIC plus CLOCK_MACHINE_START. */
static inline int64
clock_monotonic(void)
{
	struct timespec now;

	(void) clock_gettime(CLOCK_MONOTONIC, &now);
	return CLOCK_MACHINE_START + (int64) now.tv_sec * USECS_PER_SEC + now.tv_nsec / 1000;
}

extern int64 clock_wall_offset(void);

#endif							/* GATEWAY_POOL_CLOCK_H */
