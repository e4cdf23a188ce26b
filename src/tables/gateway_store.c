/*
 * gateway_store.c
 *		Pools, members and gateways, read from the tables.
 *
 * Reading a gateway's row also tells shared memory what it says, so that the
 * reader, and whoever picks next, judge by the same evidence.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/relation.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "base/clock.h"
#include "base/settings.h"
#include "base/uuid.h"
#include "tables/capabilities.h"
#include "tables/gateway_store.h"
#include "tables/owner.h"
#include "tables/visible_rows.h"

/* Places in the list of columns that every query of a gateway has. */
enum
{
	GATEWAY_ID = 1,
	GATEWAY_ORG_ID,
	GATEWAY_NAME,
	GATEWAY_STATE,
	GATEWAY_XMIN,
	GATEWAY_RECORDED_STATUS,
	GATEWAY_RECORDED_CHANGED_AT,
	GATEWAY_RECORDED_HEARD_AT,
	GATEWAY_RECORDED_EXPIRES_AT,
	GATEWAY_RECORDED_PROBE_UP,
	GATEWAY_HOST_COLUMNS,		/* HOST_COLUMN_COUNT of them */

	POOL_ID = GATEWAY_HOST_COLUMNS + HOST_COLUMN_COUNT,
	POOL_ORG_ID,
	POOL_NAME,
	POOL_CREATED_AT,
	POOL_UPDATED_AT,
	MEMBER_WEIGHT,
	MEMBER_PRIORITY
};

/* What the rows of one query have in common. */
typedef struct Reading
{
	Oid			table;
	HostColumns columns;
	uint64		sequence;		/* of publications, from before the query */
	uint64		deletions;		/* of rows, likewise */
	bool		own;			/* by columns that this transaction may have
								 * altered */
	CapabilitySet *capabilities;	/* read so far */
	int64		now;			/* monotonic */
	TimestampTz wall_now;
} Reading;

/* The plans of the query of one pool, by its id: without capabilities and with them. */
static KeptPlan pool_plans[2];

static Reading
begin_reading(const PoolCatalog *catalog)
{
	Relation	gateways = catalog_open_table(catalog->gateways, AccessShareLock);
	Reading		reading = {
		.table = catalog->gateways,
		.columns = host_columns_find(RelationGetDescr(gateways)),
		.sequence = health_evidence_sequence(),
		.deletions = health_map_deletion_count(),
		.own = CheckRelationLockedByMe(gateways, AccessExclusiveLock, true),
		.now = clock_monotonic(),
		.wall_now = GetCurrentTimestamp()
	};

	/* The lock is kept: the columns must be the same when the text is parsed. */
	relation_close(gateways, NoLock);
	if (RecoveryInProgress())
		health_evidence_note_standby();
	return reading;
}

/*
 * The list of columns of a gateway "g", its state "s" and recorded health "h",
 * in the order of the enum above.  Rows without an id or an organization are left
 * out by the conditions below: the tables' owner decides what may be null there.
 */
static void
append_gateway_columns(StringInfo sql, HostColumns columns, StoreFilter filter)
{
	appendStringInfoString(sql,
						   "SELECT g.id::uuid, g.\"orgId\"::uuid, coalesce(g.name::text, ''), s.state::text"
						   ", g.xmin, h.status::text, h.\"changedAt\"::timestamptz"
						   ", h.\"lastHeartbeatAt\"::timestamptz, h.\"heartbeatExpiresAt\"::timestamptz"
						   ", coalesce(h.\"consecutiveSuccesses\" > 0 AND h.status::text IN ('healthy', 'degraded'), false)");
	host_columns_append(sql, columns, filter.capabilities);
}

static void
append_filter(StringInfo sql, const char *table, StoreFilter filter)
{
	int			argument = 0;

	appendStringInfo(sql, " WHERE %s.id IS NOT NULL AND %s.\"orgId\" IS NOT NULL", table, table);
	if (filter.org_id)
		appendStringInfo(sql, " AND %s.\"orgId\" = $%d", table, ++argument);
	if (filter.id)
		appendStringInfo(sql, " AND %s.id = $%d", table, ++argument);
	if (filter.orgs)
		appendStringInfo(sql, " AND %s.\"orgId\" = ANY ($%d)", table, ++argument);
	if (filter.ids)
		appendStringInfo(sql, " AND %s.id = ANY ($%d)", table, ++argument);
}

static char *
pools_sql(const PoolCatalog *catalog, HostColumns columns, StoreFilter filter)
{
	StringInfoData sql;

	initStringInfo(&sql);
	append_gateway_columns(&sql, columns, filter);
	appendStringInfo(&sql,
					 ", p.id::uuid, p.\"orgId\"::uuid, coalesce(p.name::text, '')"
					 ", p.\"createdAt\"::timestamptz, p.\"updatedAt\"::timestamptz"
					 ", %s, %s"
					 " FROM %s p LEFT JOIN (%s m JOIN %s g"
					 " ON g.id = m.\"gatewayId\" AND g.\"orgId\" IS NOT NULL"
					 " LEFT JOIN %s s ON s.\"gatewayId\" = m.\"gatewayId\""
					 " LEFT JOIN %s h ON h.\"gatewayId\" = m.\"gatewayId\")"
					 " ON m.\"gatewayPoolId\" = p.id",
					 catalog->has_weight ? "m.\"pickWeight\"::int4" : "1",
					 catalog->has_priority ? "m.\"pickPriority\"::int4" : "0",
					 catalog_name(catalog->pools), catalog_name(catalog->memberships),
					 catalog_name(catalog->gateways), catalog_name(catalog->states),
					 catalog_name(catalog->health));
	append_filter(&sql, "p", filter);
	/* Members of a pool follow each other. */
	appendStringInfo(&sql, " ORDER BY p.id, %sg.name, g.id", catalog->has_priority ? "m.\"pickPriority\", " : "");
	return sql.data;
}

static char *
gateways_sql(const PoolCatalog *catalog, HostColumns columns, StoreFilter filter)
{
	StringInfoData sql;

	initStringInfo(&sql);
	append_gateway_columns(&sql, columns, filter);
	appendStringInfo(&sql, " FROM %s g LEFT JOIN %s s ON s.\"gatewayId\" = g.id"
					 " LEFT JOIN %s h ON h.\"gatewayId\" = g.id",
					 catalog_name(catalog->gateways), catalog_name(catalog->states),
					 catalog_name(catalog->health));
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

/*
 * Judges a gateway by its slot, as picks do; by its row alone where it has no
 * slot, and for the heartbeat where the transaction itself wrote the row.
 */
static void
judge(GatewayRow *gateway, const Reading *reading)
{
	HealthEvidence evidence;

	if (gateway->slot.number != NO_SLOT)
	{
		SlotReading read;

		if (gateway->own)
			read = health_evidence_read_own(gateway->slot, reading->now, &gateway->heartbeat, &evidence);
		else
		{
			health_evidence_publish(gateway->slot, &gateway->heartbeat, reading->sequence);
			read = health_evidence_read(gateway->slot, reading->now, &evidence);
		}
		if (read == SLOT_GONE)
			gateway->slot.number = NO_SLOT;
	}
	if (gateway->slot.number == NO_SLOT)
		health_evidence_without_slot(&gateway->heartbeat, &gateway->recorded, gateway->own,
									 reading->now, reading->wall_now, &evidence);
	gateway->health = health_rule(&evidence);

	/*
	 * Of the healthy ones there is nothing to explain, and picks read many of
	 * them.
	 */
	if (gateway->slot.number != NO_SLOT && gateway->health.status != GATEWAY_HEALTHY)
	{
		char	   *reason = palloc(HEALTH_EXPLANATION_SIZE);

		health_evidence_explain(gateway->slot, &evidence, &gateway->health, reason);
		gateway->health.reason = reason;
	}
}

static RecordedHealth
recorded_of(HeapTuple row)
{
	bool		no_row;
	bool		unheard;
	bool		no_expiry;
	Datum		status = column_of(row, GATEWAY_RECORDED_STATUS, &no_row);
	Datum		heard_at = column_of(row, GATEWAY_RECORDED_HEARD_AT, &unheard);
	Datum		expires_at = column_of(row, GATEWAY_RECORDED_EXPIRES_AT, &no_expiry);
	RecordedHealth recorded = {0};

	if (no_row)
		return recorded;
	recorded.known = true;
	recorded.status = gateway_status_of(TextDatumGetCString(status));
	recorded.changed_at = DatumGetTimestampTz(column_of(row, GATEWAY_RECORDED_CHANGED_AT, NULL));
	recorded.heard = !unheard && !no_expiry;
	if (recorded.heard)
	{
		recorded.heard_at = DatumGetTimestampTz(heard_at);
		recorded.heartbeat_expires_at = DatumGetTimestampTz(expires_at);
	}
	recorded.probe_up = DatumGetBool(column_of(row, GATEWAY_RECORDED_PROBE_UP, NULL));
	return recorded;
}

/* Reads a gateway; "added" grows by the size of capabilities that none before has. */
static GatewayRow
gateway_of(HeapTuple row, const Reading *reading, Size *added)
{
	GatewayRow	gateway = {0};
	Datum		values[HOST_COLUMN_COUNT];
	bool		nulls[HOST_COLUMN_COUNT];
	HostHeartbeat host;

	gateway.id = owner_uuid(row, SPI_tuptable->tupdesc, GATEWAY_ID);
	gateway.org_id = owner_uuid(row, SPI_tuptable->tupdesc, GATEWAY_ORG_ID);
	gateway.name = TextDatumGetCString(column_of(row, GATEWAY_NAME, NULL));
	gateway.state = state_of(row);
	gateway.own = reading->own ||
		TransactionIdIsCurrentTransactionId(DatumGetTransactionId(column_of(row, GATEWAY_XMIN, NULL)));
	gateway.recorded = recorded_of(row);

	for (int i = 0; i < HOST_COLUMN_COUNT; i++)
		values[i] = column_of(row, GATEWAY_HOST_COLUMNS + i, &nulls[i]);
	if (!nulls[HOST_CAPABILITIES])
	{
		gateway.capabilities = capabilities_read(reading->capabilities, values[HOST_CAPABILITIES],
												 SPI_gettypeid(SPI_tuptable->tupdesc, GATEWAY_HOST_COLUMNS + HOST_CAPABILITIES),
												 added);
		gateway.capabilities_invalid = gateway.capabilities == NULL;
	}
	host = host_columns_read(reading->columns, values, nulls);
	gateway.heartbeat = store_heartbeat_of(&host);

	gateway.slot = health_map_find(reading->table, &gateway.id);
	gateway.deletions = reading->deletions;
	judge(&gateway, reading);
	return gateway;
}

/* store_heartbeat_of applies the settings to what the host's row says. */
Heartbeat
store_heartbeat_of(const HostHeartbeat *host)
{
	return heartbeat_of_host(host, setting_heartbeat_timeout * USECS_PER_SEC,
							 setting_heartbeat_grace * USECS_PER_SEC);
}

/* Adds the row of a member, or of a pool that has none, to the pools so far. */
static int
add_pool_row(PoolRow *pools, int count, HeapTuple row, const Reading *reading,
			 MemberRow *next_member)
{
	pg_uuid_t	id = owner_uuid(row, SPI_tuptable->tupdesc, POOL_ID);
	bool		no_member;
	PoolRow    *pool;

	if (count == 0 || !uuid_equal(&pools[count - 1].id, &id))
	{
		pool = &pools[count++];
		pool->id = id;
		pool->org_id = owner_uuid(row, SPI_tuptable->tupdesc, POOL_ORG_ID);
		pool->name = TextDatumGetCString(column_of(row, POOL_NAME, NULL));
		pool->created_at = DatumGetTimestampTz(column_of(row, POOL_CREATED_AT, NULL));
		pool->updated_at = DatumGetTimestampTz(column_of(row, POOL_UPDATED_AT, NULL));
		pool->members = next_member;
		pool->member_count = 0;
		pool->capabilities_size = 0;
	}

	pool = &pools[count - 1];
	(void) column_of(row, GATEWAY_ID, &no_member);
	if (!no_member)
	{
		MemberRow  *member = &pool->members[pool->member_count++];

		member->gateway = gateway_of(row, reading, &pool->capabilities_size);
		member->weight = DatumGetInt32(column_of(row, MEMBER_WEIGHT, NULL));
		member->priority = DatumGetInt32(column_of(row, MEMBER_PRIORITY, NULL));
	}
	return count;
}

static uint64
run_filtered(SPIPlanPtr plan, StoreFilter filter)
{
	Datum		values[4];
	int			count = 0;

	if (filter.org_id)
		values[count++] = UUIDPGetDatum(filter.org_id);
	if (filter.id)
		values[count++] = UUIDPGetDatum(filter.id);
	if (filter.orgs)
		values[count++] = PointerGetDatum(filter.orgs);
	if (filter.ids)
		values[count++] = PointerGetDatum(filter.ids);
	return owner_execute(plan, values);
}

static SPIPlanPtr
prepare_filtered(const char *sql, StoreFilter filter)
{
	Oid			types[4];
	int			count = 0;

	if (filter.org_id)
		types[count++] = UUIDOID;
	if (filter.id)
		types[count++] = UUIDOID;
	if (filter.orgs)
		types[count++] = UUIDARRAYOID;
	if (filter.ids)
		types[count++] = UUIDARRAYOID;
	return owner_prepare(sql, count, types);
}

/*
 * store_pools reads pools, ordered by id, with their members, ordered by
 * priority and name, and judges each gateway as of now.  Returns an array of
 * *count pools in the current memory context.
 */
PoolRow *
store_pools(const PoolCatalog *catalog, StoreFilter filter, int *count)
{
	MemoryContext context = CurrentMemoryContext;
	Reading		reading = begin_reading(catalog);
	OwnerScope	scope;
	const char *sql;
	SPIPlanPtr	plan;
	uint64		rows;
	PoolRow    *pools;
	MemberRow  *members;

	if (filter.capabilities)
		reading.capabilities = capabilities_create(context);
	owner_begin(&scope, catalog->memberships);
	sql = pools_sql(catalog, reading.columns, filter);
	if (filter.id != NULL && filter.org_id == NULL && filter.orgs == NULL)
		plan = owner_prepare_kept(&pool_plans[filter.capabilities], sql, 1, (Oid[]) {UUIDOID});
	else
		plan = prepare_filtered(sql, filter);
	rows = run_filtered(plan, filter);

	MemoryContextSwitchTo(context);
	pools = palloc_extended(Max(rows, 1) * sizeof(PoolRow), MCXT_ALLOC_HUGE);
	members = palloc_extended(Max(rows, 1) * sizeof(MemberRow), MCXT_ALLOC_HUGE);
	*count = 0;
	for (uint64 i = 0; i < rows; i++)
		*count = add_pool_row(pools, *count, SPI_tuptable->vals[i], &reading, &members[i]);
	owner_end(&scope);
	if (unlikely(catalog->policed))
		*count = visible_pools(catalog, pools, *count);
	return pools;
}

/* store_find_pool returns the pool of an id among those that store_pools has returned, or NULL. */
const PoolRow *
store_find_pool(const PoolRow *pools, int count, const pg_uuid_t *id)
{
	PoolRow		key = {.id = *id};

	return bsearch(&key, pools, count, sizeof(PoolRow), uuid_compare);
}

/* store_refuse_gateway raises P0002 for a gateway that is not there, or hidden from the caller. */
void
store_refuse_gateway(const PoolCatalog *catalog, const pg_uuid_t *id)
{
	ereport(ERROR,
			(errcode(ERRCODE_NO_DATA_FOUND),
			 errmsg("gateway %s does not exist", uuid_text(id)),
			 catalog_error_constraint(catalog->gateways, "gateway_pools_not_found")));
}

/*
 * store_gateways reads gateways, ordered by name and without their capabilities,
 * and judges each as of now.  Returns an array of *count in the
 * current memory context.
 */
GatewayRow *
store_gateways(const PoolCatalog *catalog, StoreFilter filter, int *count)
{
	MemoryContext context = CurrentMemoryContext;
	Reading		reading = begin_reading(catalog);
	OwnerScope	scope;
	uint64		rows;
	GatewayRow *gateways;

	Assert(!filter.capabilities);
	owner_begin(&scope, catalog->gateways);
	rows = run_filtered(prepare_filtered(gateways_sql(catalog, reading.columns, filter), filter), filter);

	MemoryContextSwitchTo(context);
	gateways = palloc_extended(Max(rows, 1) * sizeof(GatewayRow), MCXT_ALLOC_HUGE);
	*count = rows;
	for (uint64 i = 0; i < rows; i++)
		gateways[i] = gateway_of(SPI_tuptable->vals[i], &reading, NULL);
	owner_end(&scope);
	return gateways;
}

/* gateway_is_eligible tells whether a pick may fall on the gateway at all. */
bool
gateway_is_eligible(const GatewayRow *gateway)
{
	return selection_eligible(gateway->health.status, gateway->state);
}

/*
 * gateway_display tells what is known of a gateway, for people: by its slot, as
 * it is judged; by its row where that is what it is judged by.
 */
void
gateway_display(const GatewayRow *gateway, HealthDisplay *display)
{
	const Heartbeat *heartbeat = &gateway->heartbeat;
	TimestampTz now = GetCurrentTimestamp();

	if (gateway->slot.number != NO_SLOT)
		health_evidence_display(gateway->slot, clock_monotonic(), display);
	else
		memset(display, 0, sizeof(HealthDisplay));

	if (gateway->slot.number == NO_SLOT || gateway->own)
	{
		display->heard = heartbeat->heard;
		display->heard_at = Min(heartbeat->heard_at, now);
		display->expires = heartbeat->heard && !heartbeat->failed;
		display->expires_at = heartbeat_expires_at(heartbeat, now);
	}
}

/* Frees the slots of gateways and databases that are gone without our being told. */
static void
sweep_slots(const PoolCatalog *catalog)
{
	int			slot_count;
	HealthSlotEntry *slots = health_map_list(&slot_count);
	HASHCTL		control = {
		.keysize = sizeof(pg_uuid_t),
		.entrysize = sizeof(pg_uuid_t),
		.hcxt = CurrentMemoryContext
	};
	HTAB	   *ids = hash_create("gateways", 1024, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	OwnerScope	scope;
	uint64		rows;

	/*
	 * Listed before the rows are read: a slot made later has a row not read
	 * yet.
	 */
	owner_begin(&scope, catalog->gateways);
	rows = owner_query(psprintf("SELECT g.id::uuid FROM %s g WHERE g.id IS NOT NULL", catalog_name(catalog->gateways)), NULL);
	for (uint64 i = 0; i < rows; i++)
	{
		pg_uuid_t	id = owner_uuid(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1);

		(void) hash_search(ids, &id, HASH_ENTER, NULL);
	}
	owner_end(&scope);

	for (int i = 0; i < slot_count; i++)
		if (slots[i].database == MyDatabaseId ?
			slots[i].table != catalog->gateways ||
			hash_search(ids, &slots[i].gateway, HASH_FIND, NULL) == NULL :
			!SearchSysCacheExists1(DATABASEOID, ObjectIdGetDatum(slots[i].database)))
			health_map_free(slots[i].ref);
	hash_destroy(ids);
	pfree(slots);
}

/*
 * store_make_slot returns the slot of a gateway that was read, made now if there
 * was none.  Where none is free, it first looks for slots of gateways that are
 * gone, now and then.  NO_SLOT if none is free after that, or if the row may be
 * gone: see "creation".
 */
HealthSlotRef
store_make_slot(const PoolCatalog *catalog, const GatewayRow *gateway, SlotCreation *creation)
{
	bool		recorded_unhealthy = gateway->recorded.known && gateway->recorded.status == GATEWAY_UNHEALTHY;
	HealthSlotRef ref = health_map_create(catalog->gateways, &gateway->id, gateway->deletions, recorded_unhealthy, creation);

	if (*creation == SLOT_MAP_FULL && health_map_begin_sweep(clock_monotonic()))
	{
		sweep_slots(catalog);
		ref = health_map_create(catalog->gateways, &gateway->id, gateway->deletions, recorded_unhealthy, creation);
	}
	if (*creation == SLOT_CREATED)
		health_evidence_seed(ref, &gateway->recorded, &gateway->heartbeat);
	return ref;
}
