/*
 * settings.c
 *		The settings gateway_pool.*: their defaults, limits and descriptions.
 */
#include "postgres.h"

#include <limits.h>

#include "datatype/timestamp.h"
#include "mb/pg_wchar.h"

#include "base/compat.h"
#include "base/own_addresses.h"
#include "base/settings.h"

/* The longest actor, in bytes, with the terminator. */
#define ACTOR_SIZE 257

/* Defining a setting sets its variable to the default. */
char	   *setting_actor;
int			setting_audit_retention;
bool		setting_default_entitlement;
int			setting_event_retention;
int			setting_heartbeat_grace;
int			setting_heartbeat_timeout;
int			setting_max_gateways;
int			setting_max_gateways_per_pool;
int			setting_max_pools_per_org;
bool		setting_notify;
int			setting_probe_concurrency;
bool		setting_probe_direct_addresses;
int			setting_probe_fall;
int			setting_probe_interval;
int			setting_probe_retry_interval;
int			setting_probe_rise;
int			setting_probe_timeout;
int			setting_startup_grace;
int			setting_suspect_ttl;
bool		setting_worker;

static char *probe_allowed_networks;
static char *probe_denied_networks;
static const NetworkList *allowed_networks;
static const NetworkList *denied_networks;

/* settings_refuse_address returns why probes must not connect to an address, or NULL if they may. */
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

/* Any role may set it, and others read it: no control characters, and a limited length. */
static bool
check_actor(char **value, void **extra, GucSource source)
{
	if (strlen(*value) >= ACTOR_SIZE)
	{
		GUC_check_errdetail("The value is longer than %d bytes.", ACTOR_SIZE - 1);
		return false;
	}
	for (const unsigned char *c = (const unsigned char *) *value; *c != '\0'; c++)
		/* U+0080 to U+009F are control characters for some terminals. */
		if (*c < ' ' || *c == 0x7f || (GetDatabaseEncoding() == PG_UTF8 && c[0] == 0xc2 && c[1] < 0xa0))
		{
			GUC_check_errdetail("The value contains control characters.");
			return false;
		}
	return true;
}

typedef struct BoolSetting
{
	const char *name;
	const char *description;
	bool	   *variable;
	bool		preset;
	GucContext	context;
} BoolSetting;

typedef struct IntSetting
{
	const char *name;
	const char *description;
	const char *details;
	int		   *variable;
	int			preset;
	int			min;
	int			max;
	GucContext	context;
	int			flags;
} IntSetting;

typedef struct StringSetting
{
	const char *name;
	const char *description;
	const char *details;
	char	  **variable;
	const char *preset;
	GucContext	context;
	int			flags;
	GucStringCheckHook check;
	GucStringAssignHook assign;
} StringSetting;

static const BoolSetting bool_settings[] = {
	{"gateway_pool.default_entitlement",
		"Allows gateway pools to organizations without a row in gateway_pool_entitlements.",
	&setting_default_entitlement, false, PGC_SUSET},
	{"gateway_pool.notify",
		"Sends NOTIFY gateway_health when the health of a gateway or pool changes.",
	&setting_notify, true, PGC_SIGHUP},
	{"gateway_pool.probe_direct_addresses",
		"Probes the direct address of gateways that have no row in gateway_probes.",
	&setting_probe_direct_addresses, false, PGC_SIGHUP},
	{"gateway_pool.worker",
		"Runs a background worker for each database in which gateway pools are installed.",
	&setting_worker, true, PGC_SIGHUP}
};

static const IntSetting int_settings[] = {
	{"gateway_pool.audit_retention",
		"Sets how long rows of gateway_pool_audit_logs are kept.",
		"-1 keeps them forever.",
	&setting_audit_retention, -1, -1, INT_MAX, PGC_SIGHUP, GUC_UNIT_S},
	{"gateway_pool.event_retention",
		"Sets how long rows of gateway_health_events are kept.",
		NULL,
	&setting_event_retention, 30 * SECS_PER_DAY, 0, INT_MAX, PGC_SIGHUP, GUC_UNIT_S},
	{"gateway_pool.heartbeat_grace",
		"Sets how long a heartbeat counts beyond its time-to-live.",
		NULL,
	&setting_heartbeat_grace, 30, 0, INT_MAX / 1000, PGC_SIGHUP, GUC_UNIT_S},
	{"gateway_pool.heartbeat_timeout",
		"Sets how long a heartbeat without a time-to-live counts.",
		NULL,
	&setting_heartbeat_timeout, 3600, 1, INT_MAX / 1000, PGC_SIGHUP, GUC_UNIT_S},
	{"gateway_pool.max_gateways_per_pool",
		"Sets the maximum number of members of a pool, if the organization's entitlement sets none.",
		"-1 means no limit.",
	&setting_max_gateways_per_pool, NO_LIMIT, NO_LIMIT, INT_MAX, PGC_SUSET, 0},
	{"gateway_pool.max_pools_per_org",
		"Sets the maximum number of pools of an organization, if its entitlement sets none.",
		"-1 means no limit.",
	&setting_max_pools_per_org, 50, NO_LIMIT, INT_MAX, PGC_SUSET, 0},
	{"gateway_pool.probe_concurrency",
		"Sets the maximum number of probes that run at once in a database.",
		"A quarter of them is reserved for gateways whose last probes timed out.",
	&setting_probe_concurrency, 256, 2, 4096, PGC_SIGHUP, 0},
	{"gateway_pool.probe_fall",
		"Sets the number of failed probes in a row after which a gateway is down.",
		NULL,
	&setting_probe_fall, 3, 1, 100, PGC_SIGHUP, 0},
	{"gateway_pool.probe_interval",
		"Sets the time from the start of a probe to the start of the next.",
		NULL,
	&setting_probe_interval, 2000, 100, 86400000, PGC_SIGHUP, GUC_UNIT_MS},
	{"gateway_pool.probe_retry_interval",
		"Sets the time between probes while a gateway is failing and not yet down.",
		NULL,
	&setting_probe_retry_interval, 500, 10, 86400000, PGC_SIGHUP, GUC_UNIT_MS},
	{"gateway_pool.probe_rise",
		"Sets the number of successful probes in a row after which a gateway is up again.",
		NULL,
	&setting_probe_rise, 2, 1, 100, PGC_SIGHUP, 0},
	{"gateway_pool.probe_timeout",
		"Sets the maximum duration of a probe.",
		"It is at most the interval.",
	&setting_probe_timeout, 1000, 10, 86400000, PGC_SIGHUP, GUC_UNIT_MS},
	{"gateway_pool.startup_grace",
		"Sets how long after a start or promotion expired evidence counts as degraded.",
		NULL,
	&setting_startup_grace, 180, 0, INT_MAX / 1000, PGC_SIGHUP, GUC_UNIT_S},
	{"gateway_pool.suspect_ttl",
		"Sets how long a gateway is suspect after a caller reported a failure.",
		NULL,
	&setting_suspect_ttl, 60, 0, INT_MAX / 1000, PGC_SIGHUP, GUC_UNIT_S}
};

static const StringSetting string_settings[] = {
	{"gateway_pool.actor",
		"Sets the name of the session's end user that gateway_pool_audit_logs records.",
		"The name is not verified: any role can set it to any value.",
	&setting_actor, "", PGC_USERSET, 0, check_actor, NULL},
	{"gateway_pool.probe_allowed_networks",
		"Sets the only networks that probes may connect to.",
		"An empty list allows all. gateway_pool.probe_denied_networks takes precedence.",
	&probe_allowed_networks, "", PGC_SIGHUP, GUC_LIST_INPUT, check_networks, assign_allowed_networks},
	{"gateway_pool.probe_denied_networks",
		"Sets the networks that probes must not connect to.",
		"\"samehost\" means all addresses of this machine.",
		&probe_denied_networks,
		"samehost, 127.0.0.0/8, ::1, 169.254.0.0/16, fe80::/10, "
		"fd00:ec2::254, 100.100.100.200, 168.63.129.16, 192.0.0.192",
	PGC_SIGHUP, GUC_LIST_INPUT, check_networks, assign_denied_networks}
};

/* settings_init defines all settings and reserves the prefix; called once in each process. */
void
settings_init(void)
{
	/* Without shared memory to size, a session may set it, without effect. */
	DefineCustomIntVariable("gateway_pool.max_gateways",
							"Sets the maximum number of gateways whose health is kept in shared memory.",
							"It is the total of all databases.",
							&setting_max_gateways,
							16384, 1, 1000000,
							process_shared_preload_libraries_in_progress ? PGC_POSTMASTER : PGC_SIGHUP, 0,
							NULL, NULL, NULL);

	for (int i = 0; i < lengthof(bool_settings); i++)
	{
		const BoolSetting *setting = &bool_settings[i];

		DefineCustomBoolVariable(setting->name, setting->description, NULL,
								 setting->variable, setting->preset,
								 setting->context, 0, NULL, NULL, NULL);
	}
	for (int i = 0; i < lengthof(int_settings); i++)
	{
		const IntSetting *setting = &int_settings[i];

		DefineCustomIntVariable(setting->name, setting->description, setting->details,
								setting->variable, setting->preset, setting->min, setting->max,
								setting->context, setting->flags, NULL, NULL, NULL);
	}
	for (int i = 0; i < lengthof(string_settings); i++)
	{
		const StringSetting *setting = &string_settings[i];

		DefineCustomStringVariable(setting->name, setting->description, setting->details,
								   setting->variable, setting->preset,
								   setting->context, setting->flags, setting->check, setting->assign, NULL);
	}
	reserve_setting_prefix("gateway_pool");
}
