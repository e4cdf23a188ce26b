/*
 * health_map_internal.h
 *		The slot of a gateway in shared memory: for the files of
 *		shared/ that read or write it.
 *
 * Values that are read together are in one word, and each word contains the generation
 * of its slot.  Freeing a slot changes the generation in all words, so that a session
 * with an old reference neither reads nor changes anything of the next gateway: words
 * change by compare-and-exchange, or under the slot's spinlock, as the generation does.
 *
 * The fields below the words are protected by that spinlock, which a pick of cached
 * pools never takes.  The key of the slot changes under it, too.
 *
 * Memory ordering, on processors that reorder as well: pg_atomic reads and writes order
 * nothing; compare-and-exchange, exchange and additions are full barriers.  Most words
 * need no order among each other, because what has to agree is in one word.  An
 * exchange that succeeds has compared the newest value, so what is read before it may be
 * old.  Where a word has to be seen before or after another, a comment at both sides
 * names the barrier.  "Not ordered" at an access says that no order is needed.
 */
#ifndef GATEWAY_POOL_HEALTH_MAP_INTERNAL_H
#define GATEWAY_POOL_HEALTH_MAP_INTERNAL_H

#include "access/xlogdefs.h"
#include "port/atomics.h"
#include "storage/spin.h"
#include "utils/uuid.h"

#include "shared/health_evidence.h"

/*
 * A word of evidence: 16 bits of generation, 2 of kind, 46 of monotonic time in units
 * of 32 microseconds, enough for 71 years.
 */
#define WORD_TIME_BITS		46
#define WORD_KIND_BITS		2
#define WORD_TIME_MAX		((UINT64CONST(1) << WORD_TIME_BITS) - 1)
#define WORD_TIME_SHIFT		5

/* Kinds of the table's word. */
#define TABLE_NEVER			0
#define TABLE_HEARD			1	/* time: when it expires */
#define TABLE_FAILED		2
#define TABLE_CONFIRMED		3	/* heard; it expired, and then the row was
								 * read again */

/* Kinds of the other words of evidence, as bits. */
#define WORD_EMPTY			0
#define WORD_KNOWN			1	/* the time is valid */
#define REPORTED_HERE		2	/* a heartbeat was reported to this server; it
								 * may have been withdrawn since */
#define FAILURE_RECORDED	2	/* the row of gateway_health that was taken
								 * says unhealthy */

/* Kinds of the probe's word; its time is when it ceases to count. */
#define PROBE_WORD_NONE		0
#define PROBE_WORD_UP		1
#define PROBE_WORD_DOWN		2
#define PROBE_WORD_REQUIRED	3	/* down, and a required probe */

/* The load word: 16 bits of generation, 24 of load, 24 of reservations. */
#define LOAD_BITS			24
#define LOAD_MAX			((UINT64CONST(1) << LOAD_BITS) - 1)

/* Reservations are counted by the period in which they were made. */
#define RESERVATION_PERIODS	25

/* Differs between rows of gateway_health that are written for a gateway one after another. */
typedef struct RecordedVersion
{
	TimestampTz changed_at;
	TimestampTz heard_at;
	TimestampTz probed_at;
	int64		verdict;		/* no padding: compared by memcmp */
} RecordedVersion;

typedef struct HealthSlot
{
	/* Each is one value; comments say where the order among them matters. */
	pg_atomic_uint64 table;		/* the heartbeat in the host's table */
	pg_atomic_uint64 reported;	/* the reported heartbeat: when it expires */
	pg_atomic_uint64 failure;	/* when a caller last reported a failure */
	pg_atomic_uint64 probe;		/* what probes found */
	pg_atomic_uint64 damped;	/* until when it is damped */
	pg_atomic_uint64 load;		/* connections and reservations */
	pg_uuid_t	gateway;		/* the end of the first cache line */

	pg_atomic_uint64 load_at;	/* when connections were last reported */
	pg_atomic_uint64 reported_at;	/* when a heartbeat was last reported */
	pg_atomic_uint64 overdue;	/* until when an up of the probe's word that
								 * no longer counts is overdue */
	pg_atomic_uint32 probes_asked;	/* by callers that wait for a probe */
	pg_atomic_uint32 probes_answered;	/* how many of these have an answer */

	/* generation, 24 bits of period, 24 of reservations made in it */
	pg_atomic_uint64 reserved[RESERVATION_PERIODS];

	slock_t		mutex;
	bool		used;
	bool		published;		/* "heartbeat" is the table's */
	uint16		generation;
	int32		next;			/* in its list, or NO_SLOT */
	Oid			database;
	Oid			relation;		/* the gateways table */
	TransactionId made_by;		/* see health_map_create */
	Heartbeat	heartbeat;		/* the last one published, in wall time */
	int64		heard_at;		/* the same heartbeat in monotonic time */
	TimestampTz last_heard_at;	/* the latest one ever published, in wall time */
	uint64		sequence;		/* of the last commit or read that published */
	XLogRecPtr	commit;			/* place in the WAL of the last commit that
								 * published */
	char		failure_reason[HEALTH_REASON_SIZE];
	LastProbe	last_probe;
	uint64		target;			/* what the probe's word is about, or 0 */
	bool		probed_here;	/* that word is of this server's own probes */
	int32		falls;			/* as of that word */
	int64		last_fall_at;
	RecordedVersion taken;		/* the row of gateway_health that was taken */
	uint64		taken_sequence; /* of the read that it came from */
} HealthSlot;

/* A slot starts at a cache line and is padded to whole ones. */
#define SLOT_ALIGNMENT 64

typedef union PaddedHealthSlot
{
	HealthSlot	slot;
	char		padding[TYPEALIGN(SLOT_ALIGNMENT, sizeof(HealthSlot))];
} PaddedHealthSlot;

static inline uint16
word_generation(uint64 word)
{
	return word >> (WORD_TIME_BITS + WORD_KIND_BITS);
}

static inline int
word_kind(uint64 word)
{
	return (word >> WORD_TIME_BITS) & ((1 << WORD_KIND_BITS) - 1);
}

/* word_time returns microseconds. */
static inline int64
word_time(uint64 word)
{
	return (word & WORD_TIME_MAX) << WORD_TIME_SHIFT;
}

/* make_word rounds the time up: evidence may expire late, never early. */
static inline uint64
make_word(uint16 generation, int kind, int64 time)
{
	uint64		units = time <= 0 ? 0 : ((uint64) time + (1 << WORD_TIME_SHIFT) - 1) >> WORD_TIME_SHIFT;

	return (uint64) generation << (WORD_TIME_BITS + WORD_KIND_BITS) |
		(uint64) kind << WORD_TIME_BITS | Min(units, WORD_TIME_MAX);
}

static inline uint64
make_pair(uint16 generation, uint64 high, uint64 low)
{
	return (uint64) generation << (2 * LOAD_BITS) | Min(high, LOAD_MAX) << LOAD_BITS | Min(low, LOAD_MAX);
}

static inline uint64
pair_high(uint64 word)
{
	return (word >> LOAD_BITS) & LOAD_MAX;
}

static inline uint64
pair_low(uint64 word)
{
	return word & LOAD_MAX;
}

/* The state of this server. */
typedef struct HealthState
{
	pg_atomic_uint64 sequence;	/* of what commits and reads publish */
	pg_atomic_uint64 grace_from;	/* when it started or was promoted;
									 * written before "standby" becomes 0 */
	pg_atomic_uint32 standby;	/* it was one at the last look */
} HealthState;

extern HealthState *health_state(void);
extern PaddedHealthSlot *health_slots;

/* health_slot returns the slot of a reference that is not NO_SLOT. */
static inline HealthSlot *
health_slot(HealthSlotRef ref)
{
	Assert(ref.number >= 0);
	return &health_slots[ref.number].slot;
}

#endif							/* GATEWAY_POOL_HEALTH_MAP_INTERNAL_H */
