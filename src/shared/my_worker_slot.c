/*
 * my_worker_slot.c
 *		A worker's use of its own slot.
 *
 * A worker claims the slot for which it was started, publishes its activity there,
 * and leaves it at its end, in error or not.  A worker that starts late, when the
 * launcher has given it up, finds another generation and does not claim the slot.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/proc.h"
#include "utils/lsyscache.h"

#include "base/clock.h"
#include "base/termination.h"
#include "shared/my_worker_slot.h"
#include "shared/worker_slots_internal.h"

/* The pause of a task after it first ended a worker. */
#define STALL_PAUSE (4 * USECS_PER_SEC)

/* The process of a worker has exited this long after it left its slot. */
#define PROCESS_END (100 * INT64CONST(1000))

/* The pause before a worker that got SIGTERM, not by us, is started again. */
#define TERMINATED_PAUSE USECS_PER_SEC

/* Its slot, if this process is a worker. */
static WorkerSlot *mine;
static uint32 my_generation;

/* It found nothing to serve; valid as long as it has been requested this often. */
static bool resigned;
static uint32 resigned_wants;

/* The task that was begun last, and the table that it wrote last, or "". */
static int	current_task;
static char current_table[NAMEDATALEN];

/* Has the next workers pause the task that ended this one. */
static void
note_stall(WorkerSlot *slot)
{
	WorkerStall *stall = &slot->stalls[current_task];

	if (current_table[0] == '\0')
		strlcpy(stall->problem, "the tables are not read for now: that took too long, and could not be canceled", WORKER_TEXT_SIZE);
	else
		snprintf(stall->problem, WORKER_TEXT_SIZE,
				 "%s is not written for now: its triggers took too long, and could not be canceled", current_table);
	stall->until = clock_monotonic() + worker_pause(STALL_PAUSE, stall->count);
	stall->count++;
	worker_slot_set_text(slot, slot->info.problem, stall->problem);
}

/*
 * The worker ends, in error or not.  This callback is registered before the
 * connection, and so is called after the process has left the database: sessions
 * that wait for that can go on.
 */
static void
end_worker(int code, Datum arg)
{
	WorkerSlot *slot = mine;

	mine = NULL;
	worker_table_lock(LW_EXCLUSIVE);
	if (slot->info.pid == MyProcPid && slot->info.generation == my_generation)
	{
		slot->info.pid = 0;
		slot->latch = NULL;
		if (resigned && slot->info.wants == resigned_wants)
			worker_slot_vacate(slot);
		else if (resigned || slot->info.state == WORKER_STOPPING)
			worker_slot_enter_wanted(slot, 0);
		else if (ShutdownRequestPending)
			worker_slot_enter_wanted(slot, clock_monotonic() + TERMINATED_PAUSE);
		else if (termination_limit_was_reached())
		{
			/* The tasks that did not end it go on at once. */
			note_stall(slot);
			worker_slot_enter_wanted(slot, clock_monotonic() + PROCESS_END);
		}
		else
		{
			worker_slot_enter_wanted_again(slot);
			if (code != 0)
				worker_slot_set_text(slot, slot->info.problem, "the process ended in error: see the server's log");
		}
		ConditionVariableBroadcast(&worker_table->changed);
	}
	worker_table_unlock();
}

/*
 * my_worker_slot_claim makes this process the worker for which a ticket was made.
 * Returns false if it is no longer wanted.
 */
bool
my_worker_slot_claim(const WorkerTicket *ticket)
{
	WorkerSlot *slot = &worker_table->slots[ticket->number];
	bool		claimed = false;

	mine = slot;
	my_generation = ticket->generation;
	on_shmem_exit(end_worker, 0);

	worker_table_lock(LW_EXCLUSIVE);
	if (slot->info.generation == ticket->generation && slot->info.pid == 0 &&
		(slot->info.state == WORKER_STARTING || slot->info.state == WORKER_STOPPING))
	{
		slot->info.pid = MyProcPid;
		slot->latch = &MyProc->procLatch;
		claimed = slot->info.state == WORKER_STARTING;
	}
	worker_table_unlock();
	return claimed;
}

/* my_worker_slot_wants returns how often this worker has been requested. */
uint32
my_worker_slot_wants(void)
{
	uint32		wants;

	worker_table_lock(LW_SHARED);
	wants = mine->info.wants;
	worker_table_unlock();
	return wants;
}

/* my_worker_slot_run: STARTING to RUNNING, after something to serve was found. */
void
my_worker_slot_run(void)
{
	worker_table_lock(LW_EXCLUSIVE);
	Assert(mine->info.state != WORKER_WANTED && mine->info.pid == MyProcPid);
	if (mine->info.state == WORKER_STARTING)
	{
		worker_slot_enter(mine, WORKER_RUNNING);
		/* It may start the next one. */
		worker_table_wake_launcher();
	}
	worker_table_unlock();
}

/*
 * my_worker_slot_resign has the slot freed at the end of the process, because there
 * is nothing to serve, unless the worker is requested again after "wants" times.
 */
void
my_worker_slot_resign(uint32 wants)
{
	resigned = true;
	resigned_wants = wants;
}

/* my_worker_slot_stop returns why this worker is stopped by SIGTERM. */
WorkerStop
my_worker_slot_stop(void)
{
	WorkerStop	why = WORKER_STOP_OTHER;

	worker_table_lock(LW_SHARED);
	if (mine->info.state == WORKER_STOPPING)
		why = mine->stopped_for_command ? WORKER_STOP_COMMAND : WORKER_STOP_SETTING;
	worker_table_unlock();
	return why;
}

/* my_worker_slot_begin_task sets the task that is blamed if a limit of time ends this worker. */
void
my_worker_slot_begin_task(int task)
{
	Assert(task < WORKER_TASKS);
	current_task = task;
	current_table[0] = '\0';
}

/* my_worker_slot_enter_table sets the table that the current task writes from now on. */
void
my_worker_slot_enter_table(Oid table)
{
	char	   *name = get_rel_name(table);

	strlcpy(current_table, name == NULL ? "" : name, sizeof(current_table));
}

/* my_worker_slot_table returns the name of the table that the current task wrote last, or "". */
const char *
my_worker_slot_table(void)
{
	return current_table;
}

/*
 * my_worker_slot_stall returns how a task ended workers; NULL if it has not, or has
 * succeeded since.  Takes no lock: only this process changes it.
 */
const WorkerStall *
my_worker_slot_stall(int task)
{
	return mine->stalls[task].count == 0 ? NULL : &mine->stalls[task];
}

/* my_worker_slot_clear_stall removes the stall of a task, after the task has succeeded. */
void
my_worker_slot_clear_stall(int task)
{
	mine->stalls[task].count = 0;
}

/* my_worker_slot_publish_activity publishes what the worker does; "busy" is for pg_stat_activity. */
void
my_worker_slot_publish_activity(const char *activity, bool busy)
{
	/* No other process writes it while this one has the slot. */
	if (strncmp(mine->info.activity, activity, WORKER_TEXT_SIZE - 1) == 0)
		return;
	worker_slot_set_text(mine, mine->info.activity, activity);
	pgstat_report_activity(busy ? STATE_RUNNING : STATE_IDLE, activity);
}

/* my_worker_slot_publish_problem publishes what is wrong, "" for nothing. */
void
my_worker_slot_publish_problem(const char *problem)
{
	if (strncmp(mine->info.problem, problem, WORKER_TEXT_SIZE - 1) != 0)
		worker_slot_set_text(mine, mine->info.problem, problem);
}

/* my_worker_slot_publish_round publishes how the last round went. */
void
my_worker_slot_publish_round(const WorkerRound *round)
{
	SpinLockAcquire(&mine->mutex);
	mine->info.round = *round;
	SpinLockRelease(&mine->mutex);
}
