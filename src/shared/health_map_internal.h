/*
 * health_map_internal.h
 *		What shared memory holds of one gateway: for health_map.c,
 *		health_evidence.c and reservation.c alone.
 *
 * What is judged together lies in one word, and each word carries the
 * generation of its slot.  A slot that is freed gets another generation in all
 * its words, so that whoever still holds a reference to it reads nothing of the
 * next gateway's, and changes nothing: words change by compare-and-exchange.
 *
 * Below the words is what only publishing a heartbeat needs.  It is protected
 * by the slot's spinlock, which a pick never takes; whose the slot is, too,
 * changes under it.
 */
#ifndef GATEWAY_POOL_HEALTH_MAP_INTERNAL_H
#define GATEWAY_POOL_HEALTH_MAP_INTERNAL_H

#include "access/xlogdefs.h"
#include "port/atomics.h"
#include "storage/spin.h"
#include "utils/uuid.h"

#include "shared/health_evidence.h"

/*
 * A word of evidence: 16 bits of generation, 2 of kind, 46 of monotonic time in
 * units of 32 microseconds, which last for 71 years.
 */
#define WORD_TIME_BITS		46
#define WORD_KIND_BITS		2
#define WORD_TIME_MAX		((UINT64CONST(1) << WORD_TIME_BITS) - 1)
#define WORD_TIME_SHIFT		5

/* Kinds of the table's word. */
#define TABLE_NEVER			0
#define TABLE_HEARD			1	/* time: when it runs out */
#define TABLE_FAILED		2
#define TABLE_CONFIRMED		3	/* heard; ran out, and then the row was read
								 * once more */

/* Kinds of the other words of evidence, as bits. */
#define WORD_EMPTY			0
#define WORD_KNOWN			1	/* the time means something */
#define FAILURE_RECORDED	2	/* gateway_health said unhealthy when the slot
								 * was made */

/* Kinds of the probe's word; its time is when it stops to count. */
#define PROBE_WORD_NONE		0
#define PROBE_WORD_UP		1
#define PROBE_WORD_DOWN		2
#define PROBE_WORD_REQUIRED	3	/* down, and a required probe */

/* The load word: 16 bits of generation, 24 of load, 24 of reservations. */
#define LOAD_BITS			24
#define LOAD_MAX			((UINT64CONST(1) << LOAD_BITS) - 1)

/* Reservations are counted by the period in which they were made. */
#define RESERVATION_PERIODS	25

typedef struct HealthSlot
{
	pg_atomic_uint64 table;		/* the heartbeat in the host's table */
	pg_atomic_uint64 reported;	/* the heartbeat reported to us: when it runs
								 * out */
	pg_atomic_uint64 failure;	/* when a caller last reported a failure */
	pg_atomic_uint64 probe;		/* what probes found */
	pg_atomic_uint64 damped;	/* until when it counts as falling again and
								 * again */
	pg_atomic_uint64 load;		/* connections and reservations */
	pg_uuid_t	gateway;		/* so far, one cache line */

	pg_atomic_uint64 load_at;	/* when connections were last reported */
	pg_atomic_uint64 reported_at;	/* when a heartbeat was last reported */
	pg_atomic_uint32 probes_asked;	/* by callers who wait for a probe */
	pg_atomic_uint32 probes_answered;	/* how many of these have been told */

	/* generation, 24 bits of period, 24 of reservations made in it */
	pg_atomic_uint64 reserved[RESERVATION_PERIODS];

	slock_t		mutex;
	bool		used;
	bool		published;		/* "heartbeat" is the table's */
	uint16		generation;
	int32		next;			/* in the list of its bucket, or of free ones;
								 * or NO_SLOT */
	Oid			database;
	Oid			relation;		/* the gateways table */
	Heartbeat	heartbeat;		/* as published last, in wall time */
	int64		heard_at;		/* the same heartbeat in monotonic time */
	uint64		sequence;		/* of the last commit that published */
	XLogRecPtr	commit;			/* ... and its place in the WAL */
	char		failure_reason[HEALTH_REASON_SIZE];
	ProbeDisplay last_probe;
} HealthSlot;

/* A slot begins a cache line, and is padded to whole ones. */
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

/* Microseconds. */
static inline int64
word_time(uint64 word)
{
	return (word & WORD_TIME_MAX) << WORD_TIME_SHIFT;
}

/* A time is rounded up: evidence may expire late, never early. */
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

/* What is known of this server, beside all slots. */
typedef struct HealthState
{
	pg_atomic_uint64 sequence;	/* of commits that published */
	pg_atomic_uint64 grace_from;	/* when we started, or were promoted */
	pg_atomic_uint32 standby;	/* we have been one */
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
