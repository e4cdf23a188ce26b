/*
 * own_addresses.h
 *		The addresses of this machine.
 */
#ifndef GATEWAY_POOL_OWN_ADDRESSES_H
#define GATEWAY_POOL_OWN_ADDRESSES_H

#include "rules/network_list.h"

extern const NetworkList *own_addresses(void);

#endif							/* GATEWAY_POOL_OWN_ADDRESSES_H */
