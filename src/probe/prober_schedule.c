/*
 * prober_schedule.c
 *		The gateways that are probed: how, with what outcome, and when next.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "utils/memutils.h"

#include "probe/prober_internal.h"

/* A finding counts for so many intervals. */
#define COUNTED_INTERVALS 3

/* target_compare_due orders the schedule: the earliest is the first. */
int
target_compare_due(const pairingheap_node *a, const pairingheap_node *b, void *arg)
{
	int64		first = pairingheap_const_container(Target, heap_node, a)->due;
	int64		second = pairingheap_const_container(Target, heap_node, b)->due;

	return first < second ? 1 : first > second ? -1 : 0;
}

/* target_schedule has a target that is nowhere probed at a time. */
void
target_schedule(Prober *prober, Target *target, int64 due)
{
	target->place = TARGET_SCHEDULED;
	target->due = due;
	pairingheap_add(prober->schedule, &target->heap_node);
}

/* target_unschedule takes a target from where it is between two probes. */
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
			/* fall through */
		case TARGET_RESOLVING:
			dlist_delete(&target->list_node);
			break;
		case TARGET_NOWHERE:
		case TARGET_RUNNING:
			break;
	}
	target->place = TARGET_NOWHERE;
}

/* target_finish judges by a probe that has ended, publishes the finding, and plans the next. */
void
target_finish(Prober *prober, Target *target, ProbeResult *result, int64 started_at, int64 now)
{
	ProbePace	pace = load_pace(prober, target);
	bool		changed = probe_finding_add(&target->finding, &pace, result->outcome, now);

	result->started_at = started_at;
	result->duration = now - started_at;
	if (result->outcome != PROBE_INCONCLUSIVE)
		target->finding.counts_until = started_at + COUNTED_INTERVALS * pace.interval;
	target->dark = target->finding.verdict == PROBE_DOWN && result->hung;
	target->asked = false;
	target_schedule(prober, target,
					probe_next_start(&target->finding, &pace, load_interval(prober, target->phase), started_at, now));
	prober->user.publish(&target->plan, &target->finding, result, changed);
}

static bool
same_text(const char *a, const char *b)
{
	return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

/* Whether what was found by the one is true of the other. */
static bool
same_spec(const ProbeSpec *a, const ProbeSpec *b)
{
	return a->protocol == b->protocol && strcmp(a->target.host, b->target.host) == 0 &&
		a->target.port == b->target.port && same_text(a->path, b->path) &&
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

static void
free_spec(Prober *prober, Target *target)
{
	free_text(target->plan.spec.path);
	free_text(target->plan.spec.server_name);
	trust_release(prober->trusts, target->trust);
}

static void
set_spec(Prober *prober, Target *target, const ProbeSpec *spec)
{
	target->plan.spec = *spec;
	target->plan.spec.path = copy_text(prober, spec->path);
	target->plan.spec.server_name = copy_text(prober, spec->server_name);
	target->trust = trust_acquire(prober->trusts, spec->ca_certificate);
	target->plan.spec.ca_certificate = trust_pem(target->trust);
}

/* Gives a gateway its plan; its due time is set when all have theirs. */
static void
set_plan(Prober *prober, const ProbePlan *plan)
{
	bool		found;
	Target	   *target = hash_search(prober->targets, &plan->gateway, HASH_ENTER, &found);

	if (!found)
	{
		memset((char *) target + sizeof(pg_uuid_t), 0, sizeof(Target) - sizeof(pg_uuid_t));
		target->finding = prober->user.recall(&plan->gateway);
		set_spec(prober, target, &plan->spec);
		target->plan.gateway = plan->gateway;
	}
	else if (!same_spec(&target->plan.spec, &plan->spec))
	{
		run_cancel(prober, target);
		target_unschedule(prober, target);
		free_spec(prober, target);
		set_spec(prober, target, &plan->spec);
		target->finding = (ProbeFinding) {0};
		target->dark = false;
	}
	else if (target->plan.pace.interval != plan->pace.interval && target->place == TARGET_SCHEDULED)
		target_unschedule(prober, target);
	target->plan.pace = plan->pace;
	target->plan.timeout = plan->timeout;
	target->plan.required = plan->required;
	target->kept = true;
}

static void
remove_target(Prober *prober, Target *target)
{
	run_cancel(prober, target);
	target_unschedule(prober, target);
	free_spec(prober, target);
	(void) hash_search(prober->targets, &target->gateway, HASH_REMOVE, NULL);
}

/* By interval, and by hash among those of one interval. */
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
 * targets_schedule gives all targets their phases, and those that are nowhere yet
 * their times, the first one after now.
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
			if (target->place == TARGET_NOWHERE)
				target_schedule(prober, target, target->asked ? now :
								probe_grid_time(load_interval(prober, interval), load_interval(prober, target->phase), now));
		}
	}
	pfree(sorted);
	prober->to_schedule = false;
}

/* targets_hasten plans anew what was planned for longer intervals than there are now. */
void
targets_hasten(Prober *prober, int64 now)
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
 * prober_set_plans replaces the plans by others.  Gateways that are probed as
 * before keep what has been found; those whose target is another begin anew, at
 * the times that the next prober_run gives them: what the caller does before, it
 * would have to catch up with by a bunch of starts.
 */
void
prober_set_plans(Prober *prober, const ProbePlan *plans, int count, int64 now)
{
	HASH_SEQ_STATUS scan;
	Target	   *target;

	hash_seq_init(&scan, prober->targets);
	while ((target = hash_seq_search(&scan)) != NULL)
		target->kept = false;
	for (int i = 0; i < count; i++)
		set_plan(prober, &plans[i]);

	hash_seq_init(&scan, prober->targets);
	while ((target = hash_seq_search(&scan)) != NULL)
		if (!target->kept)
			remove_target(prober, target);
	prober->to_schedule = true;
	prober->planned = Min(prober->planned, now);
}

/*
 * prober_probe_now has a gateway probed at once, unless a probe of it is under
 * way.  Returns false if it is no target.
 */
bool
prober_probe_now(Prober *prober, const pg_uuid_t *gateway, int64 now)
{
	Target	   *target = hash_search(prober->targets, gateway, HASH_FIND, NULL);

	if (target == NULL)
		return false;
	target->asked = true;
	if (target->place == TARGET_SCHEDULED)
	{
		target_unschedule(prober, target);
		target_schedule(prober, target, now);
		prober->planned = Min(prober->planned, now);
	}
	return true;
}

/* prober_finding returns what the probes of a gateway have shown; NULL if it is no target. */
const ProbeFinding *
prober_finding(Prober *prober, const pg_uuid_t *gateway)
{
	Target	   *target = hash_search(prober->targets, gateway, HASH_FIND, NULL);

	return target == NULL ? NULL : &target->finding;
}
