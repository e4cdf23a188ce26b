/*
 * pool_name.c
 *		Names of pools.
 */
#include "postgres.h"

#include "parser/scansup.h"
#include "utils/builtins.h"

#include "base/compat.h"
#include "tables/catalog.h"
#include "tables/pool_name.h"

PG_FUNCTION_INFO_V1(is_gateway_pool_name);

static bool
is_slug_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

/*
 * pool_name_is_valid returns true for a slug of 1 to POOL_NAME_MAX bytes: one that
 * matches ^[a-z0-9]+(-[a-z0-9]+)*$.
 */
bool
pool_name_is_valid(const char *name, int length)
{
	if (length < 1 || length > POOL_NAME_MAX)
		return false;
	for (int i = 0; i < length; i++)
	{
		bool		inner_hyphen = name[i] == '-' && i > 0 && i < length - 1 && name[i - 1] != '-';

		if (!is_slug_char(name[i]) && !inner_hyphen)
			return false;
	}
	return true;
}

/* pool_name_require raises 23514 unless a name is valid. */
void
pool_name_require(Oid pools, const char *name)
{
	if (!pool_name_is_valid(name, strlen(name)))
		ereport(ERROR,
				(errcode(ERRCODE_CHECK_VIOLATION),
				 errmsg("gateway pool name is not valid"),
				 errdetail("A name is 1 to %d characters from a-z and 0-9, with single hyphens between them.",
						   POOL_NAME_MAX),
				 catalog_error_constraint(pools, "gateway_pools_name_check")));
}

/* is_gateway_pool_name(name text) returns true for a valid name of a pool. */
Datum
is_gateway_pool_name(PG_FUNCTION_ARGS)
{
	text	   *name = PG_GETARG_TEXT_PP(0);

	catalog_require_fit();
	PG_RETURN_BOOL(pool_name_is_valid(VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name)));
}

/*
 * pool_name_read returns a name trimmed and lower-cased, as upstream does; 23514 unless
 * it is valid then.
 */
text *
pool_name_read(Oid pools, const text *given)
{
	char	   *name = text_to_cstring(given);
	int			length;

	while (scanner_isspace(*name))
		name++;
	length = strlen(name);
	while (length > 0 && scanner_isspace(name[length - 1]))
		length--;

	/* Only ASCII is folded: other characters are not valid. */
	for (int i = 0; i < length; i++)
		name[i] = pg_ascii_tolower((unsigned char) name[i]);
	name[length] = '\0';

	pool_name_require(pools, name);
	return cstring_to_text(name);
}
