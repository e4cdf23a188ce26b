/*
 * eligibility_warning.h
 *		Warnings of pools without an eligible member.
 */
#ifndef GATEWAY_POOL_ELIGIBILITY_WARNING_H
#define GATEWAY_POOL_ELIGIBILITY_WARNING_H

#include "commands/trigger.h"

#include "tables/pool_rows.h"

extern void eligibility_warning_note(TriggerData *call, const PoolCatalog *catalog);
extern const char *eligibility_warning_pool_name(const PoolCatalog *catalog, const PoolRow *pool);

#endif							/* GATEWAY_POOL_ELIGIBILITY_WARNING_H */
