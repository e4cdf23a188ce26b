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

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "access.h"
#include "argument.h"
#include "audit.h"
#include "compat.h"
#include "consumers.h"

PG_FUNCTION_INFO_V1(gateway_pool_grant_access);
PG_FUNCTION_INFO_V1(gateway_pool_revoke_access);
PG_FUNCTION_INFO_V1(gateway_pool_has_access);

/* What is granted together; rights that belong to no action are granted by plain GRANT alone. */
typedef enum Action
{
	ACTION_LIST,
	ACTION_CREATE,
	ACTION_EDIT,
	ACTION_DELETE,
	ACTION_ATTACH,
	ACTION_PICK,
	NO_ACTION
} Action;

#define ACTION_COUNT NO_ACTION

static const char *const action_names[ACTION_COUNT] = {"list", "create", "edit", "delete", "attach", "pick"};

typedef enum AccessTable
{
	ON_POOLS,
	ON_MEMBERSHIPS,
	ON_HEALTH,
	ON_PROBES,
	ON_CONSUMERS				/* each of them; the columns are the consumer's */
} AccessTable;

#define COLUMNS_MAX 4

typedef struct RightRow
{
	Action		action;
	AccessTable table;
	AclMode		mode;
	const char *privilege;
	const char *columns[COLUMNS_MAX + 1];	/* none: of the whole table */
} RightRow;

/*
 * To create takes no id: who could choose it would learn whether another
 * organization has it.  To pick takes the id alone, by which a pool is asked for.
 */
static const RightRow rights[] = {
	[RIGHT_LIST] = {ACTION_LIST, ON_POOLS, ACL_SELECT, "SELECT", {NULL}},
	[RIGHT_LIST_MEMBERS] = {ACTION_LIST, ON_MEMBERSHIPS, ACL_SELECT, "SELECT", {NULL}},
	[RIGHT_PICK] = {ACTION_PICK, ON_POOLS, ACL_SELECT, "SELECT", {"id"}},
	[RIGHT_CREATE] = {ACTION_CREATE, ON_POOLS, ACL_INSERT, "INSERT", {"orgId", "name"}},
	[RIGHT_RENAME] = {ACTION_EDIT, ON_POOLS, ACL_UPDATE, "UPDATE", {"name"}},
	[RIGHT_ADD_MEMBER] = {ACTION_EDIT, ON_MEMBERSHIPS, ACL_INSERT, "INSERT",
	{"gatewayPoolId", "gatewayId", "weight", "priority"}},
	[RIGHT_CHANGE_MEMBER] = {ACTION_EDIT, ON_MEMBERSHIPS, ACL_UPDATE, "UPDATE", {"weight", "priority"}},
	[RIGHT_REMOVE_MEMBER] = {ACTION_EDIT, ON_MEMBERSHIPS, ACL_DELETE, "DELETE", {NULL}},
	[RIGHT_DELETE] = {ACTION_DELETE, ON_POOLS, ACL_DELETE, "DELETE", {NULL}},
	[RIGHT_ATTACH] = {ACTION_ATTACH, ON_CONSUMERS, ACL_UPDATE, "UPDATE", {NULL}},
	[RIGHT_REPORT] = {NO_ACTION, ON_HEALTH, ACL_UPDATE, "UPDATE", {NULL}},
	[RIGHT_PROBE] = {NO_ACTION, ON_PROBES, ACL_UPDATE, "UPDATE", {NULL}},
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
forget_all(Datum arg, int cache_id, uint32 hash_value)
{
	access_forget(InvalidOid);
}

/* access_init registers what forgets rights; called once a process. */
void
access_init(void)
{
	/* On these depends of which roles a role has the privileges. */
	CacheRegisterSyscacheCallback(AUTHMEMROLEMEM, forget_all, 0);
	CacheRegisterSyscacheCallback(AUTHOID, forget_all, 0);
	CacheRegisterSyscacheCallback(DATABASEOID, forget_all, 0);
}

/* access_forget forgets the rights on a relation that has changed, or on all where that is InvalidOid. */
void
access_forget(Oid relation)
{
	forgotten++;
	for (int i = 0; i < lengthof(known_rights); i++)
		if (!OidIsValid(relation) || relation == known_rights[i].relation)
			memset(&known_rights[i], 0, sizeof(KnownRight));
}

/* The table of a right that is not on consumers. */
static Oid
table_of(const PoolCatalog *catalog, const RightRow *right)
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
		case ON_CONSUMERS:
			break;
	}
	return InvalidOid;
}

static bool
has_on_columns(Oid role, Oid relation, const char *const *columns, AclMode mode)
{
	if (columns[0] == NULL)
		return false;
	for (; *columns != NULL; columns++)
	{
		AttrNumber	number = get_attnum(relation, *columns);

		if (number == InvalidAttrNumber ||
			pg_attribute_aclcheck(relation, number, role, mode) != ACLCHECK_OK)
			return false;
	}
	return true;
}

/* Whether a role has a privilege on a table, or else on each of the columns, of which there may be none. */
static bool
has_privilege(Oid role, Oid relation, const char *const *columns, AclMode mode)
{
	return pg_class_aclcheck(relation, role, mode) == ACLCHECK_OK ||
		has_on_columns(role, relation, columns, mode);
}

/* access_has tells whether the current role has a right that is not on consumers. */
bool
access_has(const PoolCatalog *catalog, AccessRight right)
{
	const RightRow *row = &rights[right];

	return has_privilege(GetUserId(), table_of(catalog, row), row->columns, row->mode);
}

/*
 * access_require raises the server's own error unless the current role has a
 * right that is not on consumers.
 */
void
access_require(const PoolCatalog *catalog, AccessRight right)
{
	Oid			relation = table_of(catalog, &rights[right]);
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

/* A right on one relation: of the whole of it where there are no columns. */
typedef struct Privilege
{
	const RightRow *right;
	Oid			relation;
	const char *columns[COLUMNS_MAX + 1];
} Privilege;

/* The columns by which a row of a consumer is attached: of its pool, and of its gateway if it has one. */
static Privilege *
consumer_privilege(const RightRow *right, const PoolConsumer *consumer, const Registration *registration)
{
	Privilege  *privilege = palloc0(sizeof(Privilege));

	privilege->right = right;
	privilege->relation = consumer->relation;
	privilege->columns[0] = consumer->column_name;
	if (get_attnum(consumer->relation, registration->gateway_column) != InvalidAttrNumber)
		privilege->columns[1] = registration->gateway_column;
	return privilege;
}

/* What some actions take: for a right on consumers, of each that is registered. */
static List *
privileges_of(const PoolCatalog *catalog, uint32 actions)
{
	List	   *privileges = NIL;

	for (int i = 0; i < lengthof(rights); i++)
	{
		const RightRow *right = &rights[i];
		ListCell   *cell;

		if (right->action == NO_ACTION || (actions & (1 << right->action)) == 0)
			continue;
		if (right->table != ON_CONSUMERS)
		{
			Privilege  *privilege = palloc0(sizeof(Privilege));

			privilege->right = right;
			privilege->relation = table_of(catalog, right);
			memcpy(privilege->columns, right->columns, sizeof(right->columns));
			privileges = lappend(privileges, privilege);
			continue;
		}
		foreach(cell, consumers_list(catalog))
		{
			Registration registration = consumers_registration(catalog, lfirst(cell));

			if (registration.enforced)
				privileges = lappend(privileges, consumer_privilege(right, lfirst(cell), &registration));
		}
	}
	return privileges;
}

/* Whether a role has all that an action takes; nobody can attach where there is no consumer. */
static bool
has_access(const PoolCatalog *catalog, Oid role, Action action)
{
	List	   *privileges = privileges_of(catalog, 1 << action);
	ListCell   *cell;

	foreach(cell, privileges)
	{
		const Privilege *privilege = lfirst(cell);

		if (!has_privilege(role, privilege->relation, privilege->columns, privilege->right->mode))
			return false;
	}
	return privileges != NIL;
}

/* Those of the actions that a role has. */
static uint32
accesses(const PoolCatalog *catalog, Oid role, uint32 actions)
{
	uint32		had = 0;

	for (Action action = 0; action < ACTION_COUNT; action++)
		if ((actions & (1 << action)) != 0 && has_access(catalog, role, action))
			had |= 1 << action;
	return had;
}

/* The name of the first of some actions, of which there is one at least. */
static const char *
first_name(uint32 actions)
{
	Action		action = 0;

	while ((actions & (1 << action)) == 0)
		action++;
	return action_names[action];
}

/* Runs GRANT ... TO or REVOKE ... FROM as the caller. */
static void
change_privilege(const char *verb, const Privilege *privilege, bool of_columns, const char *preposition, Oid role)
{
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfo(&sql, "%s %s", verb, privilege->right->privilege);
	for (int i = 0; of_columns && privilege->columns[i] != NULL; i++)
		appendStringInfo(&sql, "%s%s", i == 0 ? " (" : ", ", quote_identifier(privilege->columns[i]));
	appendStringInfo(&sql, "%s ON %s %s %s", of_columns && privilege->columns[0] != NULL ? ")" : "",
					 catalog_name(privilege->relation), preposition,
					 quote_identifier(GetUserNameFromId(role, false)));
	if (SPI_execute(sql.data, false, 0) != SPI_OK_UTILITY)
		elog(ERROR, "could not run \"%s\"", sql.data);
}

static bool
same_privilege(const RightRow *a, const RightRow *b)
{
	return a != b && a->table == b->table && a->mode == b->mode;
}

/*
 * Whether a right is taken away by the columns alone: what is the host's own on
 * its tables, and the whole of a table that is another action's, are left.
 */
static bool
is_revoked_by_column(const RightRow *right)
{
	if (right->table == ON_CONSUMERS)
		return true;
	for (int i = 0; right->columns[0] != NULL && i < lengthof(rights); i++)
		if (same_privilege(right, &rights[i]) && rights[i].columns[0] == NULL)
			return true;
	return false;
}

/* Whether a column's own list says that a role has a privilege. */
static bool
is_granted_on_column(Oid role, Oid relation, const char *column, AclMode mode)
{
	HeapTuple	row = SearchSysCacheAttName(relation, column);
	bool		granted = false;
	bool		is_null = true;
	Datum		value = 0;

	if (!HeapTupleIsValid(row))
		return false;
	value = SysCacheGetAttr(ATTNAME, row, Anum_pg_attribute_attacl, &is_null);
	if (!is_null)
	{
		Acl		   *acl = DatumGetAclP(value);

		for (int i = 0; i < ACL_NUM(acl); i++)
			if (ACL_DAT(acl)[i].ai_grantee == role && (ACLITEM_GET_PRIVS(ACL_DAT(acl)[i]) & mode) != 0)
				granted = true;
	}
	ReleaseSysCache(row);
	return granted;
}

/*
 * REVOKE on a whole table takes the same privilege on its columns, too.  What of
 * these is granted for another action, and is to stay.
 */
static List *
kept_privileges(const PoolCatalog *catalog, Oid role, uint32 revoked)
{
	List	   *kept = NIL;
	ListCell   *cell;

	foreach(cell, privileges_of(catalog, ~revoked))
	{
		const Privilege *privilege = lfirst(cell);
		bool		taken = false;
		bool		granted = privilege->columns[0] != NULL;

		for (int i = 0; i < lengthof(rights); i++)
			if (rights[i].action != NO_ACTION && (revoked & (1 << rights[i].action)) != 0 &&
				same_privilege(privilege->right, &rights[i]) && !is_revoked_by_column(&rights[i]))
				taken = true;
		for (int i = 0; privilege->columns[i] != NULL; i++)
			granted = granted && is_granted_on_column(role, privilege->relation, privilege->columns[i],
													  privilege->right->mode);
		if (taken && granted)
			kept = lappend(kept, lfirst(cell));
	}
	return kept;
}

/* The action of a name, 22023 for any other. */
static Action
read_action(const text *name)
{
	char	   *word = text_to_cstring(name);

	for (Action action = 0; action < ACTION_COUNT; action++)
		if (strcmp(word, action_names[action]) == 0)
			return action;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("unknown action of gateway pools"),
			 errhint("The actions are list, create, edit, delete, attach and pick.")));
}

/* The set of actions in an array of their names. */
static uint32
read_actions(FunctionCallInfo fcinfo)
{
	uint32		actions = 0;
	Datum	   *names;
	bool	   *nulls;
	int			count;

	argument_require(fcinfo, 1, "actions");
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(1), TEXTOID, -1, false, TYPALIGN_INT, &names, &nulls, &count);
	for (int i = 0; i < count; i++)
	{
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("actions must not contain null")));
		actions |= 1 << read_action(DatumGetTextPP(names[i]));
	}
	return actions;
}

static Oid
read_role(FunctionCallInfo fcinfo)
{
	Oid			role;

	argument_require(fcinfo, 0, "role");
	role = PG_GETARG_OID(0);
	(void) GetUserNameFromId(role, false);
	return role;
}

/* What a call has changed, if anything, for the record; it is no organization's own. */
static void
record(const PoolCatalog *catalog, Oid role, uint32 changed, bool granted)
{
	const char *names[ACTION_COUNT];
	int			count = 0;
	StringInfoData metadata;

	for (Action action = 0; action < ACTION_COUNT; action++)
		if ((changed & (1 << action)) != 0)
			names[count++] = action_names[action];
	if (count == 0)
		return;
	audit_begin(&metadata);
	audit_put(&metadata, "role", GetUserNameFromId(role, false));
	audit_put_list(&metadata, "actions", names, count);
	audit_write(catalog, granted ? "gateway-pool-grant" : "gateway-pool-revoke", NULL, &metadata);
}

/*
 * grant_gateway_pool_access(role regrole, actions text[])
 *
 * Grants what the actions take, as the caller, who has to be able to grant all of
 * it: 42501 otherwise.  Errors: NULL or an unknown action 22023.
 */
Datum
gateway_pool_grant_access(PG_FUNCTION_ARGS)
{
	PoolCatalog catalog;
	Oid			role;
	uint32		actions;
	uint32		had;
	uint32		missing;
	ListCell   *cell;

	catalog_open(&catalog, fcinfo->flinfo->fn_oid);
	role = read_role(fcinfo);
	actions = read_actions(fcinfo);
	had = accesses(&catalog, role, actions);

	SPI_connect();
	foreach(cell, privileges_of(&catalog, actions))
		change_privilege("GRANT", lfirst(cell), true, "TO", role);
	SPI_finish();

	/* Of what the caller may not grant, PostgreSQL but warns. */
	missing = actions & ~accesses(&catalog, role, actions);
	if (missing != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("gateway pool access \"%s\" could not be granted to role \"%s\"", first_name(missing),
						GetUserNameFromId(role, false)),
				 errhint("The owner of the tables can grant it; to attach takes a consumer that is registered.")));
	record(&catalog, role, actions & ~had, true);
	PG_RETURN_VOID();
}

/*
 * revoke_gateway_pool_access(role regrole, actions text[])
 *
 * Revokes what the actions take, as the caller.  42501 if the role can do any of
 * it still: as the owner, by another role, by what somebody else granted, or,
 * for pick, by list.  On a consumer it revokes the columns alone.  Errors: NULL
 * or an unknown action 22023.
 */
Datum
gateway_pool_revoke_access(PG_FUNCTION_ARGS)
{
	PoolCatalog catalog;
	Oid			role;
	uint32		actions;
	uint32		had;
	uint32		left;
	List	   *kept;
	ListCell   *cell;

	catalog_open(&catalog, fcinfo->flinfo->fn_oid);
	role = read_role(fcinfo);
	actions = read_actions(fcinfo);
	had = accesses(&catalog, role, actions);
	kept = kept_privileges(&catalog, role, actions);

	SPI_connect();
	foreach(cell, privileges_of(&catalog, actions))
	{
		const Privilege *privilege = lfirst(cell);

		change_privilege("REVOKE", privilege, is_revoked_by_column(privilege->right), "FROM", role);
	}
	foreach(cell, kept)
		change_privilege("GRANT", lfirst(cell), true, "TO", role);
	SPI_finish();

	left = accesses(&catalog, role, actions);
	if (left != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("role \"%s\" still has gateway pool access \"%s\"", GetUserNameFromId(role, false),
						first_name(left)),
				 errdetail("It has it as a superuser or owner, by another role or PUBLIC, by a privilege on a whole table"
						   " of the host's, by what another role granted, or, to pick, by \"list\".")));
	record(&catalog, role, had, false);
	PG_RETURN_VOID();
}

/*
 * has_gateway_pool_access(role regrole, action text) returns boolean
 *
 * Whether a role has all that an action takes, however it came by it.  Errors:
 * NULL or an unknown action 22023.
 */
Datum
gateway_pool_has_access(PG_FUNCTION_ARGS)
{
	PoolCatalog catalog;
	Oid			role;

	catalog_open(&catalog, fcinfo->flinfo->fn_oid);
	role = read_role(fcinfo);
	argument_require(fcinfo, 1, "action");
	PG_RETURN_BOOL(has_access(&catalog, role, read_action(PG_GETARG_TEXT_PP(1))));
}
