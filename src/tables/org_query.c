/*
 * org_query.c
 *		The query that returns the organization of a consumer's row.
 *
 * It is an argument of the consumer's marker: a SELECT whose $1 is the row, or '' for
 * the row's own organization (see org_column.c), or, without one, that of the row which
 * "identityId" references.  The role that registers it owns the consumer; it is only parsed,
 * planned and run as that owner, in a restricted operation.  Names in it are qualified
 * when it is registered.
 */
#include "postgres.h"

#include "access/relation.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "nodes/pg_list.h"
#include "parser/parser.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "base/argument.h"
#include "base/compat.h"
#include "tables/catalog.h"
#include "tables/org_column.h"
#include "tables/org_query.h"

PG_FUNCTION_INFO_V1(default_org_query);
PG_FUNCTION_INFO_V1(qualify_consumer_query);

/* Returns the column with a number if it is virtual, the first virtual one for 0, or NULL. */
static Form_pg_attribute
virtual_column(TupleDesc columns, AttrNumber number)
{
	for (int i = 0; i < columns->natts; i++)
		if (TupleDescAttr(columns, i)->attgenerated == ATTRIBUTE_GENERATED_VIRTUAL && (number == 0 || number == i + 1))
			return TupleDescAttr(columns, i);
	return NULL;
}

/* Raises 55000 if "column", on which the organization of a row depends, is not NULL: it is virtual. */
static void
refuse_virtual(Oid relation, Form_pg_attribute column)
{
	if (column == NULL)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("triggers of gateway pools cannot read generated column \"%s\" of table %s", NameStr(column->attname),
					catalog_name(relation)),
			 errdetail("It is virtual, and the organization of a row depends on it."),
			 errhint("Make it a stored column, or call register_pool_consumer() with an org_query that reads other columns, each by name."),
			 catalog_error_constraint(relation, "gateway_pools_generated_column")));
}

/* Refuses a query that reads a virtual column of $1, or all of $1 if it has one; "context" is the table. */
static bool
require_readable(Node *node, void *context)
{
	Relation	table = context;
	AttrNumber	number = 0;
	Node	   *read = node;

	if (node == NULL)
		return false;
	if (IsA(node, Query))
		return query_tree_walker(castNode(Query, node), require_readable, context, 0);
	if (IsA(node, FieldSelect))
	{
		number = castNode(FieldSelect, node)->fieldnum;
		read = (Node *) castNode(FieldSelect, node)->arg;
	}
	if (!IsA(read, Param) || castNode(Param, read)->paramkind != PARAM_EXTERN)
		return expression_tree_walker(node, require_readable, context);
	refuse_virtual(RelationGetRelid(table), virtual_column(RelationGetDescr(table), number));
	return false;
}

/* Refuses a plan whose query reads a virtual column of its row: the rows of triggers lack it. */
static void
require_readable_row(Oid relation, SPIPlanPtr plan)
{
	Relation	table = catalog_open_table(relation, AccessShareLock);
	ListCell   *cell;

	if (virtual_column(RelationGetDescr(table), 0) != NULL)
		foreach(cell, SPI_plan_get_plan_sources(plan))
			(void) expression_tree_walker((Node *) ((CachedPlanSource *) lfirst(cell))->query_list, require_readable, table);
	relation_close(table, AccessShareLock);
}

/* Returns the quoted name of the column of a table that holds the organization of its rows; NULL if none of type uuid does. */
static const char *
org_column_of_type_uuid(Relation table, Oid organizations)
{
	AttrNumber	column = org_column_find(table, organizations);

	if (column == InvalidAttrNumber || TupleDescAttr(RelationGetDescr(table), column - 1)->atttypid != UUIDOID)
		return NULL;
	return quote_identifier(NameStr(TupleDescAttr(RelationGetDescr(table), column - 1)->attname));
}

/*
 * Returns the text of the query for a consumer that registered none; NULL if its
 * columns do not say what the organization of a row is, 55000 if it is a virtual one.  Keeps no lock: any role may
 * call this for any table.
 */
static const char *
default_query(Oid relation, Oid organizations)
{
	AttrNumber	identity = get_attnum(relation, "identityId");
	Relation	consumer = catalog_open_table(relation, AccessShareLock);
	const char *column = org_column_of_type_uuid(consumer, organizations);
	const char *sql = NULL;
	Oid			identities = identity == InvalidAttrNumber ? InvalidOid : catalog_referenced_table(consumer, identity);

	if (column != NULL)
	{
		refuse_virtual(relation, virtual_column(RelationGetDescr(consumer), org_column_find(consumer, organizations)));
		sql = psprintf("SELECT ($1).%s", column);
	}
	else if (OidIsValid(identities) && get_atttype(identities, get_attnum(identities, "id")) == UUIDOID)
	{
		Relation	table = catalog_open_table(identities, AccessShareLock);

		column = org_column_of_type_uuid(table, organizations);
		if (column != NULL)
			sql = psprintf("SELECT i.%s FROM %s i WHERE i.id = ($1).\"identityId\"", column, catalog_name(identities));
		relation_close(table, AccessShareLock);
	}
	relation_close(consumer, AccessShareLock);
	return sql;
}

/*
 * default_org_query(consumer regclass, organizations regclass) returns text
 *
 * The query for a consumer that registers none; null if its columns do not say what
 * the organization of a row is.
 */
Datum
default_org_query(PG_FUNCTION_ARGS)
{
	const char *sql;

	argument_require(fcinfo, 0, "consumer");
	argument_require(fcinfo, 1, "organizations");
	sql = default_query(PG_GETARG_OID(0), PG_GETARG_OID(1));
	if (sql == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(sql));
}

/* Returns the same text while gateway pools are installed; an error (55000) in place of NULL. */
static const char *
registered_default_query(Oid relation)
{
	PoolCatalog catalog;
	const char *sql;

	catalog_open(&catalog);
	sql = default_query(relation, catalog.organizations);
	if (sql == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot determine the organization of the rows of table %s", catalog_name(relation)),
				 errhint("Call register_pool_consumer() with an org_query that returns it."),
				 catalog_error_constraint(relation, "gateway_pools_consumer")));
	return sql;
}

pg_noreturn static void
refuse_no_uuid(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATATYPE_MISMATCH),
			 errmsg("the query of the organization of a consumer must return a uuid")));
}

/*
 * org_query_plan plans the query; '' if none was registered.  Call it as the consumer's
 * owner, between owner_begin and owner_end.  42804 for a statement without a result,
 * 55000 if none was registered and the columns of the consumer say nothing, or if it reads
 * a virtual column.
 */
SPIPlanPtr
org_query_plan(Oid relation, const char *org_query)
{
	Oid			row_type = get_rel_type_id(relation);
	SPIPlanPtr	plan;

	plan = owner_prepare(org_query[0] == '\0' ? registered_default_query(relation) : org_query, 1, &row_type);
	/* SPI has no SQLSTATE for COPY, COMMIT and the like. */
	if (!SPI_is_cursor_plan(plan))
		refuse_no_uuid();
	require_readable_row(relation, plan);
	return plan;
}

/* org_query_run runs that plan for a row; returns NULL if it finds no organization. */
pg_uuid_t *
org_query_run(SPIPlanPtr plan, Datum row, MemoryContext context)
{
	pg_uuid_t  *org;

	if (owner_execute(plan, &row) > 0 && SPI_gettypeid(SPI_tuptable->tupdesc, 1) != UUIDOID)
		refuse_no_uuid();
	org = owner_first_id(context);
	SPI_freetuptable(SPI_tuptable);
	return org;
}

/* Returns true if a query, or one within it, locks rows. */
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

/* Collects the operators of a query, in the order of the tree. */
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

/* Analyzes a query whose $1 is a row of the table; an error unless it returns a uuid and only reads. */
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

	/*
	 * In another session, the name would be that of a table of the role that
	 * writes to the consumer.
	 */
	if (query_is_temporary(query))
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

/* Returns the schemas of the search path by name, so that another role can use them. */
static char *
search_path_text(void)
{
	StringInfoData path;
	ListCell   *cell;

	initStringInfo(&path);
	foreach(cell, fetch_search_path(true))
		appendStringInfo(&path, "%s%s", path.len > 0 ? ", " : "",
						 quote_identifier(get_namespace_name_or_temp(lfirst_oid(cell))));
	return path.data;
}

/*
 * Returns the text of a query with all names qualified as a search path resolves them,
 * and with constants that do not depend on settings.  Call it as the consumer's owner,
 * between owner_begin and owner_end, which restores the settings.
 */
static char *
qualify(const char *sql, Oid row_type, const char *search_path)
{
	Query	   *query;
	List	   *operators = NIL;
	List	   *operators_qualified = NIL;
	char	   *qualified;

	set("search_path", search_path);
	query = analyze(sql, row_type);
	/* Deparsing may change the tree. */
	(void) collect_operators((Node *) query, &operators);
	set("search_path", "pg_catalog, pg_temp");
	set("DateStyle", "ISO");
	set("IntervalStyle", "postgres");
	set("extra_float_digits", "1");
	set("quote_all_identifiers", "off");
	qualified = deparse_query(query, sql);

	/* IS DISTINCT FROM, NULLIF, CASE and USING cannot qualify an operator. */
	(void) collect_operators((Node *) analyze(qualified, row_type), &operators_qualified);
	if (!equal(operators, operators_qualified))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("org_query means something else without the caller's search path"),
				 errdetail("It compares values of a type whose operators are not PostgreSQL's own by a construct that does not name them."),
				 errhint("Compare them by an operator, such as =, or cast them to text.")));
	return qualified + strspn(qualified, " ");
}

/*
 * qualify_consumer_query(consumer regclass, org_query text) returns text
 *
 * Parses the query of a consumer with the caller's search path, as the consumer's
 * owner, and returns it with all names qualified; NULL for NULL.  Needs the privileges
 * of that owner: nothing is parsed for other callers (42501).  Errors: the parser's;
 * 22023 unless it is one SELECT of one uuid, which writes and locks nothing and reads
 * no temporary table, and whose names can be qualified.
 */
Datum
qualify_consumer_query(PG_FUNCTION_ARGS)
{
	MemoryContext caller = CurrentMemoryContext;
	Oid			consumer;
	char		kind;
	const char *search_path;
	char	   *qualified;
	text	   *result;
	OwnerScope	scope;

	argument_require(fcinfo, 0, "consumer");
	consumer = PG_GETARG_OID(0);
	kind = get_rel_relkind(consumer);
	if (kind != RELKIND_RELATION && kind != RELKIND_PARTITIONED_TABLE)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("a consumer must be a table"),
				 catalog_error_constraint(consumer, "gateway_pools_consumer")));
	owner_require(consumer);
	if (PG_ARGISNULL(1))
		PG_RETURN_NULL();

	search_path = search_path_text();
	owner_begin(&scope, consumer);
	qualified = qualify(text_to_cstring(PG_GETARG_TEXT_PP(1)), get_rel_type_id(consumer), search_path);
	(void) org_query_plan(consumer, qualified);
	MemoryContextSwitchTo(caller);
	result = cstring_to_text(qualified);
	owner_end(&scope);
	PG_RETURN_TEXT_P(result);
}
