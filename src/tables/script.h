/*
 * script.h
 *		Whether the SQL objects of the extension are those that this library was built with.
 */
#ifndef GATEWAY_POOL_SCRIPT_H
#define GATEWAY_POOL_SCRIPT_H

/* What pg_extension says of the extension. */
typedef struct ExtensionRow
{
	Oid			schema;
	const char *version;
} ExtensionRow;

extern bool script_extension(ExtensionRow *extension);
extern bool script_fits(Oid signal);
pg_noreturn extern void script_refuse(Oid signal);

#endif							/* GATEWAY_POOL_SCRIPT_H */
