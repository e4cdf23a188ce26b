/*
 * monitor_internal.h
 *		What the worker knows of gateways and pools: for monitor*.c alone.
 */
#ifndef GATEWAY_POOL_MONITOR_INTERNAL_H
#define GATEWAY_POOL_MONITOR_INTERNAL_H

#include "nodes/pg_list.h"
#include "utils/hsearch.h"

#include "rules/selection.h"
#include "shared/health_evidence.h"
#include "worker/monitor.h"
#include "worker/worker_queries.h"

typedef struct MonitoredGateway
{
	pg_uuid_t	id;				/* the key */
	pg_uuid_t	org_id;
	char		name[NAMEDATALEN * 4];
	GatewayState state;
	HealthSlotRef slot;
	GatewayStatus recorded;		/* the last status that was recorded, or is
								 * about to be */
	bool		kept;			/* was found when the tables were read last */
	bool		eligible;
	bool		probed;
	bool		asked;			/* somebody waits for the next end of a probe */
	uint32		request;		/* the last request that it answers; valid if
								 * asked */
	int64		probe_period;	/* within which each probe of it ends, even
								 * one that is prolonged */
	int64		undecided_until;	/* so long a probe without a verdict is
									 * waited for */
} MonitoredGateway;

typedef struct MonitoredPool
{
	pg_uuid_t	id;				/* the key */
	pg_uuid_t	org_id;
	bool		kept;
	bool		is_new;			/* was not there when the tables were read
								 * before */
	bool		served;			/* has an eligible member, as was told last */
	int			first_member;	/* in the list of all members */
	int			member_count;
} MonitoredPool;

typedef struct Monitor
{
	MemoryContext context;
	HTAB	   *gateways;
	HTAB	   *pools;
	MonitoredGateway **members; /* of all pools, those of a pool together */
	Prober	   *prober;
	bool		is_to_read;		/* something is not as it was when it was read */
	bool		is_to_judge;	/* somebody says that a gateway fares
								 * otherwise */
	bool		is_to_answer;	/* somebody may wait for a probe that nobody
								 * has been told to make */
	List	   *changed;		/* gateways whose probe has another verdict */
	List	   *unconfirmed;	/* gateways whose heartbeat ran out: their
								 * rows have to say so too */
	int64		next_change;
} Monitor;

extern Monitor monitor;

extern void monitor_load(const PoolCatalog *catalog, bool follow, StringInfo problem);
extern void monitor_confirm(const PoolCatalog *catalog);

extern void monitor_judge_all(void);
extern void monitor_judge_changed(void);
extern void monitor_queue_reported(void);

extern void monitor_probes_start(void);
extern void monitor_probes(ProbePlan *plans, int count);
extern void monitor_take_requests(void);

#endif							/* GATEWAY_POOL_MONITOR_INTERNAL_H */
