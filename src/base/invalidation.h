/*
 * invalidation.h
 *		Messages to all sessions that a relation has changed.
 */
#ifndef GATEWAY_POOL_INVALIDATION_H
#define GATEWAY_POOL_INVALIDATION_H

extern void invalidation_send(Oid relation);

#endif							/* GATEWAY_POOL_INVALIDATION_H */
