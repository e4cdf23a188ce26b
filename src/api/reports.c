/*
 * reports.c
 *		Reports of gateways and their callers: heartbeats, failures, loads.
 *
 * Reports are kept in the shared memory of this server.  Of these, the worker records
 * heartbeats only: with the next change of the gateway's status, and when it ends.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "base/argument.h"
#include "base/clean_text.h"
#include "base/clock.h"
#include "base/compat.h"
#include "base/settings.h"
#include "shared/commit_queue.h"
#include "shared/reservation.h"
#include "shared/worker_slots.h"
#include "tables/access.h"
#include "tables/catalog.h"
#include "tables/gateway_rows.h"
#include "tables/gateway_slots.h"
#include "tables/isolation.h"

PG_FUNCTION_INFO_V1(record_gateway_heartbeat);
PG_FUNCTION_INFO_V1(report_gateway_failure);
PG_FUNCTION_INFO_V1(report_gateway_load);
PG_FUNCTION_INFO_V1(release_gateway);

/* How often a slot may be freed between being found and being written. */
#define ATTEMPTS_MAX 8

/* Longer times-to-live are taken for this: 10 years. */
#define TTL_MAX (INT64CONST(315576000) * USECS_PER_SEC)

/*
 * Slots that this session reported to last, by a hash of the gateway's id: looking
 * one up in the map takes a lock, checking that it still is the gateway's does not.
 * A session that reports about more gateways is no slower for the misses: a larger
 * array costs as many cache misses of the processor.
 */
#define CACHED_SLOTS 1024

static HealthSlotRef cached_slots[CACHED_SLOTS];

/* What each report begins with. */
typedef struct Report
{
	PoolCatalog catalog;
	const pg_uuid_t *gateway;
	HealthSlotRef *cached;		/* the entry for its slot */
	int64		now;
} Report;

static Report
begin_report(FunctionCallInfo fcinfo, AccessRight right)
{
	Report		report;

	catalog_open(&report.catalog);
	access_require(&report.catalog, right);
	(void) worker_slots_want_here();
	report.gateway = argument_uuid(fcinfo, 0, "gateway_id");
	if (!health_map_exists())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("reports need gateway_pool to be preloaded"),
				 errhint("Add gateway_pool to shared_preload_libraries and restart the server."),
				 err_generic_string(PG_DIAG_CONSTRAINT_NAME, "gateway_pools_not_preloaded")));
	report.cached = &cached_slots[hash_bytes(report.gateway->data, UUID_LEN) % CACHED_SLOTS];
	report.now = clock_monotonic();
	return report;
}

/* Returns the row of the gateway, or NULL. */
static GatewayRow *
find_row(const Report *report)
{
	int			count;
	GatewayRow *row = gateway_rows_read(&report->catalog, (RowFilter) {.id = report->gateway}, &count);

	return count > 0 ? row : NULL;
}

/*
 * Returns the gateway's slot, which is made if it has none; P0002 if the gateway does not
 * exist.  Like any row for which a slot was made, it is read again: see commit_queue_wait.
 */
static HealthSlotRef
find_or_make_slot(const Report *report)
{
	HealthSlotRef ref = health_map_find(report->catalog.gateways, report->gateway);
	SlotCreation creation = ref.number == NO_SLOT ? SLOT_ROW_OUTDATED : SLOT_EXISTED;

	while (creation == SLOT_ROW_OUTDATED)
	{
		GatewayRow *row = find_row(report);

		if (row == NULL)
			gateway_rows_refuse_missing(&report->catalog, report->gateway);
		ref = gateway_slots_make(&report->catalog, row, &creation);
		CHECK_FOR_INTERRUPTS();
	}
	if (creation == SLOT_CREATED)
	{
		commit_queue_wait();
		(void) find_row(report);
	}
	if (creation == SLOT_MAP_FULL)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("shared memory of gateway_pool is full"),
				 errhint("Raise gateway_pool.max_gateways and restart the server."),
				 err_generic_string(PG_DIAG_CONSTRAINT_NAME, "gateway_pools_map_full")));
	return ref;
}

/* Returns the gateway's slot, without a look-up if this session has cached it. */
static HealthSlotRef
slot_of(const Report *report)
{
	HealthSlotRef ref = *report->cached;

	if (isolation_hides_gateway(&report->catalog, report->gateway))
		gateway_rows_refuse_missing(&report->catalog, report->gateway);
	/* No slot in use has generation 0. */
	if (ref.generation == 0 || !health_map_matches(ref, report->catalog.gateways, report->gateway))
		ref = *report->cached = find_or_make_slot(report);
	return ref;
}

/* Returns the argument ttl in microseconds; heartbeat_timeout for NULL. */
static int64
read_ttl(FunctionCallInfo fcinfo)
{
	if (PG_ARGISNULL(1))
		return setting_heartbeat_timeout * USECS_PER_SEC;
	return argument_duration(fcinfo, 1, "ttl", TTL_MAX);
}

/*
 * record_gateway_heartbeat(gateway_id uuid, ttl interval)
 *
 * Reports a heartbeat, which expires after the time-to-live (heartbeat_timeout for
 * NULL) and heartbeat_grace.  Needs UPDATE on gateway_health ("lastHeartbeatAt").
 * Errors: NULL or a ttl that is not positive 22023, no such gateway P0002, not
 * preloaded 55000, shared memory full 53400.
 */
Datum
record_gateway_heartbeat(PG_FUNCTION_ARGS)
{
	Report		report = begin_report(fcinfo, RIGHT_REPORT);
	int64		expires_at = report.now + read_ttl(fcinfo) + setting_heartbeat_grace * USECS_PER_SEC;

	for (int i = 0; i < ATTEMPTS_MAX; i++)
	{
		bool		changed;

		if (health_evidence_report_heartbeat(slot_of(&report), report.now, expires_at, &changed))
		{
			if (changed)
				worker_slots_wake(MyDatabaseId);
			PG_RETURN_VOID();
		}
	}
	gateway_rows_refuse_missing(&report.catalog, report.gateway);
}

/* Reads the argument reason, without control characters and cut to fit; "" for NULL. */
static void
read_reason(FunctionCallInfo fcinfo, char *reason)
{
	char	   *given;
	int			length;

	reason[0] = '\0';
	if (PG_ARGISNULL(1))
		return;
	given = text_to_cstring(PG_GETARG_TEXT_PP(1));
	length = pg_mbcliplen(given, strlen(given), HEALTH_REASON_SIZE - 1);
	memcpy(reason, given, length);
	reason[length] = '\0';
	clean_text_in_place(reason);
}

/*
 * report_gateway_failure(gateway_id uuid, reason text)
 *
 * Reports that a caller could not connect through the gateway, which is suspect for
 * suspect_ttl: it is picked only if no healthy one is left.  Keeps 63 bytes of the
 * reason, for display.  Needs SELECT on gateway_pools (id).  Errors: NULL gateway
 * 22023, no such gateway P0002, not preloaded 55000, shared memory full 53400.
 */
Datum
report_gateway_failure(PG_FUNCTION_ARGS)
{
	Report		report = begin_report(fcinfo, RIGHT_PICK);
	char		reason[HEALTH_REASON_SIZE];

	read_reason(fcinfo, reason);
	for (int i = 0; i < ATTEMPTS_MAX; i++)
	{
		bool		changed;

		if (health_evidence_report_failure(slot_of(&report), report.now, reason, &changed))
		{
			if (changed)
				worker_slots_wake(MyDatabaseId);
			PG_RETURN_VOID();
		}
	}
	gateway_rows_refuse_missing(&report.catalog, report.gateway);
}

/*
 * report_gateway_load(gateway_id uuid, active_connections int)
 *
 * Reports how many connections the gateway has; counts for 35 s.  Needs UPDATE on
 * gateway_health ("lastHeartbeatAt").  Errors: NULL or a negative number 22023, no such
 * gateway P0002, not preloaded 55000, shared memory full 53400.
 */
Datum
report_gateway_load(PG_FUNCTION_ARGS)
{
	Report		report = begin_report(fcinfo, RIGHT_REPORT);
	int32		connections;

	argument_require(fcinfo, 1, "active_connections");
	connections = PG_GETARG_INT32(1);
	if (connections < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("active_connections must not be negative")));
	for (int i = 0; i < ATTEMPTS_MAX; i++)
		if (reservation_report_load(slot_of(&report), connections, report.now))
			PG_RETURN_VOID();
	gateway_rows_refuse_missing(&report.catalog, report.gateway);
}

/*
 * release_gateway(gateway_id uuid, opened boolean) returns boolean
 *
 * Ends a reservation of the gateway: one of this transaction, else the oldest.  If the
 * connection was opened, it counts as one of the gateway's until its next report of
 * load.  Returns true if there was a reservation.  Needs SELECT on gateway_pools (id).
 * Errors: NULL 22023, no such gateway P0002, not preloaded 55000, shared memory full
 * 53400.
 */
Datum
release_gateway(PG_FUNCTION_ARGS)
{
	Report		report = begin_report(fcinfo, RIGHT_PICK);

	argument_require(fcinfo, 1, "opened");
	PG_RETURN_BOOL(reservation_release(slot_of(&report), PG_GETARG_BOOL(1), report.now));
}
