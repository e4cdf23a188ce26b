/*
 * monitor.h
 *		The gateways and pools of one database, monitored by its worker.
 */
#ifndef GATEWAY_POOL_MONITOR_H
#define GATEWAY_POOL_MONITOR_H

extern void monitor_start(void);
extern int	monitor_descriptor(void);
extern bool monitor_pauses(int64 now);
extern void monitor_read_soon(void);
extern void monitor_judge_soon(void);
extern void monitor_run(bool up_to_date);
extern int64 monitor_next(int64 now);
extern const char *monitor_read_problem(void);
extern const char *monitor_probe_problem(void);
extern void monitor_finish(void);
extern void monitor_stop(void);

#endif							/* GATEWAY_POOL_MONITOR_H */
