/*
 * pick_stats_data.h
 *		What is counted of picks, in shared memory: for pick_stats.c and
 *		pick_stats_rows.c alone.
 */
#ifndef GATEWAY_POOL_PICK_STATS_DATA_H
#define GATEWAY_POOL_PICK_STATS_DATA_H

#include "datatype/timestamp.h"
#include "port/atomics.h"

#include "pick_stats.h"

typedef struct StatsKey
{
	Oid			database;
	pg_uuid_t	pool;
	pg_uuid_t	gateway;
} StatsKey;

typedef struct StatsEntry
{
	StatsKey	key;
	pg_atomic_uint64 picks;
	pg_atomic_uint64 degraded_picks;
	pg_atomic_uint64 refusals;
	pg_atomic_uint64 added_at;	/* monotonic */
	TimestampTz since;			/* changes under the exclusive lock */
} StatsEntry;

extern StatsEntry *pick_stats_copy(int *count);
extern void pick_stats_forget(const StatsEntry *gone, int count);
extern bool pick_stats_exist(void);
extern int64 pick_stats_room(void);
extern bool pick_stats_begin_sweep(void);
extern bool pick_stats_evicted(void);

#endif							/* GATEWAY_POOL_PICK_STATS_DATA_H */
