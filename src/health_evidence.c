/*
 * health_evidence.c
 *		What the slots of shared memory say of their gateways.
 *
 * The table's heartbeat is published under the slot's spinlock; reading evidence
 * takes no lock: see health_slot.h.
 *
 * Publications come from commits, in whatever order their backends get to it,
 * and from reads of the table, with whatever snapshot they had.  A commit is
 * passed over by a later one's place in the WAL.  A read is passed over by any
 * commit that published after the read began: sequence numbers tell.  Either
 * order of the two leaves the slot with the newest row.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "utils/timestamp.h"

#include "clock.h"
#include "health_evidence.h"
#include "health_slot.h"
#include "settings.h"

/*
 * A promotion is noticed by whoever next asks or publishes; from then on, the
 * grace of a start counts.
 */
static void
notice_promotion(int64 now)
{
	uint32		was_standby = 1;

	if (unlikely(pg_atomic_read_u32(&health_state()->standby) != 0) && !RecoveryInProgress() &&
		pg_atomic_compare_exchange_u32(&health_state()->standby, &was_standby, 0))
		pg_atomic_write_u64(&health_state()->grace_from, now);
}

/* health_evidence_note_standby remembers that this server is one. */
void
health_evidence_note_standby(void)
{
	if (health_state() != NULL && pg_atomic_read_u32(&health_state()->standby) == 0)
		pg_atomic_write_u32(&health_state()->standby, 1);
}

/* health_evidence_sequence is to be read before the snapshot of what will be published. */
uint64
health_evidence_sequence(void)
{
	return health_state() == NULL ? 0 : pg_atomic_read_u64(&health_state()->sequence);
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
 * health_evidence_publish stores what a row of the host's table was found to say.
 * "sequence" is health_evidence_sequence() from before the row was read.
 */
void
health_evidence_publish(HealthSlotRef ref, const Heartbeat *heartbeat, uint64 sequence)
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
 * health_evidence_publish_commit stores what a row says by a transaction that has
 * just committed.  "commit" is the place of the commit in the WAL.  For a
 * transaction callback: no ERROR.
 *
 * The slot is looked for only now.  Whoever makes one reads the row after that,
 * with a snapshot that sees this commit if the slot was not here to be found.
 */
void
health_evidence_publish_commit(Oid table, const pg_uuid_t *gateway, const Heartbeat *heartbeat, XLogRecPtr commit)
{
	uint64		sequence = pg_atomic_add_fetch_u64(&health_state()->sequence, 1);
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
 * health_evidence_report_heartbeat stores a heartbeat that was reported to us; the
 * last report counts.  Returns false if the slot is gone.
 */
bool
health_evidence_report_heartbeat(HealthSlotRef ref, int64 now, int64 expires_at)
{
	HealthSlot *slot = health_slot(ref);

	return replace_word(&slot->reported_at, ref.generation, WORD_KNOWN, now, 0) &&
		replace_word(&slot->reported, ref.generation, WORD_KNOWN, expires_at, 0);
}

/*
 * health_evidence_report_failure stores that a caller could not get through, and
 * why, "" if he does not say.  Returns false if the slot is gone.
 */
bool
health_evidence_report_failure(HealthSlotRef ref, int64 now, const char *reason)
{
	HealthSlot *slot = health_slot(ref);

	SpinLockAcquire(&slot->mutex);
	if (slot->generation == ref.generation)
		strlcpy(slot->failure_reason, reason, HEALTH_REASON_SIZE);
	SpinLockRelease(&slot->mutex);
	return replace_word(&slot->failure, ref.generation, WORD_KNOWN, now, FAILURE_RECORDED);
}

/*
 * health_evidence_in_startup_grace tells whether evidence that has run out may have
 * done so because nobody was there to hear: for a while after a start of the
 * server, after a crash of it and after a promotion.
 */
bool
health_evidence_in_startup_grace(int64 now)
{
	int64		grace = setting_startup_grace * USECS_PER_SEC;

	if (health_state() == NULL)
		return GetCurrentTimestamp() < PgStartTime + grace;
	notice_promotion(now);
	if (RecoveryInProgress())
		health_evidence_note_standby();
	return now < (int64) pg_atomic_read_u64(&health_state()->grace_from) + grace;
}

/* A failure that is known from before the start, or was seen since. */
static bool
is_failure_known(uint64 failure)
{
	return (word_kind(failure) & FAILURE_RECORDED) != 0 ||
		((word_kind(failure) & WORD_KNOWN) != 0 &&
		 word_time(failure) >= (int64) pg_atomic_read_u64(&health_state()->grace_from));
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
 * health_evidence_read reads the evidence that a slot holds, as of a monotonic time.
 * Takes no lock.
 */
SlotReading
health_evidence_read(HealthSlotRef ref, int64 now, HealthEvidence *evidence)
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
	evidence->startup_grace = !is_failure_known(failure) && health_evidence_in_startup_grace(now);
	return word_kind(table) == TABLE_HEARD ? SLOT_UNCONFIRMED : SLOT_READ;
}

/*
 * health_evidence_read_own reads the same as it will be once this transaction has
 * committed, in which a row of the host's table says "own" and nobody else knows.
 */
SlotReading
health_evidence_read_own(HealthSlotRef ref, int64 now, const Heartbeat *own, HealthEvidence *evidence)
{
	HealthSlot *slot = health_slot(ref);
	SlotReading reading = health_evidence_read(ref, now, evidence);
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
		!is_failure_known(failure) && health_evidence_in_startup_grace(now);
	return SLOT_READ;
}

/* health_evidence_display tells what a slot knows; of one that is gone, nothing. */
void
health_evidence_display(HealthSlotRef ref, int64 now, HealthDisplay *display)
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
