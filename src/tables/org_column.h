/*
 * org_column.h
 *		The column of a table that holds the organization of its rows.
 */
#ifndef GATEWAY_POOL_ORG_COLUMN_H
#define GATEWAY_POOL_ORG_COLUMN_H

#include "tables/catalog.h"

extern AttrNumber org_column_find(Relation relation, Oid organizations);
extern const char *org_column_name(const PoolCatalog *catalog, Oid relation);

#endif							/* GATEWAY_POOL_ORG_COLUMN_H */
