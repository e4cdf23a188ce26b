/*
 * eligibility_warning.c
 *		Warnings of pools that have lost their last eligible member.
 *
 * A row trigger notes each member that is removed and each gateway whose state changes.
 * When the statement ends, cascades included, a statement trigger reads each pool
 * once: of many rows in one pool, or many pools, none is read again and again.
 *
 * A warning must not make a change wait or fail.  So nothing is read while a table is
 * locked by another transaction, and an error is dropped.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "base/clean_text.h"
#include "base/compat.h"
#include "base/trigger_call.h"
#include "base/uuid.h"
#include "tables/access.h"
#include "tables/isolation.h"
#include "tables/owner.h"
#include "tables/visible_rows.h"
#include "triggers/eligibility_warning.h"

PG_FUNCTION_INFO_V1(pools_warn);

/* Beyond this, changes of one statement are not noted. */
#define NOTES_MAX 100000

/* So many pools are named. */
#define WARNINGS_MAX 10

/* So many pools are read at once. */
#define POOLS_AT_ONCE 1000

/* A gateway that may have been the last eligible member of a pool. */
typedef struct Note
{
	pg_uuid_t	gateway;
	pg_uuid_t	pool;			/* zeros for all its pools */
} Note;

static const pg_uuid_t all_pools;

/* Of the statement that runs, in the memory of its subtransaction. */
static Note *notes;
static int	note_count;
static int	note_room;

static void
reset_notes(void *arg)
{
	notes = NULL;
	note_count = note_room = 0;
}

static void
add_note(const pg_uuid_t *gateway, const pg_uuid_t *pool)
{
	if (gateway == NULL || pool == NULL || note_count == NOTES_MAX)
		return;
	if (notes == NULL)
	{
		MemoryContextCallback *callback = MemoryContextAllocZero(CurTransactionContext, sizeof(MemoryContextCallback));

		note_room = 16;
		notes = MemoryContextAlloc(CurTransactionContext, sizeof(Note) * note_room);
		callback->func = reset_notes;
		MemoryContextRegisterResetCallback(CurTransactionContext, callback);
	}
	if (note_count == note_room)
	{
		notes = repalloc(notes, sizeof(Note) * note_room * 4);
		note_room *= 4;
	}
	notes[note_count++] = (Note) {*gateway, *pool};
}

static const pg_uuid_t *
uuid_of(TriggerData *call, HeapTuple row, const char *column)
{
	return trigger_uuid(call, row, trigger_required_column(call, column));
}

/*
 * eligibility_warning_note notes a row of gateway_pool_memberships that is removed, or
 * given to another pool or gateway, and a row of gateway_states that is written.
 * Called by their AFTER ROW triggers.
 */
void
eligibility_warning_note(TriggerData *call, const PoolCatalog *catalog)
{
	Oid			table = RelationGetRelid(call->tg_relation);

	/* Then the statement trigger does not fire. */
	if (SessionReplicationRole == SESSION_REPLICATION_ROLE_REPLICA)
		return;
	if (table == catalog->states && !TRIGGER_FIRED_BY_DELETE(call->tg_event))
		add_note(uuid_of(call, trigger_new_row(call), "gatewayId"), &all_pools);
	else if (table == catalog->memberships && !TRIGGER_FIRED_BY_INSERT(call->tg_event) &&
			 (TRIGGER_FIRED_BY_DELETE(call->tg_event) ||
			  trigger_changes_required(call, "gatewayPoolId") || trigger_changes_required(call, "gatewayId")))
		add_note(uuid_of(call, call->tg_trigtuple, "gatewayId"), uuid_of(call, call->tg_trigtuple, "gatewayPoolId"));
}

/* eligibility_warning_pool_name returns the name of a pool in quotes, or its id if the role may not read the name. */
const char *
eligibility_warning_pool_name(const PoolCatalog *catalog, const PoolRow *pool)
{
	return access_has(catalog, RIGHT_LIST) ? psprintf("\"%s\"", clean_text(pool->name, CLEAN_NAME_MAX)) : uuid_text(&pool->id);
}

/* Locks the tables that are read; returns false if it would have to wait. */
static bool
lock_tables(const PoolCatalog *catalog)
{
	return ConditionalLockRelationOid(catalog->gateways, AccessShareLock) &&
		ConditionalLockRelationOid(catalog->pools, AccessShareLock) &&
		ConditionalLockRelationOid(catalog->memberships, AccessShareLock) &&
		ConditionalLockRelationOid(catalog->states, AccessShareLock) &&
		ConditionalLockRelationOid(catalog->health, AccessShareLock) &&
		ConditionalLockRelationOid(catalog->organizations, AccessShareLock);
}

static Datum
uuid_array(Datum *ids, int count)
{
	return PointerGetDatum(construct_array(ids, count, UUIDOID, UUID_LEN, false, TYPALIGN_CHAR));
}

static int
compare_by_pool(const void *a, const void *b)
{
	return uuid_compare(&((const Note *) a)->pool, &((const Note *) b)->pool);
}

/* Returns the notes with a pool each, ordered by pool. */
static Note *
resolve(const PoolCatalog *catalog, const Note *given, int given_count, int *count)
{
	MemoryContext context = CurrentMemoryContext;
	Datum	   *gateways = palloc(sizeof(Datum) * given_count);
	int			gateway_count = 0;
	Note	   *resolved;
	OwnerScope	scope;
	uint64		rows = 0;

	for (int i = 0; i < given_count; i++)
		if (uuid_equal(&given[i].pool, &all_pools))
			gateways[gateway_count++] = UUIDPGetDatum(&given[i].gateway);

	owner_begin(&scope, catalog->memberships);
	if (gateway_count > 0)
	{
		Datum		value = uuid_array(gateways, gateway_count);

		rows = owner_execute(owner_prepare(psprintf("SELECT \"gatewayId\"::uuid, \"gatewayPoolId\"::uuid FROM %s WHERE \"gatewayId\" = ANY ($1)",
													catalog_name(catalog->memberships)), 1, (Oid[]) {UUIDARRAYOID}), &value);
	}
	resolved = MemoryContextAllocHuge(context, sizeof(Note) * (given_count + rows));
	*count = 0;
	for (int i = 0; i < given_count; i++)
		if (!uuid_equal(&given[i].pool, &all_pools))
			resolved[(*count)++] = given[i];
	for (uint64 i = 0; i < rows; i++)
		resolved[(*count)++] = (Note)
	{
		owner_uuid(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1),
			owner_uuid(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 2)
	};
	owner_end(&scope);
	qsort(resolved, *count, sizeof(Note), compare_by_pool);
	return resolved;
}

static bool
has_eligible_member(const PoolRow *pool)
{
	for (int i = 0; i < pool->member_count; i++)
		if (gateway_rows_is_eligible(&pool->members[i].gateway))
			return true;
	return false;
}

/* Returns true if one of these gateways was eligible before the statement, which may have deleted it. */
static bool
had_eligible(const PoolCatalog *catalog, const Note *noted, int count)
{
	Datum	   *ids = palloc(sizeof(Datum) * count);
	GatewayRow *gateways;

	for (int i = 0; i < count; i++)
		ids[i] = UUIDPGetDatum(&noted[i].gateway);
	gateways = gateway_rows_read(catalog, (RowFilter) {
		.ids = DatumGetArrayTypeP(uuid_array(ids, count)), .before = true
	}, &count);
	for (int i = 0; i < count; i++)
		if (gateway_rows_is_eligible(&gateways[i]))
			return true;
	return false;
}

/* Warns of a pool, or only counts it after WARNINGS_MAX. */
static void
warn(const PoolCatalog *catalog, const PoolRow *pool, int *warned)
{
	if ((*warned)++ < WARNINGS_MAX)
		ereport(WARNING,
				(errcode(ERRCODE_WARNING),
				 errmsg("gateway pool %s has lost its last eligible member", eligibility_warning_pool_name(catalog, pool))));
}

/* Examines pools of the notes, which are ordered by pool; deleted pools are not found. */
static void
examine_pools(const PoolCatalog *catalog, const Note *noted, int count, int *warned)
{
	Datum	   *ids = palloc(sizeof(Datum) * count);
	int			id_count = 0;
	PoolRow    *pools;
	int			pool_count;
	int			first = 0;

	for (int i = 0; i < count; i++)
		if (i == 0 || !uuid_equal(&noted[i].pool, &noted[i - 1].pool))
			ids[id_count++] = UUIDPGetDatum(&noted[i].pool);
	pools = pool_rows_read(catalog, (RowFilter) {.ids = DatumGetArrayTypeP(uuid_array(ids, id_count))}, &pool_count);
	for (int i = 0; i < pool_count; i++)
	{
		int			end;

		CHECK_FOR_INTERRUPTS();
		while (first < count && uuid_compare(&noted[first].pool, &pools[i].id) < 0)
			first++;
		for (end = first; end < count && uuid_equal(&noted[end].pool, &pools[i].id);)
			end++;
		if (end > first && !has_eligible_member(&pools[i]) && !isolation_hides(catalog, &pools[i].org_id) &&
			had_eligible(catalog, &noted[first], end - first))
			warn(catalog, &pools[i], warned);
		first = end;
	}
}

/* Warns of each pool of the notes that has lost its last eligible member. */
static void
examine(const PoolCatalog *catalog, const Note *given, int given_count)
{
	int			count;
	Note	   *noted;
	int			warned = 0;
	int			end;

	/*
	 * Policies of the owner may hide members from the role: their code is not
	 * run for a warning.
	 */
	if (visible_rows_differ(catalog) || !lock_tables(catalog))
		return;
	noted = resolve(catalog, given, given_count, &count);
	for (int first = 0; first < count; first = end)
	{
		int			pools = 0;

		for (end = first; end < count; end++)
			if ((end == first || !uuid_equal(&noted[end].pool, &noted[end - 1].pool)) && pools++ == POOLS_AT_ONCE)
				break;
		examine_pools(catalog, &noted[first], end - first, &warned);
	}
	if (warned > WARNINGS_MAX)
		ereport(WARNING,
				(errcode(ERRCODE_WARNING),
				 errmsg_plural("%d more gateway pool has lost its last eligible member",
							   "%d more gateway pools have lost their last eligible members",
							   warned - WARNINGS_MAX, warned - WARNINGS_MAX)));
}

/*
 * Examines the notes as the role of the session: a cascade, or one of our functions,
 * changes rows as their owner, who sees all names.  An error other than a
 * cancellation is dropped.
 */
static void
examine_safely(const PoolCatalog *catalog, const Note *given, int given_count)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	Oid			user;
	int			security_context;

	GetUserIdAndSecContext(&user, &security_context);
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		SetUserIdAndSecContext(GetOuterUserId(), security_context | SECURITY_LOCAL_USERID_CHANGE);
		examine(catalog, given, given_count);
		SetUserIdAndSecContext(user, security_context);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		if (error->sqlerrcode == ERRCODE_QUERY_CANCELED)
			ReThrowError(error);
		FreeErrorData(error);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
}

/*
 * pools_warn(): AFTER DELETE OR UPDATE, statement, of gateway_pool_memberships, and
 * AFTER INSERT OR UPDATE, statement, of gateway_states
 *
 * Warns of pools that have lost their last eligible member by the statement.
 */
Datum
pools_warn(PG_FUNCTION_ARGS)
{
	TriggerData *call = trigger_call(fcinfo, TRIGGER_EVENT_AFTER, ON_INSERT | ON_UPDATE | ON_DELETE | EACH_STATEMENT);
	PoolCatalog catalog;
	Note	   *noted;
	int			count = note_count;

	if (count == 0 || !catalog_find(&catalog))
		return PointerGetDatum(NULL);
	if (RelationGetRelid(call->tg_relation) != catalog.states)
		trigger_require_table(call, catalog.memberships);
	noted = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(Note) * count);
	memcpy(noted, notes, sizeof(Note) * count);
	note_count = 0;
	examine_safely(&catalog, noted, count);
	return PointerGetDatum(NULL);
}
