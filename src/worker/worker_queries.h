/*
 * worker_queries.h
 *		Queries of the worker: memberships, and how to probe gateways.
 */
#ifndef GATEWAY_POOL_WORKER_QUERIES_H
#define GATEWAY_POOL_WORKER_QUERIES_H

#include "lib/stringinfo.h"

#include "probe/prober.h"
#include "tables/catalog.h"

/* One membership, or a pool without any. */
typedef struct MembershipRow
{
	pg_uuid_t	pool;
	pg_uuid_t	org_id;			/* the pool's */
	const char *pool_name;		/* in the first row of a pool, else NULL */
	pg_uuid_t	gateway;		/* valid if the next is true */
	bool		has_gateway;
} MembershipRow;

extern bool worker_queries_lock(const PoolCatalog *catalog, bool to_write);
extern ProbePlan *worker_queries_probes(const PoolCatalog *catalog, int *count, StringInfo problem);
extern MembershipRow *worker_queries_memberships(const PoolCatalog *catalog, int *count);

#endif							/* GATEWAY_POOL_WORKER_QUERIES_H */
