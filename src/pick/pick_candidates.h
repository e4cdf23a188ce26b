/*
 * pick_candidates.h
 *		The members of a pool as the selection sees them, at one pick.
 */
#ifndef GATEWAY_POOL_PICK_CANDIDATES_H
#define GATEWAY_POOL_PICK_CANDIDATES_H

#include "pick/pick_arguments.h"
#include "pick/pool_cache.h"
#include "rules/selection.h"
#include "shared/reservation.h"

/*
 * The members of a pool as the selection sees them, and the loads by which they
 * were compared.  Grown to the largest pool so far, and never in use by two.
 */
typedef struct PickCandidates
{
	SelectionMember *members;
	GatewayLoad *loads;
	int			room;
	bool		unsettled;		/* a slot has to be brought up to date first */
} PickCandidates;

extern bool pick_candidates_status(const KnownMember *member, int64 now, GatewayStatus *status);
extern PickCandidates *pick_candidates_read(const KnownPool *pool, const PickArguments *request, int64 now);
extern uint64 pick_candidates_narrow(const PickArguments *request, SelectionMember *members, int count);
extern int	pick_candidates_draw(const PickArguments *request, SelectionMember *members, int count);

#endif							/* GATEWAY_POOL_PICK_CANDIDATES_H */
