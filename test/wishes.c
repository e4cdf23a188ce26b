/*
 * wishes.c
 *		The table of workers alone, in a server of its own, for test/t/025_wishes.pl:
 *		its session is the launcher, between two of its steps.
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"

#include "../src/base/wait_event.c"
#include "../src/shared/worker_slots.c"

PG_MODULE_MAGIC;

PGDLLEXPORT void _PG_init(void);

PG_FUNCTION_INFO_V1(wish_while_discarding);

static shmem_request_hook_type previous_request;
static shmem_startup_hook_type previous_startup;

static void
request(void)
{
	if (previous_request)
		previous_request();
	RequestAddinShmemSpace(worker_slots_size());
	RequestNamedLWLockTranche("gateway_pool", SHARED_LOCKS);
}

static void
startup(void)
{
	if (previous_startup)
		previous_startup();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	worker_slots_startup();
	LWLockRelease(AddinShmemInitLock);
}

void
_PG_init(void)
{
	CHAIN_SHMEM_REQUEST(previous_request, request);
	previous_startup = shmem_startup_hook;
	shmem_startup_hook = startup;
}

/*
 * wish_while_discarding() returns text: the launcher finds that a database may have no
 * worker, another request comes, and the launcher discards the one before.  Returns the
 * number of requests that are left, and whether the launcher is woken.
 */
Datum
wish_while_discarding(PG_FUNCTION_ARGS)
{
	int			count;
	WorkerInfo *read;

	worker_slots_become_launcher();
	(void) worker_slots_want(1);
	ResetLatch(MyLatch);
	read = worker_slots_list(&count);
	(void) worker_slots_want(1);
	worker_slots_discard(read);
	(void) worker_slots_list(&count);
	PG_RETURN_TEXT_P(cstring_to_text(psprintf("%d, %s", count, MyLatch->is_set ? "woken" : "asleep")));
}
