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
 * What a worker does with its own slot is in my_worker_slot.c: run, and its end.  A
 * worker is known by slot and generation: one that comes late, when the launcher
 * has given it up, finds another generation and leaves.
 */
#include "postgres.h"

#include <signal.h>

#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/ipc.h"
#include "storage/proc.h"
#include "storage/shmem.h"

#include "base/clock.h"
#include "base/compat.h"
#include "shared/worker_slots_internal.h"

/* The pause before a worker that first ended in error is started again. */
#define ERROR_PAUSE USECS_PER_SEC

/* One that has run for so long has nothing to do with errors before. */
#define RECOVERED_AFTER (60 * USECS_PER_SEC)

/* A process asks for a worker for its database again after this: the launcher may refuse one. */
#define ASK_PAUSE (10 * USECS_PER_SEC)

WorkerTable *worker_table;

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

	worker_table = ShmemInitStruct("gateway_pool workers", sizeof(WorkerTable), &found);
	if (found)
		return;
	memset(worker_table, 0, sizeof(WorkerTable));
	ConditionVariableInit(&worker_table->changed);
	for (int i = 0; i < WORKER_SLOTS; i++)
	{
		worker_table->slots[i].info.number = i;
		SpinLockInit(&worker_table->slots[i].mutex);
	}
}

/* worker_slots_exist tells whether the library was preloaded. */
bool
worker_slots_exist(void)
{
	return worker_table != NULL;
}

/* worker_table_wake_launcher has the launcher, if there is one, look at all slots. */
void
worker_table_wake_launcher(void)
{
	if (worker_table->launcher_latch != NULL)
		SetLatch(worker_table->launcher_latch);
}

/* The slot of a database, or NULL. */
static WorkerSlot *
find(Oid database)
{
	for (int i = 0; i < WORKER_SLOTS; i++)
		if (worker_table->slots[i].info.state != WORKER_FREE && worker_table->slots[i].info.database == database)
			return &worker_table->slots[i];
	return NULL;
}

/* worker_slot_enter changes the state, and since when it is that. */
void
worker_slot_enter(WorkerSlot *slot, WorkerState state)
{
	slot->info.state = state;
	slot->info.since = clock_monotonic();
}

/* worker_slot_set_text sets one of a slot's texts, as much of it as has room. */
void
worker_slot_set_text(WorkerSlot *slot, char *text, const char *value)
{
	char		cut[WORKER_TEXT_SIZE];

	memset(cut, 0, sizeof(cut));
	strlcpy(cut, value, pg_mbcliplen(value, strlen(value), sizeof(cut) - 1) + 1);
	SpinLockAcquire(&slot->mutex);
	memcpy(text, cut, sizeof(cut));
	SpinLockRelease(&slot->mutex);
}

static void
forget_report(WorkerSlot *slot)
{
	WorkerRound none = {0};

	SpinLockAcquire(&slot->mutex);
	slot->info.round = none;
	SpinLockRelease(&slot->mutex);
	worker_slot_set_text(slot, slot->info.activity, "");
}

/* FREE to HELD: the slot of a database that had none, or NULL if all are in use. */
static WorkerSlot *
take(Oid database)
{
	for (int i = 0; i < WORKER_SLOTS; i++)
	{
		WorkerSlot *slot = &worker_table->slots[i];

		if (slot->info.state != WORKER_FREE)
			continue;
		slot->info.database = database;
		slot->failures = 0;
		memset(slot->stalls, 0, sizeof(slot->stalls));
		forget_report(slot);
		worker_slot_set_text(slot, slot->info.problem, "");
		worker_slot_enter(slot, WORKER_HELD);
		return slot;
	}
	return NULL;
}

/* HELD to FREE, unless a command does hold it. */
static void
give_up(WorkerSlot *slot)
{
	Assert(slot->info.state == WORKER_HELD);
	if (slot->info.holds > 0)
		return;
	worker_slot_enter(slot, WORKER_FREE);
	worker_table_wake_launcher();
}

/* worker_slot_vacate, to HELD or FREE: the database has no worker and wants none. */
void
worker_slot_vacate(WorkerSlot *slot)
{
	worker_slot_enter(slot, WORKER_HELD);
	give_up(slot);
}

/* worker_slot_enter_wanted, to WANTED, has a worker started at some time, 0 for at once. */
void
worker_slot_enter_wanted(WorkerSlot *slot, int64 start_at)
{
	Assert(slot->info.pid == 0);
	slot->info.start_at = start_at;
	forget_report(slot);
	worker_slot_enter(slot, WORKER_WANTED);
	worker_table_wake_launcher();
}

/*
 * worker_slot_enter_wanted_again, to WANTED after an end that nobody asked for, has
 * a worker started after a pause.
 */
void
worker_slot_enter_wanted_again(WorkerSlot *slot)
{
	int64		now = clock_monotonic();

	if (slot->info.state == WORKER_RUNNING && now - slot->info.since >= RECOVERED_AFTER)
		slot->failures = 0;
	worker_slot_enter_wanted(slot, now + worker_pause(ERROR_PAUSE, slot->failures++));
}

/* STARTING or RUNNING to STOPPING; the process, if there is one already, is told. */
static void
stop(WorkerSlot *slot)
{
	Assert(slot->info.state == WORKER_STARTING || slot->info.state == WORKER_RUNNING);
	worker_slot_enter(slot, WORKER_STOPPING);
	/* A process takes its pid out of here before it ends: nobody else has it. */
	if (slot->info.pid != 0)
		(void) kill(slot->info.pid, SIGTERM);
}

static bool
has_worker(const WorkerSlot *slot)
{
	return slot->info.state == WORKER_STARTING || slot->info.state == WORKER_RUNNING ||
		slot->info.state == WORKER_STOPPING;
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

	if (worker_table == NULL)
		return true;

	/* Without the lock: should it go at this moment, the next call will see. */
	slot = &worker_table->slots[last];
	if (slot->info.database == database && slot->info.state >= WORKER_WANTED)
		return true;

	worker_table_lock(LW_SHARED);
	slot = find(database);
	has = slot != NULL && slot->info.state >= WORKER_WANTED;
	if (has)
		last = slot - worker_table->slots;
	worker_table_unlock();
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

	worker_table_lock(LW_EXCLUSIVE);
	slot = find(database);
	if (slot == NULL)
		slot = take(database);
	if (slot != NULL)
	{
		slot->info.wants++;
		if (slot->info.state == WORKER_HELD)
			worker_slot_enter_wanted(slot, 0);
		else if (slot->latch != NULL)
			SetLatch(slot->latch);
	}
	worker_table_unlock();
	return slot != NULL;
}

/* worker_slots_wake has the worker of a database, if there is one, do what there is to do; no ERROR. */
void
worker_slots_wake(Oid database)
{
	const WorkerSlot *slot;

	if (worker_table == NULL)
		return;
	worker_table_lock(LW_SHARED);
	slot = find(database);
	if (slot != NULL && slot->latch != NULL)
		SetLatch(slot->latch);
	worker_table_unlock();
}

/* worker_slots_want_scan has the launcher look through all databases; no ERROR. */
void
worker_slots_want_scan(void)
{
	worker_table_lock(LW_EXCLUSIVE);
	worker_table->scan_wanted = true;
	worker_table_wake_launcher();
	worker_table_unlock();
}

/*
 * worker_slots_want_here has a worker started for this database if it has none and
 * gets none, for callers that have found its tables: these may have come with a dump
 * or to a standby, which no commit on this server announced.
 */
void
worker_slots_want_here(void)
{
	static int64 ask_at;

	if (worker_slots_has(MyDatabaseId) || clock_monotonic() < ask_at)
		return;
	ask_at = clock_monotonic() + ASK_PAUSE;
	if (!worker_slots_want(MyDatabaseId))
		worker_slots_want_scan();
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

	worker_table_lock(LW_EXCLUSIVE);
	slot = find(database);
	if (slot == NULL)
		slot = take(database);
	if (slot != NULL)
	{
		slot->info.holds++;
		if (slot->info.state == WORKER_STARTING || slot->info.state == WORKER_RUNNING)
			stop(slot);
	}
	worker_table_unlock();
	return slot != NULL;
}

/* worker_slots_release gives up one hold; no ERROR. */
void
worker_slots_release(Oid database)
{
	WorkerSlot *slot;

	worker_table_lock(LW_EXCLUSIVE);
	slot = find(database);
	Assert(slot != NULL && slot->info.holds > 0);
	slot->info.holds--;
	if (slot->info.state == WORKER_HELD)
		give_up(slot);
	worker_table_wake_launcher();
	worker_table_unlock();
}

/* worker_slots_await_end waits until the worker of a held database has ended, but not for ever. */
void
worker_slots_await_end(Oid database, int timeout_ms)
{
	int64		end = clock_monotonic() + timeout_ms * INT64CONST(1000);

	ConditionVariablePrepareToSleep(&worker_table->changed);
	for (;;)
	{
		int64		left = end - clock_monotonic();
		const WorkerSlot *slot;
		bool		ended;

		worker_table_lock(LW_SHARED);
		slot = find(database);
		ended = slot == NULL || !has_worker(slot);
		worker_table_unlock();
		if (ended || left <= 0)
			break;
		(void) ConditionVariableTimedSleep(&worker_table->changed, left / 1000 + 1, PG_WAIT_EXTENSION);
	}
	ConditionVariableCancelSleep();
}

/* worker_slots_list returns all slots in use. */
WorkerInfo *
worker_slots_list(int *count)
{
	WorkerInfo *list = palloc(sizeof(WorkerInfo) * WORKER_SLOTS);

	*count = 0;
	if (worker_table == NULL)
		return list;
	worker_table_lock(LW_SHARED);
	for (int i = 0; i < WORKER_SLOTS; i++)
	{
		WorkerSlot *slot = &worker_table->slots[i];

		if (slot->info.state == WORKER_FREE)
			continue;
		SpinLockAcquire(&slot->mutex);
		list[(*count)++] = slot->info;
		SpinLockRelease(&slot->mutex);
	}
	worker_table_unlock();
	return list;
}

/* worker_slots_launcher returns the launcher's process, or 0. */
pid_t
worker_slots_launcher(void)
{
	pid_t		launcher;

	worker_table_lock(LW_SHARED);
	launcher = worker_table->launcher;
	worker_table_unlock();
	return launcher;
}

static void
end_launcher(int code, Datum arg)
{
	worker_table_lock(LW_EXCLUSIVE);
	if (worker_table->launcher == MyProcPid)
	{
		worker_table->launcher = 0;
		worker_table->launcher_latch = NULL;
	}
	worker_table_unlock();
}

/* worker_slots_become_launcher makes this process the one that is woken. */
void
worker_slots_become_launcher(void)
{
	on_shmem_exit(end_launcher, 0);
	worker_table_lock(LW_EXCLUSIVE);
	worker_table->launcher = MyProcPid;
	worker_table->launcher_latch = &MyProc->procLatch;
	worker_table_unlock();
}

/* worker_slots_take_scan tells whether all databases are to be looked through, once. */
bool
worker_slots_take_scan(void)
{
	bool		wanted;

	worker_table_lock(LW_EXCLUSIVE);
	wanted = worker_table->scan_wanted;
	worker_table->scan_wanted = false;
	worker_table_unlock();
	return wanted;
}

/*
 * worker_slots_begin_start, WANTED to STARTING, fills the ticket of a worker that
 * the launcher is about to start.  Returns false if it is not to be started now.
 */
bool
worker_slots_begin_start(const WorkerInfo *info, WorkerTicket *ticket)
{
	WorkerSlot *slot = &worker_table->slots[info->number];
	bool		begun;

	worker_table_lock(LW_EXCLUSIVE);
	begun = slot->info.state == WORKER_WANTED && slot->info.database == info->database && slot->info.holds == 0;
	if (begun)
	{
		ticket->number = info->number;
		ticket->generation = ++slot->info.generation;
		ticket->database = slot->info.database;
		worker_slot_enter(slot, WORKER_STARTING);
	}
	worker_table_unlock();
	return begun;
}

/* worker_slots_postpone, STARTING to WANTED: no process could be had. */
void
worker_slots_postpone(const WorkerTicket *ticket, int64 start_at, const char *problem)
{
	WorkerSlot *slot = &worker_table->slots[ticket->number];

	worker_table_lock(LW_EXCLUSIVE);
	Assert(slot->info.generation == ticket->generation);
	Assert(slot->info.state == WORKER_STARTING || slot->info.state == WORKER_STOPPING);
	worker_slot_enter_wanted(slot, start_at);
	worker_slot_set_text(slot, slot->info.problem, problem);
	ConditionVariableBroadcast(&worker_table->changed);
	worker_table_unlock();
}

/*
 * worker_slots_lose, STARTING or STOPPING to WANTED: the process that was started
 * has ended, or been given up, before it claimed the slot.
 */
void
worker_slots_lose(const WorkerInfo *info)
{
	WorkerSlot *slot = &worker_table->slots[info->number];

	worker_table_lock(LW_EXCLUSIVE);
	if (slot->info.generation == info->generation && slot->info.pid == 0 &&
		(slot->info.state == WORKER_STARTING || slot->info.state == WORKER_STOPPING))
	{
		worker_slot_enter_wanted_again(slot);
		worker_slot_set_text(slot, slot->info.problem, "the process did not start");
		ConditionVariableBroadcast(&worker_table->changed);
	}
	worker_table_unlock();
}

/*
 * worker_slots_forget, WANTED to HELD or FREE: there is no such database, unless
 * somebody has wanted it meanwhile.
 */
void
worker_slots_forget(const WorkerInfo *info)
{
	WorkerSlot *slot = &worker_table->slots[info->number];

	worker_table_lock(LW_EXCLUSIVE);
	if (slot->info.state == WORKER_WANTED && slot->info.database == info->database && slot->info.wants == info->wants)
		worker_slot_vacate(slot);
	worker_table_unlock();
}

/* worker_slots_stop asks a worker to end. */
void
worker_slots_stop(const WorkerInfo *info)
{
	WorkerSlot *slot = &worker_table->slots[info->number];

	worker_table_lock(LW_EXCLUSIVE);
	if (slot->info.generation == info->generation &&
		(slot->info.state == WORKER_STARTING || slot->info.state == WORKER_RUNNING))
		stop(slot);
	worker_table_unlock();
}
