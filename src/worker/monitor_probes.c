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

/* What probes found counts for so many intervals. */
#define COUNTED_INTERVALS 3

static ProbeRecord
recall(const pg_uuid_t *gateway)
{
	MonitoredGateway *watched = hash_search(monitor.gateways, gateway, HASH_FIND, NULL);
	ProbeRecord record = {0};
	ProbeFinding finding;

	if (watched != NULL && health_evidence_finding(watched->slot, clock_monotonic(), &finding))
	{
		record.verdict = finding.evidence;
		record.damped_until = finding.damped_until;
	}
	return record;
}

/* Tells shared memory what a probe has shown. */
static void
tell(const ProbeNews *news)
{
	MonitoredGateway *watched = hash_search(monitor.gateways, &news->gateway, HASH_FIND, NULL);
	const ProbeRecord *record = news->record;
	ProbeDisplay display = {
		.configured = true,
		.probed = true,
		.verify_tls = news->plan->spec.verify_tls,
		.protocol = news->plan->spec.protocol,
		.verdict = record->verdict,
		.milliseconds = news->duration / 1000.0,
		.failures = record->failures,
		.successes = record->successes,
		.falls = record->falls,
		.started_at = news->started_at,
		.certificate_known = news->result->certificate_expires_at > 0,
		.certificate_expires_at = time_t_to_timestamptz(news->result->certificate_expires_at)
	};

	if (watched == NULL)
		return;
	strlcpy(display.reason, news->result->reason, sizeof(display.reason));
	health_evidence_show_probe(watched->slot, &display);
	if (record->verdict != PROBE_NONE && news->result->outcome != PROBE_INCONCLUSIVE)
	{
		ProbeFinding finding = {
			.evidence = record->verdict,
			.required = watched->probe_required,
			.counts_until = news->started_at + COUNTED_INTERVALS * news->interval,
			.damped_until = record->damped_until
		};

		health_evidence_store_probe(watched->slot, &finding);
	}
	if (news->changed)
	{
		MemoryContext caller = MemoryContextSwitchTo(monitor.context);

		monitor.changed = lappend(monitor.changed, watched);
		MemoryContextSwitchTo(caller);
	}
	if (watched->asked)
		probe_on_demand_answer(watched->slot, watched->request);
	watched->asked = false;
}

/* Has what probes found count for longer, if it does now. */
static void
hold(const pg_uuid_t *gateway, int64 until)
{
	MonitoredGateway *watched = hash_search(monitor.gateways, gateway, HASH_FIND, NULL);
	ProbeFinding finding;

	if (watched == NULL || !health_evidence_finding(watched->slot, clock_monotonic(), &finding) ||
		finding.counts_until >= until)
		return;
	finding.counts_until = until;
	health_evidence_store_probe(watched->slot, &finding);
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
		.tell = tell,
		.hold = hold
	};

	monitor.prober = prober_create(&user);
}

/* monitor_probes takes over how gateways are to be probed. */
void
monitor_probes(const ProbeRow *rows, int count)
{
	ProbePlan  *plans = palloc_extended(sizeof(ProbePlan) * Max(count, 1), MCXT_ALLOC_HUGE);
	int			plan_count = 0;
	int64		now = clock_monotonic();
	HASH_SEQ_STATUS scan;
	MonitoredGateway *watched;

	hash_seq_init(&scan, monitor.gateways);
	while ((watched = hash_seq_search(&scan)) != NULL)
		watched->kept = false;
	for (int i = 0; i < count; i++)
	{
		const ProbePlan *plan = &rows[i].plan;

		watched = hash_search(monitor.gateways, &plan->gateway, HASH_FIND, NULL);
		if (watched == NULL)
			continue;
		plans[plan_count++] = *plan;
		watched->kept = true;
		watched->probe_required = rows[i].required;
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
		health_evidence_store_probe(watched->slot, &(ProbeFinding) {.evidence = PROBE_NONE});
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
