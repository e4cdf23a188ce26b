/*
 * health_writer.c
 *		Records changes of health in the tables.
 *
 * Changes queue in the worker's memory until they can be written: tables may be
 * locked, or the disk full, while probes go on.  Order is kept.  The same
 * transaction sends a NOTIFY for each, so that a listener finds the row.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "commands/async.h"
#include "lib/ilist.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "base/settings.h"
#include "base/uuid.h"
#include "shared/my_worker_slot.h"
#include "tables/owner.h"
#include "worker/health_writer.h"

/* If there are more changes, the oldest is dropped. */
#define QUEUE_MAX 65536

/* The most changes in one transaction, which takes some milliseconds. */
#define BATCH_MAX 100

/* The most rows deleted in one transaction. */
#define PRUNE_MAX 500

typedef struct QueuedHealthChange
{
	dlist_node	node;
	HealthChange change;
} QueuedHealthChange;

static dlist_head queue = DLIST_STATIC_INIT(queue);
static int	queue_length;
static int64 dropped;
static int	batch_length;		/* changes at the head that are being written */

/* A column of a batch. */
typedef struct Column
{
	Oid			type;
	Datum		values[BATCH_MAX];
	bool		nulls[BATCH_MAX];
	int			count;
} Column;

static void
drop_first(void)
{
	QueuedHealthChange *first = dlist_container(QueuedHealthChange, node, dlist_pop_head_node(&queue));

	pfree(first);
	queue_length--;
}

/* health_writer_add queues a change. */
void
health_writer_add(const HealthChange *change)
{
	QueuedHealthChange *queued = MemoryContextAlloc(TopMemoryContext, sizeof(QueuedHealthChange));

	queued->change = *change;
	dlist_push_tail(&queue, &queued->node);
	if (++queue_length > QUEUE_MAX)
	{
		drop_first();
		dropped++;
	}
}

/* health_writer_length returns how many changes wait. */
int
health_writer_length(void)
{
	return queue_length;
}

/* health_writer_dropped returns how many changes were dropped because too many waited. */
int64
health_writer_dropped(void)
{
	return dropped;
}

static void
put(Column *column, Datum value)
{
	column->nulls[column->count] = false;
	column->values[column->count++] = value;
}

static void
put_if(Column *column, bool valid, Datum value)
{
	column->nulls[column->count] = !valid;
	column->values[column->count++] = value;
}

static Datum
array_of(Column *column)
{
	int			dimensions[1] = {column->count};
	int			lower_bounds[1] = {1};
	int16		length;
	bool		by_value;
	char		alignment;

	get_typlenbyvalalign(column->type, &length, &by_value, &alignment);
	return PointerGetDatum(construct_md_array(column->values, column->nulls,
											  1, dimensions, lower_bounds, column->type, length, by_value, alignment));
}

static void
write_columns(const char *sql, Column *columns, int count)
{
	Datum		arrays[16];
	Oid			types[16];

	Assert(count <= lengthof(arrays));
	for (int i = 0; i < count; i++)
	{
		arrays[i] = array_of(&columns[i]);
		types[i] = get_array_type(columns[i].type);
	}
	(void) owner_write(owner_prepare(sql, count, types), arrays);
}

static void
write_events(const PoolCatalog *catalog, HealthChange **changes, int count)
{
	enum
	{
		GATEWAY, ORG, NAME, OLD_STATUS, NEW_STATUS, REASON, OCCURRED_AT, COLUMNS
	};
	Column	   *columns = palloc0(sizeof(Column) * COLUMNS);
	OwnerScope	scope;

	columns[GATEWAY].type = columns[ORG].type = UUIDOID;
	columns[NAME].type = columns[OLD_STATUS].type = columns[NEW_STATUS].type = columns[REASON].type = TEXTOID;
	columns[OCCURRED_AT].type = TIMESTAMPTZOID;
	for (int i = 0; i < count; i++)
	{
		const HealthChange *change = changes[i];

		if (change->of_pool || change->old_status == change->new_status)
			continue;
		put(&columns[GATEWAY], UUIDPGetDatum(&change->id));
		put(&columns[ORG], UUIDPGetDatum(&change->org_id));
		put(&columns[NAME], CStringGetTextDatum(change->name));
		put(&columns[OLD_STATUS], CStringGetTextDatum(gateway_status_name(change->old_status)));
		put(&columns[NEW_STATUS], CStringGetTextDatum(gateway_status_name(change->new_status)));
		put(&columns[REASON], CStringGetTextDatum(change->reason));
		put(&columns[OCCURRED_AT], TimestampTzGetDatum(change->occurred_at));
	}
	if (columns[GATEWAY].count == 0)
		return;
	my_worker_slot_enter_table(catalog->events);
	owner_begin(&scope, catalog->events);
	write_columns(psprintf("INSERT INTO %s (\"gatewayId\", \"orgId\", \"gatewayName\", \"oldStatus\", \"newStatus\""
						   ", reason, \"occurredAt\")"
						   " SELECT g, o, n, s, t, r, a FROM unnest($1, $2, $3, $4, $5, $6, $7)"
						   " WITH ORDINALITY u (g, o, n, s, t, r, a, i) ORDER BY i",
						   catalog_name(catalog->events)), columns, COLUMNS);
	owner_end(&scope);
}

/*
 * Writes the last change of each gateway that still exists, in the order of their
 * ids.  Gateways are locked first, as the foreign key does later: a gateway that is
 * being deleted is waited for, and left out when it is gone.
 */
static void
write_health(const PoolCatalog *catalog, HealthChange **changes, int count)
{
	enum
	{
		GATEWAY, STATUS, REASON, HEARD_AT, EXPIRES_AT, PROBED_AT, PROBE_MS, FAILURES, SUCCESSES, CHANGED_AT,
		TARGET, VERDICT, FALLS, LAST_FALL_AT, COLUMNS
	};
	Column	   *columns = palloc0(sizeof(Column) * COLUMNS);
	OwnerScope	scope;

	columns[GATEWAY].type = UUIDOID;
	columns[STATUS].type = columns[REASON].type = TEXTOID;
	columns[HEARD_AT].type = columns[EXPIRES_AT].type = columns[PROBED_AT].type = columns[CHANGED_AT].type = TIMESTAMPTZOID;
	columns[PROBE_MS].type = FLOAT4OID;
	columns[FAILURES].type = columns[SUCCESSES].type = columns[FALLS].type = INT4OID;
	columns[TARGET].type = columns[VERDICT].type = TEXTOID;
	columns[LAST_FALL_AT].type = TIMESTAMPTZOID;
	for (int i = 0; i < count; i++)
	{
		const HealthChange *change = changes[i];
		const LastProbe *probe = &change->probe;

		/*
		 * A gateway that was deleted leaves nothing to another one with the
		 * same id.
		 */
		if (change->of_pool || !health_map_matches(change->slot, catalog->gateways, &change->id))
			continue;
		put(&columns[GATEWAY], UUIDPGetDatum(&change->id));
		put(&columns[STATUS], CStringGetTextDatum(gateway_status_name(change->new_status)));
		put(&columns[REASON], CStringGetTextDatum(change->reason));
		put_if(&columns[HEARD_AT], change->display.heard, TimestampTzGetDatum(change->display.heard_at));
		put_if(&columns[EXPIRES_AT], change->display.expires, TimestampTzGetDatum(change->display.expires_at));
		put_if(&columns[PROBED_AT], change->display.probed, TimestampTzGetDatum(change->display.probed_at));
		put_if(&columns[PROBE_MS], probe->probed, Float4GetDatum(probe->milliseconds));
		put(&columns[FAILURES], Int32GetDatum(probe->failures));
		put(&columns[SUCCESSES], Int32GetDatum(probe->successes));
		put(&columns[CHANGED_AT], TimestampTzGetDatum(change->occurred_at));
		put_if(&columns[TARGET], change->target[0] != '\0', CStringGetTextDatum(change->target));
		put_if(&columns[VERDICT], change->target[0] != '\0', CStringGetTextDatum(probe_verdict_name(change->verdict)));
		put(&columns[FALLS], Int32GetDatum(probe->falls));
		put_if(&columns[LAST_FALL_AT], probe->falls > 0, TimestampTzGetDatum(probe->last_fall_at));
	}
	if (columns[GATEWAY].count == 0)
		return;
	my_worker_slot_enter_table(catalog->health);
	owner_begin(&scope, catalog->health);
	write_columns(psprintf("INSERT INTO %s AS o (\"gatewayId\", status, reason, \"lastHeartbeatAt\", \"heartbeatExpiresAt\""
						   ", \"lastProbeAt\", \"lastProbeMs\", \"consecutiveFailures\", \"consecutiveSuccesses\", \"changedAt\""
						   ", \"probeTarget\", \"probeVerdict\", falls, \"lastFallAt\")"
						   " SELECT DISTINCT ON (u.g) u.g, u.s, u.r, u.h, u.e, u.p, u.m, u.f, u.t, u.c, u.a, u.v, u.n, u.l"
						   " FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)"
						   " WITH ORDINALITY u (g, s, r, h, e, p, m, f, t, c, a, v, n, l, i)"
						   " JOIN (SELECT id FROM %s WHERE id = ANY ($1) ORDER BY id FOR KEY SHARE) g ON g.id = u.g"
						   " ORDER BY u.g, u.i DESC"
						   " ON CONFLICT (\"gatewayId\") DO UPDATE SET status = excluded.status, reason = excluded.reason"
						   ", \"lastHeartbeatAt\" = excluded.\"lastHeartbeatAt\""
						   ", \"heartbeatExpiresAt\" = excluded.\"heartbeatExpiresAt\""
						   ", \"lastProbeAt\" = excluded.\"lastProbeAt\", \"lastProbeMs\" = excluded.\"lastProbeMs\""
						   ", \"consecutiveFailures\" = excluded.\"consecutiveFailures\""
						   ", \"consecutiveSuccesses\" = excluded.\"consecutiveSuccesses\""
						   ", \"probeTarget\" = excluded.\"probeTarget\", \"probeVerdict\" = excluded.\"probeVerdict\""
						   ", falls = excluded.falls, \"lastFallAt\" = excluded.\"lastFallAt\""
						   ", \"changedAt\" = CASE WHEN o.status = excluded.status THEN o.\"changedAt\" ELSE excluded.\"changedAt\" END",
						   catalog_name(catalog->health), catalog_name(catalog->gateways)), columns, COLUMNS);
	owner_end(&scope);
}

/* Sends ids and statuses alone, or nothing with isolation: any role that may connect can listen. */
static void
notify(const PoolCatalog *catalog, const HealthChange *change)
{
	if (catalog->isolated)
	{
		Async_Notify("gateway_health", "");
		return;
	}
	Async_Notify("gateway_health",
				 psprintf("{\"%s\":\"%s\",\"orgId\":\"%s\",\"oldStatus\":\"%s\",\"status\":\"%s\"}",
						  change->of_pool ? "gatewayPoolId" : "gatewayId", uuid_text(&change->id),
						  uuid_text(&change->org_id), gateway_status_name(change->old_status),
						  gateway_status_name(change->new_status)));
}

/*
 * health_writer_write writes the first changes that wait, in the caller's
 * transaction; after its commit, health_writer_written removes them from the queue.
 * Returns false if none wait.
 */
bool
health_writer_write(const PoolCatalog *catalog)
{
	HealthChange *changes[BATCH_MAX];
	int			count = 0;
	dlist_iter	iter;

	dlist_foreach(iter, &queue)
	{
		if (count == BATCH_MAX)
			break;
		changes[count++] = &dlist_container(QueuedHealthChange, node, iter.cur)->change;
	}
	batch_length = count;
	if (count == 0)
		return false;
	write_events(catalog, changes, count);
	write_health(catalog, changes, count);
	for (int i = 0; setting_notify && i < count; i++)
		if (changes[i]->old_status != changes[i]->new_status)
			notify(catalog, changes[i]);
	return true;
}

/* health_writer_written removes from the queue what health_writer_write has written. */
void
health_writer_written(void)
{
	while (batch_length > 0)
	{
		drop_first();
		batch_length--;
	}
}

/*
 * health_writer_prune deletes up to PRUNE_MAX events that are older than
 * event_retention; it looks at the oldest rows only.  Returns how many.
 */
int
health_writer_prune(const PoolCatalog *catalog)
{
	const char *table;
	OwnerScope	scope;
	Datum		before = TimestampTzGetDatum(GetCurrentTimestamp() - setting_event_retention * USECS_PER_SEC);
	Oid			type = TIMESTAMPTZOID;
	uint64		rows;

	owner_begin(&scope, catalog->events);
	table = catalog_name(catalog->events);
	rows = owner_execute(owner_prepare(psprintf("SELECT FROM (SELECT \"occurredAt\" FROM %s ORDER BY id LIMIT 1) o"
												" WHERE o.\"occurredAt\" < $1", table), 1, &type), &before);
	if (rows > 0)
		rows = owner_write(owner_prepare(psprintf("DELETE FROM %s WHERE id IN (SELECT id FROM"
												  " (SELECT id, \"occurredAt\" FROM %s ORDER BY id LIMIT %d) o"
												  " WHERE \"occurredAt\" < $1)", table, table, PRUNE_MAX), 1, &type),
						   &before);
	owner_end(&scope);
	return rows;
}
