/*
 * health_evidence_internal.h
 *		What the files about evidence share: health_evidence.c, probe_evidence.c and
 *		recorded_health.c.
 */
#ifndef GATEWAY_POOL_HEALTH_EVIDENCE_INTERNAL_H
#define GATEWAY_POOL_HEALTH_EVIDENCE_INTERNAL_H

#include "shared/health_evidence.h"
#include "shared/health_map_internal.h"

/*
 * replace_word replaces a word of evidence; returns false if the slot has another generation.  The
 * first read is not ordered: the exchange compares it.
 */
static inline bool
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

extern int64 probe_evidence_overdue_until(int64 counts_until, const ConfiguredProbe *probe);
extern uint64 probe_evidence_word(uint16 generation, const ProbeFinding *finding, const ConfiguredProbe *probe);
extern uint64 probe_evidence_damped_word(uint16 generation, const ProbeFinding *finding);
extern void probe_evidence_store(HealthSlot *slot, const ProbeFinding *finding, const ConfiguredProbe *probe, bool probed_here);

extern bool recorded_health_was_reported(const RecordedHealth *recorded, const Heartbeat *heartbeat, TimestampTz last_heard_at);
extern ProbeFinding recorded_health_finding(const RecordedHealth *recorded, const ConfiguredProbe *probe, int64 now,
											TimestampTz wall_now);

#endif							/* GATEWAY_POOL_HEALTH_EVIDENCE_INTERNAL_H */
