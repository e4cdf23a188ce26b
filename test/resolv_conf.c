/*
 * resolv_conf.c
 *		Has programs read another file than /etc/resolv.conf, the one that is
 *		named by GATEWAY_POOL_TEST_RESOLV_CONF: a library for LD_PRELOAD.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

FILE *
fopen(const char *path, const char *mode)
{
	FILE	   *(*next) (const char *, const char *) = (FILE *(*) (const char *, const char *)) dlsym(RTLD_NEXT, "fopen");
	const char *other = getenv("GATEWAY_POOL_TEST_RESOLV_CONF");

	return next(other != NULL && strcmp(path, "/etc/resolv.conf") == 0 ? other : path, mode);
}
