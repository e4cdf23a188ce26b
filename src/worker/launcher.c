/*
 * launcher.c
 *		The background worker that starts the workers of databases.
 *
 * It looks through all databases when it starts, and then every 50 seconds: a restored
 * dump, or what a standby replays, requests no worker.  Sessions request one, too:
 * install_gateway_pools() and CREATE DATABASE when they commit, and the first use of
 * gateway pools in a database without one.  In between the launcher sleeps.
 *
 * The table of workers (worker_slots.c) outlives this process: a launcher that is
 * restarted finds the workers of the one before.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_database.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lmgr.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"

#include "base/clock.h"
#include "base/compat.h"
#include "base/settings.h"
#include "base/termination.h"
#include "base/wait_event.h"
#include "shared/worker_slots.h"
#include "tables/catalog.h"
#include "worker/launcher.h"
#include "worker/worker.h"
#include "worker/worker_log.h"

PG_FUNCTION_INFO_V1(want_worker);

PGDLLEXPORT void gateway_pool_launcher_main(Datum arg);

#define RESTART_SECONDS 2

/* The most workers that start at once. */
#define STARTING_MAX 3

/* A worker that takes longer to start does not count towards that any more. */
#define STARTING_TIME (5 * USECS_PER_SEC)

/* The time in which a worker that an earlier launcher started has to claim its slot. */
#define CLAIM_TIME (10 * USECS_PER_SEC)

/* The pause after no background worker was free. */
#define PROCESS_PAUSE (5 * USECS_PER_SEC)

/* The least time between two warnings that a database has no worker. */
#define WARNING_PAUSE (3600 * USECS_PER_SEC)

/* The time between two looks at all databases: a restored one has a worker within a minute. */
#define LOOK_PERIOD (50 * USECS_PER_SEC)

/* The pause after pg_database was found locked. */
#define LOCKED_PAUSE USECS_PER_SEC

/* The processes that this launcher started, by the numbers of their slots. */
static struct
{
	uint32		generation;
	BackgroundWorkerHandle *handle; /* or NULL */
}			started[WORKER_SLOTS];

/* The last database that the scan has reached, and whether it goes on. */
static Oid	scanned;
static bool scanning = true;

/* The scan leaves out databases that have a worker, or will get one. */
static bool scanning_unserved;

/* When the next scan begins without a request, monotonic. */
static int64 look_at;

/* The setting "worker" was off in the last turn. */
static bool was_off;

/* pg_database was locked and is tried again then; 0: it could be read. */
static int64 locked_until;

/* No background worker was free. */
static int64 no_process_until;

/* The warnings that a database has no worker, by the numbers of slots. */
static struct
{
	Oid			database;
	int64		at;				/* monotonic */
}			warned[WORKER_SLOTS];

/* Databases for which this transaction wants a worker. */
static Oid	wanted[8];
static int	wanted_count;
static bool wanted_too_many;

static void
at_end(TransactionEnd end)
{
	if (end == TRANSACTION_COMMITTED)
	{
		for (int i = 0; i < wanted_count; i++)
			wanted_too_many |= !worker_slots_want(wanted[i]);
		if (wanted_too_many)
			worker_slots_want_scan();
	}
	wanted_count = 0;
	wanted_too_many = false;
}

const TransactionSubscriber launcher_subscriber = {.at_end = at_end};

/* launcher_want_at_commit requests a worker for a database, if and when this transaction commits. */
void
launcher_want_at_commit(Oid database)
{
	if (!worker_slots_exist())
		return;
	if (wanted_count < lengthof(wanted))
		wanted[wanted_count++] = database;
	else
		wanted_too_many = true;
}

/* launcher_init registers the process; called once a process. */
void
launcher_init(void)
{
	BackgroundWorker worker;

	if (!process_shared_preload_libraries_in_progress || !IsPostmasterEnvironment || IsBinaryUpgrade)
		return;

	memset(&worker, 0, sizeof(worker));
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_ConsistentState;
	worker.bgw_restart_time = RESTART_SECONDS;
	strlcpy(worker.bgw_library_name, "gateway_pool", sizeof(worker.bgw_library_name));
	strlcpy(worker.bgw_function_name, "gateway_pool_launcher_main", sizeof(worker.bgw_function_name));
	strlcpy(worker.bgw_name, "gateway_pool launcher", sizeof(worker.bgw_name));
	strlcpy(worker.bgw_type, "gateway_pool launcher", sizeof(worker.bgw_type));
	RegisterBackgroundWorker(&worker);
}

/* Begins a transaction and locks pg_database; returns false, without one, if it would have to wait. */
static bool
begin(void)
{
	MemoryContext caller = CurrentMemoryContext;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	if (ConditionalLockRelationOid(DatabaseRelationId, AccessShareLock))
		return true;
	CommitTransactionCommand();
	MemoryContextSwitchTo(caller);
	locked_until = clock_monotonic() + LOCKED_PAUSE;
	return false;
}

/* The databases after one, in order, whether or not they may have a worker; ends the transaction. */
static List *
databases_after(Oid last)
{
	MemoryContext context = CurrentMemoryContext;
	List	   *list = NIL;
	Relation	databases;
	SysScanDesc scan;
	HeapTuple	row;

	databases = table_open(DatabaseRelationId, AccessShareLock);
	scan = systable_beginscan(databases, InvalidOid, false, NULL, 0, NULL);
	while (HeapTupleIsValid(row = systable_getnext(scan)))
	{
		Oid			database = ((Form_pg_database) GETSTRUCT(row))->oid;

		if (database > last)
		{
			MemoryContext previous = MemoryContextSwitchTo(context);

			list = lappend_oid(list, database);
			MemoryContextSwitchTo(previous);
		}
	}
	systable_endscan(scan);
	table_close(databases, AccessShareLock);
	CommitTransactionCommand();
	MemoryContextSwitchTo(context);
	list_sort(list, list_oid_cmp);
	return list;
}

static void
begin_scan(bool unserved)
{
	scanning = true;
	scanning_unserved = unserved;
	scanned = InvalidOid;
}

static void
warn_no_slot(int64 now)
{
	static int64 next = 0;

	if (now < next)
		return;
	next = now + WARNING_PAUSE;
	ereport(WARNING,
			(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
			 errmsg("gateway pools of some databases have no worker"),
			 errdetail_internal("%s", "All " CppAsString2(WORKER_SLOTS) " places for workers are taken.")));
}

/*
 * Requests a worker for each database, up to the first for which no slot is free.  A
 * regular look leaves out databases that have one: it would read its tables again.
 */
static void
scan_databases(int64 now)
{
	ListCell   *cell;

	if (!scanning && worker_slots_take_scan())
		begin_scan(false);
	if (!scanning && now >= look_at)
		begin_scan(true);
	if (!scanning || !begin())
		return;
	look_at = now + LOOK_PERIOD;
	foreach(cell, databases_after(scanned))
	{
		Oid			database = lfirst_oid(cell);

		if (!(scanning_unserved && worker_slots_has(database)) && !worker_slots_want(database))
		{
			warn_no_slot(now);
			return;
		}
		scanned = database;
	}
	scanning = false;
}

/* Gives up a worker that has ended, or has not started in time, before it claimed its slot. */
static void
look_for_lost(const WorkerInfo *info, int64 now)
{
	bool		has_handle = (started[info->number].generation == info->generation &&
							  started[info->number].handle != NULL);
	pid_t		pid;

	if (info->pid != 0 || (info->state != WORKER_STARTING && info->state != WORKER_STOPPING))
		return;
	if (has_handle ? GetBackgroundWorkerPid(started[info->number].handle, &pid) == BGWH_STOPPED :
		now - info->since >= CLAIM_TIME)
		worker_slots_lose(info);
}

/* Has the slot of a database that waits for a process say why, and warns of it. */
static void
explain_no_process(const WorkerInfo *info, int64 now)
{
	MemoryContext previous = CurrentMemoryContext;
	char		name[NAMEDATALEN];
	bool		may_serve;

	if (strcmp(info->problem, NO_WORKER_PROCESS) != 0)
		worker_slots_set_problem(info, NO_WORKER_PROCESS);
	if ((warned[info->number].database == info->database && now - warned[info->number].at < WARNING_PAUSE) || !begin())
		return;
	may_serve = worker_may_serve(info->database, name);
	CommitTransactionCommand();
	MemoryContextSwitchTo(previous);
	if (!may_serve)
	{
		worker_slots_discard(info);
		return;
	}
	warned[info->number].database = info->database;
	warned[info->number].at = now;
	ereport(WARNING,
			(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
			 errmsg("no background worker is free to serve gateway pools of database \"%s\"", name),
			 errhint("Raise max_worker_processes and restart the server.")));
}

/* Starts the worker of a database; returns false if it could not. */
static bool
start_worker(const WorkerInfo *info, int64 now)
{
	MemoryContext previous = CurrentMemoryContext;
	char		name[NAMEDATALEN];
	WorkerTicket ticket;
	BackgroundWorker worker;
	BackgroundWorkerHandle *handle;
	bool		may_serve;
	bool		registered;

	if (!begin())
		return false;
	may_serve = worker_may_serve(info->database, name);
	CommitTransactionCommand();
	MemoryContextSwitchTo(previous);
	if (!may_serve)
	{
		worker_slots_discard(info);
		return false;
	}
	if (!worker_slots_begin_start(info, &ticket))
		return false;

	memset(&worker, 0, sizeof(worker));
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_ConsistentState;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	worker.bgw_notify_pid = MyProcPid;
	strlcpy(worker.bgw_library_name, "gateway_pool", sizeof(worker.bgw_library_name));
	strlcpy(worker.bgw_function_name, "gateway_pool_worker_main", sizeof(worker.bgw_function_name));
	snprintf(worker.bgw_name, sizeof(worker.bgw_name), WORKER_PROCESS_NAME "%s", name);
	strlcpy(worker.bgw_type, "gateway_pool worker", sizeof(worker.bgw_type));
	StaticAssertStmt(sizeof(ticket) <= BGW_EXTRALEN, "a ticket fits");
	memcpy(worker.bgw_extra, &ticket, sizeof(ticket));

	MemoryContextSwitchTo(TopMemoryContext);
	registered = RegisterDynamicBackgroundWorker(&worker, &handle);
	MemoryContextSwitchTo(previous);
	if (!registered)
	{
		no_process_until = now + PROCESS_PAUSE;
		worker_slots_postpone(&ticket);
		return false;
	}
	if (started[ticket.number].handle != NULL)
		pfree(started[ticket.number].handle);
	started[ticket.number].generation = ticket.generation;
	started[ticket.number].handle = handle;
	return true;
}

static bool
is_due(const WorkerInfo *info, int64 now)
{
	return info->state == WORKER_WANTED && info->holds == 0 && info->start_at <= now;
}

static bool
is_just_starting(const WorkerInfo *info, int64 now)
{
	return info->state == WORKER_STARTING && now - info->since < STARTING_TIME;
}

static void
start_workers(int64 now)
{
	int			count;
	WorkerInfo *list = worker_slots_list(&count);
	int			starting = 0;

	for (int i = 0; i < count; i++)
		starting += is_just_starting(&list[i], now);
	for (int i = 0; i < count && starting < STARTING_MAX && no_process_until <= now; i++)
		if (is_due(&list[i], now))
			starting += start_worker(&list[i], now);
	if (no_process_until <= now)
		return;
	list = worker_slots_list(&count);
	for (int i = 0; i < count; i++)
		if (is_due(&list[i], now))
			explain_no_process(&list[i], now);
}

/* When the next turn is due without a signal; PG_INT64_MAX for never. */
static int64
next_turn(int64 now)
{
	int			count;
	WorkerInfo *list = worker_slots_list(&count);
	int64		next = !setting_worker ? PG_INT64_MAX : locked_until != 0 ? locked_until : look_at;

	for (int i = 0; i < count; i++)
	{
		const WorkerInfo *info = &list[i];
		int64		at = PG_INT64_MAX;

		if (is_just_starting(info, now))
			at = info->since + STARTING_TIME;
		else if (setting_worker && info->state == WORKER_WANTED && info->holds == 0 &&
				 Max(info->start_at, no_process_until) > now)
			at = Max(info->start_at, Max(no_process_until, locked_until));
		else if (info->pid == 0 && (info->state == WORKER_STARTING || info->state == WORKER_STOPPING))
			at = Max(info->since + CLAIM_TIME, now + USECS_PER_SEC);
		next = Min(next, at);
	}
	return next;
}

static void
turn(int64 now)
{
	int			count;
	WorkerInfo *list = worker_slots_list(&count);

	for (int i = 0; i < count; i++)
	{
		look_for_lost(&list[i], now);
		if (!setting_worker)
			worker_slots_stop(&list[i]);
	}
	if (!setting_worker)
	{
		was_off = true;
		return;
	}
	if (was_off)
	{
		was_off = false;
		begin_scan(false);
	}
	if (now < locked_until)
		return;
	locked_until = 0;
	scan_databases(now);
	if (locked_until == 0)
		start_workers(now);
}

/* The main function of the launcher: starts and ends workers until SIGTERM. */
void
gateway_pool_launcher_main(Datum arg)
{
	MemoryContext context;

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	termination_init();
	BackgroundWorkerUnblockSignals();
	/* A lock must not keep it from everything else. */
	SetConfigOption("lock_timeout", "1s", PGC_SUSET, PGC_S_OVERRIDE);
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	worker_slots_become_launcher();
	pgstat_report_activity(STATE_IDLE, "waiting");

	context = AllocSetContextCreate(TopMemoryContext, "gateway_pool launcher", ALLOCSET_DEFAULT_SIZES);
	for (;;)
	{
		int64		now = clock_monotonic();
		int64		next;
		int			events = WL_LATCH_SET | WL_EXIT_ON_PM_DEATH;
		long		timeout = -1;

		/* There is no statement to cancel. */
		QueryCancelPending = false;
		CHECK_FOR_INTERRUPTS();
		/* After exit code 0, the postmaster would not start it again. */
		if (ShutdownRequestPending)
			proc_exit(1);
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
		MemoryContextSwitchTo(context);
		MemoryContextReset(context);
		turn(now);

		next = next_turn(now);
		if (next != PG_INT64_MAX)
		{
			events |= WL_TIMEOUT;
			timeout = Max((next - clock_monotonic()) / 1000 + 1, 0);
		}
		(void) WaitLatch(MyLatch, events, timeout, wait_event(WAIT_LAUNCHER_MAIN));
		ResetLatch(MyLatch);
	}
}

/*
 * want_worker() requests a worker for this database when the transaction commits, if
 * gateway pools are installed in it.
 */
Datum
want_worker(PG_FUNCTION_ARGS)
{
	PoolCatalog catalog;

	if (catalog_find(&catalog))
		launcher_want_at_commit(MyDatabaseId);
	PG_RETURN_VOID();
}
