/*
 * probe_rule.c
 *		From the outcomes of probes to a verdict, and to the time of the next.
 */
#include "postgres.h"

#include "datatype/timestamp.h"

#include "rules/probe_rule.h"

/*
 * A gateway that falls again before its last fall is forgiven is damped when it comes
 * back: degraded for DAMPING_EACH for each fall, DAMPING_MAX at most, as Envoy ejects
 * hosts.  FORGIVENESS is the time up after which a fall is forgiven.
 */
#define DAMPING_EACH	(30 * USECS_PER_SEC)
#define DAMPING_MAX		(300 * USECS_PER_SEC)
#define FORGIVENESS		(300 * USECS_PER_SEC)

/* probe_verdict_name returns the word for a verdict. */
const char *
probe_verdict_name(ProbeVerdict verdict)
{
	switch (verdict)
	{
		case VERDICT_UP:
			return "up";
		case VERDICT_DOWN:
			return "down";
		case VERDICT_NONE:
			break;
	}
	return "none";
}

/* probe_verdict_parse returns the verdict for a word; none for any other word. */
ProbeVerdict
probe_verdict_parse(const char *name)
{
	if (strcmp(name, "up") == 0)
		return VERDICT_UP;
	return strcmp(name, "down") == 0 ? VERDICT_DOWN : VERDICT_NONE;
}

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

/* How long a gateway is damped after some falls. */
static int64
damping(int falls)
{
	return falls > 1 ? Min(falls, DAMPING_MAX / DAMPING_EACH) * DAMPING_EACH : 0;
}

static void
go_up(ProbeFinding *finding, int64 now)
{
	bool		returns = finding->verdict == VERDICT_DOWN;

	finding->verdict = VERDICT_UP;
	finding->forgiven_at = now;
	if (returns && damping(finding->falls) > 0)
		finding->damped_until = now + damping(finding->falls);
}

static void
go_down(ProbeFinding *finding, int64 now)
{
	if (finding->verdict == VERDICT_UP)
	{
		finding->falls++;
		finding->last_fall_at = now;
	}
	finding->verdict = VERDICT_DOWN;
}

/*
 * probe_finding_add adds an outcome and returns true if the verdict has changed.
 * "rise" successes in a row lead up, "fall" failures in a row down; an inconclusive
 * outcome changes nothing.  Without a verdict yet, the first success leads up, as in
 * Envoy: no failure came before it.
 */
bool
probe_finding_add(ProbeFinding *finding, const ProbePace *pace, ProbeOutcome outcome, int64 now)
{
	ProbeVerdict before = finding->verdict;

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
	if (finding->verdict == VERDICT_UP)
		forgive(finding, now);
	if (finding->verdict != VERDICT_UP &&
		(finding->successes >= pace->rise || (finding->verdict == VERDICT_NONE && finding->successes > 0)))
		go_up(finding, now);
	else if (finding->verdict != VERDICT_DOWN && finding->failures >= pace->fall)
		go_down(finding, now);
	return finding->verdict != before;
}

/*
 * probe_finding_recall returns a finding of an earlier prober by what was recorded of
 * it.  When the gateway went up is not: it counts as up since its last fall.
 */
ProbeFinding
probe_finding_recall(ProbeVerdict verdict, int falls, int64 last_fall_at, int64 now)
{
	ProbeFinding finding = {
		.verdict = verdict,
		.falls = falls,
		.last_fall_at = last_fall_at,
		.forgiven_at = last_fall_at
	};

	if (verdict == VERDICT_UP)
	{
		finding.damped_until = last_fall_at + damping(falls);
		forgive(&finding, now);
	}
	return finding;
}

/* probe_finding_in_doubt returns true if the last probes failed and the verdict is not down yet. */
bool
probe_finding_in_doubt(const ProbeFinding *finding)
{
	return finding->verdict != VERDICT_DOWN && finding->failures > 0;
}

/*
 * probe_phase returns the phase of a gateway: it spreads "count" gateways of one
 * interval evenly over it.  Ranks are in the order of a hash, so that neighbors by name
 * or address are not neighbors in time.  A gateway that is added or removed hardly
 * changes the phases of others.
 */
int64
probe_phase(int64 interval, int rank, int count)
{
	return interval * rank / count;
}

/* probe_grid_time returns the first time of a gateway's grid, phase plus intervals, that is not before "from". */
int64
probe_grid_time(int64 interval, int64 phase, int64 from)
{
	int64		past = (from - phase) % interval;

	return past == 0 ? from : from - past + (past > 0 ? interval : 0);
}

/*
 * probe_next_start returns when to start the next probe, after one that started at
 * "started_at" and has just ended.
 *
 * Starts keep to the gateway's grid, whenever the last probe ended: a gateway that
 * hangs is detected as soon as one that refuses.  While the verdict is in doubt, the
 * next start is the last one plus the retry interval, so that starts stay as spread as
 * they were.  Times that were missed are skipped.
 */
int64
probe_next_start(const ProbeFinding *finding, const ProbePace *pace, int64 phase, int64 started_at, int64 now)
{
	int64		next = probe_grid_time(pace->interval, phase, started_at + pace->interval / 2);

	if (probe_finding_in_doubt(finding) && pace->retry_interval < pace->interval)
		return Max(started_at + pace->retry_interval, now);

	/*
	 * A probe that hangs for the whole interval ends when the next one is
	 * due, or a little later.
	 */
	return next >= now - pace->interval / 2 ? next : probe_grid_time(pace->interval, phase, now);
}
