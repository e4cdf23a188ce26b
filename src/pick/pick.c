/*
 * pick.c
 *		The choice of a member.
 */
#include "postgres.h"

#include "utils/uuid.h"

#include "base/argument.h"
#include "base/clock.h"
#include "base/compat.h"
#include "base/result_row.h"
#include "pick/explain.h"
#include "pick/pick_candidates.h"
#include "pick/pool_cache.h"
#include "tables/access.h"
#include "tables/gateway_rows.h"

PG_FUNCTION_INFO_V1(pick_healthy_gateway);
PG_FUNCTION_INFO_V1(pick_healthy_gateways);
PG_FUNCTION_INFO_V1(resolve_gateway);

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

/*
 * Draws from those who would be candidates if all were healthy until it meets
 * one that is and can be picked; -1 if it meets none.  What it leaves to the
 * full look is everything that is not as usual.
 */
static int
quick_draw(const KnownPool *pool, const PickArguments *request, int64 now)
{
	uint64		size = draw_table_size(&pool->draw);
	int			draws = size == 0 ? 0 : Min(pool->draw.count, QUICK_DRAWS);

	for (; draws > 0; draws--)
	{
		int			drawn = draw_table_draw(&pool->draw, random_below(size));
		const KnownMember *member = &pool->members[drawn];
		GatewayStatus status;

		if (pick_candidates_status(member, now, &status) && status == GATEWAY_HEALTHY &&
			!pick_arguments_excludes(request, &member->gateway) && pick_arguments_suits(request, member->capabilities))
			return drawn;
	}
	return -1;
}

/*
 * Brings the slots of a pool's members up to date: one that ran out by reading
 * its row, so that nothing that we were not told makes it expire early; more, or
 * one that is another gateway's by now, by reading the pool.
 */
static void
settle(const PickArguments *request, const KnownPool *pool, int64 now)
{
	const KnownMember *expired = NULL;
	bool		read_pool = !pool->kept;

	for (int i = 0; i < pool->member_count && !read_pool; i++)
	{
		HealthEvidence evidence;

		switch (health_evidence_read(pool->members[i].slot, now, &evidence))
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

		(void) gateway_rows_read(&request->catalog, (RowFilter) {.id = &id}, &count);
	}
}

/* Counts a pick, or a refusal, for the statistics; of a pool that is not kept, at once. */
static void
tally(const KnownPool *pool, PickCount *count, bool picked, bool degraded)
{
	if (pool->kept)
		pick_counters_touch(count);
	count->picks += picked;
	count->degraded_picks += degraded;
	count->refusals += !picked;
	if (!pool->kept)
		pick_counters_add(count);
}

static void
count_pick(KnownPool *pool, KnownMember *member, GatewayStatus status)
{
	tally(pool, &member->count, true, status == GATEWAY_DEGRADED);
	tally(pool, &pool->count, true, status == GATEWAY_DEGRADED);
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
pick(const PickArguments *request, int wanted, int *picked_count)
{
	pg_uuid_t  *picked = NULL;
	KnownPool  *pool;
	PickCandidates *field;
	int64		now;
	int			count = 0;
	int			chosen;

	for (int attempt = 1;; attempt++)
	{
		now = clock_monotonic();
		pool = pool_cache_get(&request->catalog, request->pool_id, request->capabilities != NULL, now);
		if (pool == NULL)
			pick_arguments_refuse_pool(request);

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

		field = pick_candidates_read(pool, request, now);
		if (field->unsettled && attempt < ATTEMPTS_MAX)
		{
			settle(request, pool, now);
			continue;
		}

		chosen = pick_candidates_draw(request, field->members, pool->member_count);
		if (chosen >= 0 && request->strategy == STRATEGY_LEAST_LOADED &&
			!claim(&pool->members[chosen], &field->members[chosen], &field->loads[chosen], now, attempt))
		{
			CHECK_FOR_INTERRUPTS();
			continue;
		}

		for (; chosen >= 0; chosen = pick_candidates_draw(request, field->members, pool->member_count))
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
		tally(pool, &pool->count, false, false);
	if (count == 0 && !request->null_if_none)
		explain_refusal(request);
	*picked_count = count;
	return picked;
}

/*
 * pick_healthy_gateway(pool_id uuid, exclude uuid[], strategy text,
 *     capabilities jsonb, sticky_key text, null_if_none boolean) returns uuid
 *
 * Picks one eligible member.  Needs SELECT on gateway_pools (id).  Errors: no such
 * pool P0002, whatever null_if_none says; no eligible member 55000, or NULL
 * with null_if_none; a bad argument 22023.
 */
Datum
pick_healthy_gateway(PG_FUNCTION_ARGS)
{
	PickArguments request;
	pg_uuid_t  *picked;
	int			count;

	pick_arguments_read(fcinfo, 1, RIGHT_PICK, &request);
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
pick_healthy_gateways(PG_FUNCTION_ARGS)
{
	PickArguments request;
	pg_uuid_t  *picked;
	int			wanted;
	int			count;
	ResultRow	row;

	pick_arguments_read(fcinfo, 2, RIGHT_PICK, &request);
	argument_require(fcinfo, 1, "count");
	wanted = PG_GETARG_INT32(1);
	if (wanted < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("count must be at least 1")));

	result_begin_rows(&row, fcinfo);
	picked = pick(&request, wanted, &count);
	for (int i = 0; i < count; i++)
	{
		result_put(&row, "", UUIDPGetDatum(&picked[i]));
		result_add(&row);
	}
	return (Datum) 0;
}

/*
 * resolve_gateway(gateway_id uuid, pool_id uuid) returns uuid
 *
 * The gateway if one is given, else a pick from the pool; 22023 if neither is.
 */
Datum
resolve_gateway(PG_FUNCTION_ARGS)
{
	PickArguments request = {0};
	int			count;

	if (!PG_ARGISNULL(0))
		PG_RETURN_DATUM(PG_GETARG_DATUM(0));
	if (PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("no gateway or gateway pool is given")));

	catalog_open(&request.catalog);
	access_require(&request.catalog, RIGHT_PICK);
	request.pool_id = PG_GETARG_UUID_P(1);
	PG_RETURN_UUID_P(pick(&request, 1, &count));
}
