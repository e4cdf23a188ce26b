/*
 * probe_triggers.c
 *		The trigger that enforces the rules on probes.
 */
#include "postgres.h"

#include "executor/spi.h"
#include "utils/rel.h"

#include "base/compat.h"
#include "base/trust_cache.h"
#include "base/settings.h"
#include "base/trigger_call.h"
#include "rules/probe_address.h"
#include "tables/catalog.h"

PG_FUNCTION_INFO_V1(probes_enforce);

static char *
text_of(TriggerData *call, const char *column)
{
	return SPI_getvalue(trigger_new_row(call), RelationGetDescr(call->tg_relation),
						trigger_required_column(call, column));
}

/* Raises 23514.  Does not show the address: messages reach logs and terminals. */
pg_noreturn static void
refuse_address(TriggerData *call, const char *problem, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_CHECK_VIOLATION),
			 errmsg("probe address is not valid"),
			 errdetail_internal("%s", problem),
			 errhint("%s", hint),
			 catalog_error_constraint(RelationGetRelid(call->tg_relation), "gateway_pool_probes_address_check")));
}

/* A name is resolved at each probe, which then checks the addresses. */
static void
check_address(TriggerData *call, const char *address)
{
	ProbeAddress target;
	struct sockaddr_storage numeric;
	const char *problem = probe_address_parse(address, &target);

	if (problem != NULL)
		refuse_address(call, problem, "Write host:port, 192.0.2.1:port or [2001:db8::1]:port.");
	if (target.numeric && probe_address_to_socket(&target, &numeric) &&
		settings_refuse_address((struct sockaddr *) &numeric) != NULL)
		refuse_address(call, "Probes must not connect to this address.",
					   "By default, probes do not connect to the server's own machine. "
					   "See gateway_pool.probe_denied_networks and gateway_pool.probe_allowed_networks.");
}

/* Checks a timeout against the setting; the table's constraint checks it against a row's own interval. */
static void
check_timeout(TriggerData *call)
{
	char	   *interval = text_of(call, "intervalMs");
	char	   *timeout = text_of(call, "timeoutMs");

	if (interval == NULL && timeout != NULL && atoi(timeout) > setting_probe_interval)
		ereport(ERROR,
				(errcode(ERRCODE_CHECK_VIOLATION),
				 errmsg("the timeout of a probe is longer than its interval"),
				 errdetail("The interval is that of gateway_pool.probe_interval, %d ms.", setting_probe_interval),
				 catalog_error_constraint(RelationGetRelid(call->tg_relation),
										  "gateway_pool_probes_timeout_within_interval_check")));
}

pg_noreturn static void
refuse_certificate(TriggerData *call, const char *message)
{
	ereport(ERROR,
			(errcode(ERRCODE_CHECK_VIOLATION),
			 errmsg_internal("%s", message),
			 catalog_error_constraint(RelationGetRelid(call->tg_relation), "gateway_pool_probes_ca_certificate_check")));
}

static void
check_certificate(TriggerData *call)
{
	char	   *certificate = text_of(call, "caCertificate");

	if (certificate == NULL)
		return;
	if (strlen(certificate) > TRUST_PEM_MAX)
		refuse_certificate(call, _("the certificates of authorities are longer than 64 kB"));
	if (strstr(certificate, "-----BEGIN CERTIFICATE-----") == NULL ||
		strstr(certificate, "-----END CERTIFICATE-----") == NULL)
		refuse_certificate(call, _("the certificate of an authority is not in PEM format"));
}

/*
 * probes_enforce(): BEFORE INSERT OR UPDATE, row, of gateway_probes
 *
 * Checks new values: an address that probes may connect to, a timeout within the
 * interval, certificates of authorities in PEM of at most 64 kB.  Errors: 23514.
 */
Datum
probes_enforce(PG_FUNCTION_ARGS)
{
	TriggerData *call = trigger_call(fcinfo, TRIGGER_EVENT_BEFORE, ON_INSERT | ON_UPDATE);
	PoolCatalog catalog;
	char	   *address;

	catalog_open(&catalog);
	trigger_require_table(call, catalog.probes);

	/* PostgreSQL checks NOT NULL after this trigger. */
	address = text_of(call, "address");
	if (address != NULL && trigger_changes_required(call, "address"))
		check_address(call, address);
	if (trigger_changes_required(call, "intervalMs") || trigger_changes_required(call, "timeoutMs"))
		check_timeout(call);
	if (trigger_changes_required(call, "caCertificate"))
		check_certificate(call);
	return PointerGetDatum(trigger_new_row(call));
}
