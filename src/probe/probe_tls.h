/*
 * probe_tls.h
 *		TLS settings of a probe, and how it verifies the other side.
 */
#ifndef GATEWAY_POOL_PROBE_TLS_H
#define GATEWAY_POOL_PROBE_TLS_H

#include <curl/curl.h>
#include <openssl/ossl_typ.h>

/* The state of one probe; at its start, all zero but the first two and handshake_only. */
typedef struct ProbeTls
{
	X509_STORE *trusted;		/* NULL: nothing is verified */
	int			socket;			/* is disconnected if the other side sends too
								 * many messages */
	int			messages;		/* so far */
	bool		flooded;		/* the other side sent too many */
	CURL	   *handshake_only; /* the handle of a probe that ends after the
								 * handshake; NULL for others */
	bool		certificate_wanted; /* the other side asked for ours */
	bool		undecided;		/* it may still refuse that there is none */
	bool		alerted;		/* it ended the connection by an alert after
								 * that */
	bool		large_key;		/* a key of it would take too long to verify */
	int			chain_error;	/* why its certificate is not valid, or
								 * X509_V_OK */
	int64		expires_at;		/* of its certificate, in seconds since 1970;
								 * 0 unknown */
} ProbeTls;

extern CURLcode probe_tls_prepare(CURL *easy, void *context, void *tls);
extern bool probe_tls_problem(const ProbeTls *tls, char *problem, size_t size);

#endif							/* GATEWAY_POOL_PROBE_TLS_H */
