/*
 * pool_cache.c
 *		Pools and their members, as this session knows them.
 *
 * A pool is read once, by one query, and kept until anything that it was read
 * from changes anywhere: triggers on those tables invalidate the signal, and
 * the callback here is told when their transaction commits, or, for changes of
 * our own, at the next command.  Messages are looked for before each pick, by
 * catalog_find.  The callback only sets a flag.
 *
 * What was read while this transaction had changed something goes when it, or
 * any of its subtransactions, aborts: a statement that fails midway has
 * invalidated nothing.
 *
 * The health of members is not kept here but judged by their slots.  Where a
 * member has none, or the transaction itself wrote its gateway's row, the pool
 * is read for each pick.
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "utils/inval.h"
#include "utils/memutils.h"

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

/* Beyond this the cache starts anew: it has room for some 100,000 members. */
#define BYTES_MAX (16 * 1024 * 1024)
#define BLOCK_MAX (1024 * 1024)

/* On a standby heartbeats come without being published: pools are read this often. */
#define STANDBY_INTERVAL (5 * USECS_PER_SEC)

typedef struct CacheEntry
{
	pg_uuid_t	id;
	char		status;
	KnownPool  *pool;
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

static uint64 cache_changes;	/* catalog_pool_changes when it was begun */

/* It may hold changes of this transaction, or of a subtransaction, that is now lost. */
static bool uncommitted_kept;
static bool lost = true;

static bool
is_valid(const PoolCatalog *catalog)
{
	return !lost && cache_changes == catalog_pool_changes() && cache_version == catalog->version;
}

static void
discard_uncommitted(SubTransactionId aborted)
{
	lost |= uncommitted_kept;
	uncommitted_kept = false;
}

static void
at_end(TransactionEnd end)
{
	if (end != TRANSACTION_COMMITTED)
		discard_uncommitted(TopSubTransactionId);
	uncommitted_kept = false;
}

const TransactionSubscriber pool_cache_subscriber = {
	.at_end = at_end,
	.at_subtransaction_abort = discard_uncommitted
};

static void
start_anew(uint64 version)
{
	uint64		changes = catalog_pool_changes();

	/* Until it is whole again. */
	lost = true;
	/* Counts lie in what is to be freed. */
	pick_counters_flush();
	if (context == NULL)
		context = AllocSetContextCreate(TopMemoryContext, "gateway_pool pools",
										ALLOCSET_DEFAULT_MINSIZE, ALLOCSET_DEFAULT_INITSIZE, BLOCK_MAX);
	MemoryContextReset(context);
	cache = cache_create(context, 64, NULL);
	capabilities = capabilities_create(context);
	cache_version = version;
	cache_changes = changes;
	uncommitted_kept = false;
	lost = false;
}

/*
 * Sees to slots for the members that lack one, unless none is free.  Returns
 * whether to read them again.
 *
 * Nobody publishes to a slot that is not there: what a row came to say while its
 * slot was being made has to be read.
 */
static bool
make_slots(const PoolCatalog *catalog, const PoolRow *row)
{
	bool		any = false;

	for (int i = 0; i < row->member_count; i++)
	{
		const GatewayRow *gateway = &row->members[i].gateway;
		SlotCreation creation;

		/* A gateway that this transaction made is nobody else's business. */
		if (gateway->slot.number != NO_SLOT || gateway->own)
			continue;
		(void) gateway_slots_make(catalog, gateway, &creation);
		if (creation == SLOT_MAP_FULL)
			break;
		any = true;
	}
	return any;
}

/* Reads a pool, with a slot for each member as far as there are any. */
static PoolRow *
read_pool(const PoolCatalog *catalog, const pg_uuid_t *id, bool with_capabilities)
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

/* Whether shared memory tells about a gateway whatever this transaction may see. */
static bool
has_slot(const GatewayRow *gateway)
{
	return gateway->slot.number != NO_SLOT && !gateway->own;
}

static bool
all_have_slots(const PoolRow *row)
{
	for (int i = 0; i < row->member_count; i++)
		if (!has_slot(&row->members[i].gateway))
			return false;
	return true;
}

/* Whether there was no room in shared memory for a member. */
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
	return MAXALIGN(sizeof(KnownMember) * row->member_count);
}

static Size
pool_size(const PoolRow *row)
{
	return MAXALIGN(sizeof(KnownPool)) + members_size(row) + MAXALIGN(sizeof(DrawColumn) * row->member_count);
}

/*
 * pool_cache_of_row turns a pool that was read into one to pick from, in one
 * chunk of the current memory context.  Capabilities are those of the row.
 */
KnownPool *
pool_cache_of_row(const PoolRow *row)
{
	SelectionMember *selection = palloc0(sizeof(SelectionMember) * Max(row->member_count, 1));
	KnownPool  *pool = MemoryContextAllocExtended(CurrentMemoryContext, pool_size(row), MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	char	   *place = (char *) pool + MAXALIGN(sizeof(KnownPool));

	pool->id = pool->count.pool = row->id;
	pool->org_id = row->org_id;
	pool->member_count = row->member_count;
	pool->members = (KnownMember *) place;
	pool->draw.columns = (DrawColumn *) (place + members_size(row));

	for (int i = 0; i < row->member_count; i++)
	{
		const MemberRow *from = &row->members[i];
		KnownMember *member = &pool->members[i];

		member->gateway = member->count.gateway = from->gateway.id;
		member->count.pool = row->id;
		member->slot = from->gateway.slot;
		member->by_slot = has_slot(&from->gateway);
		member->status = from->gateway.health.status;
		member->state = selection[i].state = from->gateway.state;
		member->weight = selection[i].weight = from->weight;
		member->priority = selection[i].priority = from->priority;
		member->capabilities = from->gateway.capabilities;
	}
	draw_table_build(&pool->draw, selection, row->member_count);
	pfree(selection);
	return pool;
}

/* Once a session: picks work, but are slow, and load and failures are not known. */
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
 * Reads a pool from the tables.  It is kept, unless something changed while it
 * was read: then this pick, which began before, may use it, but no other.
 */
static KnownPool *
read_known_pool(const PoolCatalog *catalog, const pg_uuid_t *id, bool with_capabilities, int64 now)
{
	MemoryContext caller = CurrentMemoryContext;
	PoolRow    *row;
	KnownPool  *pool;
	Size		size;
	bool		keep;

	if (!health_map_exists())
		warn_of_fallback();
	pick_counters_make_room(catalog);
	row = read_pool(catalog, id, with_capabilities);
	if (row == NULL)
		return NULL;
	size = pool_size(row) + row->capabilities_size;
	AcceptInvalidationMessages();
	keep = is_valid(catalog) && !commit_queue_is_pending() &&
		!(unlikely(catalog->policed) && visible_rows_differ(catalog)) && all_have_slots(row) && size <= BYTES_MAX;
	if (health_map_exists() && lacks_slots(row))
		warn_of_fallback();

	if (keep)
	{
		/* Whatever ran while the pool was read may have picked from it, too. */
		pool_cache_forget(id);
		if (MemoryContextMemAllocated(context, false) + size > BYTES_MAX)
			start_anew(cache_version);
		MemoryContextSwitchTo(context);
	}
	pool = pool_cache_of_row(row);
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
		if (TransactionIdIsValid(GetTopTransactionIdIfAny()))
			uncommitted_kept = true;
	}
	return pool;
}

/* On a standby a pool is read every few seconds, and once more after its promotion. */
static bool
is_outdated(const KnownPool *pool, int64 now)
{
	return unlikely(pool->in_recovery) &&
		(now - pool->read_at >= STANDBY_INTERVAL || !RecoveryInProgress());
}

/*
 * pool_cache_get returns a pool as of now, with its members' capabilities if they
 * are wanted, for a catalog that has just been opened, or NULL if there is no such
 * pool, or it is hidden from the current role.  It is valid until the next call of
 * this file, or until the caller's memory context goes.
 */
KnownPool *
pool_cache_get(const PoolCatalog *catalog, const pg_uuid_t *id, bool with_capabilities, int64 now)
{
	if (!is_valid(catalog))
	{
		start_anew(catalog->version);
		worker_slots_want_here();
	}

	/*
	 * What is kept is what roles see to whom no policy of the owner's
	 * applies.
	 */
	if (!commit_queue_is_pending() && !(unlikely(catalog->policed) && visible_rows_differ(catalog)))
	{
		CacheEntry *entry = cache_lookup(cache, *id);

		if (entry != NULL && unlikely(catalog->isolated))
		{
			pg_uuid_t	org = entry->pool->org_id;

			/*
			 * To ask may run a query, and what was found may have gone by
			 * then.
			 */
			entry = isolation_is_foreign(catalog, &org) ? NULL : cache_lookup(cache, *id);
		}
		if (entry != NULL)
		{
			if (is_outdated(entry->pool, now))
				pool_cache_forget(id);
			else if (!with_capabilities || entry->pool->has_capabilities)
				return entry->pool;
		}
	}

	/*
	 * Of a hidden pool no more is read than of one that is not there: no time
	 * and no warning tells of it.
	 */
	if (isolation_hides_pool(catalog, id))
		return NULL;
	return read_known_pool(catalog, id, with_capabilities, now);
}

/* pool_cache_forget has a pool read anew at its next pick; the id may be that of the pool itself. */
void
pool_cache_forget(const pg_uuid_t *id)
{
	CacheEntry *entry = cache_lookup(cache, *id);
	KnownPool  *pool;

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
