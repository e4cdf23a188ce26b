/*
 * probe_address.h
 *		The address that a probe connects to.
 *
 * Pure, as health_rule.h.
 */
#ifndef GATEWAY_POOL_PROBE_ADDRESS_H
#define GATEWAY_POOL_PROBE_ADDRESS_H

#include <sys/socket.h>

/* Length of the longest host name, with dots (RFC 1035, 2.3.4). */
#define PROBE_HOST_MAX 253

typedef enum ProbeProtocol
{
	PROBE_TCP,
	PROBE_TLS,
	PROBE_HTTP,
	PROBE_HTTPS,
	PROBE_PROTOCOLS				/* the number of protocols */
} ProbeProtocol;

typedef struct ProbeAddress
{
	char		host[PROBE_HOST_MAX + 2];	/* without brackets; a name may
											 * end with a dot */
	bool		numeric;		/* the host is an IP address, not a name */
	int			port;
} ProbeAddress;

extern const char *probe_protocol_name(ProbeProtocol protocol);
extern bool probe_protocol_parse(const char *name, ProbeProtocol *protocol);
extern bool probe_protocol_uses_tls(ProbeProtocol protocol);
extern const char *probe_address_parse(const char *address, ProbeAddress *target);
extern bool probe_address_to_socket(const ProbeAddress *target, struct sockaddr_storage *address);

#endif							/* GATEWAY_POOL_PROBE_ADDRESS_H */
