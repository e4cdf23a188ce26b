/*
 * worker_queries.c
 *		Queries of the worker: memberships, and how to probe gateways.
 */
#include "postgres.h"

#include "access/relation.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/rel.h"

#include "base/trust_cache.h"
#include "base/settings.h"
#include "base/uuid.h"
#include "tables/host_columns.h"
#include "tables/org_column.h"
#include "tables/owner.h"
#include "tables/probe_target.h"
#include "worker/worker_queries.h"

/* Places in the list of columns of a probe. */
enum
{
	PROBE_GATEWAY = 1,
	PROBE_PROTOCOL,				/* null for the host's direct address */
	PROBE_ADDRESS,
	PROBE_PATH,
	PROBE_EXPECTED_STATUS,
	PROBE_SERVER_NAME,
	PROBE_VERIFY_TLS,
	PROBE_CA_CERTIFICATE,
	PROBE_CA_IS_TOO_LONG,
	PROBE_INTERVAL,
	PROBE_TIMEOUT,
	PROBE_RISE,
	PROBE_FALL,
	PROBE_IS_REQUIRED,
	PROBE_TARGET
};

/*
 * worker_queries_lock locks the tables that the worker reads, or writes, until the
 * end of the transaction.  Returns false if it would have to wait for a lock: probes
 * must not wait.
 */
bool
worker_queries_lock(const PoolCatalog *catalog, bool to_write)
{
	if (to_write)
		return ConditionalLockRelationOid(catalog->gateways, RowShareLock) &&
			ConditionalLockRelationOid(catalog->health, RowExclusiveLock) &&
			ConditionalLockRelationOid(catalog->events, RowExclusiveLock);
	return ConditionalLockRelationOid(catalog->gateways, AccessShareLock) &&
		ConditionalLockRelationOid(catalog->pools, AccessShareLock) &&
		ConditionalLockRelationOid(catalog->memberships, AccessShareLock) &&
		ConditionalLockRelationOid(catalog->states, AccessShareLock) &&
		ConditionalLockRelationOid(catalog->health, AccessShareLock) &&
		ConditionalLockRelationOid(catalog->probes, AccessShareLock);
}

static char *
text_of(HeapTuple row, int column)
{
	return SPI_getvalue(row, SPI_tuptable->tupdesc, column);
}

/* A number of the row; "otherwise" if it is null. */
static int
number_of(HeapTuple row, int column, int otherwise)
{
	bool		is_null;
	Datum		value = SPI_getbinval(row, SPI_tuptable->tupdesc, column, &is_null);

	return is_null ? otherwise : DatumGetInt32(value);
}

static bool
flag_of(HeapTuple row, int column)
{
	bool		is_null;

	return DatumGetBool(SPI_getbinval(row, SPI_tuptable->tupdesc, column, &is_null));
}

/* Reads 200, or 200-399; a CHECK of the table has verified the form, unless it was dropped. */
static void
read_expected_status(const char *text, ProbeSpec *spec)
{
	spec->status_from = spec->status_to = 200;
	if (text != NULL && sscanf(text, "%d-%d", &spec->status_from, &spec->status_to) == 1)
		spec->status_to = spec->status_from;
}

/* Reads a row; returns what is wrong with it, or NULL. */
static const char *
read_probe(HeapTuple row, ProbePlan *plan)
{
	const char *protocol = text_of(row, PROBE_PROTOCOL);
	const char *address = text_of(row, PROBE_ADDRESS);

	memset(plan, 0, sizeof(ProbePlan));
	plan->gateway = owner_uuid(row, SPI_tuptable->tupdesc, PROBE_GATEWAY);
	if (address == NULL)
		return "The address is missing.";
	if (!probe_protocol_parse(protocol == NULL ? "tcp" : protocol, &plan->spec.protocol))
		return "The protocol is not valid.";
	plan->spec.path = text_of(row, PROBE_PATH);
	if (plan->spec.path == NULL)
		plan->spec.path = "/";
	read_expected_status(text_of(row, PROBE_EXPECTED_STATUS), &plan->spec);
	plan->spec.server_name = text_of(row, PROBE_SERVER_NAME);
	plan->spec.verify_tls = flag_of(row, PROBE_VERIFY_TLS);
	if (flag_of(row, PROBE_CA_IS_TOO_LONG))
		return "The value of caCertificate is longer than 64 kB.";
	plan->spec.ca_certificate = text_of(row, PROBE_CA_CERTIFICATE);
	plan->pace.interval = Max(number_of(row, PROBE_INTERVAL, setting_probe_interval), 10) * INT64CONST(1000);
	plan->pace.retry_interval = setting_probe_retry_interval * INT64CONST(1000);
	plan->pace.rise = Max(number_of(row, PROBE_RISE, setting_probe_rise), 1);
	plan->pace.fall = Max(number_of(row, PROBE_FALL, setting_probe_fall), 1);
	plan->timeout = Min(Max(number_of(row, PROBE_TIMEOUT, setting_probe_timeout), 1) * INT64CONST(1000),
						plan->pace.interval);
	plan->required = protocol != NULL && flag_of(row, PROBE_IS_REQUIRED);
	plan->target = text_of(row, PROBE_TARGET);
	return probe_address_parse(address, &plan->spec.address);
}

/*
 * worker_queries_probes reads how to probe gateways, by settings where a row has
 * nulls.  It leaves out rows that cannot be probed, and names the first of them in
 * "problem".  Returns an array of *count in the current memory context.
 */
ProbePlan *
worker_queries_probes(const PoolCatalog *catalog, int *count, StringInfo problem)
{
	MemoryContext context = CurrentMemoryContext;
	Relation	gateways = catalog_open_table(catalog->gateways, AccessShareLock);
	HostColumns columns = host_columns_find(RelationGetDescr(gateways));
	const char *direct = setting_probe_direct_addresses ? host_columns_direct_address(columns) : "NULL";
	StringInfoData sql;
	OwnerScope	scope;
	uint64		rows;
	ProbePlan  *plans;

	relation_close(gateways, NoLock);
	owner_begin(&scope, catalog->probes);
	initStringInfo(&sql);
	appendStringInfo(&sql, "SELECT g.id::uuid, probe.protocol::text, coalesce(probe.address::text, %s), probe.path::text"
					 ", probe.\"expectedStatus\"::text, probe.\"serverName\"::text, probe.\"verifyTls\"::boolean"
					 ", CASE WHEN octet_length(probe.\"caCertificate\"::text) <= " CppAsString2(TRUST_PEM_MAX)
					 " THEN probe.\"caCertificate\"::text END"
					 ", octet_length(probe.\"caCertificate\"::text) > " CppAsString2(TRUST_PEM_MAX)
					 ", probe.\"intervalMs\"::int4, probe.\"timeoutMs\"::int4"
					 ", probe.rise::int4, probe.fall::int4, probe.required::boolean, ", direct);
	probe_target_append(&sql, columns);
	appendStringInfo(&sql, " FROM %s g LEFT JOIN %s probe ON probe.\"gatewayId\" = g.id"
					 " WHERE g.id IS NOT NULL AND g.%s IS NOT NULL AND (probe.\"gatewayId\" IS NOT NULL OR %s IS NOT NULL)"
					 " ORDER BY g.id",
					 catalog_name(catalog->gateways), catalog_name(catalog->probes),
					 org_column_name(catalog, catalog->gateways), direct);
	rows = owner_query(sql.data, NULL);
	MemoryContextSwitchTo(context);
	plans = palloc_extended(Max(rows, 1) * sizeof(ProbePlan), MCXT_ALLOC_HUGE);
	*count = 0;
	for (uint64 i = 0; i < rows; i++)
	{
		const char *wrong = read_probe(SPI_tuptable->vals[i], &plans[*count]);

		if (wrong == NULL)
			(*count)++;
		else if (problem->len == 0)
			appendStringInfo(problem, "gateway %s cannot be probed: %s",
							 uuid_text(&plans[*count].gateway), wrong);
	}
	owner_end(&scope);
	return plans;
}

/*
 * worker_queries_memberships reads all pools with their members, those of a pool together.
 * Returns an array of *count in the current memory context.
 */
MembershipRow *
worker_queries_memberships(const PoolCatalog *catalog, int *count)
{
	MemoryContext context = CurrentMemoryContext;
	OwnerScope	scope;
	uint64		rows;
	MembershipRow *memberships;

	owner_begin(&scope, catalog->memberships);
	rows = owner_query(psprintf("SELECT p.id::uuid, p.\"orgId\"::uuid, m.\"gatewayId\"::uuid, coalesce(p.name::text, '')"
								" FROM %s p LEFT JOIN %s m ON m.\"gatewayPoolId\" = p.id"
								" WHERE p.id IS NOT NULL AND p.\"orgId\" IS NOT NULL ORDER BY 1, 3",
								catalog_name(catalog->pools), catalog_name(catalog->memberships)), NULL);
	memberships = MemoryContextAllocHuge(context, Max(rows, 1) * sizeof(MembershipRow));
	for (uint64 i = 0; i < rows; i++)
	{
		HeapTuple	row = SPI_tuptable->vals[i];
		bool		no_gateway;

		memberships[i].pool = owner_uuid(row, SPI_tuptable->tupdesc, 1);
		memberships[i].org_id = owner_uuid(row, SPI_tuptable->tupdesc, 2);
		(void) SPI_getbinval(row, SPI_tuptable->tupdesc, 3, &no_gateway);
		memberships[i].has_gateway = !no_gateway;
		if (!no_gateway)
			memberships[i].gateway = owner_uuid(row, SPI_tuptable->tupdesc, 3);
		memberships[i].pool_name = i > 0 && uuid_equal(&memberships[i].pool, &memberships[i - 1].pool) ? NULL :
			MemoryContextStrdup(context, text_of(row, 4));
	}
	owner_end(&scope);
	*count = rows;
	return memberships;
}
