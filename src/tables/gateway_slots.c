/*
 * gateway_slots.c
 *		Makes slots in the health map for gateways, and frees those of deleted ones.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/procarray.h"
#include "utils/hsearch.h"
#include "utils/syscache.h"

#include "base/clock.h"
#include "tables/gateway_slots.h"
#include "tables/owner.h"

/*
 * Moves the slots that may be freed if no committed row is theirs to the front, and
 * returns how many: a transaction that is in progress may have made the others for a
 * row that only it sees.
 */
static int
settled_slots(HealthSlotEntry *slots, int count)
{
	int			settled = 0;

	for (int i = 0; i < count; i++)
		if (!TransactionIdIsValid(slots[i].made_by) || !TransactionIdIsInProgress(slots[i].made_by))
			slots[settled++] = slots[i];
	return settled;
}

/*
 * Frees the slots of deleted gateways and databases whose deletion was not noticed, and
 * of gateways whose insertion was rolled back.
 */
static void
sweep_slots(const PoolCatalog *catalog)
{
	int			slot_count;
	HealthSlotEntry *slots = health_map_list(&slot_count);
	HASHCTL		control = {
		.keysize = sizeof(pg_uuid_t),
		.entrysize = sizeof(pg_uuid_t),
		.hcxt = CurrentMemoryContext
	};
	HTAB	   *ids = hash_create("gateways", 1024, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	OwnerScope	scope;
	uint64		rows;

	/* Slots were listed first: the row of one made later may not be read. */
	slot_count = settled_slots(slots, slot_count);
	owner_begin(&scope, catalog->gateways);
	rows = owner_execute_committed(owner_prepare(psprintf("SELECT g.id::uuid FROM %s g WHERE g.id IS NOT NULL",
														  catalog_name(catalog->gateways)), 0, NULL), NULL);
	for (uint64 i = 0; i < rows; i++)
	{
		pg_uuid_t	id = owner_uuid(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1);

		(void) hash_search(ids, &id, HASH_ENTER, NULL);
	}
	owner_end(&scope);

	for (int i = 0; i < slot_count; i++)
		if (slots[i].database == MyDatabaseId ?
			slots[i].table != catalog->gateways ||
			hash_search(ids, &slots[i].gateway, HASH_FIND, NULL) == NULL :
			!SearchSysCacheExists1(DATABASEOID, ObjectIdGetDatum(slots[i].database)))
			health_map_free(slots[i].ref);
	hash_destroy(ids);
	pfree(slots);
}

/*
 * gateway_slots_make returns the slot of a gateway that was read, and makes it if there
 * is none.  If the map is full, it frees slots of deleted gateways first, now and then.
 * NO_SLOT if there is still no room, or if the row may be deleted: see "creation".
 */
HealthSlotRef
gateway_slots_make(const PoolCatalog *catalog, const GatewayRow *gateway, SlotCreation *creation)
{
	HealthSlotRef ref = health_map_create(catalog->gateways, &gateway->id, gateway->deletions, creation);

	if (*creation == SLOT_MAP_FULL && health_map_begin_sweep(clock_monotonic()))
	{
		sweep_slots(catalog);
		ref = health_map_create(catalog->gateways, &gateway->id, gateway->deletions, creation);
	}
	return ref;
}
