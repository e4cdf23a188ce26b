/*
 * watch.c
 *		The gateways and pools of one database, as its worker knows them.
 *
 * What there is, is read from the tables; how it fares is judged by the slots of
 * shared memory, as picks judge.  A gateway whose status is another than the one
 * that was recorded last is a change to be recorded; a pool that has lost its
 * last eligible member, or has one again, is one to be told.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "storage/fd.h"
#include "utils/array.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "clock.h"
#include "gateway_store.h"
#include "health_record.h"
#include "probe_request.h"
#include "settings.h"
#include "watch.h"
#include "worker_store.h"

/* What probes found counts for so many intervals. */
#define COUNTED_INTERVALS 3

typedef struct WatchedGateway
{
	pg_uuid_t	id;				/* the key */
	pg_uuid_t	org_id;
	char		name[NAMEDATALEN * 4];
	GatewayState state;
	HealthSlotRef slot;
	GatewayStatus recorded;		/* the last status that was recorded, or is about to be */
	bool		kept;			/* was found when the tables were read last */
	bool		eligible;
	bool		probed;
	bool		probe_required;
	int64		undecided_until;	/* so long a probe without a verdict is waited for */
} WatchedGateway;

typedef struct WatchedPool
{
	pg_uuid_t	id;				/* the key */
	pg_uuid_t	org_id;
	bool		kept;
	bool		is_new;			/* was not there when the tables were read before */
	bool		served;			/* has an eligible member, as was told last */
	int			first_member;	/* in the list of all members */
	int			member_count;
} WatchedPool;

static MemoryContext context;
static HTAB *gateways;
static HTAB *pools;
static WatchedGateway **members;	/* of all pools, those of a pool together */
static Prober *prober;

static bool is_to_read;			/* something is not as it was when it was read */
static bool has_changed;		/* a probe's verdict has */
static List *unconfirmed;		/* gateways whose heartbeat ran out: their rows have to say so too */
static int64 next_change;

static ProbeRecord
recall(const pg_uuid_t *gateway)
{
	WatchedGateway *watched = hash_search(gateways, gateway, HASH_FIND, NULL);
	ProbeRecord record = {0};
	ProbeFinding finding;

	if (watched != NULL && health_evidence_finding(watched->slot, clock_monotonic(), &finding))
	{
		record.verdict = finding.evidence;
		record.damped_until = finding.damped_until;
	}
	return record;
}

/* Tells shared memory what a probe has shown. */
static void
tell(const ProbeNews *news)
{
	WatchedGateway *watched = hash_search(gateways, &news->gateway, HASH_FIND, NULL);
	const ProbeRecord *record = news->record;
	ProbeDisplay display = {
		.configured = true,
		.probed = true,
		.verify_tls = news->plan->spec.verify_tls,
		.protocol = news->plan->spec.protocol,
		.verdict = record->verdict,
		.milliseconds = news->duration / 1000.0,
		.failures = record->failures,
		.successes = record->successes,
		.falls = record->falls,
		.started_at = news->started_at,
		.certificate_known = news->result->certificate_expires_at > 0,
		.certificate_expires_at = time_t_to_timestamptz(news->result->certificate_expires_at)
	};

	if (watched == NULL)
		return;
	strlcpy(display.reason, news->result->reason, sizeof(display.reason));
	health_evidence_show_probe(watched->slot, &display);
	if (record->verdict != PROBE_NONE && news->result->outcome != PROBE_INCONCLUSIVE)
	{
		ProbeFinding finding = {
			.evidence = record->verdict,
			.required = watched->probe_required,
			.counts_until = news->started_at + COUNTED_INTERVALS * news->plan->pace.interval,
			.damped_until = record->damped_until
		};

		health_evidence_store_probe(watched->slot, &finding);
	}
	if (news->changed)
		has_changed = true;
	probe_request_answer(watched->slot);
}

/* Has what probes found count for longer, if it does now. */
static void
hold(const pg_uuid_t *gateway, int64 until)
{
	WatchedGateway *watched = hash_search(gateways, gateway, HASH_FIND, NULL);
	ProbeFinding finding;

	if (watched == NULL || !health_evidence_finding(watched->slot, clock_monotonic(), &finding) ||
		finding.counts_until >= until)
		return;
	finding.counts_until = until;
	health_evidence_store_probe(watched->slot, &finding);
}

/* watch_start sets up a watch of nothing so far; once a process. */
void
watch_start(void)
{
	static const ProberUser user = {
		.refusal = settings_refuse_address,
		.acquire_descriptor = AcquireExternalFD,
		.release_descriptor = ReleaseExternalFD,
		.recall = recall,
		.tell = tell,
		.hold = hold
	};
	HASHCTL		control = {.keysize = sizeof(pg_uuid_t)};

	context = AllocSetContextCreate(TopMemoryContext, "gateway_pool watch", ALLOCSET_DEFAULT_SIZES);
	control.hcxt = context;
	control.entrysize = sizeof(WatchedGateway);
	gateways = hash_create("watched gateways", 1024, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	control.entrysize = sizeof(WatchedPool);
	pools = hash_create("watched pools", 256, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	is_to_read = true;
	next_change = PG_INT64_MAX;

	MemoryContextSwitchTo(context);
	prober = prober_create(&user);
}

/* watch_stop ends all probes. */
void
watch_stop(void)
{
	if (prober != NULL)
		prober_destroy(prober);
	prober = NULL;
}

/* watch_prober gives the prober. */
Prober *
watch_prober(void)
{
	return prober;
}

/* watch_forget has the tables read anew. */
void
watch_forget(void)
{
	is_to_read = true;
}

/* watch_is_to_read tells whether the tables have to be read anew. */
bool
watch_is_to_read(void)
{
	return is_to_read;
}

/* watch_is_to_confirm tells whether rows have to be read before gateways can be judged. */
bool
watch_is_to_confirm(void)
{
	return unconfirmed != NIL;
}

/* watch_note_change has all gateways judged soon: somebody says that one fares otherwise. */
void
watch_note_change(void)
{
	has_changed = true;
}

/* watch_has_changed tells whether it is time to judge, whatever watch_next_change says. */
bool
watch_has_changed(void)
{
	return has_changed;
}

/* watch_next_change tells when evidence next runs out by itself, as of the last judgement. */
int64
watch_next_change(void)
{
	return next_change;
}

/*
 * Reads all gateways and sees to their slots.  What committed while a slot was
 * being made was told to nobody: then all are read once more.
 */
static GatewayRow *
read_gateways(const PoolCatalog *catalog, int *count, List **made, StringInfo problem)
{
	for (;;)
	{
		GatewayRow *rows = store_gateways(catalog, (StoreFilter) {0}, count);
		bool		any = false;

		for (int i = 0; i < *count; i++)
		{
			bool		created = false;

			if (rows[i].slot.number == NO_SLOT)
				rows[i].slot = store_make_slot(catalog, &rows[i], &created);
			if (created)
				*made = lappend(*made, &rows[i]);
			any |= created;
			if (rows[i].slot.number == NO_SLOT && problem->len == 0)
				appendStringInfoString(problem, "shared memory of gateway_pool is full: some gateways are not watched");
		}
		if (!any)
			return rows;
	}
}

static void
watch_gateway(const GatewayRow *row, bool follow)
{
	bool		found;
	WatchedGateway *watched;

	if (row->slot.number == NO_SLOT)
		return;
	watched = hash_search(gateways, &row->id, HASH_ENTER, &found);
	if (!found)
		memset((char *) watched + sizeof(pg_uuid_t), 0, sizeof(WatchedGateway) - sizeof(pg_uuid_t));
	if (!found || follow)
	{
		watched->recorded = row->recorded.known ? row->recorded.status : GATEWAY_UNKNOWN;
		watched->eligible = selection_eligible(watched->recorded, row->state);
	}
	watched->org_id = row->org_id;
	strlcpy(watched->name, row->name, pg_mbcliplen(row->name, strlen(row->name), sizeof(watched->name) - 1) + 1);
	watched->state = row->state;
	watched->slot = row->slot;
	watched->kept = true;
}

static void
watch_gateways(const GatewayRow *rows, int count, const List *made, bool follow)
{
	HASH_SEQ_STATUS scan;
	WatchedGateway *watched;
	ListCell   *cell;

	hash_seq_init(&scan, gateways);
	while ((watched = hash_seq_search(&scan)) != NULL)
		watched->kept = false;
	for (int i = 0; i < count; i++)
		watch_gateway(&rows[i], follow);
	hash_seq_init(&scan, gateways);
	while ((watched = hash_seq_search(&scan)) != NULL)
		if (!watched->kept)
		{
			probe_request_answer(watched->slot);
			(void) hash_search(gateways, &watched->id, HASH_REMOVE, NULL);
		}

	/* Who deleted his row before its slot was there could not free it. */
	foreach(cell, made)
	{
		const GatewayRow *row = lfirst(cell);

		if (hash_search(gateways, &row->id, HASH_FIND, NULL) == NULL)
			health_map_free(row->slot);
	}
}

/* Pools whose loss or return somebody else tells are taken for new ones: as they are now. */
static void
watch_pools(const MembershipRow *rows, int count, bool follow)
{
	WatchedGateway **former = members;
	HASH_SEQ_STATUS scan;
	WatchedPool *pool;

	members = MemoryContextAllocHuge(context, sizeof(WatchedGateway *) * Max(count, 1));
	if (former != NULL)
		pfree(former);

	hash_seq_init(&scan, pools);
	while ((pool = hash_seq_search(&scan)) != NULL)
	{
		pool->kept = pool->is_new = false;
		if (follow)
			(void) hash_search(pools, &pool->id, HASH_REMOVE, NULL);
	}
	for (int i = 0; i < count; i++)
	{
		bool		found;

		pool = hash_search(pools, &rows[i].pool, HASH_ENTER, &found);
		if (!found)
			memset((char *) pool + sizeof(pg_uuid_t), 0, sizeof(WatchedPool) - sizeof(pg_uuid_t));
		if (!pool->kept)
		{
			pool->kept = true;
			pool->is_new = !found;
			pool->org_id = rows[i].org_id;
			pool->first_member = i;
			pool->member_count = 0;
		}
		/* NULL where there was no room for its slot. */
		members[i] = hash_search(gateways, &rows[i].gateway, HASH_FIND, NULL);
		pool->member_count++;
		if (pool->is_new && members[i] != NULL)
			pool->served |= members[i]->eligible;
	}

	/* One that has lost its members is judged once more: it serves nobody. */
	hash_seq_init(&scan, pools);
	while ((pool = hash_seq_search(&scan)) != NULL)
		if (!pool->kept)
			pool->member_count = 0;
}

static void
watch_probes(const ProbeRow *rows, int count)
{
	ProbePlan  *plans = palloc_extended(sizeof(ProbePlan) * Max(count, 1), MCXT_ALLOC_HUGE);
	int			plan_count = 0;
	int64		now = clock_monotonic();
	HASH_SEQ_STATUS scan;
	WatchedGateway *watched;

	hash_seq_init(&scan, gateways);
	while ((watched = hash_seq_search(&scan)) != NULL)
		watched->kept = false;
	for (int i = 0; i < count; i++)
	{
		const ProbePlan *plan = &rows[i].plan;

		watched = hash_search(gateways, &plan->gateway, HASH_FIND, NULL);
		if (watched == NULL)
			continue;
		plans[plan_count++] = *plan;
		watched->kept = true;
		watched->probe_required = rows[i].required;
		if (!watched->probed)
		{
			ProbeDisplay display;

			watched->undecided_until = now + plan->pace.interval + plan->timeout;
			if (!health_evidence_last_probe(watched->slot, &display))
			{
				display = (ProbeDisplay) {
					.configured = true,
					.protocol = plan->spec.protocol,
					.verify_tls = plan->spec.verify_tls
				};
				health_evidence_show_probe(watched->slot, &display);
			}
		}
		watched->probed = true;
	}

	hash_seq_init(&scan, gateways);
	while ((watched = hash_seq_search(&scan)) != NULL)
	{
		ProbeDisplay display;

		if (watched->kept || !health_evidence_last_probe(watched->slot, &display))
			continue;
		watched->probed = false;
		health_evidence_store_probe(watched->slot, &(ProbeFinding) {.evidence = PROBE_NONE});
		health_evidence_show_probe(watched->slot, &(ProbeDisplay) {0});
		probe_request_answer(watched->slot);
	}
	prober_set_concurrency(prober, setting_probe_concurrency);
	prober_set_plans(prober, plans, plan_count, now);
}

/*
 * watch_read reads from the tables what there is to watch, in the caller's
 * transaction.  With "follow", somebody else records what happens: what he has
 * recorded is believed.  What cannot be watched is told in "problem".
 *
 * All is read before any of it is taken: after an ERROR half-way, pools would have
 * members that are not watched any more.
 */
void
watch_read(const PoolCatalog *catalog, bool follow, StringInfo problem)
{
	int			gateway_count;
	int			membership_count;
	int			probe_count;
	List	   *made = NIL;
	GatewayRow *gateway_rows = read_gateways(catalog, &gateway_count, &made, problem);
	MembershipRow *membership_rows = worker_store_memberships(catalog, &membership_count);
	ProbeRow   *probe_rows = worker_store_probes(catalog, &probe_count, problem);

	watch_gateways(gateway_rows, gateway_count, made, follow);
	watch_pools(membership_rows, membership_count, follow);
	watch_probes(probe_rows, probe_count);
	is_to_read = false;
	has_changed = true;
}

/*
 * watch_confirm reads the rows of the gateways whose heartbeats have run out, in
 * the caller's transaction, which tells their slots what they say.
 */
void
watch_confirm(const PoolCatalog *catalog)
{
	Datum	   *ids = palloc(sizeof(Datum) * list_length(unconfirmed));
	int			id_count = 0;
	int			count;
	ListCell   *cell;

	foreach(cell, unconfirmed)
		ids[id_count++] = UUIDPGetDatum(lfirst(cell));
	(void) store_gateways(catalog, (StoreFilter) {
		.ids = construct_array(ids, id_count, UUIDOID, UUID_LEN, false, TYPALIGN_CHAR)
	}, &count);
	list_free_deep(unconfirmed);
	unconfirmed = NIL;
	has_changed = true;
}

static void
fill_change(const WatchedGateway *watched, const HealthEvidence *evidence, const GatewayHealth *health,
			HealthChange *change)
{
	memset(change, 0, sizeof(HealthChange));
	change->id = watched->id;
	change->org_id = watched->org_id;
	change->old_status = watched->recorded;
	change->new_status = health->status;
	change->occurred_at = GetCurrentTimestamp();
	strlcpy(change->name, watched->name, sizeof(change->name));
	health_evidence_explain(watched->slot, evidence, health, change->reason);
	health_evidence_display(watched->slot, clock_monotonic(), &change->display);
	(void) health_evidence_last_probe(watched->slot, &change->probe);
}

/* Whether the first verdict of a gateway's probe is still to come. */
static bool
is_undecided(const WatchedGateway *watched, int64 now)
{
	const ProbeRecord *record = watched->probed ? prober_record(prober, &watched->id) : NULL;

	return record != NULL && record->verdict == PROBE_NONE && now < watched->undecided_until;
}

static void
judge(WatchedGateway *watched, int64 now)
{
	HealthEvidence evidence;
	GatewayHealth health;
	HealthChange change;

	switch (health_evidence_read(watched->slot, now, &evidence))
	{
		case SLOT_GONE:
			is_to_read = true;
			return;
		case SLOT_UNCONFIRMED:
			{
				MemoryContext caller = MemoryContextSwitchTo(context);
				pg_uuid_t  *id = palloc(sizeof(pg_uuid_t));

				*id = watched->id;
				unconfirmed = lappend(unconfirmed, id);
				MemoryContextSwitchTo(caller);
				return;
			}
		case SLOT_READ:
			break;
	}
	next_change = Min(next_change, health_evidence_next_change(watched->slot, now));
	health = health_rule(&evidence);
	watched->eligible = selection_eligible(health.status, watched->state);

	if (is_undecided(watched, now))
	{
		next_change = Min(next_change, watched->undecided_until);
		return;
	}
	if (health.status == watched->recorded || health.assumed)
		return;
	fill_change(watched, &evidence, &health, &change);
	health_record_add(&change);
	watched->recorded = health.status;
}

static void
judge_pool(WatchedPool *pool)
{
	bool		serves = false;

	for (int i = 0; i < pool->member_count && !serves; i++)
		serves = members[pool->first_member + i] != NULL && members[pool->first_member + i]->eligible;
	if (serves == pool->served)
		return;
	pool->served = serves;
	health_record_add(&(HealthChange) {
		.of_pool = true,
		.id = pool->id,
		.org_id = pool->org_id,
		.old_status = serves ? GATEWAY_UNHEALTHY : GATEWAY_HEALTHY,
		.new_status = serves ? GATEWAY_HEALTHY : GATEWAY_UNHEALTHY
	});
}

/* watch_judge judges all gateways and pools, and queues what has changed. */
void
watch_judge(void)
{
	int64		now = clock_monotonic();
	HASH_SEQ_STATUS scan;
	WatchedGateway *watched;
	WatchedPool *pool;

	has_changed = false;
	list_free_deep(unconfirmed);
	unconfirmed = NIL;
	next_change = PG_INT64_MAX;
	hash_seq_init(&scan, gateways);
	while ((watched = hash_seq_search(&scan)) != NULL)
		judge(watched, now);
	hash_seq_init(&scan, pools);
	while ((pool = hash_seq_search(&scan)) != NULL)
	{
		judge_pool(pool);
		if (!pool->kept)
			(void) hash_search(pools, &pool->id, HASH_REMOVE, NULL);
	}
}

/*
 * watch_keep_reports queues, without a change of status, the gateways of which
 * heartbeats were reported to us: for the next start.
 */
void
watch_keep_reports(void)
{
	int64		now = clock_monotonic();
	HASH_SEQ_STATUS scan;
	WatchedGateway *watched;

	hash_seq_init(&scan, gateways);
	while ((watched = hash_seq_search(&scan)) != NULL)
	{
		HealthEvidence evidence;
		GatewayHealth health;
		HealthChange change;

		if (health_evidence_read(watched->slot, now, &evidence) == SLOT_GONE)
			continue;
		health = health_rule(&evidence);
		fill_change(watched, &evidence, &health, &change);
		change.new_status = change.old_status;
		if (change.display.reported)
			health_record_add(&change);
	}
}

/* watch_take_requests has those gateways probed at once for which somebody waits. */
void
watch_take_requests(void)
{
	int64		now = clock_monotonic();
	HASH_SEQ_STATUS scan;
	WatchedGateway *watched;

	if (!probe_request_any())
		return;
	hash_seq_init(&scan, gateways);
	while ((watched = hash_seq_search(&scan)) != NULL)
		if (probe_request_is_open(watched->slot) && !prober_probe_now(prober, &watched->id, now))
			probe_request_answer(watched->slot);
}
