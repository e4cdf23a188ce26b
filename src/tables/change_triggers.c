/*
 * change_triggers.c
 *		The triggers that publish changes of rows to all sessions.
 *
 * The owner of a table may disable them, or drop them: then a change outdates nothing.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_trigger.h"
#include "commands/trigger.h"
#include "common/hashfn.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"

#include "base/compat.h"
#include "tables/change_triggers.h"

/*
 * change_triggers_read returns true if a function is called for each change of a row of
 * a table, in every session.  It also changes "version" if one of its triggers was
 * changed in any way, such as disabled and enabled again.
 */
bool
change_triggers_read(Oid relation, Oid function, uint64 *version)
{
	Relation	triggers = table_open(TriggerRelationId, AccessShareLock);
	bool		always = false;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	row;

	ScanKeyInit(&key, Anum_pg_trigger_tgrelid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(relation));
	scan = systable_beginscan(triggers, TriggerRelidNameIndexId, true, NULL, 1, &key);
	while (HeapTupleIsValid(row = systable_getnext(scan)))
	{
		Form_pg_trigger form = (Form_pg_trigger) GETSTRUCT(row);

		if (form->tgfoid != function)
			continue;
		always |= TRIGGER_FOR_ROW(form->tgtype) && form->tgenabled == TRIGGER_FIRES_ALWAYS;
		/* A row that is as before may have been changed in between. */
		*version = hash_combine64(*version, HeapTupleHeaderGetRawXmin(row->t_data));
		*version = hash_combine64(*version, (uint64) ItemPointerGetBlockNumber(&row->t_self) << 16 |
								  ItemPointerGetOffsetNumber(&row->t_self));
	}
	systable_endscan(scan);
	table_close(triggers, AccessShareLock);
	return always;
}
