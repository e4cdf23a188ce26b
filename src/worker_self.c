/*
 * worker_self.c
 *		What a worker does with the slot that is its own.
 *
 * It claims the slot that it was started for, says how it goes, and leaves it at
 * its end, whatever that is.  One that comes late, when the launcher has given it
 * up, finds another generation in the slot and leaves it alone.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "pgstat.h"
#include "storage/ipc.h"
#include "storage/proc.h"

#include "worker_self.h"
#include "worker_slot.h"

/* Its slot, if this process is a worker. */
static WorkerSlot *mine;
static uint32 my_generation;

/* It found nothing to serve when it had been wanted so often. */
static bool resigned;
static uint32 resigned_wants;

/*
 * The worker ends, for whatever reason.  It was registered before a connection
 * was made, so it is called after the process has left the database: who waits
 * for that need not wait any longer.
 */
static void
end_worker(int code, Datum arg)
{
	WorkerSlot *slot = mine;

	mine = NULL;
	worker_table_lock(LW_EXCLUSIVE);
	if (slot->pid == MyProcPid && slot->generation == my_generation)
	{
		slot->pid = 0;
		slot->latch = NULL;
		if (resigned && slot->wants == resigned_wants)
			worker_slot_vacate(slot);
		else if (resigned || slot->state == WORKER_STOPPING)
			worker_slot_enter_wanted(slot, 0);
		else
		{
			worker_slot_enter_wanted_again(slot);
			if (code != 0)
				worker_slot_set_text(slot, slot->problem, "the process ended in error: see the server's log");
		}
		ConditionVariableBroadcast(&worker_table->changed);
	}
	worker_table_unlock();
}

/*
 * worker_self_claim makes this process the worker that a ticket is for.  Returns
 * false if it is not wanted any more.
 */
bool
worker_self_claim(const WorkerTicket *ticket)
{
	WorkerSlot *slot = &worker_table->slots[ticket->number];
	bool		claimed = false;

	mine = slot;
	my_generation = ticket->generation;
	on_shmem_exit(end_worker, 0);

	worker_table_lock(LW_EXCLUSIVE);
	if (slot->generation == ticket->generation && slot->pid == 0 &&
		(slot->state == WORKER_STARTING || slot->state == WORKER_STOPPING))
	{
		slot->pid = MyProcPid;
		slot->latch = &MyProc->procLatch;
		claimed = slot->state == WORKER_STARTING;
	}
	worker_table_unlock();
	return claimed;
}

/* worker_self_wants returns how often this worker has been wanted by now. */
uint32
worker_self_wants(void)
{
	uint32		wants;

	worker_table_lock(LW_SHARED);
	wants = mine->wants;
	worker_table_unlock();
	return wants;
}

/* worker_self_run, STARTING to RUNNING: there is something to serve. */
void
worker_self_run(void)
{
	worker_table_lock(LW_EXCLUSIVE);
	Assert(mine->state != WORKER_WANTED && mine->pid == MyProcPid);
	if (mine->state == WORKER_STARTING)
	{
		worker_slot_enter(mine, WORKER_RUNNING);
		/* There may be others whose turn it is. */
		worker_table_wake_launcher();
	}
	worker_table_unlock();
}

/*
 * worker_self_resign says that there was nothing to serve when the worker had
 * been wanted so often: the slot goes with the process, unless it is wanted anew.
 */
void
worker_self_resign(uint32 wants)
{
	resigned = true;
	resigned_wants = wants;
}

/* worker_self_report_activity says what the worker does; "busy" is for pg_stat_activity. */
void
worker_self_report_activity(const char *activity, bool busy)
{
	/* Nobody else writes it while this process has the slot. */
	if (strncmp(mine->activity, activity, WORKER_TEXT_SIZE - 1) == 0)
		return;
	worker_slot_set_text(mine, mine->activity, activity);
	pgstat_report_activity(busy ? STATE_RUNNING : STATE_IDLE, activity);
}

/* worker_self_report_problem says what is wrong, "" for nothing. */
void
worker_self_report_problem(const char *problem)
{
	if (strncmp(mine->problem, problem, WORKER_TEXT_SIZE - 1) != 0)
		worker_slot_set_text(mine, mine->problem, problem);
}

/* worker_self_report_round says how the last round went. */
void
worker_self_report_round(const WorkerRound *round)
{
	SpinLockAcquire(&mine->mutex);
	mine->round = *round;
	SpinLockRelease(&mine->mutex);
}
