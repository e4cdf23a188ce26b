/*
 * pick_candidates.c
 *		The members of a pool as the selection sees them, at one pick.
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "base/compat.h"
#include "pick/pick_candidates.h"

/* For pools with more members than this, memory is the caller's. */
#define ROOM_MAX 65536

/*
 * pick_candidates_status reads the status of a member as of now; it returns false if
 * the member's slot has to be brought up to date first.
 */
bool
pick_candidates_status(const KnownMember *member, int64 now, GatewayStatus *status)
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

static PickCandidates *
field_for(int member_count)
{
	static PickCandidates field;
	static PickCandidates large;

	if (member_count > ROOM_MAX)
	{
		large.members = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(SelectionMember) * member_count);
		large.loads = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(GatewayLoad) * member_count);
		return &large;
	}
	if (field.room < member_count)
	{
		int			room = Max(member_count, 64);

		SelectionMember *members = MemoryContextAllocHuge(TopMemoryContext, sizeof(SelectionMember) * room);
		GatewayLoad *loads;

		if (field.members != NULL)
			pfree(field.members);
		field.members = members;
		field.room = 0;
		loads = MemoryContextAllocHuge(TopMemoryContext, sizeof(GatewayLoad) * room);
		if (field.loads != NULL)
			pfree(field.loads);
		field.loads = loads;
		field.room = room;
	}
	return &field;
}

/* pick_candidates_read looks at all members, as of now; the result serves until the next call. */
PickCandidates *
pick_candidates_read(const KnownPool *pool, const PickArguments *request, int64 now)
{
	PickCandidates *field = field_for(pool->member_count);

	field->unsettled = false;
	for (int i = 0; i < pool->member_count; i++)
	{
		const KnownMember *member = &pool->members[i];
		SelectionMember *selection = &field->members[i];

		memset(selection, 0, sizeof(SelectionMember));
		if (!pick_candidates_status(member, now, &selection->status))
		{
			field->unsettled = true;
			selection->status = GATEWAY_UNHEALTHY;
		}
		selection->state = member->state;
		selection->weight = member->weight;
		selection->priority = member->priority;
		selection->excluded = pick_arguments_excludes(request, &member->gateway);
		selection->capable = pick_arguments_suits(request, member->capabilities);
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

/* pick_candidates_narrow applies the rules and the strategy; returns the number of tickets that are left. */
uint64
pick_candidates_narrow(const PickArguments *request, SelectionMember *members, int count)
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

/* pick_candidates_draw draws one of the candidates and returns its index, or -1 if there is none. */
int
pick_candidates_draw(const PickArguments *request, SelectionMember *members, int count)
{
	uint64		tickets = pick_candidates_narrow(request, members, count);

	return tickets == 0 ? -1 : selection_draw(members, count, random_below(tickets));
}
