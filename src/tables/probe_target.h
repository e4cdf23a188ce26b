/*
 * probe_target.h
 *		What is probed of a gateway, as a text that people can read.
 */
#ifndef GATEWAY_POOL_PROBE_TARGET_H
#define GATEWAY_POOL_PROBE_TARGET_H

#include "lib/stringinfo.h"

#include "tables/host_columns.h"

/* Bytes of the text, with the terminator; a longer one ends with a hash of the whole. */
#define PROBE_TARGET_SIZE 160

extern void probe_target_append(StringInfo sql, HostColumns columns);
extern void probe_target_shorten(const char *text, char *target);
extern uint64 probe_target_hash(const char *target);

#endif							/* GATEWAY_POOL_PROBE_TARGET_H */
