/*
 * probe_on_demand.c
 *		Requests for a probe at once: callers make them, the worker answers.
 *
 * A gateway's slot counts the requests that were made and those that were answered.
 * One probe answers all requests that were made before the worker last read how the
 * gateway is to be probed: a caller may have changed that before its request.
 *
 * The additions are full barriers: a caller's commit is seen before its request, and the
 * request before the count of all requests.  The worker reads in the opposite order, with
 * barriers between.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/condition_variable.h"
#include "storage/shmem.h"

#include "base/clock.h"
#include "base/wait_event.h"
#include "shared/health_map_internal.h"
#include "shared/probe_on_demand.h"

typedef struct ProbeRequests
{
	ConditionVariable answered;
	pg_atomic_uint64 made;		/* of all gateways */
} ProbeRequests;

static ProbeRequests *requests;

/* probe_on_demand_size returns the size of its shared memory. */
Size
probe_on_demand_size(void)
{
	return MAXALIGN(sizeof(ProbeRequests));
}

/* probe_on_demand_startup creates or attaches it; the caller holds AddinShmemInitLock. */
void
probe_on_demand_startup(void)
{
	bool		found;

	requests = ShmemInitStruct("gateway_pool probe requests", sizeof(ProbeRequests), &found);
	if (!found)
	{
		ConditionVariableInit(&requests->answered);
		pg_atomic_init_u64(&requests->made, 0);
	}
}

/* probe_on_demand_request makes a request and returns its number. */
uint32
probe_on_demand_request(HealthSlotRef ref)
{
	uint32		request = pg_atomic_add_fetch_u32(&health_slot(ref)->probes_asked, 1);

	pg_atomic_fetch_add_u64(&requests->made, 1);
	return request;
}

static bool
is_answered(HealthSlotRef ref, uint32 request)
{
	return (int32) (pg_atomic_read_u32(&health_slot(ref)->probes_answered) - request) >= 0;
}

/*
 * probe_on_demand_await waits until a request is answered, at most until a monotonic
 * time; returns true if it was.  Interrupts are served meanwhile.
 */
bool
probe_on_demand_await(HealthSlotRef ref, uint32 request, int64 deadline)
{
	bool		answered;

	ConditionVariablePrepareToSleep(&requests->answered);

	/* Not ordered: the spinlock of the condition variable orders it. */
	while (!is_answered(ref, request))
	{
		int64		left = deadline - clock_monotonic();

		if (left <= 0)
			break;
		(void) ConditionVariableTimedSleep(&requests->answered, (left + 999) / 1000, wait_event(WAIT_PROBE_RESULT));
	}
	ConditionVariableCancelSleep();
	answered = is_answered(ref, request);

	/* The finding is read after the answer: see probe_on_demand_answer. */
	pg_read_barrier();
	return answered;
}

/* probe_on_demand_any returns true if requests were made since its last call. */
bool
probe_on_demand_any(void)
{
	static uint64 seen = 0;
	uint64		made = pg_atomic_read_u64(&requests->made);
	bool		any = made != seen;

	/* The requests are read after their count. */
	pg_read_barrier();
	seen = made;
	return any;
}

/*
 * probe_on_demand_last returns the number of the last request for a probe of a gateway.
 * What the caller reads after that includes what was committed before the request.
 */
uint32
probe_on_demand_last(HealthSlotRef ref)
{
	uint32		last = pg_atomic_read_u32(&health_slot(ref)->probes_asked);

	pg_read_barrier();
	return last;
}

/* probe_on_demand_is_open returns true if a request for a probe of a gateway is not answered. */
bool
probe_on_demand_is_open(HealthSlotRef ref)
{
	return !is_answered(ref, probe_on_demand_last(ref));
}

/* probe_on_demand_answer answers the requests for a gateway up to a number, and wakes their callers. */
void
probe_on_demand_answer(HealthSlotRef ref, uint32 request)
{
	/* Not ordered: only this process writes it. */
	if (is_answered(ref, request))
		return;
	/* What the probe found is written before the answer. */
	pg_write_barrier();
	pg_atomic_write_u32(&health_slot(ref)->probes_answered, request);
	ConditionVariableBroadcast(&requests->answered);
}
