/*
 * probe_rule.c
 *		From the outcomes of probes to a verdict, and to the time of the next.
 */
#include "postgres.h"

#include "datatype/timestamp.h"

#include "rules/probe_rule.h"

/*
 * A gateway that falls again before it is forgiven comes back degraded, for so
 * long a fall; Envoy ejects by the same numbers.  A fall is forgiven after so
 * long a time up.
 */
#define DAMPING_EACH	(30 * USECS_PER_SEC)
#define DAMPING_MAX		(300 * USECS_PER_SEC)
#define FORGIVENESS		(300 * USECS_PER_SEC)

static void
forgive(ProbeRecord *record, int64 now)
{
	while (record->falls > 0 && now - record->forgiven_at >= FORGIVENESS)
	{
		record->falls--;
		record->forgiven_at += FORGIVENESS;
	}
	if (record->damped_until <= now)
		record->damped_until = 0;
}

static void
go_up(ProbeRecord *record, int64 now)
{
	bool		returns = record->verdict == PROBE_DOWN;

	record->verdict = PROBE_UP;
	record->forgiven_at = now;
	if (returns && record->falls > 1)
		record->damped_until = now + Min(record->falls * DAMPING_EACH, DAMPING_MAX);
}

static void
go_down(ProbeRecord *record)
{
	if (record->verdict == PROBE_UP)
		record->falls++;
	record->verdict = PROBE_DOWN;
}

/*
 * probe_record_add judges by one more outcome, and tells whether the verdict has
 * changed.  "rise" successes in a row lead up and "fall" failures down; what is
 * inconclusive changes nothing.  Of a gateway that has no verdict yet, the first
 * success is enough, as Envoy has it: there was no failure to make up for.
 */
bool
probe_record_add(ProbeRecord *record, const ProbePace *pace, ProbeOutcome outcome, int64 now)
{
	ProbeEvidence before = record->verdict;

	switch (outcome)
	{
		case PROBE_INCONCLUSIVE:
			return false;
		case PROBE_SUCCEEDED:
			record->failures = 0;
			record->successes = Min(record->successes, PG_INT32_MAX - 1) + 1;
			break;
		case PROBE_FAILED:
			record->successes = 0;
			record->failures = Min(record->failures, PG_INT32_MAX - 1) + 1;
			break;
	}
	if (record->verdict == PROBE_UP)
		forgive(record, now);
	if (record->verdict != PROBE_UP &&
		(record->successes >= pace->rise || (record->verdict == PROBE_NONE && record->successes > 0)))
		go_up(record, now);
	else if (record->verdict != PROBE_DOWN && record->failures >= pace->fall)
		go_down(record);
	return record->verdict != before;
}

/* probe_record_in_doubt tells whether failures have begun that may lead down. */
bool
probe_record_in_doubt(const ProbeRecord *record)
{
	return record->verdict != PROBE_DOWN && record->failures > 0;
}

/*
 * probe_phase spreads "count" gateways of one interval evenly over it.  The rank
 * is the gateway's in the order of a hash, so that neighbours by name or address
 * are none in time; when one comes or goes, the others hardly move.
 */
int64
probe_phase(int64 interval, int rank, int count)
{
	return interval * rank / count;
}

/* probe_grid_time returns the first time of the gateway's own grid that is not before "from". */
int64
probe_grid_time(int64 interval, int64 phase, int64 from)
{
	int64		past = (from - phase) % interval;

	return past == 0 ? from : from - past + (past > 0 ? interval : 0);
}

/*
 * probe_next_start tells when to probe next, after a probe that was started then
 * and has just ended.
 *
 * Starts keep to the gateway's grid, whenever the probe before ended: a gateway
 * that hangs is seen as soon as one that refuses.  While the verdict is in doubt
 * the next one follows the last start by the retry interval, and so stays as
 * spread as that was.  Times that were missed are left out.
 */
int64
probe_next_start(const ProbeRecord *record, const ProbePace *pace, int64 phase, int64 started_at, int64 now)
{
	int64		next = probe_grid_time(pace->interval, phase, started_at + pace->interval / 2);

	if (probe_record_in_doubt(record) && pace->retry_interval < pace->interval)
		return Max(started_at + pace->retry_interval, now);

	/*
	 * Who hangs for the whole interval ends when the next is due, or a little
	 * later.
	 */
	return next >= now - pace->interval / 2 ? next : probe_grid_time(pace->interval, phase, now);
}
