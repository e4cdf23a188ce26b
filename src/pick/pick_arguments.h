/*
 * pick_arguments.h
 *		The arguments of a pick.
 */
#ifndef GATEWAY_POOL_PICK_ARGUMENTS_H
#define GATEWAY_POOL_PICK_ARGUMENTS_H

#include "fmgr.h"
#include "utils/jsonb.h"

#include "base/compat.h"
#include "tables/access.h"
#include "tables/catalog.h"

typedef enum Strategy
{
	STRATEGY_RANDOM,
	STRATEGY_LEAST_LOADED,
	STRATEGY_STICKY
} Strategy;

/* Checked arguments, and the catalog. */
typedef struct PickArguments
{
	PoolCatalog catalog;
	const pg_uuid_t *pool_id;
	Strategy	strategy;
	pg_uuid_t  *excluded;		/* sorted */
	int			excluded_count;
	Jsonb	   *capabilities;	/* or NULL */
	uint64		key_hash;		/* of the sticky key, for STRATEGY_STICKY */
	bool		null_if_none;
} PickArguments;

extern void pick_arguments_read(FunctionCallInfo fcinfo, int options, AccessRight right, PickArguments *arguments);
extern bool pick_arguments_excludes(const PickArguments *arguments, const pg_uuid_t *gateway);
extern bool pick_arguments_suits(const PickArguments *arguments, Jsonb *capabilities);
pg_noreturn extern void pick_arguments_refuse_pool(const PickArguments *arguments);

#endif							/* GATEWAY_POOL_PICK_ARGUMENTS_H */
