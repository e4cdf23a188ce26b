/*
 * same_org.c
 *		Which organization a row belongs to, held while it is compared.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "same_org.h"

/* The id in the first column of the first row of the query before, or NULL. */
static pg_uuid_t *
first_id(MemoryContext context)
{
	pg_uuid_t  *id = NULL;
	bool		is_null = true;
	Datum		value = 0;

	if (SPI_processed > 0)
		value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &is_null);
	if (!is_null)
	{
		id = MemoryContextAlloc(context, sizeof(pg_uuid_t));
		*id = *DatumGetUUIDP(value);
	}
	return id;
}

/*
 * same_org_plan plans the query that finds the organization of a consumer's
 * row, its $1; '' is the row's own "orgId".  To be called as the consumer's
 * owner, between owner_begin and owner_end.
 */
SPIPlanPtr
same_org_plan(Oid relation, const char *org_query)
{
	Oid			row_type = get_rel_type_id(relation);

	return owner_prepare(org_query[0] == '\0' ? "SELECT ($1).\"orgId\"" : org_query, 1, &row_type);
}

/* same_org_of_row runs that plan for a row; NULL if it finds none. */
pg_uuid_t *
same_org_of_row(SPIPlanPtr plan, Datum row, MemoryContext context)
{
	pg_uuid_t  *org;

	if (owner_execute(plan, &row) > 0 && SPI_gettypeid(SPI_tuptable->tupdesc, 1) != UUIDOID)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("the query of the organization of a consumer must return a uuid")));
	org = first_id(context);
	SPI_freetuptable(SPI_tuptable);
	return org;
}

/*
 * same_org_lock locks a pool or a gateway FOR KEY SHARE, which a change of its
 * organization waits for, and returns its organization as of now, or NULL if
 * there is no such row.
 *
 * The organization is read after the lock is held.  Whoever waited for a
 * transaction that first changed no key, then moved the row in a
 * subtransaction, is given the version before both by the locking itself.
 */
pg_uuid_t *
same_org_lock(Oid relation, const pg_uuid_t *id)
{
	MemoryContext context = CurrentMemoryContext;
	OwnerScope	scope;
	pg_uuid_t  *org;

	owner_begin(&scope, relation);
	(void) owner_lock(psprintf("SELECT FROM %s WHERE id = $1 FOR KEY SHARE", catalog_name(relation)), id);
	(void) owner_query(psprintf("SELECT \"orgId\"::uuid FROM %s WHERE id = $1", catalog_name(relation)), id);
	org = first_id(context);
	owner_end(&scope);
	return org;
}

/*
 * same_org_require raises the error of <table>_same_org unless both sides exist
 * and are equal.  It is the same error for a missing and for a foreign side: a
 * role must not learn what another organization has.
 */
void
same_org_require(Relation relation, const pg_uuid_t *left, const pg_uuid_t *right,
				 const char *detail)
{
	if (left != NULL && right != NULL && memcmp(left, right, sizeof(pg_uuid_t)) == 0)
		return;

	ereport(ERROR,
			(errcode(ERRCODE_FOREIGN_KEY_VIOLATION),
			 errmsg("insert or update on table \"%s\" crosses organizations",
					RelationGetRelationName(relation)),
			 errdetail_internal("%s", detail),
			 catalog_error_constraint(RelationGetRelid(relation),
									  psprintf("%s_same_org", RelationGetRelationName(relation)))));
}
