/*
 * selection_test.c
 *		Who takes part in the draw, with which share, and why the others do not.
 */
#include "postgres.h"

#include "selection.h"
#include "tap.h"

static SelectionMember
member(GatewayStatus status, int32 weight, int32 priority)
{
	return (SelectionMember) {.status = status, .weight = weight, .priority = priority, .capable = true};
}

static void
test_own_reasons(void)
{
	SelectionMember members[8];

	for (int i = 0; i < 8; i++)
		members[i] = member(GATEWAY_HEALTHY, 1, 0);
	members[1].excluded = true;
	members[2].state = GATEWAY_DRAINING;
	members[3].state = GATEWAY_MAINTENANCE;
	members[4].status = GATEWAY_UNHEALTHY;
	members[5].status = GATEWAY_UNKNOWN;
	members[6].capable = false;
	/* Everything at once: the first reason counts. */
	members[7] = (SelectionMember) {.excluded = true, .state = GATEWAY_DRAINING, .status = GATEWAY_UNHEALTHY};

	ok(selection_filter(members, 8) == 1, "one ticket");
	ok(members[0].candidacy == CANDIDATE && members[0].tickets == 1, "the healthy active one is a candidate");
	ok(members[1].candidacy == REFUSED_EXCLUDED && members[1].tickets == 0, "excluded");
	ok(members[2].candidacy == REFUSED_STATE && members[3].candidacy == REFUSED_STATE, "draining, maintenance");
	ok(members[4].candidacy == REFUSED_STATUS && members[5].candidacy == REFUSED_STATUS, "unhealthy, unknown");
	ok(members[6].candidacy == REFUSED_CAPABILITIES, "lacks capabilities");
	ok(members[7].candidacy == REFUSED_EXCLUDED, "the first reason counts");
	ok(selection_draw(members, 8, 0) == 0, "the only ticket is the candidate's");
}

static void
test_nobody(void)
{
	SelectionMember members[2] = {
		{.status = GATEWAY_UNHEALTHY, .weight = 1, .capable = true},
		{.status = GATEWAY_HEALTHY, .weight = 1, .capable = true, .excluded = true}
	};

	ok(selection_filter(members, 0) == 0, "no members, no tickets");
	ok(selection_filter(members, 2) == 0, "no candidates, no tickets");
}

static void
test_degraded(void)
{
	SelectionMember members[3];

	/* A degraded member of a better tier yields to a healthy one of a worse. */
	members[0] = member(GATEWAY_DEGRADED, 1, 0);
	members[1] = member(GATEWAY_HEALTHY, 1, 5);
	members[2] = member(GATEWAY_UNHEALTHY, 1, 0);
	ok(selection_filter(members, 3) == 1 && members[1].candidacy == CANDIDATE &&
	   members[0].candidacy == REFUSED_DEGRADED, "healthy ones first, whatever the priority");

	members[1].excluded = true;
	ok(selection_filter(members, 3) == 1 && members[0].candidacy == CANDIDATE, "degraded when no healthy one can be");

	members[1].excluded = false;
	members[1].capable = false;
	ok(selection_filter(members, 3) == 1 && members[0].candidacy == CANDIDATE,
	   "a healthy one that lacks capabilities is no reason to pass over a degraded one");
}

static void
test_tiers(void)
{
	SelectionMember members[4];

	members[0] = member(GATEWAY_HEALTHY, 1, 1);
	members[1] = member(GATEWAY_HEALTHY, 3, -2);
	members[2] = member(GATEWAY_HEALTHY, 2, -2);
	members[3] = member(GATEWAY_UNHEALTHY, 9, -5);
	ok(selection_filter(members, 4) == 5, "tickets of the lowest tier that has a candidate");
	ok(members[0].candidacy == REFUSED_PRIORITY && members[0].tickets == 0, "higher number passed over");
	ok(members[1].tickets == 3 && members[2].tickets == 2, "tickets are weights");
}

static void
test_weights(void)
{
	SelectionMember members[3];
	int			held[3] = {0};

	members[0] = member(GATEWAY_HEALTHY, 1, 0);
	members[1] = member(GATEWAY_HEALTHY, 0, 0);
	members[2] = member(GATEWAY_HEALTHY, 1000, 0);
	ok(selection_filter(members, 3) == 1001, "weights add up");
	ok(members[1].candidacy == REFUSED_WEIGHT, "weight 0 takes no part beside others");
	for (uint64 ticket = 0; ticket < 1001; ticket++)
		held[selection_draw(members, 3, ticket)]++;
	ok(held[0] == 1 && held[1] == 0 && held[2] == 1000, "each holds as many tickets as it weighs");

	members[0].weight = members[2].weight = 0;
	ok(selection_filter(members, 3) == 3 && members[1].tickets == 1, "all of weight 0 share equally");

	members[0] = member(GATEWAY_HEALTHY, 0, 0);
	members[1] = member(GATEWAY_HEALTHY, 7, 1);
	ok(selection_filter(members, 2) == 1 && members[0].candidacy == CANDIDATE,
	   "weight 0 alone in its tier comes before a worse tier");
}

static void
test_large(void)
{
	int			count = 100000;
	SelectionMember *members = malloc(sizeof(SelectionMember) * count);

	for (int i = 0; i < count; i++)
		members[i] = member(GATEWAY_HEALTHY, 1000, 0);
	ok(selection_filter(members, count) == UINT64CONST(100000000), "sums beyond small pools");
	ok(selection_draw(members, count, UINT64CONST(99999999)) == count - 1, "the last ticket");
	free(members);
}

static void
test_eligible(void)
{
	for (int status = GATEWAY_HEALTHY; status <= GATEWAY_UNKNOWN; status++)
		for (int state = GATEWAY_ACTIVE; state <= GATEWAY_MAINTENANCE; state++)
			ok(selection_eligible(status, state) ==
			   (state == GATEWAY_ACTIVE && (status == GATEWAY_HEALTHY || status == GATEWAY_DEGRADED)),
			   "eligible: status %d, state %d", status, state);
}

/* xorshift64*: the same sets in every run. */
static uint64
next_random(void)
{
	static uint64 state = UINT64CONST(88172645463325252);

	state ^= state >> 12;
	state ^= state << 25;
	state ^= state >> 27;
	return state * UINT64CONST(2685821657736338717);
}

/* Every number below the size leads to a member: each exactly as often as its weight says. */
static bool
is_exact(const SelectionMember *members, int count)
{
	DrawColumn	columns[70];
	DrawTable	table = {.columns = columns};
	SelectionMember copy[70];
	uint64		held[70] = {0};
	uint64		tickets;
	uint64		size;

	draw_table_build(&table, members, count);
	size = draw_table_size(&table);
	for (uint64 number = 0; number < size; number++)
		held[draw_table_draw(&table, number)]++;

	/* All active ones healthy: the filter's tickets are the shares. */
	for (int i = 0; i < count; i++)
	{
		copy[i] = members[i];
		copy[i].status = GATEWAY_HEALTHY;
		copy[i].capable = true;
	}
	tickets = selection_filter(copy, count);
	if ((tickets == 0) != (size == 0))
		return false;
	for (int i = 0; i < count; i++)
		if (held[i] * tickets != copy[i].tickets * size)
			return false;
	return true;
}

static void
test_draw_table(void)
{
	static const int32 heaviest[] = {0, 1, 2, 10, 1000};
	SelectionMember members[70];

	for (int kind = 0; kind < lengthof(heaviest); kind++)
		for (int states = 0; states <= 1; states++)
		{
			int			wrong = 0;

			for (int count = 0; count <= 70; count++)
			{
				for (int i = 0; i < count; i++)
				{
					members[i] = member(GATEWAY_UNHEALTHY, next_random() % (heaviest[kind] + 1), next_random() % 3);
					if (states)
						members[i].state = next_random() % 3;
				}
				wrong += !is_exact(members, count);
			}
			ok(wrong == 0, "draw table, weights to %d%s: all shares exact", heaviest[kind],
			   states ? ", some not active" : "");
		}

	for (int i = 0; i < 3; i++)
		members[i] = member(GATEWAY_HEALTHY, i == 0 ? 1 : i == 1 ? 2 : 7, 0);
	ok(is_exact(members, 3), "draw table, weights 1:2:7");
}

static void
test_least_loaded(void)
{
	SelectionMember members[4];

	for (int i = 0; i < 4; i++)
	{
		members[i] = member(GATEWAY_HEALTHY, 1, 0);
		members[i].load_known = true;
		members[i].load = i == 3 ? 9 : 2;
	}
	selection_filter(members, 4);
	ok(selection_least_loaded(members, 4) == 3 && members[3].candidacy == REFUSED_LOAD && members[3].tickets == 0,
	   "those with the least load share equally");

	members[2].load = 1;
	selection_filter(members, 4);
	ok(selection_least_loaded(members, 4) == 1 && members[2].candidacy == CANDIDATE, "one has the least");

	members[0].load_known = false;
	ok(selection_filter(members, 4) == 4 && selection_least_loaded(members, 4) == 4,
	   "unless all are known, nothing is compared");
	members[0].status = GATEWAY_UNHEALTHY;
	selection_filter(members, 4);
	ok(selection_least_loaded(members, 4) == 1, "but only candidates need be known");

	members[0] = members[1] = members[2];
	members[0].weight = 3;
	members[0].load = 5;
	members[1].load = 2;
	selection_filter(members, 2);
	ok(selection_least_loaded(members, 2) == 1 && members[0].candidacy == CANDIDATE,
	   "six connections at weight 3 are less than three at weight 1");
	members[0].load = 8;
	selection_filter(members, 2);
	ok(selection_least_loaded(members, 2) == 2, "nine are as much");

	members[0].weight = members[1].weight = 0;
	members[0].load = 8;
	selection_filter(members, 2);
	ok(selection_least_loaded(members, 2) == 1 && members[1].candidacy == CANDIDATE, "weights of 0 are alike");
	ok(selection_filter(members, 0) == 0 && selection_least_loaded(members, 0) == 0, "nobody");
}

/* Member i of a pool, its id all bytes i + 1. */
static uint64
hash_of(uint64 key_hash, int i)
{
	unsigned char id[16];

	memset(id, i + 1, sizeof(id));
	return selection_hash(key_hash, id);
}

/* Which of the first "count" members, but "without", a key leads to. */
static int
leads_to(const char *key, int count, int without, const int32 *weights, bool reversed)
{
	uint64		key_hash = selection_key_hash(key, strlen(key));
	SelectionMember members[16];
	int			ids[16];
	int			n = 0;

	for (int j = 0; j < count; j++)
	{
		int			i = reversed ? count - 1 - j : j;

		if (i == without)
			continue;
		members[n] = member(GATEWAY_HEALTHY, weights == NULL ? 1 : weights[i], 0);
		members[n].hash = hash_of(key_hash, i);
		ids[n++] = i;
	}
	selection_filter(members, n);
	if (selection_sticky(members, n) != 1)
		return -1;
	return ids[selection_draw(members, n, 0)];
}

static void
test_sticky(void)
{
	static const int32 weights[] = {1, 2, 7};
	int			moved_wrongly = 0;
	int			reordered = 0;
	int			taken = 0;
	int			stolen = 0;
	int			held[3] = {0};
	char		key[32];

	/* These are for ever: another answer would move every key of every user. */
	ok(selection_key_hash("", 0) == UINT64CONST(0xefd01f60ba992926), "known hash of the empty key");
	ok(selection_key_hash("session-1", 9) == UINT64CONST(0xf267abb32d450b1f), "known hash of a key");
	ok(hash_of(selection_key_hash("session-1", 9), 0) == UINT64CONST(0x8987b958768b418c), "known hash of a key and a gateway");
	ok(leads_to("session-1", 10, -1, NULL, false) == 6 &&
	   leads_to("session-2", 10, -1, NULL, false) == 1 &&
	   leads_to("", 10, -1, NULL, false) == 2, "known members of keys");

	for (int i = 0; i < 20000; i++)
	{
		int			before;
		int			after;

		snprintf(key, sizeof(key), "key %d", i);
		before = leads_to(key, 10, -1, NULL, false);
		reordered += before != leads_to(key, 10, -1, NULL, true);
		after = leads_to(key, 10, 3, NULL, false);
		moved_wrongly += before != 3 && after != before;
		after = leads_to(key, 11, -1, NULL, false);
		taken += after == 10;
		stolen += after != 10 && after != before;
		held[leads_to(key, 3, -1, weights, false)]++;
	}
	ok(reordered == 0, "the order of the members does not matter");
	ok(moved_wrongly == 0, "a member that goes takes its own keys alone with it");
	ok(stolen == 0 && abs(taken - 20000 / 11) < 200, "one that comes takes its share, and from nobody to somebody else");
	ok(abs(held[0] - 2000) < 200 && abs(held[1] - 4000) < 250 && abs(held[2] - 14000) < 300,
	   "keys are shared by weight: %d, %d, %d of 20000", held[0], held[1], held[2]);
}

int
main(void)
{
	test_own_reasons();
	test_nobody();
	test_degraded();
	test_tiers();
	test_weights();
	test_large();
	test_eligible();
	test_draw_table();
	test_least_loaded();
	test_sticky();
	return done();
}
