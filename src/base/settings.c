/*
 * settings.c
 *		The settings gateway_pool.*, in alphabetical order.
 */
#include "postgres.h"

#include <limits.h>

#include "datatype/timestamp.h"
#include "mb/pg_wchar.h"

#include "base/compat.h"
#include "base/own_addresses.h"
#include "base/settings.h"

/* More than that no actor has, its end included. */
#define ACTOR_SIZE 257

char	   *setting_actor = "";
int			setting_audit_retention = -1;
bool		setting_default_entitlement = false;
int			setting_event_retention = 30 * SECS_PER_DAY;
int			setting_heartbeat_grace = 30;
int			setting_heartbeat_timeout = 3600;
int			setting_max_gateways = 16384;
int			setting_max_gateways_per_pool = NO_LIMIT;
int			setting_max_pools_per_org = 50;
bool		setting_notify = true;
int			setting_probe_concurrency = 256;
bool		setting_probe_direct_addresses = false;
int			setting_probe_fall = 3;
int			setting_probe_interval = 2000;
int			setting_probe_retry_interval = 500;
int			setting_probe_rise = 2;
int			setting_probe_timeout = 1000;
int			setting_startup_grace = 180;
int			setting_suspect_ttl = 60;
bool		setting_worker = true;

static char *probe_allowed_networks;
static char *probe_denied_networks;
static const NetworkList *allowed_networks;
static const NetworkList *denied_networks;

/* settings_refuse_address tells why probes must not connect to an address, or NULL. */
const char *
settings_refuse_address(const struct sockaddr *address)
{
	bool		needs_own = denied_networks->same_host || allowed_networks->same_host;

	return network_refusal(denied_networks, allowed_networks, needs_own ? own_addresses() : NULL, address);
}

static bool
check_networks(char **value, void **extra, GucSource source)
{
	NetworkList *list = setting_malloc(network_list_size(*value));
	const char *problem;

	if (list == NULL)
		return false;
	problem = network_list_parse(*value, list);
	if (problem != NULL)
	{
		GUC_check_errdetail("%s", problem);
		setting_free(list);
		return false;
	}
	*extra = list;
	return true;
}

static void
assign_allowed_networks(const char *value, void *extra)
{
	allowed_networks = extra;
}

static void
assign_denied_networks(const char *value, void *extra)
{
	denied_networks = extra;
}

/* What everybody may set, and others read, has no character that is not printed, and is short. */
static bool
check_actor(char **value, void **extra, GucSource source)
{
	if (strlen(*value) >= ACTOR_SIZE)
	{
		GUC_check_errdetail("An actor has at most %d bytes.", ACTOR_SIZE - 1);
		return false;
	}
	for (const unsigned char *c = (const unsigned char *) *value; *c != '\0'; c++)
		/* U+0080 to U+009F, too, which some terminals obey. */
		if (*c < ' ' || *c == 0x7f || (GetDatabaseEncoding() == PG_UTF8 && c[0] == 0xc2 && c[1] < 0xa0))
		{
			GUC_check_errdetail("An actor has no control characters.");
			return false;
		}
	return true;
}

/* Defines every setting and reserves the prefix; called once a process. */
void
settings_init(void)
{
	DefineCustomStringVariable("gateway_pool.actor",
							   "Who is behind the session, as gateway_pool_audit_logs tells it.",
							   "Not verified: any user may set it to anything.",
							   &setting_actor,
							   "",
							   PGC_USERSET, 0,
							   check_actor, NULL, NULL);

	DefineCustomIntVariable("gateway_pool.audit_retention",
							"Time for which rows of gateway_pool_audit_logs are kept; -1 is for ever.",
							NULL,
							&setting_audit_retention,
							-1, -1, INT_MAX,
							PGC_SIGHUP, GUC_UNIT_S,
							NULL, NULL, NULL);

	DefineCustomBoolVariable("gateway_pool.default_entitlement",
							 "Lets organizations without a row in gateway_pool_entitlements use gateway pools.",
							 NULL,
							 &setting_default_entitlement,
							 false,
							 PGC_SUSET, 0,
							 NULL, NULL, NULL);

	DefineCustomIntVariable("gateway_pool.event_retention",
							"Time for which rows of gateway_health_events are kept.",
							NULL,
							&setting_event_retention,
							30 * SECS_PER_DAY, 0, INT_MAX,
							PGC_SIGHUP, GUC_UNIT_S,
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

	/*
	 * Where there is no shared memory to size, it may be set but means
	 * nothing.
	 */
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

	DefineCustomBoolVariable("gateway_pool.notify",
							 "Sends NOTIFY gateway_health when the health of a gateway or pool changes.",
							 NULL,
							 &setting_notify,
							 true,
							 PGC_SIGHUP, 0,
							 NULL, NULL, NULL);

	DefineCustomStringVariable("gateway_pool.probe_allowed_networks",
							   "Networks that probes may connect to, if not empty; what is denied stays so.",
							   NULL,
							   &probe_allowed_networks,
							   "",
							   PGC_SIGHUP, GUC_LIST_INPUT,
							   check_networks, assign_allowed_networks, NULL);

	DefineCustomIntVariable("gateway_pool.probe_concurrency",
							"Probes that may run at once in a database.",
							"A quarter of them is for gateways that are known to hang.",
							&setting_probe_concurrency,
							256, 2, 4096,
							PGC_SIGHUP, 0,
							NULL, NULL, NULL);

	DefineCustomStringVariable("gateway_pool.probe_denied_networks",
							   "Networks that probes must not connect to.",
							   "samehost is all addresses of this machine.",
							   &probe_denied_networks,
							   "samehost, 127.0.0.0/8, ::1, 169.254.0.0/16, fe80::/10, "
							   "fd00:ec2::254, 100.100.100.200, 168.63.129.16, 192.0.0.192",
							   PGC_SIGHUP, GUC_LIST_INPUT,
							   check_networks, assign_denied_networks, NULL);

	DefineCustomBoolVariable("gateway_pool.probe_direct_addresses",
							 "Probes the direct address of gateways that have no row in gateway_probes.",
							 NULL,
							 &setting_probe_direct_addresses,
							 false,
							 PGC_SIGHUP, 0,
							 NULL, NULL, NULL);

	DefineCustomIntVariable("gateway_pool.probe_fall",
							"Failed probes in a row after which a gateway is down.",
							NULL,
							&setting_probe_fall,
							3, 1, 100,
							PGC_SIGHUP, 0,
							NULL, NULL, NULL);

	DefineCustomIntVariable("gateway_pool.probe_interval",
							"Time from the start of a probe to the start of the next.",
							NULL,
							&setting_probe_interval,
							2000, 100, 86400000,
							PGC_SIGHUP, GUC_UNIT_MS,
							NULL, NULL, NULL);

	DefineCustomIntVariable("gateway_pool.probe_retry_interval",
							"The same after a failure that has not led down yet.",
							NULL,
							&setting_probe_retry_interval,
							500, 10, 86400000,
							PGC_SIGHUP, GUC_UNIT_MS,
							NULL, NULL, NULL);

	DefineCustomIntVariable("gateway_pool.probe_rise",
							"Successful probes in a row after which a gateway is up again.",
							NULL,
							&setting_probe_rise,
							2, 1, 100,
							PGC_SIGHUP, 0,
							NULL, NULL, NULL);

	DefineCustomIntVariable("gateway_pool.probe_timeout",
							"Time that a whole probe may take, at most the interval.",
							NULL,
							&setting_probe_timeout,
							1000, 10, 86400000,
							PGC_SIGHUP, GUC_UNIT_MS,
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
