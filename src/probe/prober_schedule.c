/*
 * prober_schedule.c
 *		The targets of a prober: their plans, their findings and their next probes.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "utils/memutils.h"

#include "base/compat.h"
#include "probe/prober_internal.h"

/* target_compare_due orders the schedule by time. */
int
target_compare_due(const pairingheap_node *a, const pairingheap_node *b, void *arg)
{
	int64		first = pairingheap_const_container(Target, heap_node, a)->due;
	int64		second = pairingheap_const_container(Target, heap_node, b)->due;

	return first < second ? 1 : first > second ? -1 : 0;
}

/* target_schedule schedules a target that is unscheduled. */
void
target_schedule(Prober *prober, Target *target, int64 due)
{
	target->place = TARGET_SCHEDULED;
	target->due = due;
	pairingheap_add(prober->schedule, &target->heap_node);
}

/* target_unschedule removes a target from the schedule, or from the list in which it waits. */
void
target_unschedule(Prober *prober, Target *target)
{
	switch (target->place)
	{
		case TARGET_SCHEDULED:
			pairingheap_remove(prober->schedule, &target->heap_node);
			break;
		case TARGET_WAITING:
			prober->waiting_count--;
			pg_fallthrough;
		case TARGET_RESOLVING:
			dlist_delete(&target->list_node);
			break;
		case TARGET_UNSCHEDULED:
		case TARGET_RUNNING:
			break;
	}
	target->place = TARGET_UNSCHEDULED;
}

/*
 * The next start of a target's grid; that of a first probe does not wait for a long
 * interval to pass.  First probes are spread as later ones are, over less time.
 */
static int64
next_due(Prober *prober, const Target *target, int64 now)
{
	int64		interval = target->plan.pace.interval;

	if (target->requested)
		return now;
	if (!target->probed && interval > PROBER_FIRST_WITHIN)
		return now + (int64) ((double) target->phase / interval * PROBER_FIRST_WITHIN);
	return probe_grid_time(load_interval(prober, interval), load_interval(prober, target->phase), now);
}

/* target_finish updates the finding by a probe that has ended, publishes it, and schedules the next. */
void
target_finish(Prober *prober, Target *target, ProbeResult *result, int64 started_at, int64 now)
{
	ProbePace	pace = load_pace(prober, target);
	bool		changed = probe_finding_add(&target->finding, &pace, result->outcome, now);
	int64		next = probe_next_start(&target->finding, &pace, load_interval(prober, target->phase), started_at, now);

	result->started_at = started_at;
	if (result->outcome != PROBE_INCONCLUSIVE)
	{
		target->probed = true;
		target->finding.counts_until = started_at + PROBE_COUNTED_INTERVALS * pace.interval;
	}
	target->dark = target->finding.verdict == VERDICT_DOWN && result->hung;
	target->requested = false;
	target_schedule(prober, target, target->probed ? next : Min(next, now + PROBER_FIRST_WITHIN));
	prober->user.publish(&target->plan, &target->finding, result, changed);
}

static bool
same_text(const char *a, const char *b)
{
	return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

/* Returns true if a finding by one spec is valid for the other. */
static bool
same_spec(const ProbeSpec *a, const ProbeSpec *b)
{
	return a->protocol == b->protocol && strcmp(a->address.host, b->address.host) == 0 &&
		a->address.port == b->address.port && same_text(a->path, b->path) &&
		a->status_from == b->status_from && a->status_to == b->status_to &&
		same_text(a->server_name, b->server_name) && a->verify_tls == b->verify_tls &&
		same_text(a->ca_certificate, b->ca_certificate);
}

static const char *
copy_text(Prober *prober, const char *text)
{
	return text == NULL ? NULL : MemoryContextStrdup(prober->context, text);
}

static void
free_text(const char *text)
{
	if (text != NULL)
		pfree(unconstify(char *, text));
}

/* A spec with texts and a trust of its own, for a target. */
typedef struct OwnSpec
{
	ProbeSpec	spec;
	Trust	   *trust;
} OwnSpec;

/* An ERROR changes no target; the memory of what has been copied by then is lost. */
static OwnSpec
copy_spec(Prober *prober, const ProbeSpec *spec)
{
	OwnSpec		own = {.spec = *spec};

	own.spec.path = copy_text(prober, spec->path);
	own.spec.server_name = copy_text(prober, spec->server_name);
	own.trust = trust_acquire(prober->trusts, spec->ca_certificate);
	own.spec.ca_certificate = trust_pem(own.trust);
	return own;
}

static void
free_spec(Prober *prober, Target *target)
{
	free_text(target->plan.spec.path);
	free_text(target->plan.spec.server_name);
	trust_release(prober->trusts, target->trust);
}

static void
set_spec(Target *target, const OwnSpec *own)
{
	target->plan.spec = own->spec;
	target->trust = own->trust;
}

/*
 * Sets the plan of a gateway; targets_schedule sets its time when all have theirs.
 * What may fail, out of memory, comes before any change of a target.
 */
static void
set_plan(Prober *prober, const ProbePlan *plan)
{
	bool		has_changed = false;
	Target	   *target = hash_search(prober->targets, &plan->gateway, HASH_FIND, NULL);

	if (target == NULL)
	{
		OwnSpec		own = copy_spec(prober, &plan->spec);

		target = hash_search(prober->targets, &plan->gateway, HASH_ENTER, NULL);
		memset((char *) target + sizeof(pg_uuid_t), 0, sizeof(Target) - sizeof(pg_uuid_t));
		target->finding = prober->user.recall(&plan->gateway);
		set_spec(target, &own);
		target->plan.gateway = plan->gateway;
	}
	else if (!same_spec(&target->plan.spec, &plan->spec))
	{
		OwnSpec		own = copy_spec(prober, &plan->spec);

		run_cancel(prober, target);
		target_unschedule(prober, target);
		free_spec(prober, target);
		set_spec(target, &own);
		target->finding = (ProbeFinding) {0};
		target->dark = target->probed = false;
		has_changed = true;
	}
	else if (target->plan.pace.interval != plan->pace.interval && target->place == TARGET_SCHEDULED)
		target_unschedule(prober, target);
	target->plan.pace = plan->pace;
	target->plan.timeout = plan->timeout;
	target->plan.required = plan->required;
	target->planned = true;
	if (has_changed)
		prober->user.amend(&target->plan, &target->finding);
}

static void
remove_target(Prober *prober, Target *target)
{
	run_cancel(prober, target);
	target_unschedule(prober, target);
	free_spec(prober, target);
	(void) hash_search(prober->targets, &target->gateway, HASH_REMOVE, NULL);
}

/* Orders by interval, then by hash. */
static int
compare_phase(const void *a, const void *b)
{
	const Target *first = *(Target *const *) a;
	const Target *second = *(Target *const *) b;
	uint64		hash_first = hash_bytes_extended(first->gateway.data, UUID_LEN, 0);
	uint64		hash_second = hash_bytes_extended(second->gateway.data, UUID_LEN, 0);

	if (first->plan.pace.interval != second->plan.pace.interval)
		return first->plan.pace.interval < second->plan.pace.interval ? -1 : 1;
	return hash_first < hash_second ? -1 : hash_first > hash_second;
}

/*
 * targets_schedule sets the phases of all targets, and schedules those that are
 * unscheduled at their next time after now.
 */
void
targets_schedule(Prober *prober, int64 now)
{
	int			count = hash_get_num_entries(prober->targets);
	Target	  **sorted = palloc(sizeof(Target *) * Max(count, 1));
	HASH_SEQ_STATUS scan;
	Target	   *target;
	int			i = 0;

	hash_seq_init(&scan, prober->targets);
	while ((target = hash_seq_search(&scan)) != NULL)
		sorted[i++] = target;
	qsort(sorted, count, sizeof(Target *), compare_phase);

	for (int from = 0, to; from < count; from = to)
	{
		int64		interval = sorted[from]->plan.pace.interval;

		for (to = from; to < count && sorted[to]->plan.pace.interval == interval; to++)
			;
		for (i = from; i < to; i++)
		{
			target = sorted[i];
			target->phase = probe_phase(interval, i - from, to - from);
			if (target->place == TARGET_UNSCHEDULED)
				target_schedule(prober, target, next_due(prober, target, now));
		}
	}
	pfree(sorted);
	prober->to_schedule = false;
}

/* targets_reschedule brings probes forward that were scheduled by longer intervals than those of now. */
void
targets_reschedule(Prober *prober, int64 now)
{
	HASH_SEQ_STATUS scan;
	Target	   *target;

	hash_seq_init(&scan, prober->targets);
	while ((target = hash_seq_search(&scan)) != NULL)
	{
		ProbePace	pace = load_pace(prober, target);

		if (target->place != TARGET_SCHEDULED || target->due - now <= pace.interval)
			continue;
		target_unschedule(prober, target);
		target_schedule(prober, target, probe_grid_time(pace.interval, load_interval(prober, target->phase), now));
	}
}

/*
 * prober_set_plans replaces all plans.  Gateways with the same spec keep their
 * findings; others start without one.  The next prober_run sets the times: by times
 * of now, what the caller does before that would end in a bunch of late starts.
 */
void
prober_set_plans(Prober *prober, const ProbePlan *plans, int count, int64 now)
{
	HASH_SEQ_STATUS scan;
	Target	   *target;

	hash_seq_init(&scan, prober->targets);
	while ((target = hash_seq_search(&scan)) != NULL)
		target->planned = false;
	for (int i = 0; i < count; i++)
		set_plan(prober, &plans[i]);

	hash_seq_init(&scan, prober->targets);
	while ((target = hash_seq_search(&scan)) != NULL)
		if (!target->planned)
			remove_target(prober, target);
	prober->to_schedule = true;
	prober->planned = Min(prober->planned, now);
}

/*
 * prober_probe_now probes a gateway at once, unless a probe of it is running.
 * Returns false if it is no target.
 */
bool
prober_probe_now(Prober *prober, const pg_uuid_t *gateway, int64 now)
{
	Target	   *target = hash_search(prober->targets, gateway, HASH_FIND, NULL);

	if (target == NULL)
		return false;
	target->requested = true;
	if (target->place == TARGET_SCHEDULED)
	{
		target_unschedule(prober, target);
		target_schedule(prober, target, now);
		prober->planned = Min(prober->planned, now);
	}
	return true;
}

/* prober_finding returns what the probes of a gateway have found; NULL if it is no target. */
const ProbeFinding *
prober_finding(Prober *prober, const pg_uuid_t *gateway)
{
	Target	   *target = hash_search(prober->targets, gateway, HASH_FIND, NULL);

	return target == NULL ? NULL : &target->finding;
}
