/*
 * explain.c
 *		Explanations of picks: for each member of a pool, why it can be picked or not.
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

/* Returns the one reason why a member is a candidate or not. */
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

/* A pool as just read from the tables, and the result of the rules for its members. */
typedef struct Explanation
{
	PoolRow    *pool;
	SelectionMember *members;	/* in the order of the pool's */
	uint64		tickets;		/* of all members */
} Explanation;

/* Applies the rules of a pick to the tables and shared memory as of now. */
static Explanation
explain(const PickArguments *arguments)
{
	Explanation explanation;
	int			count;

	(void) worker_slots_want_here();
	if (isolation_hides_pool(&arguments->catalog, arguments->pool_id))
		pick_arguments_refuse_pool(arguments);
	explanation.pool = pool_rows_read(&arguments->catalog, (RowFilter) {
		.id = arguments->pool_id, .capabilities = arguments->capabilities != NULL
	}, &count);
	if (count == 0)
		pick_arguments_refuse_pool(arguments);
	explanation.members = pick_candidates_read_row(explanation.pool, arguments, clock_monotonic());
	explanation.tickets = pick_candidates_narrow(arguments, explanation.members, explanation.pool->member_count);
	return explanation;
}

/* A reason why members are no candidates. */
typedef struct ReasonCount
{
	const char *reason;
	int			first;			/* index of the first member with it */
	int			count;			/* of members */
} ReasonCount;

/* Appends how many members have a reason, such as ", 2 lack capabilities". */
static void
append_reason(StringInfo words, const Explanation *explanation, const ReasonCount *reason)
{
	if (explanation->members[reason->first].candidacy != REFUSED_CAPABILITIES)
		appendStringInfo(words, ", %d %s", reason->count, reason->reason);
	else if (explanation->pool->members[reason->first].gateway.capabilities_invalid)
		appendStringInfo(words, ngettext(", %d has invalid capabilities", ", %d have invalid capabilities", reason->count),
						 reason->count);
	else
		appendStringInfo(words, ngettext(", %d lacks capabilities", ", %d lack capabilities", reason->count), reason->count);
}

/* Returns a sentence such as "Of 3 members, 2 unhealthy (heartbeat expired), 1 draining." */
static const char *
reasons_in_words(const Explanation *explanation)
{
	int			count = explanation->pool->member_count;
	ReasonCount *reasons = palloc(sizeof(ReasonCount) * Max(count, 1));
	int			distinct = 0;
	StringInfoData words;

	if (count == 0)
		return "The pool has no members.";

	for (int i = 0; i < count; i++)
	{
		const char *reason = candidacy_reason(&explanation->members[i], &explanation->pool->members[i].gateway);
		int			j = 0;

		while (j < distinct && strcmp(reasons[j].reason, reason) != 0)
			j++;
		if (j == distinct)
			reasons[distinct++] = (ReasonCount) {.reason = reason, .first = i};
		reasons[j].count++;
	}

	initStringInfo(&words);
	appendStringInfo(&words, ngettext("Of %d member", "Of %d members", count), count);
	for (int j = 0; j < distinct; j++)
		append_reason(&words, explanation, &reasons[j]);
	appendStringInfoChar(&words, '.');
	return words.data;
}

/* explain_refusal raises 55000 for a pool without an eligible member, with the reasons. */
void
explain_refusal(const PickArguments *arguments)
{
	Explanation explanation = explain(arguments);

	/* A role that only picks may not read the name. */
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 access_has(&arguments->catalog, RIGHT_LIST) ?
			 errmsg("gateway pool \"%s\" has no eligible member", explanation.pool->name) :
			 errmsg("gateway pool %s has no eligible member", uuid_text(arguments->pool_id)),
			 errdetail_internal("%s", reasons_in_words(&explanation)),
			 catalog_error_constraint(arguments->catalog.pools, "gateway_pools_no_eligible_member")));
}

/*
 * explain_gateway_pick(...the arguments of pick_healthy_gateway) returns one
 * row a member: whether it is a candidate, the one reason why, and its share of
 * picks, 0 to 1.  Reserves nothing.  Needs SELECT on gateway_pools.
 */
Datum
explain_gateway_pick(PG_FUNCTION_ARGS)
{
	PickArguments arguments;
	Explanation explanation;
	ResultRow	result;

	pick_arguments_read(fcinfo, 1, RIGHT_LIST, &arguments);
	explanation = explain(&arguments);
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
