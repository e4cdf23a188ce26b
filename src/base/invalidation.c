/*
 * invalidation.c
 *		Messages to all sessions that a relation, a role or a database has changed.
 *
 * A process has room for 10 relcache callbacks of all its libraries: this is the only
 * one of ours.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "utils/inval.h"
#include "utils/syscache.h"

#include "base/invalidation.h"

static const InvalidationSubscriber *const *subscribers;
static int	subscriber_count;

static void
relation_changed(Datum arg, Oid relation)
{
	for (int i = 0; i < subscriber_count; i++)
		if (subscribers[i]->relation_changed != NULL)
			subscribers[i]->relation_changed(relation);
}

static void
roles_changed(Datum arg, int cache_id, uint32 hash_value)
{
	for (int i = 0; i < subscriber_count; i++)
		if (subscribers[i]->roles_changed != NULL)
			subscribers[i]->roles_changed();
}

static void
databases_changed(Datum arg, int cache_id, uint32 hash_value)
{
	for (int i = 0; i < subscriber_count; i++)
		if (subscribers[i]->databases_changed != NULL)
			subscribers[i]->databases_changed();
}

/*
 * invalidation_init registers the subscribers, which are called in this order.  It is
 * called once in each process, with a static array.
 */
void
invalidation_init(const InvalidationSubscriber *const *in_order, int count)
{
	subscribers = in_order;
	subscriber_count = count;
	CacheRegisterRelcacheCallback(relation_changed, 0);
	CacheRegisterSyscacheCallback(AUTHOID, roles_changed, 0);
	CacheRegisterSyscacheCallback(AUTHMEMROLEMEM, roles_changed, 0);
	CacheRegisterSyscacheCallback(DATABASEOID, databases_changed, 0);
}

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
