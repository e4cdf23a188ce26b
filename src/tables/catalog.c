/*
 * catalog.c
 *		Finds our tables and those of the host.
 *
 * PostgreSQL's catalog is the only list of them.  Each table has a marker: a trigger
 * of the function gateway_pool_internal.table_marker(), whose first argument is the
 * table's role.  Only the owner of the extension may use that function, so a marker
 * cannot be forged, and the name and schema of a table do not matter.  Consumers are
 * all tables that reference gateway_pools.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_depend.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_trigger.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "common/hashfn.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "base/compat.h"
#include "tables/catalog.h"
#include "tables/change_triggers.h"
#include "tables/org_column.h"
#include "tables/policies.h"
#include "tables/script.h"

PG_FUNCTION_INFO_V1(is_extension_script);
PG_FUNCTION_INFO_V1(require_script);

/* The roles of tables, as markers name them, and their place in a PoolCatalog. */
static const struct
{
	const char *name;
	size_t		place;
}			table_roles[] =
{
	{"gateway_pools", offsetof(PoolCatalog, pools)},
	{"gateway_pool_memberships", offsetof(PoolCatalog, memberships)},
	{"gateway_pool_entitlements", offsetof(PoolCatalog, entitlements)},
	{"gateway_states", offsetof(PoolCatalog, states)},
	{"gateway_health", offsetof(PoolCatalog, health)},
	{"gateway_health_events", offsetof(PoolCatalog, events)},
	{"gateway_probes", offsetof(PoolCatalog, probes)},
	{"gateway_pool_audit_logs", offsetof(PoolCatalog, audit_logs)},
	{"gateway_pool_tenants", offsetof(PoolCatalog, tenants)},
	{"organizations", offsetof(PoolCatalog, organizations)},
	{"gateways", offsetof(PoolCatalog, gateways)}
};

static Oid *
table_of_role(PoolCatalog *catalog, int role)
{
	return (Oid *) ((char *) catalog + table_roles[role].place);
}

/* The result of the last look-up; CATALOG_MISSING if it is outdated. */
static struct
{
	CatalogState state;
	PoolCatalog catalog;
}			found;

/* Two tables with the same role, found by the last look-up: neither is used. */
static struct
{
	int			role;
	Oid			tables[2];
}			ambiguous;

/* Counts invalidations: a result that was found across one is not kept. */
static uint64 invalidations;

/* Counts changes of the tables that were found, and of databases. */
static uint64 changes;

/* Counts the changes that outdate pools that were read. */
static uint64 pool_changes;

/* A change of columns of the host's tables changes the version, which catalog_find computes. */
static void
relation_changed(Oid relation)
{
	PoolCatalog *catalog = &found.catalog;

	invalidations++;
	if (!OidIsValid(relation) || relation == catalog->pools || relation == catalog->memberships ||
		relation == catalog->states || relation == catalog->signal)
	{
		found.state = CATALOG_MISSING;
		changes++;
		pool_changes++;
		return;
	}
	for (int role = 0; role < lengthof(table_roles); role++)
		if (relation == *table_of_role(catalog, role))
		{
			found.state = CATALOG_MISSING;
			changes++;
		}
}

static void
databases_changed(void)
{
	changes++;
}

const InvalidationSubscriber catalog_invalidation = {
	.relation_changed = relation_changed,
	.databases_changed = databases_changed
};

/*
 * catalog_pool_changes counts the changes that outdate pools that were read.  ANALYZE
 * of the host's tables, which runs all day, is none.
 */
uint64
catalog_pool_changes(void)
{
	return pool_changes;
}

/*
 * catalog_changes counts the changes of the tables that were found, and of databases,
 * of which this process has received an invalidation.
 */
uint64
catalog_changes(void)
{
	return changes;
}

pg_noreturn static void
refuse_dropped(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_TABLE),
			 errmsg("a table of gateway pools was dropped by a concurrent transaction"),
			 err_generic_string(PG_DIAG_CONSTRAINT_NAME, "gateway_pools_not_installed")));
}

/* catalog_open_table is relation_open with an error of ours (42P01) for a table that was just dropped. */
Relation
catalog_open_table(Oid relation, LOCKMODE mode)
{
	Relation	table = try_relation_open(relation, mode);

	if (table == NULL)
		refuse_dropped();
	return table;
}

/* catalog_referenced_table returns the table that the foreign key of one column references, or InvalidOid. */
Oid
catalog_referenced_table(Relation relation, AttrNumber column)
{
	ListCell   *cell;

	foreach(cell, RelationGetFKeyList(relation))
	{
		ForeignKeyCacheInfo *key = lfirst_node(ForeignKeyCacheInfo, cell);

		if (key->nkeys == 1 && key->conkey[0] == column)
			return key->confrelid;
	}
	return InvalidOid;
}

/* Returns a hash of the names, order and types of the columns of a table. */
static uint64
hash_columns(Relation table)
{
	TupleDesc	columns = RelationGetDescr(table);
	uint64		hash = 0;

	for (int i = 0; i < columns->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(columns, i);

		hash = hash_combine64(hash, hash_bytes_extended((unsigned char *) NameStr(attribute->attname),
														strlen(NameStr(attribute->attname)),
														attribute->atttypid + attribute->attisdropped));
	}
	return hash;
}

/*
 * catalog_marker_argument returns the argument of a marker after the one given, or the
 * first for NULL; NULL after the last.  In pg_trigger, a zero byte ends each.
 */
const char *
catalog_marker_argument(const bytea *arguments, const char *before)
{
	const char *end = VARDATA_ANY(arguments) + VARSIZE_ANY_EXHDR(arguments);
	const char *next = before == NULL ? VARDATA_ANY(arguments) : before + strlen(before) + 1;

	return next < end ? next : NULL;
}

static void
visit_marker(Relation triggers, Oid trigger, MarkerVisitor visit, void *context)
{
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	row;

	ScanKeyInit(&key, Anum_pg_trigger_oid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(trigger));
	scan = systable_beginscan(triggers, TriggerOidIndexId, true, NULL, 1, &key);
	if (HeapTupleIsValid(row = systable_getnext(scan)))
	{
		bool		is_null;
		Datum		arguments = heap_getattr(row, Anum_pg_trigger_tgargs, RelationGetDescr(triggers), &is_null);

		if (!is_null && ((Form_pg_trigger) GETSTRUCT(row))->tgnargs > 0)
			visit(((Form_pg_trigger) GETSTRUCT(row))->tgrelid, DatumGetByteaPP(arguments), context);
	}
	systable_endscan(scan);
}

/* catalog_visit_markers calls "visit" for each marker, with its table and its arguments, at least one. */
void
catalog_visit_markers(Oid marker_function, MarkerVisitor visit, void *context)
{
	Relation	dependencies = table_open(DependRelationId, AccessShareLock);
	Relation	triggers = table_open(TriggerRelationId, AccessShareLock);
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple	row;

	ScanKeyInit(&keys[0], Anum_pg_depend_refclassid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(ProcedureRelationId));
	ScanKeyInit(&keys[1], Anum_pg_depend_refobjid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(marker_function));
	scan = systable_beginscan(dependencies, DependReferenceIndexId, true, NULL, 2, keys);
	while (HeapTupleIsValid(row = systable_getnext(scan)))
	{
		Form_pg_depend form = (Form_pg_depend) GETSTRUCT(row);

		if (form->classid == TriggerRelationId)
			visit_marker(triggers, form->objid, visit, context);
	}
	systable_endscan(scan);
	table_close(triggers, AccessShareLock);
	table_close(dependencies, AccessShareLock);
}

/* Stores the table of a marker; two tables with one role are ambiguous. */
static void
take_table(Oid table, const bytea *arguments, void *context)
{
	PoolCatalog *catalog = context;
	const char *name = catalog_marker_argument(arguments, NULL);

	for (int role = 0; role < lengthof(table_roles); role++)
	{
		Oid		   *place = table_of_role(catalog, role);

		if (strcmp(name, table_roles[role].name) != 0)
			continue;
		if (OidIsValid(*place) && *place != table)
		{
			ambiguous.role = role;
			ambiguous.tables[0] = *place;
			ambiguous.tables[1] = table;
		}
		*place = table;
	}
}

/* Returns a function without arguments of the schema of internal functions, or InvalidOid. */
static Oid
find_function(const char *name, Oid internal)
{
	return GetSysCacheOid3(PROCNAMEARGSNSP, Anum_pg_proc_oid, CStringGetDatum(name),
						   PointerGetDatum(buildoidvector(NULL, 0)), ObjectIdGetDatum(internal));
}

static void
read_change_triggers(PoolCatalog *catalog, Oid internal)
{
	const Oid	ours[] = {catalog->pools, catalog->memberships, catalog->states, catalog->tenants};
	Oid			function = find_function("pools_invalidate", internal);

	for (int i = 0; i < lengthof(ours); i++)
		catalog->unpublished |= !change_triggers_read(ours[i], function, &catalog->version);
	catalog->unpublished |= !change_triggers_read(catalog->gateways, find_function("gateways_invalidate", internal),
												  &catalog->version);
}

/* Finds what is no table: returns MISSING without the extension, UNFIT if its script is another one, else FOUND. */
static CatalogState
look_up_script(PoolCatalog *catalog, Oid *internal)
{
	ExtensionRow extension;
	bool		fits;

	memset(catalog, 0, sizeof(PoolCatalog));
	*internal = get_namespace_oid("gateway_pool_internal", true);
	catalog->marker_function = find_function("table_marker", *internal);
	catalog->signal = get_relname_relid("pool_changes", *internal);
	fits = script_fits(catalog->signal) && OidIsValid(catalog->marker_function);

	/* Last: what is missing may have been dropped with the extension. */
	if (!script_extension(&extension))
		return CATALOG_MISSING;
	catalog->schema = extension.schema;
	return fits ? CATALOG_FOUND : CATALOG_UNFIT;
}

/* Fills in the catalog as far as possible. */
static CatalogState
look_up(PoolCatalog *catalog)
{
	Oid			internal;
	Relation	gateways;
	CatalogState state = look_up_script(catalog, &internal);

	memset(&ambiguous, 0, sizeof(ambiguous));
	if (state == CATALOG_MISSING)
		return state;
	if (OidIsValid(catalog->marker_function))
		catalog_visit_markers(catalog->marker_function, take_table, catalog);

	/* With another script, too: triggers of the host's tables need it. */
	if (OidIsValid(catalog->gateways) && OidIsValid(catalog->organizations))
	{
		gateways = catalog_open_table(catalog->gateways, AccessShareLock);
		catalog->gateway_org = org_column_find(gateways, catalog->organizations);
		catalog->version = hash_columns(gateways);
		relation_close(gateways, AccessShareLock);
	}
	if (state == CATALOG_UNFIT)
		return state;
	if (OidIsValid(ambiguous.tables[0]))
		return CATALOG_MISSING;
	for (int role = 0; role < lengthof(table_roles); role++)
		if (!OidIsValid(*table_of_role(catalog, role)))
			return CATALOG_MISSING;

	catalog->host_schema = get_rel_namespace(catalog->gateways);
	catalog->has_weight = get_attnum(catalog->memberships, "pickWeight") != InvalidAttrNumber;
	catalog->has_priority = get_attnum(catalog->memberships, "pickPriority") != InvalidAttrNumber;
	catalog->version = hash_combine64(catalog->version,
									  catalog->gateway_org * 4 + catalog->has_weight * 2 + catalog->has_priority);
	for (const Oid *oid = &catalog->schema; oid <= &catalog->signal; oid++)
		catalog->version = hash_combine64(catalog->version, *oid);
	read_change_triggers(catalog, internal);
	catalog->isolated = policies_isolate(catalog->pools);
	catalog->policed = policies_are_foreign(catalog->pools) || policies_are_foreign(catalog->memberships);
	return CATALOG_FOUND;
}

/* Finds the tables again, and keeps what it finds. */
static pg_noinline CatalogState
look_again(PoolCatalog *catalog)
{
	uint64		before = invalidations;
	CatalogState state = look_up(catalog);

	/* No message would outdate it. */
	if (state == CATALOG_MISSING || !OidIsValid(catalog->signal))
		return state;
	found.catalog = *catalog;
	/* After a change meanwhile, the result is used only once. */
	if (invalidations == before)
		found.state = state;
	return state;
}

/* Inline because each pick calls it. */
static inline CatalogState
get_catalog(PoolCatalog *catalog)
{
	AcceptInvalidationMessages();
	if (unlikely(found.state == CATALOG_MISSING))
		return look_again(catalog);
	*catalog = found.catalog;
	return found.state;
}

/*
 * catalog_look finds the tables, as of all transactions that have committed by now; one
 * that is missing is InvalidOid.  Raises no error of ours: for triggers that must not
 * stop writes of the host, and for the worker.  The result is cached until one of the
 * relations changes in any way.
 */
CatalogState
catalog_look(PoolCatalog *catalog)
{
	return get_catalog(catalog);
}

/*
 * catalog_find is catalog_look for all else: it returns false if a table is missing,
 * and raises 55000 if the SQL objects are those of another library.
 */
bool
catalog_find(PoolCatalog *catalog)
{
	CatalogState state = get_catalog(catalog);

	if (unlikely(state == CATALOG_UNFIT))
		script_refuse(catalog->signal);
	return state == CATALOG_FOUND;
}

/* catalog_open is catalog_find with an error (55000) if a table is missing. */
void
catalog_open(PoolCatalog *catalog)
{
	const char *schema;

	if (likely(catalog_find(catalog)))
		return;
	if (OidIsValid(ambiguous.tables[0]))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("two tables are marked as table \"%s\" of gateway pools", table_roles[ambiguous.role].name),
				 errdetail("They are %s and %s.", catalog_name(ambiguous.tables[0]), catalog_name(ambiguous.tables[1])),
				 errhint("Drop trigger \"GatewayPools_marker\" of the one that is not in use."),
				 err_generic_string(PG_DIAG_CONSTRAINT_NAME, "gateway_pools_not_installed")));
	schema = OidIsValid(catalog->schema) ? get_namespace_name(catalog->schema) : NULL;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("gateway pools are not installed"),
			 schema == NULL ? 0 :
			 errhint("Call %s.install_gateway_pools() as a superuser.", quote_identifier(schema)),
			 err_generic_string(PG_DIAG_CONSTRAINT_NAME, "gateway_pools_not_installed")));
}

/* catalog_owner returns the owner of a table. */
Oid
catalog_owner(Oid relation)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relation));
	Oid			owner;

	if (!HeapTupleIsValid(tuple))
		refuse_dropped();
	owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	ReleaseSysCache(tuple);
	return owner;
}

/* catalog_name returns the qualified and quoted name of a table, for SQL text. */
const char *
catalog_name(Oid relation)
{
	char	   *schema = get_namespace_name(get_rel_namespace(relation));
	char	   *name = get_rel_name(relation);

	if (schema == NULL || name == NULL)
		refuse_dropped();
	return quote_qualified_identifier(schema, name);
}

/*
 * catalog_error_constraint, within ereport, names the rule that was broken and the
 * table; the rule is no row of pg_constraint, since triggers enforce it.
 */
int
catalog_error_constraint(Oid relation, const char *constraint)
{
	const char *schema = get_namespace_name(get_rel_namespace(relation));
	const char *table = get_rel_name(relation);

	if (schema != NULL)
		err_generic_string(PG_DIAG_SCHEMA_NAME, schema);
	if (table != NULL)
		err_generic_string(PG_DIAG_TABLE_NAME, table);
	return err_generic_string(PG_DIAG_CONSTRAINT_NAME, constraint);
}

/*
 * catalog_require_fit raises 55000 if the SQL objects are those of another library; for
 * functions that need no table.  It locks none.
 */
void
catalog_require_fit(void)
{
	/* The number of invalidations when they were last found to fit. */
	static uint64 fit_at = PG_UINT64_MAX;
	PoolCatalog catalog;
	Oid			internal;
	uint64		before;

	AcceptInvalidationMessages();
	before = invalidations;
	if (found.state == CATALOG_FOUND || fit_at == before)
		return;
	if (look_up_script(&catalog, &internal) == CATALOG_UNFIT)
		script_refuse(catalog.signal);
	fit_at = before;
}

/* require_script() is catalog_require_fit for functions in SQL. */
Datum
require_script(PG_FUNCTION_ARGS)
{
	catalog_require_fit();
	PG_RETURN_VOID();
}

/*
 * is_extension_script() returns true while a script of CREATE or ALTER EXTENSION
 * runs.
 */
Datum
is_extension_script(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(creating_extension);
}
