/*
 * draw_table.c
 *		A table from which a member of a pool is drawn in constant time.
 */
#include "postgres.h"

#include "rules/draw_table.h"

/*
 * draw_table_build builds the table of the members that would be candidates if all
 * were healthy: the active ones of the lowest tier that has any, by weight, or equally
 * if all weights are 0.  "table" has room for "count" columns.
 *
 * Drawing from it until a member is healthy and otherwise fit gives the same shares as
 * selection_filter and selection_draw: to draw again keeps the others in proportion.
 *
 * This is the alias method, in integers and therefore exact: a member of weight w has
 * w * count parts, and a column holds as many parts as the sum of weights.  A column
 * that its member's parts do not fill is filled with parts of a member that has more
 * than one column of them.
 */
void
draw_table_build(DrawTable *table, const SelectionMember *members, int count)
{
	bool		tier_found = false;
	int32		tier = 0;
	uint64		weights = 0;
	int			small;
	int			large;

	table->count = 0;
	table->height = 1;
	for (int i = 0; i < count; i++)
		if (members[i].state == GATEWAY_ACTIVE && (!tier_found || members[i].priority < tier))
		{
			tier_found = true;
			tier = members[i].priority;
		}
	for (int i = 0; i < count; i++)
		if (members[i].state == GATEWAY_ACTIVE && members[i].priority == tier)
			weights += members[i].weight;

	for (int i = 0; i < count; i++)
	{
		uint64		weight = weights == 0 ? 1 : members[i].weight;

		if (members[i].state != GATEWAY_ACTIVE || members[i].priority != tier || weight == 0)
			continue;
		table->columns[table->count++] = (DrawColumn) {.member = i, .other = i, .limit = weight};
	}
	if (weights == 0)
		weights = table->count;

	/* Equal weights: columns of height 1. */
	small = 0;
	while (small < table->count && table->columns[small].limit == table->columns[0].limit)
		small++;
	if (small == table->count)
		return;

	table->height = weights;
	for (int i = 0; i < table->count; i++)
		table->columns[i].limit *= table->count;

	/*
	 * "large" runs over the columns with too much, "small" over those with
	 * too little.  A column that gave away so much that it has too little
	 * itself is filled next if "small" is past it, else when "small" gets
	 * there.
	 */
	small = large = 0;
	for (;;)
	{
		int			poor;

		while (small < table->count && table->columns[small].limit >= weights)
			small++;
		poor = small++;
		while (poor < table->count && table->columns[poor].limit < weights)
		{
			while (large < table->count && table->columns[large].limit <= weights)
				large++;
			Assert(large < table->count);
			table->columns[poor].other = table->columns[large].member;
			table->columns[large].limit -= weights - table->columns[poor].limit;
			if (table->columns[large].limit >= weights || large >= small)
				break;
			poor = large;
		}
		if (poor >= table->count)
			break;
	}
}
