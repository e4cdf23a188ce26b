/*
 * database_hook.c
 *		Commands on databases that have a worker.
 *
 * DROP DATABASE, ALTER DATABASE RENAME and SET TABLESPACE, and CREATE DATABASE
 * from a template fail while a process is connected to the database.  Before such a
 * command, the hook has its worker end, and the launcher does not start it again
 * until the transaction has ended.  This needs the owner of the database: for other
 * roles the command fails in any case.
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "commands/dbcommands.h"
#include "commands/defrem.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "tcop/utility.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "base/compat.h"
#include "shared/worker_slots.h"
#include "worker/database_hook.h"
#include "worker/launcher.h"

/* The most time to wait for a worker to end; then the command waits as long as it does. */
#define PATIENCE_MS 2000

typedef struct Hold
{
	Oid			database;
	SubTransactionId held_by;
} Hold;

static ProcessUtility_hook_type previous_process_utility;

/* The holds of this transaction, the newest last. */
static Hold *holds;
static int	hold_count;
static int	hold_room;

/* Releases the holds of a subtransaction and its children. */
static void
release_from(SubTransactionId aborted)
{
	while (hold_count > 0 && holds[hold_count - 1].held_by >= aborted)
		worker_slots_release(holds[--hold_count].database);
}

static void
at_end(TransactionEnd end)
{
	release_from(TopSubTransactionId);
}

const TransactionSubscriber database_hook_subscriber = {
	.at_end = at_end,
	.at_subtransaction_abort = release_from
};

/* Ends the worker of a database, and keeps it from starting until the end of the transaction. */
static void
hold(Oid database)
{
	if (hold_count == hold_room)
	{
		int			room = hold_room == 0 ? 4 : hold_room * 2;

		holds = holds == NULL ? MemoryContextAlloc(TopMemoryContext, sizeof(Hold) * room) :
			repalloc(holds, sizeof(Hold) * room);
		hold_room = room;
	}
	if (!worker_slots_hold(database))
		return;
	holds[hold_count++] = (Hold) {database, GetCurrentSubTransactionId()};
	worker_slots_await_end(database, PATIENCE_MS);
}

/* The value of an option, or NULL. */
static DefElem *
find_option(List *options, const char *name)
{
	ListCell   *cell;

	foreach(cell, options)
	{
		DefElem    *option = lfirst_node(DefElem, cell);

		if (strcmp(option->defname, name) == 0)
			return option;
	}
	return NULL;
}

/* The database that CREATE DATABASE copies. */
static const char *
template_of(const CreatedbStmt *command)
{
	DefElem    *option = find_option(command->options, "template");

	return option == NULL || option->arg == NULL ? "template1" : defGetString(option);
}

/* The database that must have no connections for a command, or NULL. */
static const char *
database_needed(Node *command)
{
	switch (nodeTag(command))
	{
		case T_CreatedbStmt:
			return template_of((CreatedbStmt *) command);
		case T_DropdbStmt:
			return ((DropdbStmt *) command)->dbname;
		case T_RenameStmt:
			return ((RenameStmt *) command)->renameType == OBJECT_DATABASE ?
				((RenameStmt *) command)->subname : NULL;
		case T_AlterDatabaseStmt:
			return find_option(((AlterDatabaseStmt *) command)->options, "tablespace") != NULL ?
				((AlterDatabaseStmt *) command)->dbname : NULL;
		default:
			return NULL;
	}
}

static void
before_command(Node *command)
{
	const char *name = database_needed(command);
	Oid			database;

	if (name == NULL || !worker_slots_exist() || RecoveryInProgress())
		return;
	database = get_database_oid(name, true);
	if (OidIsValid(database) && owns_database(database, GetUserId()))
		hold(database);
}

/*
 * The database that may need a worker after a command, or NULL.  Called before the
 * command, because commands such as ROLLBACK free the memory of the statement.
 */
static const char *
database_to_serve(Node *command)
{
	if (IsA(command, CreatedbStmt))
		return ((CreatedbStmt *) command)->dbname;
	if (IsA(command, AlterDatabaseStmt) &&
		(find_option(((AlterDatabaseStmt *) command)->options, "is_template") != NULL ||
		 find_option(((AlterDatabaseStmt *) command)->options, "allow_connections") != NULL))
		return ((AlterDatabaseStmt *) command)->dbname;
	return NULL;
}

static void
after_command(const char *to_serve)
{
	Oid			database;

	if (to_serve == NULL)
		return;
	database = get_database_oid(to_serve, true);
	if (OidIsValid(database))
		launcher_want_at_commit(database);
}

static void
process_utility(PlannedStmt *statement, const char *query, bool read_only_tree,
				ProcessUtilityContext context, ParamListInfo parameters,
				QueryEnvironment *environment, DestReceiver *receiver, QueryCompletion *completion)
{
	const char *to_serve = database_to_serve(statement->utilityStmt);

	before_command(statement->utilityStmt);
	if (previous_process_utility)
		previous_process_utility(statement, query, read_only_tree, context, parameters, environment,
								 receiver, completion);
	else
		standard_ProcessUtility(statement, query, read_only_tree, context, parameters, environment,
								receiver, completion);
	after_command(to_serve);
}

/* database_hook_init installs the hook; called once a process. */
void
database_hook_init(void)
{
	previous_process_utility = ProcessUtility_hook;
	ProcessUtility_hook = process_utility;
}
