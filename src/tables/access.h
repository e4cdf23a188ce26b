/*
 * access.h
 *		Rights of roles: which role may do what.
 */
#ifndef GATEWAY_POOL_ACCESS_H
#define GATEWAY_POOL_ACCESS_H

#include "base/invalidation.h"
#include "tables/catalog.h"

/* A right is one privilege on one table, or on a few of its columns. */
typedef enum AccessRight
{
	RIGHT_LIST,
	RIGHT_LIST_MEMBERS,
	RIGHT_PICK,
	RIGHT_CREATE,
	RIGHT_RENAME,
	RIGHT_ADD_MEMBER,
	RIGHT_CHANGE_MEMBER,
	RIGHT_REMOVE_MEMBER,
	RIGHT_DELETE,
	RIGHT_ATTACH,
	RIGHT_REPORT,				/* heartbeats and load */
	RIGHT_PROBE,
	RIGHT_ADD_PROBE,
	RIGHT_REMOVE_PROBE,
	RIGHT_ADD_STATE,
	RIGHT_CHANGE_STATE,
	RIGHT_ADD_ENTITLEMENT,
	RIGHT_CHANGE_ENTITLEMENT,
	ACCESS_RIGHTS				/* the number of rights */
} AccessRight;

extern const InvalidationSubscriber access_invalidation;

extern bool access_has(const PoolCatalog *catalog, AccessRight right);
extern void access_require(const PoolCatalog *catalog, AccessRight right);

#endif							/* GATEWAY_POOL_ACCESS_H */
