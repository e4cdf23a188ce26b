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
#include "tables/probe_target.h"
#include "worker/monitor.h"
#include "worker/worker_queries.h"

typedef struct MonitoredGateway
{
	pg_uuid_t	id;				/* the key */
	pg_uuid_t	org_id;
	char		name[NAMEDATALEN * 4];
	GatewayState state;
	TimestampTz state_until;	/* NO_STATE_END if the state has no end */
	HealthSlotRef slot;
	GatewayStatus recorded;		/* the last status that was recorded, or is
								 * queued for that */
	bool		present;		/* was found when the tables were read last */
	bool		eligible;
	bool		probed;
	ProbeVerdict recorded_verdict;	/* and of which target: as "recorded" */
	uint64		recorded_target;
	ConfiguredProbe probe;		/* valid if probed, as the next */
	char		target[PROBE_TARGET_SIZE];
	bool		requested;		/* a caller waits for its next probe to end */
	uint32		request;		/* the last request that this probe answers;
								 * valid if requested */
	int64		probe_period;	/* each of its probes ends within this, even a
								 * prolonged one */
	int64		undecided_until;	/* its first verdict is waited for until
									 * then */
} MonitoredGateway;

/* Room for a name of 32 characters, which no other one exceeds unless its owner has changed the column. */
#define POOL_NAME_SIZE (32 * 4 + 1)

typedef struct MonitoredPool
{
	pg_uuid_t	id;				/* the key */
	pg_uuid_t	org_id;
	char		name[POOL_NAME_SIZE];	/* without control characters */
	bool		present;
	bool		is_new;			/* was not found when the tables were read
								 * before */
	bool		has_eligible;	/* has an eligible member, as of the last
								 * change that was queued */
	bool		usable;			/* has one, as of the last judgement */
	bool		lost_before_start;	/* it had none when the worker started */
	int64		lost_at;		/* when it was found without; 0 if it never
								 * was, after it had one */
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
	bool		recording;		/* changes are recorded; not on a standby */
	bool		adopted;		/* all that was read last has been adopted */
	bool		must_read;		/* the tables may have changed since they were
								 * read */
	bool		must_judge;		/* evidence of any gateway may have changed */
	bool		must_answer;	/* there may be requests for probes that have
								 * not been taken */
	List	   *changed;		/* gateways with a new verdict of their probes */
	List	   *unconfirmed;	/* ids of gateways whose heartbeats have
								 * expired; their rows may say otherwise */
	int64		next_change;	/* when evidence expires next, as of the last
								 * judgement */
} Monitor;

extern Monitor monitor;

extern void monitor_load(const PoolCatalog *catalog, bool follow, StringInfo problem);
extern void monitor_confirm(const PoolCatalog *catalog);

extern void monitor_judge_all(void);
extern void monitor_judge_changed(void);
extern void monitor_queue_reported(void);

extern void monitor_log_pool(MonitoredPool *pool, bool has_eligible, int64 now);
extern void monitor_log_rest(void);

extern void monitor_probes_start(void);
extern void monitor_probes(ProbePlan *plans, int count);
extern void monitor_take_requests(void);

#endif							/* GATEWAY_POOL_MONITOR_INTERNAL_H */
