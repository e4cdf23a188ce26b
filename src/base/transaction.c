/*
 * transaction.c
 *		Ends of transactions and subtransactions.
 */
#include "postgres.h"

#include "access/xact.h"

#include "base/transaction.h"

static const TransactionSubscriber *const *subscribers;
static int	subscriber_count;

static void
call_at_end(TransactionEnd end)
{
	for (int i = 0; i < subscriber_count; i++)
		if (subscribers[i]->at_end != NULL)
			subscribers[i]->at_end(end);
}

static void
transaction_event(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
			for (int i = 0; i < subscriber_count; i++)
				if (subscribers[i]->before_commit != NULL)
					subscribers[i]->before_commit();
			break;
		case XACT_EVENT_PRE_PREPARE:
			for (int i = 0; i < subscriber_count; i++)
				if (subscribers[i]->before_prepare != NULL)
					subscribers[i]->before_prepare();
			break;
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_PARALLEL_COMMIT:
			call_at_end(TRANSACTION_COMMITTED);
			break;
		case XACT_EVENT_PREPARE:
			call_at_end(TRANSACTION_PREPARED);
			break;
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PARALLEL_ABORT:
			call_at_end(TRANSACTION_ABORTED);
			break;
		case XACT_EVENT_PARALLEL_PRE_COMMIT:
			break;
	}
}

static void
subtransaction_event(SubXactEvent event, SubTransactionId id, SubTransactionId parent, void *arg)
{
	if (event != SUBXACT_EVENT_ABORT_SUB)
		return;
	for (int i = 0; i < subscriber_count; i++)
		if (subscribers[i]->at_subtransaction_abort != NULL)
			subscribers[i]->at_subtransaction_abort(id);
}

/*
 * transaction_init registers the subscribers, which are called in this order.  It is
 * called once in each process, with a static array.
 */
void
transaction_init(const TransactionSubscriber *const *in_order, int count)
{
	subscribers = in_order;
	subscriber_count = count;
	RegisterXactCallback(transaction_event, NULL);
	RegisterSubXactCallback(subtransaction_event, NULL);
}
