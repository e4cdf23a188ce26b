/*
 * launcher.h
 *		The background worker that starts the workers of databases.
 */
#ifndef GATEWAY_POOL_LAUNCHER_H
#define GATEWAY_POOL_LAUNCHER_H

#include "base/transaction.h"

extern const TransactionSubscriber launcher_subscriber;

extern void launcher_init(void);
extern void launcher_want_at_commit(Oid database);

#endif							/* GATEWAY_POOL_LAUNCHER_H */
