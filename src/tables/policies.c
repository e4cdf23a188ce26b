/*
 * policies.c
 *		Row-level security on our tables that is not ours.
 *
 * Our functions access tables as their owner, to whom policies do not apply.  They
 * enforce our own policy in other ways (see isolation.c); if another policy applies to
 * a role, they read and write as that role, as plain statements would.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "catalog/pg_class.h"
#include "catalog/pg_policy.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/rls.h"
#include "utils/syscache.h"

#include "tables/policies.h"

typedef struct TablePolicies
{
	bool		ours;			/* there is the policy of isolation */
	bool		foreign;		/* there is another */
	bool		foreign_to_role;	/* and it is for the role in question */
} TablePolicies;

/* Returns true for a table with row-level security; false for a dropped one. */
static bool
is_enabled(Oid relation)
{
	HeapTuple	row = SearchSysCache1(RELOID, ObjectIdGetDatum(relation));
	bool		enabled;

	if (!HeapTupleIsValid(row))
		return false;
	enabled = ((Form_pg_class) GETSTRUCT(row))->relrowsecurity;
	ReleaseSysCache(row);
	return enabled;
}

/* Returns true if a policy with these roles applies to a role; 0 is every role. */
static bool
is_for_role(ArrayType *roles, Oid role)
{
	const Oid  *oids = (const Oid *) ARR_DATA_PTR(roles);

	for (int i = 0; i < ARR_DIMS(roles)[0]; i++)
		if (oids[i] == ACL_ID_PUBLIC || has_privs_of_role(role, oids[i]))
			return true;
	return false;
}

static TablePolicies
read_policies(Oid relation, Oid role)
{
	Relation	policies = table_open(PolicyRelationId, AccessShareLock);
	TablePolicies found = {0};
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	row;

	ScanKeyInit(&key, Anum_pg_policy_polrelid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(relation));
	scan = systable_beginscan(policies, PolicyPolrelidPolnameIndexId, true, NULL, 1, &key);
	while (HeapTupleIsValid(row = systable_getnext(scan)))
	{
		bool		is_null;
		Datum		roles = heap_getattr(row, Anum_pg_policy_polroles, RelationGetDescr(policies), &is_null);

		if (strcmp(NameStr(((Form_pg_policy) GETSTRUCT(row))->polname), ISOLATION_POLICY) == 0)
		{
			found.ours = true;
			continue;
		}
		found.foreign = true;
		if (OidIsValid(role) && is_for_role(DatumGetArrayTypeP(roles), role))
			found.foreign_to_role = true;
	}
	systable_endscan(scan);
	table_close(policies, AccessShareLock);
	return found;
}

/* policies_isolate returns true if a table has row-level security with the policy of isolation. */
bool
policies_isolate(Oid relation)
{
	return is_enabled(relation) && read_policies(relation, InvalidOid).ours;
}

/*
 * policies_are_foreign returns true if a table has row-level security other than
 * isolation: another policy, or none, which shows no rows to any role.
 */
bool
policies_are_foreign(Oid relation)
{
	TablePolicies found;

	if (!is_enabled(relation))
		return false;
	found = read_policies(relation, InvalidOid);
	return found.foreign || !found.ours;
}

/*
 * policies_apply returns true if row-level security other than isolation applies to
 * the current role: then functions act as that role.
 */
bool
policies_apply(Oid relation)
{
	TablePolicies found;

	if (!is_enabled(relation) || check_enable_rls(relation, InvalidOid, true) != RLS_ENABLED)
		return false;
	found = read_policies(relation, GetUserId());
	return found.foreign_to_role || !found.ours;
}
