/*
 * worker.c
 *		The background worker of one database.
 *
 * It first finds out whether there is anything to serve: our extension, its
 * tables and triggers, committed.  If not, it ends, and its slot goes.  While it
 * serves, it looks again whenever it is told that one of them has changed.  It
 * turns at least once a second, and holds no lock and no transaction in between.
 *
 * An ERROR ends the turn, not the worker: the next one comes after a pause.
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
#include "tcop/tcopprot.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/syscache.h"
#include "utils/timeout.h"

#include "catalog.h"
#include "clock.h"
#include "compat.h"
#include "worker.h"
#include "worker_slots.h"

PGDLLEXPORT void gateway_pool_worker_main(Datum arg);

#define TURN_MS 1000

/* After an ERROR the next turn waits so long, doubled each time up to the last. */
#define FIRST_PAUSE USECS_PER_SEC
#define LAST_PAUSE (60 * USECS_PER_SEC)

/* The same message is not logged again for so long. */
#define LOG_PAUSE (3600 * USECS_PER_SEC)

/* Settings that the database, or the server, may have for others than us. */
static const char *const pinned_settings[][2] = {
	{"search_path", "pg_catalog, pg_temp"},
	{"synchronous_commit", "off"},
	{"statement_timeout", "0"},
	{"lock_timeout", "1s"},
	{"idle_in_transaction_session_timeout", "0"},
	{"default_transaction_isolation", "read committed"},
	{"default_transaction_read_only", "off"},
	{"default_transaction_deferrable", "off"},
	{"transaction_timeout", "0"},	/* from 17 on */
	{"zero_damaged_pages", "off"},
};

/* What catalog_changes and worker_slots_wants said before the last look; none if not looked. */
static struct
{
	bool		done;
	uint64		changes;
	uint32		wants;
}			looked;

/* It has found nothing to serve. */
static bool leaving;

/* ERRORs in a row, and until when they are waited out. */
static int	failures;
static int64 paused_until;

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
	Oid			schema;
	bool		serves;

	looked.changes = catalog_changes();
	looked.wants = worker_slots_wants();

	StartTransactionCommand();
	schema = catalog_schema();
	serves = worker_may_serve(MyDatabaseId, name) && OidIsValid(schema) &&
		catalog_find_in_schema(&catalog, schema) && catalog_has_triggers(&catalog);
	CommitTransactionCommand();
	looked.done = true;

	if (serves)
		worker_slots_run();
	else
	{
		worker_slots_resign(looked.wants);
		leaving = true;
	}
}

static bool
is_to_look(void)
{
	return !looked.done || looked.changes != catalog_changes() || looked.wants != worker_slots_wants();
}

/* One round of what a worker is for. */
static void
serve(int64 now)
{
	WorkerRound round = {.at = now};

	worker_slots_report_round(&round);
}

static void
turn(void)
{
	int64		now = clock_monotonic();

	CHECK_FOR_INTERRUPTS();
	if (ConfigReloadPending)
	{
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
	}
	if (now < paused_until)
		return;

	AcceptInvalidationMessages();
	if (is_to_look())
		look();
	if (leaving)
		return;
	serve(now);
	failures = 0;
	worker_slots_report_problem("");
	worker_slots_report_activity(RecoveryInProgress() ? "standby: waiting" : "waiting", false);
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
	if (is_to_log(error->message, now))
		EmitErrorReport();
	AbortCurrentTransaction();
	/* What a transaction would have released, where there was none. */
	LWLockReleaseAll();
	pgstat_report_wait_end();
	MemoryContextSwitchTo(context);
	FlushErrorState();

	paused_until = now + Min(FIRST_PAUSE << Min(failures, 10), LAST_PAUSE);
	failures++;
	worker_slots_report_problem(error->message);
	worker_slots_report_activity("waiting after an error", false);
	RESUME_INTERRUPTS();
}

void
gateway_pool_worker_main(Datum arg)
{
	MemoryContext context;
	WorkerTicket ticket;

	memcpy(&ticket, MyBgworkerEntry->bgw_extra, sizeof(ticket));
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	/* Until there is a connection: it may have to wait for a lock on the database. */
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();

	if (!worker_slots_claim(&ticket))
		proc_exit(0);
	pin_settings();
	BackgroundWorkerInitializeConnectionByOid(ticket.database, InvalidOid, 0);
	pqsignal(SIGTERM, SignalHandlerForShutdownRequest);

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
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, TURN_MS, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
	}
	proc_exit(0);
}
