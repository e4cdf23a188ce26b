/*
 * change_triggers.h
 *		The triggers that publish changes of rows to all sessions.
 */
#ifndef GATEWAY_POOL_CHANGE_TRIGGERS_H
#define GATEWAY_POOL_CHANGE_TRIGGERS_H

#include "postgres_ext.h"

extern bool change_triggers_read(Oid relation, Oid function, uint64 *version);

#endif							/* GATEWAY_POOL_CHANGE_TRIGGERS_H */
