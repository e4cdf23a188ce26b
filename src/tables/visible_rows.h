/*
 * visible_rows.h
 *		Rows that the policies of their owner show to the current role.
 */
#ifndef GATEWAY_POOL_VISIBLE_ROWS_H
#define GATEWAY_POOL_VISIBLE_ROWS_H

#include "tables/pool_rows.h"

extern bool visible_rows_differ(const PoolCatalog *catalog);
extern int	visible_rows_of_pools(const PoolCatalog *catalog, PoolRow *pools, int count);
extern int	visible_rows_of_gateways(const PoolCatalog *catalog, GatewayRow *gateways, int count);

#endif							/* GATEWAY_POOL_VISIBLE_ROWS_H */
