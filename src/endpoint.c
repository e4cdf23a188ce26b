/*
 * endpoint.c
 *		What each management function checks before its statement.
 *
 * The statements themselves run with the caller's rights, so that the tables'
 * privileges decide.  These checks read what a caller need not be able to read.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"

#include "argument.h"
#include "catalog.h"
#include "entitlement.h"
#include "owner.h"

PG_FUNCTION_INFO_V1(gateway_pool_require_installed);
PG_FUNCTION_INFO_V1(gateway_pool_require_plan);
PG_FUNCTION_INFO_V1(gateway_pool_require_pool);
PG_FUNCTION_INFO_V1(gateway_pool_require_gateway);

/* Raises P0002 unless the organization, the first argument, has such a row. */
static void
require_in_org(FunctionCallInfo fcinfo, Oid relation, const char *kind, const char *argument)
{
	pg_uuid_t  *org = argument_uuid(fcinfo, 0, "org_id");
	pg_uuid_t  *id = argument_uuid(fcinfo, 1, argument);
	Datum		values[2] = {UUIDPGetDatum(id), UUIDPGetDatum(org)};
	OwnerScope	scope;
	bool		found;

	owner_begin(&scope, relation);
	found = owner_execute(owner_prepare(psprintf("SELECT FROM %s WHERE id = $1 AND \"orgId\" = $2",
												 catalog_name(relation)),
										2, (Oid[]) {UUIDOID, UUIDOID}), values) > 0;
	owner_end(&scope);
	if (!found)
		ereport(ERROR,
				(errcode(ERRCODE_NO_DATA_FOUND),
				 errmsg("%s %s does not exist in the organization", kind, uuid_text(id))));
}

/* require_gateway_pools_installed(): 55000 unless the tables are there */
Datum
gateway_pool_require_installed(PG_FUNCTION_ARGS)
{
	PoolCatalog catalog;

	catalog_open(&catalog, fcinfo->flinfo->fn_oid);
	PG_RETURN_VOID();
}

/* The privileges that management asks for, by name. */
static AclMode
privilege_mode(const char *name)
{
	static const struct
	{
		const char *name;
		AclMode		mode;
	}			privileges[] = {
		{"SELECT", ACL_SELECT}, {"INSERT", ACL_INSERT}, {"UPDATE", ACL_UPDATE}, {"DELETE", ACL_DELETE}
	};

	for (int i = 0; i < lengthof(privileges); i++)
		if (strcmp(name, privileges[i].name) == 0)
			return privileges[i].mode;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("unknown privilege")));
}

/*
 * require_gateway_pool_plan(org_id uuid, of_members boolean, privilege text)
 *
 * The caller's privilege on gateway_pools, or on gateway_pool_memberships,
 * first, 42501 as from a statement; then the organization's plan, 42501 of
 * gateway_pools_entitlement.
 */
Datum
gateway_pool_require_plan(PG_FUNCTION_ARGS)
{
	PoolCatalog catalog;

	catalog_open(&catalog, fcinfo->flinfo->fn_oid);
	argument_require(fcinfo, 1, "of_members");
	argument_require(fcinfo, 2, "privilege");
	catalog_require_privilege(PG_GETARG_BOOL(1) ? catalog.memberships : catalog.pools,
							  privilege_mode(text_to_cstring(PG_GETARG_TEXT_PP(2))));
	entitlement_require(&catalog, argument_uuid(fcinfo, 0, "org_id"));
	PG_RETURN_VOID();
}

/*
 * require_gateway_pool(org_id uuid, pool_id uuid): P0002 unless the
 * organization has such a pool, 22023 for NULL.  Needs SELECT on gateway_pools.
 */
Datum
gateway_pool_require_pool(PG_FUNCTION_ARGS)
{
	PoolCatalog catalog;

	catalog_open(&catalog, fcinfo->flinfo->fn_oid);
	catalog_require_privilege(catalog.pools, ACL_SELECT);
	require_in_org(fcinfo, catalog.pools, "gateway pool", "pool_id");
	PG_RETURN_VOID();
}

/*
 * require_gateway(org_id uuid, gateway_id uuid): P0002 unless the organization
 * has such a gateway, 22023 for NULL.  Needs SELECT on gateway_pools.
 */
Datum
gateway_pool_require_gateway(PG_FUNCTION_ARGS)
{
	PoolCatalog catalog;

	catalog_open(&catalog, fcinfo->flinfo->fn_oid);
	catalog_require_privilege(catalog.pools, ACL_SELECT);
	require_in_org(fcinfo, catalog.gateways, "gateway", "gateway_id");
	PG_RETURN_VOID();
}
