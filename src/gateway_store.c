/*
 * gateway_store.c
 *		Pools, members and gateways, read from the tables.
 *
 * The host's gateways table changes with the host's migrations.  It is read by
 * the columns that it has at the moment, and whatever it lacks is null.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/relation.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "gateway_store.h"
#include "owner.h"
#include "settings.h"

/* Columns of the host's that are read where they exist, as a set of bits. */
#define HAS_HEARTBEAT			(1 << 0)
#define HAS_HEARTBEAT_TTL		(1 << 1)
#define HAS_HEALTH_CHECK_STATUS	(1 << 2)
#define HAS_RELAY_ID			(1 << 3)
#define HAS_DIRECT_ADDRESS		(1 << 4)
#define HAS_DIRECT_HEARTBEAT	(1 << 5)
#define HAS_CAPABILITIES		(1 << 6)
#define HAS_DIRECT_PATH			(HAS_DIRECT_ADDRESS | HAS_DIRECT_HEARTBEAT)

static const struct
{
	const char *name;
	int			bit;
}			host_columns[] =
{
	{"heartbeat", HAS_HEARTBEAT},
	{"heartbeatTTL", HAS_HEARTBEAT_TTL},
	{"lastHealthCheckStatus", HAS_HEALTH_CHECK_STATUS},
	{"relayId", HAS_RELAY_ID},
	{"directAddress", HAS_DIRECT_ADDRESS},
	{"directHeartbeat", HAS_DIRECT_HEARTBEAT},
	{"capabilities", HAS_CAPABILITIES}
};

/* Places in the list of columns that every query of a gateway has. */
enum
{
	GATEWAY_ID = 1,
	GATEWAY_ORG_ID,
	GATEWAY_NAME,
	GATEWAY_STATE,
	GATEWAY_CAPABILITIES,
	GATEWAY_HEARTBEAT,
	GATEWAY_HEARTBEAT_TTL,
	GATEWAY_HEALTH_CHECK_FAILED,
	GATEWAY_RELAY_CONFIGURED,
	GATEWAY_DIRECT_HEARTBEAT,
	GATEWAY_DIRECT_CONFIGURED,

	POOL_ID,
	POOL_ORG_ID,
	POOL_NAME,
	POOL_CREATED_AT,
	POOL_UPDATED_AT,
	MEMBER_WEIGHT,
	MEMBER_PRIORITY
};

/* Longest time-to-live that is believed, so that sums stay in range: 100 years. */
#define TTL_MAX_SECONDS INT64CONST(3155760000)

/* The one plan that is kept: of the pick, by pool. */
static struct
{
	SPIPlanPtr	plan;
	char	   *sql;
}			pool_plan;

static int
find_host_columns(Oid gateways)
{
	Relation	relation = relation_open(gateways, AccessShareLock);
	TupleDesc	columns = RelationGetDescr(relation);
	int			found = 0;

	for (int i = 0; i < columns->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(columns, i);

		for (int j = 0; j < lengthof(host_columns) && !attribute->attisdropped; j++)
			if (strcmp(NameStr(attribute->attname), host_columns[j].name) == 0)
				found |= host_columns[j].bit;

		/* Text that is no JSON in one row would fail the picks of a whole pool. */
		if (strcmp(NameStr(attribute->attname), "capabilities") == 0 &&
			attribute->atttypid != JSONBOID && attribute->atttypid != JSONOID)
			found &= ~HAS_CAPABILITIES;
	}
	/* The lock is kept: the columns must be the same when the text is parsed. */
	relation_close(relation, NoLock);
	return found;
}

/*
 * The list of columns of a gateway "g" and its state "s", in the order of the
 * enum above.  Casts make it indifferent to how the host types its columns;
 * rows without an organization are left out by the conditions below.
 */
static void
append_gateway_columns(StringInfo sql, int columns)
{
	bool		has_direct = (columns & HAS_DIRECT_PATH) == HAS_DIRECT_PATH;

	appendStringInfoString(sql, "SELECT g.id::uuid, g.\"orgId\"::uuid, coalesce(g.name::text, ''), s.state::text");
	appendStringInfo(sql, ", %s::jsonb",
					 columns & HAS_CAPABILITIES ? "g.capabilities" : "NULL");
	appendStringInfo(sql, ", %s::timestamptz",
					 columns & HAS_HEARTBEAT ? "g.heartbeat" : "NULL");
	appendStringInfo(sql, ", %s::int8",
					 columns & HAS_HEARTBEAT_TTL ? "g.\"heartbeatTTL\"" : "NULL");
	appendStringInfo(sql, ", %s",
					 columns & HAS_HEALTH_CHECK_STATUS ?
					 "coalesce(g.\"lastHealthCheckStatus\"::text = 'failed', false)" : "false");
	/* Only once there are two paths does the host say which of them are in use. */
	appendStringInfo(sql, ", %s",
					 has_direct && (columns & HAS_RELAY_ID) ? "g.\"relayId\" IS NOT NULL" : "true");
	appendStringInfo(sql, ", %s::timestamptz, %s",
					 has_direct ? "g.\"directHeartbeat\"" : "NULL",
					 has_direct ? "g.\"directAddress\" IS NOT NULL" : "false");
}

static void
append_filter(StringInfo sql, const char *table, StoreFilter filter)
{
	appendStringInfo(sql, " WHERE %s.\"orgId\" IS NOT NULL", table);
	if (filter.org_id)
		appendStringInfo(sql, " AND %s.\"orgId\" = $1", table);
	if (filter.id)
		appendStringInfo(sql, " AND %s.id = $%d", table, filter.org_id ? 2 : 1);
}

static char *
pools_sql(const PoolCatalog *catalog, int columns, StoreFilter filter)
{
	StringInfoData sql;

	initStringInfo(&sql);
	append_gateway_columns(&sql, columns);
	appendStringInfo(&sql,
					 ", p.id::uuid, p.\"orgId\"::uuid, coalesce(p.name::text, '')"
					 ", p.\"createdAt\"::timestamptz, p.\"updatedAt\"::timestamptz"
					 ", m.weight::int4, m.priority::int4"
					 " FROM %s p LEFT JOIN (%s m JOIN %s g"
					 " ON g.id = m.\"gatewayId\" AND g.\"orgId\" IS NOT NULL"
					 " LEFT JOIN %s s ON s.\"gatewayId\" = m.\"gatewayId\")"
					 " ON m.\"gatewayPoolId\" = p.id",
					 catalog_name(catalog->pools), catalog_name(catalog->memberships),
					 catalog_name(catalog->gateways), catalog_name(catalog->states));
	append_filter(&sql, "p", filter);
	/* Members of a pool follow each other. */
	appendStringInfoString(&sql, " ORDER BY p.id, m.priority, g.name, g.id");
	return sql.data;
}

static char *
gateways_sql(const PoolCatalog *catalog, int columns, StoreFilter filter)
{
	StringInfoData sql;

	initStringInfo(&sql);
	append_gateway_columns(&sql, columns);
	appendStringInfo(&sql, " FROM %s g LEFT JOIN %s s ON s.\"gatewayId\" = g.id",
					 catalog_name(catalog->gateways), catalog_name(catalog->states));
	append_filter(&sql, "g", filter);
	appendStringInfoString(&sql, " ORDER BY g.name, g.id");
	return sql.data;
}

/* One column of a row of the result, null as zero. */
static Datum
column_of(HeapTuple row, int column, bool *is_null)
{
	bool		ignored;

	return SPI_getbinval(row, SPI_tuptable->tupdesc, column, is_null ? is_null : &ignored);
}

static HeartbeatPath
path_of(HeapTuple row, int heartbeat, int configured)
{
	HeartbeatPath path;
	bool		is_null;

	path.configured = DatumGetBool(column_of(row, configured, NULL));
	path.heard_at = DatumGetTimestampTz(column_of(row, heartbeat, &is_null));
	path.heard = !is_null && !TIMESTAMP_IS_NOBEGIN(path.heard_at);
	return path;
}

static GatewayState
state_of(HeapTuple row)
{
	bool		is_null;
	Datum		value = column_of(row, GATEWAY_STATE, &is_null);
	char	   *word = is_null ? "active" : TextDatumGetCString(value);

	if (strcmp(word, "draining") == 0)
		return GATEWAY_DRAINING;
	return strcmp(word, "maintenance") == 0 ? GATEWAY_MAINTENANCE : GATEWAY_ACTIVE;
}

static GatewayRow
gateway_of(HeapTuple row, int columns, TimestampTz now)
{
	GatewayRow	gateway = {0};
	HostHeartbeat host = {0};
	HealthEvidence evidence = {0};
	Datum		value;
	bool		is_null;

	gateway.id = *DatumGetUUIDP(column_of(row, GATEWAY_ID, NULL));
	gateway.org_id = *DatumGetUUIDP(column_of(row, GATEWAY_ORG_ID, NULL));
	gateway.name = TextDatumGetCString(column_of(row, GATEWAY_NAME, NULL));
	gateway.state = state_of(row);
	value = column_of(row, GATEWAY_CAPABILITIES, &is_null);
	gateway.capabilities = is_null ? NULL : DatumGetJsonbPCopy(value);

	host.failed = DatumGetBool(column_of(row, GATEWAY_HEALTH_CHECK_FAILED, NULL));
	host.has_ttl = (columns & HAS_HEARTBEAT_TTL) != 0;
	host.ttl = DatumGetInt64(column_of(row, GATEWAY_HEARTBEAT_TTL, &is_null));
	host.ttl = Min(Max(host.ttl, 0), TTL_MAX_SECONDS) * USECS_PER_SEC;
	host.ttl_known = !is_null;
	host.relay = path_of(row, GATEWAY_HEARTBEAT, GATEWAY_RELAY_CONFIGURED);
	host.direct = path_of(row, GATEWAY_DIRECT_HEARTBEAT, GATEWAY_DIRECT_CONFIGURED);

	gateway.heartbeat = heartbeat_of_host(&host, setting_heartbeat_timeout * USECS_PER_SEC,
										  setting_heartbeat_grace * USECS_PER_SEC, now);
	evidence.heartbeat = heartbeat_evidence(&gateway.heartbeat, now);
	gateway.health = health_rule(&evidence);
	return gateway;
}

/* Adds the row of a member, or of a pool that has none, to the pools so far. */
static int
add_pool_row(PoolRow *pools, int count, HeapTuple row, int columns, TimestampTz now,
			 MemberRow *next_member)
{
	pg_uuid_t  *id = DatumGetUUIDP(column_of(row, POOL_ID, NULL));
	bool		no_member;
	PoolRow    *pool;

	if (count == 0 || memcmp(&pools[count - 1].id, id, sizeof(pg_uuid_t)) != 0)
	{
		pool = &pools[count++];
		pool->id = *id;
		pool->org_id = *DatumGetUUIDP(column_of(row, POOL_ORG_ID, NULL));
		pool->name = TextDatumGetCString(column_of(row, POOL_NAME, NULL));
		pool->created_at = DatumGetTimestampTz(column_of(row, POOL_CREATED_AT, NULL));
		pool->updated_at = DatumGetTimestampTz(column_of(row, POOL_UPDATED_AT, NULL));
		pool->members = next_member;
		pool->member_count = 0;
	}

	pool = &pools[count - 1];
	(void) column_of(row, GATEWAY_ID, &no_member);
	if (!no_member)
	{
		MemberRow  *member = &pool->members[pool->member_count++];

		member->gateway = gateway_of(row, columns, now);
		member->weight = DatumGetInt32(column_of(row, MEMBER_WEIGHT, NULL));
		member->priority = DatumGetInt32(column_of(row, MEMBER_PRIORITY, NULL));
	}
	return count;
}

/*
 * The kept plan for a pick, made anew when its text is another: when tables or
 * the host's columns are others or have other names.
 */
static SPIPlanPtr
pool_by_id_plan(const char *sql)
{
	SPIPlanPtr	plan;

	if (pool_plan.plan != NULL && strcmp(pool_plan.sql, sql) == 0)
		return pool_plan.plan;

	plan = owner_prepare(sql, 1, (Oid[]) {UUIDOID});
	SPI_keepplan(plan);
	if (pool_plan.plan != NULL)
	{
		SPI_freeplan(pool_plan.plan);
		pfree(pool_plan.sql);
		pool_plan.plan = NULL;
	}
	pool_plan.sql = MemoryContextStrdup(TopMemoryContext, sql);
	pool_plan.plan = plan;
	return plan;
}

static uint64
run_filtered(SPIPlanPtr plan, StoreFilter filter)
{
	Datum		values[2];
	int			count = 0;

	if (filter.org_id)
		values[count++] = UUIDPGetDatum(filter.org_id);
	if (filter.id)
		values[count++] = UUIDPGetDatum(filter.id);
	return owner_execute(plan, values);
}

static SPIPlanPtr
prepare_filtered(const char *sql, StoreFilter filter)
{
	return owner_prepare(sql, (filter.org_id != NULL) + (filter.id != NULL),
						 (Oid[]) {UUIDOID, UUIDOID});
}

/*
 * store_pools reads pools, ordered by id, with their members, ordered by
 * priority and name, and judges each gateway as of "now".  Returns an array of
 * *count pools in the current memory context.
 */
PoolRow *
store_pools(const PoolCatalog *catalog, StoreFilter filter, TimestampTz now, int *count)
{
	MemoryContext context = CurrentMemoryContext;
	int			columns = find_host_columns(catalog->gateways);
	OwnerScope	scope;
	const char *sql;
	SPIPlanPtr	plan;
	uint64		rows;
	PoolRow    *pools;
	MemberRow  *members;

	owner_begin(&scope, catalog->memberships);
	sql = pools_sql(catalog, columns, filter);
	if (filter.id != NULL && filter.org_id == NULL)
		plan = pool_by_id_plan(sql);
	else
		plan = prepare_filtered(sql, filter);
	rows = run_filtered(plan, filter);

	MemoryContextSwitchTo(context);
	pools = palloc_extended(Max(rows, 1) * sizeof(PoolRow), MCXT_ALLOC_HUGE);
	members = palloc_extended(Max(rows, 1) * sizeof(MemberRow), MCXT_ALLOC_HUGE);
	*count = 0;
	for (uint64 i = 0; i < rows; i++)
		*count = add_pool_row(pools, *count, SPI_tuptable->vals[i], columns, now, &members[i]);
	owner_end(&scope);
	return pools;
}

/*
 * store_gateways reads gateways, ordered by name, and judges each as of "now".
 * Returns an array of *count in the current memory context.
 */
GatewayRow *
store_gateways(const PoolCatalog *catalog, StoreFilter filter, TimestampTz now, int *count)
{
	MemoryContext context = CurrentMemoryContext;
	int			columns = find_host_columns(catalog->gateways);
	OwnerScope	scope;
	uint64		rows;
	GatewayRow *gateways;

	owner_begin(&scope, catalog->gateways);
	rows = run_filtered(prepare_filtered(gateways_sql(catalog, columns, filter), filter), filter);

	MemoryContextSwitchTo(context);
	gateways = palloc_extended(Max(rows, 1) * sizeof(GatewayRow), MCXT_ALLOC_HUGE);
	*count = rows;
	for (uint64 i = 0; i < rows; i++)
		gateways[i] = gateway_of(SPI_tuptable->vals[i], columns, now);
	owner_end(&scope);
	return gateways;
}

/* gateway_is_eligible tells whether a pick may fall on the gateway at all. */
bool
gateway_is_eligible(const GatewayRow *gateway)
{
	return selection_eligible(gateway->health.status, gateway->state);
}
