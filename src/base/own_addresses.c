/*
 * own_addresses.c
 *		The addresses of this machine.
 */
#include "postgres.h"

#include <netinet/in.h>

#include "datatype/timestamp.h"
#include "libpq/ifaddr.h"

#include "base/clock.h"
#include "base/own_addresses.h"

/* Interfaces change, but listing them takes as long as some probes. */
#define LIFETIME (5 * USECS_PER_SEC)

typedef struct Listing
{
	NetworkList *list;
	int			room;			/* addresses that "list" has memory for */
	bool		failed;
} Listing;

static void
add_address(struct sockaddr *address, struct sockaddr *mask, void *arg)
{
	Listing    *listing = arg;
	Network		network = {.family = address->sa_family};

	if (address->sa_family == AF_INET)
	{
		network.bits = 32;
		memcpy(network.address, &((struct sockaddr_in *) address)->sin_addr, 4);
	}
	else if (address->sa_family == AF_INET6)
	{
		network.bits = 128;
		memcpy(network.address, &((struct sockaddr_in6 *) address)->sin6_addr, 16);
	}
	else
		return;

	if (listing->list == NULL || listing->list->count == listing->room)
	{
		int			room = listing->room * 2 + 16;
		NetworkList *list = realloc(listing->list, offsetof(NetworkList, networks) + room * sizeof(Network));

		if (list == NULL)
		{
			listing->failed = true;
			return;
		}
		if (listing->list == NULL)
			list->count = 0;
		listing->list = list;
		listing->room = room;
	}
	listing->list->networks[listing->list->count++] = network;
}

/*
 * own_addresses returns the addresses of all interfaces, at most LIFETIME old.  If
 * they cannot be listed, it returns the previous ones, or NULL if there are none.
 * Raises no ERROR: it is called from callbacks of libcurl.
 */
const NetworkList *
own_addresses(void)
{
	static NetworkList *current = NULL;
	static int64 listed_at = 0;
	int64		now = clock_monotonic();
	Listing		listing = {0};

	if (listed_at != 0 && now - listed_at < LIFETIME)
		return current;
	listed_at = now;
	if (pg_foreach_ifaddr(add_address, &listing) != 0 || listing.failed || listing.list == NULL)
	{
		free(listing.list);
		return current;
	}
	listing.list->same_host = false;
	free(current);
	current = listing.list;
	return current;
}
