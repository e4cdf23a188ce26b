/*
 * pool_triggers.c
 *		Triggers that enforce the rules on pools and members, and on moving a gateway.
 *
 * Rows of other tables that a rule depends on are locked and read with the latest
 * snapshot, so that the rules hold under concurrency at any isolation level:
 *
 * - a limit locks the parent row (FOR NO KEY UPDATE), then is read and the rows are
 *   counted; the lock is taken without a limit, too, since one may be set meanwhile;
 * - a member locks its pool and its gateway (FOR KEY SHARE), then compares their
 *   organizations; heartbeats change no key and do not wait for that lock;
 * - a change of organization locks its own row (FOR UPDATE), which waits for those
 *   locks, then looks for members and references;
 * - a deletion holds the strongest row lock before its trigger fires, then looks
 *   for references, which lock the pool FOR KEY SHARE before they are inserted.
 *
 * Checks that could reveal another organization to a role run AFTER ROW, after the
 * policies, and before the foreign keys' triggers, so that a missing row and a
 * foreign one give the same error: "GatewayPools_" sorts before
 * "RI_ConstraintTrigger_".
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/relation.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "base/settings.h"
#include "base/trigger_call.h"
#include "tables/catalog.h"
#include "tables/entitlement.h"
#include "tables/isolation.h"
#include "tables/owner.h"
#include "tables/pool_name.h"
#include "tables/resources.h"
#include "tables/same_org.h"

PG_FUNCTION_INFO_V1(pools_enforce);
PG_FUNCTION_INFO_V1(pools_refuse_move);
PG_FUNCTION_INFO_V1(pools_refuse_delete);
PG_FUNCTION_INFO_V1(memberships_enforce);
PG_FUNCTION_INFO_V1(set_timestamp);

static const pg_uuid_t *
new_uuid(TriggerData *call, const char *column)
{
	return trigger_uuid(call, trigger_new_row(call), trigger_required_column(call, column));
}

/*
 * Raises 54000 if "owner" has more rows than the limit.  The caller locks the owner's
 * row first, and reads the limit after that.
 */
static void
enforce_limit(Oid table, const char *key, const pg_uuid_t *owner, int32 limit,
			  const char *message, const char *constraint)
{
	if (limit != NO_LIMIT &&
		owner_count(table,
					psprintf("SELECT count(*) FROM (SELECT FROM %s WHERE \"%s\" = $1 LIMIT " INT64_FORMAT ") _",
							 catalog_name(table), key, (int64) limit + 1), owner) > limit)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("%s", message),
				 errdetail("The limit is %d.", limit),
				 errhint("Delete unused rows, or raise the limit of the organization."),
				 catalog_error_constraint(table, constraint)));
}

/*
 * pools_enforce(): AFTER INSERT OR UPDATE, row, of gateway_pools
 *
 * Checks the name, the plan and the limit of the organization.  Unchanged columns
 * are not checked, so that adopted pools keep their names.
 */
Datum
pools_enforce(PG_FUNCTION_ARGS)
{
	TriggerData *call = trigger_call(fcinfo, TRIGGER_EVENT_AFTER, ON_INSERT | ON_UPDATE);
	PoolCatalog catalog;
	bool		moved;
	bool		renamed;
	const pg_uuid_t *org;
	Entitlement entitlement;

	catalog_open(&catalog);
	trigger_require_table(call, catalog.pools);
	moved = trigger_changes_required(call, "orgId");
	renamed = trigger_changes_required(call, "name");
	if (!moved && !renamed)
		return PointerGetDatum(NULL);

	if (renamed)
	{
		char	   *name = SPI_getvalue(trigger_new_row(call), RelationGetDescr(call->tg_relation),
										trigger_required_column(call, "name"));

		pool_name_require(catalog.pools, name == NULL ? "" : name);
	}

	org = new_uuid(call, "orgId");
	if (org == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_NOT_NULL_VIOLATION),
				 errmsg("a gateway pool must have an organization"),
				 errtablecol(call->tg_relation, trigger_required_column(call, "orgId"))));
	if (moved)
		owner_lock_row(catalog.organizations, org, "NO KEY UPDATE");
	entitlement = entitlement_require(&catalog, org);
	if (moved)
		enforce_limit(catalog.pools, "orgId", org, entitlement.max_pools,
					  "the organization has reached its limit of gateway pools",
					  "gateway_pools_max_per_org");
	return PointerGetDatum(NULL);
}

/*
 * memberships_enforce(): AFTER INSERT OR UPDATE, row, of
 * gateway_pool_memberships
 *
 * Checks that pool and gateway belong to one organization, the plan, and the limit
 * of the pool.
 */
Datum
memberships_enforce(PG_FUNCTION_ARGS)
{
	TriggerData *call = trigger_call(fcinfo, TRIGGER_EVENT_AFTER, ON_INSERT | ON_UPDATE);
	PoolCatalog catalog;
	const pg_uuid_t *pool;
	const pg_uuid_t *gateway;
	pg_uuid_t  *org;
	Entitlement entitlement;

	catalog_open(&catalog);
	trigger_require_table(call, catalog.memberships);
	if (!trigger_changes_required(call, "gatewayPoolId") && !trigger_changes_required(call, "gatewayId"))
		return PointerGetDatum(NULL);

	pool = new_uuid(call, "gatewayPoolId");
	gateway = new_uuid(call, "gatewayId");
	/* A hidden row is not locked, so that waiting does not reveal it. */
	org = pool == NULL || isolation_hides_pool(&catalog, pool) ? NULL : same_org_lock(&catalog, catalog.pools, pool);
	same_org_require(call->tg_relation, org,
					 gateway == NULL || isolation_hides_gateway(&catalog, gateway) ? NULL :
					 same_org_lock(&catalog, catalog.gateways, gateway),
					 "The pool and the gateway must exist and belong to the same organization.");
	if (trigger_changes_required(call, "gatewayPoolId"))
		owner_lock_row(catalog.pools, pool, "NO KEY UPDATE");
	entitlement = entitlement_require(&catalog, org);
	if (trigger_changes_required(call, "gatewayPoolId"))
		enforce_limit(catalog.memberships, "gatewayPoolId", pool, entitlement.max_gateways_per_pool,
					  "the gateway pool has reached its limit of gateways",
					  "gateway_pool_memberships_max_per_pool");
	return PointerGetDatum(NULL);
}

/*
 * pools_refuse_move(): BEFORE UPDATE, row, of gateway_pools and of the
 * gateways table
 *
 * Refuses to move a pool with members or consumers, or a gateway that is a member,
 * to another organization.  Fires at every heartbeat, where it only compares.
 */
Datum
pools_refuse_move(PG_FUNCTION_ARGS)
{
	TriggerData *call = trigger_call(fcinfo, TRIGGER_EVENT_BEFORE, ON_UPDATE);
	Oid			table = RelationGetRelid(call->tg_relation);
	Datum		result = PointerGetDatum(call->tg_newtuple);
	PoolCatalog catalog;
	CatalogState state = catalog_look(&catalog);
	const pg_uuid_t *id;
	char	   *held_by = NULL;
	bool		is_pool = table == catalog.pools;
	AttrNumber	org;

	/*
	 * A migration of the host may have dropped its tables, which uninstalls
	 * gateway pools.
	 */
	if (state == CATALOG_MISSING || (state == CATALOG_UNFIT && !is_pool && table != catalog.gateways))
		return result;
	trigger_require_table(call, is_pool ? catalog.pools : catalog.gateways);
	org = is_pool ? trigger_column(call, "orgId") : catalog.gateway_org;
	if (org == InvalidAttrNumber || !trigger_changes(call, org))
		return result;
	catalog_require_fit();

	id = trigger_uuid(call, call->tg_trigtuple, trigger_required_column(call, "id"));
	if (id == NULL)
		return result;
	owner_lock_row(table, id, "UPDATE");

	if (owner_exists(catalog.memberships,
					 psprintf("SELECT FROM %s WHERE \"%s\" = $1 LIMIT 1", catalog_name(catalog.memberships),
							  is_pool ? "gatewayPoolId" : "gatewayId"), id))
		held_by = is_pool ? "The pool has members." : "The gateway is a member of a pool.";
	else if (is_pool)
	{
		char	   *references = resources_in_words(&catalog, id);

		if (references != NULL)
			held_by = psprintf("The pool is referenced by %s.", references);
	}

	if (held_by != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FOREIGN_KEY_VIOLATION),
				 errmsg("row of table \"%s\" cannot move to another organization",
						RelationGetRelationName(call->tg_relation)),
				 errdetail_internal("%s", held_by),
				 catalog_error_constraint(table, "gateway_pools_same_org")));
	return result;
}

/* Returns true during TRUNCATE, which takes this lock on all its tables before the first trigger fires. */
static bool
is_being_truncated(Oid table)
{
	Relation	relation = catalog_open_table(table, AccessShareLock);
	bool		locked = CheckRelationLockedByMe(relation, AccessExclusiveLock, true);

	relation_close(relation, AccessShareLock);
	return locked;
}

/*
 * pools_refuse_delete(): BEFORE DELETE, row, and BEFORE TRUNCATE,
 * statement, of gateway_pools
 *
 * The deletion guard: refuses to delete a pool that is referenced, whatever the
 * action of the foreign keys, unless its organization is deleted, too.
 */
Datum
pools_refuse_delete(PG_FUNCTION_ARGS)
{
	TriggerData *call = trigger_call(fcinfo, TRIGGER_EVENT_BEFORE, ON_DELETE | ON_TRUNCATE);
	bool		is_row = TRIGGER_FIRED_FOR_ROW(call->tg_event);
	PoolCatalog catalog;
	const pg_uuid_t *pool = NULL;
	char	   *references;

	catalog_open(&catalog);
	trigger_require_table(call, catalog.pools);

	if (is_row)
	{
		const pg_uuid_t *org = trigger_uuid(call, call->tg_trigtuple, trigger_required_column(call, "orgId"));

		pool = trigger_uuid(call, call->tg_trigtuple, trigger_required_column(call, "id"));
		if (pool == NULL ||
			(org != NULL &&
			 !owner_exists(catalog.organizations,
						   psprintf("SELECT FROM %s WHERE id = $1", catalog_name(catalog.organizations)), org)))
			return PointerGetDatum(call->tg_trigtuple);
	}
	else if (is_being_truncated(catalog.organizations))
		return PointerGetDatum(NULL);

	references = resources_in_words(&catalog, pool);
	if (references != NULL)
	{
		ereport(ERROR,
				(errcode(ERRCODE_FOREIGN_KEY_VIOLATION),
				 is_row ?
				 errmsg("gateway pool \"%s\" cannot be deleted because it is referenced by %s",
						SPI_getvalue(call->tg_trigtuple, RelationGetDescr(call->tg_relation),
									 trigger_required_column(call, "name")), references) :
				 errmsg("gateway pools cannot be truncated because they are referenced by %s", references),
				 errhint("Set these rows to another pool, or to none, first."),
				 catalog_error_constraint(catalog.pools, "gateway_pools_in_use")));
	}
	return PointerGetDatum(is_row ? call->tg_trigtuple : NULL);
}

/*
 * set_timestamp(column): BEFORE UPDATE, row, of any table
 *
 * Sets the column named by the argument to the start of the transaction.  If the
 * host has on_update_timestamp(), that sets "updatedAt" instead.
 */
Datum
set_timestamp(PG_FUNCTION_ARGS)
{
	TriggerData *call = trigger_call(fcinfo, TRIGGER_EVENT_BEFORE, ON_UPDATE);
	int			column;
	Datum		now = TimestampTzGetDatum(GetCurrentTransactionStartTimestamp());
	bool		is_null = false;

	column = call->tg_trigger->tgnargs == 1 ? trigger_column(call, call->tg_trigger->tgargs[0]) : 0;
	if (column == InvalidAttrNumber ||
		SPI_gettypeid(RelationGetDescr(call->tg_relation), column) != TIMESTAMPTZOID)
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("trigger \"%s\" must name a column of type timestamptz",
						call->tg_trigger->tgname)));
	return PointerGetDatum(heap_modify_tuple_by_cols(trigger_new_row(call),
													 RelationGetDescr(call->tg_relation),
													 1, &column, &now, &is_null));
}
