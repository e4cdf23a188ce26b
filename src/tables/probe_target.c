/*
 * probe_target.c
 *		What is probed of a gateway, as a text that people can read.
 *
 * gateway_health has the text of the target that a verdict is about, so that the
 * verdict of another target is not believed after a restart.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "mb/pg_wchar.h"

#include "base/settings.h"
#include "tables/probe_target.h"

/* The end of a text that was cut: a space and 16 hexadecimal digits. */
#define HASH_LENGTH 17

/*
 * probe_target_append adds to a query the text of the target of a gateway "g" with the
 * row "probe" of gateway_probes; null if it is not probed.  Of the trusted certificates the
 * size has to do: reading them all takes too long.
 */
void
probe_target_append(StringInfo sql, HostColumns columns)
{
	const char *direct = setting_probe_direct_addresses ? host_columns_direct_address(columns) : "NULL";

	appendStringInfo(sql,
					 "CASE WHEN probe.\"gatewayId\" IS NULL THEN 'tcp://'::text OPERATOR(pg_catalog.||) %s"
					 " ELSE pg_catalog.concat_ws(' ', pg_catalog.concat(probe.protocol::text, '://', probe.address::text, probe.path::text)"
					 ", 'status '::text OPERATOR(pg_catalog.||) probe.\"expectedStatus\"::text"
					 ", 'name '::text OPERATOR(pg_catalog.||) probe.\"serverName\"::text"
					 ", CASE WHEN NOT probe.\"verifyTls\"::boolean THEN 'unverified' END"
					 ", 'bytes of CA: '::text OPERATOR(pg_catalog.||) pg_catalog.octet_length(probe.\"caCertificate\"::text)::text) END", direct);
}

/* probe_target_shorten fills in PROBE_TARGET_SIZE bytes. */
void
probe_target_shorten(const char *text, char *target)
{
	int			length = strlen(text);

	if (length < PROBE_TARGET_SIZE)
		strcpy(target, text);
	else
	{
		int			kept = pg_mbcliplen(text, length, PROBE_TARGET_SIZE - 1 - HASH_LENGTH);

		memcpy(target, text, kept);
		snprintf(target + kept, HASH_LENGTH + 1, " %08x%08x", (uint32) (probe_target_hash(text) >> 32), (uint32) probe_target_hash(text));
	}
}

/* probe_target_hash returns a hash that is not 0. */
uint64
probe_target_hash(const char *target)
{
	uint64		hash = hash_bytes_extended((const unsigned char *) target, strlen(target), 0);

	return Max(hash, 1);
}
