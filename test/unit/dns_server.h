/*
 * dns_server.h
 *		A name server for tests, on a free port of 127.0.0.1, with no thread.
 *
 * It answers from a table, which tests change, in the manner that the table says.
 */
#ifndef GATEWAY_POOL_DNS_SERVER_H
#define GATEWAY_POOL_DNS_SERVER_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#undef printf
#undef snprintf

#define DNS_A 1
#define DNS_CNAME 5
#define DNS_AAAA 28

#define DNS_SERVFAIL 2
#define DNS_NXDOMAIN 3
#define DNS_REFUSED 5

#define DNS_ADDRESSES_MAX 64
#define DNS_CONNECTIONS_MAX 80
#define DNS_MESSAGE_MAX 4096

typedef enum DnsManner
{
	DNS_ANSWERS,
	DNS_SILENT,
	DNS_SILENT_ONCE,			/* to the first query of each type */
	DNS_SILENT_AAAA,
	DNS_HEADER_CUT,				/* less than a header */
	DNS_ANSWER_CUT,				/* in the middle of a record */
	DNS_OTHER_ID,
	DNS_OTHER_QUESTION,
	DNS_POINTER_LOOP,
	DNS_TRUNCATED,				/* complete by TCP only */
	DNS_MUTATED,				/* with a few changed bytes */
	DNS_NOISE					/* nothing but random bytes */
} DnsManner;

typedef struct DnsRecord
{
	const char *name;			/* "*.zone" for all names below it */
	DnsManner	manner;
	int			code;
	uint32		ttl;
	const char *alias;			/* its addresses are returned */
	uint32		alias_ttl;
	const char *addresses[DNS_ADDRESSES_MAX];	/* of both families */
	int			rotation;		/* the first to return */
	int			questions;
} DnsRecord;

typedef struct DnsServer
{
	int			udp;
	int			tcp;
	int			connections[DNS_CONNECTIONS_MAX];
	int			connection_count;
	char		name[32];		/* as resolver_create takes it */
	DnsRecord  *records;
	int			record_count;
	int			questions;
	unsigned int seed;
} DnsServer;

static void
dns_die(const char *what)
{
	printf("Bail out! %s\n", what);
	exit(1);
}

static void
dns_start(DnsServer *server, DnsRecord *records, int record_count)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t	length = sizeof(address);
	int			room = 1 << 20;

	memset(server, 0, sizeof(*server));
	server->records = records;
	server->record_count = record_count;
	server->seed = 1;

	/* A port that is free for UDP may be in use for TCP. */
	for (int attempt = 0;; attempt++)
	{
		if (attempt == 100)
			dns_die("no free port");
		server->udp = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		server->tcp = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		address.sin_port = 0;
		if (bind(server->udp, (struct sockaddr *) &address, sizeof(address)) == 0 &&
			getsockname(server->udp, (struct sockaddr *) &address, &length) == 0 &&
			bind(server->tcp, (struct sockaddr *) &address, sizeof(address)) == 0 &&
			listen(server->tcp, 16) == 0)
			break;
		close(server->udp);
		close(server->tcp);
	}
	(void) setsockopt(server->udp, SOL_SOCKET, SO_RCVBUF, &room, sizeof(room));
	snprintf(server->name, sizeof(server->name), "127.0.0.1:%d", ntohs(address.sin_port));
}

static void
dns_stop(DnsServer *server)
{
	for (int i = 0; i < server->connection_count; i++)
		close(server->connections[i]);
	close(server->udp);
	close(server->tcp);
}

static DnsRecord *
dns_record(DnsServer *server, const char *name)
{
	for (int i = 0; i < server->record_count; i++)
	{
		DnsRecord  *record = &server->records[i];
		size_t		zone = strlen(record->name) - 1;

		if (strcasecmp(record->name, name) == 0 ||
			(record->name[0] == '*' && strlen(name) > zone &&
			 strcasecmp(record->name + 1, name + strlen(name) - zone) == 0))
			return record;
	}
	return NULL;
}

static unsigned char *
dns_put(unsigned char *to, uint32 value, int bytes)
{
	while (bytes-- > 0)
		*to++ = value >> (8 * bytes);
	return to;
}

static unsigned char *
dns_put_name(unsigned char *to, const char *name)
{
	while (*name != '\0')
	{
		size_t		length = strcspn(name, ".");

		*to++ = length;
		memcpy(to, name, length);
		to += length;
		name += length + (name[length] == '.');
	}
	*to++ = 0;
	return to;
}

/* Names below a zone have addresses made from the number at the start of their first label. */
static void
dns_generated(const char *name, char *address, size_t size)
{
	int			number = atoi(name);

	snprintf(address, size, "10.%d.%d.%d", number >> 16 & 255, number >> 8 & 255, number & 255);
}

/* Returns the length of the answer, 0 for none. */
static int
dns_answer(DnsServer *server, const unsigned char *question, int length, unsigned char *answer, bool tcp)
{
	char		name[256] = "";
	int			at = 12;
	int			type;
	int			count = 0;
	int			kind;
	unsigned char *end;
	DnsRecord  *record;
	int			available = 0;

	while (at < length && question[at] != 0)
	{
		if (at + 1 + question[at] + 5 > length)
			return 0;
		snprintf(name + strlen(name), sizeof(name) - strlen(name), "%s%.*s", name[0] ? "." : "",
				 (int) question[at], question + at + 1);
		at += question[at] + 1;
	}
	if (at + 5 > length)
		return 0;
	type = question[at + 1] << 8 | question[at + 2];
	kind = type == DNS_A ? AF_INET : AF_INET6;
	at += 5;

	server->questions++;
	record = dns_record(server, name);
	if (record != NULL)
		record->questions++;

	memcpy(answer, question, at);
	dns_put(answer + 2, 0x8180 | (record == NULL ? DNS_NXDOMAIN : record->code), 2);
	dns_put(answer + 4, 1, 2);
	memset(answer + 6, 0, 6);
	end = answer + at;
	if (record == NULL)
		return at;

	if (record->code == 0 && record->alias != NULL)
	{
		end = dns_put(end, 0xc00c, 2);
		end = dns_put(end, DNS_CNAME, 2);
		end = dns_put(end, 1, 2);
		end = dns_put(end, record->alias_ttl, 4);
		end = dns_put_name(dns_put(end, strlen(record->alias) + 2, 2), record->alias);
		count++;
	}
	while (available < DNS_ADDRESSES_MAX && record->addresses[available] != NULL)
		available++;
	for (int i = 0; record->code == 0 && i < Max(available, record->name[0] == '*'); i++)
	{
		char		generated[32];
		const char *text;
		unsigned char address[16];

		if (available == 0)
			dns_generated(name, generated, sizeof(generated));
		text = available == 0 ? generated : record->addresses[(i + record->rotation) % available];
		if (inet_pton(kind, text, address) != 1)
			continue;
		end = record->alias == NULL ? dns_put(end, 0xc00c, 2) : dns_put_name(end, record->alias);
		end = dns_put(end, type, 2);
		end = dns_put(end, 1, 2);
		end = dns_put(end, record->ttl, 4);
		end = dns_put(end, kind == AF_INET ? 4 : 16, 2);
		memcpy(end, address, kind == AF_INET ? 4 : 16);
		end += kind == AF_INET ? 4 : 16;
		count++;
	}
	dns_put(answer + 6, count, 2);
	length = end - answer;

	switch (record->manner)
	{
		case DNS_ANSWERS:
			break;
		case DNS_SILENT:
			return 0;
		case DNS_SILENT_ONCE:
			if (record->questions <= 2)
				return 0;
			break;
		case DNS_SILENT_AAAA:
			if (type == DNS_AAAA)
				return 0;
			break;
		case DNS_HEADER_CUT:
			return 7;
		case DNS_ANSWER_CUT:
			return count > 0 ? length - 3 : length;
		case DNS_OTHER_ID:
			answer[0] ^= 1;
			break;
		case DNS_OTHER_QUESTION:
			answer[13] ^= 1;
			break;
		case DNS_POINTER_LOOP:
			dns_put(answer + at, 0xc000 | at, 2);
			break;
		case DNS_TRUNCATED:
			if (tcp)
				break;
			answer[2] |= 2;
			dns_put(answer + 6, 0, 2);
			return at;
		case DNS_MUTATED:
			for (int i = rand_r(&server->seed) % 4; i >= 0; i--)
				answer[2 + rand_r(&server->seed) % (length - 2)] = rand_r(&server->seed);
			if (rand_r(&server->seed) % 8 == 0)
				length = rand_r(&server->seed) % length;
			break;
		case DNS_NOISE:
			length = 2 + rand_r(&server->seed) % 600;
			for (int i = 2; i < length; i++)
				answer[i] = rand_r(&server->seed);
			break;
	}
	return length;
}

/* Answers queries that have arrived, without waiting. */
static void
dns_serve(DnsServer *server)
{
	unsigned char question[DNS_MESSAGE_MAX];
	unsigned char answer[DNS_MESSAGE_MAX];
	struct sockaddr_storage peer;
	socklen_t	peer_length = sizeof(peer);
	ssize_t		length;
	int			connection;

	while ((length = recvfrom(server->udp, question, sizeof(question), 0,
							  (struct sockaddr *) &peer, &peer_length)) >= 12)
	{
		length = dns_answer(server, question, length, answer, false);
		if (length > 0)
			(void) sendto(server->udp, answer, length, 0, (struct sockaddr *) &peer, peer_length);
	}

	while (server->connection_count < DNS_CONNECTIONS_MAX &&
		   (connection = accept4(server->tcp, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0)
		server->connections[server->connection_count++] = connection;
	for (int i = 0; i < server->connection_count; i++)
	{
		/* On loopback a query arrives as a whole; two may arrive together. */
		unsigned char *next = question;

		length = recv(server->connections[i], question, sizeof(question), 0);
		if (length == 0)
		{
			close(server->connections[i]);
			server->connections[i--] = server->connections[--server->connection_count];
			continue;
		}
		while (question + length - next >= 14)
		{
			int			size = next[0] << 8 | next[1];
			int			answered = dns_answer(server, next + 2, size, answer + 2, true);

			dns_put(answer, answered, 2);
			if (answered > 0)
				(void) send(server->connections[i], answer, answered + 2, MSG_NOSIGNAL);
			next += size + 2;
		}
	}
}

/* Adds what poll has to wait for; returns how many. */
static int
dns_poll_set(const DnsServer *server, struct pollfd *set)
{
	int			count = 0;

	set[count++] = (struct pollfd) {.fd = server->udp, .events = POLLIN};
	set[count++] = (struct pollfd) {.fd = server->tcp, .events = POLLIN};
	for (int i = 0; i < server->connection_count; i++)
		set[count++] = (struct pollfd) {.fd = server->connections[i], .events = POLLIN};
	return count;
}

#endif							/* GATEWAY_POOL_DNS_SERVER_H */
