/*
 * pick_arguments.c
 *		The arguments of a pick.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

#include "base/argument.h"
#include "base/compat.h"
#include "base/uuid.h"
#include "pick/pick_arguments.h"
#include "rules/selection.h"
#include "shared/health_map.h"

/* Ignores null elements: a first attempt has no gateway to exclude yet. */
static void
read_excluded(ArrayType *array, PickArguments *arguments)
{
	Datum	   *values;
	bool	   *nulls;
	int			count;

	deconstruct_array(array, UUIDOID, UUID_LEN, false, TYPALIGN_CHAR, &values, &nulls, &count);
	arguments->excluded = palloc(sizeof(pg_uuid_t) * Max(count, 1));
	arguments->excluded_count = 0;
	for (int i = 0; i < count; i++)
		if (!nulls[i])
			arguments->excluded[arguments->excluded_count++] = *DatumGetUUIDP(values[i]);
	qsort(arguments->excluded, arguments->excluded_count, sizeof(pg_uuid_t), uuid_compare);
}

static bool
text_is(const text *value, const char *word)
{
	return VARSIZE_ANY_EXHDR(value) == strlen(word) &&
		memcmp(VARDATA_ANY(value), word, strlen(word)) == 0;
}

static Strategy
read_strategy(const text *word)
{
	if (text_is(word, "random"))
		return STRATEGY_RANDOM;
	if (text_is(word, "least_loaded"))
		return STRATEGY_LEAST_LOADED;
	if (text_is(word, "sticky"))
		return STRATEGY_STICKY;
	argument_refuse_word("pick strategy", word, "The strategies are random, least_loaded and sticky.");
}

/* Hashes a sticky key as UTF-8, so that databases of other encodings pick alike. */
static uint64
hash_key(text *key)
{
	char	   *bytes = VARDATA_ANY(key);
	int			length = VARSIZE_ANY_EXHDR(key);
	char	   *utf8 = bytes;

	/* The bytes of SQL_ASCII have no meaning that could be converted. */
	if (GetDatabaseEncoding() != PG_SQL_ASCII)
		utf8 = pg_server_to_any(bytes, length, PG_UTF8);
	return selection_key_hash(utf8, utf8 == bytes ? length : strlen(utf8));
}

/*
 * pick_arguments_read reads and checks the arguments (pool_id, exclude, strategy,
 * capabilities, sticky_key, null_if_none), the last five from position "options" on,
 * and requires the right of the caller.
 */
void
pick_arguments_read(FunctionCallInfo fcinfo, int options, AccessRight right, PickArguments *arguments)
{
	catalog_open(&arguments->catalog);
	access_require(&arguments->catalog, right);

	arguments->pool_id = argument_uuid(fcinfo, 0, "pool_id");
	arguments->excluded_count = 0;
	if (!PG_ARGISNULL(options))
		read_excluded(PG_GETARG_ARRAYTYPE_P(options), arguments);
	argument_require(fcinfo, options + 1, "strategy");
	arguments->strategy = read_strategy(PG_GETARG_TEXT_PP(options + 1));
	arguments->capabilities = NULL;
	if (!PG_ARGISNULL(options + 2))
	{
		arguments->capabilities = PG_GETARG_JSONB_P(options + 2);
		if (!JB_ROOT_IS_OBJECT(arguments->capabilities))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("capabilities must be a JSON object")));
	}
	if (arguments->strategy == STRATEGY_STICKY)
	{
		argument_require(fcinfo, options + 3, "sticky_key");
		arguments->key_hash = hash_key(PG_GETARG_TEXT_PP(options + 3));
	}
	else if (!PG_ARGISNULL(options + 3))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("sticky_key requires strategy \"sticky\""),
				 errhint("Pass strategy => 'sticky', or no sticky_key.")));
	if (arguments->strategy == STRATEGY_LEAST_LOADED && !health_map_exists())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("strategy \"least_loaded\" needs gateway_pool to be preloaded"),
				 errhint("Add gateway_pool to shared_preload_libraries and restart the server."),
				 err_generic_string(PG_DIAG_CONSTRAINT_NAME, "gateway_pools_not_preloaded")));
	argument_require(fcinfo, options + 4, "null_if_none");
	arguments->null_if_none = PG_GETARG_BOOL(options + 4);
}

/* pick_arguments_excludes returns true if the caller excludes a gateway. */
bool
pick_arguments_excludes(const PickArguments *arguments, const pg_uuid_t *gateway)
{
	return arguments->excluded_count > 0 &&
		bsearch(gateway, arguments->excluded, arguments->excluded_count, sizeof(pg_uuid_t), uuid_compare) != NULL;
}

/* pick_arguments_suits returns true if capabilities, NULL for none, contain those asked for. */
bool
pick_arguments_suits(const PickArguments *arguments, Jsonb *capabilities)
{
	if (arguments->capabilities == NULL)
		return true;
	if (capabilities == NULL)
		return JB_ROOT_COUNT(arguments->capabilities) == 0;
	return DatumGetBool(DirectFunctionCall2(jsonb_contains,
											JsonbPGetDatum(capabilities),
											JsonbPGetDatum(arguments->capabilities)));
}

/* pick_arguments_refuse_pool raises P0002: the pool does not exist. */
void
pick_arguments_refuse_pool(const PickArguments *arguments)
{
	ereport(ERROR,
			(errcode(ERRCODE_NO_DATA_FOUND),
			 errmsg("gateway pool %s does not exist", uuid_text(arguments->pool_id)),
			 catalog_error_constraint(arguments->catalog.pools, "gateway_pools_not_found")));
}
