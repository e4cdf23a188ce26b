/*
 * clean_text.c
 *		Texts of less trusted roles, made safe to show and record.
 *
 * A control character can move a terminal's cursor or hide the text after it.  A long
 * text fills a log.
 */
#include "postgres.h"

#include "mb/pg_wchar.h"

#include "base/clean_text.h"

/* clean_text_in_place replaces control characters by blanks: C0, DEL, and in UTF-8 C1. */
void
clean_text_in_place(char *text)
{
	bool		is_utf8 = GetDatabaseEncoding() == PG_UTF8;

	for (unsigned char *c = (unsigned char *) text; *c != '\0'; c++)
	{
		if (*c < ' ' || *c == 0x7f)
			*c = ' ';
		/* U+0080 to U+009F are control characters for some terminals. */
		else if (is_utf8 && c[0] == 0xc2 && c[1] >= 0x80 && c[1] < 0xa0)
			c[0] = c[1] = ' ';
	}
}

/*
 * clean_text returns a copy of a text in the database's encoding, cut to "max_characters",
 * with blanks in place of control characters; NULL for NULL.
 */
char *
clean_text(const char *text, int max_characters)
{
	char	   *copy;

	if (text == NULL)
		return NULL;
	copy = pnstrdup(text, pg_mbcharcliplen(text, strlen(text), max_characters));
	clean_text_in_place(copy);
	return copy;
}
