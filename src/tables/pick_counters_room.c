/*
 * pick_counters_room.c
 *		Removes counters of picks of deleted pools, members and databases.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/syscache.h"

#include "shared/pick_counters.h"
#include "tables/owner.h"
#include "tables/pick_counters_room.h"

/*
 * Moves the entries of pools and members of this database that do not exist to the
 * front; returns how many.  "execute" is owner_execute or owner_execute_committed.
 */
static int
find_missing(const PoolCatalog *catalog, PickCounter *copy, int count, uint64 (*execute) (SPIPlanPtr plan, Datum *values))
{
	Datum	   *ids = palloc(sizeof(Datum) * Max(count, 1));
	Oid			types[2] = {UUIDARRAYOID, UUIDARRAYOID};
	Datum		arrays[2];
	int			missing = 0;
	OwnerScope	scope;
	uint64		rows;

	for (int i = 0; i < count; i++)
		ids[i] = UUIDPGetDatum(&copy[i].key.pool);
	arrays[0] = PointerGetDatum(construct_array(ids, count, UUIDOID, UUID_LEN, false, TYPALIGN_CHAR));
	for (int i = 0; i < count; i++)
		ids[i] = UUIDPGetDatum(&copy[i].key.gateway);
	arrays[1] = PointerGetDatum(construct_array(ids, count, UUIDOID, UUID_LEN, false, TYPALIGN_CHAR));

	owner_begin(&scope, catalog->memberships);
	rows = execute(owner_prepare(psprintf("SELECT u.i FROM unnest($1, $2) WITH ORDINALITY u (p, g, i)"
										  " WHERE NOT EXISTS (SELECT FROM %s p WHERE p.id = u.p)"
										  " OR u.g <> '00000000-0000-0000-0000-000000000000' AND NOT EXISTS (SELECT FROM %s m"
										  " WHERE m.\"gatewayPoolId\" = u.p AND m.\"gatewayId\" = u.g) ORDER BY u.i",
										  catalog_name(catalog->pools), catalog_name(catalog->memberships)),
								 2, types), arrays);
	for (uint64 i = 0; i < rows; i++)
	{
		bool		is_null;

		copy[missing++] = copy[DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &is_null)) - 1];
	}
	owner_end(&scope);
	return missing;
}

/*
 * Moves the entries of deleted pools and members to the front; returns how many.  Those
 * that this transaction deletes or makes may exist, depending on how it ends.
 */
static int
find_gone(const PoolCatalog *catalog, PickCounter *copy, int count)
{
	int			missing = find_missing(catalog, copy, count, owner_execute);

	return find_missing(catalog, copy, missing, owner_execute_committed);
}

/*
 * pick_counters_room_make removes counters of deleted pools, members and databases, if
 * there is little room and it was not done a short while ago.
 */
void
pick_counters_room_make(const PoolCatalog *catalog)
{
	PickCounter *copy;
	PickCounter *own;
	int			count;
	int			own_count = 0;
	int			gone = 0;

	if (!pick_counters_begin_sweep())
		return;
	/* Copied before the rows are read, since later entries have later rows. */
	copy = pick_counters_copy(&count);
	own = palloc_extended(sizeof(PickCounter) * Max(count, 1), MCXT_ALLOC_HUGE);
	for (int i = 0; i < count; i++)
		if (copy[i].key.database == MyDatabaseId)
			own[own_count++] = copy[i];
		else if (!SearchSysCacheExists1(DATABASEOID, ObjectIdGetDatum(copy[i].key.database)))
			copy[gone++] = copy[i];
	pick_counters_remove(copy, gone);
	pick_counters_remove(own, find_gone(catalog, own, own_count));
	pfree(copy);
	pfree(own);
}

/*
 * pick_counters_room_is_short returns true if counters of existing pools and members
 * were dropped lately because there are too many.
 */
bool
pick_counters_room_is_short(const PoolCatalog *catalog)
{
	PickCounter *copy;
	int			count;
	int64		wanted;

	if (!pick_counters_evicted_lately())
		return false;
	wanted = owner_count(catalog->pools, psprintf("SELECT count(*) FROM %s", catalog_name(catalog->pools)), NULL) +
		owner_count(catalog->memberships, psprintf("SELECT count(*) FROM %s", catalog_name(catalog->memberships)), NULL);
	copy = pick_counters_copy(&count);
	for (int i = 0; i < count; i++)
		wanted += copy[i].key.database != MyDatabaseId;
	pfree(copy);
	return wanted > pick_counters_capacity();
}
