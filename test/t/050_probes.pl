# Results of probes for every protocol and for all kinds of bad gateways.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;
use Patience qw(freeze is_prompt soon);
use Peers qw(tls_material certificate nginx s_server);
use PoolDatabase qw(start_node);
use PostgreSQL::Test::Utils;
use Probed;
use Test::More;
use Time::HiRes qw(time);

my $dir = PostgreSQL::Test::Utils::tempdir;
my $peers = Peers->new;
my $tls = tls_material($dir);
my $redirected_to = $peers->start('http', 200);
my $nginx = nginx($dir, tls => $tls, redirect => "http://$redirected_to->{target}/");
my $s_server = s_server($dir, $tls->{cert}{ip}, $tls->{key}, arguments => [ '-quiet', '-www', '-tls1_2' ]);
my %mutual = map { $_ => s_server($dir, $tls->{cert}{ip}, $tls->{key}, arguments => [ '-quiet', '-www', "-tls$_", '-Verify', '1' ]) } '1_2', '1_3';
my %optional = map { $_->[0] => s_server($dir, $tls->{cert}{ip}, $tls->{key}, arguments => [ '-quiet', '-www', '-verify', '1', @{ $_->[1] } ]) }
  [ '1.2' => ['-tls1_2'] ], [ '1.3' => ['-tls1_3'] ], [ '1.3, no tickets' => [ '-tls1_3', '-num_tickets', 0 ] ];
my ($ca, $other_ca) = map { slurp_file($tls->{$_}) } qw(ca other_ca);

# The proxy variables of the environment must not apply to the server.
my $proxy = $peers->start('http', 200);
my $node = do
{
    local @ENV{qw(http_proxy https_proxy HTTPS_PROXY all_proxy ALL_PROXY)} = ("http://$proxy->{target}") x 5;
    start_node('main', conf => join "\n", 'gateway_pool.default_entitlement = on', "gateway_pool.probe_denied_networks = 'fe80::/10'",
        'gateway_pool.probe_interval = 500ms', 'gateway_pool.probe_timeout = 500ms', 'gateway_pool.probe_retry_interval = 300ms',
        'gateway_pool.probe_fall = 2');
};
my $db = Probed->of_acme($node);
my $worker = $db->worker;

sub https { my ($cert) = @_; return "127.0.0.1:$nginx->{https}{$cert}" }
my $plain = "127.0.0.1:$nginx->{http}";

# A gateway per line: label, its probe, and the expected failure, if any.
my %peer;
my %hangs = (probe_interval => '300 ms', timeout => '250 ms');
my %named = (server_name => 'gw.test', ca_certificate => $ca);
my %by_peer = (
    # The port is open, whatever follows.
    'tcp open' => [ ['open'], 'tcp' ],
    'tcp silent' => [ ['silent'], 'tcp' ],
    'tcp reset' => [ ['reset'], 'tcp' ],
    'tcp refused' => [ ['refused'], 'tcp', 'refused' ],
    'tcp blackhole' => [ ['blackhole'], 'tcp', 'timeout while connecting', %hangs ],
    'tls refused' => [ ['refused'], 'tls', 'refused' ],
    'tls blackhole' => [ ['blackhole'], 'tls', 'timeout while connecting', %hangs ],
    'tls silent' => [ ['tlssilent'], 'tls', 'timeout in the tls handshake', %hangs ],
    'tls deaf' => [ ['silent'], 'tls', 'timeout in the tls handshake', %hangs ],
    'tls garbage' => [ ['tlsgarbage'], 'tls', 'tls handshake' ],
    'tls reset' => [ ['reset'], 'tls', qr/^(?:reset|tls handshake)$/ ],
    'https silent' => [ ['tlssilent'], 'https', 'timeout in the tls handshake', %hangs ],
    'https garbage' => [ ['tlsgarbage'], 'https', 'tls handshake' ],
    'http 200' => [ [ 'http', 200 ], 'http', undef, path => '/a/../b%2f?x={1}&y=|\\^#z' ],
    'http 200 to a name' => [ [ 'http', 200 ], 'http', undef, server_name => 'gw.test' ],
    'http 204' => [ [ 'http', 204 ], 'http', 'status 204' ],
    'http 204, in a range' => [ [ 'http', 204 ], 'http', undef, expected_status => '200-299' ],
    'http 503' => [ [ 'http', 503 ], 'http', 'status 503' ],
    'http 503, expected' => [ [ 'http', 503 ], 'http', undef, expected_status => '503' ],
    'http 302' => [ [ 'redirect', "http://$redirected_to->{target}/" ], 'http', 'status 302' ],
    'http 302, in a range' => [ [ 'redirect', "http://$redirected_to->{target}/" ], 'http', undef, expected_status => '200-399' ],
    'http long header' => [ [ 'http', 200, 4000, 'X-Long: ' . 'x' x 16_376 ], 'http' ],
    'http continue' => [ [ 'continue', 5 ], 'http' ],
    'http bigbody' => [ ['bigbody'], 'http' ],
    'http wrongcl' => [ ['wrongcl'], 'http' ],
    'http refused' => [ ['refused'], 'http', 'refused' ],
    'http reset' => [ ['reset'], 'http', qr/^reset/ ],
    'http blackhole' => [ ['blackhole'], 'http', 'timeout while connecting', %hangs ],
    'http open' => [ ['open'], 'http', 'timeout waiting for the answer', %hangs ],
    'http silent' => [ ['silent'], 'http', 'timeout waiting for the answer', %hangs ],
    'http half' => [ ['half'], 'http', 'timeout waiting for the answer', %hangs ],
    'http slow' => [ [ 'slow', 3000 ], 'http', 'timeout waiting for the answer', %hangs ],
    'http drip' => [ [ 'drip', 50 ], 'http', 'timeout waiting for the answer', %hangs ],
    'http halfclose' => [ ['halfclose'], 'http', 'no answer' ],
    'http endless' => [ ['endless'], 'http', 'header too long' ],
    'http endless lines' => [ ['endless-lines'], 'http', 'header too long' ],
    'http endless continue' => [ [ 'continue', 1000 ], 'http', 'header too long' ],
    'http 0.9' => [ ['http09'], 'http', 'not http' ],
    'http garbage' => [ ['garbage'], 'http', 'not http' ]);
my %by_address = (
    'tls name' => [ https('name'), 'tls', undef, %named ],
    'tls other authority, trusted' => [ https('stranger'), 'tls', undef, %named, ca_certificate => $other_ca ],
    'tls other authority' => [ https('stranger'), 'tls', qr/^tls chain: unable to get local issuer/, %named ],
    'tls system authorities' => [ https('name'), 'tls', qr/^tls chain: unable to get local issuer/, server_name => 'gw.test' ],
    'tls address' => [ https('ip'), 'tls', undef, ca_certificate => $ca ],
    'tls 1.2' => [ "127.0.0.1:$s_server->{port}", 'tls', undef, ca_certificate => $ca ],
    'tls 1.2, client certificate' => [ "127.0.0.1:$mutual{'1_2'}{port}", 'tls', 'tls client certificate wanted', ca_certificate => $ca ],
    'tls 1.3, client certificate' => [ "127.0.0.1:$mutual{'1_3'}{port}", 'tls', 'tls client certificate wanted', ca_certificate => $ca ],
    'https 1.2, client certificate' => [ "127.0.0.1:$mutual{'1_2'}{port}", 'https', 'tls client certificate wanted', ca_certificate => $ca ],
    'https 1.3, client certificate' => [ "127.0.0.1:$mutual{'1_3'}{port}", 'https', 'tls client certificate wanted', ca_certificate => $ca ],
    (map { ("tls $_, optional client certificate" => [ "127.0.0.1:$optional{$_}{port}", 'tls', undef, ca_certificate => $ca ]) } keys %optional),
    'tls other name' => [ https('name'), 'tls', 'tls name', %named, server_name => 'other.test' ],
    'tls name, by address' => [ https('name'), 'tls', 'tls name', ca_certificate => $ca ],
    'tls address, by name' => [ https('ip'), 'tls', 'tls name', %named ],
    'tls expired' => [ https('expired'), 'tls', 'tls chain: certificate has expired', %named ],
    'tls expired, not verified' => [ https('expired'), 'tls', undef, verify_tls => 'false' ],
    'tls expiring' => [ https('expiring'), 'tls', undef, %named ],
    'tls without tls' => [ $plain, 'tls', 'tls handshake' ],
    'https 200' => [ https('name'), 'https', undef, %named, path => '/health' ],
    'https 503' => [ https('name'), 'https', 'status 503', %named, path => '/down' ],
    'https 302' => [ https('name'), 'https', 'status 302', %named, path => '/redirect' ],
    'https expired' => [ https('expired'), 'https', 'tls chain: certificate has expired', %named, path => '/health' ],
    'https other name' => [ https('name'), 'https', 'tls name', %named, server_name => 'other.test', path => '/health' ],
    'https without tls' => [ $plain, 'https', 'tls handshake', path => '/health' ],
    'http over IPv6' => [ $peers->start_at('::1', 'http', 200)->{target}, 'http' ],
    'http nginx' => [ $plain, 'http', undef, path => '/health' ],
    'http nginx, large' => [ $plain, 'http', undef, path => '/big' ],
    'http nginx, missing' => [ $plain, 'http', 'status 404', path => '/else' ],
    'http on tls' => [ https('name'), 'http', 'status 400', path => '/health' ]);

my %expected;
my $begun = time;
$db->add(keys %by_peer, keys %by_address);
$peer{$_} = $peers->start(@{ $by_peer{$_}[0] }) foreach keys %by_peer;
my $sql = '';
foreach my $label (keys %by_peer, keys %by_address)
{
    my ($where, $protocol, $problem, %how) = @{ $by_peer{$label} // $by_address{$label} };

    $sql .= Probed::probe_sql($label, $protocol, $peer{$label} ? $peer{$label}{target} : $where, %how);
    $expected{$label} = !defined $problem ? [ 'up', 'healthy: probe up' ]
      : ref $problem ? [ qr/^down: (?!\^)/, qr/^unhealthy: probe down: / ]
      : [ "down: $problem", "unhealthy: probe down: $problem" ];
}
$db->value("BEGIN;\n$sql COMMIT");
$db->comes_to(%expected);
{
    my %known = $db->known;
    foreach my $label (sort keys %known)
    {
        my $problem = ($by_peer{$label} // $by_address{$label})->[2];
        like($known{$label}[0] =~ s/^down: //r, $problem, "$label: the reason is as expected") if ref $problem;
    }
}

# The requests, and how much of the answers was read.
my $request = sub { my ($path, $host) = @_; return "GET $path HTTP/1.1\r\nHost: $host\r\nUser-Agent: gateway_pool/1.0\r\nAccept: */*\r\nConnection: close\r\n\r\n" };
is($peer{'http 200'}->count->{last}, $request->('/a/../b%2f?x={1}&y=|\\^#z', $peer{'http 200'}{target}), 'a request has the path as written');
is($peer{'http 200 to a name'}->count->{last}, $request->('/', "gw.test:$peer{'http 200 to a name'}{port}"), 'a request to a name has that name');
is($redirected_to->count->{accepted}, 0, 'redirects are not followed');
is($proxy->count->{accepted}, 0, 'proxies of the environment are not used');
foreach my $label ('http endless', 'http endless lines', 'http bigbody')
{
    # Bytes in the buffers of two sockets count as sent, too.
    my $count = $peer{$label}->count;
    cmp_ok($count->{sent} / $count->{accepted}, '<', 4_000_000, "$label: it is not read to its end");
}
$db->shows(q{SELECT bool_and("lastProbeMs" < 250) FROM gateway_probe_status WHERE reason = 'header too long'}, 't', 'the probe does not wait for its end');
$db->shows_within(30, q{SELECT "lastProbeMs" < 100 FROM gateway_probe_status WHERE name = 'tls 1.3, no tickets, optional client certificate'}, 't', 'the duration does not include that the probe listens after the handshake');
$db->shows(q{SELECT bool_and("lastProbeMs" >= 250) FROM gateway_probe_status WHERE reason LIKE 'timeout%'}, 't', 'timeouts are not early');

# Certificates in gateway_probe_status.
$db->shows(q{SELECT name, "certificateExpiresAt"::date - current_date FROM gateway_probe_status WHERE name IN ('tls expired', 'tls expiring', 'https 503') ORDER BY 1},
    "https 503|365\ntls expired|-1\ntls expiring|10", 'it shows when certificates expire');
$db->shows(q{SELECT name FROM gateway_probe_status WHERE NOT "verifyTls"}, 'tls expired, not verified', 'it shows which certificates are not verified');
$db->shows(q{SELECT bool_and(("verifyTls" IS NULL) = (protocol IN ('tcp', 'http'))) FROM gateway_probe_status}, 't', 'it shows null for probes without certificates');
$db->shows(q{SELECT "gatewayName", "oldStatus", "newStatus", reason FROM gateway_health_events WHERE "oldStatus" NOT IN ('unknown')}, '', 'no status has changed since');
is($db->worker, $worker, 'the worker is the same');
$db->value('DELETE FROM gateway_probes');
ok(soon(sub { $db->value('SELECT count(*) FROM gateway_probe_status') eq '0' }), 'no gateway is probed any more');

# From here on, gateways are probed only on demand, once each time.
$node->append_conf('postgresql.conf', "gateway_pool.probe_retry_interval = 1d\ngateway_pool.probe_interval = 1d");
$node->reload;
my %rarely = (probe_interval => '1 day', timeout => '20 s');

# Waits until the worker has read the probe of a gateway.
sub is_probed
{
    my ($label) = @_;
    return soon(sub { my %known = $db->known; return $known{$label}[0] ne 'not probed' });
}

{
    my $peer = $peers->start('http', 200);
    $db->probe('thresholds', 'http', $peer->{target}, %rarely, rise => 3, fall => 4);
    is_probed('thresholds');

    my $step = sub {
        my ($answer, $number, $verdict, $label) = @_;
        $peer->kind('http', $answer);
        my $before = $peer->count->{accepted};
        my @verdicts = map { $db->now('thresholds') =~ s/:.*//r } 1 .. $number;
        is_deeply(\@verdicts, $verdict, $label);
        is($peer->count->{accepted} - $before, $number, 'each probe is one connection');
    };
    my $status = sub { my ($status) = @_; return $db->comes_to(thresholds => [ qr/./, $status ]) };

    $step->(200, 1, ['up'], 'one success makes a new gateway up');
    $status->('healthy: probe up');
    $step->(500, 3, [ ('up') x 3 ], 'three failures do not make it down');
    $step->(200, 1, ['up'], 'one success resets the count');
    $step->(500, 4, [ ('up') x 3, 'down' ], 'four failures make it down');
    $status->('unhealthy: probe down: status 500');
    $step->(200, 2, [ ('down') x 2 ], 'two successes do not make it up');
    $step->(500, 1, ['down'], 'one failure resets the count');
    $step->(200, 3, [ ('down') x 2, 'up' ], 'three successes make it up');
    $status->('healthy: probe up');
    $step->(500, 4, [ ('up') x 3, 'down' ], 'four failures make it down again');
    $step->(200, 3, [ ('down') x 2, 'up' ], 'three successes make it up again');
    $status->('degraded: keeps falling');
    is({ $db->known }->{thresholds}[2], 2, 'two falls are counted');
    $db->shows_soon(q{SELECT string_agg("newStatus", ' ' ORDER BY id) FROM gateway_health_events WHERE "gatewayName" = 'thresholds'},
        'healthy unhealthy healthy unhealthy degraded', 'each change is one event');

    # Results for another address or path do not count.
    my $other = $peers->start('http', 500);
    $db->value(Probed::probe_sql('thresholds', 'http', $other->{target}, %rarely, rise => 3, fall => 1));
    is($db->now('thresholds'), 'down: status 500', 'another address gets its verdict at the first probe');
    is({ $db->known }->{thresholds}[2], 0, 'the falls of the former address do not count');
    $db->value("SELECT clear_gateway_probe('" . Probed::id('thresholds') . "')");
    $db->comes_to(thresholds => [ 'not probed', 'unknown: no evidence' ]);
}

# The date of a certificate stays after it has expired, and while the gateway does not show
# another one.
{
    my $server = Peers::Server->new;
    my $address = "127.0.0.1:$server->{port}";
    my $expires_at;
    my $shows = sub { my ($expected, $label) = @_; return $db->shows(qq{SELECT extract(epoch FROM "certificateExpiresAt") FROM gateway_probe_status WHERE name = 'dated'}, $expected, $label) };
    my $serve = sub { my ($file) = @_; $server->stop; s_server($dir, $file, $tls->{key}, server => $server); return };
    my $state = '';

    $db->add('dated');
    # A busy machine may need more time to see it valid.
    foreach my $seconds (10, 60)
    {
        $expires_at = int(time) + $seconds;
        $serve->(certificate($tls, "brief_$seconds", 'ca', 'loopback', time - 60, $expires_at));
        $db->value(Probed::probe_sql('dated', 'tls', $address, ca_certificate => $ca, %rarely, rise => 1, fall => 1));
        is_probed('dated');
        $state = $db->now('dated');
        last if $state eq 'up';
    }
    is($state, 'up', 'a certificate that is valid for seconds');
    $shows->("$expires_at.000000", 'its date');
    ok(soon(sub { time > $expires_at && $db->now('dated') eq 'down: tls chain: certificate has expired' }), 'it expires');
    $shows->("$expires_at.000000", 'its date stays');
    $server->stop;
    is($db->now('dated'), 'down: refused', 'the gateway shows no certificate');
    $shows->("$expires_at.000000", 'the date stays');
    kill 'TERM', $db->worker;
    ok(soon(sub { $db->now('dated') eq 'down: refused' && $db->worker ne $worker }), 'another worker sees no certificate either');
    $shows->("$expires_at.000000", 'the date stays');
    $serve->(certificate($tls, 'later', 'ca', 'gw_test', time - 60, $expires_at + 1000));
    is($db->now('dated'), 'down: tls name', 'a later certificate, for another name');
    $shows->($expires_at + 1000 . '.000000', 'its date');
    $server->stop;
    $db->value(Probed::probe_sql('dated', 'tcp', $address, %rarely, rise => 1, fall => 1));
    is($db->now('dated'), 'down: refused', 'a probe without certificates');
    $shows->('', 'shows no date');
    $worker = $db->worker;
}

# probe_retry_interval after a first failure.
{
    my $peer = $peers->start('http', 200);
    $node->append_conf('postgresql.conf', "gateway_pool.probe_retry_interval = 200ms");
    $node->reload;
    $db->probe('retries', 'http', $peer->{target}, probe_interval => '1 day', timeout => '20 s', fall => 4);
    is_probed('retries');
    is($db->now('retries'), 'up', 'retries: the gateway is up');
    $peer->kind('http', 500);
    my $accepted = $peer->count->{accepted};
    like($db->now('retries'), qr/^(?:up|down): status 500/, 'retries: the first failure is on demand');
    $db->comes_to(retries => [ 'down: status 500', 'unhealthy: probe down: status 500' ]);
    ok($peer->wait_for($accepted + 4), 'retries: the other failures follow');
    is($peer->count->{accepted}, $accepted + 4, 'retries: they end with the verdict');
}

# Probes with heartbeats.
{
    my $peer = $peers->start('refused');
    my %how = (%rarely, fall => 1);

    $db->probe('required', 'tcp', $peer->{target}, %how, required => 'true');
    $db->probe('not required', 'tcp', $peer->{target}, %how, required => 'false');
    foreach ('required', 'not required')
    {
        $db->value("SELECT record_gateway_heartbeat('" . Probed::id($_) . "', '1 h')");
        is_probed($_);
        is($db->now($_), 'down: refused', "$_: the verdict is down");
    }
    $db->comes_to(
        'required' => [ 'down: refused', 'unhealthy: probe down: refused' ],
        'not required' => [ 'down: refused', 'degraded: probe contradicts heartbeat: refused' ]);
    $db->value(q{UPDATE gateway_probes SET required = NOT required});
    is($db->now($_), 'down: refused', "$_, now reversed: the verdict is down") foreach 'required', 'not required';
    $db->comes_to(
        'required' => [ 'down: refused', 'degraded: probe contradicts heartbeat: refused' ],
        'not required' => [ 'down: refused', 'unhealthy: probe down: refused' ]);
}

# Probes of the host's direct addresses.
{
    my ($open, $open_too, $refused) = map { $peers->start($_) } qw(open open refused);
    my $own = $peers->start('http', 200);

    $db->add('direct', 'direct and own', 'direct to closed port', 'direct nonsense');
    $db->value(qq{
        UPDATE gateways_v2 SET "directAddress" = '$open->{target}' WHERE name = 'direct';
        UPDATE gateways_v2 SET "directAddress" = '$open_too->{target}' WHERE name = 'direct and own';
        UPDATE gateways_v2 SET "directAddress" = '$refused->{target}' WHERE name = 'direct to closed port';
        UPDATE gateways_v2 SET "directAddress" = 'no address' WHERE name = 'direct nonsense';}
          . Probed::probe_sql('direct and own', 'http', $own->{target}));
    $node->append_conf('postgresql.conf', "gateway_pool.probe_interval = 300ms\ngateway_pool.probe_direct_addresses = on");
    $db->value("SELECT record_gateway_heartbeat('" . Probed::id('direct to closed port') . "', '1 h')");
    $db->shows(q{SELECT count(*) FROM gateway_probe_status WHERE name IN ('direct', 'direct to closed port')}, '0', 'direct addresses are not probed by default');
    $node->reload;
    $db->comes_to(
        'direct' => [ 'up', 'healthy: probe up' ],
        'direct and own' => [ 'up', 'healthy: probe up' ],
        'direct to closed port' => [ 'down: refused', 'degraded: probe contradicts heartbeat: refused' ],
        'direct nonsense' => [ 'not probed', 'unknown: no evidence' ]);
    $db->shows(q{SELECT protocol FROM gateway_probe_status WHERE name IN ('direct', 'direct and own') ORDER BY name}, "tcp\nhttp", 'a row in gateway_probes replaces the probe of the direct address');
    is($open_too->count->{accepted}, 0, 'the direct address is not probed then');
    $db->shows_soon(q{SELECT problem LIKE 'gateway ' || (SELECT id FROM gateways_v2 WHERE name = 'direct nonsense') || ' cannot be probed: %'
                   FROM gateway_pool_workers WHERE database = current_database()}, 't', 'an invalid direct address is reported');
    $db->value(qq{UPDATE gateways_v2 SET "directAddress" = '$refused->{target}' WHERE name = 'direct'});
    my $changed = time;
    $db->comes_to('direct' => [ 'down: refused', 'unhealthy: probe down: refused' ]);
    is_prompt(30, time - $changed, 'a changed direct address is probed at once');
    $db->value(q{UPDATE gateways_v2 SET "directAddress" = NULL WHERE name = 'direct'});
    $db->comes_to('direct' => [ 'not probed', 'unknown: no evidence' ]);
    $node->append_conf('postgresql.conf', "gateway_pool.probe_interval = 1d\ngateway_pool.probe_direct_addresses = off");
    $node->reload;
    $db->comes_to('direct to closed port' => [ 'not probed', 'healthy: heartbeat fresh' ]);
}

# probe_gateway().
{
    my $slow = $peers->start('slow', 1500);
    my $id = Probed::id('asked');
    $db->probe('asked', 'http', $slow->{target}, %rarely);

    is_probed('asked');
    is($db->now('asked'), 'up', 'probe_gateway: the verdict is up');
    my $before = $slow->count->{accepted};
    my @sessions = map { $db->connect } 1 .. 10;
    $_->query_until(qr/sent/, "\\echo sent\nSELECT concat_ws(': ', verdict, reason) FROM probe_gateway('$id', '60 s');\n") foreach @sessions;
    is(join('', map { $_->query('SELECT 1') =~ s{\n1.*}{ }sr } @sessions), 'up ' x 10, 'probe_gateway: ten callers get ten answers');
    my $probes = $slow->count->{accepted} - $before;
    cmp_ok($probes, '<=', 2, "probe_gateway: they share few probes ($probes)");
    cmp_ok($probes, '>=', 1, 'probe_gateway: there is at least one');

    my $caller = "pid = " . $sessions[0]->query('SELECT pg_backend_pid()');
    my $hung = $peers->start('open');
    $db->value(Probed::probe_sql('asked', 'http', $hung->{target}, probe_interval => '1 day', timeout => '1 h'));
    $sessions[0]->query_until(qr/sent/, "\\echo sent\nSELECT probe_gateway('$id', '1 h');\n");
    ok($hung->wait_for(1, 'requests'), 'probe_gateway: a probe hangs');
    ok(soon(sub { $db->value("SELECT wait_event_type FROM pg_stat_activity WHERE $caller") eq 'Extension' }), 'probe_gateway: its caller waits');
    $db->value("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE $caller");
    ok(soon(sub { $db->value("SELECT state FROM pg_stat_activity WHERE $caller") eq 'idle' }), 'probe_gateway: the wait can be canceled');
    $sessions[0]->query('SELECT 1');
    like($sessions[0]->{stderr}, qr/57014: canceling statement due to user request/, 'probe_gateway: the error is that of a cancel request');
    $sessions[0]->{stderr} = '';
    like($db->fails("SELECT probe_gateway('$id', '100 ms')", '57014', 'probe_gateway: a wait times out'), qr/due to its timeout/, 'probe_gateway: its error says so');
    $db->fails("SET statement_timeout = '100 ms'; SELECT probe_gateway('$id', '1 h')", '57014', 'probe_gateway: a wait ends by statement_timeout');
    is($hung->count->{accepted}, 1, 'probe_gateway: the probe is still the same');
    $db->value(Probed::probe_sql('asked', 'http', $slow->{target}, %rarely));
    is($db->now('asked'), 'up', 'probe_gateway: the next probe succeeds');
    ok($hung->wait_for(1, 'closed'), 'probe_gateway: the hanging connection is closed');
    $_->quit foreach @sessions;

    # A call after a change of the probe returns a result of the changed probe, even if
    # an earlier probe has ended without being processed yet.
    {
        my $old = $peers->start('slow', 500);
        my $new = $peers->start('http', 503);
        my ($before, $after) = map { $db->connect } 1 .. 2;
        my $waits = 'SELECT wait_event_type FROM pg_stat_activity WHERE pid = ' . $after->query('SELECT pg_backend_pid()');
        my $ask = "\\echo sent\nSELECT concat_ws(': ', verdict, reason) FROM probe_gateway('$id', '60 s');\n";

        $db->value(Probed::probe_sql('asked', 'http', $old->{target}, %rarely));
        is($db->now('asked'), 'up', 'probe_gateway: the first address is up');
        my $count = $old->count;
        $before->query_until(qr/sent/, $ask);
        $old->wait_for($count->{requests} + 1, 'requests');
        freeze($worker);
        ok($old->wait_for($count->{sent} + 1, 'sent'), 'probe_gateway: the first address has answered');
        $db->value(Probed::probe_sql('asked', 'http', $new->{target}, %rarely, fall => 1));
        $after->query_until(qr/sent/, $ask);
        ok(soon(sub { $db->value($waits) eq 'Extension' }), 'probe_gateway: a caller waits');
        kill 'CONT', $worker;
        is($after->query('SELECT 1') =~ s/\n1.*//sr, 'down: status 503', 'probe_gateway: the caller gets the result of the new address');
        $_->quit foreach $before, $after;
    }
    like($db->fails('BEGIN; ' . Probed::probe_sql('asked', 'http', $slow->{target}, %rarely) . "SELECT probe_gateway('$id')", '55000 gateway_pools_not_probed',
        'probe_gateway: an uncommitted probe is refused'), qr/was changed by this transaction/, 'probe_gateway: the error says so');

    # A caller waits, and the probe is removed.
    my $waiting = $db->connect;
    $db->value(Probed::probe_sql('asked', 'http', $hung->{target}, probe_interval => '1 day', timeout => '1 h'));
    $waiting->query_until(qr/sent/, "\\echo sent\nSELECT probe_gateway('$id', '1 h');\n");
    ok($hung->wait_for(2, 'requests'), 'probe_gateway: a probe hangs');
    $node->append_conf('postgresql.conf', 'gateway_pool.probe_concurrency = 300');
    $node->reload;
    ok($hung->wait_for(3, 'requests'), 'gateway_pool.probe_concurrency: probes that run start again when it changes');
    $db->value("SELECT clear_gateway_probe('$id')");
    $waiting->query('SELECT 1');
    like($waiting->{stderr}, qr/55000: gateway \S+ is not probed/, 'probe_gateway: the wait ends when the probe is removed');
    $waiting->{stderr} = '';
    $waiting->quit;

    $db->fails("SELECT probe_gateway('$id')", '55000 gateway_pools_not_probed', 'probe_gateway: a gateway without a probe is refused');
    $db->fails("SELECT probe_gateway(gen_random_uuid())", 'P0002 gateway_pools_not_found', 'probe_gateway: an unknown gateway is refused');
    $db->fails("SELECT probe_gateway(NULL)", '22023', 'probe_gateway: NULL is refused');
    $db->fails("SELECT probe_gateway('$id', $_)", '22023', "probe_gateway: a timeout of $_ is refused") foreach 'NULL', "'0'", "'-1 s'";
    $db->value("CREATE ROLE reader; CREATE ROLE prober; GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader, prober;"
          . ' GRANT UPDATE ON gateway_probes TO prober; ' . Probed::probe_sql('asked', 'http', $slow->{target}, %rarely));
    $db->fails("SET ROLE reader; SELECT probe_gateway('$id')", '42501 gateway_pools_access', 'probe_gateway: a role without UPDATE on gateway_probes is refused');
    is_probed('asked');
    $db->shows("SET ROLE prober; SELECT verdict FROM probe_gateway('$id', '60 s')", 'up', 'probe_gateway: a role with it is accepted');
}

is($db->worker, $worker, 'the worker is the same all the time');
unlike(slurp_file($node->logfile), qr/PANIC|TRAP|terminated by signal/, 'the server does not crash');
$node->stop;
done_testing();
