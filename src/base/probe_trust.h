/*
 * probe_trust.h
 *		The authorities that probes trust.
 */
#ifndef GATEWAY_POOL_PROBE_TRUST_H
#define GATEWAY_POOL_PROBE_TRUST_H

#include <openssl/ossl_typ.h>

/* The longest list of certificates, in bytes of PEM. */
#define PROBE_TRUST_MAX 65536

/* One list of authorities, for all targets that name the same. */
typedef struct Trust Trust;

typedef struct TrustCache TrustCache;

extern TrustCache *trust_cache_create(void);
extern void trust_cache_destroy(TrustCache *cache);
extern Trust *trust_acquire(TrustCache *cache, const char *pem);
extern void trust_release(TrustCache *cache, Trust *trust);
extern const char *trust_pem(const Trust *trust);
extern X509_STORE *trust_store(TrustCache *cache, Trust *trust, int64 now);
extern bool trust_has_large_key(X509 *certificate);

#endif							/* GATEWAY_POOL_PROBE_TRUST_H */
