/*
 * management.c
 *		The management functions that change something, and what the others check.
 *
 * Each checks the right that its action takes, then the organization's plan,
 * then what has to exist; then it runs one statement as the owner of the table,
 * so that it takes no other right.  The triggers hold the rules.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "access.h"
#include "argument.h"
#include "catalog.h"
#include "compat.h"
#include "entitlement.h"
#include "isolation.h"
#include "owner.h"
#include "pool_name.h"

PG_FUNCTION_INFO_V1(gateway_pool_require_installed);
PG_FUNCTION_INFO_V1(gateway_pool_require_plan);
PG_FUNCTION_INFO_V1(gateway_pool_require_pool);
PG_FUNCTION_INFO_V1(gateway_pool_create);
PG_FUNCTION_INFO_V1(gateway_pool_update);
PG_FUNCTION_INFO_V1(gateway_pool_delete);
PG_FUNCTION_INFO_V1(gateway_pool_add_gateway);
PG_FUNCTION_INFO_V1(gateway_pool_remove_gateway);

/* What the functions return of a pool. */
#define POOL_COLUMNS "id::uuid, \"orgId\"::uuid, name::text, \"createdAt\"::timestamptz, \"updatedAt\"::timestamptz"

#define ARGUMENTS_MAX 4

/* A statement on its way, and its arguments. */
typedef struct Change
{
	Oid			relation;
	const char *sql;			/* one statement, with RETURNING */
	int			count;
	Oid			types[ARGUMENTS_MAX];
	Datum		values[ARGUMENTS_MAX];
	char		nulls[ARGUMENTS_MAX];
} Change;

/* Adds $1, $2 and so on; NULL where there is no value. */
static void
add_argument(Change *change, Oid type, bool is_null, Datum value)
{
	change->types[change->count] = type;
	change->values[change->count] = value;
	change->nulls[change->count] = is_null ? 'n' : ' ';
	change->count++;
}

/* Runs the statement as the owner of its table and returns its row, or NULL if there is none. */
static HeapTuple
run(FunctionCallInfo fcinfo, Change *change)
{
	MemoryContext context = CurrentMemoryContext;
	HeapTuple	result = NULL;
	TupleDesc	columns;
	OwnerScope	scope;

	if (get_call_result_type(fcinfo, NULL, &columns) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	columns = BlessTupleDesc(columns);

	owner_begin_change(&scope, change->relation);
	if (owner_change(owner_prepare(change->sql, change->count, change->types), change->values, change->nulls) > 0)
	{
		Datum	   *values = palloc(sizeof(Datum) * columns->natts);
		bool	   *nulls = palloc(sizeof(bool) * columns->natts);

		for (int i = 0; i < columns->natts; i++)
			values[i] = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, i + 1, &nulls[i]);
		MemoryContextSwitchTo(context);
		result = heap_form_tuple(columns, values, nulls);
	}
	owner_end(&scope);
	return result;
}

static void
refuse_missing(const char *kind, const pg_uuid_t *id)
{
	ereport(ERROR,
			(errcode(ERRCODE_NO_DATA_FOUND),
			 errmsg("%s %s does not exist in the organization", kind, uuid_text(id))));
}

/* Runs a statement on a pool that was there a moment ago, and returns its row. */
static Datum
run_on_pool(FunctionCallInfo fcinfo, Change *change, const pg_uuid_t *id)
{
	HeapTuple	pool = run(fcinfo, change);

	if (pool == NULL)
		refuse_missing("gateway pool", id);
	return HeapTupleGetDatum(pool);
}

/* Returns an id, an argument, and raises P0002 unless the organization has a row of that id. */
static const pg_uuid_t *
require_in_org(FunctionCallInfo fcinfo, const PoolCatalog *catalog, Oid relation, const pg_uuid_t *org,
			   const char *kind, int argument, const char *name)
{
	const pg_uuid_t *id = argument_uuid(fcinfo, argument, name);
	Datum		values[2] = {UUIDPGetDatum(id), UUIDPGetDatum(org)};
	OwnerScope	scope;
	bool		found;

	if (isolation_hides(catalog, org))
		refuse_missing(kind, id);
	owner_begin(&scope, relation);
	found = owner_execute(owner_prepare(psprintf("SELECT FROM %s WHERE id = $1 AND \"orgId\" = $2",
												 catalog_name(relation)),
										2, (Oid[]) {UUIDOID, UUIDOID}), values) > 0;
	owner_end(&scope);
	if (!found)
		refuse_missing(kind, id);
	return id;
}

static const pg_uuid_t *
require_pool(FunctionCallInfo fcinfo, const PoolCatalog *catalog, const pg_uuid_t *org)
{
	return require_in_org(fcinfo, catalog, catalog->pools, org, "gateway pool", 1, "pool_id");
}

static const pg_uuid_t *
require_gateway(FunctionCallInfo fcinfo, const PoolCatalog *catalog, const pg_uuid_t *org)
{
	return require_in_org(fcinfo, catalog, catalog->gateways, org, "gateway", 2, "gateway_id");
}

/* What each function begins with: the right, and the organization, its first argument. */
static const pg_uuid_t *
begin_in_org(FunctionCallInfo fcinfo, PoolCatalog *catalog, AccessRight right)
{
	catalog_open(catalog, fcinfo->flinfo->fn_oid);
	access_require(catalog, right);
	return argument_uuid(fcinfo, 0, "org_id");
}

/* The same, and that the organization has a plan. */
static const pg_uuid_t *
begin(FunctionCallInfo fcinfo, PoolCatalog *catalog, AccessRight right)
{
	const pg_uuid_t *org = begin_in_org(fcinfo, catalog, right);

	(void) entitlement_require(catalog, isolation_hides(catalog, org) ? NULL : org);
	return org;
}

/* As the policy would: before the plan and the limits could tell anything about the organization. */
static void
refuse_foreign(const PoolCatalog *catalog)
{
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("new row violates row-level security policy for table \"%s\"", get_rel_name(catalog->pools))));
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
 * require_gateway_pool_plan(org_id uuid): 42501 without SELECT on gateway_pools,
 * as from a statement, then 42501 of gateway_pools_entitlement without a plan.
 */
Datum
gateway_pool_require_plan(PG_FUNCTION_ARGS)
{
	PoolCatalog catalog;

	(void) begin(fcinfo, &catalog, RIGHT_LIST);
	PG_RETURN_VOID();
}

/*
 * require_gateway_pool(org_id uuid, pool_id uuid): the same, then P0002 unless
 * the organization has such a pool, 22023 for NULL.
 */
Datum
gateway_pool_require_pool(PG_FUNCTION_ARGS)
{
	PoolCatalog catalog;
	const pg_uuid_t *org = begin(fcinfo, &catalog, RIGHT_LIST);

	(void) require_pool(fcinfo, &catalog, org);
	PG_RETURN_VOID();
}

/*
 * create_gateway_pool(org_id uuid, name text) returns the pool
 *
 * Needs INSERT on gateway_pools ("orgId", name).
 */
Datum
gateway_pool_create(PG_FUNCTION_ARGS)
{
	PoolCatalog catalog;
	const pg_uuid_t *org = begin_in_org(fcinfo, &catalog, RIGHT_CREATE);
	Change		change = {.relation = catalog.pools};
	HeapTuple	pool;

	if (isolation_hides(&catalog, org))
		refuse_foreign(&catalog);
	(void) entitlement_require(&catalog, org);
	argument_require(fcinfo, 1, "name");
	change.sql = psprintf("INSERT INTO %s (\"orgId\", name) VALUES ($1, $2) RETURNING " POOL_COLUMNS,
						  catalog_name(catalog.pools));
	add_argument(&change, UUIDOID, false, UUIDPGetDatum(org));
	add_argument(&change, TEXTOID, false, PointerGetDatum(pool_name_read(catalog.pools, PG_GETARG_TEXT_PP(1))));
	pool = run(fcinfo, &change);
	/* A trigger of the host's may have refused it in silence. */
	if (pool == NULL)
		PG_RETURN_NULL();
	PG_RETURN_DATUM(HeapTupleGetDatum(pool));
}

/*
 * update_gateway_pool(org_id uuid, pool_id uuid, name text) returns the pool
 *
 * NULL leaves the name.  Needs UPDATE on gateway_pools (name).
 */
Datum
gateway_pool_update(PG_FUNCTION_ARGS)
{
	PoolCatalog catalog;
	const pg_uuid_t *org = begin(fcinfo, &catalog, RIGHT_RENAME);
	const pg_uuid_t *id = require_pool(fcinfo, &catalog, org);
	Change		change = {.relation = catalog.pools};
	Datum		name = 0;

	if (!PG_ARGISNULL(2))
		name = PointerGetDatum(pool_name_read(catalog.pools, PG_GETARG_TEXT_PP(2)));
	change.sql = psprintf("UPDATE %s SET name = coalesce($3, name) WHERE id = $1 AND \"orgId\" = $2 RETURNING " POOL_COLUMNS,
						  catalog_name(catalog.pools));
	add_argument(&change, UUIDOID, false, UUIDPGetDatum(id));
	add_argument(&change, UUIDOID, false, UUIDPGetDatum(org));
	add_argument(&change, TEXTOID, PG_ARGISNULL(2), name);
	PG_RETURN_DATUM(run_on_pool(fcinfo, &change, id));
}

/*
 * delete_gateway_pool(org_id uuid, pool_id uuid) returns the pool as it was
 *
 * Needs DELETE on gateway_pools.
 */
Datum
gateway_pool_delete(PG_FUNCTION_ARGS)
{
	PoolCatalog catalog;
	const pg_uuid_t *org = begin(fcinfo, &catalog, RIGHT_DELETE);
	const pg_uuid_t *id = require_pool(fcinfo, &catalog, org);
	Change		change = {.relation = catalog.pools};

	change.sql = psprintf("DELETE FROM %s WHERE id = $1 AND \"orgId\" = $2 RETURNING " POOL_COLUMNS, catalog_name(catalog.pools));
	add_argument(&change, UUIDOID, false, UUIDPGetDatum(id));
	add_argument(&change, UUIDOID, false, UUIDPGetDatum(org));
	PG_RETURN_DATUM(run_on_pool(fcinfo, &change, id));
}

/*
 * add_gateway_to_pool(org_id uuid, pool_id uuid, gateway_id uuid, weight int,
 *     priority int) returns the membership
 *
 * Needs INSERT on gateway_pool_memberships ("gatewayPoolId", "gatewayId", weight,
 * priority).
 */
Datum
gateway_pool_add_gateway(PG_FUNCTION_ARGS)
{
	PoolCatalog catalog;
	const pg_uuid_t *org = begin(fcinfo, &catalog, RIGHT_ADD_MEMBER);
	const pg_uuid_t *pool = require_pool(fcinfo, &catalog, org);
	const pg_uuid_t *gateway = require_gateway(fcinfo, &catalog, org);
	Change		change = {.relation = catalog.memberships};
	HeapTuple	membership;

	if (PG_ARGISNULL(3) || PG_ARGISNULL(4))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("weight and priority must not be null")));
	change.sql = psprintf("INSERT INTO %s (\"gatewayPoolId\", \"gatewayId\", weight, priority) VALUES ($1, $2, $3, $4)"
						  " RETURNING id::uuid, \"gatewayPoolId\"::uuid, \"gatewayId\"::uuid, weight::int4, priority::int4,"
						  " \"createdAt\"::timestamptz", catalog_name(catalog.memberships));
	add_argument(&change, UUIDOID, false, UUIDPGetDatum(pool));
	add_argument(&change, UUIDOID, false, UUIDPGetDatum(gateway));
	add_argument(&change, INT4OID, false, PG_GETARG_DATUM(3));
	add_argument(&change, INT4OID, false, PG_GETARG_DATUM(4));
	membership = run(fcinfo, &change);
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
gateway_pool_remove_gateway(PG_FUNCTION_ARGS)
{
	PoolCatalog catalog;
	const pg_uuid_t *org = begin(fcinfo, &catalog, RIGHT_REMOVE_MEMBER);
	const pg_uuid_t *pool = require_pool(fcinfo, &catalog, org);
	const pg_uuid_t *gateway = require_gateway(fcinfo, &catalog, org);
	Change		change = {.relation = catalog.memberships};
	HeapTuple	membership;

	change.sql = psprintf("DELETE FROM %s WHERE \"gatewayPoolId\" = $1 AND \"gatewayId\" = $2"
						  " RETURNING id::uuid, \"gatewayPoolId\"::uuid, \"gatewayId\"::uuid, \"createdAt\"::timestamptz",
						  catalog_name(catalog.memberships));
	add_argument(&change, UUIDOID, false, UUIDPGetDatum(pool));
	add_argument(&change, UUIDOID, false, UUIDPGetDatum(gateway));
	membership = run(fcinfo, &change);
	if (membership == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_NO_DATA_FOUND),
				 errmsg("gateway %s is not a member of gateway pool %s", uuid_text(gateway), uuid_text(pool))));
	PG_RETURN_DATUM(HeapTupleGetDatum(membership));
}
