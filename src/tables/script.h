/*
 * script.h
 *		Whether the SQL objects of the extension are those that this library was built with.
 */
#ifndef GATEWAY_POOL_SCRIPT_H
#define GATEWAY_POOL_SCRIPT_H

extern bool script_fits(Oid signal);
pg_noreturn extern void script_refuse(Oid signal, Oid schema);

#endif							/* GATEWAY_POOL_SCRIPT_H */
