/*
 * access.c
 *		Rights of roles: which role may do what.
 *
 * An action is a set of rights, and a right is a privilege on a table, on as few
 * columns as it needs: a role with one action can do that, through our functions and
 * with plain statements, and nothing else.  The privileges are those of the tables, so
 * GRANT and REVOKE take effect at the next call.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "tables/access_rights.h"

/*
 * Creating needs no privilege on the id: a role that could choose ids would learn
 * whether another organization has one.  Picking needs only that on the id.
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
	/* On the time only: a role that reports heartbeats writes no status. */
	[RIGHT_REPORT] = {NO_ACTION, ON_HEALTH, ACL_UPDATE, "UPDATE", {"lastHeartbeatAt"}},
	[RIGHT_PROBE] = {NO_ACTION, ON_PROBES, ACL_UPDATE, "UPDATE", {NULL}},
	[RIGHT_ADD_PROBE] = {NO_ACTION, ON_PROBES, ACL_INSERT, "INSERT", {NULL}},
	[RIGHT_REMOVE_PROBE] = {NO_ACTION, ON_PROBES, ACL_DELETE, "DELETE", {NULL}},
	[RIGHT_ADD_STATE] = {NO_ACTION, ON_STATES, ACL_INSERT, "INSERT", {"gatewayId", "state", "reason", "until"}},
	[RIGHT_CHANGE_STATE] = {NO_ACTION, ON_STATES, ACL_UPDATE, "UPDATE", {"state", "reason", "until"}},
	[RIGHT_ADD_ENTITLEMENT] = {NO_ACTION, ON_ENTITLEMENTS, ACL_INSERT, "INSERT", {NULL}},
	[RIGHT_CHANGE_ENTITLEMENT] = {NO_ACTION, ON_ENTITLEMENTS, ACL_UPDATE, "UPDATE", {NULL}},
};

const char *const access_action_names[ACTION_COUNT] = {
	[ACTION_LIST] = "list",
	[ACTION_CREATE] = "create",
	[ACTION_EDIT] = "edit",
	[ACTION_DELETE] = "delete",
	[ACTION_ATTACH] = "attach",
	[ACTION_PICK] = "pick"
};

/* A right that a role was found to have; role 0: unused. */
typedef struct CachedRight
{
	Oid			role;
	Oid			relation;
	AccessRight right;
} CachedRight;

/* As many as the calls of one session usually alternate between. */
static CachedRight cached_rights[4];
static int	next_cached_right;

/* Counts invalidations: a right that was checked across one is not cached. */
static uint64 invalidations;

static void
relation_changed(Oid relation)
{
	invalidations++;
	for (int i = 0; i < lengthof(cached_rights); i++)
		if (!OidIsValid(relation) || relation == cached_rights[i].relation)
			memset(&cached_rights[i], 0, sizeof(CachedRight));
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

/* access_table returns the table of a right, or InvalidOid for a right on consumers. */
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

		/* The host's migrations may have dropped a column. */
		if (number == InvalidAttrNumber)
			continue;
		if (pg_attribute_aclcheck(relation, number, role, mode) != ACLCHECK_OK)
			return false;
		any = true;
	}
	return any;
}

/*
 * access_has_privilege returns true if a role has a privilege on a table, or on each
 * of the columns, if any are given.
 */
bool
access_has_privilege(Oid role, Oid relation, const char *const *columns, AclMode mode)
{
	return pg_class_aclcheck(relation, role, mode) == ACLCHECK_OK ||
		has_on_columns(role, relation, columns, mode);
}

/* access_has returns true if the current role has a right that is not on consumers. */
bool
access_has(const PoolCatalog *catalog, AccessRight right)
{
	const RightRow *row = &access_rights[right];

	return access_has_privilege(GetUserId(), access_table(catalog, row), row->columns, row->mode);
}

/* Raises the error that a role lacks a right, with the command that grants it. */
static void
refuse(Oid role, Oid relation, const RightRow *right)
{
	const char *grantee = quote_identifier(GetUserNameFromId(role, false));
	StringInfoData hint;

	initStringInfo(&hint);
	if (right->action != NO_ACTION)
		appendStringInfo(&hint, "grant_gateway_pool_access(%s, '{%s}')",
						 quote_literal_cstr(grantee), access_action_names[right->action]);
	else
	{
		appendStringInfo(&hint, "GRANT %s", right->privilege);
		for (const char *const *column = right->columns; *column != NULL; column++)
			appendStringInfo(&hint, "%s%s", column == right->columns ? " (" : ", ", quote_identifier(*column));
		appendStringInfo(&hint, "%s ON %s TO %s",
						 right->columns[0] != NULL ? ")" : "", catalog_name(relation), grantee);
	}
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("permission denied for table %s", get_rel_name(relation)),
			 errhint("The owner of the table can grant the privilege with %s.", hint.data),
			 catalog_error_constraint(relation, "gateway_pools_access")));
}

/*
 * access_require raises 42501 unless the current role has a right that is not on
 * consumers.
 */
void
access_require(const PoolCatalog *catalog, AccessRight right)
{
	Oid			relation = access_table(catalog, &access_rights[right]);
	Oid			role = GetUserId();
	uint64		before = invalidations;

	for (int i = 0; i < lengthof(cached_rights); i++)
		if (cached_rights[i].role == role && cached_rights[i].relation == relation && cached_rights[i].right == right)
			return;

	if (!access_has(catalog, right))
		refuse(role, relation, &access_rights[right]);
	if (invalidations != before)
		return;
	cached_rights[next_cached_right] = (CachedRight) {role, relation, right};
	next_cached_right = (next_cached_right + 1) % lengthof(cached_rights);
}
