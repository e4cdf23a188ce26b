/*
 * worker.h
 *		The background worker of one database.
 */
#ifndef GATEWAY_POOL_WORKER_H
#define GATEWAY_POOL_WORKER_H

extern bool worker_may_serve(Oid database, char *name);

#endif							/* GATEWAY_POOL_WORKER_H */
