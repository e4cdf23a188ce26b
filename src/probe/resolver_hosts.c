/*
 * resolver_hosts.c
 *		The resolver's cache of names and their addresses.
 *
 * A name stays from its first look-up until it has not been looked up for
 * UNUSED_LIFETIME.  Its last good answer stays until there is a better one, or until the
 * name does not exist any more: other hosts may get its addresses.
 */
#include "postgres.h"

#include <netdb.h>
#include <netinet/in.h>
#include <search.h>

#include "datatype/timestamp.h"

#include "probe/resolver_internal.h"

/* The limits of an answer's time-to-live. */
#define LIFETIME_MIN (5 * USECS_PER_SEC)
#define LIFETIME_MAX (60 * USECS_PER_SEC)

/* The pauses before the next query of a name. */
#define FAILURE_PAUSE (1 * USECS_PER_SEC)
#define DOUBT_PAUSE (1 * USECS_PER_SEC)

#define UNUSED_LIFETIME (10 * SECS_PER_MINUTE * USECS_PER_SEC)
#define HOSTS_MAX 65536
#define FORGET_PAUSE (1 * USECS_PER_SEC)

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

static Host *
add_host(Resolver *resolver, const char *name)
{
	size_t		size = strlen(name) + 1;
	Host	   *host;

	if (resolver->host_count >= HOSTS_MAX && resolver->now >= resolver->forget_at)
		resolver_forget_unused(resolver, resolver->now);
	if (resolver->host_count >= HOSTS_MAX)
		return NULL;

	host = calloc(1, sizeof(Host) + size);
	if (host == NULL)
		return NULL;
	host->name = memcpy(host + 1, name, size);
	host->query_at = resolver->now;
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

/* resolver_host_find_or_add returns the host of a name; NULL if it is new and there is no room. */
Host *
resolver_host_find_or_add(Resolver *resolver, const char *name)
{
	Host	   *host = find_host(resolver, name);

	return host == NULL ? add_host(resolver, name) : host;
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

/* Orders IPv4 first: more networks have it. */
static int
compare_addresses(const Address *a, const Address *b)
{
	if (a->family != b->family)
		return a->family == AF_INET ? -1 : 1;
	return memcmp(a->bytes, b->bytes, sizeof(a->bytes));
}

/*
 * Inserts an address among "count" in their order, and returns the new count.
 * Servers rotate their answers; in order, the same set gives the same list, even if
 * it is longer than ADDRESSES_MAX.
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

/* Takes the addresses of an answer, and keeps the current one if it is among them. */
static void
take_addresses(Resolver *resolver, Host *host, const Address *addresses, int count, int64 lifetime)
{
	Address		current = host->addresses[host->current];

	host->current = 0;
	for (int i = 0; i < count; i++)
		if (host->count > 0 && compare_addresses(&addresses[i], &current) == 0)
			host->current = i;
	memcpy(host->addresses, addresses, count * sizeof(Address));
	host->count = count;
	host->query_at = resolver->now + Max(lifetime, LIFETIME_MIN);
	host->queried = host->slow = false;
	resolver->generation++;
}

/* resolver_host_take_file ends the query of a host by /etc/hosts; returns false if it is not there. */
bool
resolver_host_take_file(Resolver *resolver, Host *host, ares_channel channel)
{
	static const int families[] = {AF_INET, AF_INET6};
	Address		addresses[ADDRESSES_MAX];
	char		name[PROBE_HOST_MAX + 2];
	size_t		length = strlen(host->name);
	int			count = 0;

	if (length >= sizeof(name))
		return false;
	strcpy(name, host->name);
	if (length > 0 && name[length - 1] == '.')
		name[length - 1] = '\0';
	for (int i = 0; i < lengthof(families); i++)
	{
		struct hostent *entry;

		if (ares_gethostbyname_file(channel, name, families[i], &entry) != ARES_SUCCESS)
			continue;
		for (char **bytes = entry->h_addr_list; *bytes != NULL; bytes++)
		{
			Address		address = {.family = families[i]};

			memcpy(address.bytes, *bytes, Min(entry->h_length, sizeof(address.bytes)));
			count = insert_address(addresses, count, &address);
		}
		ares_free_hostent(entry);
	}
	if (count > 0)
		take_addresses(resolver, host, addresses, count, 0);
	return count > 0;
}

/*
 * resolver_host_take_answer ends the query of a host by an answer for the name with a
 * number; returns false if it has no address.
 */
bool
resolver_host_take_answer(Resolver *resolver, Host *host, int number, const struct ares_addrinfo *answer)
{
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
	host->found_by = number;
	take_addresses(resolver, host, addresses, count, lifetime);
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
 * resolver_host_take_failure ends the query of a host without an address.  The last good
 * answer stays unless the name does not exist; a name without an address may be half
 * of an answer.
 */
void
resolver_host_take_failure(Resolver *resolver, Host *host, int status)
{
	host->failure = status == ARES_ENOTFOUND ? RESOLVER_ABSENT : RESOLVER_FAILED;
	host->reason = failure_reason(status);
	host->query_at = resolver->now + FAILURE_PAUSE;
	host->queried = false;
	host->slow = status == ARES_ETIMEOUT || status == ARES_ECANCELLED;
	if (host->failure == RESOLVER_ABSENT)
		host->count = 0;
	resolver->generation++;
}

/*
 * resolver_host_answer returns the present answer for a name.  Sets the address, with
 * port 0, if resolved, and the reason if absent or failed.
 */
ResolverAnswer
resolver_host_answer(const Host *host, struct sockaddr_storage *address, const char **reason)
{
	if (host->count > 0)
	{
		address_to(&host->addresses[host->current], address);
		return RESOLVER_RESOLVED;
	}
	if (host->queried)
		return RESOLVER_PENDING;
	*reason = host->reason;
	return host->failure;
}

/*
 * resolver_doubt is for an address, returned by a look-up, that is refused or does
 * not answer.  The next look-up returns another one, if there is, and queries again.
 * Does nothing if the address is not the current one: it was doubted before.
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
	host->query_at = Min(host->query_at, host->queried_at + DOUBT_PAUSE);
}

/* resolver_forget_unused drops the names that have not been looked up for UNUSED_LIFETIME. */
void
resolver_forget_unused(Resolver *resolver, int64 now)
{
	Host	  **link = &resolver->hosts;

	resolver->forget_at = now + FORGET_PAUSE;
	while (*link != NULL)
	{
		Host	   *host = *link;

		if (host->queried || now - host->used_at < UNUSED_LIFETIME)
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

/* resolver_hosts_free frees all names. */
void
resolver_hosts_free(Resolver *resolver)
{
	Host	   *host;

	while ((host = resolver->hosts) != NULL)
	{
		resolver->hosts = host->next;
		tdelete(host, &resolver->tree, compare_hosts);
		free(host);
	}
}
