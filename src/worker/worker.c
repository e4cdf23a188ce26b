/*
 * worker.c
 *		The background worker of one database.
 *
 * It first looks for something to serve: the extension, its tables and triggers,
 * committed.  If one is missing, it ends and frees its slot.  While it serves, it
 * looks again after each invalidation of them.
 *
 * It takes a turn when a probe is due or has an answer, when evidence expires, when
 * a backend wakes it, and once a second.  Each turn serves the probes, then runs at
 * most one short transaction of each task: probes never wait for a table.  Between
 * turns it holds no lock and no transaction.
 *
 * An ERROR ends the turn, not the worker: the task that failed pauses, and the
 * others go on.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
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
#include "storage/pmsignal.h"
#include "utils/fmgroids.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/relcache.h"
#include "utils/timeout.h"

#include "base/clock.h"
#include "base/compat.h"
#include "base/termination.h"
#include "base/wait_event.h"
#include "shared/my_worker_slot.h"
#include "tables/catalog.h"
#include "worker/monitor.h"
#include "worker/worker.h"
#include "worker/worker_log.h"
#include "worker/worker_task.h"

PGDLLEXPORT void gateway_pool_worker_main(Datum arg);

/* The least time between two log entries of the same error. */
#define LOG_PAUSE (3600 * USECS_PER_SEC)

/* Settings that the worker fixes, whatever the server and the database set. */
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

/* What catalog_changes and my_worker_slot_wants returned before the last look; valid if done. */
static struct
{
	bool		done;
	uint64		changes;
	uint32		wants;
}			looked;

/* Why the worker has found nothing to serve, and ends; NULL if it has not. */
static const char *leaving;

/* The worker has found something to serve, once at least. */
static bool serving;

/* The SQL objects are those of another library: the worker waits until they fit. */
static bool unfit;

static void
pin_settings(void)
{
	for (int i = 0; i < lengthof(pinned_settings); i++)
		if (GetConfigOption(pinned_settings[i][0], true, false) != NULL)
			SetConfigOption(pinned_settings[i][0], pinned_settings[i][1], PGC_SUSET, PGC_S_OVERRIDE);
}

/*
 * worker_may_serve returns true if a database may have a worker: it exists, allows
 * connections and is no template.  Stores its name in "name", of NAMEDATALEN bytes.
 *
 * Reads pg_database, as of the caller's transaction, and not the cache: a commit that
 * requests a worker does so before it sends its invalidations.  The launcher, which is
 * connected to no database, cannot open the index after the first start of a cluster.
 */
bool
worker_may_serve(Oid database, char *name)
{
	Relation	databases = table_open(DatabaseRelationId, AccessShareLock);
	bool		may = false;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	row;

	ScanKeyInit(&key, Anum_pg_database_oid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(database));
	scan = systable_beginscan(databases, DatabaseOidIndexId, criticalSharedRelcachesBuilt, NULL, 1, &key);
	if (HeapTupleIsValid(row = systable_getnext(scan)))
	{
		Form_pg_database form = (Form_pg_database) GETSTRUCT(row);

		may = form->datallowconn && !form->datistemplate && form->datconnlimit != DATCONNLIMIT_INVALID_DB;
		strlcpy(name, NameStr(form->datname), NAMEDATALEN);
	}
	systable_endscan(scan);
	table_close(databases, AccessShareLock);
	return may;
}

/* Looks for something to serve; the worker ends if there is nothing. */
static void
look(void)
{
	char		name[NAMEDATALEN];
	PoolCatalog catalog;
	CatalogState state = CATALOG_MISSING;
	bool		may_serve;

	looked.done = false;
	looked.changes = catalog_changes();
	looked.wants = my_worker_slot_wants();

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	may_serve = worker_may_serve(MyDatabaseId, name);
	if (may_serve)
		state = catalog_look(&catalog);
	CommitTransactionCommand();

	if (state == CATALOG_MISSING || !OidIsValid(catalog.gateways))
	{
		my_worker_slot_resign(looked.wants);
		leaving = may_serve ? "gateway pools are not installed any more" :
			"the database is a template, allows no connections, or is dropped";
		return;
	}
	my_worker_slot_run();
	unfit = state == CATALOG_UNFIT;
	if (unfit)
	{
		/* What it has read may be wrong: the next process waits. */
		leaving = serving ? "library and SQL objects are of different builds" : NULL;
		looked.done = true;
		return;
	}
	if (!serving)
		monitor_start();
	serving = true;
	monitor_read_soon();
	looked.done = true;
}

static bool
must_look(void)
{
	return !looked.done || worker_task_lost_tables() ||
		looked.changes != catalog_changes() || looked.wants != my_worker_slot_wants();
}

/* Returns true, and remembers the message, if it has not been logged within LOG_PAUSE. */
static bool
is_due_for_log(const char *message, int64 now)
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

/* Logs what is wrong and what no longer is, and publishes the first problem. */
static void
publish_problem(int64 now)
{
	const char *problem = worker_task_problem();

	if (unfit)
	{
		problem = "library and SQL objects are of different builds: see check_gateway_pools()";
		worker_log_problem(problem, now);
	}
	for (int i = 0; i < WORKER_TASK_COUNT; i++)
		worker_log_problem(worker_task_problem_of(i), now);
	if (serving)
	{
		worker_log_problem(monitor_read_problem(), now);
		worker_log_problem(monitor_probe_problem(), now);
		if (problem[0] == '\0')
			problem = monitor_read_problem();
		if (problem[0] == '\0')
			problem = monitor_probe_problem();
	}
	worker_log_recovered(now);
	my_worker_slot_publish_problem(problem);
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
	if (must_look() && worker_task_begin(TASK_LOOK, clock_monotonic()))
	{
		look();
		worker_task_end();
	}
	if (leaving != NULL)
		return;
	if (serving)
		monitor_run(!must_look());
	publish_problem(clock_monotonic());
}

/* Cleans up after an ERROR, as autovacuum does, and logs it. */
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
	if (error->sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE && is_due_for_log(error->message, now))
		EmitErrorReport();
	AbortCurrentTransaction();
	/* Outside a transaction, AbortCurrentTransaction does not release these. */
	LWLockReleaseAll();
	AtEOXact_HashTables(false);
	pgstat_report_wait_end();
	MemoryContextSwitchTo(context);
	FlushErrorState();

	worker_task_fail(error, now);
	publish_problem(now);
	RESUME_INTERRUPTS();
}

/* Waits until the next turn is due, a socket is ready, or another process sets the latch. */
static void
wait_for_turn(void)
{
	static WaitEventSet *events = NULL;
	WaitEvent	occurred[3];
	int			count;
	uint32		happened = 0;
	int64		now = clock_monotonic();
	int64		wait = (serving ? monitor_next(now) : now + USECS_PER_SEC) - now;
	long		timeout = wait <= 0 ? 0 : (wait + 999) / 1000;

	if (!serving || monitor_pauses(now))
		happened = WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, timeout, wait_event(WAIT_WORKER_MAIN));
	else
	{
		if (events == NULL)
		{
			events = create_wait_event_set(lengthof(occurred));
			AddWaitEventToSet(events, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, NULL);
			AddWaitEventToSet(events, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET, NULL, NULL);
			AddWaitEventToSet(events, WL_SOCKET_READABLE, monitor_descriptor(), NULL, NULL);
		}
		count = WaitEventSetWait(events, timeout, occurred, lengthof(occurred), wait_event(WAIT_WORKER_MAIN));
		for (int i = 0; i < count; i++)
			happened |= occurred[i].events;
	}
	if (happened & WL_LATCH_SET)
	{
		ResetLatch(MyLatch);
		monitor_judge_soon();
	}
}

/* Records what is left, unless there is nothing to serve any more, and ends probes. */
static void
finish(MemoryContext context)
{
	if (!serving)
		return;
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		if (leaving == NULL)
			monitor_finish();
	}
	PG_CATCH();
	{
		recover(context);
	}
	PG_END_TRY();
	monitor_stop();
}

/* Logs why the process ends; before it leaves the database and its slot. */
static void
log_end(int code, Datum arg)
{
	WorkerStop	stop = my_worker_slot_stop();

	if (leaving != NULL)
		worker_log_end(leaving);
	else if (termination_limit_was_reached())
		worker_log_end("a statement took too long, and could not be canceled");
	else if (stop == WORKER_STOP_COMMAND)
		worker_log_end("a command needs the database without connections");
	else if (stop == WORKER_STOP_SETTING)
		worker_log_end("gateway_pool.worker is off");
	else if (ShutdownRequestPending)
		worker_log_end("shutdown of the server, or administrator command");
	else
		worker_log_end(PostmasterIsAlive() ? "in error" : "the postmaster has ended");
}

/* The main function of a worker: serves one database until there is nothing to serve, or SIGTERM. */
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
	before_shmem_exit(log_end, 0);
	pin_settings();
	BackgroundWorkerInitializeConnectionByOid(ticket.database, InvalidOid, 0);

	context = AllocSetContextCreate(TopMemoryContext, "gateway_pool worker", ALLOCSET_DEFAULT_SIZES);
	while (leaving == NULL && !ShutdownRequestPending)
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

		if (leaving != NULL || ShutdownRequestPending)
			break;
		wait_for_turn();
	}
	finish(context);
	proc_exit(0);
}
