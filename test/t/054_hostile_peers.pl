# Gateways that attack the prober: expensive computations do not delay probes of others,
# and no text of theirs is stored in a table.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;
use Patience qw(soon);
use Peers qw(tls_material hostile_material bundle s_server);
use PoolDatabase qw(start_node);
use PostgreSQL::Test::Utils;
use Probed;
use Test::More;
use utf8;

my $dir = PostgreSQL::Test::Utils::tempdir;
my $peers = Peers->new;
my $tls = tls_material($dir);
# At most 64 characters; a reason cuts the last one.
my $subject = 'SSL certificate problem: ' . 'x' x 30 . "\x{9b}31m" . "\x{1f4a3}" x 5;
utf8::encode($subject);
my $hostile = hostile_material($dir, $tls, $subject);
my ($ca) = map { slurp_file($_) } $tls->{ca};
my $node = start_node('main', conf => join "\n", 'gateway_pool.default_entitlement = on', "gateway_pool.probe_denied_networks = 'fe80::/10'",
    'gateway_pool.probe_interval = 500ms', 'gateway_pool.probe_timeout = 500ms', 'gateway_pool.probe_retry_interval = 200ms',
    'gateway_pool.probe_fall = 2', 'gateway_pool.probe_rise = 1');
my $db = Probed->of_acme($node);
my $worker = $db->worker;

# A gateway per line: label, certificate, arguments of openssl s_server, and the expected
# failure, if any.
my %servers = (
    'talker' => [ $hostile->{talker}, [], 'tls name' ],
    'long chain' => [ $tls->{cert}{ip}, [ '-cert_chain', $hostile->{chain} ], 'tls handshake' ],
    'large key' => [ $tls->{cert}{ip}, [ '-cert_chain', $hostile->{large} ], 'tls chain: a key is too large' ],
    'groups of its own' => [ $tls->{cert}{ip}, [ '-tls1_2', '-dhparam', $hostile->{dh}, '-cipher', 'DHE:@SECLEVEL=0' ], 'tls handshake' ],
    'finite fields' => [ $tls->{cert}{ip}, [ '-tls1_3', '-groups', 'ffdhe8192' ], 'tls handshake' ],
    'elliptic curves' => [ $tls->{cert}{ip}, [ '-tls1_3', '-groups', 'P-384' ], undef ]);
my %running;
my %expected;
my $sql = '';

$db->add(keys %servers, 'endless', 'steady');
foreach my $label (sort keys %servers)
{
    my ($cert, $arguments, $problem) = @{ $servers{$label} };

    $running{$label} = s_server($dir, $cert, $tls->{key}, arguments => [ '-quiet', '-www', @$arguments ]);
    $sql .= Probed::probe_sql($label, 'tls', "127.0.0.1:$running{$label}{port}", ca_certificate => $ca);
    $expected{$label} = defined $problem ? [ "down: $problem", "unhealthy: probe down: $problem" ] : [ 'up', 'healthy: probe up' ];
}
my $endless = $peers->start('tlsendless');
my $steady = $peers->start('open');
$sql .= Probed::probe_sql('endless', 'tls', $endless->{target}) . Probed::probe_sql('steady', 'tcp', $steady->{target});
$expected{endless} = [ 'down: tls: too many messages', 'unhealthy: probe down: tls: too many messages' ];
$expected{steady} = [ 'up', 'healthy: probe up' ];
$db->value("BEGIN; $sql COMMIT");
$db->comes_to(%expected);
ok(soon(sub { $db->value(q{SELECT probes_count FROM gateway_pool_workers WHERE database = current_database()}) eq 't' }), 'timeouts of probes count');

# The results without verification.
$db->value(q{UPDATE gateway_probes SET "verifyTls" = false WHERE protocol = 'tls'});
$expected{talker} = [ 'up', 'healthy: probe up' ];
$db->comes_to(%expected);

# CA certificates that are refused: too long, or none.
my $id = Probed::id('steady');
my $line = "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n";
my $longest = $ca . "\n" x (65_536 - length $ca);
foreach my $statement (
    "SELECT set_gateway_probe('$id', 'tls', '192.0.2.1:443', ca_certificate => " . Probed::literal("$longest\n") . ')',
    qq{UPDATE gateway_probes SET "caCertificate" = repeat('x', 7 * 1024 * 1024) WHERE "gatewayId" = '$id'},
    qq{UPDATE gateway_probes SET "caCertificate" = '' WHERE "gatewayId" = '$id'})
{
    $db->fails($statement, '23514 gateway_pool_probes_ca_certificate_check', 'CA certificates are refused');
}
my %unreadable = ('a large key' => slurp_file($hostile->{large}), 'nothing' => $line, 'half' => $ca . $line, 'noise' => $ca . "-----BEGIN CERTIFICATE-----\n????\n-----END CERTIFICATE-----\n",
    'a password' => $ca =~ s/(-----BEGIN CERTIFICATE-----\n)/$1Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00112233445566778899AABBCCDDEEFF\n\n/r);
my $address = "127.0.0.1:$running{'elliptic curves'}{port}";
$db->probe($_, 'tls', $address, ca_certificate => $unreadable{$_}) foreach sort keys %unreadable;
$db->probe('longest', 'tls', $address, ca_certificate => $longest);
$db->comes_to(
    'longest' => [ 'up', 'healthy: probe up' ],
    map { $_ => [ 'none: caCertificate is not readable', 'unknown: no evidence: caCertificate is not readable' ] } keys %unreadable);

# A row that bypasses the rules is not probed, and that is reported.
my $longest_id = Probed::id('longest');
$db->value(qq{SET session_replication_role = replica;
    UPDATE gateway_probes SET "caCertificate" = "caCertificate" || repeat(E'\\n', 7 * 1024 * 1024) WHERE "gatewayId" = '$longest_id'});
$db->comes_to('longest' => [ 'not probed', 'unknown: no evidence' ]);
# The worker says so at the end of the turn in which it stops to probe.
$db->shows_soon(q{SELECT detail FROM check_gateway_pools() WHERE problem LIKE 'worker %'},
    "gateway $longest_id cannot be probed: The value of caCertificate is longer than 64 kB.", 'check_gateway_pools() reports it');

# Reasons contain only printable ASCII, whatever gateways send and whatever the encoding of the database.
$db->shows(q{SELECT count(*) > 5 FROM gateway_health WHERE reason IS NOT NULL}, 't', 'there are reasons');
$db->shows(qq{SELECT count(*) FROM (SELECT reason FROM $_) r WHERE reason ~ '[^ -~]' OR reason ~ 'xxx'}, 0, "$_: reasons are printable ASCII and contain no text of a gateway")
  foreach qw(gateway_health gateway_health_events gateway_probe_status gateway_status);
my $dump = "$dir/dump.sql";
$node->command_ok([ 'pg_dump', '-f', $dump, $node->connstr('app') ], 'pg_dump succeeds');
$node->safe_psql('postgres', 'CREATE DATABASE restored TEMPLATE template0');
$node->command_ok([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-f', $dump, $node->connstr('restored') ], 'the dump can be restored');

is($db->worker, $worker, 'the worker is the same all the time');
$node->stop;
done_testing();
