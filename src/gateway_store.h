/*
 * gateway_store.h
 *		Pools, members and gateways, read from the tables.
 */
#ifndef GATEWAY_POOL_GATEWAY_STORE_H
#define GATEWAY_POOL_GATEWAY_STORE_H

#include "datatype/timestamp.h"
#include "utils/jsonb.h"

#include "catalog.h"
#include "health_rule.h"
#include "selection.h"

typedef struct GatewayRow
{
	pg_uuid_t	id;
	pg_uuid_t	org_id;
	char	   *name;
	Jsonb	   *capabilities;	/* or NULL */
	GatewayState state;
	Heartbeat	heartbeat;
	GatewayHealth health;		/* as of the time that the caller gave */
} GatewayRow;

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
} PoolRow;

/* By which pools or gateways are chosen; both NULL is all. */
typedef struct StoreFilter
{
	const pg_uuid_t *org_id;
	const pg_uuid_t *id;
} StoreFilter;

extern PoolRow *store_pools(const PoolCatalog *catalog, StoreFilter filter,
							TimestampTz now, int *count);
extern GatewayRow *store_gateways(const PoolCatalog *catalog, StoreFilter filter,
								  TimestampTz now, int *count);
extern bool gateway_is_eligible(const GatewayRow *gateway);

#endif							/* GATEWAY_POOL_GATEWAY_STORE_H */
