/*
 * pool_rows.h
 *		Pools and their members, read from the tables and judged.
 */
#ifndef GATEWAY_POOL_POOL_ROWS_H
#define GATEWAY_POOL_POOL_ROWS_H

#include "tables/gateway_rows.h"

typedef struct MemberRow
{
	GatewayRow	gateway;
	int32		weight;
	int32		priority;
} MemberRow;

typedef struct PoolRow
{
	pg_uuid_t	id;
	pg_uuid_t	org_id;
	char	   *name;
	TimestampTz created_at;
	TimestampTz updated_at;
	MemberRow  *members;
	int			member_count;
	Size		capabilities_size;	/* without those that a pool read before
									 * has */
} PoolRow;

extern PoolRow *pool_rows_read(const PoolCatalog *catalog, RowFilter filter, int *count);
extern const PoolRow *pool_rows_find(const PoolRow *pools, int count, const pg_uuid_t *id);

#endif							/* GATEWAY_POOL_POOL_ROWS_H */
