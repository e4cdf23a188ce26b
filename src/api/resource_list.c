/*
 * resource_list.c
 *		The rows of consumers that are reached through a pool, as JSON.
 *
 * A consumer may belong to a role that is not trusted.  So its rows are read by
 * table_scan.c, and only values of built-in types and of enums are shown.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/relation.h"
#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "api/management.h"
#include "api/resource_value.h"
#include "tables/consumers.h"
#include "tables/isolation.h"
#include "tables/resources.h"
#include "tables/table_scan.h"

PG_FUNCTION_INFO_V1(get_gateway_pool_resources);

/*
 * Returns kubernetesAuths for identity_kubernetes_auths, as in the API, and
 * appConnections for app_connections.  Includes the schema unless it is the host's,
 * and the column unless it is "gatewayPoolId".
 */
static char *
short_key(const PoolCatalog *catalog, const PoolConsumer *consumer)
{
	const char *name = consumer->table_name;
	StringInfoData key;

	if (strcmp(name, "identity_kubernetes_auths") == 0)
		name += strlen("identity_");

	initStringInfo(&key);
	if (get_rel_namespace(consumer->relation) != catalog->host_schema)
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

/* Returns a consumer's unique key: the short one, unless another table than identity_kubernetes_auths shares it. */
static const char *
resource_key(const PoolCatalog *catalog, const PoolConsumer *consumer, const List *consumers)
{
	char	   *key = short_key(catalog, consumer);
	bool		keeps = (strcmp(consumer->table_name, "identity_kubernetes_auths") == 0 &&
						 get_rel_namespace(consumer->relation) == catalog->host_schema);
	ListCell   *cell;

	foreach(cell, consumers)
	{
		const PoolConsumer *other = lfirst(cell);

		if (other != consumer && !keeps && strcmp(short_key(catalog, other), key) == 0)
			return psprintf("%s.%s.%s", consumer->schema_name, consumer->table_name, consumer->column_name);
	}
	return key;
}

/* Returns a value that resource_value reads as JSON; NULL for none. */
static char *
value_as_json(HeapTuple row, TupleDesc columns, AttrNumber number)
{
	char	   *value = resource_value(row, columns, number);
	StringInfoData json;

	if (value == NULL)
		return NULL;
	switch (getBaseType(TupleDescAttr(columns, number - 1)->atttypid))
	{
		case INT2OID:
		case INT4OID:
		case INT8OID:
		case BOOLOID:
			return value;
		default:
			initStringInfo(&json);
			escape_json(&json, value);
			return json.data;
	}
}

/* The rows of one consumer, as JSON objects. */
typedef struct ConsumerRows
{
	const PoolCatalog *catalog;
	Relation	table;
	List	   *objects;
	Oid			identities;		/* that "identityId" references, or InvalidOid */
	MemoryContext context;
	MemoryContext row_context;	/* reset for each row */
} ConsumerRows;

static void
put_member(StringInfo object, const char *key, const char *json)
{
	appendStringInfo(object, "%s\"%s\": %s", object->len > 1 ? ", " : "", key, json == NULL ? "null" : json);
}

/*
 * The columns that lead from a resource to its project, each by a foreign key, in the
 * order in which they are followed, and the column that is shown of the row they lead
 * to.  Any of them may be missing.
 */
enum
{
	TO_FOLDER,
	TO_ENVIRONMENT,
	TO_PROJECT
};

static const struct
{
	const char *column;
	const char *shown;			/* or NULL */
}			links[] =
{
	{"folderId", NULL},
	{"envId", "slug"},
	{"projectId", "name"}
};

/* The search for the project of one row. */
typedef struct ProjectSearch
{
	const PoolCatalog *catalog;
	Oid			reader;			/* role that must have the right to read */
	Relation	table;			/* that of the next row */
	int			next;			/* first link that may lead on from it */
	const char *id;				/* of the project, as JSON; or NULL */
	const char *shown[lengthof(links)]; /* as JSON, or NULL */
	bool		is_hidden;		/* isolation hides a row on the way */
} ProjectSearch;

/* Visits a row on the way to the project, and goes on from there. */
static void
search_project(HeapTuple row, TupleDesc columns, void *context)
{
	ProjectSearch *search = context;
	Relation	table = search->table;
	Oid			relation = RelationGetRelid(table);

	if (search->next > 0 && resource_value_is_hidden(search->catalog, table, row, columns))
	{
		search->is_hidden = true;
		return;
	}
	if (search->next > 0 && links[search->next - 1].shown != NULL)
	{
		AttrNumber	shown = table_scan_column(columns, links[search->next - 1].shown);

		if (shown != InvalidAttrNumber && resource_value_may_read(relation, links[search->next - 1].shown, search->reader))
			search->shown[search->next - 1] = value_as_json(row, columns, shown);
	}
	for (int i = search->next; i < lengthof(links); i++)
	{
		AttrNumber	column = table_scan_column(columns, links[i].column);
		Oid			target = catalog_referenced_table(table, table_scan_column(RelationGetDescr(table), links[i].column));
		Relation	next;
		char	   *json;

		if (column == InvalidAttrNumber || !OidIsValid(target) || !resource_value_may_read(relation, links[i].column, search->reader))
			continue;
		json = value_as_json(row, columns, column);
		if (i == TO_PROJECT)
			search->id = json;
		next = json == NULL ? NULL : table_scan_open(target, false);
		if (next != NULL)
		{
			bool		is_null;
			Datum		id = heap_getattr(row, column, columns, &is_null);

			search->table = next;
			search->next = i + 1;
			table_scan_referenced(next, TupleDescAttr(columns, column - 1)->atttypid, id, search_project, search);
			relation_close(next, AccessShareLock);
		}
		return;
	}
}

/* Adds a row as a JSON object with the columns that identify it for an administrator. */
static void
list_row(HeapTuple row, TupleDesc columns, void *context)
{
	static const char *const shown[] = {"id", "app", "name", "type", "folderId", "projectId", "identityId"};
	ConsumerRows *rows = context;
	MemoryContext caller = MemoryContextSwitchTo(rows->row_context);
	AttrNumber	identity = table_scan_column(columns, "identityId");
	ProjectSearch search = {.catalog = rows->catalog, .reader = rows->table->rd_rel->relowner, .table = rows->table};
	StringInfoData object;

	MemoryContextReset(rows->row_context);
	initStringInfo(&object);
	appendStringInfoChar(&object, '{');
	for (int i = 0; i < lengthof(shown); i++)
		if (table_scan_column(columns, shown[i]) != InvalidAttrNumber)
			put_member(&object, shown[i], value_as_json(row, columns, table_scan_column(columns, shown[i])));
	if (OidIsValid(rows->identities) && identity != InvalidAttrNumber &&
		TupleDescAttr(columns, identity - 1)->atttypid == UUIDOID)
	{
		char	   *name = resource_value_identity_name(rows->catalog, row, columns, rows->identities);
		StringInfoData json;

		initStringInfo(&json);
		if (name != NULL)
			escape_json(&json, name);
		put_member(&object, "identityName", name == NULL ? NULL : json.data);
	}
	search_project(row, columns, &search);
	if (search.is_hidden)
		search = (ProjectSearch) {0};
	if (search.id != NULL || table_scan_column(columns, "projectId") != InvalidAttrNumber)
		put_member(&object, "projectName", search.shown[TO_PROJECT]);
	/* The last of two equal keys counts. */
	if (search.id != NULL)
		put_member(&object, "projectId", search.id);
	if (search.shown[TO_ENVIRONMENT] != NULL)
		put_member(&object, "environmentSlug", search.shown[TO_ENVIRONMENT]);
	appendStringInfoChar(&object, '}');
	MemoryContextSwitchTo(rows->context);
	rows->objects = lappend(rows->objects, pstrdup(object.data));
	MemoryContextSwitchTo(caller);
}

static int
compare_objects(const ListCell *a, const ListCell *b)
{
	return strcmp(lfirst(a), lfirst(b));
}

/* Appends the rows of one consumer that reference a pool as a JSON array, or null if the table is locked. */
static void
append_rows(StringInfo json, const PoolCatalog *catalog, const PoolConsumer *consumer, const pg_uuid_t *pool)
{
	Relation	table = table_scan_open(consumer->relation, false);
	ConsumerRows rows = {
		.catalog = catalog,
		.table = table,
		.context = CurrentMemoryContext,
		.row_context = AllocSetContextCreate(CurrentMemoryContext, "row of a consumer", ALLOCSET_DEFAULT_SIZES)
	};
	bool		complete = table != NULL;
	ListCell   *cell;

	if (table != NULL)
	{
		rows.identities = resource_value_identities(table);
		complete = table_scan_rows(table, consumer->column_name, pool, false, list_row, &rows);
		relation_close(table, AccessShareLock);
	}
	if (!complete)
	{
		resources_warn_of_lock(consumer);
		appendStringInfoString(json, "null");
		return;
	}
	MemoryContextDelete(rows.row_context);
	list_sort(rows.objects, compare_objects);
	appendStringInfoChar(json, '[');
	foreach(cell, rows.objects)
		appendStringInfo(json, "%s%s", foreach_current_index(cell) > 0 ? ", " : "", (char *) lfirst(cell));
	appendStringInfoChar(json, ']');
}

/*
 * get_gateway_pool_resources(org_id uuid, pool_id uuid) returns jsonb
 *
 * Returns what is reached through a pool: an object with a key for each consumer and
 * an array of its rows, or null and a WARNING if the consumer is locked.  Needs
 * SELECT on gateway_pools.  Errors: no plan 42501, no such pool P0002, NULL 22023.
 */
Datum
get_gateway_pool_resources(PG_FUNCTION_ARGS)
{
	PoolCatalog catalog;
	const pg_uuid_t *org = management_begin(fcinfo, &catalog, RIGHT_LIST);
	const pg_uuid_t *pool = management_require_pool(fcinfo, &catalog, org);
	List	   *consumers = consumers_list(&catalog);
	StringInfoData json;
	ListCell   *cell;

	initStringInfo(&json);
	appendStringInfoChar(&json, '{');
	foreach(cell, consumers)
	{
		if (foreach_current_index(cell) > 0)
			appendStringInfoString(&json, ", ");
		escape_json(&json, resource_key(&catalog, lfirst(cell), consumers));
		appendStringInfoString(&json, ": ");
		append_rows(&json, &catalog, lfirst(cell), pool);
	}
	appendStringInfoChar(&json, '}');
	PG_RETURN_DATUM(DirectFunctionCall1(jsonb_in, CStringGetDatum(json.data)));
}
