/*
 * reservation.h
 *		How many connections gateways have, and are about to get.
 */
#ifndef GATEWAY_POOL_RESERVATION_H
#define GATEWAY_POOL_RESERVATION_H

#include "base/transaction.h"
#include "shared/health_map.h"

/* What a slot says of a gateway's load; reading it changes nothing for others. */
typedef struct GatewayLoad
{
	bool		reported;		/* a short while ago */
	uint32		connections;	/* reported, and opened since; valid if
								 * reported */
	uint32		reservations;	/* picked, not opened yet */
	uint64		word;			/* for reservation_claim */
} GatewayLoad;

extern const TransactionSubscriber reservation_subscriber;

extern GatewayLoad reservation_load(HealthSlotRef ref, int64 now);
extern bool reservation_claim(HealthSlotRef ref, const GatewayLoad *seen, int64 now);
extern bool reservation_release(HealthSlotRef ref, bool opened, int64 now);
extern bool reservation_report_load(HealthSlotRef ref, uint32 connections, int64 now);

#endif							/* GATEWAY_POOL_RESERVATION_H */
