/*
 * consumer_triggers.c
 *		The rules on the rows that are reached through a pool.
 *
 * Both functions take the same arguments: the pool column; the direct gateway
 * column, or ''; and the query that finds the organization of a row, $1, or ''
 * for the row's own "orgId".  The table may lose these columns by a migration
 * of the host's: what is not there has no rules.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "argument.h"
#include "catalog.h"
#include "consumers.h"
#include "entitlement.h"
#include "gateway_store.h"
#include "isolation.h"
#include "org_query.h"
#include "same_org.h"
#include "trigger_row.h"

PG_FUNCTION_INFO_V1(gateway_pool_consumer_route);
PG_FUNCTION_INFO_V1(gateway_pool_consumer_enforce);

/* The direct gateways of the first generation; nothing is reached through them. */
#define RETIRED_GATEWAY_COLUMN "gatewayId"

#define SAME_ORG_DETAIL "The pool must exist and belong to the organization of the row."

/* How the row of one consumer is reached, and what of that the call sets. */
typedef struct Route
{
	AttrNumber	pool_column;
	AttrNumber	gateway_column; /* or InvalidAttrNumber */
	AttrNumber	retired_column; /* or InvalidAttrNumber */
	const char *org_query;		/* or "" */
	const pg_uuid_t *pool;		/* as it will be, or NULL */
	const pg_uuid_t *gateway;
	bool		sets_pool;		/* to something, by this call */
	bool		sets_gateway;
} Route;

/* Reads the call; false if there is nothing to check. */
static bool
read_route(TriggerData *call, Route *route)
{
	HeapTuple	row = trigger_new_row(call);
	char	  **arguments = call->tg_trigger->tgargs;

	if (call->tg_trigger->tgnargs != 3)
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("trigger \"%s\" must have three arguments", call->tg_trigger->tgname),
				 errhint("They are the pool column, the gateway column and the query of the organization.")));

	memset(route, 0, sizeof(*route));
	route->pool_column = trigger_column(call, arguments[0]);
	route->gateway_column = trigger_column(call, arguments[1]);
	route->org_query = arguments[2];
	if (route->gateway_column != InvalidAttrNumber &&
		strcmp(arguments[1], RETIRED_GATEWAY_COLUMN) != 0)
		route->retired_column = trigger_column(call, RETIRED_GATEWAY_COLUMN);
	if (route->pool_column == InvalidAttrNumber)
		return false;

	route->pool = trigger_uuid(call, row, route->pool_column);
	route->sets_pool = route->pool != NULL && trigger_changes(call, route->pool_column);
	if (route->gateway_column != InvalidAttrNumber)
	{
		route->gateway = trigger_uuid(call, row, route->gateway_column);
		route->sets_gateway = route->gateway != NULL && trigger_changes(call, route->gateway_column);
	}
	return route->sets_pool || route->sets_gateway;
}

/*
 * A consumer of ours has a foreign key to gateway_pools.  Anybody may attach
 * the trigger to a table of his, and would learn from it about pools.
 */
static void
require_consumer(TriggerData *call, const Route *route, const PoolCatalog *catalog)
{
	if (!consumers_include(catalog, call->tg_relation, route->pool_column))
		trigger_require_table(call, InvalidOid);
}

static void
refuse_both(TriggerData *call)
{
	const char *table = RelationGetRelationName(call->tg_relation);

	ereport(ERROR,
			(errcode(ERRCODE_CHECK_VIOLATION),
			 errmsg("row of table \"%s\" sets both a gateway and a gateway pool", table),
			 errhint("Set \"%s\" or \"%s\".", call->tg_trigger->tgargs[0], call->tg_trigger->tgargs[1]),
			 catalog_error_constraint(RelationGetRelid(call->tg_relation),
									  psprintf("%s_gateway_or_pool", table))));
}

/* Sets a column of the row to null, if there is one. */
static HeapTuple
without(TriggerData *call, HeapTuple row, AttrNumber column)
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
 * pool_consumer_route(pool_column, gateway_column, org_query): BEFORE INSERT OR
 * UPDATE, row, of a consumer
 *
 * A row is reached through a pool or through one gateway, never both: the one
 * that is set takes the place of the other.  To set both is an error.
 */
Datum
gateway_pool_consumer_route(PG_FUNCTION_ARGS)
{
	TriggerData *call = trigger_call(fcinfo, TRIGGER_EVENT_BEFORE, ON_INSERT | ON_UPDATE);
	HeapTuple	row = trigger_new_row(call);
	PoolCatalog catalog;
	Route		route;

	if (!read_route(call, &route))
		return PointerGetDatum(row);
	catalog_open(&catalog, fcinfo->flinfo->fn_oid);
	require_consumer(call, &route, &catalog);

	if (route.sets_pool && route.sets_gateway)
		refuse_both(call);

	row = without(call, row, route.sets_pool ? route.gateway_column : route.pool_column);
	return PointerGetDatum(without(call, row, route.retired_column));
}

/* The organization of a row, found as the consumer's owner; NULL if it has none. */
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
 * Whether an UPDATE that leaves the pool may take the row to another organization:
 * by any column but those that say how it is reached, and those that tell times,
 * which every UPDATE changes.
 */
static bool
may_change_org(TriggerData *call, const Route *route)
{
	TupleDesc	columns = RelationGetDescr(call->tg_relation);

	if (!TRIGGER_FIRED_BY_UPDATE(call->tg_event) || route->pool == NULL)
		return false;
	for (AttrNumber column = 1; column <= columns->natts; column++)
		if (!TupleDescAttr(columns, column - 1)->attisdropped &&
			column != route->pool_column && column != route->gateway_column && column != route->retired_column &&
			SPI_gettypeid(columns, column) != TIMESTAMPTZOID && trigger_changes(call, column))
			return true;
	return false;
}

/* A row that gets to another organization takes no pool along; one that is there already stays. */
static void
require_same_org_kept(TriggerData *call, const Route *route, const PoolCatalog *catalog)
{
	pg_uuid_t  *before = org_of_row(call, route, call->tg_trigtuple);
	pg_uuid_t  *after = org_of_row(call, route, call->tg_newtuple);

	if (before == NULL ? after == NULL : after != NULL && memcmp(before, after, sizeof(pg_uuid_t)) == 0)
		return;
	same_org_require(call->tg_relation, after, same_org_lock(catalog->pools, route->pool), SAME_ORG_DETAIL);
}

/* The host's policy that a row must not newly be reached through one gateway. */
static void
enforce_pools_policy(TriggerData *call, const PoolCatalog *catalog, const pg_uuid_t *org)
{
	const char *table = RelationGetRelationName(call->tg_relation);

	if (org == NULL || !policy_requires_pools(catalog, org))
		return;

	ereport(ERROR,
			(errcode(ERRCODE_CHECK_VIOLATION),
			 errmsg("the organization requires gateway pools in place of single gateways"),
			 errhint("Set \"%s\" in place of \"%s\".", call->tg_trigger->tgargs[0],
					 call->tg_trigger->tgargs[1]),
			 catalog_error_constraint(RelationGetRelid(call->tg_relation),
									  psprintf("%s_require_pools", table))));
}

/* Attaching a pool from which nothing can be picked is allowed, and said. */
static void
warn_if_none_eligible(const PoolCatalog *catalog, const pg_uuid_t *pool_id)
{
	int			count;
	PoolRow    *pool = store_pools(catalog, (StoreFilter) {.id = pool_id}, &count);

	if (count == 0)
		return;
	for (int i = 0; i < pool->member_count; i++)
		if (gateway_is_eligible(&pool->members[i].gateway))
			return;
	/* Not its name, which the role may have no right to read. */
	ereport(WARNING,
			(errcode(ERRCODE_WARNING),
			 errmsg("gateway pool %s has no eligible member", uuid_text(pool_id))));
}

/*
 * pool_consumer_enforce(pool_column, gateway_column, org_query): AFTER INSERT OR
 * UPDATE, row, of a consumer
 *
 * A newly set pool belongs to the organization of the row, whose plan has
 * gateway pools; a newly set gateway is not against the organization's policy.  A
 * row with a pool does not move to another organization.
 */
Datum
gateway_pool_consumer_enforce(PG_FUNCTION_ARGS)
{
	TriggerData *call = trigger_call(fcinfo, TRIGGER_EVENT_AFTER, ON_INSERT | ON_UPDATE);
	PoolCatalog catalog;
	Route		route;
	pg_uuid_t  *org;

	if (!read_route(call, &route) && !may_change_org(call, &route))
		return PointerGetDatum(NULL);
	catalog_open(&catalog, fcinfo->flinfo->fn_oid);
	require_consumer(call, &route, &catalog);

	if (!route.sets_pool && !route.sets_gateway)
	{
		require_same_org_kept(call, &route, &catalog);
		return PointerGetDatum(NULL);
	}

	/* Another trigger may have set the other one after ours had cleared it. */
	if (route.pool != NULL && route.gateway != NULL)
		refuse_both(call);

	org = org_of_row(call, &route, trigger_new_row(call));
	if (route.sets_pool)
	{
		const pg_uuid_t *pool_org = same_org_lock(catalog.pools, route.pool);

		/* Hidden from the role, it is as if it did not exist. */
		if (pool_org != NULL && isolation_hides(&catalog, pool_org))
			pool_org = NULL;
		same_org_require(call->tg_relation, org, pool_org,
						 SAME_ORG_DETAIL);
		entitlement_require(&catalog, org);
		warn_if_none_eligible(&catalog, route.pool);
	}
	if (route.sets_gateway)
		enforce_pools_policy(call, &catalog, org);
	return PointerGetDatum(NULL);
}
