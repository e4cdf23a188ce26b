/*
 * module.c
 *		Start of the library: in the postmaster where it is preloaded, else in
 *		each session that calls a function of ours.
 */
#include "postgres.h"

#include "fmgr.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"

#include "access.h"
#include "catalog.h"
#include "compat.h"
#include "health_map.h"
#include "isolation.h"
#include "launcher.h"
#include "pick_stats.h"
#include "pool_cache.h"
#include "probe_request.h"
#include "publication.h"
#include "reservation.h"
#include "settings.h"
#include "shared_memory.h"
#include "utility_hook.h"
#include "worker_slots.h"

GATEWAY_POOL_MODULE_MAGIC;

void		_PG_init(void);

static shmem_request_hook_type previous_shmem_request;
static shmem_startup_hook_type previous_shmem_startup;

static void
request_shared_memory(void)
{
	if (previous_shmem_request)
		previous_shmem_request();
	RequestAddinShmemSpace(health_map_size());
	RequestAddinShmemSpace(pick_stats_size());
	RequestAddinShmemSpace(probe_request_size());
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
	pick_stats_startup();
	probe_request_startup();
	worker_slots_startup();
	LWLockRelease(AddinShmemInitLock);
}

void
_PG_init(void)
{
	settings_init();
	catalog_init();
	access_init();
	isolation_init();
	pool_cache_init();
	publication_init();
	reservation_init();
	pick_stats_init();
	launcher_init();

	if (!process_shared_preload_libraries_in_progress)
		return;
	CHAIN_SHMEM_REQUEST(previous_shmem_request, request_shared_memory);
	previous_shmem_startup = shmem_startup_hook;
	shmem_startup_hook = start_shared_memory;
	utility_hook_init();
}
