/*
 * pick_stats.c
 *		How often pools and gateways were picked.
 *
 * A pick counts in memory of its session.  The counts are added to those in
 * shared memory at the end of the transaction, so that two sessions in a loop
 * do not fight for a cache line at every pick.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "storage/shmem.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "access.h"
#include "catalog.h"
#include "compat.h"
#include "gateway_store.h"
#include "isolation.h"
#include "pick_stats.h"
#include "settings.h"
#include "shared_memory.h"

PG_FUNCTION_INFO_V1(gateway_pool_pick_stats);
PG_FUNCTION_INFO_V1(gateway_pool_reset_pick_stats);

/* Pairs of pool and gateway, and pools, for each gateway that the map has room for. */
#define ENTRIES_PER_GATEWAY 2

/* With so many counts, the end of the transaction is not waited for. */
#define PENDING_MAX 65536

typedef struct StatsKey
{
	Oid			database;
	pg_uuid_t	pool;
	pg_uuid_t	gateway;
} StatsKey;

typedef struct StatsEntry
{
	StatsKey	key;
	pg_atomic_uint64 picks;
	pg_atomic_uint64 degraded_picks;
	pg_atomic_uint64 refusals;
	TimestampTz since;			/* changes under the exclusive lock */
} StatsEntry;

static HTAB *entries;			/* entries come and go under the exclusive lock */

/* Another one when entries have gone; changes under the exclusive lock, too. */
static pg_atomic_uint32 *epoch;

/* Counts that wait for the end of the transaction. */
static PickCount **pending;
static int	pending_count;
static int	pending_room;

static int64
max_entries(void)
{
	return (int64) setting_max_gateways * ENTRIES_PER_GATEWAY;
}

/* pick_stats_size returns what the statistics take of shared memory. */
Size
pick_stats_size(void)
{
	return add_size(MAXALIGN(sizeof(pg_atomic_uint32)), hash_estimate_size(max_entries(), sizeof(StatsEntry)));
}

/* pick_stats_startup makes the statistics, or finds them. */
void
pick_stats_startup(void)
{
	HASHCTL		control = {.keysize = sizeof(StatsKey), .entrysize = sizeof(StatsEntry)};
	bool		found;

	epoch = ShmemInitStruct("gateway_pool pick statistics epoch", sizeof(pg_atomic_uint32), &found);
	if (!found)
		pg_atomic_init_u32(epoch, 1);
	entries = ShmemInitHash("gateway_pool pick statistics", max_entries(), max_entries(),
							&control, HASH_ELEM | HASH_BLOBS | HASH_FIXED_SIZE);
}

static LWLock *
stats_lock(void)
{
	return &shared_memory_locks(SHARED_STATS_LOCK)->lock;
}

/* pick_stats_enqueue has a count added to the statistics later. */
void
pick_stats_enqueue(PickCount *count)
{
	if (entries == NULL)
		return;
	if (pending_count == PENDING_MAX)
		pick_stats_flush();
	if (pending_count == pending_room)
	{
		int			room = pending_room == 0 ? 16 : pending_room * 4;

		pending = pending == NULL ? MemoryContextAlloc(TopMemoryContext, sizeof(PickCount *) * room) :
			repalloc(pending, sizeof(PickCount *) * room);
		pending_room = room;
	}
	pending[pending_count++] = count;
	count->pending = true;
}

static StatsKey
key_of(const PickCount *count)
{
	StatsKey	key;

	memset(&key, 0, sizeof(key));
	key.database = MyDatabaseId;
	key.pool = count->pool;
	key.gateway = count->gateway;
	return key;
}

/* The entry of a count, NULL if there is none; the lock is held. */
static StatsEntry *
find_entry(PickCount *count)
{
	uint32		now = pg_atomic_read_u32(epoch);

	if (count->epoch != now)
	{
		StatsKey	key = key_of(count);

		count->entry = hash_search(entries, &key, HASH_FIND, NULL);
		count->epoch = count->entry == NULL ? 0 : now;
	}
	return count->entry;
}

static void
forget_count(PickCount *count)
{
	count->picks = count->degraded_picks = count->refusals = 0;
	count->pending = false;
}

static void
add_count(StatsEntry *entry, PickCount *count)
{
	if (count->picks > 0)
		pg_atomic_fetch_add_u64(&entry->picks, count->picks);
	if (count->degraded_picks > 0)
		pg_atomic_fetch_add_u64(&entry->degraded_picks, count->degraded_picks);
	if (count->refusals > 0)
		pg_atomic_fetch_add_u64(&entry->refusals, count->refusals);
	forget_count(count);
}

/* An entry made now, or NULL if there is no room. */
static StatsEntry *
make_entry(const StatsKey *key)
{
	bool		found;
	StatsEntry *entry = hash_search(entries, key, HASH_ENTER_NULL, &found);

	if (entry != NULL && !found)
	{
		pg_atomic_init_u64(&entry->picks, 0);
		pg_atomic_init_u64(&entry->degraded_picks, 0);
		pg_atomic_init_u64(&entry->refusals, 0);
		entry->since = GetCurrentTimestamp();
	}
	return entry;
}

/*
 * Adds counts to the statistics, and drops those for which there is no room.
 * Called by transaction callbacks: no ERROR.
 */
static void
add_counts(PickCount **counts, int count)
{
	int			left = 0;

	LWLockAcquire(stats_lock(), LW_SHARED);
	for (int i = 0; i < count; i++)
	{
		StatsEntry *entry = find_entry(counts[i]);

		if (entry != NULL)
			add_count(entry, counts[i]);
		else
			counts[left++] = counts[i];
	}
	LWLockRelease(stats_lock());
	if (left == 0)
		return;

	LWLockAcquire(stats_lock(), LW_EXCLUSIVE);
	for (int i = 0; i < left; i++)
	{
		StatsKey	key = key_of(counts[i]);
		StatsEntry *entry = make_entry(&key);

		if (entry != NULL)
			add_count(entry, counts[i]);
		else
			forget_count(counts[i]);
	}
	LWLockRelease(stats_lock());
}

/* pick_stats_flush adds what was counted to the statistics; no ERROR. */
void
pick_stats_flush(void)
{
	int			count = pending_count;

	if (count == 0)
		return;
	pending_count = 0;
	add_counts(pending, count);
}

/* pick_stats_add adds one count at once, of memory that may go before a flush. */
void
pick_stats_add(PickCount *count)
{
	if (entries != NULL)
		add_counts(&count, 1);
}

static void
end_of_transaction(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
		pick_stats_flush();
}

/* pick_stats_init registers the callback that flushes; called once a process. */
void
pick_stats_init(void)
{
	RegisterXactCallback(end_of_transaction, NULL);
}

/* A copy of what there is of this database. */
static StatsEntry *
copy_entries(int *count)
{
	StatsEntry *copy = palloc_extended(sizeof(StatsEntry) * max_entries(), MCXT_ALLOC_HUGE);
	HASH_SEQ_STATUS scan;
	StatsEntry *entry;

	*count = 0;
	LWLockAcquire(stats_lock(), LW_SHARED);
	hash_seq_init(&scan, entries);
	while ((entry = hash_seq_search(&scan)) != NULL)
		if (entry->key.database == MyDatabaseId)
			copy[(*count)++] = *entry;
	LWLockRelease(stats_lock());
	return copy;
}

static bool
is_pool_itself(const pg_uuid_t *gateway)
{
	static const pg_uuid_t nobody;

	return memcmp(gateway, &nobody, sizeof(pg_uuid_t)) == 0;
}

static int
compare_pool_ids(const void *a, const void *b)
{
	return memcmp(&((const PoolRow *) a)->id, &((const PoolRow *) b)->id, sizeof(pg_uuid_t));
}

/*
 * gateway_pool_stats() returns one row for each pool and gateway, and one for
 * the pool as a whole, whose "gatewayId" is null: how often they were picked,
 * how often while degraded, and how often the pool had nobody to pick.  Of pools
 * that are gone, or hidden from the caller, nothing is shown.  Needs SELECT on gateway_pools; empty unless
 * the library is preloaded.
 */
Datum
gateway_pool_pick_stats(PG_FUNCTION_ARGS)
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
	if (entries == NULL)
		return (Datum) 0;

	pick_stats_flush();
	copy = copy_entries(&count);
	pools = store_pools(&catalog, (StoreFilter) {.orgs = isolation_orgs(&catalog)}, &pool_count);
	for (int i = 0; i < count; i++)
	{
		const StatsKey *key = &copy[i].key;
		PoolRow		wanted = {.id = key->pool};
		const PoolRow *pool = bsearch(&wanted, pools, pool_count, sizeof(PoolRow), compare_pool_ids);
		bool		whole = is_pool_itself(&key->gateway);
		Datum		values[7];
		bool		nulls[7] = {0};

		if (pool == NULL)
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
gateway_pool_reset_pick_stats(PG_FUNCTION_ARGS)
{
	PoolCatalog catalog;
	HASH_SEQ_STATUS scan;
	StatsEntry *entry;

	catalog_open(&catalog);
	if (!has_privs_of_role(GetUserId(), catalog_owner(catalog.pools)))
		aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_TABLE, get_rel_name(catalog.pools));
	if (entries == NULL)
		PG_RETURN_VOID();

	pick_stats_flush();
	LWLockAcquire(stats_lock(), LW_EXCLUSIVE);
	pg_atomic_fetch_add_u32(epoch, 1);
	hash_seq_init(&scan, entries);
	while ((entry = hash_seq_search(&scan)) != NULL)
		if (entry->key.database == MyDatabaseId)
			(void) hash_search(entries, &entry->key, HASH_REMOVE, NULL);
	LWLockRelease(stats_lock());
	PG_RETURN_VOID();
}
