/*
 * status.c
 *		The set-returning functions behind the views.
 *
 * Each needs SELECT on gateway_pools, the right to list, and reads the tables as
 * their owners.  A view calls its function without arguments; arguments limit the
 * result to one organization, gateway or pool.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

#include "api/management.h"
#include "base/clock.h"
#include "base/compat.h"
#include "base/result_row.h"
#include "base/uuid.h"
#include "shared/reservation.h"
#include "shared/worker_slots.h"
#include "tables/access.h"
#include "tables/catalog.h"
#include "tables/entitlement.h"
#include "tables/gateway_rows.h"
#include "tables/isolation.h"
#include "tables/pool_rows.h"
#include "tables/resources.h"
#include "tables/visible_rows.h"

PG_FUNCTION_INFO_V1(gateway_status);
PG_FUNCTION_INFO_V1(gateway_probe_status);
PG_FUNCTION_INFO_V1(gateway_pool_members);
PG_FUNCTION_INFO_V1(gateway_pool_status);
PG_FUNCTION_INFO_V1(gateway_options);
PG_FUNCTION_INFO_V1(list_gateway_pools);
PG_FUNCTION_INFO_V1(get_gateway_pool);

/* Opens the catalog, reads the arguments (org_id, id) and returns a filter that omits what is hidden from the caller. */
static RowFilter
begin_listing(FunctionCallInfo fcinfo, PoolCatalog *catalog)
{
	RowFilter	filter = {0};

	catalog_open(catalog);
	access_require(catalog, RIGHT_LIST);
	(void) worker_slots_want_here();
	if (!PG_ARGISNULL(0))
		filter.org_id = PG_GETARG_UUID_P(0);
	if (!PG_ARGISNULL(1))
		filter.id = PG_GETARG_UUID_P(1);
	filter.orgs = isolation_orgs(catalog);
	return filter;
}

/* Returns the gateways that the caller may see. */
static GatewayRow *
list_gateways(const PoolCatalog *catalog, RowFilter filter, int *count)
{
	GatewayRow *gateways = gateway_rows_read(catalog, filter, count);

	*count = visible_rows_of_gateways(catalog, gateways, *count);
	return gateways;
}

/* Sets the columns that gateway_status and gateway_pool_members share. */
static void
put_gateway(ResultRow *row, const GatewayRow *gateway)
{
	HealthDisplay display;
	GatewayLoad load = {0};

	gateway_rows_display(gateway, &display);
	if (gateway->slot.number != NO_SLOT)
		load = reservation_load(gateway->slot, clock_monotonic());
	result_put(row, "gatewayId", UUIDPGetDatum(&gateway->id));
	result_put(row, "orgId", UUIDPGetDatum(&gateway->org_id));
	result_put_text(row, "name", gateway->name);
	result_put_text(row, "status", gateway_status_name(gateway->health.status));
	result_put_text(row, "state", gateway_state_name(gateway->state));
	result_put_text(row, "reason", gateway->health.reason);
	result_put_if(row, "lastHeartbeatAt", display.heard, TimestampTzGetDatum(display.heard_at));
	result_put_if(row, "heartbeatExpiresAt", display.expires, TimestampTzGetDatum(display.expires_at));
	result_put_if(row, "suspectUntil", display.suspect, TimestampTzGetDatum(display.suspect_until));
	result_put_if(row, "lastProbeAt", display.probed, TimestampTzGetDatum(display.probed_at));
	result_put_if(row, "lastProbeMs", display.probed, Float4GetDatum(display.probe_milliseconds));
	result_put_if(row, "activeConnections", load.reported, Int32GetDatum(load.connections));
	result_put_if(row, "reservations", gateway->slot.number != NO_SLOT, Int32GetDatum(load.reservations));
	result_put_if(row, "changedAt", gateway->recorded.known, TimestampTzGetDatum(gateway->recorded.changed_at));
	result_put_if(row, "stateUntil", gateway->state_until != NO_STATE_END, TimestampTzGetDatum(gateway->state_until));
}

/* gateway_status(org_id uuid, gateway_id uuid): one row a gateway, see the view. */
Datum
gateway_status(PG_FUNCTION_ARGS)
{
	PoolCatalog catalog;
	RowFilter	filter = begin_listing(fcinfo, &catalog);
	int			count;
	GatewayRow *gateways = list_gateways(&catalog, filter, &count);
	ResultRow	row;

	result_begin_rows(&row, fcinfo);
	for (int i = 0; i < count; i++)
	{
		put_gateway(&row, &gateways[i]);
		result_add(&row);
	}
	return (Datum) 0;
}

static void
put_probe(ResultRow *row, const GatewayRow *gateway, const LastProbe *probe)
{
	result_put(row, "gatewayId", UUIDPGetDatum(&gateway->id));
	result_put(row, "orgId", UUIDPGetDatum(&gateway->org_id));
	result_put_text(row, "name", gateway->name);
	result_put_text(row, "verdict", probe_verdict_name(probe->verdict));
	result_put_if(row, "reason", probe->reason[0] != '\0', CStringGetTextDatum(probe->reason));
	result_put_if(row, "lastProbeAt", probe->probed, TimestampTzGetDatum(probe->started_at + clock_wall_offset()));
	result_put_if(row, "lastProbeMs", probe->probed, Float4GetDatum(probe->milliseconds));
	result_put(row, "consecutiveFailures", Int32GetDatum(probe->failures));
	result_put(row, "consecutiveSuccesses", Int32GetDatum(probe->successes));
	result_put(row, "falls", Int32GetDatum(probe->falls));
	result_put_text(row, "protocol", probe_protocol_name(probe->protocol));
	result_put_if(row, "verifyTls", probe_protocol_uses_tls(probe->protocol), BoolGetDatum(probe->verify_tls));
	result_put_if(row, "certificateExpiresAt", probe->certificate_known, TimestampTzGetDatum(probe->certificate_expires_at));
}

/* gateway_probe_status(org_id uuid, gateway_id uuid): one row a gateway that is probed, see the view. */
Datum
gateway_probe_status(PG_FUNCTION_ARGS)
{
	PoolCatalog catalog;
	RowFilter	filter = begin_listing(fcinfo, &catalog);
	int			count;
	GatewayRow *gateways = list_gateways(&catalog, filter, &count);
	ResultRow	row;

	result_begin_rows(&row, fcinfo);
	for (int i = 0; i < count; i++)
	{
		LastProbe	probe;

		if (gateways[i].slot.number == NO_SLOT || !probe_evidence_last(gateways[i].slot, &probe))
			continue;
		put_probe(&row, &gateways[i], &probe);
		result_add(&row);
	}
	return (Datum) 0;
}

/* gateway_pool_members(org_id uuid, pool_id uuid): one row a member, see the view. */
Datum
gateway_pool_members(PG_FUNCTION_ARGS)
{
	PoolCatalog catalog;
	RowFilter	filter = begin_listing(fcinfo, &catalog);
	int			count;
	PoolRow    *pools = pool_rows_read(&catalog, filter, &count);
	ResultRow	row;

	result_begin_rows(&row, fcinfo);
	for (int i = 0; i < count; i++)
		for (int j = 0; j < pools[i].member_count; j++)
		{
			const MemberRow *member = &pools[i].members[j];

			result_put(&row, "gatewayPoolId", UUIDPGetDatum(&pools[i].id));
			result_put(&row, "pickWeight", Int32GetDatum(member->weight));
			result_put(&row, "pickPriority", Int16GetDatum(member->priority));
			put_gateway(&row, &member->gateway);
			result_put_text(&row, "poolName", pools[i].name);
			result_add(&row);
		}
	return (Datum) 0;
}

/* A pool's members in summary. */
typedef struct PoolSummary
{
	Datum		member_ids;
	int			eligible;
	const char *health;
	const char *label;
} PoolSummary;

static PoolSummary
summarize(const PoolRow *pool)
{
	PoolSummary summary = {0};
	Datum	   *ids = palloc(sizeof(Datum) * Max(pool->member_count, 1));

	for (int i = 0; i < pool->member_count; i++)
	{
		ids[i] = UUIDPGetDatum(&pool->members[i].gateway.id);
		summary.eligible += gateway_rows_is_eligible(&pool->members[i].gateway);
	}
	summary.member_ids = PointerGetDatum(construct_array(ids, pool->member_count, UUIDOID, UUID_LEN, false, TYPALIGN_CHAR));
	summary.health = pool->member_count == 0 ? "empty" : summary.eligible == 0 ? "red" :
		summary.eligible == pool->member_count ? "green" : "yellow";
	summary.label = pool->member_count == 0 ? "No members" :
		psprintf("%d/%d healthy", summary.eligible, pool->member_count);
	return summary;
}

/* Sets the columns of a pool's own row. */
static void
put_pool(ResultRow *row, const PoolRow *pool)
{
	result_put(row, "id", UUIDPGetDatum(&pool->id));
	result_put(row, "orgId", UUIDPGetDatum(&pool->org_id));
	result_put_text(row, "name", pool->name);
	result_put(row, "createdAt", TimestampTzGetDatum(pool->created_at));
	result_put(row, "updatedAt", TimestampTzGetDatum(pool->updated_at));
}

/* Sets the columns of a pool's members. */
static void
put_members(ResultRow *row, const PoolRow *pool, int64 resources)
{
	PoolSummary summary = summarize(pool);

	result_put(row, "memberCount", Int32GetDatum(pool->member_count));
	result_put(row, "healthyMemberCount", Int32GetDatum(summary.eligible));
	result_put(row, "memberGatewayIds", summary.member_ids);
	result_put(row, "connectedResourcesCount", Int32GetDatum(Min(resources, PG_INT32_MAX)));
	result_put_text(row, "health", summary.health);
	result_put_text(row, "label", summary.label);
}

/* gateway_pool_status(org_id uuid, pool_id uuid): one row a pool, see the view. */
Datum
gateway_pool_status(PG_FUNCTION_ARGS)
{
	PoolCatalog catalog;
	RowFilter	filter = begin_listing(fcinfo, &catalog);
	int			count;
	PoolRow    *pools = pool_rows_read(&catalog, filter, &count);
	int64	   *resources = resources_count(&catalog, pools, count);
	ResultRow	row;

	result_begin_rows(&row, fcinfo);
	for (int i = 0; i < count; i++)
	{
		put_pool(&row, &pools[i]);
		put_members(&row, &pools[i], resources[i]);
		result_add(&row);
	}
	return (Datum) 0;
}

static int
compare_names(const void *a, const void *b)
{
	return strcmp((*(const PoolRow *const *) a)->name, (*(const PoolRow *const *) b)->name);
}

/*
 * list_gateway_pools(org_id uuid): one row a pool of the organization, by name
 *
 * Needs SELECT on gateway_pools.  Errors: NULL 22023, no plan 42501.
 */
Datum
list_gateway_pools(PG_FUNCTION_ARGS)
{
	PoolCatalog catalog;
	RowFilter	filter = {.org_id = management_begin(fcinfo, &catalog, RIGHT_LIST)};
	int			count;
	PoolRow    *pools;
	int64	   *resources;
	const PoolRow **by_name;
	ResultRow	row;

	filter.orgs = isolation_orgs(&catalog);
	pools = pool_rows_read(&catalog, filter, &count);
	resources = resources_count(&catalog, pools, count);
	by_name = palloc(sizeof(PoolRow *) * Max(count, 1));
	for (int i = 0; i < count; i++)
		by_name[i] = &pools[i];
	qsort(by_name, count, sizeof(PoolRow *), compare_names);

	result_begin_rows(&row, fcinfo);
	for (int i = 0; i < count; i++)
	{
		put_pool(&row, by_name[i]);
		put_members(&row, by_name[i], resources[by_name[i] - pools]);
		result_add(&row);
	}
	return (Datum) 0;
}

static int
compare_members(const void *a, const void *b)
{
	return strcmp(((const MemberRow *) a)->gateway.name, ((const MemberRow *) b)->gateway.name);
}

/* Returns the members of a pool, by name, as a JSON array; times are in UTC, whatever the session's time zone is. */
static Datum
members_as_json(PoolRow *pool)
{
	StringInfoData json;

	qsort(pool->members, pool->member_count, sizeof(MemberRow), compare_members);
	initStringInfo(&json);
	appendStringInfoChar(&json, '[');
	for (int i = 0; i < pool->member_count; i++)
	{
		const GatewayRow *gateway = &pool->members[i].gateway;
		HealthDisplay display;

		gateway_rows_display(gateway, &display);
		appendStringInfo(&json, "%s{\"id\": \"%s\", \"name\": ", i > 0 ? ", " : "", uuid_text(&gateway->id));
		escape_json(&json, gateway->name);
		appendStringInfoString(&json, ", \"heartbeat\": ");
		if (display.heard)
		{
			char		time[MAXDATELEN + 1];
			int			utc = 0;

			appendStringInfo(&json, "\"%s\"", JsonEncodeDateTime(time, TimestampTzGetDatum(display.heard_at), TIMESTAMPTZOID, &utc));
		}
		else
			appendStringInfoString(&json, "null");
		appendStringInfoString(&json, ", \"heartbeatTTL\": ");
		if (gateway->ttl_known)
			appendStringInfo(&json, INT64_FORMAT, gateway->ttl);
		else
			appendStringInfoString(&json, "null");
		appendStringInfo(&json, ", \"status\": \"%s\", \"reason\": ", gateway_status_name(gateway->health.status));
		escape_json(&json, gateway->health.reason);
		appendStringInfoChar(&json, '}');
	}
	appendStringInfoChar(&json, ']');
	return DirectFunctionCall1(jsonb_in, CStringGetDatum(json.data));
}

/*
 * get_gateway_pool(org_id uuid, pool_id uuid) returns the pool and its gateways
 *
 * Needs SELECT on gateway_pools.  Errors: NULL 22023, no plan 42501, no such pool P0002.
 */
Datum
get_gateway_pool(PG_FUNCTION_ARGS)
{
	PoolCatalog catalog;
	const pg_uuid_t *org = management_begin(fcinfo, &catalog, RIGHT_LIST);
	const pg_uuid_t *id = management_require_pool(fcinfo, &catalog, org);
	int			count;
	PoolRow    *pool = pool_rows_read(&catalog, (RowFilter) {.org_id = org,.id = id}, &count);
	ResultRow	row;

	/* Deleted since management_require_pool() found it. */
	if (count == 0)
		management_refuse_missing(catalog.pools, "gateway pool", id);
	result_begin_one(&row, fcinfo);
	put_pool(&row, pool);
	result_put(&row, "gateways", members_as_json(pool));
	PG_RETURN_DATUM(result_datum(&row));
}

/* A membership, for look-ups by gateway. */
typedef struct PoolOfGateway
{
	pg_uuid_t	gateway;
	pg_uuid_t	pool;
} PoolOfGateway;

static int
compare_pools_of_gateways(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(PoolOfGateway));
}

/* Returns the memberships of some pools, ordered by gateway and pool. */
static PoolOfGateway *
pools_of_gateways(const PoolRow *pools, int pool_count, int *count)
{
	PoolOfGateway *list;
	int			members = 0;

	for (int i = 0; i < pool_count; i++)
		members += pools[i].member_count;
	list = palloc_extended(sizeof(PoolOfGateway) * Max(members, 1), MCXT_ALLOC_HUGE);
	*count = 0;
	for (int i = 0; i < pool_count; i++)
		for (int j = 0; j < pools[i].member_count; j++)
			list[(*count)++] = (PoolOfGateway) {pools[i].members[j].gateway.id, pools[i].id};
	qsort(list, *count, sizeof(PoolOfGateway), compare_pools_of_gateways);
	return list;
}

/* Returns an array of the pools of a gateway. */
static Datum
pool_ids_of(const pg_uuid_t *gateway, const PoolOfGateway *list, int count)
{
	PoolOfGateway key = {.gateway = *gateway};
	const PoolOfGateway *found = bsearch(&key, list, count, sizeof(PoolOfGateway), uuid_compare);
	const PoolOfGateway *first = found;
	const PoolOfGateway *end = found;
	Datum	   *ids;

	while (first != NULL && first > list && uuid_compare(first - 1, &key) == 0)
		first--;
	while (end != NULL && end < list + count && uuid_compare(end, &key) == 0)
		end++;
	ids = palloc(sizeof(Datum) * Max(end - first, 1));
	for (const PoolOfGateway *i = first; i < end; i++)
		ids[i - first] = UUIDPGetDatum(&i->pool);
	return PointerGetDatum(construct_array(ids, end - first, UUIDOID, UUID_LEN, false, TYPALIGN_CHAR));
}

/* What an organization allows consumers to be set to, cached for the last one read. */
typedef struct Selectable
{
	bool		is_read;
	pg_uuid_t	org;
	bool		pools;
	bool		gateways;
} Selectable;

static void
read_selectable(const PoolCatalog *catalog, const pg_uuid_t *org, Selectable *selectable)
{
	if (selectable->is_read && uuid_equal(&selectable->org, org))
		return;
	selectable->is_read = true;
	selectable->org = *org;
	selectable->pools = entitlement_read(catalog, org).gateway_pool;
	selectable->gateways = !entitlement_requires_pools(catalog, org);
}

/*
 * gateway_options(org_id uuid): pools and single gateways, see the view
 *
 * Needs SELECT on gateway_pools.
 */
Datum
gateway_options(PG_FUNCTION_ARGS)
{
	PoolCatalog catalog;
	RowFilter	filter = {0};
	int			pool_count;
	PoolRow    *pools;
	int			gateway_count;
	GatewayRow *gateways;
	int			membership_count;
	PoolOfGateway *memberships;
	Selectable	selectable = {0};
	ResultRow	row;

	catalog_open(&catalog);
	access_require(&catalog, RIGHT_LIST);
	if (!PG_ARGISNULL(0))
		filter.org_id = PG_GETARG_UUID_P(0);
	filter.orgs = isolation_orgs(&catalog);
	pools = pool_rows_read(&catalog, filter, &pool_count);
	gateways = list_gateways(&catalog, filter, &gateway_count);
	memberships = pools_of_gateways(pools, pool_count, &membership_count);

	result_begin_rows(&row, fcinfo);
	for (int i = 0; i < pool_count; i++)
	{
		PoolSummary summary = summarize(&pools[i]);

		CHECK_FOR_INTERRUPTS();
		read_selectable(&catalog, &pools[i].org_id, &selectable);
		result_put_text(&row, "kind", "pool");
		result_put(&row, "id", UUIDPGetDatum(&pools[i].id));
		result_put(&row, "orgId", UUIDPGetDatum(&pools[i].org_id));
		result_put_text(&row, "name", pools[i].name);
		result_put_text(&row, "health", summary.health);
		result_put_text(&row, "label", summary.label);
		result_put(&row, "selectable", BoolGetDatum(selectable.pools));
		result_add(&row);
	}
	for (int i = 0; i < gateway_count; i++)
	{
		const GatewayRow *gateway = &gateways[i];
		bool		online = gateway_rows_is_eligible(gateway);

		CHECK_FOR_INTERRUPTS();
		read_selectable(&catalog, &gateway->org_id, &selectable);
		result_put_text(&row, "kind", "gateway");
		result_put(&row, "id", UUIDPGetDatum(&gateway->id));
		result_put(&row, "orgId", UUIDPGetDatum(&gateway->org_id));
		result_put_text(&row, "name", gateway->name);
		result_put_text(&row, "health", !online ? "red" : gateway->health.status == GATEWAY_HEALTHY ? "green" : "yellow");
		result_put_text(&row, "label", online ? "Online" : "Offline");
		result_put(&row, "poolIds", pool_ids_of(&gateway->id, memberships, membership_count));
		result_put(&row, "selectable", BoolGetDatum(selectable.gateways));
		result_add(&row);
	}
	return (Datum) 0;
}
