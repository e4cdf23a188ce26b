/*
 * gateway_slots.h
 *		Makes slots in the health map for gateways, and frees those of deleted ones.
 */
#ifndef GATEWAY_POOL_GATEWAY_SLOTS_H
#define GATEWAY_POOL_GATEWAY_SLOTS_H

#include "tables/gateway_rows.h"

extern HealthSlotRef gateway_slots_make(const PoolCatalog *catalog, const GatewayRow *gateway, SlotCreation *creation);

#endif							/* GATEWAY_POOL_GATEWAY_SLOTS_H */
