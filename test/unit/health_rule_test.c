/*
 * health_rule_test.c
 *		Every cell of the rule, and the borders of every stage of the host's table.
 */
#include "postgres.h"

#include "rules/health_rule.h"
#include "tap.h"

#define SECOND INT64CONST(1000000)
#define TIMEOUT (3600 * SECOND)
#define GRACE (30 * SECOND)
#define NOW (INT64CONST(800000000) * SECOND)

static HeartbeatEvidence
judge(HostHeartbeat host)
{
	Heartbeat	heartbeat = heartbeat_of_host(&host, TIMEOUT, GRACE);

	return heartbeat_evidence(&heartbeat, NOW);
}

static HeartbeatPath
heard(int64 age)
{
	return (HeartbeatPath) {.configured = true, .heard = true, .heard_at = NOW - age};
}

/* Heartbeats valid for heartbeat_timeout, with the result of the host's own check. */
static void
test_without_ttl(void)
{
	ok(judge((HostHeartbeat) {.relay = heard(0)}) == HEARTBEAT_FRESH, "a heartbeat of now is fresh");
	ok(judge((HostHeartbeat) {.relay = heard(TIMEOUT - 1)}) == HEARTBEAT_FRESH, "it is fresh a microsecond before the timeout");
	ok(judge((HostHeartbeat) {.relay = heard(TIMEOUT)}) == HEARTBEAT_EXPIRED, "it is expired at the timeout, without grace");
	ok(judge((HostHeartbeat) {.relay = heard(TIMEOUT + 1)}) == HEARTBEAT_EXPIRED, "it is expired a microsecond after the timeout");
	ok(judge((HostHeartbeat) {.relay = {.configured = true}}) == HEARTBEAT_NEVER, "without a heartbeat, the evidence is never");
	ok(judge((HostHeartbeat) {.failed = true, .relay = heard(0)}) == HEARTBEAT_FAILED, "a failed check counts, however fresh the heartbeat");
	ok(judge((HostHeartbeat) {.failed = true, .relay = {.configured = true}}) == HEARTBEAT_FAILED,
	   "a failed check counts without a heartbeat");
}

static HostHeartbeat
with_ttl(int64 ttl, HeartbeatPath relay, HeartbeatPath direct)
{
	return (HostHeartbeat) {.has_ttl = true, .ttl_known = true, .ttl = ttl, .relay = relay, .direct = direct};
}

static void
test_with_ttl(void)
{
	HeartbeatPath none = {0};
	int64		ttl = 180 * SECOND;

	ok(judge(with_ttl(ttl, heard(ttl + GRACE - 1), none)) == HEARTBEAT_FRESH, "with a ttl, it is fresh a microsecond before ttl and grace");
	ok(judge(with_ttl(ttl, heard(ttl + GRACE), none)) == HEARTBEAT_EXPIRED, "with a ttl, it is expired at ttl and grace");
	ok(judge(with_ttl(ttl, heard(TIMEOUT - 1), none)) == HEARTBEAT_EXPIRED, "with a ttl, the timeout does not count");
	ok(judge(with_ttl(0, heard(0), none)) == HEARTBEAT_FAILED, "ttl 0 means failed, however fresh the heartbeat");
	ok(judge(with_ttl(-1, heard(0), none)) == HEARTBEAT_FAILED, "a negative ttl means failed");
	ok(judge((HostHeartbeat) {.has_ttl = true, .relay = heard(0)}) == HEARTBEAT_NEVER,
	   "a NULL ttl means never");
	ok(judge((HostHeartbeat) {.has_ttl = true, .ttl_known = true, .ttl = ttl, .failed = true, .relay = heard(0)}) ==
	   HEARTBEAT_FRESH, "with a ttl, the host's check does not count");
}

static void
test_paths(void)
{
	int64		ttl = 180 * SECOND;
	int64		stale = ttl + GRACE + 1;
	HeartbeatPath fresh = heard(0);
	HeartbeatPath expired = heard(stale);
	HeartbeatPath silent = {.configured = true};
	HeartbeatPath leftover = {.configured = false, .heard = true, .heard_at = NOW};
	Heartbeat	heartbeat;
	HostHeartbeat host;

	ok(judge(with_ttl(ttl, fresh, expired)) == HEARTBEAT_FRESH, "a fresh relay path and an expired direct path are fresh");
	ok(judge(with_ttl(ttl, expired, fresh)) == HEARTBEAT_FRESH, "an expired relay path and a fresh direct path are fresh");
	ok(judge(with_ttl(ttl, expired, expired)) == HEARTBEAT_EXPIRED, "two expired paths are expired");
	ok(judge(with_ttl(ttl, silent, fresh)) == HEARTBEAT_FRESH, "a silent relay path and a fresh direct path are fresh");
	ok(judge(with_ttl(ttl, leftover, expired)) == HEARTBEAT_EXPIRED, "a heartbeat through a deleted relay does not count");
	ok(judge(with_ttl(ttl, leftover, silent)) == HEARTBEAT_NEVER, "a heartbeat through a deleted relay does not count alone");
	ok(judge(with_ttl(ttl, expired, leftover)) == HEARTBEAT_EXPIRED, "a heartbeat to a former direct address does not count");

	host = with_ttl(ttl, heard(7), heard(5));
	heartbeat = heartbeat_of_host(&host, TIMEOUT, GRACE);
	ok(heartbeat.heard_at == NOW - 5 && heartbeat_expires_at(&heartbeat, NOW) == NOW - 5 + ttl + GRACE,
	   "the later path counts");

	host = with_ttl(ttl, heard(-9 * SECOND), silent);
	heartbeat = heartbeat_of_host(&host, TIMEOUT, GRACE);
	ok(heartbeat.heard_at == NOW + 9 * SECOND && heartbeat_expires_at(&heartbeat, NOW) == NOW + ttl + GRACE,
	   "a heartbeat in the future counts as of now");
	ok(heartbeat_expires_at(&heartbeat, NOW + 20 * SECOND) == NOW + 9 * SECOND + ttl + GRACE,
	   "it counts as of its own time once that has come");

	host = with_ttl(ttl, (HeartbeatPath) {.configured = true, .heard = true, .heard_at = PG_INT64_MAX}, silent);
	heartbeat = heartbeat_of_host(&host, TIMEOUT, GRACE);
	ok(heartbeat_expires_at(&heartbeat, NOW) == NOW + ttl + GRACE, "infinity counts as of now");

	host = with_ttl(ttl, (HeartbeatPath) {.configured = true, .heard = true, .heard_at = PG_INT64_MIN}, silent);
	heartbeat = heartbeat_of_host(&host, TIMEOUT, GRACE);
	ok(heartbeat_evidence(&heartbeat, NOW) == HEARTBEAT_EXPIRED, "minus infinity is expired");
}

/*
 * The status and reason by heartbeat, probe, required, suspect, startup grace and
 * damping: the whole table.  Of four letters, Healthy, Degraded, Unhealthy or ? for
 * unknown, the second and fourth are during startup grace, the third and fourth suspect.
 */
static void
test_rule(void)
{
	static const char *const heartbeats[] = {"never", "failed", "expired", "fresh"};
	static const char *const probes[] = {"none", "up", "overdue", "down"};
	static const char letters[] = {
		[GATEWAY_HEALTHY] = 'H', [GATEWAY_DEGRADED] = 'D', [GATEWAY_UNHEALTHY] = 'U', [GATEWAY_UNKNOWN] = '?'
	};
	static const char *const table[4][4][2] =
	{
		[HEARTBEAT_NEVER] = {
			[PROBE_NONE] = {"????", "????"}, [PROBE_UP] = {"HHDD", "HHDD"},
			[PROBE_OVERDUE] = {"DDDD", "DDDD"}, [PROBE_DOWN] = {"UUUU", "UUUU"}
		},
		[HEARTBEAT_FAILED] = {
			[PROBE_NONE] = {"UUUU", "UUUU"}, [PROBE_UP] = {"HHDD", "HHDD"},
			[PROBE_OVERDUE] = {"DDDD", "DDDD"}, [PROBE_DOWN] = {"UUUU", "UUUU"}
		},
		[HEARTBEAT_EXPIRED] = {
			[PROBE_NONE] = {"UDUD", "UDUD"}, [PROBE_UP] = {"HHDD", "HHDD"},
			[PROBE_OVERDUE] = {"DDDD", "DDDD"}, [PROBE_DOWN] = {"UUUU", "UUUU"}
		},
		[HEARTBEAT_FRESH] = {
			[PROBE_NONE] = {"HHDD", "HHDD"}, [PROBE_UP] = {"HHDD", "HHDD"},
			[PROBE_OVERDUE] = {"HHDD", "HHDD"}, [PROBE_DOWN] = {"DDDD", "UUUU"}
		}
	};

	for (int heartbeat = HEARTBEAT_NEVER; heartbeat <= HEARTBEAT_FRESH; heartbeat++)
		for (int probe = PROBE_NONE; probe <= PROBE_DOWN; probe++)
			for (int required = 0; required <= 1; required++)
				for (int suspect = 0; suspect <= 1; suspect++)
					for (int grace = 0; grace <= 1; grace++)
						for (int damped = 0; damped <= 1; damped++)
						{
							HealthEvidence evidence = {heartbeat, probe, required, suspect, grace, damped};
							GatewayHealth health = health_rule(&evidence);
							char		expected = table[heartbeat][probe][required][suspect * 2 + grace];

							/*
							 * Damping makes the healthy degraded, and nothing
							 * else.
							 */
							if (damped && expected == 'H')
								expected = 'D';
							ok(letters[health.status] == expected && health.reason != NULL,
							   "heartbeat %s, probe %s%s%s%s%s: %c (%s)", heartbeats[heartbeat], probes[probe],
							   required ? ", required" : "", suspect ? ", suspect" : "", grace ? ", startup grace" : "",
							   damped ? ", damped" : "", expected, health.reason);
						}
}

/* The table's and the reported evidence combined: the whole table. */
static void
test_later(void)
{
	static const HeartbeatEvidence together[4][4] =
	{
		/* reported: never, failed (which no report does), expired, fresh */
		[HEARTBEAT_NEVER] = {HEARTBEAT_NEVER, HEARTBEAT_FAILED, HEARTBEAT_EXPIRED, HEARTBEAT_FRESH},
		[HEARTBEAT_FAILED] = {HEARTBEAT_FAILED, HEARTBEAT_FAILED, HEARTBEAT_FAILED, HEARTBEAT_FRESH},
		[HEARTBEAT_EXPIRED] = {HEARTBEAT_EXPIRED, HEARTBEAT_EXPIRED, HEARTBEAT_EXPIRED, HEARTBEAT_FRESH},
		[HEARTBEAT_FRESH] = {HEARTBEAT_FRESH, HEARTBEAT_FRESH, HEARTBEAT_FRESH, HEARTBEAT_FRESH}
	};

	for (int table = HEARTBEAT_NEVER; table <= HEARTBEAT_FRESH; table++)
		for (int reported = HEARTBEAT_NEVER; reported <= HEARTBEAT_FRESH; reported++)
			ok(heartbeat_later(table, reported) == together[table][reported],
			   "table %d, reported %d: the later counts", table, reported);
}

static void
test_equal(void)
{
	Heartbeat	one = {.heard = true, .heard_at = NOW, .lifetime = SECOND};
	Heartbeat	other = one;

	ok(heartbeat_equal(&one, &other), "equal heartbeats are equal");
	other.lifetime++;
	ok(!heartbeat_equal(&one, &other), "another lifetime makes them different");
	other = one;
	other.heard_at++;
	ok(!heartbeat_equal(&one, &other), "another time makes them different");
	other = one;
	other.failed = true;
	ok(!heartbeat_equal(&one, &other), "a failure makes them different");
	other = one;
	other.heard = false;
	ok(!heartbeat_equal(&one, &other), "no heartbeat makes them different");
}

/* The words shown to users. */
static void
test_reasons(void)
{
	static const struct
	{
		HealthEvidence evidence;
		const char *reason;
	}			cases[] =
	{
		{{HEARTBEAT_EXPIRED, PROBE_NONE, false, false, true, false}, "heartbeat expired, startup grace"},
		{{HEARTBEAT_FRESH, PROBE_NONE, false, false, false, false}, "heartbeat fresh"},
		{{HEARTBEAT_EXPIRED, PROBE_NONE, false, false, false, false}, "heartbeat expired"},
		{{HEARTBEAT_FAILED, PROBE_NONE, false, false, false, false}, "heartbeat failed"},
		{{HEARTBEAT_NEVER, PROBE_NONE, false, false, false, false}, "no evidence"},
		{{HEARTBEAT_EXPIRED, PROBE_UP, false, false, false, false}, "probe up"},
		{{HEARTBEAT_FRESH, PROBE_DOWN, true, false, false, false}, "probe down"},
		{{HEARTBEAT_NEVER, PROBE_DOWN, false, false, false, false}, "probe down"},
		{{HEARTBEAT_FRESH, PROBE_DOWN, false, false, false, false}, "probe contradicts heartbeat"},
		{{HEARTBEAT_FRESH, PROBE_NONE, false, true, false, false}, "suspect"},
		{{HEARTBEAT_FRESH, PROBE_DOWN, false, true, false, false}, "suspect"},
		{{HEARTBEAT_EXPIRED, PROBE_NONE, false, true, true, false}, "heartbeat expired, startup grace"},
		{{HEARTBEAT_EXPIRED, PROBE_DOWN, false, false, true, false}, "heartbeat expired"},
		{{HEARTBEAT_FAILED, PROBE_NONE, false, false, true, false}, "heartbeat failed"},
		{{HEARTBEAT_NEVER, PROBE_NONE, false, false, true, false}, "no evidence"},
		{{HEARTBEAT_FRESH, PROBE_UP, false, false, false, true}, "keeps falling"},
		{{HEARTBEAT_EXPIRED, PROBE_OVERDUE, true, false, false, false}, "probe overdue"},
		{{HEARTBEAT_FRESH, PROBE_OVERDUE, true, false, false, false}, "heartbeat fresh"}
	};

	for (int i = 0; i < lengthof(cases); i++)
	{
		GatewayHealth health = health_rule(&cases[i].evidence);

		ok(strcmp(health.reason, cases[i].reason) == 0, "reason %s", cases[i].reason);
		ok(health.assumed == (strcmp(health.reason, "probe overdue") == 0 ||
							  strcmp(health.reason, "heartbeat expired, startup grace") == 0),
		   "only evidence that is assumed has assumed set");
	}
	ok(strcmp(gateway_status_name(GATEWAY_HEALTHY), "healthy") == 0 &&
	   strcmp(gateway_status_name(GATEWAY_DEGRADED), "degraded") == 0 &&
	   strcmp(gateway_status_name(GATEWAY_UNHEALTHY), "unhealthy") == 0 &&
	   strcmp(gateway_status_name(GATEWAY_UNKNOWN), "unknown") == 0, "statuses have their words");
	for (GatewayStatus status = GATEWAY_HEALTHY; status <= GATEWAY_UNKNOWN; status++)
		ok(gateway_status_parse(gateway_status_name(status)) == status, "words have their statuses");
	ok(gateway_status_parse("nonsense") == GATEWAY_UNKNOWN, "an unrecognized word is unknown");
}

int
main(void)
{
	test_without_ttl();
	test_with_ttl();
	test_paths();
	test_rule();
	test_later();
	test_equal();
	test_reasons();
	return done();
}
