/*
 * probe.h
 *		One probe of a gateway by tls, http or https, by libcurl; the result of any probe.
 */
#ifndef GATEWAY_POOL_PROBE_H
#define GATEWAY_POOL_PROBE_H

#include <curl/curl.h>
#include <openssl/ossl_typ.h>
#include <sys/socket.h>

#include "rules/probe_address.h"
#include "rules/probe_rule.h"

/* The size of the reason why a probe did not succeed, with the terminator. */
#define PROBE_REASON_SIZE 64

/* What to connect to and what to expect there. */
typedef struct ProbeSpec
{
	ProbeProtocol protocol;
	ProbeAddress address;
	const char *path;			/* for http and https */
	int			status_from;	/* for http and https: the status expected */
	int			status_to;
	const char *server_name;	/* to request and to verify; NULL for the host
								 * of the address */
	bool		verify_tls;
	const char *ca_certificate; /* PEM of the authorities to trust; NULL for
								 * the system's */
} ProbeSpec;

/* How a probe ended. */
typedef struct ProbeResult
{
	ProbeOutcome outcome;
	bool		hung;			/* its deadline ended it */
	char		reason[PROBE_REASON_SIZE];	/* in ASCII, no text of the other
											 * side; "" if it succeeded */
	int64		certificate_expires_at; /* seconds since 1970; 0 unknown */
	int64		started_at;		/* these two are set by the prober */
	int64		duration;		/* microseconds */
} ProbeResult;

/* Returns why an address must not be connected to, or NULL. */
typedef const char *(*ProbeRefusal) (const struct sockaddr *address);

typedef struct Probe Probe;

extern Probe *probe_create(CURLM *multi, ProbeRefusal refusal);
extern void probe_destroy(Probe *probe);
extern bool probe_verifies(const ProbeSpec *spec);
extern bool probe_start(Probe *probe, const ProbeSpec *spec, X509_STORE *trusted, const struct sockaddr *address,
						ProbeResult *result);
extern void *probe_owner(CURL *easy);
extern void probe_set_owner(Probe *probe, void *owner);
extern void probe_end(Probe *probe, CURLcode code, ProbeResult *result);
extern bool probe_is_undecided(const Probe *probe, CURLcode code);
extern int	probe_socket(const Probe *probe);
extern bool probe_listen(Probe *probe);
extern void probe_expire(Probe *probe, ProbeResult *result);
extern void probe_cancel(Probe *probe);
extern bool probe_is_denied(ProbeRefusal refusal, const struct sockaddr *address, ProbeResult *result);
extern void probe_result_set(ProbeResult *result, ProbeOutcome outcome, const char *reason);
extern void probe_result_set_error(ProbeResult *result, int error);

#endif							/* GATEWAY_POOL_PROBE_H */
