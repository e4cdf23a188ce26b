/*
 * probe_rule_test.c
 *		Verdicts against a model that counts letters, damping, and the spread of starts.
 */
#include "postgres.h"

#include <stdlib.h>

#include "datatype/timestamp.h"

#include "rules/probe_rule.h"
#include "tap.h"

#define SECOND USECS_PER_SEC
#define START (INT64CONST(1000) * SECOND)

static const ProbePace pace = {.interval = SECOND, .retry_interval = SECOND / 5, .rise = 2, .fall = 3};

/* Adds outcomes, one a second: + success, - failure, . inconclusive. */
static int64
add(ProbeFinding *finding, const char *outcomes, int64 now)
{
	for (; *outcomes != '\0'; outcomes++, now += SECOND)
		(void) probe_finding_add(finding, &pace, *outcomes == '+' ? PROBE_SUCCEEDED :
								 *outcomes == '-' ? PROBE_FAILED : PROBE_INCONCLUSIVE, now);
	return now;
}

static void
test_verdicts(void)
{
	static const struct
	{
		const char *outcomes;
		ProbeVerdict verdict;
		bool		in_doubt;
	}			cases[] =
	{
		{"", VERDICT_NONE, false}, {".", VERDICT_NONE, false}, {"+", VERDICT_UP, false}, {"-", VERDICT_NONE, true},
		{"-+", VERDICT_UP, false}, {".+.", VERDICT_UP, false}, {"--", VERDICT_NONE, true}, {"--+", VERDICT_UP, false},
		{"---", VERDICT_DOWN, false}, {"++-", VERDICT_UP, true}, {"++--", VERDICT_UP, true}, {"++---", VERDICT_DOWN, false},
		{"++--+--", VERDICT_UP, true}, {"++--.-", VERDICT_DOWN, false}, {"---+", VERDICT_DOWN, false},
		{"---+-", VERDICT_DOWN, false}, {"---+-+", VERDICT_DOWN, false}, {"---++", VERDICT_UP, false},
		{"---+++++-", VERDICT_UP, true}, {"++---......", VERDICT_DOWN, false}
	};

	for (int i = 0; i < lengthof(cases); i++)
	{
		ProbeFinding finding = {0};

		add(&finding, cases[i].outcomes, START);
		ok(finding.verdict == cases[i].verdict && probe_finding_in_doubt(&finding) == cases[i].in_doubt,
		   "\"%s\" leads to verdict %d%s", cases[i].outcomes, cases[i].verdict, cases[i].in_doubt ? ", in doubt" : "");
	}
}

/* Returns the length of the last run of a letter; dots do not interrupt it. */
static int
run_length(const char *text, int length, char letter)
{
	int			run = 0;

	for (int i = length - 1; i >= 0 && (text[i] == letter || text[i] == '.'); i--)
		run += text[i] == letter;
	return run;
}

/*
 * The verdict of a whole history by its definition: the last run that was long
 * enough, else the first success.
 */
static ProbeVerdict
model(const char *history, int length, const ProbePace *by)
{
	bool		succeeded = memchr(history, '+', length) != NULL;

	for (; length > 0; length--)
	{
		if (run_length(history, length, '+') >= by->rise)
			return VERDICT_UP;
		if (run_length(history, length, '-') >= by->fall)
			return VERDICT_DOWN;
	}
	return succeeded ? VERDICT_UP : VERDICT_NONE;
}

static void
test_model(void)
{
	int			wrong = 0;
	int			stuck = 0;

	srandom(1);
	for (int round = 0; round < 2000; round++)
	{
		ProbePace	by = {SECOND, SECOND, 1 + random() % 4, 1 + random() % 4};
		ProbeFinding finding = {0};
		char		history[60];

		for (int i = 0; i < lengthof(history); i++)
		{
			history[i] = "+-."[random() % 3];
			(void) probe_finding_add(&finding, &by, history[i] == '+' ? PROBE_SUCCEEDED :
									 history[i] == '-' ? PROBE_FAILED : PROBE_INCONCLUSIVE, START + i * SECOND);
			wrong += finding.verdict != model(history, i + 1, &by);
		}
		for (int i = 0; i < by.rise; i++)
			(void) probe_finding_add(&finding, &by, PROBE_SUCCEEDED, START + (60 + i) * SECOND);
		stuck += finding.verdict != VERDICT_UP;
	}
	ok(wrong == 0, "120,000 random outcomes give the verdict of the definition: %d do not", wrong);
	ok(stuck == 0, "from any state, \"rise\" successes lead to up: %d do not", stuck);
}

static void
test_damping(void)
{
	ProbeFinding finding = {0};
	int64		now = add(&finding, "++---++", START);

	ok(finding.falls == 1 && finding.damped_until == 0, "after one fall a gateway is not damped");
	now = add(&finding, "---++", now);
	ok(finding.falls == 2 && finding.damped_until == now - SECOND + 60 * SECOND, "after two falls it is damped for 60 s");
	for (int i = 0; i < 20; i++)
		now = add(&finding, "---++", now);
	ok(finding.damped_until == now - SECOND + 300 * SECOND, "it is damped for at most 300 s");
	now += 298 * SECOND;
	add(&finding, "+", now);
	ok(finding.damped_until == now + SECOND && finding.falls == 22, "damping lasts until then");
	add(&finding, "+", now + SECOND);
	ok(finding.damped_until == 0, "damping then ends by itself");
	ok(finding.falls == 21, "a fall is forgotten after 300 s up: %d left", finding.falls);
	now += 300 * SECOND * 25;
	add(&finding, "+", now);
	ok(finding.falls == 0, "all falls are forgotten in time");
	add(&finding, "---++", now + SECOND);
	ok(finding.damped_until == 0, "a new fall after that is the first");

	finding = (ProbeFinding) {0};
	add(&finding, "---++---", START);
	ok(finding.falls == 1, "an initial down is no fall");
}

static void
test_grid(void)
{
	ok(probe_grid_time(1000, 300, 5300) == 5300, "a time on the grid is its own");
	ok(probe_grid_time(1000, 300, 5301) == 6300, "a time after it gets the next");
	ok(probe_grid_time(1000, 300, 5299) == 5300, "a time before it gets this one");
	ok(probe_grid_time(1000, 300, 100) == 300, "a time before the first gets the first");
	ok(probe_grid_time(1000, 0, 5000) == 5000, "phase 0 works");
}

static void
test_next_start(void)
{
	ProbeFinding calm = {0};
	ProbeFinding doubt = {0};
	int64		phase = SECOND * 3 / 10;
	int64		due = START + phase;
	ProbePace	slow = pace;

	add(&calm, "+++", START);
	add(&doubt, "+++-", START);
	ok(probe_next_start(&calm, &pace, phase, due, due + 500) == due + SECOND, "probes run from start to start");
	ok(probe_next_start(&calm, &pace, phase, due, due + SECOND) == due + SECOND, "even if one takes the whole interval");
	ok(probe_next_start(&calm, &pace, phase, due, due + SECOND + 500) == due + SECOND, "or a little more");
	ok(probe_next_start(&calm, &pace, phase, due + SECOND / 100, due + SECOND / 50) == due + SECOND,
	   "a late start does not delay the next");
	ok(probe_next_start(&calm, &pace, phase, due, due + 10 * SECOND + 1) == due + 11 * SECOND,
	   "missed starts are left out");
	ok(probe_next_start(&doubt, &pace, phase, due, due + 500) == due + SECOND / 5, "in doubt, the retry interval applies");
	ok(probe_next_start(&doubt, &pace, phase, due, due + SECOND) == due + SECOND, "in doubt, no start precedes the end of the last probe");
	ok(probe_next_start(&calm, &pace, phase, due - SECOND / 10, due - SECOND / 20) == due + SECOND,
	   "back on the grid, no two probes follow each other closely");
	slow.retry_interval = 2 * SECOND;
	ok(probe_next_start(&doubt, &slow, phase, due, due + 500) == due + SECOND, "a retry interval longer than the interval has no effect");
}

/* The most starts in any 100 ms, for a fleet that is started, frozen and failing at once. */
static void
test_spread(void)
{
	/* A tick is 10 ms. */
	enum
	{
	COUNT = 1000, TICKS = 1200};
	static int64 due[COUNT];
	static ProbeFinding findings[COUNT];
	static int	starts[TICKS + 10];
	int			most[3] = {0};

	for (int i = 0; i < COUNT; i++)
		due[i] = probe_grid_time(SECOND, probe_phase(SECOND, i, COUNT), START);
	for (int tick = 0; tick < TICKS; tick++)
	{
		int64		now = START + (tick + 1) * SECOND / 100;

		/* Frozen from 3 s to 5.5 s; all refuse from 8 s on. */
		if (tick >= 300 && tick < 550)
			continue;
		for (int i = 0; i < COUNT; i++)
			if (due[i] <= now)
			{
				bool		late = now - due[i] > SECOND / 2;

				if (!late)
				{
					(void) probe_finding_add(&findings[i], &pace, tick < 800 ? PROBE_SUCCEEDED : PROBE_FAILED, now);
					starts[tick]++;
				}
				due[i] = late ? probe_grid_time(SECOND, probe_phase(SECOND, i, COUNT), now) :
					probe_next_start(&findings[i], &pace, probe_phase(SECOND, i, COUNT), now, now);
			}
	}
	for (int tick = 0; tick + 10 <= TICKS; tick++)
	{
		int			sum = 0;
		int			part = tick < 100 ? -1 : tick < 550 ? 0 : tick < 800 ? 1 : tick >= 1000 ? 2 : -1;

		for (int i = 0; i < 10; i++)
			sum += starts[tick + i];
		if (part >= 0)
			most[part] = Max(most[part], sum);
	}
	ok(most[0] <= 130, "while running, no 100 ms have more than 1.3 of their share: %d of 100", most[0]);
	ok(most[1] <= 160, "nor after a freeze, whose starts are left out: %d", most[1]);
	ok(most[2] <= 130, "nor after all fail at once: %d", most[2]);
}

static void
test_names(void)
{
	ok(strcmp(probe_verdict_name(VERDICT_UP), "up") == 0 && strcmp(probe_verdict_name(VERDICT_DOWN), "down") == 0 &&
	   strcmp(probe_verdict_name(VERDICT_NONE), "none") == 0, "verdicts have their words");
}

int
main(void)
{
	test_names();
	test_verdicts();
	test_model();
	test_damping();
	test_grid();
	test_next_start();
	test_spread();
	return done();
}
