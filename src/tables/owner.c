/*
 * owner.c
 *		Statements that run with the rights of a table's owner.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "jit/jit.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "base/argument.h"
#include "base/compat.h"
#include "tables/catalog.h"
#include "tables/owner.h"

PG_FUNCTION_INFO_V1(run_as_owner);

#define AS_OWNER (SECURITY_LOCAL_USERID_CHANGE | SECURITY_NOFORCE_RLS)

/*
 * Names in the code of an owner's triggers and policies resolve as they do for the
 * owner: temporary tables of the caller come last.
 */
static char *
search_path_of(Oid relation)
{
	const char *schema = get_namespace_name(get_rel_namespace(relation));

	return schema == NULL ? "pg_catalog, pg_temp" : psprintf("pg_catalog, %s, pg_temp", quote_identifier(schema));
}

static void
begin(OwnerScope *scope, Oid relation, Oid user, int restrictions)
{
	char	   *path = search_path_of(relation);

	SPI_connect();
	GetUserIdAndSecContext(&scope->user, &scope->security_context);
	SetUserIdAndSecContext(user, scope->security_context | restrictions);
	scope->settings_level = NewGUCNestLevel();
	(void) set_config_option("search_path", path,
							 PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);

	/*
	 * Without statistics, joins of a few rows are expected to cost so much
	 * that they would be compiled, which takes longer than the worker may
	 * stall.
	 */
	if (jit_enabled)
		(void) set_config_option("jit", "off",
								 PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);

	/* Fetching long values of rows after their query takes a snapshot. */
	scope->snapshot_pushed = !ActiveSnapshotSet();
	if (scope->snapshot_pushed)
		PushActiveSnapshot(GetTransactionSnapshot());
}

/*
 * owner_begin makes the statements up to owner_end run with the rights of a table's
 * owner, as foreign-key checks do: not with the caller's search path, and in a
 * restricted operation, so that code of the owner gets no other rights.  An ERROR
 * undoes it with the (sub)transaction.
 */
void
owner_begin(OwnerScope *scope, Oid relation)
{
	begin(scope, relation, catalog_owner(relation), AS_OWNER | SECURITY_RESTRICTED_OPERATION);
}

/*
 * owner_begin_change is owner_begin for a change that the caller asked for.  It may
 * queue deferred triggers, which a restricted operation cannot: a host may have
 * consumers with deferred keys.  They fire when they are due, as after a statement of
 * the caller's own, who trusts the owner in the same way.  A superuser does not: what
 * the owner's triggers leave in the session, such as a cursor WITH HOLD, would run as
 * superuser.
 */
void
owner_begin_change(OwnerScope *scope, Oid relation)
{
	Oid			owner = catalog_owner(relation);

	begin(scope, relation, owner,
		  AS_OWNER | (superuser() && !superuser_arg(owner) ? SECURITY_RESTRICTED_OPERATION : 0));
}

/*
 * owner_begin_as_caller is owner_begin with the caller's own rights, for a table whose
 * policies apply to the caller.
 */
void
owner_begin_as_caller(OwnerScope *scope, Oid relation)
{
	begin(scope, relation, GetUserId(), 0);
}

static SPIPlanPtr
prepare(const char *sql, int argument_count, Oid *types, int options)
{
	SPIPlanPtr	plan = SPI_prepare_cursor(sql, argument_count, types, options);

	if (plan == NULL)
		elog(ERROR, "SPI_prepare_cursor failed: %s", SPI_result_code_string(SPI_result));
	return plan;
}

/* owner_prepare plans one statement; the plan lives until owner_end. */
SPIPlanPtr
owner_prepare(const char *sql, int argument_count, Oid *types)
{
	return prepare(sql, argument_count, types, 0);
}

static void
free_plan(void *plan)
{
	(void) SPI_freeplan(plan);
}

/*
 * owner_prepare_kept returns a plan that is kept until its text changes, because
 * tables or columns have other names.  The plan is generic: planning a statement
 * for each value of its arguments would cost more than running it.  An ERROR
 * leaves the plan kept before.
 */
SPIPlanPtr
owner_prepare_kept(KeptPlan *kept, const char *sql, int argument_count, Oid *types)
{
	SPIPlanPtr	plan;
	char	   *copy;

	if (kept->plan != NULL && strcmp(kept->sql, sql) == 0)
		return kept->plan;

	plan = prepare(sql, argument_count, types, CURSOR_OPT_GENERIC_PLAN);
	copy = MemoryContextStrdup(TopMemoryContext, sql);
	SPI_keepplan(plan);
	if (kept->plan != NULL)
	{
		/*
		 * The old one may be running: its statement may have run code that
		 * renamed a table.
		 */
		MemoryContextCallback *callback = MemoryContextAlloc(TopTransactionContext, sizeof(MemoryContextCallback));

		callback->func = free_plan;
		callback->arg = kept->plan;
		MemoryContextRegisterResetCallback(TopTransactionContext, callback);
		pfree(kept->sql);
	}
	*kept = (KeptPlan) {plan, copy};
	return plan;
}

static uint64
execute_with(Snapshot snapshot, SPIPlanPtr plan, Datum *values, bool read_only, bool fire_triggers)
{
	int			result = SPI_execute_snapshot(plan, values, NULL, snapshot, InvalidSnapshot,
											  read_only, fire_triggers, 0);

	if (result < 0)
		elog(ERROR, "SPI_execute_snapshot failed: %s", SPI_result_code_string(result));
	return SPI_processed;
}

static uint64
execute(SPIPlanPtr plan, Datum *values, bool read_only, bool fire_triggers)
{
	CommandCounterIncrement();
	return execute_with(GetLatestSnapshot(), plan, values, read_only, fire_triggers);
}

/*
 * owner_execute runs one statement that neither writes nor locks rows, and returns the
 * number of rows, which are in SPI_tuptable until owner_end.  At any isolation level,
 * it sees all that is committed by now and the transaction's own changes, as
 * foreign-key checks do.
 */
uint64
owner_execute(SPIPlanPtr plan, Datum *values)
{
	return execute(plan, values, true, false);
}

/*
 * owner_execute_committed is owner_execute without the transaction's own changes: it
 * sees what other sessions see, and what remains after ROLLBACK.
 */
uint64
owner_execute_committed(SPIPlanPtr plan, Datum *values)
{
	Snapshot	snapshot = GetLatestSnapshot();

	/* As of before the first command. */
	snapshot->curcid = FirstCommandId;
	return execute_with(snapshot, plan, values, true, false);
}

/* owner_query is owner_execute for SQL text with an id as its $1; NULL for a text without arguments. */
uint64
owner_query(const char *sql, const pg_uuid_t *id)
{
	Datum		value = UUIDPGetDatum(id);

	return execute(owner_prepare(sql, id == NULL ? 0 : 1, (Oid[]) {UUIDOID}), &value, true, false);
}

/*
 * owner_execute_before is owner_execute with the snapshot of the statement that fired a
 * trigger: it finds rows that this statement deleted.
 */
uint64
owner_execute_before(SPIPlanPtr plan, Datum *values)
{
	int			result = SPI_execute_plan(plan, values, NULL, true, 0);

	if (result < 0)
		elog(ERROR, "SPI_execute_plan failed: %s", SPI_result_code_string(result));
	return SPI_processed;
}

/* owner_query_before is owner_execute_before for SQL text with an id as its $1. */
uint64
owner_query_before(const char *sql, const pg_uuid_t *id)
{
	Datum		value = UUIDPGetDatum(id);

	return owner_execute_before(owner_prepare(sql, 1, (Oid[]) {UUIDOID}), &value);
}

/*
 * owner_lock is owner_query for a SELECT that locks rows.  Under REPEATABLE READ, a
 * row that a concurrent transaction changed is an error (40001).
 */
uint64
owner_lock(const char *sql, const pg_uuid_t *id)
{
	Datum		value = UUIDPGetDatum(id);

	return execute(owner_prepare(sql, 1, (Oid[]) {UUIDOID}), &value, false, false);
}

/* owner_write runs one statement that writes, with its triggers; returns the number of rows. */
uint64
owner_write(SPIPlanPtr plan, Datum *values)
{
	return execute(plan, values, false, true);
}

/*
 * owner_change is owner_write with the transaction's own snapshot: under REPEATABLE
 * READ, a row that this does not see cannot be changed (40001).
 */
uint64
owner_change(SPIPlanPtr plan, Datum *values, const char *nulls)
{
	int			result = SPI_execute_plan(plan, values, nulls, false, 0);

	if (result < 0)
		elog(ERROR, "SPI_execute_plan failed: %s", SPI_result_code_string(result));
	return SPI_processed;
}

/*
 * owner_uuid returns a uuid of a row of the result.  The nil UUID for null, which a
 * cast that the owner made may return for any value.
 */
pg_uuid_t
owner_uuid(HeapTuple row, TupleDesc columns, int column)
{
	bool		is_null;
	Datum		value = SPI_getbinval(row, columns, column, &is_null);

	return is_null ? (pg_uuid_t) {{0}} : *DatumGetUUIDP(value);
}

/* owner_first_id returns the id in the first column of the first row of the result, or NULL. */
pg_uuid_t *
owner_first_id(MemoryContext context)
{
	pg_uuid_t  *id = NULL;
	bool		is_null = true;
	Datum		value = 0;

	if (SPI_processed > 0)
		value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &is_null);
	if (!is_null)
	{
		id = MemoryContextAlloc(context, sizeof(pg_uuid_t));
		*id = *DatumGetUUIDP(value);
	}
	return id;
}

/* owner_end restores what owner_begin, owner_begin_change or owner_begin_as_caller changed. */
void
owner_end(const OwnerScope *scope)
{
	if (scope->snapshot_pushed)
		PopActiveSnapshot();
	AtEOXact_GUC(false, scope->settings_level);
	SetUserIdAndSecContext(scope->user, scope->security_context);
	SPI_finish();
}

/* owner_exists returns true if a query, run as the owner of "relation", returns a row. */
bool
owner_exists(Oid relation, const char *sql, const pg_uuid_t *id)
{
	OwnerScope	scope;
	bool		found;

	owner_begin(&scope, relation);
	found = owner_query(sql, id) > 0;
	owner_end(&scope);
	return found;
}

/* owner_lock_row locks the row of an id by SELECT ... FOR "strength". */
void
owner_lock_row(Oid relation, const pg_uuid_t *id, const char *strength)
{
	OwnerScope	scope;

	owner_begin(&scope, relation);
	(void) owner_lock(psprintf("SELECT FROM %s WHERE id = $1 FOR %s", catalog_name(relation), strength), id);
	owner_end(&scope);
}

/* owner_count returns the result of a SELECT count(*), run as the owner of "relation". */
int64
owner_count(Oid relation, const char *sql, const pg_uuid_t *id)
{
	OwnerScope	scope;
	int64		count;
	bool		is_null;

	owner_begin(&scope, relation);
	if (owner_query(sql, id) != 1)
		elog(ERROR, "a count is not one row");
	count = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &is_null));
	owner_end(&scope);
	return count;
}

/* owner_require raises 42501 unless the current role has the privileges of the owner of a table. */
void
owner_require(Oid relation)
{
	if (!has_privs_of_role(GetUserId(), catalog_owner(relation)))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be owner of table %s", get_rel_name(relation)),
				 catalog_error_constraint(relation, "gateway_pools_access")));
}

/*
 * run_as_owner(relation regclass, commands text)
 *
 * Runs commands as the owner of a table, in a restricted operation, so that code of
 * the owner, such as a function in an index's predicate, gets no other rights.  42501
 * unless the caller has the owner's privileges.
 */
Datum
run_as_owner(PG_FUNCTION_ARGS)
{
	Oid			relation;
	OwnerScope	scope;
	int			result;

	argument_require(fcinfo, 0, "relation");
	argument_require(fcinfo, 1, "commands");
	relation = PG_GETARG_OID(0);
	owner_require(relation);
	owner_begin(&scope, relation);
	result = SPI_execute(text_to_cstring(PG_GETARG_TEXT_PP(1)), false, 0);
	if (result < 0)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("run_as_owner() cannot run this: %s", SPI_result_code_string(result))));
	owner_end(&scope);
	PG_RETURN_VOID();
}
