/*
 * heartbeat.c
 *		The heartbeat that counts of a gateway, and what it is evidence of.
 */
#include "postgres.h"

#include "rules/heartbeat.h"

/* Takes the heartbeat of a path if the path is configured and it is later. */
static void
add_path(Heartbeat *heartbeat, const HeartbeatPath *path)
{
	if (!path->configured || !path->heard)
		return;
	if (!heartbeat->heard || path->heard_at > heartbeat->heard_at)
		heartbeat->heard_at = path->heard_at;
	heartbeat->heard = true;
}

/*
 * heartbeat_of_host returns the heartbeat that counts: the later one of the
 * configured paths.
 *
 * It counts for "timeout" where the host's table has no times-to-live, else for its
 * time-to-live plus "grace".  A time-to-live of 0 means failed, null means that no
 * heartbeat ever came.
 */
Heartbeat
heartbeat_of_host(const HostHeartbeat *host, int64 timeout, int64 grace)
{
	Heartbeat	heartbeat = {0};

	if (host->has_ttl && !host->ttl_known)
		return heartbeat;

	add_path(&heartbeat, &host->relay);
	add_path(&heartbeat, &host->direct);

	heartbeat.failed = host->has_ttl ? host->ttl <= 0 : host->failed;
	if (heartbeat.heard && !heartbeat.failed)
		heartbeat.lifetime = host->has_ttl ? host->ttl + grace : timeout;
	return heartbeat;
}

/* heartbeat_equal returns true if two heartbeats are the same. */
bool
heartbeat_equal(const Heartbeat *a, const Heartbeat *b)
{
	return a->heard == b->heard && a->failed == b->failed &&
		a->heard_at == b->heard_at && a->lifetime == b->lifetime;
}

/*
 * heartbeat_expires_at returns when a heartbeat expires.  One in the future, from a
 * clock that is ahead, counts as of now.
 */
int64
heartbeat_expires_at(const Heartbeat *heartbeat, int64 now)
{
	return Min(heartbeat->heard_at, now) + heartbeat->lifetime;
}

/* heartbeat_evidence returns what a heartbeat is evidence of, as of now. */
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
 * heartbeat_later combines the heartbeat in the host's row and the reported one.  A
 * reported one that still counts came after the row's failure: a failure clears it.
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
