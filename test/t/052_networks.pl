# The networks to which probes may connect, whatever the address and whatever names resolve to.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;
use NameServer;
use Patience qw(soon);
use Peers;
use PoolDatabase qw(start_node);
use PostgreSQL::Test::Utils;
use Probed;
use Test::More;

my $dns = NameServer->new;
my $peers = Peers->new;
my $node = $dns->during(sub {
    start_node('main', conf => join "\n", 'gateway_pool.default_entitlement = on', 'gateway_pool.probe_interval = 500ms',
        'gateway_pool.probe_timeout = 500ms', 'gateway_pool.probe_retry_interval = 200ms', 'gateway_pool.probe_fall = 3',
        'gateway_pool.probe_rise = 1') });
my $db = Probed->of_acme($node);
my $worker = $db->worker;

# One port on several addresses.
my $loopback = $peers->start('http', 200);
my $port = $loopback->{port};
my %at = ('127.0.0.1' => $loopback, map { $_ => $peers->start_at(/:/ ? "[$_]:$port" : "$_:$port", 'http', 200) } qw(::1 127.0.1.1 127.0.1.2 127.0.2.1 127.0.2.9));

sub reload
{
    my (@lines) = @_;

    $node->append_conf('postgresql.conf', join "\n", @lines);
    $node->reload;
    return;
}

sub accepted { my ($address) = @_; return $at{$address}->count->{accepted} }

# Asserts that some more probes of a gateway do not connect to an address.
sub stays_away
{
    my ($label, $address) = @_;
    my $before = accepted($address);

    $db->now($label) foreach 1 .. 3;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    return is(accepted($address), $before, "$label: no probe connects to $address");
}

# Denied addresses in all notations, and strings that are no addresses.
my @refused = (
    # loopback and link-local
    (map { "$_:$port" } qw(127.0.0.1 127.0.0.0 127.1.2.3 127.255.255.255 [::1] [0:0:0:0:0:0:0:1] [0000:0000:0000:0000:0000:0000:0000:0001]
            [::0:1] [0::1] [::0.0.0.1] 169.254.169.254 169.254.0.0 [fe80::1] [FE80::1] [febf::1])),
    # unspecified, multicast and broadcast
    (map { "$_:$port" } qw(0.0.0.0 0.0.0.1 0.255.255.255 [::] [0::0] [::0.0.0.0] 224.0.0.1 239.255.255.255 255.255.255.255 [ff02::1] [ff00::])),
    # IPv4 inside IPv6
    (map { "$_:$port" } qw([::ffff:127.0.0.1] [::ffff:7f00:1] [::FFFF:7F00:0001] [0:0:0:0:0:ffff:127.0.0.1] [::ffff:169.254.169.254] [::ffff:10.0.0.1]
            [::127.0.0.1] [::7f00:1] [::2] [64:ff9b::127.0.0.1] [64:ff9b::7f00:1] [64:ff9b:1::127.0.0.1] [64:ff9b:1:7f00:0:100::]
            [2002:7f00:1::] [2002:a9fe:a9fe:1::1] [2001:0:7f00:1::c000:201] [2001::80ff:fffe] [::ffff:0:127.0.0.1])),
    # strings that other software accepts as addresses
    (map { "$_:$port" } qw(2130706433 0x7f000001 017700000001 0177.0.0.1 0x7f.0.0.1 0x7f.1 127.1 127.0.1 127.0.0.01 127.0.0.1. 00127.0.0.1 1 0
            user@127.0.0.1 http://127.0.0.1 //127.0.0.1 127.0.0.1/ 127.0.0.1\\@192.0.2.1 %31%32%37.0.0.1 127%2e0.0.1
            ::1 [::1%lo] [fe80::1%eth0] [::1/128] [127.0.0.1] [::ffff:127.1] [localhost] unix:/tmp/.s.PGSQL /tmp/.s.PGSQL)),
    '127.0.0.1#@192.0.2.1:80', '127.0.0.1', ' 127.0.0.1:80', '127.0.0.1 :80', "127.0.0.1:80\r\n", "127.0.0.1\r\nHost: x:80", "127.0.0.1\n:80", '127.0.0.1:080', '127.0.0.1:0', 'localhost',
    "\xef\xbc\x91\xef\xbc\x92\xef\xbc\x97.0.0.1:80", "127\xe3\x80\x820\xe3\x80\x820\xe3\x80\x821:80");
my $id = Probed::id('literal');
$db->add('literal');
my $try = join '', map { "SELECT try('" . s/'/''/gr . "');\n" } @refused;
$db->value(q{
    CREATE FUNCTION try(address text) RETURNS text LANGUAGE plpgsql AS $$
    DECLARE
        violated text;
    BEGIN
        INSERT INTO gateway_probes ("gatewayId", protocol, address) VALUES ('} . $id . q{', 'tcp', address);
        DELETE FROM gateway_probes;
        RETURN 'taken: ' || address;
    EXCEPTION WHEN check_violation THEN
        GET STACKED DIAGNOSTICS violated = CONSTRAINT_NAME;
        RETURN violated;
    END
    $$});
my %answers;
$answers{$_}++ foreach split /\n/, $db->value($try);
is_deeply(\%answers, { gateway_pool_probes_address_check => scalar @refused }, 'denied addresses are refused when written: ' . @refused);
$db->fails(qq{SELECT set_gateway_probe('$id', 'tcp', '127.0.0.1:$port')}, '23514 gateway_pool_probes_address_check', 'set_gateway_probe() refuses them');
$dns->set('literal.test', 'silent');
$db->value(Probed::probe_sql('literal', 'tcp', 'literal.test:1'));
$db->fails(qq{UPDATE gateway_probes SET address = '[::1]:$port'}, '23514 gateway_pool_probes_address_check', 'UPDATE refuses them');
unlike($db->fails(q{UPDATE gateway_probes SET address = '127.0.0.1:99'}, '23514 gateway_pool_probes_address_check', 'UPDATE with a port refuses them'), qr/:99/, 'the error does not repeat the address');
$db->value('DELETE FROM gateway_probes');

# The addresses of this machine, in any network.
my ($own) = grep { !/^127\./ } slurp_file('/proc/net/fib_trie') =~ /\|-- ([0-9.]+)\n +\/32 host LOCAL/g;
SKIP: {
    skip 'no interface but the loopback one', 4 unless defined $own;
    $db->fails(qq{SELECT set_gateway_probe('$id', 'tcp', '$own:$port')}, '23514 gateway_pool_probes_address_check', 'an address of this machine is refused');
    $dns->set('own.test', 'answers', $own);
    $db->probe('own', 'tcp', "own.test:$port");
    $db->comes_to(own => [ 'none: denied: in a denied network', 'unknown: no evidence: denied: in a denied network' ]);
    reload("gateway_pool.probe_denied_networks = '127.0.0.0/8'");
    $db->comes_to(own => [ qr/: refused$/, qr/./ ]);
    reload("gateway_pool.probe_denied_networks = 'samehost'");
    $db->comes_to(own => [ qr/: denied: in a denied network$/, qr/./ ]);
    $db->value('DELETE FROM gateway_probes');
    $node->adjust_conf('postgresql.conf', 'gateway_pool.probe_denied_networks', undef);
    $node->reload;
    ok(soon(sub { $db->value('SHOW gateway_pool.probe_denied_networks') =~ /^samehost, 127/ }), 'it is refused by default');
}

# Names that resolve to denied addresses.
my %denied = (
    'localhost' => [],
    'LOCALHOST' => [],
    'loopback.test' => ['127.0.0.1'],
    'six.test' => ['::1'],
    'both.loopback.test' => [ '127.0.0.1', '::1', '127.0.1.1' ],
    'metadata.test' => ['169.254.169.254'],
    'metadata6.test' => ['fd00:ec2::254'],
    'other.metadata.test' => [ '100.100.100.200', '168.63.129.16', '192.0.0.192' ],
    'nobody.test' => [ '0.0.0.0', '::' ],
    'mapped.test' => ['::ffff:127.0.0.1'],
    'nat64.test' => ['64:ff9b::7f00:1'],
    'sixtofour.test' => ['2002:7f00:1::1']);
my %before = map { $_ => accepted($_) } keys %at;
foreach my $name (sort keys %denied)
{
    $dns->set($name, 'answers', @{ $denied{$name} }) if @{ $denied{$name} };
    $db->probe($name, 'http', "$name:$port");
}
$db->comes_to(map { $_ => [ qr/^none: denied: \S/, qr/^unknown: no evidence: denied: \S/ ] } keys %denied);
like({ $db->known }->{localhost}[1], qr/^unknown: no evidence: denied: in a denied network$/, 'the status has the reason');
$db->now($_) foreach sort keys %denied;
is_deeply({ map { $_ => accepted($_) } keys %at }, \%before, 'no probe connects');
# "own" was refused above, on a busy machine more than twice.
$db->shows(q{SELECT * FROM gateway_health_events WHERE "gatewayName" <> 'own'}, '', 'there are no events');
$db->value('DELETE FROM gateway_probes');

# Names that resolve to another address later.
reload("gateway_pool.probe_denied_networks = '127.0.0.1/32, ::1, 127.0.2.9/32'");
$dns->set('moves.test', 'answers', '127.0.1.1');
$dns->set('returns.test', 'answers', '127.0.0.1');
$dns->set('mixed.test', 'answers', '127.0.0.1', '127.0.1.1', '::1');
$dns->set('held.test', 'answers', '127.0.1.2');
$db->probe($_, 'http', "$_.test:$port") foreach qw(moves returns mixed held);
$db->probe('steady', 'http', "127.0.2.1:$port");
$db->comes_to(
    'moves' => [ 'up', 'healthy: probe up' ],
    'returns' => [ 'none: denied: in a denied network', 'unknown: no evidence: denied: in a denied network' ],
    'mixed' => [ 'up', 'healthy: probe up' ],
    'held' => [ 'up', 'healthy: probe up' ],
    'steady' => [ 'up', 'healthy: probe up' ]);
is(accepted('127.0.0.1'), $before{'127.0.0.1'}, 'of several addresses, a denied one is not used');
$dns->set('moves.test', 'answers', '127.0.0.1');
$dns->set('returns.test', 'answers', '127.0.1.1');
$db->comes_to(
    'moves' => [ qr/: denied: in a denied network$/, 'unknown: no evidence: denied: in a denied network' ],
    'returns' => [ 'up', 'healthy: probe up' ]);
stays_away('moves', '127.0.0.1');

# Name servers that do not answer, or with errors.
$dns->set("silent$_.test", 'silent') foreach 1 .. 30;
$dns->set('broken.test', 'servfail');
$dns->set('empty.test', 'answers');
$db->probe("silent$_", 'http', "silent$_.test:$port") foreach 1 .. 30;
$db->probe($_, 'http', "$_.test:$port") foreach qw(broken empty absent);
$db->comes_to(
    (map { ("silent$_" => [ 'none: dns: timed out', 'unknown: no evidence: dns: timed out' ]) } 1 .. 30),
    'broken' => [ 'none: dns: server failed', 'unknown: no evidence: dns: server failed' ],
    'empty' => [ 'none: dns: no address', 'unknown: no evidence: dns: no address' ],
    'absent' => [ 'down: dns: no such name', 'unhealthy: probe down: dns: no such name' ]);
foreach my $how ('silent', 'servfail')
{
    my $asked = $dns->count('held.test');

    $dns->set('held.test', $how);
    ok(soon(sub { $dns->count('held.test') >= $asked + 4 }), "a known name, $how: the query is repeated");
    my $connections = accepted('127.0.1.2');
    is($db->now('held'), 'up', "a known name, $how: its last address is used");
    cmp_ok(accepted('127.0.1.2'), '>', $connections, "a known name, $how: it is probed");
}
$db->shows(q{SELECT DISTINCT "newStatus" FROM gateway_health_events WHERE "gatewayName" IN ('held', 'steady', 'mixed')}, 'healthy', 'other gateways stay healthy');
$db->value(q{DELETE FROM gateway_probes WHERE address LIKE 'silent%'});

# A name that is deleted, and returns.
$dns->set('held.test', 'absent');
$db->comes_to('held' => [ 'down: dns: no such name', 'unhealthy: probe down: dns: no such name' ]);
$dns->set('held.test', 'answers', '127.0.1.2');
$db->comes_to('held' => [ 'up', 'healthy: probe up' ]);

# A name with a dot at its end is asked for as it is, and requested without the dot.
$db->value(q{DELETE FROM gateway_probes WHERE address LIKE 'held%'});
$db->probe('dotted', 'http', "held.test.:$port");
$db->comes_to('dotted' => [ 'up', 'healthy: probe up' ]);
like($at{'127.0.1.2'}->count->{last}, qr/^Host: held\.test:$port\r$/m, 'the Host header has no dot at its end');
is($dns->count('held.test.test'), 0, 'the search list is not used');
$db->value(q{DELETE FROM gateway_probes WHERE address LIKE 'held%'});
$db->value(Probed::probe_sql('held', 'http', "held.test:$port"));
$db->comes_to('held' => [ 'up', 'healthy: probe up' ]);

# Changed settings apply at once to probed gateways.
$db->probe("at $_", 'http', "$_:$port") foreach qw(127.0.1.1 127.0.1.2 127.0.2.1);
$db->comes_to(map { ("at $_" => [ 'up', 'healthy: probe up' ]) } qw(127.0.1.1 127.0.1.2 127.0.2.1));
reload("gateway_pool.probe_allowed_networks = '127.0.2.0/24, 10.0.0.0/8'");
$db->comes_to(
    (map { $_ => [ qr/: denied: in no allowed network$/, 'unknown: no evidence: denied: in no allowed network' ] } 'at 127.0.1.1', 'at 127.0.1.2', 'mixed', 'held'),
    'at 127.0.2.1' => [ 'up', 'healthy: probe up' ]);
stays_away('at 127.0.1.1', '127.0.1.1');
$db->fails(qq{UPDATE gateway_probes SET address = '127.0.2.9:$port' WHERE "gatewayId" = '} . Probed::id('steady') . q{'}, '23514 gateway_pool_probes_address_check', 'a denied address in an allowed network is refused');
$db->fails(qq{UPDATE gateway_probes SET address = '192.0.2.1:$port' WHERE "gatewayId" = '} . Probed::id('steady') . q{'}, '23514 gateway_pool_probes_address_check', 'an address in no allowed network is refused');
$db->works(qq{UPDATE gateway_probes SET address = '10.0.0.1:$port' WHERE "gatewayId" = '} . Probed::id('steady') . q{'}, 'an address in an allowed network is accepted');
$db->value(q{DELETE FROM gateway_probes WHERE "gatewayId" = '} . Probed::id('steady') . q{'});

my $offset = -s $node->logfile;
reload("gateway_pool.probe_denied_networks = '127.0.0.1/8'", "gateway_pool.probe_allowed_networks = '127.0.1.0/24, nowhere'");
ok(soon(sub { () = slurp_file($node->logfile, $offset) =~ /invalid value for parameter "gateway_pool.probe_(?:denied|allowed)_networks"/g; }), 'an invalid list is refused');
stays_away('at 127.0.1.1', '127.0.1.1');
is($db->now('at 127.0.2.1'), 'up', 'the old list still applies');
$db->shows("SELECT current_setting('gateway_pool.probe_allowed_networks')", '127.0.2.0/24, 10.0.0.0/8', 'the old list is shown');
$db->fails("ALTER SYSTEM SET gateway_pool.probe_denied_networks = '$_'", '22023', "refused as a list: $_") foreach '10.0.0.0/33', 'example.org', '10.0.0.0/8,,';
reload("gateway_pool.probe_allowed_networks = ''", "gateway_pool.probe_denied_networks = ''");
$db->comes_to(map { $_ => [ 'up', 'healthy: probe up' ] } 'at 127.0.1.1', 'at 127.0.1.2', 'at 127.0.2.1');

# Nothing that a gateway sends is stored: otherwise roles that see reasons could read internal services.
my $mark = 'b' x 40;
my %saying = (
    'a body' => [ 'http', 503, 4000, "X-Mark: $mark" ],
    'a redirect' => [ 'redirect', "http://$mark.test/$mark" ],
    'a good body' => [ 'http', 200, 4000, "X-Mark: $mark" ],
    'a garbled body' => ['wrongcl']);
$db->probe($_, 'http', $peers->start(@{ $saying{$_} })->{target}) foreach sort keys %saying;
$db->comes_to(
    'a body' => [ 'down: status 503', 'unhealthy: probe down: status 503' ],
    'a redirect' => [ 'down: status 302', 'unhealthy: probe down: status 302' ],
    'a good body' => [ 'up', 'healthy: probe up' ],
    'a garbled body' => [ 'up', 'healthy: probe up' ]);
# Returns the tables and views that contain a text.
sub places
{
    my ($text) = @_;
    return $db->value(qq{SELECT string_agg(c.relname, ' ' ORDER BY c.relname) FROM pg_class c
        WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'v')
          AND query_to_xml(format('SELECT 1 FROM %I t WHERE strpos(t::text, %L) > 0', c.relname, $text), true, true, '')::text <> ''});
}
like(places(q{'a redirect'}), qr/gateway_health_events .*gateway_probe_status .*gateway_status/, 'the search finds names');
is(places(q{repeat('b', 40)}), '', 'no table or view contains text of a gateway');
ok(slurp_file($node->logfile) !~ /b{40}/, 'nor does the log');

is($db->worker, $worker, 'the worker is the same all the time');
$node->stop;
done_testing();
