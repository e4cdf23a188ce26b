/*
 * termination.h
 *		How SIGTERM and time limits end the processes of this library.
 */
#ifndef GATEWAY_POOL_TERMINATION_H
#define GATEWAY_POOL_TERMINATION_H

extern void termination_init(void);
extern void termination_set_limit(int ms);
extern void termination_clear_limit(void);
extern bool termination_limit_was_reached(void);

#endif							/* GATEWAY_POOL_TERMINATION_H */
