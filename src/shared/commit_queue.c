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
	int			nest_level;
	pg_uuid_t	gateway;
	Heartbeat	heartbeat;
} QueuedChange;

/* Of the current transaction, in its memory. */
static QueuedChange *queue;
static int	queue_length;
static int	queue_room;
static bool heartbeats_queued;
static int	overflow_level;		/* nesting level at which it overflowed; 0: it did not */
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
		if (overflow_level == 0)
			overflow_level = GetCurrentTransactionNestLevel();
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
	queue[queue_length++].nest_level = GetCurrentTransactionNestLevel();
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
		if (memcmp(&queue[i].gateway, &queue[j].gateway, sizeof(pg_uuid_t)) == 0)
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
				if (overflow_level == 0 && !is_overtaken(i))
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

/* Drops what was queued at this nesting level and deeper. */
static void
abandon(int nest_level)
{
	if (overflow_level >= nest_level)
		overflow_level = 0;
	while (queue_length > 0 && queue[queue_length - 1].nest_level >= nest_level)
		if (queue[--queue_length].kind == ABANDON_SLOT)
			health_map_free_gateway(queue_table, &queue[queue_length].gateway);
}

static void
forget_queue(void)
{
	queue = NULL;
	queue_length = queue_room = 0;
	heartbeats_queued = false;
	overflow_level = 0;
}

/* After COMMIT an ERROR would be a PANIC: nothing here allocates or throws. */
static void
end_of_transaction(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_PRE_PREPARE:
			if (queue_length > 0)
				invalidation_send(queue_signal);
			break;
		case XACT_EVENT_COMMIT:
			publish_all();
			forget_queue();
			break;
		case XACT_EVENT_ABORT:
			abandon(0);
			forget_queue();
			break;
		case XACT_EVENT_PREPARE:
			forget_queue();
			break;
		default:
			break;
	}
}

static void
end_of_subtransaction(SubXactEvent event, SubTransactionId my_id, SubTransactionId parent_id, void *arg)
{
	int			nest_level = GetCurrentTransactionNestLevel();

	if (event == SUBXACT_EVENT_ABORT_SUB)
		abandon(nest_level);
	else if (event == SUBXACT_EVENT_COMMIT_SUB)
	{
		overflow_level = Min(overflow_level, nest_level - 1);
		for (int i = queue_length - 1; i >= 0 && queue[i].nest_level >= nest_level; i--)
			queue[i].nest_level = nest_level - 1;
	}
}

/* commit_queue_init registers the callbacks; called once a process. */
void
commit_queue_init(void)
{
	RegisterXactCallback(end_of_transaction, NULL);
	RegisterSubXactCallback(end_of_subtransaction, NULL);
}
