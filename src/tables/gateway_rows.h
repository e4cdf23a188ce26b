/*
 * gateway_rows.h
 *		Gateways, read from the tables and judged.
 */
#ifndef GATEWAY_POOL_GATEWAY_ROWS_H
#define GATEWAY_POOL_GATEWAY_ROWS_H

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
	Jsonb	   *capabilities;	/* or NULL; rows that were read together share
								 * equal values */
	bool		capabilities_invalid;	/* they are not valid as jsonb */
	GatewayState state;			/* when it was read */
	TimestampTz state_until;	/* NO_STATE_END if it has no end */
	RecordedHealth recorded;	/* what gateway_health says */
	ConfiguredProbe probe;
	bool		own;			/* this transaction wrote the row, or may have
								 * altered its columns: no other one sees it
								 * like this */
	HealthSlotRef slot;
	uint64		deletions;		/* health_map_deletion_count from before the
								 * row was read */
	Heartbeat	heartbeat;		/* as the row says, in wall time */
	bool		ttl_known;		/* false if the table has no "heartbeatTTL" */
	int64		ttl;			/* what "heartbeatTTL" says, in seconds */
	GatewayHealth health;
} GatewayRow;

/* Which pools or gateways are read: those that match all members that are not NULL. */
typedef struct RowFilter
{
	const pg_uuid_t *org_id;
	const pg_uuid_t *id;
	ArrayType  *orgs;
	ArrayType  *ids;
	bool		capabilities;	/* read them, too */
	bool		before;			/* for gateways only, in a trigger: as they
								 * were before its statement, which may have
								 * deleted them */
} RowFilter;

extern const char *gateway_rows_name(const PoolCatalog *catalog);
extern GatewayRow *gateway_rows_read(const PoolCatalog *catalog, RowFilter filter, int *count);
extern Heartbeat gateway_rows_heartbeat(const HostHeartbeat *host);
pg_noreturn extern void gateway_rows_refuse_missing(const PoolCatalog *catalog, const pg_uuid_t *id);
extern bool gateway_rows_is_eligible(const GatewayRow *gateway);
extern void gateway_rows_display(const GatewayRow *gateway, HealthDisplay *display);

#endif							/* GATEWAY_POOL_GATEWAY_ROWS_H */
