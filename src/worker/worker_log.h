/*
 * worker_log.h
 *		What the server's log says of a worker.
 */
#ifndef GATEWAY_POOL_WORKER_LOG_H
#define GATEWAY_POOL_WORKER_LOG_H

/* Begins the name of the process; the name of its database follows. */
#define WORKER_PROCESS_NAME "gateway_pool worker for "

extern const char *worker_log_database(void);
extern void worker_log_ready(int gateways, int probed);
extern void worker_log_problem(const char *problem, int64 now);
extern void worker_log_recovered(int64 now);
extern void worker_log_end(const char *reason);

#endif							/* GATEWAY_POOL_WORKER_LOG_H */
