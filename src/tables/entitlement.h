/*
 * entitlement.h
 *		Entitlements: what the plans of organizations allow.
 */
#ifndef GATEWAY_POOL_ENTITLEMENT_H
#define GATEWAY_POOL_ENTITLEMENT_H

#include "datatype/timestamp.h"

#include "tables/catalog.h"

typedef struct Entitlement
{
	bool		gateway_pool;	/* may use pools; false once expired */
	bool		expires;
	TimestampTz expires_at;		/* valid if expires */
	int32		max_pools;		/* or NO_LIMIT */
	int32		max_gateways_per_pool;	/* or NO_LIMIT */
} Entitlement;

extern Entitlement entitlement_read(const PoolCatalog *catalog, const pg_uuid_t *org);
extern bool entitlement_requires_pools(const PoolCatalog *catalog, const pg_uuid_t *org);
extern Entitlement entitlement_require(const PoolCatalog *catalog, const pg_uuid_t *org);

#endif							/* GATEWAY_POOL_ENTITLEMENT_H */
