/*
 * audit_log.c
 *		The audit log: rows of gateway_pool_audit_logs.
 *
 * Only this file writes them, in the transaction of the change, as the owner of the
 * table, whose trigger refuses all other changes.
 */
#include "postgres.h"

#include "access/relation.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "base/clean_text.h"
#include "base/compat.h"
#include "base/settings.h"
#include "base/trigger_call.h"
#include "base/uuid.h"
#include "tables/audit_log.h"
#include "tables/org_column.h"
#include "tables/owner.h"

PG_FUNCTION_INFO_V1(audit_logs_refuse);

/* The most rows that are pruned at once. */
#define PRUNE_MAX 1000

/* The statement that runs is one of this file, which may change the table. */
static bool writing = false;

/*
 * Names of pools and gateways that this transaction deleted: a cascade to their
 * members and consumers runs when their rows are gone.
 */
typedef struct DeletedKey
{
	pg_uuid_t	id;
	Oid			relation;
} DeletedKey;

typedef struct DeletedRow
{
	DeletedKey	key;
	pg_uuid_t	org_id;
	char	   *name;
} DeletedRow;

static HTAB *deleted = NULL;

/* The table is freed with the memory of the transaction. */
static void
reset_deleted(void *arg)
{
	deleted = NULL;
}

/*
 * audit_log_remember_deleted keeps the name of a pool or gateway that is being deleted,
 * until the end of the transaction.
 */
void
audit_log_remember_deleted(Oid relation, const pg_uuid_t *id, const pg_uuid_t *org_id, const char *name)
{
	DeletedKey	key = {.relation = relation};
	DeletedRow *row;
	char	   *copy;

	if (id == NULL || org_id == NULL)
		return;
	key.id = *id;
	if (deleted == NULL)
	{
		HASHCTL		control = {
			.keysize = sizeof(DeletedKey),
			.entrysize = sizeof(DeletedRow),
			.hcxt = TopTransactionContext
		};
		MemoryContextCallback *callback = MemoryContextAllocZero(TopTransactionContext, sizeof(MemoryContextCallback));

		callback->func = reset_deleted;
		deleted = hash_create("deleted pools and gateways", 64, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
		MemoryContextRegisterResetCallback(TopTransactionContext, callback);
	}
	/* Before the row is entered: an ERROR may end a subtransaction alone. */
	copy = name == NULL ? NULL : MemoryContextStrdup(TopTransactionContext, name);
	row = hash_search(deleted, &key, HASH_ENTER, NULL);
	row->org_id = *org_id;
	row->name = copy;
}

/*
 * audit_log_name returns the name of a pool or a gateway as of now, or as of when this
 * transaction deleted it: in the statement that runs, which may delete members
 * first, or in an earlier one, which this one cascades from.
 */
AuditName
audit_log_name(const PoolCatalog *catalog, Oid relation, const pg_uuid_t *id)
{
	MemoryContext context = CurrentMemoryContext;
	DeletedKey	key = {.relation = relation};
	AuditName	name = {NULL, NULL};
	OwnerScope	scope;
	const char *sql;
	bool		found;

	if (id == NULL)
		return name;
	owner_begin(&scope, relation);

	/*
	 * The host's gateways may have no names, and a migration may drop the
	 * column of their organization.
	 */
	sql = psprintf("SELECT %s::uuid, %s::text FROM %s WHERE id = $1",
				   relation == catalog->gateways && catalog->gateway_org == InvalidAttrNumber ? "NULL" :
				   org_column_name(catalog, relation),
				   get_attnum(relation, "name") == InvalidAttrNumber ? "id" : "name", catalog_name(relation));
	found = owner_query(sql, id) > 0 || owner_query_before(sql, id) > 0;
	if (found)
	{
		char	   *value = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2);

		name.name = value == NULL ? NULL : MemoryContextStrdup(context, value);
		name.org_id = owner_first_id(context);
	}
	owner_end(&scope);
	if (!found && deleted != NULL)
	{
		const DeletedRow *row;

		key.id = *id;
		row = hash_search(deleted, &key, HASH_FIND, NULL);
		if (row != NULL)
			name = (AuditName) {row->name, &row->org_id};
	}
	return name;
}

/* audit_log_begin begins a JSON object: the metadata of a row. */
void
audit_log_begin(StringInfo metadata)
{
	initStringInfo(metadata);
	appendStringInfoChar(metadata, '{');
}

static void
put_key(StringInfo metadata, const char *key)
{
	if (metadata->len > 1)
		appendStringInfoChar(metadata, ',');
	escape_json(metadata, key);
	appendStringInfoChar(metadata, ':');
}

static void
put_text(StringInfo metadata, const char *key, const char *value, int max_characters)
{
	put_key(metadata, key);
	if (value == NULL)
		appendStringInfoString(metadata, "null");
	else
		escape_json(metadata, clean_text(value, max_characters));
}

/* audit_log_put adds a name or an id: the first 256 characters, without control characters; null for NULL. */
void
audit_log_put(StringInfo metadata, const char *key, const char *value)
{
	put_text(metadata, key, value, CLEAN_NAME_MAX);
}

/* audit_log_put_reason adds a text of an administrator in the same way: the first 1,000 characters. */
void
audit_log_put_reason(StringInfo metadata, const char *key, const char *value)
{
	put_text(metadata, key, value, CLEAN_REASON_MAX);
}

/* audit_log_put_list adds an array of strings. */
void
audit_log_put_list(StringInfo metadata, const char *key, const char *const *values, int count)
{
	put_key(metadata, key);
	for (int i = 0; i < count; i++)
	{
		appendStringInfoChar(metadata, i == 0 ? '[' : ',');
		escape_json(metadata, values[i]);
	}
	appendStringInfoString(metadata, count == 0 ? "[]" : "]");
}

static Datum
text_or_empty(const char *value)
{
	return CStringGetTextDatum(value == NULL ? "" : value);
}

pg_noreturn static void
refuse_unrecorded(Oid audit_logs, const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_TRIGGERED_ACTION_EXCEPTION),
			 errmsg("a change of gateway pools could not be recorded"),
			 errdetail("%s", detail),
			 catalog_error_constraint(audit_logs, "gateway_pools_not_recorded")));
}

/* A rule could write the row elsewhere, unnoticed. */
static void
require_no_rules(Oid relation)
{
	Relation	table = catalog_open_table(relation, RowExclusiveLock);
	bool		has_rules = table->rd_rules != NULL;

	relation_close(table, NoLock);
	if (has_rules)
		refuse_unrecorded(relation, "Table gateway_pool_audit_logs has rules.");
}

/* Runs a statement that the trigger of the table lets pass. */
static uint64
write_table(const char *sql, int count, Oid *types, Datum *values)
{
	uint64		rows = 0;
	const bool	was_writing = writing;

	PG_TRY();
	{
		writing = true;
		rows = owner_write(owner_prepare(sql, count, types), values);
	}
	PG_FINALLY();
	{
		writing = was_writing;
	}
	PG_END_TRY();
	return rows;
}

/*
 * audit_log_write writes a row; the organization may be NULL, if there is none.
 *
 * A change that cannot be recorded fails: 09000 if the row is not written.  The
 * current user is the role of the session, since cascades and our functions change
 * tables as their owners.
 */
void
audit_log_write(const PoolCatalog *catalog, const char *event_type, const pg_uuid_t *org_id, StringInfo metadata)
{
	Datum		values[6];
	Oid			types[6] = {TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID};
	OwnerScope	scope;
	uint64		rows;

	require_no_rules(catalog->audit_logs);
	appendStringInfoChar(metadata, '}');
	values[0] = text_or_empty(org_id == NULL ? NULL : uuid_text(org_id));
	values[1] = CStringGetTextDatum(event_type);
	values[2] = text_or_empty(clean_text(setting_actor, CLEAN_NAME_MAX));
	values[3] = text_or_empty(GetUserNameFromId(GetSessionUserId(), true));
	values[4] = text_or_empty(GetUserNameFromId(GetOuterUserId(), true));
	values[5] = CStringGetTextDatum(metadata->data);

	owner_begin(&scope, catalog->audit_logs);
	rows = write_table(psprintf("INSERT INTO %s (\"orgId\", \"eventType\", actor, \"sessionUser\", \"currentUser\", \"eventMetadata\")"
								" VALUES (nullif($1, '')::uuid, $2, nullif($3, ''), nullif($4, ''), nullif($5, ''), $6::jsonb)",
								catalog_name(catalog->audit_logs)), lengthof(values), types, values);
	owner_end(&scope);
	/* For instance because of a trigger of the owner. */
	if (rows != 1)
		refuse_unrecorded(catalog->audit_logs, "No row was written to gateway_pool_audit_logs.");
}

/*
 * audit_log_prune deletes up to PRUNE_MAX of the oldest rows if they are older than
 * audit_retention, and returns how many.  Does not wait for a lock on the table.
 */
int
audit_log_prune(const PoolCatalog *catalog)
{
	OwnerScope	scope;
	Datum		before;
	Oid			type = TIMESTAMPTZOID;
	const char *table;
	uint64		rows;

	if (setting_audit_retention < 0 || !ConditionalLockRelationOid(catalog->audit_logs, RowExclusiveLock))
		return 0;
	before = TimestampTzGetDatum(GetCurrentTimestamp() - setting_audit_retention * USECS_PER_SEC);
	owner_begin(&scope, catalog->audit_logs);
	table = catalog_name(catalog->audit_logs);
	rows = owner_execute(owner_prepare(psprintf("SELECT FROM (SELECT \"createdAt\" FROM %s ORDER BY id LIMIT 1) o"
												" WHERE o.\"createdAt\" < $1", table), 1, &type), &before);
	if (rows > 0)
		rows = write_table(psprintf("DELETE FROM %s WHERE id IN (SELECT id FROM"
									" (SELECT id, \"createdAt\" FROM %s ORDER BY id LIMIT %d) o"
									" WHERE \"createdAt\" < $1)", table, table, PRUNE_MAX), 1, &type, &before);
	owner_end(&scope);
	return rows;
}

/*
 * audit_logs_refuse(): BEFORE INSERT OR UPDATE OR DELETE, row, and BEFORE
 * TRUNCATE, statement, of gateway_pool_audit_logs
 *
 * The table is append-only: triggers of other tables write rows, and the worker
 * prunes them.
 */
Datum
audit_logs_refuse(PG_FUNCTION_ARGS)
{
	TriggerData *call = trigger_call(fcinfo, TRIGGER_EVENT_BEFORE, ON_INSERT | ON_UPDATE | ON_DELETE | ON_TRUNCATE);
	PoolCatalog catalog;

	if (catalog_find(&catalog))
		trigger_require_table(call, catalog.audit_logs);
	if (!writing)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("gateway_pool_audit_logs is append-only"),
				 errdetail("Its rows are written by triggers, and deleted after gateway_pool.audit_retention."),
				 catalog_error_constraint(RelationGetRelid(call->tg_relation), "gateway_pool_audit_logs_append_only")));
	if (TRIGGER_FIRED_BY_UPDATE(call->tg_event))
		return PointerGetDatum(call->tg_newtuple);
	return PointerGetDatum(TRIGGER_FIRED_FOR_ROW(call->tg_event) ? call->tg_trigtuple : NULL);
}
