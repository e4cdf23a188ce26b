/*
 * prober_load.c
 *		How busy a prober is, and how much longer its intervals are for that.
 *
 * If there were more probes than time, some of them would be late by chance.  So
 * all intervals are stretched by the same factor, until there is enough time.
 */
#include "postgres.h"

#include <time.h>

#include "base/clock.h"
#include "base/uuid.h"
#include "probe/prober_internal.h"

#define SPAN USECS_PER_SEC

/*
 * Shares of one processor that the prober uses.  If other processes leave it less
 * time than that, only LOAD_FULL counts: while rounds still finish, longer
 * intervals would not help.
 */
#define LOAD_LOW 0.5
#define LOAD_AIM 0.7
#define LOAD_HIGH 0.85
#define LOAD_FULL 0.97

/* Intervals are stretched after this many busy spans in a row: reading the tables fills one, too. */
#define HIGH_SPANS 3

/* The largest factor of one step, and of all. */
#define STEP_MAX 2.0
#define STRETCH_MAX 1000.0

/* Stalls in a row for this long are a problem. */
#define LONG_LATE (10 * USECS_PER_SEC)

/* Stalls are in a row if they are not further apart than this. */
#define LATE_PAUSE (2 * USECS_PER_SEC)

/* The text of a problem is not updated more often than this, because it is logged. */
#define PROBLEM_LIFETIME (60 * USECS_PER_SEC)

/* The processor time of this process, in microseconds. */
static int64
processor_time(void)
{
	struct timespec time;

	if (clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time) != 0)
		return 0;
	return time.tv_sec * USECS_PER_SEC + time.tv_nsec / 1000;
}

/* load_interval returns an interval of a plan, stretched. */
int64
load_interval(const Prober *prober, int64 interval)
{
	return interval * prober->load.stretch;
}

/* load_pace returns the pace of a target, stretched. */
ProbePace
load_pace(const Prober *prober, const Target *target)
{
	ProbePace	pace = target->plan.pace;

	pace.interval = load_interval(prober, pace.interval);
	pace.retry_interval = load_interval(prober, pace.retry_interval);
	return pace;
}

/* load_note_work adds time that was spent on a target's probe. */
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

/* Writes what most of the time is spent on, which may be other processes. */
static void
describe_cause(const Load *load, int64 processor, char *text, size_t size)
{
	int			most = 0;

	for (int i = 0; i < lengthof(load->by_protocol); i++)
		if (load->by_protocol[i] > load->by_protocol[most])
			most = i;
	if (processor < load->busy / 2 || load->most_work == 0)
		strlcpy(text, "the machine is too busy", size);
	else
		snprintf(text, size, "%d %% of the time is %s, most of gateway %s",
				 (int) (100 * load->by_protocol[most] / Max(load->busy, 1)), probe_protocol_name(most),
				 uuid_text(&load->costliest));
}

/* Updates the text of the problem from the span that has ended. */
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
		targets_reschedule(prober, now);
}

/* load_note_round adds a round: its delay, 0 unless that is a stall, and its duration. */
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

/* load_note_stall adds a stall; called before stalled_at is set to it. */
void
load_note_stall(Prober *prober, int64 now)
{
	if (prober->stalled_at == 0 || now - prober->stalled_at > LATE_PAUSE)
		prober->load.late_since = now;
}

/* load_is_late_for_long returns true if stalls have come in a row for LONG_LATE. */
bool
load_is_late_for_long(const Prober *prober, int64 now)
{
	return prober->stalled_at != 0 && now - prober->stalled_at <= LATE_PAUSE &&
		prober->stalled_at - prober->load.late_since >= LONG_LATE;
}
