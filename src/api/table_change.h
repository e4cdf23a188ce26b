/*
 * table_change.h
 *		A statement that changes a table on behalf of the caller.
 */
#ifndef GATEWAY_POOL_TABLE_CHANGE_H
#define GATEWAY_POOL_TABLE_CHANGE_H

#include "access/htup.h"
#include "fmgr.h"

#define CHANGE_ARGUMENTS_MAX 16

typedef struct Change
{
	Oid			relation;
	bool		restricted;		/* in a restricted operation, whoever calls */
	const char *sql;			/* one statement, with RETURNING for change_run */
	int			count;			/* of arguments */
	Oid			types[CHANGE_ARGUMENTS_MAX];
	Datum		values[CHANGE_ARGUMENTS_MAX];
	char		nulls[CHANGE_ARGUMENTS_MAX];
} Change;

extern void change_argument(Change *change, Oid type, bool is_null, Datum value);
extern void change_call_argument(Change *change, Oid type, FunctionCallInfo fcinfo, int argument);
extern HeapTuple change_run(FunctionCallInfo fcinfo, Change *change);
extern uint64 change_run_silently(Change *change);

#endif							/* GATEWAY_POOL_TABLE_CHANGE_H */
