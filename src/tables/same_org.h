/*
 * same_org.h
 *		The rule that a pool and its members, and a consumer and its pool or gateway,
 *		belong to the same organization.
 */
#ifndef GATEWAY_POOL_SAME_ORG_H
#define GATEWAY_POOL_SAME_ORG_H

#include "tables/catalog.h"

extern pg_uuid_t *same_org_lock(const PoolCatalog *catalog, Oid relation, const pg_uuid_t *id);
extern void same_org_require(Relation relation, const pg_uuid_t *left, const pg_uuid_t *right,
							 const char *detail);

#endif							/* GATEWAY_POOL_SAME_ORG_H */
