/*
 * catalog.c
 *		Our tables, and the host's beside them.
 *
 * The catalog is the registry: the gateways table is what
 * gateway_pool_memberships."gatewayId" references, the organizations table
 * what gateway_pools."orgId" references, and consumers are whatever references
 * gateway_pools.  No second list is kept.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/relation.h"
#include "catalog/pg_class.h"
#include "commands/extension.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "catalog.h"
#include "compat.h"

PG_FUNCTION_INFO_V1(gateway_pool_is_extension_script);

static void
refuse_dropped(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_TABLE),
			 errmsg("a table of gateway pools was dropped by a concurrent transaction")));
}

/* A plain table of this name, or InvalidOid: nobody's view stands in for one. */
static Oid
find_table(Oid schema, const char *name)
{
	Oid			relation = get_relname_relid(name, schema);

	if (!OidIsValid(relation) || get_rel_relkind(relation) != RELKIND_RELATION)
		return InvalidOid;
	return relation;
}

/* The table that the foreign key of one column references, or InvalidOid. */
Oid
catalog_referenced_table(Relation relation, AttrNumber column)
{
	ListCell   *cell;

	foreach(cell, RelationGetFKeyList(relation))
	{
		ForeignKeyCacheInfo *key = lfirst_node(ForeignKeyCacheInfo, cell);

		if (key->nkeys == 1 && key->conkey[0] == column)
			return key->confrelid;
	}
	return InvalidOid;
}

static Oid
host_table(Oid relation, const char *column)
{
	Relation	referencing = relation_open(relation, AccessShareLock);
	Oid			referenced = catalog_referenced_table(referencing,
													  get_attnum(relation, column));

	relation_close(referencing, AccessShareLock);
	return referenced;
}

/*
 * catalog_find finds the tables that belong to a function of ours: they lie in
 * its schema.  Returns false if they are not all there.
 */
bool
catalog_find(PoolCatalog *catalog, Oid function)
{
	catalog->schema = get_func_namespace(function);
	catalog->pools = find_table(catalog->schema, "gateway_pools");
	catalog->memberships = find_table(catalog->schema, "gateway_pool_memberships");
	catalog->entitlements = find_table(catalog->schema, "gateway_pool_entitlements");
	catalog->states = find_table(catalog->schema, "gateway_states");
	if (!OidIsValid(catalog->pools) || !OidIsValid(catalog->memberships) ||
		!OidIsValid(catalog->entitlements) || !OidIsValid(catalog->states))
		return false;

	catalog->organizations = host_table(catalog->pools, "orgId");
	catalog->gateways = host_table(catalog->memberships, "gatewayId");
	return OidIsValid(catalog->organizations) && OidIsValid(catalog->gateways);
}

/* catalog_open is catalog_find with an error where the tables are not all there. */
void
catalog_open(PoolCatalog *catalog, Oid function)
{
	if (!catalog_find(catalog, function))
	{
		const char *schema = get_namespace_name(catalog->schema);

		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("gateway pools are not installed in schema \"%s\"", schema),
				 errhint("Call %s.install_gateway_pools().", quote_identifier(schema))));
	}
}

/*
 * catalog_require_privilege raises the server's own error unless the current
 * role has the privileges on a table.
 */
void
catalog_require_privilege(Oid relation, AclMode privileges)
{
	AclResult	result = pg_class_aclcheck(relation, GetUserId(), privileges);

	if (result != ACLCHECK_OK)
		aclcheck_error(result, OBJECT_TABLE, get_rel_name(relation));
}

/* catalog_owner gives a table's owner. */
Oid
catalog_owner(Oid relation)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relation));
	Oid			owner;

	if (!HeapTupleIsValid(tuple))
		refuse_dropped();
	owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	ReleaseSysCache(tuple);
	return owner;
}

/* catalog_name gives a table's qualified and quoted name, for SQL text. */
const char *
catalog_name(Oid relation)
{
	char	   *schema = get_namespace_name(get_rel_namespace(relation));
	char	   *name = get_rel_name(relation);

	if (schema == NULL || name == NULL)
		refuse_dropped();
	return quote_qualified_identifier(schema, name);
}

/*
 * catalog_error_constraint, within ereport, names the rule that was broken:
 * "constraint" is no row of pg_constraint, as the rules live in triggers.
 */
int
catalog_error_constraint(Oid relation, const char *constraint)
{
	const char *schema = get_namespace_name(get_rel_namespace(relation));
	const char *table = get_rel_name(relation);

	if (schema != NULL)
		err_generic_string(PG_DIAG_SCHEMA_NAME, schema);
	if (table != NULL)
		err_generic_string(PG_DIAG_TABLE_NAME, table);
	return err_generic_string(PG_DIAG_CONSTRAINT_NAME, constraint);
}

/*
 * is_extension_script() returns boolean
 *
 * Tells whether a script of CREATE or ALTER EXTENSION is running.
 */
Datum
gateway_pool_is_extension_script(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(creating_extension);
}
