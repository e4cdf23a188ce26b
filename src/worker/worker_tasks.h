/*
 * worker_tasks.h
 *		What a worker does with tables and probes, each for itself.
 */
#ifndef GATEWAY_POOL_WORKER_TASKS_H
#define GATEWAY_POOL_WORKER_TASKS_H

/* Each fails by itself. */
typedef enum Chore
{
	PROBE,
	LOOK,						/* whether there is anything to serve */
	READ,
	CONFIRM,
	RECORD,
	PRUNE,
	CHORES
} Chore;

extern bool chore_begin(Chore which, int64 now);
extern void chore_end(void);
extern void chore_fail(const ErrorData *error, int64 now);
extern const char *chores_problem(void);

extern void chores_begin_service(void);
extern bool chores_lost_tables(void);
extern bool chores_follow(void);
extern void chores_probe(bool up_to_date, int64 now);
extern void chores_serve(int64 now);
extern int64 chores_next(int64 now);
extern void chores_finish(void);

#endif							/* GATEWAY_POOL_WORKER_TASKS_H */
