/*
 * trigger_row.h
 *		What every trigger function needs of its call.
 */
#ifndef GATEWAY_POOL_TRIGGER_ROW_H
#define GATEWAY_POOL_TRIGGER_ROW_H

#include "access/attnum.h"
#include "commands/trigger.h"
#include "fmgr.h"
#include "utils/uuid.h"

extern TriggerData *trigger_call(FunctionCallInfo fcinfo, TriggerEvent timing, TriggerEvent level);
extern void trigger_require_table(TriggerData *call, Oid expected);
extern HeapTuple trigger_new_row(TriggerData *call);
extern AttrNumber trigger_column(TriggerData *call, const char *name);
extern AttrNumber trigger_required_column(TriggerData *call, const char *name);
extern const pg_uuid_t *trigger_uuid(TriggerData *call, HeapTuple row, AttrNumber column);
extern bool trigger_changes(TriggerData *call, AttrNumber column);

#endif							/* GATEWAY_POOL_TRIGGER_ROW_H */
