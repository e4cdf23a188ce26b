/*
 * audit_triggers.c
 *		Triggers that record who changed pools, members, states, probes, plans, tenants and
 *		consumers.
 *
 * They fire for each row, whatever statement changes it, and record only values
 * that differ from before.  Before TRUNCATE, each row is recorded as deleted.
 */
#include "postgres.h"

#include "access/detoast.h"
#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/json.h"
#include "utils/rel.h"

#include "base/trigger_call.h"
#include "base/uuid.h"
#include "tables/audit_log.h"
#include "tables/consumers.h"
#include "tables/owner.h"

PG_FUNCTION_INFO_V1(pools_audit);
PG_FUNCTION_INFO_V1(consumer_audit);

/* Longer values are not read as ids of rows, in bytes. */
#define ID_SIZE_MAX 8192

/* A row before and after a change; NULL for none. */
typedef struct RowChange
{
	TupleDesc	columns;
	HeapTuple	before;
	HeapTuple	after;
} RowChange;

static TriggerData *
audit_call(FunctionCallInfo fcinfo)
{
	if (CALLED_AS_TRIGGER(fcinfo) && TRIGGER_FIRED_BY_TRUNCATE(((TriggerData *) fcinfo->context)->tg_event))
		return trigger_call(fcinfo, TRIGGER_EVENT_BEFORE, ON_TRUNCATE);
	return trigger_call(fcinfo, TRIGGER_EVENT_AFTER, ON_INSERT | ON_UPDATE | ON_DELETE);
}

static RowChange
change_of(TriggerData *call)
{
	RowChange	change = {
		.columns = RelationGetDescr(call->tg_relation),
		.before = TRIGGER_FIRED_BY_INSERT(call->tg_event) ? NULL : call->tg_trigtuple,
		.after = TRIGGER_FIRED_BY_DELETE(call->tg_event) ? NULL : trigger_new_row(call)
	};

	return change;
}

/*
 * Returns a column as text, a boolean and a time as in JSON; NULL for null, for no such
 * column and for no row.
 */
static const char *
value_of(const RowChange *change, HeapTuple row, const char *column)
{
	int			number = SPI_fnumber(change->columns, column);
	Oid			type;
	bool		is_null;
	Datum		value;

	if (row == NULL || number <= 0)
		return NULL;
	type = SPI_gettypeid(change->columns, number);
	if (type != BOOLOID && type != TIMESTAMPTZOID)
		return SPI_getvalue(row, change->columns, number);
	value = heap_getattr(row, number, change->columns, &is_null);
	if (is_null)
		return NULL;
	return type == BOOLOID ? (DatumGetBool(value) ? "true" : "false") :
		JsonEncodeDateTime(palloc(MAXDATELEN + 1), value, TIMESTAMPTZOID, NULL);
}

/* Returns the SHA-256 hash of a column of type text in hexadecimal; NULL for null, for no such column and for no row. */
static char *
hash_of(const RowChange *change, HeapTuple row, const char *column)
{
	int			number = SPI_fnumber(change->columns, column);
	bool		is_null;
	Datum		value;
	bytea	   *hash;
	char	   *digits;

	if (row == NULL || number <= 0 || SPI_gettypeid(change->columns, number) != TEXTOID)
		return NULL;
	value = heap_getattr(row, number, change->columns, &is_null);
	if (is_null)
		return NULL;
	hash = DatumGetByteaPP(DirectFunctionCall1(sha256_bytea, value));
	digits = palloc0(VARSIZE_ANY_EXHDR(hash) * 2 + 1);
	hex_encode(VARDATA_ANY(hash), VARSIZE_ANY_EXHDR(hash), digits);
	return digits;
}

/* Returns a column of type uuid; NULL for null, for no such column and for no row. */
static const pg_uuid_t *
id_of(const RowChange *change, HeapTuple row, const char *column)
{
	int			number = SPI_fnumber(change->columns, column);
	bool		is_null;
	Datum		value;

	if (row == NULL || number <= 0 || SPI_gettypeid(change->columns, number) != UUIDOID)
		return NULL;
	value = heap_getattr(row, number, change->columns, &is_null);
	return is_null ? NULL : DatumGetUUIDP(value);
}

static bool
is_same(const char *left, const char *right)
{
	return left == NULL || right == NULL ? left == right : strcmp(left, right) == 0;
}

static void
put_id(StringInfo metadata, const char *key, const pg_uuid_t *id)
{
	audit_log_put(metadata, key, id == NULL ? NULL : uuid_text(id));
}

/* Adds the value after a change, that before if the row is deleted, and the old value if it differs.  Returns true if it does. */
static bool
put_values(StringInfo metadata, const RowChange *change, const char *before, const char *after, const char *key, const char *old_key)
{
	audit_log_put(metadata, key, change->after == NULL ? before : after);
	if (change->before == NULL || change->after == NULL || is_same(before, after))
		return false;
	audit_log_put(metadata, old_key, before);
	return true;
}

/* Adds a column likewise. */
static bool
put_column(StringInfo metadata, const RowChange *change, const char *column, const char *key, const char *old_key)
{
	return put_values(metadata, change, value_of(change, change->before, column), value_of(change, change->after, column), key, old_key);
}

/* Adds columns likewise under their own names, such as path and oldPath; the list ends with NULL. */
static bool
put_columns(StringInfo metadata, const RowChange *change, const char *const *columns)
{
	bool		changed = false;

	for (; *columns != NULL; columns++)
		changed |= put_column(metadata, change, *columns, *columns,
							  psprintf("old%c%s", pg_toupper((unsigned char) (*columns)[0]), *columns + 1));
	return changed;
}

/* Adds the id of a pool or gateway likewise, and its name.  Returns true if the id differs. */
static bool
put_named(StringInfo metadata, const PoolCatalog *catalog, const RowChange *change, const char *column, const char *kind, AuditName *name)
{
	const pg_uuid_t *before = id_of(change, change->before, column);
	const pg_uuid_t *after = id_of(change, change->after, column);
	const pg_uuid_t *id = after == NULL ? before : after;
	Oid			relation = strcmp(kind, "pool") == 0 ? catalog->pools : catalog->gateways;

	*name = audit_log_name(catalog, relation, id);
	put_id(metadata, psprintf("%sId", kind), id);
	audit_log_put(metadata, psprintf("%sName", kind), name->name);
	if (id == before || before == NULL || uuid_equal_or_null(before, after))
		return false;
	put_id(metadata, psprintf("old%c%sId", pg_toupper(kind[0]), kind + 1), before);
	audit_log_put(metadata, psprintf("old%c%sName", pg_toupper(kind[0]), kind + 1), audit_log_name(catalog, relation, before).name);
	return true;
}

static const char *
event_of(const RowChange *change, const char *inserted, const char *changed, const char *deleted)
{
	return change->before == NULL ? inserted : change->after == NULL ? deleted : changed;
}

/* Adds the former organization if an UPDATE changes it.  Returns true if it does. */
static bool
put_old_org(StringInfo metadata, const RowChange *change)
{
	const char *before = value_of(change, change->before, "orgId");

	if (change->before == NULL || change->after == NULL || is_same(before, value_of(change, change->after, "orgId")))
		return false;
	audit_log_put(metadata, "oldOrgId", before);
	return true;
}

static void
audit_pool(const PoolCatalog *catalog, const RowChange *change)
{
	HeapTuple	row = change->after == NULL ? change->before : change->after;
	StringInfoData metadata;
	bool		changed;

	audit_log_begin(&metadata);
	changed = put_column(&metadata, change, "id", "poolId", "oldPoolId");
	changed |= put_column(&metadata, change, "name", "name", "oldName");
	changed |= put_old_org(&metadata, change);
	if (change->after == NULL)
		audit_log_remember_deleted(catalog->pools, id_of(change, row, "id"), id_of(change, row, "orgId"), value_of(change, row, "name"));
	if (changed || change->before == NULL || change->after == NULL)
		audit_log_write(catalog, event_of(change, "gateway-pool-create", "gateway-pool-update", "gateway-pool-delete"),
						id_of(change, row, "orgId"), &metadata);
}

static void
audit_member(const PoolCatalog *catalog, const RowChange *change)
{
	StringInfoData metadata;
	AuditName	pool;
	AuditName	gateway;
	bool		changed;

	audit_log_begin(&metadata);
	changed = put_named(&metadata, catalog, change, "gatewayPoolId", "pool", &pool);
	changed |= put_named(&metadata, catalog, change, "gatewayId", "gateway", &gateway);
	changed |= put_column(&metadata, change, "pickWeight", "weight", "oldWeight");
	changed |= put_column(&metadata, change, "pickPriority", "priority", "oldPriority");
	if (changed || change->before == NULL || change->after == NULL)
		audit_log_write(catalog, event_of(change, "gateway-pool-add-member", "gateway-pool-update-member",
										  "gateway-pool-remove-member"),
						pool.org_id != NULL ? pool.org_id : gateway.org_id, &metadata);
}

/* A gateway without a row is active. */
static void
audit_state(const PoolCatalog *catalog, const RowChange *change)
{
	const char *old_state = value_of(change, change->before, "state");
	const char *state = value_of(change, change->after, "state");
	const char *old_reason = value_of(change, change->before, "reason");
	const char *reason = value_of(change, change->after, "reason");
	const char *old_until = value_of(change, change->before, "until");
	const char *until = value_of(change, change->after, "until");
	StringInfoData metadata;
	AuditName	gateway;
	bool		moved;

	audit_log_begin(&metadata);
	moved = put_named(&metadata, catalog, change, "gatewayId", "gateway", &gateway);
	old_state = old_state == NULL ? "active" : old_state;
	state = state == NULL ? "active" : state;
	if (is_same(state, old_state) && is_same(reason, old_reason) && is_same(until, old_until) && !moved)
		return;
	audit_log_put(&metadata, "state", state);
	audit_log_put(&metadata, "oldState", old_state);
	audit_log_put_reason(&metadata, "reason", reason);
	audit_log_put_reason(&metadata, "oldReason", old_reason);
	audit_log_put(&metadata, "until", until);
	audit_log_put(&metadata, "oldUntil", old_until);
	audit_log_write(catalog, "gateway-state-update", gateway.org_id, &metadata);
}

/* Of the certificates of authorities, a hash is recorded. */
static void
audit_probe(const PoolCatalog *catalog, const RowChange *change)
{
	static const char *const columns[] = {
		"protocol", "address", "path", "expectedStatus", "serverName", "verifyTls", "intervalMs", "timeoutMs", "rise", "fall",
		"required", NULL
	};
	StringInfoData metadata;
	AuditName	gateway;
	bool		changed;

	audit_log_begin(&metadata);
	changed = put_named(&metadata, catalog, change, "gatewayId", "gateway", &gateway);
	changed |= put_columns(&metadata, change, columns);
	changed |= put_values(&metadata, change, hash_of(change, change->before, "caCertificate"),
						  hash_of(change, change->after, "caCertificate"), "caCertificateSha256", "oldCaCertificateSha256");
	if (changed || change->before == NULL || change->after == NULL)
		audit_log_write(catalog, event_of(change, "gateway-probe-create", "gateway-probe-update", "gateway-probe-delete"),
						gateway.org_id, &metadata);
}

static void
audit_entitlement(const PoolCatalog *catalog, const RowChange *change)
{
	static const char *const columns[] = {"gatewayPool", "maxPools", "maxGatewaysPerPool", "expiresAt", NULL};
	HeapTuple	row = change->after == NULL ? change->before : change->after;
	StringInfoData metadata;
	bool		changed;

	audit_log_begin(&metadata);
	changed = put_columns(&metadata, change, columns);
	changed |= put_old_org(&metadata, change);
	if (changed || change->before == NULL || change->after == NULL)
		audit_log_write(catalog, event_of(change, "gateway-pool-entitlement-create", "gateway-pool-entitlement-update",
										  "gateway-pool-entitlement-delete"),
						id_of(change, row, "orgId"), &metadata);
}

static void
audit_tenant(const PoolCatalog *catalog, const RowChange *change)
{
	HeapTuple	row = change->after == NULL ? change->before : change->after;
	StringInfoData metadata;
	bool		changed;

	audit_log_begin(&metadata);
	changed = put_column(&metadata, change, "roleName", "role", "oldRole");
	changed |= put_old_org(&metadata, change);
	if (changed || change->before == NULL || change->after == NULL)
		audit_log_write(catalog, event_of(change, "gateway-pool-tenant-create", "gateway-pool-tenant-update",
										  "gateway-pool-tenant-delete"),
						id_of(change, row, "orgId"), &metadata);
}

/* Calls "audit" with each row of a table before its TRUNCATE, as deleted; "condition" is a WHERE clause or "". */
static void
audit_truncation(TriggerData *call, const PoolCatalog *catalog, const char *condition,
				 void (*audit) (TriggerData *call, const PoolCatalog *catalog, const RowChange *change))
{
	Oid			relation = RelationGetRelid(call->tg_relation);
	SPITupleTable *rows;
	OwnerScope	scope;
	uint64		count;

	owner_begin(&scope, relation);
	count = owner_query(psprintf("SELECT * FROM %s%s", catalog_name(relation), condition), NULL);
	rows = SPI_tuptable;
	for (uint64 i = 0; i < count; i++)
	{
		RowChange	change = {.columns = rows->tupdesc, .before = rows->vals[i]};

		CHECK_FOR_INTERRUPTS();
		audit(call, catalog, &change);
	}
	owner_end(&scope);
}

static void
audit_own_table(TriggerData *call, const PoolCatalog *catalog, const RowChange *change)
{
	Oid			relation = RelationGetRelid(call->tg_relation);

	if (relation == catalog->pools)
		audit_pool(catalog, change);
	else if (relation == catalog->memberships)
		audit_member(catalog, change);
	else if (relation == catalog->states)
		audit_state(catalog, change);
	else if (relation == catalog->probes)
		audit_probe(catalog, change);
	else if (relation == catalog->entitlements)
		audit_entitlement(catalog, change);
	else
		audit_tenant(catalog, change);
}

/*
 * pools_audit(): AFTER INSERT OR UPDATE OR DELETE, row, and BEFORE
 * TRUNCATE, statement, of gateway_pools, gateway_pool_memberships, gateway_states,
 * gateway_probes, gateway_pool_entitlements and gateway_pool_tenants
 */
Datum
pools_audit(PG_FUNCTION_ARGS)
{
	TriggerData *call = audit_call(fcinfo);
	Oid			relation = RelationGetRelid(call->tg_relation);
	PoolCatalog catalog;
	RowChange	change;

	/*
	 * A migration of the host may have dropped its tables, which uninstalls
	 * gateway pools.
	 */
	if (!catalog_find(&catalog))
		return PointerGetDatum(NULL);
	if (relation != catalog.memberships && relation != catalog.states && relation != catalog.probes &&
		relation != catalog.entitlements && relation != catalog.tenants)
		trigger_require_table(call, catalog.pools);
	if (TRIGGER_FIRED_BY_TRUNCATE(call->tg_event))
		audit_truncation(call, &catalog, "", audit_own_table);
	else
	{
		change = change_of(call);
		audit_own_table(call, &catalog, &change);
	}
	return PointerGetDatum(NULL);
}

/* Returns the name of a table, with its schema unless that is the host's. */
static const char *
resource_name(const PoolCatalog *catalog, Relation relation)
{
	if (RelationGetNamespace(relation) == catalog->host_schema)
		return RelationGetRelationName(relation);
	return catalog_name(RelationGetRelid(relation));
}

/* Returns the id of a consumer's row as text; NULL if it has none or it is longer than ID_SIZE_MAX. */
static char *
resource_id(const RowChange *change, HeapTuple row)
{
	int			number = SPI_fnumber(change->columns, "id");
	bool		is_null;
	Datum		value;

	if (number <= 0)
		return NULL;
	value = heap_getattr(row, number, change->columns, &is_null);
	if (is_null || (TupleDescAttr(change->columns, number - 1)->attlen == -1 && toast_raw_datum_size(value) > ID_SIZE_MAX))
		return NULL;
	return SPI_getvalue(row, change->columns, number);
}

/* Records that a row was attached to another pool, or detached. */
static void
audit_consumer(TriggerData *call, const PoolCatalog *catalog, const RowChange *change)
{
	const char *column = call->tg_trigger->tgargs[0];
	const pg_uuid_t *before = id_of(change, change->before, column);
	const pg_uuid_t *after = id_of(change, change->after, column);
	HeapTuple	row = change->after == NULL ? change->before : change->after;
	StringInfoData metadata;
	AuditName	pool;

	if (uuid_equal_or_null(before, after))
		return;
	catalog_require_fit();
	audit_log_begin(&metadata);
	(void) put_named(&metadata, catalog, change, column, "pool", &pool);
	audit_log_put(&metadata, "resource", resource_name(catalog, call->tg_relation));
	audit_log_put(&metadata, "resourceId", resource_id(change, row));
	audit_log_write(catalog, after == NULL ? "gateway-pool-detach" : "gateway-pool-attach", pool.org_id, &metadata);
}

/*
 * consumer_audit(pool_column): AFTER INSERT OR UPDATE OR DELETE, row, and
 * BEFORE TRUNCATE, statement, of a consumer
 */
Datum
consumer_audit(PG_FUNCTION_ARGS)
{
	TriggerData *call = audit_call(fcinfo);
	PoolCatalog catalog;
	AttrNumber	column;
	RowChange	change;

	if (call->tg_trigger->tgnargs != 1)
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("trigger \"%s\" must have one argument", call->tg_trigger->tgname),
				 errhint("The argument is the pool column.")));
	column = trigger_column(call, call->tg_trigger->tgargs[0]);
	if (column == InvalidAttrNumber || catalog_look(&catalog) == CATALOG_MISSING)
		return PointerGetDatum(NULL);
	/* A table's owner can attach the trigger without registering a consumer. */
	if (!consumers_registration(&catalog, RelationGetRelid(call->tg_relation), call->tg_trigger->tgargs[0]).registered)
		return PointerGetDatum(NULL);
	if (TRIGGER_FIRED_BY_TRUNCATE(call->tg_event))
		audit_truncation(call, &catalog,
						 psprintf(" WHERE %s IS NOT NULL", quote_identifier(call->tg_trigger->tgargs[0])), audit_consumer);
	else
	{
		change = change_of(call);
		audit_consumer(call, &catalog, &change);
	}
	return PointerGetDatum(NULL);
}
