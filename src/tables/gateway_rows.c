/*
 * gateway_rows.c
 *		Gateways, read from the tables and judged.
 *
 * Reading a gateway publishes what its row says in shared memory, so that the
 * reader, and all later picks, judge by the same evidence.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/relation.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "base/clock.h"
#include "base/settings.h"
#include "base/uuid.h"
#include "tables/capabilities.h"
#include "tables/gateway_rows_internal.h"
#include "tables/org_column.h"
#include "tables/owner.h"
#include "tables/probe_target.h"

/* gateway_rows_begin returns what has to be read before the query, so that its rows can be published. */
Reading
gateway_rows_begin(const PoolCatalog *catalog)
{
	Relation	gateways = catalog_open_table(catalog->gateways, AccessShareLock);
	Reading		reading = {
		.table = catalog->gateways,
		.columns = host_columns_find(RelationGetDescr(gateways)),
		.sequence = health_evidence_sequence(),
		.deletions = health_map_deletion_count(),
		.own = CheckRelationLockedByMe(gateways, AccessExclusiveLock, true),
		.committed = !TransactionIdIsValid(GetTopTransactionIdIfAny()),
		.now = clock_monotonic(),
		.wall_now = GetCurrentTimestamp()
	};

	/*
	 * The lock is kept, so that the columns are the same when the text is
	 * parsed.
	 */
	relation_close(gateways, NoLock);
	if (RecoveryInProgress())
		health_evidence_note_standby();
	return reading;
}

/* gateway_rows_name returns the SQL text of the name of a gateway "g": its id if the host has no names. */
const char *
gateway_rows_name(const PoolCatalog *catalog)
{
	return get_attnum(catalog->gateways, "name") == InvalidAttrNumber ? "g.id::text" : "g.name::text";
}

/*
 * gateway_rows_append_columns adds SELECT and the columns of a gateway "g", its state
 * "s", its recorded health "h" and its row "probe" of gateway_probes.  Queries leave
 * out rows without an id or an organization, since the owner of the tables decides what
 * may be null.
 */
void
gateway_rows_append_columns(StringInfo sql, const PoolCatalog *catalog, HostColumns columns, RowFilter filter)
{
	appendStringInfo(sql,
					 "SELECT g.id::uuid, g.%s::uuid, coalesce(%s, ''), s.state::text, s.until::timestamptz"
					 ", g.xmin, h.status::text, h.\"changedAt\"::timestamptz"
					 ", h.\"lastHeartbeatAt\"::timestamptz, h.\"heartbeatExpiresAt\"::timestamptz"
					 ", h.\"probeVerdict\"::text, h.\"probeTarget\"::text, h.\"lastProbeAt\"::timestamptz, h.falls::int4"
					 ", h.\"lastFallAt\"::timestamptz, ",
					 org_column_name(catalog, catalog->gateways), gateway_rows_name(catalog));
	probe_target_append(sql, columns);
	appendStringInfoString(sql,
						   ", coalesce(probe.required::boolean, false), probe.\"intervalMs\"::int4, probe.\"timeoutMs\"::int4");
	host_columns_append(sql, columns, filter.capabilities);
}

/*
 * gateway_rows_append_filter adds WHERE and the conditions of a filter on "table", whose column of
 * the organization is "org", with their arguments from $1 on.
 */
void
gateway_rows_append_filter(StringInfo sql, const char *table, const char *org, RowFilter filter)
{
	int			argument = 0;

	appendStringInfo(sql, " WHERE %s.id IS NOT NULL AND %s.%s IS NOT NULL", table, table, org);
	if (filter.org_id)
		appendStringInfo(sql, " AND %s.%s = $%d", table, org, ++argument);
	if (filter.id)
		appendStringInfo(sql, " AND %s.id = $%d", table, ++argument);
	if (filter.orgs)
		appendStringInfo(sql, " AND %s.%s = ANY ($%d)", table, org, ++argument);
	if (filter.ids)
		appendStringInfo(sql, " AND %s.id = ANY ($%d)", table, ++argument);
}

/* gateway_rows_execute runs a query with the arguments of its filter; returns the number of rows. */
uint64
gateway_rows_execute(SPIPlanPtr plan, RowFilter filter)
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
	return filter.before ? owner_execute_before(plan, values) : owner_execute(plan, values);
}

/* gateway_rows_prepare plans a query that gateway_rows_append_filter has ended. */
SPIPlanPtr
gateway_rows_prepare(const char *sql, RowFilter filter)
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

static char *
gateways_sql(const PoolCatalog *catalog, HostColumns columns, RowFilter filter)
{
	StringInfoData sql;

	initStringInfo(&sql);
	gateway_rows_append_columns(&sql, catalog, columns, filter);
	appendStringInfo(&sql, " FROM %s g LEFT JOIN %s s ON s.\"gatewayId\" = g.id"
					 " LEFT JOIN %s h ON h.\"gatewayId\" = g.id LEFT JOIN %s probe ON probe.\"gatewayId\" = g.id",
					 catalog_name(catalog->gateways), catalog_name(catalog->states),
					 catalog_name(catalog->health), catalog_name(catalog->probes));
	gateway_rows_append_filter(&sql, "g", org_column_name(catalog, catalog->gateways), filter);
	appendStringInfo(&sql, " ORDER BY %s, g.id", gateway_rows_name(catalog));
	return sql.data;
}

/* gateway_rows_column returns a column of a row of the result, zero for null. */
Datum
gateway_rows_column(HeapTuple row, int column, bool *is_null)
{
	bool		ignored;

	return SPI_getbinval(row, SPI_tuptable->tupdesc, column, is_null ? is_null : &ignored);
}

/* Sets the state as of now, and when it ends. */
static void
read_state(HeapTuple row, TimestampTz now, GatewayRow *gateway)
{
	GatewayState set = GATEWAY_ACTIVE;
	bool		is_null;
	Datum		value = gateway_rows_column(row, GATEWAY_STATE, &is_null);
	char	   *word = is_null ? "active" : TextDatumGetCString(value);

	if (strcmp(word, "draining") == 0)
		set = GATEWAY_DRAINING;
	else if (strcmp(word, "maintenance") == 0)
		set = GATEWAY_MAINTENANCE;
	value = gateway_rows_column(row, GATEWAY_STATE_UNTIL, &is_null);
	gateway->state_until = is_null ? NO_STATE_END : DatumGetTimestampTz(value);
	gateway->state = gateway_state_at(set, gateway->state_until, now);
	if (gateway->state == GATEWAY_ACTIVE)
		gateway->state_until = NO_STATE_END;
}

/*
 * Judges a gateway by its slot, as picks do.  Without a slot, it is judged by its row;
 * so is the heartbeat in a row that this transaction wrote, or of before the statement:
 * neither may be published, and the slot may be so new that it has none yet.
 */
static void
judge(GatewayRow *gateway, const Reading *reading)
{
	HealthEvidence evidence;

	if (gateway->slot.number != NO_SLOT)
	{
		SlotReading read;

		if (gateway->own || reading->before)
			read = health_evidence_read_own(gateway->slot, reading->now, &gateway->heartbeat, &evidence);
		else
		{
			health_evidence_publish_row(gateway->slot, &gateway->heartbeat, reading->sequence);
			recorded_health_take(gateway->slot, &gateway->recorded, &gateway->probe, &gateway->heartbeat,
								 reading->sequence, reading->committed);
			read = health_evidence_read(gateway->slot, reading->now, &evidence);
		}
		if (read == SLOT_GONE)
			gateway->slot.number = NO_SLOT;
	}
	if (gateway->slot.number == NO_SLOT)
		health_evidence_without_slot(&gateway->heartbeat, &gateway->recorded, &gateway->probe, gateway->own,
									 reading->now, reading->wall_now, &evidence);
	gateway->health = health_rule(&evidence);

	/* A healthy one needs no reason, and picks read many of them. */
	if (gateway->slot.number != NO_SLOT && gateway->health.status != GATEWAY_HEALTHY)
	{
		char	   *reason = palloc(HEALTH_EXPLANATION_SIZE);

		health_evidence_explain(gateway->slot, &evidence, &gateway->health, reason);
		gateway->health.reason = reason;
	}
}

/* Returns the hash of a target, 0 for null. */
static uint64
target_of(HeapTuple row, int column)
{
	char		target[PROBE_TARGET_SIZE];
	bool		is_null;
	Datum		value = gateway_rows_column(row, column, &is_null);

	if (is_null)
		return 0;
	probe_target_shorten(TextDatumGetCString(value), target);
	return probe_target_hash(target);
}

static RecordedHealth
recorded_of(HeapTuple row)
{
	bool		no_row;
	bool		unheard;
	bool		no_expiry;
	bool		no_verdict;
	Datum		verdict;
	Datum		status = gateway_rows_column(row, GATEWAY_RECORDED_STATUS, &no_row);
	Datum		heard_at = gateway_rows_column(row, GATEWAY_RECORDED_HEARD_AT, &unheard);
	Datum		expires_at = gateway_rows_column(row, GATEWAY_RECORDED_EXPIRES_AT, &no_expiry);
	RecordedHealth recorded = {0};

	if (no_row)
		return recorded;
	recorded.known = true;
	recorded.status = gateway_status_parse(TextDatumGetCString(status));
	recorded.changed_at = DatumGetTimestampTz(gateway_rows_column(row, GATEWAY_RECORDED_CHANGED_AT, NULL));
	recorded.heard = !unheard && !no_expiry;
	if (recorded.heard)
	{
		recorded.heard_at = DatumGetTimestampTz(heard_at);
		recorded.heartbeat_expires_at = DatumGetTimestampTz(expires_at);
	}
	recorded.target = target_of(row, GATEWAY_RECORDED_TARGET);
	verdict = gateway_rows_column(row, GATEWAY_RECORDED_VERDICT, &no_verdict);
	if (!no_verdict)
		recorded.verdict = probe_verdict_parse(TextDatumGetCString(verdict));
	recorded.probed_at = DatumGetTimestampTz(gateway_rows_column(row, GATEWAY_RECORDED_PROBED_AT, NULL));
	recorded.falls = DatumGetInt32(gateway_rows_column(row, GATEWAY_RECORDED_FALLS, NULL));
	recorded.last_fall_at = DatumGetTimestampTz(gateway_rows_column(row, GATEWAY_RECORDED_LAST_FALL_AT, NULL));
	return recorded;
}

/* A number of milliseconds in microseconds; that of a setting if it is null. */
static int64
microseconds_of(HeapTuple row, int column, int otherwise)
{
	bool		is_null;
	Datum		value = gateway_rows_column(row, column, &is_null);

	return (is_null ? otherwise : Max(DatumGetInt32(value), 0)) * INT64CONST(1000);
}

static ConfiguredProbe
probe_of(HeapTuple row)
{
	ConfiguredProbe probe = {.target = target_of(row, GATEWAY_TARGET)};

	if (probe.target == 0)
		return probe;
	probe.required = DatumGetBool(gateway_rows_column(row, GATEWAY_PROBE_REQUIRED, NULL));
	probe.interval = microseconds_of(row, GATEWAY_PROBE_INTERVAL, setting_probe_interval);
	probe.timeout = Min(microseconds_of(row, GATEWAY_PROBE_TIMEOUT, setting_probe_timeout), probe.interval);
	return probe;
}

/*
 * gateway_rows_take returns a gateway of a row of the result, judged.  Adds the size
 * of its capabilities to "added" if no gateway read before has the same.
 */
GatewayRow
gateway_rows_take(HeapTuple row, const Reading *reading, Size *added)
{
	GatewayRow	gateway = {0};
	Datum		values[HOST_COLUMN_COUNT];
	bool		nulls[HOST_COLUMN_COUNT];
	HostHeartbeat host;

	gateway.id = owner_uuid(row, SPI_tuptable->tupdesc, GATEWAY_ID);
	gateway.org_id = owner_uuid(row, SPI_tuptable->tupdesc, GATEWAY_ORG_ID);
	gateway.name = TextDatumGetCString(gateway_rows_column(row, GATEWAY_NAME, NULL));
	read_state(row, reading->wall_now, &gateway);
	gateway.own = reading->own ||
		TransactionIdIsCurrentTransactionId(DatumGetTransactionId(gateway_rows_column(row, GATEWAY_XMIN, NULL)));
	gateway.recorded = recorded_of(row);
	gateway.probe = probe_of(row);

	for (int i = 0; i < HOST_COLUMN_COUNT; i++)
		values[i] = gateway_rows_column(row, GATEWAY_HOST_COLUMNS + i, &nulls[i]);
	if (!nulls[HOST_CAPABILITIES])
	{
		gateway.capabilities = capabilities_read(reading->capabilities, values[HOST_CAPABILITIES],
												 SPI_gettypeid(SPI_tuptable->tupdesc, GATEWAY_HOST_COLUMNS + HOST_CAPABILITIES),
												 added);
		gateway.capabilities_invalid = gateway.capabilities == NULL;
	}
	host = host_columns_read(reading->columns, values, nulls);
	gateway.heartbeat = gateway_rows_heartbeat(&host);
	gateway.ttl_known = !nulls[HOST_HEARTBEAT_TTL];
	gateway.ttl = gateway.ttl_known ? DatumGetInt64(values[HOST_HEARTBEAT_TTL]) : 0;

	gateway.slot = health_map_find(reading->table, &gateway.id);
	gateway.deletions = reading->deletions;
	judge(&gateway, reading);
	return gateway;
}

/* gateway_rows_heartbeat applies the settings to the heartbeat in the host's row. */
Heartbeat
gateway_rows_heartbeat(const HostHeartbeat *host)
{
	return heartbeat_of_host(host, setting_heartbeat_timeout * USECS_PER_SEC,
							 setting_heartbeat_grace * USECS_PER_SEC);
}

/*
 * gateway_rows_read reads gateways, without their capabilities, and judges each as of
 * now.  Returns an array of *count, ordered by name, in the current memory context.
 */
GatewayRow *
gateway_rows_read(const PoolCatalog *catalog, RowFilter filter, int *count)
{
	MemoryContext context = CurrentMemoryContext;
	Reading		reading = gateway_rows_begin(catalog);
	OwnerScope	scope;
	uint64		rows;
	GatewayRow *gateways;

	Assert(!filter.capabilities);
	reading.before = filter.before;
	owner_begin(&scope, catalog->gateways);
	rows = gateway_rows_execute(gateway_rows_prepare(gateways_sql(catalog, reading.columns, filter), filter), filter);

	MemoryContextSwitchTo(context);
	gateways = palloc_extended(Max(rows, 1) * sizeof(GatewayRow), MCXT_ALLOC_HUGE);
	*count = rows;
	for (uint64 i = 0; i < rows; i++)
		gateways[i] = gateway_rows_take(SPI_tuptable->vals[i], &reading, NULL);
	owner_end(&scope);
	return gateways;
}

/* gateway_rows_refuse_missing raises P0002: the gateway does not exist or is hidden from the caller. */
void
gateway_rows_refuse_missing(const PoolCatalog *catalog, const pg_uuid_t *id)
{
	ereport(ERROR,
			(errcode(ERRCODE_NO_DATA_FOUND),
			 errmsg("gateway %s does not exist", uuid_text(id)),
			 catalog_error_constraint(catalog->gateways, "gateway_pools_not_found")));
}

/* gateway_rows_is_eligible returns true if a pick may return the gateway. */
bool
gateway_rows_is_eligible(const GatewayRow *gateway)
{
	return selection_eligible(gateway->health.status, gateway->state);
}

/*
 * gateway_rows_display returns what views show of a gateway's health: from its slot or
 * its row, as it was judged.
 */
void
gateway_rows_display(const GatewayRow *gateway, HealthDisplay *display)
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
