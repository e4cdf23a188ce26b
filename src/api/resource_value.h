/*
 * resource_value.h
 *		Values of rows of consumers, which may belong to a role that is not trusted.
 */
#ifndef GATEWAY_POOL_RESOURCE_VALUE_H
#define GATEWAY_POOL_RESOURCE_VALUE_H

#include "access/attnum.h"
#include "access/htup.h"
#include "access/tupdesc.h"
#include "utils/relcache.h"

extern char *resource_value(HeapTuple row, TupleDesc columns, AttrNumber number);
extern bool resource_value_may_read(Oid table, const char *column, Oid role);
extern Oid	resource_value_identities(Relation consumer);
extern char *resource_value_identity_name(HeapTuple row, TupleDesc columns, Oid identities);

#endif							/* GATEWAY_POOL_RESOURCE_VALUE_H */
