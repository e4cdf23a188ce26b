/*
 * late.c
 *		A library that holds up a session at a chosen moment, for test/t/027_late.pl.
 *
 * The session makes the file NAME.reached when it is there, and continues when the file
 * NAME exists.
 */
#include "postgres.h"

#include <fcntl.h>
#include <unistd.h>

#include "access/xact.h"
#include "executor/executor.h"
#include "fmgr.h"
#include "utils/builtins.h"

PG_MODULE_MAGIC;

PGDLLEXPORT void _PG_init(void);

PG_FUNCTION_INFO_V1(be_late);

static char moment[32];			/* "commit", "abort", "read", "second read", or "" */
static char file[MAXPGPATH];
static ExecutorEnd_hook_type previous_executor_end;

static void
wait_if(const char *reached)
{
	char		mark[MAXPGPATH + 16];

	if (strcmp(moment, reached) != 0)
		return;
	moment[0] = '\0';
	snprintf(mark, sizeof(mark), "%s.reached", file);
	close(open(mark, O_CREAT, 0600));
	while (access(file, F_OK) != 0)
		pg_usleep(1000);
}

/* After the end of a transaction that has written: after a commit, others see what it has written. */
static void
transaction_event(XactEvent event, void *arg)
{
	if (TransactionIdIsValid(GetTopTransactionIdIfAny()))
	{
		if (event == XACT_EVENT_COMMIT)
			wait_if("commit");
		if (event == XACT_EVENT_ABORT)
			wait_if("abort");
	}
}

/* After a query that has read gateways, before what it has read is published. */
static void
executor_end(QueryDesc *query)
{
	bool		reads = strstr(query->sourceText, "g.xmin") != NULL;

	if (previous_executor_end)
		previous_executor_end(query);
	else
		standard_ExecutorEnd(query);
	if (reads && strcmp(moment, "second read") == 0)
		strcpy(moment, "read");
	else if (reads)
		wait_if("read");
}

/* Loaded after gateway_pool: of callbacks, the one that was registered last is called first. */
void
_PG_init(void)
{
	RegisterXactCallback(transaction_event, NULL);
	previous_executor_end = ExecutorEnd_hook;
	ExecutorEnd_hook = executor_end;
}

/* be_late(moment text, file text): this session waits once, at the next such moment. */
Datum
be_late(PG_FUNCTION_ARGS)
{
	text_to_cstring_buffer(PG_GETARG_TEXT_PP(0), moment, sizeof(moment));
	text_to_cstring_buffer(PG_GETARG_TEXT_PP(1), file, sizeof(file));
	PG_RETURN_VOID();
}
