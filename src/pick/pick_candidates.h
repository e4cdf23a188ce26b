/*
 * pick_candidates.h
 *		The members of a pool as input of the selection, for one pick.
 */
#ifndef GATEWAY_POOL_PICK_CANDIDATES_H
#define GATEWAY_POOL_PICK_CANDIDATES_H

#include "pick/pick_arguments.h"
#include "pick/pool_cache.h"
#include "rules/selection.h"
#include "shared/reservation.h"

/* Two arrays in the order of the pool's members. */
typedef struct PickCandidates
{
	SelectionMember *members;
	GatewayLoad *loads;			/* by which members are compared */
	int			room;			/* of the arrays */
	bool		has_stale_slot; /* a slot has to be refreshed first */
} PickCandidates;

extern bool pick_candidates_status(const CachedMember *member, int64 now, GatewayStatus *status);
extern PickCandidates *pick_candidates_read(const CachedPool *pool, const PickArguments *arguments, int64 now);
extern SelectionMember *pick_candidates_read_row(const PoolRow *pool, const PickArguments *arguments, int64 now);
extern uint64 pick_candidates_narrow(const PickArguments *arguments, SelectionMember *members, int count);
extern int	pick_candidates_draw(const PickArguments *arguments, SelectionMember *members, int count);

#endif							/* GATEWAY_POOL_PICK_CANDIDATES_H */
