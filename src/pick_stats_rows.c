/*
 * pick_stats_rows.c
 *		What is counted of picks, as rows, and what of it is of pools and members
 *		that are gone.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "access.h"
#include "compat.h"
#include "gateway_store.h"
#include "isolation.h"
#include "owner.h"
#include "pick_stats_data.h"

PG_FUNCTION_INFO_V1(gateway_pool_stats);
PG_FUNCTION_INFO_V1(reset_gateway_pool_stats);

static bool
is_pool_itself(const pg_uuid_t *gateway)
{
	static const pg_uuid_t no_gateway;

	return memcmp(gateway, &no_gateway, sizeof(pg_uuid_t)) == 0;
}

/* Of entries of this database, moves those of which the pool or the member is gone to the front; returns how many. */
static int
find_gone(const PoolCatalog *catalog, StatsEntry *copy, int count)
{
	Datum	   *ids = palloc(sizeof(Datum) * Max(count, 1));
	Oid			types[2] = {UUIDARRAYOID, UUIDARRAYOID};
	Datum		arrays[2];
	int			gone = 0;
	OwnerScope	scope;
	uint64		rows;

	for (int i = 0; i < count; i++)
		ids[i] = UUIDPGetDatum(&copy[i].key.pool);
	arrays[0] = PointerGetDatum(construct_array(ids, count, UUIDOID, UUID_LEN, false, TYPALIGN_CHAR));
	for (int i = 0; i < count; i++)
		ids[i] = UUIDPGetDatum(&copy[i].key.gateway);
	arrays[1] = PointerGetDatum(construct_array(ids, count, UUIDOID, UUID_LEN, false, TYPALIGN_CHAR));

	owner_begin(&scope, catalog->memberships);
	rows = owner_execute(owner_prepare(psprintf("SELECT u.i FROM unnest($1, $2) WITH ORDINALITY u (p, g, i)"
												" WHERE NOT EXISTS (SELECT FROM %s p WHERE p.id = u.p)"
												" OR u.g <> '00000000-0000-0000-0000-000000000000' AND NOT EXISTS (SELECT FROM %s m"
												" WHERE m.\"gatewayPoolId\" = u.p AND m.\"gatewayId\" = u.g) ORDER BY u.i",
												catalog_name(catalog->pools), catalog_name(catalog->memberships)),
									   2, types), arrays);
	for (uint64 i = 0; i < rows; i++)
	{
		bool		is_null;

		copy[gone++] = copy[DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &is_null)) - 1];
	}
	owner_end(&scope);
	return gone;
}

/*
 * pick_stats_make_room looks for counts of what is gone, pools and members of this
 * database and other databases, if there is little room and that has not just been
 * done.
 */
void
pick_stats_make_room(const PoolCatalog *catalog)
{
	StatsEntry *copy;
	StatsEntry *own;
	int			count;
	int			own_count = 0;
	int			gone = 0;

	if (!pick_stats_begin_sweep())
		return;
	/* Copied before the rows are read: what comes later is not gone. */
	copy = pick_stats_copy(&count);
	own = palloc_extended(sizeof(StatsEntry) * Max(count, 1), MCXT_ALLOC_HUGE);
	for (int i = 0; i < count; i++)
		if (copy[i].key.database == MyDatabaseId)
			own[own_count++] = copy[i];
		else if (!SearchSysCacheExists1(DATABASEOID, ObjectIdGetDatum(copy[i].key.database)))
			copy[gone++] = copy[i];
	pick_stats_forget(copy, gone);
	pick_stats_forget(own, find_gone(catalog, own, own_count));
	pfree(copy);
	pfree(own);
}

/*
 * pick_stats_crowded tells whether counts had to go lately for pools and members
 * that are there, since these are too many: what is gone is no harm.
 */
bool
pick_stats_crowded(const PoolCatalog *catalog)
{
	StatsEntry *copy;
	int			count;
	int64		wanted;

	if (!pick_stats_evicted())
		return false;
	wanted = owner_count(catalog->pools, psprintf("SELECT count(*) FROM %s", catalog_name(catalog->pools)), NULL) +
		owner_count(catalog->memberships, psprintf("SELECT count(*) FROM %s", catalog_name(catalog->memberships)), NULL);
	copy = pick_stats_copy(&count);
	for (int i = 0; i < count; i++)
		wanted += copy[i].key.database != MyDatabaseId;
	pfree(copy);
	return wanted > pick_stats_room();
}

/*
 * gateway_pool_stats() returns one row for each pool and gateway, and one for
 * the pool as a whole, whose "gatewayId" is null: how often they were picked,
 * how often while degraded, and how often the pool had no eligible member.  Of pools
 * that are gone, or hidden from the caller, nothing is shown.  Needs SELECT on
 * gateway_pools; empty unless the library is preloaded.
 */
Datum
gateway_pool_stats(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	PoolCatalog catalog;
	StatsEntry *copy;
	int			count;
	PoolRow    *pools;
	int			pool_count;

	catalog_open(&catalog);
	access_require(&catalog, RIGHT_LIST);
	init_materialized_result(fcinfo);
	if (!pick_stats_exist())
		return (Datum) 0;

	pick_stats_flush();
	copy = pick_stats_copy(&count);
	pools = store_pools(&catalog, (StoreFilter) {.orgs = isolation_orgs(&catalog)}, &pool_count);
	for (int i = 0; i < count; i++)
	{
		const StatsKey *key = &copy[i].key;
		const PoolRow *pool = store_find_pool(pools, pool_count, &key->pool);
		bool		whole = is_pool_itself(&key->gateway);
		Datum		values[7];
		bool		nulls[7] = {0};

		if (pool == NULL || key->database != MyDatabaseId)
			continue;
		values[0] = UUIDPGetDatum(&key->pool);
		values[1] = UUIDPGetDatum(&key->gateway);
		nulls[1] = whole;
		values[2] = UUIDPGetDatum(&pool->org_id);
		values[3] = Int64GetDatum(pg_atomic_read_u64(&copy[i].picks));
		values[4] = Int64GetDatum(pg_atomic_read_u64(&copy[i].degraded_picks));
		values[5] = Int64GetDatum(pg_atomic_read_u64(&copy[i].refusals));
		nulls[5] = !whole;
		values[6] = TimestampTzGetDatum(copy[i].since);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}

/*
 * reset_gateway_pool_stats(): forgets the counts of this database.  For the
 * owner of gateway_pools.
 */
Datum
reset_gateway_pool_stats(PG_FUNCTION_ARGS)
{
	PoolCatalog catalog;
	StatsEntry *copy;
	int			count;
	int			own_count = 0;

	catalog_open(&catalog);
	if (!has_privs_of_role(GetUserId(), catalog_owner(catalog.pools)))
		aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_TABLE, get_rel_name(catalog.pools));
	if (!pick_stats_exist())
		PG_RETURN_VOID();

	pick_stats_flush();
	copy = pick_stats_copy(&count);
	for (int i = 0; i < count; i++)
		if (copy[i].key.database == MyDatabaseId)
			copy[own_count++] = copy[i];
	pick_stats_forget(copy, own_count);
	PG_RETURN_VOID();
}
