/*
 * health_rule.c
 *		From the evidence about a gateway to its status.
 */
#include "postgres.h"

#include "rules/health_rule.h"

static GatewayHealth
judged(GatewayStatus status, const char *reason)
{
	return (GatewayHealth) {status, reason, false};
}

static GatewayHealth
assumed(GatewayStatus status, const char *reason)
{
	return (GatewayHealth) {status, reason, true};
}

/*
 * health_rule returns the status of a gateway.  It is the only definition of it.
 *
 * A required probe that is down overrules everything.  Otherwise one path that is up,
 * heartbeat or probe, keeps the gateway usable: healthy, or degraded while it is
 * suspect or damped, or a probe contradicts the heartbeat.  Without a path that is
 * up, a path that is down makes it unhealthy; without evidence it is unknown.  Shortly
 * after a start, an expired heartbeat and an overdue probe make it degraded only: the
 * server may have missed the next heartbeat, or made no probe.
 */
GatewayHealth
health_rule(const HealthEvidence *evidence)
{
	bool		fresh = evidence->heartbeat == HEARTBEAT_FRESH;

	if (evidence->probe == PROBE_DOWN && evidence->probe_required)
		return judged(GATEWAY_UNHEALTHY, "probe down");

	if (fresh || evidence->probe == PROBE_UP)
	{
		if (evidence->suspect)
			return judged(GATEWAY_DEGRADED, "suspect");
		if (evidence->probe == PROBE_DOWN)
			return judged(GATEWAY_DEGRADED, "probe contradicts heartbeat");
		if (evidence->damped)
			return judged(GATEWAY_DEGRADED, "keeps falling");
		return judged(GATEWAY_HEALTHY, fresh ? "heartbeat fresh" : "probe up");
	}

	if (evidence->probe == PROBE_OVERDUE)
		return assumed(GATEWAY_DEGRADED, "probe overdue");

	switch (evidence->heartbeat)
	{
		case HEARTBEAT_EXPIRED:
			if (evidence->startup_grace && evidence->probe != PROBE_DOWN)
				return assumed(GATEWAY_DEGRADED, "heartbeat expired, startup grace");
			return judged(GATEWAY_UNHEALTHY, "heartbeat expired");
		case HEARTBEAT_FAILED:
			return judged(GATEWAY_UNHEALTHY, "heartbeat failed");
		case HEARTBEAT_NEVER:
		case HEARTBEAT_FRESH:
			break;
	}

	if (evidence->probe == PROBE_DOWN)
		return judged(GATEWAY_UNHEALTHY, "probe down");
	return judged(GATEWAY_UNKNOWN, "no evidence");
}

/* gateway_status_name returns the word for a status. */
const char *
gateway_status_name(GatewayStatus status)
{
	switch (status)
	{
		case GATEWAY_HEALTHY:
			return "healthy";
		case GATEWAY_DEGRADED:
			return "degraded";
		case GATEWAY_UNHEALTHY:
			return "unhealthy";
		case GATEWAY_UNKNOWN:
			return "unknown";
	}
	return NULL;				/* keeps the compiler quiet */
}

/* gateway_status_parse returns the status for a word; unknown for any other word. */
GatewayStatus
gateway_status_parse(const char *name)
{
	for (GatewayStatus status = GATEWAY_HEALTHY; status < GATEWAY_UNKNOWN; status++)
		if (strcmp(name, gateway_status_name(status)) == 0)
			return status;
	return GATEWAY_UNKNOWN;
}
