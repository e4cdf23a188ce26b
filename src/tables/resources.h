/*
 * resources.h
 *		Resources of pools: the rows of consumers that reference them.
 */
#ifndef GATEWAY_POOL_RESOURCES_H
#define GATEWAY_POOL_RESOURCES_H

#include "tables/consumers.h"
#include "tables/pool_rows.h"

extern int64 *resources_count(const PoolCatalog *catalog, const PoolRow *pools, int pool_count);
extern void resources_warn_of_lock(const PoolConsumer *consumer);
extern char *resources_in_words(const PoolCatalog *catalog, const pg_uuid_t *pool);

#endif							/* GATEWAY_POOL_RESOURCES_H */
