/*
 * result_row.h
 *		A row on its way into the result of a set-returning function.
 */
#ifndef GATEWAY_POOL_RESULT_ROW_H
#define GATEWAY_POOL_RESULT_ROW_H

#include "fmgr.h"
#include "utils/uuid.h"

/* The most columns that a function of ours returns. */
#define RESULT_COLUMNS_MAX 20

typedef struct ResultRow
{
	Datum		values[RESULT_COLUMNS_MAX];
	bool		nulls[RESULT_COLUMNS_MAX];
	int			count;
} ResultRow;

extern void result_put(ResultRow *row, Datum value);
extern void result_put_null(ResultRow *row);
extern void result_put_text(ResultRow *row, const char *value);
extern void result_put_if(ResultRow *row, bool known, Datum value);
extern void result_emit(FunctionCallInfo fcinfo, ResultRow *row);

#endif							/* GATEWAY_POOL_RESULT_ROW_H */
