/*
 * script.c
 *		Whether the SQL objects of the extension are those that this library was built with.
 *
 * The Makefile computes a hash of the script that makes them.  It defines SCRIPT_HASH
 * for this file, and puts the hash into a view of the script.  Versions alone would
 * not do: builds before a release have the same version.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "nodes/parsenodes.h"
#include "nodes/primnodes.h"
#include "rewrite/rewriteHandler.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/relcache.h"

#include "base/compat.h"
#include "tables/script.h"

/* Returns the text that the view "signal" selects, or NULL. */
static char *
hash_in(Oid signal)
{
	/*
	 * Without a lock: nothing waits for a script that replaces the view.  The
	 * view may so be dropped at this moment, and have no rule any more.
	 */
	Relation	view = OidIsValid(signal) ? RelationIdGetRelation(signal) : NULL;
	char	   *hash = NULL;

	if (view == NULL)
		return NULL;
	if (view->rd_rel->relkind == RELKIND_VIEW && view->rd_rules != NULL)
	{
		TargetEntry *column = linitial_node(TargetEntry, get_view_query(view)->targetList);

		if (IsA(column->expr, Const) && ((Const *) column->expr)->consttype == TEXTOID)
			hash = TextDatumGetCString(((Const *) column->expr)->constvalue);
	}
	RelationClose(view);
	return hash;
}

/*
 * script_fits returns true if the script that made the view "signal" is the one of this
 * library.  Another script replaces the view, which invalidates its relation cache entry.
 */
bool
script_fits(Oid signal)
{
	const char *hash = hash_in(signal);

	return hash != NULL && strcmp(hash, SCRIPT_HASH) == 0;
}

/* script_extension reads the row of the extension in this database; returns false if there is none. */
bool
script_extension(ExtensionRow *extension)
{
	Relation	extensions = table_open(ExtensionRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	row;
	bool		exists;

	ScanKeyInit(&key, Anum_pg_extension_extname, BTEqualStrategyNumber, F_NAMEEQ,
				CStringGetDatum("gateway_pool"));
	scan = systable_beginscan(extensions, ExtensionNameIndexId, true, NULL, 1, &key);
	row = systable_getnext(scan);
	exists = HeapTupleIsValid(row);
	if (exists)
	{
		bool		is_null;
		Datum		version = heap_getattr(row, Anum_pg_extension_extversion, RelationGetDescr(extensions), &is_null);

		extension->schema = ((Form_pg_extension) GETSTRUCT(row))->extnamespace;
		extension->version = TextDatumGetCString(version);
	}
	systable_endscan(scan);
	table_close(extensions, AccessShareLock);
	return exists;
}

/* Says what makes the library and the objects of the extension fit together. */
static const char *
remedy(const ExtensionRow *extension)
{
	const char *name = get_namespace_name(extension->schema);
	const char *then;

	if (creating_extension)
		then = "Otherwise install library and script of the same build.";
	else if (strcmp(extension->version, GATEWAY_POOL_VERSION) != 0)
		then = "Otherwise run ALTER EXTENSION gateway_pool UPDATE as a superuser.";
	else
		then = psprintf("Otherwise run DROP EXTENSION gateway_pool CASCADE and CREATE EXTENSION gateway_pool SCHEMA %s"
						" as a superuser, which keeps the tables.", name == NULL ? "..." : quote_identifier(name));
	return psprintf("Restart the server if gateway_pool was installed while it ran. %s", then);
}

/* script_refuse raises 55000: the objects of the extension are those of another library. */
void
script_refuse(Oid signal)
{
	ExtensionRow extension = {.version = ""};
	const char *hash = hash_in(signal);

	(void) script_extension(&extension);
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("library and SQL objects of gateway_pool are of different builds"),
			 errdetail("The library is of version %s and script %s, the objects are of version %s and script %s.",
					   GATEWAY_POOL_VERSION, SCRIPT_HASH, extension.version, hash == NULL ? "unknown" : hash),
			 errhint("%s", remedy(&extension)),
			 err_generic_string(PG_DIAG_CONSTRAINT_NAME, "gateway_pools_version")));
}
