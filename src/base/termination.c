/*
 * termination.c
 *		How the processes of this library are ended.
 *
 * In a transaction, a process may wait for a lock, and run what the owner of a
 * table has written: a trigger that catches every ERROR, canceled statements
 * included, can go on for ever.  Nobody catches a FATAL.  So SIGTERM, or a limit
 * that is reached, ends the process where it is.
 *
 * Outside transactions, a process does not wait for long.  SIGTERM sets a flag
 * there, and the process ends when it has done what it is doing.
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

/* Called by signal handlers. */
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

/* termination_init has SIGTERM end this process; called before signals are unblocked. */
void
termination_init(void)
{
	pqsignal(SIGTERM, handle_sigterm);
}

/*
 * termination_set_limit has the process end when it is still in a transaction
 * after so many milliseconds.  In place of a limit that was set before.
 */
void
termination_set_limit(int ms)
{
	if (limit == MAX_TIMEOUTS)
		limit = RegisterTimeout(USER_TIMEOUT, reach_limit);
	enable_timeout_after(limit, ms);
}

/* termination_clear_limit: the transaction has ended in time. */
void
termination_clear_limit(void)
{
	disable_timeout(limit, false);
}

/* termination_limit_was_reached tells whether it did not. */
bool
termination_limit_was_reached(void)
{
	return limit_was_reached;
}
