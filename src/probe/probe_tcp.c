/*
 * probe_tcp.c
 *		A connection that is made to see whether it can be, and then reset.
 *
 * It takes three packets, as HAProxy's checks do: SYN, SYN-ACK, RST.  Without
 * TCP_QUICKACK the kernel holds the acknowledgment back, and close() with a linger
 * time of 0 sends a reset in its place.  So the listener's kernel drops the request
 * before accept(): a gateway serves no empty connection and logs none.  On our side
 * no TIME_WAIT is left, which would use up ports and memory.
 */
#include "postgres.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <unistd.h>

#include "probe/probe_tcp.h"

/*
 * probe_tcp_connect begins to connect to an address with its port.  Returns a socket
 * that is writable when the connection has been made or has failed; -1 with errno if it
 * failed at once.
 */
int
probe_tcp_connect(const struct sockaddr *address)
{
	static const struct linger at_once = {.l_onoff = 1, .l_linger = 0};
	static const int off = 0;
	socklen_t	length = address->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
	int			descriptor = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int			error;

	if (descriptor < 0)
		return -1;
	(void) setsockopt(descriptor, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
	(void) setsockopt(descriptor, IPPROTO_TCP, TCP_QUICKACK, &off, sizeof(off));
	if (connect(descriptor, address, length) == 0 || errno == EINPROGRESS)
		return descriptor;
	error = errno;
	close(descriptor);
	errno = error;
	return -1;
}

/*
 * A port in the range of local ports may be chosen as the local one of a connection
 * to itself, which succeeds without a listener: both sides open it (RFC 9293, 3.5).
 */
static bool
is_to_itself(int descriptor)
{
	struct sockaddr_storage names[2] = {0};
	socklen_t	lengths[2] = {sizeof(names[0]), sizeof(names[1])};

	return getsockname(descriptor, (struct sockaddr *) &names[0], &lengths[0]) == 0 &&
		getpeername(descriptor, (struct sockaddr *) &names[1], &lengths[1]) == 0 &&
		lengths[0] == lengths[1] && memcmp(&names[0], &names[1], lengths[0]) == 0;
}

/*
 * probe_tcp_error returns why the connection of a writable socket failed; 0 if it was
 * made.  "has_error": epoll reports an error or a hang-up.
 */
int
probe_tcp_error(int descriptor, bool has_error)
{
	int			error = 0;
	socklen_t	length = sizeof(error);

	if (!has_error)
		return is_to_itself(descriptor) ? ECONNREFUSED : 0;
	if (getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &error, &length) != 0)
		return errno;

	/*
	 * Only a listener that has accepted can reset; whether we see it depends
	 * on timing.
	 */
	return error == ECONNRESET || error == EPIPE ? 0 : error;
}
