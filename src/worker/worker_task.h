/*
 * worker_task.h
 *		The tasks of a worker: each fails, and pauses, independently of the others.
 */
#ifndef GATEWAY_POOL_WORKER_TASK_H
#define GATEWAY_POOL_WORKER_TASK_H

#include "tables/catalog.h"

typedef enum WorkerTask
{
	TASK_PROBE,
	TASK_LOOK,					/* for something to serve */
	TASK_READ,
	TASK_CONFIRM,
	TASK_RECORD,
	TASK_PRUNE,
	WORKER_TASK_COUNT
} WorkerTask;

extern void worker_task_inherit_stalls(void);
extern bool worker_task_begin(WorkerTask which, int64 now);
extern bool worker_task_begin_last(WorkerTask which, int64 now, int64 end);
extern void worker_task_end(void);
extern void worker_task_fail(const ErrorData *error, int64 now);
extern void worker_task_pause(int64 until);
extern void worker_task_resume(WorkerTask which);
extern int64 worker_task_paused_until(WorkerTask which);
extern const char *worker_task_problem_of(WorkerTask which);
extern const char *worker_task_problem(void);

extern bool worker_task_open_tables(PoolCatalog *catalog, bool to_write);
extern void worker_task_commit(void);
extern bool worker_task_lost_tables(void);

#endif							/* GATEWAY_POOL_WORKER_TASK_H */
