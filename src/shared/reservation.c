/*
 * reservation.c
 *		How many connections gateways have, and are about to get.
 *
 * A gateway reports its connections every few seconds.  Between a pick and the
 * report that counts the connection that follows, a reservation stands for it,
 * and once it is opened, one more in the load.  Both are in one word, so that
 * of two claims that saw the same place free only one succeeds.
 *
 * Each reservation is counted twice: in that word, and in the word of the
 * period in which it was made.  Whoever takes it out of the latter, by release,
 * by ROLLBACK or because it has run out, takes it out of the former.
 */
#include "postgres.h"

#include "access/xact.h"
#include "utils/memutils.h"

#include "base/clock.h"
#include "shared/health_map_internal.h"
#include "shared/reservation.h"

/* A report is believed for as long as the application believes it. */
#define REPORT_TTL (35 * USECS_PER_SEC)

/*
 * A reservation is held for 230 to 240 s, depending on where in its period it
 * was made: longer than the 220 s that dialling through a relay may take.
 */
#define PERIOD (10 * USECS_PER_SEC)
#define PERIODS_HELD (RESERVATION_PERIODS - 1)

/* A claim that goes back if the (sub)transaction does. */
typedef struct Claim
{
	HealthSlotRef ref;
	uint32		period;
	SubTransactionId claimed_by;
	uint32		count;
} Claim;

/* Of the current transaction, in its memory. */
static Claim *claims;
static int	claim_count;
static int	claim_room;

/* How far back a claim like one that is made now is looked for. */
#define SIMILAR_CLAIMS 32

static uint32
period_of(int64 now)
{
	return (now / PERIOD) & LOAD_MAX;
}

/* Adds to both halves of the load word, not below 0; false if the slot is gone. */
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

/* Takes up to "wanted" reservations out of a period; returns how many it took. */
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

/* Takes out what has run out. */
static void
expire(HealthSlot *slot, uint16 generation, int64 now)
{
	uint32		current = period_of(now);

	if (pair_low(pg_atomic_read_u64(&slot->load)) == 0)
		return;
	for (int i = 0; i < RESERVATION_PERIODS; i++)
	{
		uint64		word = pg_atomic_read_u64(&slot->reserved[i]);
		uint32		taken;

		if (pair_low(word) == 0 || pair_high(word) + PERIODS_HELD > current)
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
			/* What the period before in this place left has run out long ago. */
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

/* reservation_load reads a gateway's load; of a slot that is gone, nothing. */
GatewayLoad
reservation_load(HealthSlotRef ref, int64 now)
{
	HealthSlot *slot = health_slot(ref);
	GatewayLoad load = {0};
	uint64		reported_at = pg_atomic_read_u64(&slot->load_at);

	expire(slot, ref.generation, now);
	load.word = pg_atomic_read_u64(&slot->load);
	if (word_generation(load.word) != ref.generation || word_generation(reported_at) != ref.generation)
		return load;
	load.reported = word_kind(reported_at) == WORD_KNOWN && word_time(reported_at) + REPORT_TTL > now;
	load.connections = pair_high(load.word);
	load.reservations = pair_low(load.word);
	return load;
}

/* Remembers a claim for as long as it may have to be given back. */
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

/* Memory for one more claim is had before it is made: there is no ERROR after. */
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
 * reservation_claim makes a reservation, unless the load is no longer as it was
 * seen, or the slot is gone: then it returns false.  "seen" NULL makes it
 * whatever the load is.  An abort of the (sub)transaction takes it back.
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

/* A claim of this transaction's on a slot, or NULL. */
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
 * reservation_release ends a reservation of a gateway: one that this transaction
 * made, which is then not given back once more by its abort, else the oldest.
 * If its connection has been opened, it counts as one from now on.  Returns
 * false if there is none, or the slot is gone.
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
	for (uint32 period = current < PERIODS_HELD ? 0 : current - PERIODS_HELD + 1; period <= current; period++)
		if (release_from(slot, ref.generation, period, opened))
			return true;
	return false;
}

/*
 * reservation_report_load stores how many connections a gateway says it has.
 * Returns false if the slot is gone.
 */
bool
reservation_report_load(HealthSlotRef ref, uint32 connections, int64 now)
{
	HealthSlot *slot = health_slot(ref);
	uint64		word = pg_atomic_read_u64(&slot->load);

	/* First what is reported, then that it is. */
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

/* Gives back the claims of a subtransaction and its children. */
static void
give_back_claims(SubTransactionId aborted)
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

/* What was claimed stays claimed after COMMIT and PREPARE. */
static void
at_end(TransactionEnd end)
{
	if (end == TRANSACTION_ABORTED)
		give_back_claims(TopSubTransactionId);
	claims = NULL;
	claim_count = 0;
}

const TransactionSubscriber reservation_subscriber = {
	.at_end = at_end,
	.at_subtransaction_abort = give_back_claims
};
