/*
 * probe.c
 *		One probe of a gateway by tls, http or https, by libcurl.
 *
 * A probe is a connection, with a handshake for tls and https and a request for http
 * and https; it ends with the header of the answer.  libcurl gets an address, never a
 * name; it follows no redirect, uses no proxy and keeps no connection.  Its
 * callbacks store what they see and call no function of the server: an ERROR must
 * not jump through libcurl.
 */
#include "postgres.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/x509_vfy.h>

#include "probe/probe.h"
#include "probe/probe_tls.h"

/*
 * The most bytes of a header that are read, with the status line: room for lines of 16
 * kB in all.  libcurl reads a single line as a whole.
 */
#define HEADER_MAX (17 * 1024)

/* The bytes that are read at a time. */
#define READ_SIZE 4096

struct Probe
{
	CURLM	   *multi;
	CURL	   *easy;
	ProbeRefusal refusal;
	void	   *owner;
	ProbeSpec	spec;
	struct curl_slist *headers;
	struct curl_slist *connect_to;
	ProbeTls	tls;
	int			socket;			/* or -1; closed by libcurl when the probe has
								 * ended */
	int			open_errno;		/* why there is no socket */
	const char *refused;		/* why the address must not be connected to */
	bool		answered;		/* the header of the answer is complete */
	size_t		header_length;	/* so far */
	bool		oversized;		/* the header is longer than HEADER_MAX */
};

static bool
uses_tls(const ProbeSpec *spec)
{
	return probe_protocol_uses_tls(spec->protocol);
}

static bool
uses_http(const ProbeSpec *spec)
{
	return spec->protocol == PROBE_HTTP || spec->protocol == PROBE_HTTPS;
}

/* Opens the socket.  The address is checked again here, because nothing comes between this and connect(). */
static curl_socket_t
open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *address)
{
	Probe	   *probe = arg;

	probe->refused = probe->refusal(&address->addr);
	if (probe->refused != NULL)
		return CURL_SOCKET_BAD;
	probe->socket = socket(address->family, address->socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, address->protocol);
	if (probe->socket < 0)
	{
		probe->open_errno = errno;
		return CURL_SOCKET_BAD;
	}
	probe->tls.socket = probe->socket;
	return probe->socket;
}

/* Takes one line of the header; ends the probe after the last line of the final answer. */
static size_t
take_header(char *line, size_t size, size_t count, void *arg)
{
	Probe	   *probe = arg;
	size_t		length = size * count;
	long		status = 0;

	probe->header_length += length;
	probe->oversized = probe->header_length > HEADER_MAX;
	if (probe->oversized)
		return 0;
	if (length > 2 || (line[0] != '\r' && line[0] != '\n'))
		return length;
	(void) curl_easy_getinfo(probe->easy, CURLINFO_RESPONSE_CODE, &status);
	if (status >= 100 && status < 200)
		return length;
	probe->answered = true;
	return 0;
}

/* No body is needed: ends the probe. */
static size_t
take_body(char *data, size_t size, size_t count, void *arg)
{
	return 0;
}

/* probe_create makes what one probe after the other uses; returns NULL if out of memory. */
Probe *
probe_create(CURLM *multi, ProbeRefusal refusal)
{
	Probe	   *probe = calloc(1, sizeof(Probe));

	if (probe == NULL)
		return NULL;
	probe->easy = curl_easy_init();
	/* A client that keeps no connection should say so (RFC 9112, 9.6). */
	probe->headers = curl_slist_append(NULL, "Connection: close");
	if (probe->easy == NULL || probe->headers == NULL)
	{
		probe_destroy(probe);
		return NULL;
	}
	probe->multi = multi;
	probe->refusal = refusal;
	probe->socket = -1;
	return probe;
}

/* probe_destroy frees a probe that is not running. */
void
probe_destroy(Probe *probe)
{
	curl_easy_cleanup(probe->easy);
	curl_slist_free_all(probe->headers);
	free(probe);
}

/* probe_set_owner sets the owner of a probe. */
void
probe_set_owner(Probe *probe, void *owner)
{
	probe->owner = owner;
}

/* probe_owner returns the owner of the probe of a handle; NULL for a handle that libcurl made itself. */
void *
probe_owner(CURL *easy)
{
	char	   *probe = NULL;

	(void) curl_easy_getinfo(easy, CURLINFO_PRIVATE, &probe);
	return probe == NULL ? NULL : ((Probe *) probe)->owner;
}

/*
 * Writes a host as in a URL: an IPv6 address in brackets, a name without the dot at its
 * end, which neither TLS nor the Host header has.
 */
static void
write_host(char *place, size_t size, const char *host)
{
	size_t		length = strlen(host);

	if (length > 0 && host[length - 1] == '.')
		length--;
	snprintf(place, size, strchr(host, ':') != NULL ? "[%.*s]" : "%.*s", (int) length, host);
}

static bool
set_options(Probe *probe, const struct sockaddr *address)
{
	const ProbeSpec *spec = &probe->spec;
	CURL	   *easy = probe->easy;
	char		host[PROBE_HOST_MAX + 3];
	char		numeric[INET6_ADDRSTRLEN];
	char		url[PROBE_HOST_MAX + 32];
	char		connect_to[INET6_ADDRSTRLEN + 32];
	CURLcode	code = CURLE_OK;

	if (address->sa_family == AF_INET6)
	{
		inet_ntop(AF_INET6, &((const struct sockaddr_in6 *) address)->sin6_addr, numeric, sizeof(numeric));
		snprintf(connect_to, sizeof(connect_to), "::[%s]:%d", numeric, spec->address.port);
	}
	else
	{
		inet_ntop(AF_INET, &((const struct sockaddr_in *) address)->sin_addr, numeric, sizeof(numeric));
		snprintf(connect_to, sizeof(connect_to), "::%s:%d", numeric, spec->address.port);
	}
	write_host(host, sizeof(host), spec->server_name != NULL ? spec->server_name : spec->address.host);
	snprintf(url, sizeof(url), "%s://%s:%d", uses_tls(spec) ? "https" : "http", host, spec->address.port);

	probe->connect_to = curl_slist_append(NULL, connect_to);
	if (probe->connect_to == NULL)
		return false;
	curl_easy_reset(easy);

#define SET(option, value) \
	do { if (code == CURLE_OK) code = curl_easy_setopt(easy, option, value); } while (0)
	SET(CURLOPT_PRIVATE, (char *) probe);
	SET(CURLOPT_NOSIGNAL, 1L);
	SET(CURLOPT_URL, url);
	SET(CURLOPT_CONNECT_TO, probe->connect_to);
#if LIBCURL_VERSION_NUM >= 0x075500
	SET(CURLOPT_PROTOCOLS_STR, "http,https");
#else
	SET(CURLOPT_PROTOCOLS, (long) (CURLPROTO_HTTP | CURLPROTO_HTTPS));
#endif
	SET(CURLOPT_PROXY, "");
	SET(CURLOPT_FOLLOWLOCATION, 0L);
	SET(CURLOPT_NETRC, (long) CURL_NETRC_IGNORED);
	SET(CURLOPT_DNS_CACHE_TIMEOUT, 0L);
	SET(CURLOPT_FRESH_CONNECT, 1L);
	SET(CURLOPT_FORBID_REUSE, 1L);
	SET(CURLOPT_TCP_KEEPALIVE, 0L);
	SET(CURLOPT_TCP_NODELAY, 1L);
	SET(CURLOPT_OPENSOCKETFUNCTION, open_socket);
	SET(CURLOPT_OPENSOCKETDATA, probe);
	SET(CURLOPT_BUFFERSIZE, (long) READ_SIZE);
	/* The prober has deadlines of its own, shorter than this. */
	SET(CURLOPT_CONNECTTIMEOUT_MS, 0L);
	if (uses_http(spec))
	{
		SET(CURLOPT_REQUEST_TARGET, spec->path);
		SET(CURLOPT_HTTP_VERSION, (long) CURL_HTTP_VERSION_1_1);
		SET(CURLOPT_HTTPHEADER, probe->headers);
		SET(CURLOPT_USERAGENT, "gateway_pool/" GATEWAY_POOL_VERSION);
		SET(CURLOPT_HEADERFUNCTION, take_header);
		SET(CURLOPT_HEADERDATA, probe);
		SET(CURLOPT_WRITEFUNCTION, take_body);
	}
	else
		SET(CURLOPT_CONNECT_ONLY, 1L);
	if (uses_tls(spec))
	{
		SET(CURLOPT_SSL_ENABLE_ALPN, uses_http(spec) ? 1L : 0L);
		SET(CURLOPT_SSL_VERIFYPEER, spec->verify_tls ? 1L : 0L);
		SET(CURLOPT_SSL_VERIFYHOST, spec->verify_tls ? 2L : 0L);
		/* A resumed session shows no certificate. */
		SET(CURLOPT_SSL_SESSIONID_CACHE, 0L);
		/* libcurl would read its authorities again for each probe. */
		SET(CURLOPT_CAINFO, (char *) NULL);
		SET(CURLOPT_CAPATH, (char *) NULL);
		SET(CURLOPT_SSL_CTX_FUNCTION, probe_tls_prepare);
		SET(CURLOPT_SSL_CTX_DATA, &probe->tls);
	}
#undef SET
	return code == CURLE_OK;
}

static void
release(Probe *probe)
{
	(void) curl_multi_remove_handle(probe->multi, probe->easy);
	curl_slist_free_all(probe->connect_to);
	probe->connect_to = NULL;
	X509_STORE_free(probe->tls.trusted);
	probe->tls = (ProbeTls) {0};
	probe->spec = (ProbeSpec) {0};
}

/* probe_result_set sets the outcome and the reason of a result. */
void
probe_result_set(ProbeResult *result, ProbeOutcome outcome, const char *reason)
{
	result->outcome = outcome;
	strlcpy(result->reason, reason, PROBE_REASON_SIZE);
}

static bool
conclude(ProbeResult *result, ProbeOutcome outcome, const char *reason)
{
	probe_result_set(result, outcome, reason);
	return false;
}

static void
conclude_denied(ProbeResult *result, const char *why)
{
	char		reason[PROBE_REASON_SIZE];

	snprintf(reason, sizeof(reason), "denied: %s", why);
	probe_result_set(result, PROBE_INCONCLUSIVE, reason);
}

/* probe_is_denied returns true, and fills the result, if an address must not be connected to. */
bool
probe_is_denied(ProbeRefusal refusal, const struct sockaddr *address, ProbeResult *result)
{
	const char *why = refusal(address);

	if (why != NULL)
		conclude_denied(result, why);
	return why != NULL;
}

/* The reason, if the error came from this machine or its network and is no evidence; else NULL. */
static const char *
local_failure(int error)
{
	switch (error)
	{
		case EMFILE:
		case ENFILE:
		case ENOSPC:			/* of epoll_ctl() */
			return "no descriptors left";
		case EADDRNOTAVAIL:
			return "no ports left";
		case ENETUNREACH:
		case ENETDOWN:
		case EAFNOSUPPORT:
			return "network unreachable";
		case EPERM:
		case EACCES:
			return "refused by this machine";
		case EINVAL:
			return "address not usable";
		case ENOBUFS:
		case ENOMEM:
			return "no memory";
		default:
			return NULL;
	}
}

/* probe_result_set_error sets the outcome and the reason of a probe that did not connect, from errno. */
void
probe_result_set_error(ProbeResult *result, int error)
{
	if (local_failure(error) != NULL)
		probe_result_set(result, PROBE_INCONCLUSIVE, local_failure(error));
	else if (error == ECONNREFUSED)
		probe_result_set(result, PROBE_FAILED, "refused");
	else if (error == EHOSTUNREACH)
		probe_result_set(result, PROBE_FAILED, "host unreachable");
	else if (error == ETIMEDOUT)
		probe_result_set(result, PROBE_FAILED, "timeout while connecting");
	else if (error == ECONNRESET)
		probe_result_set(result, PROBE_FAILED, "reset");
	else
		probe_result_set(result, PROBE_FAILED, "not connected");
}

/* probe_verifies returns true if a probe verifies a certificate. */
bool
probe_verifies(const ProbeSpec *spec)
{
	return uses_tls(spec) && spec->verify_tls;
}

/*
 * probe_start starts a probe of the address to which that of "spec" resolved, and
 * trusts "trusted" if it verifies a certificate.  What "spec" points to must stay
 * until the probe ends.  Returns false and fills "result" if it could not start.
 */
bool
probe_start(Probe *probe, const ProbeSpec *spec, X509_STORE *trusted, const struct sockaddr *address,
			ProbeResult *result)
{
	*result = (ProbeResult) {0};
	if (probe_is_denied(probe->refusal, address, result))
		return false;
	if (probe_verifies(spec) && trusted == NULL)
		return conclude(result, PROBE_INCONCLUSIVE, spec->ca_certificate == NULL ?
						"the system's authorities are not readable" : "caCertificate is not readable");

	probe->spec = *spec;
	probe->tls = (ProbeTls) {
		.socket = -1,
		.handshake_only = spec->protocol == PROBE_TLS ? probe->easy : NULL
	};
	if (probe_verifies(spec))
	{
		(void) X509_STORE_up_ref(trusted);
		probe->tls.trusted = trusted;
	}
	probe->socket = -1;
	probe->open_errno = 0;
	probe->refused = NULL;
	probe->answered = false;
	probe->oversized = false;
	probe->header_length = 0;
	if (!set_options(probe, address) || curl_multi_add_handle(probe->multi, probe->easy) != CURLM_OK)
	{
		release(probe);
		return conclude(result, PROBE_INCONCLUSIVE, "no memory");
	}
	return true;
}

static bool
has_shaken_hands(Probe *probe)
{
	curl_off_t	at = 0;

	(void) curl_easy_getinfo(probe->easy, CURLINFO_APPCONNECT_TIME_T, &at);
	return at > 0;
}

/* libcurl does not set its time of the connection before the handshake ends. */
static bool
is_connected(const Probe *probe)
{
	struct sockaddr_storage peer;
	socklen_t	length = sizeof(peer);

	return probe->socket >= 0 && getpeername(probe->socket, (struct sockaddr *) &peer, &length) == 0;
}

static void
conclude_not_connected(Probe *probe, ProbeResult *result)
{
	long		error = 0;

	(void) curl_easy_getinfo(probe->easy, CURLINFO_OS_ERRNO, &error);
	if (probe->open_errno != 0)
		error = probe->open_errno;
	if (probe->refused != NULL)
		conclude_denied(result, probe->refused);
	else
		probe_result_set_error(result, error);
}

static void
conclude_answer(Probe *probe, ProbeResult *result)
{
	long		status = 0;
	char		reason[PROBE_REASON_SIZE];

	(void) curl_easy_getinfo(probe->easy, CURLINFO_RESPONSE_CODE, &status);
	snprintf(reason, sizeof(reason), "status %ld", status);
	if (status >= probe->spec.status_from && status <= probe->spec.status_to)
		conclude(result, PROBE_SUCCEEDED, "");
	else
		conclude(result, PROBE_FAILED, reason);
}

/*
 * Returns true if libcurl gave up a line of the header, after 100 kB.  Versions
 * before 8.6 report that as out of memory.
 */
static bool
is_line_too_long(Probe *probe, CURLcode code)
{
	curl_off_t	first_byte_at = 0;

#if LIBCURL_VERSION_NUM >= 0x080600
	if (code == CURLE_TOO_LARGE)
		return true;
#endif
	(void) curl_easy_getinfo(probe->easy, CURLINFO_STARTTRANSFER_TIME_T, &first_byte_at);
	return code == CURLE_OUT_OF_MEMORY && uses_http(&probe->spec) && first_byte_at > 0;
}

/*
 * probe_is_undecided returns true if a probe that libcurl reported as ended has to listen
 * first: the other side may refuse that there is no client certificate.
 */
bool
probe_is_undecided(const Probe *probe, CURLcode code)
{
	return code == CURLE_OK && probe->tls.undecided;
}

/* probe_socket returns the socket of a probe that is undecided. */
int
probe_socket(const Probe *probe)
{
	return probe->socket;
}

/* probe_listen reads what has come for a probe that is undecided; returns true if it is decided, or was closed. */
bool
probe_listen(Probe *probe)
{
	char		data[READ_SIZE];
	size_t		length;

	if (curl_easy_recv(probe->easy, data, sizeof(data), &length) != CURLE_AGAIN)
		probe->tls.undecided = false;
	return !probe->tls.undecided;
}

/* probe_end fills the result of a probe that libcurl reported as ended, and that has listened if it was undecided. */
void
probe_end(Probe *probe, CURLcode code, ProbeResult *result)
{
	char		problem[PROBE_REASON_SIZE];

	*result = (ProbeResult) {.certificate_expires_at = probe->tls.expires_at};
	if (probe->answered)
		conclude_answer(probe, result);
	else if (probe_tls_problem(&probe->tls, problem, sizeof(problem)))
		conclude(result, PROBE_FAILED, problem);
	else if (probe->oversized || is_line_too_long(probe, code))
		conclude(result, PROBE_FAILED, "header too long");
	else
		switch (code)
		{
			case CURLE_OK:

				/* An HTTP answer without the end of its header is none. */
				if (uses_http(&probe->spec))
					conclude(result, PROBE_FAILED, "no answer");
				else
					conclude(result, PROBE_SUCCEEDED, "");
				break;
			case CURLE_COULDNT_CONNECT:
			case CURLE_OPERATION_TIMEDOUT:
				conclude_not_connected(probe, result);
				break;
			case CURLE_PEER_FAILED_VERIFICATION:
				conclude(result, PROBE_FAILED, "tls name");
				break;
			case CURLE_SSL_CONNECT_ERROR:
				conclude(result, PROBE_FAILED, "tls handshake");
				break;
			case CURLE_URL_MALFORMAT:
				conclude(result, PROBE_INCONCLUSIVE, "serverName is no host");
				break;
			case CURLE_ABORTED_BY_CALLBACK:
				/* Its socket could not be watched. */
				conclude(result, PROBE_INCONCLUSIVE, "no descriptors left");
				break;
			case CURLE_UNSUPPORTED_PROTOCOL:
			case CURLE_WEIRD_SERVER_REPLY:
			case CURLE_HTTP2:
				conclude(result, PROBE_FAILED, "not http");
				break;
			case CURLE_GOT_NOTHING:
				conclude(result, PROBE_FAILED, "no answer");
				break;
			case CURLE_SEND_ERROR:
			case CURLE_RECV_ERROR:
				conclude(result, PROBE_FAILED, "reset");
				break;
			case CURLE_OUT_OF_MEMORY:
			case CURLE_FAILED_INIT:
				conclude(result, PROBE_INCONCLUSIVE, "no memory");
				break;
			default:

				/*
				 * libcurl's longer message may contain text of the other
				 * side.
				 */
				conclude(result, PROBE_FAILED, curl_easy_strerror(code));
				break;
		}
	release(probe);
}

/* probe_cancel ends a probe without a result. */
void
probe_cancel(Probe *probe)
{
	release(probe);
}

/* probe_expire ends a probe at its deadline; the reason names its phase. */
void
probe_expire(Probe *probe, ProbeResult *result)
{
	*result = (ProbeResult) {.hung = true, .certificate_expires_at = probe->tls.expires_at};
	if (!is_connected(probe))
		conclude(result, PROBE_FAILED, "timeout while connecting");
	else if (uses_tls(&probe->spec) && !has_shaken_hands(probe))
		conclude(result, PROBE_FAILED, "timeout in the tls handshake");
	else
		conclude(result, PROBE_FAILED, "timeout waiting for the answer");
	release(probe);
}
