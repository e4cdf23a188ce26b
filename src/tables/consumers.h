/*
 * consumers.h
 *		Consumers: columns that reference gateway_pools, and their registration.
 */
#ifndef GATEWAY_POOL_CONSUMERS_H
#define GATEWAY_POOL_CONSUMERS_H

#include "nodes/pg_list.h"

#include "tables/catalog.h"

/* A column with a foreign key to gateway_pools. */
typedef struct PoolConsumer
{
	Oid			relation;
	AttrNumber	column;
	char	   *schema_name;
	char	   *table_name;
	char	   *column_name;
} PoolConsumer;

/* How a consumer was registered. */
typedef struct Registration
{
	bool		registered;
	char	   *gateway_column; /* or ""; NULL if not registered */
	char	   *org_query;		/* or ""; NULL if not registered */
} Registration;

extern List *consumers_list(const PoolCatalog *catalog);
extern bool consumers_have_strangers(const PoolCatalog *catalog);
extern bool consumers_include(const PoolCatalog *catalog, Relation relation, AttrNumber column);
extern Registration consumers_registration(const PoolCatalog *catalog, Oid table, const char *column);

#endif							/* GATEWAY_POOL_CONSUMERS_H */
