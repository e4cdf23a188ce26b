/*
 * worker_task.c
 *		The tasks of a worker: each fails, and pauses, independently of the others.
 *
 * A task takes at most one short transaction at a time, and never waits for a
 * table: if one is locked, the task pauses and tries again.  A task that fails
 * pauses for longer with each failure, while the others go on.
 */
#include "postgres.h"

#include "access/xact.h"
#include "pgstat.h"
#include "postmaster/interrupt.h"
#include "utils/timeout.h"

#include "base/clock.h"
#include "base/termination.h"
#include "shared/my_worker_slot.h"
#include "worker/worker_queries.h"
#include "worker/worker_task.h"

/* The pause after a table was found locked; a lock is a problem once it has lasted for LONG_LOCK. */
#define LOCKED_PAUSE (250 * INT64CONST(1000))
#define LONG_LOCK (900 * INT64CONST(1000))

/* The pause after a first failure. */
#define FAILURE_PAUSE USECS_PER_SEC

/* Statements that take longer are canceled; CANCEL_MS later, the worker is ended. */
#define READ_MS 5000
#define WRITE_MS 2000
#define CANCEL_MS 1000

#define LOCKED "a table or a row is locked: changes wait until they can be recorded"

static struct
{
	int			failures;		/* in a row */
	int64		paused_until;	/* whatever the reason */
	int64		locked_since;	/* 0 if no lock is in the way */
	char		problem[WORKER_TEXT_SIZE];	/* "" if there is none */
}			tasks[WORKER_TASK_COUNT];

/* The task that was begun last, and whether a lock kept it from a table. */
static WorkerTask task;
static bool locked_out;

/* The last task has to end by this time; 0: the worker is not ending. */
static int64 end_by;

static bool tables_lost;

/* worker_task_inherit_stalls pauses the tasks that ended earlier workers of this slot. */
void
worker_task_inherit_stalls(void)
{
	StaticAssertStmt(WORKER_TASK_COUNT <= WORKER_TASKS, "there is room for each task");
	for (int i = 0; i < WORKER_TASK_COUNT; i++)
	{
		const WorkerStall *stall = my_worker_slot_stall(i);

		if (stall == NULL)
			continue;
		tasks[i].paused_until = stall->until;
		strlcpy(tasks[i].problem, stall->problem, WORKER_TEXT_SIZE);
	}
}

static void
begin(WorkerTask which)
{
	task = which;
	locked_out = false;
	my_worker_slot_begin_task(which);
	if (which == TASK_LOOK)
		tables_lost = false;
}

/* worker_task_begin begins a task; returns false if it pauses. */
bool
worker_task_begin(WorkerTask which, int64 now)
{
	if (now < tasks[which].paused_until)
		return false;
	begin(which);
	return true;
}

/*
 * worker_task_begin_last begins the last task of the worker, which has to end by a
 * time; returns false if it pauses because it has ended workers.
 */
bool
worker_task_begin_last(WorkerTask which, int64 now, int64 end)
{
	if (my_worker_slot_stall(which) != NULL && now < tasks[which].paused_until)
		return false;
	end_by = end;
	begin(which);
	return true;
}

/* A lock is in the way, which is no problem unless it stays. */
static void
note_lock(int64 now)
{
	if (tasks[task].locked_since == 0)
		tasks[task].locked_since = now;
	strlcpy(tasks[task].problem, now - tasks[task].locked_since >= LONG_LOCK ? LOCKED : "", WORKER_TEXT_SIZE);
}

/* worker_task_end ends the task that was begun, without an ERROR. */
void
worker_task_end(void)
{
	tasks[task].failures = 0;
	if (locked_out)
	{
		note_lock(clock_monotonic());
		return;
	}
	tasks[task].locked_since = 0;
	tasks[task].problem[0] = '\0';
	my_worker_slot_clear_stall(task);
}

/*
 * worker_task_fail ends the task that was begun, after an ERROR in it, with a pause.
 * A locked row is tried again like a locked table, but less often: each attempt
 * waits for lock_timeout.
 */
void
worker_task_fail(const ErrorData *error, int64 now)
{
	const char *table = my_worker_slot_table();

	if (error->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE)
	{
		tasks[task].paused_until = now + FAILURE_PAUSE;
		note_lock(now);
		return;
	}
	tasks[task].paused_until = now + worker_pause(FAILURE_PAUSE, tasks[task].failures);

	/*
	 * A table that another session has dropped is gone, or has been made
	 * again, at the next attempt.
	 */
	if (tasks[task].failures++ == 0 && error->sqlerrcode == ERRCODE_UNDEFINED_TABLE)
		return;
	if (table[0] == '\0')
		strlcpy(tasks[task].problem, error->message, WORKER_TEXT_SIZE);
	else
		snprintf(tasks[task].problem, WORKER_TEXT_SIZE, "%s: %s", table, error->message);
}

/* worker_task_pause sets the pause of the task that was begun. */
void
worker_task_pause(int64 until)
{
	tasks[task].paused_until = until;
}

/* worker_task_resume ends the pause of a task, unless it has ended workers. */
void
worker_task_resume(WorkerTask which)
{
	if (my_worker_slot_stall(which) == NULL)
		tasks[which].paused_until = 0;
}

/* worker_task_paused_until returns the time at which a task may begin, in the past if it does not pause. */
int64
worker_task_paused_until(WorkerTask which)
{
	return tasks[which].paused_until;
}

/* worker_task_problem_of returns what is wrong with a task, "" if nothing is. */
const char *
worker_task_problem_of(WorkerTask which)
{
	return tasks[which].problem;
}

/* worker_task_problem returns what is wrong with one of the tasks, "" if nothing is. */
const char *
worker_task_problem(void)
{
	for (int i = WORKER_TASK_COUNT - 1; i >= 0; i--)
		if (tasks[i].problem[0] != '\0')
			return tasks[i].problem;
	return "";
}

/*
 * worker_task_open_tables begins a transaction and locks the tables.  It returns
 * false, without a transaction and with a pause of the task, if they are gone,
 * another session has locked one, or SIGTERM came before the transaction, which it
 * would have ended.
 */
bool
worker_task_open_tables(PoolCatalog *catalog, bool to_write)
{
	int			statement_ms = to_write ? WRITE_MS : READ_MS;

	termination_set_limit(end_by == 0 ? statement_ms + CANCEL_MS : Max((end_by - clock_monotonic()) / 1000, 1));
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	if (!ShutdownRequestPending || end_by != 0)
	{
		enable_timeout_after(STATEMENT_TIMEOUT, statement_ms);
		tables_lost = catalog_look(catalog) != CATALOG_FOUND;
		locked_out = !tables_lost && !worker_queries_lock(catalog, to_write);
		if (!tables_lost && !locked_out)
			return true;
	}
	worker_task_commit();
	worker_task_pause(clock_monotonic() + LOCKED_PAUSE);
	return false;
}

/* worker_task_commit commits the transaction that worker_task_open_tables began. */
void
worker_task_commit(void)
{
	disable_timeout(STATEMENT_TIMEOUT, false);
	CommitTransactionCommand();
	termination_clear_limit();
	pgstat_report_stat(false);
}

/* worker_task_lost_tables returns true if a task last found the tables missing. */
bool
worker_task_lost_tables(void)
{
	return tables_lost;
}
