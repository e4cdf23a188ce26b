/*
 * map.c
 *		The map of slots alone, in a server of its own, for test/t/023_map.pl: it
 *		takes and frees slots faster than any SQL statement can.
 */
#include "postgres.h"

#include "common/pg_prng.h"
#include "fmgr.h"
#include "storage/ipc.h"

#include "../src/shared/health_map.c"

#include "base/compat.h"

PG_MODULE_MAGIC;

PGDLLEXPORT void _PG_init(void);

PG_FUNCTION_INFO_V1(map_fill);
PG_FUNCTION_INFO_V1(map_churn);

int			setting_max_gateways = 64;

static shmem_request_hook_type previous_request;
static shmem_startup_hook_type previous_startup;

static void
request(void)
{
	if (previous_request)
		previous_request();
	RequestAddinShmemSpace(health_map_size());
	RequestNamedLWLockTranche("gateway_pool", SHARED_LOCKS);
}

static void
startup(void)
{
	if (previous_startup)
		previous_startup();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	health_map_startup();
	LWLockRelease(AddinShmemInitLock);
}

void
_PG_init(void)
{
	CHAIN_SHMEM_REQUEST(previous_request, request);
	previous_startup = shmem_startup_hook;
	shmem_startup_hook = startup;
}

static HealthSlotRef
create(pg_uuid_t *gateway, SlotCreation *creation)
{
	uint64		halves[2] = {pg_prng_uint64(&pg_global_prng_state), pg_prng_uint64(&pg_global_prng_state)};

	memcpy(gateway->data, halves, sizeof(halves));
	return health_map_create(1, gateway, health_map_deletion_count(), creation);
}

/* map_fill(n int) returns int: makes up to n slots, and returns their number. */
Datum
map_fill(PG_FUNCTION_ARGS)
{
	int			made = 0;

	for (int i = 0; i < PG_GETARG_INT32(0); i++)
	{
		pg_uuid_t	gateway;
		SlotCreation creation;

		(void) create(&gateway, &creation);
		made += creation == SLOT_CREATED;
	}
	PG_RETURN_INT32(made);
}

/*
 * map_churn(milliseconds int) returns bigint: makes slots and frees them again, and
 * returns their number.  Raises an error if a slot does not belong to its gateway.
 */
Datum
map_churn(PG_FUNCTION_ARGS)
{
	int64		end = clock_monotonic() + PG_GETARG_INT32(0) * INT64CONST(1000);
	int64		made = 0;

	while (clock_monotonic() < end)
	{
		pg_uuid_t	gateway;
		SlotCreation creation;
		HealthSlotRef ref = create(&gateway, &creation);
		HealthSlotRef found = health_map_find(1, &gateway);

		CHECK_FOR_INTERRUPTS();
		if (creation != (ref.number == NO_SLOT ? SLOT_MAP_FULL : SLOT_CREATED) ||
			found.number != ref.number || found.generation != ref.generation)
			elog(ERROR, "the slot of a gateway is not found");
		if (ref.number == NO_SLOT)
			continue;
		if (!health_map_matches(ref, 1, &gateway))
			elog(ERROR, "the slot of a gateway belongs to another");
		made++;
		health_map_free(ref);
		if (health_map_find(1, &gateway).number != NO_SLOT)
			elog(ERROR, "a freed slot is found");
	}
	PG_RETURN_INT64(made);
}
