/*
 * termination.c
 *		How SIGTERM and time limits end the processes of this library.
 *
 * In a transaction, a process may wait for a lock, and run code of a table's owner: a
 * trigger that catches every ERROR, canceled statements included, can run forever.  No
 * code catches a FATAL.  So there SIGTERM, or the time limit, ends the process at once.
 *
 * Outside transactions, a process does not wait for long.  There SIGTERM sets a flag,
 * and the process ends when its current work is done.
 */
#include "postgres.h"

#include <signal.h>

#include "access/xact.h"
#include "miscadmin.h"
#include "postmaster/interrupt.h"
#include "storage/latch.h"
#include "utils/timeout.h"

#include "base/termination.h"

static TimeoutId limit = MAX_TIMEOUTS;
static volatile sig_atomic_t limit_was_reached;

/* Ends the process at the next interrupt check if it is in a transaction; for signal handlers. */
static bool
die_in_transaction(void)
{
	if (!IsTransactionOrTransactionBlock())
		return false;
	InterruptPending = true;
	ProcDiePending = true;
	return true;
}

static void
handle_sigterm(SIGNAL_ARGS)
{
	int			save_errno = errno;

	ShutdownRequestPending = true;
	(void) die_in_transaction();
	SetLatch(MyLatch);
	errno = save_errno;
}

static void
reach_limit(void)
{
	if (die_in_transaction())
		limit_was_reached = true;
}

/* termination_init sets the handler of SIGTERM; called before signals are unblocked. */
void
termination_init(void)
{
	pqsignal(SIGTERM, handle_sigterm);
}

/*
 * termination_set_limit ends the process if it is in a transaction after so many
 * milliseconds.  It replaces the previous limit.
 */
void
termination_set_limit(int ms)
{
	if (limit == MAX_TIMEOUTS)
		limit = RegisterTimeout(USER_TIMEOUT, reach_limit);
	enable_timeout_after(limit, ms);
}

/* termination_clear_limit removes the limit. */
void
termination_clear_limit(void)
{
	disable_timeout(limit, false);
}

/* termination_limit_was_reached returns true if a limit has ended this process. */
bool
termination_limit_was_reached(void)
{
	return limit_was_reached;
}
