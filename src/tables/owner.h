/*
 * owner.h
 *		Statements that run with the rights of a table's owner.
 */
#ifndef GATEWAY_POOL_OWNER_H
#define GATEWAY_POOL_OWNER_H

#include "executor/spi.h"
#include "utils/uuid.h"

/* What owner_end restores. */
typedef struct OwnerScope
{
	Oid			user;
	int			security_context;
	int			settings_level;
	bool		snapshot_pushed;
} OwnerScope;

/* A plan that is kept between statements, and its text.  Zeros at first. */
typedef struct KeptPlan
{
	SPIPlanPtr	plan;
	char	   *sql;
} KeptPlan;

extern void owner_require(Oid relation);
extern void owner_begin(OwnerScope *scope, Oid relation);
extern void owner_begin_change(OwnerScope *scope, Oid relation);
extern void owner_begin_as_caller(OwnerScope *scope, Oid relation);
extern SPIPlanPtr owner_prepare(const char *sql, int argument_count, Oid *types);
extern SPIPlanPtr owner_prepare_kept(KeptPlan *kept, const char *sql, int argument_count, Oid *types);
extern uint64 owner_execute(SPIPlanPtr plan, Datum *values);
extern uint64 owner_execute_committed(SPIPlanPtr plan, Datum *values);
extern uint64 owner_execute_before(SPIPlanPtr plan, Datum *values);
extern uint64 owner_write(SPIPlanPtr plan, Datum *values);
extern uint64 owner_change(SPIPlanPtr plan, Datum *values, const char *nulls);
extern uint64 owner_query(const char *sql, const pg_uuid_t *id);
extern uint64 owner_query_before(const char *sql, const pg_uuid_t *id);
extern uint64 owner_lock(const char *sql, const pg_uuid_t *id);
extern pg_uuid_t owner_uuid(HeapTuple row, TupleDesc columns, int column);
extern pg_uuid_t *owner_first_id(MemoryContext context);
extern void owner_end(const OwnerScope *scope);
extern bool owner_exists(Oid relation, const char *sql, const pg_uuid_t *id);
extern void owner_lock_row(Oid relation, const pg_uuid_t *id, const char *strength);
extern int64 owner_count(Oid relation, const char *sql, const pg_uuid_t *id);

#endif							/* GATEWAY_POOL_OWNER_H */
