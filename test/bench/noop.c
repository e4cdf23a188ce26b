/*
 * noop.c
 *		What a call costs that does nothing: the floor beside which picks are measured.
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/uuid.h"

PG_MODULE_MAGIC;

PG_FUNCTION_INFO_V1(noop);

/* noop(id uuid) returns uuid: its argument. */
Datum
noop(PG_FUNCTION_ARGS)
{
	PG_RETURN_UUID_P(PG_GETARG_UUID_P(0));
}
