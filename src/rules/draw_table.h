/*
 * draw_table.h
 *		A table from which a member of a pool is drawn in constant time.
 *
 * Pure, as health_rule.h.
 */
#ifndef GATEWAY_POOL_DRAW_TABLE_H
#define GATEWAY_POOL_DRAW_TABLE_H

#include "rules/selection.h"

/* A column of the table, all of the same height.  Below "limit" it belongs to "member", above to "other". */
typedef struct DrawColumn
{
	int32		member;
	int32		other;
	uint64		limit;
} DrawColumn;

typedef struct DrawTable
{
	int			count;
	uint64		height;
	DrawColumn *columns;
} DrawTable;

extern void draw_table_build(DrawTable *table, const SelectionMember *members, int count);

/* draw_table_size returns the limit of the random number for draw_table_draw. */
static inline uint64
draw_table_size(const DrawTable *table)
{
	return table->count * table->height;
}

/* draw_table_draw returns the member for a random number below draw_table_size. */
static inline int
draw_table_draw(const DrawTable *table, uint64 number)
{
	const DrawColumn *column;

	if (table->height == 1)
		return table->columns[number].member;
	column = &table->columns[number / table->height];
	return number % table->height < column->limit ? column->member : column->other;
}

#endif							/* GATEWAY_POOL_DRAW_TABLE_H */
