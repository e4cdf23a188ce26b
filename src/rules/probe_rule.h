/*
 * probe_rule.h
 *		From the outcomes of probes to a verdict, and to the time of the next.
 *
 * Pure, as health_rule.h.  Times are microseconds on the monotonic clock.
 */
#ifndef GATEWAY_POOL_PROBE_RULE_H
#define GATEWAY_POOL_PROBE_RULE_H

/* The intervals for which a finding counts. */
#define PROBE_COUNTED_INTERVALS 3

/* What the probes of a gateway decide. */
typedef enum ProbeVerdict
{
	VERDICT_NONE,				/* not enough probes yet */
	VERDICT_UP,
	VERDICT_DOWN
} ProbeVerdict;

typedef enum ProbeOutcome
{
	PROBE_SUCCEEDED,
	PROBE_FAILED,
	PROBE_INCONCLUSIVE			/* the prober's own trouble: no evidence about
								 * the gateway */
} ProbeOutcome;

/* How often probes are made, and how many lead to another verdict. */
typedef struct ProbePace
{
	int64		interval;		/* from start to start */
	int64		retry_interval; /* from start to start, while the verdict is
								 * in doubt */
	int			rise;			/* successes in a row that lead up */
	int			fall;			/* failures in a row that lead down */
} ProbePace;

/* What the probes of a gateway have shown so far; all zero at first. */
typedef struct ProbeFinding
{
	ProbeVerdict verdict;
	int64		counts_until;	/* the verdict is evidence until then; set by
								 * the caller */
	int			successes;		/* in a row */
	int			failures;		/* in a row */
	int			falls;			/* from up to down, those not forgiven yet */
	int64		last_fall_at;	/* valid if there are falls */
	int64		forgiven_at;	/* when the time up began that forgives the
								 * next fall */
	int64		damped_until;	/* 0 if not damped */
} ProbeFinding;

extern const char *probe_verdict_name(ProbeVerdict verdict);
extern ProbeVerdict probe_verdict_parse(const char *name);
extern bool probe_finding_add(ProbeFinding *finding, const ProbePace *pace, ProbeOutcome outcome, int64 now);
extern ProbeFinding probe_finding_recall(ProbeVerdict verdict, int falls, int64 last_fall_at, int64 now);
extern bool probe_finding_in_doubt(const ProbeFinding *finding);
extern int64 probe_phase(int64 interval, int rank, int count);
extern int64 probe_grid_time(int64 interval, int64 phase, int64 from);
extern int64 probe_next_start(const ProbeFinding *finding, const ProbePace *pace, int64 phase,
							  int64 started_at, int64 now);

#endif							/* GATEWAY_POOL_PROBE_RULE_H */
