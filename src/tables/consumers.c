/*
 * consumers.c
 *		Consumers: columns that reference gateway_pools, and their registration.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/relation.h"
#include "catalog/partition.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "base/compat.h"
#include "base/result_row.h"
#include "tables/consumers.h"

PG_FUNCTION_INFO_V1(consumers);

/* By name, so that messages are the same in every database. */
static int
compare_consumers(const ListCell *a, const ListCell *b)
{
	const PoolConsumer *left = lfirst(a);
	const PoolConsumer *right = lfirst(b);
	int			order = strcmp(left->schema_name, right->schema_name);

	if (order == 0)
		order = strcmp(left->table_name, right->table_name);
	return order != 0 ? order : left->column - right->column;
}

/* Returns the column numbers in an array column of pg_constraint. */
static AttrNumber *
key_columns(HeapTuple constraint, int attribute, int *count)
{
	bool		is_null;
	Datum		value = SysCacheGetAttr(CONSTROID, constraint, attribute, &is_null);
	ArrayType  *array = is_null ? NULL : DatumGetArrayTypeP(value);

	*count = array == NULL ? 0 : ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array));
	return array == NULL ? NULL : (AttrNumber *) ARR_DATA_PTR(array);
}

/*
 * Returns the column of a foreign key to gateway_pools that references the id; the
 * key may have other columns.  InvalidAttrNumber if there is none, or if it is no
 * uuid, which an implicit cast of the owner's would allow.
 */
static AttrNumber
consumer_column(const PoolCatalog *catalog, HeapTuple constraint)
{
	Form_pg_constraint key = (Form_pg_constraint) GETSTRUCT(constraint);
	AttrNumber	id = get_attnum(catalog->pools, "id");
	int			count;
	int			referenced_count;
	AttrNumber *columns = key_columns(constraint, Anum_pg_constraint_conkey, &count);
	AttrNumber *referenced = key_columns(constraint, Anum_pg_constraint_confkey, &referenced_count);

	for (int i = 0; i < Min(count, referenced_count); i++)
		if (referenced[i] == id &&
			getBaseType(get_atttype(key->conrelid, columns[i])) == UUIDOID)
			return columns[i];
	return InvalidAttrNumber;
}

static List *
add_consumer(List *consumers, Oid relation, AttrNumber column)
{
	PoolConsumer *consumer = palloc(sizeof(PoolConsumer));
	ListCell   *cell;

	foreach(cell, consumers)
	{
		const PoolConsumer *listed = lfirst(cell);

		if (listed->relation == relation && listed->column == column)
			return consumers;
	}

	consumer->relation = relation;
	consumer->column = column;
	consumer->schema_name = get_namespace_name(get_rel_namespace(relation));
	consumer->table_name = get_rel_name(relation);
	consumer->column_name = get_attname(relation, column, true);
	if (consumer->schema_name == NULL || consumer->table_name == NULL || consumer->column_name == NULL)
		return consumers;		/* just dropped */
	return lappend(consumers, consumer);
}

/*
 * consumers_list lists the columns that reference gateway_pools by a foreign key,
 * except that of memberships, sorted by the names of their tables.
 *
 * pg_constraint has no index by referenced table, but the triggers of gateway_pools,
 * which are in the relcache, name each foreign key that they enforce.
 */
List *
consumers_list(const PoolCatalog *catalog)
{
	Relation	pools = catalog_open_table(catalog->pools, AccessShareLock);
	TriggerDesc *triggers = pools->trigdesc;
	List	   *constraints = NIL;
	List	   *consumers = NIL;
	ListCell   *cell;

	/* Look up nothing in this loop: that may rebuild the relcache entry. */
	for (int i = 0; triggers != NULL && i < triggers->numtriggers; i++)
	{
		Trigger    *trigger = &triggers->triggers[i];

		/* Each foreign key has two such triggers, one of them for deletion. */
		if (OidIsValid(trigger->tgconstraint) && TRIGGER_FOR_DELETE(trigger->tgtype) &&
			RI_FKey_trigger_type(trigger->tgfoid) == RI_TRIGGER_PK &&
			trigger->tgconstrrelid != catalog->memberships)
			constraints = lappend_oid(constraints, trigger->tgconstraint);
	}

	foreach(cell, constraints)
	{
		HeapTuple	constraint = SearchSysCache1(CONSTROID, ObjectIdGetDatum(lfirst_oid(cell)));
		AttrNumber	column;

		if (!HeapTupleIsValid(constraint))
			continue;
		column = consumer_column(catalog, constraint);
		/* A partition's rows are among those of its parent. */
		if (column != InvalidAttrNumber &&
			!OidIsValid(((Form_pg_constraint) GETSTRUCT(constraint))->conparentid))
			consumers = add_consumer(consumers, ((Form_pg_constraint) GETSTRUCT(constraint))->conrelid,
									 column);
		ReleaseSysCache(constraint);
	}

	relation_close(pools, AccessShareLock);
	list_sort(consumers, compare_consumers);
	return consumers;
}

/*
 * consumers_have_strangers returns true if the owner of a table that references
 * gateway_pools is neither the owner of gateway_pools nor a superuser.
 */
bool
consumers_have_strangers(const PoolCatalog *catalog)
{
	Oid			owner = catalog_owner(catalog->pools);
	ListCell   *cell;

	foreach(cell, consumers_list(catalog))
	{
		Oid			other = catalog_owner(((const PoolConsumer *) lfirst(cell))->relation);

		if (other != owner && !superuser_arg(other))
			return true;
	}
	return false;
}

/* consumers_include returns true if a column references gateway_pools by a foreign key. */
bool
consumers_include(const PoolCatalog *catalog, Relation relation, AttrNumber column)
{
	ListCell   *cell;

	foreach(cell, RelationGetFKeyList(relation))
	{
		ForeignKeyCacheInfo *key = lfirst_node(ForeignKeyCacheInfo, cell);

		for (int i = 0; i < key->nkeys; i++)
			if (key->confrelid == catalog->pools && key->conkey[i] == column)
				return true;
	}
	return false;
}

/* Looks for the marker of a column among the triggers of an open table. */
static bool
find_registration(const PoolCatalog *catalog, Relation relation, const char *column, Registration *registration)
{
	TriggerDesc *triggers = relation->trigdesc;

	for (int i = 0; triggers != NULL && i < triggers->numtriggers; i++)
	{
		const Trigger *trigger = &triggers->triggers[i];

		if (trigger->tgfoid != catalog->marker_function || trigger->tgnargs != 4 ||
			strcmp(trigger->tgargs[0], "consumer") != 0 || strcmp(trigger->tgargs[1], column) != 0)
			continue;
		registration->registered = true;
		registration->gateway_column = pstrdup(trigger->tgargs[2]);
		registration->org_query = pstrdup(trigger->tgargs[3]);
		return true;
	}
	return false;
}

/*
 * consumers_registration returns how a column is registered as the pool of a consumer:
 * by a marker, which the owner of the table cannot make alone.  A partition has the
 * registration of its topmost parent.
 */
Registration
consumers_registration(const PoolCatalog *catalog, Oid table, const char *column)
{
	Registration registration = {0};
	Relation	relation = catalog_open_table(table, AccessShareLock);

	if (!find_registration(catalog, relation, column, &registration) && relation->rd_rel->relispartition)
	{
		Oid			root = table;
		Relation	topmost;

		/*
		 * get_partition_ancestors() finds no parents of a partition that is
		 * being detached.
		 */
		while (get_rel_relispartition(root))
			root = get_partition_parent(root, true);
		topmost = catalog_open_table(root, AccessShareLock);
		(void) find_registration(catalog, topmost, column, &registration);
		relation_close(topmost, AccessShareLock);
	}
	relation_close(relation, AccessShareLock);
	return registration;
}

static void
put_name(ResultRow *row, const char *column, const char *name)
{
	if (name[0] != '\0')
		result_put(row, column, DirectFunctionCall1(namein, CStringGetDatum(name)));
}

/* Adds the row of a marker to the result of the call, if it is a consumer's. */
static void
add_registration(Oid table, const bytea *arguments, void *context)
{
	ResultRow  *row = context;
	const char *argument = catalog_marker_argument(arguments, NULL);
	const char *given[3];		/* pool column, gateway column, query */

	if (strcmp(argument, "consumer") != 0)
		return;
	for (int i = 0; i < lengthof(given); i++)
	{
		given[i] = argument = catalog_marker_argument(arguments, argument);
		if (argument == NULL)
			return;
	}
	result_put(row, "consumer", ObjectIdGetDatum(table));
	put_name(row, "pool_column", given[0]);
	put_name(row, "gateway_column", given[1]);
	if (given[2][0] != '\0')
		result_put_text(row, "org_query", given[2]);
	result_add(row);
}

/*
 * consumers() returns (consumer regclass, pool_column name, gateway_column name,
 * org_query text)
 *
 * One row a registered consumer, even if its columns were dropped.
 */
Datum
consumers(PG_FUNCTION_ARGS)
{
	PoolCatalog catalog;
	ResultRow	row;

	result_begin_rows(&row, fcinfo);
	(void) catalog_find(&catalog);
	if (OidIsValid(catalog.marker_function))
		catalog_visit_markers(catalog.marker_function, add_registration, &row);
	return (Datum) 0;
}
