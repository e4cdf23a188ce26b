/*
 * clean_text.c
 *		Texts of less trusted roles, made fit to be shown and recorded.
 *
 * A control character can move the cursor of a terminal or hide what follows it;
 * a text without end fills a log.
 */
#include "postgres.h"

#include "mb/pg_wchar.h"

#include "base/clean_text.h"

/* clean_text_in_place writes blanks in place of control characters: C0, DEL, and in UTF-8 C1. */
void
clean_text_in_place(char *text)
{
	bool		is_utf8 = GetDatabaseEncoding() == PG_UTF8;

	for (unsigned char *c = (unsigned char *) text; *c != '\0'; c++)
	{
		if (*c < ' ' || *c == 0x7f)
			*c = ' ';
		/* U+0080 to U+009F, which some terminals obey as well. */
		else if (is_utf8 && c[0] == 0xc2 && c[1] >= 0x80 && c[1] < 0xa0)
			c[0] = c[1] = ' ';
	}
}

/*
 * clean_text returns a copy of a text in the database's encoding, or NULL for NULL:
 * its first characters at most, without control characters.
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
