/*
 * resource_value.c
 *		Values of rows of consumers, which may belong to a role that is not trusted.
 *
 * Only values of built-in types and of enums are shown: output functions of other types
 * could run their owner's code.
 */
#include "postgres.h"

#include "access/detoast.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/transam.h"
#include "catalog/pg_type.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/rls.h"

#include "api/resource_value.h"
#include "base/clean_text.h"
#include "base/compat.h"
#include "tables/isolation.h"
#include "tables/org_column.h"
#include "tables/table_scan.h"

/* Longer values are not read, in bytes. */
#define VALUE_SIZE_MAX 8192

/* resource_value returns a value as text, without control characters; NULL for null, for a long value, and for other types. */
char *
resource_value(HeapTuple row, TupleDesc columns, AttrNumber number)
{
	Form_pg_attribute attribute = TupleDescAttr(columns, number - 1);
	Oid			type = getBaseType(attribute->atttypid);
	bool		is_null;
	Datum		value = heap_getattr(row, number, columns, &is_null);
	Oid			output;
	bool		is_varlena;

	if (is_null || (type >= FirstGenbkiObjectId && get_typtype(type) != TYPTYPE_ENUM) ||
		(attribute->attlen == -1 && toast_raw_datum_size(value) > VALUE_SIZE_MAX))
		return NULL;
	if (type == BOOLOID)
		return pstrdup(DatumGetBool(value) ? "true" : "false");
	getTypeOutputInfo(type, &output, &is_varlena);
	return clean_text(OidOutputFunctionCall(output, value), CLEAN_NAME_MAX);
}

/* resource_value_may_read returns true if a role may read a column in all rows of a table. */
bool
resource_value_may_read(Oid table, const char *column, Oid role)
{
	AttrNumber	number = get_attnum(table, column);

	return number != InvalidAttrNumber &&
		(pg_class_aclcheck(table, role, ACL_SELECT) == ACLCHECK_OK ||
		 pg_attribute_aclcheck(table, number, role, ACL_SELECT) == ACLCHECK_OK) &&
		check_enable_rls(table, role, true) == RLS_NONE;
}

/*
 * resource_value_identities returns the table that "identityId" of a consumer
 * references, or InvalidOid if there is none or the consumer's owner, who may
 * reference it, may not read its names.
 */
Oid
resource_value_identities(Relation consumer)
{
	AttrNumber	identity = table_scan_column(RelationGetDescr(consumer), "identityId");
	Oid			identities = identity == InvalidAttrNumber ? InvalidOid : catalog_referenced_table(consumer, identity);

	if (OidIsValid(identities) && !resource_value_may_read(identities, "name", consumer->rd_rel->relowner))
		return InvalidOid;
	return identities;
}

/*
 * resource_value_is_hidden returns true if isolation hides the organization of a row
 * from the role.  A row of a consumer may reference a row of another organization: the
 * foreign key does not compare organizations.  A virtual column does not say which it is.
 */
bool
resource_value_is_hidden(const PoolCatalog *catalog, Relation table, HeapTuple row, TupleDesc columns)
{
	AttrNumber	column;
	bool		is_null;
	Datum		org;

	if (!isolation_applies(catalog))
		return false;
	column = org_column_find(table, catalog->organizations);
	if (column != InvalidAttrNumber)
		/* A partition may have its columns in another order. */
		column = table_scan_column(columns, NameStr(TupleDescAttr(RelationGetDescr(table), column - 1)->attname));
	if (column == InvalidAttrNumber || TupleDescAttr(columns, column - 1)->atttypid != UUIDOID)
		return false;
	if (TupleDescAttr(columns, column - 1)->attgenerated == ATTRIBUTE_GENERATED_VIRTUAL)
		return true;
	org = heap_getattr(row, column, columns, &is_null);
	return !is_null && isolation_hides(catalog, DatumGetUUIDP(org));
}

/* The search for the name of an identity. */
typedef struct NameSearch
{
	const PoolCatalog *catalog;
	Relation	table;
	char	   *name;
} NameSearch;

static void
read_name(HeapTuple row, TupleDesc columns, void *context)
{
	NameSearch *search = context;
	AttrNumber	name = table_scan_column(columns, "name");

	if (name != InvalidAttrNumber && !resource_value_is_hidden(search->catalog, search->table, row, columns))
		search->name = resource_value(row, columns, name);
}

/*
 * resource_value_identity_name returns the name of the identity of a consumer's row;
 * NULL if it has none, the table is locked, or isolation hides the identity.
 */
char *
resource_value_identity_name(const PoolCatalog *catalog, HeapTuple row, TupleDesc columns, Oid identities)
{
	AttrNumber	identity = table_scan_column(columns, "identityId");
	bool		is_null;
	Datum		id;
	NameSearch	search = {.catalog = catalog};

	if (identity == InvalidAttrNumber || TupleDescAttr(columns, identity - 1)->atttypid != UUIDOID)
		return NULL;
	id = heap_getattr(row, identity, columns, &is_null);
	search.table = is_null ? NULL : table_scan_open(identities, false);
	if (search.table == NULL)
		return NULL;
	(void) table_scan_rows(search.table, "id", DatumGetUUIDP(id), false, read_name, &search);
	relation_close(search.table, AccessShareLock);
	return search.name;
}
