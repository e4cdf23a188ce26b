/*
 * pick.c
 *		The choice of a member, and the answer to why it was made.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"

#include "argument.h"
#include "catalog.h"
#include "clock.h"
#include "compat.h"
#include "gateway_store.h"
#include "pool_cache.h"
#include "reservation.h"
#include "selection.h"

PG_FUNCTION_INFO_V1(gateway_pool_pick);
PG_FUNCTION_INFO_V1(gateway_pool_pick_many);
PG_FUNCTION_INFO_V1(gateway_pool_resolve);
PG_FUNCTION_INFO_V1(gateway_pool_explain);

/*
 * The quick draw of a random pick gives up after so many members that could not
 * be picked; then all are looked at.
 */
#define QUICK_DRAWS 32

/*
 * How often a pick begins anew because members' slots had to be brought up to
 * date.  Once is what it takes, unless gateways come and go meanwhile.
 */
#define ATTEMPTS_MAX 8

/* How often a pick tries to be the first to claim a place. */
#define CLAIMS_MAX 100000

typedef enum Strategy
{
	STRATEGY_RANDOM,
	STRATEGY_LEAST_LOADED,
	STRATEGY_STICKY
} Strategy;

/* What a caller asks for, his arguments checked. */
typedef struct PickRequest
{
	PoolCatalog catalog;
	const pg_uuid_t *pool_id;
	Strategy	strategy;
	pg_uuid_t  *excluded;		/* sorted */
	int			excluded_count;
	Jsonb	   *capabilities;	/* or NULL */
	uint64		key_hash;		/* for STRATEGY_STICKY */
	bool		null_if_none;
} PickRequest;

/*
 * The members of a pool as the selection sees them, and the loads by which they
 * were compared.  Grown to the largest pool so far, and never in use by two.
 */
typedef struct PickField
{
	SelectionMember *members;
	GatewayLoad *loads;
	int			room;
	bool		unsettled;		/* a slot has to be brought up to date first */
} PickField;

static int
compare_ids(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(pg_uuid_t));
}

/* NULL elements exclude nobody: the first attempt has nobody to exclude yet. */
static void
read_excluded(ArrayType *array, PickRequest *request)
{
	Datum	   *values;
	bool	   *nulls;
	int			count;

	deconstruct_array(array, UUIDOID, UUID_LEN, false, TYPALIGN_CHAR, &values, &nulls, &count);
	request->excluded = palloc(sizeof(pg_uuid_t) * Max(count, 1));
	request->excluded_count = 0;
	for (int i = 0; i < count; i++)
		if (!nulls[i])
			request->excluded[request->excluded_count++] = *DatumGetUUIDP(values[i]);
	qsort(request->excluded, request->excluded_count, sizeof(pg_uuid_t), compare_ids);
}

static bool
text_is(const text *value, const char *word)
{
	return VARSIZE_ANY_EXHDR(value) == strlen(word) &&
		memcmp(VARDATA_ANY(value), word, strlen(word)) == 0;
}

static Strategy
read_strategy(const text *word)
{
	if (text_is(word, "random"))
		return STRATEGY_RANDOM;
	if (text_is(word, "least_loaded"))
		return STRATEGY_LEAST_LOADED;
	if (text_is(word, "sticky"))
		return STRATEGY_STICKY;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("unknown pick strategy"),
			 errhint("The strategies are \"random\", \"least_loaded\" and \"sticky\".")));
}

/*
 * Reads (pool_id, exclude, strategy, capabilities, sticky_key, null_if_none),
 * the last five from "options" on.
 */
static void
read_request(FunctionCallInfo fcinfo, int options, PickRequest *request)
{
	catalog_open(&request->catalog, fcinfo->flinfo->fn_oid);
	catalog_require_privilege(request->catalog.pools, ACL_SELECT);

	request->pool_id = argument_uuid(fcinfo, 0, "pool_id");
	request->excluded_count = 0;
	if (!PG_ARGISNULL(options))
		read_excluded(PG_GETARG_ARRAYTYPE_P(options), request);
	argument_require(fcinfo, options + 1, "strategy");
	request->strategy = read_strategy(PG_GETARG_TEXT_PP(options + 1));
	request->capabilities = NULL;
	if (!PG_ARGISNULL(options + 2))
	{
		request->capabilities = PG_GETARG_JSONB_P(options + 2);
		if (!JB_ROOT_IS_OBJECT(request->capabilities))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("capabilities must be a JSON object")));
	}
	if (request->strategy == STRATEGY_STICKY)
	{
		text	   *key;

		argument_require(fcinfo, options + 3, "sticky_key");
		key = PG_GETARG_TEXT_PP(options + 3);
		request->key_hash = selection_key_hash(VARDATA_ANY(key), VARSIZE_ANY_EXHDR(key));
	}
	if (request->strategy == STRATEGY_LEAST_LOADED && !health_map_exists())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("strategy \"least_loaded\" needs gateway_pool to be preloaded"),
				 errhint("Add gateway_pool to shared_preload_libraries and restart the server.")));
	argument_require(fcinfo, options + 4, "null_if_none");
	request->null_if_none = PG_GETARG_BOOL(options + 4);
}

static bool
is_excluded(const PickRequest *request, const pg_uuid_t *gateway)
{
	return request->excluded_count > 0 &&
		bsearch(gateway, request->excluded, request->excluded_count, sizeof(pg_uuid_t), compare_ids) != NULL;
}

static bool
is_capable(const PickRequest *request, Jsonb *capabilities)
{
	if (request->capabilities == NULL)
		return true;
	if (capabilities == NULL)
		return JB_ROOT_COUNT(request->capabilities) == 0;
	return DatumGetBool(DirectFunctionCall2(jsonb_contains,
											JsonbPGetDatum(capabilities),
											JsonbPGetDatum(request->capabilities)));
}

static void
refuse_unknown_pool(const PickRequest *request)
{
	ereport(ERROR,
			(errcode(ERRCODE_NO_DATA_FOUND),
			 errmsg("gateway pool %s does not exist", uuid_text(request->pool_id))));
}

/* The status of a member as of now; false if its slot has to be brought up to date. */
static bool
read_status(const KnownMember *member, int64 now, GatewayStatus *status)
{
	HealthEvidence evidence;

	if (!member->by_slot)
	{
		*status = member->status;
		return true;
	}
	if (health_map_read(member->slot, now, &evidence) != SLOT_READ)
		return false;
	*status = health_rule(&evidence).status;
	return true;
}

/*
 * Draws from those who would be candidates if all were healthy until it meets
 * one that is and can be picked; -1 if it meets none.  What it leaves to the
 * full look is everything that is not as usual.
 */
static int
quick_draw(const KnownPool *pool, const PickRequest *request, int64 now)
{
	uint64		size = draw_table_size(&pool->draw);
	int			draws = size == 0 ? 0 : Min(pool->draw.count, QUICK_DRAWS);

	for (; draws > 0; draws--)
	{
		int			drawn = draw_table_draw(&pool->draw, random_below(size));
		const KnownMember *member = &pool->members[drawn];
		GatewayStatus status;

		if (read_status(member, now, &status) && status == GATEWAY_HEALTHY &&
			!is_excluded(request, &member->gateway) && is_capable(request, member->capabilities))
			return drawn;
	}
	return -1;
}

static PickField *
field_for(int member_count)
{
	static PickField field;

	if (field.room < member_count)
	{
		int			room = Max(member_count, 64);

		if (field.members != NULL)
		{
			pfree(field.members);
			pfree(field.loads);
			memset(&field, 0, sizeof(field));
		}
		field.members = MemoryContextAllocHuge(TopMemoryContext, sizeof(SelectionMember) * room);
		field.loads = MemoryContextAllocHuge(TopMemoryContext, sizeof(GatewayLoad) * room);
		field.room = room;
	}
	return &field;
}

/* Looks at all members, as of now. */
static PickField *
read_field(const KnownPool *pool, const PickRequest *request, int64 now)
{
	PickField  *field = field_for(pool->member_count);

	field->unsettled = false;
	for (int i = 0; i < pool->member_count; i++)
	{
		const KnownMember *member = &pool->members[i];
		SelectionMember *selection = &field->members[i];

		memset(selection, 0, sizeof(SelectionMember));
		if (!read_status(member, now, &selection->status))
		{
			field->unsettled = true;
			selection->status = GATEWAY_UNHEALTHY;
		}
		selection->state = member->state;
		selection->weight = member->weight;
		selection->priority = member->priority;
		selection->excluded = is_excluded(request, &member->gateway);
		selection->capable = is_capable(request, member->capabilities);
		if (request->strategy == STRATEGY_STICKY)
			selection->hash = selection_hash(request->key_hash, member->gateway.data);
		if (request->strategy == STRATEGY_LEAST_LOADED && member->slot.number != NO_SLOT)
		{
			field->loads[i] = reservation_load(member->slot, now);
			selection->load_known = field->loads[i].reported;
			selection->load = field->loads[i].connections + field->loads[i].reservations;
		}
	}
	return field;
}

/* Applies the rules and the strategy; returns the number of tickets that are left. */
static uint64
apply_rules(const PickRequest *request, SelectionMember *members, int count)
{
	uint64		tickets = selection_filter(members, count);

	switch (request->strategy)
	{
		case STRATEGY_RANDOM:
			break;
		case STRATEGY_LEAST_LOADED:
			return selection_least_loaded(members, count);
		case STRATEGY_STICKY:
			return selection_sticky(members, count);
	}
	return tickets;
}

/* Draws one of the candidates and returns its index, or -1 if there is none. */
static int
draw(const PickRequest *request, SelectionMember *members, int count)
{
	uint64		tickets = apply_rules(request, members, count);

	return tickets == 0 ? -1 : selection_draw(members, count, random_below(tickets));
}

/* The one reason for which a member is, or is not, among the candidates. */
static const char *
candidacy_reason(const SelectionMember *member, const GatewayRow *gateway)
{
	switch (member->candidacy)
	{
		case CANDIDATE:
			return "candidate";
		case REFUSED_EXCLUDED:
			return "excluded";
		case REFUSED_STATE:
			return gateway_state_name(gateway->state);
		case REFUSED_STATUS:
			return psprintf("%s (%s)", gateway_status_name(gateway->health.status),
							gateway->health.reason);
		case REFUSED_CAPABILITIES:
			return "lacks capabilities";
		case REFUSED_DEGRADED:
			return "degraded, and a healthy candidate is left";
		case REFUSED_PRIORITY:
			return "a candidate with a lower priority number is left";
		case REFUSED_WEIGHT:
			return "weight 0, and a candidate that weighs more is left";
		case REFUSED_LOAD:
			return "a candidate with less load is left";
		case REFUSED_STICKY:
			return "the key leads to another candidate";
	}
	return NULL;				/* keeps the compiler quiet */
}

/* A pool that was just read from the tables, and why its members are candidates or not. */
typedef struct Explanation
{
	PoolRow    *pool;
	SelectionMember *members;
	uint64		tickets;
} Explanation;

/* The rules of a pick, applied to what the tables and shared memory say now. */
static Explanation
explain(const PickRequest *request)
{
	Explanation explanation;
	int			count;
	KnownPool  *known;
	PickField  *field;

	explanation.pool = store_pools(&request->catalog, (StoreFilter) {.id = request->pool_id}, &count);
	if (count == 0)
		refuse_unknown_pool(request);
	known = pool_cache_of_row(explanation.pool);
	field = read_field(known, request, clock_monotonic());
	explanation.members = field->members;
	for (int i = 0; i < known->member_count; i++)
		field->members[i].status = known->members[i].status;
	explanation.tickets = apply_rules(request, field->members, known->member_count);
	return explanation;
}

/* "Of 3 members, 2 unhealthy (heartbeat expired), 1 draining." */
static const char *
reasons_in_words(const Explanation *explanation)
{
	int			count = explanation->pool->member_count;
	const char **reasons = palloc(sizeof(char *) * Max(count, 1));
	int		   *times = palloc0(sizeof(int) * Max(count, 1));
	int			distinct = 0;
	StringInfoData words;

	if (count == 0)
		return "The pool has no members.";

	for (int i = 0; i < count; i++)
	{
		const char *reason = candidacy_reason(&explanation->members[i], &explanation->pool->members[i].gateway);
		int			j = 0;

		while (j < distinct && strcmp(reasons[j], reason) != 0)
			j++;
		if (j == distinct)
			reasons[distinct++] = reason;
		times[j]++;
	}

	initStringInfo(&words);
	appendStringInfo(&words, "Of %d %s", count, count == 1 ? "member" : "members");
	for (int j = 0; j < distinct; j++)
		appendStringInfo(&words, ", %d %s", times[j], reasons[j]);
	appendStringInfoChar(&words, '.');
	return words.data;
}

static void
refuse(const PickRequest *request)
{
	Explanation explanation = explain(request);

	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("gateway pool \"%s\" has no eligible member", explanation.pool->name),
			 errdetail_internal("%s", reasons_in_words(&explanation))));
}

/*
 * Brings the slots of a pool's members up to date: one that ran out by reading
 * its row, so that nothing that we were not told makes it expire early; more, or
 * one that is another gateway's by now, by reading the pool.
 */
static void
settle(const PickRequest *request, const KnownPool *pool, int64 now)
{
	const KnownMember *expired = NULL;
	bool		read_pool = !pool->kept;

	for (int i = 0; i < pool->member_count && !read_pool; i++)
	{
		HealthEvidence evidence;

		switch (health_map_read(pool->members[i].slot, now, &evidence))
		{
			case SLOT_READ:
				break;
			case SLOT_UNCONFIRMED:
				read_pool = expired != NULL;
				expired = &pool->members[i];
				break;
			case SLOT_GONE:
				read_pool = true;
				break;
		}
	}

	if (read_pool)
		pool_cache_forget(&pool->id);
	else if (expired != NULL)
	{
		pg_uuid_t	id = expired->gateway;
		int			count;

		(void) store_gateways(&request->catalog, (StoreFilter) {.id = &id}, &count);
	}
}

/* Counts a pick for the statistics. */
static void
count_pick(KnownPool *pool, KnownMember *member, GatewayStatus status)
{
	pick_stats_touch(&member->count);
	pick_stats_touch(&pool->count);
	member->count.picks++;
	pool->count.picks++;
	if (status == GATEWAY_DEGRADED)
	{
		member->count.degraded_picks++;
		pool->count.degraded_picks++;
	}
}

static void
count_refusal(KnownPool *pool)
{
	pick_stats_touch(&pool->count);
	pool->count.refusals++;
}

/*
 * Reserves a place at a member, if it is as free as it was when it was chosen.
 * Of a gateway that comes and goes all the time, none can be had.
 */
static bool
claim(const KnownMember *member, const SelectionMember *selection, const GatewayLoad *load, int64 now, int attempt)
{
	if (member->slot.number == NO_SLOT || attempt >= CLAIMS_MAX)
		return true;
	return reservation_claim(member->slot, selection->load_known ? load : NULL, now);
}

/*
 * Picks up to "wanted" members of the pool and returns their ids, in the order
 * in which to try them, and how many they are.  With strategy least_loaded the
 * first gets a reservation: it is the one that will be used.
 */
static pg_uuid_t *
pick(const PickRequest *request, int wanted, int *picked_count)
{
	pg_uuid_t  *picked = NULL;
	KnownPool  *pool;
	PickField  *field;
	int64		now;
	int			count = 0;
	int			chosen;

	for (int attempt = 1;; attempt++)
	{
		now = clock_monotonic();
		pool = pool_cache_get(&request->catalog, request->pool_id, now);
		if (pool == NULL)
			refuse_unknown_pool(request);

		wanted = Min(wanted, Max(pool->member_count, 1));
		if (picked == NULL)
			picked = palloc(sizeof(pg_uuid_t) * wanted);
		if (request->strategy == STRATEGY_RANDOM && wanted == 1 &&
			(chosen = quick_draw(pool, request, now)) >= 0)
		{
			count_pick(pool, &pool->members[chosen], GATEWAY_HEALTHY);
			picked[count++] = pool->members[chosen].gateway;
			break;
		}

		field = read_field(pool, request, now);
		if (field->unsettled && attempt < ATTEMPTS_MAX)
		{
			settle(request, pool, now);
			continue;
		}

		chosen = draw(request, field->members, pool->member_count);
		if (chosen >= 0 && request->strategy == STRATEGY_LEAST_LOADED &&
			!claim(&pool->members[chosen], &field->members[chosen], &field->loads[chosen], now, attempt))
		{
			CHECK_FOR_INTERRUPTS();
			continue;
		}

		for (; chosen >= 0; chosen = draw(request, field->members, pool->member_count))
		{
			CHECK_FOR_INTERRUPTS();
			count_pick(pool, &pool->members[chosen], field->members[chosen].status);
			picked[count++] = pool->members[chosen].gateway;
			if (count == wanted)
				break;
			field->members[chosen].excluded = true;
		}
		break;
	}

	if (count == 0)
		count_refusal(pool);
	if (!pool->kept)
		pick_stats_flush();
	if (count == 0 && !request->null_if_none)
		refuse(request);
	*picked_count = count;
	return picked;
}

/*
 * pick_healthy_gateway(pool_id uuid, exclude uuid[], strategy text,
 *     capabilities jsonb, sticky_key text, null_if_none boolean) returns uuid
 *
 * Picks one eligible member.  Needs SELECT on gateway_pools.  Errors: no such
 * pool P0002, whatever null_if_none says; no eligible member 55000, or NULL
 * with null_if_none; a bad argument 22023.
 */
Datum
gateway_pool_pick(PG_FUNCTION_ARGS)
{
	PickRequest request;
	pg_uuid_t  *picked;
	int			count;

	read_request(fcinfo, 1, &request);
	picked = pick(&request, 1, &count);
	if (count == 0)
		PG_RETURN_NULL();
	PG_RETURN_UUID_P(picked);
}

/*
 * pick_healthy_gateways(pool_id uuid, count int, ...the rest) returns setof uuid
 *
 * Picks up to "count" different members, in the order in which to try them.
 * Each is picked by the rules among those that the ones before left.
 */
Datum
gateway_pool_pick_many(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	PickRequest request;
	pg_uuid_t  *picked;
	int			wanted;
	int			count;

	read_request(fcinfo, 2, &request);
	argument_require(fcinfo, 1, "count");
	wanted = PG_GETARG_INT32(1);
	if (wanted < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("count must be at least 1")));

	init_materialized_result(fcinfo);
	picked = pick(&request, wanted, &count);
	for (int i = 0; i < count; i++)
	{
		Datum		value = UUIDPGetDatum(&picked[i]);
		bool		is_null = false;

		tuplestore_putvalues(result->setResult, result->setDesc, &value, &is_null);
	}
	return (Datum) 0;
}

/*
 * resolve_gateway(gateway_id uuid, pool_id uuid) returns uuid
 *
 * The gateway if one is given, else a pick from the pool; 22023 if neither is.
 */
Datum
gateway_pool_resolve(PG_FUNCTION_ARGS)
{
	PickRequest request = {0};
	int			count;

	if (!PG_ARGISNULL(0))
		PG_RETURN_DATUM(PG_GETARG_DATUM(0));
	if (PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("no gateway or gateway pool is given")));

	catalog_open(&request.catalog, fcinfo->flinfo->fn_oid);
	catalog_require_privilege(request.catalog.pools, ACL_SELECT);
	request.pool_id = PG_GETARG_UUID_P(1);
	PG_RETURN_UUID_P(pick(&request, 1, &count));
}

/*
 * explain_gateway_pick(...the arguments of pick_healthy_gateway) returns one
 * row a member: whether it is a candidate, or the one reason why not, and the
 * share of picks that it gets.  Reserves nothing.
 */
Datum
gateway_pool_explain(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	PickRequest request;
	Explanation explanation;

	read_request(fcinfo, 1, &request);
	explanation = explain(&request);
	init_materialized_result(fcinfo);
	for (int i = 0; i < explanation.pool->member_count; i++)
	{
		const MemberRow *row = &explanation.pool->members[i];
		const SelectionMember *member = &explanation.members[i];
		Datum		values[10];
		bool		nulls[10] = {0};

		values[0] = UUIDPGetDatum(&row->gateway.id);
		values[1] = CStringGetTextDatum(row->gateway.name);
		values[2] = CStringGetTextDatum(gateway_status_name(row->gateway.health.status));
		values[3] = CStringGetTextDatum(row->gateway.health.reason);
		values[4] = CStringGetTextDatum(gateway_state_name(row->gateway.state));
		values[5] = Int32GetDatum(row->weight);
		values[6] = Int16GetDatum(row->priority);
		values[7] = BoolGetDatum(member->candidacy == CANDIDATE);
		values[8] = CStringGetTextDatum(candidacy_reason(member, &row->gateway));
		values[9] = Float8GetDatum(explanation.tickets == 0 ? 0 : (double) member->tickets / explanation.tickets);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}
