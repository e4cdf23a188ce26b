/*
 * prober.c
 *		Probes of many gateways at once, each at its time.
 *
 * Everything waits in one epoll set: the sockets of libcurl and those of the
 * resolver.  prober_run does what there is to do and never waits.  Answers are
 * read before deadlines are looked at, so that one that came in time counts
 * however late we are; what fails while we were late does not count.
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "common/hashfn.h"
#include "lib/ilist.h"
#include "lib/pairingheap.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

#include "clock.h"
#include "prober.h"
#include "resolver.h"

/* Starts that are due within the same tick go together: one wake-up for all of them. */
#define TICK (10 * INT64CONST(1000))

/* A round that begins later than this after its time is a stall. */
#define STALL (100 * INT64CONST(1000))

/* A start that is later than half its interval, and than this, is left out. */
#define LATE_START (200 * INT64CONST(1000))

/* What was found of those that are down is held for so long at a time while they wait for a place. */
#define HOLD (2 * USECS_PER_SEC)

/* How long timeouts are no evidence after a stall, for people to read. */
#define ABSTENTION USECS_PER_SEC

/* Lateness of starts is counted in steps, over two spans in turn. */
#define LATENESS_STEP (5 * INT64CONST(1000))
#define LATENESS_STEPS 200
#define LATENESS_SPAN (60 * USECS_PER_SEC)

#define SWEEP_INTERVAL (60 * USECS_PER_SEC)

#define EVENTS_AT_ONCE 64

/* What the epoll set says of the resolver; of libcurl's sockets, the descriptor. */
#define RESOLVER_EVENT PG_UINT64_MAX

/* Where a target is between two probes. */
typedef enum TargetPlace
{
	TARGET_NOWHERE,				/* yet: set_phases will schedule it */
	TARGET_SCHEDULED,			/* in the heap */
	TARGET_RESOLVING,			/* for the address of its name */
	TARGET_WAITING,				/* for a place to run in */
	TARGET_RUNNING
} TargetPlace;

struct Run;

typedef struct Target
{
	pg_uuid_t	gateway;		/* the key */
	ProbePlan	plan;			/* its texts are ours */
	ProbeRecord record;
	TargetPlace place;
	bool		kept;			/* the new plans have it too */
	bool		asked;			/* somebody waits: no start is too late */
	bool		dark;			/* it is down, and hangs */
	int64		phase;
	int64		due;
	struct sockaddr_storage address;
	struct Run *run;			/* valid if running */
	pairingheap_node heap_node; /* if scheduled */
	dlist_node	list_node;		/* if resolving or waiting */
} Target;

/* A place for a probe to run in. */
typedef struct Run
{
	Probe	   *probe;
	Target	   *target;			/* NULL if free */
	bool		dark;
	int64		started_at;
	int64		deadline;
	int64		stalled_before; /* of all stalls so far, when it began */
	dlist_node	list_node;
} Run;

typedef struct Lateness
{
	int64		since;
	uint32		starts;
	uint32		steps[LATENESS_STEPS + 1];
} Lateness;

struct Prober
{
	ProberUser	user;
	MemoryContext context;
	int			epoll;
	CURLM	   *multi;
	Resolver   *resolver;
	HTAB	   *targets;
	pairingheap *schedule;
	dlist_head	resolving;
	dlist_head	waiting;		/* the longest first */
	dlist_head	waiting_dark;
	int			waiting_count;
	Run		   *runs;
	int			run_count;
	dlist_head	free_runs;
	dlist_head	running;
	int			live_room;		/* places left for each kind */
	int			dark_room;
	int64		timer;			/* libcurl's next, or PG_INT64_MAX */
	int64		planned;		/* when the next round is to begin */
	int64		lag;
	int64		stalled;		/* all stalls together */
	int64		stalled_at;
	int64		swept_at;		/* when the resolver last forgot unused names */
	int64		held_at;		/* when all that wait were held last */
	uint64		resolved;		/* the resolver's generation when it was last asked */
	Lateness	lateness[2];	/* the current span and the one before */
};

/* Libcurl tells which descriptors it waits for, and for what; "known" is what we gave it for one. */
static int
watch_socket(CURL *easy, curl_socket_t item, int what, void *arg, void *known)
{
	Prober	   *prober = arg;
	struct epoll_event event = {
		.events = (what & CURL_POLL_IN ? EPOLLIN : 0) | (what & CURL_POLL_OUT ? EPOLLOUT : 0),
		.data.u64 = (uint32) item
	};

	if (what == CURL_POLL_REMOVE)
	{
		(void) epoll_ctl(prober->epoll, EPOLL_CTL_DEL, item, NULL);
		return 0;
	}
	if (epoll_ctl(prober->epoll, known == NULL ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, item, &event) != 0)
		return -1;
	(void) curl_multi_assign(prober->multi, item, prober);
	return 0;
}

static int
set_timer(CURLM *multi, long milliseconds, void *arg)
{
	Prober	   *prober = arg;

	prober->timer = milliseconds < 0 ? PG_INT64_MAX : clock_monotonic() + milliseconds * INT64CONST(1000);
	return 0;
}

/* The earliest is the first. */
static int
compare_due(const pairingheap_node *a, const pairingheap_node *b, void *arg)
{
	int64		first = pairingheap_const_container(Target, heap_node, a)->due;
	int64		second = pairingheap_const_container(Target, heap_node, b)->due;

	return first < second ? 1 : first > second ? -1 : 0;
}

/*
 * prober_create makes a prober without targets in the current memory context.
 * Errors: out of memory, or of descriptors (53000).
 */
Prober *
prober_create(const ProberUser *user)
{
	Prober	   *prober = palloc0(sizeof(Prober));
	HASHCTL		control = {
		.keysize = sizeof(pg_uuid_t),
		.entrysize = sizeof(Target),
		.hcxt = CurrentMemoryContext
	};
	struct epoll_event resolver_event = {.events = EPOLLIN, .data.u64 = RESOLVER_EVENT};

	prober->user = *user;
	prober->context = CurrentMemoryContext;
	prober->timer = prober->planned = PG_INT64_MAX;
	prober->targets = hash_create("probed gateways", 1024, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	prober->schedule = pairingheap_allocate(compare_due, NULL);
	dlist_init(&prober->resolving);
	dlist_init(&prober->waiting);
	dlist_init(&prober->waiting_dark);
	dlist_init(&prober->free_runs);
	dlist_init(&prober->running);

	prober->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (prober->epoll >= 0)
		prober->resolver = resolver_create(NULL);
	if (curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK)
		prober->multi = curl_multi_init();
	if (prober->epoll < 0 || prober->resolver == NULL || prober->multi == NULL ||
		epoll_ctl(prober->epoll, EPOLL_CTL_ADD, resolver_descriptor(prober->resolver), &resolver_event) != 0 ||
		curl_multi_setopt(prober->multi, CURLMOPT_SOCKETFUNCTION, watch_socket) != CURLM_OK ||
		curl_multi_setopt(prober->multi, CURLMOPT_SOCKETDATA, prober) != CURLM_OK ||
		curl_multi_setopt(prober->multi, CURLMOPT_TIMERFUNCTION, set_timer) != CURLM_OK ||
		curl_multi_setopt(prober->multi, CURLMOPT_TIMERDATA, prober) != CURLM_OK ||
		curl_multi_setopt(prober->multi, CURLMOPT_MAXCONNECTS, 1L) != CURLM_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
				 errmsg("could not set up probes")));
	return prober;
}

static void
free_runs(Prober *prober)
{
	for (int i = 0; i < prober->run_count; i++)
	{
		Run		   *run = &prober->runs[i];

		if (run->target != NULL)
		{
			probe_cancel(run->probe);
			prober->user.release_descriptor();
		}
		probe_destroy(run->probe);
	}
	prober->run_count = 0;
}

/* prober_destroy ends all probes and closes everything; its memory goes with the context. */
void
prober_destroy(Prober *prober)
{
	free_runs(prober);
	curl_multi_cleanup(prober->multi);
	resolver_destroy(prober->resolver);
	close(prober->epoll);
	curl_global_cleanup();
}

static void
schedule(Prober *prober, Target *target, int64 due)
{
	target->place = TARGET_SCHEDULED;
	target->due = due;
	pairingheap_add(prober->schedule, &target->heap_node);
}

/* Takes a target from where it is between two probes. */
static void
unschedule(Prober *prober, Target *target)
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

static void
free_run(Prober *prober, Run *run)
{
	prober->user.release_descriptor();
	*(run->dark ? &prober->dark_room : &prober->live_room) += 1;
	run->target = NULL;
	dlist_delete(&run->list_node);
	dlist_push_head(&prober->free_runs, &run->list_node);
}

static void
cancel_run(Prober *prober, Target *target)
{
	if (target->place != TARGET_RUNNING)
		return;
	probe_cancel(target->run->probe);
	free_run(prober, target->run);
	target->place = TARGET_NOWHERE;
}

/*
 * prober_set_concurrency sets how many probes may run at once.  A quarter of the
 * places is for gateways that are known to hang: they never keep others waiting.
 */
void
prober_set_concurrency(Prober *prober, int concurrency)
{
	HASH_SEQ_STATUS scan;
	Target	   *target;

	if (concurrency == prober->run_count)
		return;

	hash_seq_init(&scan, prober->targets);
	while ((target = hash_seq_search(&scan)) != NULL)
		if (target->place == TARGET_RUNNING)
		{
			cancel_run(prober, target);
			schedule(prober, target, clock_monotonic());
		}
	free_runs(prober);
	if (prober->runs != NULL)
		pfree(prober->runs);
	prober->runs = NULL;
	dlist_init(&prober->free_runs);
	prober->runs = MemoryContextAllocZero(prober->context, sizeof(Run) * concurrency);
	for (; prober->run_count < concurrency; prober->run_count++)
	{
		Run		   *run = &prober->runs[prober->run_count];

		run->probe = probe_create(prober->multi, prober->user.refusal);
		if (run->probe == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_OUT_OF_MEMORY),
					 errmsg("out of memory")));
		probe_set_owner(run->probe, run);
		dlist_push_tail(&prober->free_runs, &run->list_node);
	}
	prober->dark_room = Max(concurrency / 4, 1);
	prober->live_room = Max(concurrency - prober->dark_room, 1);
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
free_spec(ProbeSpec *spec)
{
	free_text(spec->path);
	free_text(spec->server_name);
	free_text(spec->ca_certificate);
}

static void
set_spec(Prober *prober, Target *target, const ProbeSpec *spec)
{
	target->plan.spec = *spec;
	target->plan.spec.path = copy_text(prober, spec->path);
	target->plan.spec.server_name = copy_text(prober, spec->server_name);
	target->plan.spec.ca_certificate = copy_text(prober, spec->ca_certificate);
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
		target->record = prober->user.recall(&plan->gateway);
		set_spec(prober, target, &plan->spec);
		target->plan.gateway = plan->gateway;
	}
	else if (!same_spec(&target->plan.spec, &plan->spec))
	{
		cancel_run(prober, target);
		unschedule(prober, target);
		free_spec(&target->plan.spec);
		set_spec(prober, target, &plan->spec);
		target->record = (ProbeRecord) {0};
		target->dark = false;
	}
	else if (target->plan.pace.interval != plan->pace.interval && target->place == TARGET_SCHEDULED)
		unschedule(prober, target);
	target->plan.pace = plan->pace;
	target->plan.timeout = plan->timeout;
	target->kept = true;
}

static void
remove_target(Prober *prober, Target *target)
{
	cancel_run(prober, target);
	unschedule(prober, target);
	free_spec(&target->plan.spec);
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

static void
set_phases(Prober *prober, int64 now)
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
				schedule(prober, target, probe_grid_time(interval, target->phase, now));
		}
	}
	pfree(sorted);
}

/*
 * prober_set_plans replaces the plans by others.  Gateways that are probed as
 * before keep what has been found; those whose target is another begin anew.
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
	set_phases(prober, now);
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
		unschedule(prober, target);
		schedule(prober, target, now);
		prober->planned = Min(prober->planned, now);
	}
	return true;
}

/* prober_record returns what the probes of a gateway have shown; NULL if it is no target. */
const ProbeRecord *
prober_record(Prober *prober, const pg_uuid_t *gateway)
{
	Target	   *target = hash_search(prober->targets, gateway, HASH_FIND, NULL);

	return target == NULL ? NULL : &target->record;
}

/* prober_descriptor returns what becomes readable when there is something to do. */
int
prober_descriptor(const Prober *prober)
{
	return prober->epoll;
}

/* A probe has ended: judges, tells, and plans the next. */
static void
finish(Prober *prober, Target *target, ProbeResult *result, int64 started_at, int64 now)
{
	ProbeNews	news = {
		.gateway = target->gateway,
		.plan = &target->plan,
		.record = &target->record,
		.result = result,
		.started_at = started_at,
		.duration = now - started_at
	};

	news.changed = probe_record_add(&target->record, &target->plan.pace, result->outcome, now);
	target->dark = target->record.verdict == PROBE_DOWN && result->hung;
	target->asked = false;
	schedule(prober, target,
			 probe_next_start(&target->record, &target->plan.pace, target->phase, started_at, now));
	prober->user.tell(&news);
}

static void
finish_run(Prober *prober, Run *run, ProbeResult *result, int64 now)
{
	Target	   *target = run->target;

	/* We may have let it wait for longer than it lets us. */
	if (result->outcome == PROBE_FAILED && prober->stalled - run->stalled_before > target->plan.timeout / 4)
	{
		result->outcome = PROBE_INCONCLUSIVE;
		strlcpy(result->reason, "the prober was late", PROBE_REASON_SIZE);
	}
	if (result->outcome != PROBE_SUCCEEDED && !target->plan.spec.target.numeric)
		resolver_doubt(prober->resolver, target->plan.spec.target.host, (struct sockaddr *) &target->address);
	free_run(prober, run);
	finish(prober, target, result, run->started_at, now);
}

static void
finish_ended(Prober *prober)
{
	CURLMsg    *message;
	int			left;

	while ((message = curl_multi_info_read(prober->multi, &left)) != NULL)
		if (message->msg == CURLMSG_DONE)
		{
			Run		   *run = probe_owner(message->easy_handle);
			ProbeResult result;

			probe_end(run->probe, message->data.result, &result);
			finish_run(prober, run, &result, clock_monotonic());
		}
}

/* Lets libcurl have its time, until it wants to wait for something. */
static void
serve_timer(Prober *prober)
{
	int			running;

	for (int i = 0; i < EVENTS_AT_ONCE && prober->timer <= clock_monotonic(); i++)
	{
		prober->timer = PG_INT64_MAX;
		(void) curl_multi_socket_action(prober->multi, CURL_SOCKET_TIMEOUT, 0, &running);
	}
	finish_ended(prober);
}

static void
serve_socket(Prober *prober, int item, uint32 events)
{
	int			what = (events & EPOLLIN ? CURL_CSELECT_IN : 0) | (events & EPOLLOUT ? CURL_CSELECT_OUT : 0) |
		(events & (EPOLLERR | EPOLLHUP) ? CURL_CSELECT_ERR : 0);
	int			running;

	(void) curl_multi_socket_action(prober->multi, item, what, &running);
	finish_ended(prober);
}

static void
serve_events(Prober *prober)
{
	struct epoll_event events[EVENTS_AT_ONCE];
	int			count;

	do
	{
		count = epoll_wait(prober->epoll, events, EVENTS_AT_ONCE, 0);
		for (int i = 0; i < count; i++)
			if (events[i].data.u64 == RESOLVER_EVENT)
				resolver_run(prober->resolver, clock_monotonic());
			else
				serve_socket(prober, events[i].data.u64, events[i].events);
	} while (count == EVENTS_AT_ONCE);
}

static void
expire_runs(Prober *prober)
{
	int64		now = clock_monotonic();
	dlist_mutable_iter iter;

	dlist_foreach_modify(iter, &prober->running)
	{
		Run		   *run = dlist_container(Run, list_node, iter.cur);

		if (run->deadline <= now)
		{
			ProbeResult result;

			probe_expire(run->probe, &result);
			finish_run(prober, run, &result, now);
		}
	}
}

static void
count_lateness(Prober *prober, int64 late, int64 now)
{
	Lateness   *current = &prober->lateness[0];

	if (now - current->since >= LATENESS_SPAN)
	{
		prober->lateness[1] = *current;
		memset(current, 0, sizeof(Lateness));
		current->since = now;
	}
	current->starts++;
	current->steps[Min(Max(late, 0) / LATENESS_STEP, LATENESS_STEPS)]++;
}

/* Starts the probe of a target that has its address, if there is a place for it. */
static bool
start_run(Prober *prober, Target *target, int64 now)
{
	int		   *room = target->dark ? &prober->dark_room : &prober->live_room;
	Run		   *run;
	ProbeResult result;

	if (*room == 0 || dlist_is_empty(&prober->free_runs) || !prober->user.acquire_descriptor())
		return false;

	count_lateness(prober, now - target->due, now);
	run = dlist_container(Run, list_node, dlist_pop_head_node(&prober->free_runs));
	run->target = target;
	run->dark = target->dark;
	run->started_at = now;
	run->deadline = now + target->plan.timeout;
	run->stalled_before = prober->stalled;
	target->run = run;
	target->place = TARGET_RUNNING;
	*room -= 1;
	dlist_push_tail(&prober->running, &run->list_node);
	if (!probe_start(run->probe, &target->plan.spec, (struct sockaddr *) &target->address, &result))
		finish_run(prober, run, &result, now);
	return true;
}

/*
 * When many gateways hang, each of them waits for long between two probes.  That
 * it has not been probed for so long must not make it look alive meanwhile.
 */
static void
hold(Prober *prober, Target *target, int64 now)
{
	if (target->record.verdict == PROBE_DOWN)
		prober->user.hold(&target->gateway, now + HOLD + target->plan.timeout);
}

static void
hold_waiting(Prober *prober, dlist_head *waiting, int64 now)
{
	dlist_iter	iter;

	dlist_foreach(iter, waiting)
		hold(prober, dlist_container(Target, list_node, iter.cur), now);
}

static void
start_or_wait(Prober *prober, Target *target, int64 now)
{
	if (start_run(prober, target, now))
		return;
	target->place = TARGET_WAITING;
	prober->waiting_count++;
	dlist_push_tail(target->dark ? &prober->waiting_dark : &prober->waiting, &target->list_node);
	hold(prober, target, now);
}

/* Finds the address of a target, and goes on from there. */
static void
resolve(Prober *prober, Target *target, int64 now)
{
	ProbeResult result = {.outcome = PROBE_INCONCLUSIVE};
	const char *reason;

	if (target->plan.spec.target.numeric)
	{
		(void) probe_target_address(&target->plan.spec.target, &target->address);
		start_or_wait(prober, target, now);
		return;
	}
	switch (resolver_look_up(prober->resolver, target->plan.spec.target.host, now, &target->address, &reason))
	{
		case RESOLVER_RESOLVED:
			start_or_wait(prober, target, now);
			break;
		case RESOLVER_PENDING:
			target->place = TARGET_RESOLVING;
			dlist_push_tail(&prober->resolving, &target->list_node);
			break;
		case RESOLVER_ABSENT:
		case RESOLVER_FAILED:
			strlcpy(result.reason, reason, sizeof(result.reason));
			finish(prober, target, &result, now, now);
			break;
	}
}

/* Those whose names have been resolved meanwhile, or will not be. */
static void
start_resolved(Prober *prober, int64 now)
{
	dlist_head	resolving;
	dlist_mutable_iter iter;

	if (dlist_is_empty(&prober->resolving) || prober->resolved == resolver_generation(prober->resolver))
		return;
	prober->resolved = resolver_generation(prober->resolver);

	dlist_init(&resolving);
	dlist_foreach_modify(iter, &prober->resolving)
	{
		dlist_delete(iter.cur);
		dlist_push_tail(&resolving, iter.cur);
	}
	while (!dlist_is_empty(&resolving))
		resolve(prober, dlist_container(Target, list_node, dlist_pop_head_node(&resolving)), now);
}

static void
start_waiting(Prober *prober, dlist_head *waiting, int64 now)
{
	while (!dlist_is_empty(waiting))
	{
		Target	   *target = dlist_container(Target, list_node, dlist_head_node(waiting));

		dlist_delete(&target->list_node);
		if (!start_run(prober, target, now))
		{
			dlist_push_head(waiting, &target->list_node);
			break;
		}
		prober->waiting_count--;
	}
}

static void
start_due(Prober *prober, int64 now)
{
	while (!pairingheap_is_empty(prober->schedule))
	{
		Target	   *target = pairingheap_container(Target, heap_node, pairingheap_first(prober->schedule));
		int64		interval = target->plan.pace.interval;

		if (target->due > now)
			break;
		unschedule(prober, target);
		if (!target->asked && now - target->due > Max(interval / 2, LATE_START))
			schedule(prober, target, probe_grid_time(interval, target->phase, now));
		else
			resolve(prober, target, now);
	}
}

/* When there is something to do again, if nothing happens before. */
static int64
next_run(Prober *prober, int64 now)
{
	int64		next = prober->timer;
	int64		wait = resolver_timeout(prober->resolver, now);
	dlist_iter	iter;

	if (wait >= 0)
		next = Min(next, now + wait);
	dlist_foreach(iter, &prober->running)
		next = Min(next, dlist_container(Run, list_node, iter.cur)->deadline);
	if (!pairingheap_is_empty(prober->schedule))
	{
		int64		due = pairingheap_container(Target, heap_node, pairingheap_first(prober->schedule))->due;

		next = Min(next, (due + TICK - 1) / TICK * TICK);
	}
	/* A name that is in a file was resolved while another one was asked for. */
	if (!dlist_is_empty(&prober->resolving) && prober->resolved != resolver_generation(prober->resolver))
		next = Min(next, now);
	/* Somebody else may have the descriptors that we wait for. */
	if (prober->waiting_count > 0)
		next = Min(next, now + TICK);
	return next;
}

/* prober_next_run tells when prober_run is to be called at the latest. */
int64
prober_next_run(Prober *prober)
{
	return prober->planned;
}

/* prober_run does all that there is to do by now. */
void
prober_run(Prober *prober)
{
	int64		now = clock_monotonic();

	prober->lag = Max(now - prober->planned, 0);
	if (prober->lag > STALL)
	{
		prober->stalled += prober->lag;
		prober->stalled_at = now;
	}

	serve_events(prober);
	serve_timer(prober);
	resolver_run(prober->resolver, now);
	if (now - prober->swept_at >= SWEEP_INTERVAL)
	{
		resolver_forget_unused(prober->resolver, now);
		prober->swept_at = now;
	}
	expire_runs(prober);

	now = clock_monotonic();
	start_resolved(prober, now);
	start_waiting(prober, &prober->waiting, now);
	start_waiting(prober, &prober->waiting_dark, now);
	if (now - prober->held_at >= HOLD / 2)
	{
		prober->held_at = now;
		hold_waiting(prober, &prober->waiting, now);
		hold_waiting(prober, &prober->waiting_dark, now);
	}
	start_due(prober, now);
	serve_timer(prober);
	prober->planned = next_run(prober, clock_monotonic());
}

static int64
lateness(const Prober *prober)
{
	uint32		starts = prober->lateness[0].starts + prober->lateness[1].starts;
	uint32		seen = 0;

	for (int i = LATENESS_STEPS; i > 0; i--)
	{
		seen += prober->lateness[0].steps[i] + prober->lateness[1].steps[i];
		if (seen > starts / 100)
			return (i + 1) * LATENESS_STEP;
	}
	return starts > 0 ? LATENESS_STEP : 0;
}

/* prober_state tells how it goes. */
void
prober_state(Prober *prober, ProberState *state)
{
	dlist_iter	iter;

	*state = (ProberState) {
		.targets = hash_get_num_entries(prober->targets),
		.waiting = prober->waiting_count,
		.lag = prober->lag,
		.lateness = lateness(prober),
		.abstains = prober->stalled_at > 0 && clock_monotonic() - prober->stalled_at < ABSTENTION
	};
	dlist_foreach(iter, &prober->running)
		state->running++;
}
