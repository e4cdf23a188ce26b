/*
 * prober_internal.h
 *		The parts of a prober: for prober*.c alone.
 */
#ifndef GATEWAY_POOL_PROBER_INTERNAL_H
#define GATEWAY_POOL_PROBER_INTERNAL_H

#include "lib/ilist.h"
#include "lib/pairingheap.h"
#include "utils/hsearch.h"

#include "base/trust_cache.h"
#include "probe/prober.h"
#include "probe/resolver.h"

/* The delays of starts are counted in steps, over two spans in turn. */
#define LATENESS_STEP (5 * INT64CONST(1000))
#define LATENESS_STEPS 200
#define LATENESS_SPAN (10 * USECS_PER_SEC)

/* Where a target is between two probes. */
typedef enum TargetPlace
{
	TARGET_UNSCHEDULED,			/* targets_schedule gives it its time */
	TARGET_SCHEDULED,			/* in the heap */
	TARGET_RESOLVING,			/* waits for the address of its name */
	TARGET_WAITING,				/* is due, and waits for a place to run in */
	TARGET_RUNNING
} TargetPlace;

struct Run;

typedef struct Target
{
	pg_uuid_t	gateway;		/* the key */
	ProbePlan	plan;			/* owns its texts, except the PEM, which is
								 * that of "trust" */
	Trust	   *trust;
	ProbeFinding finding;
	TargetPlace place;
	bool		planned;		/* is in the new plans */
	bool		requested;		/* a caller waits: no start is too late */
	bool		probed;			/* a probe of this spec has shown something */
	bool		skipped;		/* its last start was too late */
	bool		dark;			/* it is down, and its last probe hung */
	int64		phase;
	int64		due;
	int64		work;			/* microseconds spent on its probes, in the
								 * span of Load that began at worked_since */
	int64		worked_since;
	struct sockaddr_storage address;
	struct Run *run;			/* valid if running */
	pairingheap_node heap_node; /* if scheduled */
	dlist_node	list_node;		/* if resolving or waiting */
} Target;

/* The epoll set's data for the socket of a tcp probe: this and the number of the run. */
#define TCP_EVENT (UINT64CONST(1) << 63)

/* A place for a probe to run in. */
typedef struct Run
{
	Probe	   *probe;			/* if not tcp */
	int			socket;			/* of a tcp probe; -1 if there is none */
	Target	   *target;			/* NULL if free */
	bool		dark;
	bool		unwatched;		/* its socket could not be watched */
	bool		prolonged;		/* it got its timeout a second time */
	int64		started_at;
	int64		shaken_at;		/* the end of the handshake if the probe
								 * listens after that, else 0 */
	int64		deadline;
	int64		stalled_before; /* Prober.stalled when it began */
	dlist_node	list_node;
} Run;

typedef struct Lateness
{
	int64		since;
	uint32		starts;
	uint32		steps[LATENESS_STEPS + 1];
} Lateness;

/* How the prober spends its time, and how much longer its intervals are for that. */
typedef struct Load
{
	double		stretch;		/* the factor of all intervals, 1 if there is
								 * enough time */
	int			high_spans;		/* in a row */
	int64		late_since;		/* the first of stalls in a row; valid after a
								 * recent stall */
	int64		described_at;
	char		problem[PROBER_PROBLEM_SIZE];	/* "" if there is none */

	/* Of the current span. */
	int64		since;
	int64		processor;		/* processor time of the process before it */
	int64		busy;
	int64		late;
	int64		by_protocol[PROBE_PROTOCOLS];
	int64		most_work;
	pg_uuid_t	costliest;		/* the gateway with most_work; valid if that
								 * is not 0 */
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
	dlist_head	resolving_again;	/* an answer has come, perhaps theirs */
	dlist_head	waiting;		/* the longest first */
	dlist_head	waiting_dark;
	int			waiting_count;
	Run		   *runs;
	int			run_count;
	Probe	  **probes;			/* all that were made: those of runs, and
								 * spare ones */
	int			probe_count;
	dlist_head	free_runs;
	dlist_head	running;
	int			live_room;		/* places left for each kind */
	int			dark_room;
	bool		to_schedule;	/* the plans have changed since the last
								 * targets_schedule, or an ERROR has ended a
								 * round */
	bool		in_round;		/* in prober_run */
	int64		timer;			/* libcurl's next, or PG_INT64_MAX */
	int64		planned;		/* when the next round is due */
	int64		lag;
	int64		stalled;		/* the sum of all stalls */
	int64		stalled_at;
	int64		swept_at;		/* when the resolver last dropped unused names */
	int64		extended_at;	/* when the findings of all that wait were
								 * last extended */
	uint64		resolved;		/* the resolver's generation at the last
								 * look-ups */
	Lateness	lateness[2];	/* the current span and the one before */
	Load		load;
};

extern int	target_compare_due(const pairingheap_node *a, const pairingheap_node *b, void *arg);
extern void target_schedule(Prober *prober, Target *target, int64 due);
extern void targets_schedule(Prober *prober, int64 now);
extern void targets_reschedule(Prober *prober, int64 now);
extern void target_unschedule(Prober *prober, Target *target);
extern void target_finish(Prober *prober, Target *target, ProbeResult *result, int64 started_at, int64 now);

extern void runs_cancel(Prober *prober);
extern void run_cancel(Prober *prober, Target *target);
extern bool run_start(Prober *prober, Target *target, int64 now);
extern void run_finish_tcp(Prober *prober, Run *run, uint32 events);
extern void run_listen(Prober *prober, Run *run);
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
