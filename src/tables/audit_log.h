/*
 * audit_log.h
 *		The audit log: which role changed what.
 */
#ifndef GATEWAY_POOL_AUDIT_LOG_H
#define GATEWAY_POOL_AUDIT_LOG_H

#include "lib/stringinfo.h"

#include "tables/catalog.h"

/* The name of a row and its organization; NULL where they are not known. */
typedef struct AuditName
{
	const char *name;
	const pg_uuid_t *org_id;
} AuditName;

extern void audit_log_remember_deleted(Oid relation, const pg_uuid_t *id, const pg_uuid_t *org_id, const char *name);
extern AuditName audit_log_name(const PoolCatalog *catalog, Oid relation, const pg_uuid_t *id);
extern void audit_log_begin(StringInfo metadata);
extern void audit_log_put(StringInfo metadata, const char *key, const char *value);
extern void audit_log_put_reason(StringInfo metadata, const char *key, const char *value);
extern void audit_log_put_list(StringInfo metadata, const char *key, const char *const *values, int count);
extern void audit_log_write(const PoolCatalog *catalog, const char *event_type, const pg_uuid_t *org_id,
							StringInfo metadata);
extern int	audit_log_prune(const PoolCatalog *catalog);

#endif							/* GATEWAY_POOL_AUDIT_LOG_H */
