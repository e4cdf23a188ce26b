/*
 * worker_tasks.h
 *		What a worker does with tables and probes, each for itself.
 */
#ifndef GATEWAY_POOL_WORKER_TASKS_H
#define GATEWAY_POOL_WORKER_TASKS_H

/* Each fails by itself. */
typedef enum WorkerTask
{
	PROBE,
	LOOK,						/* whether there is anything to serve */
	READ,
	CONFIRM,
	RECORD,
	PRUNE,
	WORKER_TASK_COUNT
} WorkerTask;

extern bool worker_task_begin(WorkerTask which, int64 now);
extern void worker_task_end(void);
extern void worker_task_fail(const ErrorData *error, int64 now);
extern const char *worker_tasks_problem(void);

extern void worker_tasks_begin_service(void);
extern bool worker_tasks_lost_tables(void);
extern bool worker_tasks_follow(void);
extern void worker_tasks_probe(bool up_to_date, int64 now);
extern void worker_tasks_serve(int64 now);
extern int64 worker_tasks_next(int64 now);
extern void worker_tasks_finish(void);

#endif							/* GATEWAY_POOL_WORKER_TASKS_H */
