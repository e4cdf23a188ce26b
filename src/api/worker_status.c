/*
 * worker_status.c
 *		Workers as users see them.
 */
#include "postgres.h"

#include "catalog/pg_authid.h"
#include "commands/dbcommands.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "api/worker_status.h"
#include "base/clock.h"
#include "base/compat.h"
#include "base/result_row.h"
#include "base/settings.h"
#include "shared/worker_slots.h"
#include "tables/catalog.h"
#include "tables/isolation.h"

PG_FUNCTION_INFO_V1(gateway_pool_workers);

/* A worker that is wanted and does not run after this is a problem. */
#define EXPECTED_AFTER (5 * USECS_PER_SEC)

static const char *
state_name(WorkerState state)
{
	switch (state)
	{
		case WORKER_FREE:
			break;
		case WORKER_HELD:
			return "held";
		case WORKER_WANTED:
			return "wanted";
		case WORKER_STARTING:
			return "starting";
		case WORKER_RUNNING:
			return "running";
		case WORKER_STOPPING:
			return "stopping";
	}
	return "free";
}

/* Sets a column to a worker's text, in ASCII if the worker's database may have another encoding. */
static void
put_worker_text(ResultRow *row, const char *column, const WorkerInfo *info, const char *text)
{
	char	   *copy = pstrdup(text);

	if (info->database != MyDatabaseId)
		for (char *c = copy; *c != '\0'; c++)
			if (IS_HIGHBIT_SET(*c))
				*c = '?';
	if (*copy != '\0')
		result_put_text(row, column, copy);
}

static void
add_worker(ResultRow *row, const WorkerInfo *info)
{
	const WorkerRound *round = &info->round;

	result_put_if(row, "pid", info->pid != 0, Int32GetDatum(info->pid));
	result_put(row, "databaseId", ObjectIdGetDatum(info->database));
	result_put_text(row, "database", get_database_name(info->database));
	result_put_text(row, "state", state_name(info->state));
	put_worker_text(row, "activity", info, info->activity);
	if (round->at != 0)
	{
		result_put(row, "lastRoundAt", TimestampTzGetDatum(round->at + clock_wall_offset()));
		result_put(row, "lagMs", Float4GetDatum(round->lag / 1000.0));
		result_put(row, "queueLength", Int32GetDatum(round->queue_length));
		result_put(row, "queueDropped", Int64GetDatum(round->queue_dropped));
		result_put(row, "targets", Int32GetDatum(round->targets));
		result_put(row, "runningProbes", Int32GetDatum(round->running_probes));
		result_put(row, "waitingProbes", Int32GetDatum(round->waiting_probes));
		result_put(row, "p99LatenessMs", Float4GetDatum(round->lateness / 1000.0));
		result_put(row, "probes_count", BoolGetDatum(!round->abstains));
	}
	if (info->problem[0] == '\0' && !setting_worker)
		result_put_text(row, "problem", "gateway_pool.worker is off");
	else
		put_worker_text(row, "problem", info, info->problem);
	result_add(row);
}

static void
add_launcher(ResultRow *row)
{
	pid_t		pid = worker_slots_launcher();

	result_put_if(row, "pid", pid != 0, Int32GetDatum(pid));
	result_put_text(row, "state", pid == 0 ? "wanted" : "running");
	result_put_text(row, "activity", "launcher");
	result_add(row);
}

/* Returns the slots in use; and this database, if gateway pools are installed and it waits for a slot. */
static WorkerInfo *
list_workers(int *count)
{
	WorkerInfo *list = worker_slots_list(count);
	PoolCatalog catalog;
	bool		has_own = false;

	for (int i = 0; i < *count; i++)
		has_own |= list[i].database == MyDatabaseId;
	if (!has_own && *count == WORKER_SLOTS && catalog_find(&catalog))
	{
		list = repalloc(list, sizeof(WorkerInfo) * (*count + 1));
		list[(*count)++] = (WorkerInfo) {.database = MyDatabaseId, .state = WORKER_WANTED, .problem = NO_WORKER_SLOT};
	}
	return list;
}

/*
 * gateway_pool_workers() returns one row for each database that has or will have a
 * worker, and one for the launcher, whose database is null.  Roles that are no
 * members of pg_monitor see only the row of their own database; isolated roles do
 * not, because it has counts and names of gateways of all organizations.  Empty
 * unless the library is preloaded.
 */
Datum
gateway_pool_workers(PG_FUNCTION_ARGS)
{
	bool		all = has_privs_of_role(GetUserId(), ROLE_PG_MONITOR);
	PoolCatalog catalog;
	WorkerInfo *list;
	int			count;
	ResultRow	row;

	catalog_require_fit();
	result_begin_rows(&row, fcinfo);
	if (!worker_slots_exist())
		return (Datum) 0;
	if (!all && catalog_find(&catalog) && isolation_applies(&catalog))
		return (Datum) 0;

	if (all)
		add_launcher(&row);
	list = list_workers(&count);
	for (int i = 0; i < count; i++)
		if (all || list[i].database == MyDatabaseId)
			add_worker(&row, &list[i]);
	return (Datum) 0;
}

/*
 * worker_status_problem returns why this database, in which gateway pools are
 * installed, has no worker, or what is wrong with it.  A worker that is starting, or
 * starts when the current transaction commits, is no problem.
 */
WorkerProblem
worker_status_problem(void)
{
	static const char see_log[] = "See the server's log; picks work without the worker.";
	static const char relieve[] = "Lengthen the intervals of probes; until then failures are found late.";
	int64		now = clock_monotonic();
	int			count;
	WorkerInfo *list;

	if (!setting_worker)
		return (WorkerProblem) {"worker not running", "Setting gateway_pool.worker is off.",
			"Set it to on and reload the server's configuration."};
	if (worker_slots_launcher() == 0)
		return (WorkerProblem) {"worker not running", "The launcher does not run.", see_log};

	list = list_workers(&count);
	for (int i = 0; i < count; i++)
	{
		const WorkerInfo *info = &list[i];

		if (info->database != MyDatabaseId)
			continue;
		if (info->state == WORKER_RUNNING)
			return (WorkerProblem) {info->problem[0] == '\0' ? NULL : info->round.overloaded ? "worker overloaded" : "worker fails",
				info->problem, info->round.overloaded ? relieve : see_log};
		if (info->problem[0] != '\0' || now - info->since >= EXPECTED_AFTER)
			return (WorkerProblem) {"worker not running",
				psprintf("Its state is \"%s\"%s%s.", state_name(info->state), info->problem[0] == '\0' ? "" : ": ", info->problem),
				see_log};
		return (WorkerProblem) {NULL};
	}
	return (WorkerProblem) {NULL};
}
