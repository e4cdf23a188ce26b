/*
 * settings.h
 *		The settings gateway_pool.*.
 */
#ifndef GATEWAY_POOL_SETTINGS_H
#define GATEWAY_POOL_SETTINGS_H

/* The value of a limit that means no limit. */
#define NO_LIMIT (-1)

struct sockaddr;

extern char *setting_actor;
extern int	setting_audit_retention;	/* seconds, or -1: forever */
extern bool setting_default_entitlement;
extern int	setting_event_retention;	/* seconds */
extern int	setting_heartbeat_grace;	/* seconds */
extern int	setting_heartbeat_timeout;	/* seconds */
extern int	setting_max_gateways;	/* constant while the server runs */
extern int	setting_max_gateways_per_pool;	/* or NO_LIMIT */
extern int	setting_max_pools_per_org;	/* or NO_LIMIT */
extern bool setting_notify;
extern int	setting_probe_concurrency;
extern bool setting_probe_direct_addresses;
extern int	setting_probe_fall;
extern int	setting_probe_interval; /* milliseconds */
extern int	setting_probe_retry_interval;	/* milliseconds */
extern int	setting_probe_rise;
extern int	setting_probe_timeout;	/* milliseconds */
extern int	setting_startup_grace;	/* seconds */
extern int	setting_suspect_ttl;	/* seconds */
extern bool setting_worker;

extern void settings_init(void);
extern const char *settings_refuse_address(const struct sockaddr *address);

#endif							/* GATEWAY_POOL_SETTINGS_H */
