/*
 * clean_text.h
 *		Texts of less trusted roles, made safe to show and record.
 */
#ifndef GATEWAY_POOL_CLEAN_TEXT_H
#define GATEWAY_POOL_CLEAN_TEXT_H

/* Characters of a name that are recorded or listed at most. */
#define CLEAN_NAME_MAX 256

/* Characters of an administrator's reason at most. */
#define CLEAN_REASON_MAX 1000

extern void clean_text_in_place(char *text);
extern char *clean_text(const char *text, int max_characters);

#endif							/* GATEWAY_POOL_CLEAN_TEXT_H */
