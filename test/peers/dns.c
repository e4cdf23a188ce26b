/*
 * dns.c
 *		A name server for tests, which set its answers.
 *
 * The first line on the standard output is its address.  Then each line on the
 * standard input is a command and gets a line, "ok" and a result:
 *
 *	set NAME ANSWER [ADDRESS...]	answers, silent, servfail or absent
 *	count NAME						number of questions about it so far
 *
 * Answers have a TTL of one second.  Names that were never set do not exist.
 */
#define _GNU_SOURCE
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define Max(a, b) ((a) > (b) ? (a) : (b))
typedef uint32_t uint32;

#include "../unit/dns_server.h"

#define RECORDS_MAX 256

static DnsRecord records[RECORDS_MAX];
static DnsServer server;

static DnsRecord *
find_or_add(const char *name)
{
	DnsRecord  *record = dns_record(&server, name);

	if (record != NULL)
		return record;
	if (server.record_count == RECORDS_MAX)
		dns_die("too many names");
	record = &records[server.record_count++];
	record->name = strdup(name);
	return record;
}

static void
set(DnsRecord *record, const char *how)
{
	const char *address;
	int			count = 0;

	record->manner = strcmp(how, "silent") == 0 ? DNS_SILENT : DNS_ANSWERS;
	record->code = strcmp(how, "servfail") == 0 ? DNS_SERVFAIL : strcmp(how, "absent") == 0 ? DNS_NXDOMAIN : 0;
	record->ttl = 1;
	memset(record->addresses, 0, sizeof(record->addresses));
	while ((address = strtok(NULL, " \n")) != NULL && count < DNS_ADDRESSES_MAX)
		record->addresses[count++] = strdup(address);
}

static void
obey(char *line)
{
	const char *command = strtok(line, " \n");
	const char *name = strtok(NULL, " \n");

	if (command != NULL && name != NULL && strcmp(command, "set") == 0)
	{
		const char *how = strtok(NULL, " \n");

		set(find_or_add(name), how == NULL ? "" : how);
		puts("ok");
	}
	else if (command != NULL && name != NULL && strcmp(command, "count") == 0)
		printf("ok %d\n", find_or_add(name)->questions);
	else
		puts("error");
}

int
main(void)
{
	char		line[4096];

	setvbuf(stdin, NULL, _IONBF, 0);
	setvbuf(stdout, NULL, _IOLBF, 0);
	dns_start(&server, records, 0);
	puts(server.name);
	for (;;)
	{
		struct pollfd set[DNS_CONNECTIONS_MAX + 3];
		int			count = dns_poll_set(&server, set);

		set[count] = (struct pollfd) {.fd = 0, .events = POLLIN};
		poll(set, count + 1, -1);
		if (set[count].revents != 0)
		{
			if (fgets(line, sizeof(line), stdin) == NULL)
				break;
			obey(line);
		}
		dns_serve(&server);
	}
	dns_stop(&server);
	return 0;
}
