/*
 * health_evidence.c
 *		The evidence about gateways in the slots of shared memory.
 *
 * The table's heartbeat is published under the slot's spinlock; reading evidence
 * takes no lock: see health_map_internal.h.
 *
 * Commits publish heartbeats, in any order, and so do reads of the table, with any
 * snapshot.  A commit does not overwrite one with a later place in the WAL.  A read
 * does not overwrite a commit that published after the read began, nor another read
 * that began later, which their sequence numbers show.  So the slot has the newest row in
 * any order.  Commits that publish nothing: see commit_queue.c.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "utils/timestamp.h"

#include "base/clock.h"
#include "base/settings.h"
#include "shared/health_evidence.h"
#include "shared/health_evidence_internal.h"

/*
 * Starts the startup grace at the first call after a promotion.  Several sessions may
 * do so at the same moment.
 */
static void
notice_promotion(void)
{
	uint32		was_standby = 1;

	if (likely(pg_atomic_read_u32(&health_state()->standby) == 0))
	{
		/*
		 * The grace that is read from now on is the promotion's: pairs with
		 * the exchange.
		 */
		pg_read_barrier();
	}
	else if (!RecoveryInProgress())
	{
		/*
		 * The exchange is a full barrier: the grace has begun when it is
		 * seen.
		 */
		pg_atomic_write_u64(&health_state()->grace_from, clock_monotonic());
		(void) pg_atomic_compare_exchange_u32(&health_state()->standby, &was_standby, 0);
	}
}

/* health_evidence_note_standby notes that this server is a standby. */
void
health_evidence_note_standby(void)
{
	/* Not ordered: it is one value. */
	if (health_state() != NULL && pg_atomic_read_u32(&health_state()->standby) == 0)
		pg_atomic_write_u32(&health_state()->standby, 1);
}

/*
 * health_evidence_sequence returns the number of a read that begins now, which is higher
 * than those of earlier reads, and of commits that have published their heartbeats.  It is
 * called before the query whose rows health_evidence_publish_row publishes.
 */
uint64
health_evidence_sequence(void)
{
	/*
	 * A full barrier: the snapshot that is taken later sees all commits with
	 * a lower number.
	 */
	return health_state() == NULL ? 0 : pg_atomic_add_fetch_u64(&health_state()->sequence, 1);
}

/*
 * Notes that the row was read after its heartbeat expired.  Takes no lock: the word may
 * change meanwhile.  Not ordered: the exchange compares what was read.
 */
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

/* The kind of the table's word for a heartbeat. */
static int
kind_of(const Heartbeat *heartbeat)
{
	return heartbeat->failed ? TABLE_FAILED : heartbeat->heard ? TABLE_HEARD : TABLE_NEVER;
}

/*
 * Returns true if the row changes to failed or to no heartbeat, which outweighs what
 * was reported before.  A row that stays failed does not, whatever else changes in it.
 */
static bool
is_withdrawn(const HealthSlot *slot, const Heartbeat *heartbeat)
{
	int			kind = kind_of(heartbeat);

	return slot->published && kind != TABLE_HEARD && kind != kind_of(&slot->heartbeat);
}

/*
 * Writes the table's word; the spinlock is held.  A wall time is converted to monotonic
 * time when it is first seen, so that later steps of the wall clock have no effect.
 */
static void
store_heartbeat(HealthSlot *slot, const Heartbeat *heartbeat, int64 now, int64 wall_offset)
{
	bool		withdrawn = is_withdrawn(slot, heartbeat);
	uint64		word;

	if (heartbeat->heard && !(slot->published && slot->heartbeat.heard &&
							  slot->heartbeat.heard_at == heartbeat->heard_at))
		slot->heard_at = Min(heartbeat->heard_at - wall_offset, now);
	slot->heartbeat = *heartbeat;
	slot->published = true;
	if (heartbeat->heard)
		slot->last_heard_at = Max(slot->last_heard_at, heartbeat->heard_at);

	/*
	 * A session that sees only one of these words changed reads what held
	 * before, or what holds now.  Reports change theirs without the spinlock,
	 * hence the exchange.
	 */
	if (withdrawn)
		(void) replace_word(&slot->reported, slot->generation, WORD_EMPTY, 0, REPORTED_HERE);
	if (heartbeat->failed)
		word = make_word(slot->generation, TABLE_FAILED, 0);
	else if (!heartbeat->heard)
		word = make_word(slot->generation, TABLE_NEVER, 0);
	else
	{
		word = make_word(slot->generation, TABLE_HEARD, slot->heard_at + heartbeat->lifetime);

		/*
		 * The word rounds up: later by the same, so that views show what the
		 * rule reads.
		 */
		slot->heard_at = Max(slot->heard_at, word_time(word) - heartbeat->lifetime);
	}
	pg_atomic_write_u64(&slot->table, word);
}

/*
 * health_evidence_publish_row publishes the heartbeat of a row of the host's table that was
 * read.  "sequence" is health_evidence_sequence() from before the row was read.
 */
void
health_evidence_publish_row(HealthSlotRef ref, const Heartbeat *heartbeat, uint64 sequence)
{
	HealthSlot *slot = health_slot(ref);
	int64		now = clock_monotonic();
	bool		same;

	notice_promotion();
	SpinLockAcquire(&slot->mutex);
	same = slot->generation == ref.generation && is_published(slot, heartbeat);
	if (same)
		slot->sequence = Max(slot->sequence, sequence);
	SpinLockRelease(&slot->mutex);

	if (!same)
	{
		int64		wall_offset = clock_wall_offset();
		bool		newest;

		/*
		 * The number is raised with the heartbeat that it is of: a session
		 * with an older row, which leaves it out, reads a newer one.
		 */
		SpinLockAcquire(&slot->mutex);
		newest = slot->generation == ref.generation && slot->sequence <= sequence;
		if (newest)
			slot->sequence = sequence;
		if (newest && !is_published(slot, heartbeat))
			store_heartbeat(slot, heartbeat, now, wall_offset);
		SpinLockRelease(&slot->mutex);
		if (!newest)
			return;
	}
	confirm_expiry(slot, ref.generation, now);
}

/*
 * health_evidence_publish_commit publishes the heartbeat of a row as a transaction left
 * it that has just committed.  "commit" is the place of the commit in the WAL.  Raises
 * no ERROR: transaction callbacks call it.  Returns true if the evidence has changed.
 *
 * The slot is looked up only now.  If it does not exist yet, the session that creates
 * it reads the row after that, with a snapshot that sees this commit.
 */
bool
health_evidence_publish_commit(Oid table, const pg_uuid_t *gateway, const Heartbeat *heartbeat, XLogRecPtr commit)
{
	/* A full barrier: the commit is visible when the new number is. */
	uint64		sequence = pg_atomic_add_fetch_u64(&health_state()->sequence, 1);
	HealthSlotRef ref = health_map_find(table, gateway);
	HealthSlot *slot;
	int64		now;
	int64		wall_offset;
	HeartbeatEvidence before;
	HeartbeatEvidence after;

	if (ref.number == NO_SLOT)
		return false;
	slot = health_slot(ref);
	now = clock_monotonic();
	wall_offset = clock_wall_offset();
	notice_promotion();
	SpinLockAcquire(&slot->mutex);
	before = table_evidence(pg_atomic_read_u64(&slot->table), now);
	if (slot->generation == ref.generation && slot->commit <= commit)
	{
		slot->commit = commit;
		slot->sequence = Max(slot->sequence, sequence);
		if (!is_published(slot, heartbeat))
			store_heartbeat(slot, heartbeat, now, wall_offset);
	}
	after = table_evidence(pg_atomic_read_u64(&slot->table), now);
	SpinLockRelease(&slot->mutex);
	return before != after;
}

static HeartbeatEvidence
reported_evidence(uint64 word, int64 now)
{
	if ((word_kind(word) & WORD_KNOWN) == 0)
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
 * health_evidence_report_heartbeat stores a reported heartbeat; the last report counts.
 * Sets "changed" if there was no fresh heartbeat before.  Returns false if the slot is
 * gone.
 */
bool
health_evidence_report_heartbeat(HealthSlotRef ref, int64 now, int64 expires_at, bool *changed)
{
	HealthSlot *slot = health_slot(ref);

	/*
	 * Not ordered: "changed" only wakes the worker.  The exchanges are: see
	 * health_evidence_display.
	 */
	*changed = reported_evidence(pg_atomic_read_u64(&slot->reported), now) != HEARTBEAT_FRESH &&
		table_evidence(pg_atomic_read_u64(&slot->table), now) != HEARTBEAT_FRESH;
	return replace_word(&slot->reported_at, ref.generation, WORD_KNOWN, now, 0) &&
		replace_word(&slot->reported, ref.generation, WORD_KNOWN | REPORTED_HERE, expires_at, 0);
}

/*
 * health_evidence_report_failure stores that a caller could not connect through the
 * gateway, and the reason, "" if none was given.  Sets "changed" if the gateway was not
 * suspect before.  Returns false if the slot is gone.
 */
bool
health_evidence_report_failure(HealthSlotRef ref, int64 now, const char *reason, bool *changed)
{
	HealthSlot *slot = health_slot(ref);

	/*
	 * Not ordered, as above.  The reason is seen before the word, whose
	 * exchange is a full barrier.
	 */
	*changed = !is_suspect(pg_atomic_read_u64(&slot->failure), now);
	SpinLockAcquire(&slot->mutex);
	if (slot->generation == ref.generation)
		strlcpy(slot->failure_reason, reason, HEALTH_REASON_SIZE);
	SpinLockRelease(&slot->mutex);
	return replace_word(&slot->failure, ref.generation, WORD_KNOWN, now, FAILURE_RECORDED);
}

/*
 * health_evidence_in_startup_grace returns true for startup_grace after a start, a
 * crash or a promotion of the server: evidence may have expired because the server was
 * not there to receive the next.
 */
bool
health_evidence_in_startup_grace(int64 now)
{
	int64		grace = setting_startup_grace * USECS_PER_SEC;

	if (health_state() == NULL)
		return GetCurrentTimestamp() < PgStartTime + grace;
	notice_promotion();
	if (RecoveryInProgress())
		health_evidence_note_standby();
	/* Ordered by notice_promotion. */
	return now < (int64) pg_atomic_read_u64(&health_state()->grace_from) + grace;
}

/* Returns true if gateway_health said unhealthy at the start, or a failure was reported since. */
static bool
is_failure_known(uint64 failure)
{
	return (word_kind(failure) & FAILURE_RECORDED) != 0 ||
		((word_kind(failure) & WORD_KNOWN) != 0 &&
	/* Not ordered: a grace that is not seen yet has just begun. */
		 word_time(failure) >= (int64) pg_atomic_read_u64(&health_state()->grace_from));
}

/*
 * Reads what probes found, as of now.  An up that counts no longer is overdue, and no
 * evidence after that: see probe_evidence_publish.
 */
static void
read_probe(uint64 word, uint64 damped, int64 now, HealthEvidence *evidence)
{
	bool		counts = word_time(word) > now;

	evidence->probe = PROBE_NONE;
	switch (word_kind(word))
	{
		case PROBE_WORD_UP:
			evidence->probe = counts ? PROBE_UP : PROBE_OVERDUE;
			break;
		case PROBE_WORD_DOWN:
		case PROBE_WORD_REQUIRED:
			if (counts)
				evidence->probe = PROBE_DOWN;
			break;
	}
	evidence->probe_required = word_kind(word) == PROBE_WORD_REQUIRED;
	evidence->damped = word_kind(damped) == WORD_KNOWN && word_time(damped) > now;
}

/*
 * Puts together the evidence about a gateway, from both kinds of heartbeats and from
 * words that are those of its slot, or what a slot would hold.
 */
static inline void
assemble(HeartbeatEvidence row, HeartbeatEvidence reported, uint64 failure, uint64 probe, uint64 damped,
		 int64 now, HealthEvidence *evidence)
{
	*evidence = (HealthEvidence)
	{
		.heartbeat = heartbeat_later(row, reported),
		.suspect = is_suspect(failure, now)
	};
	read_probe(probe, damped, now, evidence);
	if (evidence->heartbeat == HEARTBEAT_EXPIRED)
		evidence->startup_grace = !is_failure_known(failure) && health_evidence_in_startup_grace(now);
}

/*
 * Reads the evidence that a slot holds.  "own" is what this transaction has written
 * to the row, or NULL: then it takes no lock.
 */
static inline SlotReading
read_slot(HealthSlotRef ref, int64 now, const Heartbeat *own, HealthEvidence *evidence)
{
	HealthSlot *slot = health_slot(ref);

	/*
	 * Not ordered: each says by itself what held at some moment since the
	 * call.
	 */
	uint64		table = pg_atomic_read_u64(&slot->table);
	uint64		reported = pg_atomic_read_u64(&slot->reported);
	uint64		failure = pg_atomic_read_u64(&slot->failure);
	uint64		probe = pg_atomic_read_u64(&slot->probe);
	uint64		damped;
	bool		withdrawn;

	/*
	 * What was written before the probe's word is read after it: pairs with
	 * probe_evidence_store.
	 */
	pg_read_barrier();
	damped = pg_atomic_read_u64(&slot->damped);

	if (word_generation(table) != ref.generation || word_generation(reported) != ref.generation ||
		word_generation(failure) != ref.generation || word_generation(probe) != ref.generation ||
		word_generation(damped) != ref.generation)
		return SLOT_GONE;

	if (own != NULL)
	{
		SpinLockAcquire(&slot->mutex);
		withdrawn = is_withdrawn(slot, own);
		if (is_published(slot, own))
			own = NULL;
		SpinLockRelease(&slot->mutex);
	}
	if (own != NULL)
		assemble(heartbeat_evidence(own, GetCurrentTimestamp()),
				 withdrawn ? HEARTBEAT_NEVER : reported_evidence(reported, now),
				 failure, probe, damped, now, evidence);
	else
		assemble(table_evidence(table, now), reported_evidence(reported, now), failure, probe, damped, now, evidence);
	if (unlikely(evidence->probe == PROBE_OVERDUE) && word_time(pg_atomic_read_u64(&slot->overdue)) <= now)
		evidence->probe = PROBE_NONE;
	return own == NULL && evidence->heartbeat == HEARTBEAT_EXPIRED && word_kind(table) == TABLE_HEARD ?
		SLOT_UNCONFIRMED : SLOT_READ;
}

/* health_evidence_read reads the evidence that a slot holds, as of a monotonic time.  Takes no lock. */
SlotReading
health_evidence_read(HealthSlotRef ref, int64 now, HealthEvidence *evidence)
{
	return read_slot(ref, now, NULL, evidence);
}

/*
 * health_evidence_read_own reads the evidence as it will be after the commit of this
 * transaction, in which a row of the host's table says "own".
 */
SlotReading
health_evidence_read_own(HealthSlotRef ref, int64 now, const Heartbeat *own, HealthEvidence *evidence)
{
	return read_slot(ref, now, own, evidence);
}

/*
 * health_evidence_without_slot puts together the evidence about a gateway that has
 * no slot.  "row" is the heartbeat of the host's row.  "recorded" adds what
 * recorded_health_take would store in a slot since the start of the server, but not
 * to a row that this transaction wrote ("own").
 */
void
health_evidence_without_slot(const Heartbeat *row, const RecordedHealth *recorded, const ConfiguredProbe *probe,
							 bool own, int64 now, TimestampTz wall_now, HealthEvidence *evidence)
{
	HeartbeatEvidence reported = HEARTBEAT_NEVER;
	uint64		failure = make_word(0, WORD_EMPTY, 0);
	ProbeFinding finding = {0};

	if (recorded->known && recorded->status == GATEWAY_UNHEALTHY)
		failure = make_word(0, FAILURE_RECORDED, 0);
	if (recorded->known && !own && health_state() != NULL)
	{
		int64		start;

		notice_promotion();
		start = pg_atomic_read_u64(&health_state()->grace_from);
		if (recorded_health_was_reported(recorded, row, 0))
			reported = recorded->heartbeat_expires_at > wall_now ? HEARTBEAT_FRESH : HEARTBEAT_EXPIRED;
		finding = recorded_health_finding(recorded, probe, start, wall_now - (now - start));
	}
	assemble(heartbeat_evidence(row, wall_now), reported, failure,
			 probe_evidence_word(0, &finding, probe), probe_evidence_damped_word(0, &finding), now, evidence);
	if (evidence->probe == PROBE_OVERDUE && probe_evidence_overdue_until(finding.counts_until, probe) <= now)
		evidence->probe = PROBE_NONE;
}

/*
 * health_evidence_explain writes the reason of a gateway's status, in
 * HEALTH_EXPLANATION_SIZE bytes: that of the rule, and that of a caller or a probe.
 */
void
health_evidence_explain(HealthSlotRef ref, const HealthEvidence *evidence, const GatewayHealth *health,
						char *explanation)
{
	HealthSlot *slot = health_slot(ref);
	char		detail[HEALTH_REASON_SIZE] = "";
	bool		by_heartbeat = (!evidence->probe_required &&
								(evidence->heartbeat == HEARTBEAT_EXPIRED || evidence->heartbeat == HEARTBEAT_FAILED));
	bool		by_probe = (evidence->probe == PROBE_DOWN && !by_heartbeat) || health->status == GATEWAY_UNKNOWN;

	SpinLockAcquire(&slot->mutex);
	if (slot->generation == ref.generation)
	{
		if (evidence->suspect && health->status == GATEWAY_DEGRADED)
			strlcpy(detail, slot->failure_reason, sizeof(detail));
		else if (by_probe && slot->last_probe.configured)
			strlcpy(detail, slot->last_probe.reason, sizeof(detail));
	}
	SpinLockRelease(&slot->mutex);
	snprintf(explanation, HEALTH_EXPLANATION_SIZE, "%s%s%s", health->reason, detail[0] != '\0' ? ": " : "", detail);
}

static void
take_earlier(int64 *earliest, uint64 word, int64 extra, int64 now)
{
	if (word_kind(word) != WORD_EMPTY && word_time(word) + extra > now)
		*earliest = Min(*earliest, word_time(word) + extra);
}

/*
 * health_evidence_next_change returns when evidence next expires, so that the gateway
 * has to be judged again; PG_INT64_MAX if never.
 */
int64
health_evidence_next_change(HealthSlotRef ref, int64 now)
{
	HealthSlot *slot = health_slot(ref);
	int64		earliest = PG_INT64_MAX;
	int64		grace = setting_startup_grace * USECS_PER_SEC;

	/*
	 * Not ordered: what changes a word to an earlier end wakes the worker,
	 * whose latch orders.
	 */
	int64		grace_ends = (int64) pg_atomic_read_u64(&health_state()->grace_from) + grace;

	take_earlier(&earliest, pg_atomic_read_u64(&slot->table), 0, now);
	take_earlier(&earliest, pg_atomic_read_u64(&slot->reported), 0, now);
	take_earlier(&earliest, pg_atomic_read_u64(&slot->failure), setting_suspect_ttl * USECS_PER_SEC, now);
	take_earlier(&earliest, pg_atomic_read_u64(&slot->probe), 0, now);
	take_earlier(&earliest, pg_atomic_read_u64(&slot->overdue), 0, now);
	take_earlier(&earliest, pg_atomic_read_u64(&slot->damped), 0, now);
	if (grace_ends > now)
		earliest = Min(earliest, grace_ends);
	return earliest;
}

/* health_evidence_display returns what a slot holds, all zero if it is gone. */
void
health_evidence_display(HealthSlotRef ref, int64 now, HealthDisplay *display)
{
	HealthSlot *slot = health_slot(ref);
	int64		wall_offset = clock_wall_offset();
	uint64		table;
	uint64		reported = pg_atomic_read_u64(&slot->reported);
	uint64		reported_at;
	uint64		failure = pg_atomic_read_u64(&slot->failure);	/* not ordered */
	Heartbeat	heartbeat;
	int64		heard_at;
	bool		valid;

	/*
	 * The time of a report is written before the report itself, by an
	 * exchange.
	 */
	pg_read_barrier();
	reported_at = pg_atomic_read_u64(&slot->reported_at);

	memset(display, 0, sizeof(HealthDisplay));
	SpinLockAcquire(&slot->mutex);
	table = pg_atomic_read_u64(&slot->table);
	heartbeat = slot->heartbeat;
	heard_at = slot->heard_at;
	valid = slot->generation == ref.generation;
	strlcpy(display->failure_reason, slot->failure_reason, HEALTH_REASON_SIZE);
	display->probed = valid && slot->last_probe.configured && slot->last_probe.probed;
	display->probed_at = slot->last_probe.started_at + wall_offset;
	display->probe_milliseconds = slot->last_probe.milliseconds;
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
	display->reported = (word_kind(reported) & WORD_KNOWN) != 0 && word_generation(reported) == ref.generation;
	if (display->reported)
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
