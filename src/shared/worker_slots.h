/*
 * worker_slots.h
 *		The workers of all databases, in shared memory.
 */
#ifndef GATEWAY_POOL_WORKER_SLOTS_H
#define GATEWAY_POOL_WORKER_SLOTS_H

/* The most databases with a worker; a flag says that there may be more. */
#define WORKER_SLOTS 256

/* Why a database has no worker, for logs and views. */
#define NO_WORKER_SLOT "all " CppAsString2(WORKER_SLOTS) " places for workers are taken by other databases"
#define NO_WORKER_PROCESS "no background worker is free: raise max_worker_processes"

#define WORKER_TEXT_SIZE 128

/* The most kinds of tasks of a worker. */
#define WORKER_TASKS 8

typedef enum WorkerState
{
	WORKER_FREE,				/* the slot is of no database */
	WORKER_HELD,				/* no worker, because of a command on the
								 * database */
	WORKER_WANTED,				/* for the launcher to start */
	WORKER_STARTING,			/* the process was requested, or looks for
								 * something to serve */
	WORKER_RUNNING,
	WORKER_STOPPING				/* SIGTERM was sent to it */
} WorkerState;

/* How the last round of a worker went. */
typedef struct WorkerRound
{
	int64		at;				/* monotonic; 0: there was none */
	int64		lag;			/* its delay in microseconds */
	int64		lateness;		/* microseconds, 99th percentile of the starts
								 * of the last 10 to 20 s */
	int64		queue_dropped;	/* changes that were dropped, since the start */
	int32		queue_length;	/* changes that wait to be recorded */
	int32		targets;
	int32		running_probes;
	int32		waiting_probes; /* due, but at the limit of concurrency */
	bool		abstains;		/* timeouts are no evidence at the moment */
	bool		overloaded;		/* the worker's problem is that it has too
								 * much to do */
} WorkerRound;

/* A task that took too long, could not be canceled, and so ended the worker. */
typedef struct WorkerStall
{
	int			count;			/* times in a row; 0: none */
	int64		until;			/* it pauses until then, monotonic */
	char		problem[WORKER_TEXT_SIZE];
} WorkerStall;

/* What any process may read of a slot. */
typedef struct WorkerInfo
{
	int			number;
	Oid			database;
	WorkerState state;
	uint32		generation;		/* of the worker that was started last */
	pid_t		pid;			/* 0: no process has claimed the slot */
	int			holds;
	uint32		wants;			/* counts the requests for the worker */
	int64		since;			/* of the state, monotonic */
	int64		start_at;		/* a wanted worker is not started before this */
	WorkerRound round;
	char		activity[WORKER_TEXT_SIZE];
	char		problem[WORKER_TEXT_SIZE];	/* or "" */
} WorkerInfo;

/* What the launcher passes to a worker, in bgw_extra. */
typedef struct WorkerTicket
{
	int			number;
	uint32		generation;
	Oid			database;
} WorkerTicket;

/* worker_pause returns the pause after a failure: "first", doubled for each failure before it, at most a minute. */
static inline int64
worker_pause(int64 first, int failures_before)
{
	return Min(first << Min(failures_before, 10), INT64CONST(60000000));
}

extern Size worker_slots_size(void);
extern void worker_slots_startup(void);
extern bool worker_slots_exist(void);

extern bool worker_slots_has(Oid database);
extern bool worker_slots_want(Oid database);
extern void worker_slots_want_scan(void);
extern bool worker_slots_want_here(void);
extern void worker_slots_wake(Oid database);
extern bool worker_slots_hold(Oid database);
extern void worker_slots_await_end(Oid database, int timeout_ms);
extern void worker_slots_release(Oid database);
extern WorkerInfo *worker_slots_list(int *count);
extern pid_t worker_slots_launcher(void);

extern void worker_slots_become_launcher(void);
extern bool worker_slots_take_scan(void);
extern bool worker_slots_begin_start(const WorkerInfo *info, WorkerTicket *ticket);
extern void worker_slots_postpone(const WorkerTicket *ticket);
extern void worker_slots_set_problem(const WorkerInfo *info, const char *problem);
extern void worker_slots_lose(const WorkerInfo *info);
extern void worker_slots_discard(const WorkerInfo *info);
extern void worker_slots_stop(const WorkerInfo *info);

#endif							/* GATEWAY_POOL_WORKER_SLOTS_H */
