/*
 * settings.h
 *		The settings gateway_pool.*.
 */
#ifndef GATEWAY_POOL_SETTINGS_H
#define GATEWAY_POOL_SETTINGS_H

/* A limit of this value is none. */
#define NO_LIMIT (-1)

extern bool setting_default_entitlement;
extern int	setting_heartbeat_grace;	/* seconds */
extern int	setting_heartbeat_timeout;	/* seconds */
extern int	setting_max_gateways;	/* fixed at the server's start */
extern int	setting_max_gateways_per_pool;	/* or NO_LIMIT */
extern int	setting_max_pools_per_org;	/* or NO_LIMIT */
extern int	setting_startup_grace;	/* seconds */
extern int	setting_suspect_ttl;	/* seconds */
extern bool setting_worker;

extern void settings_init(void);

#endif							/* GATEWAY_POOL_SETTINGS_H */
