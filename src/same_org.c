/*
 * same_org.c
 *		Which organization a row belongs to, held while it is compared.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/rel.h"

#include "same_org.h"

/*
 * same_org_lock locks a pool or a gateway with a strength of SELECT ... FOR and
 * returns its organization as of now, or NULL if there is no such row.
 */
pg_uuid_t *
same_org_lock(Oid relation, const pg_uuid_t *id, const char *strength)
{
	MemoryContext context = CurrentMemoryContext;
	OwnerScope	scope;
	pg_uuid_t  *org = NULL;

	owner_begin(&scope, relation);
	if (owner_lock(psprintf("SELECT \"orgId\"::uuid FROM %s WHERE id = $1 FOR %s",
							catalog_name(relation), strength), id) > 0)
	{
		bool		is_null;
		Datum		value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &is_null);

		if (!is_null)
		{
			org = MemoryContextAlloc(context, sizeof(pg_uuid_t));
			*org = *DatumGetUUIDP(value);
		}
	}
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
