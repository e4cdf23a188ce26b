/*
 * pick_counters_room.h
 *		Room for counters of picks.
 */
#ifndef GATEWAY_POOL_PICK_COUNTERS_ROOM_H
#define GATEWAY_POOL_PICK_COUNTERS_ROOM_H

#include "tables/catalog.h"

extern void pick_counters_make_room(const PoolCatalog *catalog);
extern bool pick_counters_crowded(const PoolCatalog *catalog);

#endif							/* GATEWAY_POOL_PICK_COUNTERS_ROOM_H */
