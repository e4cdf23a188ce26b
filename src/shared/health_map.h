/*
 * health_map.h
 *		Which slot of shared memory belongs to which gateway.
 */
#ifndef GATEWAY_POOL_HEALTH_MAP_H
#define GATEWAY_POOL_HEALTH_MAP_H

#include "utils/uuid.h"

/* A slot as it was when it was found; it may be freed, and used again, at any time. */
typedef struct HealthSlotRef
{
	int32		number;			/* or NO_SLOT */
	uint16		generation;
} HealthSlotRef;

#define NO_SLOT (-1)

/* The result of health_map_create. */
typedef enum SlotCreation
{
	SLOT_EXISTED,				/* another session has made it */
	SLOT_CREATED,
	SLOT_MAP_FULL,
	SLOT_ROW_OUTDATED			/* the row may be gone: read it again */
} SlotCreation;

/* A slot in a list of all slots in use. */
typedef struct HealthSlotEntry
{
	HealthSlotRef ref;
	Oid			database;
	Oid			table;
	pg_uuid_t	gateway;
	TransactionId made_by;		/* or InvalidTransactionId: see
								 * health_map_create */
} HealthSlotEntry;

extern Size health_map_size(void);
extern void health_map_startup(void);
extern bool health_map_exists(void);

extern HealthSlotRef health_map_find(Oid table, const pg_uuid_t *gateway);
extern bool health_map_matches(HealthSlotRef ref, Oid table, const pg_uuid_t *gateway);
extern uint64 health_map_deletion_count(void);
extern HealthSlotRef health_map_create(Oid table, const pg_uuid_t *gateway, uint64 deletions, SlotCreation *creation);
extern void health_map_free(HealthSlotRef ref);
extern void health_map_free_gateway(Oid table, const pg_uuid_t *gateway);
extern void health_map_free_inserted(Oid table, const pg_uuid_t *gateway);
extern void health_map_free_table(Oid table);
extern HealthSlotEntry *health_map_list(int *count);
extern bool health_map_is_full(void);
extern bool health_map_begin_sweep(int64 now);

#endif							/* GATEWAY_POOL_HEALTH_MAP_H */
