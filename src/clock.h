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

/* clock_monotonic reads CLOCK_MONOTONIC. */
static inline int64
clock_monotonic(void)
{
	struct timespec now;

	(void) clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64) now.tv_sec * USECS_PER_SEC + now.tv_nsec / 1000;
}

extern int64 clock_wall_offset(void);

#endif							/* GATEWAY_POOL_CLOCK_H */
