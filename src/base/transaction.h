/*
 * transaction.h
 *		Ends of transactions and subtransactions.
 *
 * A subscriber that keeps entries for the current transaction stores with each the
 * result of GetCurrentSubTransactionId().  Ids are assigned in ascending order, so
 * that when a subtransaction aborts, the entries to undo are those with its id or a
 * higher one: its own, and those of its committed children.
 */
#ifndef GATEWAY_POOL_TRANSACTION_H
#define GATEWAY_POOL_TRANSACTION_H

typedef enum TransactionEnd
{
	TRANSACTION_COMMITTED,
	TRANSACTION_PREPARED,
	TRANSACTION_ABORTED
} TransactionEnd;

/* Functions that are called at these times; each may be NULL. */
typedef struct TransactionSubscriber
{
	void		(*before_commit) (void);
	void		(*before_prepare) (void);
	void		(*at_end) (TransactionEnd end); /* must not throw: after
												 * COMMIT an ERROR is a PANIC */
	void		(*at_subtransaction_abort) (SubTransactionId aborted);	/* must not throw */
} TransactionSubscriber;

extern void transaction_init(const TransactionSubscriber *const *in_order, int count);

#endif							/* GATEWAY_POOL_TRANSACTION_H */
