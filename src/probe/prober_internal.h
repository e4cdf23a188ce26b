/*
 * prober_internal.h
 *		What a prober consists of: for prober.c, prober_schedule.c, prober_running.c and
 *		prober_load.c alone.
 */
#ifndef GATEWAY_POOL_PROBER_INTERNAL_H
#define GATEWAY_POOL_PROBER_INTERNAL_H

#include "lib/ilist.h"
#include "lib/pairingheap.h"
#include "utils/hsearch.h"

#include "base/trust_cache.h"
#include "probe/prober.h"
#include "probe/resolver.h"

/* Lateness of starts is counted in steps, over two spans in turn. */
#define LATENESS_STEP (5 * INT64CONST(1000))
#define LATENESS_STEPS 200
#define LATENESS_SPAN (10 * USECS_PER_SEC)

/* Where a target is between two probes. */
typedef enum TargetPlace
{
	TARGET_NOWHERE,				/* yet: it gets its time with its phase */
	TARGET_SCHEDULED,			/* in the heap */
	TARGET_RESOLVING,			/* for the address of its name */
	TARGET_WAITING,				/* for a place to run in */
	TARGET_RUNNING
} TargetPlace;

struct Run;

typedef struct Target
{
	pg_uuid_t	gateway;		/* the key */
	ProbePlan	plan;			/* its texts are ours, its PEM is that of
								 * "trust" */
	Trust	   *trust;
	ProbeFinding finding;
	TargetPlace place;
	bool		kept;			/* the new plans have it too */
	bool		asked;			/* somebody waits: no start is too late */
	bool		left_out;		/* the last start was */
	bool		dark;			/* it is down, and hangs */
	int64		phase;
	int64		due;
	int64		work;			/* microseconds spent on its probes, in the
								 * span of Load */
	int64		worked_since;	/* that began then */
	struct sockaddr_storage address;
	struct Run *run;			/* valid if running */
	pairingheap_node heap_node; /* if scheduled */
	dlist_node	list_node;		/* if resolving or waiting */
} Target;

/* A place for a probe to run in. */
typedef struct Run
{
	Probe	   *probe;
	Target	   *target;			/* NULL if free */
	bool		dark;
	bool		blind;			/* its socket could not be watched */
	bool		prolonged;		/* it had its time once more */
	int64		started_at;
	int64		deadline;
	int64		stalled_before; /* of all stalls so far, when it began */
	dlist_node	list_node;
} Run;

typedef struct Lateness
{
	int64		since;
	uint32		starts;
	uint32		steps[LATENESS_STEPS + 1];
} Lateness;

/* What the prober's time goes to, and what follows from it. */
typedef struct Load
{
	double		stretch;		/* of all intervals; 1 where there is time
								 * enough */
	int			high_spans;		/* in a row */
	int64		late_since;		/* stalls have come one after the other; valid
								 * if one has just come */
	int64		described_at;
	char		problem[PROBER_PROBLEM_SIZE];	/* "" if there is none */

	/* Of the current span. */
	int64		since;
	int64		processor;		/* processor time of the process before */
	int64		busy;
	int64		late;
	int64		by_protocol[PROBE_HTTPS + 1];
	int64		most_work;
	pg_uuid_t	costliest;		/* gateway, which had that; valid if any had */
} Load;

struct Prober
{
	ProberUser	user;
	MemoryContext context;
	int			epoll;
	CURLM	   *multi;
	Resolver   *resolver;
	TrustCache *trusts;
	HTAB	   *targets;
	pairingheap *schedule;
	dlist_head	resolving;
	dlist_head	waiting;		/* the longest first */
	dlist_head	waiting_dark;
	int			waiting_count;
	Run		   *runs;
	int			run_count;
	Probe	  **probes;			/* all that were made: of the runs, and to
								 * spare */
	int			probe_count;
	dlist_head	free_runs;
	dlist_head	running;
	int			live_room;		/* places left for each kind */
	int			dark_room;
	bool		to_schedule;	/* the plans are others than the times are for */
	int64		timer;			/* libcurl's next, or PG_INT64_MAX */
	int64		planned;		/* when the next round is to begin */
	int64		lag;
	int64		stalled;		/* all stalls together */
	int64		stalled_at;
	int64		swept_at;		/* when the resolver last forgot unused names */
	int64		extended_at;	/* when the findings of all that wait were
								 * last extended */
	uint64		resolved;		/* the resolver's generation when it was last
								 * asked */
	Lateness	lateness[2];	/* the current span and the one before */
	Load		load;
};

extern int	target_compare_due(const pairingheap_node *a, const pairingheap_node *b, void *arg);
extern void target_schedule(Prober *prober, Target *target, int64 due);
extern void targets_schedule(Prober *prober, int64 now);
extern void targets_hasten(Prober *prober, int64 now);
extern void target_unschedule(Prober *prober, Target *target);
extern void target_finish(Prober *prober, Target *target, ProbeResult *result, int64 started_at, int64 now);

extern void runs_cancel(Prober *prober);
extern void run_cancel(Prober *prober, Target *target);
extern bool run_start(Prober *prober, Target *target, int64 now);
extern void runs_finish_ended(Prober *prober);
extern void runs_expire(Prober *prober, int64 now);
extern int64 runs_lateness(const Prober *prober);

extern int64 load_interval(const Prober *prober, int64 interval);
extern ProbePace load_pace(const Prober *prober, const Target *target);
extern void load_note_work(Prober *prober, Target *target, int64 time);
extern void load_note_round(Prober *prober, int64 late, int64 busy, int64 now);
extern void load_note_stall(Prober *prober, int64 now);
extern bool load_is_late_for_long(const Prober *prober, int64 now);

#endif							/* GATEWAY_POOL_PROBER_INTERNAL_H */
