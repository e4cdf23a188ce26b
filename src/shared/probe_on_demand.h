/*
 * probe_on_demand.h
 *		Requests for a probe at once: callers make them, the worker answers.
 */
#ifndef GATEWAY_POOL_PROBE_ON_DEMAND_H
#define GATEWAY_POOL_PROBE_ON_DEMAND_H

#include "shared/health_map.h"

extern Size probe_on_demand_size(void);
extern void probe_on_demand_startup(void);

extern uint32 probe_on_demand_request(HealthSlotRef ref);
extern bool probe_on_demand_await(HealthSlotRef ref, uint32 request, int64 deadline);

extern bool probe_on_demand_any(void);
extern bool probe_on_demand_is_open(HealthSlotRef ref);
extern uint32 probe_on_demand_last(HealthSlotRef ref);
extern void probe_on_demand_answer(HealthSlotRef ref, uint32 request);

#endif							/* GATEWAY_POOL_PROBE_ON_DEMAND_H */
