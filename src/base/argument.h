/*
 * argument.h
 *		Arguments of SQL functions.
 */
#ifndef GATEWAY_POOL_ARGUMENT_H
#define GATEWAY_POOL_ARGUMENT_H

#include "fmgr.h"
#include "utils/uuid.h"

#include "base/compat.h"

extern void argument_require(FunctionCallInfo fcinfo, int argument, const char *name);
extern pg_uuid_t *argument_uuid(FunctionCallInfo fcinfo, int argument, const char *name);
extern int64 argument_duration(FunctionCallInfo fcinfo, int argument, const char *name, int64 longest);
pg_noreturn extern void argument_refuse_word(const char *kind, const text *word, const char *hint);

#endif							/* GATEWAY_POOL_ARGUMENT_H */
