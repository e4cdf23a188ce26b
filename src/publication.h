/*
 * publication.h
 *		What a transaction tells shared memory about gateways when it commits.
 */
#ifndef GATEWAY_POOL_PUBLICATION_H
#define GATEWAY_POOL_PUBLICATION_H

#include "catalog.h"
#include "health_evidence.h"

extern void publication_init(void);
extern void publication_heartbeat(const PoolCatalog *catalog, const pg_uuid_t *gateway, const Heartbeat *heartbeat);
extern void publication_deletion(const PoolCatalog *catalog, const pg_uuid_t *gateway);
extern void publication_truncation(const PoolCatalog *catalog);
extern void publication_insertion(const PoolCatalog *catalog, const pg_uuid_t *gateway);
extern bool publication_is_pending(void);

#endif							/* GATEWAY_POOL_PUBLICATION_H */
