/*
 * monitor_probes.c
 *		Probes of the monitored gateways.
 */
#include "postgres.h"

#include "storage/fd.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "base/clock.h"
#include "base/settings.h"
#include "shared/probe_on_demand.h"
#include "worker/monitor_internal.h"

static ProbeFinding
recall(const pg_uuid_t *id)
{
	MonitoredGateway *gateway = hash_search(monitor.gateways, id, HASH_FIND, NULL);
	ProbeFinding finding;

	if (gateway != NULL &&
		(probe_evidence_finding(gateway->slot, clock_monotonic(), &finding) || finding.verdict == VERDICT_UP))
		return finding;
	return (ProbeFinding) {0};
}

/* Publishes in shared memory what a probe has shown, and answers the request for it. */
static void
publish(const ProbePlan *plan, const ProbeFinding *finding, const ProbeResult *result, bool changed)
{
	MonitoredGateway *gateway = hash_search(monitor.gateways, &plan->gateway, HASH_FIND, NULL);
	LastProbe	display = {
		.configured = true,
		.probed = true,
		.verify_tls = plan->spec.verify_tls,
		.protocol = plan->spec.protocol,
		.verdict = finding->verdict,
		.milliseconds = result->duration / 1000.0,
		.failures = finding->failures,
		.successes = finding->successes,
		.falls = finding->falls,
		.last_fall_at = finding->last_fall_at + clock_wall_offset(),
		.started_at = result->started_at,
		.certificate_known = result->certificate_expires_at > 0,
		.certificate_expires_at = time_t_to_timestamptz(result->certificate_expires_at)
	};

	LastProbe	former;

	if (gateway == NULL)
		return;

	/*
	 * A probe that failed before it saw a certificate leaves the date of the
	 * last one.
	 */
	if (!display.certificate_known && probe_evidence_last(gateway->slot, &former))
	{
		display.certificate_known = former.certificate_known;
		display.certificate_expires_at = former.certificate_expires_at;
	}
	strlcpy(display.reason, result->reason, sizeof(display.reason));
	probe_evidence_publish_last(gateway->slot, &display);
	if (finding->verdict != VERDICT_NONE && result->outcome != PROBE_INCONCLUSIVE)
		probe_evidence_publish(gateway->slot, finding, &gateway->probe);
	if (gateway->requested)
		probe_on_demand_answer(gateway->slot, gateway->request);
	gateway->requested = false;

	/*
	 * The last step, since it may fail: then all gateways are judged within a
	 * second.
	 */
	if (changed)
	{
		MemoryContext caller = MemoryContextSwitchTo(monitor.context);

		monitor.changed = lappend(monitor.changed, gateway);
		MemoryContextSwitchTo(caller);
	}
}

/* Publishes how a gateway is probed, before its first probe. */
static void
publish_unprobed(const MonitoredGateway *gateway, const ProbePlan *plan)
{
	probe_evidence_publish_last(gateway->slot, &(LastProbe) {
		.configured = true,
		.protocol = plan->spec.protocol,
		.verify_tls = plan->spec.verify_tls
	});
}

static void
amend(const ProbePlan *plan, const ProbeFinding *finding)
{
	MonitoredGateway *gateway = hash_search(monitor.gateways, &plan->gateway, HASH_FIND, NULL);

	if (gateway == NULL)
		return;
	probe_evidence_publish(gateway->slot, finding, &gateway->probe);
	if (finding->verdict == VERDICT_NONE)
		publish_unprobed(gateway, plan);
}

/* monitor_probes_start makes the prober, in the current memory context. */
void
monitor_probes_start(void)
{
	static const ProberUser user = {
		.refusal = settings_refuse_address,
		.acquire_descriptor = AcquireExternalFD,
		.release_descriptor = ReleaseExternalFD,
		.recall = recall,
		.publish = publish,
		.amend = amend
	};

	monitor.prober = prober_create(&user);
}

static void
set_target(MonitoredGateway *gateway, const ProbePlan *plan)
{
	probe_target_shorten(plan->target, gateway->target);
	gateway->probe = (ConfiguredProbe) {
		.target = probe_target_hash(gateway->target),
		.required = plan->required,
		.interval = plan->pace.interval,
		.timeout = plan->timeout
	};
}

/* monitor_probes sets new plans; it removes the plans of gateways that are not monitored from the array. */
void
monitor_probes(ProbePlan *plans, int count)
{
	int			plan_count = 0;
	int64		now = clock_monotonic();
	HASH_SEQ_STATUS scan;
	MonitoredGateway *gateway;

	hash_seq_init(&scan, monitor.gateways);
	while ((gateway = hash_seq_search(&scan)) != NULL)
		gateway->present = false;
	for (int i = 0; i < count; i++)
	{
		const ProbePlan *plan = &plans[i];

		gateway = hash_search(monitor.gateways, &plan->gateway, HASH_FIND, NULL);
		if (gateway == NULL)
			continue;
		plans[plan_count++] = *plan;
		gateway->present = true;
		gateway->probe_period = plan->pace.interval + 2 * plan->timeout;
		set_target(gateway, plan);
		if (!gateway->probed)
		{
			LastProbe	display;

			gateway->undecided_until = now + Min(plan->pace.interval, PROBER_FIRST_WITHIN) + 2 * plan->timeout;
			if (!probe_evidence_last(gateway->slot, &display))
				publish_unprobed(gateway, plan);
		}
		gateway->probed = true;
	}

	hash_seq_init(&scan, monitor.gateways);
	while ((gateway = hash_seq_search(&scan)) != NULL)
	{
		LastProbe	display;

		if (gateway->present || !probe_evidence_last(gateway->slot, &display))
			continue;
		gateway->probed = false;
		probe_evidence_publish(gateway->slot, &(ProbeFinding) {0}, &(ConfiguredProbe) {0});
		probe_evidence_publish_last(gateway->slot, &(LastProbe) {0});
		monitor.must_answer = true;
	}
	prober_set_concurrency(monitor.prober, setting_probe_concurrency);
	prober_set_plans(monitor.prober, plans, plan_count, now);
}

/*
 * monitor_take_requests probes at once each gateway that a caller has requested.  If
 * an invalidation has come, it does nothing: the tables are read first, since a
 * caller may have changed how the gateway is probed before its request.
 */
void
monitor_take_requests(void)
{
	uint64		changes = catalog_changes();
	HASH_SEQ_STATUS scan;
	MonitoredGateway *gateway;

	monitor.must_answer |= probe_on_demand_any();
	if (!monitor.must_answer)
		return;
	hash_seq_init(&scan, monitor.gateways);
	while ((gateway = hash_seq_search(&scan)) != NULL)
	{
		gateway->request = probe_on_demand_last(gateway->slot);
		gateway->requested = false;
	}
	AcceptInvalidationMessages();
	if (changes != catalog_changes())
		return;

	monitor.must_answer = false;
	hash_seq_init(&scan, monitor.gateways);
	while ((gateway = hash_seq_search(&scan)) != NULL)
	{
		if (!probe_on_demand_is_open(gateway->slot))
			continue;
		gateway->requested = prober_probe_now(monitor.prober, &gateway->id, clock_monotonic());
		if (!gateway->requested)
			probe_on_demand_answer(gateway->slot, gateway->request);
	}
}
