/*
 * monitor.h
 *		The gateways and pools of one database, as its worker knows them.
 */
#ifndef GATEWAY_POOL_MONITOR_H
#define GATEWAY_POOL_MONITOR_H

#include "tables/catalog.h"
#include "lib/stringinfo.h"
#include "probe/prober.h"

extern void watch_start(void);
extern void watch_stop(void);
extern void watch_read(const PoolCatalog *catalog, bool follow, StringInfo problem);
extern void watch_confirm(const PoolCatalog *catalog);
extern void watch_judge(void);
extern void watch_judge_changed(void);
extern void watch_forget(void);
extern void watch_note_change(void);
extern bool watch_is_to_judge(void);
extern bool watch_has_changed(void);
extern bool watch_is_to_read(void);
extern bool watch_is_to_confirm(void);
extern int64 watch_next_change(void);
extern void watch_keep_reports(void);
extern void watch_take_requests(void);
extern Prober *watch_prober(void);

#endif							/* GATEWAY_POOL_MONITOR_H */
