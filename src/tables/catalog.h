/*
 * catalog.h
 *		Finds our tables and those of the host.
 */
#ifndef GATEWAY_POOL_CATALOG_H
#define GATEWAY_POOL_CATALOG_H

#include "access/attnum.h"
#include "fmgr.h"
#include "storage/lockdefs.h"
#include "utils/relcache.h"
#include "utils/uuid.h"

#include "base/invalidation.h"

typedef struct PoolCatalog
{
	Oid			schema;			/* the extension's */
	Oid			host_schema;	/* the gateways table's */
	Oid			marker_function;	/* of the marker triggers */
	Oid			pools;
	Oid			memberships;
	Oid			entitlements;
	Oid			states;
	Oid			health;
	Oid			events;			/* gateway_health_events */
	Oid			probes;
	Oid			audit_logs;		/* gateway_pool_audit_logs */
	Oid			tenants;		/* gateway_pool_tenants */
	Oid			organizations;	/* the host's */
	Oid			gateways;		/* the host's */
	Oid			signal;			/* a relation that is invalidated when
								 * something that picks depend on changes */
	uint64		version;		/* changes with any Oid above, with the
								 * columns of gateways and memberships, and
								 * with the triggers that publish changes */
	AttrNumber	gateway_org;	/* the column of gateways that holds their
								 * organization, or InvalidAttrNumber */
	bool		has_weight;		/* members have "pickWeight" */
	bool		has_priority;	/* members have "pickPriority" */
	bool		isolated;		/* gateway_pools has our policy */
	bool		policed;		/* pools or memberships have policies that are
								 * not ours */
	bool		unpublished;	/* changes of some table reach no other
								 * session: a trigger of ours is disabled */
} PoolCatalog;

/* What catalog_look has found. */
typedef enum CatalogState
{
	CATALOG_MISSING,			/* a table is missing, or ambiguous */
	CATALOG_UNFIT,				/* the SQL objects are those of another
								 * library; the catalog has what there is */
	CATALOG_FOUND
} CatalogState;

/* Called for a marker, the trigger by which a table is found. */
typedef void (*MarkerVisitor) (Oid table, const bytea *arguments, void *context);

extern const InvalidationSubscriber catalog_invalidation;

extern uint64 catalog_changes(void);
extern uint64 catalog_pool_changes(void);
extern CatalogState catalog_look(PoolCatalog *catalog);
extern void catalog_require_fit(void);
extern bool catalog_find(PoolCatalog *catalog);
extern void catalog_open(PoolCatalog *catalog);
extern void catalog_visit_markers(Oid marker_function, MarkerVisitor visit, void *context);
extern const char *catalog_marker_argument(const bytea *arguments, const char *before);
extern Oid	catalog_referenced_table(Relation relation, AttrNumber column);
extern Relation catalog_open_table(Oid relation, LOCKMODE mode);
extern Oid	catalog_owner(Oid relation);
extern const char *catalog_name(Oid relation);
extern int	catalog_error_constraint(Oid relation, const char *constraint);

#endif							/* GATEWAY_POOL_CATALOG_H */
