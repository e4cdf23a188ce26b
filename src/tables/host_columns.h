/*
 * host_columns.h
 *		The columns of the host's gateways table.
 */
#ifndef GATEWAY_POOL_HOST_COLUMNS_H
#define GATEWAY_POOL_HOST_COLUMNS_H

#include "access/htup.h"
#include "access/tupdesc.h"
#include "lib/stringinfo.h"

#include "rules/health_rule.h"

/* The columns that a table has, as a set of bits. */
typedef int HostColumns;

/* The columns that a query returns, in this order. */
typedef enum HostColumn
{
	HOST_HEARTBEAT,
	HOST_HEARTBEAT_TTL,
	HOST_CHECK_FAILED,
	HOST_RELAY_CONFIGURED,
	HOST_DIRECT_HEARTBEAT,
	HOST_DIRECT_CONFIGURED,
	HOST_CAPABILITIES,
	HOST_COLUMN_COUNT
} HostColumn;

extern HostColumns host_columns_find(TupleDesc table);
extern void host_columns_append(StringInfo sql, HostColumns columns, bool with_capabilities);
extern const char *host_columns_direct_address(HostColumns columns);
extern HostHeartbeat host_columns_read(HostColumns columns, const Datum *values, const bool *nulls);
extern bool host_columns_read_tuple(HeapTuple row, TupleDesc table, HostHeartbeat *heartbeat);

#endif							/* GATEWAY_POOL_HOST_COLUMNS_H */
