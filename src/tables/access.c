/*
 * access.c
 *		Who may do what.
 *
 * An action is a set of rights, and a right is a privilege on a table, of as few
 * columns as it takes: who has one action can do that, by our functions and by
 * plain statements, and nothing else.  The privileges are the tables' own, so
 * that what GRANT and REVOKE do counts as well, at the next call.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "tables/access_rights.h"

/*
 * To create takes no id: who could choose it would learn whether another
 * organization has it.  To pick takes the id alone, by which a pool is asked for.
 */
const RightRow access_rights[ACCESS_RIGHTS] = {
	[RIGHT_LIST] = {ACTION_LIST, ON_POOLS, ACL_SELECT, "SELECT", {NULL}},
	[RIGHT_LIST_MEMBERS] = {ACTION_LIST, ON_MEMBERSHIPS, ACL_SELECT, "SELECT", {NULL}},
	[RIGHT_PICK] = {ACTION_PICK, ON_POOLS, ACL_SELECT, "SELECT", {"id"}},
	[RIGHT_CREATE] = {ACTION_CREATE, ON_POOLS, ACL_INSERT, "INSERT", {"orgId", "name"}},
	[RIGHT_RENAME] = {ACTION_EDIT, ON_POOLS, ACL_UPDATE, "UPDATE", {"name"}},
	[RIGHT_ADD_MEMBER] = {ACTION_EDIT, ON_MEMBERSHIPS, ACL_INSERT, "INSERT",
	{"gatewayPoolId", "gatewayId", "pickWeight", "pickPriority"}},
	[RIGHT_CHANGE_MEMBER] = {ACTION_EDIT, ON_MEMBERSHIPS, ACL_UPDATE, "UPDATE", {"pickWeight", "pickPriority"}},
	[RIGHT_REMOVE_MEMBER] = {ACTION_EDIT, ON_MEMBERSHIPS, ACL_DELETE, "DELETE", {NULL}},
	[RIGHT_DELETE] = {ACTION_DELETE, ON_POOLS, ACL_DELETE, "DELETE", {NULL}},
	[RIGHT_ATTACH] = {ACTION_ATTACH, ON_CONSUMERS, ACL_UPDATE, "UPDATE", {NULL}},
	/* Of the time alone: who reports heartbeats writes no verdicts. */
	[RIGHT_REPORT] = {NO_ACTION, ON_HEALTH, ACL_UPDATE, "UPDATE", {"lastHeartbeatAt"}},
	[RIGHT_PROBE] = {NO_ACTION, ON_PROBES, ACL_UPDATE, "UPDATE", {NULL}},
	[RIGHT_ADD_PROBE] = {NO_ACTION, ON_PROBES, ACL_INSERT, "INSERT", {NULL}},
	[RIGHT_REMOVE_PROBE] = {NO_ACTION, ON_PROBES, ACL_DELETE, "DELETE", {NULL}},
	[RIGHT_ADD_STATE] = {NO_ACTION, ON_STATES, ACL_INSERT, "INSERT", {"gatewayId", "state", "reason"}},
	[RIGHT_CHANGE_STATE] = {NO_ACTION, ON_STATES, ACL_UPDATE, "UPDATE", {"state", "reason"}},
	[RIGHT_ADD_ENTITLEMENT] = {NO_ACTION, ON_ENTITLEMENTS, ACL_INSERT, "INSERT", {NULL}},
	[RIGHT_CHANGE_ENTITLEMENT] = {NO_ACTION, ON_ENTITLEMENTS, ACL_UPDATE, "UPDATE", {NULL}},
};

/* A right that a role was found to have; role 0 if none. */
typedef struct KnownRight
{
	Oid			role;
	Oid			relation;
	AccessRight right;
} KnownRight;

/* Those that the calls of one session alternate between. */
static KnownRight known_rights[4];
static int	next_known_right;

/* Counts what was forgotten, for those who are just finding something out. */
static uint64 forgotten;

static void
relation_changed(Oid relation)
{
	forgotten++;
	for (int i = 0; i < lengthof(known_rights); i++)
		if (!OidIsValid(relation) || relation == known_rights[i].relation)
			memset(&known_rights[i], 0, sizeof(KnownRight));
}

static void
roles_changed(void)
{
	relation_changed(InvalidOid);
}

const InvalidationSubscriber access_invalidation = {
	.relation_changed = relation_changed,
	.roles_changed = roles_changed,
	.databases_changed = roles_changed	/* the owner of a database is a member
										 * of a role */
};

/* access_table returns the table of a right, InvalidOid where that is on consumers. */
Oid
access_table(const PoolCatalog *catalog, const RightRow *right)
{
	switch (right->table)
	{
		case ON_POOLS:
			return catalog->pools;
		case ON_MEMBERSHIPS:
			return catalog->memberships;
		case ON_HEALTH:
			return catalog->health;
		case ON_PROBES:
			return catalog->probes;
		case ON_STATES:
			return catalog->states;
		case ON_ENTITLEMENTS:
			return catalog->entitlements;
		case ON_CONSUMERS:
			break;
	}
	return InvalidOid;
}

static bool
has_on_columns(Oid role, Oid relation, const char *const *columns, AclMode mode)
{
	bool		any = false;

	for (; *columns != NULL; columns++)
	{
		AttrNumber	number = get_attnum(relation, *columns);

		/* The host's migrations may have taken a column away. */
		if (number == InvalidAttrNumber)
			continue;
		if (pg_attribute_aclcheck(relation, number, role, mode) != ACLCHECK_OK)
			return false;
		any = true;
	}
	return any;
}

/*
 * access_has_privilege tells whether a role has a privilege on a table, or else on
 * each of the columns, of which there may be none.
 */
bool
access_has_privilege(Oid role, Oid relation, const char *const *columns, AclMode mode)
{
	return pg_class_aclcheck(relation, role, mode) == ACLCHECK_OK ||
		has_on_columns(role, relation, columns, mode);
}

/* access_has tells whether the current role has a right that is not on consumers. */
bool
access_has(const PoolCatalog *catalog, AccessRight right)
{
	const RightRow *row = &access_rights[right];

	return access_has_privilege(GetUserId(), access_table(catalog, row), row->columns, row->mode);
}

/*
 * access_require raises the server's own error unless the current role has a
 * right that is not on consumers.
 */
void
access_require(const PoolCatalog *catalog, AccessRight right)
{
	Oid			relation = access_table(catalog, &access_rights[right]);
	Oid			role = GetUserId();
	uint64		before = forgotten;

	for (int i = 0; i < lengthof(known_rights); i++)
		if (known_rights[i].role == role && known_rights[i].relation == relation && known_rights[i].right == right)
			return;

	if (!access_has(catalog, right))
		aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_TABLE, get_rel_name(relation));
	if (forgotten != before)
		return;
	known_rights[next_known_right] = (KnownRight) {role, relation, right};
	next_known_right = (next_known_right + 1) % lengthof(known_rights);
}
