/*
 * uuid.c
 *		Ids: comparison and text.
 */
#include "postgres.h"

#include "utils/fmgrprotos.h"

#include "base/uuid.h"

/* uuid_text returns an id in the standard form. */
char *
uuid_text(const pg_uuid_t *id)
{
	return DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(id)));
}
