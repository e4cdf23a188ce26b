/*
 * health_rule.h
 *		From the evidence about a gateway to its status.
 *
 * Pure: values in, values out; no SQL, no memory of the server's, no settings,
 * no clock.  Times are microseconds on one clock of the caller's choice.
 */
#ifndef GATEWAY_POOL_HEALTH_RULE_H
#define GATEWAY_POOL_HEALTH_RULE_H

/* What the host's row says about one way by which a gateway is reached. */
typedef struct HeartbeatPath
{
	bool		configured;		/* heartbeats on another path do not count */
	bool		heard;			/* at least one heartbeat */
	int64		heard_at;		/* when the last one came; valid if heard */
} HeartbeatPath;

/* What the host's row says about a gateway's heartbeats. */
typedef struct HostHeartbeat
{
	bool		failed;			/* the host's own check failed since */
	bool		has_ttl;		/* the host gives each gateway a time-to-live */
	bool		ttl_known;		/* ... and this gateway one */
	int64		ttl;			/* 0 is the host's word for failed */
	HeartbeatPath relay;
	HeartbeatPath direct;
} HostHeartbeat;

typedef enum HeartbeatEvidence
{
	HEARTBEAT_NEVER,
	HEARTBEAT_FAILED,
	HEARTBEAT_EXPIRED,
	HEARTBEAT_FRESH
} HeartbeatEvidence;

typedef enum ProbeEvidence
{
	PROBE_NONE,
	PROBE_UP,
	PROBE_OVERDUE,				/* up, but not probed since for too long */
	PROBE_DOWN
} ProbeEvidence;

/* The last heartbeat that counts, and for how long it does. */
typedef struct Heartbeat
{
	bool		heard;
	bool		failed;
	int64		heard_at;		/* valid if heard; may lie in the future */
	int64		lifetime;		/* valid if heard and not failed */
} Heartbeat;

typedef struct HealthEvidence
{
	HeartbeatEvidence heartbeat;
	ProbeEvidence probe;
	bool		probe_required;
	bool		suspect;		/* a caller's transport failed a short while
								 * ago */
	bool		startup_grace;	/* what ran out may have done so unheard, by
								 * us being away */
	bool		damped;			/* it fell again and again lately */
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
	bool		assumed;		/* for want of evidence: good enough for a
								 * pick, but nothing that happened to the
								 * gateway */
} GatewayHealth;

extern Heartbeat heartbeat_of_host(const HostHeartbeat *host, int64 timeout, int64 grace);
extern bool heartbeat_equal(const Heartbeat *a, const Heartbeat *b);
extern int64 heartbeat_expires_at(const Heartbeat *heartbeat, int64 now);
extern HeartbeatEvidence heartbeat_evidence(const Heartbeat *heartbeat, int64 now);
extern HeartbeatEvidence heartbeat_later(HeartbeatEvidence table, HeartbeatEvidence reported);
extern GatewayHealth health_rule(const HealthEvidence *evidence);
extern const char *probe_verdict_name(ProbeEvidence verdict);
extern const char *gateway_status_name(GatewayStatus status);
extern GatewayStatus gateway_status_of(const char *name);

#endif							/* GATEWAY_POOL_HEALTH_RULE_H */
