/*
 * access_grants.c
 *		Functions that grant, revoke and check what a role may do, by action.
 *
 * An action is a set of rights.  GRANT and REVOKE run as the caller, who needs the
 * right to; for privileges that the caller may not grant, PostgreSQL only warns.
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

/* A right on one relation, or on some of its columns. */
typedef struct Privilege
{
	const RightRow *right;
	Oid			relation;
	const char *columns[COLUMNS_MAX + 1];
} Privilege;

/* Returns a right on the columns that attach a row of a consumer: of the pool, and of the gateway if it has one. */
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

/* Returns a right on one of our tables, on those of its columns that exist; NULL if none does. */
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

/* Returns what some actions need; a right on consumers is one on each that is registered. */
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

/* Returns true if a role has all that an action needs; false for attach without a consumer. */
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

/* Returns those of the actions that a role has. */
static uint32
allowed_actions(const PoolCatalog *catalog, Oid role, uint32 actions)
{
	uint32		allowed = 0;

	for (Action action = 0; action < ACTION_COUNT; action++)
		if ((actions & (1 << action)) != 0 && has_access(catalog, role, action))
			allowed |= 1 << action;
	return allowed;
}

/* Returns the name of the first of some actions, at least one. */
static const char *
first_name(uint32 actions)
{
	Action		action = 0;

	while ((actions & (1 << action)) == 0)
		action++;
	return access_action_names[action];
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
 * Returns true if REVOKE of a right names columns only: on consumers, where the host
 * may have granted the whole table, and where another action needs the whole table.
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

/* Returns true if a role has a privilege by the column's own access list. */
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
 * REVOKE on a whole table revokes the privilege on its columns, too.  Returns those
 * that the role has by another action and that have to be granted again.
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

/* Returns the action of a name; 22023 if there is none. */
static Action
read_action(const text *name)
{
	char	   *word = text_to_cstring(name);

	for (Action action = 0; action < ACTION_COUNT; action++)
		if (strcmp(word, access_action_names[action]) == 0)
			return action;
	argument_refuse_word("gateway pool action", name, "The actions are list, create, edit, delete, attach and pick.");
}

/* Returns the set of actions that an array names. */
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
 * Lets one transaction at a time change rights: GRANT takes no lock, and the second
 * of two on one table ends in an internal error.  This lock is used for nothing else.
 */
static void
lock_rights(const PoolCatalog *catalog)
{
	LockDatabaseObject(RelationRelationId, catalog->pools, 0, ExclusiveLock);
}

/* Writes to the audit log what a call has changed, if anything; the row belongs to no organization. */
static void
audit(const PoolCatalog *catalog, Oid role, uint32 changed, bool granted)
{
	const char *names[ACTION_COUNT];
	int			count = 0;
	StringInfoData metadata;

	for (Action action = 0; action < ACTION_COUNT; action++)
		if ((changed & (1 << action)) != 0)
			names[count++] = access_action_names[action];
	if (count == 0)
		return;
	audit_log_begin(&metadata);
	audit_log_put(&metadata, "role", GetUserNameFromId(role, false));
	audit_log_put_list(&metadata, "actions", names, count);
	audit_log_write(catalog, granted ? "gateway-pool-grant" : "gateway-pool-revoke", NULL, &metadata);
}

/*
 * grant_gateway_pool_access(role regrole, actions text[])
 *
 * Grants what the actions need, as the caller.  Errors: a privilege that the caller
 * may not grant 42501; NULL or an unrecognized action 22023.
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
	had = allowed_actions(&catalog, role, actions);

	SPI_connect();
	foreach(cell, privileges_of(&catalog, actions))
		change_privilege("GRANT", lfirst(cell), true, "TO", role);
	SPI_finish();

	/* PostgreSQL only warns of what the caller may not grant. */
	missing = actions & ~allowed_actions(&catalog, role, actions);
	if (missing != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("gateway pool access \"%s\" could not be granted to role \"%s\"", first_name(missing),
						GetUserNameFromId(role, false)),
				 errhint("The owner of the tables can grant it; attach needs a registered consumer."),
				 catalog_error_constraint(catalog.pools, "gateway_pools_access")));
	audit(&catalog, role, actions & ~had, true);
	PG_RETURN_VOID();
}

/*
 * revoke_gateway_pool_access(role regrole, actions text[])
 *
 * Revokes what the actions need, as the caller; on consumers, columns only.  Errors:
 * the role still has an action (as the owner, through another role, by another
 * role's grant, or pick by list) 42501; NULL or an unrecognized action 22023.
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
	had = allowed_actions(&catalog, role, actions);
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

	left = allowed_actions(&catalog, role, actions);
	if (left != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("role \"%s\" still has gateway pool access \"%s\"", GetUserNameFromId(role, false),
						first_name(left)),
				 errdetail("The role is a superuser or owner, has it through another role or PUBLIC, has a privilege on"
						   " a whole table of the host, was granted it by another role, or has \"list\", which includes \"pick\"."),
				 catalog_error_constraint(catalog.pools, "gateway_pools_access")));
	audit(&catalog, role, had, false);
	PG_RETURN_VOID();
}

/*
 * has_gateway_pool_access(role regrole, action text) returns boolean
 *
 * Returns true if a role has all that an action needs, directly or through other
 * roles.  Errors: NULL or an unrecognized action 22023.
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
