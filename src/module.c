/*
 * module.c
 *		Start of the library: in the postmaster if it is preloaded, else in each
 *		session that calls one of its functions.
 */
#include "postgres.h"

#include "fmgr.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"

#include "base/compat.h"
#include "base/invalidation.h"
#include "base/settings.h"
#include "base/shared_memory.h"
#include "base/transaction.h"
#include "pick/pool_cache.h"
#include "shared/commit_queue.h"
#include "shared/health_map.h"
#include "shared/pick_counters.h"
#include "shared/probe_on_demand.h"
#include "shared/reservation.h"
#include "shared/worker_slots.h"
#include "tables/access.h"
#include "tables/catalog.h"
#include "tables/isolation.h"
#include "worker/database_hook.h"
#include "worker/launcher.h"

GATEWAY_POOL_MODULE_MAGIC;

void		_PG_init(void);

/* Called at the ends of transactions in this order. */
static const TransactionSubscriber *const transaction_subscribers[] = {
	&commit_queue_subscriber,
	&pool_cache_subscriber,
	&isolation_subscriber,
	&reservation_subscriber,
	&pick_counters_subscriber,
	&launcher_subscriber,
	&database_hook_subscriber
};

/* Called for messages of invalidation in this order. */
static const InvalidationSubscriber *const invalidation_subscribers[] = {
	&access_invalidation,
	&isolation_invalidation,
	&catalog_invalidation
};

static shmem_request_hook_type previous_shmem_request;
static shmem_startup_hook_type previous_shmem_startup;

static void
request_shared_memory(void)
{
	if (previous_shmem_request)
		previous_shmem_request();
	RequestAddinShmemSpace(health_map_size());
	RequestAddinShmemSpace(pick_counters_size());
	RequestAddinShmemSpace(probe_on_demand_size());
	RequestAddinShmemSpace(worker_slots_size());
	RequestNamedLWLockTranche("gateway_pool", SHARED_LOCKS);
}

static void
start_shared_memory(void)
{
	if (previous_shmem_startup)
		previous_shmem_startup();

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	health_map_startup();
	pick_counters_startup();
	probe_on_demand_startup();
	worker_slots_startup();
	LWLockRelease(AddinShmemInitLock);
}

void
_PG_init(void)
{
	settings_init();
	transaction_init(transaction_subscribers, lengthof(transaction_subscribers));
	invalidation_init(invalidation_subscribers, lengthof(invalidation_subscribers));
	launcher_init();

	if (!process_shared_preload_libraries_in_progress)
		return;
	CHAIN_SHMEM_REQUEST(previous_shmem_request, request_shared_memory);
	previous_shmem_startup = shmem_startup_hook;
	shmem_startup_hook = start_shared_memory;
	database_hook_init();
}
