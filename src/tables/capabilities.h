/*
 * capabilities.h
 *		Capabilities of gateways, each distinct value once.
 */
#ifndef GATEWAY_POOL_CAPABILITIES_H
#define GATEWAY_POOL_CAPABILITIES_H

#include "utils/jsonb.h"

/* A set of values in one memory context. */
typedef struct shared_hash CapabilitySet;

extern CapabilitySet *capabilities_create(MemoryContext context);
extern Jsonb *capabilities_add(CapabilitySet *set, Jsonb *value, Size *added);
extern void capabilities_remove(CapabilitySet *set, Jsonb *value);
extern Jsonb *capabilities_read(CapabilitySet *set, Datum stored, Oid type, Size *added);

#endif							/* GATEWAY_POOL_CAPABILITIES_H */
