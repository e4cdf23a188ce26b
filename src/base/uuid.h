/*
 * uuid.h
 *		Ids: comparison and text.
 */
#ifndef GATEWAY_POOL_UUID_H
#define GATEWAY_POOL_UUID_H

#include "utils/uuid.h"

static inline bool
uuid_equal(const pg_uuid_t *a, const pg_uuid_t *b)
{
	return memcmp(a->data, b->data, UUID_LEN) == 0;
}

/* uuid_equal_or_null takes NULL for null: two nulls are equal. */
static inline bool
uuid_equal_or_null(const pg_uuid_t *a, const pg_uuid_t *b)
{
	return a == NULL || b == NULL ? a == b : uuid_equal(a, b);
}

/* uuid_compare orders ids, and structs that begin with an id, for qsort() and bsearch(). */
static inline int
uuid_compare(const void *a, const void *b)
{
	return memcmp(a, b, UUID_LEN);
}

extern char *uuid_text(const pg_uuid_t *id);

#endif							/* GATEWAY_POOL_UUID_H */
