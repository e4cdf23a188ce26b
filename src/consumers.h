/*
 * consumers.h
 *		The columns that reference gateway_pools.
 */
#ifndef GATEWAY_POOL_CONSUMERS_H
#define GATEWAY_POOL_CONSUMERS_H

#include "nodes/pg_list.h"

#include "catalog.h"

/* A column with a foreign key to gateway_pools. */
typedef struct PoolConsumer
{
	Oid			relation;
	AttrNumber	column;
	char	   *schema_name;
	char	   *table_name;
	char	   *column_name;
} PoolConsumer;

extern List *consumers_list(const PoolCatalog *catalog);
extern bool consumers_include(const PoolCatalog *catalog, Relation relation, AttrNumber column);

#endif							/* GATEWAY_POOL_CONSUMERS_H */
