/*
 * pick_counters_room.h
 *		Removes counters of picks of deleted pools, members and databases.
 */
#ifndef GATEWAY_POOL_PICK_COUNTERS_ROOM_H
#define GATEWAY_POOL_PICK_COUNTERS_ROOM_H

#include "tables/catalog.h"

extern void pick_counters_room_make(const PoolCatalog *catalog);
extern bool pick_counters_room_is_short(const PoolCatalog *catalog);

#endif							/* GATEWAY_POOL_PICK_COUNTERS_ROOM_H */
