/*
 * probe_address.c
 *		The address that a probe connects to.
 */
#include "postgres.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include "rules/probe_address.h"

/* Length of the longest label of a host name (RFC 1035, 2.3.4). */
#define LABEL_MAX 63

/* probe_protocol_name returns the word for a protocol. */
const char *
probe_protocol_name(ProbeProtocol protocol)
{
	static const char *const names[PROBE_PROTOCOLS] = {
		[PROBE_TCP] = "tcp", [PROBE_TLS] = "tls", [PROBE_HTTP] = "http", [PROBE_HTTPS] = "https"
	};

	return names[protocol];
}

/* probe_protocol_parse finds the protocol for a word, and returns false for any other word. */
bool
probe_protocol_parse(const char *name, ProbeProtocol *protocol)
{
	for (*protocol = PROBE_TCP; *protocol < PROBE_PROTOCOLS; (*protocol)++)
		if (strcmp(name, probe_protocol_name(*protocol)) == 0)
			return true;
	return false;
}

/* probe_protocol_uses_tls returns true for a protocol with a TLS handshake, and so with a certificate. */
bool
probe_protocol_uses_tls(ProbeProtocol protocol)
{
	return protocol == PROBE_TLS || protocol == PROBE_HTTPS;
}

static bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool
is_name_char(char c)
{
	return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* Reads a decimal number from 1 to 65535, without sign and leading zeros; 0 for anything else. */
static int
parse_port(const char *text)
{
	int			port = 0;

	if (*text == '0')
		return 0;
	for (; *text != '\0'; text++)
	{
		if (!is_digit(*text))
			return 0;
		port = port * 10 + (*text - '0');
		if (port > 65535)
			return 0;
	}
	return port;
}

/*
 * A host name has letters, digits and inner hyphens (RFC 1123, 2.1), and underscores,
 * which occur in private networks.  Its last label does not begin with a digit:
 * resolvers read 0x7f.1, 017700000001 and 2130706433 as addresses.  A dot at the end
 * says that it is complete.
 */
static bool
is_host_name(const char *host)
{
	const char *label = host;

	for (;;)
	{
		size_t		length = strcspn(label, ".");

		if (length == 0 || length > LABEL_MAX ||
			label[0] == '-' || label[length - 1] == '-')
			return false;
		for (size_t i = 0; i < length; i++)
			if (!is_name_char(label[i]) && label[i] != '-' && label[i] != '_')
				return false;
		if (label[length] == '\0' || label[length + 1] == '\0')
			return !is_digit(label[0]);
		label += length + 1;
	}
}

/*
 * probe_address_parse reads host:port, 192.0.2.1:port or [2001:db8::1]:port.
 *
 * Returns NULL and fills "target", or returns what is wrong, as a sentence that does
 * not repeat the input: messages go to logs and terminals.
 */
const char *
probe_address_parse(const char *address, ProbeAddress *target)
{
	const char *host = address;
	const char *end;
	const char *colon;
	size_t		length;
	struct in6_addr parsed;

	if (strstr(address, "://") != NULL)
		return "The address must not be a URL; protocol and path are separate values.";
	if (*address == '[')
	{
		host = address + 1;
		end = strchr(host, ']');
		if (end == NULL || end[1] != ':')
			return "An IPv6 address is written in brackets and followed by a colon and the port.";
		colon = end + 1;
	}
	else
	{
		colon = strchr(address, ':');
		if (colon == NULL)
			return "The port is missing.";
		end = colon;
	}

	length = end - host;
	if (length == 0)
		return "The host is missing.";
	if (length > PROBE_HOST_MAX + (host[length - 1] == '.'))
		return "The host is too long.";
	memcpy(target->host, host, length);
	target->host[length] = '\0';

	target->port = parse_port(colon + 1);
	if (target->port == 0)
		return "The port is a number from 1 to 65535.";

	if (*address == '[')
		target->numeric = inet_pton(AF_INET6, target->host, &parsed) == 1;
	else
		target->numeric = inet_pton(AF_INET, target->host, &parsed) == 1;

	if (!target->numeric && (*address == '[' || !is_host_name(target->host)))
		return "The host is a name, an IPv4 address or an IPv6 address in brackets.";
	return NULL;
}

/*
 * probe_address_to_socket fills "address" from a target whose host is numeric; it
 * returns false if the host is a name.
 */
bool
probe_address_to_socket(const ProbeAddress *target, struct sockaddr_storage *address)
{
	struct sockaddr_in *ipv4 = (struct sockaddr_in *) address;
	struct sockaddr_in6 *ipv6 = (struct sockaddr_in6 *) address;

	if (!target->numeric)
		return false;

	memset(address, 0, sizeof(*address));
	if (strchr(target->host, ':') == NULL)
	{
		ipv4->sin_family = AF_INET;
		ipv4->sin_port = htons(target->port);
		return inet_pton(AF_INET, target->host, &ipv4->sin_addr) == 1;
	}
	ipv6->sin6_family = AF_INET6;
	ipv6->sin6_port = htons(target->port);
	return inet_pton(AF_INET6, target->host, &ipv6->sin6_addr) == 1;
}
