/*
 * monitor.h
 *		The gateways and pools of one database, as its worker knows them.
 */
#ifndef GATEWAY_POOL_MONITOR_H
#define GATEWAY_POOL_MONITOR_H

#include "tables/catalog.h"
#include "lib/stringinfo.h"
#include "probe/prober.h"

extern void monitor_start(void);
extern void monitor_stop(void);
extern void monitor_read(const PoolCatalog *catalog, bool follow, StringInfo problem);
extern void monitor_confirm(const PoolCatalog *catalog);
extern void monitor_judge(void);
extern void monitor_judge_changed(void);
extern void monitor_forget(void);
extern void monitor_note_change(void);
extern bool monitor_is_to_judge(void);
extern bool monitor_has_changed(void);
extern bool monitor_is_to_read(void);
extern bool monitor_is_to_confirm(void);
extern int64 monitor_next_change(void);
extern void monitor_keep_reports(void);
extern void monitor_take_requests(void);
extern Prober *monitor_prober(void);

#endif							/* GATEWAY_POOL_MONITOR_H */
