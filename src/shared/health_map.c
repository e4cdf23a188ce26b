/*
 * health_map.c
 *		Which slot of shared memory belongs to which gateway.
 *
 * A fixed array of slots, one for each gateway of each database, and a hash table by
 * (database, gateways table, gateway), whose elements are the slots themselves.  Each
 * slot is in the list of its bucket or in the list of free slots.  The list of a bucket,
 * and the key of a slot, change under the LWLock of the bucket's partition.  The list of
 * free slots has its own lock, which is taken inside.  health_evidence.c reads and
 * writes the evidence in a slot.
 */
#include "postgres.h"

#include "access/xact.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "port/pg_bitutils.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"

#include "base/clock.h"
#include "base/settings.h"
#include "base/shared_memory.h"
#include "base/uuid.h"
#include "shared/health_map_internal.h"

/* A power of two, like the number of buckets: a bucket is in one partition only. */
#define PARTITIONS 16

/* The shortest time between two searches of a full map for slots of deleted gateways. */
#define SWEEP_PAUSE (10 * USECS_PER_SEC)

typedef struct SlotKey
{
	Oid			database;
	Oid			table;			/* the host's: if it is created again, it has
								 * other gateways */
	pg_uuid_t	gateway;
} SlotKey;

typedef struct HealthMap
{
	HealthState state;
	pg_atomic_uint32 full;		/* the last session that needed a free slot
								 * found none */
	pg_atomic_uint64 deletions; /* of rows, so far: see health_map_create */
	pg_atomic_uint64 swept_at;
	int32		first_free;		/* the slot that has been free for longest */
	int32		last_free;
} HealthMap;

PaddedHealthSlot *health_slots;

static HealthMap *map;
static int32 *buckets;			/* the first slot of each list, or NO_SLOT */
static LWLockPadded *locks;		/* one a partition, then the free list's */

static Size
slots_size(void)
{
	return add_size(mul_size(setting_max_gateways, sizeof(PaddedHealthSlot)), SLOT_ALIGNMENT);
}

static uint32
bucket_count(void)
{
	return Max(pg_nextpower2_32(setting_max_gateways), PARTITIONS);
}

static Size
buckets_size(void)
{
	return mul_size(bucket_count(), sizeof(int32));
}

/* health_map_size returns how much shared memory the map needs. */
Size
health_map_size(void)
{
	return add_size(add_size(MAXALIGN(sizeof(HealthMap)), slots_size()), MAXALIGN(buckets_size()));
}

/*
 * Resets the words, for the generation; the spinlock is held.  Not ordered among each
 * other: each has the new generation.
 */
static void
reset_words(HealthSlot *slot)
{
	pg_atomic_write_u64(&slot->table, make_word(slot->generation, TABLE_NEVER, 0));
	pg_atomic_write_u64(&slot->reported, make_word(slot->generation, WORD_EMPTY, 0));
	pg_atomic_write_u64(&slot->failure, make_word(slot->generation, WORD_EMPTY, 0));
	pg_atomic_write_u64(&slot->probe, make_word(slot->generation, PROBE_WORD_NONE, 0));
	pg_atomic_write_u64(&slot->damped, make_word(slot->generation, WORD_EMPTY, 0));
	pg_atomic_write_u64(&slot->load, make_pair(slot->generation, 0, 0));
	pg_atomic_write_u64(&slot->load_at, make_word(slot->generation, WORD_EMPTY, 0));
	pg_atomic_write_u64(&slot->reported_at, make_word(slot->generation, WORD_EMPTY, 0));
	pg_atomic_write_u64(&slot->overdue, make_word(slot->generation, WORD_EMPTY, 0));
	for (int i = 0; i < RESERVATION_PERIODS; i++)
		pg_atomic_write_u64(&slot->reserved[i], make_pair(slot->generation, 0, 0));
}

static void
initialize(void)
{
	pg_atomic_init_u64(&map->state.sequence, 0);
	pg_atomic_init_u64(&map->state.grace_from, clock_monotonic());
	pg_atomic_init_u32(&map->state.standby, 0);
	pg_atomic_init_u32(&map->full, 0);
	pg_atomic_init_u64(&map->deletions, 0);
	pg_atomic_init_u64(&map->swept_at, 0);
	map->first_free = 0;
	map->last_free = setting_max_gateways - 1;
	memset(buckets, 0xff, buckets_size());	/* NO_SLOT */

	for (int i = 0; i < setting_max_gateways; i++)
	{
		HealthSlot *slot = &health_slots[i].slot;

		memset(slot, 0, sizeof(HealthSlot));
		SpinLockInit(&slot->mutex);
		pg_atomic_init_u64(&slot->table, 0);
		pg_atomic_init_u64(&slot->reported, 0);
		pg_atomic_init_u64(&slot->failure, 0);
		pg_atomic_init_u64(&slot->probe, 0);
		pg_atomic_init_u64(&slot->damped, 0);
		pg_atomic_init_u64(&slot->load, 0);
		pg_atomic_init_u64(&slot->load_at, 0);
		pg_atomic_init_u64(&slot->reported_at, 0);
		pg_atomic_init_u64(&slot->overdue, 0);
		pg_atomic_init_u32(&slot->probes_asked, 0);
		pg_atomic_init_u32(&slot->probes_answered, 0);
		for (int j = 0; j < RESERVATION_PERIODS; j++)
			pg_atomic_init_u64(&slot->reserved[j], 0);
		slot->next = i + 1 < setting_max_gateways ? i + 1 : NO_SLOT;
	}
}

/* health_map_startup creates the map, or finds it; AddinShmemInitLock is held. */
void
health_map_startup(void)
{
	bool		found;

	StaticAssertStmt(PARTITIONS < SHARED_MAP_LOCKS, "each partition and the free list have a lock");

	locks = shared_memory_locks(SHARED_MAP_FIRST_LOCK);
	health_slots = (PaddedHealthSlot *) TYPEALIGN(SLOT_ALIGNMENT, ShmemInitStruct("gateway_pool health slots", slots_size(), &found));
	buckets = ShmemInitStruct("gateway_pool health map buckets", buckets_size(), &found);
	map = ShmemInitStruct("gateway_pool health map", sizeof(HealthMap), &found);
	if (!found)
		initialize();
}

/* health_map_exists returns true if the library was preloaded. */
bool
health_map_exists(void)
{
	return map != NULL;
}

/* health_state returns the state of this server; NULL if the library was not preloaded. */
HealthState *
health_state(void)
{
	return map == NULL ? NULL : &map->state;
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

static uint32
hash_of(const SlotKey *key)
{
	return hash_bytes((const unsigned char *) key, sizeof(SlotKey));
}

static int32 *
bucket_of(uint32 hash)
{
	return &buckets[hash & (bucket_count() - 1)];
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

/* Returns the slot with a key, or NO_SLOT; the partition's lock is held. */
static HealthSlotRef
look_up(const SlotKey *key, uint32 hash)
{
	int32		number = *bucket_of(hash);

	while (number != NO_SLOT)
	{
		const HealthSlot *slot = &health_slots[number].slot;

		if (uuid_equal(&slot->gateway, &key->gateway) &&
			slot->relation == key->table && slot->database == key->database)
			return (HealthSlotRef) {number, slot->generation};
		number = slot->next;
	}
	return (HealthSlotRef) {NO_SLOT, 0};
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
	hash = hash_of(&key);
	LWLockAcquire(partition_lock(hash), LW_SHARED);
	ref = look_up(&key, hash);
	LWLockRelease(partition_lock(hash));
	return ref;
}

/*
 * health_map_matches returns true if a reference is to the current slot of a gateway.
 * Takes no lock: the key of a slot changes only after the generation of its words, which
 * the spinlock orders between health_map_free and assign_slot.
 */
bool
health_map_matches(HealthSlotRef ref, Oid table, const pg_uuid_t *gateway)
{
	const HealthSlot *slot = health_slot(ref);
	bool		same = uuid_equal(&slot->gateway, gateway) && slot->relation == table;

	/* The generation after the key: with a new key, it is a new one. */
	pg_read_barrier();
	return same && word_generation(pg_atomic_read_u64(&health_slot(ref)->table)) == ref.generation;
}

static int32
take_free_slot(void)
{
	int32		number;

	LWLockAcquire(free_list_lock(), LW_EXCLUSIVE);
	number = map->first_free;
	if (number != NO_SLOT)
	{
		map->first_free = health_slots[number].slot.next;
		if (map->first_free == NO_SLOT)
			map->last_free = NO_SLOT;
	}
	LWLockRelease(free_list_lock());
	pg_atomic_write_u32(&map->full, number == NO_SLOT); /* not ordered: a hint */
	return number;
}

/* Adds a slot at the end of the list, so that its generation repeats as late as possible. */
static void
give_free_slot(int32 number)
{
	LWLockAcquire(free_list_lock(), LW_EXCLUSIVE);
	health_slots[number].slot.next = NO_SLOT;
	if (map->last_free == NO_SLOT)
		map->first_free = number;
	else
		health_slots[map->last_free].slot.next = number;
	map->last_free = number;
	LWLockRelease(free_list_lock());
	pg_atomic_write_u32(&map->full, 0);
}

/*
 * health_map_deletion_count returns how many deletions of rows were counted.  It is called
 * before the query for whose rows health_map_create creates slots.
 */
uint64
health_map_deletion_count(void)
{
	uint64		deletions;

	if (map == NULL)
		return 0;
	deletions = pg_atomic_read_u64(&map->deletions);

	/* Before the snapshot, which so sees all counted deletions. */
	pg_read_barrier();
	return deletions;
}

/* Assigns a free slot to a gateway; the partition's lock is held. */
static HealthSlotRef
assign_slot(int32 number, const SlotKey *key, uint32 hash)
{
	HealthSlot *slot = &health_slots[number].slot;
	int32	   *bucket = bucket_of(hash);
	HealthSlotRef ref = {.number = number};

	slot->next = *bucket;
	*bucket = number;
	SpinLockAcquire(&slot->mutex);
	slot->generation++;
	slot->used = true;
	slot->published = false;
	slot->last_heard_at = 0;
	slot->database = key->database;
	slot->relation = key->table;
	slot->gateway = key->gateway;
	slot->made_by = GetTopTransactionIdIfAny();
	slot->sequence = 0;
	slot->commit = InvalidXLogRecPtr;
	slot->failure_reason[0] = '\0';
	memset(&slot->last_probe, 0, sizeof(LastProbe));
	slot->target = 0;
	slot->probed_here = false;
	slot->falls = 0;
	memset(&slot->taken, 0, sizeof(RecordedVersion));
	slot->taken_sequence = 0;
	reset_words(slot);
	ref.generation = slot->generation;
	SpinLockRelease(&slot->mutex);
	return ref;
}

/*
 * health_map_create returns the slot of a gateway of a table, and creates it if there
 * is none.  Returns NO_SLOT if no slot is free, or if any row was deleted since
 * "deletions" was read.
 *
 * A session that has deleted a row and committed increases the count first, and then
 * looks for the slot under the lock that is held here: it finds the slot, or this
 * function sees the new count.  The lock orders both.
 *
 * The slot keeps the id of the calling transaction if that has one, and so may have
 * written the row: until it ends, no other session sees that row.
 */
HealthSlotRef
health_map_create(Oid table, const pg_uuid_t *gateway, uint64 deletions, SlotCreation *creation)
{
	SlotKey		key = key_of(MyDatabaseId, table, gateway);
	uint32		hash = hash_of(&key);
	HealthSlotRef ref;

	LWLockAcquire(partition_lock(hash), LW_EXCLUSIVE);
	ref = look_up(&key, hash);
	if (ref.number != NO_SLOT)
		*creation = SLOT_EXISTED;
	else if (pg_atomic_read_u64(&map->deletions) != deletions)
		*creation = SLOT_ROW_OUTDATED;
	else
	{
		int32		number = take_free_slot();

		*creation = number == NO_SLOT ? SLOT_MAP_FULL : SLOT_CREATED;
		if (number != NO_SLOT)
			ref = assign_slot(number, &key, hash);
	}
	LWLockRelease(partition_lock(hash));
	return ref;
}

/* Removes a slot from the list of its bucket; the partition's lock is held. */
static void
unlink_slot(int32 number, uint32 hash)
{
	int32	   *link = bucket_of(hash);

	while (*link != number)
		link = &health_slots[*link].slot.next;
	*link = health_slots[number].slot.next;
}

/* health_map_free frees a slot, if it was not freed already. */
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

	hash = hash_of(&key);
	LWLockAcquire(partition_lock(hash), LW_EXCLUSIVE);
	if (look_up(&key, hash).number == ref.number && slot->generation == ref.generation)
	{
		unlink_slot(ref.number, hash);
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

/*
 * health_map_free_gateway frees the slot of a gateway, if it has one, after its row was
 * deleted for all snapshots that are taken from now on.  Raises no ERROR.
 */
void
health_map_free_gateway(Oid table, const pg_uuid_t *gateway)
{
	HealthSlotRef ref;

	if (map == NULL)
		return;
	/* A full barrier: the deletion is visible when its count is. */
	(void) pg_atomic_fetch_add_u64(&map->deletions, 1);
	ref = health_map_find(table, gateway);
	if (ref.number != NO_SLOT)
		health_map_free(ref);
}

/*
 * health_map_free_inserted frees the slot of a gateway whose insertion is rolled back,
 * if this transaction has made it: no other one has seen the row.  Raises no ERROR.
 */
void
health_map_free_inserted(Oid table, const pg_uuid_t *gateway)
{
	TransactionId own = GetTopTransactionIdIfAny();
	HealthSlotRef ref;

	if (map == NULL || !TransactionIdIsValid(own))
		return;
	ref = health_map_find(table, gateway);
	if (ref.number != NO_SLOT && health_slot(ref)->made_by == own)
		health_map_free(ref);
}

/* Reads the key of a slot; returns false if it is free. */
static bool
read_entry(int number, HealthSlotEntry *entry)
{
	HealthSlot *slot = &health_slots[number].slot;
	bool		used;

	SpinLockAcquire(&slot->mutex);
	used = slot->used;
	entry->ref = (HealthSlotRef) {number, slot->generation};
	entry->database = slot->database;
	entry->table = slot->relation;
	entry->gateway = slot->gateway;
	entry->made_by = slot->made_by;
	SpinLockRelease(&slot->mutex);
	return used;
}

/* health_map_free_table is health_map_free_gateway for all gateways of a table. */
void
health_map_free_table(Oid table)
{
	HealthSlotEntry entry;

	if (map == NULL)
		return;
	/* A full barrier, as above. */
	(void) pg_atomic_fetch_add_u64(&map->deletions, 1);

	/*
	 * Sessions that read the count before have created their slots when they
	 * release the locks.
	 */
	for (int i = 0; i < PARTITIONS; i++)
	{
		LWLockAcquire(&locks[i].lock, LW_SHARED);
		LWLockRelease(&locks[i].lock);
	}
	for (int i = 0; i < setting_max_gateways; i++)
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

/* health_map_is_full returns true if the last session that needed a free slot found none. */
bool
health_map_is_full(void)
{
	/* Not ordered: a hint. */
	return map != NULL && pg_atomic_read_u32(&map->full) != 0;
}

/* health_map_begin_sweep returns true if the caller has to free the slots of deleted gateways now. */
bool
health_map_begin_sweep(int64 now)
{
	/* Not ordered: of two sessions, the exchange lets one sweep. */
	uint64		last = pg_atomic_read_u64(&map->swept_at);

	return (last == 0 || now - (int64) last >= SWEEP_PAUSE) &&
		pg_atomic_compare_exchange_u64(&map->swept_at, &last, now);
}
