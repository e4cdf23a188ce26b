/*
 * table_change.h
 *		A statement that changes a table on behalf of the caller.
 */
#ifndef GATEWAY_POOL_TABLE_CHANGE_H
#define GATEWAY_POOL_TABLE_CHANGE_H

#include "access/htup.h"
#include "fmgr.h"

#define TABLE_CHANGE_ARGUMENTS_MAX 16

typedef struct TableChange
{
	Oid			relation;
	bool		restricted;		/* run in a restricted operation */
	const char *sql;			/* one statement, with RETURNING for
								 * table_change_run */
	int			count;			/* of arguments */
	Oid			types[TABLE_CHANGE_ARGUMENTS_MAX];
	Datum		values[TABLE_CHANGE_ARGUMENTS_MAX];
	char		nulls[TABLE_CHANGE_ARGUMENTS_MAX];
} TableChange;

extern void table_change_argument(TableChange *change, Oid type, bool is_null, Datum value);
extern void table_change_call_argument(TableChange *change, Oid type, FunctionCallInfo fcinfo, int argument);
extern HeapTuple table_change_run(FunctionCallInfo fcinfo, TableChange *change);
extern uint64 table_change_run_silently(TableChange *change);

#endif							/* GATEWAY_POOL_TABLE_CHANGE_H */
