/*
 * worker.c
 *		The background worker of one database.
 *
 * It first finds out whether there is anything to serve: our extension, its
 * tables and triggers, committed.  If not, it ends, and its slot goes.  While it
 * serves, it looks again whenever it is told that one of them has changed.
 *
 * It takes a turn when a probe is due or has an answer, when evidence expires, when
 * a backend wakes it, and once a second.  Each turn does what there is to do with
 * probes, and then at most one short transaction of each task: probes never wait
 * for a table.  In between it holds no lock and no transaction.
 *
 * An ERROR ends the turn, not the worker: after it, what failed is left alone for
 * a while, and all else goes on.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_database.h"
#include "common/hashfn.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lwlock.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/syscache.h"
#include "utils/timeout.h"

#include "base/clock.h"
#include "base/compat.h"
#include "base/termination.h"
#include "shared/my_worker_slot.h"
#include "tables/catalog.h"
#include "worker/monitor.h"
#include "worker/worker.h"
#include "worker/worker_task.h"

PGDLLEXPORT void gateway_pool_worker_main(Datum arg);

/* The same message is not logged again for so long. */
#define LOG_PAUSE (3600 * USECS_PER_SEC)

/* Settings that the database, or the server, may have for others than us. */
static const char *const pinned_settings[][2] = {
	{"search_path", "pg_catalog, pg_temp"},
	{"synchronous_commit", "off"},
	{"statement_timeout", "0"},
	{"lock_timeout", "50ms"},
	{"idle_in_transaction_session_timeout", "0"},
	{"default_transaction_isolation", "read committed"},
	{"default_transaction_read_only", "off"},
	{"default_transaction_deferrable", "off"},
	{"transaction_timeout", "0"},	/* from 17 on */
	{"zero_damaged_pages", "off"},
};

/* What catalog_changes and my_worker_slot_wants said before the last look; none if not looked. */
static struct
{
	bool		done;
	uint64		changes;
	uint32		wants;
}			looked;

/* It has found nothing to serve. */
static bool leaving;

/* There is, or has been, something to serve. */
static bool serving;

static void
pin_settings(void)
{
	for (int i = 0; i < lengthof(pinned_settings); i++)
		if (GetConfigOption(pinned_settings[i][0], true, false) != NULL)
			SetConfigOption(pinned_settings[i][0], pinned_settings[i][1], PGC_SUSET, PGC_S_OVERRIDE);
}

/*
 * worker_may_serve tells, within a transaction, whether a database may have a
 * worker: it is there, takes connections and is no template.  Its name goes to
 * "name", of NAMEDATALEN bytes.
 */
bool
worker_may_serve(Oid database, char *name)
{
	HeapTuple	tuple = SearchSysCache1(DATABASEOID, ObjectIdGetDatum(database));
	bool		may = false;

	if (HeapTupleIsValid(tuple))
	{
		Form_pg_database form = (Form_pg_database) GETSTRUCT(tuple);

		may = form->datallowconn && !form->datistemplate && form->datconnlimit != DATCONNLIMIT_INVALID_DB;
		strlcpy(name, NameStr(form->datname), NAMEDATALEN);
		ReleaseSysCache(tuple);
	}
	return may;
}

/* Looks whether there is anything to serve; if not, the worker leaves. */
static void
look(void)
{
	char		name[NAMEDATALEN];
	PoolCatalog catalog;
	bool		serves;

	looked.done = false;
	looked.changes = catalog_changes();
	looked.wants = my_worker_slot_wants();

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	serves = worker_may_serve(MyDatabaseId, name) && catalog_find(&catalog);
	CommitTransactionCommand();

	if (!serves)
	{
		my_worker_slot_resign(looked.wants);
		leaving = true;
		return;
	}
	my_worker_slot_run();
	if (!serving)
		monitor_start();
	serving = true;
	monitor_read_soon();
	looked.done = true;
}

static bool
is_to_look(void)
{
	return !looked.done || worker_task_lost_tables() ||
		looked.changes != catalog_changes() || looked.wants != my_worker_slot_wants();
}

/* Whether a message has not been logged for some time. */
static bool
is_to_log(const char *message, int64 now)
{
	static struct
	{
		uint32		hash;
		int64		at;
	}			logged[8];
	uint32		hash = hash_bytes((const unsigned char *) message, strlen(message));
	int			oldest = 0;

	for (int i = 0; i < lengthof(logged); i++)
	{
		if (logged[i].at != 0 && logged[i].hash == hash && now - logged[i].at < LOG_PAUSE)
			return false;
		if (logged[i].at < logged[oldest].at)
			oldest = i;
	}
	logged[oldest].hash = hash;
	logged[oldest].at = now;
	return true;
}

static void
report_problem(int64 now)
{
	const char *problem = worker_task_problem();

	if (problem[0] == '\0' && serving)
		problem = monitor_problem();
	if (problem[0] != '\0' && is_to_log(problem, now))
		ereport(LOG,
				(errmsg("gateway_pool: %s", problem)));
	my_worker_slot_report_problem(problem);
}

static void
turn(void)
{
	CHECK_FOR_INTERRUPTS();
	if (ConfigReloadPending)
	{
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
		monitor_read_soon();
	}
	AcceptInvalidationMessages();
	if (is_to_look() && worker_task_begin(TASK_LOOK, clock_monotonic()))
	{
		look();
		worker_task_end();
	}
	if (leaving)
		return;
	if (serving)
		monitor_run(!is_to_look());
	report_problem(clock_monotonic());
}

/* Cleans up after an ERROR, as autovacuum does, and says what it was. */
static void
recover(MemoryContext context)
{
	int64		now = clock_monotonic();
	ErrorData  *error;

	HOLD_INTERRUPTS();
	disable_all_timeouts(false);
	QueryCancelPending = false;
	error_context_stack = NULL;

	MemoryContextSwitchTo(context);
	error = CopyErrorData();
	if (error->sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE && is_to_log(error->message, now))
		EmitErrorReport();
	AbortCurrentTransaction();
	/* What a transaction would have released, where there was none. */
	LWLockReleaseAll();
	pgstat_report_wait_end();
	MemoryContextSwitchTo(context);
	FlushErrorState();

	worker_task_fail(error, now);
	report_problem(now);
	RESUME_INTERRUPTS();
}

/* Waits for the next turn, or for whatever calls for one before. */
static void
await(void)
{
	static WaitEventSet *events = NULL;
	static bool has_prober = false;
	WaitEvent	occurred[3];
	int			count;
	int64		now = clock_monotonic();
	int64		wait = (serving ? monitor_next(now) : now + USECS_PER_SEC) - now;

	if (events == NULL)
	{
		events = create_wait_event_set(lengthof(occurred));
		AddWaitEventToSet(events, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, NULL);
		AddWaitEventToSet(events, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET, NULL, NULL);
	}
	if (!has_prober && serving)
	{
		AddWaitEventToSet(events, WL_SOCKET_READABLE, monitor_descriptor(), NULL, NULL);
		has_prober = true;
	}
	count = WaitEventSetWait(events, wait <= 0 ? 0 : (wait + 999) / 1000, occurred, lengthof(occurred), PG_WAIT_EXTENSION);
	for (int i = 0; i < count; i++)
		if (occurred[i].events & WL_LATCH_SET)
		{
			ResetLatch(MyLatch);
			monitor_judge_soon();
		}
}

/* The end, unless the tables have gone before. */
static void
leave(MemoryContext context)
{
	if (!serving)
		return;
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		if (!leaving)
			monitor_finish();
	}
	PG_CATCH();
	{
		recover(context);
	}
	PG_END_TRY();
	monitor_stop();
}

/* The main function of a worker: serves one database until there is nothing to serve or it is told to end. */
void
gateway_pool_worker_main(Datum arg)
{
	MemoryContext context;
	WorkerTicket ticket;

	memcpy(&ticket, MyBgworkerEntry->bgw_extra, sizeof(ticket));
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	termination_init();
	BackgroundWorkerUnblockSignals();

	if (!my_worker_slot_claim(&ticket))
		proc_exit(0);
	pin_settings();
	BackgroundWorkerInitializeConnectionByOid(ticket.database, InvalidOid, 0);

	context = AllocSetContextCreate(TopMemoryContext, "gateway_pool worker", ALLOCSET_DEFAULT_SIZES);
	while (!leaving && !ShutdownRequestPending)
	{
		MemoryContextSwitchTo(context);
		MemoryContextReset(context);
		PG_TRY();
		{
			turn();
		}
		PG_CATCH();
		{
			recover(context);
		}
		PG_END_TRY();

		if (leaving || ShutdownRequestPending)
			break;
		await();
	}
	leave(context);
	proc_exit(0);
}
