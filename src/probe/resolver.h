/*
 * resolver.h
 *		From names to addresses, without waiting.
 *
 * For one loop of one process, which waits for the resolver's descriptor to
 * become readable or its timeout to run out, then calls resolver_run.  Times are
 * CLOCK_MONOTONIC, in microseconds.  Needs nothing of the server's, neither
 * memory nor errors, but that SIGPIPE is ignored, as in every process of it.
 *
 * What it resolves to is not judged: that is network_list.h's, at each use.  If
 * an address is refused or does not answer, resolver_doubt leads to the next.
 */
#ifndef GATEWAY_POOL_RESOLVER_H
#define GATEWAY_POOL_RESOLVER_H

#include <sys/socket.h>

/* At most so many descriptors are open, usually one and one for each query in flight. */
#define RESOLVER_DESCRIPTORS_MAX 129

typedef struct Resolver Resolver;

typedef enum ResolverAnswer
{
	RESOLVER_RESOLVED,
	RESOLVER_PENDING,			/* ask again when resolver_generation has
								 * changed */
	RESOLVER_ABSENT,			/* there is no such name */
	RESOLVER_FAILED				/* the resolver's own trouble, says nothing
								 * about the name */
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
