/*
 * worker_status.h
 *		What is known of workers, for users.
 */
#ifndef GATEWAY_POOL_WORKER_STATUS_H
#define GATEWAY_POOL_WORKER_STATUS_H

/* As a row of check_gateway_pools(). */
typedef struct WorkerProblem
{
	const char *problem;		/* NULL if there is none */
	const char *detail;
	const char *remedy;
} WorkerProblem;

extern WorkerProblem worker_status_problem(void);

#endif							/* GATEWAY_POOL_WORKER_STATUS_H */
