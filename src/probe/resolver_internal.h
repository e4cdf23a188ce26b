/*
 * resolver_internal.h
 *		The parts of a resolver: for resolver*.c alone.
 */
#ifndef GATEWAY_POOL_RESOLVER_INTERNAL_H
#define GATEWAY_POOL_RESOLVER_INTERNAL_H

#include <ares.h>
#include <sys/stat.h>

#include "probe/resolver.h"
#include "rules/probe_address.h"

#define LANES 64
#define ADDRESSES_MAX 8

typedef struct Address
{
	sa_family_t family;
	unsigned char bytes[16];	/* of IPv4 the first 4, the others are 0 */
} Address;

typedef struct Host
{
	const char *name;
	struct Host *next;			/* in the list of all */
	struct Host *next_waiting;	/* in its queue */

	bool		queried;		/* waits for a lane or has one */
	bool		slow;			/* its last query timed out */
	int64		queried_at;		/* its last query began */
	int64		query_at;		/* the next query is not before this */
	int64		used_at;

	/* The last good answer, in order. */
	int			found_by;		/* the number of the name that was asked for */
	int			count;
	int			current;
	Address		addresses[ADDRESSES_MAX];

	/* How the last query failed; used while there is no good answer. */
	ResolverAnswer failure;
	const char *reason;
} Host;

typedef struct HostQueue
{
	Host	   *first;
	Host	   *last;
} HostQueue;

typedef struct Lane
{
	Resolver   *resolver;
	ares_channel channel;		/* NULL before its first use */
	uint32		configuration;	/* the channel was made with this one */
	Host	   *host;			/* NULL while idle */
	bool		slow;
	int			number;			/* of the name that is asked for */
	bool		as_is;			/* that name is the host's own */
	bool		asking;			/* its answer has not come yet */
	int			failure;		/* of the names before it: a status of c-ares */
	bool		gone;			/* the name that was found last time does not
								 * exist any more */
	int64		deadline;		/* of this name */
	int			unwatched;		/* sockets that c-ares has acquired, but not
								 * yet watched */
} Lane;

struct Resolver
{
	int			epoll;
	char	   *servers;		/* NULL for the system's */
	int64		now;			/* of the current call */
	uint64		generation;

	/* NULL if the process does not count descriptors. */
	bool		(*acquire_descriptor) (void);
	void		(*release_descriptor) (void);
	int			sockets;		/* of all lanes */
	int			spare;			/* descriptors that the current call of c-ares
								 * may use */

	void	   *tree;			/* of hosts, by name */
	Host	   *hosts;
	int			host_count;
	int64		forget_at;		/* to make room, unused names are not dropped
								 * before this */

	HostQueue	fresh;
	HostQueue	slow;
	int			slow_lanes;
	Lane		lanes[LANES];

	struct ares_options search; /* its domains and ndots alone */
	uint32		configuration;	/* counts the changes seen */
	struct stat configured;
	int64		configuration_checked_at;
};

extern Host *resolver_host_find_or_add(Resolver *resolver, const char *name);
extern bool resolver_host_take_file(Resolver *resolver, Host *host, ares_channel channel);
extern bool resolver_host_take_answer(Resolver *resolver, Host *host, int number, const struct ares_addrinfo *answer);
extern void resolver_host_take_failure(Resolver *resolver, Host *host, int status);
extern ResolverAnswer resolver_host_answer(const Host *host, struct sockaddr_storage *address, const char **reason);
extern void resolver_hosts_free(Resolver *resolver);
extern void resolver_search_read(Resolver *resolver);
extern void resolver_search_free(Resolver *resolver);
extern bool resolver_search_name(const Resolver *resolver, const char *host, int number, char *name);

#endif							/* GATEWAY_POOL_RESOLVER_INTERNAL_H */
