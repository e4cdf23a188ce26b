/*
 * reservation.h
 *		The load of gateways: connections and reservations.
 */
#ifndef GATEWAY_POOL_RESERVATION_H
#define GATEWAY_POOL_RESERVATION_H

#include "base/transaction.h"
#include "shared/health_map.h"

/* The load in a gateway's slot. */
typedef struct GatewayLoad
{
	bool		reported;		/* at most REPORT_TTL ago */
	uint32		connections;	/* reported, and opened since; valid if
								 * reported */
	uint32		reservations;	/* picked, not yet opened */
	uint64		word;			/* for reservation_claim */
} GatewayLoad;

extern const TransactionSubscriber reservation_subscriber;

extern GatewayLoad reservation_load(HealthSlotRef ref, int64 now);
extern bool reservation_claim(HealthSlotRef ref, const GatewayLoad *seen, int64 now);
extern bool reservation_release(HealthSlotRef ref, bool opened, int64 now);
extern bool reservation_report_load(HealthSlotRef ref, uint32 connections, int64 now);

#endif							/* GATEWAY_POOL_RESERVATION_H */
