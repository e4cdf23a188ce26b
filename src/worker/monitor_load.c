/*
 * monitor_load.c
 *		Reads the gateways and pools to monitor from the tables.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "utils/array.h"
#include "utils/memutils.h"

#include "base/clean_text.h"
#include "base/clock.h"
#include "shared/commit_queue.h"
#include "shared/probe_on_demand.h"
#include "tables/gateway_rows.h"
#include "tables/gateway_slots.h"
#include "worker/monitor_internal.h"

/* Attempts in a row to make slots for all gateways. */
#define READS_MAX 5

/*
 * Reads all gateways and makes the slots that are missing.  A heartbeat that another
 * session commits while a slot is being made is not published in it, so that all
 * have to be read again, after those before it were published: here, or soon if
 * "again" is set.
 */
static GatewayRow *
read_gateways(const PoolCatalog *catalog, int *count, bool *again, StringInfo problem)
{
	GatewayRow *rows = NULL;

	*again = true;
	for (int i = 0; *again && i < READS_MAX; i++)
	{
		rows = gateway_rows_read(catalog, (RowFilter) {0}, count);
		*again = false;
		for (int j = 0; j < *count; j++)
		{
			SlotCreation creation = SLOT_EXISTED;

			if (rows[j].slot.number == NO_SLOT)
				rows[j].slot = gateway_slots_make(catalog, &rows[j], &creation);
			*again |= creation == SLOT_CREATED || creation == SLOT_ROW_OUTDATED;
			if (creation == SLOT_MAP_FULL && problem->len == 0)
				appendStringInfoString(problem, "shared memory of gateway_pool is full: some gateways are not monitored");
		}
		if (*again)
			commit_queue_wait();
	}
	return rows;
}

/* Copies a name, cut to a size, without control characters. */
static void
copy_name(char *to, size_t size, const char *name)
{
	strlcpy(to, name, pg_mbcliplen(name, strlen(name), size - 1) + 1);
	clean_text_in_place(to);
}

static void
monitor_gateway(const GatewayRow *row, bool follow)
{
	bool		found;
	MonitoredGateway *gateway;

	if (row->slot.number == NO_SLOT)
		return;
	gateway = hash_search(monitor.gateways, &row->id, HASH_ENTER, &found);
	/* A gateway that was deleted and made again has the id, and another slot. */
	if (found && (gateway->slot.number != row->slot.number || gateway->slot.generation != row->slot.generation))
		found = false;
	if (!found)
		memset((char *) gateway + sizeof(pg_uuid_t), 0, sizeof(MonitoredGateway) - sizeof(pg_uuid_t));
	if (!found || follow)
	{
		gateway->recorded = row->recorded.known ? row->recorded.status : GATEWAY_UNKNOWN;
		gateway->recorded_verdict = row->recorded.verdict;
		gateway->recorded_target = row->recorded.target;
	}
	if (!found)
		gateway->eligible = selection_eligible(gateway->recorded, row->state);
	gateway->org_id = row->org_id;
	copy_name(gateway->name, sizeof(gateway->name), row->name);
	gateway->state = row->state;
	gateway->state_until = row->state_until;
	gateway->slot = row->slot;
	gateway->present = true;
}

static void
monitor_gateways(const GatewayRow *rows, int count, bool follow)
{
	HASH_SEQ_STATUS scan;
	MonitoredGateway *gateway;

	hash_seq_init(&scan, monitor.gateways);
	while ((gateway = hash_seq_search(&scan)) != NULL)
		gateway->present = false;
	for (int i = 0; i < count; i++)
		monitor_gateway(&rows[i], follow);
	hash_seq_init(&scan, monitor.gateways);
	while ((gateway = hash_seq_search(&scan)) != NULL)
		if (!gateway->present)
		{
			probe_on_demand_answer(gateway->slot, probe_on_demand_last(gateway->slot));

			/*
			 * The session that deleted the row may have failed to free the
			 * slot.
			 */
			health_map_free(gateway->slot);
			(void) hash_search(monitor.gateways, &gateway->id, HASH_REMOVE, NULL);
		}
}

/* Adds a member to a pool; NULL if there was no room for its slot. */
static void
add_member(MonitoredPool *pool, MonitoredGateway *member, bool follow)
{
	monitor.members[pool->first_member + pool->member_count++] = member;
	if (member == NULL)
		return;
	if (follow)
		pool->has_eligible |= selection_eligible(member->recorded, member->state);
	else if (pool->is_new)
		pool->has_eligible |= member->eligible;
	if (pool->is_new)
		pool->usable |= member->eligible;
}

/* Returns true if a member has been judged before, by an earlier worker. */
static bool
was_judged(const MonitoredPool *pool)
{
	for (int i = 0; i < pool->member_count; i++)
		if (monitor.members[pool->first_member + i] != NULL &&
			monitor.members[pool->first_member + i]->recorded != GATEWAY_UNKNOWN)
			return true;
	return false;
}

/*
 * With "follow", another server records changes of pools: how they are by its records
 * is no change.  "first": the worker has read no pools before.
 */
static void
monitor_pools(const MembershipRow *rows, int count, bool follow, bool first)
{
	MonitoredGateway **former = monitor.members;
	int			member_count = 0;
	HASH_SEQ_STATUS scan;
	MonitoredPool *pool = NULL;

	monitor.members = MemoryContextAllocHuge(monitor.context, sizeof(MonitoredGateway *) * Max(count, 1));
	if (former != NULL)
		pfree(former);

	hash_seq_init(&scan, monitor.pools);
	while ((pool = hash_seq_search(&scan)) != NULL)
		pool->present = pool->is_new = false;
	for (int i = 0; i < count; i++)
	{
		if (rows[i].pool_name != NULL)
		{
			bool		found;

			pool = hash_search(monitor.pools, &rows[i].pool, HASH_ENTER, &found);
			if (!found)
				memset((char *) pool + sizeof(pg_uuid_t), 0, sizeof(MonitoredPool) - sizeof(pg_uuid_t));
			pool->present = true;
			pool->is_new = !found;
			pool->has_eligible &= !follow;
			pool->org_id = rows[i].org_id;
			copy_name(pool->name, sizeof(pool->name), rows[i].pool_name);
			pool->first_member = member_count;
			pool->member_count = 0;
		}
		if (rows[i].has_gateway)
		{
			add_member(pool, hash_search(monitor.gateways, &rows[i].gateway, HASH_FIND, NULL), follow);
			member_count++;
		}
	}

	hash_seq_init(&scan, monitor.pools);
	while ((pool = hash_seq_search(&scan)) != NULL)
	{
		/* A deleted pool is judged once more: it has lost its last member. */
		if (!pool->present)
			pool->member_count = 0;
		if (first && !pool->usable && was_judged(pool))
		{
			pool->lost_at = clock_monotonic();
			pool->lost_before_start = true;
		}
	}
}

/*
 * monitor_load reads what to monitor from the tables, in the caller's transaction.
 * With "follow", another server records changes, and what it has recorded is
 * adopted.  Appends to "problem" why something cannot be monitored.
 *
 * Everything is read before any of it is adopted.  After an ERROR half-way, pools may
 * have members that are no longer monitored, and probes other targets than the
 * monitor knows: nothing is probed or judged until all has been adopted.
 */
void
monitor_load(const PoolCatalog *catalog, bool follow, StringInfo problem)
{
	bool		again;
	int			gateway_count;
	int			membership_count;
	int			plan_count;
	GatewayRow *gateway_rows = read_gateways(catalog, &gateway_count, &again, problem);
	MembershipRow *membership_rows = worker_queries_memberships(catalog, &membership_count);
	ProbePlan  *plans = worker_queries_probes(catalog, &plan_count, problem);

	monitor.adopted = false;
	/* Its gateways may be removed, and all are judged after this. */
	list_free(monitor.changed);
	monitor.changed = NIL;
	monitor_gateways(gateway_rows, gateway_count, follow);
	monitor_pools(membership_rows, membership_count, follow, monitor.members == NULL);
	monitor_probes(plans, plan_count);
	monitor.adopted = true;
	monitor.must_read = again;
	monitor.must_judge = true;
}

/*
 * monitor_confirm reads the rows of the gateways whose heartbeats have expired, in
 * the caller's transaction, and so publishes in their slots what the rows say.
 */
void
monitor_confirm(const PoolCatalog *catalog)
{
	Datum	   *ids = palloc(sizeof(Datum) * list_length(monitor.unconfirmed));
	int			id_count = 0;
	int			count;
	ListCell   *cell;

	foreach(cell, monitor.unconfirmed)
		ids[id_count++] = UUIDPGetDatum(lfirst(cell));
	(void) gateway_rows_read(catalog, (RowFilter) {
		.ids = construct_array(ids, id_count, UUIDOID, UUID_LEN, false, TYPALIGN_CHAR)
	}, &count);
	list_free_deep(monitor.unconfirmed);
	monitor.unconfirmed = NIL;
	monitor.must_judge = true;
}
