/*
 * catalog.c
 *		Our tables, and the host's beside them.
 *
 * The catalog is the registry: the gateways table is what
 * gateway_pool_memberships."gatewayId" references, the organizations table
 * what gateway_pools."orgId" references, and consumers are whatever references
 * gateway_pools.  No second list is kept.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_extension.h"
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

#include "catalog.h"
#include "compat.h"
#include "worker_slots.h"

PG_FUNCTION_INFO_V1(gateway_pool_is_extension_script);

/* What was found last, and for which function, if any. */
static struct
{
	bool		valid;
	Oid			function;
	PoolCatalog catalog;
}			found;

/* Counts what was forgotten, for those who are just finding something out. */
static uint64 forgotten;

/* Counts changes of what was found, and of databases. */
static uint64 changes;

static void
database_changed(Datum arg, int cache_id, uint32 hash_value)
{
	changes++;
}

/* catalog_init registers what tells of changed databases; called once a process. */
void
catalog_init(void)
{
	CacheRegisterSyscacheCallback(DATABASEOID, database_changed, 0);
}

/*
 * catalog_forget forgets what is known of a relation that has changed, or of
 * all where that is InvalidOid.  Returns whether pools have to be read anew:
 * not where statistics of the host's tables change, as they do all day; whether
 * their columns have changed, catalog_find will see.
 */
bool
catalog_forget(Oid relation)
{
	const PoolCatalog *catalog = &found.catalog;

	forgotten++;
	if (!OidIsValid(relation) || relation == catalog->pools || relation == catalog->memberships ||
		relation == catalog->states || relation == catalog->marker)
	{
		found.valid = false;
		changes++;
		return true;
	}
	if (relation == catalog->entitlements || relation == catalog->health ||
		relation == catalog->events || relation == catalog->probes ||
		relation == catalog->audit_logs || relation == catalog->tenants ||
		relation == catalog->organizations || relation == catalog->gateways)
	{
		found.valid = false;
		changes++;
	}
	return false;
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

static void
refuse_dropped(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_TABLE),
			 errmsg("a table of gateway pools was dropped by a concurrent transaction")));
}

/* A plain table of this name, or InvalidOid: nobody's view stands in for one. */
static Oid
find_table(Oid schema, const char *name)
{
	Oid			relation = get_relname_relid(name, schema);

	if (!OidIsValid(relation) || get_rel_relkind(relation) != RELKIND_RELATION)
		return InvalidOid;
	return relation;
}

/* A table that was dropped meanwhile has nothing to hide. */
static bool
has_row_security(Oid relation)
{
	HeapTuple	row = SearchSysCache1(RELOID, ObjectIdGetDatum(relation));
	bool		has;

	if (!HeapTupleIsValid(row))
		return false;
	has = ((Form_pg_class) GETSTRUCT(row))->relrowsecurity;
	ReleaseSysCache(row);
	return has;
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

/* Differs where a column has another name, place or type, and hardly ever else. */
static uint64
hash_columns(Oid relation)
{
	Relation	table = relation_open(relation, AccessShareLock);
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

/*
 * The table that a foreign key of ours references, or InvalidOid.  Read without
 * a lock on our table: heartbeats of the host's do not wait for whoever alters it.
 */
static Oid
host_table(Oid relation, const char *column)
{
	Relation	constraints = table_open(ConstraintRelationId, AccessShareLock);
	AttrNumber	number = get_attnum(relation, column);
	Oid			referenced = InvalidOid;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	row;

	ScanKeyInit(&key, Anum_pg_constraint_conrelid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(relation));
	scan = systable_beginscan(constraints, ConstraintRelidTypidNameIndexId, true, NULL, 1, &key);
	while (!OidIsValid(referenced) && HeapTupleIsValid(row = systable_getnext(scan)))
	{
		Form_pg_constraint constraint = (Form_pg_constraint) GETSTRUCT(row);
		bool		is_null;
		Datum		columns;

		if (constraint->contype != CONSTRAINT_FOREIGN)
			continue;
		columns = heap_getattr(row, Anum_pg_constraint_conkey, RelationGetDescr(constraints), &is_null);
		if (!is_null && ArrayGetNItems(1, ARR_DIMS(DatumGetArrayTypeP(columns))) == 1 &&
			*(AttrNumber *) ARR_DATA_PTR(DatumGetArrayTypeP(columns)) == number)
			referenced = constraint->confrelid;
	}
	systable_endscan(scan);
	table_close(constraints, AccessShareLock);
	return referenced;
}

static bool
look_up(PoolCatalog *catalog, Oid schema)
{
	catalog->schema = schema;
	catalog->pools = find_table(schema, "gateway_pools");
	catalog->memberships = find_table(schema, "gateway_pool_memberships");
	catalog->entitlements = find_table(schema, "gateway_pool_entitlements");
	catalog->states = find_table(schema, "gateway_states");
	catalog->health = find_table(schema, "gateway_health");
	catalog->events = find_table(schema, "gateway_health_events");
	catalog->probes = find_table(schema, "gateway_probes");
	catalog->audit_logs = find_table(schema, "gateway_pool_audit_logs");
	catalog->tenants = find_table(schema, "gateway_pool_tenants");
	/* A view, which nothing reads often, is a relation like others. */
	catalog->marker = get_relname_relid("gateway_pool_stats", schema);
	if (!OidIsValid(catalog->pools) || !OidIsValid(catalog->memberships) ||
		!OidIsValid(catalog->entitlements) || !OidIsValid(catalog->states) ||
		!OidIsValid(catalog->health) || !OidIsValid(catalog->events) ||
		!OidIsValid(catalog->probes) || !OidIsValid(catalog->audit_logs) ||
		!OidIsValid(catalog->tenants) || !OidIsValid(catalog->marker))
		return false;

	catalog->organizations = host_table(catalog->pools, "orgId");
	catalog->gateways = host_table(catalog->memberships, "gatewayId");
	if (!OidIsValid(catalog->organizations) || !OidIsValid(catalog->gateways))
		return false;

	catalog->version = hash_columns(catalog->gateways);
	for (const Oid *oid = &catalog->schema; oid <= &catalog->gateways; oid++)
		catalog->version = hash_combine64(catalog->version, *oid);
	catalog->isolated = has_row_security(catalog->pools);
	return true;
}

/* catalog_schema returns the schema of our extension in this database, or InvalidOid. */
Oid
catalog_schema(void)
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
 * catalog_has_triggers tells whether the triggers are there, too: they are what
 * uninstall_gateway_pools() takes away.  The one by which heartbeats become
 * known stands for all.
 */
bool
catalog_has_triggers(const PoolCatalog *catalog)
{
	Relation	triggers = table_open(TriggerRelationId, AccessShareLock);
	bool		has = false;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	row;

	ScanKeyInit(&key, Anum_pg_trigger_tgrelid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(catalog->gateways));
	scan = systable_beginscan(triggers, TriggerRelidNameIndexId, true, NULL, 1, &key);
	while (!has && HeapTupleIsValid(row = systable_getnext(scan)))
	{
		Oid			function = ((Form_pg_trigger) GETSTRUCT(row))->tgfoid;
		char	   *name = get_func_name(function);

		has = name != NULL && strcmp(name, "gateway_pool_gateways_tell") == 0 &&
			get_func_namespace(function) == catalog->schema;
	}
	systable_endscan(scan);
	table_close(triggers, AccessShareLock);
	return has;
}

/*
 * What was found is kept until one of the relations changes in any way.  A worker
 * that nobody has asked for, since the tables came with a dump or to a standby,
 * is asked for here.
 */
static bool
find(PoolCatalog *catalog, Oid schema)
{
	uint64		before = forgotten;

	if (found.valid && found.catalog.schema == schema)
	{
		*catalog = found.catalog;
		return true;
	}
	found.valid = false;
	if (!look_up(catalog, schema))
		return false;
	/* What changed meanwhile serves but once. */
	found.valid = forgotten == before;
	found.function = InvalidOid;
	found.catalog = *catalog;
	if (!worker_slots_has(MyDatabaseId) && catalog_has_triggers(catalog) &&
		!worker_slots_want(MyDatabaseId))
		worker_slots_want_scan();
	return true;
}

/*
 * catalog_find finds the tables that belong to a function of ours: they lie in
 * its schema.  Returns false if they are not all there.  All that others have
 * committed by now is known.
 */
bool
catalog_find(PoolCatalog *catalog, Oid function)
{
	AcceptInvalidationMessages();
	if (found.valid && found.function == function)
	{
		*catalog = found.catalog;
		return true;
	}
	if (!find(catalog, get_func_namespace(function)))
		return false;
	found.function = function;
	return true;
}

/* catalog_find_in_schema is the same for the schema of the extension. */
bool
catalog_find_in_schema(PoolCatalog *catalog, Oid schema)
{
	AcceptInvalidationMessages();
	return find(catalog, schema);
}

/* catalog_open is catalog_find with an error where the tables are not all there. */
void
catalog_open(PoolCatalog *catalog, Oid function)
{
	if (!catalog_find(catalog, function))
	{
		const char *schema = get_namespace_name(catalog->schema);

		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("gateway pools are not installed in schema \"%s\"", schema),
				 errhint("Call %s.install_gateway_pools().", quote_identifier(schema))));
	}
}

/*
 * catalog_invalidate tells every session that a relation has changed, when this
 * transaction commits and not before; this one from its next command on.  Of the
 * marker, it makes them read pools anew.
 */
void
catalog_invalidate(Oid relation)
{
	CacheInvalidateRelcacheByRelid(relation);
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
gateway_pool_is_extension_script(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(creating_extension);
}
