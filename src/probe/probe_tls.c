/*
 * probe_tls.c
 *		TLS settings of a probe, and how it verifies the other side.
 *
 * The other side is not trusted.  What it can make us compute is bounded: no
 * finite-field Diffie-Hellman, whose groups it would choose, no large key, no
 * long chain, no endless handshake.  No text of it becomes part of a reason:
 * that is OpenSSL's own text for the number of an error.
 *
 * The callbacks are called by libcurl and OpenSSL, and call no function of the
 * server.
 */
#include "postgres.h"

#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>
#include <sys/socket.h>
#include <time.h>

#include "base/trust_cache.h"
#include "probe/probe_tls.h"

/* The longest chain that is read, in bytes, and that is verified, in intermediate authorities. */
#define CHAIN_BYTES_MAX (32 * 1024)
#define CHAIN_DEPTH_MAX 8

/*
 * The most records and messages of a probe, in both directions; 20 to 40 are usual.
 * OpenSSL reads as long as there is something to read, and ignores, for example, any
 * number of requests to renegotiate.
 */
#define MESSAGES_MAX 1000

/* OpenSSL's groups without finite fields; the second list is for FIPS builds. */
#define GROUPS "X25519:P-256:X448:P-384:P-521"
#define APPROVED_GROUPS "P-256:P-384:P-521"

#define CIPHERS_SIZE 8192

/*
 * Notes how the other side takes it that we have no certificate: it ends the connection
 * by an alert, or sends a ticket for another one.  Disconnects the socket after too many
 * messages: after a shutdown, what has arrived could still be read.
 */
static void
count_message(int is_written, int version, int type, const void *message, size_t length, SSL *ssl, void *arg)
{
	static const struct sockaddr no_peer = {.sa_family = AF_UNSPEC};
	ProbeTls   *tls = arg;
	int			first = length > 0 ? *(const unsigned char *) message : -1;

	if (!is_written && type == SSL3_RT_ALERT && first == SSL3_AL_FATAL)
		tls->alerted = tls->certificate_wanted;
	if (!is_written && ((type == SSL3_RT_ALERT && first == SSL3_AL_FATAL) ||
						(type == SSL3_RT_HANDSHAKE && first == SSL3_MT_NEWSESSION_TICKET)))
		tls->undecided = false;
	if (tls->flooded || ++tls->messages <= MESSAGES_MAX)
		return;
	tls->flooded = true;
	(void) connect(tls->socket, &no_peer, sizeof(no_peer));
}

/*
 * OpenSSL calls this if the other side asks for a certificate: there is none.  With TLS
 * 1.3 the handshake is done for us before the other side knows that; the connection is
 * kept then, as long as the probe listens.
 */
static int
give_certificate(SSL *ssl, X509 **certificate, EVP_PKEY **key)
{
	ProbeTls   *tls = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));

	tls->certificate_wanted = true;
	if (tls->handshake_only != NULL && SSL_version(ssl) == TLS1_3_VERSION)
		tls->undecided = curl_easy_setopt(tls->handshake_only, CURLOPT_FORBID_REUSE, 0L) == CURLE_OK;
	return 0;
}

static void
read_expiry(ProbeTls *tls, X509 *certificate)
{
	struct tm	at;

	if (certificate != NULL && ASN1_TIME_to_tm(X509_get0_notAfter(certificate), &at) == 1)
		tls->expires_at = Max(timegm(&at), 0);
}

/* Inspects the certificates of the other side, and verifies them unless the probe does not. */
static int
verify(X509_STORE_CTX *context, void *arg)
{
	ProbeTls   *tls = arg;

	STACK_OF(X509) * chain = X509_STORE_CTX_get0_untrusted(context);
	int			verified = 1;

	read_expiry(tls, X509_STORE_CTX_get0_cert(context));
	for (int i = 0; i < sk_X509_num(chain); i++)
		tls->large_key |= trust_has_large_key(sk_X509_value(chain, i));
	if (tls->large_key)
	{
		X509_STORE_CTX_set_error(context, X509_V_ERR_CERT_REJECTED);
		return 0;
	}
	X509_STORE_CTX_set_error(context, X509_V_OK);
	if (tls->trusted != NULL)
		verified = X509_verify_cert(context);
	tls->chain_error = X509_STORE_CTX_get_error(context);
	return verified;
}

/* Removes the ciphers with finite fields from the system's list for TLS 1.2. */
static bool
limit_ciphers(SSL_CTX *context)
{
	STACK_OF(SSL_CIPHER) * ciphers = SSL_CTX_get_ciphers(context);
	char		names[CIPHERS_SIZE] = "";
	size_t		length = 0;

	for (int i = 0; i < sk_SSL_CIPHER_num(ciphers); i++)
	{
		const SSL_CIPHER *cipher = sk_SSL_CIPHER_value(ciphers, i);
		int			exchange = SSL_CIPHER_get_kx_nid(cipher);

		if (exchange == NID_kx_ecdhe || exchange == NID_kx_rsa)
			length += snprintf(names + length, sizeof(names) - length, "%s%s", length > 0 ? ":" : "",
							   SSL_CIPHER_get_name(cipher));
		if (length >= sizeof(names))
			return false;
	}
	return length == 0 || SSL_CTX_set_cipher_list(context, names) == 1;
}

/* probe_tls_prepare is the CURLOPT_SSL_CTX_FUNCTION of probes; "data" is a ProbeTls. */
CURLcode
probe_tls_prepare(CURL *easy, void *arg, void *data)
{
	SSL_CTX    *context = arg;
	ProbeTls   *tls = data;

	/*
	 * Not the context's own store: libcurl adds to that what it has read, and
	 * keeps it for other probes.
	 */
	if (tls->trusted != NULL)
		(void) SSL_CTX_set1_verify_cert_store(context, tls->trusted);
	SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
	SSL_CTX_set_cert_verify_callback(context, verify, tls);
	SSL_CTX_set_verify_depth(context, CHAIN_DEPTH_MAX);
	SSL_CTX_set_max_cert_list(context, CHAIN_BYTES_MAX);
	SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION);
	SSL_CTX_set_msg_callback(context, count_message);
	SSL_CTX_set_msg_callback_arg(context, tls);
	SSL_CTX_set_app_data(context, tls);
	SSL_CTX_set_client_cert_cb(context, give_certificate);
	if (!limit_ciphers(context) ||
		(SSL_CTX_set1_groups_list(context, GROUPS) != 1 && SSL_CTX_set1_groups_list(context, APPROVED_GROUPS) != 1))
		return CURLE_FAILED_INIT;
	return CURLE_OK;
}

/* probe_tls_problem writes what was wrong with the other side; returns false if nothing was. */
bool
probe_tls_problem(const ProbeTls *tls, char *problem, size_t size)
{
	if (tls->flooded)
		strlcpy(problem, "tls: too many messages", size);
	else if (tls->large_key)
		strlcpy(problem, "tls chain: a key is too large", size);
	else if (tls->chain_error != X509_V_OK)
		snprintf(problem, size, "tls chain: %s", X509_verify_cert_error_string(tls->chain_error));
	else if (tls->alerted)
		strlcpy(problem, "tls client certificate wanted", size);
	else
		return false;
	return true;
}
