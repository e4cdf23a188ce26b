/*
 * invalidation_triggers.c
 *		Triggers that publish changes to all sessions and to shared memory.
 *
 * They are ENABLE ALWAYS, and so fire with session_replication_role = replica, too:
 * what a subscription applies has to be published as well.
 */
#include "postgres.h"

#include "commands/trigger.h"
#include "executor/spi.h"
#include "utils/rel.h"

#include "base/compat.h"
#include "base/invalidation.h"
#include "base/trigger_call.h"
#include "base/uuid.h"
#include "shared/commit_queue.h"
#include "shared/worker_slots.h"
#include "tables/audit_log.h"
#include "tables/catalog.h"
#include "tables/gateway_rows.h"
#include "tables/host_columns.h"
#include "triggers/eligibility_warning.h"

PG_FUNCTION_INFO_V1(pools_invalidate);
PG_FUNCTION_INFO_V1(gateways_invalidate);

/*
 * pools_invalidate(): AFTER INSERT OR UPDATE OR DELETE, row, of gateway_pools,
 * gateway_pool_memberships, gateway_states, gateway_probes and gateway_pool_tenants
 *
 * Notes the row for pools_warn().  Invalidates, when this transaction commits, cached
 * pools in all sessions; for gateway_probes also what the worker has read of it, and
 * for gateway_pool_tenants instead what sessions have cached of it.
 */
Datum
pools_invalidate(PG_FUNCTION_ARGS)
{
	TriggerData *call = trigger_call(fcinfo, TRIGGER_EVENT_AFTER, ON_INSERT | ON_UPDATE | ON_DELETE);
	Oid			table = RelationGetRelid(call->tg_relation);
	PoolCatalog catalog;

	/*
	 * A migration of the host may have dropped its tables, which uninstalls
	 * gateway pools.
	 */
	if (!catalog_find(&catalog))
		return PointerGetDatum(NULL);
	(void) worker_slots_want_here();
	if (table != catalog.memberships && table != catalog.states && table != catalog.probes &&
		table != catalog.tenants)
		trigger_require_table(call, catalog.pools);
	eligibility_warning_note(call, &catalog);
	if (table == catalog.probes || table == catalog.tenants)
		invalidation_send(table);

	/* A reader of pools discards what is known of a former target. */
	if (table != catalog.tenants)
		invalidation_send(catalog.signal);
	return PointerGetDatum(NULL);
}

/* Returns true if the table has the column and its value changes. */
static bool
changes(TriggerData *call, const char *name)
{
	AttrNumber	column = trigger_column(call, name);

	return column != InvalidAttrNumber && trigger_changes(call, column);
}

/* Returns the id, NULL if the table allows null: such a gateway is in no pool and has no slot. */
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

static void
publish_insert(TriggerData *call, const PoolCatalog *catalog)
{
	const pg_uuid_t *id = id_of(call, call->tg_trigtuple);

	if (id != NULL)
		commit_queue_add(relations_of(catalog), GATEWAY_INSERTED, id, NULL);
}

/* Publishes a heartbeat; for other columns that pools or the worker have read, invalidates. */
static void
publish_update(TriggerData *call, const PoolCatalog *catalog)
{
	const pg_uuid_t *old_id = id_of(call, call->tg_trigtuple);
	const pg_uuid_t *id = id_of(call, call->tg_newtuple);
	HostHeartbeat host;

	if (old_id != NULL && changes(call, "id"))
		commit_queue_add(relations_of(catalog), GATEWAY_DELETED, old_id, NULL);
	if (changes(call, "id") || changes(call, "capabilities") || changes(call, "directAddress") ||
		(catalog->gateway_org != InvalidAttrNumber && trigger_changes(call, catalog->gateway_org)))
		invalidation_send(catalog->signal);
	if (changes(call, "directAddress"))
		invalidation_send(catalog->probes);

	if (id == NULL)
		return;
	if (host_columns_read_tuple(call->tg_newtuple, RelationGetDescr(call->tg_relation), &host))
	{
		Heartbeat	heartbeat = gateway_rows_heartbeat(&host);

		commit_queue_add(relations_of(catalog), GATEWAY_HEARD, id, &heartbeat);
	}
	else
		invalidation_send(catalog->signal);
}

/*
 * Frees the slot of a deleted gateway, and keeps its name for the audit of its
 * memberships, which the cascade deletes next.  Without a name in the row, its id is its name.
 */
static void
publish_delete(TriggerData *call, const PoolCatalog *catalog)
{
	TupleDesc	columns = RelationGetDescr(call->tg_relation);
	AttrNumber	org = catalog->gateway_org;
	AttrNumber	name = trigger_column(call, "name");
	const pg_uuid_t *id = id_of(call, call->tg_trigtuple);

	if (id == NULL)
		return;
	if (name != InvalidAttrNumber && TupleDescAttr(columns, name - 1)->attgenerated == ATTRIBUTE_GENERATED_VIRTUAL)
		name = InvalidAttrNumber;
	commit_queue_add(relations_of(catalog), GATEWAY_DELETED, id, NULL);
	if (org != InvalidAttrNumber && SPI_gettypeid(columns, org) == UUIDOID)
		audit_log_remember_deleted(catalog->gateways, id,
								   trigger_uuid(call, call->tg_trigtuple, org),
								   name == InvalidAttrNumber ? uuid_text(id) : SPI_getvalue(call->tg_trigtuple, columns, name));
}

/*
 * gateways_invalidate(): AFTER INSERT OR UPDATE OR DELETE, row, and AFTER
 * TRUNCATE, statement, of the host's gateways table
 *
 * Fires at every heartbeat, which is published when the transaction commits and
 * invalidates nothing.
 */
Datum
gateways_invalidate(PG_FUNCTION_ARGS)
{
	TriggerData *call = trigger_call(fcinfo, TRIGGER_EVENT_AFTER,
									 ON_INSERT | ON_UPDATE | ON_DELETE | ON_TRUNCATE);
	PoolCatalog catalog;

	/*
	 * With the SQL objects of another library, heartbeats go on unpublished:
	 * no pick works until these fit, and then each pool is read again.
	 */
	if (catalog_look(&catalog) != CATALOG_FOUND)
		return PointerGetDatum(NULL);
	(void) worker_slots_want_here();
	trigger_require_table(call, catalog.gateways);
	if (TRIGGER_FIRED_BY_INSERT(call->tg_event))
		publish_insert(call, &catalog);
	else if (TRIGGER_FIRED_BY_UPDATE(call->tg_event))
		publish_update(call, &catalog);
	else if (TRIGGER_FIRED_BY_DELETE(call->tg_event))
		publish_delete(call, &catalog);
	else
		commit_queue_add(relations_of(&catalog), GATEWAYS_TRUNCATED, NULL, NULL);
	return PointerGetDatum(NULL);
}
