/*
 * worker_status.h
 *		Workers as users see them.
 */
#ifndef GATEWAY_POOL_WORKER_STATUS_H
#define GATEWAY_POOL_WORKER_STATUS_H

/* Columns of a row of check_gateway_pools(). */
typedef struct WorkerProblem
{
	const char *problem;		/* NULL if there is none */
	const char *detail;
	const char *remedy;
} WorkerProblem;

extern WorkerProblem worker_status_problem(void);

#endif							/* GATEWAY_POOL_WORKER_STATUS_H */
