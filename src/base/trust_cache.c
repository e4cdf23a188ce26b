/*
 * trust_cache.c
 *		The authorities that probes trust.
 *
 * OpenSSL takes about 0.1 ms to read a certificate, and 50 ms for the system's: too
 * long for a probe.  Each list is read when it is first used, and shared by all
 * targets that have the same one.
 */
#include "postgres.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509_vfy.h>

#include "common/hashfn.h"
#include "datatype/timestamp.h"
#include "lib/ilist.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

#include "base/trust_cache.h"

/* The most bytes of PEM, in total, of the lists that stay read; in memory they take about six times as much. */
#define READ_MAX (8 * 1024 * 1024)

/* The system's authorities are read again after this time: they may have changed. */
#define SYSTEM_LIFETIME (SECS_PER_HOUR * USECS_PER_SEC)

/*
 * The largest keys, in bits, with which OpenSSL verifies a signature in a few
 * milliseconds.  Keys of other kinds are small, or as fast.
 */
#define RSA_BITS_MAX 8192
#define DSA_BITS_MAX 3072

struct Trust
{
	const char *pem;			/* the hash key, in the cache's memory; NULL
								 * for the system's */
	size_t		length;
	int			users;
	bool		unreadable;
	X509_STORE *store;			/* NULL if not read */
	int64		read_at;
	dlist_node	list_node;		/* if read, and not the system's */
};

struct TrustCache
{
	MemoryContext context;
	HTAB	   *trusts;			/* by PEM */
	Trust		system;
	dlist_head	read;			/* the most recently used first */
	size_t		read_length;	/* bytes of PEM of those in "read" */
};

static uint32
hash_pem(const void *key, Size size)
{
	const char *pem = *(const char *const *) key;

	return hash_bytes((const unsigned char *) pem, strlen(pem));
}

static int
compare_pem(const void *a, const void *b, Size size)
{
	return strcmp(*(const char *const *) a, *(const char *const *) b);
}

/* trust_cache_create creates a cache in the current memory context. */
TrustCache *
trust_cache_create(void)
{
	TrustCache *cache = palloc0(sizeof(TrustCache));
	HASHCTL		control = {
		.keysize = sizeof(const char *),
		.entrysize = sizeof(Trust),
		.hash = hash_pem,
		.match = compare_pem,
		.hcxt = CurrentMemoryContext
	};

	cache->context = CurrentMemoryContext;
	cache->trusts = hash_create("authorities that probes trust", 64, &control,
								HASH_ELEM | HASH_FUNCTION | HASH_COMPARE | HASH_CONTEXT);
	dlist_init(&cache->read);
	return cache;
}

/* Frees the certificates, unless running probes still use them: OpenSSL counts references. */
static void
free_store(TrustCache *cache, Trust *trust)
{
	if (trust->store == NULL)
		return;
	X509_STORE_free(trust->store);
	trust->store = NULL;
	if (trust == &cache->system)
		return;
	dlist_delete(&trust->list_node);
	cache->read_length -= trust->length;
}

/* trust_cache_destroy frees all certificates; other memory is freed with the context. */
void
trust_cache_destroy(TrustCache *cache)
{
	free_store(cache, &cache->system);
	while (!dlist_is_empty(&cache->read))
		free_store(cache, dlist_container(Trust, list_node, dlist_head_node(&cache->read)));
}

/* trust_acquire returns the trust in the authorities of a PEM, or in the system's for NULL. */
Trust *
trust_acquire(TrustCache *cache, const char *pem)
{
	bool		found;
	Trust	   *trust;
	char	   *copy;

	if (pem == NULL)
		return &cache->system;
	trust = hash_search(cache->trusts, &pem, HASH_FIND, NULL);
	if (trust == NULL)
	{
		copy = MemoryContextStrdup(cache->context, pem);
		trust = hash_search(cache->trusts, &copy, HASH_ENTER, &found);
		*trust = (Trust) {.pem = copy, .length = strlen(copy)};
	}
	trust->users++;
	return trust;
}

/* trust_release ends one use; the last one removes the trust from the cache. */
void
trust_release(TrustCache *cache, Trust *trust)
{
	const char *pem = trust->pem;

	if (trust == &cache->system || --trust->users > 0)
		return;
	free_store(cache, trust);
	(void) hash_search(cache->trusts, &pem, HASH_REMOVE, NULL);
	pfree(unconstify(char *, pem));
}

/* trust_pem returns the PEM, valid until trust_release; NULL for the system's. */
const char *
trust_pem(const Trust *trust)
{
	return trust->pem;
}

/* trust_has_large_key returns true if verifying with a certificate's key would take too long. */
bool
trust_has_large_key(X509 *certificate)
{
	EVP_PKEY   *key = X509_get0_pubkey(certificate);

	if (key == NULL)
		return false;
	switch (EVP_PKEY_base_id(key))
	{
		case EVP_PKEY_RSA:
		case EVP_PKEY_RSA_PSS:
			return EVP_PKEY_bits(key) > RSA_BITS_MAX;
		case EVP_PKEY_DSA:
			return EVP_PKEY_bits(key) > DSA_BITS_MAX;
		default:
			return false;
	}
}

/* Without it, OpenSSL would ask at the terminal for the password of an encrypted PEM. */
static int
no_password(char *buffer, int size, int verify, void *arg)
{
	return -1;
}

static bool
read_pem(X509_STORE *store, const char *pem)
{
	BIO		   *bio = BIO_new_mem_buf(pem, -1);
	X509	   *certificate;
	int			count = 0;
	bool		good = true;

	while (good && bio != NULL && (certificate = PEM_read_bio_X509(bio, NULL, no_password, NULL)) != NULL)
	{
		good = !trust_has_large_key(certificate) && X509_STORE_add_cert(store, certificate) == 1;
		X509_free(certificate);
		count++;
	}
	/* At the end, no other certificate begins. */
	good = good && count > 0 && ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
	BIO_free(bio);
	return good;
}

static X509_STORE *
read_store(const char *pem)
{
	X509_STORE *store = X509_STORE_new();

	if (store == NULL)
		return NULL;
	ERR_clear_error();

	/* As in libcurl: an intermediate authority may be the only trusted one. */
	X509_STORE_set_flags(store, X509_V_FLAG_TRUSTED_FIRST | X509_V_FLAG_PARTIAL_CHAIN);
	if (pem == NULL ? X509_STORE_set_default_paths(store) != 1 : !read_pem(store, pem))
	{
		X509_STORE_free(store);
		store = NULL;
	}
	ERR_clear_error();
	return store;
}

/* trust_store returns the certificates, which belong to the cache; NULL if they are not readable. */
X509_STORE *
trust_store(TrustCache *cache, Trust *trust, int64 now)
{
	if (trust == &cache->system && now - trust->read_at >= SYSTEM_LIFETIME)
		free_store(cache, trust);
	if (trust->store == NULL && !trust->unreadable)
	{
		trust->store = read_store(trust->pem);
		trust->read_at = now;
		if (trust == &cache->system)
			return trust->store;
		trust->unreadable = trust->store == NULL;
		if (trust->unreadable)
			return NULL;
		cache->read_length += trust->length;
		dlist_push_head(&cache->read, &trust->list_node);
		while (cache->read_length > READ_MAX)
			free_store(cache, dlist_container(Trust, list_node, dlist_tail_node(&cache->read)));
	}
	else if (trust->store != NULL && trust != &cache->system)
		dlist_move_head(&cache->read, &trust->list_node);
	return trust->store;
}
