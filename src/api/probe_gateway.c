/*
 * probe_gateway.c
 *		Probes of gateways on demand.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "base/argument.h"
#include "base/clock.h"
#include "base/compat.h"
#include "base/result_row.h"
#include "base/uuid.h"
#include "base/wait_event.h"
#include "shared/probe_on_demand.h"
#include "shared/worker_slots.h"
#include "tables/access.h"
#include "tables/catalog.h"
#include "tables/gateway_rows.h"
#include "tables/isolation.h"
#include "tables/owner.h"

PG_FUNCTION_INFO_V1(probe_gateway);

/* Longer timeouts are taken for this: a day. */
#define TIMEOUT_MAX USECS_PER_DAY

/* Time between looks whether the worker has read a new row of gateway_probes. */
#define READ_PAUSE_MS 20

static bool
find_probed(const PoolCatalog *catalog, const pg_uuid_t *gateway, HealthSlotRef *ref)
{
	LastProbe	last_probe;

	*ref = health_map_find(catalog->gateways, gateway);
	return ref->number != NO_SLOT && probe_evidence_last(*ref, &last_probe);
}

/* Returns true if a gateway has a probe; sets *is_own if this transaction wrote its row, which the worker cannot see. */
static bool
has_row(const PoolCatalog *catalog, const pg_uuid_t *gateway, bool *is_own)
{
	OwnerScope	scope;
	bool		has;
	bool		is_null;

	owner_begin(&scope, catalog->probes);
	has = owner_query(psprintf("SELECT xmin FROM %s WHERE \"gatewayId\" = $1", catalog_name(catalog->probes)), gateway) > 0;
	*is_own = has && TransactionIdIsCurrentTransactionId(DatumGetTransactionId(SPI_getbinval(SPI_tuptable->vals[0],
																							 SPI_tuptable->tupdesc, 1, &is_null)));
	owner_end(&scope);
	return has;
}

/* Returns true if there is a worker, and a probe for it to read. */
static bool
will_be_probed(const PoolCatalog *catalog, const pg_uuid_t *gateway)
{
	bool		is_own;

	return worker_slots_exist() && worker_slots_has(MyDatabaseId) && has_row(catalog, gateway, &is_own);
}

pg_noreturn static void
refuse_not_probed(const PoolCatalog *catalog, const pg_uuid_t *gateway)
{
	int			count;

	(void) gateway_rows_read(catalog, (RowFilter) {.id = gateway}, &count);
	if (count == 0)
		gateway_rows_refuse_missing(catalog, gateway);
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("gateway %s is not probed", uuid_text(gateway)),
			 errhint("Call set_gateway_probe(), or see check_gateway_pools() for why the worker does not run."),
			 catalog_error_constraint(catalog->probes, "gateway_pools_not_probed")));
}

/* Raises 55000 if this transaction wrote the gateway's probe. */
static void
require_committed(const PoolCatalog *catalog, const pg_uuid_t *gateway)
{
	bool		is_own;

	if (!TransactionIdIsValid(GetTopTransactionIdIfAny()) || !has_row(catalog, gateway, &is_own) || !is_own)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("probe of gateway %s was changed by this transaction", uuid_text(gateway)),
			 errhint("Call probe_gateway() after the transaction has committed."),
			 catalog_error_constraint(catalog->probes, "gateway_pools_not_probed")));
}

pg_noreturn static void
refuse_to_wait(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_QUERY_CANCELED),
			 errmsg("canceling the wait for a probe due to its timeout"),
			 errhint("See gateway_pool_workers for what the worker does.")));
}

/* Returns the slot of a gateway, when the worker has read its probe; an error if it has none. */
static HealthSlotRef
probed_slot(const PoolCatalog *catalog, const pg_uuid_t *gateway, int64 deadline)
{
	HealthSlotRef ref;

	if (isolation_hides_gateway(catalog, gateway))
		gateway_rows_refuse_missing(catalog, gateway);
	require_committed(catalog, gateway);
	while (!find_probed(catalog, gateway, &ref))
	{
		if (!will_be_probed(catalog, gateway))
			refuse_not_probed(catalog, gateway);
		if (clock_monotonic() >= deadline)
			refuse_to_wait();
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, READ_PAUSE_MS, wait_event(WAIT_PROBE_READ));
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
	return ref;
}

/*
 * probe_gateway(gateway_id uuid, timeout interval) returns (verdict, reason, milliseconds)
 *
 * Makes the worker probe the gateway now, and waits for the result; concurrent callers
 * share one probe.  Needs UPDATE on gateway_probes.  Errors: NULL or a timeout that is
 * not positive 22023; no such gateway P0002; no probe, or one that this transaction
 * wrote, 55000; no result in time 57014.
 */
Datum
probe_gateway(PG_FUNCTION_ARGS)
{
	PoolCatalog catalog;
	const pg_uuid_t *gateway;
	int64		deadline;
	HealthSlotRef ref;
	uint32		request;
	LastProbe	last_probe;
	ResultRow	row;

	catalog_open(&catalog);
	access_require(&catalog, RIGHT_PROBE);
	(void) worker_slots_want_here();
	gateway = argument_uuid(fcinfo, 0, "gateway_id");
	argument_require(fcinfo, 1, "timeout");
	deadline = clock_monotonic() + argument_duration(fcinfo, 1, "timeout", TIMEOUT_MAX);
	ref = probed_slot(&catalog, gateway, deadline);

	request = probe_on_demand_request(ref);
	worker_slots_wake(MyDatabaseId);
	if (!probe_on_demand_await(ref, request, deadline))
		refuse_to_wait();
	if (!probe_evidence_last(ref, &last_probe))
		refuse_not_probed(&catalog, gateway);

	result_begin_rows(&row, fcinfo);
	result_put_text(&row, "verdict", probe_verdict_name(last_probe.verdict));
	if (last_probe.reason[0] != '\0')
		result_put_text(&row, "reason", last_probe.reason);
	result_put(&row, "milliseconds", Float4GetDatum(last_probe.milliseconds));
	result_add(&row);
	return (Datum) 0;
}
