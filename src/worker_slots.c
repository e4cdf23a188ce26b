/*
 * worker_slots.c
 *		Which database has which worker, in shared memory.
 *
 * A fixed array of slots, one for each database that has a worker, wants one, or
 * is held by a command that must not meet any:
 *
 *		FREE ── want ──► WANTED ── begin_start ──► STARTING ── run ──► RUNNING
 *		 ▲ │              ▲ │ ▲                       │                   │
 *		 │ hold        want │ └───── postpone, lose ──┤── hold, stop ─────┤
 *		 │ ▼              │ forget                    ▼                   │
 *		 └─HELD ──────────┘ ▼                      STOPPING               │
 *		 ▲     ◄─── FREE or HELD                      │                   │
 *		 └──────── the worker has ended: WANTED, or, if it resigned ──────┘
 *
 * All of it changes under one lock; only what a worker says of itself has a
 * spinlock, so that saying it costs next to nothing.  Nothing in a slot is of one
 * process alone.  A worker is known by slot and generation: one that comes late,
 * when the launcher has given it up, finds another generation and leaves.
 */
#include "postgres.h"

#include <signal.h>

#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/condition_variable.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lwlock.h"
#include "storage/proc.h"
#include "storage/shmem.h"
#include "storage/spin.h"

#include "clock.h"
#include "compat.h"
#include "shared_memory.h"
#include "worker_slots.h"

/* A worker that ends in error is started again after the first, doubled each time up to the last. */
#define FIRST_PAUSE USECS_PER_SEC
#define LAST_PAUSE (60 * USECS_PER_SEC)

/* One that has run for so long has nothing to do with errors before. */
#define RECOVERED_AFTER (60 * USECS_PER_SEC)

typedef struct WorkerSlot
{
	Oid			database;
	WorkerState state;
	uint32		generation;
	pid_t		pid;
	Latch	   *latch;			/* of the process, in shared memory; NULL if none */
	int			holds;
	uint32		wants;			/* counts how often it was wanted */
	int			failures;		/* ends in error in a row */
	int64		since;
	int64		start_at;

	slock_t		mutex;			/* protects what follows */
	WorkerRound round;
	char		activity[WORKER_TEXT_SIZE];
	char		problem[WORKER_TEXT_SIZE];
} WorkerSlot;

typedef struct WorkerTable
{
	pid_t		launcher;		/* 0: none at the moment */
	Latch	   *launcher_latch;
	bool		scan_wanted;	/* there may be databases that had no room here */
	ConditionVariable changed;	/* a worker has ended */
	WorkerSlot	slots[WORKER_SLOTS];
} WorkerTable;

static WorkerTable *table;

/* The worker's own slot, if this process is one. */
static WorkerSlot *mine;
static uint32 my_generation;

/* It found nothing to serve when it had been wanted so often. */
static bool resigned;
static uint32 resigned_wants;

/* worker_slots_size returns what the table takes of shared memory. */
Size
worker_slots_size(void)
{
	return sizeof(WorkerTable);
}

/* worker_slots_startup makes the table, or finds it, while AddinShmemInitLock is held. */
void
worker_slots_startup(void)
{
	bool		found;

	table = ShmemInitStruct("gateway_pool workers", sizeof(WorkerTable), &found);
	if (found)
		return;
	memset(table, 0, sizeof(WorkerTable));
	ConditionVariableInit(&table->changed);
	for (int i = 0; i < WORKER_SLOTS; i++)
		SpinLockInit(&table->slots[i].mutex);
}

/* worker_slots_exist tells whether the library was preloaded. */
bool
worker_slots_exist(void)
{
	return table != NULL;
}

static void
lock(LWLockMode mode)
{
	LWLockAcquire(&shared_memory_locks(SHARED_WORKERS_LOCK)->lock, mode);
}

static void
unlock(void)
{
	LWLockRelease(&shared_memory_locks(SHARED_WORKERS_LOCK)->lock);
}

static void
wake_launcher(void)
{
	if (table->launcher_latch != NULL)
		SetLatch(table->launcher_latch);
}

/* The slot of a database, or NULL. */
static WorkerSlot *
find(Oid database)
{
	for (int i = 0; i < WORKER_SLOTS; i++)
		if (table->slots[i].state != WORKER_FREE && table->slots[i].database == database)
			return &table->slots[i];
	return NULL;
}

static void
enter(WorkerSlot *slot, WorkerState state)
{
	slot->state = state;
	slot->since = clock_monotonic();
}

static void
set_text(WorkerSlot *slot, char *text, const char *value)
{
	char		cut[WORKER_TEXT_SIZE];

	memset(cut, 0, sizeof(cut));
	memcpy(cut, value, pg_mbcliplen(value, strlen(value), sizeof(cut) - 1));
	SpinLockAcquire(&slot->mutex);
	memcpy(text, cut, sizeof(cut));
	SpinLockRelease(&slot->mutex);
}

static void
forget_report(WorkerSlot *slot)
{
	WorkerRound none = {0};

	SpinLockAcquire(&slot->mutex);
	slot->round = none;
	SpinLockRelease(&slot->mutex);
	set_text(slot, slot->activity, "");
}

/* FREE to HELD: the slot of a database that had none, or NULL if all are in use. */
static WorkerSlot *
take(Oid database)
{
	for (int i = 0; i < WORKER_SLOTS; i++)
	{
		WorkerSlot *slot = &table->slots[i];

		if (slot->state != WORKER_FREE)
			continue;
		slot->database = database;
		slot->failures = 0;
		forget_report(slot);
		set_text(slot, slot->problem, "");
		enter(slot, WORKER_HELD);
		return slot;
	}
	return NULL;
}

/* HELD to FREE, unless a command does hold it. */
static void
give_up(WorkerSlot *slot)
{
	Assert(slot->state == WORKER_HELD);
	if (slot->holds > 0)
		return;
	enter(slot, WORKER_FREE);
	wake_launcher();
}

/* To WANTED, to be started at some time, 0 for at once. */
static void
enter_wanted(WorkerSlot *slot, int64 start_at)
{
	Assert(slot->pid == 0);
	slot->start_at = start_at;
	forget_report(slot);
	enter(slot, WORKER_WANTED);
	wake_launcher();
}

/* To WANTED after an end that nobody asked for. */
static void
enter_wanted_again(WorkerSlot *slot)
{
	int64		now = clock_monotonic();

	if (slot->state == WORKER_RUNNING && now - slot->since >= RECOVERED_AFTER)
		slot->failures = 0;
	enter_wanted(slot, now + Min(FIRST_PAUSE << Min(slot->failures, 10), LAST_PAUSE));
	slot->failures++;
}

/* STARTING or RUNNING to STOPPING; the process, if there is one already, is told. */
static void
stop(WorkerSlot *slot)
{
	Assert(slot->state == WORKER_STARTING || slot->state == WORKER_RUNNING);
	enter(slot, WORKER_STOPPING);
	/* A process takes its pid out of here before it ends: nobody else has it. */
	if (slot->pid != 0)
		(void) kill(slot->pid, SIGTERM);
}

static bool
has_worker(const WorkerSlot *slot)
{
	return slot->state == WORKER_STARTING || slot->state == WORKER_RUNNING ||
		slot->state == WORKER_STOPPING;
}

/*
 * worker_slots_has tells whether a database has a worker, or will get one.  Also
 * true where there can be none.
 */
bool
worker_slots_has(Oid database)
{
	static int	last;
	const WorkerSlot *slot;
	bool		has;

	if (table == NULL)
		return true;

	/* Without the lock: should it go at this moment, the next call will see. */
	slot = &table->slots[last];
	if (slot->database == database && slot->state >= WORKER_WANTED)
		return true;

	lock(LW_SHARED);
	slot = find(database);
	has = slot != NULL && slot->state >= WORKER_WANTED;
	if (has)
		last = slot - table->slots;
	unlock();
	return has;
}

/*
 * worker_slots_want has the launcher start a worker for a database, and one that
 * runs look again whether there is anything to serve.  Returns false if there is
 * no room.  No ERROR: it is called after COMMIT.
 */
bool
worker_slots_want(Oid database)
{
	WorkerSlot *slot;

	lock(LW_EXCLUSIVE);
	slot = find(database);
	if (slot == NULL)
		slot = take(database);
	if (slot != NULL)
	{
		slot->wants++;
		if (slot->state == WORKER_HELD)
			enter_wanted(slot, 0);
		else if (slot->latch != NULL)
			SetLatch(slot->latch);
	}
	unlock();
	return slot != NULL;
}

/* worker_slots_wake has the worker of a database, if there is one, do what there is to do; no ERROR. */
void
worker_slots_wake(Oid database)
{
	const WorkerSlot *slot;

	if (table == NULL)
		return;
	lock(LW_SHARED);
	slot = find(database);
	if (slot != NULL && slot->latch != NULL)
		SetLatch(slot->latch);
	unlock();
}

/* worker_slots_want_scan has the launcher look through all databases; no ERROR. */
void
worker_slots_want_scan(void)
{
	lock(LW_EXCLUSIVE);
	table->scan_wanted = true;
	wake_launcher();
	unlock();
}

/*
 * worker_slots_hold asks the worker of a database to end, and keeps the launcher
 * from starting another until worker_slots_release.  Returns false if there is
 * no room; then the database has no worker, and hardly gets one.
 */
bool
worker_slots_hold(Oid database)
{
	WorkerSlot *slot;

	lock(LW_EXCLUSIVE);
	slot = find(database);
	if (slot == NULL)
		slot = take(database);
	if (slot != NULL)
	{
		slot->holds++;
		if (slot->state == WORKER_STARTING || slot->state == WORKER_RUNNING)
			stop(slot);
	}
	unlock();
	return slot != NULL;
}

/* worker_slots_release gives up one hold; no ERROR. */
void
worker_slots_release(Oid database)
{
	WorkerSlot *slot;

	lock(LW_EXCLUSIVE);
	slot = find(database);
	Assert(slot != NULL && slot->holds > 0);
	slot->holds--;
	if (slot->state == WORKER_HELD)
		give_up(slot);
	wake_launcher();
	unlock();
}

/* worker_slots_await_end waits until the worker of a held database has ended, but not for ever. */
void
worker_slots_await_end(Oid database, int timeout_ms)
{
	int64		end = clock_monotonic() + timeout_ms * INT64CONST(1000);

	ConditionVariablePrepareToSleep(&table->changed);
	for (;;)
	{
		int64		left = end - clock_monotonic();
		const WorkerSlot *slot;
		bool		ended;

		lock(LW_SHARED);
		slot = find(database);
		ended = slot == NULL || !has_worker(slot);
		unlock();
		if (ended || left <= 0)
			break;
		(void) ConditionVariableTimedSleep(&table->changed, left / 1000 + 1, PG_WAIT_EXTENSION);
	}
	ConditionVariableCancelSleep();
}

/* worker_slots_list returns all slots in use. */
WorkerInfo *
worker_slots_list(int *count)
{
	WorkerInfo *list = palloc(sizeof(WorkerInfo) * WORKER_SLOTS);

	*count = 0;
	if (table == NULL)
		return list;
	lock(LW_SHARED);
	for (int i = 0; i < WORKER_SLOTS; i++)
	{
		WorkerSlot *slot = &table->slots[i];
		WorkerInfo *info = &list[*count];

		if (slot->state == WORKER_FREE)
			continue;
		(*count)++;
		info->number = i;
		info->database = slot->database;
		info->state = slot->state;
		info->generation = slot->generation;
		info->pid = slot->pid;
		info->holds = slot->holds;
		info->wants = slot->wants;
		info->since = slot->since;
		info->start_at = slot->start_at;
		SpinLockAcquire(&slot->mutex);
		info->round = slot->round;
		memcpy(info->activity, slot->activity, WORKER_TEXT_SIZE);
		memcpy(info->problem, slot->problem, WORKER_TEXT_SIZE);
		SpinLockRelease(&slot->mutex);
	}
	unlock();
	return list;
}

/* worker_slots_launcher returns the launcher's process, or 0. */
pid_t
worker_slots_launcher(void)
{
	pid_t		launcher;

	lock(LW_SHARED);
	launcher = table->launcher;
	unlock();
	return launcher;
}

static void
end_launcher(int code, Datum arg)
{
	lock(LW_EXCLUSIVE);
	if (table->launcher == MyProcPid)
	{
		table->launcher = 0;
		table->launcher_latch = NULL;
	}
	unlock();
}

/* worker_slots_become_launcher makes this process the one that is woken. */
void
worker_slots_become_launcher(void)
{
	on_shmem_exit(end_launcher, 0);
	lock(LW_EXCLUSIVE);
	table->launcher = MyProcPid;
	table->launcher_latch = &MyProc->procLatch;
	unlock();
}

/* worker_slots_take_scan tells whether all databases are to be looked through, once. */
bool
worker_slots_take_scan(void)
{
	bool		wanted;

	lock(LW_EXCLUSIVE);
	wanted = table->scan_wanted;
	table->scan_wanted = false;
	unlock();
	return wanted;
}

/*
 * worker_slots_begin_start, WANTED to STARTING, fills the ticket of a worker that
 * the launcher is about to start.  Returns false if it is not to be started now.
 */
bool
worker_slots_begin_start(const WorkerInfo *info, WorkerTicket *ticket)
{
	WorkerSlot *slot = &table->slots[info->number];
	bool		begun;

	lock(LW_EXCLUSIVE);
	begun = slot->state == WORKER_WANTED && slot->database == info->database && slot->holds == 0;
	if (begun)
	{
		ticket->number = info->number;
		ticket->generation = ++slot->generation;
		ticket->database = slot->database;
		enter(slot, WORKER_STARTING);
	}
	unlock();
	return begun;
}

/* worker_slots_postpone, STARTING to WANTED: no process could be had. */
void
worker_slots_postpone(const WorkerTicket *ticket, int64 start_at, const char *problem)
{
	WorkerSlot *slot = &table->slots[ticket->number];

	lock(LW_EXCLUSIVE);
	Assert(slot->generation == ticket->generation);
	Assert(slot->state == WORKER_STARTING || slot->state == WORKER_STOPPING);
	enter_wanted(slot, start_at);
	set_text(slot, slot->problem, problem);
	ConditionVariableBroadcast(&table->changed);
	unlock();
}

/*
 * worker_slots_lose, STARTING or STOPPING to WANTED: the process that was started
 * has ended, or been given up, before it claimed the slot.
 */
void
worker_slots_lose(const WorkerInfo *info)
{
	WorkerSlot *slot = &table->slots[info->number];

	lock(LW_EXCLUSIVE);
	if (slot->generation == info->generation && slot->pid == 0 &&
		(slot->state == WORKER_STARTING || slot->state == WORKER_STOPPING))
	{
		enter_wanted_again(slot);
		set_text(slot, slot->problem, "the process did not start");
		ConditionVariableBroadcast(&table->changed);
	}
	unlock();
}

/*
 * worker_slots_forget, WANTED to HELD or FREE: there is no such database, unless
 * somebody has wanted it meanwhile.
 */
void
worker_slots_forget(const WorkerInfo *info)
{
	WorkerSlot *slot = &table->slots[info->number];

	lock(LW_EXCLUSIVE);
	if (slot->state == WORKER_WANTED && slot->database == info->database && slot->wants == info->wants)
	{
		enter(slot, WORKER_HELD);
		give_up(slot);
	}
	unlock();
}

/* worker_slots_stop asks a worker to end. */
void
worker_slots_stop(const WorkerInfo *info)
{
	WorkerSlot *slot = &table->slots[info->number];

	lock(LW_EXCLUSIVE);
	if (slot->generation == info->generation &&
		(slot->state == WORKER_STARTING || slot->state == WORKER_RUNNING))
		stop(slot);
	unlock();
}

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
	lock(LW_EXCLUSIVE);
	if (slot->pid == MyProcPid && slot->generation == my_generation)
	{
		slot->pid = 0;
		slot->latch = NULL;
		if (resigned && slot->wants == resigned_wants)
		{
			enter(slot, WORKER_HELD);
			give_up(slot);
		}
		else if (resigned || slot->state == WORKER_STOPPING)
			enter_wanted(slot, 0);
		else
		{
			enter_wanted_again(slot);
			if (code != 0)
				set_text(slot, slot->problem, "the process ended in error: see the server's log");
		}
		ConditionVariableBroadcast(&table->changed);
	}
	unlock();
}

/*
 * worker_slots_claim makes this process the worker that a ticket is for.  Returns
 * false if it is not wanted any more.
 */
bool
worker_slots_claim(const WorkerTicket *ticket)
{
	WorkerSlot *slot = &table->slots[ticket->number];
	bool		claimed = false;

	mine = slot;
	my_generation = ticket->generation;
	on_shmem_exit(end_worker, 0);

	lock(LW_EXCLUSIVE);
	if (slot->generation == ticket->generation && slot->pid == 0 &&
		(slot->state == WORKER_STARTING || slot->state == WORKER_STOPPING))
	{
		slot->pid = MyProcPid;
		slot->latch = &MyProc->procLatch;
		claimed = slot->state == WORKER_STARTING;
	}
	unlock();
	return claimed;
}

/* worker_slots_wants returns how often this worker has been wanted by now. */
uint32
worker_slots_wants(void)
{
	uint32		wants;

	lock(LW_SHARED);
	wants = mine->wants;
	unlock();
	return wants;
}

/* worker_slots_run, STARTING to RUNNING: there is something to serve. */
void
worker_slots_run(void)
{
	lock(LW_EXCLUSIVE);
	Assert(mine->state != WORKER_WANTED && mine->pid == MyProcPid);
	if (mine->state == WORKER_STARTING)
	{
		enter(mine, WORKER_RUNNING);
		/* There may be others whose turn it is. */
		wake_launcher();
	}
	unlock();
}

/*
 * worker_slots_resign says that there was nothing to serve when the worker had
 * been wanted so often: the slot goes with the process, unless it is wanted anew.
 */
void
worker_slots_resign(uint32 wants)
{
	resigned = true;
	resigned_wants = wants;
}

/* worker_slots_report_activity says what the worker does; "busy" is for pg_stat_activity. */
void
worker_slots_report_activity(const char *activity, bool busy)
{
	/* Nobody else writes it while this process has the slot. */
	if (strncmp(mine->activity, activity, WORKER_TEXT_SIZE - 1) == 0)
		return;
	set_text(mine, mine->activity, activity);
	pgstat_report_activity(busy ? STATE_RUNNING : STATE_IDLE, activity);
}

/* worker_slots_report_problem says what is wrong, "" for nothing. */
void
worker_slots_report_problem(const char *problem)
{
	if (strncmp(mine->problem, problem, WORKER_TEXT_SIZE - 1) != 0)
		set_text(mine, mine->problem, problem);
}

/* worker_slots_report_round says how the last round went. */
void
worker_slots_report_round(const WorkerRound *round)
{
	SpinLockAcquire(&mine->mutex);
	mine->round = *round;
	SpinLockRelease(&mine->mutex);
}
