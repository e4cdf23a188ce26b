/*
 * pool_name.h
 *		Names of pools.
 */
#ifndef GATEWAY_POOL_POOL_NAME_H
#define GATEWAY_POOL_POOL_NAME_H

#define POOL_NAME_MAX 32

extern bool pool_name_is_valid(const char *name, int length);
extern text *pool_name_read(Oid pools, const text *given);
extern void pool_name_require(Oid pools, const char *name);

#endif							/* GATEWAY_POOL_POOL_NAME_H */
