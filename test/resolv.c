/*
 * resolv.c
 *		Gives a test server another name server: a library for LD_PRELOAD.
 *
 * To open /etc/resolv.conf opens the file named by GATEWAY_POOL_TEST_RESOLV, and
 * to connect to port 53 connects to GATEWAY_POOL_TEST_DNS_PORT, whose answers seem
 * to come from port 53: a test may not listen on 53, and not every c-ares accepts
 * another port in the file.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

FILE *
fopen(const char *path, const char *mode)
{
	FILE	   *(*real) (const char *, const char *) = dlsym(RTLD_NEXT, "fopen");
	const char *other = getenv("GATEWAY_POOL_TEST_RESOLV");

	return real(other != NULL && strcmp(path, "/etc/resolv.conf") == 0 ? other : path, mode);
}

int
connect(int fd, const struct sockaddr *address, socklen_t length)
{
	int			(*real) (int, const struct sockaddr *, socklen_t) = dlsym(RTLD_NEXT, "connect");
	const char *port = getenv("GATEWAY_POOL_TEST_DNS_PORT");
	struct sockaddr_in other;

	if (port == NULL || address->sa_family != AF_INET || length < sizeof(other) ||
		((const struct sockaddr_in *) address)->sin_port != htons(53))
		return real(fd, address, length);
	other = *(const struct sockaddr_in *) address;
	other.sin_port = htons(atoi(port));
	return real(fd, (struct sockaddr *) &other, sizeof(other));
}

ssize_t
recvfrom(int fd, void *data, size_t size, int flags, struct sockaddr *address, socklen_t *length)
{
	ssize_t		(*real) (int, void *, size_t, int, struct sockaddr *, socklen_t *) = dlsym(RTLD_NEXT, "recvfrom");
	const char *port = getenv("GATEWAY_POOL_TEST_DNS_PORT");
	ssize_t		got = real(fd, data, size, flags, address, length);

	if (port != NULL && got >= 0 && address != NULL && address->sa_family == AF_INET &&
		((struct sockaddr_in *) address)->sin_port == htons(atoi(port)))
		((struct sockaddr_in *) address)->sin_port = htons(53);
	return got;
}
