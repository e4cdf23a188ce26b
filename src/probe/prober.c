/*
 * prober.c
 *		Probes of many gateways at once, each at its time.
 *
 * One epoll set has all sockets: those of tcp probes, of libcurl and of the resolver.
 * prober_run does what is due and never waits.  It reads answers before it checks
 * deadlines, so that an answer in time counts however late the prober is.  A probe
 * that a stall left without an answer gets its timeout a second time.
 */
#include "postgres.h"

#include <netinet/in.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/compat.h"
#include "probe/prober_internal.h"

/* Starts that are due within the same tick go together: one wake-up for all of them. */
#define TICK (10 * INT64CONST(1000))

/* A round is a stall if it begins more than this late, or takes longer. */
#define STALL (100 * INT64CONST(1000))

/* A start that is late by more than this, and than half its interval, is skipped; not two in a row. */
#define LATE_START (200 * INT64CONST(1000))

/* The findings of gateways that are down are extended by this at a time while they wait for a place. */
#define EXTENSION (2 * USECS_PER_SEC)

/* How long ProberState says after a stall that timeouts are no evidence. */
#define ABSTENTION USECS_PER_SEC

#define SWEEP_INTERVAL (60 * USECS_PER_SEC)

#define EVENTS_AT_ONCE 64

/*
 * Data of the epoll set: this for the resolver; for libcurl's sockets, the number of the
 * run and the descriptor; see TCP_EVENT.
 */
#define RESOLVER_EVENT PG_UINT64_MAX
#define NO_RUN UINT64CONST(0x7fffffff)

static void
note_stall(Prober *prober, int64 late, int64 now)
{
	if (late <= STALL)
		return;
	load_note_stall(prober, now);
	prober->stalled += late;
	prober->stalled_at = now;
}

/*
 * libcurl's callback to watch a descriptor; "watched" is not NULL if it is watched
 * already.  After -1, libcurl ends each running probe when it next handles it.  It does
 * not handle the one whose descriptor is not watched: that ends at its deadline.
 */
static int
watch_socket(CURL *easy, curl_socket_t item, int what, void *arg, void *watched)
{
	Prober	   *prober = arg;
	Run		   *run = probe_owner(easy);
	uint64		number = run == NULL ? NO_RUN : run - prober->runs;
	struct epoll_event event = {
		.events = (what & CURL_POLL_IN ? EPOLLIN : 0) | (what & CURL_POLL_OUT ? EPOLLOUT : 0),
		.data.u64 = number << 32 | (uint32) item
	};

	if (what == CURL_POLL_REMOVE)
	{
		(void) epoll_ctl(prober->epoll, EPOLL_CTL_DEL, item, NULL);
		return 0;
	}
	if (epoll_ctl(prober->epoll, watched == NULL ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, item, &event) != 0)
	{
		if (run != NULL)
			run->unwatched = true;
		return -1;
	}
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

/* Closes what is open; prober_create may have failed half-way. */
static void
close_all(Prober *prober)
{
	if (prober->multi != NULL)
	{
		(void) curl_multi_cleanup(prober->multi);
		for (int i = 0; i < prober->probe_count; i++)
			probe_destroy(prober->probes[i]);
		curl_global_cleanup();
	}
	if (prober->resolver != NULL)
		resolver_destroy(prober->resolver);
	trust_cache_destroy(prober->trusts);
	if (prober->epoll >= 0)
	{
		close(prober->epoll);
		prober->user.release_descriptor();
	}
}

/*
 * prober_create makes a prober without targets in the current memory context.
 * Errors: 53000, with nothing left open, if out of descriptors or memory.
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
	prober->load.stretch = 1;
	prober->load.since = clock_monotonic();
	prober->trusts = trust_cache_create();
	prober->targets = hash_create("probed gateways", 1024, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	prober->schedule = pairingheap_allocate(target_compare_due, NULL);
	dlist_init(&prober->resolving);
	dlist_init(&prober->resolving_again);
	dlist_init(&prober->waiting);
	dlist_init(&prober->waiting_dark);
	dlist_init(&prober->free_runs);
	dlist_init(&prober->running);

	prober->epoll = -1;
	if (user->acquire_descriptor())
	{
		prober->epoll = epoll_create1(EPOLL_CLOEXEC);
		if (prober->epoll < 0)
			user->release_descriptor();
	}
	prober->resolver = resolver_create(NULL, user->acquire_descriptor, user->release_descriptor);
	if (curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK)
	{
		prober->multi = curl_multi_init();
		if (prober->multi == NULL)
			curl_global_cleanup();
	}
	if (prober->epoll < 0 || prober->resolver == NULL || prober->multi == NULL ||
		epoll_ctl(prober->epoll, EPOLL_CTL_ADD, resolver_descriptor(prober->resolver), &resolver_event) != 0 ||
		curl_multi_setopt(prober->multi, CURLMOPT_SOCKETFUNCTION, watch_socket) != CURLM_OK ||
		curl_multi_setopt(prober->multi, CURLMOPT_SOCKETDATA, prober) != CURLM_OK ||
		curl_multi_setopt(prober->multi, CURLMOPT_TIMERFUNCTION, set_timer) != CURLM_OK ||
		curl_multi_setopt(prober->multi, CURLMOPT_TIMERDATA, prober) != CURLM_OK ||
		curl_multi_setopt(prober->multi, CURLMOPT_MAXCONNECTS, 1L) != CURLM_OK)
	{
		close_all(prober);
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
				 errmsg("could not initialize probes")));
	}
	return prober;
}

/* prober_destroy ends all probes and closes everything; its memory goes with the context. */
void
prober_destroy(Prober *prober)
{
	runs_cancel(prober);
	close_all(prober);
}

/* prober_descriptor returns a descriptor that is readable when prober_run has something to do. */
int
prober_descriptor(const Prober *prober)
{
	return prober->epoll;
}

/* Serves libcurl's timer while it is due. */
static void
serve_timer(Prober *prober)
{
	int			running;

	for (int i = 0; i < EVENTS_AT_ONCE && prober->timer <= clock_monotonic(); i++)
	{
		prober->timer = PG_INT64_MAX;
		(void) curl_multi_socket_action(prober->multi, CURL_SOCKET_TIMEOUT, 0, &running);
	}
	runs_finish_ended(prober);
}

static void
serve_socket(Prober *prober, uint64 number, int item, uint32 events)
{
	Run		   *run = number < prober->run_count ? &prober->runs[number] : NULL;
	Target	   *target = run == NULL ? NULL : run->target;
	int64		begun_at = clock_monotonic();
	int			what = ((events & EPOLLIN ? CURL_CSELECT_IN : 0) | (events & EPOLLOUT ? CURL_CSELECT_OUT : 0) |
						(events & (EPOLLERR | EPOLLHUP) ? CURL_CSELECT_ERR : 0));
	int			running;

	if (target != NULL && run->shaken_at != 0)
	{
		run_listen(prober, run);
		return;
	}
	(void) curl_multi_socket_action(prober->multi, item, what, &running);
	if (target != NULL)
		load_note_work(prober, target, clock_monotonic() - begun_at);
	runs_finish_ended(prober);
}

/* Serves all events up to now; later ones come in the next round. */
static void
serve_events(Prober *prober)
{
	struct epoll_event events[EVENTS_AT_ONCE];
	int			count = EVENTS_AT_ONCE;

	for (int served = 0; served <= prober->run_count && count == EVENTS_AT_ONCE; served += count)
	{
		count = epoll_wait(prober->epoll, events, EVENTS_AT_ONCE, 0);
		for (int i = 0; i < count; i++)
			if (events[i].data.u64 == RESOLVER_EVENT)
				resolver_run(prober->resolver, clock_monotonic());
			else if (events[i].data.u64 & TCP_EVENT)
				run_finish_tcp(prober, &prober->runs[events[i].data.u64 & ~TCP_EVENT], events[i].events);
			else
				serve_socket(prober, events[i].data.u64 >> 32, (uint32) events[i].data.u64, events[i].events);
	}
}

/*
 * When many gateways hang, each waits long for its next probe.  Its finding is
 * extended meanwhile: if it expired, the gateway would not be down any more.
 */
static void
extend_finding(Prober *prober, Target *target, int64 now)
{
	int64		until = now + EXTENSION + target->plan.timeout;

	if (target->finding.verdict != VERDICT_DOWN || target->finding.counts_until <= now ||
		target->finding.counts_until >= until)
		return;
	target->finding.counts_until = until;
	prober->user.amend(&target->plan, &target->finding);
}

static void
extend_waiting(Prober *prober, dlist_head *waiting, int64 now)
{
	dlist_iter	iter;

	dlist_foreach(iter, waiting)
		extend_finding(prober, dlist_container(Target, list_node, iter.cur), now);
}

static void
start_or_wait(Prober *prober, Target *target, int64 now)
{
	if (run_start(prober, target, now))
		return;
	target->place = TARGET_WAITING;
	prober->waiting_count++;
	dlist_push_tail(target->dark ? &prober->waiting_dark : &prober->waiting, &target->list_node);
	extend_finding(prober, target, now);
}

/* Finds the address of a target and starts its probe, or has it wait. */
static void
resolve(Prober *prober, Target *target, int64 now)
{
	ProbeResult result = {.outcome = PROBE_INCONCLUSIVE};
	const char *reason;

	if (target->plan.spec.address.numeric)
	{
		(void) probe_address_to_socket(&target->plan.spec.address, &target->address);
		start_or_wait(prober, target, now);
		return;
	}
	switch (resolver_look_up(prober->resolver, target->plan.spec.address.host, now, &target->address, &reason))
	{
		case RESOLVER_RESOLVED:
			/* It is at the same place in sockaddr_in6. */
			((struct sockaddr_in *) &target->address)->sin_port = htons(target->plan.spec.address.port);
			start_or_wait(prober, target, now);
			break;
		case RESOLVER_PENDING:
			target->place = TARGET_RESOLVING;
			dlist_push_tail(&prober->resolving, &target->list_node);
			break;
		case RESOLVER_ABSENT:
			/* The servers' answer is evidence of the gateway. */
			result.outcome = PROBE_FAILED;
			pg_fallthrough;
		case RESOLVER_FAILED:
			strlcpy(result.reason, reason, sizeof(result.reason));
			target_finish(prober, target, &result, now, now);
			break;
	}
}

/* Starts the targets whose names have been resolved, and finishes those whose names cannot be. */
static void
start_resolved(Prober *prober, int64 now)
{
	dlist_mutable_iter iter;

	if (prober->resolved != resolver_generation(prober->resolver))
	{
		dlist_foreach_modify(iter, &prober->resolving)
		{
			dlist_delete(iter.cur);
			dlist_push_tail(&prober->resolving_again, iter.cur);
		}
	}
	prober->resolved = resolver_generation(prober->resolver);
	while (!dlist_is_empty(&prober->resolving_again))
	{
		Target	   *target = dlist_container(Target, list_node, dlist_head_node(&prober->resolving_again));

		target_unschedule(prober, target);
		resolve(prober, target, now);
	}
}

static void
start_waiting(Prober *prober, dlist_head *waiting, int64 now)
{
	while (!dlist_is_empty(waiting))
	{
		Target	   *target = dlist_container(Target, list_node, dlist_head_node(waiting));

		target_unschedule(prober, target);
		if (!run_start(prober, target, now))
		{
			target->place = TARGET_WAITING;
			prober->waiting_count++;
			dlist_push_head(waiting, &target->list_node);
			break;
		}
	}
}

static void
start_due(Prober *prober, int64 now)
{
	while (!pairingheap_is_empty(prober->schedule))
	{
		Target	   *target = pairingheap_container(Target, heap_node, pairingheap_first(prober->schedule));
		ProbePace	pace = load_pace(prober, target);

		if (target->due > now)
			break;
		target_unschedule(prober, target);
		target->skipped = !target->requested && !target->skipped && now - target->due > Max(pace.interval / 2, LATE_START);
		if (target->skipped)
			target_schedule(prober, target, probe_grid_time(pace.interval, load_interval(prober, target->phase), now));
		else
			resolve(prober, target, now);
	}
}

/* When the next round is due, if the descriptor is not readable before. */
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
	/* A name in a file was resolved during the look-up of another one. */
	if (!dlist_is_empty(&prober->resolving) && prober->resolved != resolver_generation(prober->resolver))
		next = Min(next, now);
	/* A descriptor may become free at any time. */
	if (prober->waiting_count > 0)
		next = Min(next, now + TICK);
	return next;
}

/* prober_next_run returns when prober_run has to be called at the latest. */
int64
prober_next_run(Prober *prober)
{
	return prober->planned;
}

/*
 * prober_run does all that is due.  After an ERROR it can be called again: a target that
 * was in no list at that moment is scheduled anew.
 */
void
prober_run(Prober *prober)
{
	int64		begun_at = clock_monotonic();
	int64		now = begun_at;

	prober->to_schedule |= prober->in_round;
	prober->in_round = true;
	prober->lag = Max(now - prober->planned, 0);
	note_stall(prober, prober->lag, now);

	serve_events(prober);
	serve_timer(prober);
	resolver_run(prober->resolver, now);
	if (now - prober->swept_at >= SWEEP_INTERVAL)
	{
		resolver_forget_unused(prober->resolver, now);
		prober->swept_at = now;
	}
	runs_expire(prober, now);

	now = clock_monotonic();
	if (prober->to_schedule)
		targets_schedule(prober, now);
	start_resolved(prober, now);
	start_waiting(prober, &prober->waiting, now);
	start_waiting(prober, &prober->waiting_dark, now);
	if (now - prober->extended_at >= EXTENSION / 2)
	{
		prober->extended_at = now;
		extend_waiting(prober, &prober->waiting, now);
		extend_waiting(prober, &prober->waiting_dark, now);
	}
	start_due(prober, now);
	serve_timer(prober);
	now = clock_monotonic();
	note_stall(prober, now - begun_at, now);
	load_note_round(prober, prober->lag > STALL ? prober->lag : 0, now - begun_at, now);
	prober->planned = next_run(prober, now);
	prober->in_round = false;
}

/* prober_stalled_at returns the time of the last stall, 0 if there was none. */
int64
prober_stalled_at(const Prober *prober)
{
	return prober->stalled_at;
}

/* prober_state fills in the state. */
void
prober_state(Prober *prober, ProberState *state)
{
	int64		now = clock_monotonic();
	dlist_iter	iter;

	*state = (ProberState) {
		.targets = hash_get_num_entries(prober->targets),
		.waiting = prober->waiting_count,
		.lag = prober->lag,
		.lateness = runs_lateness(prober),
		.abstains = prober->stalled_at > 0 && now - prober->stalled_at < ABSTENTION && !load_is_late_for_long(prober, now)
	};
	dlist_foreach(iter, &prober->running)
		state->running++;
}

/* prober_problem returns why probes are late or less frequent than planned; "" if they are not. */
const char *
prober_problem(const Prober *prober)
{
	return prober->load.problem;
}
