/*
 * org_column.c
 *		The column of a table that holds the organization of its rows.
 *
 * Our tables call it "orgId".  In the host's gateways table, and in consumers, it may
 * have any name: a foreign key to the organizations table says which it is.  It is
 * looked for in the catalog whenever it is needed, so that the host may rename it.
 */
#include "postgres.h"

#include "access/relation.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "base/argument.h"
#include "tables/org_column.h"

PG_FUNCTION_INFO_V1(org_column);

/* Returns true if "column" is preferred to "other": named "orgId", else NOT NULL, else the one that was added first. */
static bool
is_preferred(TupleDesc columns, AttrNumber column, AttrNumber other)
{
	Form_pg_attribute left = TupleDescAttr(columns, column - 1);
	Form_pg_attribute right = TupleDescAttr(columns, other - 1);

	if (strcmp(NameStr(left->attname), "orgId") == 0 || strcmp(NameStr(right->attname), "orgId") == 0)
		return strcmp(NameStr(left->attname), "orgId") == 0;
	if (left->attnotnull != right->attnotnull)
		return left->attnotnull;
	return column < other;
}

/*
 * org_column_find returns the column that holds the organization of the rows of an open
 * table: the one with a foreign key of its own to the id of the organizations table; of
 * several, "orgId", else one that is NOT NULL, else the one that was added first, so
 * that a key that is added later does not take its place.  Without such a key: "orgId",
 * or InvalidAttrNumber if there is no such column.
 */
AttrNumber
org_column_find(Relation relation, Oid organizations)
{
	TupleDesc	columns = RelationGetDescr(relation);
	AttrNumber	id = OidIsValid(organizations) ? get_attnum(organizations, "id") : InvalidAttrNumber;
	AttrNumber	found = InvalidAttrNumber;
	ListCell   *cell;

	/* Look up nothing in this loop: that may rebuild the relcache entry. */
	foreach(cell, RelationGetFKeyList(relation))
	{
		ForeignKeyCacheInfo *key = lfirst_node(ForeignKeyCacheInfo, cell);

		if (key->nkeys == 1 && key->confrelid == organizations && key->confkey[0] == id &&
			(found == InvalidAttrNumber || is_preferred(columns, key->conkey[0], found)))
			found = key->conkey[0];
	}
	return found != InvalidAttrNumber ? found : get_attnum(RelationGetRelid(relation), "orgId");
}

/*
 * org_column_name returns the name of that column of gateway_pools or of the gateways
 * table, quoted for SQL text.  An error (55000) if the gateways table has none.
 */
const char *
org_column_name(const PoolCatalog *catalog, Oid relation)
{
	char	   *name = NULL;

	if (relation != catalog->gateways)
		return "\"orgId\"";
	if (catalog->gateway_org != InvalidAttrNumber)
		name = get_attname(relation, catalog->gateway_org, true);
	if (name == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot determine the organization of the rows of table %s", catalog_name(relation)),
				 errdetail("It has no column that references %s, and no column \"orgId\".", catalog_name(catalog->organizations)),
				 errhint("As its owner, add a foreign key to %s.", catalog_name(catalog->organizations)),
				 catalog_error_constraint(relation, "gateway_pools_not_installed")));
	return quote_identifier(name);
}

/*
 * org_column(relation regclass, organizations regclass) returns name
 *
 * org_column_find for SQL; null if there is no such column.
 */
Datum
org_column(PG_FUNCTION_ARGS)
{
	Relation	relation;
	AttrNumber	column;
	Name		name;

	argument_require(fcinfo, 0, "relation");
	argument_require(fcinfo, 1, "organizations");
	relation = catalog_open_table(PG_GETARG_OID(0), AccessShareLock);
	column = org_column_find(relation, PG_GETARG_OID(1));
	if (column == InvalidAttrNumber)
	{
		relation_close(relation, AccessShareLock);
		PG_RETURN_NULL();
	}
	name = palloc(NAMEDATALEN);
	memcpy(name, &TupleDescAttr(RelationGetDescr(relation), column - 1)->attname, NAMEDATALEN);
	relation_close(relation, AccessShareLock);
	PG_RETURN_NAME(name);
}
