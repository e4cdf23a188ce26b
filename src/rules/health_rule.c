/*
 * health_rule.c
 *		From the evidence about a gateway to its status.
 */
#include "postgres.h"

#include "rules/health_rule.h"

/* The later heartbeat of the paths that are configured. */
static void
take_path(Heartbeat *heartbeat, const HeartbeatPath *path)
{
	if (!path->configured || !path->heard)
		return;
	if (!heartbeat->heard || path->heard_at > heartbeat->heard_at)
		heartbeat->heard_at = path->heard_at;
	heartbeat->heard = true;
}

/*
 * heartbeat_of_host finds the heartbeat that counts and for how long.
 *
 * Without times-to-live a heartbeat counts for "timeout"; with them for its
 * own time and "grace", 0 meaning that the host has seen the gateway fail.  A
 * gateway with a time-to-live column but no value in it was never heard of.
 */
Heartbeat
heartbeat_of_host(const HostHeartbeat *host, int64 timeout, int64 grace)
{
	Heartbeat	heartbeat = {0};

	if (host->has_ttl && !host->ttl_known)
		return heartbeat;

	take_path(&heartbeat, &host->relay);
	take_path(&heartbeat, &host->direct);

	heartbeat.failed = host->has_ttl ? host->ttl <= 0 : host->failed;
	if (heartbeat.heard && !heartbeat.failed)
		heartbeat.lifetime = host->has_ttl ? host->ttl + grace : timeout;
	return heartbeat;
}

/* heartbeat_equal tells whether two say the same. */
bool
heartbeat_equal(const Heartbeat *a, const Heartbeat *b)
{
	return a->heard == b->heard && a->failed == b->failed &&
		a->heard_at == b->heard_at && a->lifetime == b->lifetime;
}

/*
 * heartbeat_expires_at tells when a heartbeat runs out.  One in the future, of
 * a clock that runs ahead, counts as of now.
 */
int64
heartbeat_expires_at(const Heartbeat *heartbeat, int64 now)
{
	return Min(heartbeat->heard_at, now) + heartbeat->lifetime;
}

/* heartbeat_evidence judges a heartbeat at a moment. */
HeartbeatEvidence
heartbeat_evidence(const Heartbeat *heartbeat, int64 now)
{
	if (heartbeat->failed)
		return HEARTBEAT_FAILED;
	if (!heartbeat->heard)
		return HEARTBEAT_NEVER;
	return heartbeat_expires_at(heartbeat, now) > now ? HEARTBEAT_FRESH : HEARTBEAT_EXPIRED;
}

/*
 * heartbeat_later puts together what the host's row says and what was reported
 * to us directly.  A report that still counts came after the row's failure,
 * which would have ended it.
 */
HeartbeatEvidence
heartbeat_later(HeartbeatEvidence table, HeartbeatEvidence reported)
{
	if (table == HEARTBEAT_FRESH || reported == HEARTBEAT_FRESH)
		return HEARTBEAT_FRESH;
	if (table == HEARTBEAT_FAILED)
		return HEARTBEAT_FAILED;
	return table == HEARTBEAT_NEVER ? reported : table;
}

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
 * health_rule is the one definition of a gateway's status.
 *
 * A required probe that is down overrules everything.  Otherwise any path that
 * is up keeps the gateway usable: healthy, or degraded while a caller suspects
 * it, a probe contradicts the heartbeat, or it falls again and again.  Without a
 * path up, one that is down makes it unhealthy; no evidence at all leaves it
 * unknown.  Shortly after a start, a heartbeat that has run out is not held
 * against the gateway, nor is a probe that is overdue: there may have been nobody
 * to hear the next one, or to make it.
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

/* probe_verdict_name gives the word for what probes show. */
const char *
probe_verdict_name(ProbeEvidence verdict)
{
	switch (verdict)
	{
		case PROBE_UP:
			return "up";
		case PROBE_OVERDUE:
			return "overdue";
		case PROBE_DOWN:
			return "down";
		case PROBE_NONE:
			break;
	}
	return "none";
}

/* gateway_status_name gives the word for a status. */
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

/* gateway_status_of is the inverse; of any other word, unknown. */
GatewayStatus
gateway_status_of(const char *name)
{
	for (GatewayStatus status = GATEWAY_HEALTHY; status < GATEWAY_UNKNOWN; status++)
		if (strcmp(name, gateway_status_name(status)) == 0)
			return status;
	return GATEWAY_UNKNOWN;
}
