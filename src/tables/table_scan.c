/*
 * table_scan.c
 *		Rows of a table by an id, without running code of its owner.
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

/* Returns true if an index finds all rows with one id in a column, by the server's own operators. */
static bool
is_index_of(Oid index, AttrNumber column)
{
	HeapTuple	row = SearchSysCache1(INDEXRELID, ObjectIdGetDatum(index));
	Form_pg_index form;
	bool		is_null;
	bool		is_index;
	Datum		classes;

	if (!HeapTupleIsValid(row))
		return false;
	form = (Form_pg_index) GETSTRUCT(row);
	classes = SysCacheGetAttr(INDEXRELID, row, Anum_pg_index_indclass, &is_null);
	/* With broken HOT chains, an index lacks rows of some snapshots. */
	is_index = form->indisvalid && !form->indcheckxmin && form->indkey.values[0] == column &&
		heap_attisnull(row, Anum_pg_index_indpred, NULL) &&
		((oidvector *) DatumGetPointer(classes))->values[0] == GetDefaultOpClass(UUIDOID, BTREE_AM_OID);
	ReleaseSysCache(row);
	return is_index;
}

/* Locks an index of a column that can be locked without waiting; returns InvalidOid if there is none. */
static Oid
lock_index(Relation table, AttrNumber column)
{
	ListCell   *cell;

	foreach(cell, RelationGetIndexList(table))
	{
		if (is_index_of(lfirst_oid(cell), column) && ConditionalLockRelationOid(lfirst_oid(cell), AccessShareLock))
			return lfirst_oid(cell);
	}
	return InvalidOid;
}

/* Visits the rows of one table that is not partitioned. */
static void
scan_table(Relation table, const char *column, const pg_uuid_t *id, Snapshot snapshot, RowVisitor visit, void *context)
{
	AttrNumber	number = get_attnum(RelationGetRelid(table), column);
	Oid			index = InvalidOid;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	row;

	/* An owner may have changed its type. */
	if (number == InvalidAttrNumber || getBaseType(get_atttype(RelationGetRelid(table), number)) != UUIDOID)
		return;
	if (id != NULL)
	{
		index = lock_index(table, number);
		ScanKeyInit(&key, number, BTEqualStrategyNumber, F_UUID_EQ, UUIDPGetDatum(id));
	}
	scan = systable_beginscan(table, index, OidIsValid(index), snapshot, id != NULL, &key);
	while (HeapTupleIsValid(row = systable_getnext(scan)))
	{
		CHECK_FOR_INTERRUPTS();
		if (!heap_attisnull(row, number, RelationGetDescr(table)))
			visit(row, RelationGetDescr(table), context);
	}
	systable_endscan(scan);
	if (OidIsValid(index))
		UnlockRelationOid(index, AccessShareLock);
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
	Snapshot	snapshot;
	bool		complete = true;

	CommandCounterIncrement();
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	if (table->rd_rel->relkind != RELKIND_PARTITIONED_TABLE)
		scan_table(table, column, id, snapshot, visit, context);
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
				scan_table(partition, column, id, snapshot, visit, context);
			relation_close(partition, AccessShareLock);
		}
	}
	UnregisterSnapshot(snapshot);
	return complete;
}

/* table_scan_has_index returns true if an index finds the rows with an id in a column. */
bool
table_scan_has_index(Relation table, const char *column)
{
	AttrNumber	number = get_attnum(RelationGetRelid(table), column);
	ListCell   *cell;

	foreach(cell, RelationGetIndexList(table))
	{
		if (is_index_of(lfirst_oid(cell), number))
			return true;
	}
	return false;
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
