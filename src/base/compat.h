/*
 * compat.h
 *		Differences between the PostgreSQL versions that this library builds on.
 */
#ifndef GATEWAY_POOL_COMPAT_H
#define GATEWAY_POOL_COMPAT_H

#if PG_VERSION_NUM < 140000 || PG_VERSION_NUM >= 200000
#error "gateway_pool builds on PostgreSQL 14 to 19"
#endif

#include "catalog/pg_attribute.h"
#include "catalog/pg_database.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "parser/analyze.h"
#include "pgstat.h"
#include "storage/latch.h"
#include "storage/shmem.h"
#include "utils/acl.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/tuplestore.h"

#if PG_VERSION_NUM >= 150000
#include "common/pg_prng.h"
#include "utils/ruleutils.h"
#else
#include "port.h"
#endif

#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

#if PG_VERSION_NUM >= 190000
#include "catalog/dependency.h"
#include "utils/wait_event.h"
#else
#include "parser/parse_relation.h"
#endif

/* Stands before the declaration of a function that does not return. */
#ifndef pg_noreturn
#define pg_noreturn pg_attribute_noreturn()
#endif

/*
 * A generated column that is not stored, from 18 on: it is null in the rows that triggers
 * and scans read.
 */
#ifndef ATTRIBUTE_GENERATED_VIRTUAL
#define ATTRIBUTE_GENERATED_VIRTUAL 'v'
#endif

/* Ends a case that continues with the next one. */
#ifndef pg_fallthrough
#define pg_fallthrough __attribute__((fallthrough))
#endif

/* From 18 on, the magic block contains the module's name and version. */
#ifdef PG_MODULE_MAGIC_EXT
#define GATEWAY_POOL_MODULE_MAGIC \
	PG_MODULE_MAGIC_EXT(.name = "gateway_pool", .version = GATEWAY_POOL_VERSION)
#else
#define GATEWAY_POOL_MODULE_MAGIC PG_MODULE_MAGIC
#endif

/* Refuses unknown settings with our prefix; before 15, warns about them. */
static inline void
reserve_setting_prefix(const char *prefix)
{
#if PG_VERSION_NUM >= 150000
	MarkGUCPrefixReserved(prefix);
#else
	EmitWarningsOnPlaceholders(prefix);
#endif
}

/*
 * Returns an unbiased random number in [0, bound), bound > 0.  Every backend seeds
 * pg_global_prng_state from a strong source when it starts.  14 has no such generator:
 * there the strong source is used directly, with rejection.
 */
static inline uint64
random_below(uint64 bound)
{
#if PG_VERSION_NUM >= 150000
	return pg_prng_uint64_range(&pg_global_prng_state, 0, bound - 1);
#else
	uint64		limit = PG_UINT64_MAX - PG_UINT64_MAX % bound;
	uint64		value;

	do
	{
		if (!pg_strong_random(&value, sizeof(value)))
			ereport(ERROR,
					(errcode(ERRCODE_INTERNAL_ERROR),
					 errmsg("could not generate a random number")));
	} while (value >= limit);

	return value % bound;
#endif
}

/* Allocates memory that belongs to a setting: its value as the check hook parsed it. */
static inline void *
setting_malloc(size_t size)
{
#if PG_VERSION_NUM >= 160000
	return guc_malloc(LOG, size);
#else
	return malloc(size);
#endif
}

static inline void
setting_free(void *memory)
{
#if PG_VERSION_NUM >= 160000
	guc_free(memory);
#else
	free(memory);
#endif
}

/* Lets "request" request shared memory: from 15 on in a chain of hooks, before at once. */
#if PG_VERSION_NUM >= 150000
#define CHAIN_SHMEM_REQUEST(previous, request) \
	((previous) = shmem_request_hook, shmem_request_hook = (request))
#else
typedef void (*shmem_request_hook_type) (void);
#define CHAIN_SHMEM_REQUEST(previous, request) \
	((previous) = NULL, (request) ())
#endif

/* Creates or attaches a hash table in shared memory that has room for "size" entries from the start. */
static inline HTAB *
init_shmem_hash(const char *name, long size, HASHCTL *control, int flags)
{
#if PG_VERSION_NUM >= 190000
	return ShmemInitHash(name, size, control, flags);
#else
	return ShmemInitHash(name, size, size, control, flags);
#endif
}

/* Returns what to wait with, so that pg_stat_activity shows this name; before 17, it shows Extension. */
static inline uint32
new_wait_event(const char *name)
{
#if PG_VERSION_NUM >= 170000
	return WaitEventExtensionNew(name);
#else
	return PG_WAIT_EXTENSION;
#endif
}

/* Creates a set of wait events that lives as long as the process. */
static inline WaitEventSet *
create_wait_event_set(int events)
{
#if PG_VERSION_NUM >= 170000
	return CreateWaitEventSet(NULL, events);
#else
	return CreateWaitEventSet(TopMemoryContext, events);
#endif
}

/* Marks a database whose DROP was interrupted; only some minor versions define it. */
#ifndef DATCONNLIMIT_INVALID_DB
#define DATCONNLIMIT_INVALID_DB (-2)
#endif

/* Returns true if a role has the rights of a database's owner. */
static inline bool
owns_database(Oid database, Oid role)
{
#if PG_VERSION_NUM >= 160000
	return object_ownercheck(DatabaseRelationId, database, role);
#else
	return pg_database_ownercheck(database, role);
#endif
}

/* Analyzes a statement with parameters of these types. */
static inline Query *
analyze_with_types(RawStmt *statement, const char *sql, const Oid *types, int count)
{
#if PG_VERSION_NUM >= 150000
	return parse_analyze_fixedparams(statement, sql, types, count, NULL);
#else
	return parse_analyze(statement, sql, types, count, NULL);
#endif
}

/* Returns true if a query reads a temporary table, or, from 19 on, uses any temporary object. */
static inline bool
query_is_temporary(Query *query)
{
#if PG_VERSION_NUM >= 190000
	ObjectAddress object;

	return query_uses_temp_object(query, &object);
#else
	return isQueryUsingTempRelation(query);
#endif
}

/*
 * Returns the text of a query, with names qualified that the search path does not
 * find.  14 cannot do that: it returns "sql", which has to be qualified there.
 */
static inline char *
deparse_query(Query *query, const char *sql)
{
#if PG_VERSION_NUM >= 150000
	return pg_get_querydef(query, false);
#else
	return pstrdup(sql);
#endif
}

/* Sets up a materialized result of the expected row type or scalar type. */
static inline void
init_materialized_result(FunctionCallInfo fcinfo)
{
#if PG_VERSION_NUM >= 150000
	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
#else
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	MemoryContext previous;

	if (result == NULL || !IsA(result, ReturnSetInfo) ||
		(result->allowedModes & SFRM_Materialize) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("set-valued function called in context that cannot accept a set")));

	previous = MemoryContextSwitchTo(result->econtext->ecxt_per_query_memory);
	result->returnMode = SFRM_Materialize;
	result->setResult = tuplestore_begin_heap((result->allowedModes & SFRM_Materialize_Random) != 0,
											  false, work_mem);
	result->setDesc = CreateTupleDescCopy(result->expectedDesc);
	MemoryContextSwitchTo(previous);
#endif
}

#endif							/* GATEWAY_POOL_COMPAT_H */
