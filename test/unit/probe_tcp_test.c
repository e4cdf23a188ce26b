/*
 * probe_tcp_test.c
 *		Connections that are made and reset, in a network namespace of the test.
 */
#include "postgres.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "probe/probe_tcp.h"
#include "tap.h"

/* The range of local ports. */
#define FIRST_PORT 50000
#define PORTS 64

static struct sockaddr_in
address_of(const char *host, int port)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};

	inet_pton(AF_INET, host, &address.sin_addr);
	return address;
}

/* Returns false if this machine does not let the test make a network namespace. */
static bool
enter_namespace(void)
{
	struct ifreq loopback = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
	int			descriptor;
	FILE	   *range;

	if (unshare(CLONE_NEWNET) != 0 && unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0)
		return false;
	descriptor = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (ioctl(descriptor, SIOCSIFFLAGS, &loopback) != 0)
		return false;
	close(descriptor);
	range = fopen("/proc/sys/net/ipv4/ip_local_port_range", "we");
	return range != NULL && fprintf(range, "%d %d\n", FIRST_PORT, FIRST_PORT + PORTS - 1) > 0 && fclose(range) == 0;
}

static int
listen_at(int port)
{
	struct sockaddr_in address = address_of("127.0.0.1", port);
	int			descriptor = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (bind(descriptor, (struct sockaddr *) &address, sizeof(address)) != 0 || listen(descriptor, 100) != 0)
		abort();
	return descriptor;
}

static int
begin(const char *host, int port)
{
	struct sockaddr_in address = address_of(host, port);

	return probe_tcp_connect((struct sockaddr *) &address);
}

/* Waits for the end of a connection, closes it, and returns its error. */
static int
end(int descriptor)
{
	struct pollfd set = {.fd = descriptor, .events = POLLOUT};
	int			error;

	if (descriptor < 0)
		return errno;
	if (poll(&set, 1, 10000) != 1)
		return ETIMEDOUT;
	error = probe_tcp_error(descriptor, (set.revents & (POLLERR | POLLHUP)) != 0);
	close(descriptor);
	return error;
}

/* The number of TCP segments that this namespace has sent. */
static int
segments_sent(void)
{
	FILE	   *file = fopen("/proc/thread-self/net/snmp", "re");
	char		line[1024];
	int			sent = -1;

	while (file != NULL && fgets(line, sizeof(line), file) != NULL)
		(void) sscanf(line, "Tcp: %*d %*d %*d %*d %*d %*d %*d %*d %*d %*d %d", &sent);
	if (file != NULL)
		fclose(file);
	return sent;
}

static void
test_ends(void)
{
	struct linger at_once = {.l_onoff = 1, .l_linger = 0};
	int			listener = listen_at(8000);
	int			sent = segments_sent();
	int			descriptor;
	int			accepted;

	ok(end(begin("127.0.0.1", 8000)) == 0, "a connection to a listener is made");
	ok(segments_sent() - sent == 3, "it takes three packets: %d", segments_sent() - sent);
	ok(accept(listener, NULL, NULL) == -1 && errno == EAGAIN, "the listener has nothing to accept");
	ok(end(begin("127.0.0.1", 8001)) == ECONNREFUSED, "a closed port refuses");
	ok(end(begin("192.0.2.1", 8000)) == ENETUNREACH, "an address without a route has its own error");

	descriptor = begin("127.0.0.1", 8000);
	/* The acknowledgment that is held back for up to 0.2 s. */
	(void) poll(&(struct pollfd) {.fd = listener, .events = POLLIN}, 1, 10000);
	accepted = accept(listener, NULL, NULL);
	(void) setsockopt(accepted, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
	close(accepted);
	ok(end(descriptor) == 0, "a connection that the listener has accepted and reset was made");
	close(listener);
}

static bool
same_names(int descriptor)
{
	struct sockaddr_in names[2];
	socklen_t	length = sizeof(names[0]);

	return getsockname(descriptor, (struct sockaddr *) &names[0], &length) == 0 &&
		getpeername(descriptor, (struct sockaddr *) &names[1], &length) == 0 && names[0].sin_port == names[1].sin_port;
}

/* Connects to each local port, until a connection has been made to itself. */
static void
test_itself(void)
{
	int			made = 0;
	int			to_itself = 0;

	for (int round = 0; round < 1000 && to_itself < 10; round++)
		for (int port = FIRST_PORT; port < FIRST_PORT + PORTS; port++)
		{
			int			descriptor = begin("127.0.0.1", port);

			to_itself += same_names(descriptor);
			made += end(descriptor) != ECONNREFUSED;
		}
	ok(to_itself >= 10, "some connections are made to themselves: %d", to_itself);
	ok(made == 0, "a connection to itself is refused: %d are not", made);
}

static void
test_own_troubles(void)
{
	struct rlimit limit;
	struct rlimit none;
	int			descriptors[PORTS];
	int			listener = listen_at(8000);

	for (int i = 0; i < PORTS; i++)
		descriptors[i] = begin("127.0.0.1", 8000);
	ok(descriptors[PORTS - 1] >= 0, "all local ports are used");
	ok(end(begin("127.0.0.1", 8000)) == EADDRNOTAVAIL, "then there is no port left");
	for (int i = 0; i < PORTS; i++)
		close(descriptors[i]);
	ok(end(begin("127.0.0.1", 8000)) == 0, "then there is one again");

	getrlimit(RLIMIT_NOFILE, &limit);
	none = limit;
	none.rlim_cur = listener + 1;
	setrlimit(RLIMIT_NOFILE, &none);
	ok(end(begin("127.0.0.1", 8000)) == EMFILE, "without a descriptor there is no connection");
	setrlimit(RLIMIT_NOFILE, &limit);
	close(listener);
	ok(open("/dev/null", O_RDONLY | O_CLOEXEC) == listener, "no descriptor is left open");
}

int
main(void)
{
	if (!enter_namespace())
	{
		printf("1..0 # SKIP this machine permits no network namespace\n");
		return 0;
	}
	test_ends();
	test_itself();
	test_own_troubles();
	return done();
}
