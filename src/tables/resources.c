/*
 * resources.c
 *		Resources of pools: the rows of consumers that reference them.
 *
 * A consumer may be the table of a role that is not trusted, so table_scan.c reads
 * its rows.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/relation.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"

#include "tables/resources.h"
#include "tables/table_scan.h"

/* resources_warn_of_lock warns that a consumer is locked and its rows are left out. */
void
resources_warn_of_lock(const PoolConsumer *consumer)
{
	ereport(WARNING,
			(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
			 errmsg("table %s is locked: its rows are left out", catalog_name(consumer->relation))));
}

/* The rows of one consumer, counted by pool. */
typedef struct Counting
{
	const char *column;
	const PoolRow *pools;		/* ordered by id */
	int			pool_count;
	int64	   *counts;			/* one for each pool */
} Counting;

static void
count_row(HeapTuple row, TupleDesc columns, void *context)
{
	(*(int64 *) context)++;
}

static void
count_row_of_pool(HeapTuple row, TupleDesc columns, void *context)
{
	const Counting *counting = context;
	bool		is_null;
	pg_uuid_t  *id = DatumGetUUIDP(heap_getattr(row, table_scan_column(columns, counting->column), columns, &is_null));
	const PoolRow *pool = pool_rows_find(counting->pools, counting->pool_count, id);

	if (pool != NULL)
		counting->counts[pool - counting->pools]++;
}

/*
 * resources_count counts the rows that reference each of the pools, which are ordered
 * by id: with an index on the consumer's column, else by one scan of the whole table.
 * The rows of a locked consumer are left out, with a WARNING.
 */
int64 *
resources_count(const PoolCatalog *catalog, const PoolRow *pools, int pool_count)
{
	int64	   *counts = palloc0(sizeof(int64) * Max(pool_count, 1));
	ListCell   *cell;

	if (pool_count == 0)
		return counts;
	foreach(cell, consumers_list(catalog))
	{
		const PoolConsumer *consumer = lfirst(cell);
		Counting	counting = {consumer->column_name, pools, pool_count, counts};
		Relation	table = table_scan_open(consumer->relation, false);
		bool		complete = table != NULL;

		if (table != NULL)
		{
			if (!table_scan_has_index(table, consumer->column_name))
				complete = table_scan_rows(table, consumer->column_name, NULL, false, count_row_of_pool, &counting);
			else
				for (int i = 0; i < pool_count && complete; i++)
					complete = table_scan_rows(table, consumer->column_name, &pools[i].id, false, count_row, &counts[i]);
			relation_close(table, AccessShareLock);
		}
		if (!complete)
			resources_warn_of_lock(consumer);
	}
	return counts;
}

/* Counts the rows of a consumer that reference a pool, or any pool for NULL; an error if the table is locked. */
static int64
count_references(const PoolCatalog *catalog, const PoolConsumer *consumer, const pg_uuid_t *pool)
{
	Oid			owner = catalog_owner(consumer->relation);
	bool		wait = owner == catalog_owner(catalog->pools) || superuser_arg(owner);
	Relation	table = table_scan_open(consumer->relation, wait);
	bool		complete = table != NULL;
	int64		count = 0;

	if (table != NULL)
	{
		complete = table_scan_rows(table, consumer->column_name, pool, wait, count_row, &count);
		relation_close(table, AccessShareLock);
	}
	if (!complete)
		ereport(ERROR,
				(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
				 errmsg("table %s, which may reference the gateway pool, is locked", catalog_name(consumer->relation)),
				 errhint("Try again, or drop the foreign key of that table."),
				 catalog_error_constraint(catalog->pools, "gateway_pools_in_use")));
	return count;
}

/*
 * resources_in_words returns the number of rows that reference a pool, or any pool for
 * NULL, as "2 rows of identity_kubernetes_auths, 1 row of app_connections", or NULL if
 * there are none.  It waits for locks of tables of the owner of gateway_pools, as
 * foreign keys do; for a locked table of another owner it raises an error (55P03).
 */
char *
resources_in_words(const PoolCatalog *catalog, const pg_uuid_t *pool)
{
	StringInfoData words;
	ListCell   *cell;

	initStringInfo(&words);
	foreach(cell, consumers_list(catalog))
	{
		const PoolConsumer *consumer = lfirst(cell);
		int64		count = count_references(catalog, consumer, pool);

		if (count > 0)
			appendStringInfo(&words, "%s" INT64_FORMAT " %s of %s", words.len > 0 ? ", " : "",
							 count, count == 1 ? "row" : "rows", consumer->table_name);
	}
	return words.len > 0 ? words.data : NULL;
}
