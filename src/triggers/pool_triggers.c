/*
 * pool_triggers.c
 *		The rules on pools, members and probes, and on moving a gateway.
 *
 * What a rule depends on beyond its own row is read with the latest snapshot
 * and held by a row lock, so that the rules hold whatever runs beside and at
 * any isolation level:
 *
 * - a limit locks what it counts below (FOR NO KEY UPDATE), then is read and
 *   counted: also where there is none yet, since one may be set meanwhile;
 * - a member locks its pool and its gateway (FOR KEY SHARE), then compares
 *   their organizations; heartbeats, which change no key, pass beside it;
 * - a change of organization locks its own row (FOR UPDATE), which waits for
 *   those, then looks for what hangs on it;
 * - a deletion holds the strongest row lock before its trigger fires, then
 *   looks for references, which lock the pool FOR KEY SHARE before they are.
 *
 * Whatever could tell a role about another organization runs AFTER ROW, behind
 * the policies, and before the foreign keys' own triggers, so that a missing
 * row and a foreign one give the same error: names of triggers that begin with
 * "GatewayPools_" sort before "RI_ConstraintTrigger_".
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
 * Raises the error of a limit of what is below "owner".  The owner's row has to
 * be locked by then, and the limit read after that.
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
				 errhint("Delete what is not used, or have the plan of the organization raised."),
				 catalog_error_constraint(table, constraint)));
}

/*
 * pools_enforce(): AFTER INSERT OR UPDATE, row, of gateway_pools
 *
 * The name's rule, the plan, the limit of the organization.  Only what changes
 * is checked: adopted pools keep the names that they have.
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
 * Pool and gateway of the same organization, the plan, the limit of the pool.
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
	/* A role does not wait for what is hidden from it. */
	org = pool == NULL || isolation_hides_pool(&catalog, pool) ? NULL : same_org_lock(catalog.pools, pool);
	same_org_require(call->tg_relation, org,
					 gateway == NULL || isolation_hides_gateway(&catalog, gateway) ? NULL :
					 same_org_lock(catalog.gateways, gateway),
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
 * A pool with members or consumers, and a gateway that is a member, stay in
 * their organization.  Fires at every heartbeat too, where nothing but the
 * comparison is to be done.
 */
Datum
pools_refuse_move(PG_FUNCTION_ARGS)
{
	TriggerData *call = trigger_call(fcinfo, TRIGGER_EVENT_BEFORE, ON_UPDATE);
	Oid			table = RelationGetRelid(call->tg_relation);
	Datum		result = PointerGetDatum(call->tg_newtuple);
	PoolCatalog catalog;
	const pg_uuid_t *id;
	char	   *held_by = NULL;
	bool		is_pool;

	if (trigger_column(call, "orgId") == InvalidAttrNumber || !trigger_changes_required(call, "orgId"))
		return result;

	/* The host may have taken its tables, and with them the feature, back. */
	if (!catalog_find(&catalog))
		return result;
	is_pool = table == catalog.pools;
	trigger_require_table(call, is_pool ? catalog.pools : catalog.gateways);

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

/* TRUNCATE takes this lock on all its tables before the first trigger fires. */
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
 * The deletion guard: a pool that is referenced stays, whatever the action of
 * the foreign keys, unless its organization goes too.
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
 * Sets the column named by the argument to the start of the transaction.  Where
 * the host has on_update_timestamp(), that serves "updatedAt" instead.
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
