/*
 * access_grants.c
 *		Granting, revoking and telling what a role may do, by action.
 *
 * An action is a set of rights.  Privileges are granted and revoked as the caller,
 * who has to be able to; PostgreSQL only warns of those that he may not grant.
 */
#include "postgres.h"

#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "base/argument.h"
#include "tables/access_rights.h"
#include "tables/audit_log.h"
#include "tables/consumers.h"

PG_FUNCTION_INFO_V1(grant_gateway_pool_access);
PG_FUNCTION_INFO_V1(revoke_gateway_pool_access);
PG_FUNCTION_INFO_V1(has_gateway_pool_access);

static const char *const action_names[ACTION_COUNT] = {"list", "create", "edit", "delete", "attach", "pick"};

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

/* A right on a table of ours: of those of its columns that are there; NULL if none is. */
static Privilege *
table_privilege(const RightRow *right, Oid relation)
{
	Privilege  *privilege = palloc0(sizeof(Privilege));
	int			count = 0;

	privilege->right = right;
	privilege->relation = relation;
	for (int i = 0; right->columns[i] != NULL; i++)
		if (get_attnum(relation, right->columns[i]) != InvalidAttrNumber)
			privilege->columns[count++] = right->columns[i];
	return count > 0 || right->columns[0] == NULL ? privilege : NULL;
}

/* What some actions take: for a right on consumers, of each that is registered. */
static List *
privileges_of(const PoolCatalog *catalog, uint32 actions)
{
	List	   *privileges = NIL;

	for (int i = 0; i < ACCESS_RIGHTS; i++)
	{
		const RightRow *right = &access_rights[i];
		ListCell   *cell;

		if (right->action == NO_ACTION || (actions & (1 << right->action)) == 0)
			continue;
		if (right->table != ON_CONSUMERS)
		{
			Privilege  *privilege = table_privilege(right, access_table(catalog, right));

			if (privilege != NULL)
				privileges = lappend(privileges, privilege);
			continue;
		}
		foreach(cell, consumers_list(catalog))
		{
			const PoolConsumer *consumer = lfirst(cell);
			Registration registration = consumers_registration(catalog, consumer->relation, consumer->column_name);

			if (registration.registered)
				privileges = lappend(privileges, consumer_privilege(right, consumer, &registration));
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

		if (!access_has_privilege(role, privilege->relation, privilege->columns, privilege->right->mode))
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
	for (int i = 0; right->columns[0] != NULL && i < ACCESS_RIGHTS; i++)
		if (same_privilege(right, &access_rights[i]) && access_rights[i].columns[0] == NULL)
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

		for (int i = 0; i < ACCESS_RIGHTS; i++)
			if (access_rights[i].action != NO_ACTION && (revoked & (1 << access_rights[i].action)) != 0 &&
				same_privilege(privilege->right, &access_rights[i]) && !is_revoked_by_column(&access_rights[i]))
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
	argument_refuse_word("gateway pool action", name, "The actions are list, create, edit, delete, attach and pick.");
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

/*
 * One changes rights at a time: GRANT takes no lock, and of two on one table the
 * second ends in an internal error.  Nobody else takes this one.
 */
static void
lock_rights(const PoolCatalog *catalog)
{
	LockDatabaseObject(RelationRelationId, catalog->pools, 0, ExclusiveLock);
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
grant_gateway_pool_access(PG_FUNCTION_ARGS)
{
	PoolCatalog catalog;
	Oid			role;
	uint32		actions;
	uint32		had;
	uint32		missing;
	ListCell   *cell;

	catalog_open(&catalog);
	role = read_role(fcinfo);
	actions = read_actions(fcinfo);
	lock_rights(&catalog);
	had = accesses(&catalog, role, actions);

	SPI_connect();
	foreach(cell, privileges_of(&catalog, actions))
		change_privilege("GRANT", lfirst(cell), true, "TO", role);
	SPI_finish();

	/* PostgreSQL only warns of what the caller may not grant. */
	missing = actions & ~accesses(&catalog, role, actions);
	if (missing != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("gateway pool access \"%s\" could not be granted to role \"%s\"", first_name(missing),
						GetUserNameFromId(role, false)),
				 errhint("The owner of the tables can grant it; to attach takes a consumer that is registered."),
				 catalog_error_constraint(catalog.pools, "gateway_pools_access")));
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
revoke_gateway_pool_access(PG_FUNCTION_ARGS)
{
	PoolCatalog catalog;
	Oid			role;
	uint32		actions;
	uint32		had;
	uint32		left;
	List	   *kept;
	ListCell   *cell;

	catalog_open(&catalog);
	role = read_role(fcinfo);
	actions = read_actions(fcinfo);
	lock_rights(&catalog);
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
						   " of the host's, by what another role granted, or, to pick, by \"list\"."),
				 catalog_error_constraint(catalog.pools, "gateway_pools_access")));
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
has_gateway_pool_access(PG_FUNCTION_ARGS)
{
	PoolCatalog catalog;
	Oid			role;

	catalog_open(&catalog);
	role = read_role(fcinfo);
	argument_require(fcinfo, 1, "action");
	PG_RETURN_BOOL(has_access(&catalog, role, read_action(PG_GETARG_TEXT_PP(1))));
}
