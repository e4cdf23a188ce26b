/*
 * monitor_probes.c
 *		What probes show of the gateways that are watched.
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
recall(const pg_uuid_t *gateway)
{
	MonitoredGateway *watched = hash_search(monitor.gateways, gateway, HASH_FIND, NULL);
	ProbeFinding finding;

	if (watched != NULL && health_evidence_finding(watched->slot, clock_monotonic(), &finding))
		return finding;
	return (ProbeFinding) {0};
}

/* Publishes in shared memory what a probe has shown, and answers the request for it. */
static void
publish(const ProbePlan *plan, const ProbeFinding *finding, const ProbeResult *result, bool changed)
{
	MonitoredGateway *watched = hash_search(monitor.gateways, &plan->gateway, HASH_FIND, NULL);
	ProbeDisplay display = {
		.configured = true,
		.probed = true,
		.verify_tls = plan->spec.verify_tls,
		.protocol = plan->spec.protocol,
		.verdict = finding->verdict,
		.milliseconds = result->duration / 1000.0,
		.failures = finding->failures,
		.successes = finding->successes,
		.falls = finding->falls,
		.started_at = result->started_at,
		.certificate_known = result->certificate_expires_at > 0,
		.certificate_expires_at = time_t_to_timestamptz(result->certificate_expires_at)
	};

	if (watched == NULL)
		return;
	strlcpy(display.reason, result->reason, sizeof(display.reason));
	health_evidence_show_probe(watched->slot, &display);
	if (finding->verdict != PROBE_NONE && result->outcome != PROBE_INCONCLUSIVE)
		health_evidence_store_probe(watched->slot, finding, plan->required);
	if (changed)
	{
		MemoryContext caller = MemoryContextSwitchTo(monitor.context);

		monitor.changed = lappend(monitor.changed, watched);
		MemoryContextSwitchTo(caller);
	}
	if (watched->asked)
		probe_on_demand_answer(watched->slot, watched->request);
	watched->asked = false;
}

static void
extend(const ProbePlan *plan, const ProbeFinding *finding)
{
	MonitoredGateway *watched = hash_search(monitor.gateways, &plan->gateway, HASH_FIND, NULL);

	if (watched != NULL)
		health_evidence_store_probe(watched->slot, finding, plan->required);
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
		.extend = extend
	};

	monitor.prober = prober_create(&user);
}

/* monitor_probes has gateways probed by new plans; those of other gateways are taken out of the array. */
void
monitor_probes(ProbePlan *plans, int count)
{
	int			plan_count = 0;
	int64		now = clock_monotonic();
	HASH_SEQ_STATUS scan;
	MonitoredGateway *watched;

	hash_seq_init(&scan, monitor.gateways);
	while ((watched = hash_seq_search(&scan)) != NULL)
		watched->kept = false;
	for (int i = 0; i < count; i++)
	{
		const ProbePlan *plan = &plans[i];

		watched = hash_search(monitor.gateways, &plan->gateway, HASH_FIND, NULL);
		if (watched == NULL)
			continue;
		plans[plan_count++] = *plan;
		watched->kept = true;
		watched->probe_period = plan->pace.interval + 2 * plan->timeout;
		if (!watched->probed)
		{
			ProbeDisplay display;

			watched->undecided_until = now + watched->probe_period;
			if (!health_evidence_last_probe(watched->slot, &display))
			{
				display = (ProbeDisplay) {
					.configured = true,
					.protocol = plan->spec.protocol,
					.verify_tls = plan->spec.verify_tls
				};
				health_evidence_show_probe(watched->slot, &display);
			}
		}
		watched->probed = true;
	}

	hash_seq_init(&scan, monitor.gateways);
	while ((watched = hash_seq_search(&scan)) != NULL)
	{
		ProbeDisplay display;

		if (watched->kept || !health_evidence_last_probe(watched->slot, &display))
			continue;
		watched->probed = false;
		health_evidence_store_probe(watched->slot, &(ProbeFinding) {.verdict = PROBE_NONE}, false);
		health_evidence_show_probe(watched->slot, &(ProbeDisplay) {0});
		monitor.is_to_answer = true;
	}
	prober_set_concurrency(monitor.prober, setting_probe_concurrency);
	prober_set_plans(monitor.prober, plans, plan_count, now);
}

/*
 * monitor_take_requests has those gateways probed at once for which somebody waits,
 * unless there is something new to be read: what they changed before they asked
 * was told before.
 */
void
monitor_take_requests(void)
{
	uint64		changes = catalog_changes();
	HASH_SEQ_STATUS scan;
	MonitoredGateway *watched;

	monitor.is_to_answer |= probe_on_demand_any();
	if (!monitor.is_to_answer)
		return;
	hash_seq_init(&scan, monitor.gateways);
	while ((watched = hash_seq_search(&scan)) != NULL)
	{
		watched->request = probe_on_demand_last(watched->slot);
		watched->asked = false;
	}
	AcceptInvalidationMessages();
	if (changes != catalog_changes())
		return;

	monitor.is_to_answer = false;
	hash_seq_init(&scan, monitor.gateways);
	while ((watched = hash_seq_search(&scan)) != NULL)
	{
		if (!probe_on_demand_is_open(watched->slot))
			continue;
		watched->asked = prober_probe_now(monitor.prober, &watched->id, clock_monotonic());
		if (!watched->asked)
			probe_on_demand_answer(watched->slot, watched->request);
	}
}
