/*
 * selection.h
 *		From the members of a pool to the one that is picked.
 *
 * Pure, as health_rule.h: the caller supplies the facts and the random numbers.
 *
 * selection_filter finds the candidates and their tickets, a strategy reduces them,
 * selection_draw draws one.  Where most members are candidates, drawing from a
 * DrawTable until a candidate comes gives the same shares, and is faster.
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

/* The end of a state that does not end, as of timestamptz 'infinity'. */
#define NO_STATE_END PG_INT64_MAX

/* Candidate, or the first reason in this order why it is not one. */
typedef enum Candidacy
{
	CANDIDATE,
	REFUSED_EXCLUDED,			/* by the caller */
	REFUSED_STATE,				/* draining or maintenance */
	REFUSED_STATUS,				/* unhealthy or unknown */
	REFUSED_CAPABILITIES,		/* lacks a requested one */
	REFUSED_DEGRADED,			/* there is a healthy candidate */
	REFUSED_PRIORITY,			/* there is a candidate with a lower number */
	REFUSED_WEIGHT,				/* 0, and another candidate has more */
	REFUSED_LOAD,				/* another candidate has less load */
	REFUSED_STICKY				/* the key selects another candidate */
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
	uint32		load;			/* connections and reservations */
	uint64		hash;			/* for selection_sticky: selection_hash */

	/* set by selection_filter, then changed by the strategy */
	Candidacy	candidacy;
	uint32		tickets;		/* share of the draw, 0 unless a candidate */
} SelectionMember;

extern const char *gateway_state_name(GatewayState state);
extern GatewayState gateway_state_at(GatewayState set, int64 end, int64 now);
extern bool selection_eligible(GatewayStatus status, GatewayState state);
extern uint64 selection_filter(SelectionMember *members, int count);
extern uint64 selection_least_loaded(SelectionMember *members, int count);
extern uint64 selection_sticky(SelectionMember *members, int count);
extern uint64 selection_key_hash(const char *key, size_t length);
extern uint64 selection_hash(uint64 key_hash, const unsigned char *id);
extern int	selection_draw(const SelectionMember *members, int count, uint64 ticket);

#endif							/* GATEWAY_POOL_SELECTION_H */
