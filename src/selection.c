/*
 * selection.c
 *		From the members of a pool to the one that is picked.
 */
#include "postgres.h"

#include "selection.h"

/* gateway_state_name gives the word for a state. */
const char *
gateway_state_name(GatewayState state)
{
	switch (state)
	{
		case GATEWAY_ACTIVE:
			return "active";
		case GATEWAY_DRAINING:
			return "draining";
		case GATEWAY_MAINTENANCE:
			return "maintenance";
	}
	return NULL;				/* keeps the compiler quiet */
}

/* selection_eligible tells whether a pick may fall on such a gateway at all. */
bool
selection_eligible(GatewayStatus status, GatewayState state)
{
	return state == GATEWAY_ACTIVE &&
		(status == GATEWAY_HEALTHY || status == GATEWAY_DEGRADED);
}

/* What rules a member out whatever the others are. */
static Candidacy
own_candidacy(const SelectionMember *member)
{
	if (member->excluded)
		return REFUSED_EXCLUDED;
	if (member->state != GATEWAY_ACTIVE)
		return REFUSED_STATE;
	if (!selection_eligible(member->status, member->state))
		return REFUSED_STATUS;
	if (!member->capable)
		return REFUSED_CAPABILITIES;
	return CANDIDATE;
}

/*
 * selection_filter decides who takes part in the draw and returns the number
 * of tickets, 0 if there is no candidate.
 *
 * Everything is filtered before the draw, so that the shares of those who are
 * left are exactly their weights.  A degraded member takes part only when no
 * healthy one can, whatever their priorities: refusing then would be a sure
 * outage.  For the same reason members that weigh nothing share equally when
 * nobody in their tier weighs more.
 */
uint64
selection_filter(SelectionMember *members, int count)
{
	bool		healthy_left = false;
	bool		tier_found = false;
	int32		tier = 0;
	uint64		weights = 0;
	uint64		tickets = 0;

	for (int i = 0; i < count; i++)
	{
		members[i].candidacy = own_candidacy(&members[i]);
		members[i].tickets = 0;
		if (members[i].candidacy == CANDIDATE && members[i].status == GATEWAY_HEALTHY)
			healthy_left = true;
	}

	for (int i = 0; i < count; i++)
	{
		if (members[i].candidacy != CANDIDATE)
			continue;
		if (healthy_left && members[i].status != GATEWAY_HEALTHY)
			members[i].candidacy = REFUSED_DEGRADED;
		else if (!tier_found || members[i].priority < tier)
		{
			tier_found = true;
			tier = members[i].priority;
		}
	}

	for (int i = 0; i < count; i++)
	{
		if (members[i].candidacy != CANDIDATE)
			continue;
		if (members[i].priority != tier)
			members[i].candidacy = REFUSED_PRIORITY;
		else
			weights += members[i].weight;
	}

	for (int i = 0; i < count; i++)
	{
		if (members[i].candidacy != CANDIDATE)
			continue;
		if (weights == 0)
			members[i].tickets = 1;
		else if (members[i].weight == 0)
			members[i].candidacy = REFUSED_WEIGHT;
		else
			members[i].tickets = members[i].weight;
		tickets += members[i].tickets;
	}

	return tickets;
}

/*
 * selection_draw returns the index of the member that holds "ticket", a number
 * below what selection_filter returned.
 */
int
selection_draw(const SelectionMember *members, int count, uint64 ticket)
{
	int			i = 0;

	for (;;)
	{
		Assert(i < count);
		if (ticket < members[i].tickets)
			return i;
		ticket -= members[i].tickets;
		i++;
	}
}
