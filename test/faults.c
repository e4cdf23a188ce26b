/*
 * faults.c
 *		Allocations that fail, in chosen memory contexts of a process, for
 *		test/t/049_out_of_memory.pl.  It is preloaded beside gateway_pool.
 *
 * faults.context names a memory context: it and all below it, as they are when faults.at
 * is set, count their allocations from then on.  faults.at n makes the n-th one fail,
 * and -n each one from the n-th on; 0 none.
 */
#include "postgres.h"

#include <limits.h>

#include "fmgr.h"
#include "nodes/memnodes.h"
#include "utils/guc.h"
#include "utils/memutils.h"

PG_MODULE_MAGIC;

PGDLLEXPORT void _PG_init(void);

static char *context_name;
static int	fail_at;
static int	allocations;

/* Those of the kind of context that the server uses most, and the same ones with an alloc that fails. */
static const MemoryContextMethods *original;
static MemoryContextMethods faulty;

static void
count_allocation(void)
{
	allocations++;
	if (allocations == fail_at || (fail_at < 0 && allocations >= -fail_at))
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("planted at %d: allocation %d is out of memory", fail_at, allocations)));
}

#if PG_VERSION_NUM >= 170000
static void *
allocate(MemoryContext context, Size size, int flags)
{
	count_allocation();
	return original->alloc(context, size, flags);
}
#else
static void *
allocate(MemoryContext context, Size size)
{
	count_allocation();
	return original->alloc(context, size);
}
#endif

static void
replace(MemoryContext context, bool below)
{
	below |= context->name != NULL && strcmp(context->name, context_name) == 0;
	if (below && context->methods == original)
		context->methods = &faulty;
	for (MemoryContext child = context->firstchild; child != NULL; child = child->nextchild)
		replace(child, below);
}

static void
set_fail_at(int value, void *extra)
{
	allocations = 0;
	if (value == 0 || context_name == NULL)
		return;
	if (original == NULL)
	{
		original = TopMemoryContext->methods;
		faulty = *original;
		faulty.alloc = allocate;
	}
	replace(TopMemoryContext, false);
}

void
_PG_init(void)
{
	DefineCustomStringVariable("faults.context", "The memory context whose allocations fail.", NULL,
							   &context_name, "gateway_pool monitor", PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("faults.at", "Which allocation fails.", NULL,
							&fail_at, 0, -INT_MAX, INT_MAX, PGC_USERSET, 0, NULL, set_fail_at, NULL);
}
