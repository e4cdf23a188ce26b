/*
 * pick_arguments.h
 *		What the caller of a pick asks for.
 */
#ifndef GATEWAY_POOL_PICK_ARGUMENTS_H
#define GATEWAY_POOL_PICK_ARGUMENTS_H

#include "fmgr.h"
#include "utils/jsonb.h"

#include "tables/access.h"
#include "tables/catalog.h"

typedef enum Strategy
{
	STRATEGY_RANDOM,
	STRATEGY_LEAST_LOADED,
	STRATEGY_STICKY
} Strategy;

/* What a caller asks for, his arguments checked. */
typedef struct PickRequest
{
	PoolCatalog catalog;
	const pg_uuid_t *pool_id;
	Strategy	strategy;
	pg_uuid_t  *excluded;		/* sorted */
	int			excluded_count;
	Jsonb	   *capabilities;	/* or NULL */
	uint64		key_hash;		/* for STRATEGY_STICKY */
	bool		null_if_none;
} PickRequest;

extern void pick_request_read(FunctionCallInfo fcinfo, int options, AccessRight right, PickRequest *request);
extern bool pick_request_excludes(const PickRequest *request, const pg_uuid_t *gateway);
extern bool pick_request_suits(const PickRequest *request, Jsonb *capabilities);
extern void pick_request_refuse_pool(const PickRequest *request);

#endif							/* GATEWAY_POOL_PICK_ARGUMENTS_H */
