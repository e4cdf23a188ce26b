/*
 * policies.h
 *		Row-level security on our tables that is not ours.
 */
#ifndef GATEWAY_POOL_POLICIES_H
#define GATEWAY_POOL_POLICIES_H

/* The name of the policy of isolation, on each table. */
#define ISOLATION_POLICY "GatewayPools_isolation"

extern bool policies_isolate(Oid relation);
extern bool policies_are_foreign(Oid relation);
extern bool policies_apply(Oid relation);

#endif							/* GATEWAY_POOL_POLICIES_H */
