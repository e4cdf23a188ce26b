/*
 * resolver.c
 *		From names to addresses, without waiting.
 *
 * Each query in flight has a channel of c-ares to itself, its lane: so it can be
 * given up at its deadline without those of others, and comes from a port that
 * nobody knows beforehand.  Lanes are few, names wait for one in two queues.
 * Those whose last query timed out wait in the second one, which never has more
 * than half of the lanes, so that dark zones do not hold up the others.
 */
#include "postgres.h"

#include <ares.h>
#include <netinet/in.h>
#include <search.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <unistd.h>

#include "datatype/timestamp.h"

#include "resolver.h"

#define LANES 64
#define SLOW_LANES (LANES / 2)

/* A server that is down is left soon enough for two others to be asked. */
#define QUERY_TIME (2 * USECS_PER_SEC)
#define TRY_MS 500
#define TRIES 3

/* Whatever an answer's time-to-live is, it counts for so long. */
#define LIFETIME_MIN (5 * USECS_PER_SEC)
#define LIFETIME_MAX (60 * USECS_PER_SEC)

/* For so long a name is not asked for again. */
#define FAILURE_PAUSE (1 * USECS_PER_SEC)
#define DOUBT_PAUSE (1 * USECS_PER_SEC)

/* A name that is gone keeps its addresses for so long: others may have them now. */
#define ABSENT_HOLD (10 * SECS_PER_MINUTE * USECS_PER_SEC)

#define UNUSED_HOLD (10 * SECS_PER_MINUTE * USECS_PER_SEC)
#define HOSTS_MAX 65536
#define FORGET_PAUSE (1 * USECS_PER_SEC)

#define ADDRESSES_MAX 8

#define SYSTEM_CONFIGURATION "/etc/resolv.conf"
#define CONFIGURATION_PAUSE (30 * USECS_PER_SEC)

typedef struct Address
{
	sa_family_t family;
	unsigned char bytes[16];	/* the first 4 of IPv4, the others 0 */
} Address;

typedef struct Host
{
	const char *name;
	struct Host *next;			/* of all */
	struct Host *next_waiting;	/* of its queue */

	bool		asked;			/* waits for a lane or has one */
	bool		slow;			/* its last query timed out */
	int64		asked_at;		/* its last query began */
	int64		ask_at;			/* not before */
	int64		used_at;

	/* The last good answer, in order. */
	int			count;
	int			current;
	Address		addresses[ADDRESSES_MAX];

	/* How the last query failed, for as long as there was no good answer. */
	ResolverAnswer failure;
	const char *reason;
	int64		absent_since;	/* PG_INT64_MAX unless absent */
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
	uint32		configuration;	/* with which the channel was made */
	Host	   *host;			/* NULL while idle */
	bool		slow;
	int64		deadline;
} Lane;

struct Resolver
{
	int			epoll;
	char	   *servers;		/* NULL for the system's */
	int64		now;			/* of the call that we are in */
	uint64		generation;
	int			sockets;

	void	   *tree;			/* of hosts, by name */
	Host	   *hosts;
	int			host_count;
	int64		forgot_at;

	HostQueue	fresh;
	HostQueue	slow;
	int			slow_lanes;
	Lane		lanes[LANES];

	uint32		configuration;	/* counts the changes seen */
	struct stat configured;
	int64		configuration_checked_at;
};

static int
compare_hosts(const void *a, const void *b)
{
	return strcmp(((const Host *) a)->name, ((const Host *) b)->name);
}

static Host *
find_host(const Resolver *resolver, const char *name)
{
	Host		key = {.name = name};
	void	   *node = tfind(&key, &resolver->tree, compare_hosts);

	return node == NULL ? NULL : *(Host **) node;
}

/* NULL if there is no room for it. */
static Host *
add_host(Resolver *resolver, const char *name)
{
	size_t		size = strlen(name) + 1;
	Host	   *host;

	if (resolver->host_count >= HOSTS_MAX && resolver->now >= resolver->forgot_at + FORGET_PAUSE)
		resolver_forget_unused(resolver, resolver->now);
	if (resolver->host_count >= HOSTS_MAX)
		return NULL;

	host = calloc(1, sizeof(Host) + size);
	if (host == NULL)
		return NULL;
	host->name = memcpy(host + 1, name, size);
	host->ask_at = resolver->now;
	host->absent_since = PG_INT64_MAX;
	if (tsearch(host, &resolver->tree, compare_hosts) == NULL)
	{
		free(host);
		return NULL;
	}
	host->next = resolver->hosts;
	resolver->hosts = host;
	resolver->host_count++;
	return host;
}

static void
push_host(HostQueue *queue, Host *host)
{
	host->next_waiting = NULL;
	if (queue->first == NULL)
		queue->first = host;
	else
		queue->last->next_waiting = host;
	queue->last = host;
}

static Host *
pop_host(HostQueue *queue)
{
	Host	   *host = queue->first;

	if (host != NULL)
		queue->first = host->next_waiting;
	return host;
}

/* A slow one has its turn if none of them has a lane, or nobody else wants one. */
static HostQueue *
next_queue(Resolver *resolver)
{
	if (resolver->slow.first != NULL &&
		(resolver->slow_lanes == 0 ||
		 (resolver->fresh.first == NULL && resolver->slow_lanes < SLOW_LANES)))
		return &resolver->slow;
	return &resolver->fresh;
}

static bool
address_from(Address *address, const struct sockaddr *socket_address)
{
	memset(address, 0, sizeof(*address));
	address->family = socket_address->sa_family;
	switch (address->family)
	{
		case AF_INET:
			memcpy(address->bytes, &((const struct sockaddr_in *) socket_address)->sin_addr, 4);
			return true;
		case AF_INET6:
			memcpy(address->bytes, &((const struct sockaddr_in6 *) socket_address)->sin6_addr, 16);
			return true;
		default:
			return false;
	}
}

static void
address_to(const Address *address, struct sockaddr_storage *socket_address)
{
	memset(socket_address, 0, sizeof(*socket_address));
	socket_address->ss_family = address->family;
	if (address->family == AF_INET)
		memcpy(&((struct sockaddr_in *) socket_address)->sin_addr, address->bytes, 4);
	else
		memcpy(&((struct sockaddr_in6 *) socket_address)->sin6_addr, address->bytes, 16);
}

/* IPv4 first, which more networks have. */
static int
compare_addresses(const Address *a, const Address *b)
{
	if (a->family != b->family)
		return a->family == AF_INET ? -1 : 1;
	return memcmp(a->bytes, b->bytes, sizeof(a->bytes));
}

/*
 * Puts an address in its place among "count", and tells how many there are then.
 * Servers rotate their answers; in order, the same set is the same list, also
 * where it is longer than we keep.
 */
static int
insert_address(Address *addresses, int count, const Address *address)
{
	int			place = 0;

	while (place < count && compare_addresses(&addresses[place], address) < 0)
		place++;
	if (place == ADDRESSES_MAX ||
		(place < count && compare_addresses(&addresses[place], address) == 0))
		return count;
	if (count == ADDRESSES_MAX)
		count--;
	memmove(&addresses[place + 1], &addresses[place], (count - place) * sizeof(Address));
	addresses[place] = *address;
	return count + 1;
}

/* Takes what a name resolved to, and stays with the current address if it still does. */
static bool
take_addresses(Host *host, const struct ares_addrinfo *answer, int64 now)
{
	Address		current = host->addresses[host->current];
	Address		addresses[ADDRESSES_MAX];
	int			count = 0;
	int64		lifetime = LIFETIME_MAX;

	for (const struct ares_addrinfo_node *node = answer->nodes; node != NULL; node = node->ai_next)
	{
		Address		address;

		if (!address_from(&address, node->ai_addr))
			continue;
		count = insert_address(addresses, count, &address);
		lifetime = Min(lifetime, (int64) node->ai_ttl * USECS_PER_SEC);
	}
	for (const struct ares_addrinfo_cname *alias = answer->cnames; alias != NULL; alias = alias->next)
		lifetime = Min(lifetime, (int64) alias->ttl * USECS_PER_SEC);
	if (count == 0)
		return false;

	host->current = 0;
	for (int i = 0; i < count; i++)
		if (host->count > 0 && compare_addresses(&addresses[i], &current) == 0)
			host->current = i;
	memcpy(host->addresses, addresses, count * sizeof(Address));
	host->count = count;
	host->ask_at = now + Max(lifetime, LIFETIME_MIN);
	return true;
}

static const char *
failure_reason(int status)
{
	switch (status)
	{
		case ARES_ENOTFOUND:
			return "dns: no such name";
		case ARES_ENODATA:
			return "dns: no address";
		case ARES_ETIMEOUT:
		case ARES_ECANCELLED:
			return "dns: timed out";
		case ARES_EBADRESP:
			return "dns: bad answer";
		case ARES_EBADNAME:
			return "dns: bad name";
		case ARES_ENOMEM:
			return "dns: out of memory";
		default:
			return "dns: server failed";
	}
}

/*
 * The end of a query, good or bad.  The last good answer outlives what does not
 * say that the name is gone; that no address came may be half of an answer.
 */
static void
end_query(Resolver *resolver, Host *host, int status, const struct ares_addrinfo *answer)
{
	int64		now = resolver->now;

	resolver->generation++;
	host->asked = false;
	host->slow = status == ARES_ETIMEOUT || status == ARES_ECANCELLED;

	if (status == ARES_SUCCESS)
	{
		if (take_addresses(host, answer, now))
		{
			host->absent_since = PG_INT64_MAX;
			return;
		}
		status = ARES_ENODATA;
	}

	host->reason = failure_reason(status);
	if (status != ARES_ENOTFOUND)
	{
		host->failure = RESOLVER_FAILED;
		host->ask_at = now + FAILURE_PAUSE;
		return;
	}

	host->failure = RESOLVER_ABSENT;
	host->ask_at = now + LIFETIME_MIN;
	host->absent_since = Min(host->absent_since, now);
	if (now - host->absent_since >= ABSENT_HOLD)
		host->count = 0;
}

/* c-ares calls this from any of its functions, ares_getaddrinfo included. */
static void
lane_ended(void *argument, int status, int timeouts, struct ares_addrinfo *answer)
{
	Lane	   *lane = argument;
	Host	   *host = lane->host;

	lane->host = NULL;
	lane->resolver->slow_lanes -= lane->slow;
	end_query(lane->resolver, host, status, answer);
	if (answer != NULL)
		ares_freeaddrinfo(answer);
}

/* Follows what c-ares wants to know of its sockets.  One that cannot be watched times out. */
static void
watch_socket(void *argument, ares_socket_t socket, int readable, int writable)
{
	Lane	   *lane = argument;
	Resolver   *resolver = lane->resolver;
	uint64		number = lane - resolver->lanes;
	struct epoll_event event = {
		.events = (readable ? EPOLLIN : 0) | (writable ? EPOLLOUT : 0),
		.data.u64 = number << 32 | (uint32) socket
	};

	if (event.events == 0)
	{
		if (epoll_ctl(resolver->epoll, EPOLL_CTL_DEL, socket, &event) == 0)
			resolver->sockets--;
	}
	else if (epoll_ctl(resolver->epoll, EPOLL_CTL_MOD, socket, &event) != 0 &&
			 epoll_ctl(resolver->epoll, EPOLL_CTL_ADD, socket, &event) == 0)
		resolver->sockets++;
}

/* Has c-ares close a new socket again if there are too many. */
static int
limit_sockets(ares_socket_t socket, int type, void *argument)
{
	const Resolver *resolver = argument;

	return resolver->sockets < RESOLVER_DESCRIPTORS_MAX - 1 ? 0 : -1;
}

static bool
open_channel(Lane *lane)
{
	Resolver   *resolver = lane->resolver;
	char		lookups[] = "fb";	/* files, then servers */
	struct ares_options options = {
		/* HOSTALIASES of the environment is not for servers. */
		.flags = ARES_FLAG_NOALIASES,
		.timeout = TRY_MS,
		.tries = TRIES,
		.lookups = lookups,
		.sock_state_cb = watch_socket,
		.sock_state_cb_data = lane
	};
	int			mask = ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_LOOKUPS |
		ARES_OPT_SOCK_STATE_CB;

#ifdef ARES_OPT_QUERY_CACHE
	/* Left at 0: a doubted answer must not come again from a cache. */
	mask |= ARES_OPT_QUERY_CACHE;
#endif

	if (lane->channel != NULL && lane->configuration != resolver->configuration)
	{
		ares_destroy(lane->channel);
		lane->channel = NULL;
	}
	if (lane->channel != NULL)
		return true;

	if (ares_init_options(&lane->channel, &options, mask) != ARES_SUCCESS)
	{
		lane->channel = NULL;
		return false;
	}
	if (resolver->servers != NULL &&
		ares_set_servers_ports_csv(lane->channel, resolver->servers) != ARES_SUCCESS)
	{
		ares_destroy(lane->channel);
		lane->channel = NULL;
		return false;
	}
	ares_set_socket_callback(lane->channel, limit_sockets, resolver);
	lane->configuration = resolver->configuration;
	return true;
}

/* Looks now and then whether the system's servers have changed. */
static void
check_configuration(Resolver *resolver)
{
	struct stat now = {0};

	if (resolver->servers != NULL ||
		resolver->now < resolver->configuration_checked_at + CONFIGURATION_PAUSE)
		return;
	resolver->configuration_checked_at = resolver->now;

	(void) stat(SYSTEM_CONFIGURATION, &now);
	if (now.st_mtim.tv_sec != resolver->configured.st_mtim.tv_sec ||
		now.st_mtim.tv_nsec != resolver->configured.st_mtim.tv_nsec ||
		now.st_ino != resolver->configured.st_ino ||
		now.st_size != resolver->configured.st_size)
		resolver->configuration++;
	resolver->configured = now;
}

static void
start_query(Lane *lane, Host *host)
{
	static const struct ares_addrinfo_hints hints = {
		.ai_flags = ARES_AI_NOSORT, /* it would open sockets to each address */
		.ai_family = AF_UNSPEC,
		.ai_socktype = SOCK_STREAM
	};
	Resolver   *resolver = lane->resolver;

	host->asked_at = resolver->now;
	if (!open_channel(lane))
	{
		end_query(resolver, host, ARES_ENOMEM, NULL);
		return;
	}

	lane->host = host;
	lane->slow = host->slow;
	lane->deadline = resolver->now + QUERY_TIME;
	resolver->slow_lanes += lane->slow;
	ares_getaddrinfo(lane->channel, host->name, NULL, &hints, lane_ended, lane);
}

/*
 * Gives idle lanes to the names that wait.  A query may end before this returns,
 * but its lane is not used again at once: a thousand names that are in a file
 * would take too long.
 */
static void
start_queries(Resolver *resolver)
{
	check_configuration(resolver);
	for (int i = 0; i < LANES; i++)
		if (resolver->lanes[i].host == NULL)
		{
			Host	   *host = pop_host(next_queue(resolver));

			if (host == NULL)
				return;
			start_query(&resolver->lanes[i], host);
		}
}

/*
 * resolver_create makes a resolver that asks "servers", as in 127.0.0.1:53, or
 * those of the system if that is NULL.  Returns NULL if there is no memory or no
 * descriptor for it.
 */
Resolver *
resolver_create(const char *servers)
{
	Resolver   *resolver = calloc(1, sizeof(Resolver));

	if (resolver == NULL)
		return NULL;
	resolver->forgot_at = -FORGET_PAUSE;
	resolver->configuration_checked_at = -CONFIGURATION_PAUSE;
	for (int i = 0; i < LANES; i++)
		resolver->lanes[i].resolver = resolver;

	resolver->epoll = epoll_create1(EPOLL_CLOEXEC);
	resolver->servers = servers == NULL ? NULL : strdup(servers);
	if (resolver->epoll >= 0 && (servers == NULL || resolver->servers != NULL) &&
		ares_library_init(ARES_LIB_INIT_ALL) == ARES_SUCCESS)
		return resolver;

	if (resolver->epoll >= 0)
		close(resolver->epoll);
	free(resolver->servers);
	free(resolver);
	return NULL;
}

/* resolver_destroy gives up all queries and frees all. */
void
resolver_destroy(Resolver *resolver)
{
	Host	   *host;

	for (int i = 0; i < LANES; i++)
		if (resolver->lanes[i].channel != NULL)
			ares_destroy(resolver->lanes[i].channel);
	ares_library_cleanup();

	while ((host = resolver->hosts) != NULL)
	{
		resolver->hosts = host->next;
		tdelete(host, &resolver->tree, compare_hosts);
		free(host);
	}
	close(resolver->epoll);
	free(resolver->servers);
	free(resolver);
}

/* resolver_descriptor returns what is readable whenever resolver_run has to be called. */
int
resolver_descriptor(const Resolver *resolver)
{
	return resolver->epoll;
}

/* resolver_timeout returns in how many microseconds resolver_run has to be called, -1 for never. */
int64
resolver_timeout(Resolver *resolver, int64 now)
{
	int64		timeout = PG_INT64_MAX;

	for (int i = 0; i < LANES; i++)
	{
		const Lane *lane = &resolver->lanes[i];
		struct timeval next;

		if (lane->host == NULL)
		{
			if (next_queue(resolver)->first != NULL)
				return 0;
			continue;
		}
		timeout = Min(timeout, lane->deadline - now);
		/* c-ares rounds down to milliseconds, and would be called too early. */
		if (ares_timeout(lane->channel, NULL, &next) != NULL)
			timeout = Min(timeout, next.tv_sec * USECS_PER_SEC + next.tv_usec + 1000);
	}
	return timeout == PG_INT64_MAX ? -1 : Max(timeout, 0);
}

/* resolver_run reads what has come, gives up what is late, asks what waits. */
void
resolver_run(Resolver *resolver, int64 now)
{
	struct epoll_event events[RESOLVER_DESCRIPTORS_MAX];
	int			count = epoll_wait(resolver->epoll, events, lengthof(events), 0);

	resolver->now = now;
	for (int i = 0; i < count; i++)
	{
		Lane	   *lane = &resolver->lanes[events[i].data.u64 >> 32];
		ares_socket_t socket = (uint32) events[i].data.u64;
		bool		writable = (events[i].events & EPOLLOUT) != 0;
		bool		readable = (events[i].events & ~EPOLLOUT) != 0;

		ares_process_fd(lane->channel, readable ? socket : ARES_SOCKET_BAD,
						writable ? socket : ARES_SOCKET_BAD);
	}

	for (int i = 0; i < LANES; i++)
	{
		Lane	   *lane = &resolver->lanes[i];

		if (lane->host != NULL)
			ares_process_fd(lane->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
		if (lane->host != NULL && now >= lane->deadline)
			ares_cancel(lane->channel);
	}
	start_queries(resolver);
}

/* resolver_generation returns a number that grows whenever a query ends. */
uint64
resolver_generation(const Resolver *resolver)
{
	return resolver->generation;
}

/*
 * resolver_look_up tells what is known of a name, and asks if that is nothing or
 * old.  The last good answer is held meanwhile, and while no better one comes.
 * Sets the address, with port 0, if resolved, and the reason if absent or failed.
 */
ResolverAnswer
resolver_look_up(Resolver *resolver, const char *name, int64 now,
				 struct sockaddr_storage *address, const char **reason)
{
	Host	   *host;

	resolver->now = now;
	host = find_host(resolver, name);
	if (host == NULL)
		host = add_host(resolver, name);
	if (host == NULL)
	{
		*reason = "dns: too many names";
		return RESOLVER_FAILED;
	}

	host->used_at = now;
	if (!host->asked && now >= host->ask_at)
	{
		host->asked = true;
		push_host(host->slow ? &resolver->slow : &resolver->fresh, host);
		start_queries(resolver);
	}

	if (host->count > 0)
	{
		address_to(&host->addresses[host->current], address);
		return RESOLVER_RESOLVED;
	}
	if (host->asked)
		return RESOLVER_PENDING;
	*reason = host->reason;
	return host->failure;
}

/*
 * resolver_doubt says that a name's address, which was handed out, is refused or
 * does not answer.  The next look-up gives another one, if there is, and asks
 * again.  An address that is no longer the current one has been doubted before.
 */
void
resolver_doubt(Resolver *resolver, const char *name, const struct sockaddr *address)
{
	Host	   *host = find_host(resolver, name);
	Address		doubted;

	if (host == NULL || host->count == 0 || !address_from(&doubted, address) ||
		compare_addresses(&doubted, &host->addresses[host->current]) != 0)
		return;
	host->current = (host->current + 1) % host->count;
	host->ask_at = Min(host->ask_at, host->asked_at + DOUBT_PAUSE);
}

/* resolver_forget_unused drops what nobody has asked for in ten minutes. */
void
resolver_forget_unused(Resolver *resolver, int64 now)
{
	Host	  **link = &resolver->hosts;

	resolver->forgot_at = now;
	while (*link != NULL)
	{
		Host	   *host = *link;

		if (host->asked || now - host->used_at < UNUSED_HOLD)
		{
			link = &host->next;
			continue;
		}
		*link = host->next;
		tdelete(host, &resolver->tree, compare_hosts);
		free(host);
		resolver->host_count--;
	}
}
