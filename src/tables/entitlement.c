/*
 * entitlement.c
 *		Entitlements: what the plans of organizations allow, and whether they require pools.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "executor/spi.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "base/settings.h"
#include "tables/entitlement.h"
#include "tables/owner.h"

/* Returns a column of the row that was read, or "absent" if it is null. */
static int32
limit_column(int column, int32 absent)
{
	bool		is_null;
	Datum		value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, column, &is_null);

	return is_null ? absent : DatumGetInt32(value);
}

/*
 * entitlement_read returns the entitlement of an organization as of now: its row in
 * gateway_pool_entitlements, with the settings where a column is null or there is no
 * row.  NULL is an organization that does not exist.
 */
Entitlement
entitlement_read(const PoolCatalog *catalog, const pg_uuid_t *org)
{
	OwnerScope	scope;
	Entitlement entitlement = {
		.gateway_pool = setting_default_entitlement,
		.max_pools = setting_max_pools_per_org,
		.max_gateways_per_pool = setting_max_gateways_per_pool
	};

	if (org == NULL)
		return entitlement;
	owner_begin(&scope, catalog->entitlements);
	if (owner_query(psprintf("SELECT \"gatewayPool\"::bool, \"expiresAt\"::timestamptz, \"maxPools\"::int4,"
							 " \"maxGatewaysPerPool\"::int4 FROM %s WHERE \"orgId\" = $1", catalog_name(catalog->entitlements)), org) > 0)
	{
		HeapTuple	row = SPI_tuptable->vals[0];
		TupleDesc	columns = SPI_tuptable->tupdesc;
		bool		is_null;

		entitlement.gateway_pool = DatumGetBool(SPI_getbinval(row, columns, 1, &is_null));
		entitlement.expires_at = DatumGetTimestampTz(SPI_getbinval(row, columns, 2, &is_null));
		entitlement.expires = !is_null;
		if (entitlement.expires && entitlement.expires_at <= GetCurrentTimestamp())
			entitlement.gateway_pool = false;
		entitlement.max_pools = limit_column(3, entitlement.max_pools);
		entitlement.max_gateways_per_pool = limit_column(4, entitlement.max_gateways_per_pool);
	}
	owner_end(&scope);
	return entitlement;
}

/*
 * entitlement_require is entitlement_read with an error (42501) unless the plan of the
 * organization has gateway pools.
 */
Entitlement
entitlement_require(const PoolCatalog *catalog, const pg_uuid_t *org)
{
	Entitlement entitlement = entitlement_read(catalog, org);

	if (entitlement.gateway_pool)
		return entitlement;

	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("the organization's plan does not support gateway pools"),
			 entitlement.expires && entitlement.expires_at <= GetCurrentTimestamp() ?
			 errdetail("The entitlement expired at %s.", timestamptz_to_str(entitlement.expires_at)) : 0,
			 errhint("Upgrade the plan. Without one, pools are still picked from, detached, and deleted by a plain DELETE FROM %s.",
					 catalog_name(catalog->pools)),
			 catalog_error_constraint(catalog->pools, "gateway_pools_entitlement")));
	return entitlement;			/* keeps the compiler quiet */
}

/*
 * entitlement_requires_pools returns true if the policy of an organization requires
 * pools in place of single gateways; false if the host has no such policy.
 */
bool
entitlement_requires_pools(const PoolCatalog *catalog, const pg_uuid_t *org)
{
	return get_attnum(catalog->organizations, "requireGatewayPools") != InvalidAttrNumber &&
		owner_exists(catalog->organizations,
					 psprintf("SELECT FROM %s WHERE id = $1 AND \"requireGatewayPools\"",
							  catalog_name(catalog->organizations)), org);
}
