/*
 * worker_log.c
 *		What the server's log says of a worker.
 *
 * One line when it is ready, when it has a problem, when the problem is over, and when
 * it ends.  A problem that stays, or comes and goes, is logged once.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "datatype/timestamp.h"
#include "mb/pg_wchar.h"
#include "postmaster/bgworker.h"

#include "base/clean_text.h"
#include "shared/worker_slots.h"
#include "worker/worker_log.h"

/* More problems at the same time are not logged. */
#define PROBLEMS_MAX 8

/* A problem is over when it has not been there for this long. */
#define QUIET (10 * USECS_PER_SEC)

typedef struct LoggedProblem
{
	int64		since;			/* 0: the entry is free */
	int64		seen_at;
	uint32		kind;
	char		text[WORKER_TEXT_SIZE];
} LoggedProblem;

static LoggedProblem problems[PROBLEMS_MAX];

/* The log has a line of this worker; its end is logged, too. */
static bool logged;

/* worker_log_database returns the name of the worker's database, without control characters. */
const char *
worker_log_database(void)
{
	static char name[NAMEDATALEN];

	if (name[0] == '\0')
	{
		strlcpy(name, MyBgworkerEntry->bgw_name + strlen(WORKER_PROCESS_NAME), sizeof(name));
		clean_text_in_place(name);
	}
	return name;
}

/* worker_log_ready logs that the worker has read its tables for the first time. */
void
worker_log_ready(int gateways, int probed)
{
	logged = true;
	ereport(LOG,
			(errmsg("gateway_pool worker for database \"%s\" is ready: gateways: %d, probed: %d",
					worker_log_database(), gateways, probed)));
}

/* Texts that differ in numbers alone, such as in how late probes are, are of one kind. */
static uint32
kind_of(const char *problem)
{
	uint32		kind = 0;

	for (const char *c = problem; *c != '\0'; c++)
		if (*c < '0' || *c > '9')
			kind = hash_combine(kind, murmurhash32((unsigned char) *c));
	return kind;
}

/* worker_log_problem logs a problem, "" for none, unless it has been logged and is not over. */
void
worker_log_problem(const char *problem, int64 now)
{
	LoggedProblem *entry = NULL;
	uint32		kind;

	if (problem[0] == '\0')
		return;
	kind = kind_of(problem);
	for (int i = 0; i < PROBLEMS_MAX; i++)
	{
		if (problems[i].since == 0)
			entry = &problems[i];
		else if (problems[i].kind == kind)
		{
			problems[i].seen_at = now;
			return;
		}
	}
	if (entry == NULL)
		return;
	*entry = (LoggedProblem) {.since = now, .seen_at = now, .kind = kind};
	strlcpy(entry->text, problem, pg_mbcliplen(problem, strlen(problem), sizeof(entry->text) - 1) + 1);
	clean_text_in_place(entry->text);
	logged = true;
	ereport(LOG,
			(errmsg("gateway_pool worker for database \"%s\" has a problem: %s", worker_log_database(), entry->text)));
}

/* worker_log_recovered logs the problems that are over; called after those of this turn have been logged. */
void
worker_log_recovered(int64 now)
{
	for (int i = 0; i < PROBLEMS_MAX; i++)
	{
		if (problems[i].since == 0 || now - problems[i].seen_at < QUIET)
			continue;
		ereport(LOG,
				(errmsg("gateway_pool worker for database \"%s\" has recovered after %.1f s from: %s", worker_log_database(),
						(problems[i].seen_at - problems[i].since) / 1e6, problems[i].text)));
		problems[i].since = 0;
	}
}

/* worker_log_end logs that the worker ends, if it has logged anything else. */
void
worker_log_end(const char *reason)
{
	if (logged)
		ereport(LOG,
				(errmsg("gateway_pool worker for database \"%s\" ends: %s", worker_log_database(), reason)));
}
