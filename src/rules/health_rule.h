/*
 * health_rule.h
 *		From the evidence about a gateway to its status.
 *
 * Pure: values in, values out; no SQL, no shared memory, no settings, no clock.
 * Times are microseconds on one clock, which the caller chooses.
 */
#ifndef GATEWAY_POOL_HEALTH_RULE_H
#define GATEWAY_POOL_HEALTH_RULE_H

#include "rules/heartbeat.h"

typedef enum ProbeEvidence
{
	PROBE_NONE,
	PROBE_UP,
	PROBE_OVERDUE,				/* up, but too long ago */
	PROBE_DOWN
} ProbeEvidence;

typedef struct HealthEvidence
{
	HeartbeatEvidence heartbeat;
	ProbeEvidence probe;
	bool		probe_required;
	bool		suspect;		/* a caller reported a failure lately */
	bool		startup_grace;	/* what has expired may have been renewed
								 * while the server was down */
	bool		damped;			/* it fell repeatedly, a short while ago */
} HealthEvidence;

typedef enum GatewayStatus
{
	GATEWAY_HEALTHY,
	GATEWAY_DEGRADED,
	GATEWAY_UNHEALTHY,
	GATEWAY_UNKNOWN
} GatewayStatus;

typedef struct GatewayHealth
{
	GatewayStatus status;
	const char *reason;			/* a constant, a few words */
	bool		assumed;		/* evidence is missing: picks use the status,
								 * but it is not recorded as a change */
} GatewayHealth;

extern GatewayHealth health_rule(const HealthEvidence *evidence);
extern const char *gateway_status_name(GatewayStatus status);
extern GatewayStatus gateway_status_parse(const char *name);

#endif							/* GATEWAY_POOL_HEALTH_RULE_H */
