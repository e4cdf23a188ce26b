/*
 * trigger_call.c
 *		The call of a trigger function: checks, rows and columns.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "nodes/bitmapset.h"
#include "nodes/nodes.h"
#include "optimizer/optimizer.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "base/compat.h"
#include "base/trigger_call.h"

/*
 * trigger_call returns the data of the call.  It checks that a trigger made the call,
 * at this time, on one of these events, and for each row (TRUNCATE, and with
 * EACH_STATEMENT: for each statement).
 */
TriggerData *
trigger_call(FunctionCallInfo fcinfo, TriggerEvent timing, int events)
{
	TriggerData *call = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"%s\" was not called by a trigger",
						get_func_name(fcinfo->flinfo->fn_oid))));
	if ((call->tg_event & TRIGGER_EVENT_TIMINGMASK) != timing ||
		(events & (1 << (call->tg_event & TRIGGER_EVENT_OPMASK))) == 0 ||
		TRIGGER_FIRED_FOR_STATEMENT(call->tg_event) !=
		(TRIGGER_FIRED_BY_TRUNCATE(call->tg_event) || (events & EACH_STATEMENT) != 0))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("trigger \"%s\" fires at a time or on an event that its function is not made for",
						call->tg_trigger->tgname)));
	return call;
}

/*
 * trigger_require_table refuses a trigger on any other table than the one that its
 * function is made for: a role may attach the function to a table of its own.
 */
void
trigger_require_table(TriggerData *call, Oid expected)
{
	if (RelationGetRelid(call->tg_relation) != expected)
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("trigger \"%s\" is not on the table that its function is made for",
						call->tg_trigger->tgname),
				 errtable(call->tg_relation)));
}

/* trigger_new_row returns the row that an INSERT or UPDATE writes. */
HeapTuple
trigger_new_row(TriggerData *call)
{
	return TRIGGER_FIRED_BY_UPDATE(call->tg_event) ? call->tg_newtuple : call->tg_trigtuple;
}

/* trigger_column returns the number of a column, or InvalidAttrNumber if the table has no such column. */
AttrNumber
trigger_column(TriggerData *call, const char *name)
{
	int			column = SPI_fnumber(RelationGetDescr(call->tg_relation), name);

	return column > 0 ? column : InvalidAttrNumber;
}

/* trigger_required_column returns the number of a column, and raises an error if the table has no such column. */
AttrNumber
trigger_required_column(TriggerData *call, const char *name)
{
	AttrNumber	column = trigger_column(call, name);

	if (column == InvalidAttrNumber)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("gateway pools need column \"%s\" of table \"%s\"", name,
						RelationGetRelationName(call->tg_relation)),
				 errtable(call->tg_relation)));
	return column;
}

/*
 * Returns true if a row lacks the value of a generated column: that of a virtual column
 * is computed when a query reads it, and that of a stored one after BEFORE triggers.
 */
static bool
lacks_value(TriggerData *call, HeapTuple row, AttrNumber column)
{
	char		generated = TupleDescAttr(RelationGetDescr(call->tg_relation), column - 1)->attgenerated;

	return generated == ATTRIBUTE_GENERATED_VIRTUAL ||
		(generated == ATTRIBUTE_GENERATED_STORED && TRIGGER_FIRED_BEFORE(call->tg_event) &&
		 !TRIGGER_FIRED_BY_DELETE(call->tg_event) && row == trigger_new_row(call));
}

/* trigger_uuid returns the value of a column of type uuid, NULL for null; 55000 if the row lacks it. */
const pg_uuid_t *
trigger_uuid(TriggerData *call, HeapTuple row, AttrNumber column)
{
	TupleDesc	columns = RelationGetDescr(call->tg_relation);
	Datum		value;
	bool		is_null;

	if (SPI_gettypeid(columns, column) != UUIDOID)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("gateway pools need column \"%s\" of table \"%s\" to be of type uuid",
						NameStr(TupleDescAttr(columns, column - 1)->attname),
						RelationGetRelationName(call->tg_relation)),
				 errtable(call->tg_relation)));
	if (lacks_value(call, row, column))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("triggers of gateway pools cannot read generated column \"%s\" of table \"%s\"",
						NameStr(TupleDescAttr(columns, column - 1)->attname),
						RelationGetRelationName(call->tg_relation)),
				 errhint("Make it a column that is not generated."),
				 errtableconstraint(call->tg_relation, "gateway_pools_generated_column")));
	value = heap_getattr(row, column, columns, &is_null);
	return is_null ? NULL : DatumGetUUIDP(value);
}

/* Returns true if both values are the same out-of-line value, which an UPDATE of other columns keeps. */
static bool
is_same_toasted(Datum before, Datum after, Form_pg_attribute attribute)
{
	const struct varlena *value = (const struct varlena *) DatumGetPointer(before);

	return attribute->attlen == -1 && VARATT_IS_EXTERNAL_ONDISK(value) &&
		VARATT_IS_EXTERNAL_ONDISK(DatumGetPointer(after)) &&
		memcmp(value, DatumGetPointer(after), VARSIZE_EXTERNAL(value)) == 0;
}

/* Returns true if the call changes a column from which a generated column is computed. */
static bool
changes_source(TriggerData *call, AttrNumber column)
{
	const TupleConstr *constraints = RelationGetDescr(call->tg_relation)->constr;
	Bitmapset  *sources = NULL;
	int			source = -1;

	for (int i = 0; i < constraints->num_defval; i++)
		if (constraints->defval[i].adnum == column)
			pull_varattnos(stringToNode(constraints->defval[i].adbin), 1, &sources);
	while ((source = bms_next_member(sources, source)) >= 0)
	{
		AttrNumber	number = source + FirstLowInvalidHeapAttributeNumber;

		if (number > 0 && trigger_changes(call, number))
			return true;
	}
	return false;
}

/*
 * trigger_changes returns true if the call writes another value of a column than the row
 * had, or a new row.  If the new row lacks the value, it may change when that of a column
 * from which it is computed does.
 */
bool
trigger_changes(TriggerData *call, AttrNumber column)
{
	TupleDesc	columns = RelationGetDescr(call->tg_relation);
	Form_pg_attribute attribute = TupleDescAttr(columns, column - 1);
	Datum		before;
	Datum		after;
	bool		before_null;
	bool		after_null;

	if (!TRIGGER_FIRED_BY_UPDATE(call->tg_event))
		return true;
	if (lacks_value(call, call->tg_newtuple, column))
		return changes_source(call, column);

	before = heap_getattr(call->tg_trigtuple, column, columns, &before_null);
	after = heap_getattr(call->tg_newtuple, column, columns, &after_null);
	if (before_null || after_null)
		return before_null != after_null;
	return !is_same_toasted(before, after, attribute) &&
		!datum_image_eq(before, after, attribute->attbyval, attribute->attlen);
}

/* trigger_changes_required is trigger_changes for a column that the table must have. */
bool
trigger_changes_required(TriggerData *call, const char *name)
{
	return trigger_changes(call, trigger_required_column(call, name));
}
