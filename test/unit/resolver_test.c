/*
 * resolver_test.c
 *		Resolution of names by a name server that the test controls.
 *
 * The clock is the test's, so that minutes pass at once.  c-ares has its own clock:
 * the test waits for its timeouts.
 */
#include "postgres.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>

#include "base/clock.h"
#include "dns_server.h"
#include "probe/resolver.h"
#include "tap.h"

#define SECOND USECS_PER_SEC

static DnsRecord records[] =
{
	{.name = "a.test", .ttl = 30, .addresses = {"10.0.0.1"}},
	{.name = "aaaa.test", .ttl = 30, .addresses = {"2001:db8::1"}},
	{.name = "both.test", .ttl = 30, .addresses = {"2001:db8::2", "10.0.0.2"}},
	{.name = "alias.test", .ttl = 30, .alias = "target.test", .alias_ttl = 40, .addresses = {"10.0.0.3"}},
	{.name = "alias_ttl.test", .ttl = 40, .alias = "target.test", .alias_ttl = 20, .addresses = {"10.0.0.3"}},
	{.name = "dangling.test", .alias = "target.test"},
	{.name = "under_score.test", .ttl = 30, .addresses = {"10.0.0.4"}},
	{.name = "short.search.test", .ttl = 30, .addresses = {"10.0.0.5"}},
	{.name = "empty.test"},
	{.name = "servfail.test", .code = DNS_SERVFAIL},
	{.name = "refused.test", .code = DNS_REFUSED},
	{.name = "zero.test", .ttl = 0, .addresses = {"10.0.1.1"}},
	{.name = "huge.test", .ttl = 0x7fffffff, .addresses = {"10.0.1.2"}},
	{.name = "negative.test", .ttl = 0xffffffff, .addresses = {"10.0.1.3"}},
	{.name = "mixed.test", .ttl = 10, .addresses = {"10.0.1.4"}},
	{.name = "change.test", .ttl = 10, .addresses = {"10.0.2.1"}},
	{.name = "three.test", .ttl = 30, .addresses = {"10.0.3.3", "10.0.3.1", "2001:db8::3"}},
	{.name = "twice.test", .ttl = 30, .addresses = {"10.0.3.5", "10.0.3.4", "10.0.3.4"}},
	{.name = "many.test", .ttl = 30, .manner = DNS_TRUNCATED},
	{.name = "lossy.test", .ttl = 30, .manner = DNS_SILENT_ONCE, .addresses = {"10.0.4.1"}},
	{.name = "half.test", .ttl = 30, .manner = DNS_SILENT_AAAA, .addresses = {"10.0.4.2"}},
	{.name = "header.test", .manner = DNS_HEADER_CUT},
	{.name = "cut.test", .manner = DNS_ANSWER_CUT, .addresses = {"10.0.5.1"}},
	{.name = "id.test", .manner = DNS_OTHER_ID, .addresses = {"10.0.5.2"}},
	{.name = "question.test", .manner = DNS_OTHER_QUESTION, .addresses = {"10.0.5.3"}},
	{.name = "loop.test", .manner = DNS_POINTER_LOOP, .addresses = {"10.0.5.4"}},
	{.name = "*.mutated.test", .manner = DNS_MUTATED},
	{.name = "*.noise.test", .manner = DNS_NOISE},
	{.name = "gw7.internal", .ttl = 10, .addresses = {"10.0.7.7"}},
	{.name = "gw8.svc.k8s", .ttl = 10, .addresses = {"10.0.7.8"}},
	{.name = "gw9", .ttl = 10, .addresses = {"10.0.7.9"}},
	{.name = "half.internal", .ttl = 10, .manner = DNS_ANSWERS, .addresses = {"10.0.7.10"}},
	{.name = "half.internal.ns1.svc.k8s"},
	{.name = "*.corp.example", .code = DNS_SERVFAIL},
	{.name = "*.dark.test", .manner = DNS_SILENT},
	{.name = "*.numbers.test", .ttl = 30}
};

static DnsServer server;
static Resolver *resolver;
static int64 now = 1000 * SECOND;
static char answer[200];

/* The resolver's descriptors, as reported to acquire() and release(). */
static int	acquired = 0;
static int	least_acquired = 0;
static int	most_allowed = INT_MAX;

static DnsRecord *
record_of(const char *name)
{
	DnsRecord  *record = dns_record(&server, name);

	if (record == NULL)
		abort();
	return record;
}

static void
set_address(const char *name, const char *address)
{
	memset(record_of(name)->addresses, 0, sizeof(records[0].addresses));
	record_of(name)->addresses[0] = address;
}

/* Serves and runs until something happens, or "limit" microseconds have passed. */
static void
pump(int64 limit)
{
	struct pollfd set[DNS_CONNECTIONS_MAX + 3];
	int			count = dns_poll_set(&server, set);
	int64		timeout = resolver_timeout(resolver, now);

	set[count++] = (struct pollfd) {.fd = resolver_descriptor(resolver), .events = POLLIN};
	if (timeout < 0 || timeout > limit)
		timeout = limit;
	(void) poll(set, count, (timeout + 999) / 1000);
	dns_serve(&server);
	resolver_run(resolver, now);
}

/* Runs until the server has answered all that it answers; no time passes. */
static void
pump_dry(void)
{
	int			idle = 0;
	uint64		generation;
	int			questions;

	while (idle < 3)
	{
		generation = resolver_generation(resolver);
		questions = server.questions;
		pump(2000);
		idle = generation == resolver_generation(resolver) && questions == server.questions ? idle + 1 : 0;
	}
}

/* Returns what is known now: an address, or the failure. */
static const char *
peek(const char *name)
{
	struct sockaddr_storage address;
	const char *reason = "no reason";
	void	   *bytes = &((struct sockaddr_in *) &address)->sin_addr;

	switch (resolver_look_up(resolver, name, now, &address, &reason))
	{
		case RESOLVER_RESOLVED:
			if (address.ss_family == AF_INET6)
				bytes = &((struct sockaddr_in6 *) &address)->sin6_addr;
			if (((struct sockaddr_in *) &address)->sin_port != 0)
				return "a port";
			return inet_ntop(address.ss_family, bytes, answer, sizeof(answer));
		case RESOLVER_PENDING:
			return "pending";
		case RESOLVER_ABSENT:
			snprintf(answer, sizeof(answer), "absent: %s", reason);
			return answer;
		case RESOLVER_FAILED:
			snprintf(answer, sizeof(answer), "failed: %s", reason);
			return answer;
	}
	return "no answer";
}

/* Returns what is known after all answers, and after the timeout for the others. */
static const char *
resolve(const char *name)
{
	(void) peek(name);
	pump_dry();
	if (strcmp(peek(name), "pending") != 0)
		return answer;
	now += 2 * SECOND;
	pump(0);
	return peek(name);
}

static void
is(const char *got, const char *expected, const char *description)
{
	ok(strcmp(got, expected) == 0, "%s: %s", description, got);
}

static void
doubt(const char *name, const char *address)
{
	struct sockaddr_storage doubted = {.ss_family = strchr(address, ':') ? AF_INET6 : AF_INET};

	if (doubted.ss_family == AF_INET)
		inet_pton(AF_INET, address, &((struct sockaddr_in *) &doubted)->sin_addr);
	else
		inet_pton(AF_INET6, address, &((struct sockaddr_in6 *) &doubted)->sin6_addr);
	resolver_doubt(resolver, name, (struct sockaddr *) &doubted);
}

/* Returns the number of open descriptors; one without close-on-exec counts a thousand. */
static int
open_descriptors(void)
{
	DIR		   *directory = opendir("/proc/self/fd");
	struct dirent *entry;
	int			count = 0;

	while ((entry = readdir(directory)) != NULL)
	{
		int			descriptor = atoi(entry->d_name);

		if (entry->d_name[0] == '.' || descriptor <= 2 || descriptor == dirfd(directory))
			continue;
		count += (fcntl(descriptor, F_GETFD) & FD_CLOEXEC) ? 1 : 1000;
	}
	closedir(directory);
	return count;
}

static bool
acquire(void)
{
	if (acquired >= most_allowed)
		return false;
	acquired++;
	return true;
}

static void
release(void)
{
	acquired--;
	least_acquired = Min(least_acquired, acquired);
}

static void
test_kinds(void)
{
	uint64		generation = resolver_generation(resolver);

	ok(resolver_timeout(resolver, now) == -1, "there is nothing to wait for at first");
	is(peek("a.test"), "pending", "no answer is known at first");
	ok(resolver_timeout(resolver, now) > 0 && resolver_timeout(resolver, now) <= 2 * SECOND,
	   "the wait for a query has an end");
	ok(resolver_generation(resolver) == generation, "the generation stays before the answer");
	pump_dry();
	ok(resolver_generation(resolver) == generation + 1, "it grows after the answer");
	is(peek("a.test"), "10.0.0.1", "A is resolved");
	ok(resolver_timeout(resolver, now) == -1, "there is nothing to wait for any more");

	is(resolve("aaaa.test"), "2001:db8::1", "AAAA is resolved");
	is(resolve("both.test"), "10.0.0.2", "with both, IPv4 comes first");
	is(resolve("alias.test"), "10.0.0.3", "CNAME is resolved");
	is(resolve("dangling.test"), "failed: dns: no address", "CNAME to nothing fails");
	is(resolve("under_score.test"), "10.0.0.4", "a name with an underscore is resolved");
	is(resolve("A.Test"), "10.0.0.1", "a name in upper case is resolved");
	is(resolve("short"), "10.0.0.5", "a short name uses the search list");
	is(resolve("none.test"), "absent: dns: no such name", "NXDOMAIN is absent");
	is(resolve("empty.test"), "failed: dns: no address", "a name without addresses fails");
	is(resolve("servfail.test"), "failed: dns: server failed", "SERVFAIL fails");
	is(resolve("refused.test"), "failed: dns: server failed", "REFUSED fails");
	is(resolve("0.dark.test"), "failed: dns: timed out", "no answer fails");
}

/* A name that is only in /etc/hosts. */
static void
test_hosts_file(void)
{
	FILE	   *file = fopen("/etc/hosts", "re");
	char		line[1024];
	char		name[256] = "localhost";
	int			questions = server.questions;

	while (file != NULL && strcmp(name, "localhost") == 0 && fgets(line, sizeof(line), file) != NULL)
		(void) sscanf(line, "%*[0-9.] %255[a-zA-Z0-9.-]", name);
	if (file != NULL)
		fclose(file);

	ok(strchr(peek(name), '.') != NULL || strchr(answer, ':') != NULL, "%s is resolved at once: %s", name, answer);
	ok(server.questions == questions, "without a query");
}

/* Returns after how many seconds a query is repeated. */
static int
lifetime(const char *name)
{
	int			questions;

	(void) resolve(name);
	questions = record_of(name)->questions;
	for (int seconds = 1; seconds <= 100; seconds++)
	{
		now += SECOND;
		(void) peek(name);
		pump_dry();
		if (record_of(name)->questions > questions)
			return seconds;
	}
	return 0;
}

static void
test_lifetimes(void)
{
	ok(lifetime("zero.test") == 5, "0 counts as 5 seconds");
	ok(lifetime("mixed.test") == 10, "10 seconds count as they are");
	ok(lifetime("huge.test") == 60, "68 years count as 60 seconds");
	ok(lifetime("negative.test") >= 5 && lifetime("negative.test") <= 60, "136 years are within the bounds");
	ok(lifetime("alias.test") == 30, "30 seconds and an alias of 40 count as 30");
	ok(lifetime("alias_ttl.test") == 20, "40 seconds and an alias of 20 count as 20");
	ok(lifetime("servfail.test") == 1, "a failure lasts 1 second");
	ok(lifetime("0.dark.test") == 1, "a timeout lasts 1 second");
	ok(lifetime("empty.test") == 1, "no address lasts 1 second");
}

static void
test_absent(void)
{
	int			questions;

	(void) resolve("gone.test");
	questions = server.questions;
	now += SECOND - 1;
	is(peek("gone.test"), "absent: dns: no such name", "an absent name is cached for 1 second");
	pump_dry();
	ok(server.questions == questions, "without another query");
	now += 1;
	is(peek("gone.test"), "pending", "then the query is repeated");
	pump_dry();
	ok(server.questions > questions, "to the server");
}

static void
test_held(void)
{
	DnsRecord  *record = record_of("change.test");

	is(resolve("change.test"), "10.0.2.1", "a good answer is used");
	set_address("change.test", "10.0.2.2");
	now += 10 * SECOND - 1;
	is(resolve("change.test"), "10.0.2.1", "it is used for its time");
	now += 1;
	is(peek("change.test"), "10.0.2.1", "and while the next query runs");
	pump_dry();
	is(peek("change.test"), "10.0.2.2", "the next answer is used");

	record->manner = DNS_SILENT;
	now += 10 * SECOND;
	is(peek("change.test"), "10.0.2.2", "the address is kept while no answer comes");
	now += 2 * SECOND;
	pump(0);
	is(peek("change.test"), "10.0.2.2", "and after the timeout");
	record->manner = DNS_ANSWERS;
	record->code = DNS_SERVFAIL;
	for (int i = 0; i < 200; i++)
	{
		now += 10 * SECOND;
		(void) peek("change.test");
		pump(100);
	}
	is(resolve("change.test"), "10.0.2.2", "and while the server fails");

	record->code = DNS_NXDOMAIN;
	now += SECOND;
	is(peek("change.test"), "10.0.2.2", "and until the next answer");
	pump_dry();
	is(peek("change.test"), "absent: dns: no such name", "it is given up when the name does not exist any more");
	record->code = DNS_SERVFAIL;
	now += SECOND;
	is(resolve("change.test"), "failed: dns: server failed", "and not used again");
	record->code = 0;
	now += SECOND;
	is(resolve("change.test"), "10.0.2.2", "a new answer is used");
}

static void
test_doubt(void)
{
	DnsRecord  *record = record_of("three.test");
	int			questions;

	is(resolve("three.test"), "10.0.3.1", "the first of three addresses is used");
	doubt("three.test", "10.0.3.3");
	is(peek("three.test"), "10.0.3.1", "doubting another address changes nothing");
	questions = record->questions;
	doubt("three.test", "10.0.3.1");
	is(peek("three.test"), "10.0.3.3", "doubting it leads to the second");
	doubt("three.test", "10.0.3.1");
	is(peek("three.test"), "10.0.3.3", "doubting it again changes nothing");
	doubt("three.test", "10.0.3.3");
	is(peek("three.test"), "2001:db8::3", "doubting the second leads to the third");
	pump_dry();
	ok(record->questions == questions, "no query within a second after the last");
	now += SECOND;
	record->rotation = 1;
	is(resolve("three.test"), "2001:db8::3", "the next answer keeps the address, whatever its order");
	ok(record->questions == questions + 2, "a query was made for it");
	doubt("three.test", "2001:db8::3");
	is(peek("three.test"), "10.0.3.1", "doubting the third leads to the first");

	set_address("three.test", "10.0.3.9");
	now += SECOND;
	is(resolve("three.test"), "10.0.3.9", "an address that is missing in the next answer is not used");
	doubt("three.test", "10.0.3.9");
	is(peek("three.test"), "10.0.3.9", "the only address is kept");
	is(resolve("twice.test"), "10.0.3.4", "a duplicate address");
	doubt("twice.test", "10.0.3.4");
	is(peek("twice.test"), "10.0.3.5", "is left at once");
	doubt("unheard.test", "10.0.3.9");
	doubt("none.test", "10.0.3.9");
	ok(true, "doubting names without an address works");
}

/* More addresses than fit into a datagram, or are kept. */
static void
test_truncated(void)
{
	static char addresses[40][16];
	DnsRecord  *record = record_of("many.test");
	int			wrong = 0;

	for (int i = 0; i < 40; i++)
	{
		snprintf(addresses[i], sizeof(addresses[i]), "10.0.6.%d", 100 + (i * 7) % 40);
		record->addresses[i] = addresses[i];
	}
	is(resolve("many.test"), "10.0.6.100", "the answer comes by TCP");
	for (int i = 0; i < 16; i++)
	{
		snprintf(addresses[39], sizeof(addresses[39]), "10.0.6.%d", 100 + i % 8);
		wrong += strcmp(peek("many.test"), addresses[39]) != 0;
		doubt("many.test", addresses[39]);
		snprintf(addresses[39], sizeof(addresses[39]), "10.0.6.%d", 100 + (39 * 7) % 40);
		record->rotation = i;
		now += SECOND;
		(void) resolve("many.test");
	}
	ok(wrong == 0, "the same eight are kept, in order, in every rotation");
}

static void
test_losses(void)
{
	int64		began = clock_monotonic();

	(void) peek("lossy.test");
	while (strcmp(peek("lossy.test"), "pending") == 0 && clock_monotonic() < began + 5 * SECOND)
		pump(SECOND);
	is(peek("lossy.test"), "10.0.4.1", "a lost query is sent again");

	/*
	 * Newer c-ares waits for it no longer than for one try, older for all.
	 */
	began = clock_monotonic();
	(void) peek("half.test");
	while (strcmp(peek("half.test"), "pending") == 0 && clock_monotonic() < began + 700 * INT64CONST(1000))
		pump(100 * 1000);
	now += 2 * SECOND;
	pump(0);
	is(peek("half.test"), "10.0.4.2", "half of an answer is used if the other is missing");
}

static void
test_bad_answers(void)
{
	static const char *const names[] = {"header.test", "cut.test", "id.test", "question.test", "loop.test"};
	char		name[100];

	for (int i = 0; i < lengthof(names); i++)
		ok(strncmp(resolve(names[i]), "failed: dns: ", 13) == 0, "%s: %s", names[i], answer);

	for (int i = 0; i < 1500; i++)
	{
		snprintf(name, sizeof(name), "%d.%s.test", i, i % 2 ? "mutated" : "noise");
		(void) peek(name);
		if (i % 50 == 49)
		{
			pump_dry();
			now += 2 * SECOND;
			pump(0);
		}
	}
	ok(resolver_timeout(resolver, now) == -1, "after 1,500 bad answers no query is left");
	is(resolve("a.test"), "10.0.0.1", "good answers are used after them");
}

static int
count_with(const char *zone, int from, int to, const char *prefix)
{
	int			count = 0;

	for (int i = from; i < to; i++)
	{
		char		name[100];

		snprintf(name, sizeof(name), "%d.%s", i, zone);
		count += strncmp(peek(name), prefix, strlen(prefix)) == 0;
	}
	return count;
}

static void
test_many(void)
{
	int			before = open_descriptors();
	int			most = 0;
	int			acquired_before = acquired;
	bool		right = true;
	bool		counted = true;

	ok(count_with("numbers.test", 0, 500, "pending") == 500, "500 names are requested at once");
	for (int i = 0; i < 2000 && resolver_timeout(resolver, now) != -1; i++)
	{
		most = Max(most, open_descriptors() - before);
		counted = counted && acquired - acquired_before == open_descriptors() - before;
		pump(100 * 1000);
	}
	for (int i = 0; i < 500; i++)
	{
		char		name[100];
		char		address[100];

		snprintf(name, sizeof(name), "%d.numbers.test", i);
		dns_generated(name, address, sizeof(address));
		right = right && strcmp(peek(name), address) == 0;
	}
	ok(right, "each gets its own address");
	ok(most == 64, "with 64 queries at a time, close-on-exec: %d", most);
	ok(counted, "each socket is acquired");
	ok(open_descriptors() == before && acquired == acquired_before, "all sockets are closed");
}

/* Names without an answer do not delay others. */
static void
test_dark(void)
{
	int			rounds = 0;
	int			questions;

	ok(count_with("dark.test", 1000, 1040, "pending") == 40, "40 dark names are requested");
	is(peek("1.numbers.test"), "10.0.0.1", "a known name is resolved");
	is(peek("2000.numbers.test"), "pending", "a new name is requested");
	pump_dry();
	is(peek("2000.numbers.test"), "10.0.7.208", "it is not delayed");

	(void) count_with("dark.test", 1000, 1300, "");
	for (rounds = 1; rounds < 20; rounds++)
	{
		pump_dry();
		now += 2 * SECOND;
		pump(0);
		if (resolver_timeout(resolver, now) == -1)
			break;
	}
	ok(rounds <= 6, "300 dark names take %d rounds", rounds);

	(void) count_with("numbers.test", 4000, 4100, "pending");
	pump_dry();
	now += 30 * SECOND;
	ok(count_with("dark.test", 1000, 1300, "pending") == 300, "all of them are requested again");
	questions = record_of("1.numbers.test")->questions;
	ok(count_with("numbers.test", 4000, 4100, "10.") == 100, "100 good names are known, and requested again");
	for (int i = 0; i < 10; i++)
		pump_dry();
	ok(record_of("1.numbers.test")->questions == questions + 200, "their queries are made");
	ok(count_with("numbers.test", 3000, 3500, "pending") == 500, "500 new names are requested after them");
	for (int i = 0; i < 10; i++)
		pump_dry();
	ok(count_with("numbers.test", 3000, 3500, "10.") == 500, "they are not delayed");
	for (rounds = 1; rounds < 20; rounds++)
	{
		now += 2 * SECOND;
		pump_dry();
		if (resolver_timeout(resolver, now) == -1)
			break;
	}
	ok(rounds >= 9 && rounds <= 10, "dark names have half of the places: %d rounds", rounds);

	/* A name gets its turn, however many others there are. */
	now += 60 * SECOND;
	(void) count_with("dark.test", 40000, 40500, "pending");
	ok(count_with("dark.test", 1000, 1003, "pending") == 3, "3 dark names are requested after 500 new ones");
	for (rounds = 1; rounds < 5; rounds++)
	{
		now += 2 * SECOND;
		pump_dry();
		if (count_with("dark.test", 1000, 1003, "failed: dns: timed out") > 0)
			break;
	}
	ok(rounds == 2, "one of them gets its turn in round %d", rounds);
	while (resolver_timeout(resolver, now) >= 0)
	{
		now += 2 * SECOND;
		pump(0);
	}
}

static void
test_forgotten(void)
{
	ok(count_with("numbers.test", 20000, 20100, "pending") == 100, "100 names are requested");
	pump_dry();
	ok(count_with("numbers.test", 20000, 20100, "10.") == 100, "they are known");
	now += 300 * SECOND;
	(void) count_with("numbers.test", 20000, 20010, "10.");
	pump_dry();
	now += 300 * SECOND - 1;
	resolver_forget_unused(resolver, now);
	is(peek("20099.numbers.test"), "10.0.78.131", "a name is known a microsecond before the ten minutes");
	now += 1;
	(void) peek("5.dark.test");
	resolver_forget_unused(resolver, now);
	ok(count_with("numbers.test", 20000, 20010, "10.") == 10, "names that were requested since are kept");
	ok(count_with("numbers.test", 20010, 20099, "pending") == 89, "the others are removed");
	pump_dry();
	is(peek("5.dark.test"), "pending", "a name whose query runs is kept");
	now += 700 * SECOND;
	resolver_forget_unused(resolver, now);
	is(peek("5.dark.test"), "pending", "however old");
	pump(0);
	is(peek("5.dark.test"), "failed: dns: timed out", "until its end is seen");
}

static void
test_full(void)
{
	int			taken;

	now += 700 * SECOND;
	resolver_forget_unused(resolver, now);
	taken = count_with("dark.test", 100000, 170000, "pending");
	ok(taken == 65536, "at most 65536 names: %d", taken);
	is(peek("a.test"), "failed: dns: too many names", "another name is refused");
	while (resolver_timeout(resolver, now) >= 0)
	{
		now += 2 * SECOND;
		pump(0);
	}
	now += 600 * SECOND;
	is(resolve("a.test"), "10.0.0.1", "until some are removed");
}

/* A socket that answers nothing, and its name. */
static int
silent_server(char *name, size_t size)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t	length = sizeof(address);
	int			descriptor = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (bind(descriptor, (struct sockaddr *) &address, sizeof(address)) != 0 ||
		getsockname(descriptor, (struct sockaddr *) &address, &length) != 0)
		dns_die("no free port");
	snprintf(name, size, "127.0.0.1:%d", ntohs(address.sin_port));
	return descriptor;
}

/* Each query opens a socket to each server that it tries; older c-ares closes none before the query ends. */
static void
test_silent_servers(void)
{
	int			silent[2];
	char		names[2][32];
	char		servers[100];
	int			before;
	int			most = 0;
	int64		began = clock_monotonic();

	for (int i = 0; i < 2; i++)
		silent[i] = silent_server(names[i], sizeof(names[i]));
	snprintf(servers, sizeof(servers), "%s,%s,%s", names[0], names[1], server.name);

	before = open_descriptors();
	resolver = resolver_create(servers, acquire, release);
	(void) peek("a.test");
	while (strcmp(peek("a.test"), "pending") == 0 && clock_monotonic() < began + 3 * SECOND)
		pump(SECOND);
	is(peek("a.test"), "10.0.0.1", "the third server is tried in time");
	(void) count_with("numbers.test", 50000, 50064, "pending");
	began = clock_monotonic();
	while (clock_monotonic() < began + (most >= 60 ? 1200 : 10000) * INT64CONST(1000))
	{
		pump(50 * 1000);
		most = Max(most, open_descriptors() - before);
	}
	ok(most >= 60 && most <= RESOLVER_DESCRIPTORS_MAX, "sockets are bounded: %d", most);
	ok(acquired == open_descriptors() - before, "they are acquired: %d", acquired);
	resolver_destroy(resolver);
	ok(open_descriptors() == before && acquired == 0, "they are closed");
	for (int i = 0; i < 2; i++)
		close(silent[i]);
}

/* Makes a resolver with another search list. */
static void
start_with_search(const char *servers, const char *domains, const char *options)
{
	setenv("LOCALDOMAIN", domains, 1);
	setenv("RES_OPTIONS", options, 1);
	resolver = resolver_create(servers, acquire, release);
}

/* The search list of a pod of Kubernetes: a name that exists is the last of six. */
static void
test_search(void)
{
	static const char *const pod = "ns1.svc.k8s svc.k8s k8s corp.example compute.internal";
	DnsRecord  *record = record_of("gw7.internal");
	char		silent[32];
	char		servers[100];
	int			descriptor;
	int			questions;
	int64		began;

	start_with_search(server.name, pod, "ndots:5");
	questions = server.questions;
	is(resolve("gw7.internal"), "10.0.7.7", "a name is found though a domain's servers fail");
	ok(server.questions >= questions + 12, "six names were asked for: %d questions", server.questions - questions);
	is(resolve("gw8"), "10.0.7.8", "a short name is found in the second domain");
	is(resolve("half.internal"), "10.0.7.10", "a name without addresses in one domain is found in another");
	is(resolve("none.internal"), "failed: dns: server failed", "it is not known if a name exists whose search fails");
	questions = server.questions;
	is(resolve("none.internal."), "absent: dns: no such name", "a name with a dot at its end");
	ok(server.questions == questions + 2, "is asked for as it is");
	questions = server.questions;
	is(resolve("gw7.internal."), "10.0.7.7", "and found");
	ok(server.questions == questions + 2, "at once");

	record->code = DNS_NXDOMAIN;
	now += 10 * SECOND;
	(void) resolve("gw7.internal");
	is(peek("gw7.internal"), "absent: dns: no such name", "it is given up when it is deleted, though a domain's servers fail");
	record->code = 0;
	now += SECOND;
	is(resolve("gw7.internal"), "10.0.7.7", "and found again");

	/* Each answer takes 0.4 s. */
	resolver_destroy(resolver);
	start_with_search(server.name, pod, "ndots:5");
	began = now;
	while (strcmp(peek("gw7.internal"), "pending") == 0 && now < began + 10 * SECOND)
	{
		struct pollfd set[DNS_CONNECTIONS_MAX + 2];

		(void) poll(set, dns_poll_set(&server, set), 1000);
		now += 400 * INT64CONST(1000);
		dns_serve(&server);
		for (int j = 0; j < 3; j++)
		{
			(void) poll(&(struct pollfd) {.fd = resolver_descriptor(resolver), .events = POLLIN}, 1, 20);
			resolver_run(resolver, now);
		}
	}
	is(peek("gw7.internal"), "10.0.7.7", "a search may take longer than each of its names");
	ok(now > began + 2 * SECOND, "it took %d ms", (int) ((now - began) / 1000));
	resolver_destroy(resolver);

	descriptor = silent_server(silent, sizeof(silent));
	snprintf(servers, sizeof(servers), "%s,%s", silent, server.name);
	start_with_search(servers, pod, "ndots:5");
	began = clock_monotonic() - now;
	for (int64 limit = now + 10 * SECOND; strcmp(peek("gw7.internal"), "pending") == 0 && now < limit; now = clock_monotonic() - began)
		pump(SECOND);
	is(peek("gw7.internal"), "10.0.7.7", "a search goes on if the first server does not answer");
	resolver_destroy(resolver);

	start_with_search(server.name, "dark.test search.test", "ndots:5");
	(void) peek("short");
	pump_dry();
	now += 2 * SECOND;
	pump(0);
	pump_dry();
	is(peek("short"), "10.0.0.5", "a search goes on after a domain without an answer");
	resolver_destroy(resolver);
	close(descriptor);

	start_with_search(server.name, ".", "ndots:1");
	is(resolve("gw9"), "10.0.7.9", "the root as the search list: a short name");
	is(resolve("gw7.internal"), "10.0.7.7", "and a long one");
	is(resolve("none"), "absent: dns: no such name", "and one that does not exist");
	resolver_destroy(resolver);
	start_with_search(server.name, "search.test.", "ndots:1");
	is(resolve("short"), "10.0.0.5", "a domain with a dot at its end");
	resolver_destroy(resolver);
}

static void
test_destroyed(int before)
{
	char		closed[32];

	(void) count_with("dark.test", 200000, 200500, "pending");
	(void) count_with("numbers.test", 30000, 30100, "pending");
	pump(0);
	ok(open_descriptors() > before + 60, "queries are running");
	ok(acquired == open_descriptors() - before, "their sockets are acquired: %d", acquired);
	resolver_destroy(resolver);
	ok(open_descriptors() == before && acquired == 0, "all are closed");

	/* Between connecting and the answer. */
	resolver = resolver_create(server.name, acquire, release);
	(void) peek("many.test");
	while (server.connection_count == 0)
		pump(SECOND);
	ok(acquired == open_descriptors() - before - server.connection_count, "sockets of TCP are acquired: %d", acquired);
	resolver_destroy(resolver);
	while (server.connection_count > 0)
		dns_serve(&server);
	ok(open_descriptors() == before && acquired == 0, "all are closed");

	close(silent_server(closed, sizeof(closed)));
	resolver = resolver_create(closed, acquire, release);
	ok(strncmp(resolve("a.test"), "failed: dns: ", 13) == 0, "without a server resolution fails: %s", answer);
	ok(acquired == 1, "no socket is left: %d", acquired);
	resolver_destroy(resolver);

	resolver = resolver_create("not a server", acquire, release);
	is(peek("a.test"), "failed: dns: out of memory", "invalid servers fail");
	resolver_destroy(resolver);

	resolver = resolver_create(NULL, NULL, NULL);
	ok(strchr(peek("localhost"), '1') != NULL, "the system's servers work: %s", answer);
	resolver_destroy(resolver);
	resolver_destroy(resolver_create(NULL, NULL, NULL));
	ok(open_descriptors() == before && acquired == 0, "all are closed");
}

/* Without free descriptors queries fail; they do not hang. */
static void
test_refused_descriptors(int before)
{
	most_allowed = 0;
	ok(resolver_create(server.name, acquire, release) == NULL, "without a descriptor there is no resolver");
	most_allowed = 1;
	resolver = resolver_create(server.name, acquire, release);
	(void) peek("a.test");
	pump_dry();
	ok(strncmp(peek("a.test"), "failed: dns: ", 13) == 0, "a query without a descriptor fails at once: %s", answer);
	ok(resolver_timeout(resolver, now) == -1, "nothing of it is left");
	ok(acquired == 1 && open_descriptors() == before + 1, "its socket is closed");

	most_allowed = 6;
	ok(count_with("numbers.test", 60000, 60020, "") == 20, "20 names are requested with 5 sockets");
	pump_dry();
	ok(count_with("numbers.test", 60000, 60020, "10.") == 5, "5 are resolved");
	ok(count_with("numbers.test", 60000, 60020, "failed: dns: ") == 15, "15 fail");

	most_allowed = 2;
	(void) peek("many.test");
	pump_dry();
	ok(strncmp(peek("many.test"), "failed: dns: ", 13) == 0, "a query that cannot continue by TCP fails: %s", answer);
	ok(acquired == 1, "no socket is left: %d", acquired);

	most_allowed = INT_MAX;
	now += SECOND;
	is(resolve("a.test"), "10.0.0.1", "then queries work again");
	resolver_destroy(resolver);
	ok(open_descriptors() == before && acquired == 0, "all are closed");
	ok(least_acquired == 0, "nothing is released that was not acquired");
}

int
main(void)
{
	int			before;

	signal(SIGPIPE, SIG_IGN);
	setenv("LOCALDOMAIN", "search.test", 1);
	setenv("RES_OPTIONS", "ndots:1", 1);
	dns_start(&server, records, lengthof(records));
	before = open_descriptors();
	resolver = resolver_create(server.name, acquire, release);

	test_kinds();
	test_hosts_file();
	test_lifetimes();
	test_absent();
	test_held();
	test_doubt();
	test_truncated();
	test_losses();
	test_bad_answers();
	test_many();
	test_dark();
	test_forgotten();
	test_full();
	while (server.connection_count > 0)
		pump(100 * 1000);
	test_destroyed(before);
	test_silent_servers();
	test_search();
	test_refused_descriptors(before);
	dns_stop(&server);
	return done();
}
