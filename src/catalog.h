/*
 * catalog.h
 *		Our tables, the host's beside them, and acting as their owners.
 */
#ifndef GATEWAY_POOL_CATALOG_H
#define GATEWAY_POOL_CATALOG_H

#include "access/attnum.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "nodes/pg_list.h"
#include "utils/acl.h"
#include "utils/relcache.h"
#include "utils/uuid.h"

typedef struct PoolCatalog
{
	Oid			schema;			/* the extension's, and the tables' */
	Oid			pools;
	Oid			memberships;
	Oid			entitlements;
	Oid			states;
	Oid			organizations;	/* the host's: what our foreign keys reference */
	Oid			gateways;
} PoolCatalog;

/* A column with a foreign key to gateway_pools. */
typedef struct PoolConsumer
{
	Oid			relation;
	AttrNumber	column;
	char	   *schema_name;
	char	   *table_name;
	char	   *column_name;
} PoolConsumer;

/* What to restore when the work as somebody else is done. */
typedef struct OwnerScope
{
	Oid			user;
	int			security_context;
	int			settings_level;
} OwnerScope;

extern bool catalog_find(PoolCatalog *catalog, Oid function);
extern void catalog_open(PoolCatalog *catalog, Oid function);
extern void catalog_require_privilege(Oid relation, AclMode privileges);
extern Oid	catalog_referenced_table(Relation relation, AttrNumber column);
extern List *catalog_consumers(const PoolCatalog *catalog);
extern bool catalog_is_consumer(const PoolCatalog *catalog, Relation relation, AttrNumber column);
extern Oid	catalog_owner(Oid relation);
extern const char *catalog_name(Oid relation);
extern int	catalog_error_constraint(Oid relation, const char *constraint);

extern void owner_begin(OwnerScope *scope, Oid relation);
extern SPIPlanPtr owner_prepare(const char *sql, int argument_count, Oid *types);
extern uint64 owner_execute(SPIPlanPtr plan, Datum *values);
extern uint64 owner_query(const char *sql, const pg_uuid_t *id);
extern uint64 owner_lock(const char *sql, const pg_uuid_t *id);
extern void owner_end(const OwnerScope *scope);
extern bool owner_exists(Oid relation, const char *sql, const pg_uuid_t *id);
extern void owner_lock_row(Oid relation, const pg_uuid_t *id, const char *strength);
extern int64 owner_count(Oid relation, const char *sql, const pg_uuid_t *id);

#endif							/* GATEWAY_POOL_CATALOG_H */
