/*
 * host_columns.c
 *		The columns of the host's gateways table.
 *
 * The host's migrations change them.  A row is read with the columns that the table
 * has at the moment; a column that it lacks is null.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "tables/host_columns.h"

/* Places in the list below. */
enum
{
	HEARTBEAT,
	HEARTBEAT_TTL,
	HEALTH_CHECK_STATUS,
	RELAY_ID,
	DIRECT_ADDRESS,
	DIRECT_HEARTBEAT,
	CAPABILITIES,
	WIDE_TTL					/* not a column: the type of the TTL has
								 * values out of range of bigint */
};

#define HAS(column)		(1 << (column))
#define HAS_DIRECT_PATH	(HAS(DIRECT_ADDRESS) | HAS(DIRECT_HEARTBEAT))

/* A row with these types can be read without a query. */
static const struct
{
	const char *name;
	Oid			type;			/* or InvalidOid: any, since only null matters */
}			host_columns[] =
{
	{"heartbeat", TIMESTAMPTZOID},
	{"heartbeatTTL", INT4OID},
	{"lastHealthCheckStatus", VARCHAROID},
	{"relayId", InvalidOid},
	{"directAddress", InvalidOid},
	{"directHeartbeat", TIMESTAMPTZOID},
	{"capabilities", JSONBOID}
};

/* The longest time-to-live, so that sums stay in range: 100 years. */
#define TTL_MAX_SECONDS INT64CONST(3155760000)

/* Fills in the numbers of the columns, InvalidAttrNumber for those that the table lacks. */
static HostColumns
find_columns(TupleDesc table, AttrNumber *numbers)
{
	HostColumns found = 0;

	memset(numbers, 0, sizeof(AttrNumber) * lengthof(host_columns));
	for (int i = 0; i < table->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(table, i);

		for (int j = 0; j < lengthof(host_columns) && !attribute->attisdropped; j++)
			if (strcmp(NameStr(attribute->attname), host_columns[j].name) == 0)
			{
				/* Text that is no JSON would fail picks of the whole pool. */
				if (j == CAPABILITIES && attribute->atttypid != JSONBOID && attribute->atttypid != JSONOID)
					continue;
				if (j == HEARTBEAT_TTL && (attribute->atttypid == NUMERICOID || attribute->atttypid == FLOAT4OID ||
										   attribute->atttypid == FLOAT8OID))
					found |= HAS(WIDE_TTL);
				found |= HAS(j);
				numbers[j] = i + 1;
			}
	}
	return found;
}

/* host_columns_find returns the columns that a table has. */
HostColumns
host_columns_find(TupleDesc table)
{
	AttrNumber	numbers[lengthof(host_columns)];

	return find_columns(table, numbers);
}

static bool
has_direct_path(HostColumns columns)
{
	return (columns & HAS_DIRECT_PATH) == HAS_DIRECT_PATH;
}

/*
 * host_columns_append adds ", " and the columns of a gateway "g" to a query, in the
 * order of HostColumn.  They are cast, as hosts have different types.  Capabilities,
 * which may be large, are not, and are read only with "with_capabilities".
 */
void
host_columns_append(StringInfo sql, HostColumns columns, bool with_capabilities)
{
	bool		has_direct = has_direct_path(columns);

	appendStringInfo(sql, ", %s::timestamptz",
					 columns & HAS(HEARTBEAT) ? "g.heartbeat" : "NULL");
	/* A TTL that is out of range would fail picks of the whole pool. */
	if (columns & HAS(WIDE_TTL))
		appendStringInfo(sql, ", CASE WHEN g.\"heartbeatTTL\" IS NOT NULL THEN"
						 " least(greatest(g.\"heartbeatTTL\", 0), " INT64_FORMAT ") END::int8", TTL_MAX_SECONDS);
	else
		appendStringInfo(sql, ", %s::int8",
						 columns & HAS(HEARTBEAT_TTL) ? "g.\"heartbeatTTL\"" : "NULL");
	appendStringInfo(sql, ", %s",
					 columns & HAS(HEALTH_CHECK_STATUS) ?
					 "coalesce(g.\"lastHealthCheckStatus\"::text = 'failed', false)" : "false");

	/* Only a host with two paths has columns that say which are in use. */
	appendStringInfo(sql, ", %s",
					 has_direct && (columns & HAS(RELAY_ID)) ? "g.\"relayId\" IS NOT NULL" : "true");
	appendStringInfo(sql, ", %s::timestamptz, %s",
					 has_direct ? "g.\"directHeartbeat\"" : "NULL",
					 has_direct ? "g.\"directAddress\" IS NOT NULL" : "false");
	appendStringInfo(sql, ", %s",
					 with_capabilities && (columns & HAS(CAPABILITIES)) ? "g.capabilities" : "NULL");
}

/* host_columns_direct_address returns the SQL text of the direct address of a gateway "g". */
const char *
host_columns_direct_address(HostColumns columns)
{
	return columns & HAS(DIRECT_ADDRESS) ? "g.\"directAddress\"::text" : "NULL";
}

static HeartbeatPath
read_path(Datum heard_at, bool is_null, bool configured)
{
	return (HeartbeatPath)
	{
		.configured = configured,
		.heard = !is_null && !TIMESTAMP_IS_NOBEGIN(DatumGetTimestampTz(heard_at)),
		.heard_at = is_null ? 0 : DatumGetTimestampTz(heard_at)
	};
}

/* host_columns_read returns the heartbeat in the columns that host_columns_append has added. */
HostHeartbeat
host_columns_read(HostColumns columns, const Datum *values, const bool *nulls)
{
	HostHeartbeat heartbeat = {0};

	heartbeat.failed = DatumGetBool(values[HOST_CHECK_FAILED]);
	heartbeat.has_ttl = (columns & HAS(HEARTBEAT_TTL)) != 0;
	heartbeat.ttl_known = !nulls[HOST_HEARTBEAT_TTL];
	if (heartbeat.ttl_known)
		heartbeat.ttl = Min(Max(DatumGetInt64(values[HOST_HEARTBEAT_TTL]), 0), TTL_MAX_SECONDS) * USECS_PER_SEC;
	heartbeat.relay = read_path(values[HOST_HEARTBEAT], nulls[HOST_HEARTBEAT],
								DatumGetBool(values[HOST_RELAY_CONFIGURED]));
	heartbeat.direct = read_path(values[HOST_DIRECT_HEARTBEAT], nulls[HOST_DIRECT_HEARTBEAT],
								 DatumGetBool(values[HOST_DIRECT_CONFIGURED]));
	return heartbeat;
}

/*
 * host_columns_read_tuple reads the heartbeat from a row of the table.  Returns false
 * if a column has an unusual type, or is virtual: then it takes a query.
 */
bool
host_columns_read_tuple(HeapTuple row, TupleDesc table, HostHeartbeat *heartbeat)
{
	AttrNumber	numbers[lengthof(host_columns)];
	HostColumns columns = find_columns(table, numbers);
	Datum		raw[lengthof(host_columns)] = {0};
	bool		absent[lengthof(host_columns)];
	bool		has_direct = has_direct_path(columns);
	Datum		values[HOST_COLUMN_COUNT] = {0};
	bool		nulls[HOST_COLUMN_COUNT] = {0};

	for (int i = 0; i < lengthof(host_columns); i++)
	{
		absent[i] = true;
		if (numbers[i] == InvalidAttrNumber || i == CAPABILITIES)
			continue;
		if ((OidIsValid(host_columns[i].type) &&
			 TupleDescAttr(table, numbers[i] - 1)->atttypid != host_columns[i].type) ||
			TupleDescAttr(table, numbers[i] - 1)->attgenerated == ATTRIBUTE_GENERATED_VIRTUAL)
			return false;
		raw[i] = heap_getattr(row, numbers[i], table, &absent[i]);
	}

	values[HOST_HEARTBEAT] = raw[HEARTBEAT];
	nulls[HOST_HEARTBEAT] = absent[HEARTBEAT];
	if (!absent[HEARTBEAT_TTL])
		values[HOST_HEARTBEAT_TTL] = Int64GetDatum(DatumGetInt32(raw[HEARTBEAT_TTL]));
	nulls[HOST_HEARTBEAT_TTL] = absent[HEARTBEAT_TTL];
	values[HOST_CHECK_FAILED] =
		BoolGetDatum(!absent[HEALTH_CHECK_STATUS] && strcmp(TextDatumGetCString(raw[HEALTH_CHECK_STATUS]), "failed") == 0);
	values[HOST_RELAY_CONFIGURED] =
		BoolGetDatum(!(has_direct && (columns & HAS(RELAY_ID))) || !absent[RELAY_ID]);
	values[HOST_DIRECT_HEARTBEAT] = raw[DIRECT_HEARTBEAT];
	nulls[HOST_DIRECT_HEARTBEAT] = !has_direct || absent[DIRECT_HEARTBEAT];
	values[HOST_DIRECT_CONFIGURED] = BoolGetDatum(has_direct && !absent[DIRECT_ADDRESS]);
	*heartbeat = host_columns_read(columns, values, nulls);
	return true;
}
