/*
 * probe_tls.h
 *		TLS settings of a probe, and how it verifies the other side.
 */
#ifndef GATEWAY_POOL_PROBE_TLS_H
#define GATEWAY_POOL_PROBE_TLS_H

#include <curl/curl.h>
#include <openssl/ossl_typ.h>

/* Of one probe; all zero but the first two at its start. */
typedef struct ProbeTls
{
	X509_STORE *trusted;		/* NULL: nothing is verified */
	int			socket;			/* that is disconnected if the other side says
								 * too much */
	int			messages;		/* so far */
	bool		flooded;		/* the other side said too much */
	bool		large_key;		/* it has a key that would take too long */
	int			chain_error;	/* why its certificate is not verified,
								 * X509_V_OK for no reason */
	int64		expires_at;		/* its certificate, in seconds since 1970; 0
								 * unknown */
} ProbeTls;

extern CURLcode probe_tls_prepare(CURL *easy, void *context, void *tls);
extern bool probe_tls_problem(const ProbeTls *tls, char *problem, size_t size);

#endif							/* GATEWAY_POOL_PROBE_TLS_H */
