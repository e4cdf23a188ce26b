/*
 * probe_address_test.c
 *		Addresses that are, and are not, host:port.
 */
#include "postgres.h"

#include "rules/probe_address.h"
#include "tap.h"

static void
test_good(void)
{
	static const struct
	{
		const char *address;
		const char *host;
		int			port;
		bool		numeric;
	}			cases[] =
	{
		{"192.0.2.1:443", "192.0.2.1", 443, true},
		{"[2001:db8::1]:8443", "2001:db8::1", 8443, true},
		{"[::ffff:192.0.2.1]:1", "::ffff:192.0.2.1", 1, true},
		{"gateway-1.example.org:65535", "gateway-1.example.org", 65535, false},
		{"GATEWAY:8443", "GATEWAY", 8443, false},
		{"a_b.internal:80", "a_b.internal", 80, false},
		{"x1:80", "x1", 80, false},
		{"gw.example.:443", "gw.example.", 443, false}
	};

	for (int i = 0; i < lengthof(cases); i++)
	{
		ProbeAddress target;
		const char *problem = probe_address_parse(cases[i].address, &target);

		ok(problem == NULL && strcmp(target.host, cases[i].host) == 0 &&
		   target.port == cases[i].port && target.numeric == cases[i].numeric,
		   "%s is a valid address", cases[i].address);
	}
}

static void
test_bad(void)
{
	static const char *const cases[] = {
		"", ":", ":80", "host", "host:", "host:0", "host:00", "host:080", "host:65536", "host:99999",
		"host:4294967376", "host:-1", "host:+1", "host: 1", "host:1 ", "host:1x", "host:80:80",
		"[::1", "[::1]", "[::1]80", "[::1]:", "[::1]:0", "[]:80", "[host]:80", "[192.0.2.1]:80", "[fe80::1%eth0]:80",
		"::1:80", "2001:db8::1:80", "a b:1", " host:1", "http://x", "http://x:1", "u@h:1", "h/x:1", "h?x:1",
		"-host:1", "host-:1", "a..b:1", ".host:1", "host..:1", ".:1", "h\xc3\xb6st:1", "host;id:1", "$(id):1", "`id`:1",
		"host|id:1", "host\n:1", "host\r\nX:1", "host:1\n", "\x01:1", "host\x7f:1", "%31:1",
		"1:80", "127.1:80", "0x7f.1:80", "0x7f000001:80", "017700000001:80", "2130706433:80", "192.0.2.256:80",
		"192.0.2.1.:80", "192.0.2:80", "1.2.3.4.5:80", "0300.0.2.1:80", "a.1:80"
	};
	ProbeAddress target;
	char		address[400];

	for (int i = 0; i < lengthof(cases); i++)
	{
		const char *problem = probe_address_parse(cases[i], &target);

		ok(problem != NULL, "bad address %d: %s", i, problem ? problem : "bad address %d is refused: %s");
	}

	memset(address, 'a', sizeof(address));
	strcpy(address + 300, ":80");
	ok(probe_address_parse(address, &target) != NULL, "300 characters are refused");

	/*
	 * The longest label and the longest name are accepted, longer ones are
	 * not.
	 */
	memset(address, 'a', sizeof(address));
	strcpy(address + 63, ":80");
	ok(probe_address_parse(address, &target) == NULL, "a label of 63 is accepted");
	memset(address, 'a', sizeof(address));
	strcpy(address + 64, ":80");
	ok(probe_address_parse(address, &target) != NULL, "a label of 64 is refused");
	memset(address, 'a', sizeof(address));
	address[63] = address[127] = address[191] = '.';
	strcpy(address + 253, ":80");
	ok(probe_address_parse(address, &target) == NULL && strlen(target.host) == 253, "a name of 253 is accepted");
	strcpy(address + 253, ".:80");
	ok(probe_address_parse(address, &target) == NULL && strlen(target.host) == 254, "it may end with a dot");
	memset(address, 'a', sizeof(address));
	address[63] = address[127] = address[191] = '.';
	strcpy(address + 254, ":80");
	ok(probe_address_parse(address, &target) != NULL, "a name of 254 is refused");
}

int
main(void)
{
	test_good();
	test_bad();
	return done();
}
