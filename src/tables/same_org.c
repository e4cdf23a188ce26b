/*
 * same_org.c
 *		The rule that a pool and its members, and a consumer and its pool or gateway,
 *		belong to the same organization.
 */
#include "postgres.h"

#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "base/uuid.h"
#include "tables/org_column.h"
#include "tables/owner.h"
#include "tables/same_org.h"

/*
 * same_org_lock locks a pool or a gateway FOR KEY SHARE, which a change of its
 * organization waits for, and returns its organization as of now, or NULL if there is
 * no such row.
 *
 * The organization is read by a second query: if the lock waited for a transaction
 * that first changed no key, then moved the row in a subtransaction, the locking query
 * returns the version before both.
 */
pg_uuid_t *
same_org_lock(const PoolCatalog *catalog, Oid relation, const pg_uuid_t *id)
{
	MemoryContext context = CurrentMemoryContext;
	OwnerScope	scope;
	pg_uuid_t  *org;

	owner_begin(&scope, relation);
	(void) owner_lock(psprintf("SELECT FROM %s WHERE id = $1 FOR KEY SHARE", catalog_name(relation)), id);
	(void) owner_query(psprintf("SELECT %s::uuid FROM %s WHERE id = $1", org_column_name(catalog, relation), catalog_name(relation)), id);
	org = owner_first_id(context);
	owner_end(&scope);
	return org;
}

/*
 * same_org_require raises the error of gateway_pools_same_org unless both sides exist
 * and are equal.  A missing side and a foreign one give the same error: a role must
 * not learn what another organization has.
 */
void
same_org_require(Relation relation, const pg_uuid_t *left, const pg_uuid_t *right,
				 const char *detail)
{
	if (left != NULL && right != NULL && uuid_equal(left, right))
		return;

	ereport(ERROR,
			(errcode(ERRCODE_FOREIGN_KEY_VIOLATION),
			 errmsg("insert or update on table \"%s\" crosses organizations",
					RelationGetRelationName(relation)),
			 errdetail_internal("%s", detail),
			 catalog_error_constraint(RelationGetRelid(relation), "gateway_pools_same_org")));
}
