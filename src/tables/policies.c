/*
 * policies.c
 *		Row-level security that is not ours, on the tables that we read and write.
 *
 * What our functions do as the owner of a table passes by its policies.  Ours is
 * asked in other ways (see isolation.c); where one of the owner's own applies to a
 * role, functions read and write as that role, as plain statements would.
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

/* What the policies of a table are. */
typedef struct TablePolicies
{
	bool		ours;			/* one is that of isolation */
	bool		foreign;		/* one is another */
	bool		foreign_to_role;	/* one of those is for a role that was
									 * asked for */
} TablePolicies;

/* A table that was dropped meanwhile has none. */
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

/* Returns true if a policy with these roles is for a role; 0 is every role. */
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
 * policies_are_foreign returns true if a table has row-level security by anything
 * but isolation: another policy, or none, which shows no role anything.
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
 * policies_apply returns true if such a policy applies to the current role: then
 * what is done on its behalf is done as that role.
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
