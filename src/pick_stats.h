/*
 * pick_stats.h
 *		How often pools and gateways were picked.
 */
#ifndef GATEWAY_POOL_PICK_STATS_H
#define GATEWAY_POOL_PICK_STATS_H

#include "catalog.h"

/* What a session has counted of one gateway in one pool, or of one pool. */
typedef struct PickCount
{
	pg_uuid_t	pool;
	pg_uuid_t	gateway;		/* all zero: the pool itself */
	uint32		picks;
	uint32		degraded_picks;
	uint32		refusals;
	bool		pending;		/* to be added to the statistics */
	uint32		epoch;			/* in which "entry" was found; 0 is none */
	struct StatsEntry *entry;	/* in shared memory */
} PickCount;

extern Size pick_stats_size(void);
extern void pick_stats_startup(void);
extern void pick_stats_init(void);
extern void pick_stats_enqueue(PickCount *count);
extern void pick_stats_flush(void);
extern void pick_stats_add(PickCount *count);
extern void pick_stats_make_room(const PoolCatalog *catalog);
extern bool pick_stats_crowded(const PoolCatalog *catalog);

/*
 * pick_stats_touch is to be called before a count is raised that stays where it
 * is until the next flush; one that does not is added by pick_stats_add.
 */
static inline void
pick_stats_touch(PickCount *count)
{
	if (!count->pending)
		pick_stats_enqueue(count);
}

#endif							/* GATEWAY_POOL_PICK_STATS_H */
