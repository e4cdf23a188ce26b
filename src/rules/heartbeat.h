/*
 * heartbeat.h
 *		The heartbeat that counts of a gateway, and what it is evidence of.
 *
 * Pure, as health_rule.h.
 */
#ifndef GATEWAY_POOL_HEARTBEAT_H
#define GATEWAY_POOL_HEARTBEAT_H

/* Heartbeats on one path to a gateway, as the host's row has them. */
typedef struct HeartbeatPath
{
	bool		configured;		/* if not, its heartbeats do not count */
	bool		heard;			/* at least one heartbeat came */
	int64		heard_at;		/* the last one; valid if heard */
} HeartbeatPath;

/* What the host's row says about a gateway's heartbeats. */
typedef struct HostHeartbeat
{
	bool		failed;			/* the host's own check has failed since */
	bool		has_ttl;		/* the table has a column for times-to-live */
	bool		ttl_known;		/* it is not null for this gateway */
	int64		ttl;			/* 0: the host has seen the gateway fail */
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

/* The last heartbeat that counts, and for how long it counts. */
typedef struct Heartbeat
{
	bool		heard;
	bool		failed;
	int64		heard_at;		/* valid if heard; may lie in the future */
	int64		lifetime;		/* valid if heard and not failed */
} Heartbeat;

extern Heartbeat heartbeat_of_host(const HostHeartbeat *host, int64 timeout, int64 grace);
extern bool heartbeat_equal(const Heartbeat *a, const Heartbeat *b);
extern int64 heartbeat_expires_at(const Heartbeat *heartbeat, int64 now);
extern HeartbeatEvidence heartbeat_evidence(const Heartbeat *heartbeat, int64 now);
extern HeartbeatEvidence heartbeat_later(HeartbeatEvidence table, HeartbeatEvidence reported);

#endif							/* GATEWAY_POOL_HEARTBEAT_H */
