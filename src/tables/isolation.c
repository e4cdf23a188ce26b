/*
 * isolation.c
 *		Which organizations a role may know of.
 *
 * Isolation is on where gateway_pools has row-level security with our policy.
 * A role knows then of the organizations that gateway_pool_tenants names for it, or for a role
 * whose privileges it has.  The policies of the tables ask here, and so does
 * whatever reads the tables as their owner on behalf of a role.  For the owner,
 * superusers and roles with BYPASSRLS nothing is hidden.
 *
 * The organizations of a role are read once and kept until tenants, or roles,
 * change anywhere: a trigger on that table invalidates it, as with pools in
 * pool_cache.c.  What was read while this transaction had changed something goes
 * when it, or any of its subtransactions, aborts.
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
#include "tables/owner.h"

PG_FUNCTION_INFO_V1(is_tenant);
PG_FUNCTION_INFO_V1(is_tenant_of_pool);
PG_FUNCTION_INFO_V1(is_tenant_of_gateway);

/* With so many roles known, all are forgotten. */
#define ROLES_MAX 1024

/* What a role may know of. */
typedef struct KnownRole
{
	Oid			role;			/* the key */
	bool		everything;
	int			count;
	pg_uuid_t  *orgs;			/* sorted */
} KnownRole;

static MemoryContext context;
static HTAB *known_roles;
static KnownRole *last_role;	/* the one that was asked for last, or NULL */
static Oid	tenants_table;		/* that they were read from */
static Oid	pools_table;		/* whose owner is told nothing */

/* What is kept is not to be used any more. */
static bool stale = true;

/* Some of it may come from changes that have not been committed. */
static bool uncommitted_kept;

/* The plans of the query of the organization of a pool, and of a gateway. */
static KeptPlan pool_plan;
static KeptPlan gateway_plan;

static void
relation_changed(Oid relation)
{
	if (!OidIsValid(relation) || relation == tenants_table || relation == pools_table)
		stale = true;
}

static void
roles_changed(void)
{
	stale = true;
}

const InvalidationSubscriber isolation_invalidation = {
	.relation_changed = relation_changed,
	.roles_changed = roles_changed,
	.databases_changed = roles_changed	/* the owner of a database is a member
										 * of a role */
};

/* What was read of changes that are now lost is not used again. */
static void
discard_uncommitted(SubTransactionId aborted)
{
	if (uncommitted_kept)
		stale = true;
	uncommitted_kept = false;
}

static void
at_end(TransactionEnd end)
{
	if (end != TRANSACTION_COMMITTED)
		discard_uncommitted(TopSubTransactionId);
	uncommitted_kept = false;
}

const TransactionSubscriber isolation_subscriber = {
	.at_end = at_end,
	.at_subtransaction_abort = discard_uncommitted
};

static void
start_anew(const PoolCatalog *catalog)
{
	HASHCTL		control = {.keysize = sizeof(Oid), .entrysize = sizeof(KnownRole)};

	if (context == NULL)
		context = AllocSetContextCreate(TopMemoryContext, "gateway_pool tenants", ALLOCSET_DEFAULT_SIZES);
	MemoryContextReset(context);
	control.hcxt = context;
	known_roles = hash_create("gateway_pool tenants", 16, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	last_role = NULL;
	tenants_table = catalog->tenants;
	pools_table = catalog->pools;
	uncommitted_kept = false;
	stale = false;
}

/* Reads the organizations of a role into the current memory context. */
static KnownRole
read_role(const PoolCatalog *catalog, Oid role)
{
	MemoryContext caller = CurrentMemoryContext;
	Oid			owner = catalog_owner(catalog->pools);
	KnownRole	known = {.role = role};
	Datum		value = ObjectIdGetDatum(role);
	OwnerScope	scope;

	known.everything = has_bypassrls_privilege(role) || has_privs_of_role(role, owner);
	if (known.everything)
		return known;

	owner_begin(&scope, catalog->tenants);
	known.count = owner_execute(owner_prepare(psprintf("SELECT DISTINCT t.\"orgId\"::uuid FROM %s t"
													   " JOIN pg_roles r ON r.rolname = t.\"roleName\"::text"
													   " WHERE t.\"orgId\" IS NOT NULL AND pg_has_role($1, r.oid, 'USAGE')",
													   catalog_name(catalog->tenants)), 1, (Oid[]) {OIDOID}), &value);
	known.orgs = MemoryContextAlloc(caller, sizeof(pg_uuid_t) * Max(known.count, 1));
	for (int i = 0; i < known.count; i++)
		known.orgs[i] = owner_uuid(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1);
	owner_end(&scope);
	qsort(known.orgs, known.count, sizeof(pg_uuid_t), uuid_compare);
	return known;
}

/* Keeps what was read of a role; valid until the next call. */
static KnownRole *
keep(const KnownRole *read)
{
	pg_uuid_t  *orgs = MemoryContextAlloc(context, sizeof(pg_uuid_t) * Max(read->count, 1));
	bool		found;
	KnownRole  *known = hash_search(known_roles, &read->role, HASH_ENTER, &found);

	if (read->count > 0)
		memcpy(orgs, read->orgs, sizeof(pg_uuid_t) * read->count);
	*known = *read;
	known->orgs = orgs;
	if (TransactionIdIsValid(GetTopTransactionIdIfAny()))
		uncommitted_kept = true;
	return known;
}

/*
 * What the current role may know of.  It is kept, unless something changed while
 * it was read: then the caller, who began before, may use it, but no other.
 */
static const KnownRole *
current_role(const PoolCatalog *catalog)
{
	Oid			role = GetUserId();
	KnownRole  *read;

	if (stale || tenants_table != catalog->tenants || pools_table != catalog->pools)
		start_anew(catalog);
	if (last_role != NULL && last_role->role == role)
		return last_role;
	last_role = hash_search(known_roles, &role, HASH_FIND, NULL);
	if (last_role != NULL)
		return last_role;

	read = palloc(sizeof(KnownRole));
	*read = read_role(catalog, role);
	AcceptInvalidationMessages();
	if (stale)
		return read;
	if (hash_get_num_entries(known_roles) >= ROLES_MAX)
		start_anew(catalog);
	return last_role = keep(read);
}

static bool
is_tenant_of_org(const PoolCatalog *catalog, const pg_uuid_t *org)
{
	const KnownRole *known = current_role(catalog);

	return known->everything ||
		bsearch(org, known->orgs, known->count, sizeof(pg_uuid_t), uuid_compare) != NULL;
}

/* isolation_applies tells whether anything may be hidden from the current role. */
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
 * isolation_orgs returns an array of the organizations that the current role may
 * know of, or NULL where nothing is hidden from it.
 */
ArrayType *
isolation_orgs(const PoolCatalog *catalog)
{
	const KnownRole *known;
	Datum	   *orgs;

	if (!isolation_applies(catalog))
		return NULL;
	known = current_role(catalog);
	orgs = palloc(sizeof(Datum) * Max(known->count, 1));
	for (int i = 0; i < known->count; i++)
		orgs[i] = UUIDPGetDatum(&known->orgs[i]);
	return construct_array(orgs, known->count, UUIDOID, UUID_LEN, false, TYPALIGN_CHAR);
}

/* Whether the current role is a tenant of the organization of a pool or a gateway, which may not exist. */
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
	sql = psprintf("SELECT \"orgId\"::uuid FROM %s WHERE id = $1", catalog_name(relation));
	if (owner_execute(owner_prepare_kept(kept, sql, 1, (Oid[]) {UUIDOID}), &value) > 0)
	{
		value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &is_null);
		if (!is_null)
			org = *DatumGetUUIDP(value);
	}
	owner_end(&scope);
	return !is_null && is_tenant_of_org(catalog, &org);
}

/* isolation_hides_pool is isolation_hides for the id of a pool; one that does not exist is hidden. */
bool
isolation_hides_pool(const PoolCatalog *catalog, const pg_uuid_t *pool)
{
	return catalog->isolated && !is_tenant_of(catalog, catalog->pools, &pool_plan, pool);
}

/* The same for a gateway. */
bool
isolation_hides_gateway(const PoolCatalog *catalog, const pg_uuid_t *gateway)
{
	return catalog->isolated && !is_tenant_of(catalog, catalog->gateways, &gateway_plan, gateway);
}

/*
 * is_tenant(org uuid) returns boolean
 *
 * Whether the current role may know of an organization, if isolation is on: what
 * the policies ask.  False for NULL.  Tells a role about itself alone.
 */
Datum
is_tenant(PG_FUNCTION_ARGS)
{
	PoolCatalog catalog;

	catalog_open(&catalog);
	PG_RETURN_BOOL(!PG_ARGISNULL(0) && is_tenant_of_org(&catalog, PG_GETARG_UUID_P(0)));
}

/*
 * is_tenant_of_pool(pool uuid) returns boolean: the same for the
 * organization of a pool; false for one that does not exist, to a role from which
 * anything may be hidden
 */
Datum
is_tenant_of_pool(PG_FUNCTION_ARGS)
{
	PoolCatalog catalog;

	catalog_open(&catalog);
	PG_RETURN_BOOL(!PG_ARGISNULL(0) && is_tenant_of(&catalog, catalog.pools, &pool_plan, PG_GETARG_UUID_P(0)));
}

/* is_tenant_of_gateway(gateway uuid) returns boolean: the same for a gateway */
Datum
is_tenant_of_gateway(PG_FUNCTION_ARGS)
{
	PoolCatalog catalog;

	catalog_open(&catalog);
	PG_RETURN_BOOL(!PG_ARGISNULL(0) && is_tenant_of(&catalog, catalog.gateways, &gateway_plan, PG_GETARG_UUID_P(0)));
}
