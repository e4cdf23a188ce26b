/*
 * health_map.c
 *		The evidence about gateways, in shared memory.
 *
 * A fixed array of slots, one for each gateway of each database, and a hash
 * table from (database, gateways table, gateway) to slot.  Locks:
 *
 * - an entry of the hash table, and whose a slot is, change under the LWLock of
 *   the entry's partition; the list of free slots has a lock of its own, which
 *   is taken inside;
 * - the table's heartbeat of a slot is published under the slot's spinlock;
 * - reading evidence takes no lock: see health_slot.h.
 *
 * Publications come from commits, in whatever order their backends get to it,
 * and from reads of the table, with whatever snapshot they had.  A commit is
 * passed over by a later one's place in the WAL.  A read is passed over by any
 * commit that published after the read began: sequence numbers tell.  Either
 * order of the two leaves the slot with the newest row.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "miscadmin.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "utils/hsearch.h"
#include "utils/timestamp.h"

#include "clock.h"
#include "health_slot.h"
#include "settings.h"
#include "shared_memory.h"

#define PARTITIONS 16

/* A full map is looked through for dead slots at most this often. */
#define SWEEP_PAUSE (10 * USECS_PER_SEC)

typedef struct SlotKey
{
	Oid			database;
	Oid			table;			/* the host's: one made anew has other gateways */
	pg_uuid_t	gateway;
} SlotKey;

typedef struct SlotEntry
{
	SlotKey		key;
	int32		number;
} SlotEntry;

typedef struct HealthMap
{
	pg_atomic_uint64 sequence;	/* of commits that published */
	pg_atomic_uint64 grace_from;	/* when we started, or were promoted */
	pg_atomic_uint32 standby;	/* we have been one */
	pg_atomic_uint32 full;		/* the last attempt to make a slot found none free */
	pg_atomic_uint64 swept_at;
	int32		first_free;		/* of a list in which the longest free comes first */
	int32		last_free;
	HealthSlot	slots[FLEXIBLE_ARRAY_MEMBER];
} HealthMap;

static HealthMap *map;
static HTAB *entries;
static LWLockPadded *locks;		/* one a partition, then the free list's */

/* health_map_size returns what the map takes of shared memory. */
Size
health_map_size(void)
{
	return add_size(add_size(offsetof(HealthMap, slots), mul_size(setting_max_gateways, sizeof(HealthSlot))),
					hash_estimate_size(setting_max_gateways, sizeof(SlotEntry)));
}

static void
reset_words(HealthSlot *slot)
{
	pg_atomic_write_u64(&slot->table, make_word(slot->generation, TABLE_NEVER, 0));
	pg_atomic_write_u64(&slot->reported, make_word(slot->generation, WORD_EMPTY, 0));
	pg_atomic_write_u64(&slot->failure, make_word(slot->generation, WORD_EMPTY, 0));
	pg_atomic_write_u64(&slot->load, make_pair(slot->generation, 0, 0));
	pg_atomic_write_u64(&slot->load_at, make_word(slot->generation, WORD_EMPTY, 0));
	pg_atomic_write_u64(&slot->reported_at, make_word(slot->generation, WORD_EMPTY, 0));
	for (int i = 0; i < RESERVATION_PERIODS; i++)
		pg_atomic_write_u64(&slot->reserved[i], make_pair(slot->generation, 0, 0));
}

static void
initialize(void)
{
	pg_atomic_init_u64(&map->sequence, 0);
	pg_atomic_init_u64(&map->grace_from, clock_monotonic());
	pg_atomic_init_u32(&map->standby, 0);
	pg_atomic_init_u32(&map->full, 0);
	pg_atomic_init_u64(&map->swept_at, 0);
	map->first_free = 0;
	map->last_free = setting_max_gateways - 1;

	for (int i = 0; i < setting_max_gateways; i++)
	{
		HealthSlot *slot = &map->slots[i];

		memset(slot, 0, sizeof(HealthSlot));
		SpinLockInit(&slot->mutex);
		pg_atomic_init_u64(&slot->table, 0);
		pg_atomic_init_u64(&slot->reported, 0);
		pg_atomic_init_u64(&slot->failure, 0);
		pg_atomic_init_u64(&slot->load, 0);
		pg_atomic_init_u64(&slot->load_at, 0);
		pg_atomic_init_u64(&slot->reported_at, 0);
		for (int j = 0; j < RESERVATION_PERIODS; j++)
			pg_atomic_init_u64(&slot->reserved[j], 0);
		slot->next_free = i + 1 < setting_max_gateways ? i + 1 : NO_SLOT;
	}
}

/* health_map_startup makes the map, or finds it, while AddinShmemInitLock is held. */
void
health_map_startup(void)
{
	HASHCTL		control = {
		.keysize = sizeof(SlotKey),
		.entrysize = sizeof(SlotEntry),
		.num_partitions = PARTITIONS
	};
	bool		found;

	StaticAssertStmt(PARTITIONS < SHARED_MAP_LOCKS, "each partition and the free list have a lock");

	locks = shared_memory_locks(SHARED_MAP_FIRST_LOCK);
	map = ShmemInitStruct("gateway_pool health map",
						  offsetof(HealthMap, slots) + mul_size(setting_max_gateways, sizeof(HealthSlot)), &found);
	if (!found)
		initialize();
	entries = ShmemInitHash("gateway_pool health map entries", setting_max_gateways, setting_max_gateways,
							&control, HASH_ELEM | HASH_BLOBS | HASH_PARTITION | HASH_FIXED_SIZE);
}

/* health_map_exists tells whether the library was preloaded. */
bool
health_map_exists(void)
{
	return map != NULL;
}

/* health_slot returns the slot of a reference that is not NO_SLOT. */
HealthSlot *
health_slot(HealthSlotRef ref)
{
	Assert(ref.number >= 0 && ref.number < setting_max_gateways);
	return &map->slots[ref.number];
}

static SlotKey
key_of(Oid database, Oid table, const pg_uuid_t *gateway)
{
	SlotKey		key;

	memset(&key, 0, sizeof(key));
	key.database = database;
	key.table = table;
	key.gateway = *gateway;
	return key;
}

static LWLock *
partition_lock(uint32 hash)
{
	return &locks[hash % PARTITIONS].lock;
}

static LWLock *
free_list_lock(void)
{
	return &locks[PARTITIONS].lock;
}

/* Whose a slot is changes under the lock of the partition, which is held. */
static HealthSlotRef
look_up(const SlotKey *key, uint32 hash)
{
	SlotEntry  *entry = hash_search_with_hash_value(entries, key, hash, HASH_FIND, NULL);

	if (entry == NULL)
		return (HealthSlotRef) {NO_SLOT, 0};
	return (HealthSlotRef) {entry->number, map->slots[entry->number].generation};
}

/* health_map_find returns the slot of a gateway of a table of this database, or NO_SLOT. */
HealthSlotRef
health_map_find(Oid table, const pg_uuid_t *gateway)
{
	SlotKey		key = key_of(MyDatabaseId, table, gateway);
	HealthSlotRef ref = {NO_SLOT, 0};
	uint32		hash;

	if (map == NULL)
		return ref;
	hash = get_hash_value(entries, &key);
	LWLockAcquire(partition_lock(hash), LW_SHARED);
	ref = look_up(&key, hash);
	LWLockRelease(partition_lock(hash));
	return ref;
}

/* health_map_is_current tells whether a slot is still the same gateway's. */
bool
health_map_is_current(HealthSlotRef ref)
{
	return word_generation(pg_atomic_read_u64(&health_slot(ref)->table)) == ref.generation;
}

static int32
take_free_slot(void)
{
	int32		number;

	LWLockAcquire(free_list_lock(), LW_EXCLUSIVE);
	number = map->first_free;
	if (number != NO_SLOT)
	{
		map->first_free = map->slots[number].next_free;
		if (map->first_free == NO_SLOT)
			map->last_free = NO_SLOT;
	}
	LWLockRelease(free_list_lock());
	pg_atomic_write_u32(&map->full, number == NO_SLOT);
	return number;
}

/* The last in the list is reused last, so that generations take long to return. */
static void
give_free_slot(int32 number)
{
	LWLockAcquire(free_list_lock(), LW_EXCLUSIVE);
	map->slots[number].next_free = NO_SLOT;
	if (map->last_free == NO_SLOT)
		map->first_free = number;
	else
		map->slots[map->last_free].next_free = number;
	map->last_free = number;
	LWLockRelease(free_list_lock());
	pg_atomic_write_u32(&map->full, 0);
}

/*
 * health_map_create returns the slot of a gateway of a table, made now if there
 * was none, and NO_SLOT if none is free.  "recorded_unhealthy" is what
 * gateway_health says of the gateway.
 */
HealthSlotRef
health_map_create(Oid table, const pg_uuid_t *gateway, bool recorded_unhealthy, bool *created)
{
	SlotKey		key = key_of(MyDatabaseId, table, gateway);
	uint32		hash = get_hash_value(entries, &key);
	HealthSlotRef ref;

	*created = false;
	LWLockAcquire(partition_lock(hash), LW_EXCLUSIVE);
	ref = look_up(&key, hash);
	if (ref.number == NO_SLOT)
	{
		ref.number = take_free_slot();
		if (ref.number != NO_SLOT)
		{
			HealthSlot *slot = &map->slots[ref.number];
			SlotEntry  *entry = hash_search_with_hash_value(entries, &key, hash, HASH_ENTER_NULL, NULL);

			Assert(entry != NULL);
			entry->number = ref.number;
			SpinLockAcquire(&slot->mutex);
			slot->generation++;
			slot->used = true;
			slot->published = false;
			slot->database = key.database;
			slot->relation = key.table;
			slot->gateway = key.gateway;
			slot->sequence = 0;
			slot->commit = InvalidXLogRecPtr;
			slot->failure_reason[0] = '\0';
			reset_words(slot);
			if (recorded_unhealthy)
				pg_atomic_write_u64(&slot->failure, make_word(slot->generation, FAILURE_RECORDED, 0));
			ref.generation = slot->generation;
			SpinLockRelease(&slot->mutex);
			*created = true;
		}
	}
	LWLockRelease(partition_lock(hash));
	return ref;
}

/* health_map_free frees a slot, unless that has been done already. */
void
health_map_free(HealthSlotRef ref)
{
	HealthSlot *slot = health_slot(ref);
	SlotKey		key;
	uint32		hash;
	bool		freed = false;

	SpinLockAcquire(&slot->mutex);
	key = key_of(slot->database, slot->relation, &slot->gateway);
	SpinLockRelease(&slot->mutex);

	hash = get_hash_value(entries, &key);
	LWLockAcquire(partition_lock(hash), LW_EXCLUSIVE);
	if (look_up(&key, hash).number == ref.number && slot->generation == ref.generation)
	{
		(void) hash_search_with_hash_value(entries, &key, hash, HASH_REMOVE, NULL);
		SpinLockAcquire(&slot->mutex);
		slot->generation++;
		slot->used = false;
		reset_words(slot);
		SpinLockRelease(&slot->mutex);
		freed = true;
	}
	LWLockRelease(partition_lock(hash));
	if (freed)
		give_free_slot(ref.number);
}

/* Whose slot it is by now; false if nobody's. */
static bool
read_entry(int number, HealthSlotEntry *entry)
{
	HealthSlot *slot = &map->slots[number];
	bool		used;

	SpinLockAcquire(&slot->mutex);
	used = slot->used;
	entry->ref = (HealthSlotRef) {number, slot->generation};
	entry->database = slot->database;
	entry->table = slot->relation;
	entry->gateway = slot->gateway;
	SpinLockRelease(&slot->mutex);
	return used;
}

/* health_map_free_table frees the slots of the gateways of a table; no ERROR. */
void
health_map_free_table(Oid table)
{
	HealthSlotEntry entry;

	for (int i = 0; map != NULL && i < setting_max_gateways; i++)
		if (read_entry(i, &entry) && entry.database == MyDatabaseId && entry.table == table)
			health_map_free(entry.ref);
}

/* health_map_list returns all slots in use, of all databases. */
HealthSlotEntry *
health_map_list(int *count)
{
	HealthSlotEntry *list = palloc_extended(sizeof(HealthSlotEntry) * setting_max_gateways, MCXT_ALLOC_HUGE);

	*count = 0;
	for (int i = 0; i < setting_max_gateways; i++)
		if (read_entry(i, &list[*count]))
			(*count)++;
	return list;
}

/* health_map_is_full tells whether the last gateway that needed a slot got none. */
bool
health_map_is_full(void)
{
	return map != NULL && pg_atomic_read_u32(&map->full) != 0;
}

/* health_map_begin_sweep tells whether it is time to look for dead slots again. */
bool
health_map_begin_sweep(int64 now)
{
	uint64		last = pg_atomic_read_u64(&map->swept_at);

	return (last == 0 || now - (int64) last >= SWEEP_PAUSE) &&
		pg_atomic_compare_exchange_u64(&map->swept_at, &last, now);
}

/*
 * A promotion is noticed by whoever next asks or publishes; from then on, the
 * grace of a start counts.
 */
static void
notice_promotion(int64 now)
{
	uint32		was_standby = 1;

	if (unlikely(pg_atomic_read_u32(&map->standby) != 0) && !RecoveryInProgress() &&
		pg_atomic_compare_exchange_u32(&map->standby, &was_standby, 0))
		pg_atomic_write_u64(&map->grace_from, now);
}

/* health_map_note_standby remembers that this server is one. */
void
health_map_note_standby(void)
{
	if (map != NULL && pg_atomic_read_u32(&map->standby) == 0)
		pg_atomic_write_u32(&map->standby, 1);
}

/* health_map_sequence is to be read before the snapshot of what will be published. */
uint64
health_map_sequence(void)
{
	return map == NULL ? 0 : pg_atomic_read_u64(&map->sequence);
}

/* The table's word is written under the spinlock, but is confirmed without it. */
static void
confirm_expiry(HealthSlot *slot, uint16 generation, int64 now)
{
	uint64		word = pg_atomic_read_u64(&slot->table);

	if (word_generation(word) == generation && word_kind(word) == TABLE_HEARD && word_time(word) <= now)
		(void) pg_atomic_compare_exchange_u64(&slot->table, &word,
											  make_word(generation, TABLE_CONFIRMED, word_time(word)));
}

static bool
is_published(const HealthSlot *slot, const Heartbeat *heartbeat)
{
	return slot->published && heartbeat_equal(&slot->heartbeat, heartbeat);
}

/* What a heartbeat is evidence of, whenever it was. */
static int
kind_of(const Heartbeat *heartbeat)
{
	return heartbeat->failed ? TABLE_FAILED : heartbeat->heard ? TABLE_HEARD : TABLE_NEVER;
}

/*
 * Whether the row turns against the gateway, to failed or to never heard of: the
 * host's word, which outweighs what was reported before.  One that stays failed
 * says nothing new, whatever else is written to it.
 */
static bool
turns_away(const HealthSlot *slot, const Heartbeat *heartbeat)
{
	int			kind = kind_of(heartbeat);

	return slot->published && kind != TABLE_HEARD && kind != kind_of(&slot->heartbeat);
}

/*
 * Writes the table's word, the spinlock held.  A wall time is turned into
 * monotonic time when it is first seen; a steppable clock has no say after that.
 */
static void
store_heartbeat(HealthSlot *slot, const Heartbeat *heartbeat, int64 now, int64 wall_offset)
{
	bool		turned_away = turns_away(slot, heartbeat);
	uint64		word;

	if (heartbeat->heard && !(slot->published && slot->heartbeat.heard &&
							  slot->heartbeat.heard_at == heartbeat->heard_at))
		slot->heard_at = Min(heartbeat->heard_at - wall_offset, now);
	slot->heartbeat = *heartbeat;
	slot->published = true;

	if (turned_away)
		pg_atomic_write_u64(&slot->reported, make_word(slot->generation, WORD_EMPTY, 0));
	if (heartbeat->failed)
		word = make_word(slot->generation, TABLE_FAILED, 0);
	else if (!heartbeat->heard)
		word = make_word(slot->generation, TABLE_NEVER, 0);
	else
	{
		word = make_word(slot->generation, TABLE_HEARD, slot->heard_at + heartbeat->lifetime);
		/* By what the word rounds up, all of it is later: people see what is judged. */
		slot->heard_at = Max(slot->heard_at, word_time(word) - heartbeat->lifetime);
	}
	pg_atomic_write_u64(&slot->table, word);
}

/*
 * health_map_publish stores what a row of the host's table was found to say.
 * "sequence" is health_map_sequence() from before the row was read.
 */
void
health_map_publish(HealthSlotRef ref, const Heartbeat *heartbeat, uint64 sequence)
{
	HealthSlot *slot = health_slot(ref);
	int64		now = clock_monotonic();
	bool		same;

	notice_promotion(now);
	SpinLockAcquire(&slot->mutex);
	same = slot->generation != ref.generation || is_published(slot, heartbeat);
	SpinLockRelease(&slot->mutex);

	if (!same)
	{
		int64		wall_offset = clock_wall_offset();

		SpinLockAcquire(&slot->mutex);
		same = slot->generation == ref.generation && slot->sequence <= sequence;
		if (same && !is_published(slot, heartbeat))
			store_heartbeat(slot, heartbeat, now, wall_offset);
		SpinLockRelease(&slot->mutex);
		if (!same)
			return;
	}
	confirm_expiry(slot, ref.generation, now);
}

/*
 * health_map_publish_commit stores what a row says by a transaction that has
 * just committed.  "commit" is the place of the commit in the WAL.  For a
 * transaction callback: no ERROR.
 *
 * The slot is looked for only now.  Whoever makes one reads the row after that,
 * with a snapshot that sees this commit if the slot was not here to be found.
 */
void
health_map_publish_commit(Oid table, const pg_uuid_t *gateway, const Heartbeat *heartbeat, XLogRecPtr commit)
{
	uint64		sequence = pg_atomic_add_fetch_u64(&map->sequence, 1);
	HealthSlotRef ref = health_map_find(table, gateway);
	HealthSlot *slot;
	int64		now;
	int64		wall_offset;

	if (ref.number == NO_SLOT)
		return;
	slot = health_slot(ref);
	now = clock_monotonic();
	wall_offset = clock_wall_offset();
	notice_promotion(now);
	SpinLockAcquire(&slot->mutex);
	if (slot->generation == ref.generation && slot->commit <= commit)
	{
		slot->commit = commit;
		slot->sequence = sequence;
		if (!is_published(slot, heartbeat))
			store_heartbeat(slot, heartbeat, now, wall_offset);
	}
	SpinLockRelease(&slot->mutex);
}

/* Replaces a word of evidence, unless the slot has got another generation. */
static bool
replace_word(pg_atomic_uint64 *target, uint16 generation, int kind, int64 time, int kept_kinds)
{
	uint64		word = pg_atomic_read_u64(target);

	do
	{
		if (word_generation(word) != generation)
			return false;
	} while (!pg_atomic_compare_exchange_u64(target, &word,
											 make_word(generation, kind | (word_kind(word) & kept_kinds), time)));
	return true;
}

/*
 * health_map_report_heartbeat stores a heartbeat that was reported to us; the
 * last report counts.  Returns false if the slot is gone.
 */
bool
health_map_report_heartbeat(HealthSlotRef ref, int64 now, int64 expires_at)
{
	HealthSlot *slot = health_slot(ref);

	return replace_word(&slot->reported_at, ref.generation, WORD_KNOWN, now, 0) &&
		replace_word(&slot->reported, ref.generation, WORD_KNOWN, expires_at, 0);
}

/*
 * health_map_report_failure stores that a caller could not get through, and
 * why, "" if he does not say.  Returns false if the slot is gone.
 */
bool
health_map_report_failure(HealthSlotRef ref, int64 now, const char *reason)
{
	HealthSlot *slot = health_slot(ref);

	SpinLockAcquire(&slot->mutex);
	if (slot->generation == ref.generation)
		strlcpy(slot->failure_reason, reason, HEALTH_REASON_SIZE);
	SpinLockRelease(&slot->mutex);
	return replace_word(&slot->failure, ref.generation, WORD_KNOWN, now, FAILURE_RECORDED);
}

/*
 * health_map_in_startup_grace tells whether evidence that has run out may have
 * done so because nobody was there to hear: for a while after a start of the
 * server, after a crash of it and after a promotion.
 */
bool
health_map_in_startup_grace(int64 now)
{
	int64		grace = setting_startup_grace * USECS_PER_SEC;

	if (map == NULL)
		return GetCurrentTimestamp() < PgStartTime + grace;
	notice_promotion(now);
	if (RecoveryInProgress())
		health_map_note_standby();
	return now < (int64) pg_atomic_read_u64(&map->grace_from) + grace;
}

/* A failure that is known from before the start, or was seen since. */
static bool
is_failure_known(uint64 failure)
{
	return (word_kind(failure) & FAILURE_RECORDED) != 0 ||
		((word_kind(failure) & WORD_KNOWN) != 0 &&
		 word_time(failure) >= (int64) pg_atomic_read_u64(&map->grace_from));
}

static HeartbeatEvidence
table_evidence(uint64 word, int64 now)
{
	switch (word_kind(word))
	{
		case TABLE_NEVER:
			return HEARTBEAT_NEVER;
		case TABLE_FAILED:
			return HEARTBEAT_FAILED;
	}
	return word_time(word) > now ? HEARTBEAT_FRESH : HEARTBEAT_EXPIRED;
}

static HeartbeatEvidence
reported_evidence(uint64 word, int64 now)
{
	if (word_kind(word) == WORD_EMPTY)
		return HEARTBEAT_NEVER;
	return word_time(word) > now ? HEARTBEAT_FRESH : HEARTBEAT_EXPIRED;
}

static bool
is_suspect(uint64 failure, int64 now)
{
	return (word_kind(failure) & WORD_KNOWN) != 0 &&
		word_time(failure) + setting_suspect_ttl * USECS_PER_SEC > now;
}

/*
 * health_map_read reads the evidence that a slot holds, as of a monotonic time.
 * Takes no lock.
 */
SlotReading
health_map_read(HealthSlotRef ref, int64 now, HealthEvidence *evidence)
{
	HealthSlot *slot = health_slot(ref);
	uint64		table = pg_atomic_read_u64(&slot->table);
	uint64		reported = pg_atomic_read_u64(&slot->reported);
	uint64		failure = pg_atomic_read_u64(&slot->failure);

	if (word_generation(table) != ref.generation || word_generation(reported) != ref.generation ||
		word_generation(failure) != ref.generation)
		return SLOT_GONE;

	*evidence = (HealthEvidence)
	{
		.heartbeat = heartbeat_later(table_evidence(table, now), reported_evidence(reported, now)),
		.suspect = is_suspect(failure, now)
	};
	if (evidence->heartbeat != HEARTBEAT_EXPIRED)
		return SLOT_READ;
	evidence->startup_grace = !is_failure_known(failure) && health_map_in_startup_grace(now);
	return word_kind(table) == TABLE_HEARD ? SLOT_UNCONFIRMED : SLOT_READ;
}

/*
 * health_map_read_own reads the same as it will be once this transaction has
 * committed, in which a row of the host's table says "own" and nobody else knows.
 */
SlotReading
health_map_read_own(HealthSlotRef ref, int64 now, const Heartbeat *own, HealthEvidence *evidence)
{
	HealthSlot *slot = health_slot(ref);
	SlotReading reading = health_map_read(ref, now, evidence);
	uint64		reported = pg_atomic_read_u64(&slot->reported);
	uint64		failure = pg_atomic_read_u64(&slot->failure);
	bool		same;
	bool		turned_away;

	SpinLockAcquire(&slot->mutex);
	same = is_published(slot, own);
	turned_away = turns_away(slot, own);
	SpinLockRelease(&slot->mutex);

	if (reading == SLOT_GONE || same)
		return reading;
	evidence->heartbeat = heartbeat_later(heartbeat_evidence(own, GetCurrentTimestamp()),
										  turned_away ? HEARTBEAT_NEVER : reported_evidence(reported, now));
	evidence->startup_grace = evidence->heartbeat == HEARTBEAT_EXPIRED &&
		!is_failure_known(failure) && health_map_in_startup_grace(now);
	return SLOT_READ;
}

/* health_map_display tells what a slot knows; of one that is gone, nothing. */
void
health_map_display(HealthSlotRef ref, int64 now, HealthDisplay *display)
{
	HealthSlot *slot = health_slot(ref);
	int64		wall_offset = clock_wall_offset();
	uint64		table;
	uint64		reported = pg_atomic_read_u64(&slot->reported);
	uint64		reported_at = pg_atomic_read_u64(&slot->reported_at);
	uint64		failure = pg_atomic_read_u64(&slot->failure);
	Heartbeat	heartbeat;
	int64		heard_at;
	bool		valid;

	memset(display, 0, sizeof(HealthDisplay));
	SpinLockAcquire(&slot->mutex);
	table = pg_atomic_read_u64(&slot->table);
	heartbeat = slot->heartbeat;
	heard_at = slot->heard_at;
	valid = slot->generation == ref.generation;
	strlcpy(display->failure_reason, slot->failure_reason, HEALTH_REASON_SIZE);
	SpinLockRelease(&slot->mutex);
	if (!valid)
		return;

	if (word_kind(table) != TABLE_NEVER && heartbeat.heard)
	{
		display->heard = true;
		display->heard_at = heard_at + wall_offset;
		display->expires = !heartbeat.failed;
		display->expires_at = heard_at + heartbeat.lifetime + wall_offset;
	}
	if (word_kind(reported) == WORD_KNOWN && word_generation(reported) == ref.generation)
	{
		if (!display->heard || word_time(reported_at) + wall_offset > display->heard_at)
			display->heard_at = word_time(reported_at) + wall_offset;
		display->heard = true;
		if (!display->expires || word_time(reported) + wall_offset > display->expires_at)
			display->expires_at = word_time(reported) + wall_offset;
		display->expires = true;
	}
	display->suspect = word_generation(failure) == ref.generation && is_suspect(failure, now);
	display->suspect_until = word_time(failure) + setting_suspect_ttl * USECS_PER_SEC + wall_offset;
}
