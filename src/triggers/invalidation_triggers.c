/*
 * invalidation_triggers.c
 *		Triggers that publish changes to every session and to shared memory.
 *
 * They fire ALWAYS, in the role of a replica too, and break no rule by that:
 * they refuse nothing.
 */
#include "postgres.h"

#include "commands/trigger.h"
#include "executor/spi.h"
#include "utils/rel.h"

#include "base/invalidation.h"
#include "base/trigger_call.h"
#include "shared/commit_queue.h"
#include "shared/worker_slots.h"
#include "tables/audit_log.h"
#include "tables/catalog.h"
#include "tables/gateway_rows.h"
#include "tables/host_columns.h"

PG_FUNCTION_INFO_V1(pools_invalidate);
PG_FUNCTION_INFO_V1(gateways_invalidate);

/*
 * pools_invalidate(): AFTER INSERT OR UPDATE OR DELETE, row, of gateway_pools,
 * gateway_pool_memberships, gateway_states, gateway_probes and gateway_pool_tenants
 *
 * Every session reads pools anew, once this transaction has committed; where
 * probes change, only the worker reads them, and where tenants change, each
 * session asks anew of which organizations its roles may know.
 */
Datum
pools_invalidate(PG_FUNCTION_ARGS)
{
	TriggerData *call = trigger_call(fcinfo, TRIGGER_EVENT_AFTER, ON_INSERT | ON_UPDATE | ON_DELETE);
	Oid			table = RelationGetRelid(call->tg_relation);
	PoolCatalog catalog;

	/* The host may be taking its tables, and with them the feature, back. */
	if (!catalog_find(&catalog))
		return PointerGetDatum(NULL);
	worker_slots_want_here();
	if (table != catalog.memberships && table != catalog.states && table != catalog.probes &&
		table != catalog.tenants)
		trigger_require_table(call, catalog.pools);
	invalidation_send(table == catalog.probes || table == catalog.tenants ? table : catalog.signal);
	return PointerGetDatum(NULL);
}

/* Whether a column of that name, if there is one, gets another value. */
static bool
changes(TriggerData *call, const char *name)
{
	AttrNumber	column = trigger_column(call, name);

	return column != InvalidAttrNumber && trigger_changes(call, column);
}

/* Null where the owner has let it be: such a gateway is in no pool and has no slot. */
static const pg_uuid_t *
id_of(TriggerData *call, HeapTuple row)
{
	return trigger_uuid(call, row, trigger_required_column(call, "id"));
}

static CommitRelations
relations_of(const PoolCatalog *catalog)
{
	return (CommitRelations) {.gateways = catalog->gateways, .signal = catalog->signal};
}

/* A row that was inserted: unless it takes the place of one that was deleted, it has no slot yet. */
static void
publish_insert(TriggerData *call, const PoolCatalog *catalog)
{
	const pg_uuid_t *id = id_of(call, call->tg_trigtuple);

	if (id != NULL && health_map_find(catalog->gateways, id).number == NO_SLOT)
		commit_queue_insertion(relations_of(catalog), id);
}

/* A row that was updated: heartbeats go to shared memory, the rest is read anew. */
static void
publish_update(TriggerData *call, const PoolCatalog *catalog)
{
	const pg_uuid_t *old_id = id_of(call, call->tg_trigtuple);
	const pg_uuid_t *id = id_of(call, call->tg_newtuple);
	HostHeartbeat host;

	if (old_id != NULL && changes(call, "id"))
		commit_queue_deletion(relations_of(catalog), old_id);
	if (changes(call, "id") || changes(call, "orgId") || changes(call, "capabilities"))
		invalidation_send(catalog->signal);
	if (changes(call, "directAddress"))
		invalidation_send(catalog->probes);

	if (id == NULL)
		return;
	if (host_columns_read_tuple(call->tg_newtuple, RelationGetDescr(call->tg_relation), &host))
	{
		Heartbeat	heartbeat = gateway_rows_heartbeat(&host);

		commit_queue_heartbeat(relations_of(catalog), id, &heartbeat);
	}
	else
		invalidation_send(catalog->signal);
}

/*
 * A row that was deleted: its slot goes, and the cascade to its memberships is
 * still to come.  A host whose rows have lost their names deletes them all the same.
 */
static void
publish_delete(TriggerData *call, const PoolCatalog *catalog)
{
	TupleDesc	columns = RelationGetDescr(call->tg_relation);
	AttrNumber	org = trigger_column(call, "orgId");
	AttrNumber	name = trigger_column(call, "name");
	const pg_uuid_t *id = id_of(call, call->tg_trigtuple);

	if (id == NULL)
		return;
	commit_queue_deletion(relations_of(catalog), id);
	if (org != InvalidAttrNumber && SPI_gettypeid(columns, org) == UUIDOID)
		audit_remember_deleted(catalog->gateways, id,
							   trigger_uuid(call, call->tg_trigtuple, org),
							   name == InvalidAttrNumber ? NULL : SPI_getvalue(call->tg_trigtuple, columns, name));
}

/*
 * gateways_invalidate(): AFTER INSERT OR UPDATE OR DELETE, row, and AFTER
 * TRUNCATE, statement, of the host's gateways table
 *
 * Fires at every heartbeat: what the row says is published when the transaction
 * has committed, and no session has to read anything anew.
 */
Datum
gateways_invalidate(PG_FUNCTION_ARGS)
{
	TriggerData *call = trigger_call(fcinfo, TRIGGER_EVENT_AFTER,
									 ON_INSERT | ON_UPDATE | ON_DELETE | ON_TRUNCATE);
	PoolCatalog catalog;

	if (!catalog_find(&catalog))
		return PointerGetDatum(NULL);
	worker_slots_want_here();
	trigger_require_table(call, catalog.gateways);
	if (TRIGGER_FIRED_BY_INSERT(call->tg_event))
		publish_insert(call, &catalog);
	else if (TRIGGER_FIRED_BY_UPDATE(call->tg_event))
		publish_update(call, &catalog);
	else if (TRIGGER_FIRED_BY_DELETE(call->tg_event))
		publish_delete(call, &catalog);
	else
		commit_queue_truncation(relations_of(&catalog));
	return PointerGetDatum(NULL);
}
