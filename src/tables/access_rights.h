/*
 * access_rights.h
 *		The table of rights, for access.c and access_grants.c only.
 */
#ifndef GATEWAY_POOL_ACCESS_RIGHTS_H
#define GATEWAY_POOL_ACCESS_RIGHTS_H

#include "tables/access.h"

/* Rights that are granted together; those without an action are granted by plain GRANT only. */
typedef enum Action
{
	ACTION_LIST,
	ACTION_CREATE,
	ACTION_EDIT,
	ACTION_DELETE,
	ACTION_ATTACH,
	ACTION_PICK,
	NO_ACTION
} Action;

#define ACTION_COUNT NO_ACTION

typedef enum AccessTable
{
	ON_POOLS,
	ON_MEMBERSHIPS,
	ON_HEALTH,
	ON_PROBES,
	ON_STATES,
	ON_ENTITLEMENTS,
	ON_CONSUMERS				/* each consumer, on its own columns */
} AccessTable;

#define COLUMNS_MAX 4

typedef struct RightRow
{
	Action		action;
	AccessTable table;
	AclMode		mode;
	const char *privilege;
	const char *columns[COLUMNS_MAX + 1];	/* none: the whole table */
} RightRow;

extern const RightRow access_rights[ACCESS_RIGHTS];
extern const char *const access_action_names[ACTION_COUNT];

extern Oid	access_table(const PoolCatalog *catalog, const RightRow *right);
extern bool access_has_privilege(Oid role, Oid relation, const char *const *columns, AclMode mode);

#endif							/* GATEWAY_POOL_ACCESS_RIGHTS_H */
