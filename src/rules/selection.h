/*
 * selection.h
 *		From the members of a pool to the one that is picked.
 *
 * Pure, as health_rule.h: the caller brings the facts and the random number.
 *
 * selection_filter leaves candidates with their tickets; a strategy narrows them
 * further; selection_draw draws one.  Where most members can be picked, as they
 * usually can, drawing from a DrawTable until one can is the same, and faster.
 */
#ifndef GATEWAY_POOL_SELECTION_H
#define GATEWAY_POOL_SELECTION_H

#include "rules/health_rule.h"

/* What an administrator wants of a gateway. */
typedef enum GatewayState
{
	GATEWAY_ACTIVE,
	GATEWAY_DRAINING,
	GATEWAY_MAINTENANCE
} GatewayState;

/* Candidate, or the one reason why not; the first that applies, in this order. */
typedef enum Candidacy
{
	CANDIDATE,
	REFUSED_EXCLUDED,			/* by the caller */
	REFUSED_STATE,				/* draining or maintenance */
	REFUSED_STATUS,				/* unhealthy or unknown */
	REFUSED_CAPABILITIES,		/* lacks one that is asked for */
	REFUSED_DEGRADED,			/* a healthy candidate is left */
	REFUSED_PRIORITY,			/* a candidate of a lower number is left */
	REFUSED_WEIGHT,				/* 0, and another candidate weighs more */
	REFUSED_LOAD,				/* another candidate has less load */
	REFUSED_STICKY				/* the key leads to another candidate */
} Candidacy;

typedef struct SelectionMember
{
	GatewayStatus status;
	GatewayState state;
	int32		weight;			/* 0 and up */
	int32		priority;		/* lower first */
	bool		excluded;
	bool		capable;
	bool		load_known;		/* for selection_least_loaded */
	uint32		load;			/* connections, those to come included */
	uint64		hash;			/* for selection_sticky: selection_hash */

	/* set by selection_filter, and narrowed by what follows it */
	Candidacy	candidacy;
	uint32		tickets;		/* share of the draw, 0 unless a candidate */
} SelectionMember;

/*
 * From which a member is drawn in constant time: each column, all of one
 * height, is a member's up to "limit" and another's above.
 */
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

extern const char *gateway_state_name(GatewayState state);
extern bool selection_eligible(GatewayStatus status, GatewayState state);
extern uint64 selection_filter(SelectionMember *members, int count);
extern uint64 selection_least_loaded(SelectionMember *members, int count);
extern uint64 selection_sticky(SelectionMember *members, int count);
extern uint64 selection_key_hash(const char *key, size_t length);
extern uint64 selection_hash(uint64 key_hash, const unsigned char *id);
extern int	selection_draw(const SelectionMember *members, int count, uint64 ticket);
extern void draw_table_build(DrawTable *table, const SelectionMember *members, int count);

/* draw_table_size is what there is to draw a number below, for draw_table_draw. */
static inline uint64
draw_table_size(const DrawTable *table)
{
	return table->count * table->height;
}

/* draw_table_draw returns the member that a number leads to. */
static inline int
draw_table_draw(const DrawTable *table, uint64 number)
{
	const DrawColumn *column;

	if (table->height == 1)
		return table->columns[number].member;
	column = &table->columns[number / table->height];
	return number % table->height < column->limit ? column->member : column->other;
}

#endif							/* GATEWAY_POOL_SELECTION_H */
