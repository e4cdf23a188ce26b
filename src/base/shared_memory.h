/*
 * shared_memory.h
 *		The locks of this library in shared memory.
 */
#ifndef GATEWAY_POOL_SHARED_MEMORY_H
#define GATEWAY_POOL_SHARED_MEMORY_H

#include "storage/lwlock.h"

/* Positions of the locks in our tranche. */
#define SHARED_MAP_FIRST_LOCK	0
#define SHARED_MAP_LOCKS		17
#define SHARED_STATS_LOCK		(SHARED_MAP_FIRST_LOCK + SHARED_MAP_LOCKS)
#define SHARED_WORKERS_LOCK		(SHARED_STATS_LOCK + 1)
#define SHARED_LOCKS			(SHARED_WORKERS_LOCK + 1)

static inline LWLockPadded *
shared_memory_locks(int first)
{
	return GetNamedLWLockTranche("gateway_pool") + first;
}

#endif							/* GATEWAY_POOL_SHARED_MEMORY_H */
