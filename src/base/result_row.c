/*
 * result_row.c
 *		A row on its way into the result of a set-returning function.
 */
#include "postgres.h"

#include "nodes/execnodes.h"
#include "utils/builtins.h"
#include "utils/tuplestore.h"

#include "base/result_row.h"

/* result_put adds the value of the next column. */
void
result_put(ResultRow *row, Datum value)
{
	Assert(row->count < RESULT_COLUMNS_MAX);
	row->nulls[row->count] = false;
	row->values[row->count++] = value;
}

/* result_put_null adds a null as the next column. */
void
result_put_null(ResultRow *row)
{
	Assert(row->count < RESULT_COLUMNS_MAX);
	row->nulls[row->count++] = true;
}

/* result_put_text adds a text, null for NULL. */
void
result_put_text(ResultRow *row, const char *value)
{
	if (value == NULL)
		result_put_null(row);
	else
		result_put(row, CStringGetTextDatum(value));
}

/* result_put_if adds a value if it is known, else a null. */
void
result_put_if(ResultRow *row, bool known, Datum value)
{
	if (known)
		result_put(row, value);
	else
		result_put_null(row);
}

/* result_emit adds the row to the materialized result of the call. */
void
result_emit(FunctionCallInfo fcinfo, ResultRow *row)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;

	Assert(row->count == result->setDesc->natts);
	tuplestore_putvalues(result->setResult, result->setDesc, row->values, row->nulls);
}
