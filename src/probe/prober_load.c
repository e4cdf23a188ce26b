/*
 * prober_load.c
 *		How busy a prober is, and by how much it probes less often for that.
 *
 * Where there is more to do than time for it, some probes would be late by
 * chance, and others not.  So the intervals of all are stretched by the same
 * factor, until the prober has time to spare again.
 */
#include "postgres.h"

#include <time.h>

#include "base/clock.h"
#include "base/uuid.h"
#include "probe/prober_internal.h"

#define SPAN USECS_PER_SEC

/*
 * Shares of one processor that the prober uses.  If other processes leave it less
 * than that, what counts is whether each round still finishes: while it does,
 * longer intervals would not help.
 */
#define LOAD_LOW 0.5
#define LOAD_AIM 0.7
#define LOAD_HIGH 0.85
#define LOAD_FULL 0.97

/* So many spans in a row are too busy before anything follows: tables are read once a minute, too. */
#define HIGH_SPANS 3

/* A factor at a time, and in all. */
#define STEP_MAX 2.0
#define STRETCH_MAX 1000.0

/* Late for so long is late for long. */
#define LONG_LATE (10 * USECS_PER_SEC)

/* It is not late any more after this. */
#define LATE_PAUSE (2 * USECS_PER_SEC)

/* What is said of it is said anew after this, as it is logged. */
#define PROBLEM_LIFETIME (60 * USECS_PER_SEC)

/* Microseconds of a processor that this process has had. */
static int64
processor_time(void)
{
	struct timespec time;

	if (clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time) != 0)
		return 0;
	return time.tv_sec * USECS_PER_SEC + time.tv_nsec / 1000;
}

/* load_interval returns what an interval of a plan is at the moment. */
int64
load_interval(const Prober *prober, int64 interval)
{
	return interval * prober->load.stretch;
}

/* load_pace returns the pace at which a target is probed at the moment. */
ProbePace
load_pace(const Prober *prober, const Target *target)
{
	ProbePace	pace = target->plan.pace;

	pace.interval = load_interval(prober, pace.interval);
	pace.retry_interval = load_interval(prober, pace.retry_interval);
	return pace;
}

/* load_note_work notes the time that was spent on a target's probe. */
void
load_note_work(Prober *prober, Target *target, int64 time)
{
	Load	   *load = &prober->load;

	load->by_protocol[target->plan.spec.protocol] += time;
	if (target->worked_since != load->since)
	{
		target->worked_since = load->since;
		target->work = 0;
	}
	target->work += time;
	if (target->work <= load->most_work)
		return;
	load->most_work = target->work;
	load->costliest = target->gateway;
}

/* Where the time goes, most of which the machine may have for others. */
static void
describe_cause(const Load *load, int64 processor, char *text, size_t size)
{
	int			most = 0;

	for (int i = 0; i < lengthof(load->by_protocol); i++)
		if (load->by_protocol[i] > load->by_protocol[most])
			most = i;
	if (processor < load->busy / 2 || load->most_work == 0)
		strlcpy(text, "the machine has too little time for it", size);
	else
		snprintf(text, size, "%d %% of the time is %s, most of gateway %s",
				 (int) (100 * load->by_protocol[most] / Max(load->busy, 1)), probe_protocol_name(most),
				 uuid_text(&load->costliest));
}

/* Says what is wrong, with the span that is over, or that nothing is. */
static void
describe_problem(Prober *prober, int64 processor, int64 now)
{
	Load	   *load = &prober->load;
	bool		stretched = load->stretch > 1;
	char		cause[PROBER_PROBLEM_SIZE];

	if (!stretched && !load_is_late_for_long(prober, now))
	{
		load->problem[0] = '\0';
		return;
	}
	if (load->problem[0] != '\0' && now - load->described_at < PROBLEM_LIFETIME)
		return;
	load->described_at = now;
	describe_cause(load, processor, cause, sizeof(cause));
	if (stretched)
		snprintf(load->problem, sizeof(load->problem), "gateways are probed %.1f times less often: %s", load->stretch, cause);
	else
		snprintf(load->problem, sizeof(load->problem), "probes are late: %s", cause);
}

static void
adjust_stretch(Prober *prober, double share, int64 now)
{
	Load	   *load = &prober->load;
	double		before = load->stretch;

	load->high_spans = share > LOAD_HIGH ? load->high_spans + 1 : 0;
	if (load->high_spans >= HIGH_SPANS)
		load->stretch = Min(load->stretch * (share > LOAD_FULL ? STEP_MAX : share / LOAD_AIM), STRETCH_MAX);
	else if (share < LOAD_LOW)
		load->stretch = Max(load->stretch * Max(share / LOAD_AIM, 1 / STEP_MAX), 1);
	if (load->stretch < before)
		targets_hasten(prober, now);
}

/*
 * load_note_round notes a round that is over: by how much it was late, if that is
 * a stall, and how long it took.
 */
void
load_note_round(Prober *prober, int64 late, int64 busy, int64 now)
{
	Load	   *load = &prober->load;
	int64		processor;
	int64		elapsed = now - load->since;
	double		share;

	load->late += late;
	load->busy += busy;
	if (elapsed < SPAN)
		return;

	processor = processor_time() - load->processor;
	share = (double) (load->late + load->busy) / elapsed;
	adjust_stretch(prober, share > LOAD_FULL ? share : (double) processor / elapsed, now);
	describe_problem(prober, processor, now);
	load->since = now;
	load->processor += processor;
	load->busy = load->late = load->most_work = 0;
	memset(load->by_protocol, 0, sizeof(load->by_protocol));
}

/* load_note_stall notes that the prober was kept from its rounds. */
void
load_note_stall(Prober *prober, int64 now)
{
	if (prober->stalled_at == 0 || now - prober->stalled_at > LATE_PAUSE)
		prober->load.late_since = now;
}

/* load_is_late_for_long tells whether stalls have come one after the other for some time. */
bool
load_is_late_for_long(const Prober *prober, int64 now)
{
	return prober->stalled_at != 0 && now - prober->stalled_at <= LATE_PAUSE &&
		prober->stalled_at - prober->load.late_since >= LONG_LATE;
}
