/*
 * commit_queue.c
 *		What a transaction publishes about gateways when it commits.
 *
 * Triggers add to the queue, the transaction's callback publishes.  When a
 * subtransaction aborts, its entries are removed.  The queue is bounded: a change that
 * does not fit sends an invalidation instead, after which the rows are read again.  Then
 * no heartbeat of the transaction is published: the change that did not fit may be a
 * later one of the same row.  PREPARE sends the invalidation, too: another session
 * commits.
 *
 * A transaction that publishes no heartbeats leaves no place in the WAL in the slots.  An
 * earlier commit whose callback is late would not find that it is outdated.  So the
 * transaction waits, before it commits or is prepared, for the callbacks of all
 * transactions whose rows it may have overwritten.
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "storage/procarray.h"
#include "utils/memutils.h"

#include "base/invalidation.h"
#include "base/transaction.h"
#include "base/uuid.h"
#include "shared/commit_queue.h"
#include "shared/worker_slots.h"

#define QUEUE_MAX 1024

typedef struct QueuedChange
{
	QueuedChangeKind kind;
	SubTransactionId queued_by;
	pg_uuid_t	gateway;
	Heartbeat	heartbeat;
} QueuedChange;

/* The current transaction's, in its memory. */
static QueuedChange *queue;
static int	queue_length;
static int	queue_room;
static bool heartbeats_queued;
static SubTransactionId overflowed_by;	/* or InvalidSubTransactionId */
static Oid	queue_signal;
static Oid	queue_table;

/*
 * commit_queue_add queues a change of a row of the host's table.  "gateway" is NULL for
 * all rows; "heartbeat" is the new one of GATEWAY_HEARD, otherwise NULL.
 */
void
commit_queue_add(CommitRelations relations, QueuedChangeKind kind, const pg_uuid_t *gateway,
				 const Heartbeat *heartbeat)
{
	QueuedChange change = {.kind = kind, .queued_by = GetCurrentSubTransactionId()};

	heartbeats_queued |= heartbeat != NULL;
	if (!health_map_exists())
		return;
	if (queue_length == QUEUE_MAX)
	{
		invalidation_send(relations.signal);
		if (overflowed_by == InvalidSubTransactionId)
			overflowed_by = change.queued_by;
		return;
	}
	if (queue_length == queue_room)
	{
		int			room = queue_room == 0 ? 4 : Min(queue_room * 4, QUEUE_MAX);

		queue = queue == NULL ? MemoryContextAlloc(TopTransactionContext, sizeof(QueuedChange) * room) :
			repalloc(queue, sizeof(QueuedChange) * room);
		queue_room = room;
	}
	if (gateway != NULL)
		change.gateway = *gateway;
	if (heartbeat != NULL)
		change.heartbeat = *heartbeat;
	queue[queue_length++] = change;
	queue_signal = relations.signal;
	queue_table = relations.gateways;
}

/* commit_queue_has_heartbeats returns true if this transaction has queued heartbeats. */
bool
commit_queue_has_heartbeats(void)
{
	return heartbeats_queued;
}

/* Returns true if a later change of the same row is queued. */
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
			case GATEWAY_HEARD:
				if (overflowed_by == InvalidSubTransactionId && !is_overtaken(i))
					evidence_changed |= health_evidence_publish_commit(queue_table, &change->gateway,
																	   &change->heartbeat, XactLastCommitEnd);
				break;
			case GATEWAY_DELETED:
				health_map_free_gateway(queue_table, &change->gateway);
				gateways_changed = true;
				break;
			case GATEWAYS_TRUNCATED:
				health_map_free_table(queue_table);
				gateways_changed = true;
				break;
			case GATEWAY_INSERTED:
				gateways_changed = true;
				break;
		}
	}
	if (gateways_changed)
		(void) worker_slots_want(MyDatabaseId);
	else if (evidence_changed)
		worker_slots_wake(MyDatabaseId);
}

/* Removes the changes of an aborted subtransaction and its children. */
static void
discard(SubTransactionId aborted)
{
	if (overflowed_by >= aborted)
		overflowed_by = InvalidSubTransactionId;
	while (queue_length > 0 && queue[queue_length - 1].queued_by >= aborted)
		if (queue[--queue_length].kind == GATEWAY_INSERTED)
			health_map_free_inserted(queue_table, &queue[queue_length].gateway);
}

/*
 * commit_queue_wait waits until all transactions whose changes a new snapshot sees have
 * published them.  A transaction first becomes visible, then its callbacks run, and then
 * it releases the lock on its id.  One that aborts publishes nothing, and may be long at
 * it: callbacks of foreign data wrappers wait for a server that is not ours.  Its status is
 * asked for first: of a subtransaction that is deep inside others, that takes no search.
 *
 * The transactions above call it.  So does a session that has made a slot, before it reads
 * the row again: a commit that came before the slot has left no place in it, either.
 */
void
commit_queue_wait(void)
{
	LockData   *locks = GetLockStatusData();

	for (int i = 0; i < locks->nelements; i++)
	{
		const LockInstanceData *lock = &locks->locks[i];
		TransactionId holder = lock->locktag.locktag_field1;

		if (lock->locktag.locktag_type == LOCKTAG_TRANSACTION && (lock->holdMask & LOCKBIT_ON(ExclusiveLock)) != 0 &&
			TransactionIdDidCommit(holder) && !TransactionIdIsInProgress(holder))
			XactLockTableWait(holder, NULL, NULL, XLTW_None);
	}
	pfree(locks->locks);
	pfree(locks);
}

static void
before_commit(void)
{
	if (overflowed_by != InvalidSubTransactionId)
		commit_queue_wait();
}

static void
before_prepare(void)
{
	if (queue_length == 0)
		return;
	invalidation_send(queue_signal);
	commit_queue_wait();
}

static void
at_end(TransactionEnd end)
{
	if (end == TRANSACTION_COMMITTED)
		publish_all();
	else if (end == TRANSACTION_ABORTED)
		discard(TopSubTransactionId);
	queue = NULL;
	queue_length = queue_room = 0;
	heartbeats_queued = false;
	overflowed_by = InvalidSubTransactionId;
}

const TransactionSubscriber commit_queue_subscriber = {
	.before_commit = before_commit,
	.before_prepare = before_prepare,
	.at_end = at_end,
	.at_subtransaction_abort = discard
};
