/*
 * commit_queue.c
 *		What a transaction tells shared memory about gateways when it commits.
 *
 * Triggers queue; the transaction's callback stores.  What a subtransaction
 * queued goes with it when it aborts.  The queue is bounded: what does not fit,
 * and what a prepared transaction would store when somebody else commits it,
 * becomes an invalidation, upon which the rows are read anew.  Then no heartbeat
 * of the transaction is stored: a later one of the same row may be among what
 * did not fit.
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#include "base/invalidation.h"
#include "base/transaction.h"
#include "base/uuid.h"
#include "shared/commit_queue.h"
#include "shared/worker_slots.h"

#define QUEUE_MAX 1024

typedef enum QueuedChangeKind
{
	PUBLISH_HEARTBEAT,
	PUBLISH_DELETION,
	PUBLISH_TRUNCATION,
	ABANDON_SLOT				/* at abort: the gateway has never been there */
} QueuedChangeKind;

typedef struct QueuedChange
{
	QueuedChangeKind kind;
	SubTransactionId queued_by;
	pg_uuid_t	gateway;
	Heartbeat	heartbeat;
} QueuedChange;

/* Of the current transaction, in its memory. */
static QueuedChange *queue;
static int	queue_length;
static int	queue_room;
static bool heartbeats_queued;
static SubTransactionId overflowed_by;	/* InvalidSubTransactionId: it did not
										 * overflow */
static Oid	queue_signal;
static Oid	queue_table;

static void
enqueue(CommitRelations relations, const QueuedChange *change)
{
	if (!health_map_exists())
		return;
	if (queue_length == QUEUE_MAX)
	{
		invalidation_send(relations.signal);
		if (overflowed_by == InvalidSubTransactionId)
			overflowed_by = GetCurrentSubTransactionId();
		return;
	}
	if (queue_length == queue_room)
	{
		int			room = queue_room == 0 ? 4 : Min(queue_room * 4, QUEUE_MAX);

		queue = queue == NULL ? MemoryContextAlloc(TopTransactionContext, sizeof(QueuedChange) * room) :
			repalloc(queue, sizeof(QueuedChange) * room);
		queue_room = room;
	}
	queue[queue_length] = *change;
	queue[queue_length++].queued_by = GetCurrentSubTransactionId();
	queue_signal = relations.signal;
	queue_table = relations.gateways;
}

/* commit_queue_heartbeat queues what a row of the host's table says from now on. */
void
commit_queue_heartbeat(CommitRelations relations, const pg_uuid_t *gateway, const Heartbeat *heartbeat)
{
	QueuedChange change = {.kind = PUBLISH_HEARTBEAT, .gateway = *gateway, .heartbeat = *heartbeat};

	enqueue(relations, &change);
	heartbeats_queued = true;
}

/* commit_queue_deletion queues that a row of the host's table is gone. */
void
commit_queue_deletion(CommitRelations relations, const pg_uuid_t *gateway)
{
	QueuedChange change = {.kind = PUBLISH_DELETION, .gateway = *gateway};

	enqueue(relations, &change);
}

/* commit_queue_truncation queues that all rows of the host's table are gone. */
void
commit_queue_truncation(CommitRelations relations)
{
	QueuedChange change = {.kind = PUBLISH_TRUNCATION};

	enqueue(relations, &change);
}

/*
 * commit_queue_insertion queues that a row was inserted into the host's table: if
 * that aborts, a slot that was made for it meanwhile is nobody's.
 */
void
commit_queue_insertion(CommitRelations relations, const pg_uuid_t *gateway)
{
	QueuedChange change = {.kind = ABANDON_SLOT, .gateway = *gateway};

	enqueue(relations, &change);
}

/* commit_queue_is_pending tells whether this transaction wrote heartbeats that nobody knows yet. */
bool
commit_queue_is_pending(void)
{
	return heartbeats_queued;
}

/* Only what a row said last was ever committed. */
static bool
is_overtaken(int i)
{
	for (int j = i + 1; j < queue_length; j++)
		if (uuid_equal(&queue[i].gateway, &queue[j].gateway))
			return true;
	return false;
}

static void
publish_all(void)
{
	bool		evidence_changed = false;
	bool		gateways_changed = false;

	for (int i = 0; i < queue_length; i++)
	{
		const QueuedChange *change = &queue[i];

		switch (change->kind)
		{
			case PUBLISH_HEARTBEAT:
				if (overflowed_by == InvalidSubTransactionId && !is_overtaken(i))
					evidence_changed |= health_evidence_publish_commit(queue_table, &change->gateway,
																	   &change->heartbeat, XactLastCommitEnd);
				break;
			case PUBLISH_DELETION:
				health_map_free_gateway(queue_table, &change->gateway);
				gateways_changed = true;
				break;
			case PUBLISH_TRUNCATION:
				health_map_free_table(queue_table);
				gateways_changed = true;
				break;
			case ABANDON_SLOT:
				gateways_changed = true;
				break;
		}
	}
	if (gateways_changed)
		(void) worker_slots_want(MyDatabaseId);
	else if (evidence_changed)
		worker_slots_wake(MyDatabaseId);
}

/* Drops what a subtransaction and its children queued. */
static void
abandon(SubTransactionId aborted)
{
	if (overflowed_by >= aborted)
		overflowed_by = InvalidSubTransactionId;
	while (queue_length > 0 && queue[queue_length - 1].queued_by >= aborted)
		if (queue[--queue_length].kind == ABANDON_SLOT)
			health_map_free_gateway(queue_table, &queue[queue_length].gateway);
}

static void
before_prepare(void)
{
	if (queue_length > 0)
		invalidation_send(queue_signal);
}

static void
at_end(TransactionEnd end)
{
	if (end == TRANSACTION_COMMITTED)
		publish_all();
	else if (end == TRANSACTION_ABORTED)
		abandon(TopSubTransactionId);
	queue = NULL;
	queue_length = queue_room = 0;
	heartbeats_queued = false;
	overflowed_by = InvalidSubTransactionId;
}

const TransactionSubscriber commit_queue_subscriber = {
	.before_prepare = before_prepare,
	.at_end = at_end,
	.at_subtransaction_abort = abandon
};
