/*
 * monitor_log.c
 *		What the server's log says of pools: when one loses its last eligible member, or
 *		has one again.
 *
 * As this server sees it: a standby logs the pools of which its own picks are refused.
 * A failure of a whole network must not fill the log: after LINES_MAX lines in a
 * WINDOW, pools are only counted, and one line has the count.  An organization that adds
 * and removes members all the time must not take all lines: ORG_LINES_MAX are for one.
 */
#include "postgres.h"

#include "utils/timestamp.h"

#include "base/uuid.h"
#include "worker/monitor_internal.h"
#include "worker/worker_log.h"

#define LINES_MAX 20
#define ORG_LINES_MAX 10
#define WINDOW (10 * USECS_PER_SEC)

/* More different reasons are counted together. */
#define REASONS_MAX 32

static int64 window_begun;
static int	lines;				/* in this window */
static pg_uuid_t line_orgs[LINES_MAX];	/* of the pools with these lines */

/* Pools without a line in this window. */
static int	more_lost;
static int	more_back;

/* Begins another window if the last one is over, and logs what was only counted in that. */
static void
change_window(int64 now)
{
	if (now - window_begun < WINDOW)
		return;
	monitor_log_rest();
	window_begun = now;
	lines = 0;
}

/* monitor_log_rest logs how many pools had no line of their own. */
void
monitor_log_rest(void)
{
	if (more_lost > 0)
		ereport(LOG,
				(errmsg_plural("%d more gateway pool in database \"%s\" has lost its last eligible member",
							   "%d more gateway pools in database \"%s\" have lost their last eligible members",
							   more_lost, more_lost, worker_log_database())));
	if (more_back > 0)
		ereport(LOG,
				(errmsg_plural("%d more gateway pool in database \"%s\" has an eligible member again",
							   "%d more gateway pools in database \"%s\" have eligible members again",
							   more_back, more_back, worker_log_database())));
	more_lost = more_back = 0;
}

/* Returns why a member is not eligible. */
static const char *
reason_of(const MonitoredGateway *member, int64 now)
{
	HealthEvidence evidence;
	GatewayHealth health;
	GatewayState state;

	if (member == NULL || health_evidence_read(member->slot, now, &evidence) == SLOT_GONE)
		return "not monitored";
	state = gateway_state_at(member->state, member->state_until, GetCurrentTimestamp());
	if (state != GATEWAY_ACTIVE)
		return gateway_state_name(state);
	health = health_rule(&evidence);
	return psprintf("%s (%s)", gateway_status_name(health.status), health.reason);
}

/* Returns a sentence such as "Of 3 members, 2 unhealthy (heartbeat expired), 1 draining." */
static const char *
reasons_in_words(const MonitoredPool *pool, int64 now)
{
	const char *reasons[REASONS_MAX];
	int			counts[REASONS_MAX] = {0};
	int			distinct = 0;
	StringInfoData words;

	if (pool->member_count == 0)
		return "The pool has no members.";
	for (int i = 0; i < pool->member_count; i++)
	{
		const char *reason = reason_of(monitor.members[pool->first_member + i], now);
		int			j = 0;

		while (j < distinct && j < REASONS_MAX - 1 && strcmp(reasons[j], reason) != 0)
			j++;
		reasons[j] = j < REASONS_MAX - 1 ? reason : "for other reasons";
		counts[j]++;
		distinct = Max(distinct, j + 1);
	}
	initStringInfo(&words);
	appendStringInfo(&words, ngettext("Of %d member", "Of %d members", pool->member_count), pool->member_count);
	for (int j = 0; j < distinct; j++)
		appendStringInfo(&words, ", %d %s", counts[j], reasons[j]);
	appendStringInfoChar(&words, '.');
	return words.data;
}

static void
log_lost(const MonitoredPool *pool, int64 now)
{
	ereport(LOG,
			(errmsg("gateway pool \"%s\" (%s) in database \"%s\" has lost its last eligible member",
					pool->name, uuid_text(&pool->id), worker_log_database()),
			 errdetail("The pool belongs to organization %s. %s", uuid_text(&pool->org_id), reasons_in_words(pool, now))));
}

static void
log_back(const MonitoredPool *pool, int64 now)
{
	double		seconds = (now - pool->lost_at) / 1e6;

	ereport(LOG,
			(pool->lost_before_start ?
			 errmsg("gateway pool \"%s\" (%s) in database \"%s\" has an eligible member again, after more than %.1f s",
					pool->name, uuid_text(&pool->id), worker_log_database(), seconds) :
			 errmsg("gateway pool \"%s\" (%s) in database \"%s\" has an eligible member again, after %.1f s",
					pool->name, uuid_text(&pool->id), worker_log_database(), seconds)));
}

/* Takes the next line of this window for a pool of an organization; returns false if none is left. */
static bool
take_line(const pg_uuid_t *org_id)
{
	int			taken = 0;

	for (int i = 0; i < lines; i++)
		taken += uuid_equal(&line_orgs[i], org_id);
	if (lines == LINES_MAX || taken == ORG_LINES_MAX)
		return false;
	line_orgs[lines++] = *org_id;
	return true;
}

/*
 * monitor_log_pool logs that a pool has lost its last eligible member, or has one
 * again, if that has changed.  Of a deleted pool, and of the first eligible member of a
 * new one, it logs nothing.
 */
void
monitor_log_pool(MonitoredPool *pool, bool has_eligible, int64 now)
{
	bool		is_news = has_eligible ? pool->lost_at != 0 : pool->present;

	change_window(now);
	if (has_eligible == pool->usable)
		return;
	pool->usable = has_eligible;
	if (!has_eligible)
	{
		pool->lost_at = now;
		pool->lost_before_start = false;
	}
	if (!is_news)
		return;
	if (!take_line(&pool->org_id))
	{
		more_back += has_eligible;
		more_lost += !has_eligible;
	}
	else if (has_eligible)
		log_back(pool, now);
	else
		log_lost(pool, now);
}
