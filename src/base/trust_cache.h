/*
 * trust_cache.h
 *		The authorities that probes trust.
 */
#ifndef GATEWAY_POOL_TRUST_CACHE_H
#define GATEWAY_POOL_TRUST_CACHE_H

#include <openssl/ossl_typ.h>

/* The longest list of certificates, in bytes of PEM. */
#define TRUST_PEM_MAX 65536

/* One list of authorities, shared by all targets that have the same list. */
typedef struct Trust Trust;

typedef struct TrustCache TrustCache;

extern TrustCache *trust_cache_create(void);
extern void trust_cache_destroy(TrustCache *cache);
extern Trust *trust_acquire(TrustCache *cache, const char *pem);
extern void trust_release(TrustCache *cache, Trust *trust);
extern const char *trust_pem(const Trust *trust);
extern X509_STORE *trust_store(TrustCache *cache, Trust *trust, int64 now);
extern bool trust_has_large_key(X509 *certificate);

#endif							/* GATEWAY_POOL_TRUST_CACHE_H */
