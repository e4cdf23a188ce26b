/*
 * prober.h
 *		Probes of many gateways at once, each at its time.
 */
#ifndef GATEWAY_POOL_PROBER_H
#define GATEWAY_POOL_PROBER_H

#include "datatype/timestamp.h"
#include "utils/uuid.h"

#include "probe/probe.h"

/* The first probe of a gateway begins within this time, however long its interval. */
#define PROBER_FIRST_WITHIN (5 * USECS_PER_SEC)

/* Bytes of what is wrong with a prober, with the terminator. */
#define PROBER_PROBLEM_SIZE 128

/* How to probe a gateway. */
typedef struct ProbePlan
{
	pg_uuid_t	gateway;
	ProbeSpec	spec;
	ProbePace	pace;
	int64		timeout;		/* of a whole probe, at most the interval */
	bool		required;		/* only the prober's user reads it and the
								 * next */
	const char *target;			/* valid only for prober_set_plans */
} ProbePlan;

/* Functions of the prober's user that it calls. */
typedef struct ProberUser
{
	ProbeRefusal refusal;
	bool		(*acquire_descriptor) (void);
	void		(*release_descriptor) (void);

	/* Returns what an earlier prober found; all zero if there is nothing. */
	ProbeFinding (*recall) (const pg_uuid_t *gateway);

	/*
	 * Takes the finding after a probe; "changed": by that, the verdict
	 * changed.
	 */
	void		(*publish) (const ProbePlan *plan, const ProbeFinding *finding, const ProbeResult *result, bool changed);

	/*
	 * Takes a finding that has changed without a probe: it counts for longer,
	 * as the next probe has to wait, or there is none, as the spec has
	 * changed.
	 */
	void		(*amend) (const ProbePlan *plan, const ProbeFinding *finding);
} ProberUser;

/* The state of a prober, for people. */
typedef struct ProberState
{
	int			targets;
	int			running;
	int			waiting;		/* due, but at the limit of concurrency */
	int64		lag;			/* the delay of the last round */
	int64		lateness;		/* 99th percentile of the delays of starts, of
								 * the last 10 to 20 s */
	bool		abstains;		/* timeouts are no evidence, after a stall of
								 * the prober */
} ProberState;

typedef struct Prober Prober;

extern Prober *prober_create(const ProberUser *user);
extern void prober_destroy(Prober *prober);
extern void prober_set_concurrency(Prober *prober, int concurrency);
extern void prober_set_plans(Prober *prober, const ProbePlan *plans, int count, int64 now);
extern bool prober_probe_now(Prober *prober, const pg_uuid_t *gateway, int64 now);
extern const ProbeFinding *prober_finding(Prober *prober, const pg_uuid_t *gateway);
extern int	prober_descriptor(const Prober *prober);
extern int64 prober_next_run(Prober *prober);
extern void prober_run(Prober *prober);
extern int64 prober_stalled_at(const Prober *prober);
extern void prober_state(Prober *prober, ProberState *state);
extern const char *prober_problem(const Prober *prober);

#endif							/* GATEWAY_POOL_PROBER_H */
