/*
 * monitor_judge.c
 *		How the monitored gateways and pools are, and what of that has changed.
 *
 * Gateways are judged by the slots of shared memory, as picks judge them.  A status
 * other than the one that was recorded last is a change to be recorded.  So is a
 * pool that has lost its last eligible member, or has one again.
 */
#include "postgres.h"

#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "base/clock.h"
#include "worker/health_writer.h"
#include "worker/monitor_internal.h"

static void
fill_change(const MonitoredGateway *watched, const HealthEvidence *evidence, const GatewayHealth *health,
			HealthChange *change)
{
	memset(change, 0, sizeof(HealthChange));
	change->id = watched->id;
	change->org_id = watched->org_id;
	change->slot = watched->slot;
	change->old_status = watched->recorded;
	change->new_status = health->status;
	change->occurred_at = GetCurrentTimestamp();
	strlcpy(change->name, watched->name, sizeof(change->name));
	health_evidence_explain(watched->slot, evidence, health, change->reason);
	health_evidence_display(watched->slot, clock_monotonic(), &change->display);
	(void) health_evidence_last_probe(watched->slot, &change->probe);
}

/*
 * Until when a gateway is not judged, for want of a probe: of the first verdict,
 * and, where what was found has run out in a stall of our own, of the next probe.
 */
static int64
undecided_until(const MonitoredGateway *watched, int64 now)
{
	ProbeFinding counted;
	const ProbeFinding *found = watched->probed ? prober_finding(monitor.prober, &watched->id) : NULL;
	int64		stalled_at = prober_stalled_at(monitor.prober);

	if (found == NULL)
		return 0;
	if (found->verdict == PROBE_NONE)
		return watched->undecided_until;
	if (stalled_at == 0 || health_evidence_finding(watched->slot, now, &counted))
		return 0;
	return stalled_at + watched->probe_period;
}

static void
judge_gateway(MonitoredGateway *watched, int64 now)
{
	HealthEvidence evidence;
	GatewayHealth health;
	HealthChange change;

	switch (health_evidence_read(watched->slot, now, &evidence))
	{
		case SLOT_GONE:
			monitor.is_to_read = true;
			return;
		case SLOT_UNCONFIRMED:
			{
				MemoryContext caller = MemoryContextSwitchTo(monitor.context);
				pg_uuid_t  *id = palloc(sizeof(pg_uuid_t));

				*id = watched->id;
				monitor.unconfirmed = lappend(monitor.unconfirmed, id);
				MemoryContextSwitchTo(caller);
				return;
			}
		case SLOT_READ:
			break;
	}
	monitor.next_change = Min(monitor.next_change, health_evidence_next_change(watched->slot, now));
	health = health_rule(&evidence);
	watched->eligible = selection_eligible(health.status, watched->state);

	if (undecided_until(watched, now) > now)
	{
		monitor.next_change = Min(monitor.next_change, undecided_until(watched, now));
		return;
	}
	if (health.status == watched->recorded || health.assumed)
		return;
	fill_change(watched, &evidence, &health, &change);
	health_writer_add(&change);
	watched->recorded = health.status;
}

static void
judge_pool(MonitoredPool *pool)
{
	bool		serves = false;

	for (int i = 0; i < pool->member_count && !serves; i++)
		serves = monitor.members[pool->first_member + i] != NULL && monitor.members[pool->first_member + i]->eligible;
	if (serves == pool->served)
		return;
	pool->served = serves;
	health_writer_add(&(HealthChange) {
		.of_pool = true,
		.id = pool->id,
		.org_id = pool->org_id,
		.old_status = serves ? GATEWAY_UNHEALTHY : GATEWAY_HEALTHY,
		.new_status = serves ? GATEWAY_HEALTHY : GATEWAY_UNHEALTHY
	});
}

static void
judge_pools(void)
{
	HASH_SEQ_STATUS scan;
	MonitoredPool *pool;

	hash_seq_init(&scan, monitor.pools);
	while ((pool = hash_seq_search(&scan)) != NULL)
	{
		judge_pool(pool);
		if (!pool->kept)
			(void) hash_search(monitor.pools, &pool->id, HASH_REMOVE, NULL);
	}
}

/* monitor_judge_all judges all gateways and pools, and queues what has changed. */
void
monitor_judge_all(void)
{
	int64		now = clock_monotonic();
	HASH_SEQ_STATUS scan;
	MonitoredGateway *watched;

	monitor.is_to_judge = false;
	list_free(monitor.changed);
	monitor.changed = NIL;
	list_free_deep(monitor.unconfirmed);
	monitor.unconfirmed = NIL;
	monitor.next_change = PG_INT64_MAX;
	hash_seq_init(&scan, monitor.gateways);
	while ((watched = hash_seq_search(&scan)) != NULL)
		judge_gateway(watched, now);
	judge_pools();
}

/* monitor_judge_changed does that for the gateways of which a probe has shown something new. */
void
monitor_judge_changed(void)
{
	int64		now = clock_monotonic();
	ListCell   *cell;

	foreach(cell, monitor.changed)
		judge_gateway(lfirst(cell), now);
	list_free(monitor.changed);
	monitor.changed = NIL;
	judge_pools();
}

/*
 * monitor_queue_reported queues, without a change of status, the gateways of which
 * heartbeats were reported to us: for the next start.
 */
void
monitor_queue_reported(void)
{
	int64		now = clock_monotonic();
	HASH_SEQ_STATUS scan;
	MonitoredGateway *watched;

	hash_seq_init(&scan, monitor.gateways);
	while ((watched = hash_seq_search(&scan)) != NULL)
	{
		HealthEvidence evidence;
		GatewayHealth health;
		HealthChange change;

		if (health_evidence_read(watched->slot, now, &evidence) == SLOT_GONE)
			continue;
		health = health_rule(&evidence);
		fill_change(watched, &evidence, &health, &change);
		change.new_status = change.old_status;
		if (change.display.reported)
			health_writer_add(&change);
	}
}
