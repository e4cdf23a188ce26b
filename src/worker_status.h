/*
 * worker_status.h
 *		What is known of workers, for users.
 */
#ifndef GATEWAY_POOL_WORKER_STATUS_H
#define GATEWAY_POOL_WORKER_STATUS_H

extern const char *worker_status_problem(const char **remedy);

#endif							/* GATEWAY_POOL_WORKER_STATUS_H */
