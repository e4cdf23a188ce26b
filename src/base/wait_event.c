/*
 * wait_event.c
 *		What this library's processes and functions wait for, as pg_stat_activity shows it.
 *
 *		The names are in docs/monitoring.md.  Before PostgreSQL 17, all are shown as Extension.
 */
#include "postgres.h"

#include "base/compat.h"
#include "base/wait_event.h"

static const char *const names[] = {
	[WAIT_LAUNCHER_MAIN] = "GatewayPoolLauncherMain",
	[WAIT_WORKER_MAIN] = "GatewayPoolWorkerMain",
	[WAIT_WORKER_END] = "GatewayPoolWorkerEnd",
	[WAIT_PROBE_READ] = "GatewayPoolProbeRead",
	[WAIT_PROBE_RESULT] = "GatewayPoolProbeResult",
};

/* wait_event returns the number to wait with.  The server has one for each name. */
uint32
wait_event(WaitName name)
{
	static uint32 events[lengthof(names)];

	if (events[name] == 0)
		events[name] = new_wait_event(names[name]);
	return events[name];
}
