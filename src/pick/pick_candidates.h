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
typedef struct PickField
{
	SelectionMember *members;
	GatewayLoad *loads;
	int			room;
	bool		unsettled;		/* a slot has to be brought up to date first */
} PickField;

extern bool pick_field_status(const KnownMember *member, int64 now, GatewayStatus *status);
extern PickField *pick_field_read(const KnownPool *pool, const PickRequest *request, int64 now);
extern uint64 pick_field_narrow(const PickRequest *request, SelectionMember *members, int count);
extern int	pick_field_draw(const PickRequest *request, SelectionMember *members, int count);

#endif							/* GATEWAY_POOL_PICK_CANDIDATES_H */
