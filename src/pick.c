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
#include "compat.h"
#include "gateway_store.h"
#include "selection.h"

PG_FUNCTION_INFO_V1(gateway_pool_pick);
PG_FUNCTION_INFO_V1(gateway_pool_pick_many);
PG_FUNCTION_INFO_V1(gateway_pool_resolve);
PG_FUNCTION_INFO_V1(gateway_pool_explain);

/* What a caller asks for, his arguments checked. */
typedef struct PickRequest
{
	PoolCatalog catalog;
	pg_uuid_t  *pool_id;
	pg_uuid_t  *excluded;		/* sorted */
	int			excluded_count;
	Jsonb	   *capabilities;	/* or NULL */
	bool		null_if_none;
} PickRequest;

/* A pool, and its members as the selection sees them. */
typedef struct PickField
{
	PoolRow    *pool;
	SelectionMember *members;
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

static void
check_strategy(const char *strategy)
{
	if (strcmp(strategy, "random") == 0)
		return;
	if (strcmp(strategy, "least_loaded") == 0 || strcmp(strategy, "sticky") == 0)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("pick strategy \"%s\" is not there yet", strategy),
				 errhint("Use \"random\".")));
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("unknown pick strategy"),
			 errhint("The strategies are \"random\", \"least_loaded\" and \"sticky\".")));
}

/*
 * Reads (pool_id, exclude, strategy, capabilities, sticky_key, null_if_none),
 * the last five from "options" on.
 */
static PickRequest
read_request(FunctionCallInfo fcinfo, int options)
{
	PickRequest request = {0};

	catalog_open(&request.catalog, fcinfo->flinfo->fn_oid);
	catalog_require_privilege(request.catalog.pools, ACL_SELECT);

	request.pool_id = argument_uuid(fcinfo, 0, "pool_id");
	if (!PG_ARGISNULL(options))
		read_excluded(PG_GETARG_ARRAYTYPE_P(options), &request);
	argument_require(fcinfo, options + 1, "strategy");
	check_strategy(text_to_cstring(PG_GETARG_TEXT_PP(options + 1)));
	if (!PG_ARGISNULL(options + 2))
	{
		request.capabilities = PG_GETARG_JSONB_P(options + 2);
		if (!JB_ROOT_IS_OBJECT(request.capabilities))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("capabilities must be a JSON object")));
	}
	/* sticky_key, options + 3, means something to strategy "sticky" alone. */
	argument_require(fcinfo, options + 4, "null_if_none");
	request.null_if_none = PG_GETARG_BOOL(options + 4);
	return request;
}

static bool
is_excluded(const PickRequest *request, const pg_uuid_t *gateway)
{
	return request->excluded_count > 0 &&
		bsearch(gateway, request->excluded, request->excluded_count, sizeof(pg_uuid_t), compare_ids) != NULL;
}

static bool
is_capable(const PickRequest *request, const GatewayRow *gateway)
{
	if (request->capabilities == NULL)
		return true;
	if (gateway->capabilities == NULL)
		return JB_ROOT_COUNT(request->capabilities) == 0;
	return DatumGetBool(DirectFunctionCall2(jsonb_contains,
											JsonbPGetDatum(gateway->capabilities),
											JsonbPGetDatum(request->capabilities)));
}

/* Reads the pool and the facts about its members; the rules are not applied yet. */
static PickField
read_field(const PickRequest *request)
{
	PickField	field = {0};
	int			count;

	field.pool = store_pools(&request->catalog, (StoreFilter) {.id = request->pool_id},
							 GetCurrentTimestamp(), &count);
	if (count == 0)
		ereport(ERROR,
				(errcode(ERRCODE_NO_DATA_FOUND),
				 errmsg("gateway pool %s does not exist", uuid_text(request->pool_id))));

	field.members = palloc0(sizeof(SelectionMember) * Max(field.pool->member_count, 1));
	for (int i = 0; i < field.pool->member_count; i++)
	{
		const MemberRow *row = &field.pool->members[i];
		SelectionMember *member = &field.members[i];

		member->status = row->gateway.health.status;
		member->state = row->gateway.state;
		member->weight = row->weight;
		member->priority = row->priority;
		member->excluded = is_excluded(request, &row->gateway.id);
		member->capable = is_capable(request, &row->gateway);
	}
	return field;
}

/* Draws one of the candidates and returns its index, or -1 if there is none. */
static int
draw(const PickField *field)
{
	int			count = field->pool->member_count;
	uint64		tickets = selection_filter(field->members, count);

	return tickets == 0 ? -1 : selection_draw(field->members, count, random_below(tickets));
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
	}
	return NULL;				/* keeps the compiler quiet */
}

/* "Of 3 members, 2 unhealthy (heartbeat expired), 1 draining." */
static const char *
reasons_in_words(const PickField *field)
{
	int			count = field->pool->member_count;
	const char **reasons = palloc(sizeof(char *) * Max(count, 1));
	int		   *times = palloc0(sizeof(int) * Max(count, 1));
	int			distinct = 0;
	StringInfoData words;

	if (count == 0)
		return "The pool has no members.";

	for (int i = 0; i < count; i++)
	{
		const char *reason = candidacy_reason(&field->members[i], &field->pool->members[i].gateway);
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
refuse(const PickField *field)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("gateway pool \"%s\" has no eligible member", field->pool->name),
			 errdetail_internal("%s", reasons_in_words(field))));
}

/* Picks one member, or returns NULL where that is asked for. */
static const pg_uuid_t *
pick(const PickRequest *request)
{
	PickField	field = read_field(request);
	int			picked = draw(&field);

	if (picked >= 0)
		return &field.pool->members[picked].gateway.id;
	if (!request->null_if_none)
		refuse(&field);
	return NULL;
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
	PickRequest request = read_request(fcinfo, 1);
	const pg_uuid_t *picked = pick(&request);

	if (picked == NULL)
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
	PickRequest request = read_request(fcinfo, 2);
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	PickField	field;
	int			wanted;
	int			picked;

	argument_require(fcinfo, 1, "count");
	wanted = PG_GETARG_INT32(1);
	if (wanted < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("count must be at least 1")));

	init_materialized_result(fcinfo);
	field = read_field(&request);
	picked = draw(&field);
	if (picked < 0 && !request.null_if_none)
		refuse(&field);

	for (; picked >= 0 && wanted > 0; wanted--)
	{
		Datum		value = UUIDPGetDatum(&field.pool->members[picked].gateway.id);
		bool		is_null = false;

		CHECK_FOR_INTERRUPTS();
		tuplestore_putvalues(result->setResult, result->setDesc, &value, &is_null);
		field.members[picked].excluded = true;
		picked = draw(&field);
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

	if (!PG_ARGISNULL(0))
		PG_RETURN_DATUM(PG_GETARG_DATUM(0));
	if (PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("no gateway or gateway pool is given")));

	catalog_open(&request.catalog, fcinfo->flinfo->fn_oid);
	catalog_require_privilege(request.catalog.pools, ACL_SELECT);
	request.pool_id = PG_GETARG_UUID_P(1);
	PG_RETURN_UUID_P(pick(&request));
}

/*
 * explain_gateway_pick(...the arguments of pick_healthy_gateway) returns one
 * row a member: whether it is a candidate, or the one reason why not, and the
 * share of picks that it gets.
 */
Datum
gateway_pool_explain(PG_FUNCTION_ARGS)
{
	PickRequest request = read_request(fcinfo, 1);
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	PickField	field = read_field(&request);
	uint64		tickets = selection_filter(field.members, field.pool->member_count);

	init_materialized_result(fcinfo);
	for (int i = 0; i < field.pool->member_count; i++)
	{
		const MemberRow *row = &field.pool->members[i];
		const SelectionMember *member = &field.members[i];
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
		values[9] = Float8GetDatum(tickets == 0 ? 0 : (double) member->tickets / tickets);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}
