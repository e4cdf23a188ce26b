/*
 * catalog.c
 *		Our tables, the host's beside them, and acting as their owners.
 *
 * The catalog is the registry: the gateways table is what
 * gateway_pool_memberships."gatewayId" references, the organizations table
 * what gateway_pools."orgId" references, and consumers are whatever references
 * gateway_pools.  No second list is kept.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/relation.h"
#include "access/xact.h"
#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "catalog.h"
#include "compat.h"

PG_FUNCTION_INFO_V1(gateway_pool_is_extension_script);

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

static Oid
host_table(Oid relation, const char *column)
{
	Relation	referencing = relation_open(relation, AccessShareLock);
	Oid			referenced = catalog_referenced_table(referencing,
													  get_attnum(relation, column));

	relation_close(referencing, AccessShareLock);
	return referenced;
}

/*
 * catalog_find finds the tables that belong to a function of ours: they lie in
 * its schema.  Returns false if they are not all there.
 */
bool
catalog_find(PoolCatalog *catalog, Oid function)
{
	catalog->schema = get_func_namespace(function);
	catalog->pools = find_table(catalog->schema, "gateway_pools");
	catalog->memberships = find_table(catalog->schema, "gateway_pool_memberships");
	catalog->entitlements = find_table(catalog->schema, "gateway_pool_entitlements");
	catalog->states = find_table(catalog->schema, "gateway_states");
	if (!OidIsValid(catalog->pools) || !OidIsValid(catalog->memberships) ||
		!OidIsValid(catalog->entitlements) || !OidIsValid(catalog->states))
		return false;

	catalog->organizations = host_table(catalog->pools, "orgId");
	catalog->gateways = host_table(catalog->memberships, "gatewayId");
	return OidIsValid(catalog->organizations) && OidIsValid(catalog->gateways);
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
 * catalog_require_privilege raises the server's own error unless the current
 * role has the privileges on a table.
 */
void
catalog_require_privilege(Oid relation, AclMode privileges)
{
	AclResult	result = pg_class_aclcheck(relation, GetUserId(), privileges);

	if (result != ACLCHECK_OK)
		aclcheck_error(result, OBJECT_TABLE, get_rel_name(relation));
}

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
 * catalog_consumers lists the columns that reference gateway_pools by a foreign
 * key, but for the one of the members, by the names of their tables.
 *
 * pg_constraint has no index by referenced table; the relation's own triggers,
 * which the relcache holds, name every foreign key that they serve.
 */
List *
catalog_consumers(const PoolCatalog *catalog)
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

/* catalog_is_consumer tells whether a column references gateway_pools by a foreign key. */
bool
catalog_is_consumer(const PoolCatalog *catalog, Relation relation, AttrNumber column)
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
 * owner_begin makes what follows run with the rights of a table's owner, as
 * foreign-key checks do: no path of the caller's choice, no way for code that
 * the owner defined to reach anybody else's rights.  An ERROR undoes it with
 * the (sub)transaction.
 */
void
owner_begin(OwnerScope *scope, Oid relation)
{
	Oid			owner = catalog_owner(relation);

	SPI_connect();
	GetUserIdAndSecContext(&scope->user, &scope->security_context);
	SetUserIdAndSecContext(owner, scope->security_context |
						   SECURITY_LOCAL_USERID_CHANGE |
						   SECURITY_RESTRICTED_OPERATION |
						   SECURITY_NOFORCE_RLS);
	scope->settings_level = NewGUCNestLevel();
	(void) set_config_option("search_path", "pg_catalog, pg_temp",
							 PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
}

/* owner_prepare plans one statement; the plan lives until owner_end unless kept. */
SPIPlanPtr
owner_prepare(const char *sql, int argument_count, Oid *types)
{
	SPIPlanPtr	plan = SPI_prepare(sql, argument_count, types);

	if (plan == NULL)
		elog(ERROR, "SPI_prepare failed: %s", SPI_result_code_string(SPI_result));
	return plan;
}

static uint64
execute(SPIPlanPtr plan, Datum *values, bool read_only)
{
	int			result;

	CommandCounterIncrement();
	result = SPI_execute_snapshot(plan, values, NULL, GetLatestSnapshot(), InvalidSnapshot,
								  read_only, false, 0);
	if (result < 0)
		elog(ERROR, "SPI_execute_snapshot failed: %s", SPI_result_code_string(result));
	return SPI_processed;
}

/*
 * owner_execute runs one statement that writes nothing and locks no row, and
 * returns the number of rows; they are in SPI_tuptable until owner_end.
 *
 * It sees whatever has committed by now and the transaction's own changes, at
 * any isolation level, as foreign-key checks do.
 */
uint64
owner_execute(SPIPlanPtr plan, Datum *values)
{
	return execute(plan, values, true);
}

/* The same for SQL text with an id as its $1, or NULL and no argument. */
uint64
owner_query(const char *sql, const pg_uuid_t *id)
{
	Datum		value = UUIDPGetDatum(id);

	return execute(owner_prepare(sql, id == NULL ? 0 : 1, (Oid[]) {UUIDOID}), &value, true);
}

/*
 * The same for a SELECT that locks rows.  A row that a concurrent transaction
 * changed meanwhile is an error under REPEATABLE READ (40001).
 */
uint64
owner_lock(const char *sql, const pg_uuid_t *id)
{
	Datum		value = UUIDPGetDatum(id);

	return execute(owner_prepare(sql, 1, (Oid[]) {UUIDOID}), &value, false);
}

/* owner_end ends what owner_begin began. */
void
owner_end(const OwnerScope *scope)
{
	AtEOXact_GUC(false, scope->settings_level);
	SetUserIdAndSecContext(scope->user, scope->security_context);
	SPI_finish();
}

/* owner_exists tells whether a statement, run as the owner of "relation", finds a row. */
bool
owner_exists(Oid relation, const char *sql, const pg_uuid_t *id)
{
	OwnerScope	scope;
	bool		found;

	owner_begin(&scope, relation);
	found = owner_query(sql, id) > 0;
	owner_end(&scope);
	return found;
}

/* owner_lock_row locks the row of an id with a strength of SELECT ... FOR. */
void
owner_lock_row(Oid relation, const pg_uuid_t *id, const char *strength)
{
	OwnerScope	scope;

	owner_begin(&scope, relation);
	(void) owner_lock(psprintf("SELECT FROM %s WHERE id = $1 FOR %s", catalog_name(relation), strength), id);
	owner_end(&scope);
}

/* owner_count returns the result of a SELECT count(*), run as the owner of "relation". */
int64
owner_count(Oid relation, const char *sql, const pg_uuid_t *id)
{
	OwnerScope	scope;
	int64		count;
	bool		is_null;

	owner_begin(&scope, relation);
	if (owner_query(sql, id) != 1)
		elog(ERROR, "a count is not one row");
	count = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &is_null));
	owner_end(&scope);
	return count;
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
