/*
 * worker.c
 *		The background worker of one database.
 *
 * It first finds out whether there is anything to serve: our extension, its
 * tables and triggers, committed.  If not, it ends, and its slot goes.  While it
 * serves, it looks again whenever it is told that one of them has changed.
 *
 * It turns when a probe is due or has got an answer, when evidence runs out, when
 * a backend wakes it, and once a second.  Each turn does what there is to do with
 * probes, and then at most one short transaction of each kind: probes never wait
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
#include "tcop/tcopprot.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/syscache.h"
#include "utils/timeout.h"

#include "catalog.h"
#include "clock.h"
#include "compat.h"
#include "health_record.h"
#include "settings.h"
#include "watch.h"
#include "worker.h"
#include "worker_slots.h"
#include "worker_store.h"

PGDLLEXPORT void gateway_pool_worker_main(Datum arg);

#define TURN_PAUSE USECS_PER_SEC

/* The tables are read anew when something has changed, but not more often than this. */
#define READ_PAUSE USECS_PER_SEC

/* And in any case after this: some changes are told to nobody. */
#define READ_INTERVAL (60 * USECS_PER_SEC)
#define STANDBY_READ_INTERVAL (5 * USECS_PER_SEC)

/* Verdicts may change in quick succession: all gateways are judged at most so often. */
#define JUDGE_PAUSE (20 * INT64CONST(1000))

/* A table that is locked is tried again after this. */
#define LOCKED_PAUSE (250 * INT64CONST(1000))

#define PRUNE_INTERVAL (60 * USECS_PER_SEC)

/* A statement that takes longer is given up. */
#define STATEMENT_MS 5000

/* What is left to be recorded at the end has this time. */
#define LAST_WORDS USECS_PER_SEC

/* What failed is tried again after this, doubled each time up to the last. */
#define FIRST_PAUSE USECS_PER_SEC
#define LAST_PAUSE (60 * USECS_PER_SEC)

/* The same message is not logged again for so long. */
#define LOG_PAUSE (3600 * USECS_PER_SEC)

#define LOCKED "a table or a row is locked: what happens is recorded when it is not"

/* What a turn does; each fails by itself. */
typedef enum Chore
{
	PROBE,
	LOOK,
	READ,
	CONFIRM,
	RECORD,
	PRUNE,
	CHORES
} Chore;

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

/* What catalog_changes and worker_slots_wants said before the last look; none if not looked. */
static struct
{
	bool		done;
	uint64		changes;
	uint32		wants;
}			looked;

/* It has found nothing to serve. */
static bool leaving;

/* The schema of the extension; InvalidOid until there is something to serve. */
static Oid	served_schema;

/* When what was done last, or is to be tried again. */
static int64 read_at;
static int64 judged_at;
static int64 write_after;
static int64 prune_after;

/* Somebody else has recorded what happened so far: we are a standby, or have been. */
static bool following;

/* What is wrong with what is to be watched, as of the last read. */
static char read_problem[WORKER_TEXT_SIZE];

/* How each has gone last: ERRORs in a row, and until when they are waited out. */
static struct
{
	int			failures;
	int64		paused_until;
	char		problem[WORKER_TEXT_SIZE];
}			chores[CHORES];

/* The one that is being done, and that it could not be: somebody has locked a table. */
static Chore chore;
static bool locked_out;

/* Begins a chore, unless it is to be left alone for now. */
static bool
begin_chore(Chore which, int64 now)
{
	if (now < chores[which].paused_until)
		return false;
	chore = which;
	locked_out = false;
	return true;
}

static void
end_chore(void)
{
	chores[chore].failures = 0;
	strlcpy(chores[chore].problem, locked_out ? LOCKED : "", WORKER_TEXT_SIZE);
}

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

	looked.done = false;
	looked.changes = catalog_changes();
	looked.wants = worker_slots_wants();

	StartTransactionCommand();
	schema = catalog_schema();
	serves = worker_may_serve(MyDatabaseId, name) && OidIsValid(schema) &&
		catalog_find_in_schema(&catalog, schema) && catalog_has_triggers(&catalog);
	CommitTransactionCommand();
	looked.done = true;

	if (!serves)
	{
		worker_slots_resign(looked.wants);
		leaving = true;
		return;
	}
	worker_slots_run();
	if (!OidIsValid(served_schema))
		watch_start();
	served_schema = schema;
	/* Whatever made us look may have changed what there is to watch, or have put it right. */
	watch_forget();
	chores[READ].paused_until = 0;
}

static bool
is_to_look(void)
{
	return !looked.done || looked.changes != catalog_changes() || looked.wants != worker_slots_wants();
}

/*
 * Begins a transaction on the tables.  Returns false, without one, if they have
 * gone, or somebody has locked one.
 */
static bool
begin(PoolCatalog *catalog, bool to_write)
{
	bool		there;

	StartTransactionCommand();
	enable_timeout_after(STATEMENT_TIMEOUT, STATEMENT_MS);
	there = catalog_find_in_schema(catalog, served_schema);
	if (!there)
		looked.done = false;
	locked_out = there && !worker_store_lock(catalog, to_write);
	if (there && !locked_out)
		return true;
	disable_timeout(STATEMENT_TIMEOUT, false);
	CommitTransactionCommand();
	return false;
}

static void
commit(void)
{
	disable_timeout(STATEMENT_TIMEOUT, false);
	CommitTransactionCommand();
	pgstat_report_stat(false);
}

/* Reads what there is to watch. */
static void
read_tables(int64 now, bool standby)
{
	PoolCatalog catalog;
	StringInfoData problem;

	read_at = now;
	watch_forget();
	if (!begin(&catalog, false))
		return;
	worker_slots_report_activity("reading gateways", true);
	initStringInfo(&problem);
	watch_read(&catalog, standby || following, &problem);
	strlcpy(read_problem, problem.data, sizeof(read_problem));
	commit();
	following = standby;
}

/* Whether a heartbeat has run out is for its row to say. */
static void
confirm_expiries(void)
{
	PoolCatalog catalog;

	if (!begin(&catalog, false))
		return;
	watch_confirm(&catalog);
	commit();
	watch_judge();
}

/* Writes some of what has happened; whether it could. */
static bool
record_changes(void)
{
	PoolCatalog catalog;
	bool		any;

	if (!begin(&catalog, true))
		return false;
	worker_slots_report_activity("recording changes of health", true);
	any = health_record_write(&catalog);
	commit();
	if (any)
		health_record_written();
	return true;
}

static bool
prune_events(void)
{
	PoolCatalog catalog;
	bool		any;

	if (!begin(&catalog, true))
		return false;
	any = health_record_prune(&catalog) > 0;
	commit();
	return any;
}

static void
report_round(int64 now)
{
	ProberState state;
	WorkerRound round;

	prober_state(watch_prober(), &state);
	round = (WorkerRound) {
		.at = now,
		.lag = state.lag,
		.lateness = state.lateness,
		.queue_length = health_record_length(),
		.queue_dropped = health_record_dropped(),
		.targets = state.targets,
		.running_probes = state.running,
		.waiting_probes = state.waiting,
		.abstains = state.abstains
	};
	worker_slots_report_round(&round);
}

/* What there is to do with tables; probes have had their turn. */
static void
serve(int64 now)
{
	bool		standby = RecoveryInProgress();
	int64		read_interval = standby ? STANDBY_READ_INTERVAL : READ_INTERVAL;

	if ((read_at == 0 || now >= read_at + read_interval || (following && !standby) ||
		 (watch_is_to_read() && now >= read_at + READ_PAUSE)) && begin_chore(READ, now))
	{
		read_tables(now, standby);
		end_chore();
	}
	if (standby || following)
		return;

	if ((watch_has_changed() && now >= judged_at + JUDGE_PAUSE) ||
		now >= Min(watch_next_change(), judged_at + TURN_PAUSE))
	{
		judged_at = now;
		watch_judge();
		if (watch_is_to_confirm() && begin_chore(CONFIRM, now))
		{
			confirm_expiries();
			end_chore();
		}
	}
	if (health_record_length() > 0 && now >= write_after && begin_chore(RECORD, now))
	{
		write_after = record_changes() ? 0 : now + LOCKED_PAUSE;
		end_chore();
	}
	if (now >= prune_after && begin_chore(PRUNE, now))
	{
		prune_after = now + (prune_events() ? TURN_PAUSE : PRUNE_INTERVAL);
		end_chore();
	}
}

/* When the next turn is due, if nobody wakes us before. */
static int64
next_turn(int64 now)
{
	int64		next = now + TURN_PAUSE;

	if (!OidIsValid(served_schema))
		return next;
	next = Min(next, Max(prober_next_run(watch_prober()), chores[PROBE].paused_until));
	if (following)
		return next;
	next = Min(next, Max(watch_next_change(), judged_at + JUDGE_PAUSE));
	if (watch_has_changed())
		next = Min(next, judged_at + JUDGE_PAUSE);
	if (health_record_length() > 0)
		next = Min(next, Max(write_after, chores[RECORD].paused_until));
	return next;
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
	const char *problem = read_problem;

	for (int i = 0; i < CHORES; i++)
		if (chores[i].problem[0] != '\0')
			problem = chores[i].problem;
	if (problem[0] != '\0' && is_to_log(problem, now))
		ereport(LOG,
				(errmsg("gateway_pool: %s", problem)));
	worker_slots_report_problem(problem);
}

static void
turn(void)
{
	int64		now;

	CHECK_FOR_INTERRUPTS();
	if (ConfigReloadPending)
	{
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
		if (OidIsValid(served_schema))
			watch_forget();
	}
	AcceptInvalidationMessages();
	now = clock_monotonic();
	if (OidIsValid(served_schema) && begin_chore(PROBE, now))
	{
		/* Who has just changed how a gateway is probed, and asks for that, means the change. */
		if (!(is_to_look() || watch_is_to_read()) ||
			chores[LOOK].problem[0] != '\0' || chores[READ].problem[0] != '\0')
			watch_take_requests();
		prober_run(watch_prober());
		end_chore();
		now = clock_monotonic();
		report_round(now);
	}

	if (is_to_look() && begin_chore(LOOK, now))
	{
		look();
		end_chore();
	}
	if (leaving)
		return;
	if (OidIsValid(served_schema))
		serve(now);
	report_problem(now);
	worker_slots_report_activity(following ? "standby: probing" : "probing", false);
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

	/* A row that is locked is waited for as a table is, but not as often: that takes time. */
	if (error->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE)
	{
		chores[chore].paused_until = now + FIRST_PAUSE;
		strlcpy(chores[chore].problem, LOCKED, WORKER_TEXT_SIZE);
	}
	else
	{
		chores[chore].paused_until = now + Min(FIRST_PAUSE << Min(chores[chore].failures, 10), LAST_PAUSE);
		chores[chore].failures++;
		strlcpy(chores[chore].problem, error->message, WORKER_TEXT_SIZE);
	}
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
	int64		wait = next_turn(now) - now;

	if (events == NULL)
	{
		events = create_wait_event_set(lengthof(occurred));
		AddWaitEventToSet(events, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, NULL);
		AddWaitEventToSet(events, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET, NULL, NULL);
	}
	if (!has_prober && OidIsValid(served_schema))
	{
		AddWaitEventToSet(events, WL_SOCKET_READABLE, prober_descriptor(watch_prober()), NULL, NULL);
		has_prober = true;
	}
	count = WaitEventSetWait(events, wait <= 0 ? 0 : (wait + 999) / 1000, occurred, lengthof(occurred), PG_WAIT_EXTENSION);
	for (int i = 0; i < count; i++)
		if (occurred[i].events & WL_LATCH_SET)
		{
			ResetLatch(MyLatch);
			watch_note_change();
		}
}

/* The end: keeps what was reported to us for the next start, if that is quickly done. */
static void
leave(MemoryContext context)
{
	int64		give_up_at = clock_monotonic() + LAST_WORDS;

	if (!OidIsValid(served_schema))
		return;
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		if (!leaving && !following && read_at > 0)
		{
			watch_keep_reports();
			while (health_record_length() > 0 && clock_monotonic() < give_up_at && record_changes())
				;
		}
	}
	PG_CATCH();
	{
		recover(context);
	}
	PG_END_TRY();
	watch_stop();
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
		await();
	}
	leave(context);
	proc_exit(0);
}
