/*
 * pick.c
 *		Picks of gateways from pools.
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

/* After so many draws of members that cannot be picked, a random pick reads all members. */
#define QUICK_DRAWS 32

/*
 * How often a pick starts again after it has refreshed members' slots.  One time
 * suffices, unless gateways are deleted or expire meanwhile.
 */
#define ATTEMPTS_MAX 8

/* After so many attempts to reserve, a pick goes without a reservation. */
#define CLAIMS_MAX 100000

/*
 * Draws members from the table of those that are candidates if all are healthy,
 * until one is healthy and suits the caller.  Returns its index, or -1 after
 * QUICK_DRAWS draws: then all members have to be read.
 */
static int
quick_draw(const CachedPool *pool, const PickArguments *arguments, int64 now)
{
	uint64		size = draw_table_size(&pool->draw);
	int			draws = size == 0 ? 0 : Min(pool->draw.count, QUICK_DRAWS);

	for (; draws > 0; draws--)
	{
		int			drawn = draw_table_draw(&pool->draw, random_below(size));
		const CachedMember *member = &pool->members[drawn];
		GatewayStatus status;

		if (pick_candidates_status(member, now, &status) && status == GATEWAY_HEALTHY &&
			!pick_arguments_excludes(arguments, &member->gateway) && pick_arguments_suits(arguments, member->capabilities))
			return drawn;
	}
	return -1;
}

/*
 * Refreshes the slots of a pool's members.  If one has expired, reads the gateway's
 * row, so that a heartbeat that was not published makes nothing expire early.  If
 * several have, or one belongs to another gateway by now, removes the pool from the
 * cache, so that it is read again.
 */
static void
refresh_slots(const PickArguments *arguments, const CachedPool *pool, int64 now)
{
	const CachedMember *expired = NULL;
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
		pool_cache_remove(&pool->id);
	else if (expired != NULL)
	{
		pg_uuid_t	id = expired->gateway;
		int			count;

		(void) gateway_rows_read(&arguments->catalog, (RowFilter) {.id = &id}, &count);
	}
}

/* Counts a pick or a refusal for the statistics; adds it at once if the pool, and so the count, is not kept. */
static void
tally(const CachedPool *pool, PickCount *count, bool picked, bool degraded)
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
count_pick(CachedPool *pool, CachedMember *member, GatewayStatus status)
{
	tally(pool, &member->count, true, status == GATEWAY_DEGRADED);
	tally(pool, &pool->count, true, status == GATEWAY_DEGRADED);
}

/*
 * Reserves a place at a member.  Returns false if its load has changed since it was
 * chosen.  After CLAIMS_MAX attempts, returns true without a reservation.
 */
static bool
claim(const CachedMember *member, const SelectionMember *selection, const GatewayLoad *load, int64 now, int attempt)
{
	if (member->slot.number == NO_SLOT || attempt >= CLAIMS_MAX)
		return true;
	return reservation_claim(member->slot, selection->load_known ? load : NULL, now);
}

/*
 * Picks up to "wanted" members of the pool and returns their ids, in the order
 * in which to try them, and their number.  With strategy least_loaded, reserves a
 * place at the first, which the caller will use.
 */
static pg_uuid_t *
pick(const PickArguments *arguments, int wanted, int *picked_count)
{
	pg_uuid_t  *picked = NULL;
	CachedPool *pool;
	PickCandidates *candidates;
	int64		now;
	int			count = 0;
	int			chosen;

	for (int attempt = 1;; attempt++)
	{
		now = clock_monotonic();
		pool = pool_cache_get(&arguments->catalog, arguments->pool_id, arguments->capabilities != NULL, now);
		if (pool == NULL)
			pick_arguments_refuse_pool(arguments);

		wanted = Min(wanted, Max(pool->member_count, 1));
		if (picked == NULL)
			picked = palloc(sizeof(pg_uuid_t) * wanted);
		if (arguments->strategy == STRATEGY_RANDOM && wanted == 1 &&
			(chosen = quick_draw(pool, arguments, now)) >= 0)
		{
			count_pick(pool, &pool->members[chosen], GATEWAY_HEALTHY);
			picked[count++] = pool->members[chosen].gateway;
			break;
		}

		candidates = pick_candidates_read(pool, arguments, now);
		if (candidates->has_stale_slot && attempt < ATTEMPTS_MAX)
		{
			refresh_slots(arguments, pool, now);
			continue;
		}

		chosen = pick_candidates_draw(arguments, candidates->members, pool->member_count);
		if (chosen >= 0 && arguments->strategy == STRATEGY_LEAST_LOADED &&
			!claim(&pool->members[chosen], &candidates->members[chosen], &candidates->loads[chosen], now, attempt))
		{
			CHECK_FOR_INTERRUPTS();
			continue;
		}

		for (; chosen >= 0; chosen = pick_candidates_draw(arguments, candidates->members, pool->member_count))
		{
			CHECK_FOR_INTERRUPTS();
			count_pick(pool, &pool->members[chosen], candidates->members[chosen].status);
			picked[count++] = pool->members[chosen].gateway;
			if (count == wanted)
				break;
			candidates->members[chosen].excluded = true;
		}
		break;
	}

	if (count == 0)
		tally(pool, &pool->count, false, false);
	if (count == 0 && !arguments->null_if_none)
		explain_refusal(arguments);
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
	PickArguments arguments;
	pg_uuid_t  *picked;
	int			count;

	pick_arguments_read(fcinfo, 1, RIGHT_PICK, &arguments);
	picked = pick(&arguments, 1, &count);
	if (count == 0)
		PG_RETURN_NULL();
	PG_RETURN_UUID_P(picked);
}

/*
 * pick_healthy_gateways(pool_id uuid, count int, ...the rest) returns setof uuid
 *
 * Picks up to "count" different members, in the order in which to try them: each
 * by the rules, from the members that are not picked yet.
 */
Datum
pick_healthy_gateways(PG_FUNCTION_ARGS)
{
	PickArguments arguments;
	pg_uuid_t  *picked;
	int			wanted;
	int			count;
	ResultRow	row;

	pick_arguments_read(fcinfo, 2, RIGHT_PICK, &arguments);
	argument_require(fcinfo, 1, "count");
	wanted = PG_GETARG_INT32(1);
	if (wanted < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("count must be greater than zero")));

	result_begin_rows(&row, fcinfo);
	picked = pick(&arguments, wanted, &count);
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
 * Returns the gateway if one is given, else a pick from the pool.  Errors: both
 * null 22023, and those of a pick.
 */
Datum
resolve_gateway(PG_FUNCTION_ARGS)
{
	PickArguments arguments = {0};
	int			count;

	catalog_require_fit();
	if (!PG_ARGISNULL(0))
		PG_RETURN_DATUM(PG_GETARG_DATUM(0));
	if (PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("no gateway or gateway pool is given")));

	catalog_open(&arguments.catalog);
	access_require(&arguments.catalog, RIGHT_PICK);
	arguments.pool_id = PG_GETARG_UUID_P(1);
	PG_RETURN_UUID_P(pick(&arguments, 1, &count));
}
