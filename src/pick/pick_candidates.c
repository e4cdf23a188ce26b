/*
 * pick_candidates.c
 *		The members of a pool as input of the selection, for one pick.
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "base/compat.h"
#include "pick/pick_candidates.h"

/* For pools with more members than this, arrays are not kept for the next pick. */
#define ROOM_MAX 65536

/*
 * pick_candidates_status reads the status of a member as of now; it returns false if
 * the member's slot has to be refreshed first.
 */
bool
pick_candidates_status(const CachedMember *member, int64 now, GatewayStatus *status)
{
	HealthEvidence evidence;

	if (!member->by_slot)
	{
		*status = member->status;
		return true;
	}
	if (health_evidence_read(member->slot, now, &evidence) != SLOT_READ)
		return false;
	*status = health_rule(&evidence).status;
	return true;
}

/* Returns room for the members of a pool, valid until the next call. */
static PickCandidates *
candidates_for(int member_count)
{
	static PickCandidates kept;
	static PickCandidates large;

	if (member_count > ROOM_MAX)
	{
		large.members = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(SelectionMember) * member_count);
		large.loads = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(GatewayLoad) * member_count);
		return &large;
	}
	if (kept.room < member_count)
	{
		int			room = Max(member_count, 64);

		SelectionMember *members = MemoryContextAllocHuge(TopMemoryContext, sizeof(SelectionMember) * room);
		GatewayLoad *loads;

		if (kept.members != NULL)
			pfree(kept.members);
		kept.members = members;
		kept.room = 0;
		loads = MemoryContextAllocHuge(TopMemoryContext, sizeof(GatewayLoad) * room);
		if (kept.loads != NULL)
			pfree(kept.loads);
		kept.loads = loads;
		kept.room = room;
	}
	return &kept;
}

/* Sets what of a member depends on the caller's arguments. */
static inline void
apply_arguments(SelectionMember *selection, GatewayLoad *load, const PickArguments *arguments,
				const pg_uuid_t *gateway, Jsonb *capabilities, HealthSlotRef slot, int64 now)
{
	selection->excluded = pick_arguments_excludes(arguments, gateway);
	selection->capable = pick_arguments_suits(arguments, capabilities);
	if (arguments->strategy == STRATEGY_STICKY)
		selection->hash = selection_hash(arguments->key_hash, gateway->data);
	if (arguments->strategy == STRATEGY_LEAST_LOADED && slot.number != NO_SLOT)
	{
		*load = reservation_load(slot, now);
		selection->load_known = load->reported;
		selection->load = load->connections + load->reservations;
	}
}

/* pick_candidates_read reads all members, as of now; the result is valid until the next call. */
PickCandidates *
pick_candidates_read(const CachedPool *pool, const PickArguments *arguments, int64 now)
{
	PickCandidates *candidates = candidates_for(pool->member_count);

	candidates->has_stale_slot = false;
	for (int i = 0; i < pool->member_count; i++)
	{
		const CachedMember *member = &pool->members[i];
		SelectionMember *selection = &candidates->members[i];

		memset(selection, 0, sizeof(SelectionMember));
		if (!pick_candidates_status(member, now, &selection->status))
		{
			candidates->has_stale_slot = true;
			selection->status = GATEWAY_UNHEALTHY;
		}
		selection->state = member->state;
		selection->weight = member->weight;
		selection->priority = member->priority;
		apply_arguments(selection, &candidates->loads[i], arguments, &member->gateway, member->capabilities,
						member->slot, now);
	}
	return candidates;
}

/* pick_candidates_read_row returns the members of a pool that was just read from the tables. */
SelectionMember *
pick_candidates_read_row(const PoolRow *pool, const PickArguments *arguments, int64 now)
{
	SelectionMember *members = palloc_extended(sizeof(SelectionMember) * Max(pool->member_count, 1),
											   MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);

	for (int i = 0; i < pool->member_count; i++)
	{
		const MemberRow *row = &pool->members[i];
		GatewayLoad load;

		members[i].status = row->gateway.health.status;
		members[i].state = row->gateway.state;
		members[i].weight = row->weight;
		members[i].priority = row->priority;
		apply_arguments(&members[i], &load, arguments, &row->gateway.id, row->gateway.capabilities,
						row->gateway.slot, now);
	}
	return members;
}

/* pick_candidates_narrow applies the rules and the strategy, and returns how many tickets are left. */
uint64
pick_candidates_narrow(const PickArguments *arguments, SelectionMember *members, int count)
{
	uint64		tickets = selection_filter(members, count);

	switch (arguments->strategy)
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

/* pick_candidates_draw draws one of the candidates and returns its index, or -1 if there is none. */
int
pick_candidates_draw(const PickArguments *arguments, SelectionMember *members, int count)
{
	uint64		tickets = pick_candidates_narrow(arguments, members, count);

	return tickets == 0 ? -1 : selection_draw(members, count, random_below(tickets));
}
