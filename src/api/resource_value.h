/*
 * resource_value.h
 *		Values of rows of consumers, which may belong to a role that is not trusted.
 */
#ifndef GATEWAY_POOL_RESOURCE_VALUE_H
#define GATEWAY_POOL_RESOURCE_VALUE_H

#include "access/attnum.h"
#include "access/htup.h"
#include "access/tupdesc.h"
#include "utils/relcache.h"

#include "tables/catalog.h"

extern char *resource_value(HeapTuple row, TupleDesc columns, AttrNumber number);
extern bool resource_value_may_read(Oid table, const char *column, Oid role);
extern Oid	resource_value_identities(Relation consumer);
extern bool resource_value_is_hidden(const PoolCatalog *catalog, Relation table, HeapTuple row, TupleDesc columns);
extern char *resource_value_identity_name(const PoolCatalog *catalog, HeapTuple row, TupleDesc columns, Oid identities);

#endif							/* GATEWAY_POOL_RESOURCE_VALUE_H */
