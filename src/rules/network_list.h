/*
 * network_list.h
 *		The networks that probes may and may not connect to.
 *
 * Pure, as health_rule.h.
 */
#ifndef GATEWAY_POOL_NETWORK_LIST_H
#define GATEWAY_POOL_NETWORK_LIST_H

#include <sys/socket.h>

typedef struct Network
{
	sa_family_t family;
	unsigned char bits;			/* length of the prefix */
	unsigned char address[16];	/* IPv4 uses the first 4 bytes */
} Network;

/* It has no pointers: a setting keeps it in one piece of memory. */
typedef struct NetworkList
{
	int			count;
	bool		same_host;		/* contains the addresses of this machine */
	Network		networks[FLEXIBLE_ARRAY_MEMBER];
} NetworkList;

extern size_t network_list_size(const char *text);
extern const char *network_list_parse(const char *text, NetworkList *list);
extern const char *network_refusal(const NetworkList *denied, const NetworkList *allowed,
								   const NetworkList *own, const struct sockaddr *address);

#endif							/* GATEWAY_POOL_NETWORK_LIST_H */
