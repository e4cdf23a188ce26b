/*
 * explain.h
 *		Explanations of picks.
 */
#ifndef GATEWAY_POOL_EXPLAIN_H
#define GATEWAY_POOL_EXPLAIN_H

#include "pick/pick_arguments.h"

extern void explain_refusal(const PickArguments *arguments);

#endif							/* GATEWAY_POOL_EXPLAIN_H */
