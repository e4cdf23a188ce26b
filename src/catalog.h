/*
 * catalog.h
 *		Our tables, and the host's beside them.
 */
#ifndef GATEWAY_POOL_CATALOG_H
#define GATEWAY_POOL_CATALOG_H

#include "access/attnum.h"
#include "fmgr.h"
#include "utils/relcache.h"
#include "utils/uuid.h"

typedef struct PoolCatalog
{
	Oid			schema;			/* the extension's, and the tables' */
	Oid			pools;
	Oid			memberships;
	Oid			entitlements;
	Oid			states;
	Oid			health;
	Oid			events;			/* gateway_health_events */
	Oid			probes;
	Oid			audit_logs;		/* gateway_pool_audit_logs */
	Oid			tenants;		/* gateway_pool_tenants */
	Oid			marker;			/* invalidated when what picks depend on changes */
	Oid			organizations;	/* the host's: what our foreign keys reference */
	Oid			gateways;
	uint64		version;		/* another one when anything above or the gateways
								 * table's columns are others */
	bool		isolated;		/* gateway_pools has row-level security */
} PoolCatalog;

extern void catalog_init(void);
extern bool catalog_forget(Oid relation);
extern uint64 catalog_changes(void);
extern bool catalog_find(PoolCatalog *catalog, Oid function);
extern bool catalog_find_in_schema(PoolCatalog *catalog, Oid schema);
extern void catalog_open(PoolCatalog *catalog, Oid function);
extern Oid	catalog_schema(void);
extern bool catalog_has_triggers(const PoolCatalog *catalog);
extern void catalog_invalidate(Oid relation);
extern Oid	catalog_referenced_table(Relation relation, AttrNumber column);
extern Oid	catalog_owner(Oid relation);
extern const char *catalog_name(Oid relation);
extern int	catalog_error_constraint(Oid relation, const char *constraint);

#endif							/* GATEWAY_POOL_CATALOG_H */
