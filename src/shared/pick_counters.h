/*
 * pick_counters.h
 *		How often pools and gateways were picked.
 */
#ifndef GATEWAY_POOL_PICK_COUNTERS_H
#define GATEWAY_POOL_PICK_COUNTERS_H

#include "datatype/timestamp.h"
#include "port/atomics.h"
#include "utils/uuid.h"

#include "base/transaction.h"

typedef struct PickCounterKey
{
	Oid			database;
	pg_uuid_t	pool;
	pg_uuid_t	gateway;
} PickCounterKey;

typedef struct PickCounter
{
	PickCounterKey key;
	pg_atomic_uint64 picks;
	pg_atomic_uint64 degraded_picks;
	pg_atomic_uint64 refusals;
	pg_atomic_uint64 added_at;	/* monotonic */
	TimestampTz since;			/* changes under the exclusive lock */
} PickCounter;

/* What a session has counted of one gateway in one pool, or of one pool. */
typedef struct PickCount
{
	pg_uuid_t	pool;
	pg_uuid_t	gateway;		/* all zero: the pool itself */
	uint32		picks;
	uint32		degraded_picks;
	uint32		refusals;
	bool		pending;		/* to be added to the statistics */
	uint64		epoch;			/* in which "entry" was found; 0: never */
	struct PickCounter *entry;	/* in shared memory */
} PickCount;

extern const TransactionSubscriber pick_counters_subscriber;

extern Size pick_counters_size(void);
extern void pick_counters_startup(void);
extern void pick_counters_enqueue(PickCount *count);
extern void pick_counters_flush(void);
extern void pick_counters_add(PickCount *count);
extern PickCounter *pick_counters_copy(int *count);
extern void pick_counters_remove(const PickCounter *gone, int count);
extern bool pick_counters_exist(void);
extern int64 pick_counters_capacity(void);
extern bool pick_counters_begin_sweep(void);
extern bool pick_counters_evicted_lately(void);

/*
 * pick_counters_touch is called before a count is increased, if its memory is valid
 * until the next flush; otherwise pick_counters_add is called after.
 */
static inline void
pick_counters_touch(PickCount *count)
{
	if (!count->pending)
		pick_counters_enqueue(count);
}

#endif							/* GATEWAY_POOL_PICK_COUNTERS_H */
