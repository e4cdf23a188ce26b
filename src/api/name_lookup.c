/*
 * name_lookup.c
 *		Ids of pools and gateways by their names.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"

#include "base/argument.h"
#include "base/clean_text.h"
#include "base/compat.h"
#include "tables/access.h"
#include "tables/catalog.h"
#include "tables/gateway_rows.h"
#include "tables/isolation.h"
#include "tables/org_column.h"
#include "tables/owner.h"
#include "tables/policies.h"

PG_FUNCTION_INFO_V1(gateway_pool_id);
PG_FUNCTION_INFO_V1(gateway_id);

/* Longer names are not shown in messages, in bytes. */
#define SHOWN_MAX 63

static KeptPlan pool_plan;
static KeptPlan gateway_plan;

/* Returns the name in quotes with a space before it, or "" if it is long. */
static const char *
quoted_name(const char *name)
{
	return strlen(name) > SHOWN_MAX ? "" : psprintf(" \"%s\"", clean_text(name, SHOWN_MAX));
}

pg_noreturn static void
refuse_missing(Oid relation, const char *kind, const char *name)
{
	ereport(ERROR,
			(errcode(ERRCODE_NO_DATA_FOUND),
			 errmsg("%s%s does not exist in the organization", kind, quoted_name(name)),
			 catalog_error_constraint(relation, "gateway_pools_not_found")));
}

pg_noreturn static void
refuse_ambiguous(Oid relation, const char *kind, const char *name)
{
	ereport(ERROR,
			(errcode(ERRCODE_CARDINALITY_VIOLATION),
			 errmsg("%s name%s is not unique in the organization", kind, quoted_name(name)),
			 errhint("Use the id."),
			 catalog_error_constraint(relation, "gateway_pools_name_not_unique")));
}

/*
 * Returns the id of the row of a name in an organization.  "sql" returns the ids of
 * rows by organization $1 and name $2, two at most.
 */
static pg_uuid_t *
find_by_name(FunctionCallInfo fcinfo, const PoolCatalog *catalog, Oid relation, const char *kind, KeptPlan *kept, const char *sql)
{
	MemoryContext context = CurrentMemoryContext;
	const pg_uuid_t *org = argument_uuid(fcinfo, 0, "org_id");
	const char *name;
	Datum		values[2];
	OwnerScope	scope;
	uint64		rows;
	pg_uuid_t  *id;

	argument_require(fcinfo, 1, "name");
	name = text_to_cstring(PG_GETARG_TEXT_PP(1));
	if (isolation_hides(catalog, org))
		refuse_missing(relation, kind, name);

	values[0] = UUIDPGetDatum(org);
	values[1] = PG_GETARG_DATUM(1);
	if (policies_apply(relation))
		owner_begin_as_caller(&scope, relation);
	else
		owner_begin(&scope, relation);
	rows = owner_execute(owner_prepare_kept(kept, sql, 2, (Oid[]) {UUIDOID, TEXTOID}), values);
	id = owner_first_id(context);
	owner_end(&scope);
	if (id == NULL)
		refuse_missing(relation, kind, name);
	if (rows > 1)
		refuse_ambiguous(relation, kind, name);
	return id;
}

/*
 * gateway_pool_id(org_id uuid, name text) returns uuid
 *
 * Returns the id of a pool.  Needs SELECT on gateway_pools (id), as a pick does, so
 * that a role that only picks can name the pool.  Errors: no such pool P0002, NULL
 * 22023.
 */
Datum
gateway_pool_id(PG_FUNCTION_ARGS)
{
	PoolCatalog catalog;

	catalog_open(&catalog);
	access_require(&catalog, RIGHT_PICK);
	PG_RETURN_UUID_P(find_by_name(fcinfo, &catalog, catalog.pools, "gateway pool", &pool_plan,
								  psprintf("SELECT p.id::uuid FROM %s p WHERE p.\"orgId\" = $1 AND p.name = $2 LIMIT 2",
										   catalog_name(catalog.pools))));
}

/*
 * gateway_id(org_id uuid, name text) returns uuid
 *
 * Returns the id of a gateway; where the host has no names, the name is the id.  Needs
 * SELECT on gateway_pools (id).  Errors: no such gateway P0002, more than one 21000,
 * NULL 22023.
 */
Datum
gateway_id(PG_FUNCTION_ARGS)
{
	PoolCatalog catalog;

	catalog_open(&catalog);
	access_require(&catalog, RIGHT_PICK);
	PG_RETURN_UUID_P(find_by_name(fcinfo, &catalog, catalog.gateways, "gateway", &gateway_plan,
								  psprintf("SELECT g.id::uuid FROM %s g WHERE g.%s = $1 AND %s = $2 LIMIT 2",
										   catalog_name(catalog.gateways), org_column_name(&catalog, catalog.gateways),
										   gateway_rows_name(&catalog))));
}
