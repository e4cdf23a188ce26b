/*
 * check.c
 *		The part of check_gateway_pools() that reads tables, as their owners.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "api/worker_status.h"
#include "base/argument.h"
#include "base/compat.h"
#include "base/result_row.h"
#include "base/settings.h"
#include "base/uuid.h"
#include "shared/health_map.h"
#include "shared/worker_slots.h"
#include "tables/access.h"
#include "tables/catalog.h"
#include "tables/consumers.h"
#include "tables/entitlement.h"
#include "tables/isolation.h"
#include "tables/org_column.h"
#include "tables/org_query.h"
#include "tables/pick_counters_room.h"
#include "tables/pool_name.h"

PG_FUNCTION_INFO_V1(require_right_to_check);
PG_FUNCTION_INFO_V1(row_problems);
PG_FUNCTION_INFO_V1(consumer_problems);

static void
report(ResultRow *result, const char *problem, const char *object, const char *detail,
	   const char *remedy)
{
	result_put_text(result, "problem", problem);
	result_put_text(result, "object", object);
	result_put_text(result, "detail", detail);
	result_put_text(result, "remedy", remedy);
	result_add(result);
}

/* Returns a column of a row of the last query as text; "" for null. */
static char *
text_of(uint64 row, int column)
{
	char	   *value = SPI_getvalue(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column);

	return value == NULL ? "" : value;
}

static void
check_memory(ResultRow *result, const PoolCatalog *catalog)
{
	if (!health_map_exists())
		report(result, "not preloaded", "shared_preload_libraries",
			   "Picks read the tables; reports and strategy least_loaded are refused.",
			   "Add gateway_pool to shared_preload_libraries and restart the server.");
	else if (health_map_is_full())
		report(result, "shared memory full", "gateway_pool.max_gateways",
			   "Picks of pools with gateways for which there is no room read the tables.",
			   "Raise gateway_pool.max_gateways and restart the server.");
	if (pick_counters_room_is_short(catalog))
		report(result, "statistics full", "gateway_pool.max_gateways",
			   "There are more pools and members than rows of gateway_pool_stats: counts start again at 0, the least recently changed first.",
			   "Raise gateway_pool.max_gateways and restart the server.");
}

static void
check_worker(ResultRow *result)
{
	WorkerProblem problem = {NULL};

	if (health_map_exists())
		problem = worker_status_problem();
	if (problem.problem != NULL)
		report(result, problem.problem, "gateway_pool_workers", problem.detail, problem.remedy);
}

static void
check_names(ResultRow *result, const PoolCatalog *catalog)
{
	OwnerScope	scope;
	uint64		rows;

	owner_begin(&scope, catalog->pools);
	rows = owner_query(psprintf("SELECT id::text, name::text FROM %s ORDER BY id",
								catalog_name(catalog->pools)), NULL);
	for (uint64 i = 0; i < rows; i++)
	{
		char	   *name = text_of(i, 2);

		CHECK_FOR_INTERRUPTS();
		if (!pool_name_is_valid(name, strlen(name)))
			report(result, "name not valid", psprintf("gateway pool %s", text_of(i, 1)), name,
				   "Rename the pool; it keeps working until then.");
	}
	owner_end(&scope);
}

static void
check_members(ResultRow *result, const PoolCatalog *catalog)
{
	const char *org = org_column_name(catalog, catalog->gateways);
	OwnerScope	scope;
	uint64		rows;

	owner_begin(&scope, catalog->memberships);
	rows = owner_query(psprintf("SELECT m.id::text, p.\"orgId\"::text, g.%s::text"
								" FROM %s m JOIN %s p ON p.id = m.\"gatewayPoolId\""
								" JOIN %s g ON g.id = m.\"gatewayId\""
								" WHERE p.\"orgId\"::text IS DISTINCT FROM g.%s::text ORDER BY m.id",
								org, catalog_name(catalog->memberships), catalog_name(catalog->pools),
								catalog_name(catalog->gateways), org), NULL);
	for (uint64 i = 0; i < rows; i++)
		report(result, "member of another organization", psprintf("membership %s", text_of(i, 1)),
			   psprintf("The pool is of %s, the gateway of %s.", text_of(i, 2), text_of(i, 3)),
			   "Delete the membership.");
	owner_end(&scope);
}

/* A row of counts_of(). */
typedef struct Count
{
	pg_uuid_t	id;
	pg_uuid_t	org_id;
	int64		count;
} Count;

/* Runs a query that returns (id, org_id, count), and returns its rows. */
static Count *
counts_of(Oid relation, const char *sql, uint64 *rows)
{
	MemoryContext context = CurrentMemoryContext;
	OwnerScope	scope;
	Count	   *counts;

	owner_begin(&scope, relation);
	*rows = owner_query(sql, NULL);
	counts = MemoryContextAllocHuge(context, sizeof(Count) * Max(*rows, 1));
	for (uint64 i = 0; i < *rows; i++)
	{
		bool		is_null;

		counts[i].id = owner_uuid(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1);
		counts[i].org_id = owner_uuid(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 2);
		counts[i].count = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 3, &is_null));
	}
	owner_end(&scope);
	return counts;
}

static void
check_plans(ResultRow *result, const PoolCatalog *catalog)
{
	uint64		rows;
	Count	   *orgs = counts_of(catalog->pools,
								 psprintf("SELECT \"orgId\"::uuid, \"orgId\"::uuid, count(*) FROM %s"
										  " WHERE \"orgId\" IS NOT NULL GROUP BY 1 ORDER BY 1",
										  catalog_name(catalog->pools)), &rows);

	for (uint64 i = 0; i < rows; i++)
	{
		Entitlement entitlement = entitlement_read(catalog, &orgs[i].org_id);
		char	   *org = psprintf("organization %s", uuid_text(&orgs[i].org_id));

		CHECK_FOR_INTERRUPTS();
		if (entitlement.max_pools != NO_LIMIT && orgs[i].count > entitlement.max_pools)
			report(result, "over the limit of pools", org,
				   psprintf("pools: " INT64_FORMAT ", allowed: %d", orgs[i].count, entitlement.max_pools),
				   "Raise the limit or delete pools; existing pools keep working.");
		if (!entitlement.gateway_pool)
			report(result, "pools without a plan", org, psprintf("pools: " INT64_FORMAT, orgs[i].count),
				   "Call set_gateway_pool_entitlement(), or delete the pools; picks keep working.");
	}
}

static void
check_member_counts(ResultRow *result, const PoolCatalog *catalog)
{
	uint64		rows;
	Count	   *pools = counts_of(catalog->memberships,
								  psprintf("SELECT p.id::uuid, p.\"orgId\"::uuid, count(*)"
										   " FROM %s m JOIN %s p ON p.id = m.\"gatewayPoolId\""
										   " WHERE p.\"orgId\" IS NOT NULL GROUP BY 1, 2 ORDER BY 1",
										   catalog_name(catalog->memberships), catalog_name(catalog->pools)),
								  &rows);

	for (uint64 i = 0; i < rows; i++)
	{
		int32		limit = entitlement_read(catalog, &pools[i].org_id).max_gateways_per_pool;

		CHECK_FOR_INTERRUPTS();
		if (limit != NO_LIMIT && pools[i].count > limit)
			report(result, "over the limit of members", psprintf("gateway pool %s", uuid_text(&pools[i].id)),
				   psprintf("members: " INT64_FORMAT ", allowed: %d", pools[i].count, limit),
				   "Raise the limit or remove members; existing members keep working.");
	}
}

static void
check_tenants(ResultRow *result, const PoolCatalog *catalog)
{
	OwnerScope	scope;
	uint64		rows;

	owner_begin(&scope, catalog->tenants);
	rows = owner_query(psprintf("SELECT \"roleName\"::text, count(*)::text FROM %s"
								" WHERE \"roleName\"::text NOT IN (SELECT rolname FROM pg_roles) GROUP BY 1 ORDER BY 1",
								catalog_name(catalog->tenants)), NULL);
	for (uint64 i = 0; i < rows; i++)
		report(result, "tenant role missing", psprintf("role %s", text_of(i, 1)),
			   psprintf("organizations: %s", text_of(i, 2)),
			   psprintf("Create the role, or delete its rows in %s.", catalog_name(catalog->tenants)));
	owner_end(&scope);
}

/*
 * Returns how many rows of a consumer reference a pool of another organization or a
 * missing one.  Reads pools and rows in two queries, each as the table's owner: the
 * consumer's owner may have no right to read pools.
 */
static int64
count_foreign_rows(const PoolCatalog *catalog, const PoolConsumer *consumer, const char *org_query)
{
	OwnerScope	scope;
	SPIPlanPtr	plan;
	SPITupleTable *rows;
	uint64		row_count;
	uint64		pool_count;
	int64		foreign = 0;
	Count	   *pools = counts_of(catalog->pools,
								  psprintf("SELECT id::uuid, \"orgId\"::uuid, 0::bigint FROM %s"
										   " WHERE \"orgId\" IS NOT NULL ORDER BY 1", catalog_name(catalog->pools)),
								  &pool_count);

	owner_begin(&scope, consumer->relation);
	plan = org_query_plan(consumer->relation, org_query);
	row_count = owner_query(psprintf("SELECT c, c.%s::uuid FROM %s c WHERE c.%s IS NOT NULL",
									 quote_identifier(consumer->column_name), catalog_name(consumer->relation),
									 quote_identifier(consumer->column_name)), NULL);
	rows = SPI_tuptable;
	for (uint64 i = 0; i < row_count; i++)
	{
		bool		is_null;
		Datum		row = SPI_getbinval(rows->vals[i], rows->tupdesc, 1, &is_null);
		pg_uuid_t	id = owner_uuid(rows->vals[i], rows->tupdesc, 2);
		Count	   *pool = bsearch(&id, pools, pool_count, sizeof(Count), uuid_compare);
		pg_uuid_t  *org = org_query_run(plan, row, CurrentMemoryContext);

		CHECK_FOR_INTERRUPTS();
		if (org == NULL || pool == NULL || !uuid_equal(org, &pool->org_id))
			foreign++;
	}
	owner_end(&scope);
	return foreign;
}

static void
check_consumer(ResultRow *result, const PoolCatalog *catalog, const PoolConsumer *consumer)
{
	Registration registration = consumers_registration(catalog, consumer->relation, consumer->column_name);
	const char *table = catalog_name(consumer->relation);
	const char *column = quote_identifier(consumer->column_name);
	char	   *object = psprintf("%s.%s", table, column);
	int64		count;

	if (!registration.registered)
	{
		report(result, "consumer not registered", object,
			   "Its rows are listed and keep pools from being deleted, but nothing checks what they reference.",
			   psprintf("Call register_pool_consumer(%s, %s, ...).", quote_literal_cstr(table),
						quote_literal_cstr(consumer->column_name)));
		return;
	}

	if (get_attnum(consumer->relation, registration.gateway_column) != InvalidAttrNumber)
	{
		const char *gateway_column = quote_identifier(registration.gateway_column);

		count = owner_count(consumer->relation,
							psprintf("SELECT count(*) FROM %s WHERE %s IS NOT NULL AND %s IS NOT NULL",
									 table, column, gateway_column), NULL);
		if (count > 0)
			report(result, "pool and gateway both", object, psprintf("rows: " INT64_FORMAT, count),
				   psprintf("Set %s or %s to NULL; until then the host decides which one it uses.",
							column, gateway_column));
	}

	count = count_foreign_rows(catalog, consumer, registration.org_query);
	if (count > 0)
		report(result, "consumer of another organization", object, psprintf("rows: " INT64_FORMAT, count),
			   "Set these rows to a pool of their own organization.");
}

/* Opens the catalog; 42501 unless the caller may see the pools of all organizations. */
static void
require_right(PoolCatalog *catalog)
{
	catalog_open(catalog);
	access_require(catalog, RIGHT_LIST);
	(void) worker_slots_want_here();
	if (isolation_applies(catalog))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to check the gateway pools of all organizations"),
				 errdetail("Roles are isolated by organization; their owner and roles with BYPASSRLS may check them."),
				 catalog_error_constraint(catalog->pools, "gateway_pools_access")));
}

/*
 * require_right_to_check() raises 42501 without SELECT on gateway_pools, and for
 * isolated roles.
 */
Datum
require_right_to_check(PG_FUNCTION_ARGS)
{
	PoolCatalog catalog;

	require_right(&catalog);
	PG_RETURN_VOID();
}

/*
 * row_problems() returns (problem, object, detail, remedy)
 *
 * Returns one row for each problem with rows of our tables, shared memory and the
 * worker.  Needs SELECT on gateway_pools.
 */
Datum
row_problems(PG_FUNCTION_ARGS)
{
	PoolCatalog catalog;
	ResultRow	result;

	require_right(&catalog);
	result_begin_rows(&result, fcinfo);
	check_memory(&result, &catalog);
	check_worker(&result);
	check_names(&result, &catalog);
	check_members(&result, &catalog);
	check_plans(&result, &catalog);
	check_member_counts(&result, &catalog);
	check_tenants(&result, &catalog);
	return (Datum) 0;
}

/*
 * consumer_problems(consumer regclass, pool_column name) returns
 * (problem, object, detail, remedy)
 *
 * Returns one row for each problem with the rows of one consumer; an error of the
 * consumer's query is not caught.  Needs SELECT on gateway_pools.
 */
Datum
consumer_problems(PG_FUNCTION_ARGS)
{
	PoolCatalog catalog;
	Oid			relation;
	const char *column;
	ListCell   *cell;
	ResultRow	result;

	argument_require(fcinfo, 0, "consumer");
	argument_require(fcinfo, 1, "pool_column");
	relation = PG_GETARG_OID(0);
	column = NameStr(*PG_GETARG_NAME(1));
	require_right(&catalog);
	result_begin_rows(&result, fcinfo);
	foreach(cell, consumers_list(&catalog))
	{
		const PoolConsumer *consumer = lfirst(cell);

		if (consumer->relation == relation && strcmp(consumer->column_name, column) == 0)
			check_consumer(&result, &catalog, consumer);
	}
	return (Datum) 0;
}
