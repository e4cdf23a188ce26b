/*
 * health_evidence.h
 *		The evidence about gateways in the slots of shared memory.
 */
#ifndef GATEWAY_POOL_HEALTH_EVIDENCE_H
#define GATEWAY_POOL_HEALTH_EVIDENCE_H

#include "access/xlogdefs.h"
#include "datatype/timestamp.h"

#include "rules/health_rule.h"
#include "rules/probe_address.h"
#include "rules/probe_rule.h"
#include "shared/health_map.h"

/* Bytes of the reason of a failure, with the terminator; the rest is cut off. */
#define HEALTH_REASON_SIZE 64

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

/* How the last probe of a gateway went, for views. */
typedef struct LastProbe
{
	bool		configured;		/* the gateway is probed */
	bool		probed;
	bool		certificate_known;
	bool		verify_tls;		/* valid if configured, by a protocol with a
								 * certificate */
	ProbeProtocol protocol;		/* valid if configured */
	ProbeVerdict verdict;
	float		milliseconds;	/* its duration; valid if probed */
	int32		failures;		/* in a row */
	int32		successes;
	int32		falls;			/* those not forgiven yet */
	TimestampTz last_fall_at;	/* valid if there are falls */
	int64		started_at;		/* monotonic; valid if probed */
	TimestampTz certificate_expires_at; /* of the certificate seen last; valid
										 * if known */
	char		reason[HEALTH_REASON_SIZE]; /* of a failed or inconclusive
											 * probe; else "" */
} LastProbe;

/* How a gateway is probed, as its row says; all zero if it is not. */
typedef struct ConfiguredProbe
{
	uint64		target;			/* a hash of what is probed, or 0 */
	bool		required;
	int64		interval;
	int64		timeout;
} ConfiguredProbe;

/* What gateway_health said of a gateway when it was read. */
typedef struct RecordedHealth
{
	bool		known;			/* there is a row */
	GatewayStatus status;
	TimestampTz changed_at;
	bool		heard;
	TimestampTz heard_at;		/* valid if heard, as the next */
	TimestampTz heartbeat_expires_at;
	ProbeVerdict verdict;		/* of probes of the target */
	uint64		target;			/* as in ConfiguredProbe */
	TimestampTz probed_at;		/* 0 if it was not probed */
	int32		falls;
	TimestampTz last_fall_at;	/* valid if there are falls */
} RecordedHealth;

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

extern void health_evidence_take_row(HealthSlotRef ref, const RecordedHealth *recorded, const ConfiguredProbe *probe,
									 const Heartbeat *heartbeat, uint64 sequence, bool committed);
extern void health_evidence_publish_finding(HealthSlotRef ref, const ProbeFinding *finding, const ConfiguredProbe *probe);
extern void health_evidence_publish_last_probe(HealthSlotRef ref, const LastProbe *last_probe);
extern bool health_evidence_last_probe(HealthSlotRef ref, LastProbe *last_probe);
extern bool health_evidence_finding(HealthSlotRef ref, int64 now, ProbeFinding *finding);

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
