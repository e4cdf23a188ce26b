/*
 * worker_slots.h
 *		Which database has which worker, in shared memory.
 */
#ifndef GATEWAY_POOL_WORKER_SLOTS_H
#define GATEWAY_POOL_WORKER_SLOTS_H

/* Databases that are known at once; of others a flag is kept that there are some. */
#define WORKER_SLOTS 256

#define WORKER_TEXT_SIZE 128

/* Kinds of work that a worker does in transactions, at most. */
#define WORKER_TASKS 8

typedef enum WorkerState
{
	WORKER_FREE,				/* nobody's */
	WORKER_HELD,				/* no worker, and a command on the database
								 * keeps it so */
	WORKER_WANTED,				/* for the launcher to start */
	WORKER_STARTING,			/* asked for; finds out whether there is
								 * anything to serve */
	WORKER_RUNNING,
	WORKER_STOPPING				/* was asked to end */
} WorkerState;

/* What a worker says of its last round. */
typedef struct WorkerRound
{
	int64		at;				/* monotonic; 0: there was none */
	int64		lag;			/* microseconds by which it was late */
	int64		lateness;		/* microseconds, 99th percentile of the starts
								 * of the last 10 to 20 s */
	int64		queue_dropped;	/* what was not recorded since the start */
	int32		queue_length;	/* what is still to be recorded */
	int32		targets;
	int32		running_probes;
	int32		waiting_probes; /* due, and without a place to run in */
	bool		abstains;		/* its timeouts are no evidence at the moment */
	bool		overloaded;		/* what is wrong with the worker is that it
								 * has too much to do */
} WorkerRound;

/* A kind of work that did not end in time, and could not be canceled: it ended the worker. */
typedef struct WorkerStall
{
	int			count;			/* times in a row; 0: none */
	int64		until;			/* it is left alone until then, monotonic */
	char		problem[WORKER_TEXT_SIZE];
} WorkerStall;

/* One slot as it was when it was read. */
typedef struct WorkerInfo
{
	int			number;
	Oid			database;
	WorkerState state;
	uint32		generation;		/* of the worker that was started last */
	pid_t		pid;			/* 0: none that has got so far */
	int			holds;
	uint32		wants;
	int64		since;			/* of the state, monotonic */
	int64		start_at;		/* a wanted worker is not started before this */
	WorkerRound round;
	char		activity[WORKER_TEXT_SIZE];
	char		problem[WORKER_TEXT_SIZE];	/* or "" */
} WorkerInfo;

/* By what a worker is told who it is, in bgw_extra. */
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
extern void worker_slots_want_here(void);
extern void worker_slots_wake(Oid database);
extern bool worker_slots_hold(Oid database);
extern void worker_slots_await_end(Oid database, int timeout_ms);
extern void worker_slots_release(Oid database);
extern WorkerInfo *worker_slots_list(int *count);
extern pid_t worker_slots_launcher(void);

extern void worker_slots_become_launcher(void);
extern bool worker_slots_take_scan(void);
extern bool worker_slots_begin_start(const WorkerInfo *info, WorkerTicket *ticket);
extern void worker_slots_postpone(const WorkerTicket *ticket, int64 start_at, const char *problem);
extern void worker_slots_lose(const WorkerInfo *info);
extern void worker_slots_forget(const WorkerInfo *info);
extern void worker_slots_stop(const WorkerInfo *info);

#endif							/* GATEWAY_POOL_WORKER_SLOTS_H */
