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
	return done();
}
