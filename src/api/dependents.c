/*
 * dependents.c
 *		What depends on a gateway: its pools, and the rows of consumers that are reached
 *		through these or through the gateway itself.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/relation.h"
#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "api/resource_value.h"
#include "base/argument.h"
#include "base/result_row.h"
#include "base/uuid.h"
#include "tables/access.h"
#include "tables/isolation.h"
#include "tables/owner.h"
#include "tables/resources.h"
#include "tables/table_scan.h"
#include "tables/visible_rows.h"

PG_FUNCTION_INFO_V1(gateway_dependents);

/* The scan of one consumer. */
typedef struct DependentScan
{
	const PoolCatalog *catalog;
	ResultRow  *result;
	const pg_uuid_t *gateway;
	const PoolRow *pools;
	int			pool_count;
	const PoolConsumer *consumer;
	const char *column;			/* of pools, or of gateways */
	bool		direct;			/* the latter */
	Oid			identities;		/* see resource_value_identities */
	MemoryContext row_context;	/* reset for each row */
} DependentScan;

/* Returns the pools with the gateway as a member, as far as the role may see them, ordered by id. */
static PoolRow *
read_pools(const PoolCatalog *catalog, const pg_uuid_t *gateway, int *count)
{
	MemoryContext context = CurrentMemoryContext;
	OwnerScope	scope;
	uint64		rows;
	Datum	   *ids;

	owner_begin(&scope, catalog->memberships);
	rows = owner_query(psprintf("SELECT \"gatewayPoolId\"::uuid FROM %s WHERE \"gatewayId\" = $1",
								catalog_name(catalog->memberships)), gateway);
	ids = MemoryContextAlloc(context, sizeof(Datum) * Max(rows, 1));
	for (uint64 i = 0; i < rows; i++)
	{
		pg_uuid_t  *id = MemoryContextAlloc(context, sizeof(pg_uuid_t));

		*id = owner_uuid(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1);
		ids[i] = UUIDPGetDatum(id);
	}
	owner_end(&scope);
	return pool_rows_read(catalog, (RowFilter) {
		.ids = construct_array(ids, rows, UUIDOID, UUID_LEN, false, TYPALIGN_CHAR),
		.orgs = isolation_orgs(catalog)
	}, count);
}

/* Sets *is_only to true if the gateway is the only eligible member.  Returns false if a policy hides the membership. */
static bool
find_member(const PoolRow *pool, const pg_uuid_t *gateway, bool *is_only)
{
	bool		found = false;

	*is_only = false;
	for (int i = 0; i < pool->member_count; i++)
		if (uuid_equal(&pool->members[i].gateway.id, gateway))
		{
			found = true;
			*is_only = gateway_rows_is_eligible(&pool->members[i].gateway);
		}
	for (int i = 0; i < pool->member_count && *is_only; i++)
		if (!uuid_equal(&pool->members[i].gateway.id, gateway) && gateway_rows_is_eligible(&pool->members[i].gateway))
			*is_only = false;
	return found;
}

static void
put_pool(ResultRow *result, const PoolRow *pool, const pg_uuid_t *gateway)
{
	bool		is_only;

	(void) find_member(pool, gateway, &is_only);
	result_put(result, "gatewayPoolId", UUIDPGetDatum(&pool->id));
	result_put_text(result, "poolName", pool->name);
	result_put(result, "onlyEligible", BoolGetDatum(is_only));
}

/* Adds a row of a consumer if it has the gateway, or one of the pools, in the column. */
static void
add_row(HeapTuple row, TupleDesc columns, void *context)
{
	DependentScan *scan = context;
	MemoryContext caller = MemoryContextSwitchTo(scan->row_context);
	AttrNumber	number = table_scan_column(columns, scan->column);
	AttrNumber	id = table_scan_column(columns, "id");
	AttrNumber	name = table_scan_column(columns, "name");
	bool		is_null;
	const pg_uuid_t *reached = DatumGetUUIDP(heap_getattr(row, number, columns, &is_null));
	const PoolRow *pool = scan->direct ? NULL : pool_rows_find(scan->pools, scan->pool_count, reached);

	if (scan->direct ? uuid_equal(reached, scan->gateway) : pool != NULL)
	{
		result_put_text(scan->result, "kind", "resource");
		result_put(scan->result, "consumer", ObjectIdGetDatum(scan->consumer->relation));
		if (id != InvalidAttrNumber)
			result_put_text(scan->result, "id", resource_value(row, columns, id));
		if (name != InvalidAttrNumber)
			result_put_text(scan->result, "name", resource_value(row, columns, name));
		else if (OidIsValid(scan->identities))
			result_put_text(scan->result, "name", resource_value_identity_name(scan->catalog, row, columns, scan->identities));
		if (pool != NULL)
			put_pool(scan->result, pool, scan->gateway);
		result_add(scan->result);
	}
	MemoryContextSwitchTo(caller);
	MemoryContextReset(scan->row_context);
}

/* Adds the rows of a consumer by one column: by its index for each id, or by one scan.  Warns if the table is locked. */
static void
add_rows(DependentScan *scan)
{
	Relation	table = table_scan_open(scan->consumer->relation, false);
	bool		complete = table != NULL;

	if (table != NULL)
	{
		scan->identities = resource_value_identities(table);
		if (!table_scan_has_index(table, scan->column))
			complete = table_scan_rows(table, scan->column, NULL, false, add_row, scan);
		else if (scan->direct)
			complete = table_scan_rows(table, scan->column, scan->gateway, false, add_row, scan);
		else
			for (int i = 0; i < scan->pool_count && complete; i++)
				complete = table_scan_rows(table, scan->column, &scan->pools[i].id, false, add_row, scan);
		relation_close(table, AccessShareLock);
	}
	if (!complete)
		resources_warn_of_lock(scan->consumer);
}

/*
 * gateway_dependents(gateway_id uuid)
 *
 * Returns the pools of which the gateway is a member, and the rows of consumers that
 * are reached through these, or with no pool through the gateway itself.  Needs SELECT
 * on gateway_pools.  Errors: no such gateway P0002, NULL 22023.
 */
Datum
gateway_dependents(PG_FUNCTION_ARGS)
{
	PoolCatalog catalog;
	DependentScan scan = {.catalog = &catalog};
	ResultRow	result;
	GatewayRow *gateway;
	PoolRow    *pools;
	int			count;
	List	   *consumers;
	List	   *scanned = NIL;
	ListCell   *cell;

	catalog_open(&catalog);
	access_require(&catalog, RIGHT_LIST);
	scan.gateway = argument_uuid(fcinfo, 0, "gateway_id");
	if (isolation_hides_gateway(&catalog, scan.gateway))
		gateway_rows_refuse_missing(&catalog, scan.gateway);
	gateway = gateway_rows_read(&catalog, (RowFilter) {.id = scan.gateway}, &count);
	if (visible_rows_of_gateways(&catalog, gateway, count) == 0)
		gateway_rows_refuse_missing(&catalog, scan.gateway);

	pools = read_pools(&catalog, scan.gateway, &count);
	for (int i = 0; i < count; i++)
	{
		bool		ignored;

		if (find_member(&pools[i], scan.gateway, &ignored))
			pools[scan.pool_count++] = pools[i];
	}
	scan.pools = pools;
	scan.result = &result;
	result_begin_rows(&result, fcinfo);
	for (int i = 0; i < scan.pool_count; i++)
	{
		result_put_text(&result, "kind", "pool");
		result_put(&result, "id", CStringGetTextDatum(uuid_text(&pools[i].id)));
		result_put_text(&result, "name", pools[i].name);
		put_pool(&result, &pools[i], scan.gateway);
		result_add(&result);
	}

	scan.row_context = AllocSetContextCreate(CurrentMemoryContext, "row of a consumer", ALLOCSET_DEFAULT_SIZES);
	consumers = consumers_list(&catalog);
	foreach(cell, consumers)
	{
		scan.consumer = lfirst(cell);
		scan.column = scan.consumer->column_name;
		scan.direct = false;
		add_rows(&scan);
	}
	foreach(cell, consumers)
	{
		Registration registration;

		scan.consumer = lfirst(cell);
		registration = consumers_registration(&catalog, scan.consumer->relation, scan.consumer->column_name);
		/* A table may have several pool columns. */
		if (!registration.registered || registration.gateway_column[0] == '\0' ||
			list_member_oid(scanned, scan.consumer->relation))
			continue;
		scanned = lappend_oid(scanned, scan.consumer->relation);
		scan.column = registration.gateway_column;
		scan.direct = true;
		add_rows(&scan);
	}
	return (Datum) 0;
}
