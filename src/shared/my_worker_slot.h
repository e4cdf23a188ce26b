/*
 * my_worker_slot.h
 *		A worker's use of its own slot.
 */
#ifndef GATEWAY_POOL_MY_WORKER_SLOT_H
#define GATEWAY_POOL_MY_WORKER_SLOT_H

#include "shared/worker_slots.h"

/* Why a worker is stopped by SIGTERM. */
typedef enum WorkerStop
{
	WORKER_STOP_OTHER,			/* by another process than ours */
	WORKER_STOP_COMMAND,		/* for a command on the database */
	WORKER_STOP_SETTING			/* gateway_pool.worker is off */
} WorkerStop;

extern bool my_worker_slot_claim(const WorkerTicket *ticket);
extern uint32 my_worker_slot_wants(void);
extern void my_worker_slot_run(void);
extern void my_worker_slot_resign(uint32 wants);
extern void my_worker_slot_begin_task(int task);
extern void my_worker_slot_enter_table(Oid table);
extern const char *my_worker_slot_table(void);
extern WorkerStop my_worker_slot_stop(void);
extern const WorkerStall *my_worker_slot_stall(int task);
extern void my_worker_slot_clear_stall(int task);
extern void my_worker_slot_publish_activity(const char *activity, bool busy);
extern void my_worker_slot_publish_problem(const char *problem);
extern void my_worker_slot_publish_round(const WorkerRound *round);

#endif							/* GATEWAY_POOL_MY_WORKER_SLOT_H */
