/*
 * capabilities.c
 *		Capabilities of gateways, each distinct value once.
 *
 * Agents report them; they may be large, and many gateways report the same.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

#include "tables/capabilities.h"

typedef struct SharedValue
{
	Jsonb	   *value;
	uint32		hash;
	char		status;
	int32		uses;
} SharedValue;

#define SH_PREFIX shared
#define SH_ELEMENT_TYPE SharedValue
#define SH_KEY_TYPE Jsonb *
#define SH_KEY value
#define SH_HASH_KEY(table, key) hash_bytes((const unsigned char *) (key), VARSIZE(key))
#define SH_EQUAL(table, a, b) (VARSIZE(a) == VARSIZE(b) && memcmp((a), (b), VARSIZE(a)) == 0)
#define SH_STORE_HASH
#define SH_GET_HASH(table, element) ((element)->hash)
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

/* capabilities_create makes an empty set in a memory context. */
CapabilitySet *
capabilities_create(MemoryContext context)
{
	return shared_create(context, 16, NULL);
}

/*
 * capabilities_add returns the value of the set that equals "value".  If there is
 * none, it adds a copy, and adds its size to "added".
 */
Jsonb *
capabilities_add(CapabilitySet *set, Jsonb *value, Size *added)
{
	SharedValue *shared = shared_lookup(set, value);

	if (shared == NULL)
	{
		Jsonb	   *copy = MemoryContextAllocHuge(set->ctx, VARSIZE(value));
		bool		found;

		memcpy(copy, value, VARSIZE(value));
		shared = shared_insert(set, copy, &found);
		shared->uses = 0;
		*added += VARSIZE(value);
	}
	shared->uses++;
	return shared->value;
}

/* capabilities_remove undoes one capabilities_add, given the value that this returned; the last one frees it. */
void
capabilities_remove(CapabilitySet *set, Jsonb *value)
{
	SharedValue *shared = shared_lookup(set, value);

	if (--shared->uses > 0)
		return;
	shared_delete_item(set, shared);
	pfree(value);
}

/*
 * Converts a value of type json to jsonb, in the current memory context; NULL if it
 * is not valid as jsonb.  Type json accepts what jsonb does not: "\u0000", half of a
 * surrogate pair, a number out of range.  In one gateway, these must not fail the
 * picks of others.
 */
static Jsonb *
jsonb_of_json(char *json)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	Jsonb	   *volatile value = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		value = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(json)));
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		ErrorData  *error;
		int			category;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		category = ERRCODE_TO_CATEGORY(error->sqlerrcode);
		if (category != ERRCODE_DATA_EXCEPTION && category != ERRCODE_PROGRAM_LIMIT_EXCEEDED)
			ReThrowError(error);
		FreeErrorData(error);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	return value;
}

/*
 * capabilities_read is capabilities_add for a value of a column of type jsonb or
 * json.  Returns NULL if it is not valid as jsonb.
 */
Jsonb *
capabilities_read(CapabilitySet *set, Datum stored, Oid type, Size *added)
{
	Jsonb	   *value;
	Jsonb	   *shared = NULL;

	if (type == JSONBOID)
		value = DatumGetJsonbP(stored);
	else
	{
		char	   *json = TextDatumGetCString(stored);

		value = jsonb_of_json(json);
		pfree(json);
	}
	if (value != NULL)
		shared = capabilities_add(set, value, added);
	if (value != NULL && (Pointer) value != DatumGetPointer(stored))
		pfree(value);
	return shared;
}
