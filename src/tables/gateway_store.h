/*
 * gateway_store.h
 *		Pools, members and gateways, read from the tables.
 */
#ifndef GATEWAY_POOL_GATEWAY_STORE_H
#define GATEWAY_POOL_GATEWAY_STORE_H

#include "datatype/timestamp.h"
#include "utils/array.h"
#include "utils/jsonb.h"

#include "base/compat.h"
#include "rules/selection.h"
#include "shared/health_evidence.h"
#include "tables/catalog.h"
#include "tables/host_columns.h"

typedef struct GatewayRow
{
	pg_uuid_t	id;
	pg_uuid_t	org_id;
	char	   *name;
	Jsonb	   *capabilities;	/* or NULL; one copy for all rows that were
								 * read at once */
	bool		capabilities_invalid;	/* there are some, and they are no
										 * jsonb */
	GatewayState state;
	RecordedHealth recorded;	/* what gateway_health says */
	bool		own;			/* written or read so by this transaction
								 * alone */
	HealthSlotRef slot;
	uint64		deletions;		/* health_map_deletion_count from before the
								 * row was read */
	Heartbeat	heartbeat;		/* as the row says, in wall time */
	GatewayHealth health;
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
	Size		capabilities_size;	/* of those that no pool read before has */
} PoolRow;

/* By which pools or gateways are chosen, all NULL is all, and what of them is read. */
typedef struct StoreFilter
{
	const pg_uuid_t *org_id;
	const pg_uuid_t *id;
	ArrayType  *orgs;			/* of which it is one */
	ArrayType  *ids;			/* of gateways alone */
	bool		capabilities;	/* are to be read, too */
} StoreFilter;

extern PoolRow *store_pools(const PoolCatalog *catalog, StoreFilter filter, int *count);
extern const PoolRow *store_find_pool(const PoolRow *pools, int count, const pg_uuid_t *id);
extern GatewayRow *store_gateways(const PoolCatalog *catalog, StoreFilter filter, int *count);
extern Heartbeat store_heartbeat_of(const HostHeartbeat *host);
extern HealthSlotRef store_make_slot(const PoolCatalog *catalog, const GatewayRow *gateway, SlotCreation *creation);
pg_noreturn extern void store_refuse_gateway(const PoolCatalog *catalog, const pg_uuid_t *id);
extern bool gateway_is_eligible(const GatewayRow *gateway);
extern void gateway_display(const GatewayRow *gateway, HealthDisplay *display);

#endif							/* GATEWAY_POOL_GATEWAY_STORE_H */
