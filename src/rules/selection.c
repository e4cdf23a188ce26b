/*
 * selection.c
 *		From the members of a pool to the one that is picked.
 */
#include "postgres.h"

#include <math.h>

#include "rules/selection.h"

/* gateway_state_name returns the word for a state. */
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

/*
 * gateway_state_at returns the state of a gateway at a time, by the state that was set
 * and its end, NO_STATE_END for none: from its end on, the gateway is active.
 */
GatewayState
gateway_state_at(GatewayState set, int64 end, int64 now)
{
	return end != NO_STATE_END && now >= end ? GATEWAY_ACTIVE : set;
}

/* selection_eligible returns true if a gateway is eligible. */
bool
selection_eligible(GatewayStatus status, GatewayState state)
{
	return state == GATEWAY_ACTIVE &&
		(status == GATEWAY_HEALTHY || status == GATEWAY_DEGRADED);
}

/* The reason why a member is not a candidate, whatever the others are. */
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
 * selection_filter sets who is a candidate and returns the number of tickets, 0 if
 * there is no candidate.
 *
 * Filtering comes before the draw, so that the shares of the candidates are exactly
 * their weights.  A degraded member is a candidate only if no healthy one is, whatever
 * their priorities: to pick none would be a certain outage.  For the same reason,
 * members of weight 0 share equally if no other in their tier has more.
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

static uint64
sum_tickets(const SelectionMember *members, int count)
{
	uint64		tickets = 0;

	for (int i = 0; i < count; i++)
		tickets += members[i].tickets;
	return tickets;
}

/*
 * selection_least_loaded keeps the candidates with the least load for their weight,
 * where load includes the connection of this pick.  Returns the number of tickets: one
 * each.  Changes nothing unless the loads of all candidates are known.
 */
uint64
selection_least_loaded(SelectionMember *members, int count)
{
	uint64		least_load = 0;
	uint64		its_weight = 0;

	for (int i = 0; i < count; i++)
		if (members[i].candidacy == CANDIDATE && !members[i].load_known)
			return sum_tickets(members, count);

	for (int i = 0; i < count; i++)
		if (members[i].candidacy == CANDIDATE &&
			(its_weight == 0 ||
			 (members[i].load + UINT64CONST(1)) * its_weight < least_load * members[i].tickets))
		{
			least_load = members[i].load + UINT64CONST(1);
			its_weight = members[i].tickets;
		}

	for (int i = 0; i < count; i++)
	{
		if (members[i].candidacy != CANDIDATE)
			continue;
		if ((members[i].load + UINT64CONST(1)) * its_weight == least_load * members[i].tickets)
			continue;
		members[i].candidacy = REFUSED_LOAD;
		members[i].tickets = 0;
	}
	for (int i = 0; i < count; i++)
		if (members[i].candidacy == CANDIDATE)
			members[i].tickets = 1;
	return sum_tickets(members, count);
}

/* The finalizer of MurmurHash3: each bit of the argument affects each bit of the result. */
static uint64
mix(uint64 value)
{
	value ^= value >> 33;
	value *= UINT64CONST(0xff51afd7ed558ccd);
	value ^= value >> 33;
	value *= UINT64CONST(0xc4ceb9fe1a85ec53);
	value ^= value >> 33;
	return value;
}

/* selection_key_hash hashes the bytes of a key by FNV-1a: the result is the same on any machine. */
uint64
selection_key_hash(const char *key, size_t length)
{
	uint64		hash = UINT64CONST(0xcbf29ce484222325);

	for (size_t i = 0; i < length; i++)
		hash = (hash ^ (unsigned char) key[i]) * UINT64CONST(0x100000001b3);
	return mix(hash);
}

/* selection_hash hashes a key together with the 16 bytes of a gateway's id. */
uint64
selection_hash(uint64 key_hash, const unsigned char *id)
{
	uint64		halves[2] = {0, 0};

	for (int i = 0; i < 16; i++)
		halves[i / 8] = halves[i / 8] << 8 | id[i];
	return mix(mix(key_hash ^ halves[0]) ^ halves[1]);
}

/*
 * selection_sticky keeps one candidate, by weighted rendezvous hashing: the shortest
 * of exponential waits whose rates are the weights.  A member that is added or removed
 * moves only the keys that it gets or had.
 */
uint64
selection_sticky(SelectionMember *members, int count)
{
	int			winner = -1;
	double		shortest = 0;

	for (int i = 0; i < count; i++)
	{
		double		wait;

		if (members[i].candidacy != CANDIDATE)
			continue;
		/* 53 bits, as many as a double has, strictly between 0 and 1. */
		wait = -log(((members[i].hash >> 11) + 0.5) / UINT64CONST(9007199254740992)) / members[i].tickets;
		if (winner < 0 || wait < shortest)
		{
			winner = i;
			shortest = wait;
		}
	}

	for (int i = 0; i < count; i++)
		if (members[i].candidacy == CANDIDATE && i != winner)
		{
			members[i].candidacy = REFUSED_STICKY;
			members[i].tickets = 0;
		}
	if (winner >= 0)
		members[winner].tickets = 1;
	return winner >= 0 ? 1 : 0;
}

/*
 * selection_draw returns the index of the member that has "ticket", a number below
 * the total that selection_filter or the strategy returned.
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
