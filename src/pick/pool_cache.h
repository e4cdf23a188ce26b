/*
 * pool_cache.h
 *		The pools that this session has read, with their members.
 */
#ifndef GATEWAY_POOL_POOL_CACHE_H
#define GATEWAY_POOL_POOL_CACHE_H

#include "base/transaction.h"
#include "rules/draw_table.h"
#include "shared/pick_counters.h"
#include "tables/catalog.h"
#include "tables/pool_rows.h"

typedef struct CachedMember
{
	pg_uuid_t	gateway;
	HealthSlotRef slot;			/* NO_SLOT: no shared memory, or it is full */
	bool		by_slot;		/* its slot holds its status as of now; else
								 * "status" does */
	GatewayStatus status;		/* when it was read */
	GatewayState state;
	int32		weight;
	int32		priority;
	Jsonb	   *capabilities;	/* or NULL */
	PickCount	count;
} CachedMember;

/* A pool to pick from. */
typedef struct CachedPool
{
	pg_uuid_t	id;
	pg_uuid_t	org_id;
	bool		kept;			/* in the cache */
	bool		has_capabilities;	/* those of its members were read, too */
	bool		in_recovery;	/* read on a standby */
	int64		read_at;		/* monotonic */
	TimestampTz next_state_end; /* when the first state of a member ends, or
								 * NO_STATE_END */
	int			member_count;
	CachedMember *members;
	DrawTable	draw;			/* draws an index of "members" */
	PickCount	count;
} CachedPool;

extern const TransactionSubscriber pool_cache_subscriber;

extern CachedPool *pool_cache_get(const PoolCatalog *catalog, const pg_uuid_t *id, bool with_capabilities, int64 now);
extern void pool_cache_remove(const pg_uuid_t *id);

#endif							/* GATEWAY_POOL_POOL_CACHE_H */
