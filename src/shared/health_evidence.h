/*
 * health_evidence.h
 *		The evidence about gateways in the slots of shared memory.
 */
#ifndef GATEWAY_POOL_HEALTH_EVIDENCE_H
#define GATEWAY_POOL_HEALTH_EVIDENCE_H

#include "access/xlogdefs.h"
#include "datatype/timestamp.h"

#include "rules/health_rule.h"
#include "shared/health_map.h"
#include "shared/probe_evidence.h"
#include "shared/recorded_health.h"

/* Bytes of the reason of a status, which may contain that of a failure. */
#define HEALTH_EXPLANATION_SIZE (HEALTH_REASON_SIZE + 64)

/* The result of reading a slot. */
typedef enum SlotReading
{
	SLOT_READ,
	SLOT_UNCONFIRMED,			/* read; but the table's heartbeat has
								 * expired, and the row was not read since */
	SLOT_GONE					/* it was freed, or is another gateway's now */
} SlotReading;

/* What a slot holds, in wall time, for views. */
typedef struct HealthDisplay
{
	bool		heard;
	TimestampTz heard_at;		/* the last heartbeat by any path; valid if
								 * heard */
	bool		expires;
	TimestampTz expires_at;		/* of the heartbeat that expires last; valid
								 * if expires */
	bool		reported;		/* a heartbeat was reported */
	bool		suspect;
	TimestampTz suspect_until;	/* valid if suspect */
	bool		probed;
	TimestampTz probed_at;		/* when the last probe began; valid if probed */
	float		probe_milliseconds; /* valid if probed */
	char		failure_reason[HEALTH_REASON_SIZE]; /* "" if none was given */
} HealthDisplay;

extern uint64 health_evidence_sequence(void);
extern void health_evidence_publish_row(HealthSlotRef ref, const Heartbeat *heartbeat, uint64 sequence);
extern bool health_evidence_publish_commit(Oid table, const pg_uuid_t *gateway, const Heartbeat *heartbeat,
										   XLogRecPtr commit);
extern bool health_evidence_report_heartbeat(HealthSlotRef ref, int64 now, int64 expires_at, bool *changed);
extern bool health_evidence_report_failure(HealthSlotRef ref, int64 now, const char *reason, bool *changed);

extern SlotReading health_evidence_read(HealthSlotRef ref, int64 now, HealthEvidence *evidence);
extern SlotReading health_evidence_read_own(HealthSlotRef ref, int64 now, const Heartbeat *own,
											HealthEvidence *evidence);
extern void health_evidence_without_slot(const Heartbeat *row, const RecordedHealth *recorded, const ConfiguredProbe *probe,
										 bool own, int64 now, TimestampTz wall_now, HealthEvidence *evidence);
extern void health_evidence_explain(HealthSlotRef ref, const HealthEvidence *evidence, const GatewayHealth *health,
									char *explanation);
extern int64 health_evidence_next_change(HealthSlotRef ref, int64 now);
extern void health_evidence_display(HealthSlotRef ref, int64 now, HealthDisplay *display);
extern bool health_evidence_in_startup_grace(int64 now);
extern void health_evidence_note_standby(void);

#endif							/* GATEWAY_POOL_HEALTH_EVIDENCE_H */
