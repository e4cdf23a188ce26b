/*
 * reservation.c
 *		The load of gateways: connections and reservations.
 *
 * A gateway reports its connections every few seconds.  A connection that a pick leads
 * to counts as a reservation until it is opened, then as one more connection until the
 * next report.  Both counts are in one word, so that of two sessions that read the same
 * load, only one can make a reservation.
 *
 * Each reservation is counted twice: in that word, and in the word of the period in
 * which it was made.  The session that takes it out of the latter, by release, ROLLBACK
 * or expiry, takes it out of the former.
 *
 * Each count changes by compare-and-exchange, a full barrier.  What is read before that
 * is not ordered: if it is old, the exchange fails and returns the newest.
 */
#include "postgres.h"

#include "access/xact.h"
#include "utils/memutils.h"

#include "base/clock.h"
#include "shared/health_map_internal.h"
#include "shared/reservation.h"

/* How long a report counts, as in the application. */
#define REPORT_TTL (35 * USECS_PER_SEC)

/*
 * A reservation expires after 230 to 240 s, depending on where in its period it was
 * made: more than the 220 s that dialing through a relay may take.
 */
#define PERIOD (10 * USECS_PER_SEC)
#define PERIODS_HELD (RESERVATION_PERIODS - 1)

/*
 * Periods are counted up to this and then from 0 again, after 5 years: a multiple of
 * RESERVATION_PERIODS, so that each has its place in the slot, that fits into a word.
 */
#define PERIODS_COUNTED ((uint32) (LOAD_MAX / RESERVATION_PERIODS * RESERVATION_PERIODS))

/* Reservations that are undone if the (sub)transaction aborts. */
typedef struct Claim
{
	HealthSlotRef ref;
	uint32		period;
	SubTransactionId claimed_by;
	uint32		count;
} Claim;

/* The current transaction's, in its memory. */
static Claim *claims;
static int	claim_count;
static int	claim_room;

/* How many of the last claims are searched for one that counts the same reservations. */
#define SIMILAR_CLAIMS 32

static uint32
period_of(int64 now)
{
	return (now / PERIOD) % PERIODS_COUNTED;
}

static uint32
periods_before(uint32 period, uint32 count)
{
	return (period + PERIODS_COUNTED - count) % PERIODS_COUNTED;
}

/*
 * Returns true if reservations of a period are held.  A session whose reading of the
 * clock is older sees periods that have not begun for it.
 */
static bool
is_held(uint32 period, uint32 current)
{
	return periods_before(current + PERIODS_HELD, period) < 2 * PERIODS_HELD;
}

/* Adds to both counts of the load word, at least 0 after that; returns false if the slot is gone. */
static bool
change_load(HealthSlot *slot, uint16 generation, int connections, int reservations)
{
	uint64		word = pg_atomic_read_u64(&slot->load);

	do
	{
		if (word_generation(word) != generation)
			return false;
	} while (!pg_atomic_compare_exchange_u64(&slot->load, &word,
											 make_pair(generation,
													   Max((int64) pair_high(word) + connections, 0),
													   Max((int64) pair_low(word) + reservations, 0))));
	return true;
}

/* Takes up to "wanted" reservations out of a period and returns how many it took. */
static uint32
take_from_period(HealthSlot *slot, uint16 generation, uint32 period, uint32 wanted)
{
	pg_atomic_uint64 *target = &slot->reserved[period % RESERVATION_PERIODS];
	uint64		word = pg_atomic_read_u64(target);
	uint32		taken;

	do
	{
		if (word_generation(word) != generation || pair_high(word) != period)
			return 0;
		taken = Min(wanted, pair_low(word));
		if (taken == 0)
			return 0;
	} while (!pg_atomic_compare_exchange_u64(target, &word,
											 make_pair(generation, period, pair_low(word) - taken)));
	return taken;
}

/* Takes out expired reservations. */
static void
expire(HealthSlot *slot, uint16 generation, int64 now)
{
	uint32		current = period_of(now);

	/* Not ordered, as below: one that is not seen is taken out later. */
	if (pair_low(pg_atomic_read_u64(&slot->load)) == 0)
		return;
	for (int i = 0; i < RESERVATION_PERIODS; i++)
	{
		uint64		word = pg_atomic_read_u64(&slot->reserved[i]);
		uint32		taken;

		if (pair_low(word) == 0 || is_held(pair_high(word), current))
			continue;
		taken = take_from_period(slot, generation, pair_high(word), LOAD_MAX);
		if (taken > 0)
			(void) change_load(slot, generation, 0, -(int) taken);
	}
}

/* Counts a reservation in the current period. */
static void
add_to_period(HealthSlot *slot, uint16 generation, uint32 period)
{
	pg_atomic_uint64 *target = &slot->reserved[period % RESERVATION_PERIODS];
	uint64		word = pg_atomic_read_u64(target);

	for (;;)
	{
		uint32		overtaken = 0;
		uint64		next;

		if (word_generation(word) != generation)
			return;
		if (pair_high(word) == period)
			next = make_pair(generation, period, pair_low(word) + 1);
		else
		{
			/* Reservations of an earlier period in this place have expired. */
			overtaken = pair_low(word);
			next = make_pair(generation, period, 1);
		}
		if (pg_atomic_compare_exchange_u64(target, &word, next))
		{
			if (overtaken > 0)
				(void) change_load(slot, generation, 0, -(int) overtaken);
			return;
		}
	}
}

/* reservation_load returns a gateway's load, all zero if the slot is gone. */
GatewayLoad
reservation_load(HealthSlotRef ref, int64 now)
{
	HealthSlot *slot = health_slot(ref);
	GatewayLoad load = {0};
	uint64		reported_at = pg_atomic_read_u64(&slot->load_at);

	/* The time is read before the load: see reservation_report_load. */
	pg_read_barrier();
	expire(slot, ref.generation, now);
	load.word = pg_atomic_read_u64(&slot->load);
	if (word_generation(load.word) != ref.generation || word_generation(reported_at) != ref.generation)
		return load;
	load.reported = word_kind(reported_at) == WORD_KNOWN && word_time(reported_at) + REPORT_TTL > now;
	load.connections = pair_high(load.word);
	load.reservations = pair_low(load.word);
	return load;
}

/* Remembers a claim until the end of the transaction. */
static void
remember_claim(HealthSlotRef ref, uint32 period)
{
	SubTransactionId self = GetCurrentSubTransactionId();

	for (int i = claim_count - 1; i >= Max(claim_count - SIMILAR_CLAIMS, 0); i--)
		if (claims[i].ref.number == ref.number && claims[i].ref.generation == ref.generation &&
			claims[i].period == period && claims[i].claimed_by == self)
		{
			claims[i].count++;
			return;
		}
	claims[claim_count++] = (Claim) {ref, period, self, 1};
}

/* Allocates memory for one more claim, before it is made: after that no ERROR is allowed. */
static void
make_room_for_claim(void)
{
	if (claims == NULL)
	{
		claim_room = 16;
		claim_count = 0;
		claims = MemoryContextAlloc(TopTransactionContext, sizeof(Claim) * claim_room);
	}
	else if (claim_count == claim_room)
	{
		claims = repalloc_huge(claims, sizeof(Claim) * claim_room * 2);
		claim_room *= 2;
	}
}

/*
 * reservation_claim makes a reservation.  It returns false if the load has changed since
 * it was "seen", or the slot is gone.  NULL for "seen" makes one at any load.  An abort
 * of the (sub)transaction undoes it.
 */
bool
reservation_claim(HealthSlotRef ref, const GatewayLoad *seen, int64 now)
{
	HealthSlot *slot = health_slot(ref);
	uint32		period = period_of(now);

	make_room_for_claim();
	if (seen == NULL)
	{
		if (!change_load(slot, ref.generation, 0, 1))
			return false;
	}
	else
	{
		uint64		word = seen->word;

		if (word_generation(word) != ref.generation ||
			!pg_atomic_compare_exchange_u64(&slot->load, &word,
											make_pair(ref.generation, pair_high(word), pair_low(word) + 1)))
			return false;
	}
	add_to_period(slot, ref.generation, period);
	remember_claim(ref, period);
	return true;
}

/* Returns a claim of this transaction on a slot, or NULL. */
static Claim *
own_claim(HealthSlotRef ref)
{
	for (int i = 0; i < claim_count; i++)
		if (claims[i].ref.number == ref.number && claims[i].ref.generation == ref.generation &&
			claims[i].count > 0)
			return &claims[i];
	return NULL;
}

static bool
release_from(HealthSlot *slot, uint16 generation, uint32 period, bool opened)
{
	if (take_from_period(slot, generation, period, 1) == 0)
		return false;
	(void) change_load(slot, generation, opened ? 1 : 0, -1);
	return true;
}

/*
 * reservation_release ends a reservation of a gateway: one of this transaction, which an
 * abort does not undo again, else the oldest.  "opened" adds a connection for it.
 * Returns false if there is no reservation, or the slot is gone.
 */
bool
reservation_release(HealthSlotRef ref, bool opened, int64 now)
{
	HealthSlot *slot = health_slot(ref);
	uint32		current = period_of(now);
	Claim	   *claim = own_claim(ref);

	expire(slot, ref.generation, now);
	if (claim != NULL)
	{
		claim->count--;
		if (release_from(slot, ref.generation, claim->period, opened))
			return true;
	}
	for (int age = PERIODS_HELD - 1; age >= 0; age--)
		if (release_from(slot, ref.generation, periods_before(current, age), opened))
			return true;
	return false;
}

/* reservation_report_load stores a reported number of connections; returns false if the slot is gone. */
bool
reservation_report_load(HealthSlotRef ref, uint32 connections, int64 now)
{
	HealthSlot *slot = health_slot(ref);
	uint64		word = pg_atomic_read_u64(&slot->load);

	/* The load first, then its time: both exchanges are full barriers. */
	do
	{
		if (word_generation(word) != ref.generation)
			return false;
	} while (!pg_atomic_compare_exchange_u64(&slot->load, &word,
											 make_pair(ref.generation, connections, pair_low(word))));

	word = pg_atomic_read_u64(&slot->load_at);
	do
	{
		if (word_generation(word) != ref.generation)
			return false;
	} while (!pg_atomic_compare_exchange_u64(&slot->load_at, &word,
											 make_word(ref.generation, WORD_KNOWN, now)));
	return true;
}

/* Undoes the claims of an aborted subtransaction and its children. */
static void
undo_claims(SubTransactionId aborted)
{
	while (claim_count > 0 && claims[claim_count - 1].claimed_by >= aborted)
	{
		const Claim *claim = &claims[--claim_count];
		HealthSlot *slot = health_slot(claim->ref);
		uint32		taken = take_from_period(slot, claim->ref.generation, claim->period, claim->count);

		if (taken > 0)
			(void) change_load(slot, claim->ref.generation, 0, -(int) taken);
	}
}

/* COMMIT and PREPARE keep the reservations. */
static void
at_end(TransactionEnd end)
{
	if (end == TRANSACTION_ABORTED)
		undo_claims(TopSubTransactionId);
	claims = NULL;
	claim_count = 0;
}

const TransactionSubscriber reservation_subscriber = {
	.at_end = at_end,
	.at_subtransaction_abort = undo_claims
};
