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

extern const TransactionSubscriber commit_queue_subscriber;

extern void commit_queue_heartbeat(CommitRelations relations, const pg_uuid_t *gateway, const Heartbeat *heartbeat);
extern void commit_queue_deletion(CommitRelations relations, const pg_uuid_t *gateway);
extern void commit_queue_truncation(CommitRelations relations);
extern void commit_queue_insertion(CommitRelations relations, const pg_uuid_t *gateway);
extern bool commit_queue_has_heartbeats(void);

#endif							/* GATEWAY_POOL_COMMIT_QUEUE_H */
