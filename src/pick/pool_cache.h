/*
 * pool_cache.h
 *		Pools and their members, as this session knows them.
 */
#ifndef GATEWAY_POOL_POOL_CACHE_H
#define GATEWAY_POOL_POOL_CACHE_H

#include "base/transaction.h"
#include "rules/selection.h"
#include "shared/pick_counters.h"
#include "tables/catalog.h"
#include "tables/pool_rows.h"

typedef struct KnownMember
{
	pg_uuid_t	gateway;
	HealthSlotRef slot;			/* NO_SLOT: no shared memory, or it is full */
	bool		by_slot;		/* judged by its slot, else once and for all
								 * when read */
	GatewayStatus status;		/* as it was when it was read */
	GatewayState state;
	int32		weight;
	int32		priority;
	Jsonb	   *capabilities;	/* or NULL */
	PickCount	count;
} KnownMember;

/* A pool to pick from. */
typedef struct KnownPool
{
	pg_uuid_t	id;
	pg_uuid_t	org_id;
	bool		kept;			/* in the cache */
	bool		has_capabilities;	/* they were read, too */
	bool		in_recovery;	/* read on a standby */
	int64		read_at;		/* monotonic */
	int			member_count;
	KnownMember *members;
	DrawTable	draw;			/* of members by their place above */
	PickCount	count;
} KnownPool;

extern const TransactionSubscriber pool_cache_subscriber;

extern KnownPool *pool_cache_get(const PoolCatalog *catalog, const pg_uuid_t *id, bool with_capabilities, int64 now);
extern void pool_cache_forget(const pg_uuid_t *id);
extern KnownPool *pool_cache_of_row(const PoolRow *row);

#endif							/* GATEWAY_POOL_POOL_CACHE_H */
