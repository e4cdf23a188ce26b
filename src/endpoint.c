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
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"

#include "catalog.h"
#include "compat.h"
#include "entitlement.h"

PG_FUNCTION_INFO_V1(gateway_pool_require_installed);
PG_FUNCTION_INFO_V1(gateway_pool_require_plan);
PG_FUNCTION_INFO_V1(gateway_pool_require_pool);
PG_FUNCTION_INFO_V1(gateway_pool_require_gateway);

static pg_uuid_t *
id_argument(FunctionCallInfo fcinfo, int argument, const char *name)
{
	if (PG_ARGISNULL(argument))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must not be null", name)));
	return PG_GETARG_UUID_P(argument);
}

/* Raises P0002 unless the organization, the first argument, has such a row. */
static void
require_in_org(FunctionCallInfo fcinfo, Oid relation, const char *kind, const char *argument)
{
	pg_uuid_t  *org = id_argument(fcinfo, 0, "org_id");
	pg_uuid_t  *id = id_argument(fcinfo, 1, argument);
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
				 errmsg("%s %s does not exist in the organization", kind,
						DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(id))))));
}

/* require_gateway_pools_installed(): 55000 unless the tables are there */
Datum
gateway_pool_require_installed(PG_FUNCTION_ARGS)
{
	PoolCatalog catalog;

	catalog_open(&catalog, fcinfo->flinfo->fn_oid);
	PG_RETURN_VOID();
}

/*
 * require_gateway_pool_plan(org_id uuid, table_name text, privilege text)
 *
 * The caller's privilege on one of our tables first, 42501 as from a statement;
 * then the organization's plan, 42501 of gateway_pools_entitlement.
 */
Datum
gateway_pool_require_plan(PG_FUNCTION_ARGS)
{
	PoolCatalog catalog;
	char	   *table = text_to_cstring(PG_GETARG_TEXT_PP(1));
	char	   *privilege = text_to_cstring(PG_GETARG_TEXT_PP(2));
	AclMode		mode = strcmp(privilege, "INSERT") == 0 ? ACL_INSERT :
		strcmp(privilege, "UPDATE") == 0 ? ACL_UPDATE :
		strcmp(privilege, "DELETE") == 0 ? ACL_DELETE : ACL_SELECT;

	catalog_open(&catalog, fcinfo->flinfo->fn_oid);
	catalog_require_privilege(get_relname_relid(table, catalog.schema), mode);
	entitlement_require(&catalog, id_argument(fcinfo, 0, "org_id"));
	PG_RETURN_VOID();
}

/*
 * require_gateway_pool(org_id uuid, pool_id uuid): P0002 unless the
 * organization has such a pool, 22023 for NULL
 */
Datum
gateway_pool_require_pool(PG_FUNCTION_ARGS)
{
	PoolCatalog catalog;

	catalog_open(&catalog, fcinfo->flinfo->fn_oid);
	require_in_org(fcinfo, catalog.pools, "gateway pool", "pool_id");
	PG_RETURN_VOID();
}

/*
 * require_gateway(org_id uuid, gateway_id uuid): P0002 unless the organization
 * has such a gateway, 22023 for NULL
 */
Datum
gateway_pool_require_gateway(PG_FUNCTION_ARGS)
{
	PoolCatalog catalog;

	catalog_open(&catalog, fcinfo->flinfo->fn_oid);
	require_in_org(fcinfo, catalog.gateways, "gateway", "gateway_id");
	PG_RETURN_VOID();
}
