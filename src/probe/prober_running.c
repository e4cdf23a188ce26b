/*
 * prober_running.c
 *		The places in which probes run, and the running probes.
 *
 * Each place keeps what libcurl needs, for one probe after the other.
 */
#include "postgres.h"

#include <sys/epoll.h>
#include <unistd.h>

#include "utils/memutils.h"

#include "base/clock.h"
#include "probe/prober_internal.h"
#include "probe/probe_tcp.h"

/*
 * After the handshake, a probe listens for as long as that took twice, or for this time
 * if that is more: the other side may be slow to get a processor.
 */
#define LISTEN_MIN (100 * INT64CONST(1000))

/* Closes the socket of a tcp probe, if there is one, which removes it from the epoll set. */
static void
close_tcp(Run *run)
{
	if (run->socket >= 0)
		close(run->socket);
	run->socket = -1;
}

/* libcurl may watch the socket again while it closes it. */
static void
end_listening(Prober *prober, Run *run)
{
	if (run->shaken_at != 0)
		(void) epoll_ctl(prober->epoll, EPOLL_CTL_DEL, probe_socket(run->probe), NULL);
}

static void
cancel(Prober *prober, Run *run)
{
	end_listening(prober, run);
	if (run->socket >= 0)
		close_tcp(run);
	else
		probe_cancel(run->probe);
}

/*
 * runs_cancel ends all probes.  Their memory stays until libcurl's multi handle is
 * cleaned up, which may call back while it closes connections.
 */
void
runs_cancel(Prober *prober)
{
	for (int i = 0; i < prober->run_count; i++)
	{
		Run		   *run = &prober->runs[i];

		if (run->target != NULL)
		{
			cancel(prober, run);
			prober->user.release_descriptor();
		}
	}
	prober->run_count = 0;
}

/* Makes the probes that places lack. */
static void
make_probes(Prober *prober, int places)
{
	if (prober->probes == NULL)
		prober->probes = MemoryContextAlloc(prober->context, sizeof(Probe *) * places);
	else if (places > prober->probe_count)
		prober->probes = repalloc(prober->probes, sizeof(Probe *) * places);
	while (prober->probe_count < places)
	{
		Probe	   *probe = probe_create(prober->multi, prober->user.refusal);

		if (probe == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_OUT_OF_MEMORY),
					 errmsg("out of memory")));
		prober->probes[prober->probe_count++] = probe;
	}
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

/* run_cancel ends the running probe of a target, if there is one, without an outcome. */
void
run_cancel(Prober *prober, Target *target)
{
	if (target->place != TARGET_RUNNING)
		return;
	cancel(prober, target->run);
	free_run(prober, target->run);
	target->place = TARGET_UNSCHEDULED;
}

/*
 * prober_set_concurrency sets how many probes may run at once.  A quarter of the
 * places is for dark targets, so that others never wait for them.  An ERROR, out of
 * memory, changes nothing.
 */
void
prober_set_concurrency(Prober *prober, int concurrency)
{
	HASH_SEQ_STATUS scan;
	Target	   *target;
	Run		   *runs;

	if (concurrency == prober->run_count)
		return;

	make_probes(prober, concurrency);
	runs = MemoryContextAllocZero(prober->context, sizeof(Run) * concurrency);

	hash_seq_init(&scan, prober->targets);
	while ((target = hash_seq_search(&scan)) != NULL)
		if (target->place == TARGET_RUNNING)
		{
			run_cancel(prober, target);
			target_schedule(prober, target, clock_monotonic());
		}
	runs_cancel(prober);
	if (prober->runs != NULL)
		pfree(prober->runs);
	prober->runs = runs;
	dlist_init(&prober->free_runs);
	for (; prober->run_count < concurrency; prober->run_count++)
	{
		Run		   *run = &prober->runs[prober->run_count];

		run->socket = -1;
		run->probe = prober->probes[prober->run_count];
		probe_set_owner(run->probe, run);
		dlist_push_tail(&prober->free_runs, &run->list_node);
	}
	prober->dark_room = Max(concurrency / 4, 1);
	prober->live_room = Max(concurrency - prober->dark_room, 1);
}

static void
finish_run(Prober *prober, Run *run, ProbeResult *result, int64 now)
{
	Target	   *target = run->target;

	if (result->outcome != PROBE_SUCCEEDED && !target->plan.spec.address.numeric)
		resolver_doubt(prober->resolver, target->plan.spec.address.host, (struct sockaddr *) &target->address);
	result->duration = (run->shaken_at != 0 ? run->shaken_at : now) - run->started_at;
	free_run(prober, run);
	target_finish(prober, target, result, run->started_at, now);
}

/* Has a probe listen after its handshake; returns false if its socket cannot be watched. */
static bool
begin_listening(Prober *prober, Run *run, int64 now)
{
	int			socket = probe_socket(run->probe);
	struct epoll_event event = {
		.events = EPOLLIN,
		.data.u64 = (uint64) (run - prober->runs) << 32 | (uint32) socket
	};

	if (epoll_ctl(prober->epoll, EPOLL_CTL_ADD, socket, &event) != 0)
		return false;
	run->shaken_at = now;
	run->deadline = Min(run->deadline, now + Max(2 * (now - run->started_at), LISTEN_MIN));
	return true;
}

static void
finish_by_libcurl(Prober *prober, Run *run, CURLcode code, int64 now)
{
	ProbeResult result;

	end_listening(prober, run);
	probe_end(run->probe, code, &result);
	finish_run(prober, run, &result, now);
}

/* run_listen reads what has come for a probe that listens, and finishes it if that decides it. */
void
run_listen(Prober *prober, Run *run)
{
	Target	   *target = run->target;
	int64		now = clock_monotonic();
	bool		decided = probe_listen(run->probe);

	load_note_work(prober, target, clock_monotonic() - now);
	if (decided)
		finish_by_libcurl(prober, run, CURLE_OK, now);
}

/* runs_finish_ended finishes each probe that libcurl reports as ended, unless it has to listen. */
void
runs_finish_ended(Prober *prober)
{
	CURLMsg    *message;
	int			left;

	while ((message = curl_multi_info_read(prober->multi, &left)) != NULL)
		if (message->msg == CURLMSG_DONE)
		{
			Run		   *run = probe_owner(message->easy_handle);
			CURLcode	code = message->data.result;
			int64		now = clock_monotonic();

			if (!probe_is_undecided(run->probe, code) || !begin_listening(prober, run, now))
				finish_by_libcurl(prober, run, code, now);
		}
}

/* run_finish_tcp finishes a tcp probe after events of its socket. */
void
run_finish_tcp(Prober *prober, Run *run, uint32 events)
{
	ProbeResult result = {.outcome = PROBE_SUCCEEDED};
	int64		now = clock_monotonic();
	int			error = probe_tcp_error(run->socket, (events & (EPOLLERR | EPOLLHUP)) != 0);

	if (error != 0)
		probe_result_set_error(&result, error);
	close_tcp(run);
	load_note_work(prober, run->target, clock_monotonic() - now);
	finish_run(prober, run, &result, now);
}

/* Gives a probe its timeout a second time if stalls since its start may explain that it has no answer. */
static bool
prolong(Prober *prober, Run *run, int64 now)
{
	int64		timeout = run->target->plan.timeout;

	if (run->prolonged || prober->stalled - run->stalled_before <= timeout / 4)
		return false;
	run->prolonged = true;
	run->deadline = now + timeout;
	return true;
}

/* runs_expire ends the probes whose deadline was before "now", a time before answers were read. */
void
runs_expire(Prober *prober, int64 now)
{
	dlist_mutable_iter iter;

	dlist_foreach_modify(iter, &prober->running)
	{
		Run		   *run = dlist_container(Run, list_node, iter.cur);

		if (run->deadline > now)
			continue;
		if (run->shaken_at != 0)
			finish_by_libcurl(prober, run, CURLE_OK, now);
		else if (!prolong(prober, run, now))
		{
			ProbeResult result = {.hung = true};

			if (run->socket < 0)
				probe_expire(run->probe, &result);
			else
				probe_result_set_error(&result, ETIMEDOUT);
			if (run->unwatched)
				probe_result_set(&result, PROBE_INCONCLUSIVE, "no descriptors left");
			close_tcp(run);
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

static bool
start_tcp(Prober *prober, Run *run, const struct sockaddr *address, ProbeResult *result)
{
	struct epoll_event event = {.events = EPOLLOUT, .data.u64 = TCP_EVENT | (run - prober->runs)};

	*result = (ProbeResult) {0};
	if (probe_is_denied(prober->user.refusal, address, result))
		return false;
	run->socket = probe_tcp_connect(address);
	if (run->socket >= 0 && epoll_ctl(prober->epoll, EPOLL_CTL_ADD, run->socket, &event) == 0)
		return true;
	probe_result_set_error(result, errno);
	close_tcp(run);
	return false;
}

static bool
start(Prober *prober, Run *run, int64 now, ProbeResult *result)
{
	Target	   *target = run->target;
	const ProbeSpec *spec = &target->plan.spec;
	struct sockaddr *address = (struct sockaddr *) &target->address;

	if (spec->protocol == PROBE_TCP)
		return start_tcp(prober, run, address, result);
	return probe_start(run->probe, spec, probe_verifies(spec) ? trust_store(prober->trusts, target->trust, now) : NULL,
					   address, result);
}

/* run_start starts the probe of a target that has its address; returns false if no place is free. */
bool
run_start(Prober *prober, Target *target, int64 now)
{
	int		   *room = target->dark ? &prober->dark_room : &prober->live_room;
	int64		begun_at;
	bool		started;
	Run		   *run;
	ProbeResult result;

	if (*room == 0 || dlist_is_empty(&prober->free_runs) || !prober->user.acquire_descriptor())
		return false;

	count_lateness(prober, now - target->due, now);
	run = dlist_container(Run, list_node, dlist_pop_head_node(&prober->free_runs));
	run->target = target;
	run->dark = target->dark;
	run->unwatched = run->prolonged = false;
	run->started_at = now;
	run->shaken_at = 0;
	run->deadline = now + target->plan.timeout;
	run->stalled_before = prober->stalled;
	target->run = run;
	target->place = TARGET_RUNNING;
	*room -= 1;
	dlist_push_tail(&prober->running, &run->list_node);
	begun_at = clock_monotonic();
	started = start(prober, run, now, &result);
	load_note_work(prober, target, clock_monotonic() - begun_at);
	if (!started)
		finish_run(prober, run, &result, now);
	return true;
}

/* runs_lateness returns the 99th percentile of the delays of starts. */
int64
runs_lateness(const Prober *prober)
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
