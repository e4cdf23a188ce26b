/*
 * pick_stats.h
 *		How often pools and gateways were picked.
 */
#ifndef GATEWAY_POOL_PICK_STATS_H
#define GATEWAY_POOL_PICK_STATS_H

#include "utils/uuid.h"

/* What a session has counted of one gateway in one pool, or of one pool. */
typedef struct PickCount
{
	pg_uuid_t	pool;
	pg_uuid_t	gateway;		/* all zero: the pool itself */
	uint32		picks;
	uint32		degraded_picks;
	uint32		refusals;
	bool		pending;		/* to be added to the statistics */
} PickCount;

extern Size pick_stats_size(void);
extern void pick_stats_startup(void);
extern void pick_stats_init(void);
extern void pick_stats_enqueue(PickCount *count);
extern void pick_stats_flush(void);

/* pick_stats_touch is to be called before a count is raised; it stays where it is until a flush. */
static inline void
pick_stats_touch(PickCount *count)
{
	if (!count->pending)
		pick_stats_enqueue(count);
}

#endif							/* GATEWAY_POOL_PICK_STATS_H */
