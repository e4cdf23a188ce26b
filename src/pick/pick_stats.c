/*
 * pick_stats.c
 *		Counters of picks as rows: the view gateway_pool_stats.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "base/result_row.h"
#include "base/uuid.h"
#include "shared/pick_counters.h"
#include "tables/access.h"
#include "tables/isolation.h"
#include "tables/owner.h"
#include "tables/pool_rows.h"

PG_FUNCTION_INFO_V1(gateway_pool_stats);
PG_FUNCTION_INFO_V1(reset_gateway_pool_stats);

static bool
is_pool_itself(const pg_uuid_t *gateway)
{
	static const pg_uuid_t no_gateway;

	return uuid_equal(gateway, &no_gateway);
}

/*
 * gateway_pool_stats() returns one row for each pool and gateway, and one for
 * the pool as a whole, whose "gatewayId" is null: how often they were picked,
 * how often while degraded, and how often the pool had no eligible member.  Omits
 * pools that were deleted or are hidden from the caller.  Needs SELECT on
 * gateway_pools; empty unless the library is preloaded.
 */
Datum
gateway_pool_stats(PG_FUNCTION_ARGS)
{
	PoolCatalog catalog;
	PickCounter *copy;
	int			count;
	PoolRow    *pools;
	int			pool_count;
	ResultRow	row;

	catalog_open(&catalog);
	access_require(&catalog, RIGHT_LIST);
	result_begin_rows(&row, fcinfo);
	if (!pick_counters_exist())
		return (Datum) 0;

	pick_counters_flush();
	copy = pick_counters_copy(&count);
	pools = pool_rows_read(&catalog, (RowFilter) {.orgs = isolation_orgs(&catalog)}, &pool_count);
	for (int i = 0; i < count; i++)
	{
		const PickCounterKey *key = &copy[i].key;
		const PoolRow *pool = pool_rows_find(pools, pool_count, &key->pool);
		bool		whole = is_pool_itself(&key->gateway);

		if (pool == NULL || key->database != MyDatabaseId)
			continue;
		result_put(&row, "gatewayPoolId", UUIDPGetDatum(&key->pool));
		result_put_if(&row, "gatewayId", !whole, UUIDPGetDatum(&key->gateway));
		result_put(&row, "orgId", UUIDPGetDatum(&pool->org_id));
		result_put(&row, "picks", Int64GetDatum(pg_atomic_read_u64(&copy[i].picks)));
		result_put(&row, "degradedPicks", Int64GetDatum(pg_atomic_read_u64(&copy[i].degraded_picks)));
		result_put_if(&row, "refusals", whole, Int64GetDatum(pg_atomic_read_u64(&copy[i].refusals)));
		result_put(&row, "since", TimestampTzGetDatum(copy[i].since));
		result_add(&row);
	}
	return (Datum) 0;
}

/*
 * reset_gateway_pool_stats() removes the counts of this database.  For the owner
 * of gateway_pools.
 */
Datum
reset_gateway_pool_stats(PG_FUNCTION_ARGS)
{
	PoolCatalog catalog;
	PickCounter *copy;
	int			count;
	int			own_count = 0;

	catalog_open(&catalog);
	owner_require(catalog.pools);
	if (!pick_counters_exist())
		PG_RETURN_VOID();

	pick_counters_flush();
	copy = pick_counters_copy(&count);
	for (int i = 0; i < count; i++)
		if (copy[i].key.database == MyDatabaseId)
			copy[own_count++] = copy[i];
	pick_counters_remove(copy, own_count);
	PG_RETURN_VOID();
}
