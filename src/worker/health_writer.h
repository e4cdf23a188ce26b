/*
 * health_writer.h
 *		Records changes of health in the tables.
 */
#ifndef GATEWAY_POOL_HEALTH_WRITER_H
#define GATEWAY_POOL_HEALTH_WRITER_H

#include "shared/health_evidence.h"
#include "tables/catalog.h"
#include "tables/probe_target.h"

/* A change of a gateway's health, or of a pool's. */
typedef struct HealthChange
{
	bool		of_pool;		/* a pool lost its last eligible member, or
								 * has one again */
	pg_uuid_t	id;
	pg_uuid_t	org_id;
	HealthSlotRef slot;			/* of a gateway */
	GatewayStatus old_status;	/* of a pool: healthy or unhealthy; equal to
								 * the new one if only a heartbeat or a
								 * verdict is recorded */
	GatewayStatus new_status;
	TimestampTz occurred_at;
	char		name[NAMEDATALEN * 4];	/* the gateway's, cut to this size */
	char		reason[HEALTH_EXPLANATION_SIZE];
	HealthDisplay display;
	LastProbe	probe;
	ProbeVerdict verdict;		/* of probes of the target */
	char		target[PROBE_TARGET_SIZE];	/* "" if there is no verdict */
} HealthChange;

extern void health_writer_add(const HealthChange *change);
extern int	health_writer_length(void);
extern int64 health_writer_dropped(void);
extern bool health_writer_write(const PoolCatalog *catalog);
extern void health_writer_written(void);
extern int	health_writer_prune(const PoolCatalog *catalog);

#endif							/* GATEWAY_POOL_HEALTH_WRITER_H */
