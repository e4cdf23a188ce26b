/*
 * probe_tcp.h
 *		A connection that is made to see whether it can be, and then reset.
 *
 * Errors are those of errno.
 */
#ifndef GATEWAY_POOL_PROBE_TCP_H
#define GATEWAY_POOL_PROBE_TCP_H

#include <sys/socket.h>

extern int	probe_tcp_connect(const struct sockaddr *address);
extern int	probe_tcp_error(int descriptor, bool has_error);

#endif							/* GATEWAY_POOL_PROBE_TCP_H */
