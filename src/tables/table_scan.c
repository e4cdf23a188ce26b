/*
 * table_scan.c
 *		Rows of a table by a value of a column, without running code of its owner.
 *
 * Any role that may reference gateway_pools can make a consumer, whose rows we list
 * and count.  A query on such a table runs code of its owner while it is planned, such
 * as a function in the predicate of an index, fails if the owner has revoked a right,
 * and waits if the owner has locked the table.  A scan does none of that: it takes
 * locks only without waiting, and reads only values of the server's own types.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/xact.h"
#include "catalog/index.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "commands/defrem.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "tables/table_scan.h"

/*
 * table_scan_open opens a table with AccessShareLock.  Returns NULL if it is dropped,
 * or, without "wait", if it is locked.
 */
Relation
table_scan_open(Oid table, bool wait)
{
	if (!wait && !ConditionalLockRelationOid(table, AccessShareLock))
		return NULL;
	if (wait)
		LockRelationOid(table, AccessShareLock);
	if (!SearchSysCacheExists1(RELOID, ObjectIdGetDatum(table)))
	{
		UnlockRelationOid(table, AccessShareLock);
		return NULL;
	}
	return relation_open(table, NoLock);
}

/* A value to look for. */
typedef struct ScanValue
{
	Oid			type;			/* of its operators: UUIDOID or TEXTOID */
	Datum		value;
} ScanValue;

/* Returns the type whose operators compare values of a type, or InvalidOid. */
static Oid
compared_as(Oid type)
{
	type = getBaseType(type);
	if (type == VARCHAROID)
		return TEXTOID;
	return type == UUIDOID || type == TEXTOID ? type : InvalidOid;
}

/* Returns true if an index finds all rows with one value in a column, by the server's own operators. */
static bool
is_index_of(Oid index, AttrNumber column, Oid type, Oid collation)
{
	HeapTuple	row = SearchSysCache1(INDEXRELID, ObjectIdGetDatum(index));
	Form_pg_index form;
	bool		is_null;
	bool		is_index;
	Datum		classes;
	Datum		collations;

	if (!HeapTupleIsValid(row))
		return false;
	form = (Form_pg_index) GETSTRUCT(row);
	classes = SysCacheGetAttr(INDEXRELID, row, Anum_pg_index_indclass, &is_null);
	collations = SysCacheGetAttr(INDEXRELID, row, Anum_pg_index_indcollation, &is_null);
	/* With broken HOT chains, an index lacks rows of some snapshots. */
	is_index = form->indisvalid && !form->indcheckxmin && form->indkey.values[0] == column &&
		heap_attisnull(row, Anum_pg_index_indpred, NULL) &&
		((oidvector *) DatumGetPointer(classes))->values[0] == GetDefaultOpClass(type, BTREE_AM_OID) &&
		((oidvector *) DatumGetPointer(collations))->values[0] == collation;
	ReleaseSysCache(row);
	return is_index;
}

/* Locks an index of a column that can be locked without waiting; returns InvalidOid if there is none. */
static Oid
lock_index(Relation table, AttrNumber column, Oid type, Oid collation)
{
	ListCell   *cell;

	foreach(cell, RelationGetIndexList(table))
	{
		if (is_index_of(lfirst_oid(cell), column, type, collation) &&
			ConditionalLockRelationOid(lfirst_oid(cell), AccessShareLock))
			return lfirst_oid(cell);
	}
	return InvalidOid;
}

/* Visits the rows of one table that is not partitioned. */
static void
scan_table(Relation table, const char *column, const ScanValue *value, Snapshot snapshot, RowVisitor visit, void *context)
{
	AttrNumber	number = table_scan_column(RelationGetDescr(table), column);
	Oid			index = InvalidOid;
	ScanKeyData key;
	SysScanDesc rows;
	HeapTuple	row;

	/* An owner may have changed its type. */
	if (number == InvalidAttrNumber ||
		compared_as(TupleDescAttr(RelationGetDescr(table), number - 1)->atttypid) != (value == NULL ? UUIDOID : value->type))
		return;
	if (value != NULL)
	{
		Oid			collation = TupleDescAttr(RelationGetDescr(table), number - 1)->attcollation;

		index = lock_index(table, number, value->type, collation);
		ScanKeyEntryInitialize(&key, 0, number, BTEqualStrategyNumber, InvalidOid, collation,
							   value->type == UUIDOID ? F_UUID_EQ : F_TEXTEQ, value->value);
	}
	rows = systable_beginscan(table, index, OidIsValid(index), snapshot, value != NULL, &key);
	while (HeapTupleIsValid(row = systable_getnext(rows)))
	{
		CHECK_FOR_INTERRUPTS();
		if (!heap_attisnull(row, number, RelationGetDescr(table)))
			visit(row, RelationGetDescr(table), context);
	}
	systable_endscan(rows);
	if (OidIsValid(index))
		UnlockRelationOid(index, AccessShareLock);
}

static bool
scan(Relation table, const char *column, const ScanValue *value, bool wait, RowVisitor visit, void *context)
{
	Snapshot	snapshot;
	bool		complete = true;

	CommandCounterIncrement();
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	if (table->rd_rel->relkind != RELKIND_PARTITIONED_TABLE)
		scan_table(table, column, value, snapshot, visit, context);
	else
	{
		ListCell   *cell;

		foreach(cell, find_all_inheritors(RelationGetRelid(table), NoLock, NULL))
		{
			Relation	partition = table_scan_open(lfirst_oid(cell), wait);

			if (partition == NULL)
			{
				complete = false;
				continue;
			}
			if (partition->rd_rel->relkind == RELKIND_RELATION)
				scan_table(partition, column, value, snapshot, visit, context);
			relation_close(partition, AccessShareLock);
		}
	}
	UnregisterSnapshot(snapshot);
	return complete;
}

/*
 * table_scan_rows visits the rows with an id in a column, or with any id for NULL, of
 * a table that table_scan_open opened, and of its partitions.  It sees all that is
 * committed by now and the transaction's own changes.  Returns false if it left out a
 * locked partition; with "wait", it waits for the lock.
 */
bool
table_scan_rows(Relation table, const char *column, const pg_uuid_t *id, bool wait, RowVisitor visit, void *context)
{
	ScanValue	value = {UUIDOID, UUIDPGetDatum(id)};

	return scan(table, column, id == NULL ? NULL : &value, wait, visit, context);
}

/* Returns true if an index finds the rows with one value in a column. */
static bool
has_index(Relation table, const char *column, Oid type)
{
	AttrNumber	number = table_scan_column(RelationGetDescr(table), column);
	ListCell   *cell;

	foreach(cell, RelationGetIndexList(table))
	{
		if (number != InvalidAttrNumber &&
			is_index_of(lfirst_oid(cell), number, type, TupleDescAttr(RelationGetDescr(table), number - 1)->attcollation))
			return true;
	}
	return false;
}

/* table_scan_has_index returns true if an index finds the rows with an id in a column. */
bool
table_scan_has_index(Relation table, const char *column)
{
	return has_index(table, column, UUIDOID);
}

/*
 * table_scan_referenced visits, without waiting, the row whose column "id" has a value
 * of a type.  Visits none if the type is not uuid, text or varchar, or the column has no
 * index: the table would be scanned for each row that references it.
 */
void
table_scan_referenced(Relation table, Oid type, Datum id, RowVisitor visit, void *context)
{
	ScanValue	value = {compared_as(type), id};

	if (OidIsValid(value.type) && has_index(table, "id", value.type))
		(void) scan(table, "id", &value, false, visit, context);
}

/* table_scan_column returns the number of a column, or InvalidAttrNumber. */
AttrNumber
table_scan_column(TupleDesc columns, const char *name)
{
	for (int i = 0; i < columns->natts; i++)
		if (!TupleDescAttr(columns, i)->attisdropped && strcmp(NameStr(TupleDescAttr(columns, i)->attname), name) == 0)
			return i + 1;
	return InvalidAttrNumber;
}
