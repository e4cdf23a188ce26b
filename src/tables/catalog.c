/*
 * catalog.c
 *		Our tables, and the host's beside them.
 *
 * The catalog is the registry; no second list is kept.  Each of the tables carries
 * a marker: a trigger of the function gateway_pool_internal.table_marker(), whose
 * first argument is the table's role.  Only the owner of the extension may use
 * that function, so that a marker cannot be forged, and a table is found whatever
 * its name and schema are.  Consumers are whatever references gateway_pools.
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
#include "catalog/pg_extension.h"
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
#include "tables/policies.h"

PG_FUNCTION_INFO_V1(is_extension_script);

/* The roles of tables, as markers name them, and where each is kept. */
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

/* What was found last. */
static struct
{
	bool		valid;
	PoolCatalog catalog;
}			found;

/* Two tables with one marker, as the last look found them: nothing is done on either. */
static struct
{
	int			role;
	Oid			tables[2];
}			ambiguous;

/* Counts what was forgotten, for those who are just finding something out. */
static uint64 forgotten;

/* Counts changes of what was found, and of databases. */
static uint64 changes;

/* Counts those upon which pools have to be read again. */
static uint64 pool_changes;

/* Where only columns of the host's tables changed, catalog_find notices by the version. */
static void
relation_changed(Oid relation)
{
	PoolCatalog *catalog = &found.catalog;

	forgotten++;
	if (!OidIsValid(relation) || relation == catalog->pools || relation == catalog->memberships ||
		relation == catalog->states || relation == catalog->signal)
	{
		found.valid = false;
		changes++;
		pool_changes++;
		return;
	}
	for (int role = 0; role < lengthof(table_roles); role++)
		if (relation == *table_of_role(catalog, role))
		{
			found.valid = false;
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
 * catalog_pool_changes counts the changes upon which pools have to be read again.
 * ANALYZE of the host's tables, which runs all day, is none.
 */
uint64
catalog_pool_changes(void)
{
	return pool_changes;
}

/*
 * catalog_changes returns another number when what was found last, or a database,
 * has changed in any way that this process has been told of.
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
			 errmsg("a table of gateway pools was dropped by a concurrent transaction")));
}

/* catalog_open_table is relation_open, but for the error where the table was dropped this moment. */
Relation
catalog_open_table(Oid relation, LOCKMODE mode)
{
	Relation	table = try_relation_open(relation, mode);

	if (table == NULL)
		refuse_dropped();
	return table;
}

/* The table that the foreign key of one column references, or InvalidOid. */
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

/* A hash of the names, order and types of the columns of a table. */
static uint64
hash_columns(Oid relation)
{
	Relation	table = catalog_open_table(relation, AccessShareLock);
	TupleDesc	columns = RelationGetDescr(table);
	uint64		hash = 0;

	for (int i = 0; i < columns->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(columns, i);

		hash = hash_combine64(hash, hash_bytes_extended((unsigned char *) NameStr(attribute->attname),
														strlen(NameStr(attribute->attname)),
														attribute->atttypid + attribute->attisdropped));
	}
	relation_close(table, AccessShareLock);
	return hash;
}

/* The schema of the extension in this database, or InvalidOid. */
static Oid
extension_schema(void)
{
	Relation	extensions = table_open(ExtensionRelationId, AccessShareLock);
	Oid			schema = InvalidOid;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	row;

	ScanKeyInit(&key, Anum_pg_extension_extname, BTEqualStrategyNumber, F_NAMEEQ,
				CStringGetDatum("gateway_pool"));
	scan = systable_beginscan(extensions, ExtensionNameIndexId, true, NULL, 1, &key);
	if (HeapTupleIsValid(row = systable_getnext(scan)))
		schema = ((Form_pg_extension) GETSTRUCT(row))->extnamespace;
	systable_endscan(scan);
	table_close(extensions, AccessShareLock);
	return schema;
}

/*
 * catalog_marker_argument returns an argument of a marker, given the one before it
 * or NULL for the first; NULL after the last.  pg_trigger holds each with the zero
 * byte that ends it.
 */
const char *
catalog_marker_argument(const bytea *arguments, const char *before)
{
	const char *end = VARDATA_ANY(arguments) + VARSIZE_ANY_EXHDR(arguments);
	const char *next = before == NULL ? VARDATA_ANY(arguments) : before + strlen(before) + 1;

	return next < end ? next : NULL;
}

/* Calls "visit" for the marker of this Oid. */
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

/* catalog_visit_markers calls "visit" for each marker: with its table and its arguments, of which there is one at least. */
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

/* Takes the table of a marker, unless its role has another one already. */
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

/* Fills in the catalog, what there is of it; false if a table is missing or ambiguous. */
static bool
look_up(PoolCatalog *catalog)
{
	Oid			internal;

	memset(catalog, 0, sizeof(PoolCatalog));
	memset(&ambiguous, 0, sizeof(ambiguous));
	catalog->schema = extension_schema();
	internal = get_namespace_oid("gateway_pool_internal", true);
	if (!OidIsValid(catalog->schema) || !OidIsValid(internal))
		return false;
	catalog->marker_function = GetSysCacheOid3(PROCNAMEARGSNSP, Anum_pg_proc_oid, CStringGetDatum("table_marker"),
											   PointerGetDatum(buildoidvector(NULL, 0)), ObjectIdGetDatum(internal));
	catalog->signal = get_relname_relid("pool_changes", internal);
	if (!OidIsValid(catalog->marker_function) || !OidIsValid(catalog->signal))
		return false;
	catalog_visit_markers(catalog->marker_function, take_table, catalog);
	if (OidIsValid(ambiguous.tables[0]))
		return false;
	for (int role = 0; role < lengthof(table_roles); role++)
		if (!OidIsValid(*table_of_role(catalog, role)))
			return false;

	catalog->host_schema = get_rel_namespace(catalog->gateways);
	catalog->has_weight = get_attnum(catalog->memberships, "pickWeight") != InvalidAttrNumber;
	catalog->has_priority = get_attnum(catalog->memberships, "pickPriority") != InvalidAttrNumber;
	catalog->version = hash_combine64(hash_columns(catalog->gateways), catalog->has_weight * 2 + catalog->has_priority);
	for (const Oid *oid = &catalog->schema; oid <= &catalog->signal; oid++)
		catalog->version = hash_combine64(catalog->version, *oid);
	catalog->isolated = policies_isolate(catalog->pools);
	catalog->policed = policies_are_foreign(catalog->pools) || policies_are_foreign(catalog->memberships);
	return true;
}

/*
 * catalog_find finds the tables.  Returns false if they are not all there; what is
 * missing is InvalidOid then.  All that others have committed by now is seen.  What
 * was found is kept until one of the relations changes in any way.
 */
bool
catalog_find(PoolCatalog *catalog)
{
	uint64		before;

	AcceptInvalidationMessages();
	if (likely(found.valid))
	{
		*catalog = found.catalog;
		return true;
	}
	before = forgotten;
	if (!look_up(catalog))
		return false;
	found.catalog = *catalog;
	/* After a change meanwhile, this serves but once. */
	found.valid = forgotten == before;
	return true;
}

/* catalog_open is catalog_find with an error (55000) where the tables are not all there. */
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

/* catalog_owner gives a table's owner. */
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

/* catalog_name gives a table's qualified and quoted name, for SQL text. */
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
 * catalog_error_constraint, within ereport, names the rule that was broken:
 * "constraint" is no row of pg_constraint, as the rules live in triggers.
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
 * is_extension_script() returns boolean
 *
 * Tells whether a script of CREATE or ALTER EXTENSION is running.
 */
Datum
is_extension_script(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(creating_extension);
}
