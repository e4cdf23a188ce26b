/*
 * health_evidence.h
 *		What the slots of shared memory say of their gateways.
 */
#ifndef GATEWAY_POOL_HEALTH_EVIDENCE_H
#define GATEWAY_POOL_HEALTH_EVIDENCE_H

#include "access/xlogdefs.h"
#include "datatype/timestamp.h"

#include "health_map.h"
#include "health_rule.h"

/* Bytes that are kept of the reason of a failure, with the terminator. */
#define HEALTH_REASON_SIZE 64

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

extern uint64 health_evidence_sequence(void);
extern void health_evidence_publish(HealthSlotRef ref, const Heartbeat *heartbeat, uint64 sequence);
extern void health_evidence_publish_commit(Oid table, const pg_uuid_t *gateway, const Heartbeat *heartbeat,
									  XLogRecPtr commit);
extern bool health_evidence_report_heartbeat(HealthSlotRef ref, int64 now, int64 expires_at);
extern bool health_evidence_report_failure(HealthSlotRef ref, int64 now, const char *reason);

extern SlotReading health_evidence_read(HealthSlotRef ref, int64 now, HealthEvidence *evidence);
extern SlotReading health_evidence_read_own(HealthSlotRef ref, int64 now, const Heartbeat *own,
									   HealthEvidence *evidence);
extern void health_evidence_display(HealthSlotRef ref, int64 now, HealthDisplay *display);
extern bool health_evidence_in_startup_grace(int64 now);
extern void health_evidence_note_standby(void);

#endif							/* GATEWAY_POOL_HEALTH_EVIDENCE_H */
