/*
 * my_worker_slot.h
 *		What a worker does with the slot that is its own.
 */
#ifndef GATEWAY_POOL_MY_WORKER_SLOT_H
#define GATEWAY_POOL_MY_WORKER_SLOT_H

#include "shared/worker_slots.h"

extern bool worker_self_claim(const WorkerTicket *ticket);
extern uint32 worker_self_wants(void);
extern void worker_self_run(void);
extern void worker_self_resign(uint32 wants);
extern void worker_self_begin_task(int task, int limit_ms);
extern void worker_self_enter_table(Oid table);
extern const char *worker_self_table(void);
extern void worker_self_end_task(void);
extern WorkerStall worker_self_stall(int task);
extern void worker_self_forget_stall(int task);
extern void worker_self_report_activity(const char *activity, bool busy);
extern void worker_self_report_problem(const char *problem);
extern void worker_self_report_round(const WorkerRound *round);

#endif							/* GATEWAY_POOL_MY_WORKER_SLOT_H */
