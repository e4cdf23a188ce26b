/*
 * monitor_judge.c
 *		Which monitored gateways and pools have changed their health.
 *
 * Gateways are judged by the slots of shared memory, as picks judge them.  A status
 * other than the one that was recorded last is a change to be recorded.  So is a
 * pool that has lost its last eligible member, or has one again.  A standby records
 * nothing, and judges for the log alone.
 */
#include "postgres.h"

#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "base/clock.h"
#include "worker/health_writer.h"
#include "worker/monitor_internal.h"

/* The verdict of the probes of a gateway, none if it is not probed. */
static ProbeVerdict
verdict_of(const MonitoredGateway *gateway)
{
	const ProbeFinding *found = gateway->probed ? prober_finding(monitor.prober, &gateway->id) : NULL;

	return found == NULL ? VERDICT_NONE : found->verdict;
}

/* Returns true if another verdict was recorded, or that of another target: after a restart it would be believed. */
static bool
is_verdict_unrecorded(const MonitoredGateway *gateway)
{
	ProbeVerdict verdict = verdict_of(gateway);

	return verdict != gateway->recorded_verdict ||
		(verdict != VERDICT_NONE && gateway->probe.target != gateway->recorded_target);
}

static void
fill_change(const MonitoredGateway *gateway, const HealthEvidence *evidence, const GatewayHealth *health,
			HealthChange *change)
{
	memset(change, 0, sizeof(HealthChange));
	change->id = gateway->id;
	change->org_id = gateway->org_id;
	change->slot = gateway->slot;
	change->old_status = gateway->recorded;
	change->new_status = health->status;
	change->occurred_at = GetCurrentTimestamp();
	strlcpy(change->name, gateway->name, sizeof(change->name));
	health_evidence_explain(gateway->slot, evidence, health, change->reason);
	health_evidence_display(gateway->slot, clock_monotonic(), &change->display);
	(void) probe_evidence_last(gateway->slot, &change->probe);
	change->verdict = verdict_of(gateway);
	if (change->verdict != VERDICT_NONE)
		strlcpy(change->target, gateway->target, sizeof(change->target));
}

/*
 * The time until which a gateway is not judged because probes are missing: the
 * first ones, up to a verdict, or the next one, if the finding has expired while
 * the prober was stalled.  0 if it is judged at once.
 */
static int64
undecided_until(const MonitoredGateway *gateway, int64 now)
{
	ProbeFinding counted;
	const ProbeFinding *found = gateway->probed ? prober_finding(monitor.prober, &gateway->id) : NULL;
	int64		stalled_at = prober_stalled_at(monitor.prober);

	if (found == NULL)
		return 0;
	if (found->verdict == VERDICT_NONE)
		return gateway->undecided_until;
	if (stalled_at == 0 || probe_evidence_finding(gateway->slot, now, &counted))
		return 0;
	return stalled_at + gateway->probe_period;
}

/*
 * Returns the state of a gateway as of now.  The wall clock may be set: all are judged
 * again within a second.
 */
static GatewayState
current_state(const MonitoredGateway *gateway, int64 now)
{
	TimestampTz wall_now;
	GatewayState state;

	if (gateway->state_until == NO_STATE_END)
		return gateway->state;
	wall_now = GetCurrentTimestamp();
	state = gateway_state_at(gateway->state, gateway->state_until, wall_now);
	if (state != GATEWAY_ACTIVE)
		monitor.next_change = Min(monitor.next_change, now + (gateway->state_until - wall_now));
	return state;
}

static void
judge_gateway(MonitoredGateway *gateway, int64 now)
{
	HealthEvidence evidence;
	GatewayHealth health;
	HealthChange change;

	switch (health_evidence_read(gateway->slot, now, &evidence))
	{
		case SLOT_GONE:
			monitor.must_read = true;
			return;
		case SLOT_UNCONFIRMED:
			{
				MemoryContext caller = MemoryContextSwitchTo(monitor.context);
				pg_uuid_t  *id = palloc(sizeof(pg_uuid_t));

				*id = gateway->id;
				monitor.unconfirmed = lappend(monitor.unconfirmed, id);
				MemoryContextSwitchTo(caller);
				return;
			}
		case SLOT_READ:
			break;
	}
	monitor.next_change = Min(monitor.next_change, health_evidence_next_change(gateway->slot, now));
	health = health_rule(&evidence);
	gateway->eligible = selection_eligible(health.status, current_state(gateway, now));
	if (!monitor.recording)
		return;

	if (undecided_until(gateway, now) > now)
	{
		monitor.next_change = Min(monitor.next_change, undecided_until(gateway, now));
		return;
	}
	if (health.assumed || (health.status == gateway->recorded && !is_verdict_unrecorded(gateway)))
		return;
	fill_change(gateway, &evidence, &health, &change);
	health_writer_add(&change);
	gateway->recorded = health.status;
	gateway->recorded_verdict = change.verdict;
	gateway->recorded_target = gateway->probe.target;
}

static void
judge_pool(MonitoredPool *pool, int64 now)
{
	bool		has_eligible = false;

	for (int i = 0; i < pool->member_count && !has_eligible; i++)
		has_eligible = monitor.members[pool->first_member + i] != NULL && monitor.members[pool->first_member + i]->eligible;
	monitor_log_pool(pool, has_eligible, now);
	if (!monitor.recording || has_eligible == pool->has_eligible)
		return;
	health_writer_add(&(HealthChange) {
		.of_pool = true,
		.id = pool->id,
		.org_id = pool->org_id,
		.old_status = has_eligible ? GATEWAY_UNHEALTHY : GATEWAY_HEALTHY,
		.new_status = has_eligible ? GATEWAY_HEALTHY : GATEWAY_UNHEALTHY
	});
	pool->has_eligible = has_eligible;
}

static void
judge_pools(int64 now)
{
	HASH_SEQ_STATUS scan;
	MonitoredPool *pool;

	hash_seq_init(&scan, monitor.pools);
	while ((pool = hash_seq_search(&scan)) != NULL)
	{
		judge_pool(pool, now);
		if (!pool->present)
			(void) hash_search(monitor.pools, &pool->id, HASH_REMOVE, NULL);
	}
}

/* monitor_judge_all judges all gateways and pools, and queues what has changed. */
void
monitor_judge_all(void)
{
	int64		now = clock_monotonic();
	HASH_SEQ_STATUS scan;
	MonitoredGateway *gateway;

	monitor.must_judge = false;
	list_free(monitor.changed);
	monitor.changed = NIL;
	list_free_deep(monitor.unconfirmed);
	monitor.unconfirmed = NIL;
	monitor.next_change = PG_INT64_MAX;
	hash_seq_init(&scan, monitor.gateways);
	while ((gateway = hash_seq_search(&scan)) != NULL)
		judge_gateway(gateway, now);
	judge_pools(now);
}

/* monitor_judge_changed judges the gateways with a new verdict of their probes, and all pools. */
void
monitor_judge_changed(void)
{
	int64		now = clock_monotonic();
	ListCell   *cell;

	foreach(cell, monitor.changed)
		judge_gateway(lfirst(cell), now);
	list_free(monitor.changed);
	monitor.changed = NIL;
	judge_pools(now);
}

/*
 * monitor_queue_reported queues the gateways with a reported heartbeat, without a
 * change of status, so that the next start of the server finds it in their rows.
 */
void
monitor_queue_reported(void)
{
	int64		now = clock_monotonic();
	HASH_SEQ_STATUS scan;
	MonitoredGateway *gateway;

	hash_seq_init(&scan, monitor.gateways);
	while ((gateway = hash_seq_search(&scan)) != NULL)
	{
		HealthEvidence evidence;
		GatewayHealth health;
		HealthChange change;

		if (health_evidence_read(gateway->slot, now, &evidence) == SLOT_GONE)
			continue;
		health = health_rule(&evidence);
		fill_change(gateway, &evidence, &health, &change);
		change.new_status = change.old_status;
		if (change.display.reported)
			health_writer_add(&change);
	}
}
