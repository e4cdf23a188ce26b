/*
 * monitor.c
 *		The gateways and pools of one database, monitored by its worker.
 *
 * monitor_run does what is due: it probes, reads the tables again, judges gateways
 * and pools, reads the rows of gateways whose heartbeats have expired, records
 * changes of health, and deletes old rows.  Each step that may fail is a task of its
 * own (worker_task.c).  A standby, which cannot write, only probes, reads, and judges
 * for the log.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "utils/memutils.h"

#include "base/clock.h"
#include "shared/my_worker_slot.h"
#include "tables/audit_log.h"
#include "worker/health_writer.h"
#include "worker/monitor_internal.h"
#include "worker/worker_log.h"
#include "worker/worker_task.h"

/* The most time between two turns, and between two judgements of all gateways. */
#define TURN_PAUSE USECS_PER_SEC

/* The least time between two reads of the tables. */
#define READ_PAUSE USECS_PER_SEC

/* The most: some changes invalidate nothing. */
#define READ_INTERVAL (60 * USECS_PER_SEC)
#define STANDBY_READ_INTERVAL (5 * USECS_PER_SEC)

/* The least time between two judgements of all gateways: evidence may change in quick succession. */
#define JUDGE_PAUSE (20 * INT64CONST(1000))

#define PRUNE_INTERVAL (60 * USECS_PER_SEC)

/* The time for recording what is left when the worker ends. */
#define FINISH_TIME (700 * INT64CONST(1000))

Monitor		monitor;

/* When the tables were read last, and when all gateways were judged last; 0 if never. */
static int64 read_at;
static int64 judged_at;

/* They have been read once at least. */
static bool was_read;

/* Another server has recorded changes up to the last read: this is a standby, or was one. */
static bool following;

/* What is wrong with what is monitored, as of the last read. */
static char read_problem[WORKER_TEXT_SIZE];

/*
 * monitor_start sets up the monitor, with no gateways yet.  Called once a process, or
 * again if it failed.
 */
void
monitor_start(void)
{
	HASHCTL		control = {.keysize = sizeof(pg_uuid_t)};
	MemoryContext caller;

	if (monitor.context == NULL)
		monitor.context = AllocSetContextCreate(TopMemoryContext, "gateway_pool monitor", ALLOCSET_DEFAULT_SIZES);
	MemoryContextReset(monitor.context);
	control.hcxt = monitor.context;
	control.entrysize = sizeof(MonitoredGateway);
	monitor.gateways = hash_create("monitored gateways", 1024, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	control.entrysize = sizeof(MonitoredPool);
	monitor.pools = hash_create("monitored pools", 256, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	monitor.next_change = PG_INT64_MAX;

	caller = MemoryContextSwitchTo(monitor.context);
	monitor_probes_start();
	MemoryContextSwitchTo(caller);
	worker_task_inherit_stalls();
}

/* monitor_stop ends all probes, and logs what was only counted. */
void
monitor_stop(void)
{
	if (monitor.prober != NULL)
		prober_destroy(monitor.prober);
	monitor.prober = NULL;
	monitor_log_rest();
}

/* monitor_descriptor returns a descriptor that is readable when monitor_run has something to do, unless it pauses. */
int
monitor_descriptor(void)
{
	return prober_descriptor(monitor.prober);
}

/* monitor_pauses returns true if monitor_run would not serve the descriptor, which may stay readable. */
bool
monitor_pauses(int64 now)
{
	return !monitor.adopted || worker_task_paused_until(TASK_PROBE) > now;
}

/* monitor_read_soon has the tables read again: they, or settings, may have changed. */
void
monitor_read_soon(void)
{
	monitor.must_read = true;
	worker_task_resume(TASK_READ);
}

/* monitor_judge_soon has all gateways judged soon: evidence in shared memory may have changed. */
void
monitor_judge_soon(void)
{
	monitor.must_judge = true;
}

/* monitor_read_problem returns why something cannot be monitored, "" if all can. */
const char *
monitor_read_problem(void)
{
	return read_problem;
}

/* monitor_probe_problem returns why probes are late, "" if they are not. */
const char *
monitor_probe_problem(void)
{
	return prober_problem(monitor.prober);
}

static void
publish_round(void)
{
	ProberState state;
	WorkerRound round;

	prober_state(monitor.prober, &state);
	round = (WorkerRound) {
		.at = clock_monotonic(),
		.lag = state.lag,
		.lateness = state.lateness,
		.queue_length = health_writer_length(),
		.queue_dropped = health_writer_dropped(),
		.targets = state.targets,
		.running_probes = state.running,
		.waiting_probes = state.waiting,
		.abstains = state.abstains,
		.overloaded = worker_task_problem()[0] == '\0' && read_problem[0] == '\0' &&
		prober_problem(monitor.prober)[0] != '\0'
	};
	my_worker_slot_publish_round(&round);
}

/*
 * A caller that changes how a gateway is probed and then requests a probe expects
 * the new way: no request is taken before the change has been read.
 */
static void
run_probes(bool up_to_date)
{
	if (up_to_date && !monitor.must_read)
		monitor_take_requests();
	prober_run(monitor.prober);
}

static void
read_tables(int64 now, bool standby)
{
	PoolCatalog catalog;
	StringInfoData problem;

	read_at = now;
	monitor.must_read = true;
	if (!worker_task_open_tables(&catalog, false))
		return;
	my_worker_slot_publish_activity("reading gateways", true);
	initStringInfo(&problem);
	monitor_load(&catalog, standby || following, &problem);
	strlcpy(read_problem, problem.data, sizeof(read_problem));
	worker_task_commit();
	following = standby;
	if (!was_read)
	{
		ProberState state;

		was_read = true;
		prober_state(monitor.prober, &state);
		worker_log_ready(hash_get_num_entries(monitor.gateways), state.targets);
	}
}

/* Reads the rows of gateways whose heartbeats have expired by their slots. */
static void
confirm_expiries(void)
{
	PoolCatalog catalog;

	if (!worker_task_open_tables(&catalog, false))
		return;
	monitor_confirm(&catalog);
	worker_task_commit();
	monitor_judge_all();
}

/* Records some of the queued changes; returns false if the tables could not be opened. */
static bool
record_changes(void)
{
	PoolCatalog catalog;
	bool		any;

	if (!worker_task_open_tables(&catalog, true))
		return false;
	my_worker_slot_publish_activity("recording changes of health", true);
	any = health_writer_write(&catalog);
	worker_task_commit();
	if (any)
		health_writer_written();
	return true;
}

/* Deletes some of the old rows, and the next ones after a pause. */
static void
prune(int64 now)
{
	PoolCatalog catalog;
	bool		any;

	if (!worker_task_open_tables(&catalog, true))
		return;
	my_worker_slot_enter_table(catalog.events);
	any = health_writer_prune(&catalog) > 0;
	my_worker_slot_enter_table(catalog.audit_logs);
	any |= audit_log_prune(&catalog) > 0;
	worker_task_commit();
	worker_task_pause(now + (any ? TURN_PAUSE : PRUNE_INTERVAL));
}

static bool
is_time_to_read(int64 now, bool standby)
{
	return read_at == 0 || (following && !standby) ||
		now >= read_at + (standby ? STANDBY_READ_INTERVAL : READ_INTERVAL) ||
		(monitor.must_read && now >= read_at + READ_PAUSE);
}

/* Judges what may have changed. */
static void
judge(int64 now)
{
	if (now >= judged_at + JUDGE_PAUSE &&
		(monitor.must_judge || now >= Min(monitor.next_change, judged_at + TURN_PAUSE)))
	{
		judged_at = now;
		monitor_judge_all();
	}
	else if (monitor.changed != NIL)
		monitor_judge_changed();
}

/*
 * monitor_run does what is due.  "up_to_date": the caller has handled all
 * invalidations so far.
 */
void
monitor_run(bool up_to_date)
{
	int64		now = clock_monotonic();
	bool		standby = RecoveryInProgress();

	if (worker_task_begin(TASK_PROBE, now))
	{
		if (monitor.adopted)
			run_probes(up_to_date);
		worker_task_end();
		publish_round();
		now = clock_monotonic();
	}
	if (is_time_to_read(now, standby) && worker_task_begin(TASK_READ, now))
	{
		read_tables(now, standby);
		worker_task_end();
	}
	monitor.recording = !standby && !following;
	if (monitor.adopted)
		judge(now);
	if (!monitor.recording)
	{
		my_worker_slot_publish_activity("standby: probing", false);
		return;
	}

	if (monitor.unconfirmed != NIL && worker_task_begin(TASK_CONFIRM, now))
	{
		confirm_expiries();
		worker_task_end();
	}
	if (health_writer_length() > 0 && worker_task_begin(TASK_RECORD, now))
	{
		(void) record_changes();
		worker_task_end();
	}
	if (worker_task_begin(TASK_PRUNE, now))
	{
		prune(now);
		worker_task_end();
	}
	my_worker_slot_publish_activity("probing", false);
}

/* monitor_next returns when monitor_run has something to do next, unless its descriptor is readable before. */
int64
monitor_next(int64 now)
{
	int64		next = now + TURN_PAUSE;

	if (monitor.adopted)
		next = Min(next, Max(prober_next_run(monitor.prober), worker_task_paused_until(TASK_PROBE)));
	if (!monitor.recording || !monitor.adopted)
		return next;
	next = Min(next, Max(monitor.next_change, judged_at + JUDGE_PAUSE));
	if (monitor.must_judge)
		next = Min(next, judged_at + JUDGE_PAUSE);
	if (health_writer_length() > 0)
		next = Min(next, worker_task_paused_until(TASK_RECORD));
	return next;
}

/*
 * monitor_finish records what is left, and the heartbeats that were reported for the
 * next start of the server, within FINISH_TIME.
 */
void
monitor_finish(void)
{
	int64		now = clock_monotonic();
	int64		end = now + FINISH_TIME;

	if (!monitor.recording || read_at == 0 || !worker_task_begin_last(TASK_RECORD, now, end))
		return;
	monitor_queue_reported();
	while (health_writer_length() > 0 && clock_monotonic() < end && record_changes())
		;
}
