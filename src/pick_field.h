/*
 * pick_field.h
 *		The members of a pool as the selection sees them, at one pick.
 */
#ifndef GATEWAY_POOL_PICK_FIELD_H
#define GATEWAY_POOL_PICK_FIELD_H

#include "pick_request.h"
#include "pool_cache.h"
#include "reservation.h"
#include "selection.h"

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

#endif							/* GATEWAY_POOL_PICK_FIELD_H */
