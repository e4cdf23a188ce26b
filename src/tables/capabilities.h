/*
 * capabilities.h
 *		What gateways say they can do, each distinct value once.
 */
#ifndef GATEWAY_POOL_CAPABILITIES_H
#define GATEWAY_POOL_CAPABILITIES_H

#include "utils/jsonb.h"

/* Values in one memory context, no two of them equal. */
typedef struct shared_hash CapabilitySet;

extern CapabilitySet *capabilities_create(MemoryContext context);
extern Jsonb *capabilities_add(CapabilitySet *set, Jsonb *value, Size *added);
extern void capabilities_remove(CapabilitySet *set, Jsonb *value);
extern Jsonb *capabilities_read(CapabilitySet *set, Datum stored, Oid type, Size *added);

#endif							/* GATEWAY_POOL_CAPABILITIES_H */
