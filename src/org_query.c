/*
 * org_query.c
 *		The query that finds the organization of a consumer's row.
 *
 * It is an argument of the consumer's triggers: a SELECT over $1, the row, or ''
 * for the row's own "orgId".  It runs as the consumer's owner, with a search path
 * of pg_catalog alone; the names in it are qualified when it is registered.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "nodes/nodeFuncs.h"
#include "nodes/pg_list.h"
#include "parser/parse_relation.h"
#include "parser/parser.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "argument.h"
#include "compat.h"
#include "org_query.h"

PG_FUNCTION_INFO_V1(gateway_pool_qualify_query);

/*
 * org_query_plan plans the query that finds the organization of a consumer's
 * row, its $1; '' is the row's own "orgId".  To be called as the consumer's
 * owner, between owner_begin and owner_end.
 */
SPIPlanPtr
org_query_plan(Oid relation, const char *org_query)
{
	Oid			row_type = get_rel_type_id(relation);

	return owner_prepare(org_query[0] == '\0' ? "SELECT ($1).\"orgId\"" : org_query, 1, &row_type);
}

/* org_query_run runs that plan for a row; NULL if it finds none. */
pg_uuid_t *
org_query_run(SPIPlanPtr plan, Datum row, MemoryContext context)
{
	pg_uuid_t  *org;

	if (owner_execute(plan, &row) > 0 && SPI_gettypeid(SPI_tuptable->tupdesc, 1) != UUIDOID)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("the query of the organization of a consumer must return a uuid")));
	org = owner_first_id(context);
	SPI_freetuptable(SPI_tuptable);
	return org;
}

/* Whether a query, or one within it, locks rows. */
static bool
locks_rows(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Query))
		return castNode(Query, node)->rowMarks != NIL ||
			query_tree_walker(castNode(Query, node), locks_rows, context, 0);
	return expression_tree_walker(node, locks_rows, context);
}

/* Collects the operators of a query, in the order in which they stand there. */
static bool
collect_operators(Node *node, void *context)
{
	List	  **operators = context;

	if (node == NULL)
		return false;
	if (IsA(node, Query))
		return query_tree_walker(castNode(Query, node), collect_operators, context, 0);
	/* All three are the same structure. */
	if (IsA(node, OpExpr) || IsA(node, DistinctExpr) || IsA(node, NullIfExpr))
		*operators = lappend_oid(*operators, ((OpExpr *) node)->opno);
	else if (IsA(node, ScalarArrayOpExpr))
		*operators = lappend_oid(*operators, castNode(ScalarArrayOpExpr, node)->opno);
	else if (IsA(node, RowCompareExpr))
		*operators = list_concat(*operators, castNode(RowCompareExpr, node)->opnos);
	return expression_tree_walker(node, collect_operators, context);
}

/* Analyzes a query whose $1 is a row of the table; an error unless it finds an organization and only reads. */
static Query *
analyze(const char *sql, Oid row_type)
{
	List	   *statements = raw_parser(sql, RAW_PARSE_DEFAULT);
	Query	   *query;

	if (list_length(statements) != 1 || !IsA(linitial_node(RawStmt, statements)->stmt, SelectStmt))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("org_query must be one SELECT")));
	query = analyze_with_types(linitial_node(RawStmt, statements), sql, &row_type, 1);
	if (query->commandType != CMD_SELECT || query->hasModifyingCTE || locks_rows((Node *) query, NULL))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("org_query must only read")));
	/* In another session, the name would be that of a table of whoever writes to the consumer. */
	if (isQueryUsingTempRelation(query))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("org_query must not read temporary tables")));
	if (list_length(query->targetList) != 1 ||
		exprType((Node *) linitial_node(TargetEntry, query->targetList)->expr) != UUIDOID)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("org_query must return one column of type uuid"),
				 errhint("It finds the organization of row $1, as in SELECT i.\"orgId\" FROM identities i WHERE i.id = ($1).\"identityId\".")));
	return query;
}

static void
set(const char *name, const char *value)
{
	(void) set_config_option(name, value, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
}

/*
 * The text of a query, with every name qualified by what the caller's search path
 * makes of it, and with constants that mean the same whatever a session's settings are.
 */
static char *
qualify(const char *sql, Oid row_type)
{
	Query	   *query = analyze(sql, row_type);
	List	   *operators = NIL;
	List	   *operators_qualified = NIL;
	int			settings_level = NewGUCNestLevel();
	char	   *qualified;

	/* Before it is told: that may change the tree. */
	(void) collect_operators((Node *) query, &operators);
	set("search_path", "pg_catalog, pg_temp");
	set("DateStyle", "ISO");
	set("IntervalStyle", "postgres");
	set("extra_float_digits", "1");
	set("quote_all_identifiers", "off");
	qualified = deparse_query(query, sql);

	/* IS DISTINCT FROM, NULLIF, CASE and USING name no operator that could be qualified. */
	(void) collect_operators((Node *) analyze(qualified, row_type), &operators_qualified);
	if (!equal(operators, operators_qualified))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("org_query means something else without the caller's search path"),
				 errdetail("It compares values of a type whose operators are not PostgreSQL's own by a construct that does not name them."),
				 errhint("Compare them by an operator, such as =, or cast them to text.")));
	AtEOXact_GUC(true, settings_level);
	return qualified + strspn(qualified, " ");
}

/*
 * qualify_pool_consumer_query(consumer regclass, org_query text) returns text
 *
 * Parses the query of the organization of a consumer's row with the caller's search
 * path, and as the consumer's owner, who will run it; returns it with all names
 * qualified, NULL for NULL.  Errors: the parser's; 22023 unless it is one SELECT
 * of one uuid, which writes and locks nothing and reads no temporary table, and
 * whose names can be qualified.
 */
Datum
gateway_pool_qualify_query(PG_FUNCTION_ARGS)
{
	Oid			consumer;
	Oid			row_type;
	char	   *qualified;
	OwnerScope	scope;

	argument_require(fcinfo, 0, "consumer");
	if (PG_ARGISNULL(1))
		PG_RETURN_NULL();
	consumer = PG_GETARG_OID(0);
	row_type = get_rel_type_id(consumer);
	if (!OidIsValid(row_type))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("a consumer must be a table")));
	qualified = qualify(text_to_cstring(PG_GETARG_TEXT_PP(1)), row_type);
	owner_begin(&scope, consumer);
	(void) org_query_plan(consumer, qualified);
	owner_end(&scope);
	PG_RETURN_TEXT_P(cstring_to_text(qualified));
}
