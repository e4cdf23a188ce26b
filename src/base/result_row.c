/*
 * result_row.c
 *		A row of a function's result, filled by names of columns.
 *
 * A function that returns a set calls result_begin_rows once, and for each row the
 * result_put functions and result_add.  A column that is not put is null.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "funcapi.h"
#include "nodes/execnodes.h"
#include "utils/builtins.h"

#include "base/compat.h"
#include "base/result_row.h"

static void
clear(ResultRow *row)
{
	row->next = 0;
	memset(row->nulls, true, sizeof(row->nulls));
}

static void
begin(ResultRow *row, TupleDesc columns, Tuplestorestate *rows)
{
	if (columns->natts > RESULT_COLUMNS_MAX)
		elog(ERROR, "result has %d columns, more than %d", columns->natts, RESULT_COLUMNS_MAX);
	row->columns = columns;
	row->rows = rows;
	clear(row);
}

/* result_begin_rows starts the materialized result of a function that returns a set. */
void
result_begin_rows(ResultRow *row, FunctionCallInfo fcinfo)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;

	init_materialized_result(fcinfo);
	begin(row, result->setDesc, result->setResult);
}

/* result_begin_one starts the result of a function that returns one row. */
void
result_begin_one(ResultRow *row, FunctionCallInfo fcinfo)
{
	TupleDesc	columns;

	if (get_call_result_type(fcinfo, NULL, &columns) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	begin(row, BlessTupleDesc(columns), NULL);
}

/* Returns the position of a column; takes one comparison if columns are put in order. */
static int
find_column(ResultRow *row, const char *column)
{
	if (column[0] == '\0' && row->columns->natts == 1)
		return 0;
	for (int i = 0; i < row->columns->natts; i++)
	{
		int			position = (row->next + i) % row->columns->natts;

		if (strcmp(NameStr(TupleDescAttr(row->columns, position)->attname), column) == 0)
		{
			row->next = position + 1;
			return position;
		}
	}
	elog(ERROR, "result has no column \"%s\"", column);
}

/* result_put sets the value of a column; "" names the only column of a set of scalars. */
void
result_put(ResultRow *row, const char *column, Datum value)
{
	int			position = find_column(row, column);

	row->values[position] = value;
	row->nulls[position] = false;
}

/* result_put_text sets a column of type text; NULL leaves it null. */
void
result_put_text(ResultRow *row, const char *column, const char *value)
{
	if (value != NULL)
		result_put(row, column, CStringGetTextDatum(value));
}

/* result_put_if sets a column to a value that is known, and leaves it null otherwise. */
void
result_put_if(ResultRow *row, const char *column, bool known, Datum value)
{
	if (known)
		result_put(row, column, value);
}

/* result_add adds the row to the set and starts the next one. */
void
result_add(ResultRow *row)
{
	tuplestore_putvalues(row->rows, row->columns, row->values, row->nulls);
	clear(row);
}

/* result_datum returns the row of a function that returns one. */
Datum
result_datum(ResultRow *row)
{
	return HeapTupleGetDatum(heap_form_tuple(row->columns, row->values, row->nulls));
}
