/*
 * invalidation.h
 *		Messages to all sessions that a relation, a role or a database has changed.
 */
#ifndef GATEWAY_POOL_INVALIDATION_H
#define GATEWAY_POOL_INVALIDATION_H

/*
 * Functions that are called when a message arrives; each may be NULL.  They must not
 * read the catalog, allocate, free or throw: they mark what is cached as invalid.
 */
typedef struct InvalidationSubscriber
{
	void		(*relation_changed) (Oid relation); /* InvalidOid: any may
													 * have changed */
	void		(*roles_changed) (void);	/* a role, or which roles are
											 * members of which */
	void		(*databases_changed) (void);	/* a database: its name, its
												 * owner */
} InvalidationSubscriber;

extern void invalidation_init(const InvalidationSubscriber *const *in_order, int count);
extern void invalidation_send(Oid relation);

#endif							/* GATEWAY_POOL_INVALIDATION_H */
