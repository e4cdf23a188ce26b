/*
 * pool_cache.c
 *		The pools that this session has read, with their members.
 *
 * A pool is read once, by one query, and kept until a row that it was read from
 * changes in any session: triggers on those tables invalidate the signal when
 * their transaction commits, and in their own session at its next command.
 * catalog_find accepts these messages before each pick.
 *
 * Pools that were read after this transaction had changed something are discarded
 * when it, or any of its subtransactions, aborts: a statement that fails before
 * its AFTER triggers run has invalidated nothing.
 *
 * The health of members is not kept here but read from their slots.  If a member
 * has no slot, or this transaction wrote its gateway's row, the pool is read for
 * each pick.  A pool is read again when the state of a member ends.
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "base/clock.h"
#include "base/uuid.h"
#include "pick/pool_cache.h"
#include "shared/commit_queue.h"
#include "shared/worker_slots.h"
#include "tables/access.h"
#include "tables/capabilities.h"
#include "tables/gateway_slots.h"
#include "tables/isolation.h"
#include "tables/pick_counters_room.h"
#include "tables/visible_rows.h"

/* Beyond this the cache is emptied; that is room for some 100,000 members. */
#define BYTES_MAX (16 * 1024 * 1024)
#define BLOCK_MAX (1024 * 1024)

/* On a standby no trigger publishes heartbeats: pools are read this often. */
#define STANDBY_INTERVAL (5 * USECS_PER_SEC)

typedef struct CacheEntry
{
	pg_uuid_t	id;
	char		status;
	CachedPool *pool;
} CacheEntry;

#define SH_PREFIX cache
#define SH_ELEMENT_TYPE CacheEntry
#define SH_KEY_TYPE pg_uuid_t
#define SH_KEY id
#define SH_HASH_KEY(table, key) hash_bytes((const unsigned char *) &(key), sizeof(pg_uuid_t))
#define SH_EQUAL(table, a, b) uuid_equal(&(a), &(b))
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

static MemoryContext context;
static cache_hash *cache;
static CapabilitySet *capabilities; /* of all members */
static uint64 cache_version;	/* of the catalog by which it was filled */
static uint64 cache_changes;	/* catalog_pool_changes when it was empty */
static bool holds_uncommitted;	/* it may hold this transaction's changes */
static bool is_discarded = true;
static uint64 worker_checked = PG_UINT64_MAX;	/* catalog_changes when there
												 * was a worker last */

static bool
is_valid(const PoolCatalog *catalog)
{
	return !is_discarded && cache_changes == catalog_pool_changes() && cache_version == catalog->version;
}

static void
discard_uncommitted(SubTransactionId aborted)
{
	is_discarded |= holds_uncommitted;
	holds_uncommitted = false;
}

static void
at_end(TransactionEnd end)
{
	if (end != TRANSACTION_COMMITTED)
		discard_uncommitted(TopSubTransactionId);
	holds_uncommitted = false;
}

const TransactionSubscriber pool_cache_subscriber = {
	.at_end = at_end,
	.at_subtransaction_abort = discard_uncommitted
};

/* Empties the cache. */
static void
clear_cache(uint64 version)
{
	uint64		changes = catalog_pool_changes();

	/* An error below leaves it discarded. */
	is_discarded = true;
	/* The counts lie in the memory that is freed. */
	pick_counters_flush();
	if (context == NULL)
		context = AllocSetContextCreate(TopMemoryContext, "gateway_pool pools",
										ALLOCSET_DEFAULT_MINSIZE, ALLOCSET_DEFAULT_INITSIZE, BLOCK_MAX);
	MemoryContextReset(context);
	cache = cache_create(context, 64, NULL);
	capabilities = capabilities_create(context);
	cache_version = version;
	cache_changes = changes;
	holds_uncommitted = false;
	is_discarded = false;
}

/*
 * Makes slots for the members that lack one, while any is free.  Returns true if
 * the pool has to be read again: a change of a gateway's row that committed before
 * its slot was made was not published.  Changes before that one are published by then.
 */
static bool
make_slots(const PoolCatalog *catalog, const PoolRow *row)
{
	bool		any = false;

	for (int i = 0; i < row->member_count; i++)
	{
		const GatewayRow *gateway = &row->members[i].gateway;
		SlotCreation creation;

		/* No other session can see a gateway that this transaction made. */
		if (gateway->slot.number != NO_SLOT || gateway->own)
			continue;
		(void) gateway_slots_make(catalog, gateway, &creation);
		if (creation == SLOT_MAP_FULL)
			break;
		any = true;
	}
	if (any)
		commit_queue_wait();
	return any;
}

/* Reads a pool from the tables, with a slot for each member while any is free; NULL if it does not exist. */
static PoolRow *
read_row(const PoolCatalog *catalog, const pg_uuid_t *id, bool with_capabilities)
{
	for (;;)
	{
		int			count;
		PoolRow    *row = pool_rows_read(catalog, (RowFilter) {.id = id, .capabilities = with_capabilities}, &count);

		if (count == 0)
			return NULL;
		if (!health_map_exists() || !make_slots(catalog, row))
			return row;
		CHECK_FOR_INTERRUPTS();
	}
}

/* Returns true if the gateway's slot holds what this transaction sees. */
static bool
is_published(const GatewayRow *gateway)
{
	return gateway->slot.number != NO_SLOT && !gateway->own;
}

static bool
all_published(const PoolRow *row)
{
	for (int i = 0; i < row->member_count; i++)
		if (!is_published(&row->members[i].gateway))
			return false;
	return true;
}

/* Returns true if shared memory had no room for a member. */
static bool
lacks_slots(const PoolRow *row)
{
	for (int i = 0; i < row->member_count; i++)
		if (row->members[i].gateway.slot.number == NO_SLOT && !row->members[i].gateway.own)
			return true;
	return false;
}

static Size
members_size(const PoolRow *row)
{
	return MAXALIGN(sizeof(CachedMember) * row->member_count);
}

static Size
pool_size(const PoolRow *row)
{
	return MAXALIGN(sizeof(CachedPool)) + members_size(row) + MAXALIGN(sizeof(DrawColumn) * row->member_count);
}

/*
 * Makes a pool to pick from of one that was read, in one chunk of the current
 * memory context.  Points to the capabilities of the row.
 */
static CachedPool *
make_pool(const PoolRow *row)
{
	SelectionMember *selection = palloc0(sizeof(SelectionMember) * Max(row->member_count, 1));
	CachedPool *pool = MemoryContextAllocExtended(CurrentMemoryContext, pool_size(row), MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	char	   *place = (char *) pool + MAXALIGN(sizeof(CachedPool));

	pool->id = pool->count.pool = row->id;
	pool->org_id = row->org_id;
	pool->member_count = row->member_count;
	pool->next_state_end = NO_STATE_END;
	pool->members = (CachedMember *) place;
	pool->draw.columns = (DrawColumn *) (place + members_size(row));

	for (int i = 0; i < row->member_count; i++)
	{
		const MemberRow *from = &row->members[i];
		CachedMember *member = &pool->members[i];

		member->gateway = member->count.gateway = from->gateway.id;
		member->count.pool = row->id;
		member->slot = from->gateway.slot;
		member->by_slot = is_published(&from->gateway);
		member->status = from->gateway.health.status;
		member->state = selection[i].state = from->gateway.state;
		pool->next_state_end = Min(pool->next_state_end, from->gateway.state_until);
		member->weight = selection[i].weight = from->weight;
		member->priority = selection[i].priority = from->priority;
		member->capabilities = from->gateway.capabilities;
	}
	draw_table_build(&pool->draw, selection, row->member_count);
	pfree(selection);
	return pool;
}

/* Warns, once a session, that picks are slow and know no loads and no reported failures. */
static void
warn_of_fallback(void)
{
	static bool warned = false;

	if (warned)
		return;
	warned = true;
	if (!health_map_exists())
		ereport(WARNING,
				(errmsg("gateway_pool is not preloaded: picks read the tables"),
				 errhint("Add gateway_pool to shared_preload_libraries and restart the server.")));
	else
		ereport(WARNING,
				(errmsg("shared memory of gateway_pool is full: picks of some pools read the tables"),
				 errhint("Raise gateway_pool.max_gateways and restart the server.")));
}

/*
 * Reads a pool from the tables.  Keeps it, unless a table changed meanwhile: then
 * this pick, which began before the change, may use it, but no later one.
 */
static CachedPool *
read_pool(const PoolCatalog *catalog, const pg_uuid_t *id, bool with_capabilities, int64 now)
{
	MemoryContext caller = CurrentMemoryContext;
	PoolRow    *row;
	CachedPool *pool;
	Size		size;
	bool		keep;

	if (!health_map_exists())
		warn_of_fallback();
	pick_counters_room_make(catalog);
	row = read_row(catalog, id, with_capabilities);
	if (row == NULL)
		return NULL;
	size = pool_size(row) + row->capabilities_size;
	AcceptInvalidationMessages();
	keep = is_valid(catalog) && !catalog->unpublished && !commit_queue_has_heartbeats() &&
		!(unlikely(catalog->policed) && visible_rows_differ(catalog)) && all_published(row) && size <= BYTES_MAX;
	if (health_map_exists() && lacks_slots(row))
		warn_of_fallback();

	if (keep)
	{
		/* Code that ran while the pool was read may have cached it already. */
		pool_cache_remove(id);
		if (MemoryContextMemAllocated(context, false) + size > BYTES_MAX)
			clear_cache(cache_version);
		MemoryContextSwitchTo(context);
		/* An ERROR below, out of memory, leaves it discarded. */
		is_discarded = true;
	}
	pool = make_pool(row);
	MemoryContextSwitchTo(caller);

	pool->kept = keep;
	pool->has_capabilities = with_capabilities;
	pool->read_at = now;
	pool->in_recovery = RecoveryInProgress();
	if (keep)
	{
		bool		found;

		for (int i = 0; i < pool->member_count; i++)
			if (pool->members[i].capabilities != NULL)
				pool->members[i].capabilities = capabilities_add(capabilities, pool->members[i].capabilities, &size);
		cache_insert(cache, *id, &found)->pool = pool;
		is_discarded = false;
		if (TransactionIdIsValid(GetTopTransactionIdIfAny()))
			holds_uncommitted = true;
	}
	return pool;
}

/*
 * Returns true for a pool to read again: when the state of a member has ended; on a
 * standby every few seconds, and once after promotion.
 */
static bool
is_outdated(const CachedPool *pool, int64 now)
{
	return (unlikely(pool->next_state_end != NO_STATE_END) && GetCurrentTimestamp() >= pool->next_state_end) ||
		(unlikely(pool->in_recovery) && (now - pool->read_at >= STANDBY_INTERVAL || !RecoveryInProgress()));
}

/*
 * pool_cache_get returns a pool as of now, with its members' capabilities if asked
 * for, or NULL if it does not exist or is hidden from the current role.  The catalog
 * must have just been opened.  The pool is valid until the next call of a function
 * of this file, or until the caller's memory context is reset.
 */
CachedPool *
pool_cache_get(const PoolCatalog *catalog, const pg_uuid_t *id, bool with_capabilities, int64 now)
{
	if (!is_valid(catalog))
		clear_cache(catalog->version);
	if (unlikely(worker_checked != catalog_changes()) && worker_slots_want_here())
		worker_checked = catalog_changes();

	/*
	 * The cache holds pools as roles see them to which no policy of the
	 * owner's applies.
	 */
	if (!commit_queue_has_heartbeats() && !(unlikely(catalog->policed) && visible_rows_differ(catalog)))
	{
		CacheEntry *entry = cache_lookup(cache, *id);

		if (entry != NULL && unlikely(catalog->isolated))
		{
			pg_uuid_t	org = entry->pool->org_id;

			/*
			 * isolation_is_foreign may run a query, which may empty the
			 * cache.
			 */
			entry = isolation_is_foreign(catalog, &org) ? NULL : cache_lookup(cache, *id);
		}
		if (entry != NULL)
		{
			if (is_outdated(entry->pool, now))
				pool_cache_remove(id);
			else if (!with_capabilities || entry->pool->has_capabilities)
				return entry->pool;
		}
	}

	/*
	 * A hidden pool is not read, so that neither time nor a warning
	 * distinguishes it from one that does not exist.
	 */
	if (isolation_hides_pool(catalog, id))
		return NULL;
	return read_pool(catalog, id, with_capabilities, now);
}

/* pool_cache_remove removes a pool, which the next pick reads again; "id" may point into the pool. */
void
pool_cache_remove(const pg_uuid_t *id)
{
	CacheEntry *entry = cache_lookup(cache, *id);
	CachedPool *pool;

	if (entry == NULL)
		return;
	pick_counters_flush();
	pool = entry->pool;
	for (int i = 0; i < pool->member_count; i++)
		if (pool->members[i].capabilities != NULL)
			capabilities_remove(capabilities, pool->members[i].capabilities);
	cache_delete(cache, *id);
	pfree(pool);
}
