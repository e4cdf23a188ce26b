/*
 * peers.c
 *		Fake gateways on loopback addresses, good and bad ones, for tests.
 *
 * One process, one thread, one epoll set, any number of peers.  Each line on
 * the standard input is a command and gets a line on the standard output, "ok"
 * or "error" and a result or a reason, in the order of the commands:
 *
 *	start KIND [ADDRESS[:PORT]] [ARGUMENT...]		ID ADDRESS PORT
 *	fleet NUMBER KIND [ADDRESS] [ARGUMENT...]		ADDRESS ID:PORT...
 *	kind ID KIND [ARGUMENT...]		open connections keep their old kind
 *	stop ID							no longer listens, connections are closed
 *	restart ID						listens again, on the same port
 *	count ID						accepted=N closed=N sent=N requests=N last=HEAD
 *	wait ID N [COUNTER [SECONDS]]	its value, once accepted (or closed, sent,
 *									requests) is N; an error if SECONDS pass before
 *	list							ID KIND ADDRESS PORT up|stopped, ...
 *	quit							ends, as the end of the input does
 *
 * In arguments and in HEAD, the last request as received, \xNN is a byte.
 * Counters begin at the start of a peer.  A request is the head of an
 * HTTP request or a first TLS record.  The kinds are in a table below.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/queue.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BATCH 256
#define MAX_ARGUMENTS 32
#define MAX_BODY (64 * 1024 * 1024)
#define MAX_LINE 65536
#define MAX_FLEET 100000
#define MAX_REQUEST 8192

/* A whole number of lines. */
#define REFRAIN_LINE "X-Endless: a line of 38 bytes in all\r\n"
#define REFRAIN (1724 * (sizeof(REFRAIN_LINE) - 1))

#define TLS_HANDSHAKE 0x16
#define HELLO_RECORD (REFRAIN / 4)

/* The shortest backlog that also fills up if SYN cookies are off. */
#define SHORT_BACKLOG 1
#define MAX_CROWD 16

#define lengthof(array) (sizeof(array) / sizeof((array)[0]))
#define container_of(pointer, type, member) ((type *) ((char *) (pointer) - offsetof(type, member)))

typedef union Address
{
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
} Address;

/* A descriptor in the epoll set. */
typedef struct Watch
{
	int			fd;				/* -1: closed */
	uint32_t	events;
	void		(*ready) (struct Watch *watch);
} Watch;

typedef struct Timer
{
	TAILQ_ENTRY(Timer) entry;
	int64_t		due;			/* 0: not set */
	void		(*fire) (struct Timer *timer);
} Timer;

/* What a peer of some kind and arguments does; its connections keep it. */
typedef struct Script
{
	const struct Kind *kind;
	int			references;
	char	   *text;
	size_t		length;
	size_t		head_length;	/* the part that answers a HEAD */
	int			delay;			/* milliseconds before the text, or each byte
								 * of it */
	bool		closes;
} Script;

typedef struct Kind
{
	const char *name;
	const char *usage;
	enum
	{
		ADMITS_ALL, ADMITS_NONE, NO_ROOM
	}			admits;
	enum
	{
		NEVER, AT_ONCE, ON_REQUEST, ON_EACH_REQUEST
	}			speaks;
	enum
	{
		STAY, CLOSE, RESET
	}			then;
	bool		deaf;			/* never reads from the socket */
	bool		drips;
	const char *text;
	size_t		length;
	const char *refrain;		/* repeated after the text, REFRAIN bytes */
	bool		(*compose) (Script *script, int argc, char **argv);
} Kind;

typedef struct Peer
{
	int			id;
	Address		address;
	int			reserved;		/* always bound, to keep the port */
	Watch		listener;
	bool		stopped;
	Script	   *script;
	int			crowd[MAX_CROWD];	/* own connections that fill the backlog */
	int			crowd_size;
				LIST_HEAD(, Connection) connections;
	uint64_t	accepted;
	uint64_t	closed;
	uint64_t	sent;
	uint64_t	requests;
	size_t		request_length;
	char		request[MAX_REQUEST];
} Peer;

typedef struct Connection
{
	LIST_ENTRY(Connection) entry;
	Watch		watch;
	Timer		timer;
	Peer	   *peer;
	Script	   *script;
	bool		talking;
	bool		has_talked;
	size_t		said;
	size_t		to_say;			/* of the text */
	size_t		held;
	char		input[MAX_REQUEST];
} Connection;

/* The only command that is not answered at once. */
typedef struct Wait
{
	const uint64_t *counter;	/* NULL: no such command */
	uint64_t	goal;
	Timer		timer;
} Wait;

static int	epoll;
static TAILQ_HEAD(Timers, Timer) timers = TAILQ_HEAD_INITIALIZER(timers);
static LIST_HEAD(, Connection) dead = LIST_HEAD_INITIALIZER(dead);
static Peer **peers;
static int	peer_count;
static Wait waiting;
static Watch input;
static char input_line[MAX_LINE];
static size_t input_held;
static bool quitting;
static char letters[REFRAIN];
static char lines[REFRAIN];
static char hello_requests[REFRAIN];

static void
die(const char *what)
{
	fprintf(stderr, "peers: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void *
allocate(size_t size)
{
	void	   *memory = calloc(1, size);

	if (memory == NULL)
		die("calloc");
	return memory;
}

__attribute__((format(printf, 1, 2))) static void
answer(const char *format,...)
{
	va_list		arguments;

	va_start(arguments, format);
	vprintf(format, arguments);
	va_end(arguments);
	putchar('\n');
	if (fflush(stdout) != 0)
		die("answer");
}

/* ---- Descriptors and timers ---- */

static void
set_events(Watch *watch, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.ptr = watch};

	if (watch->events == events)
		return;
	if (epoll_ctl(epoll, EPOLL_CTL_MOD, watch->fd, &event) != 0)
		die("epoll_ctl");
	watch->events = events;
}

static void
start_watch(Watch *watch, int fd, uint32_t events, void (*ready) (Watch *))
{
	struct epoll_event event = {.events = events, .data.ptr = watch};

	*watch = (Watch) {.fd = fd,.events = events,.ready = ready};
	if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0)
		die("epoll_ctl");
}

static void
end_watch(Watch *watch)
{
	close(watch->fd);
	watch->fd = -1;
}

static int64_t
now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * INT64_C(1000000000) + time.tv_nsec;
}

static void
clear_timer(Timer *timer)
{
	if (timer->due != 0)
		TAILQ_REMOVE(&timers, timer, entry);
	timer->due = 0;
}

/* Sorted by the time due: most timers are added at the end. */
static void
set_timer(Timer *timer, int64_t milliseconds)
{
	Timer	   *before;

	clear_timer(timer);
	timer->due = now() + milliseconds * 1000000;
	TAILQ_FOREACH_REVERSE(before, &timers, Timers, entry)
	{
		if (before->due <= timer->due)
			break;
	}
	if (before != NULL)
		TAILQ_INSERT_AFTER(&timers, before, timer, entry);
	else
		TAILQ_INSERT_HEAD(&timers, timer, entry);
}

static int
next_timeout(void)
{
	Timer	   *first = TAILQ_FIRST(&timers);
	int64_t		left = first == NULL ? 0 : first->due - now();

	if (first == NULL)
		return -1;
	return left <= 0 ? 0 : (left + 999999) / 1000000;
}

static void
fire_timers(void)
{
	Timer	   *first;

	while ((first = TAILQ_FIRST(&timers)) != NULL && first->due <= now())
	{
		clear_timer(first);
		first->fire(first);
	}
}

/* ---- Scripts ---- */

static void
release_script(Script *script)
{
	if (--script->references > 0)
		return;
#ifndef __clang_analyzer__		/* it does not count references */
	free(script->text);
	free(script);
#endif
}

static void printf_text(Script *script, const char *format,...) __attribute__((format(printf, 2, 3)));

static void
printf_text(Script *script, const char *format,...)
{
	va_list		arguments;
	int			length;

	va_start(arguments, format);
	length = vasprintf(&script->text, format, arguments);
	va_end(arguments);
	if (length < 0)
		die("vasprintf");
	script->length = length;
}

static bool
parse_number(const char *word, long least, long most, long *number)
{
	char	   *end;

	errno = 0;
	*number = strtol(word, &end, 10);
	return errno == 0 && *word != '\0' && *end == '\0' && *number >= least && *number <= most;
}

/* http STATUS [BODY-SIZE [HEADER...]] */
static bool
compose_http(Script *script, int argc, char **argv)
{
	long		status;
	long		size = 3;
	FILE	   *stream;

	if (argc < 1 || !parse_number(argv[0], 100, 999, &status) ||
		(argc > 1 && !parse_number(argv[1], 0, MAX_BODY, &size)))
		return false;
	if (status < 200 || status == 204 || status == 304)
		size = 0;
	stream = open_memstream(&script->text, &script->length);
	if (stream == NULL)
		die("open_memstream");
	fprintf(stream, "HTTP/1.1 %ld Status\r\n", status);
	for (int i = 2; i < argc; i++)
	{
		fprintf(stream, "%s\r\n", argv[i]);
		if (strcasecmp(argv[i], "Connection: close") == 0)
			script->closes = true;
	}
	if (status >= 200 && status != 204)
		fprintf(stream, "Content-Length: %ld\r\n", size);
	fprintf(stream, "\r\n");
	script->head_length = ftell(stream);
	for (long i = 0; i < size; i++)
		fputc(i == size - 1 ? '\n' : 'b', stream);
	if (fclose(stream) != 0)
		die("open_memstream");
	return true;
}

static bool
compose_redirect(Script *script, int argc, char **argv)
{
	if (argc != 1)
		return false;
	printf_text(script, "HTTP/1.1 302 Found\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n", argv[0]);
	return true;
}

static bool
compose_continue(Script *script, int argc, char **argv)
{
	static const char once[] = "HTTP/1.1 100 Continue\r\n\r\n";
	static const char end[] = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n";
	long		times = 3;
	size_t		length = sizeof(once) - 1;

	if (argc > 1 || (argc == 1 && !parse_number(argv[0], 0, 10000, &times)))
		return false;
	script->length = times * length + sizeof(end) - 1;
	script->text = allocate(script->length);
	for (long i = 0; i < times; i++)
		memcpy(script->text + i * length, once, length);
	memcpy(script->text + times * length, end, sizeof(end) - 1);
	return true;
}

static bool
compose_slow(Script *script, int argc, char **argv)
{
	long		delay;

	if (argc != 1 || !parse_number(argv[0], 0, 3600000, &delay))
		return false;
	script->delay = delay;
	return true;
}

static bool
compose_drip(Script *script, int argc, char **argv)
{
	script->delay = 100;
	return argc == 0 || compose_slow(script, argc, argv);
}

#define TEXT(string) .text = (string), .length = sizeof(string) - 1
#define FINE "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n"
#define NOISE "\x01\xff\x00\x80garbage\x00\r\n\r\n\xfe\x7f"

/* A peer ends a connection where the other side does, whatever its kind. */
static const Kind kinds[] = {
	/* Send nothing */
	{.name = "open"},
	{.name = "silent", .deaf = true},
	{.name = "tlssilent"},
	{.name = "reset", .speaks = AT_ONCE, .then = RESET, TEXT("")},
	{.name = "refused", .admits = ADMITS_NONE},
	{.name = "blackhole", .admits = NO_ROOM},
	/* Proper answers */
	{.name = "http", .usage = "STATUS [BODY-SIZE [HEADER...]]", .speaks = ON_EACH_REQUEST, .compose = compose_http},
	{.name = "redirect", .usage = "LOCATION", .speaks = ON_EACH_REQUEST, .compose = compose_redirect},
	{.name = "continue", .usage = "[TIMES]", .speaks = ON_EACH_REQUEST, .compose = compose_continue},
	{.name = "slow", .usage = "MILLISECONDS", .speaks = ON_EACH_REQUEST, TEXT(FINE), .compose = compose_slow},
	{.name = "drip", .usage = "[MILLISECONDS]", .speaks = ON_EACH_REQUEST, TEXT(FINE), .drips = true, .compose = compose_drip},
	/* Broken ones */
	{.name = "half", .speaks = ON_REQUEST, TEXT("HTTP/1.1 2")},
	{.name = "halfclose", .speaks = ON_REQUEST, .then = CLOSE, TEXT("HTTP/1.1 2")},
	{.name = "wrongcl", .speaks = ON_REQUEST, .then = RESET, TEXT("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nok\n")},
	{.name = "http09", .speaks = ON_REQUEST, .then = CLOSE, TEXT("<p>It works!</p>\n")},
	{.name = "garbage", .speaks = AT_ONCE, TEXT(NOISE)},
	{.name = "tlsgarbage", .speaks = ON_REQUEST, TEXT(NOISE)},
	/* Endless ones */
	{.name = "endless", .speaks = ON_REQUEST, TEXT("HTTP/1.1 200 OK\r\nX-Endless: "), .refrain = letters},
	{.name = "endless-lines", .speaks = ON_REQUEST, TEXT("HTTP/1.1 200 OK\r\n"), .refrain = lines},
	{.name = "bigbody", .speaks = ON_REQUEST, TEXT("HTTP/1.1 200 OK\r\n\r\n"), .refrain = letters},
	{.name = "tlsendless", .speaks = ON_REQUEST, TEXT(""), .refrain = hello_requests},
};

static void
fill_refrains(void)
{
	static const char line[] = REFRAIN_LINE;

	memset(letters, 'a', sizeof(letters));
	for (size_t i = 0; i < sizeof(lines); i++)
		lines[i] = line[i % (sizeof(line) - 1)];
	/* Whole records of messages that are four zeros each. */
	for (size_t i = 0; i < sizeof(hello_requests); i += HELLO_RECORD)
	{
		static const size_t length = HELLO_RECORD - 5;

		memcpy(hello_requests + i, (char[]) {TLS_HANDSHAKE, 3, 3, length >> 8, length & 0xff}, 5);
	}
}

/* Makes the script of argv, a kind and its arguments, or answers with an error. */
static Script *
make_script(int argc, char **argv)
{
	Script	   *script;
	const Kind *kind = NULL;

	for (size_t i = 0; i < lengthof(kinds); i++)
		if (argc > 0 && strcmp(kinds[i].name, argv[0]) == 0)
			kind = &kinds[i];
	if (kind == NULL)
	{
		answer("error no such kind: %s", argc > 0 ? argv[0] : "");
		return NULL;
	}
	script = allocate(sizeof(Script));
	script->kind = kind;
	script->references = 1;
	script->closes = kind->then == CLOSE;
	if (kind->compose == NULL ? argc > 1 : !kind->compose(script, argc - 1, argv + 1))
	{
		answer("error usage: %s %s", kind->name, kind->usage == NULL ? "" : kind->usage);
		release_script(script);
		return NULL;
	}
	if (script->text == NULL)
	{
		script->length = kind->length;
		script->text = allocate(kind->length + 1);
		if (kind->length > 0)
			memcpy(script->text, kind->text, kind->length);
	}
	if (script->head_length == 0)
		script->head_length = script->length;
	return script;
}

/* ---- Connections ---- */

/* Closes a connection; its memory stays until no event of the batch refers to it. */
static void
close_connection(Connection *connection)
{
	end_watch(&connection->watch);
	clear_timer(&connection->timer);
	connection->peer->closed++;
	release_script(connection->script);
	LIST_REMOVE(connection, entry);
	LIST_INSERT_HEAD(&dead, connection, entry);
}

static void
bury_the_dead(void)
{
	Connection *connection;

	while ((connection = LIST_FIRST(&dead)) != NULL)
	{
		LIST_REMOVE(connection, entry);
		free(connection);
	}
}

static void
reset_on_close(int fd)
{
	struct linger linger = {.l_onoff = 1, .l_linger = 0};

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
}

static void
end_talk(Connection *connection)
{
	connection->talking = false;
	if (connection->script->kind->then == RESET)
		reset_on_close(connection->watch.fd);
	if (connection->script->closes || connection->script->kind->then == RESET)
		close_connection(connection);
	else
		set_events(&connection->watch, EPOLLIN);
}

/* Sends up to length bytes; false if the connection is closed, or the socket full and watched. */
static bool
say(Connection *connection, const char *bytes, size_t length)
{
	ssize_t		sent = send(connection->watch.fd, bytes, length, MSG_NOSIGNAL);

	if (sent >= 0)
	{
		connection->said += sent;
		connection->peer->sent += sent;
		return true;
	}
	if (errno == EAGAIN)
		set_events(&connection->watch, EPOLLOUT);
	else
		close_connection(connection);
	return false;
}

/* Sends the rest of the text and one piece of the refrain, as far as the socket takes it. */
static void
talk(Connection *connection)
{
	const char *refrain = connection->script->kind->refrain;

	while (connection->said < connection->to_say)
		if (!say(connection, connection->script->text + connection->said,
				 connection->to_say - connection->said))
			return;
	if (refrain == NULL)
		end_talk(connection);
	else
	{
		size_t		place = (connection->said - connection->to_say) % REFRAIN;

		set_events(&connection->watch, EPOLLOUT);
		say(connection, refrain + place, REFRAIN - place);
	}
}

/* Text that is due later is not sent if the other side has closed by then. */
static void
talk_later(Connection *connection)
{
	set_timer(&connection->timer, connection->script->delay);
	set_events(&connection->watch, EPOLLRDHUP);
}

static void
begin_talk(Connection *connection, size_t length)
{
	connection->talking = true;
	connection->has_talked = true;
	connection->said = 0;
	connection->to_say = length;
	if (connection->script->delay > 0)
		talk_later(connection);
	else
		talk(connection);
}

/* Returns the length of the first request in the input, 0 if it is not complete. */
static size_t
request_length(Connection *connection)
{
	const unsigned char *bytes = (const unsigned char *) connection->input;
	char	   *end;

	if (connection->held >= 5 && bytes[0] == TLS_HANDSHAKE)
	{
		size_t		length = 5 + (bytes[3] << 8) + bytes[4];

		if (length <= sizeof(connection->input))
			return length <= connection->held ? length : 0;
	}
	end = memmem(connection->input, connection->held, "\r\n\r\n", 4);
	return end == NULL ? 0 : end + 4 - connection->input;
}

static void
forget_input(Connection *connection, size_t length)
{
	connection->held -= length;
	memmove(connection->input, connection->input + length, connection->held);
}

/* Handles the received requests, up to the first with an answer that is not yet sent. */
static void
take_requests(Connection *connection)
{
	Peer	   *peer = connection->peer;
	Script	   *script = connection->script;
	size_t		length;

	while (connection->watch.fd >= 0 && !connection->talking &&
		   (length = request_length(connection)) > 0)
	{
		bool		is_head = length >= 5 && memcmp(connection->input, "HEAD ", 5) == 0;

		peer->requests++;
		peer->request_length = length;
		memcpy(peer->request, connection->input, length);
		forget_input(connection, length);
		if (script->kind->speaks == ON_EACH_REQUEST ||
			(script->kind->speaks == ON_REQUEST && !connection->has_talked))
			begin_talk(connection, is_head ? script->head_length : script->length);
	}
	/* If a head is too long for the buffer, its end is enough. */
	if (connection->held == sizeof(connection->input) && !connection->talking)
		forget_input(connection, connection->held - 3);
}

static void
listen_to(Connection *connection)
{
	ssize_t		length = recv(connection->watch.fd, connection->input + connection->held,
							  sizeof(connection->input) - connection->held, 0);

	if (length > 0)
	{
		connection->held += length;
		take_requests(connection);
	}
	else if (length == 0 || errno != EAGAIN)
		close_connection(connection);
}

static void
connection_ready(Watch *watch)
{
	Connection *connection = container_of(watch, Connection, watch);

	if (watch->events == EPOLLIN)
		listen_to(connection);
	else if (watch->events == EPOLLOUT)
	{
		talk(connection);
		take_requests(connection);
	}
	else
		close_connection(connection);
}

static void
connection_due(Timer *timer)
{
	Connection *connection = container_of(timer, Connection, timer);

	if (!connection->script->kind->drips)
		talk(connection);
	else if (say(connection, connection->script->text + connection->said, 1) &&
			 connection->said == connection->to_say)
		end_talk(connection);
	else if (connection->watch.fd >= 0)
		talk_later(connection);
	take_requests(connection);
}

static void
begin_connection(Peer *peer, int fd)
{
	Connection *connection = allocate(sizeof(Connection));
	const Kind *kind = peer->script->kind;

	connection->peer = peer;
	connection->script = peer->script;
	connection->script->references++;
	connection->timer.fire = connection_due;
	LIST_INSERT_HEAD(&peer->connections, connection, entry);
	start_watch(&connection->watch, fd, kind->deaf ? EPOLLRDHUP : EPOLLIN, connection_ready);
	peer->accepted++;
	if (kind->speaks == AT_ONCE)
		begin_talk(connection, connection->script->length);
}

/* ---- Peers ---- */

static socklen_t
address_length(const Address *address)
{
	return address->any.sa_family == AF_INET ? sizeof(address->v4) : sizeof(address->v6);
}

static bool
same_address(const Address *one, const Address *other)
{
	if (one->any.sa_family != other->any.sa_family)
		return false;
	if (one->any.sa_family == AF_INET)
		return one->v4.sin_port == other->v4.sin_port &&
			one->v4.sin_addr.s_addr == other->v4.sin_addr.s_addr;
	return one->v6.sin6_port == other->v6.sin6_port &&
		memcmp(&one->v6.sin6_addr, &other->v6.sin6_addr, sizeof(struct in6_addr)) == 0;
}

static bool
is_of_crowd(Peer *peer, const Address *from)
{
	for (int i = 0; i < peer->crowd_size; i++)
	{
		Address		address = {0};
		socklen_t	length = sizeof(address);

		if (getsockname(peer->crowd[i], &address.any, &length) == 0 && same_address(&address, from))
			return true;
	}
	return false;
}

static void
accept_connections(Peer *peer)
{
	for (;;)
	{
		Address		from = {0};
		socklen_t	length = sizeof(from);
		int			fd = accept4(peer->listener.fd, &from.any, &length, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd >= 0)
		{
			if (is_of_crowd(peer, &from))
				close(fd);
			else
				begin_connection(peer, fd);
		}
		else if (errno == EAGAIN)
			return;
		else if (errno != ECONNABORTED && errno != EINTR)
			die("accept");
	}
}

static void
listener_ready(Watch *watch)
{
	accept_connections(container_of(watch, Peer, listener));
}

/* Returns a socket bound to an address and sets its port, else -1. */
static int
bind_socket(Address *address)
{
	int			yes = 1;
	int			fd = socket(address->any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	socklen_t	length = address_length(address);

	if (fd < 0)
		return -1;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));	/* accepted ones inherit
																	 * it */
	if (bind(fd, &address->any, length) == 0 && getsockname(fd, &address->any, &length) == 0)
		return fd;
	close(fd);
	return -1;
}

static void
disperse_crowd(Peer *peer)
{
	while (peer->crowd_size > 0)
	{
		int			fd = peer->crowd[--peer->crowd_size];

		reset_on_close(fd);
		close(fd);
	}
}

static void
close_listener(Peer *peer)
{
	if (peer->listener.fd >= 0)
		end_watch(&peer->listener);
	disperse_crowd(peer);
}

static bool
open_listener(Peer *peer, int backlog)
{
	Address		address = peer->address;
	int			fd = bind_socket(&address);

	if (fd < 0)
		return false;
	if (listen(fd, backlog) != 0)
	{
		close(fd);
		return false;
	}
	start_watch(&peer->listener, fd, 0, listener_ready);
	return true;
}

/*
 * Once a listening socket's backlog is full, the kernel drops new connections.
 * For a listening socket, these two fields are the length of its queue and the
 * limit of that length.
 */
static bool
is_backlog_full(Peer *peer)
{
	struct tcp_info info = {0};
	socklen_t	length = sizeof(info);

	if (getsockopt(peer->listener.fd, IPPROTO_TCP, TCP_INFO, &info, &length) != 0)
		die("TCP_INFO");
	return info.tcpi_unacked > info.tcpi_sacked;
}

/* Fills the backlog with own connections, which are never accepted. */
static bool
gather_crowd(Peer *peer)
{
	set_events(&peer->listener, 0);
	if (listen(peer->listener.fd, SHORT_BACKLOG) != 0)
		return false;
	while (!is_backlog_full(peer))
	{
		struct pollfd connecting = {.events = POLLOUT};

		if (peer->crowd_size == MAX_CROWD)
		{
			errno = ETIMEDOUT;
			return false;
		}
		connecting.fd = socket(peer->address.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		if (connecting.fd < 0)
			return false;
		peer->crowd[peer->crowd_size++] = connecting.fd;
		(void) connect(connecting.fd, &peer->address.any, address_length(&peer->address));
		poll(&connecting, 1, 20);
	}
	return true;
}

/* Sets the listening socket as script and state demand; false with errno on failure. */
static bool
arrange_listener(Peer *peer)
{
	int			admits = peer->stopped ? ADMITS_NONE : peer->script->kind->admits;

	if (admits == ADMITS_NONE)
	{
		close_listener(peer);
		return true;
	}
	if (peer->listener.fd < 0 && !open_listener(peer, admits == NO_ROOM ? SHORT_BACKLOG : SOMAXCONN))
		return false;
	if (admits == NO_ROOM)
		return gather_crowd(peer);
	if (peer->crowd_size > 0)
	{
		if (listen(peer->listener.fd, SOMAXCONN) != 0)
			return false;
		accept_connections(peer);
		disperse_crowd(peer);
	}
	set_events(&peer->listener, EPOLLIN);
	return true;
}

/* ---- Commands ---- */

/* Parses 127.0.0.1, 127.0.0.1:80, ::1, [::1] or [::1]:80; false if it is no address. */
static bool
parse_address(const char *word, Address *address)
{
	char		host[INET6_ADDRSTRLEN + 2];
	const char *colon = strrchr(word, ':');
	long		port = 0;
	size_t		length = strlen(word);

	memset(address, 0, sizeof(*address));
	if (colon != NULL && (word[0] == '[' ? colon[-1] == ']' : strchr(word, ':') == colon))
	{
		if (!parse_number(colon + 1, 1, 65535, &port))
			return false;
		length = colon - word;
	}
	if (word[0] == '[' && length >= 2 && word[length - 1] == ']')
	{
		word++;
		length -= 2;
	}
	if (length >= sizeof(host))
		return false;
	memcpy(host, word, length);
	host[length] = '\0';
	if (inet_pton(AF_INET, host, &address->v4.sin_addr) == 1)
	{
		address->v4.sin_family = AF_INET;
		address->v4.sin_port = htons(port);
		return true;
	}
	if (inet_pton(AF_INET6, host, &address->v6.sin6_addr) == 1)
	{
		address->v6.sin6_family = AF_INET6;
		address->v6.sin6_port = htons(port);
		return true;
	}
	return false;
}

static bool
is_loopback(const Address *address)
{
	if (address->any.sa_family == AF_INET)
		return ntohl(address->v4.sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
	return IN6_IS_ADDR_LOOPBACK(&address->v6.sin6_addr);
}

static const char *
host_of(const Address *address)
{
	static char host[INET6_ADDRSTRLEN];

	return inet_ntop(address->any.sa_family, address->any.sa_family == AF_INET ?
					 (const void *) &address->v4.sin_addr : (const void *) &address->v6.sin6_addr,
					 host, sizeof(host));
}

static int
port_of(const Address *address)
{
	return ntohs(address->any.sa_family == AF_INET ? address->v4.sin_port : address->v6.sin6_port);
}

/* Starts a peer, which takes over a reference to the script; NULL with errno on failure. */
static Peer *
start_peer(Script *script, const Address *address)
{
	Peer	   *peer = allocate(sizeof(Peer));

	peer->address = *address;
	peer->listener.fd = -1;
	peer->script = script;
	LIST_INIT(&peer->connections);
	peer->reserved = bind_socket(&peer->address);
	if (peer->reserved < 0 || !arrange_listener(peer))
	{
		int			why = errno;

		close_listener(peer);
		if (peer->reserved >= 0)
			close(peer->reserved);
		release_script(script);
		free(peer);
		errno = why;
		return NULL;
	}
	peers = reallocarray(peers, peer_count + 1, sizeof(Peer *));
	if (peers == NULL)
		die("reallocarray");
	peers[peer_count++] = peer;
	peer->id = peer_count;
	return peer;
}

static void
stop_peer(Peer *peer)
{
	peer->stopped = true;
	arrange_listener(peer);
	while (!LIST_EMPTY(&peer->connections))
		close_connection(LIST_FIRST(&peer->connections));
}

static void
free_peers(void)
{
	for (int i = 0; i < peer_count; i++)
	{
		stop_peer(peers[i]);
		close(peers[i]->reserved);
		release_script(peers[i]->script);
		free(peers[i]);
	}
	free(peers);
	bury_the_dead();
}

/* Returns the peer of an id, or answers with an error. */
static Peer *
find_peer(const char *word)
{
	long		id;

	if (parse_number(word, 1, peer_count, &id))
		return peers[id - 1];
	answer("error no such peer: %s", word);
	return NULL;
}

/* Parses KIND [ADDRESS] [ARGUMENT...], or answers with an error. */
static Script *
parse_start(int argc, char **argv, Address *address)
{
	if (argc > 1 && parse_address(argv[1], address))
	{
		if (!is_loopback(address))
		{
			answer("error not a loopback address: %s", argv[1]);
			return NULL;
		}
		argv[1] = argv[0];
		return make_script(argc - 1, argv + 1);
	}
	*address = (Address) {.v4 = {.sin_family = AF_INET,.sin_addr.s_addr = htonl(INADDR_LOOPBACK)}};
	return make_script(argc, argv);
}

static void
command_start(int argc, char **argv)
{
	Address		address;
	Script	   *script = parse_start(argc, argv, &address);
	Peer	   *peer;

	if (script == NULL)
		return;
	peer = start_peer(script, &address);
	if (peer == NULL)
		answer("error cannot start: %s", strerror(errno));
	else
		answer("ok %d %s %d", peer->id, host_of(&peer->address), port_of(&peer->address));
}

static void
command_fleet(int argc, char **argv)
{
	Address		address;
	Script	   *script;
	long		number;
	int			before = peer_count;
	bool		failed = false;

	if (!parse_number(argv[0], 1, MAX_FLEET, &number))
	{
		answer("error usage: fleet NUMBER KIND [ADDRESS] [ARGUMENT...]");
		return;
	}
	script = parse_start(argc - 1, argv + 1, &address);
	if (script == NULL)
		return;
	for (long i = 0; i < number && !failed; i++)
	{
		script->references++;
		failed = start_peer(script, &address) == NULL;
	}
	release_script(script);
	if (failed)
	{
		answer("error started %d only: %s", peer_count - before, strerror(errno));
		return;
	}
	printf("ok %s", host_of(&address));
	for (int i = before; i < peer_count; i++)
		printf(" %d:%d", peers[i]->id, port_of(&peers[i]->address));
	answer("%s", "");
}

static void
arrange_and_answer(Peer *peer)
{
	if (arrange_listener(peer))
		answer("ok");
	else
		answer("error cannot listen: %s", strerror(errno));
}

/* Connections in the queue belong to the old kind, so they are accepted first. */
static void
command_kind(int argc, char **argv)
{
	Peer	   *peer = find_peer(argv[0]);
	Script	   *script = peer == NULL ? NULL : make_script(argc - 1, argv + 1);

	if (script == NULL)
		return;
	if (peer->listener.events != 0 && peer->listener.fd >= 0)
		accept_connections(peer);
	release_script(peer->script);
	peer->script = script;
	arrange_and_answer(peer);
}

static void
command_stop(int argc, char **argv)
{
	Peer	   *peer = find_peer(argv[0]);

	(void) argc;
	if (peer == NULL)
		return;
	stop_peer(peer);
	answer("ok");
}

static void
command_restart(int argc, char **argv)
{
	Peer	   *peer = find_peer(argv[0]);

	(void) argc;
	if (peer == NULL)
		return;
	peer->stopped = false;
	arrange_and_answer(peer);
}

static void
command_count(int argc, char **argv)
{
	Peer	   *peer = find_peer(argv[0]);

	(void) argc;
	if (peer == NULL)
		return;
	printf("ok accepted=%ju closed=%ju sent=%ju requests=%ju last=", (uintmax_t) peer->accepted,
		   (uintmax_t) peer->closed, (uintmax_t) peer->sent, (uintmax_t) peer->requests);
	for (size_t i = 0; i < peer->request_length; i++)
	{
		unsigned char byte = peer->request[i];

		printf(byte < ' ' || byte > '~' || byte == '\\' ? "\\x%02x" : "%c", byte);
	}
	answer("%s", "");
}

/* Later commands wait until it is answered, or the input has ended. */
static void
command_wait(int argc, char **argv)
{
	Peer	   *peer = find_peer(argv[0]);
	const char *counter = argc > 2 ? argv[2] : "accepted";
	long		goal;
	long		seconds = 0;

	if (peer == NULL)
		return;
	waiting.counter =
		strcmp(counter, "accepted") == 0 ? &peer->accepted :
		strcmp(counter, "closed") == 0 ? &peer->closed :
		strcmp(counter, "sent") == 0 ? &peer->sent :
		strcmp(counter, "requests") == 0 ? &peer->requests : NULL;
	if (waiting.counter == NULL || !parse_number(argv[1], 0, INT32_MAX, &goal) ||
		(argc > 3 && !parse_number(argv[3], 0, 86400, &seconds)))
	{
		waiting.counter = NULL;
		answer("error usage: wait ID NUMBER [COUNTER [SECONDS]]");
		return;
	}
	waiting.goal = goal;
	if (argc > 3)
		set_timer(&waiting.timer, seconds * 1000);
	set_events(&input, 0);
}

static void
end_wait(bool reached)
{
	answer("%s %ju", reached ? "ok" : "error only", (uintmax_t) *waiting.counter);
	waiting.counter = NULL;
	clear_timer(&waiting.timer);
	set_events(&input, EPOLLIN);
}

static void
wait_due(Timer *timer)
{
	(void) timer;
	end_wait(*waiting.counter >= waiting.goal);
}

static void
command_list(int argc, char **argv)
{
	(void) argc;
	(void) argv;
	printf("ok");
	for (int i = 0; i < peer_count; i++)
		printf("%s %d %s %s %d %s", i == 0 ? "" : ",", peers[i]->id, peers[i]->script->kind->name,
			   host_of(&peers[i]->address), port_of(&peers[i]->address),
			   peers[i]->stopped ? "stopped" : "up");
	answer("%s", "");
}

static void
command_quit(int argc, char **argv)
{
	(void) argc;
	(void) argv;
	quitting = true;
	answer("ok");
}

static const struct
{
	const char *name;
	int			least;			/* arguments */
	int			most;
	void		(*run) (int argc, char **argv);
}			commands[] = {
	{"start", 1, MAX_ARGUMENTS, command_start},
	{"fleet", 2, MAX_ARGUMENTS, command_fleet},
	{"kind", 2, MAX_ARGUMENTS, command_kind},
	{"stop", 1, 1, command_stop},
	{"restart", 1, 1, command_restart},
	{"count", 1, 1, command_count},
	{"wait", 2, 4, command_wait},
	{"list", 0, 0, command_list},
	{"quit", 0, 0, command_quit},
};

/* Replaces \xNN in a word. */
static void
unescape(char *word)
{
	char	   *to = word;

	for (; *word != '\0'; word++)
	{
		if (word[0] == '\\' && word[1] == 'x' && isxdigit((unsigned char) word[2]) &&
			isxdigit((unsigned char) word[3]))
		{
			char		digits[] = {word[2], word[3], '\0'};

			*to++ = strtol(digits, NULL, 16);
			word += 3;
		}
		else
			*to++ = *word;
	}
	*to = '\0';
}

static void
run_command(char *line)
{
	char	   *words[MAX_ARGUMENTS + 1];
	int			count = 0;

	for (char *word = strtok(line, " "); word != NULL; word = strtok(NULL, " "))
	{
		if (count == lengthof(words))
		{
			answer("error too many words");
			return;
		}
		unescape(word);
		words[count++] = word;
	}
	for (size_t i = 0; i < lengthof(commands) && count > 0; i++)
	{
		if (strcmp(commands[i].name, words[0]) != 0)
			continue;
		if (count - 1 < commands[i].least || count - 1 > commands[i].most)
			break;
		commands[i].run(count - 1, words + 1);
		return;
	}
	answer("error no such command, or not with so many words");
}

/* Runs the received commands, up to the first that waits. */
static void
run_commands(void)
{
	while (!quitting)
	{
		char	   *end = memchr(input_line, '\n', input_held);
		char	   *line;

		if (waiting.counter != NULL && *waiting.counter < waiting.goal)
			return;
		if (waiting.counter != NULL)
			end_wait(true);
		if (end == NULL)
			return;
		*end = '\0';
		line = strdup(input_line);
		if (line == NULL)
			die("strdup");
		input_held -= end + 1 - input_line;
		memmove(input_line, end + 1, input_held);
		run_command(line);
		free(line);
	}
}

/* While a command waits, only the end of the input is noticed. */
static void
input_ready(Watch *watch)
{
	ssize_t		length;

	if (watch->events == 0)
	{
		quitting = true;
		return;
	}
	length = read(watch->fd, input_line + input_held, sizeof(input_line) - input_held);
	if (length < 0 && errno != EINTR)
		die("read");
	if (length == 0)
		quitting = true;
	if (length <= 0)
		return;
	input_held += length;
	if (input_held == sizeof(input_line) && memchr(input_line, '\n', input_held) == NULL)
	{
		fprintf(stderr, "peers: a command is too long\n");
		exit(1);
	}
}

int
main(void)
{
	struct rlimit files;
	struct epoll_event events[BATCH];

	if (getrlimit(RLIMIT_NOFILE, &files) != 0)
		die("getrlimit");
	files.rlim_cur = files.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &files) != 0)
		die("setrlimit");
	epoll = epoll_create1(EPOLL_CLOEXEC);
	if (epoll < 0)
		die("epoll_create1");
	fill_refrains();
	waiting.timer.fire = wait_due;
	start_watch(&input, STDIN_FILENO, EPOLLIN, input_ready);

	while (!quitting)
	{
		int			count = epoll_wait(epoll, events, BATCH, next_timeout());

		if (count < 0 && errno != EINTR)
			die("epoll_wait");
		for (int i = 0; i < count; i++)
		{
			Watch	   *watch = events[i].data.ptr;

			if (watch->fd >= 0)
				watch->ready(watch);
		}
		fire_timers();
		bury_the_dead();
		run_commands();
	}
	free_peers();
	close(epoll);
	return 0;
}
