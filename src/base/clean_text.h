/*
 * clean_text.h
 *		Texts of less trusted roles, made fit to be shown and recorded.
 */
#ifndef GATEWAY_POOL_CLEAN_TEXT_H
#define GATEWAY_POOL_CLEAN_TEXT_H

/* The most characters of a name that are recorded or listed. */
#define CLEAN_NAME_MAX 256

/* The most characters of a reason that an administrator gives. */
#define CLEAN_REASON_MAX 1000

extern void clean_text_in_place(char *text);
extern char *clean_text(const char *text, int max_characters);

#endif							/* GATEWAY_POOL_CLEAN_TEXT_H */
