/*
 * consumer_triggers.c
 *		Triggers that enforce the rules on rows of consumers.
 *
 * Both functions take one argument, the pool column.  The consumer's marker has the
 * direct gateway column, if there is one, and the query that finds the organization
 * of a row.  A migration of the host may drop these columns: then their rules do not
 * apply.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "base/trigger_call.h"
#include "base/uuid.h"
#include "tables/catalog.h"
#include "tables/consumers.h"
#include "tables/entitlement.h"
#include "tables/gateway_rows.h"
#include "tables/isolation.h"
#include "tables/org_query.h"
#include "tables/pool_rows.h"
#include "tables/same_org.h"
#include "triggers/eligibility_warning.h"

PG_FUNCTION_INFO_V1(consumer_route);
PG_FUNCTION_INFO_V1(consumer_enforce);

#define POOL_DETAIL "The pool must exist and belong to the organization of the row."
#define GATEWAY_DETAIL "The gateway must exist and belong to the organization of the row."

/* How a consumer's row is reached, and what this call changes of that. */
typedef struct Route
{
	AttrNumber	pool_column;
	AttrNumber	gateway_column; /* or InvalidAttrNumber */
	const char *gateway_name;	/* of that column */
	const char *org_query;		/* or "" */
	const pg_uuid_t *pool;		/* new value, or NULL */
	const pg_uuid_t *gateway;
	bool		sets_pool;		/* to another value that is not null */
	bool		sets_gateway;
	bool		changes;		/* one of them, also to null */
} Route;

pg_noreturn static void
refuse_unregistered(TriggerData *call)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("table \"%s\" is not registered as a consumer of gateway pools",
					RelationGetRelationName(call->tg_relation)),
			 errhint("Call register_pool_consumer() for it."),
			 catalog_error_constraint(RelationGetRelid(call->tg_relation), "gateway_pools_not_installed")));
}

/*
 * Reads the call.  Returns false if no rules apply: the table has no pool column,
 * or gateway pools are not installed, or the table is not registered.  In the last
 * two cases, setting a pool is an error.
 */
static bool
read_route(TriggerData *call, PoolCatalog *catalog, Route *route)
{
	HeapTuple	row = trigger_new_row(call);
	const char *pool_name;
	Registration registration;
	bool		changes_pool;
	CatalogState state;

	if (call->tg_trigger->tgnargs != 1)
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("trigger \"%s\" must have one argument", call->tg_trigger->tgname),
				 errhint("The argument is the pool column.")));

	memset(route, 0, sizeof(*route));
	pool_name = call->tg_trigger->tgargs[0];
	route->pool_column = trigger_column(call, pool_name);
	if (route->pool_column == InvalidAttrNumber)
		return false;
	route->pool = trigger_uuid(call, row, route->pool_column);
	changes_pool = trigger_changes(call, route->pool_column);
	route->sets_pool = route->pool != NULL && changes_pool;

	state = catalog_look(catalog);
	if (state != CATALOG_FOUND && route->sets_pool)
		catalog_open(catalog);
	if (state == CATALOG_MISSING)
		return false;
	registration = consumers_registration(catalog, RelationGetRelid(call->tg_relation), pool_name);
	if (!registration.registered || !consumers_include(catalog, call->tg_relation, route->pool_column))
	{
		if (route->sets_pool)
			refuse_unregistered(call);
		return false;
	}

	route->org_query = registration.org_query;
	route->gateway_name = registration.gateway_column;
	route->gateway_column = trigger_column(call, registration.gateway_column);
	route->changes = changes_pool;
	if (route->gateway_column != InvalidAttrNumber)
	{
		bool		changes_gateway = trigger_changes(call, route->gateway_column);

		route->gateway = trigger_uuid(call, row, route->gateway_column);
		route->sets_gateway = route->gateway != NULL && changes_gateway;
		route->changes |= changes_gateway;
	}

	/* With another library, too, the host writes other columns. */
	if (state == CATALOG_UNFIT && route->changes)
		catalog_open(catalog);
	return state == CATALOG_FOUND;
}

pg_noreturn static void
refuse_both(TriggerData *call, const Route *route)
{
	const char *table = RelationGetRelationName(call->tg_relation);

	ereport(ERROR,
			(errcode(ERRCODE_CHECK_VIOLATION),
			 errmsg("row of table \"%s\" sets both a gateway and a gateway pool", table),
			 errhint("Set \"%s\" or \"%s\".", call->tg_trigger->tgargs[0], route->gateway_name),
			 catalog_error_constraint(RelationGetRelid(call->tg_relation), "gateway_pools_one_route")));
}

/* Sets a column of the row to null, if the table has it. */
static HeapTuple
clear_column(TriggerData *call, HeapTuple row, AttrNumber column)
{
	int			columns[1] = {column};
	Datum		value = 0;
	bool		is_null = true;

	if (column == InvalidAttrNumber)
		return row;
	return heap_modify_tuple_by_cols(row, RelationGetDescr(call->tg_relation), 1,
									 columns, &value, &is_null);
}

/*
 * consumer_route(pool_column): BEFORE INSERT OR UPDATE, row, of a consumer
 *
 * A row is reached through a pool or through one gateway, never both: setting one
 * sets the other to null.  Setting both is an error.
 */
Datum
consumer_route(PG_FUNCTION_ARGS)
{
	TriggerData *call = trigger_call(fcinfo, TRIGGER_EVENT_BEFORE, ON_INSERT | ON_UPDATE);
	HeapTuple	row = trigger_new_row(call);
	PoolCatalog catalog;
	Route		route;

	if (!read_route(call, &catalog, &route) || (!route.sets_pool && !route.sets_gateway))
		return PointerGetDatum(row);
	if (route.sets_pool && route.sets_gateway)
		refuse_both(call, &route);
	return PointerGetDatum(clear_column(call, row, route.sets_pool ? route.gateway_column : route.pool_column));
}

/* Returns the organization of a row, found as the consumer's owner; NULL if it has none. */
static pg_uuid_t *
org_of_row(TriggerData *call, const Route *route, HeapTuple tuple)
{
	MemoryContext context = CurrentMemoryContext;
	Oid			relation = RelationGetRelid(call->tg_relation);
	Datum		row = heap_copy_tuple_as_datum(tuple, RelationGetDescr(call->tg_relation));
	OwnerScope	scope;
	pg_uuid_t  *org;

	owner_begin(&scope, relation);
	org = org_query_run(org_query_plan(relation, route->org_query), row, context);
	owner_end(&scope);
	return org;
}

/*
 * Returns true for an UPDATE that keeps the pool and may move the row to another
 * organization: that changes any column but the pool, the gateway and those of type
 * timestamptz, which every UPDATE may change.
 */
static bool
may_change_org(TriggerData *call, const Route *route)
{
	TupleDesc	columns = RelationGetDescr(call->tg_relation);

	if (!TRIGGER_FIRED_BY_UPDATE(call->tg_event) || route->pool == NULL)
		return false;
	for (int column = 1; column <= columns->natts; column++)
		if (!TupleDescAttr(columns, column - 1)->attisdropped &&
			column != route->pool_column && column != route->gateway_column &&
			SPI_gettypeid(columns, column) != TIMESTAMPTZOID && trigger_changes(call, column))
			return true;
	return false;
}

/*
 * Locks a pool and returns its organization; NULL if it does not exist or is hidden
 * from the role.  A hidden pool is not locked, so that waiting does not reveal it.
 */
static const pg_uuid_t *
org_of_pool(const PoolCatalog *catalog, const pg_uuid_t *pool)
{
	return isolation_hides_pool(catalog, pool) ? NULL : same_org_lock(catalog, catalog->pools, pool);
}

static const pg_uuid_t *
org_of_gateway(const PoolCatalog *catalog, const pg_uuid_t *gateway)
{
	return isolation_hides_gateway(catalog, gateway) ? NULL : same_org_lock(catalog, catalog->gateways, gateway);
}

/* Refuses to move a row with a pool to another organization; rows that violate the rule already may stay. */
static void
require_same_org_kept(TriggerData *call, const Route *route, const PoolCatalog *catalog)
{
	pg_uuid_t  *before = org_of_row(call, route, call->tg_trigtuple);
	pg_uuid_t  *after = org_of_row(call, route, call->tg_newtuple);

	if (uuid_equal_or_null(before, after))
		return;
	same_org_require(call->tg_relation, after, org_of_pool(catalog, route->pool), POOL_DETAIL);
}

static void
require_known_org(TriggerData *call, const PoolCatalog *catalog, const pg_uuid_t *org)
{
	if (org != NULL && !isolation_hides(catalog, org))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("permission denied to change how a row of table \"%s\" is reached",
					RelationGetRelationName(call->tg_relation)),
			 errdetail("Roles are isolated by organization, and the role may not see that of the row."),
			 catalog_error_constraint(RelationGetRelid(call->tg_relation), "gateway_pools_isolation")));
}

/*
 * While isolation is on, a role may attach, detach and reroute only rows of its own
 * organizations.  The owner of the table is not checked, because cascades of foreign
 * keys run as the owner.
 */
static void
require_isolation(TriggerData *call, const Route *route, const PoolCatalog *catalog, const pg_uuid_t *org)
{
	if (!isolation_applies(catalog) ||
		has_privs_of_role(GetUserId(), catalog_owner(RelationGetRelid(call->tg_relation))))
		return;
	if (TRIGGER_FIRED_BY_UPDATE(call->tg_event))
		require_known_org(call, catalog, org_of_row(call, route, call->tg_trigtuple));
	require_known_org(call, catalog, org);
}

/* Enforces organizations."requireGatewayPools" of the host: a single gateway must not be newly set. */
static void
enforce_pools_policy(TriggerData *call, const Route *route, const PoolCatalog *catalog, const pg_uuid_t *org)
{
	if (!entitlement_requires_pools(catalog, org))
		return;

	ereport(ERROR,
			(errcode(ERRCODE_CHECK_VIOLATION),
			 errmsg("the organization requires gateway pools in place of single gateways"),
			 errhint("Set \"%s\" in place of \"%s\".", call->tg_trigger->tgargs[0], route->gateway_name),
			 catalog_error_constraint(RelationGetRelid(call->tg_relation), "gateway_pools_required")));
}

/* Attaching a pool without an eligible member is allowed, with a warning. */
static void
warn_if_none_eligible(const PoolCatalog *catalog, const pg_uuid_t *pool_id)
{
	int			count;
	PoolRow    *pool = pool_rows_read(catalog, (RowFilter) {.id = pool_id}, &count);

	if (count == 0)
		return;
	for (int i = 0; i < pool->member_count; i++)
		if (gateway_rows_is_eligible(&pool->members[i].gateway))
			return;
	ereport(WARNING,
			(errcode(ERRCODE_WARNING),
			 errmsg("gateway pool %s has no eligible member", eligibility_warning_pool_name(catalog, pool))));
}

/*
 * consumer_enforce(pool_column): AFTER INSERT OR UPDATE, row, of a consumer
 *
 * A newly set pool or gateway belongs to the organization of the row.  For a pool,
 * the organization's plan has gateway pools; for a gateway, its policy allows single
 * gateways.  A row with a pool does not move to another organization.
 */
Datum
consumer_enforce(PG_FUNCTION_ARGS)
{
	TriggerData *call = trigger_call(fcinfo, TRIGGER_EVENT_AFTER, ON_INSERT | ON_UPDATE);
	PoolCatalog catalog;
	Route		route;
	pg_uuid_t  *org;

	if (!read_route(call, &catalog, &route))
		return PointerGetDatum(NULL);
	if (!route.changes)
	{
		if (may_change_org(call, &route))
			require_same_org_kept(call, &route, &catalog);
		return PointerGetDatum(NULL);
	}

	/* Detaching is checked for isolated roles only. */
	if (!route.sets_pool && !route.sets_gateway && !isolation_applies(&catalog))
		return PointerGetDatum(NULL);

	/*
	 * Another trigger may have set the column that consumer_route had
	 * cleared.
	 */
	if ((route.sets_pool || route.sets_gateway) && route.pool != NULL && route.gateway != NULL)
		refuse_both(call, &route);

	org = org_of_row(call, &route, trigger_new_row(call));
	require_isolation(call, &route, &catalog, org);
	if (route.sets_pool)
	{
		same_org_require(call->tg_relation, org, org_of_pool(&catalog, route.pool), POOL_DETAIL);
		entitlement_require(&catalog, org);
		warn_if_none_eligible(&catalog, route.pool);
	}
	if (route.sets_gateway)
	{
		same_org_require(call->tg_relation, org, org_of_gateway(&catalog, route.gateway), GATEWAY_DETAIL);
		enforce_pools_policy(call, &route, &catalog, org);
	}
	return PointerGetDatum(NULL);
}
