/*
 * network_list.c
 *		The networks that probes may and may not connect to.
 *
 * A role that can write a probe's address makes the server connect to it, and sees
 * the result.  So each address is checked before each connection, whatever spelling
 * or name it came from.
 */
#include "postgres.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include "rules/network_list.h"

#define SPACE " \t\n\r\f\v"
#define SAME_HOST "samehost"

/*
 * IPv6 networks whose addresses contain an IPv4 address, to which a router forwards
 * the traffic.  "bytes" are its positions.
 */
typedef struct EmbeddingNetwork
{
	Network		network;
	unsigned char bytes[4];
	bool		inverted;
	bool		certain;		/* no other positions are possible */
} EmbeddingNetwork;

static const EmbeddingNetwork embedding_networks[] =
{
	/* 6to4 (RFC 3056) */
	{{AF_INET6, 16, {0x20, 0x02}}, {2, 3, 4, 5}, false, true},
	/* Teredo (RFC 4380): the server, the client */
	{{AF_INET6, 32, {0x20, 0x01}}, {4, 5, 6, 7}, false, true},
	{{AF_INET6, 32, {0x20, 0x01}}, {12, 13, 14, 15}, true, true},
	/* IPv4-translated (RFC 2765) */
	{{AF_INET6, 96, {[8] = 0xff, [9] = 0xff}}, {12, 13, 14, 15}, false, true},
	/* NAT64 (RFC 6052) */
	{{AF_INET6, 96, {0x00, 0x64, 0xff, 0x9b}}, {12, 13, 14, 15}, false, true},
	/* NAT64 of local use (RFC 8215), with a prefix of 96, 64, 56 or 48 bits */
	{{AF_INET6, 48, {0x00, 0x64, 0xff, 0x9b, 0x00, 0x01}}, {12, 13, 14, 15}, false, false},
	{{AF_INET6, 48, {0x00, 0x64, 0xff, 0x9b, 0x00, 0x01}}, {9, 10, 11, 12}, false, false},
	{{AF_INET6, 48, {0x00, 0x64, 0xff, 0x9b, 0x00, 0x01}}, {7, 9, 10, 11}, false, false},
	{{AF_INET6, 48, {0x00, 0x64, 0xff, 0x9b, 0x00, 0x01}}, {6, 7, 9, 10}, false, false}
};

static const Network ipv4_unspecified = {AF_INET, 8, {0}};
static const Network ipv4_multicast = {AF_INET, 4, {224}};
static const Network ipv4_broadcast = {AF_INET, 32, {255, 255, 255, 255}};
static const Network ipv6_unspecified = {AF_INET6, 128, {0}};
static const Network ipv6_loopback = {AF_INET6, 128, {[15] = 1}};
static const Network ipv6_compatible = {AF_INET6, 96, {0}};
static const Network ipv6_mapped = {AF_INET6, 96, {[10] = 0xff, [11] = 0xff}};
static const Network ipv6_multicast = {AF_INET6, 8, {0xff}};

/* Returns true if the first "bits" bits of both are equal. */
static bool
have_equal_bits(const unsigned char *a, const unsigned char *b, int bits)
{
	int			rest = bits % 8;

	if (memcmp(a, b, bits / 8) != 0)
		return false;
	return rest == 0 || ((a[bits / 8] ^ b[bits / 8]) >> (8 - rest)) == 0;
}

static bool
contains(const Network *network, sa_family_t family, const unsigned char *address)
{
	return network->family == family && have_equal_bits(network->address, address, network->bits);
}

static bool
list_contains(const NetworkList *list, const NetworkList *own, sa_family_t family, const unsigned char *address)
{
	for (int i = 0; i < list->count; i++)
		if (contains(&list->networks[i], family, address))
			return true;
	return list->same_host && own != NULL && list_contains(own, NULL, family, address);
}

/* Reads a decimal number, at most "limit", without sign and leading zeros; -1 for anything else. */
static int
parse_bits(const char *text, int limit)
{
	int			bits = 0;

	if (*text == '\0' || (text[0] == '0' && text[1] != '\0'))
		return -1;
	for (; *text != '\0'; text++)
	{
		if (*text < '0' || *text > '9')
			return -1;
		bits = bits * 10 + (*text - '0');
		if (bits > limit)
			return -1;
	}
	return bits;
}

static const char *
parse_network(const char *text, size_t length, Network *network)
{
	char		buffer[sizeof("ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255/128")];
	char	   *slash;
	int			limit;
	int			bits;

	if (length == 0)
		return "A network is missing between two commas or at an end.";
	if (length >= sizeof(buffer))
		return "A network is too long.";
	memcpy(buffer, text, length);
	buffer[length] = '\0';
	slash = strchr(buffer, '/');
	if (slash != NULL)
		*slash = '\0';

	memset(network, 0, sizeof(*network));
	network->family = strchr(buffer, ':') != NULL ? AF_INET6 : AF_INET;
	if (inet_pton(network->family, buffer, network->address) != 1)
		return "A network is samehost, or an IPv4 or IPv6 address, alone or with a slash and the length of its prefix.";

	limit = network->family == AF_INET ? 32 : 128;
	bits = slash == NULL ? limit : parse_bits(slash + 1, limit);
	if (bits < 0)
		return "The length of a prefix is a number from 0 to 32, or to 128 for IPv6.";
	network->bits = bits;

	for (int bit = bits; bit < limit; bit++)
		if (network->address[bit / 8] & (0x80 >> bit % 8))
			return "A network has bits set to the right of its prefix.";

	/* It would never match: network_refusal refuses such addresses first. */
	if (bits >= ipv6_mapped.bits && contains(&ipv6_mapped, network->family, network->address))
		return "An IPv4 network must be written with an IPv4 address, not as an IPv4-mapped IPv6 network.";
	return NULL;
}

/* network_list_size returns the most bytes that network_list_parse fills. */
size_t
network_list_size(const char *text)
{
	size_t		count = 1;

	for (; *text != '\0'; text++)
		count += *text == ',';
	return offsetof(NetworkList, networks) + count * sizeof(Network);
}

/*
 * network_list_parse reads networks between commas, such as '10.0.0.0/8, ::1'.
 * The word samehost stands for the addresses of this machine, as in pg_hba.conf.
 *
 * Returns NULL and fills "list", which has network_list_size bytes, or returns
 * what is wrong, as a sentence.  Blank text is an empty list.
 */
const char *
network_list_parse(const char *text, NetworkList *list)
{
	list->count = 0;
	list->same_host = false;
	if (text[strspn(text, SPACE)] == '\0')
		return NULL;

	for (;;)
	{
		size_t		length;
		size_t		trimmed;
		const char *problem;

		text += strspn(text, SPACE);
		length = trimmed = strcspn(text, ",");
		while (trimmed > 0 && strchr(SPACE, text[trimmed - 1]) != NULL)
			trimmed--;

		if (trimmed == strlen(SAME_HOST) && strncmp(text, SAME_HOST, trimmed) == 0)
			list->same_host = true;
		else
		{
			problem = parse_network(text, trimmed, &list->networks[list->count]);
			if (problem != NULL)
				return problem;
			list->count++;
		}

		if (text[length] == '\0')
			return NULL;
		text += length + 1;
	}
}

static const char *
ipv4_never(const unsigned char *address)
{
	if (contains(&ipv4_unspecified, AF_INET, address))
		return "unspecified address";
	if (contains(&ipv4_multicast, AF_INET, address))
		return "multicast address";
	if (contains(&ipv4_broadcast, AF_INET, address))
		return "broadcast address";
	return NULL;
}

static const char *
ipv6_never(const unsigned char *address)
{
	if (contains(&ipv6_unspecified, AF_INET6, address))
		return "unspecified address";
	if (contains(&ipv6_multicast, AF_INET6, address))
		return "multicast address";
	if (contains(&ipv6_mapped, AF_INET6, address))
		return "IPv4-mapped address";
	if (contains(&ipv6_compatible, AF_INET6, address) && !contains(&ipv6_loopback, AF_INET6, address))
		return "IPv4-compatible address";
	return NULL;
}

/*
 * Returns true if an IPv6 address contains a denied IPv4 address.  Where the positions
 * are not certain, only the denied networks count: read at wrong positions, a good
 * address is too often unspecified or multicast.
 */
static bool
contains_denied(const NetworkList *denied, const NetworkList *own, const unsigned char *address)
{
	for (int i = 0; i < lengthof(embedding_networks); i++)
	{
		const EmbeddingNetwork *embedding = &embedding_networks[i];
		unsigned char embedded[4];

		if (!contains(&embedding->network, AF_INET6, address))
			continue;
		for (int byte = 0; byte < lengthof(embedded); byte++)
			embedded[byte] = address[embedding->bytes[byte]] ^ (embedding->inverted ? 0xff : 0);

		if (embedding->certain && ipv4_never(embedded) != NULL)
			return true;
		if (list_contains(denied, own, AF_INET, embedded) &&
			(embedding->certain || !contains(&ipv4_unspecified, AF_INET, embedded)))
			return true;
	}
	return false;
}

/*
 * network_refusal returns why probes must not connect to an address, or NULL if they
 * may.
 *
 * Some addresses are refused whatever the lists contain: unspecified and multicast
 * addresses, IPv4-mapped IPv6 addresses, and addresses that are valid on one interface
 * only.  Otherwise "denied" wins over "allowed", which allows everything if it is
 * empty.  "own" are the addresses of this machine; NULL if they could not be listed:
 * then every address is refused if "denied" contains them.
 */
const char *
network_refusal(const NetworkList *denied, const NetworkList *allowed, const NetworkList *own,
				const struct sockaddr *address)
{
	const unsigned char *bytes;
	const char *never;

	switch (address->sa_family)
	{
		case AF_INET:
			bytes = (const unsigned char *) &((const struct sockaddr_in *) address)->sin_addr;
			never = ipv4_never(bytes);
			break;
		case AF_INET6:
			bytes = (const unsigned char *) &((const struct sockaddr_in6 *) address)->sin6_addr;
			never = ipv6_never(bytes);
			if (never == NULL && ((const struct sockaddr_in6 *) address)->sin6_scope_id != 0)
				never = "scoped address";
			break;
		default:
			return "not an internet address";
	}

	if (never != NULL)
		return never;
	if (denied->same_host && own == NULL)
		return "addresses of this machine not known";
	if (list_contains(denied, own, address->sa_family, bytes))
		return "in a denied network";
	if (address->sa_family == AF_INET6 && contains_denied(denied, own, bytes))
		return "stands for an IPv4 address in a denied network";
	if ((allowed->count > 0 || allowed->same_host) && !list_contains(allowed, own, address->sa_family, bytes))
		return "in no allowed network";
	return NULL;
}
