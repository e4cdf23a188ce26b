/*
 * visible_rows.c
 *		Rows that the policies of their owner show to the current role.
 *
 * Rows are read as the owner of the table.  If a policy other than that of isolation
 * applies to the role, the ids of the rows are read again, as the role, and rows that
 * it does not see are left out.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/hsearch.h"

#include "tables/owner.h"
#include "tables/policies.h"
#include "tables/visible_rows.h"

/* The keys of a membership, or the id of a pool or a gateway. */
typedef struct VisibleKey
{
	pg_uuid_t	id;
	pg_uuid_t	member;
} VisibleKey;

/*
 * Reads the keys of the rows that the role sees: one or two columns of a table, where
 * the column "filter" is one of the ids.
 */
static HTAB *
read_visible(Oid relation, const char *columns, const char *filter, Datum ids)
{
	HASHCTL		control = {.keysize = sizeof(VisibleKey), .entrysize = sizeof(VisibleKey), .hcxt = CurrentMemoryContext};
	HTAB	   *visible = hash_create("visible rows", 256, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	Oid			type = UUIDARRAYOID;
	OwnerScope	scope;
	uint64		rows;

	owner_begin_as_caller(&scope, relation);
	rows = owner_execute(owner_prepare(psprintf("SELECT %s FROM %s WHERE %s = ANY ($1)", columns, catalog_name(relation), filter),
									   1, &type), &ids);
	for (uint64 i = 0; i < rows; i++)
	{
		VisibleKey	key = {0};

		key.id = owner_uuid(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1);
		if (SPI_tuptable->tupdesc->natts > 1)
			key.member = owner_uuid(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 2);
		(void) hash_search(visible, &key, HASH_ENTER, NULL);
	}
	owner_end(&scope);
	return visible;
}

static bool
is_visible(HTAB *visible, const pg_uuid_t *id, const pg_uuid_t *member)
{
	VisibleKey	key = {.id = *id};

	if (member != NULL)
		key.member = *member;
	return hash_search(visible, &key, HASH_FIND, NULL) != NULL;
}

/* visible_rows_differ returns true if a policy may hide pools or members from the current role. */
bool
visible_rows_differ(const PoolCatalog *catalog)
{
	return policies_apply(catalog->pools) || policies_apply(catalog->memberships);
}

/*
 * visible_rows_of_pools removes the pools and the members that the current role does
 * not see, and returns the number of pools left.
 */
int
visible_rows_of_pools(const PoolCatalog *catalog, PoolRow *pools, int count)
{
	Datum	   *ids = palloc(sizeof(Datum) * Max(count, 1));
	Datum		array;
	HTAB	   *visible;
	int			left = 0;

	for (int i = 0; i < count; i++)
		ids[i] = UUIDPGetDatum(&pools[i].id);
	array = PointerGetDatum(construct_array(ids, count, UUIDOID, UUID_LEN, false, TYPALIGN_CHAR));

	if (policies_apply(catalog->pools))
	{
		visible = read_visible(catalog->pools, "id::uuid", "id", array);
		for (int i = 0; i < count; i++)
			if (is_visible(visible, &pools[i].id, NULL))
				pools[left++] = pools[i];
		count = left;
		hash_destroy(visible);
	}
	if (policies_apply(catalog->memberships))
	{
		visible = read_visible(catalog->memberships, "\"gatewayPoolId\"::uuid, \"gatewayId\"::uuid", "\"gatewayPoolId\"", array);
		for (int i = 0; i < count; i++)
		{
			int			member_count = 0;

			for (int j = 0; j < pools[i].member_count; j++)
				if (is_visible(visible, &pools[i].id, &pools[i].members[j].gateway.id))
					pools[i].members[member_count++] = pools[i].members[j];
			pools[i].member_count = member_count;
		}
		hash_destroy(visible);
	}
	return count;
}

/*
 * visible_rows_of_gateways removes the gateways that the current role does not see, and
 * returns the number left.
 */
int
visible_rows_of_gateways(const PoolCatalog *catalog, GatewayRow *gateways, int count)
{
	Datum	   *ids = palloc(sizeof(Datum) * Max(count, 1));
	HTAB	   *visible;
	int			left = 0;

	if (!policies_apply(catalog->gateways))
		return count;
	for (int i = 0; i < count; i++)
		ids[i] = UUIDPGetDatum(&gateways[i].id);
	visible = read_visible(catalog->gateways, "id::uuid", "id",
						   PointerGetDatum(construct_array(ids, count, UUIDOID, UUID_LEN, false, TYPALIGN_CHAR)));
	for (int i = 0; i < count; i++)
		if (is_visible(visible, &gateways[i].id, NULL))
			gateways[left++] = gateways[i];
	hash_destroy(visible);
	return left;
}
