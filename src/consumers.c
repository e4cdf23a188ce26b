/*
 * consumers.c
 *		The columns that reference gateway_pools, and how they are registered.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "compat.h"
#include "consumers.h"

PG_FUNCTION_INFO_V1(gateway_pool_consumers);

/* By name, so that a message reads the same in every database. */
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

/* The numbers in an array of columns of pg_constraint. */
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
 * Of a foreign key to gateway_pools, the column that references the id; a key
 * may have others beside it.  InvalidAttrNumber if there is none, or if it is
 * no uuid, which an implicit cast of its owner's would allow.
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
		const PoolConsumer *known = lfirst(cell);

		if (known->relation == relation && known->column == column)
			return consumers;
	}

	consumer->relation = relation;
	consumer->column = column;
	consumer->schema_name = get_namespace_name(get_rel_namespace(relation));
	consumer->table_name = get_rel_name(relation);
	consumer->column_name = get_attname(relation, column, true);
	if (consumer->schema_name == NULL || consumer->table_name == NULL || consumer->column_name == NULL)
		return consumers;		/* dropped this moment */
	return lappend(consumers, consumer);
}

/*
 * consumers_list lists the columns that reference gateway_pools by a foreign
 * key, but for the one of the members, by the names of their tables.
 *
 * pg_constraint has no index by referenced table; the relation's own triggers,
 * which the relcache holds, name every foreign key that they serve.
 */
List *
consumers_list(const PoolCatalog *catalog)
{
	Relation	pools = relation_open(catalog->pools, AccessShareLock);
	TriggerDesc *triggers = pools->trigdesc;
	List	   *constraints = NIL;
	List	   *consumers = NIL;
	ListCell   *cell;

	/* Look nothing up yet: that may rebuild the relcache's entry under us. */
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

/* consumers_include tells whether a column references gateway_pools by a foreign key. */
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

/* Whether a trigger calls the function of ours that has this name. */
static bool
calls(Oid schema, Oid function, const char *name)
{
	char	   *called = get_func_name(function);

	return called != NULL && strcmp(called, name) == 0 && get_func_namespace(function) == schema;
}

/* consumers_registration tells what triggers of ours are on a consumer, and with what arguments. */
Registration
consumers_registration(const PoolCatalog *catalog, const PoolConsumer *consumer)
{
	Registration registration = {0};
	Relation	relation = relation_open(consumer->relation, AccessShareLock);
	/* A copy: looking up functions may rebuild the relcache's entry. */
	TriggerDesc *triggers = CopyTriggerDesc(relation->trigdesc);

	for (int i = 0; triggers != NULL && i < triggers->numtriggers; i++)
	{
		Trigger    *trigger = &triggers->triggers[i];

		if (trigger->tgnargs != 3 || strcmp(trigger->tgargs[0], consumer->column_name) != 0)
			continue;
		if (calls(catalog->schema, trigger->tgfoid, "pool_consumer_route"))
			registration.routed = true;
		if (calls(catalog->schema, trigger->tgfoid, "pool_consumer_enforce"))
		{
			registration.enforced = true;
			registration.gateway_column = trigger->tgargs[1];
			registration.org_query = trigger->tgargs[2];
		}
	}
	relation_close(relation, AccessShareLock);
	return registration;
}

/* The next of the arguments of a trigger, which pg_trigger holds each with its end; NULL after the last. */
static const char *
next_argument(const char *argument, const bytea *arguments)
{
	const char *end = VARDATA_ANY(arguments) + VARSIZE_ANY_EXHDR(arguments);

	argument = argument == NULL ? VARDATA_ANY(arguments) : argument + strlen(argument) + 1;
	return argument < end ? argument : NULL;
}

static void
emit_registration(FunctionCallInfo fcinfo, HeapTuple trigger, TupleDesc columns)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	bool		is_null;
	Datum		stored = heap_getattr(trigger, Anum_pg_trigger_tgargs, columns, &is_null);
	const bytea *arguments = is_null ? NULL : DatumGetByteaPP(stored);
	const char *argument = NULL;
	Datum		values[4];
	bool		nulls[4] = {0};

	if (arguments == NULL || ((Form_pg_trigger) GETSTRUCT(trigger))->tgnargs != 3)
		return;
	values[0] = ObjectIdGetDatum(((Form_pg_trigger) GETSTRUCT(trigger))->tgrelid);
	for (int i = 1; i < 4; i++)
	{
		argument = next_argument(argument, arguments);
		if (argument == NULL)
			return;
		nulls[i] = argument[0] == '\0';
		values[i] = i < 3 ? DirectFunctionCall1(namein, CStringGetDatum(argument)) : CStringGetTextDatum(argument);
	}
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

/*
 * gateway_pool_consumers() returns (consumer regclass, pool_column name,
 * gateway_column name, org_query text)
 *
 * What is registered: the triggers that enforce the rules on consumers, whether
 * or not the columns are still there.
 */
Datum
gateway_pool_consumers(PG_FUNCTION_ARGS)
{
	Relation	triggers;
	SysScanDesc scan;
	HeapTuple	trigger;
	Oid			schema = get_func_namespace(fcinfo->flinfo->fn_oid);

	init_materialized_result(fcinfo);
	triggers = table_open(TriggerRelationId, AccessShareLock);
	scan = systable_beginscan(triggers, InvalidOid, false, NULL, 0, NULL);
	while (HeapTupleIsValid(trigger = systable_getnext(scan)))
	{
		Form_pg_trigger form = (Form_pg_trigger) GETSTRUCT(trigger);

		/* Those of a partition are its parent's. */
		if (!form->tgisinternal && !OidIsValid(form->tgparentid) &&
			calls(schema, form->tgfoid, "pool_consumer_enforce"))
			emit_registration(fcinfo, trigger, RelationGetDescr(triggers));
	}
	systable_endscan(scan);
	table_close(triggers, AccessShareLock);
	return (Datum) 0;
}
