/*
 * module.c
 *		Start of the library.
 */
#include "postgres.h"

#include "fmgr.h"

#include "compat.h"
#include "settings.h"

GATEWAY_POOL_MODULE_MAGIC;

void		_PG_init(void);

void
_PG_init(void)
{
	settings_init();
}
