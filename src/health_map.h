/*
 * health_map.h
 *		The evidence about gateways, in shared memory.
 */
#ifndef GATEWAY_POOL_HEALTH_MAP_H
#define GATEWAY_POOL_HEALTH_MAP_H

#include "access/xlogdefs.h"
#include "datatype/timestamp.h"
#include "utils/uuid.h"

#include "health_rule.h"

/* Bytes that are kept of the reason of a failure, with the terminator. */
#define HEALTH_REASON_SIZE 64

/* A slot as it was when it was found; anybody may free it meanwhile. */
typedef struct HealthSlotRef
{
	int32		number;			/* or NO_SLOT */
	uint16		generation;
} HealthSlotRef;

#define NO_SLOT (-1)

/* What a look at a slot gave. */
typedef enum SlotReading
{
	SLOT_READ,
	SLOT_UNCONFIRMED,			/* read; but the table's heartbeat ran out, and the row
								 * has not been read since */
	SLOT_GONE					/* it is another gateway's by now, or nobody's */
} SlotReading;

/* What a slot knows, for people, in wall time. */
typedef struct HealthDisplay
{
	bool		heard;
	TimestampTz heard_at;		/* the last heartbeat by any path; valid if heard */
	bool		expires;
	TimestampTz expires_at;		/* when all that counts has run out; valid if expires */
	bool		suspect;
	TimestampTz suspect_until;	/* valid if suspect */
	char		failure_reason[HEALTH_REASON_SIZE];	/* "" if none was given */
} HealthDisplay;

/* One slot in a list of all. */
typedef struct HealthSlotEntry
{
	HealthSlotRef ref;
	Oid			database;
	Oid			table;
	pg_uuid_t	gateway;
} HealthSlotEntry;

extern Size health_map_size(void);
extern void health_map_startup(void);
extern bool health_map_exists(void);

extern HealthSlotRef health_map_find(Oid table, const pg_uuid_t *gateway);
extern bool health_map_is_current(HealthSlotRef ref);
extern HealthSlotRef health_map_create(Oid table, const pg_uuid_t *gateway, bool recorded_unhealthy,
									   bool *created);
extern void health_map_free(HealthSlotRef ref);
extern void health_map_free_table(Oid table);
extern HealthSlotEntry *health_map_list(int *count);
extern bool health_map_is_full(void);
extern bool health_map_begin_sweep(int64 now);

extern uint64 health_map_sequence(void);
extern void health_map_publish(HealthSlotRef ref, const Heartbeat *heartbeat, uint64 sequence);
extern void health_map_publish_commit(Oid table, const pg_uuid_t *gateway, const Heartbeat *heartbeat,
									  XLogRecPtr commit);
extern bool health_map_report_heartbeat(HealthSlotRef ref, int64 now, int64 expires_at);
extern bool health_map_report_failure(HealthSlotRef ref, int64 now, const char *reason);

extern SlotReading health_map_read(HealthSlotRef ref, int64 now, HealthEvidence *evidence);
extern SlotReading health_map_read_own(HealthSlotRef ref, int64 now, const Heartbeat *own,
									   HealthEvidence *evidence);
extern void health_map_display(HealthSlotRef ref, int64 now, HealthDisplay *display);
extern bool health_map_in_startup_grace(int64 now);
extern void health_map_note_standby(void);

#endif							/* GATEWAY_POOL_HEALTH_MAP_H */
