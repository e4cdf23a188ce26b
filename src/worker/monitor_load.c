/*
 * monitor_load.c
 *		What there is to watch, read from the tables.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "utils/array.h"
#include "utils/memutils.h"

#include "base/clean_text.h"
#include "shared/probe_on_demand.h"
#include "tables/gateway_rows.h"
#include "tables/gateway_slots.h"
#include "worker/monitor_internal.h"

/* Reads in a row for slots to be made. */
#define READS_MAX 5

/*
 * Reads all gateways and sees to their slots.  What committed while a slot was
 * being made was told to nobody: then all are to be read once more, if not here,
 * where gateways are made or deleted all the time, then soon.
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
				appendStringInfoString(problem, "shared memory of gateway_pool is full: some gateways are not watched");
		}
	}
	return rows;
}

static void
monitor_gateway(const GatewayRow *row, bool follow)
{
	bool		found;
	MonitoredGateway *watched;

	if (row->slot.number == NO_SLOT)
		return;
	watched = hash_search(monitor.gateways, &row->id, HASH_ENTER, &found);
	/* A gateway that was deleted and made again has the id, and another slot. */
	if (found && (watched->slot.number != row->slot.number || watched->slot.generation != row->slot.generation))
		found = false;
	if (!found)
		memset((char *) watched + sizeof(pg_uuid_t), 0, sizeof(MonitoredGateway) - sizeof(pg_uuid_t));
	if (!found || follow)
	{
		watched->recorded = row->recorded.known ? row->recorded.status : GATEWAY_UNKNOWN;
		watched->eligible = selection_eligible(watched->recorded, row->state);
	}
	watched->org_id = row->org_id;
	strlcpy(watched->name, row->name, pg_mbcliplen(row->name, strlen(row->name), sizeof(watched->name) - 1) + 1);
	clean_text_in_place(watched->name);
	watched->state = row->state;
	watched->slot = row->slot;
	watched->kept = true;
}

static void
monitor_gateways(const GatewayRow *rows, int count, bool follow)
{
	HASH_SEQ_STATUS scan;
	MonitoredGateway *watched;

	hash_seq_init(&scan, monitor.gateways);
	while ((watched = hash_seq_search(&scan)) != NULL)
		watched->kept = false;
	for (int i = 0; i < count; i++)
		monitor_gateway(&rows[i], follow);
	hash_seq_init(&scan, monitor.gateways);
	while ((watched = hash_seq_search(&scan)) != NULL)
		if (!watched->kept)
		{
			probe_on_demand_answer(watched->slot, probe_on_demand_last(watched->slot));
			/* Who deleted the row has done so, unless he could not. */
			health_map_free(watched->slot);
			(void) hash_search(monitor.gateways, &watched->id, HASH_REMOVE, NULL);
		}
}

/* Pools whose loss or return somebody else tells are taken for new ones: as they are now. */
static void
monitor_pools(const MembershipRow *rows, int count, bool follow)
{
	MonitoredGateway **former = monitor.members;
	HASH_SEQ_STATUS scan;
	MonitoredPool *pool;

	monitor.members = MemoryContextAllocHuge(monitor.context, sizeof(MonitoredGateway *) * Max(count, 1));
	if (former != NULL)
		pfree(former);

	hash_seq_init(&scan, monitor.pools);
	while ((pool = hash_seq_search(&scan)) != NULL)
	{
		pool->kept = pool->is_new = false;
		if (follow)
			(void) hash_search(monitor.pools, &pool->id, HASH_REMOVE, NULL);
	}
	for (int i = 0; i < count; i++)
	{
		bool		found;

		pool = hash_search(monitor.pools, &rows[i].pool, HASH_ENTER, &found);
		if (!found)
			memset((char *) pool + sizeof(pg_uuid_t), 0, sizeof(MonitoredPool) - sizeof(pg_uuid_t));
		if (!pool->kept)
		{
			pool->kept = true;
			pool->is_new = !found;
			pool->org_id = rows[i].org_id;
			pool->first_member = i;
			pool->member_count = 0;
		}
		/* NULL where there was no room for its slot. */
		monitor.members[i] = hash_search(monitor.gateways, &rows[i].gateway, HASH_FIND, NULL);
		pool->member_count++;
		if (pool->is_new && monitor.members[i] != NULL)
			pool->served |= monitor.members[i]->eligible;
	}

	/* One that has lost its members is judged once more: it serves nobody. */
	hash_seq_init(&scan, monitor.pools);
	while ((pool = hash_seq_search(&scan)) != NULL)
		if (!pool->kept)
			pool->member_count = 0;
}

/*
 * monitor_load reads from the tables what there is to watch, in the caller's
 * transaction.  With "follow", somebody else records what happens: what he has
 * recorded is believed.  What cannot be watched is told in "problem".
 *
 * All is read before any of it is taken: after an ERROR half-way, pools would have
 * members that are not watched any more.
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

	/* What they point to may go, and all are judged after this. */
	list_free(monitor.changed);
	monitor.changed = NIL;
	monitor_gateways(gateway_rows, gateway_count, follow);
	monitor_pools(membership_rows, membership_count, follow);
	monitor_probes(plans, plan_count);
	monitor.is_to_read = again;
	monitor.is_to_judge = true;
}

/*
 * monitor_confirm reads the rows of the gateways whose heartbeats have run out, in
 * the caller's transaction, which tells their slots what they say.
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
	monitor.is_to_judge = true;
}
