/*
 * explain.c
 *		Why a gateway was picked, or none.
 */
#include "postgres.h"

#include "lib/stringinfo.h"
#include "utils/builtins.h"

#include "base/clock.h"
#include "base/compat.h"
#include "base/result_row.h"
#include "base/uuid.h"
#include "pick/explain.h"
#include "pick/pick_candidates.h"
#include "shared/worker_slots.h"
#include "tables/access.h"
#include "tables/isolation.h"

PG_FUNCTION_INFO_V1(explain_gateway_pick);

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
			return gateway->capabilities_invalid ? "capabilities are not valid" : "lacks capabilities";
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
explain(const PickArguments *request)
{
	Explanation explanation;
	int			count;
	KnownPool  *known;
	PickCandidates *field;

	worker_slots_want_here();
	if (isolation_hides_pool(&request->catalog, request->pool_id))
		pick_arguments_refuse_pool(request);
	explanation.pool = pool_rows_read(&request->catalog, (RowFilter) {
		.id = request->pool_id, .capabilities = request->capabilities != NULL
	}, &count);
	if (count == 0)
		pick_arguments_refuse_pool(request);
	known = pool_cache_of_row(explanation.pool);
	field = pick_candidates_read(known, request, clock_monotonic());
	explanation.members = field->members;
	for (int i = 0; i < known->member_count; i++)
		field->members[i].status = known->members[i].status;
	explanation.tickets = pick_candidates_narrow(request, field->members, known->member_count);
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

/* explain_refusal raises 55000 for a pool that has nobody to pick, and says why. */
void
explain_refusal(const PickArguments *request)
{
	Explanation explanation = explain(request);

	/* Its name only to whom may read that. */
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 access_has(&request->catalog, RIGHT_LIST) ?
			 errmsg("gateway pool \"%s\" has no eligible member", explanation.pool->name) :
			 errmsg("gateway pool %s has no eligible member", uuid_text(request->pool_id)),
			 errdetail_internal("%s", reasons_in_words(&explanation)),
			 catalog_error_constraint(request->catalog.pools, "gateway_pools_no_eligible_member")));
}

/*
 * explain_gateway_pick(...the arguments of pick_healthy_gateway) returns one
 * row a member: whether it is a candidate, or the one reason why not, and the
 * share of picks that it gets.  Reserves nothing.  Needs SELECT on gateway_pools.
 */
Datum
explain_gateway_pick(PG_FUNCTION_ARGS)
{
	PickArguments request;
	Explanation explanation;
	ResultRow	result;

	pick_arguments_read(fcinfo, 1, RIGHT_LIST, &request);
	explanation = explain(&request);
	result_begin_rows(&result, fcinfo);
	for (int i = 0; i < explanation.pool->member_count; i++)
	{
		const MemberRow *row = &explanation.pool->members[i];
		const SelectionMember *member = &explanation.members[i];

		result_put(&result, "gatewayId", UUIDPGetDatum(&row->gateway.id));
		result_put_text(&result, "name", row->gateway.name);
		result_put_text(&result, "status", gateway_status_name(row->gateway.health.status));
		result_put_text(&result, "reason", row->gateway.health.reason);
		result_put_text(&result, "state", gateway_state_name(row->gateway.state));
		result_put(&result, "weight", Int32GetDatum(row->weight));
		result_put(&result, "priority", Int16GetDatum(row->priority));
		result_put(&result, "candidate", BoolGetDatum(member->candidacy == CANDIDATE));
		result_put_text(&result, "verdict", candidacy_reason(member, &row->gateway));
		result_put(&result, "share",
				   Float8GetDatum(explanation.tickets == 0 ? 0 : (double) member->tickets / explanation.tickets));
		result_add(&result);
	}
	return (Datum) 0;
}
