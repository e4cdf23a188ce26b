/*
 * table_change.c
 *		A statement that changes a table on behalf of the caller.
 *
 * It runs as the owner of the table, so that the caller needs no right but the one
 * that was checked before.  If the owner's own policies apply to the caller, it runs
 * as the caller, so that they apply to the statement.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "executor/spi.h"
#include "funcapi.h"

#include "api/table_change.h"
#include "tables/owner.h"
#include "tables/policies.h"

/* table_change_argument adds the value of $1, then of $2 and so on. */
void
table_change_argument(TableChange *change, Oid type, bool is_null, Datum value)
{
	Assert(change->count < TABLE_CHANGE_ARGUMENTS_MAX);
	change->types[change->count] = type;
	change->values[change->count] = value;
	change->nulls[change->count] = is_null ? 'n' : ' ';
	change->count++;
}

/* table_change_call_argument adds an argument of a function's call. */
void
table_change_call_argument(TableChange *change, Oid type, FunctionCallInfo fcinfo, int argument)
{
	table_change_argument(change, type, PG_ARGISNULL(argument), PG_GETARG_DATUM(argument));
}

static uint64
begin_and_run(TableChange *change, OwnerScope *scope)
{
	if (policies_apply(change->relation))
		owner_begin_as_caller(scope, change->relation);
	else if (change->restricted)
		owner_begin(scope, change->relation);
	else
		owner_begin_change(scope, change->relation);
	return owner_change(owner_prepare(change->sql, change->count, change->types), change->values, change->nulls);
}

/* table_change_run runs the statement and returns its row, of the call's result type, or NULL if there is none. */
HeapTuple
table_change_run(FunctionCallInfo fcinfo, TableChange *change)
{
	MemoryContext context = CurrentMemoryContext;
	HeapTuple	result = NULL;
	TupleDesc	columns;
	OwnerScope	scope;

	if (get_call_result_type(fcinfo, NULL, &columns) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	columns = BlessTupleDesc(columns);

	if (begin_and_run(change, &scope) > 0)
	{
		Datum	   *values = palloc(sizeof(Datum) * columns->natts);
		bool	   *nulls = palloc(sizeof(bool) * columns->natts);

		for (int i = 0; i < columns->natts; i++)
			values[i] = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, i + 1, &nulls[i]);
		MemoryContextSwitchTo(context);
		result = heap_form_tuple(columns, values, nulls);
	}
	owner_end(&scope);
	return result;
}

/* table_change_run_silently runs the statement and returns how many rows it changed. */
uint64
table_change_run_silently(TableChange *change)
{
	OwnerScope	scope;
	uint64		rows = begin_and_run(change, &scope);

	owner_end(&scope);
	return rows;
}
