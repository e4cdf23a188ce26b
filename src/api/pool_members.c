/*
 * pool_members.c
 *		All members of a pool, set at once.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "utils/array.h"

#include "api/management.h"
#include "api/table_change.h"
#include "base/argument.h"
#include "base/uuid.h"
#include "tables/org_column.h"
#include "tables/owner.h"
#include "tables/policies.h"

PG_FUNCTION_INFO_V1(set_gateway_pool_members);

/* Begins statements that read a table as the caller may: see policies.c. */
static void
begin_reading(OwnerScope *scope, Oid relation)
{
	if (policies_apply(relation))
		owner_begin_as_caller(scope, relation);
	else
		owner_begin(scope, relation);
}

/* Raises P0002 unless all gateways exist in the organization. */
static void
require_gateways(const PoolCatalog *catalog, const pg_uuid_t *org, Datum gateways)
{
	MemoryContext context = CurrentMemoryContext;
	Datum		values[2] = {UUIDPGetDatum(org), gateways};
	OwnerScope	scope;
	pg_uuid_t  *missing;

	begin_reading(&scope, catalog->gateways);
	(void) owner_execute(owner_prepare(psprintf("SELECT w.id FROM unnest($2) WITH ORDINALITY w (id, n)"
												" WHERE NOT EXISTS (SELECT FROM %s g WHERE g.id = w.id AND g.%s = $1)"
												" ORDER BY w.n LIMIT 1", catalog_name(catalog->gateways),
												org_column_name(catalog, catalog->gateways)),
									   2, (Oid[]) {UUIDOID, UUIDARRAYOID}), values);
	missing = owner_first_id(context);
	owner_end(&scope);
	if (missing != NULL)
		management_refuse_missing(catalog->gateways, "gateway", missing);
}

/*
 * Raises 40001 if the pool has other members: at a higher isolation level than READ
 * COMMITTED, the statement did not see those that were added after the transaction's
 * snapshot.
 */
static void
require_no_others(const PoolCatalog *catalog, const pg_uuid_t *pool, Datum gateways)
{
	Datum		values[2] = {UUIDPGetDatum(pool), gateways};
	OwnerScope	scope;
	bool		found;

	if (!IsolationUsesXactSnapshot())
		return;
	begin_reading(&scope, catalog->memberships);
	found = owner_execute(owner_prepare(psprintf("SELECT FROM %s WHERE \"gatewayPoolId\" = $1 AND \"gatewayId\" <> ALL ($2) LIMIT 1",
												 catalog_name(catalog->memberships)),
										2, (Oid[]) {UUIDOID, UUIDARRAYOID}), values) > 0;
	owner_end(&scope);
	if (found)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("could not serialize access due to concurrent update")));
}

/*
 * set_gateway_pool_members(org_id uuid, pool_id uuid, gateway_ids uuid[]) returns
 * added uuid[] and removed uuid[]
 *
 * Adds the gateways of the array that are no members, and removes the members that
 * are not in it.  Members that stay are not written.  Calls for the same pool wait for
 * each other: each locks the pool first, as a new member does for the limit, and then
 * reads the members.  It is one statement, so that triggers fire when all is done: a
 * full pool can change all its members.  Needs the privileges of
 * add_gateway_to_pool() and remove_gateway_from_pool(), and raises their errors; an
 * array that is null or contains null 22023.
 */
Datum
set_gateway_pool_members(PG_FUNCTION_ARGS)
{
	PoolCatalog catalog;
	const pg_uuid_t *org = management_begin(fcinfo, &catalog, RIGHT_ADD_MEMBER);
	const pg_uuid_t *pool;
	TableChange change = {.relation = catalog.memberships};
	HeapTuple	result;
	Datum	   *ids;
	bool	   *nulls;
	int			count;
	Datum		gateways;
	const char *memberships = catalog_name(catalog.memberships);

	access_require(&catalog, RIGHT_REMOVE_MEMBER);
	pool = management_require_pool(fcinfo, &catalog, org);
	argument_require(fcinfo, 2, "gateway_ids");
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(2), UUIDOID, UUID_LEN, false, TYPALIGN_CHAR, &ids, &nulls, &count);
	for (int i = 0; i < count; i++)
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("gateway_ids must not contain nulls")));
	gateways = PointerGetDatum(construct_array(ids, count, UUIDOID, UUID_LEN, false, TYPALIGN_CHAR));
	require_gateways(&catalog, org, gateways);

	owner_lock_row(catalog.pools, pool, "NO KEY UPDATE");
	change.sql = psprintf("WITH removed AS (DELETE FROM %s WHERE \"gatewayPoolId\" = $1 AND \"gatewayId\" <> ALL ($2)"
						  " RETURNING \"gatewayId\"::uuid AS id),"
						  " added AS (INSERT INTO %s (\"gatewayPoolId\", \"gatewayId\")"
						  " SELECT DISTINCT $1, w.id FROM unnest($2) w (id) ORDER BY w.id ON CONFLICT DO NOTHING"
						  " RETURNING \"gatewayId\"::uuid AS id)"
						  " SELECT coalesce((SELECT array_agg(a.id ORDER BY a.id) FROM added a), '{}'),"
						  " coalesce((SELECT array_agg(r.id ORDER BY r.id) FROM removed r), '{}')",
						  memberships, memberships);
	table_change_argument(&change, UUIDOID, false, UUIDPGetDatum(pool));
	table_change_argument(&change, UUIDARRAYOID, false, gateways);
	result = table_change_run(fcinfo, &change);
	require_no_others(&catalog, pool, gateways);
	PG_RETURN_DATUM(HeapTupleGetDatum(result));
}
