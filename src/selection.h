/*
 * selection.h
 *		From the members of a pool to the one that is picked.
 *
 * Pure, as health_rule.h: the caller brings the facts and the random number.
 */
#ifndef GATEWAY_POOL_SELECTION_H
#define GATEWAY_POOL_SELECTION_H

#include "health_rule.h"

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
	REFUSED_WEIGHT				/* 0, and another candidate weighs more */
} Candidacy;

typedef struct SelectionMember
{
	GatewayStatus status;
	GatewayState state;
	int32		weight;			/* 0 and up */
	int32		priority;		/* lower first */
	bool		excluded;
	bool		capable;

	/* set by selection_filter */
	Candidacy	candidacy;
	uint32		tickets;		/* share of the draw, 0 unless a candidate */
} SelectionMember;

extern const char *gateway_state_name(GatewayState state);
extern bool selection_eligible(GatewayStatus status, GatewayState state);
extern uint64 selection_filter(SelectionMember *members, int count);
extern int	selection_draw(const SelectionMember *members, int count, uint64 ticket);

#endif							/* GATEWAY_POOL_SELECTION_H */
