/*
 * isolation.h
 *		Isolation: which organizations a role may see.
 */
#ifndef GATEWAY_POOL_ISOLATION_H
#define GATEWAY_POOL_ISOLATION_H

#include "utils/array.h"

#include "base/invalidation.h"
#include "base/transaction.h"
#include "tables/catalog.h"

extern const InvalidationSubscriber isolation_invalidation;
extern const TransactionSubscriber isolation_subscriber;

extern bool isolation_applies(const PoolCatalog *catalog);
extern bool isolation_is_foreign(const PoolCatalog *catalog, const pg_uuid_t *org);
extern bool isolation_hides_pool(const PoolCatalog *catalog, const pg_uuid_t *pool);
extern bool isolation_hides_gateway(const PoolCatalog *catalog, const pg_uuid_t *gateway);
extern ArrayType *isolation_orgs(const PoolCatalog *catalog);

/*
 * isolation_hides returns true if an organization, and all that belongs to it, is
 * hidden from the current role.  It is inline because each pick calls it.
 */
static inline bool
isolation_hides(const PoolCatalog *catalog, const pg_uuid_t *org)
{
	return unlikely(catalog->isolated) && isolation_is_foreign(catalog, org);
}

#endif							/* GATEWAY_POOL_ISOLATION_H */
