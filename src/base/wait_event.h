/*
 * wait_event.h
 *		What this library's processes and functions wait for, as pg_stat_activity shows it.
 */
#ifndef GATEWAY_POOL_WAIT_EVENT_H
#define GATEWAY_POOL_WAIT_EVENT_H

typedef enum WaitName
{
	WAIT_LAUNCHER_MAIN,
	WAIT_WORKER_MAIN,
	WAIT_WORKER_END,
	WAIT_PROBE_READ,
	WAIT_PROBE_RESULT,
} WaitName;

extern uint32 wait_event(WaitName name);

#endif							/* GATEWAY_POOL_WAIT_EVENT_H */
