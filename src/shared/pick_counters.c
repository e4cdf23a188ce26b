/*
 * pick_counters.c
 *		How often pools and gateways were picked.
 *
 * A pick counts in memory of its session.  The counts are added to those in
 * shared memory at the end of the transaction, so that two sessions in a loop
 * do not fight for a cache line at every pick.
 *
 * No message comes when a pool, a member or a database is deleted.  So when little
 * room is left, entries of deleted ones are looked for and removed.  If there is
 * still no room, the entries that were updated longest ago are removed.
 *
 * Counts are added under the shared lock, each by itself: they need not agree, so that no
 * access to an atomic is ordered but by the lock.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/shmem.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "base/clock.h"
#include "base/compat.h"
#include "base/settings.h"
#include "base/shared_memory.h"
#include "shared/pick_counters.h"

/* Entries, of members and of pools, for each of max_gateways. */
#define ENTRIES_PER_GATEWAY 2

/*
 * When less than one of PARTS is free, entries of deleted pools and members are removed,
 * each time that this much was filled.  When nothing is free, the oldest of PARTS is
 * evicted, which the doctor reports for EVICTION_SHOWN.
 */
#define PARTS 8
#define EVICTION_SHOWN (3600 * USECS_PER_SEC)

/* So many counts are added before the end of the transaction. */
#define PENDING_MAX 65536

static HTAB *entries;			/* created and removed under the exclusive
								 * lock */

typedef struct PickCountersState
{
	pg_atomic_uint64 epoch;		/* increased when entries are removed, under
								 * the exclusive lock */
	pg_atomic_uint32 made;		/* entries, since the last sweep */
	pg_atomic_uint64 evicted_at;	/* the last time; 0: never */
} PickCountersState;

static PickCountersState *state;

/* Counts to be added at the end of the transaction. */
static PickCount **pending;
static int	pending_count;
static int	pending_room;

static int64
max_entries(void)
{
	return (int64) setting_max_gateways * ENTRIES_PER_GATEWAY;
}

/* pick_counters_size returns how much shared memory the statistics need. */
Size
pick_counters_size(void)
{
	return add_size(MAXALIGN(sizeof(PickCountersState)), hash_estimate_size(max_entries(), sizeof(PickCounter)));
}

/* pick_counters_startup creates the statistics, or finds them. */
void
pick_counters_startup(void)
{
	HASHCTL		control = {.keysize = sizeof(PickCounterKey), .entrysize = sizeof(PickCounter)};
	bool		found;

	state = ShmemInitStruct("gateway_pool pick statistics state", sizeof(PickCountersState), &found);
	if (!found)
	{
		pg_atomic_init_u64(&state->epoch, 1);
		pg_atomic_init_u32(&state->made, 0);
		pg_atomic_init_u64(&state->evicted_at, 0);
	}
	entries = init_shmem_hash("gateway_pool pick statistics", max_entries(), &control,
							  HASH_ELEM | HASH_BLOBS | HASH_FIXED_SIZE);
}

static LWLock *
stats_lock(void)
{
	return &shared_memory_locks(SHARED_STATS_LOCK)->lock;
}

/* pick_counters_enqueue adds a count to the statistics at the end of the transaction. */
void
pick_counters_enqueue(PickCount *count)
{
	if (entries == NULL)
		return;
	if (pending_count == PENDING_MAX)
		pick_counters_flush();
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

static PickCounterKey
key_of(const PickCount *count)
{
	PickCounterKey key;

	memset(&key, 0, sizeof(key));
	key.database = MyDatabaseId;
	key.pool = count->pool;
	key.gateway = count->gateway;
	return key;
}

/* Returns the entry of a count, or NULL; the lock is held. */
static PickCounter *
find_entry(PickCount *count)
{
	uint64		now = pg_atomic_read_u64(&state->epoch);

	if (count->epoch != now)
	{
		PickCounterKey key = key_of(count);

		count->entry = hash_search(entries, &key, HASH_FIND, NULL);
		count->epoch = count->entry == NULL ? 0 : now;
	}
	return count->entry;
}

static void
clear_count(PickCount *count)
{
	count->picks = count->degraded_picks = count->refusals = 0;
	count->pending = false;
}

static void
add_count(PickCounter *entry, PickCount *count, int64 now)
{
	pg_atomic_write_u64(&entry->added_at, now);
	if (count->picks > 0)
		pg_atomic_fetch_add_u64(&entry->picks, count->picks);
	if (count->degraded_picks > 0)
		pg_atomic_fetch_add_u64(&entry->degraded_picks, count->degraded_picks);
	if (count->refusals > 0)
		pg_atomic_fetch_add_u64(&entry->refusals, count->refusals);
	clear_count(count);
}

static int
compare_added_at(const void *a, const void *b)
{
	uint64		at_a = pg_atomic_read_u64(&(*(PickCounter *const *) a)->added_at);
	uint64		at_b = pg_atomic_read_u64(&(*(PickCounter *const *) b)->added_at);

	return at_a < at_b ? -1 : at_a > at_b;
}

/* Removes the entries that were updated longest ago; the exclusive lock is held.  Raises no ERROR. */
static void
evict(int64 now)
{
	long		count = hash_get_num_entries(entries);
	PickCounter **oldest = palloc_extended(sizeof(PickCounter *) * count, MCXT_ALLOC_HUGE | MCXT_ALLOC_NO_OOM);
	HASH_SEQ_STATUS scan;
	PickCounter *entry;

	pg_atomic_write_u64(&state->evicted_at, now);
	if (oldest == NULL)
		return;
	pg_atomic_fetch_add_u64(&state->epoch, 1);
	count = 0;
	hash_seq_init(&scan, entries);
	while ((entry = hash_seq_search(&scan)) != NULL)
		oldest[count++] = entry;
	qsort(oldest, count, sizeof(PickCounter *), compare_added_at);
	for (long i = 0; i < count && i <= count / PARTS; i++)
		(void) hash_search(entries, &oldest[i]->key, HASH_REMOVE, NULL);
	pfree(oldest);
}

/* Creates an entry; returns NULL if there is no room. */
static PickCounter *
make_entry(const PickCounterKey *key, int64 now)
{
	bool		found;
	PickCounter *entry = hash_search(entries, key, HASH_ENTER_NULL, &found);

	if (entry == NULL)
	{
		evict(now);
		entry = hash_search(entries, key, HASH_ENTER_NULL, &found);
	}
	if (entry != NULL && !found)
	{
		pg_atomic_init_u64(&entry->picks, 0);
		pg_atomic_init_u64(&entry->degraded_picks, 0);
		pg_atomic_init_u64(&entry->refusals, 0);
		pg_atomic_init_u64(&entry->added_at, now);
		entry->since = GetCurrentTimestamp();
		pg_atomic_fetch_add_u32(&state->made, 1);
	}
	return entry;
}

/*
 * Adds counts to the statistics, and discards those for which there is no room.  Raises
 * no ERROR: transaction callbacks call it.
 */
static void
add_counts(PickCount **counts, int count)
{
	int			left = 0;
	int64		now = clock_monotonic();

	LWLockAcquire(stats_lock(), LW_SHARED);
	for (int i = 0; i < count; i++)
	{
		PickCounter *entry = find_entry(counts[i]);

		if (entry != NULL)
			add_count(entry, counts[i], now);
		else
			counts[left++] = counts[i];
	}
	LWLockRelease(stats_lock());
	if (left == 0)
		return;

	LWLockAcquire(stats_lock(), LW_EXCLUSIVE);
	for (int i = 0; i < left; i++)
	{
		PickCounterKey key = key_of(counts[i]);
		PickCounter *entry = make_entry(&key, now);

		if (entry != NULL)
			add_count(entry, counts[i], now);
		else
			clear_count(counts[i]);
	}
	LWLockRelease(stats_lock());
}

/* pick_counters_flush adds all pending counts to the statistics.  Raises no ERROR. */
void
pick_counters_flush(void)
{
	int			count = pending_count;

	if (count == 0)
		return;
	pending_count = 0;
	add_counts(pending, count);
}

/* pick_counters_add adds one count at once: its memory may be freed before the next flush. */
void
pick_counters_add(PickCount *count)
{
	if (entries != NULL)
		add_counts(&count, 1);
}

static void
at_end(TransactionEnd end)
{
	pick_counters_flush();
}

const TransactionSubscriber pick_counters_subscriber = {.at_end = at_end};

/* Copies an entry; the lock is held, shared: the counts may change meanwhile. */
static void
copy_entry(PickCounter *copy, PickCounter *entry)
{
	copy->key = entry->key;
	copy->since = entry->since;
	pg_atomic_init_u64(&copy->picks, pg_atomic_read_u64(&entry->picks));
	pg_atomic_init_u64(&copy->degraded_picks, pg_atomic_read_u64(&entry->degraded_picks));
	pg_atomic_init_u64(&copy->refusals, pg_atomic_read_u64(&entry->refusals));
	pg_atomic_init_u64(&copy->added_at, pg_atomic_read_u64(&entry->added_at));
}

/* pick_counters_copy returns a copy of all entries, of all databases. */
PickCounter *
pick_counters_copy(int *count)
{
	PickCounter *copy = palloc_extended(sizeof(PickCounter) * max_entries(), MCXT_ALLOC_HUGE);
	HASH_SEQ_STATUS scan;
	PickCounter *entry;

	*count = 0;
	LWLockAcquire(stats_lock(), LW_SHARED);
	hash_seq_init(&scan, entries);
	while ((entry = hash_seq_search(&scan)) != NULL)
		copy_entry(&copy[(*count)++], entry);
	LWLockRelease(stats_lock());
	return copy;
}

/* pick_counters_remove removes the entries of which copies are given. */
void
pick_counters_remove(const PickCounter *gone, int count)
{
	if (count == 0)
		return;
	LWLockAcquire(stats_lock(), LW_EXCLUSIVE);
	pg_atomic_fetch_add_u64(&state->epoch, 1);
	for (int i = 0; i < count; i++)
		(void) hash_search(entries, &gone[i].key, HASH_REMOVE, NULL);
	LWLockRelease(stats_lock());
}

/* pick_counters_exist returns true if the library was preloaded. */
bool
pick_counters_exist(void)
{
	return entries != NULL;
}

/* pick_counters_capacity returns the maximum number of entries. */
int64
pick_counters_capacity(void)
{
	return max_entries();
}

/*
 * pick_counters_begin_sweep returns true if the caller has to remove the entries of
 * deleted pools and members now: little is free, and much was filled since the last
 * sweep.
 */
bool
pick_counters_begin_sweep(void)
{
	int64		part = Max(max_entries() / PARTS, 1);

	/* Not ordered: of two sessions, the exchange lets one sweep. */
	return entries != NULL && hash_get_num_entries(entries) >= max_entries() - part &&
		pg_atomic_read_u32(&state->made) >= part &&
		pg_atomic_exchange_u32(&state->made, 0) >= part;
}

/* pick_counters_evicted_lately returns true if entries were evicted in the last EVICTION_SHOWN. */
bool
pick_counters_evicted_lately(void)
{
	/* Not ordered: it is one value. */
	uint64		at = entries == NULL ? 0 : pg_atomic_read_u64(&state->evicted_at);

	return at != 0 && clock_monotonic() - (int64) at < EVICTION_SHOWN;
}
