/*
 * resolver_search.c
 *		The names that are asked for a host, by the system's search list.
 *
 * In the order of glibc: a host with at least ndots dots is first asked for as it is,
 * another one last.  c-ares would end at a domain whose servers fail, as glibc does not,
 * and reads "search ." as a domain without a name.
 */
#include "postgres.h"

#include "probe/resolver_internal.h"

/* resolver_search_read reads the system's search list; without memory there is none. */
void
resolver_search_read(Resolver *resolver)
{
	ares_channel channel;
	int			mask;

	resolver_search_free(resolver);
	if (ares_init_options(&channel, NULL, 0) != ARES_SUCCESS)
		return;
	if (ares_save_options(channel, &resolver->search, &mask) != ARES_SUCCESS)
		resolver->search = (struct ares_options) {.ndots = 1};
	ares_destroy(channel);

	for (int i = 0; i < resolver->search.ndomains; i++)
	{
		char	   *domain = resolver->search.domains[i];
		size_t		length = strlen(domain);

		while (length > 0 && domain[length - 1] == '.')
			domain[--length] = '\0';
	}
}

/* resolver_search_free frees the search list. */
void
resolver_search_free(Resolver *resolver)
{
	ares_destroy_options(&resolver->search);
	resolver->search = (struct ares_options) {.ndots = 1};
}

/*
 * resolver_search_name writes the name with a number, from 0, that is asked for a host,
 * in PROBE_HOST_MAX + 1 bytes; "" if the search list has no valid one there.  Returns
 * false after the last.
 */
bool
resolver_search_name(const Resolver *resolver, const char *host, int number, char *name)
{
	size_t		length = strlen(host);
	bool		absolute = length > 0 && host[length - 1] == '.';
	bool		as_is_first;
	int			dots = 0;
	int			place;			/* in the search list */
	const char *domain;

	length -= absolute;
	for (size_t i = 0; i < length; i++)
		dots += host[i] == '.';
	as_is_first = absolute || dots >= resolver->search.ndots;
	place = as_is_first ? number - 1 : number;

	*name = '\0';
	if (place == (as_is_first ? -1 : resolver->search.ndomains))
	{
		memcpy(name, host, length);
		name[length] = '\0';
		return true;
	}
	if (absolute || place >= resolver->search.ndomains)
		return false;
	domain = resolver->search.domains[place];
	if (*domain == '\0' || length + 1 + strlen(domain) > PROBE_HOST_MAX)
		return true;
	memcpy(name, host, length);
	name[length] = '.';
	strcpy(name + length + 1, domain);
	return true;
}
