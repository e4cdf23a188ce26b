/*
 * database_hook.h
 *		Commands on databases that have a worker.
 */
#ifndef GATEWAY_POOL_DATABASE_HOOK_H
#define GATEWAY_POOL_DATABASE_HOOK_H

#include "base/transaction.h"

extern const TransactionSubscriber database_hook_subscriber;

extern void database_hook_init(void);

#endif							/* GATEWAY_POOL_DATABASE_HOOK_H */
