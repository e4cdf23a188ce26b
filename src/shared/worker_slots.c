/*
 * worker_slots.c
 *		The workers of all databases, in shared memory.
 *
 * A fixed array of slots, one for each database that has a worker, wants one, or
 * is held by a command during which it must have none:
 *
 *		FREE ── want ──► WANTED ── begin_start ──► STARTING ── run ──► RUNNING
 *		 ▲ │              ▲ │ ▲                       │                   │
 *		 │ hold        want │ └───── postpone, lose ──┤── hold, stop ─────┤
 *		 │ ▼              │ discard                   ▼                   │
 *		 └─HELD ──────────┘ ▼                      STOPPING               │
 *		 ▲     ◄─── FREE or HELD                      │                   │
 *		 └──────── the worker has ended: WANTED, or, if it resigned ──────┘
 *
 * The words are those of worker_slots_want() and so on.  my_worker_slot.c has what a
 * worker does with its own slot: run, and its end.  Slot
 * and generation identify a worker: one that starts late, when the launcher has
 * given it up, finds another generation and ends.
 */
#include "postgres.h"

#include <signal.h>

#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/proc.h"
#include "storage/shmem.h"

#include "base/clock.h"
#include "base/compat.h"
#include "base/wait_event.h"
#include "shared/worker_slots_internal.h"

/* The pause before a worker that first ended in error is started again. */
#define ERROR_PAUSE USECS_PER_SEC

/* After a worker has run for this long, earlier errors do not count. */
#define RECOVERED_AFTER (60 * USECS_PER_SEC)

/* The pause between two requests of one process: the launcher may refuse one. */
#define WANT_PAUSE (10 * USECS_PER_SEC)

WorkerTable *worker_table;

/* worker_slots_size returns the size of the table in shared memory. */
Size
worker_slots_size(void)
{
	return sizeof(WorkerTable);
}

/* worker_slots_startup creates or attaches the table; the caller holds AddinShmemInitLock. */
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

/* worker_slots_exist returns true if the library was preloaded. */
bool
worker_slots_exist(void)
{
	return worker_table != NULL;
}

/* worker_table_wake_launcher wakes the launcher, if it runs, to look at all slots. */
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

/* worker_slot_enter changes the state of a slot, now. */
void
worker_slot_enter(WorkerSlot *slot, WorkerState state)
{
	slot->info.state = state;
	slot->info.since = clock_monotonic();
}

/* worker_slot_set_text sets one of a slot's texts, cut to its size. */
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
clear_published(WorkerSlot *slot)
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
		clear_published(slot);
		worker_slot_set_text(slot, slot->info.problem, "");
		worker_slot_enter(slot, WORKER_HELD);
		return slot;
	}
	return NULL;
}

/* HELD to FREE, unless a command holds it. */
static void
free_unless_held(WorkerSlot *slot)
{
	Assert(slot->info.state == WORKER_HELD);
	if (slot->info.holds > 0)
		return;
	worker_slot_enter(slot, WORKER_FREE);
	worker_table_wake_launcher();
}

/* worker_slot_vacate: to HELD or FREE.  The database has no worker and wants none. */
void
worker_slot_vacate(WorkerSlot *slot)
{
	worker_slot_enter(slot, WORKER_HELD);
	free_unless_held(slot);
}

/* worker_slot_enter_wanted: to WANTED, for a start at a monotonic time; 0 for at once. */
void
worker_slot_enter_wanted(WorkerSlot *slot, int64 start_at)
{
	Assert(slot->info.pid == 0);
	slot->info.start_at = start_at;
	clear_published(slot);
	worker_slot_enter(slot, WORKER_WANTED);
	worker_table_wake_launcher();
}

/* worker_slot_enter_wanted_again: to WANTED after an error, for a start after a pause. */
void
worker_slot_enter_wanted_again(WorkerSlot *slot)
{
	int64		now = clock_monotonic();

	if (slot->info.state == WORKER_RUNNING && now - slot->info.since >= RECOVERED_AFTER)
		slot->failures = 0;
	worker_slot_enter_wanted(slot, now + worker_pause(ERROR_PAUSE, slot->failures++));
}

/* STARTING or RUNNING to STOPPING, with SIGTERM to the process if there is one. */
static void
stop(WorkerSlot *slot, bool for_command)
{
	Assert(slot->info.state == WORKER_STARTING || slot->info.state == WORKER_RUNNING);
	slot->stopped_for_command = for_command;
	worker_slot_enter(slot, WORKER_STOPPING);
	/* A process clears its pid here before it exits: no other process has it. */
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
 * worker_slots_has returns true if a database has a worker, or will get one; also if
 * it cannot have one because the library was not preloaded.
 */
bool
worker_slots_has(Oid database)
{
	static int	last;
	const WorkerSlot *slot;
	bool		has;

	if (worker_table == NULL)
		return true;

	/*
	 * Without the lock: if the worker ends at this moment, the next call sees
	 * it.
	 */
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
 * worker_slots_want requests a worker for a database; a worker that runs, or the
 * launcher, looks again for something to serve.  Returns false if no slot is free.  Raises no ERROR: it is
 * called after COMMIT.
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
		else
			/* The launcher may be discarding the request before this one. */
			worker_table_wake_launcher();
	}
	worker_table_unlock();
	return slot != NULL;
}

/* worker_slots_wake wakes the worker of a database, if it runs; raises no ERROR. */
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

/* worker_slots_want_scan has the launcher look through all databases; raises no ERROR. */
void
worker_slots_want_scan(void)
{
	worker_table_lock(LW_EXCLUSIVE);
	worker_table->scan_wanted = true;
	worker_table_wake_launcher();
	worker_table_unlock();
}

/*
 * worker_slots_want_here requests a worker for this database if it has none.  For
 * callers that have found its tables: those may come from a dump, or from the
 * primary of a standby, without a commit here that requested a worker.  Returns false
 * if the database still has none: the request was too early after the last one, or no
 * slot is free.
 */
bool
worker_slots_want_here(void)
{
	static int64 want_at;

	if (worker_slots_has(MyDatabaseId))
		return true;
	if (clock_monotonic() < want_at)
		return false;
	want_at = clock_monotonic() + WANT_PAUSE;
	if (worker_slots_want(MyDatabaseId))
		return true;
	worker_slots_want_scan();
	return false;
}

/*
 * worker_slots_hold sends SIGTERM to the worker of a database, and keeps the launcher
 * from starting another one until worker_slots_release.  Returns false if no slot is
 * free; then the database has no worker, and is unlikely to get one.
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
			stop(slot, true);
	}
	worker_table_unlock();
	return slot != NULL;
}

/* worker_slots_release ends one hold; raises no ERROR. */
void
worker_slots_release(Oid database)
{
	WorkerSlot *slot;

	worker_table_lock(LW_EXCLUSIVE);
	slot = find(database);
	Assert(slot != NULL && slot->info.holds > 0);
	slot->info.holds--;
	if (slot->info.state == WORKER_HELD)
		free_unless_held(slot);
	worker_table_wake_launcher();
	worker_table_unlock();
}

/* worker_slots_await_end waits until the worker of a held database has ended, or for a timeout. */
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
		(void) ConditionVariableTimedSleep(&worker_table->changed, left / 1000 + 1, wait_event(WAIT_WORKER_END));
	}
	ConditionVariableCancelSleep();
}

/* worker_slots_list returns what may be read of all slots in use, palloc'd. */
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

/* worker_slots_launcher returns the pid of the launcher, or 0. */
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

/* worker_slots_become_launcher makes this process the launcher. */
void
worker_slots_become_launcher(void)
{
	on_shmem_exit(end_launcher, 0);
	worker_table_lock(LW_EXCLUSIVE);
	worker_table->launcher = MyProcPid;
	worker_table->launcher_latch = &MyProc->procLatch;
	worker_table_unlock();
}

/* worker_slots_take_scan returns true, once, if the launcher has to look through all databases. */
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
 * worker_slots_begin_start: WANTED to STARTING.  Fills the ticket of a worker that
 * the launcher is about to start; returns false if it must not start now.
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

/* worker_slots_postpone: STARTING to WANTED, because no background worker was free. */
void
worker_slots_postpone(const WorkerTicket *ticket)
{
	WorkerSlot *slot = &worker_table->slots[ticket->number];

	worker_table_lock(LW_EXCLUSIVE);
	Assert(slot->info.generation == ticket->generation);
	Assert(slot->info.state == WORKER_STARTING || slot->info.state == WORKER_STOPPING);
	worker_slot_enter_wanted(slot, 0);
	ConditionVariableBroadcast(&worker_table->changed);
	worker_table_unlock();
}

/* worker_slots_set_problem sets why a WANTED worker is not started. */
void
worker_slots_set_problem(const WorkerInfo *info, const char *problem)
{
	WorkerSlot *slot = &worker_table->slots[info->number];

	worker_table_lock(LW_EXCLUSIVE);
	if (slot->info.state == WORKER_WANTED && slot->info.database == info->database)
		worker_slot_set_text(slot, slot->info.problem, problem);
	worker_table_unlock();
}

/*
 * worker_slots_lose: STARTING or STOPPING to WANTED, because the process has ended,
 * or was given up, before it claimed the slot.
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
 * worker_slots_discard: WANTED to HELD or FREE, because the database may have no
 * worker, unless it was requested again meanwhile.
 */
void
worker_slots_discard(const WorkerInfo *info)
{
	WorkerSlot *slot = &worker_table->slots[info->number];

	worker_table_lock(LW_EXCLUSIVE);
	if (slot->info.state == WORKER_WANTED && slot->info.database == info->database && slot->info.wants == info->wants)
		worker_slot_vacate(slot);
	worker_table_unlock();
}

/* worker_slots_stop has a worker end. */
void
worker_slots_stop(const WorkerInfo *info)
{
	WorkerSlot *slot = &worker_table->slots[info->number];

	worker_table_lock(LW_EXCLUSIVE);
	if (slot->info.generation == info->generation &&
		(slot->info.state == WORKER_STARTING || slot->info.state == WORKER_RUNNING))
		stop(slot, false);
	worker_table_unlock();
}
