/*
 * resolver.h
 *		Resolves names to addresses, without waiting.
 *
 * For one loop of one process, which waits until the resolver's descriptor is
 * readable or its timeout has passed, then calls resolver_run.  Times are
 * CLOCK_MONOTONIC, in microseconds.  It uses neither memory nor errors of the
 * server; SIGPIPE must be ignored, as it is in all processes of the server.
 *
 * Addresses are not checked here, but by network_list.h at each use.  After an
 * address is refused or does not answer, resolver_doubt switches to the next.
 */
#ifndef GATEWAY_POOL_RESOLVER_H
#define GATEWAY_POOL_RESOLVER_H

#include <sys/socket.h>

/* The most open descriptors; usually one, and one for each query in flight. */
#define RESOLVER_DESCRIPTORS_MAX 129

typedef struct Resolver Resolver;

typedef enum ResolverAnswer
{
	RESOLVER_RESOLVED,
	RESOLVER_PENDING,			/* look up again when resolver_generation has
								 * changed */
	RESOLVER_ABSENT,			/* there is no such name */
	RESOLVER_FAILED				/* the resolver failed, which is no evidence
								 * of the name */
} ResolverAnswer;

extern Resolver *resolver_create(const char *servers, bool (*acquire) (void), void (*release) (void));
extern void resolver_destroy(Resolver *resolver);
extern int	resolver_descriptor(const Resolver *resolver);
extern int64 resolver_timeout(Resolver *resolver, int64 now);
extern void resolver_run(Resolver *resolver, int64 now);
extern uint64 resolver_generation(const Resolver *resolver);
extern ResolverAnswer resolver_look_up(Resolver *resolver, const char *host, int64 now,
									   struct sockaddr_storage *address, const char **reason);
extern void resolver_doubt(Resolver *resolver, const char *host, const struct sockaddr *address);
extern void resolver_forget_unused(Resolver *resolver, int64 now);

#endif							/* GATEWAY_POOL_RESOLVER_H */
