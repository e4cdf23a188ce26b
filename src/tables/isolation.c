/*
 * isolation.c
 *		Isolation: which organizations a role may see.
 *
 * Isolation is on if gateway_pools has row-level security with our policy.  A role
 * then sees the organizations that gateway_pool_tenants names for it, or for a role
 * whose privileges it has.  The policies of the tables call this file, and so do
 * functions that read tables as their owner on behalf of a role.  Nothing is hidden
 * from the owner, superusers and roles with BYPASSRLS.
 *
 * The organizations of a role are cached until tenants or roles change: a trigger on
 * gateway_pool_tenants invalidates it.  Entries that were read after this transaction
 * had changed something are discarded when it, or any subtransaction, aborts.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/memutils.h"

#include "base/uuid.h"
#include "tables/isolation.h"
#include "tables/org_column.h"
#include "tables/owner.h"

PG_FUNCTION_INFO_V1(is_tenant);
PG_FUNCTION_INFO_V1(is_tenant_of_pool);
PG_FUNCTION_INFO_V1(is_tenant_of_gateway);

/* When so many roles are cached, all are discarded. */
#define ROLES_MAX 1024

/* The organizations that a role may see. */
typedef struct CachedRole
{
	Oid			role;			/* the key */
	bool		everything;
	int			count;
	pg_uuid_t  *orgs;			/* sorted */
} CachedRole;

static MemoryContext context;
static HTAB *cached_roles;
static CachedRole *last_role;	/* the role of the last call, or NULL */
static Oid	tenants_table;		/* the table that they were read from */
static Oid	pools_table;		/* the table whose owner may see everything */

/* The cache is outdated. */
static bool outdated = true;

/* Some of it may come from changes that are not committed. */
static bool uncommitted_cached;

/* The plans of the query of the organization of a pool, and of a gateway. */
static KeptPlan pool_plan;
static KeptPlan gateway_plan;

static void
relation_changed(Oid relation)
{
	if (!OidIsValid(relation) || relation == tenants_table || relation == pools_table)
		outdated = true;
}

static void
roles_changed(void)
{
	outdated = true;
}

const InvalidationSubscriber isolation_invalidation = {
	.relation_changed = relation_changed,
	.roles_changed = roles_changed,
	.databases_changed = roles_changed	/* the owner of a database is a member
										 * of a role */
};

/* Discards what may have been read of changes that are undone. */
static void
discard_uncommitted(SubTransactionId aborted)
{
	if (uncommitted_cached)
		outdated = true;
	uncommitted_cached = false;
}

static void
at_end(TransactionEnd end)
{
	if (end != TRANSACTION_COMMITTED)
		discard_uncommitted(TopSubTransactionId);
	uncommitted_cached = false;
}

const TransactionSubscriber isolation_subscriber = {
	.at_end = at_end,
	.at_subtransaction_abort = discard_uncommitted
};

static void
clear(const PoolCatalog *catalog)
{
	HASHCTL		control = {.keysize = sizeof(Oid), .entrysize = sizeof(CachedRole)};

	/* An ERROR below leaves them outdated. */
	outdated = true;
	last_role = NULL;
	if (context == NULL)
		context = AllocSetContextCreate(TopMemoryContext, "gateway_pool tenants", ALLOCSET_DEFAULT_SIZES);
	MemoryContextReset(context);
	control.hcxt = context;
	cached_roles = hash_create("gateway_pool tenants", 16, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	tenants_table = catalog->tenants;
	pools_table = catalog->pools;
	uncommitted_cached = false;
	outdated = false;
}

/* Reads the organizations of a role into the current memory context. */
static CachedRole
read_role(const PoolCatalog *catalog, Oid role)
{
	MemoryContext caller = CurrentMemoryContext;
	Oid			owner = catalog_owner(catalog->pools);
	CachedRole	cached = {.role = role};
	Datum		value = ObjectIdGetDatum(role);
	OwnerScope	scope;

	cached.everything = has_bypassrls_privilege(role) || has_privs_of_role(role, owner);
	if (cached.everything)
		return cached;

	owner_begin(&scope, catalog->tenants);
	cached.count = owner_execute(owner_prepare(psprintf("SELECT DISTINCT t.\"orgId\"::uuid FROM %s t"
														" JOIN pg_roles r ON r.rolname = t.\"roleName\"::text"
														" WHERE t.\"orgId\" IS NOT NULL AND pg_has_role($1, r.oid, 'USAGE')",
														catalog_name(catalog->tenants)), 1, (Oid[]) {OIDOID}), &value);
	cached.orgs = MemoryContextAlloc(caller, sizeof(pg_uuid_t) * Max(cached.count, 1));
	for (int i = 0; i < cached.count; i++)
		cached.orgs[i] = owner_uuid(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1);
	owner_end(&scope);
	qsort(cached.orgs, cached.count, sizeof(pg_uuid_t), uuid_compare);
	return cached;
}

/* Adds a role to the cache; the result is valid until the next call. */
static CachedRole *
cache(const CachedRole *read)
{
	pg_uuid_t  *orgs = MemoryContextAlloc(context, sizeof(pg_uuid_t) * Max(read->count, 1));
	bool		found;
	CachedRole *cached = hash_search(cached_roles, &read->role, HASH_ENTER, &found);

	if (read->count > 0)
		memcpy(orgs, read->orgs, sizeof(pg_uuid_t) * read->count);
	*cached = *read;
	cached->orgs = orgs;
	if (TransactionIdIsValid(GetTopTransactionIdIfAny()))
		uncommitted_cached = true;
	return cached;
}

/*
 * Returns the organizations that the current role may see.  They are cached unless
 * something changed while they were read: then only this caller may use them.
 */
static const CachedRole *
current_role(const PoolCatalog *catalog)
{
	Oid			role = GetUserId();
	CachedRole *read;

	if (outdated || catalog->unpublished || tenants_table != catalog->tenants || pools_table != catalog->pools)
		clear(catalog);
	if (last_role != NULL && last_role->role == role)
		return last_role;
	last_role = hash_search(cached_roles, &role, HASH_FIND, NULL);
	if (last_role != NULL)
		return last_role;

	read = palloc(sizeof(CachedRole));
	*read = read_role(catalog, role);
	AcceptInvalidationMessages();
	if (outdated)
		return read;
	if (hash_get_num_entries(cached_roles) >= ROLES_MAX)
		clear(catalog);
	return last_role = cache(read);
}

static bool
is_tenant_of_org(const PoolCatalog *catalog, const pg_uuid_t *org)
{
	const CachedRole *cached = current_role(catalog);

	return cached->everything ||
		bsearch(org, cached->orgs, cached->count, sizeof(pg_uuid_t), uuid_compare) != NULL;
}

/* isolation_applies returns true if anything may be hidden from the current role. */
bool
isolation_applies(const PoolCatalog *catalog)
{
	return catalog->isolated && !current_role(catalog)->everything;
}

/* isolation_is_foreign: see isolation_hides. */
bool
isolation_is_foreign(const PoolCatalog *catalog, const pg_uuid_t *org)
{
	return !is_tenant_of_org(catalog, org);
}

/*
 * isolation_orgs returns an array of the organizations that the current role may see,
 * or NULL if nothing is hidden from it.
 */
ArrayType *
isolation_orgs(const PoolCatalog *catalog)
{
	const CachedRole *cached;
	Datum	   *orgs;

	if (!isolation_applies(catalog))
		return NULL;
	cached = current_role(catalog);
	orgs = palloc(sizeof(Datum) * Max(cached->count, 1));
	for (int i = 0; i < cached->count; i++)
		orgs[i] = UUIDPGetDatum(&cached->orgs[i]);
	return construct_array(orgs, cached->count, UUIDOID, UUID_LEN, false, TYPALIGN_CHAR);
}

/* Returns true if the current role may see the organization of a pool or a gateway; false if that does not exist. */
static bool
is_tenant_of(const PoolCatalog *catalog, Oid relation, KeptPlan *kept, const pg_uuid_t *id)
{
	Datum		value = UUIDPGetDatum(id);
	OwnerScope	scope;
	const char *sql;
	pg_uuid_t	org;
	bool		is_null = true;

	if (current_role(catalog)->everything)
		return true;

	owner_begin(&scope, relation);
	sql = psprintf("SELECT %s::uuid FROM %s WHERE id = $1", org_column_name(catalog, relation), catalog_name(relation));
	if (owner_execute(owner_prepare_kept(kept, sql, 1, (Oid[]) {UUIDOID}), &value) > 0)
	{
		value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &is_null);
		if (!is_null)
			org = *DatumGetUUIDP(value);
	}
	owner_end(&scope);
	return !is_null && is_tenant_of_org(catalog, &org);
}

/* isolation_hides_pool is isolation_hides for the id of a pool; a pool that does not exist is hidden. */
bool
isolation_hides_pool(const PoolCatalog *catalog, const pg_uuid_t *pool)
{
	return catalog->isolated && !is_tenant_of(catalog, catalog->pools, &pool_plan, pool);
}

/* isolation_hides_gateway is isolation_hides_pool for a gateway. */
bool
isolation_hides_gateway(const PoolCatalog *catalog, const pg_uuid_t *gateway)
{
	return catalog->isolated && !is_tenant_of(catalog, catalog->gateways, &gateway_plan, gateway);
}

/*
 * is_tenant(org uuid) returns true if the current role may see an organization, for
 * the policies; false for NULL.  A role learns about itself only.
 */
Datum
is_tenant(PG_FUNCTION_ARGS)
{
	PoolCatalog catalog;

	catalog_open(&catalog);
	PG_RETURN_BOOL(!PG_ARGISNULL(0) && is_tenant_of_org(&catalog, PG_GETARG_UUID_P(0)));
}

/*
 * is_tenant_of_pool(pool uuid) is is_tenant for the organization of a pool.  For a
 * role from which something may be hidden, false if the pool does not exist.
 */
Datum
is_tenant_of_pool(PG_FUNCTION_ARGS)
{
	PoolCatalog catalog;

	catalog_open(&catalog);
	PG_RETURN_BOOL(!PG_ARGISNULL(0) && is_tenant_of(&catalog, catalog.pools, &pool_plan, PG_GETARG_UUID_P(0)));
}

/* is_tenant_of_gateway(gateway uuid) is is_tenant_of_pool for a gateway. */
Datum
is_tenant_of_gateway(PG_FUNCTION_ARGS)
{
	PoolCatalog catalog;

	catalog_open(&catalog);
	PG_RETURN_BOOL(!PG_ARGISNULL(0) && is_tenant_of(&catalog, catalog.gateways, &gateway_plan, PG_GETARG_UUID_P(0)));
}
