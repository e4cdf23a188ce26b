/*
 * recorded_health.c
 *		What the rows of gateway_health add to the evidence of this server.
 *
 * The worker of a primary writes the rows.  They are read after a start, and on a
 * standby whenever they change.
 */
#include "postgres.h"

#include "utils/timestamp.h"

#include "base/clock.h"
#include "base/settings.h"
#include "shared/health_evidence_internal.h"

/* The most by which the row's heartbeat and its record in gateway_health differ. */
#define RECORDED_TOLERANCE USECS_PER_SEC

/* Limits of what is believed of a row, which the owner of the table can write: falls, and times from now. */
#define RECORDED_FALLS_MAX 1000
#define RECORDED_AGE_MAX (USECS_PER_DAY * 365)

/*
 * recorded_health_was_reported returns true if the heartbeat recorded in gateway_health was a reported one: it is
 * later than the heartbeat of the host's row, which is not failed, and than any that
 * the row had before ("last_heard_at", 0 if that is not known).  The row's own may
 * differ from its record a little: times in a slot are rounded, and the wall clock may
 * have been set meanwhile.
 */
bool
recorded_health_was_reported(const RecordedHealth *recorded, const Heartbeat *heartbeat, TimestampTz last_heard_at)
{
	if (!recorded->heard || heartbeat->failed)
		return false;
	if (heartbeat->heard)
		last_heard_at = Max(last_heard_at, heartbeat->heard_at);
	return last_heard_at == 0 ||
		(recorded->heard_at > last_heard_at &&
		 (uint64) recorded->heard_at - (uint64) last_heard_at > RECORDED_TOLERANCE);
}

/* Converts a recorded time, which is not in the future, to monotonic time. */
static int64
recorded_time(TimestampTz time, int64 now, TimestampTz wall_now)
{
	if (time >= wall_now)
		return now;
	return now - (time < wall_now - RECORDED_AGE_MAX ? RECORDED_AGE_MAX : wall_now - time);
}

/*
 * recorded_health_finding returns what a recorded verdict counts for from the time at which its row was read.
 * A down counts for startup_grace, or for as long as one of this server's own probes.
 * An up counts no longer: it is overdue.  No verdict if another target was probed.
 */
ProbeFinding
recorded_health_finding(const RecordedHealth *recorded, const ConfiguredProbe *probe, int64 now, TimestampTz wall_now)
{
	ProbeFinding finding;

	if (!recorded->known || recorded->verdict == VERDICT_NONE || probe->target == 0 || recorded->target != probe->target)
		return (ProbeFinding) {0};
	finding = probe_finding_recall(recorded->verdict, Min(Max(recorded->falls, 0), RECORDED_FALLS_MAX),
								   recorded_time(recorded->last_fall_at, now, wall_now), now);
	finding.counts_until = now;
	if (finding.verdict == VERDICT_DOWN)
		finding.counts_until += Max(setting_startup_grace * USECS_PER_SEC, PROBE_COUNTED_INTERVALS * probe->interval + probe->timeout);
	return finding;
}

/* Replaces a reported heartbeat by a recorded one that expires later, unless one was reported to this server. */
static void
take_reported(HealthSlot *slot, const RecordedHealth *recorded, int64 now, TimestampTz wall_now)
{
	int64		expires_at = (recorded->heartbeat_expires_at <= wall_now ?
							  recorded_time(recorded->heartbeat_expires_at, now, wall_now) :
							  now + Min(recorded->heartbeat_expires_at - wall_now, RECORDED_AGE_MAX));

	/* Not ordered: the exchange compares it. */
	uint64		word = pg_atomic_read_u64(&slot->reported);

	do
	{
		if ((word_kind(word) & REPORTED_HERE) != 0 || (word_kind(word) != WORD_EMPTY && word_time(word) >= expires_at))
			return;
	} while (!pg_atomic_compare_exchange_u64(&slot->reported, &word, make_word(slot->generation, WORD_KNOWN, expires_at)));
	(void) replace_word(&slot->reported_at, slot->generation, WORD_KNOWN, recorded_time(recorded->heard_at, now, wall_now), 0);
}

/*
 * recorded_health_take takes from the row of gateway_health what this server does
 * not know better: the verdict of probes until its own probes have one, a reported
 * heartbeat, and that the gateway was unhealthy.  Each row is taken once, when it is
 * first read: after a start, or on a standby whenever the primary has written it.  What
 * is known of another target than "probe" is discarded.  "heartbeat" is that of the
 * host's row.  "committed" is false if the rows may have changes of this transaction,
 * which may be rolled back: then nothing is discarded, and no other target is believed.
 * A row of an earlier read than the last one, by their numbers, is not taken.
 */
void
recorded_health_take(HealthSlotRef ref, const RecordedHealth *recorded, const ConfiguredProbe *probe,
					 const Heartbeat *heartbeat, uint64 sequence, bool committed)
{
	HealthSlot *slot = health_slot(ref);
	RecordedVersion version = {
		.changed_at = recorded->changed_at,
		.heard_at = recorded->heard_at,
		.probed_at = recorded->probed_at,
		.verdict = recorded->verdict
	};
	int64		now = clock_monotonic();
	TimestampTz wall_now = GetCurrentTimestamp();
	ProbeFinding finding = recorded_health_finding(recorded, probe, now, wall_now);

	SpinLockAcquire(&slot->mutex);
	if (slot->generation != ref.generation || sequence < slot->taken_sequence ||
		(!committed && (slot->taken.changed_at != 0 || recorded->target != probe->target)))
	{
		SpinLockRelease(&slot->mutex);
		return;
	}
	if (committed)
		slot->taken_sequence = sequence;
	if (committed && slot->target != 0 && slot->target != probe->target)
	{
		probe_evidence_store(slot, &(ProbeFinding) {0}, &(ConfiguredProbe) {0}, false);
		memset(&slot->last_probe, 0, sizeof(LastProbe));
	}
	if (recorded->known && memcmp(&slot->taken, &version, sizeof(version)) != 0)
	{
		/* Not ordered: the exchange compares it. */
		uint64		failure = pg_atomic_read_u64(&slot->failure);
		int			kind = recorded->status == GATEWAY_UNHEALTHY ? FAILURE_RECORDED : 0;

		slot->taken = version;
		while (!pg_atomic_compare_exchange_u64(&slot->failure, &failure,
											   make_word(slot->generation, (word_kind(failure) & WORD_KNOWN) | kind,
														 word_time(failure))))
			;
		if (recorded_health_was_reported(recorded, heartbeat, slot->last_heard_at))
			take_reported(slot, recorded, now, wall_now);
		if (!slot->probed_here && finding.verdict != VERDICT_NONE)
			probe_evidence_store(slot, &finding, probe, false);
	}
	SpinLockRelease(&slot->mutex);
}
