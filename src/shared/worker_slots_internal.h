/*
 * worker_slots_internal.h
 *		The shared memory of workers: for worker_slots.c and my_worker_slot.c alone.
 *
 * One lock protects all of it, except what a worker publishes of itself: that has a
 * spinlock for each slot, to be cheap.
 */
#ifndef GATEWAY_POOL_WORKER_SLOTS_INTERNAL_H
#define GATEWAY_POOL_WORKER_SLOTS_INTERNAL_H

#include "storage/condition_variable.h"
#include "storage/latch.h"
#include "storage/lwlock.h"
#include "storage/spin.h"

#include "base/shared_memory.h"
#include "shared/worker_slots.h"

typedef struct WorkerSlot
{
	WorkerInfo	info;			/* round, activity and problem are protected
								 * by "mutex" */
	slock_t		mutex;
	Latch	   *latch;			/* of the process, in shared memory; NULL if
								 * none */
	bool		stopped_for_command;	/* valid while stopping: for a command
										 * on the database */
	int			failures;		/* ends in error in a row */
	WorkerStall stalls[WORKER_TASKS];	/* by the numbers that workers give
										 * them */
} WorkerSlot;

typedef struct WorkerTable
{
	pid_t		launcher;		/* 0: none at the moment */
	Latch	   *launcher_latch;
	bool		scan_wanted;	/* there may be databases for which no slot
								 * was free */
	ConditionVariable changed;	/* a worker has ended */
	WorkerSlot	slots[WORKER_SLOTS];
} WorkerTable;

extern WorkerTable *worker_table;

/* worker_table_lock locks all slots, LW_EXCLUSIVE to change any. */
static inline void
worker_table_lock(LWLockMode mode)
{
	LWLockAcquire(&shared_memory_locks(SHARED_WORKERS_LOCK)->lock, mode);
}

static inline void
worker_table_unlock(void)
{
	LWLockRelease(&shared_memory_locks(SHARED_WORKERS_LOCK)->lock);
}

extern void worker_table_wake_launcher(void);
extern void worker_slot_enter(WorkerSlot *slot, WorkerState state);
extern void worker_slot_enter_wanted(WorkerSlot *slot, int64 start_at);
extern void worker_slot_enter_wanted_again(WorkerSlot *slot);
extern void worker_slot_vacate(WorkerSlot *slot);
extern void worker_slot_set_text(WorkerSlot *slot, char *text, const char *value);

#endif							/* GATEWAY_POOL_WORKER_SLOTS_INTERNAL_H */
