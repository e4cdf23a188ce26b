/*
 * result_row.h
 *		A row of a function's result, filled by names of columns.
 */
#ifndef GATEWAY_POOL_RESULT_ROW_H
#define GATEWAY_POOL_RESULT_ROW_H

#include "access/tupdesc.h"
#include "fmgr.h"
#include "utils/tuplestore.h"

/* The most columns that a function of ours returns. */
#define RESULT_COLUMNS_MAX 20

typedef struct ResultRow
{
	TupleDesc	columns;
	Tuplestorestate *rows;		/* NULL: the function returns one row */
	int			next;			/* the column after the last one put */
	Datum		values[RESULT_COLUMNS_MAX];
	bool		nulls[RESULT_COLUMNS_MAX];
} ResultRow;

extern void result_begin_rows(ResultRow *row, FunctionCallInfo fcinfo);
extern void result_begin_one(ResultRow *row, FunctionCallInfo fcinfo);
extern void result_put(ResultRow *row, const char *column, Datum value);
extern void result_put_text(ResultRow *row, const char *column, const char *value);
extern void result_put_if(ResultRow *row, const char *column, bool known, Datum value);
extern void result_add(ResultRow *row);
extern Datum result_datum(ResultRow *row);

#endif							/* GATEWAY_POOL_RESULT_ROW_H */
