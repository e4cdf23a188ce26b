/*
 * table_scan.h
 *		Rows of a table by a value of a column, without running code of its owner.
 */
#ifndef GATEWAY_POOL_TABLE_SCAN_H
#define GATEWAY_POOL_TABLE_SCAN_H

#include "access/attnum.h"
#include "access/htup.h"
#include "access/tupdesc.h"
#include "utils/relcache.h"
#include "utils/uuid.h"

/* Called for a row. */
typedef void (*RowVisitor) (HeapTuple row, TupleDesc columns, void *context);

extern Relation table_scan_open(Oid table, bool wait);
extern bool table_scan_rows(Relation table, const char *column, const pg_uuid_t *id, bool wait,
							RowVisitor visit, void *context);
extern void table_scan_referenced(Relation table, Oid type, Datum id, RowVisitor visit, void *context);
extern bool table_scan_has_index(Relation table, const char *column);
extern AttrNumber table_scan_column(TupleDesc columns, const char *name);

#endif							/* GATEWAY_POOL_TABLE_SCAN_H */
