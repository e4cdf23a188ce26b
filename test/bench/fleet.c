/*
 * fleet.c
 *		A fleet of gateways to probe, in one process: listeners on 127.0.0.1 to
 *		127.0.0.64 that close, go dark and come back at given instants.
 *
 *		fleet COUNT LOG_PORT RECORDS
 *
 *	Gateway n listens on port 20000 + n / 64 of 127.0.0.(1 + n % 64).  Commands
 *	come on standard input, one at a time, and are answered by "ok" once done:
 *
 *		open FIRST COUNT			accept connections (again)
 *		refuse FIRST COUNT SECONDS	close, each at an instant of its own, by
 *									chance, within so many seconds
 *		dark FIRST COUNT SECONDS	likewise, but stop answering
 *		sample on|off				count the connections that are opened
 *		phase NAME					the phase of later records
 *
 *	A record is a line: phase, what, gateway, time, count; separated by tabs, to
 *	be copied into a table.  It records the changes of gateways (open, refuse,
 *	dark), and
 *
 *	- what HAProxy logs to UDP port LOG_PORT (up, down), at the time at which the
 *	  kernel received it;
 *	- every 10 ms how many connections were opened up to then (opens), as the
 *	  kernel counts them for this network namespace: one for each connect().
 *	  The listeners cannot count them: a prober that resets before it
 *	  acknowledges, as HAProxy does, appears neither in accept() nor in TCP_INFO.
 */
#define _GNU_SOURCE

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define ADDRESSES 64
#define FIRST_PORT 20000

#define BACKLOG 512

/* A queue of this length takes one connection more. */
#define DARK_BACKLOG 1
#define FILLERS 2

#define SAMPLE_INTERVAL 0.01

/* Event data of epoll; that of a listener is the number of its gateway. */
#define COMMANDS UINT64_MAX
#define LOG (UINT64_MAX - 1)
#define CONNECTION (UINT64_C(1) << 32)

typedef struct Gateway
{
	int			listener;		/* or -1 */
	int			fillers[FILLERS];	/* connections that fill its queue, or -1 */
}			Gateway;

typedef struct Change
{
	double		at;
	int			gateway;
}			Change;

static Gateway * gateways;
static int	gateway_count;
static FILE *records;
static char phase[64] = "";

/* The running command, and its changes of gateways. */
static char command[16];
static Change * changes;
static int	change_count;
static int	changes_done;

static int	epoll_set;
static int	counters;			/* /proc/net/snmp */
static double next_sample;		/* 0 while none are taken */
static long own_opens;			/* by fillers */

static void
die(const char *format,...)
{
	va_list		arguments;
	int			error = errno;

	fputs("fleet: ", stderr);
	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fprintf(stderr, ": %s\n", strerror(error));
	exit(1);
}

static void
leave(int signal_number)
{
	(void) signal_number;
	_exit(0);
}

static double
now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_REALTIME, &time);
	return time.tv_sec + time.tv_nsec / 1e9;
}

static void
record(const char *what, int gateway, double at, long count)
{
	fprintf(records, "%s\t%s\t%d\t%.6f\t%ld\n", phase, what, gateway, at, count);
}

static void
watch(int fd, uint64_t what)
{
	struct epoll_event event = {.events = EPOLLIN, .data.u64 = what};

	if (epoll_ctl(epoll_set, EPOLL_CTL_ADD, fd, &event) != 0)
		die("epoll_ctl");
}

static struct sockaddr_in
address_of(int gateway)
{
	struct sockaddr_in address = {.sin_family = AF_INET};

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK + gateway % ADDRESSES);
	address.sin_port = htons(FIRST_PORT + gateway / ADDRESSES);
	return address;
}

static void
close_gateway(Gateway * gateway)
{
	if (gateway->listener >= 0)
		close(gateway->listener);
	gateway->listener = -1;
	for (int i = 0; i < FILLERS; i++)
	{
		if (gateway->fillers[i] >= 0)
			close(gateway->fillers[i]);
		gateway->fillers[i] = -1;
	}
}

static void
open_gateway(int number)
{
	struct sockaddr_in address = address_of(number);
	int			on = 1;
	int			fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);

	close_gateway(&gateways[number]);
	if (fd < 0)
		die("socket");
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(fd, (struct sockaddr *) &address, sizeof(address)) != 0 ||
		listen(fd, BACKLOG) != 0)
		die("gateway %d", number);
	watch(fd, number);
	gateways[number].listener = fd;
}

/*
 * When a queue of connections is full and none is accepted, the kernel drops
 * all others.  A prober's connection in the queue helps to fill it.
 */
static void
darken_gateway(int number)
{
	Gateway    *gateway = &gateways[number];
	struct sockaddr_in address = address_of(number);

	if (epoll_ctl(epoll_set, EPOLL_CTL_DEL, gateway->listener, NULL) != 0 ||
		listen(gateway->listener, DARK_BACKLOG) != 0)
		die("gateway %d", number);
	for (int i = 0; i < FILLERS; i++)
	{
		int			fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);

		if (fd < 0)
			die("socket");
		if (connect(fd, (struct sockaddr *) &address, sizeof(address)) != 0 && errno != EINPROGRESS)
			die("gateway %d", number);
		gateway->fillers[i] = fd;
		own_opens++;
	}
}

/* Accepts and reads connections; the prober closes them, as a client does. */
static void
serve(uint64_t what)
{
	char		buffer[512];
	int			fd;

	if (what < CONNECTION)
	{
		while ((fd = accept4(gateways[what].listener, NULL, NULL, SOCK_NONBLOCK)) >= 0)
			watch(fd, CONNECTION + fd);
		if (errno != EAGAIN && errno != ECONNABORTED)
			die("accept");
	}
	else
	{
		ssize_t		got;

		fd = (int) (what - CONNECTION);
		while ((got = read(fd, buffer, sizeof(buffer))) > 0)
			;
		if (got == 0 || errno != EAGAIN)
			close(fd);
	}
}

/* Reads one line of HAProxy's log: ... Server fleet/gN is DOWN, reason: ... */
static bool
read_log(int log_socket)
{
	char		text[2048];
	char		control[CMSG_SPACE(sizeof(struct timespec))];
	struct iovec vector = {.iov_base = text, .iov_len = sizeof(text) - 1};
	struct msghdr message = {
		.msg_iov = &vector, .msg_iovlen = 1,
		.msg_control = control, .msg_controllen = sizeof(control)
	};
	ssize_t		got = recvmsg(log_socket, &message, MSG_DONTWAIT);
	struct cmsghdr *header;
	struct timespec at;
	const char *server;
	char		state[8];
	int			gateway;

	if (got < 0)
		return false;
	text[got] = '\0';
	server = strstr(text, "Server fleet/g");
	header = CMSG_FIRSTHDR(&message);
	if (server != NULL && header != NULL && header->cmsg_type == SCM_TIMESTAMPNS &&
		sscanf(server, "Server fleet/g%d is %7[A-Z]", &gateway, state) == 2)
	{
		memcpy(&at, CMSG_DATA(header), sizeof(at));
		if (strcmp(state, "DOWN") == 0)
			record("down", gateway, at.tv_sec + at.tv_nsec / 1e9, 0);
		else if (strcmp(state, "UP") == 0)
			record("up", gateway, at.tv_sec + at.tv_nsec / 1e9, 0);
	}
	return true;
}

static void
take_sample(void)
{
	char		text[8192];
	ssize_t		got = pread(counters, text, sizeof(text) - 1, 0);
	double		at = now();
	const char *line;
	long		opens = 0;

	if (got <= 0)
		die("/proc/net/snmp");
	text[got] = '\0';
	/* The first line that begins so has names, the second has numbers. */
	line = strstr(text, "\nTcp: ");
	line = line == NULL ? NULL : strstr(line + 1, "\nTcp: ");
	if (line == NULL || sscanf(line, " Tcp: %*d %*d %*d %*d %ld", &opens) != 1)
		die("/proc/net/snmp has no ActiveOpens");
	record("opens", -1, at, opens - own_opens);
}

static int
compare_changes(const void *left, const void *right)
{
	double		difference = ((const Change *) left)->at - ((const Change *) right)->at;

	return difference < 0 ? -1 : difference > 0;
}

/* Plans a change of each gateway at a random time within SECONDS. */
static void
plan(int first, int count, double seconds)
{
	double		begin = now();

	change_count = count;
	changes_done = 0;
	for (int i = 0; i < count; i++)
		changes[i] = (Change) {.at = begin + drand48() * seconds, .gateway = first + i};
	qsort(changes, count, sizeof(Change), compare_changes);
}

static void
answer(void)
{
	command[0] = '\0';
	fflush(records);
	puts("ok");
	fflush(stdout);
}

/* Makes the changes that are due.  The recorded time is that before a change. */
static void
make_changes(void)
{
	while (changes_done < change_count && changes[changes_done].at <= now())
	{
		int			number = changes[changes_done++].gateway;
		double		at = now();

		if (strcmp(command, "open") == 0)
			open_gateway(number);
		else if (strcmp(command, "refuse") == 0)
			close_gateway(&gateways[number]);
		else
			darken_gateway(number);
		record(command, number, at, 0);
	}
	if (command[0] != '\0' && changes_done == change_count)
		answer();
}

static void
execute(char *line)
{
	int			first;
	int			count;
	double		seconds = 0;
	char		word[64];
	int			words = sscanf(line, "%15s %d %d %lf", command, &first, &count, &seconds);

	if ((words == 3 && strcmp(command, "open") == 0) ||
		(words == 4 && (strcmp(command, "refuse") == 0 || strcmp(command, "dark") == 0)))
	{
		if (first < 0 || count < 1 || count > gateway_count - first)
			die("no such gateways: %s", line);
		plan(first, count, seconds);
		return;
	}
	if (sscanf(line, "sample %63s", word) == 1)
		next_sample = strcmp(word, "on") == 0 ? now() : 0;
	else if (sscanf(line, "phase %63[^\n]", word) == 1)
		strcpy(phase, word);
	else
		die("not a command: %s", line);
	answer();
}

/* Milliseconds until something is due, or -1. */
static int
time_left(void)
{
	double		due = next_sample;

	if (changes_done < change_count && (due == 0 || changes[changes_done].at < due))
		due = changes[changes_done].at;
	if (due == 0)
		return -1;
	due -= now();
	return due <= 0 ? 0 : (int) (due * 1000) + 1;
}

static int
open_log(int port)
{
	struct sockaddr_in address = {.sin_family = AF_INET};
	int			on = 1;
	int			size = 8 << 20;
	int			fd = socket(AF_INET, SOCK_DGRAM, 0);

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	address.sin_port = htons(port);
	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	if (setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof(on)) != 0 ||
		bind(fd, (struct sockaddr *) &address, sizeof(address)) != 0)
		die("UDP port %d", port);
	return fd;
}

int
main(int argc, char **argv)
{
	struct epoll_event events[256];
	char		line[128];
	int			log_socket;

	if (argc != 4 || (gateway_count = atoi(argv[1])) < 1)
	{
		fputs("usage: fleet COUNT LOG_PORT RECORDS\n", stderr);
		return 2;
	}
	signal(SIGTERM, leave);
	srand48(getpid());
	records = fopen(argv[3], "w");
	counters = open("/proc/self/net/snmp", O_RDONLY | O_CLOEXEC);
	epoll_set = epoll_create1(EPOLL_CLOEXEC);
	gateways = malloc(gateway_count * sizeof(Gateway));
	changes = calloc(gateway_count, sizeof(Change));
	if (records == NULL || counters < 0 || epoll_set < 0 || gateways == NULL || changes == NULL)
		die("start");
	setvbuf(records, NULL, _IOLBF, 0);
	setvbuf(stdin, NULL, _IONBF, 0);
	log_socket = open_log(atoi(argv[2]));
	watch(log_socket, LOG);
	watch(STDIN_FILENO, COMMANDS);
	for (int i = 0; i < gateway_count; i++)
	{
		gateways[i] = (Gateway) {.listener = -1, .fillers = {-1, -1}};
		open_gateway(i);
	}

	for (;;)
	{
		int			count = epoll_wait(epoll_set, events, 256, time_left());

		if (count < 0 && errno != EINTR)
			die("epoll_wait");
		if (next_sample != 0 && next_sample <= now())
		{
			take_sample();
			do
				next_sample += SAMPLE_INTERVAL;
			while (next_sample <= now());
		}
		for (int i = 0; i < count; i++)
		{
			uint64_t	what = events[i].data.u64;

			if (what == LOG)
				while (read_log(log_socket))
					;
			else if (what != COMMANDS)
				serve(what);
			else if (fgets(line, sizeof(line), stdin) != NULL)
				execute(line);
			else
				return 0;
		}
		make_changes();
	}
}
