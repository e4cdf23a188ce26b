/*
 * trigger_call.h
 *		The call of a trigger function: checks, rows and columns.
 */
#ifndef GATEWAY_POOL_TRIGGER_CALL_H
#define GATEWAY_POOL_TRIGGER_CALL_H

#include "access/attnum.h"
#include "commands/trigger.h"
#include "fmgr.h"
#include "utils/uuid.h"

/* Events of a trigger, as a set of bits. */
#define ON_INSERT	(1 << TRIGGER_EVENT_INSERT)
#define ON_DELETE	(1 << TRIGGER_EVENT_DELETE)
#define ON_UPDATE	(1 << TRIGGER_EVENT_UPDATE)
#define ON_TRUNCATE	(1 << TRIGGER_EVENT_TRUNCATE)

/* With these: for each statement, not for each row. */
#define EACH_STATEMENT	(1 << 8)

extern TriggerData *trigger_call(FunctionCallInfo fcinfo, TriggerEvent timing, int events);
extern void trigger_require_table(TriggerData *call, Oid expected);
extern HeapTuple trigger_new_row(TriggerData *call);
extern AttrNumber trigger_column(TriggerData *call, const char *name);
extern AttrNumber trigger_required_column(TriggerData *call, const char *name);
extern const pg_uuid_t *trigger_uuid(TriggerData *call, HeapTuple row, AttrNumber column);
extern bool trigger_changes(TriggerData *call, AttrNumber column);
extern bool trigger_changes_required(TriggerData *call, const char *name);

#endif							/* GATEWAY_POOL_TRIGGER_CALL_H */
