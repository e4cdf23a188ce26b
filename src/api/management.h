/*
 * management.h
 *		Checks that the management functions begin with.
 */
#ifndef GATEWAY_POOL_MANAGEMENT_H
#define GATEWAY_POOL_MANAGEMENT_H

#include "base/compat.h"
#include "tables/access.h"
#include "tables/catalog.h"

extern const pg_uuid_t *management_begin(FunctionCallInfo fcinfo, PoolCatalog *catalog, AccessRight right);
extern const pg_uuid_t *management_require_pool(FunctionCallInfo fcinfo, const PoolCatalog *catalog, const pg_uuid_t *org);
pg_noreturn extern void management_refuse_missing(Oid relation, const char *kind, const pg_uuid_t *id);
pg_noreturn extern void management_refuse_foreign(Oid relation);

#endif							/* GATEWAY_POOL_MANAGEMENT_H */
