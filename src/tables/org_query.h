/*
 * org_query.h
 *		The query that returns the organization of a consumer's row.
 */
#ifndef GATEWAY_POOL_ORG_QUERY_H
#define GATEWAY_POOL_ORG_QUERY_H

#include "tables/owner.h"

extern SPIPlanPtr org_query_plan(Oid relation, const char *org_query);
extern pg_uuid_t *org_query_run(SPIPlanPtr plan, Datum row, MemoryContext context);

#endif							/* GATEWAY_POOL_ORG_QUERY_H */
