/*
 * recorded_health.h
 *		What the rows of gateway_health add to the evidence of this server.
 */
#ifndef GATEWAY_POOL_RECORDED_HEALTH_H
#define GATEWAY_POOL_RECORDED_HEALTH_H

#include "datatype/timestamp.h"

#include "rules/health_rule.h"
#include "rules/heartbeat.h"
#include "shared/probe_evidence.h"

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

extern void recorded_health_take(HealthSlotRef ref, const RecordedHealth *recorded, const ConfiguredProbe *probe,
								 const Heartbeat *heartbeat, uint64 sequence, bool committed);

#endif							/* GATEWAY_POOL_RECORDED_HEALTH_H */
