/*
 * worker_tasks.c
 *		What a worker does with tables and probes, each for itself.
 *
 * Each task takes at most one short transaction at a time, and waits for no
 * table: one that is locked is tried again.  One that fails is left alone for a
 * while, and all else goes on.
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "pgstat.h"
#include "postmaster/interrupt.h"
#include "utils/timeout.h"

#include "base/clock.h"
#include "shared/my_worker_slot.h"
#include "tables/audit_log.h"
#include "worker/health_writer.h"
#include "worker/monitor.h"
#include "worker/worker_queries.h"
#include "worker/worker_tasks.h"

#define TURN_PAUSE USECS_PER_SEC

/* The tables are read anew when something has changed, but not more often than this. */
#define READ_PAUSE USECS_PER_SEC

/* And in any case after this: some changes are told to nobody. */
#define READ_INTERVAL (60 * USECS_PER_SEC)
#define STANDBY_READ_INTERVAL (5 * USECS_PER_SEC)

/* Evidence may change in quick succession: all gateways are judged at most so often. */
#define JUDGE_PAUSE (20 * INT64CONST(1000))

/* A table that is locked is tried again after this, and said to be when it has been for so long. */
#define LOCKED_PAUSE (250 * INT64CONST(1000))
#define LONG_LOCK (900 * INT64CONST(1000))

#define PRUNE_INTERVAL (60 * USECS_PER_SEC)

/* Statements that take longer are canceled; if that does not help, the worker is ended. */
#define READ_MS 5000
#define WRITE_MS 2000
#define CANCEL_MS 1000

/* What is left to be recorded at the end has this time. */
#define LAST_WORDS (700 * INT64CONST(1000))

/* What failed is tried again after this, doubled each time up to the last. */
#define FIRST_PAUSE USECS_PER_SEC
#define LAST_PAUSE (60 * USECS_PER_SEC)

#define LOCKED "a table or a row is locked: what happens is recorded when it is not"

/* There is, or has been, something to serve. */
static bool began;

/* When what was done last, or is to be tried again. */
static int64 read_at;
static int64 judged_at;
static int64 confirm_after;
static int64 write_after;
static int64 prune_after;

/* The worker has this long to end, monotonic; 0: it is not ending. */
static int64 end_by;

/* Somebody else has recorded what happened so far: we are a standby, or have been. */
static bool following;

/* What is wrong with what is to be watched, as of the last read. */
static char read_problem[WORKER_TEXT_SIZE];

/* How each has gone last: ERRORs in a row, and until when they are waited out. */
static struct
{
	int			failures;
	int64		paused_until;
	int64		locked_since;	/* 0 if no lock is in the way */
	bool		stalled;		/* it has ended workers, and not succeeded
								 * since */
	char		problem[WORKER_TEXT_SIZE];
}			tasks[WORKER_TASK_COUNT];

/* The tables were not there any more. */
static bool tables_lost;

/* The one that is being done, and that it could not be: somebody has locked a table. */
static WorkerTask task;
static bool locked_out;

/* worker_task_begin begins a task, unless it is to be left alone for now. */
bool
worker_task_begin(WorkerTask which, int64 now)
{
	if (now < tasks[which].paused_until)
		return false;
	task = which;
	locked_out = false;
	return true;
}

/* A lock is in the way: no problem unless it stays. */
static void
note_lock(int64 now)
{
	if (tasks[task].locked_since == 0)
		tasks[task].locked_since = now;
	strlcpy(tasks[task].problem, now - tasks[task].locked_since >= LONG_LOCK ? LOCKED : "", WORKER_TEXT_SIZE);
}

/* worker_task_end ends it, without an ERROR. */
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
	if (tasks[task].stalled)
		my_worker_slot_forget_stall(task);
	tasks[task].stalled = false;
}

/* What has ended a worker before is left alone here, too. */
static void
inherit_stalls(void)
{
	StaticAssertStmt(WORKER_TASK_COUNT <= WORKER_TASKS, "there is room for each task");
	for (int i = 0; i < WORKER_TASK_COUNT; i++)
	{
		WorkerStall stall = my_worker_slot_stall(i);

		if (stall.count == 0)
			continue;
		tasks[i].stalled = true;
		tasks[i].paused_until = stall.until;
		strlcpy(tasks[i].problem, stall.problem, WORKER_TEXT_SIZE);
	}
}

static void
commit(void)
{
	disable_timeout(STATEMENT_TIMEOUT, false);
	CommitTransactionCommand();
	my_worker_slot_end_task();
	pgstat_report_stat(false);
}

/*
 * Begins a transaction on the tables.  Returns false, without one, if they have
 * gone, somebody has locked one, or the worker was asked to end before it could
 * be ended here.
 */
static bool
begin(PoolCatalog *catalog, bool to_write)
{
	int			statement_ms = to_write ? WRITE_MS : READ_MS;
	bool		there;

	my_worker_slot_begin_task(task, end_by == 0 ? statement_ms + CANCEL_MS :
							  Max((end_by - clock_monotonic()) / 1000, 1));
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	if (ShutdownRequestPending && end_by == 0)
	{
		commit();
		return false;
	}
	enable_timeout_after(STATEMENT_TIMEOUT, statement_ms);
	there = catalog_find(catalog);
	tables_lost = !there;
	locked_out = there && !worker_queries_lock(catalog, to_write);
	if (there && !locked_out)
		return true;
	commit();
	return false;
}

/* Reads what there is to monitor. */
static void
read_tables(int64 now, bool standby)
{
	PoolCatalog catalog;
	StringInfoData problem;

	read_at = now;
	monitor_forget();
	if (!begin(&catalog, false))
		return;
	my_worker_slot_report_activity("reading gateways", true);
	initStringInfo(&problem);
	monitor_read(&catalog, standby || following, &problem);
	strlcpy(read_problem, problem.data, sizeof(read_problem));
	commit();
	following = standby;
}

/* Whether a heartbeat has run out is for its row to say; returns whether that could be asked. */
static bool
confirm_expiries(void)
{
	PoolCatalog catalog;

	if (!begin(&catalog, false))
		return false;
	monitor_confirm(&catalog);
	commit();
	monitor_judge();
	return true;
}

/* Writes some of what has happened; whether it could. */
static bool
record_changes(void)
{
	PoolCatalog catalog;
	bool		any;

	if (!begin(&catalog, true))
		return false;
	my_worker_slot_report_activity("recording changes of health", true);
	any = health_writer_write(&catalog);
	commit();
	if (any)
		health_writer_written();
	return true;
}

/* Deletes some of what has been kept for long enough; whether there may be more. */
static bool
prune(void)
{
	PoolCatalog catalog;
	bool		any;

	if (!begin(&catalog, true))
		return false;
	my_worker_slot_enter_table(catalog.events);
	any = health_writer_prune(&catalog) > 0;
	my_worker_slot_enter_table(catalog.audit_logs);
	any |= audit_prune(&catalog) > 0;
	commit();
	return any;
}

static void
report_round(int64 now)
{
	const char *problem = prober_problem(monitor_prober());
	ProberState state;
	WorkerRound round;

	prober_state(monitor_prober(), &state);
	round = (WorkerRound) {
		.at = now,
		.lag = state.lag,
		.lateness = state.lateness,
		.queue_length = health_writer_length(),
		.queue_dropped = health_writer_dropped(),
		.targets = state.targets,
		.running_probes = state.running,
		.waiting_probes = state.waiting,
		.abstains = state.abstains,
		.overloaded = problem[0] != '\0' && worker_tasks_problem() == problem
	};
	my_worker_slot_report_round(&round);
}

/*
 * worker_task_fail leaves the task that was begun alone for a while, after an ERROR in
 * it.  A row that is locked is waited for as a table is, but not as often: that
 * takes time.
 */
void
worker_task_fail(const ErrorData *error, int64 now)
{
	const char *table = task == RECORD || task == PRUNE ? my_worker_slot_table() : "";
	int			pause = Min(tasks[task].failures, 10);

	if (error->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE)
	{
		tasks[task].paused_until = now + FIRST_PAUSE;
		note_lock(now);
		return;
	}
	tasks[task].paused_until = now + Min(FIRST_PAUSE << pause, LAST_PAUSE);

	/*
	 * A table that was dropped beside us is gone, or there anew, when we look
	 * again.
	 */
	if (tasks[task].failures++ == 0 && error->sqlerrcode == ERRCODE_UNDEFINED_TABLE)
		return;
	if (table[0] == '\0')
		strlcpy(tasks[task].problem, error->message, WORKER_TEXT_SIZE);
	else
		snprintf(tasks[task].problem, WORKER_TEXT_SIZE, "%s: %s", table, error->message);
}

/* worker_tasks_problem returns what is wrong with what there is to do, "" if nothing is. */
const char *
worker_tasks_problem(void)
{
	for (int i = WORKER_TASK_COUNT - 1; i >= 0; i--)
		if (tasks[i].problem[0] != '\0')
			return tasks[i].problem;
	if (read_problem[0] != '\0' || monitor_prober() == NULL)
		return read_problem;
	return prober_problem(monitor_prober());
}

/* worker_tasks_begin_service begins, or goes on after something has changed. */
void
worker_tasks_begin_service(void)
{
	if (!began)
	{
		monitor_start();
		inherit_stalls();
	}
	began = true;
	tables_lost = false;

	/*
	 * Whatever has changed may be what there is to watch, or have put it
	 * right.
	 */
	monitor_forget();
	if (!tasks[READ].stalled)
		tasks[READ].paused_until = 0;
}

/* worker_tasks_lost_tables tells whether the tables were not there any more when they were to be used. */
bool
worker_tasks_lost_tables(void)
{
	return tables_lost;
}

/* worker_tasks_follow tells whether somebody else records what happens: we are a standby. */
bool
worker_tasks_follow(void)
{
	return following;
}

/*
 * worker_tasks_probe does what there is to do with probes.  With "up_to_date", nothing
 * has changed that has not been looked at: who has just changed how a gateway is
 * probed, and asks for a probe, means the change.
 */
void
worker_tasks_probe(bool up_to_date, int64 now)
{
	if (!worker_task_begin(PROBE, now))
		return;
	if (up_to_date && !monitor_is_to_read())
		monitor_take_requests();
	prober_run(monitor_prober());
	worker_task_end();
	report_round(clock_monotonic());
}

/* worker_tasks_serve does what there is to do with tables. */
void
worker_tasks_serve(int64 now)
{
	bool		standby = RecoveryInProgress();
	int64		read_interval = standby ? STANDBY_READ_INTERVAL : READ_INTERVAL;

	if ((read_at == 0 || now >= read_at + read_interval || (following && !standby) ||
		 (monitor_is_to_read() && now >= read_at + READ_PAUSE)) && worker_task_begin(READ, now))
	{
		read_tables(now, standby);
		worker_task_end();
	}
	if (standby || following)
		return;

	if (now >= judged_at + JUDGE_PAUSE &&
		(monitor_is_to_judge() || now >= Min(monitor_next_change(), judged_at + TURN_PAUSE)))
	{
		judged_at = now;
		monitor_judge();
	}
	else if (monitor_has_changed())
		monitor_judge_changed();
	if (monitor_is_to_confirm() && now >= confirm_after && worker_task_begin(CONFIRM, now))
	{
		confirm_after = confirm_expiries() ? 0 : now + LOCKED_PAUSE;
		worker_task_end();
	}
	if (health_writer_length() > 0 && now >= write_after && worker_task_begin(RECORD, now))
	{
		write_after = record_changes() ? 0 : now + LOCKED_PAUSE;
		worker_task_end();
	}
	if (now >= prune_after && worker_task_begin(PRUNE, now))
	{
		prune_after = now + (prune() ? TURN_PAUSE : PRUNE_INTERVAL);
		if (locked_out)
			prune_after = now + LOCKED_PAUSE;
		worker_task_end();
	}
}

/* worker_tasks_next tells when the next turn is due, if nothing happens before. */
int64
worker_tasks_next(int64 now)
{
	int64		next = now + TURN_PAUSE;

	next = Min(next, Max(prober_next_run(monitor_prober()), tasks[PROBE].paused_until));
	if (following)
		return next;
	next = Min(next, Max(monitor_next_change(), judged_at + JUDGE_PAUSE));
	if (monitor_is_to_judge())
		next = Min(next, judged_at + JUDGE_PAUSE);
	if (health_writer_length() > 0)
		next = Min(next, Max(write_after, tasks[RECORD].paused_until));
	return next;
}

/* worker_tasks_finish keeps what was reported to us for the next start, if that is quickly done. */
void
worker_tasks_finish(void)
{
	int64		now = clock_monotonic();

	if (following || read_at == 0 || (tasks[RECORD].stalled && now < tasks[RECORD].paused_until))
		return;
	end_by = now + LAST_WORDS;
	task = RECORD;
	monitor_keep_reports();
	while (health_writer_length() > 0 && clock_monotonic() < end_by && record_changes())
		;
}
