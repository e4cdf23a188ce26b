/*
 * network_list_test.c
 *		Lists of networks, and which addresses probes may connect to.
 *
 * Addresses are written as users write them, so that what probe_address.c lets
 * through and what the lists refuse are tested together.
 */
#include "postgres.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/un.h>

#include "rules/network_list.h"
#include "rules/probe_address.h"
#include "tap.h"

#define DEFAULT_DENIED "samehost, 127.0.0.0/8, ::1, 169.254.0.0/16, fe80::/10, " \
	"fd00:ec2::254, 100.100.100.200, 168.63.129.16, 192.0.0.192"

/* The addresses of the machine. */
#define OWN "10.9.8.7, 2001:db8:9::7, 127.0.0.1, ::1"

static NetworkList *
parse(const char *text)
{
	NetworkList *list = malloc(network_list_size(text));
	const char *problem = list == NULL ? "no memory" : network_list_parse(text, list);

	if (problem != NULL)
	{
		printf("Bail out! %s: %s\n", text, problem);
		exit(1);
	}
	return list;
}

static const char unreadable[] = "not an address";

/* Returns NULL if the address may be connected to, else the reason why not. */
static const char *
refusal(const char *denied, const char *allowed, const char *address)
{
	NetworkList *denied_list = parse(denied);
	NetworkList *allowed_list = parse(allowed);
	NetworkList *own = parse(OWN);
	ProbeAddress target;
	struct sockaddr_storage parsed;
	const char *why = unreadable;

	if (probe_address_parse(address, &target) == NULL && probe_address_to_socket(&target, &parsed))
		why = network_refusal(denied_list, allowed_list, own, (struct sockaddr *) &parsed);
	free(own);
	free(denied_list);
	free(allowed_list);
	return why;
}

static void
test_good_lists(void)
{
	static const struct
	{
		const char *text;
		int			count;
	}			cases[] =
	{
		{"", 0}, {"  \t\n", 0}, {"10.0.0.0/8", 1}, {" 10.0.0.0/8 ", 1}, {"10.0.0.0/8,::1", 2},
		{"10.0.0.0/8 , ::1\t,\n192.0.2.1", 3}, {DEFAULT_DENIED, 8}, {"0.0.0.0/0", 1}, {"::/0", 1},
		{"192.0.2.1/32", 1}, {"2001:db8::1/128", 1}, {"192.0.2.128/25", 1}, {"2001:DB8::/33", 1},
		{"64:ff9b::192.0.2.0/120", 1}, {"ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255/128", 1},
		{"::/64", 1}, {"10.0.0.0/8,10.0.0.0/8", 2},
		{"samehost", 0}, {"10.0.0.0/8, samehost ,::1", 2}
	};

	for (int i = 0; i < lengthof(cases); i++)
	{
		NetworkList *list = malloc(network_list_size(cases[i].text));
		const char *problem = network_list_parse(cases[i].text, list);

		ok(problem == NULL && list->count == cases[i].count, "list %d has %d networks%s%s",
		   i, cases[i].count, problem ? ": " : "", problem ? problem : "");
		free(list);
	}
	ok(network_list_size("10.0.0.0/8,::1,::2") == network_list_size("") + 2 * sizeof(Network), "there is room for each network");
}

static void
test_bad_lists(void)
{
	static const char *const cases[] = {
		",", "10.0.0.0/8,", ",10.0.0.0/8", "10.0.0.0/8,,::1", "10.0.0.0/8, ,::1",
		"10.0.0.0/8 ::1", "10.0.0.0/8;::1",
		"10", "10/8", "10.0/8", "10.0.0/8", "10.0.0.0.0/8", "010.0.0.0/8", "0x0a000000/8", "167772160/8", "256.0.0.0/8",
		"10.0.0.0/", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/+8", "10.0.0.0/08", "10.0.0.0/ 8", "10.0.0.0 /8",
		"10.0.0.0/8x", "10.0.0.0/8/8", "10.0.0.0/255.0.0.0", "10.0.0.0/4294967304", "/8", "2001:db8::/129", "::/",
		"10.0.0.1/8", "192.0.2.129/25", "192.0.2.1/31", "0.0.0.1/0", "2001:db8::1/64", "fe80::/8", "::1/127",
		"[::1]", "[2001:db8::]/32", "fe80::1%eth0", "fe80::%1/10", ":::/0", "1::2::3", "example.org", "localhost",
		"samenet", "samehos", "samehosts", "SAMEHOST", "samehost/32",
		"::ffff:10.0.0.0/104", "::ffff:10.0.0.1", "::ffff:0:0/96",
		"ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255/1288", "\xef\xbc\x91\xef\xbc\x90.0.0.0/8", "10.0.0.0/\xc2\xb2",
		"10.0.0.0                                                                                                    /8"
	};

	for (int i = 0; i < lengthof(cases); i++)
	{
		NetworkList *list = malloc(network_list_size(cases[i]));
		const char *problem = network_list_parse(cases[i], list);

		ok(problem != NULL && strlen(problem) > 0 && problem[strlen(problem) - 1] == '.',
		   "list %d is refused: %s", i, problem ? problem : "accepted");
		ok(i > 4 || (problem != NULL && strstr(problem, "missing") != NULL), "a missing network is reported as such");
		free(list);
	}
}

/* The first and last address of a network are in it, their neighbors are not. */
static void
test_borders(void)
{
	static const struct
	{
		const char *network;
		const char *inside[2];
		const char *outside[2];
	}			cases[] =
	{
		{"10.0.0.0/8", {"10.0.0.0:1", "10.255.255.255:1"}, {"9.255.255.255:1", "11.0.0.0:1"}},
		{"172.16.0.0/12", {"172.16.0.0:1", "172.31.255.255:1"}, {"172.15.255.255:1", "172.32.0.0:1"}},
		{"192.0.2.4/31", {"192.0.2.4:1", "192.0.2.5:1"}, {"192.0.2.3:1", "192.0.2.6:1"}},
		{"192.0.2.5", {"192.0.2.5:1", "192.0.2.5:65535"}, {"192.0.2.4:1", "192.0.2.6:1"}},
		{"128.0.0.0/1", {"128.0.0.0:1", "223.255.255.255:1"}, {"127.255.255.255:1", "[8000::]:1"}},
		{"2001:db8::/32", {"[2001:db8::]:1", "[2001:db8:ffff:ffff:ffff:ffff:ffff:ffff]:1"},
		{"[2001:db7:ffff:ffff:ffff:ffff:ffff:ffff]:1", "[2001:db9::]:1"}},
		{"fe80::/10", {"[fe80::]:1", "[febf:ffff::1]:1"}, {"[fe7f:ffff::]:1", "[fec0::]:1"}},
		{"2001:db8::8/125", {"[2001:db8::8]:1", "[2001:db8::f]:1"}, {"[2001:db8::7]:1", "[2001:db8::10]:1"}},
		{"0.0.0.0/0", {"1.0.0.0:1", "223.255.255.255:1"}, {"[1::]:1", "[2001:db8::1]:1"}},
		{"::/0", {"[1::]:1", "[2001:db8::1]:1"}, {"1.0.0.0:1", "223.255.255.255:1"}},
	};

	for (int i = 0; i < lengthof(cases); i++)
		for (int side = 0; side < 2; side++)
		{
			const char *network = cases[i].network;
			const char *inside = cases[i].inside[side];
			const char *outside = cases[i].outside[side];

			ok(refusal("", network, inside) == NULL && refusal(network, "", inside) != NULL,
			   "%s is in %s", inside, network);
			ok(refusal(network, "", outside) == NULL && refusal("", network, outside) != NULL,
			   "%s is not in %s", outside, network);
		}
}

static void
test_defaults(void)
{
	static const char *const allowed[] = {
		"10.0.0.1:443", "172.16.0.1:443", "192.168.0.1:443", "100.64.0.1:443", "192.0.2.1:443", "8.8.8.8:53",
		"169.253.255.255:1", "169.255.0.0:1", "126.255.255.255:1", "128.0.0.0:1", "1.0.0.0:1", "223.255.255.255:1",
		"240.0.0.1:1", "255.255.255.254:1", "[2001:db8::1]:443", "[2001:DB8:0:0:0:0:0:1]:443", "[fd00::1]:443",
		"[fec0::1]:443", "[2606:4700::1111]:443", "[::1:0:0]:443", "[1::]:443", "[64:ff9b::10.0.0.1]:443",
		"[64:ff9b::c000:201]:443", "[64:ff9b:1::10.0.0.1]:443", "[64:ff9b:1::a00:1]:443",
		"[64:ff9b:1:a00:0:100::]:443", "[64:ff9b:1:ae0:0:100::]:443", "[2002:c000:201::1]:443",
		"[2001:0:c000:201:0:0:3fff:fdfe]:443", "[::ffff:0:192.0.2.1]:443", "[2001:1::7f00:1]:443",
		"10.9.8.6:443", "10.9.8.8:443", "[2001:db8:9::6]:443", "[64:ff9b::10.9.8.6]:443", "[fd00:ec2::253]:443",
		"100.100.100.199:443", "192.0.0.193:443",
		"32.1.0.0:443", "32.2.0.1:443"
	};
	static const char *const denied[] = {
		/* loopback and link-local, in every notation that is an address */
		"127.0.0.1:80", "127.0.0.0:80", "127.1.2.3:80", "127.255.255.255:80", "[::1]:80", "[0:0:0:0:0:0:0:1]:80",
		"[0000:0000:0000:0000:0000:0000:0000:0001]:80", "[::0:1]:80", "[0::1]:80", "[0:0::1]:80", "[::0.0.0.1]:80",
		"169.254.169.254:80", "169.254.0.0:80", "169.254.255.255:80", "[fe80::1]:80", "[FE80::1]:80",
		"[febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:80",
		/* this machine, and cloud metadata on other networks */
		"10.9.8.7:80", "[2001:db8:9::7]:80", "[2001:DB8:9:0::7]:80", "[64:ff9b::10.9.8.7]:80", "[2002:a09:807::1]:80",
		"[fd00:ec2::254]:80", "[fd00:0ec2:0::0254]:80", "100.100.100.200:80", "168.63.129.16:80", "192.0.0.192:80",
		"[64:ff9b::100.100.100.200]:80", "[64:ff9b::a83f:8110]:80",
		/* unspecified, multicast and broadcast */
		"0.0.0.0:80", "0.0.0.1:80", "0.255.255.255:80", "[::]:80", "[0:0:0:0:0:0:0:0]:80", "[0::0]:80",
		"[::0.0.0.0]:80", "224.0.0.1:80", "239.255.255.255:80", "255.255.255.255:80", "[ff02::1]:80", "[ff00::]:80",
		"[FFff:ffff::1]:80",
		/* IPv4 inside IPv6 */
		"[::ffff:127.0.0.1]:80", "[::ffff:7f00:1]:80", "[::FFFF:7F00:0001]:80", "[0:0:0:0:0:ffff:127.0.0.1]:80",
		"[::ffff:169.254.169.254]:80", "[::ffff:a9fe:a9fe]:80", "[::ffff:10.0.0.1]:80", "[::ffff:0.0.0.0]:80",
		"[::127.0.0.1]:80", "[::7f00:1]:80", "[::10.0.0.1]:80", "[::2]:80", "[::ffff:ffff]:80",
		"[64:ff9b::127.0.0.1]:80", "[64:ff9b::7f00:1]:80", "[64:FF9B::a9fe:a9fe]:80", "[64:ff9b::]:80",
		"[64:ff9b::224.0.0.1]:80", "[64:ff9b::255.255.255.255]:80",
		"[64:ff9b:1::127.0.0.1]:80", "[64:ff9b:1::a9fe:a9fe]:80", "[64:ff9b:1:ffff::127.0.0.1]:80",
		"[64:ff9b:1:7f00:0:100::]:80", "[64:ff9b:1:a9fe:a9:fe00::]:80", "[64:ff9b:1:7f:0:1::]:80",
		"[64:ff9b:1:00a9:00fe:a9fe::]:80", "[64:ff9b:1:0:7f:0:100:0]:80", "[64:ff9b:1:0:a9:fea9:fe00:0]:80",
		"[2002:7f00:1::]:80", "[2002:7f00:1::1]:80", "[2002:a9fe:a9fe:1::1]:80", "[2002::1]:80", "[2002:e000:1::]:80",
		"[2001:0:7f00:1::c000:201]:80", "[2001:0:c000:201:0:0:80ff:fffe]:80", "[2001::80ff:fffe]:80",
		"[2001:0:c000:201:0:0:5601:5601]:80", "[::ffff:0:127.0.0.1]:80", "[::ffff:0:a9fe:a9fe]:80"
	};

	/* Notations that other programs accept for one of the above. */
	static const char *const no_address[] = {
		"2130706433:80", "0x7f000001:80", "0X7F000001:80", "017700000001:80", "0177.0.0.1:80", "0x7f.0.0.1:80",
		"0x7f.1:80", "127.1:80", "127.0.1:80", "127.0.0.01:80", "127.0.0.001:80", "127.0.0.1.:80", "127.0.0.1..:80",
		"00127.0.0.1:80", "127.0.0.256:80", "127.0.0.-1:80", "1:80", "0:80", "127.0.0.1", "127.0.0.1:080",
		"user@127.0.0.1:80", "user:secret@127.0.0.1:80", "http://127.0.0.1:80", "//127.0.0.1:80", "127.0.0.1/:80",
		"127.0.0.1:80/", "127.0.0.1#@192.0.2.1:80", "127.0.0.1\\@192.0.2.1:80", "192.0.2.1:80@127.0.0.1:80",
		"%31%32%37.0.0.1:80", "127%2e0.0.1:80", "127.0.0.1%00.example.org:80", "127.0.0.1\r\nHost: x:80",
		"127.0.0.1\n:80", "127.0.0.1\t:80", " 127.0.0.1:80", "127.0.0.1 :80", "127.0.0.1:80 ", "127.0.0.1:80\r\n",
		"\xef\xbc\x91\xef\xbc\x92\xef\xbc\x97.0.0.1:80", "127\xe3\x80\x82" "0\xe3\x80\x82" "0\xe3\x80\x82" "1:80",
		"\xe2\x91\xa0\xe2\x91\xa1\xe2\x91\xa6.0.0.1:80", "::1:80", "::1", "[::1]", "[::1]80", "[[::1]]:80", "[::1%lo]:80",
		"[fe80::1%eth0]:80", "[fe80::1%1]:80", "[fe80::1%25eth0]:80", "[::1/128]:80", "[127.0.0.1]:80", "[0x7f.1]:80",
		"[::ffff:0177.0.0.1]:80", "[::ffff:127.1]:80", "[00000::1]:80", "[0:0:0:0:0:0:0:0:1]:80", "[::1::]:80",
		"[localhost]:80", "[v1.x]:80", "unix:/tmp/.s.PGSQL.5432", "/tmp/.s.PGSQL.5432", "file:///etc/passwd"
	};

	for (int i = 0; i < lengthof(allowed); i++)
	{
		const char *why = refusal(DEFAULT_DENIED, "", allowed[i]);

		ok(why == NULL, "allowed: %s%s%s", allowed[i], why ? ": " : "", why ? why : "");
	}
	for (int i = 0; i < lengthof(denied); i++)
	{
		const char *why = refusal(DEFAULT_DENIED, "", denied[i]);

		ok(why != NULL && why != unreadable, "denied: %s: %s",
		   denied[i], why ? why : "taken");
	}
	for (int i = 0; i < lengthof(no_address); i++)
	{
		ProbeAddress target;
		const char *problem = probe_address_parse(no_address[i], &target);

		ok(problem != NULL, "not an address, notation %d: %s", i, problem ? problem : "taken");
	}
}

/* Without any list, addresses that are always denied stay denied. */
static void
test_never(void)
{
	static const struct
	{
		const char *address;
		const char *why;
	}			cases[] =
	{
		{"127.0.0.1:80", NULL}, {"[::1]:80", NULL}, {"169.254.0.1:80", NULL}, {"[fe80::1]:80", NULL},
		{"[64:ff9b::127.0.0.1]:80", NULL}, {"[2002:7f00:1::]:80", NULL}, {"223.255.255.255:80", NULL},
		{"240.0.0.0:80", NULL}, {"255.255.255.254:80", NULL}, {"1.0.0.0:80", NULL}, {"[feff::1]:80", NULL},
		{"0.0.0.0:80", "unspecified address"}, {"0.1.2.3:80", "unspecified address"},
		{"[::]:80", "unspecified address"}, {"224.0.0.0:80", "multicast address"},
		{"239.255.255.255:80", "multicast address"}, {"[ff02::1]:80", "multicast address"},
		{"255.255.255.255:80", "broadcast address"}, {"[::ffff:192.0.2.1]:80", "IPv4-mapped address"},
		{"[::192.0.2.1]:80", "IPv4-compatible address"}, {"[::2]:80", "IPv4-compatible address"},
		{"[64:ff9b::]:80", "stands for an IPv4 address in a denied network"},
		{"[2002:ffff:ffff::]:80", "stands for an IPv4 address in a denied network"}
	};

	for (int list = 0; list < 2; list++)
		for (int i = 0; i < lengthof(cases); i++)
		{
			const char *why = refusal("", list ? "0.0.0.0/0,::/0" : "", cases[i].address);

			ok(why == cases[i].why || (why && cases[i].why && strcmp(why, cases[i].why) == 0),
			   "without a denied network%s: %s: %s", list ? ", all allowed" : "", cases[i].address,
			   why ? why : "allowed");
		}
}

static void
test_both_lists(void)
{
	ok(refusal("10.1.0.0/16", "10.0.0.0/8", "10.2.0.1:1") == NULL, "an allowed address that is not denied is accepted");
	ok(refusal("10.1.0.0/16", "10.0.0.0/8", "10.1.0.1:1") != NULL, "a denied network wins");
	ok(refusal("10.0.0.0/8", "10.1.0.0/16", "10.1.0.1:1") != NULL, "it also wins over a narrower allowed network");
	ok(refusal("10.1.0.0/16", "10.0.0.0/8", "192.0.2.1:1") != NULL, "an address in neither is refused");
	ok(refusal("", "192.0.2.0/24, 10.0.0.0/8", "10.2.0.1:1") == NULL, "the second allowed network counts");
	ok(refusal("192.0.2.0/24, 10.0.0.0/8", "", "10.2.0.1:1") != NULL, "the second denied network counts");
	ok(refusal("", "10.0.0.0/8", "[2001:db8::1]:1") != NULL, "a family without an allowed network is refused");
	ok(refusal("", "10.0.0.0/8", "[64:ff9b::10.0.0.1]:1") != NULL, "an IPv4 network does not allow IPv6 addresses");
	ok(refusal("", "64:ff9b::/96", "[64:ff9b::10.0.0.1]:1") == NULL, "an IPv6 network does");
	ok(refusal("10.0.0.0/8", "64:ff9b::/96", "[64:ff9b::10.0.0.1]:1") != NULL, "but not those that stand for a denied IPv4 address");
	ok(refusal("", "", "10.9.8.7:1") == NULL, "this machine is accepted if it is not denied");
	ok(refusal("", "samehost", "10.9.8.7:1") == NULL, "this machine can be allowed");
	ok(refusal("", "samehost", "10.9.8.6:1") != NULL, "other addresses are then refused");
	ok(refusal("", "samehost", "[64:ff9b::10.9.8.7]:1") != NULL, "and so are addresses that stand for it");
	ok(refusal("samehost", "10.0.0.0/8", "10.9.8.7:1") != NULL, "this machine can be denied");
	ok(refusal("0.0.0.0/8", "", "[64:ff9b:1::10.0.0.1]:1") == NULL, "zeroes are no IPv4 address if one may lie elsewhere");
	ok(refusal("::ffff:0:0:0/96", "", "[::ffff:0:10.0.0.1]:1") != NULL, "an IPv6 network can be denied");
}

/* One IPv4 address is denied, and no other, in every form that stands for it. */
static void
test_embedded(void)
{
	static const char *const forms[][2] = {
		{"10.1.2.3:1", "10.1.2.4:1"}, {"[64:ff9b::10.1.2.3]:1", "[64:ff9b::10.1.2.4]:1"},
		{"[64:ff9b:1::10.1.2.3]:1", "[64:ff9b:1::10.1.2.4]:1"},
		{"[64:ff9b:1:0:a:102:300:0]:1", "[64:ff9b:1:0:a:102:400:0]:1"},
		{"[64:ff9b:1:a:1:203::]:1", "[64:ff9b:1:a:1:204::]:1"},
		{"[64:ff9b:1:a01:2:300::]:1", "[64:ff9b:1:a01:2:400::]:1"},
		{"[64:ff9b:1:a01:ff02:300::]:1", "[64:ff9b:1:a01:203::]:1"},
		{"[2002:a01:203::1]:1", "[2002:a01:204::1]:1"},
		{"[2001:0:a01:203:0:0:3fff:fdfe]:1", "[2001:0:a01:204:0:0:3fff:fdfe]:1"},
		{"[2001:0:c000:201:0:0:f5fe:fdfc]:1", "[2001:0:c000:201:0:0:f5fe:fdfb]:1"},
		{"[::ffff:0:10.1.2.3]:1", "[::ffff:0:10.1.2.4]:1"}
	};

	for (int i = 0; i < lengthof(forms); i++)
	{
		ok(refusal("10.1.2.3", "", forms[i][0]) != NULL, "%s is denied", forms[i][0]);
		ok(refusal("10.1.2.3", "", forms[i][1]) == NULL, "%s is not denied", forms[i][1]);
	}
}

static void
test_families(void)
{
	NetworkList *none = parse("");
	struct sockaddr_in6 scoped = {.sin6_family = AF_INET6, .sin6_scope_id = 1};
	struct sockaddr_un local = {.sun_family = AF_UNIX, .sun_path = "/tmp/x"};
	struct sockaddr unspecified = {.sa_family = AF_UNSPEC};
	ProbeAddress target;
	struct sockaddr_storage address;
	const char *why;

	inet_pton(AF_INET6, "2001:db8::1", &scoped.sin6_addr);
	why = network_refusal(none, none, NULL, (struct sockaddr *) &scoped);
	ok(why != NULL && strcmp(why, "scoped address") == 0, "a scoped address is denied");
	scoped.sin6_scope_id = 0;
	ok(network_refusal(none, none, NULL, (struct sockaddr *) &scoped) == NULL, "it is accepted without its scope");
	ok(network_refusal(none, none, NULL, (struct sockaddr *) &local) != NULL, "a Unix socket is denied");
	ok(network_refusal(none, none, NULL, &unspecified) != NULL, "an address without family is denied");

	ok(probe_address_parse("gateway.example.org:1", &target) == NULL && !probe_address_to_socket(&target, &address),
	   "a name has no address yet");
	ok(probe_address_parse("[2001:db8::1]:443", &target) == NULL && probe_address_to_socket(&target, &address) &&
	   ((struct sockaddr_in6 *) &address)->sin6_port == htons(443) &&
	   ((struct sockaddr_in6 *) &address)->sin6_scope_id == 0, "an IPv6 address gets its port");
	ok(probe_address_parse("192.0.2.1:80", &target) == NULL && probe_address_to_socket(&target, &address) &&
	   ((struct sockaddr_in *) &address)->sin_port == htons(80) &&
	   ((struct sockaddr_in *) &address)->sin_addr.s_addr == htonl(0xc0000201), "an IPv4 address gets its address and port");
	free(none);
}

int
main(void)
{
	test_good_lists();
	test_bad_lists();
	test_borders();
	test_defaults();
	test_never();
	test_both_lists();
	test_embedded();
	test_families();
	return done();
}
