/*
 * probe_evidence.c
 *		What probes have found about gateways, in the slots of shared memory.
 */
#include "postgres.h"

#include "base/settings.h"
#include "shared/health_evidence_internal.h"

/*
 * probe_evidence_overdue_until returns until when an up that counts no longer is
 * overdue: the next probe has had its time, and the server its start.
 */
int64
probe_evidence_overdue_until(int64 counts_until, const ConfiguredProbe *probe)
{
	return counts_until + Max(setting_startup_grace * USECS_PER_SEC, probe->interval + probe->timeout);
}

static int
probe_kind(const ProbeFinding *finding, const ConfiguredProbe *probe)
{
	switch (finding->verdict)
	{
		case VERDICT_NONE:
			break;
		case VERDICT_UP:
			return PROBE_WORD_UP;
		case VERDICT_DOWN:
			return probe->required ? PROBE_WORD_REQUIRED : PROBE_WORD_DOWN;
	}
	return PROBE_WORD_NONE;
}

/* probe_evidence_word returns the probe's word for a finding. */
uint64
probe_evidence_word(uint16 generation, const ProbeFinding *finding, const ConfiguredProbe *probe)
{
	return make_word(generation, probe_kind(finding, probe), finding->counts_until);
}

/* probe_evidence_damped_word returns the word of damping for a finding. */
uint64
probe_evidence_damped_word(uint16 generation, const ProbeFinding *finding)
{
	return make_word(generation, finding->damped_until == 0 ? WORD_EMPTY : WORD_KNOWN, finding->damped_until);
}

/* probe_evidence_store writes what is known of a gateway's probes; the spinlock is held. */
void
probe_evidence_store(HealthSlot *slot, const ProbeFinding *finding, const ConfiguredProbe *probe, bool probed_here)
{
	int64		overdue = finding->verdict == VERDICT_UP ? probe_evidence_overdue_until(finding->counts_until, probe) : 0;

	slot->target = finding->verdict == VERDICT_NONE ? 0 : probe->target;
	slot->probed_here = probed_here;
	slot->falls = finding->falls;
	slot->last_fall_at = finding->last_fall_at;

	/*
	 * These are written before up: no session reads it as healthy, or as no
	 * evidence, in between.  Pairs with the barrier in read_slot of
	 * health_evidence.c.
	 */
	pg_atomic_write_u64(&slot->damped, probe_evidence_damped_word(slot->generation, finding));
	pg_atomic_write_u64(&slot->overdue, make_word(slot->generation, overdue == 0 ? WORD_EMPTY : WORD_KNOWN, overdue));
	pg_write_barrier();
	pg_atomic_write_u64(&slot->probe, probe_evidence_word(slot->generation, finding, probe));
}

/*
 * probe_evidence_publish publishes what probes of a target have found; only the
 * worker calls it.  An up that counts no longer is overdue for startup_grace, or for
 * the interval and the timeout if these are longer.
 */
void
probe_evidence_publish(HealthSlotRef ref, const ProbeFinding *finding, const ConfiguredProbe *probe)
{
	HealthSlot *slot = health_slot(ref);

	SpinLockAcquire(&slot->mutex);
	if (slot->generation == ref.generation)
		probe_evidence_store(slot, finding, probe, finding->verdict != VERDICT_NONE);
	SpinLockRelease(&slot->mutex);
}

/*
 * probe_evidence_finding returns what probes have found, by an earlier worker or on
 * another server too.  Returns false if it is no evidence any more.
 */
bool
probe_evidence_finding(HealthSlotRef ref, int64 now, ProbeFinding *finding)
{
	HealthSlot *slot = health_slot(ref);
	uint64		probe;
	uint64		damped;
	bool		valid;

	/* The spinlock orders these: it is held where they are written. */
	SpinLockAcquire(&slot->mutex);
	probe = pg_atomic_read_u64(&slot->probe);
	damped = pg_atomic_read_u64(&slot->damped);
	valid = slot->generation == ref.generation && word_kind(probe) != PROBE_WORD_NONE;
	*finding = (ProbeFinding) {
		.verdict = word_kind(probe) == PROBE_WORD_UP ? VERDICT_UP : VERDICT_DOWN,
		.counts_until = word_time(probe),
		.falls = slot->falls,
		.last_fall_at = slot->last_fall_at,
		.forgiven_at = slot->last_fall_at,
		.damped_until = word_kind(damped) == WORD_EMPTY ? 0 : word_time(damped)
	};
	SpinLockRelease(&slot->mutex);
	return valid && word_time(probe) > now;
}

/* probe_evidence_publish_last publishes how the last probe went, for views. */
void
probe_evidence_publish_last(HealthSlotRef ref, const LastProbe *last_probe)
{
	HealthSlot *slot = health_slot(ref);

	SpinLockAcquire(&slot->mutex);
	if (slot->generation == ref.generation)
		slot->last_probe = *last_probe;
	SpinLockRelease(&slot->mutex);
}

/* probe_evidence_last returns how the last probe went; false if the gateway is not probed. */
bool
probe_evidence_last(HealthSlotRef ref, LastProbe *last_probe)
{
	HealthSlot *slot = health_slot(ref);
	bool		valid;

	SpinLockAcquire(&slot->mutex);
	*last_probe = slot->last_probe;
	valid = slot->generation == ref.generation;
	SpinLockRelease(&slot->mutex);
	return valid && last_probe->configured;
}
