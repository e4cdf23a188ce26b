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
forgive(ProbeFinding *finding, int64 now)
{
	while (finding->falls > 0 && now - finding->forgiven_at >= FORGIVENESS)
	{
		finding->falls--;
		finding->forgiven_at += FORGIVENESS;
	}
	if (finding->damped_until <= now)
		finding->damped_until = 0;
}

static void
go_up(ProbeFinding *finding, int64 now)
{
	bool		returns = finding->verdict == PROBE_DOWN;

	finding->verdict = PROBE_UP;
	finding->forgiven_at = now;
	if (returns && finding->falls > 1)
		finding->damped_until = now + Min(finding->falls * DAMPING_EACH, DAMPING_MAX);
}

static void
go_down(ProbeFinding *finding)
{
	if (finding->verdict == PROBE_UP)
		finding->falls++;
	finding->verdict = PROBE_DOWN;
}

/*
 * probe_finding_add judges by one more outcome, and tells whether the verdict has
 * changed.  "rise" successes in a row lead up and "fall" failures down; what is
 * inconclusive changes nothing.  Of a gateway that has no verdict yet, the first
 * success is enough, as Envoy has it: there was no failure to make up for.
 */
bool
probe_finding_add(ProbeFinding *finding, const ProbePace *pace, ProbeOutcome outcome, int64 now)
{
	ProbeEvidence before = finding->verdict;

	switch (outcome)
	{
		case PROBE_INCONCLUSIVE:
			return false;
		case PROBE_SUCCEEDED:
			finding->failures = 0;
			finding->successes = Min(finding->successes, PG_INT32_MAX - 1) + 1;
			break;
		case PROBE_FAILED:
			finding->successes = 0;
			finding->failures = Min(finding->failures, PG_INT32_MAX - 1) + 1;
			break;
	}
	if (finding->verdict == PROBE_UP)
		forgive(finding, now);
	if (finding->verdict != PROBE_UP &&
		(finding->successes >= pace->rise || (finding->verdict == PROBE_NONE && finding->successes > 0)))
		go_up(finding, now);
	else if (finding->verdict != PROBE_DOWN && finding->failures >= pace->fall)
		go_down(finding);
	return finding->verdict != before;
}

/* probe_finding_in_doubt tells whether failures have begun that may lead down. */
bool
probe_finding_in_doubt(const ProbeFinding *finding)
{
	return finding->verdict != PROBE_DOWN && finding->failures > 0;
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
probe_next_start(const ProbeFinding *finding, const ProbePace *pace, int64 phase, int64 started_at, int64 now)
{
	int64		next = probe_grid_time(pace->interval, phase, started_at + pace->interval / 2);

	if (probe_finding_in_doubt(finding) && pace->retry_interval < pace->interval)
		return Max(started_at + pace->retry_interval, now);

	/*
	 * Who hangs for the whole interval ends when the next is due, or a little
	 * later.
	 */
	return next >= now - pace->interval / 2 ? next : probe_grid_time(pace->interval, phase, now);
}
