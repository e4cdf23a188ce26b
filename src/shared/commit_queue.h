/*
 * commit_queue.h
 *		What a transaction publishes about gateways when it commits.
 */
#ifndef GATEWAY_POOL_COMMIT_QUEUE_H
#define GATEWAY_POOL_COMMIT_QUEUE_H

#include "base/transaction.h"
#include "shared/health_evidence.h"

/* The relations of a change of the host's gateways. */
typedef struct CommitRelations
{
	Oid			gateways;		/* the host's table */
	Oid			signal;			/* its invalidation makes all sessions read
								 * the rows again */
} CommitRelations;

typedef enum QueuedChangeKind
{
	GATEWAY_HEARD,				/* its row has another heartbeat */
	GATEWAY_DELETED,
	GATEWAYS_TRUNCATED,
	GATEWAY_INSERTED			/* an abort frees the slot that this
								 * transaction has made for it */
} QueuedChangeKind;

extern const TransactionSubscriber commit_queue_subscriber;

extern void commit_queue_add(CommitRelations relations, QueuedChangeKind kind, const pg_uuid_t *gateway,
							 const Heartbeat *heartbeat);
extern bool commit_queue_has_heartbeats(void);
extern void commit_queue_wait(void);

#endif							/* GATEWAY_POOL_COMMIT_QUEUE_H */
