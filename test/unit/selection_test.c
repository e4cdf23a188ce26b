/*
 * selection_test.c
 *		Who takes part in the draw, with which share, and why the others do not.
 */
#include "postgres.h"

#include "rules/draw_table.h"
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
	/* All reasons at once: the first one counts. */
	members[7] = (SelectionMember) {.excluded = true, .state = GATEWAY_DRAINING, .status = GATEWAY_UNHEALTHY};

	ok(selection_filter(members, 8) == 1, "there is one ticket");
	ok(members[0].candidacy == CANDIDATE && members[0].tickets == 1, "the healthy active member is a candidate");
	ok(members[1].candidacy == REFUSED_EXCLUDED && members[1].tickets == 0, "excluded");
	ok(members[2].candidacy == REFUSED_STATE && members[3].candidacy == REFUSED_STATE, "draining and maintenance are refused");
	ok(members[4].candidacy == REFUSED_STATUS && members[5].candidacy == REFUSED_STATUS, "unhealthy and unknown are refused");
	ok(members[6].candidacy == REFUSED_CAPABILITIES, "missing capabilities are refused");
	ok(members[7].candidacy == REFUSED_EXCLUDED, "the first reason counts");
	ok(selection_draw(members, 8, 0) == 0, "the only ticket is the candidate's");
}

static void
test_state_end(void)
{
	ok(gateway_state_at(GATEWAY_MAINTENANCE, 100, 99) == GATEWAY_MAINTENANCE, "a state lasts until its end");
	ok(gateway_state_at(GATEWAY_MAINTENANCE, 100, 100) == GATEWAY_ACTIVE, "at its end the gateway is active");
	ok(gateway_state_at(GATEWAY_DRAINING, 100, 101) == GATEWAY_ACTIVE, "and after it");
	ok(gateway_state_at(GATEWAY_DRAINING, NO_STATE_END, PG_INT64_MAX) == GATEWAY_DRAINING, "a state without an end does not end");
	ok(gateway_state_at(GATEWAY_DRAINING, PG_INT64_MIN, 0) == GATEWAY_ACTIVE, "an end at -infinity is past");
}

static void
test_nobody(void)
{
	SelectionMember members[2] = {
		{.status = GATEWAY_UNHEALTHY, .weight = 1, .capable = true},
		{.status = GATEWAY_HEALTHY, .weight = 1, .capable = true, .excluded = true}
	};

	ok(selection_filter(members, 0) == 0, "without members there are no tickets");
	ok(selection_filter(members, 2) == 0, "without candidates there are no tickets");
}

static void
test_degraded(void)
{
	SelectionMember members[3];

	/*
	 * A degraded member with a better priority is passed over for a healthy
	 * one with a worse.
	 */
	members[0] = member(GATEWAY_DEGRADED, 1, 0);
	members[1] = member(GATEWAY_HEALTHY, 1, 5);
	members[2] = member(GATEWAY_UNHEALTHY, 1, 0);
	ok(selection_filter(members, 3) == 1 && members[1].candidacy == CANDIDATE &&
	   members[0].candidacy == REFUSED_DEGRADED, "healthy members come first, whatever the priority");

	members[1].excluded = true;
	ok(selection_filter(members, 3) == 1 && members[0].candidacy == CANDIDATE, "degraded members are candidates if no healthy one is");

	members[1].excluded = false;
	members[1].capable = false;
	ok(selection_filter(members, 3) == 1 && members[0].candidacy == CANDIDATE,
	   "a healthy member without capabilities does not exclude degraded ones");
}

static void
test_tiers(void)
{
	SelectionMember members[4];

	members[0] = member(GATEWAY_HEALTHY, 1, 1);
	members[1] = member(GATEWAY_HEALTHY, 3, -2);
	members[2] = member(GATEWAY_HEALTHY, 2, -2);
	members[3] = member(GATEWAY_UNHEALTHY, 9, -5);
	ok(selection_filter(members, 4) == 5, "tickets are those of the lowest priority with a candidate");
	ok(members[0].candidacy == REFUSED_PRIORITY && members[0].tickets == 0, "a higher priority is passed over");
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
	ok(selection_filter(members, 3) == 1001, "weights are added up");
	ok(members[1].candidacy == REFUSED_WEIGHT, "weight 0 is passed over with others");
	for (uint64 ticket = 0; ticket < 1001; ticket++)
		held[selection_draw(members, 3, ticket)]++;
	ok(held[0] == 1 && held[1] == 0 && held[2] == 1000, "each member holds as many tickets as its weight");

	members[0].weight = members[2].weight = 0;
	ok(selection_filter(members, 3) == 3 && members[1].tickets == 1, "members with weight 0 share equally");

	members[0] = member(GATEWAY_HEALTHY, 0, 0);
	members[1] = member(GATEWAY_HEALTHY, 7, 1);
	ok(selection_filter(members, 2) == 1 && members[0].candidacy == CANDIDATE,
	   "weight 0 alone in its priority comes before a worse priority");
}

static void
test_large(void)
{
	int			count = 100000;
	SelectionMember *members = malloc(sizeof(SelectionMember) * count);

	for (int i = 0; i < count; i++)
		members[i] = member(GATEWAY_HEALTHY, 1000, 0);
	ok(selection_filter(members, count) == UINT64CONST(100000000), "sums are right beyond small pools");
	ok(selection_draw(members, count, UINT64CONST(99999999)) == count - 1, "the last ticket is the last member's");
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

/* The maximum number of members of a set in these tests. */
#define MEMBERS 70

/*
 * Over all numbers below the size, each member is drawn exactly as often as
 * selection_filter's tickets say, if those that are not fit are drawn again.
 * The tickets are of "members" as they are; the table ignores their health.
 */
static bool
is_exact(const SelectionMember *members, int count)
{
	DrawColumn	columns[MEMBERS];
	DrawTable	table = {.columns = columns};
	SelectionMember copy[MEMBERS];
	uint64		held[MEMBERS] = {0};
	uint64		fit = 0;
	uint64		tickets;
	uint64		size;

	draw_table_build(&table, members, count);
	size = draw_table_size(&table);
	for (uint64 number = 0; number < size; number++)
	{
		int			drawn = draw_table_draw(&table, number);

		if (drawn < 0 || drawn >= count)
			return false;
		if (members[drawn].status != GATEWAY_HEALTHY || members[drawn].excluded || !members[drawn].capable)
			continue;
		held[drawn]++;
		fit++;
	}

	memcpy(copy, members, sizeof(SelectionMember) * count);
	tickets = selection_filter(copy, count);

	/*
	 * If none of the drawn members is fit, the next priority or the degraded
	 * ones decide, which the table does not cover.
	 */
	if (fit == 0)
		return true;
	for (int i = 0; i < count; i++)
		if (held[i] * tickets != copy[i].tickets * fit)
			return false;
	return true;
}

/* All of them healthy, the table knows every candidate. */
static bool
is_complete(const SelectionMember *members, int count)
{
	DrawColumn	columns[MEMBERS];
	DrawTable	table = {.columns = columns};
	SelectionMember copy[MEMBERS];

	draw_table_build(&table, members, count);
	memcpy(copy, members, sizeof(SelectionMember) * count);
	return (draw_table_size(&table) == 0) == (selection_filter(copy, count) == 0);
}

typedef enum Weights
{
	ALL_ZERO,
	ZERO_OR_ONE,
	ALIKE,
	LIGHT,
	ONE_HEAVY,					/* 1000 among ones and zeros */
	HEAVY,
	WEIGHTS_END
}			Weights;

static int32
random_weight(Weights weights, bool heavy)
{
	switch (weights)
	{
		case ALL_ZERO:
			return 0;
		case ZERO_OR_ONE:
			return next_random() % 2;
		case ALIKE:
			return 7;
		case LIGHT:
			return next_random() % 11;
		case ONE_HEAVY:
			return heavy ? 1000 : next_random() % 2;
		default:
			return next_random() % 1001;
	}
}

static void
test_draw_table(void)
{
	static const char *const names[] = {"all 0", "0 or 1", "alike", "to 10", "one of 1000", "to 1000"};
	SelectionMember members[MEMBERS];

	for (Weights weights = ALL_ZERO; weights < WEIGHTS_END; weights++)
		for (int tiers = 1; tiers <= 3; tiers += 2)
			for (int states = 0; states <= 1; states++)
			{
				int			wrong = 0;
				int			sets = 0;

				for (int count = 0; count <= MEMBERS; count++)
					for (int round = 0; round < (weights == HEAVY ? 1 : 5); round++)
					{
						int			heavy = count == 0 ? 0 : next_random() % count;

						for (int i = 0; i < count; i++)
						{
							members[i] = member(GATEWAY_HEALTHY, random_weight(weights, i == heavy), next_random() % tiers);
							if (states)
								members[i].state = next_random() % 3;
						}
						wrong += !is_complete(members, count) || !is_exact(members, count);

						for (int i = 0; i < count; i++)
						{
							members[i].status = next_random() % 3 == 0 ? next_random() % 4 : GATEWAY_HEALTHY;
							members[i].excluded = next_random() % 8 == 0;
							members[i].capable = next_random() % 8 != 0;
						}
						wrong += !is_exact(members, count);
						sets += 2;
					}
				ok(wrong == 0, "draw table, weights %s, tiers %d%s: shares exact in %d of %d sets", names[weights], tiers,
				   states ? ", some not active" : "", sets - wrong, sets);
			}

	for (int i = 0; i < 3; i++)
		members[i] = member(GATEWAY_HEALTHY, i == 0 ? 1 : i == 1 ? 2 : 7, 0);
	ok(is_exact(members, 3), "draw table, weights 1:2:7");
	members[0] = member(GATEWAY_HEALTHY, 5, 1);
	members[1] = member(GATEWAY_UNHEALTHY, 3, 0);
	members[2] = member(GATEWAY_HEALTHY, 9, 0);
	members[2].state = GATEWAY_DRAINING;
	{
		DrawColumn	columns[3];
		DrawTable	table = {.columns = columns};

		draw_table_build(&table, members, 3);
		ok(draw_table_size(&table) > 0 && draw_table_draw(&table, 0) == 1,
		   "draw table: it is for the first priority with an active member, healthy or not");
	}
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
	   "members with the least load share equally");

	members[2].load = 1;
	selection_filter(members, 4);
	ok(selection_least_loaded(members, 4) == 1 && members[2].candidacy == CANDIDATE, "the member with the least load is left");

	members[0].load_known = false;
	ok(selection_filter(members, 4) == 4 && selection_least_loaded(members, 4) == 4,
	   "loads are not compared unless all are known");
	members[0].status = GATEWAY_UNHEALTHY;
	selection_filter(members, 4);
	ok(selection_least_loaded(members, 4) == 1, "only candidates need a known load");

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
	ok(selection_filter(members, 0) == 0 && selection_least_loaded(members, 0) == 0, "without members none is left");

	/* A product of the largest load and weight must not overflow. */
	members[0] = members[1] = member(GATEWAY_HEALTHY, 1000, 0);
	members[0].load_known = members[1].load_known = true;
	members[0].load = PG_UINT32_MAX;
	members[1].load = PG_UINT32_MAX - 1;
	selection_filter(members, 2);
	ok(selection_least_loaded(members, 2) == 1 && members[1].candidacy == CANDIDATE, "the largest loads are distinguished");
	members[1].load = (1 << 29) - 1;
	selection_filter(members, 2);
	ok(selection_least_loaded(members, 2) == 1 && members[1].candidacy == CANDIDATE, "the lower bits make no tie");
	members[1].weight = 1;
	selection_filter(members, 2);
	ok(selection_least_loaded(members, 2) == 1 && members[0].candidacy == CANDIDATE, "weights count for the largest loads");
}

/* The members that no candidate undercuts are left, and no others, which keep their reasons. */
static void
test_least_loaded_sets(void)
{
	SelectionMember members[20];
	SelectionMember filtered[20];
	int			wrong = 0;

	for (int set = 0; set < 20000; set++)
	{
		int			count = 1 + next_random() % 20;
		uint64		tickets = 0;
		uint64		left;

		for (int i = 0; i < count; i++)
		{
			members[i] = member(next_random() % 4, next_random() % 4, next_random() % 2);
			members[i].load_known = true;
			members[i].load = next_random() % 6;
			members[i].excluded = next_random() % 6 == 0;
		}
		selection_filter(members, count);
		memcpy(filtered, members, sizeof(members));
		left = selection_least_loaded(members, count);

		for (int i = 0; i < count; i++)
		{
			bool		undercut = false;
			Candidacy	expected = filtered[i].candidacy;

			for (int j = 0; j < count; j++)
				undercut |= filtered[j].candidacy == CANDIDATE &&
					(filtered[j].load + 1) * filtered[i].tickets < (filtered[i].load + 1) * filtered[j].tickets;
			if (expected == CANDIDATE && undercut)
				expected = REFUSED_LOAD;
			wrong += members[i].candidacy != expected || members[i].tickets != (expected == CANDIDATE);
			tickets += members[i].tickets;
		}
		wrong += left != tickets;
	}
	ok(wrong == 0, "in any set, the members with the least load for their weight are left");
}

/* Member i of a pool, its id all bytes i + 1. */
static uint64
hash_of(uint64 key_hash, int i)
{
	unsigned char id[16];

	memset(id, i + 1, sizeof(id));
	return selection_hash(key_hash, id);
}

/* Returns the member to which a key leads, of the first "count" members except "without". */
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

#define KEYS 100000

static void
test_sticky_known(void)
{
	unsigned char id[16];

	for (int i = 0; i < 16; i++)
		id[i] = i;

	/*
	 * These values must never change: others would move every key of every
	 * user.
	 */
	ok(selection_key_hash("", 0) == UINT64CONST(0xefd01f60ba992926), "the hash of the empty key is as ever");
	ok(selection_key_hash("session-1", 9) == UINT64CONST(0xf267abb32d450b1f), "the hash of a key is as ever");
	ok(selection_key_hash("\xff\0\x80", 3) == UINT64CONST(0x7b5cbebc9388e00), "the hash of bytes that are no text is as ever");
	ok(hash_of(selection_key_hash("session-1", 9), 0) == UINT64CONST(0x8987b958768b418c), "the hash of a key and a gateway is as ever");
	ok(selection_hash(selection_key_hash("session-1", 9), id) == UINT64CONST(0xe1afa0defa341c2b),
	   "the hash of a key and an id of different bytes is as ever");
	ok(leads_to("session-1", 10, -1, NULL, false) == 6 &&
	   leads_to("session-2", 10, -1, NULL, false) == 1 &&
	   leads_to("", 10, -1, NULL, false) == 2, "keys lead to the same members as ever");
}

static void
test_sticky_narrows(void)
{
	SelectionMember members[3];

	for (int i = 0; i < 3; i++)
		members[i] = member(GATEWAY_HEALTHY, 5, 0);
	members[0].hash = 0;
	members[1].hash = PG_UINT64_MAX;
	members[2].hash = PG_UINT64_MAX;
	members[2].state = GATEWAY_DRAINING;
	selection_filter(members, 3);
	ok(selection_sticky(members, 3) == 1 && members[1].candidacy == CANDIDATE && members[1].tickets == 1,
	   "one candidate is left, with hashes at both ends");
	ok(members[0].candidacy == REFUSED_STICKY && members[0].tickets == 0, "the other loses its ticket");
	ok(members[2].candidacy == REFUSED_STATE && members[2].tickets == 0, "a refused member stays refused");

	members[1].excluded = true;
	selection_filter(members, 3);
	ok(selection_sticky(members, 3) == 1 && members[0].candidacy == CANDIDATE, "the last candidate is left");
	members[0].excluded = true;
	ok(selection_filter(members, 3) == 0 && selection_sticky(members, 3) == 0, "without candidates none is left");

	members[0] = members[1] = member(GATEWAY_HEALTHY, 0, 0);
	members[1].hash = UINT64CONST(1) << 63;
	selection_filter(members, 2);
	ok(selection_sticky(members, 2) == 1 && members[1].candidacy == CANDIDATE, "weights of 0 are alike");
}

static void
test_sticky_keys(void)
{
	static const int32 weights[] = {1, 2, 7};
	static const int32 heavier[] = {1, 1, 1, 4, 1, 1, 1, 1, 1, 1};
	int			held[10] = {0};
	int			inherited[10] = {0};
	int			weighed[3] = {0};
	int			reordered = 0;
	int			moved_wrongly = 0;
	int			taken = 0;
	int			stolen = 0;
	int			attracted = 0;
	int			astray = 0;
	int			worst = 0;
	int			worst_heir = 0;
	char		key[32];

	for (int i = 0; i < KEYS; i++)
	{
		int			before;
		int			after;

		snprintf(key, sizeof(key), "key %d", i);
		before = leads_to(key, 10, -1, NULL, false);
		held[before]++;
		reordered += before != leads_to(key, 10, -1, NULL, true);
		after = leads_to(key, 10, 3, NULL, false);
		moved_wrongly += before != 3 && after != before;
		inherited[after] += before == 3;
		after = leads_to(key, 11, -1, NULL, false);
		taken += after == 10;
		stolen += after != 10 && after != before;
		after = leads_to(key, 10, -1, heavier, false);
		attracted += after == 3;
		astray += after != 3 && after != before;
		weighed[leads_to(key, 3, -1, weights, false)]++;
	}

	/* Four standard deviations; the keys are the same in every run. */
	for (int i = 0; i < 10; i++)
	{
		worst = Max(worst, abs(held[i] - KEYS / 10));
		if (i != 3)
			worst_heir = Max(worst_heir, abs(inherited[i] - held[3] / 9));
	}
	ok(worst < 380, "ten members hold a tenth of the keys each: at most %d off %d", worst, KEYS / 10);
	ok(reordered == 0, "the order of the members does not matter");
	ok(moved_wrongly == 0, "a removed member gives up only its own keys");
	ok(inherited[3] == 0 && worst_heir < 130, "the others inherit them equally: at most %d off", worst_heir);
	ok(stolen == 0 && abs(taken - KEYS / 11) < 370, "an added member takes its share, %d of %d, and moves no others", taken, KEYS);
	ok(astray == 0 && abs(attracted - KEYS * 4 / 13) < 590, "a member with more weight takes more, %d, and moves no others", attracted);
	ok(abs(weighed[0] - KEYS / 10) < 380 && abs(weighed[1] - KEYS / 5) < 510 && abs(weighed[2] - KEYS * 7 / 10) < 580,
	   "keys are shared by weights 1:2:7: %d, %d, %d of %d", weighed[0], weighed[1], weighed[2], KEYS);
}

int
main(void)
{
	test_own_reasons();
	test_state_end();
	test_nobody();
	test_degraded();
	test_tiers();
	test_weights();
	test_large();
	test_eligible();
	test_draw_table();
	test_least_loaded();
	test_least_loaded_sets();
	test_sticky_known();
	test_sticky_narrows();
	test_sticky_keys();
	return done();
}
