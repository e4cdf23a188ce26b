/*
 * management.c
 *		The management functions that change pools and members.
 *
 * Each checks the right to its action, then the organization's plan, then that the
 * pool and the gateway exist; then it runs one statement as the owner of the table,
 * so that the caller needs no other right.  Triggers enforce the rules.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "api/management.h"
#include "api/table_change.h"
#include "base/argument.h"
#include "base/compat.h"
#include "base/uuid.h"
#include "shared/worker_slots.h"
#include "tables/access.h"
#include "tables/catalog.h"
#include "tables/consumers.h"
#include "tables/entitlement.h"
#include "tables/isolation.h"
#include "tables/org_column.h"
#include "tables/owner.h"
#include "tables/policies.h"
#include "tables/pool_name.h"

PG_FUNCTION_INFO_V1(require_installed);
PG_FUNCTION_INFO_V1(create_gateway_pool);
PG_FUNCTION_INFO_V1(update_gateway_pool);
PG_FUNCTION_INFO_V1(delete_gateway_pool);
PG_FUNCTION_INFO_V1(add_gateway_to_pool);
PG_FUNCTION_INFO_V1(remove_gateway_from_pool);

/* The columns of a pool that the functions return. */
#define POOL_COLUMNS "id::uuid, \"orgId\"::uuid, name::text, \"createdAt\"::timestamptz, \"updatedAt\"::timestamptz"

/* management_refuse_missing raises P0002: the organization has no such row. */
void
management_refuse_missing(Oid relation, const char *kind, const pg_uuid_t *id)
{
	ereport(ERROR,
			(errcode(ERRCODE_NO_DATA_FOUND),
			 errmsg("%s %s does not exist in the organization", kind, uuid_text(id)),
			 catalog_error_constraint(relation, "gateway_pools_not_found")));
}

/* Runs a statement on a pool and returns its row; P0002 if the pool was deleted meanwhile. */
static Datum
run_on_pool(FunctionCallInfo fcinfo, TableChange *change, const pg_uuid_t *id)
{
	HeapTuple	pool = table_change_run(fcinfo, change);

	if (pool == NULL)
		management_refuse_missing(change->relation, "gateway pool", id);
	return HeapTupleGetDatum(pool);
}

/* Returns an argument, an id; P0002 unless the organization has a row of that id. */
static const pg_uuid_t *
require_in_org(FunctionCallInfo fcinfo, const PoolCatalog *catalog, Oid relation, const pg_uuid_t *org,
			   const char *kind, int argument, const char *name)
{
	const pg_uuid_t *id = argument_uuid(fcinfo, argument, name);
	Datum		values[2] = {UUIDPGetDatum(id), UUIDPGetDatum(org)};
	OwnerScope	scope;
	bool		found;

	if (isolation_hides(catalog, org))
		management_refuse_missing(relation, kind, id);
	if (policies_apply(relation))
		owner_begin_as_caller(&scope, relation);
	else
		owner_begin(&scope, relation);
	found = owner_execute(owner_prepare(psprintf("SELECT FROM %s WHERE id = $1 AND %s = $2",
												 catalog_name(relation), org_column_name(catalog, relation)),
										2, (Oid[]) {UUIDOID, UUIDOID}), values) > 0;
	owner_end(&scope);
	if (!found)
		management_refuse_missing(relation, kind, id);
	return id;
}

/* management_require_pool returns the second argument, a pool's id; P0002 unless the organization has it. */
const pg_uuid_t *
management_require_pool(FunctionCallInfo fcinfo, const PoolCatalog *catalog, const pg_uuid_t *org)
{
	return require_in_org(fcinfo, catalog, catalog->pools, org, "gateway pool", 1, "pool_id");
}

static const pg_uuid_t *
require_gateway(FunctionCallInfo fcinfo, const PoolCatalog *catalog, const pg_uuid_t *org)
{
	return require_in_org(fcinfo, catalog, catalog->gateways, org, "gateway", 2, "gateway_id");
}

/* Opens the catalog, checks the caller's right and returns the first argument, an organization's id. */
static const pg_uuid_t *
begin_in_org(FunctionCallInfo fcinfo, PoolCatalog *catalog, AccessRight right)
{
	catalog_open(catalog);
	access_require(catalog, right);
	(void) worker_slots_want_here();
	return argument_uuid(fcinfo, 0, "org_id");
}

/*
 * management_begin opens the catalog, checks the caller's right and the organization's
 * plan, and returns the first argument, the organization's id.
 */
const pg_uuid_t *
management_begin(FunctionCallInfo fcinfo, PoolCatalog *catalog, AccessRight right)
{
	const pg_uuid_t *org = begin_in_org(fcinfo, catalog, right);

	(void) entitlement_require(catalog, isolation_hides(catalog, org) ? NULL : org);
	return org;
}

/*
 * management_refuse_foreign raises the error of a policy (42501), before another check
 * could reveal the organization.
 */
void
management_refuse_foreign(Oid relation)
{
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("new row violates row-level security policy for table \"%s\"", get_rel_name(relation))));
}

/* require_installed() raises 55000 unless gateway pools are installed. */
Datum
require_installed(PG_FUNCTION_ARGS)
{
	PoolCatalog catalog;

	catalog_open(&catalog);
	PG_RETURN_VOID();
}

/*
 * create_gateway_pool(org_id uuid, name text) returns the pool
 *
 * Needs INSERT on gateway_pools ("orgId", name).
 */
Datum
create_gateway_pool(PG_FUNCTION_ARGS)
{
	PoolCatalog catalog;
	const pg_uuid_t *org = begin_in_org(fcinfo, &catalog, RIGHT_CREATE);
	TableChange change = {.relation = catalog.pools};
	HeapTuple	pool;

	if (isolation_hides(&catalog, org))
		management_refuse_foreign(catalog.pools);
	(void) entitlement_require(&catalog, org);
	argument_require(fcinfo, 1, "name");
	change.sql = psprintf("INSERT INTO %s (\"orgId\", name) VALUES ($1, $2) RETURNING " POOL_COLUMNS,
						  catalog_name(catalog.pools));
	table_change_argument(&change, UUIDOID, false, UUIDPGetDatum(org));
	table_change_argument(&change, TEXTOID, false, PointerGetDatum(pool_name_read(catalog.pools, PG_GETARG_TEXT_PP(1))));
	pool = table_change_run(fcinfo, &change);
	/* A trigger of the host may have skipped the row without an error. */
	if (pool == NULL)
		PG_RETURN_NULL();
	PG_RETURN_DATUM(HeapTupleGetDatum(pool));
}

/*
 * update_gateway_pool(org_id uuid, pool_id uuid, name text) returns the pool
 *
 * A null name leaves it unchanged.  Needs UPDATE on gateway_pools (name).
 */
Datum
update_gateway_pool(PG_FUNCTION_ARGS)
{
	PoolCatalog catalog;
	const pg_uuid_t *org = management_begin(fcinfo, &catalog, RIGHT_RENAME);
	const pg_uuid_t *id = management_require_pool(fcinfo, &catalog, org);
	TableChange change = {.relation = catalog.pools};
	Datum		name = 0;

	if (!PG_ARGISNULL(2))
		name = PointerGetDatum(pool_name_read(catalog.pools, PG_GETARG_TEXT_PP(2)));
	change.sql = psprintf("UPDATE %s SET name = coalesce($3, name) WHERE id = $1 AND \"orgId\" = $2 RETURNING " POOL_COLUMNS,
						  catalog_name(catalog.pools));
	table_change_argument(&change, UUIDOID, false, UUIDPGetDatum(id));
	table_change_argument(&change, UUIDOID, false, UUIDPGetDatum(org));
	table_change_argument(&change, TEXTOID, PG_ARGISNULL(2), name);
	PG_RETURN_DATUM(run_on_pool(fcinfo, &change, id));
}

/*
 * delete_gateway_pool(org_id uuid, pool_id uuid) returns the pool as it was
 *
 * Needs DELETE on gateway_pools.
 */
Datum
delete_gateway_pool(PG_FUNCTION_ARGS)
{
	PoolCatalog catalog;
	const pg_uuid_t *org = management_begin(fcinfo, &catalog, RIGHT_DELETE);
	const pg_uuid_t *id = management_require_pool(fcinfo, &catalog, org);

	/*
	 * Triggers of another owner fire on the cascade: what they leave in the
	 * session must not run as the caller.
	 */
	TableChange change = {.relation = catalog.pools, .restricted = consumers_have_strangers(&catalog)};

	change.sql = psprintf("DELETE FROM %s WHERE id = $1 AND \"orgId\" = $2 RETURNING " POOL_COLUMNS, catalog_name(catalog.pools));
	table_change_argument(&change, UUIDOID, false, UUIDPGetDatum(id));
	table_change_argument(&change, UUIDOID, false, UUIDPGetDatum(org));
	PG_RETURN_DATUM(run_on_pool(fcinfo, &change, id));
}

/* Refuses a value other than the default for a column that a migration of the host has dropped. */
static void
require_default(bool has_column, const char *name, int32 value, int32 otherwise, Oid memberships)
{
	if (!has_column && value != otherwise)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table \"%s\" has no column \"%s\"", get_rel_name(memberships), name),
				 errhint("Call install_gateway_pools(), which adds it."),
				 catalog_error_constraint(memberships, "gateway_pools_not_installed")));
}

/*
 * add_gateway_to_pool(org_id uuid, pool_id uuid, gateway_id uuid, weight int,
 *     priority int) returns the membership
 *
 * Needs INSERT on gateway_pool_memberships ("gatewayPoolId", "gatewayId",
 * "pickWeight", "pickPriority").  If the table lacks one of the last two, any value
 * but its default is an error (55000).
 */
Datum
add_gateway_to_pool(PG_FUNCTION_ARGS)
{
	PoolCatalog catalog;
	const pg_uuid_t *org = management_begin(fcinfo, &catalog, RIGHT_ADD_MEMBER);
	const pg_uuid_t *pool = management_require_pool(fcinfo, &catalog, org);
	const pg_uuid_t *gateway = require_gateway(fcinfo, &catalog, org);
	TableChange change = {.relation = catalog.memberships};
	HeapTuple	membership;

	if (PG_ARGISNULL(3) || PG_ARGISNULL(4))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("weight and priority must not be null")));
	require_default(catalog.has_weight, "pickWeight", PG_GETARG_INT32(3), 1, catalog.memberships);
	require_default(catalog.has_priority, "pickPriority", PG_GETARG_INT32(4), 0, catalog.memberships);

	/*
	 * First, as set_gateway_pool_members does, which then adds no gateway
	 * that a session is adding: no deadlock.
	 */
	owner_lock_row(catalog.pools, pool, "NO KEY UPDATE");
	change.sql = psprintf("INSERT INTO %s (\"gatewayPoolId\", \"gatewayId\"%s%s)"
						  " SELECT r.pool, r.gateway%s%s FROM (VALUES ($1, $2, $3, $4)) r (pool, gateway, weight, priority)"
						  " RETURNING id::uuid, \"gatewayPoolId\"::uuid, \"gatewayId\"::uuid, %s, %s, \"createdAt\"::timestamptz",
						  catalog_name(catalog.memberships),
						  catalog.has_weight ? ", \"pickWeight\"" : "", catalog.has_priority ? ", \"pickPriority\"" : "",
						  catalog.has_weight ? ", r.weight" : "", catalog.has_priority ? ", r.priority" : "",
						  catalog.has_weight ? "\"pickWeight\"::int4" : "1", catalog.has_priority ? "\"pickPriority\"::int4" : "0");
	table_change_argument(&change, UUIDOID, false, UUIDPGetDatum(pool));
	table_change_argument(&change, UUIDOID, false, UUIDPGetDatum(gateway));
	table_change_argument(&change, INT4OID, false, PG_GETARG_DATUM(3));
	table_change_argument(&change, INT4OID, false, PG_GETARG_DATUM(4));
	membership = table_change_run(fcinfo, &change);
	if (membership == NULL)
		PG_RETURN_NULL();
	PG_RETURN_DATUM(HeapTupleGetDatum(membership));
}

/*
 * remove_gateway_from_pool(org_id uuid, pool_id uuid, gateway_id uuid) returns
 * the membership as it was
 *
 * Needs DELETE on gateway_pool_memberships.
 */
Datum
remove_gateway_from_pool(PG_FUNCTION_ARGS)
{
	PoolCatalog catalog;
	const pg_uuid_t *org = management_begin(fcinfo, &catalog, RIGHT_REMOVE_MEMBER);
	const pg_uuid_t *pool = management_require_pool(fcinfo, &catalog, org);
	const pg_uuid_t *gateway = require_gateway(fcinfo, &catalog, org);
	TableChange change = {.relation = catalog.memberships};
	HeapTuple	membership;

	change.sql = psprintf("DELETE FROM %s WHERE \"gatewayPoolId\" = $1 AND \"gatewayId\" = $2"
						  " RETURNING id::uuid, \"gatewayPoolId\"::uuid, \"gatewayId\"::uuid, \"createdAt\"::timestamptz",
						  catalog_name(catalog.memberships));
	table_change_argument(&change, UUIDOID, false, UUIDPGetDatum(pool));
	table_change_argument(&change, UUIDOID, false, UUIDPGetDatum(gateway));
	membership = table_change_run(fcinfo, &change);
	if (membership == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_NO_DATA_FOUND),
				 errmsg("gateway %s is not a member of gateway pool %s", uuid_text(gateway), uuid_text(pool)),
				 catalog_error_constraint(catalog.memberships, "gateway_pools_not_found")));
	PG_RETURN_DATUM(HeapTupleGetDatum(membership));
}
