/*
 * resource_list.c
 *		The rows of consumers that are reached through a pool, as JSON.
 *
 * A consumer may be the table of a role that is not trusted, so that its rows are
 * read by table_scan.c, and values of the server's own types alone are shown.
 */
#include "postgres.h"

#include "access/detoast.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/transam.h"
#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/rls.h"

#include "api/management.h"
#include "base/clean_text.h"
#include "tables/consumers.h"
#include "tables/isolation.h"
#include "tables/resources.h"
#include "tables/table_scan.h"

PG_FUNCTION_INFO_V1(get_gateway_pool_resources);

/*
 * identity_kubernetes_auths is kubernetesAuths, as in the API; app_connections is
 * appConnections.  What would make two keys equal is part of them: another schema
 * than the host's, another column than the usual one.
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

/* The key of a consumer, which no other has: of two tables with one short key, identity_kubernetes_auths alone keeps it. */
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

/* Longer values are no names, and are not read. */
#define VALUE_SIZE_MAX 8192

/*
 * A value as JSON, or NULL where nothing is shown: of types that others made, whose
 * output may run their code, but for words of their own, and of values that are long.
 */
static char *
value_as_json(HeapTuple row, TupleDesc columns, AttrNumber number)
{
	Form_pg_attribute attribute = TupleDescAttr(columns, number - 1);
	Oid			type = getBaseType(attribute->atttypid);
	bool		is_null;
	Datum		value = heap_getattr(row, number, columns, &is_null);
	Oid			output;
	bool		is_varlena;
	StringInfoData json;

	if (is_null || (type >= FirstGenbkiObjectId && get_typtype(type) != TYPTYPE_ENUM) ||
		(attribute->attlen == -1 && toast_raw_datum_size(value) > VALUE_SIZE_MAX))
		return NULL;
	getTypeOutputInfo(type, &output, &is_varlena);
	switch (type)
	{
		case INT2OID:
		case INT4OID:
		case INT8OID:
			return OidOutputFunctionCall(output, value);
		case BOOLOID:
			return DatumGetBool(value) ? "true" : "false";
		default:
			initStringInfo(&json);
			escape_json(&json, clean_text(OidOutputFunctionCall(output, value), CLEAN_NAME_MAX));
			return json.data;
	}
}

/* The rows of one consumer, as JSON objects. */
typedef struct Listing
{
	List	   *objects;
	Oid			identities;		/* that "identityId" references, or InvalidOid */
	MemoryContext context;
	MemoryContext row_context;	/* of what is made on the way to one object */
} Listing;

static void
put_member(StringInfo object, const char *key, const char *json)
{
	appendStringInfo(object, "%s\"%s\": %s", object->len > 1 ? ", " : "", key, json == NULL ? "null" : json);
}

static void
read_name(HeapTuple row, TupleDesc columns, void *context)
{
	AttrNumber	name = table_scan_column(columns, "name");

	if (name != InvalidAttrNumber)
		*(char **) context = value_as_json(row, columns, name);
}

/* The name of an identity as JSON, NULL where there is none to be had. */
static char *
identity_name(Oid identities, const pg_uuid_t *id)
{
	Relation	table = table_scan_open(identities, false);
	char	   *name = NULL;

	if (table == NULL)
		return NULL;
	(void) table_scan_rows(table, "id", id, false, read_name, &name);
	relation_close(table, AccessShareLock);
	return name;
}

/* Adds a row: of its columns, those by which an administrator finds it again. */
static void
list_row(HeapTuple row, TupleDesc columns, void *context)
{
	static const char *const shown[] = {"id", "app", "name", "type", "folderId", "projectId", "identityId"};
	Listing    *listing = context;
	MemoryContext caller = MemoryContextSwitchTo(listing->row_context);
	AttrNumber	identity = table_scan_column(columns, "identityId");
	StringInfoData object;

	MemoryContextReset(listing->row_context);
	initStringInfo(&object);
	appendStringInfoChar(&object, '{');
	for (int i = 0; i < lengthof(shown); i++)
		if (table_scan_column(columns, shown[i]) != InvalidAttrNumber)
			put_member(&object, shown[i], value_as_json(row, columns, table_scan_column(columns, shown[i])));
	if (OidIsValid(listing->identities) && identity != InvalidAttrNumber &&
		TupleDescAttr(columns, identity - 1)->atttypid == UUIDOID)
	{
		bool		is_null;
		Datum		id = heap_getattr(row, identity, columns, &is_null);

		put_member(&object, "identityName", is_null ? NULL : identity_name(listing->identities, DatumGetUUIDP(id)));
	}
	appendStringInfoChar(&object, '}');
	MemoryContextSwitchTo(listing->context);
	listing->objects = lappend(listing->objects, pstrdup(object.data));
	MemoryContextSwitchTo(caller);
}

/* Whether a role may read all names in a table. */
static bool
may_read_names(Oid table, Oid role)
{
	AttrNumber	name = get_attnum(table, "name");

	return name != InvalidAttrNumber &&
		(pg_class_aclcheck(table, role, ACL_SELECT) == ACLCHECK_OK ||
		 pg_attribute_aclcheck(table, name, role, ACL_SELECT) == ACLCHECK_OK) &&
		check_enable_rls(table, role, true) == RLS_NONE;
}

static int
compare_objects(const ListCell *a, const ListCell *b)
{
	return strcmp(lfirst(a), lfirst(b));
}

/* Appends the rows of one consumer that reference a pool as a JSON array, or null if the table is locked. */
static void
append_rows(StringInfo json, const PoolConsumer *consumer, const pg_uuid_t *pool)
{
	Listing		listing = {
		.context = CurrentMemoryContext,
		.row_context = AllocSetContextCreate(CurrentMemoryContext, "row of a consumer", ALLOCSET_DEFAULT_SIZES)
	};
	Relation	table = table_scan_open(consumer->relation, false);
	bool		complete = table != NULL;
	ListCell   *cell;

	if (table != NULL)
	{
		AttrNumber	identity = table_scan_column(RelationGetDescr(table), "identityId");

		if (identity != InvalidAttrNumber)
			listing.identities = catalog_referenced_table(table, identity);
		/* To reference a table is not to read it. */
		if (OidIsValid(listing.identities) && !may_read_names(listing.identities, table->rd_rel->relowner))
			listing.identities = InvalidOid;
		complete = table_scan_rows(table, consumer->column_name, pool, false, list_row, &listing);
		relation_close(table, AccessShareLock);
	}
	if (!complete)
	{
		resources_warn_of_lock(consumer);
		appendStringInfoString(json, "null");
		return;
	}
	MemoryContextDelete(listing.row_context);
	list_sort(listing.objects, compare_objects);
	appendStringInfoChar(json, '[');
	foreach(cell, listing.objects)
		appendStringInfo(json, "%s%s", foreach_current_index(cell) > 0 ? ", " : "", (char *) lfirst(cell));
	appendStringInfoChar(json, ']');
}

/*
 * get_gateway_pool_resources(org_id uuid, pool_id uuid) returns jsonb
 *
 * What is reached through a pool: an object with a key for each consumer, and in it
 * an array of rows, or null, with a WARNING, where the consumer is locked.  Needs
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
		append_rows(&json, lfirst(cell), pool);
	}
	appendStringInfoChar(&json, '}');
	PG_RETURN_DATUM(DirectFunctionCall1(jsonb_in, CStringGetDatum(json.data)));
}
