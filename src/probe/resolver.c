/*
 * resolver.c
 *		Resolves names to addresses, without waiting.
 *
 * Each query in flight has a channel of c-ares of its own, its lane: so it can be
 * canceled at its deadline without other queries, and its port cannot be predicted.
 * Lanes are few, and names wait for one in two queues.  Names whose last query timed
 * out wait in the second queue, which never has more than half of the lanes, so
 * that others do not wait for zones without an answer.
 */
#include "postgres.h"

#include <sys/epoll.h>
#include <unistd.h>

#include "datatype/timestamp.h"

#include "probe/resolver_internal.h"

#define SLOW_LANES (LANES / 2)

/* The time for each of a host's names; these leave time for two more servers if the first one is down. */
#define NAME_TIME (2 * USECS_PER_SEC)
#define TRY_MS 500
#define TRIES 2

/* The most sockets that one call of c-ares opens: for two servers, by two protocols. */
#define CALL_SOCKETS 4

#define SYSTEM_CONFIGURATION "/etc/resolv.conf"
#define CONFIGURATION_PAUSE (30 * USECS_PER_SEC)

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

/* The queue of the next lane: the slow one if it has no lane, or if no other name waits. */
static HostQueue *
next_queue(Resolver *resolver)
{
	if (resolver->slow.first != NULL &&
		(resolver->slow_lanes == 0 ||
		 (resolver->fresh.first == NULL && resolver->slow_lanes < SLOW_LANES)))
		return &resolver->slow;
	return &resolver->fresh;
}

/* Ends the query of a lane's host. */
static Host *
leave_lane(Lane *lane)
{
	Host	   *host = lane->host;

	lane->host = NULL;
	lane->resolver->slow_lanes -= lane->slow;
	return host;
}

/*
 * Notes that a name has no address; lane->failure is what that means for the host, if
 * no other name has one.  It does not exist if none of its names does, or if the one
 * that was found last time does not: servers of some domains in a search list may
 * always fail.
 */
static void
note_failure(Lane *lane, int status)
{
	if (status == ARES_ENOTFOUND)
		lane->gone |= lane->host->count > 0 && lane->number == lane->host->found_by;
	else if (status != ARES_ENODATA || lane->failure == ARES_ENOTFOUND)
		lane->failure = status;
	lane->number++;
}

/*
 * c-ares calls this from any of its functions, ares_getaddrinfo included.  A domain of
 * the search list without an answer is passed over; a host without an answer is dark.
 */
static void
query_ended(void *argument, int status, int timeouts, struct ares_addrinfo *answer)
{
	Lane	   *lane = argument;

	lane->asking = false;
	if (status == ARES_SUCCESS)
	{
		if (resolver_host_take_answer(lane->resolver, lane->host, lane->number, answer))
			(void) leave_lane(lane);
		else
			note_failure(lane, ARES_ENODATA);
	}
	else if (status == ARES_EDESTRUCTION || (lane->as_is && (status == ARES_ETIMEOUT || status == ARES_ECANCELLED)))
		resolver_host_take_failure(lane->resolver, leave_lane(lane), status);
	else
		note_failure(lane, status);
	if (answer != NULL)
		ares_freeaddrinfo(answer);
}

static bool
acquire_descriptor(const Resolver *resolver)
{
	return resolver->acquire_descriptor == NULL || resolver->acquire_descriptor();
}

static void
release_descriptor(const Resolver *resolver)
{
	if (resolver->release_descriptor != NULL)
		resolver->release_descriptor();
}

/*
 * Acquires the descriptors that a call of c-ares may need.  Not in its callback: the
 * server may have to close files for them, and may raise an ERROR.
 */
static void
begin_call(Resolver *resolver)
{
	while (resolver->spare < CALL_SOCKETS && acquire_descriptor(resolver))
		resolver->spare++;
}

static void
end_call(Resolver *resolver)
{
	for (; resolver->spare > 0; resolver->spare--)
		release_descriptor(resolver);
}

/* c-ares calls this for a new socket; -1 makes it close the socket: there are too many. */
static int
acquire_socket(ares_socket_t socket, int type, void *argument)
{
	Lane	   *lane = argument;
	Resolver   *resolver = lane->resolver;

	if (resolver->sockets >= RESOLVER_DESCRIPTORS_MAX - 1 || resolver->spare == 0)
		return -1;
	resolver->spare--;
	resolver->sockets++;
	lane->unwatched++;
	return 0;
}

static void
release_socket(Resolver *resolver)
{
	resolver->sockets--;
	release_descriptor(resolver);
}

/*
 * Newer versions of c-ares do not watch a TCP connection before they have written to
 * it, and do not call back when they close one that was never watched.
 */
static void
release_unwatched(Lane *lane)
{
	for (; lane->unwatched > 0; lane->unwatched--)
		release_socket(lane->resolver);
}

/* c-ares calls this to watch a socket, or to end that.  A socket that cannot be watched times out. */
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
		(void) epoll_ctl(resolver->epoll, EPOLL_CTL_DEL, socket, &event);
		release_socket(resolver);
	}
	else if (epoll_ctl(resolver->epoll, EPOLL_CTL_MOD, socket, &event) != 0)
	{
		(void) epoll_ctl(resolver->epoll, EPOLL_CTL_ADD, socket, &event);
		lane->unwatched = Max(lane->unwatched - 1, 0);
	}
}

static void
close_channel(Lane *lane)
{
	if (lane->channel != NULL)
		ares_destroy(lane->channel);
	lane->channel = NULL;
	release_unwatched(lane);
}

static bool
open_channel(Lane *lane)
{
	Resolver   *resolver = lane->resolver;
	char		lookups[] = "b";	/* servers alone */

	/*
	 * Ignores the environment variable HOSTALIASES.  Some versions of c-ares
	 * search without the flag, some as long as there are domains.
	 */
	struct ares_options options = {
		.flags = ARES_FLAG_NOALIASES | ARES_FLAG_NOSEARCH,
		.ndomains = 0,
		.timeout = TRY_MS,
		.tries = TRIES,
		.lookups = lookups,
		.sock_state_cb = watch_socket,
		.sock_state_cb_data = lane
	};
	int			mask = (ARES_OPT_FLAGS | ARES_OPT_DOMAINS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES |
						ARES_OPT_LOOKUPS | ARES_OPT_SOCK_STATE_CB);

#ifdef ARES_OPT_QUERY_CACHE
	/* Left at 0: a doubted answer must not come from a cache again. */
	mask |= ARES_OPT_QUERY_CACHE;
#endif

	if (lane->configuration != resolver->configuration)
		close_channel(lane);
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
		close_channel(lane);
		return false;
	}
	ares_set_socket_callback(lane->channel, acquire_socket, lane);
	lane->configuration = resolver->configuration;
	return true;
}

/* Checks, after each CONFIGURATION_PAUSE, whether the system's servers and search list have changed. */
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
	{
		resolver->configuration++;
		resolver_search_read(resolver);
	}
	resolver->configured = now;
}

/* Asks for the next name of a lane's host that has to be waited for, unless the query ends before. */
static void
ask(Lane *lane)
{
	static const struct ares_addrinfo_hints hints = {
		.ai_flags = ARES_AI_NOSORT, /* it would open sockets to each address */
		.ai_family = AF_UNSPEC,
		.ai_socktype = SOCK_STREAM
	};
	Resolver   *resolver = lane->resolver;
	char		name[PROBE_HOST_MAX + 1];

	while (lane->host != NULL && !lane->asking)
		if (!resolver_search_name(resolver, lane->host->name, lane->number, name))
			resolver_host_take_failure(resolver, leave_lane(lane), lane->gone ? ARES_ENOTFOUND : lane->failure);
		else if (*name == '\0')
			lane->number++;
		else
		{
			lane->asking = true;
			/* Another name is longer. */
			lane->as_is = strncmp(name, lane->host->name, strlen(name)) == 0;
			lane->deadline = resolver->now + NAME_TIME;
			begin_call(resolver);
			ares_getaddrinfo(lane->channel, name, NULL, &hints, query_ended, lane);
			end_call(resolver);
		}
}

static void
start_query(Lane *lane, Host *host)
{
	Resolver   *resolver = lane->resolver;

	host->queried_at = resolver->now;
	if (!open_channel(lane))
		resolver_host_take_failure(resolver, host, ARES_ENOMEM);
	else if (!resolver_host_take_file(resolver, host, lane->channel))
	{
		lane->host = host;
		lane->slow = host->slow;
		lane->number = 0;
		lane->failure = ARES_ENOTFOUND;
		lane->gone = false;
		resolver->slow_lanes += lane->slow;
		ask(lane);
	}
}

/*
 * Gives idle lanes to the names that wait.  A query may end before this returns,
 * but its lane is not used again in this call: a thousand names in a file would take
 * too long.
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

static void
free_resolver(Resolver *resolver)
{
	if (resolver->epoll >= 0)
	{
		close(resolver->epoll);
		release_descriptor(resolver);
	}
	free(resolver->servers);
	free(resolver);
}

/*
 * resolver_create makes a resolver that queries "servers", such as 127.0.0.1:53, or
 * those of the system if NULL.  It acquires each descriptor before it opens one, and
 * releases it after closing; if the functions are NULL, RESOLVER_DESCRIPTORS_MAX is
 * the only limit.  Returns NULL if out of memory or descriptors.
 */
Resolver *
resolver_create(const char *servers, bool (*acquire) (void), void (*release) (void))
{
	Resolver   *resolver = calloc(1, sizeof(Resolver));

	if (resolver == NULL)
		return NULL;
	resolver->acquire_descriptor = acquire;
	resolver->release_descriptor = release;
	resolver->configuration_checked_at = -CONFIGURATION_PAUSE;
	for (int i = 0; i < LANES; i++)
		resolver->lanes[i].resolver = resolver;

	resolver->servers = servers == NULL ? NULL : strdup(servers);
	resolver->epoll = -1;
	if (acquire_descriptor(resolver))
	{
		resolver->epoll = epoll_create1(EPOLL_CLOEXEC);
		if (resolver->epoll < 0)
			release_descriptor(resolver);
	}
	if (resolver->epoll >= 0 && (servers == NULL || resolver->servers != NULL) &&
		ares_library_init(ARES_LIB_INIT_ALL) == ARES_SUCCESS)
	{
		resolver_search_read(resolver);
		return resolver;
	}

	free_resolver(resolver);
	return NULL;
}

/* resolver_destroy cancels all queries and frees everything. */
void
resolver_destroy(Resolver *resolver)
{
	for (int i = 0; i < LANES; i++)
		close_channel(&resolver->lanes[i]);
	resolver_search_free(resolver);
	ares_library_cleanup();
	resolver_hosts_free(resolver);
	free_resolver(resolver);
}

/* resolver_descriptor returns a descriptor that is readable when resolver_run has something to do. */
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

static void
process(Lane *lane, ares_socket_t readable, ares_socket_t writable)
{
	begin_call(lane->resolver);
	ares_process_fd(lane->channel, readable, writable);
	end_call(lane->resolver);
}

/* resolver_run reads answers, cancels queries at their deadlines, and starts queries that wait. */
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

		process(lane, readable ? socket : ARES_SOCKET_BAD, writable ? socket : ARES_SOCKET_BAD);
	}

	for (int i = 0; i < LANES; i++)
	{
		Lane	   *lane = &resolver->lanes[i];

		if (lane->host != NULL)
			process(lane, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
		if (lane->host != NULL && now >= lane->deadline)
			ares_cancel(lane->channel);
		ask(lane);
		release_unwatched(lane);
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
 * resolver_look_up returns the present answer for a name, and starts a query if
 * there is none or it is old.  The last good answer stays until there is a better
 * one.  Sets the address, with port 0, if resolved, and the reason if absent or
 * failed.
 */
ResolverAnswer
resolver_look_up(Resolver *resolver, const char *name, int64 now,
				 struct sockaddr_storage *address, const char **reason)
{
	Host	   *host;

	resolver->now = now;
	host = resolver_host_find_or_add(resolver, name);
	if (host == NULL)
	{
		*reason = "dns: too many names";
		return RESOLVER_FAILED;
	}

	host->used_at = now;
	if (!host->queried && now >= host->query_at)
	{
		host->queried = true;
		push_host(host->slow ? &resolver->slow : &resolver->fresh, host);
		start_queries(resolver);
	}
	return resolver_host_answer(host, address, reason);
}
