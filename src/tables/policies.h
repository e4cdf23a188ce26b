/*
 * policies.h
 *		Row-level security that is not ours, on the tables that we read and write.
 */
#ifndef GATEWAY_POOL_POLICIES_H
#define GATEWAY_POOL_POLICIES_H

/* The policy by which isolation works, on each table. */
#define ISOLATION_POLICY "GatewayPools_isolation"

extern bool policies_isolate(Oid relation);
extern bool policies_are_foreign(Oid relation);
extern bool policies_apply(Oid relation);

#endif							/* GATEWAY_POOL_POLICIES_H */
