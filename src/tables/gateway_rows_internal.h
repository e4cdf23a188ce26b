/*
 * gateway_rows_internal.h
 *		Queries that read gateways, alone or with pools, and their rows.
 */
#ifndef GATEWAY_POOL_GATEWAY_ROWS_INTERNAL_H
#define GATEWAY_POOL_GATEWAY_ROWS_INTERNAL_H

#include "executor/spi.h"
#include "lib/stringinfo.h"

#include "tables/capabilities.h"
#include "tables/gateway_rows.h"
#include "tables/host_columns.h"

/* The columns that each query of gateways returns, then those of pools. */
enum
{
	GATEWAY_ID = 1,
	GATEWAY_ORG_ID,
	GATEWAY_NAME,
	GATEWAY_STATE,
	GATEWAY_STATE_UNTIL,
	GATEWAY_XMIN,
	GATEWAY_RECORDED_STATUS,
	GATEWAY_RECORDED_CHANGED_AT,
	GATEWAY_RECORDED_HEARD_AT,
	GATEWAY_RECORDED_EXPIRES_AT,
	GATEWAY_RECORDED_VERDICT,
	GATEWAY_RECORDED_TARGET,
	GATEWAY_RECORDED_PROBED_AT,
	GATEWAY_RECORDED_FALLS,
	GATEWAY_RECORDED_LAST_FALL_AT,
	GATEWAY_TARGET,
	GATEWAY_PROBE_REQUIRED,
	GATEWAY_PROBE_INTERVAL,
	GATEWAY_PROBE_TIMEOUT,
	GATEWAY_HOST_COLUMNS,		/* HOST_COLUMN_COUNT of them */

	POOL_ID = GATEWAY_HOST_COLUMNS + HOST_COLUMN_COUNT,
	POOL_ORG_ID,
	POOL_NAME,
	POOL_CREATED_AT,
	POOL_UPDATED_AT,
	MEMBER_WEIGHT,
	MEMBER_PRIORITY
};

/* What the rows of one query have in common. */
typedef struct Reading
{
	Oid			table;
	HostColumns columns;
	uint64		sequence;		/* health_evidence_sequence before the query */
	uint64		deletions;		/* health_map_deletion_count before the query */
	bool		own;			/* this transaction may have altered columns */
	bool		before;			/* see RowFilter: nothing is published */
	bool		committed;		/* it has changed nothing so far */
	CapabilitySet *capabilities;	/* those read so far */
	int64		now;			/* monotonic */
	TimestampTz wall_now;
} Reading;

extern Reading gateway_rows_begin(const PoolCatalog *catalog);
extern void gateway_rows_append_columns(StringInfo sql, const PoolCatalog *catalog, HostColumns columns, RowFilter filter);
extern void gateway_rows_append_filter(StringInfo sql, const char *table, const char *org, RowFilter filter);
extern SPIPlanPtr gateway_rows_prepare(const char *sql, RowFilter filter);
extern uint64 gateway_rows_execute(SPIPlanPtr plan, RowFilter filter);
extern Datum gateway_rows_column(HeapTuple row, int column, bool *is_null);
extern GatewayRow gateway_rows_take(HeapTuple row, const Reading *reading, Size *added);

#endif							/* GATEWAY_POOL_GATEWAY_ROWS_INTERNAL_H */
