/*
 * probe_evidence.h
 *		What probes have found about gateways, in the slots of shared memory.
 */
#ifndef GATEWAY_POOL_PROBE_EVIDENCE_H
#define GATEWAY_POOL_PROBE_EVIDENCE_H

#include "datatype/timestamp.h"

#include "rules/probe_address.h"
#include "rules/probe_rule.h"
#include "shared/health_map.h"

/* Bytes of the reason of a failure, with the terminator; the rest is cut off. */
#define HEALTH_REASON_SIZE 64

/* How the last probe of a gateway went, for views. */
typedef struct LastProbe
{
	bool		configured;		/* the gateway is probed */
	bool		probed;
	bool		certificate_known;
	bool		verify_tls;		/* valid if configured, by a protocol with a
								 * certificate */
	ProbeProtocol protocol;		/* valid if configured */
	ProbeVerdict verdict;
	float		milliseconds;	/* its duration; valid if probed */
	int32		failures;		/* in a row */
	int32		successes;
	int32		falls;			/* those not forgiven yet */
	TimestampTz last_fall_at;	/* valid if there are falls */
	int64		started_at;		/* monotonic; valid if probed */
	TimestampTz certificate_expires_at; /* of the certificate seen last; valid
										 * if known */
	char		reason[HEALTH_REASON_SIZE]; /* of a failed or inconclusive
											 * probe; else "" */
} LastProbe;

/* How a gateway is probed, as its row says; all zero if it is not. */
typedef struct ConfiguredProbe
{
	uint64		target;			/* a hash of what is probed, or 0 */
	bool		required;
	int64		interval;
	int64		timeout;
} ConfiguredProbe;

extern void probe_evidence_publish(HealthSlotRef ref, const ProbeFinding *finding, const ConfiguredProbe *probe);
extern void probe_evidence_publish_last(HealthSlotRef ref, const LastProbe *last_probe);
extern bool probe_evidence_last(HealthSlotRef ref, LastProbe *last_probe);
extern bool probe_evidence_finding(HealthSlotRef ref, int64 now, ProbeFinding *finding);

#endif							/* GATEWAY_POOL_PROBE_EVIDENCE_H */
