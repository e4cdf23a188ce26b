/*
 * invalidation.c
 *		Messages to all sessions that a relation has changed.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "utils/inval.h"
#include "utils/syscache.h"

#include "base/invalidation.h"

/*
 * invalidation_send makes all sessions discard what they cached of a relation, when
 * this transaction commits and not before; this session does from its next command
 * on.  Does nothing for a relation that was dropped: DROP has sent the message.
 */
void
invalidation_send(Oid relation)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relation));

	if (!HeapTupleIsValid(tuple))
		return;
	CacheInvalidateRelcacheByTuple(tuple);
	ReleaseSysCache(tuple);
}
