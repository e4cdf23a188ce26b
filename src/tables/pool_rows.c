/*
 * pool_rows.c
 *		Pools and their members, read from the tables and judged.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "base/uuid.h"
#include "tables/capabilities.h"
#include "tables/gateway_rows_internal.h"
#include "tables/org_column.h"
#include "tables/owner.h"
#include "tables/pool_rows.h"
#include "tables/visible_rows.h"

/* The plans of the query of one pool, by its id: without capabilities and with them. */
static KeptPlan pool_plans[2];

static char *
pools_sql(const PoolCatalog *catalog, HostColumns columns, RowFilter filter)
{
	StringInfoData sql;

	initStringInfo(&sql);
	gateway_rows_append_columns(&sql, catalog, columns, filter);
	appendStringInfo(&sql,
					 ", p.id::uuid, p.\"orgId\"::uuid, coalesce(p.name::text, '')"
					 ", p.\"createdAt\"::timestamptz, p.\"updatedAt\"::timestamptz"
					 ", %s, %s"
					 " FROM %s p LEFT JOIN (%s m JOIN %s g"
					 " ON g.id = m.\"gatewayId\" AND g.%s IS NOT NULL"
					 " LEFT JOIN %s s ON s.\"gatewayId\" = m.\"gatewayId\""
					 " LEFT JOIN %s h ON h.\"gatewayId\" = m.\"gatewayId\""
					 " LEFT JOIN %s probe ON probe.\"gatewayId\" = m.\"gatewayId\")"
					 " ON m.\"gatewayPoolId\" = p.id",
					 catalog->has_weight ? "m.\"pickWeight\"::int4" : "1",
					 catalog->has_priority ? "m.\"pickPriority\"::int4" : "0",
					 catalog_name(catalog->pools), catalog_name(catalog->memberships),
					 catalog_name(catalog->gateways), org_column_name(catalog, catalog->gateways), catalog_name(catalog->states),
					 catalog_name(catalog->health), catalog_name(catalog->probes));
	gateway_rows_append_filter(&sql, "p", org_column_name(catalog, catalog->pools), filter);
	/* Members of a pool follow each other. */
	appendStringInfo(&sql, " ORDER BY p.id, %s%s, g.id", catalog->has_priority ? "m.\"pickPriority\", " : "",
					 gateway_rows_name(catalog));
	return sql.data;
}

/* Adds the row of a member, or of a pool without members; returns the number of pools. */
static int
add_pool_row(PoolRow *pools, int count, HeapTuple row, const Reading *reading,
			 MemberRow *next_member)
{
	pg_uuid_t	id = owner_uuid(row, SPI_tuptable->tupdesc, POOL_ID);
	bool		no_member;
	PoolRow    *pool;

	if (count == 0 || !uuid_equal(&pools[count - 1].id, &id))
	{
		pool = &pools[count++];
		pool->id = id;
		pool->org_id = owner_uuid(row, SPI_tuptable->tupdesc, POOL_ORG_ID);
		pool->name = TextDatumGetCString(gateway_rows_column(row, POOL_NAME, NULL));
		pool->created_at = DatumGetTimestampTz(gateway_rows_column(row, POOL_CREATED_AT, NULL));
		pool->updated_at = DatumGetTimestampTz(gateway_rows_column(row, POOL_UPDATED_AT, NULL));
		pool->members = next_member;
		pool->member_count = 0;
		pool->capabilities_size = 0;
	}

	pool = &pools[count - 1];
	(void) gateway_rows_column(row, GATEWAY_ID, &no_member);
	if (!no_member)
	{
		MemberRow  *member = &pool->members[pool->member_count++];

		member->gateway = gateway_rows_take(row, reading, &pool->capabilities_size);
		member->weight = DatumGetInt32(gateway_rows_column(row, MEMBER_WEIGHT, NULL));
		member->priority = DatumGetInt32(gateway_rows_column(row, MEMBER_PRIORITY, NULL));
	}
	return count;
}

/*
 * pool_rows_read reads pools and their members, and judges each gateway as of now.
 * Returns an array of *count pools, ordered by id, in the current memory context;
 * members are ordered by priority and name.
 */
PoolRow *
pool_rows_read(const PoolCatalog *catalog, RowFilter filter, int *count)
{
	MemoryContext context = CurrentMemoryContext;
	Reading		reading = gateway_rows_begin(catalog);
	OwnerScope	scope;
	const char *sql;
	SPIPlanPtr	plan;
	uint64		rows;
	PoolRow    *pools;
	MemberRow  *members;

	if (filter.capabilities)
		reading.capabilities = capabilities_create(context);
	owner_begin(&scope, catalog->memberships);
	sql = pools_sql(catalog, reading.columns, filter);
	if (filter.id != NULL && filter.org_id == NULL && filter.orgs == NULL)
		plan = owner_prepare_kept(&pool_plans[filter.capabilities], sql, 1, (Oid[]) {UUIDOID});
	else
		plan = gateway_rows_prepare(sql, filter);
	rows = gateway_rows_execute(plan, filter);

	MemoryContextSwitchTo(context);
	pools = palloc_extended(Max(rows, 1) * sizeof(PoolRow), MCXT_ALLOC_HUGE);
	members = palloc_extended(Max(rows, 1) * sizeof(MemberRow), MCXT_ALLOC_HUGE);
	*count = 0;
	for (uint64 i = 0; i < rows; i++)
		*count = add_pool_row(pools, *count, SPI_tuptable->vals[i], &reading, &members[i]);
	owner_end(&scope);
	if (unlikely(catalog->policed))
		*count = visible_rows_of_pools(catalog, pools, *count);
	return pools;
}

/* pool_rows_find returns the pool of an id in a result of pool_rows_read, or NULL. */
const PoolRow *
pool_rows_find(const PoolRow *pools, int count, const pg_uuid_t *id)
{
	PoolRow		key = {.id = *id};

	return bsearch(&key, pools, count, sizeof(PoolRow), uuid_compare);
}
