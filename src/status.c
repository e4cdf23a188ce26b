/*
 * status.c
 *		The set-returning functions behind the views.
 *
 * Each needs SELECT on gateway_pools, which is what listing asks for, and reads
 * the rest as the owners of the tables.  A view calls its function without
 * arguments; with them it reads one organization's rows, or one pool's.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/relation.h"
#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "access.h"
#include "catalog.h"
#include "clock.h"
#include "compat.h"
#include "consumers.h"
#include "gateway_store.h"
#include "isolation.h"
#include "owner.h"
#include "reservation.h"

PG_FUNCTION_INFO_V1(gateway_pool_gateway_status);
PG_FUNCTION_INFO_V1(gateway_pool_probe_status);
PG_FUNCTION_INFO_V1(gateway_pool_members);
PG_FUNCTION_INFO_V1(gateway_pool_status);
PG_FUNCTION_INFO_V1(gateway_pool_resources);

/* The most columns that a function of this file returns. */
#define MAX_COLUMNS 20

/* A row on its way into the result. */
typedef struct OutputRow
{
	Datum		values[MAX_COLUMNS];
	bool		nulls[MAX_COLUMNS];
	int			count;
} OutputRow;

static void
put(OutputRow *row, Datum value)
{
	Assert(row->count < MAX_COLUMNS);
	row->nulls[row->count] = false;
	row->values[row->count++] = value;
}

static void
put_null(OutputRow *row)
{
	Assert(row->count < MAX_COLUMNS);
	row->nulls[row->count++] = true;
}

static void
put_text(OutputRow *row, const char *value)
{
	put(row, CStringGetTextDatum(value));
}

static void
put_if(OutputRow *row, bool known, Datum value)
{
	if (known)
		put(row, value);
	else
		put_null(row);
}

static void
emit(FunctionCallInfo fcinfo, OutputRow *row)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;

	Assert(row->count == result->setDesc->natts);
	tuplestore_putvalues(result->setResult, result->setDesc, row->values, row->nulls);
}

/* Opens the catalog and reads the arguments (org_id, id); of what is hidden from the caller nothing is listed. */
static StoreFilter
begin_listing(FunctionCallInfo fcinfo, PoolCatalog *catalog)
{
	StoreFilter filter = {0};

	catalog_open(catalog, fcinfo->flinfo->fn_oid);
	access_require(catalog, RIGHT_LIST);
	if (!PG_ARGISNULL(0))
		filter.org_id = PG_GETARG_UUID_P(0);
	if (!PG_ARGISNULL(1))
		filter.id = PG_GETARG_UUID_P(1);
	filter.orgs = isolation_orgs(catalog);
	return filter;
}

/* The columns that gateway_status and gateway_pool_members have in common. */
static void
put_gateway(OutputRow *row, const GatewayRow *gateway)
{
	HealthDisplay display;
	GatewayLoad load = {0};

	gateway_display(gateway, &display);
	if (gateway->slot.number != NO_SLOT)
		load = reservation_load(gateway->slot, clock_monotonic());
	put(row, UUIDPGetDatum(&gateway->id));
	put(row, UUIDPGetDatum(&gateway->org_id));
	put_text(row, gateway->name);
	put_text(row, gateway_status_name(gateway->health.status));
	put_text(row, gateway_state_name(gateway->state));
	put_text(row, gateway->health.reason);
	put_if(row, display.heard, TimestampTzGetDatum(display.heard_at));
	put_if(row, display.expires, TimestampTzGetDatum(display.expires_at));
	put_if(row, display.suspect, TimestampTzGetDatum(display.suspect_until));
	put_if(row, display.probed, TimestampTzGetDatum(display.probed_at));
	put_if(row, display.probed, Float4GetDatum(display.probe_milliseconds));
	put_if(row, load.reported, Int32GetDatum(load.connections));
	put_if(row, gateway->slot.number != NO_SLOT, Int32GetDatum(load.reservations));
	put_if(row, gateway->recorded.known, TimestampTzGetDatum(gateway->recorded.changed_at));
}

/* gateway_status(org_id uuid, gateway_id uuid): one row a gateway, see the view. */
Datum
gateway_pool_gateway_status(PG_FUNCTION_ARGS)
{
	PoolCatalog catalog;
	StoreFilter filter = begin_listing(fcinfo, &catalog);
	int			count;
	GatewayRow *gateways = store_gateways(&catalog, filter, &count);

	init_materialized_result(fcinfo);
	for (int i = 0; i < count; i++)
	{
		OutputRow	row = {0};

		put_gateway(&row, &gateways[i]);
		emit(fcinfo, &row);
	}
	return (Datum) 0;
}

static void
put_probe(OutputRow *row, const GatewayRow *gateway, const ProbeDisplay *probe)
{
	put(row, UUIDPGetDatum(&gateway->id));
	put(row, UUIDPGetDatum(&gateway->org_id));
	put_text(row, gateway->name);
	put_text(row, probe_verdict_name(probe->verdict));
	put_if(row, probe->reason[0] != '\0', CStringGetTextDatum(probe->reason));
	put_if(row, probe->probed, TimestampTzGetDatum(probe->started_at + clock_wall_offset()));
	put_if(row, probe->probed, Float4GetDatum(probe->milliseconds));
	put(row, Int32GetDatum(probe->failures));
	put(row, Int32GetDatum(probe->successes));
	put(row, Int32GetDatum(probe->falls));
	put_text(row, probe_protocol_name(probe->protocol));
	if (probe->protocol == PROBE_TLS || probe->protocol == PROBE_HTTPS)
		put(row, BoolGetDatum(probe->verify_tls));
	else
		put_null(row);
	put_if(row, probe->certificate_known, TimestampTzGetDatum(probe->certificate_expires_at));
}

/* gateway_probe_status(org_id uuid, gateway_id uuid): one row a gateway that is probed, see the view. */
Datum
gateway_pool_probe_status(PG_FUNCTION_ARGS)
{
	PoolCatalog catalog;
	StoreFilter filter = begin_listing(fcinfo, &catalog);
	int			count;
	GatewayRow *gateways = store_gateways(&catalog, filter, &count);

	init_materialized_result(fcinfo);
	for (int i = 0; i < count; i++)
	{
		ProbeDisplay probe;
		OutputRow	row = {0};

		if (gateways[i].slot.number == NO_SLOT || !health_evidence_last_probe(gateways[i].slot, &probe))
			continue;
		put_probe(&row, &gateways[i], &probe);
		emit(fcinfo, &row);
	}
	return (Datum) 0;
}

/* gateway_pool_members(org_id uuid, pool_id uuid): one row a member, see the view. */
Datum
gateway_pool_members(PG_FUNCTION_ARGS)
{
	PoolCatalog catalog;
	StoreFilter filter = begin_listing(fcinfo, &catalog);
	int			count;
	PoolRow    *pools = store_pools(&catalog, filter, &count);

	init_materialized_result(fcinfo);
	for (int i = 0; i < count; i++)
		for (int j = 0; j < pools[i].member_count; j++)
		{
			const MemberRow *member = &pools[i].members[j];
			OutputRow	row = {0};

			put(&row, UUIDPGetDatum(&pools[i].id));
			put(&row, Int32GetDatum(member->weight));
			put(&row, Int16GetDatum(member->priority));
			put_gateway(&row, &member->gateway);
			emit(fcinfo, &row);
		}
	return (Datum) 0;
}

static int
compare_pool_ids(const void *a, const void *b)
{
	return memcmp(&((const PoolRow *) a)->id, &((const PoolRow *) b)->id, sizeof(pg_uuid_t));
}

/*
 * Counts the rows that reference each of the pools, which are ordered by id:
 * one query a consumer, however many pools there are.
 */
static int64 *
count_resources(const PoolCatalog *catalog, const PoolRow *pools, int pool_count)
{
	int64	   *counts = palloc0(sizeof(int64) * Max(pool_count, 1));
	Datum	   *ids = palloc(sizeof(Datum) * Max(pool_count, 1));
	Oid			type = UUIDARRAYOID;
	Datum		id_array;
	ListCell   *cell;

	for (int i = 0; i < pool_count; i++)
		ids[i] = UUIDPGetDatum(&pools[i].id);
	id_array = PointerGetDatum(construct_array(ids, pool_count, UUIDOID, UUID_LEN, false, TYPALIGN_CHAR));

	foreach(cell, consumers_list(catalog))
	{
		const PoolConsumer *consumer = lfirst(cell);
		const char *column = quote_identifier(consumer->column_name);
		OwnerScope	scope;
		uint64		rows;

		owner_begin(&scope, consumer->relation);
		rows = owner_execute(owner_prepare(psprintf("SELECT %s::uuid, count(*) FROM %s WHERE %s = ANY ($1) GROUP BY 1",
													column, catalog_name(consumer->relation), column),
										   1, &type), &id_array);
		for (uint64 i = 0; i < rows; i++)
		{
			HeapTuple	row = SPI_tuptable->vals[i];
			bool		is_null;
			PoolRow		key;
			const PoolRow *pool;

			key.id = *DatumGetUUIDP(SPI_getbinval(row, SPI_tuptable->tupdesc, 1, &is_null));
			pool = bsearch(&key, pools, pool_count, sizeof(PoolRow), compare_pool_ids);
			if (pool != NULL)
				counts[pool - pools] +=
					DatumGetInt64(SPI_getbinval(row, SPI_tuptable->tupdesc, 2, &is_null));
		}
		owner_end(&scope);
	}
	return counts;
}

/* gateway_pool_status(org_id uuid, pool_id uuid): one row a pool, see the view. */
Datum
gateway_pool_status(PG_FUNCTION_ARGS)
{
	PoolCatalog catalog;
	StoreFilter filter = begin_listing(fcinfo, &catalog);
	int			count;
	PoolRow    *pools = store_pools(&catalog, filter, &count);
	int64	   *resources = count_resources(&catalog, pools, count);

	init_materialized_result(fcinfo);
	for (int i = 0; i < count; i++)
	{
		const PoolRow *pool = &pools[i];
		Datum	   *ids = palloc(sizeof(Datum) * Max(pool->member_count, 1));
		int			eligible = 0;
		OutputRow	row = {0};

		for (int j = 0; j < pool->member_count; j++)
		{
			ids[j] = UUIDPGetDatum(&pool->members[j].gateway.id);
			eligible += gateway_is_eligible(&pool->members[j].gateway);
		}

		put(&row, UUIDPGetDatum(&pool->id));
		put(&row, UUIDPGetDatum(&pool->org_id));
		put_text(&row, pool->name);
		put(&row, Int32GetDatum(pool->member_count));
		put(&row, Int32GetDatum(eligible));
		put(&row, PointerGetDatum(construct_array(ids, pool->member_count, UUIDOID, UUID_LEN,
												  false, TYPALIGN_CHAR)));
		put(&row, Int64GetDatum(resources[i]));
		put_text(&row, pool->member_count == 0 ? "empty" : eligible == 0 ? "red" :
				 eligible == pool->member_count ? "green" : "yellow");
		put_text(&row, pool->member_count == 0 ? "No members" :
				 psprintf("%d/%d healthy", eligible, pool->member_count));
		put(&row, TimestampTzGetDatum(pool->created_at));
		put(&row, TimestampTzGetDatum(pool->updated_at));
		emit(fcinfo, &row);
	}
	return (Datum) 0;
}

/*
 * identity_kubernetes_auths is kubernetesAuths, as in the API; app_connections
 * is appConnections.  What would make two keys equal is part of them: another
 * schema than ours, another column than the usual one.
 */
static char *
resource_key(const PoolCatalog *catalog, const PoolConsumer *consumer)
{
	const char *name = consumer->table_name;
	StringInfoData key;

	if (strcmp(name, "identity_kubernetes_auths") == 0)
		name += strlen("identity_");

	initStringInfo(&key);
	if (get_rel_namespace(consumer->relation) != catalog->schema)
		appendStringInfo(&key, "%s.", consumer->schema_name);
	for (const char *c = name; *c != '\0'; c++)
	{
		if (*c == '_' && c[1] != '\0')
			appendStringInfoChar(&key, pg_ascii_toupper((unsigned char) *++c));
		else
			appendStringInfoChar(&key, *c);
	}
	if (strcmp(consumer->column_name, "gatewayPoolId") != 0)
		appendStringInfo(&key, ".%s", consumer->column_name);
	return key.data;
}

/*
 * The rows of one consumer that reference pool $1, as a JSON array.  Of their
 * columns it shows those by which an administrator finds the row again.
 */
static char *
resources_sql(const PoolConsumer *consumer)
{
	static const char *const shown[] = {
		"id", "identityId", "name", "app", "type", "projectId", "folderId"
	};
	Relation	relation = relation_open(consumer->relation, AccessShareLock);
	AttrNumber	identity = get_attnum(consumer->relation, "identityId");
	Oid			identities = identity == InvalidAttrNumber ? InvalidOid :
		catalog_referenced_table(relation, identity);
	const char *separator = "";
	StringInfoData sql;

	relation_close(relation, NoLock);

	initStringInfo(&sql);
	appendStringInfoString(&sql, "SELECT coalesce(jsonb_agg(o.object ORDER BY o.object), '[]')::text"
						   " FROM (SELECT jsonb_build_object(");
	for (int i = 0; i < lengthof(shown); i++)
		if (get_attnum(consumer->relation, shown[i]) != InvalidAttrNumber)
		{
			appendStringInfo(&sql, "%s'%s', c.\"%s\"", separator, shown[i], shown[i]);
			separator = ", ";
		}
	if (OidIsValid(identities) && get_attnum(identities, "name") != InvalidAttrNumber)
		appendStringInfo(&sql, "%s'identityName', (SELECT i.name FROM %s i WHERE i.id = c.\"identityId\")",
						 separator, catalog_name(identities));
	appendStringInfo(&sql, ") AS object FROM %s c WHERE c.%s = $1) o", catalog_name(consumer->relation),
					 quote_identifier(consumer->column_name));
	return sql.data;
}

/*
 * gateway_pool_resources(pool_id uuid) returns jsonb
 *
 * What is reached through a pool: an object with a key for each consumer and
 * an array of rows in it.  Needs SELECT on gateway_pools.
 */
Datum
gateway_pool_resources(PG_FUNCTION_ARGS)
{
	PoolCatalog catalog;
	StringInfoData json;
	const char *separator = "";
	bool		hidden;
	ListCell   *cell;

	catalog_open(&catalog, fcinfo->flinfo->fn_oid);
	access_require(&catalog, RIGHT_LIST);
	hidden = isolation_hides_pool(&catalog, PG_GETARG_UUID_P(0));

	initStringInfo(&json);
	appendStringInfoChar(&json, '{');
	foreach(cell, consumers_list(&catalog))
	{
		const PoolConsumer *consumer = lfirst(cell);
		OwnerScope	scope;

		appendStringInfoString(&json, separator);
		escape_json(&json, resource_key(&catalog, consumer));
		appendStringInfoChar(&json, ':');
		separator = ",";
		if (hidden)
		{
			appendStringInfoString(&json, "[]");
			continue;
		}

		owner_begin(&scope, consumer->relation);
		(void) owner_query(resources_sql(consumer), PG_GETARG_UUID_P(0));
		appendStringInfoString(&json, SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1));
		owner_end(&scope);
	}
	appendStringInfoChar(&json, '}');
	PG_RETURN_DATUM(DirectFunctionCall1(jsonb_in, CStringGetDatum(json.data)));
}
