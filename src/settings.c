/*
 * settings.c
 *		The settings gateway_pool.*, in alphabetical order.
 */
#include "postgres.h"

#include <limits.h>

#include "compat.h"
#include "settings.h"

bool		setting_default_entitlement = false;
int			setting_heartbeat_grace = 30;
int			setting_heartbeat_timeout = 3600;
int			setting_max_gateways = 16384;
int			setting_max_gateways_per_pool = NO_LIMIT;
int			setting_max_pools_per_org = 50;
int			setting_startup_grace = 180;
int			setting_suspect_ttl = 60;
bool		setting_worker = true;

/* Defines every setting and reserves the prefix; called once a process. */
void
settings_init(void)
{
	DefineCustomBoolVariable("gateway_pool.default_entitlement",
							 "Lets organizations without a row in gateway_pool_entitlements use gateway pools.",
							 NULL,
							 &setting_default_entitlement,
							 false,
							 PGC_SUSET, 0,
							 NULL, NULL, NULL);

	DefineCustomIntVariable("gateway_pool.heartbeat_grace",
							"Time by which a heartbeat outlives its time-to-live.",
							NULL,
							&setting_heartbeat_grace,
							30, 0, INT_MAX / 1000,
							PGC_SIGHUP, GUC_UNIT_S,
							NULL, NULL, NULL);

	DefineCustomIntVariable("gateway_pool.heartbeat_timeout",
							"Time for which a heartbeat without a time-to-live counts.",
							NULL,
							&setting_heartbeat_timeout,
							3600, 1, INT_MAX / 1000,
							PGC_SIGHUP, GUC_UNIT_S,
							NULL, NULL, NULL);

	/* Where there is no shared memory to size, it may be set but means nothing. */
	DefineCustomIntVariable("gateway_pool.max_gateways",
							"Gateways whose health is kept in shared memory, of all databases together.",
							NULL,
							&setting_max_gateways,
							16384, 1, 1000000,
							process_shared_preload_libraries_in_progress ? PGC_POSTMASTER : PGC_SIGHUP, 0,
							NULL, NULL, NULL);

	DefineCustomIntVariable("gateway_pool.max_gateways_per_pool",
							"Members that a pool may have where the organization's entitlement says nothing; -1 is no limit.",
							NULL,
							&setting_max_gateways_per_pool,
							NO_LIMIT, NO_LIMIT, INT_MAX,
							PGC_SUSET, 0,
							NULL, NULL, NULL);

	DefineCustomIntVariable("gateway_pool.max_pools_per_org",
							"Pools that an organization may have where its entitlement says nothing; -1 is no limit.",
							NULL,
							&setting_max_pools_per_org,
							50, NO_LIMIT, INT_MAX,
							PGC_SUSET, 0,
							NULL, NULL, NULL);

	DefineCustomIntVariable("gateway_pool.startup_grace",
							"Time after a start or promotion in which evidence that has run out counts as degraded.",
							NULL,
							&setting_startup_grace,
							180, 0, INT_MAX / 1000,
							PGC_SIGHUP, GUC_UNIT_S,
							NULL, NULL, NULL);

	DefineCustomIntVariable("gateway_pool.suspect_ttl",
							"Time for which a gateway is suspect after a caller reported a failure.",
							NULL,
							&setting_suspect_ttl,
							60, 0, INT_MAX / 1000,
							PGC_SIGHUP, GUC_UNIT_S,
							NULL, NULL, NULL);

	DefineCustomBoolVariable("gateway_pool.worker",
							 "Runs a background worker for each database in which gateway pools are installed.",
							 NULL,
							 &setting_worker,
							 true,
							 PGC_SIGHUP, 0,
							 NULL, NULL, NULL);

	reserve_setting_prefix("gateway_pool");
}
