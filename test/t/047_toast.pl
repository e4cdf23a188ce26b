# Values that are stored out of line, from 1 kB to the maximum: certificates,
# capabilities, reasons, org_queries and rows of consumers. All readers can read them:
# the worker, picks, views, management functions, triggers.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;
use Patience qw(soon);
use Peers;
use PostgreSQL::Test::Utils;
use Test::More;
use WatchedDatabase qw(start_watching_node gateway_id pool_id $acme);

my $node = start_watching_node('main');
my $db = WatchedDatabase->create($node);
my $warm = $db->session;
my $reserved = Peers::Server->reserve_port;
my $closed = '127.0.0.1:' . $reserved->sockport;
my $pool = pool_id(1);
my $next_gateway = 100;

# Returns an SQL expression for incompressible text of some bytes: letters and digits, or
# characters of four bytes each.
sub random_text { return "(SELECT string_agg(replace(gen_random_uuid()::text, '-', ''), '') FROM generate_series(1, $_[0] / 32))" }
sub random_wide_text { return "(SELECT string_agg(chr(65536 + floor(random() * 100000)::int), '') FROM generate_series(1, $_[0] / 4))" }
sub random_capabilities { return "json_build_object('pkcs11', true, 'random', " . random_text($_[0]) . ')' }

sub is_out_of_line
{
    my ($table, $label) = @_;
    $db->shows(qq{SELECT pg_relation_size(reltoastrelid) > 0 FROM pg_class WHERE oid = '$table'::regclass}, 't', "$label: stored out of line");
    return;
}

# Checks that the worker can read all rows: it reports no problem, and records a new gateway.
sub worker_reads
{
    my ($label) = @_;
    my $number = $next_gateway++;

    $db->add_gateways($number);
    $db->beat($number, 600);
    # A new member wakes the worker; a new gateway alone does not.
    $db->value(qq{INSERT INTO gateway_pool_memberships ("gatewayPoolId", "gatewayId") VALUES ('} . pool_id(2) . "', '" . gateway_id($number) . q{')});
    $db->waits_for_event($number, 'unknown healthy heartbeat fresh', "$label: the worker records a new gateway")
      and is($db->worker('problem'), '', "$label: the worker reports no problem")
      or die('all that follows would wait in vain');
    return;
}

# Statements work in a session with warm caches, in a new one, with one snapshot for
# all, and after COMMIT in a procedure or a block.
sub all_read
{
    my ($label, @statements) = @_;

    foreach my $sql (@statements)
    {
        $warm->works($sql, "$label: warm: " . substr($sql, 0, 90));
        $db->works("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT; $sql; COMMIT", "$label: new session, one snapshot");
        $db->works("DO \$do\$ BEGIN SET LOCAL lock_timeout = '1min'; COMMIT; EXECUTE \$sql\$$sql\$sql\$; COMMIT; EXECUTE \$sql\$$sql\$sql\$; END \$do\$",
            "$label: after COMMIT");
    }
    return;
}

my @reading = (
    map({ "SELECT * FROM $_" } qw(gateway_status gateway_pool_members gateway_pool_status gateway_options gateway_probe_status
          gateway_pool_stats gateway_pool_workers), 'check_gateway_pools()'),
    "SELECT * FROM list_gateway_pools('$acme')",
    "SELECT * FROM get_gateway_pool('$acme', '$pool')",
    "SELECT get_gateway_pool_resources('$acme', '$pool')",
    "SELECT pick_healthy_gateway('$pool')",
    "SELECT * FROM pick_healthy_gateways('$pool', 3, strategy => 'least_loaded')",
    "SELECT * FROM explain_gateway_pick('$pool')");

$db->add_gateways(1 .. 4);
$db->beat($_, 3600) foreach 1 .. 4;
$db->add_pool(1, 1, 2);
$db->add_pool(2);
worker_reads('at first');

subtest 'capabilities' => sub {
    my $asked = q{capabilities => '{"pkcs11": true}'};

    foreach my $type (qw(jsonb json))
    {
        $db->value("DROP INDEX IF EXISTS gateways_v2_capabilities_gin_idx; ALTER TABLE gateways_v2 ALTER capabilities TYPE $type");
        foreach my $size (1024, 4096, 17000, 1048576, 16777216)
        {
            my $label = "$size bytes of $type";

            $db->value('UPDATE gateways_v2 SET capabilities = ' . random_capabilities($size) . " WHERE id = '" . gateway_id(1) . q{'});
            is_out_of_line('gateways_v2', $label) if $size >= 4096;
            worker_reads($label);
            foreach my $session ($warm, $warm, $db)
            {
                $session->shows("SELECT pick_healthy_gateway('$pool', $asked)", gateway_id(1), "$label: a pick works");
                $session->shows("SELECT string_agg(g::text, ' ') FROM pick_healthy_gateways('$pool', 2, $asked) g", gateway_id(1), "$label: picks work");
                $session->shows("SELECT string_agg(verdict, ', ' ORDER BY name) FROM explain_gateway_pick('$pool', $asked)",
                    'candidate, lacks capabilities', "$label: an explanation works");
            }
            next if $size != 1048576;
            all_read($label, @reading, "SELECT pick_healthy_gateway('$pool', $asked)", "SELECT * FROM explain_gateway_pick('$pool', $asked)",
                'UPDATE gateways_v2 SET heartbeat = now()', 'UPDATE gateways_v2 SET capabilities = capabilities');
        }
    }

    # In a new session, because the counts include earlier transactions.
    my $fresh = $db->session;
    $fresh->shows(q{BEGIN; UPDATE gateways_v2 SET heartbeat = now();
        SELECT pg_stat_get_xact_blocks_fetched(reltoastrelid) FROM pg_class WHERE oid = 'gateways_v2'::regclass; COMMIT}, 0,
        'a heartbeat fetches no unchanged values');
    $fresh->end;
};

subtest 'certificates' => sub {
    my $dir = PostgreSQL::Test::Utils::tempdir;
    my @certificates;

    system('openssl', 'genrsa', '-out', "$dir/key", '4096') == 0 or die 'openssl failed';
    foreach my $number (1 .. 34)
    {
        system('openssl', 'req', '-x509', '-key', "$dir/key", '-subj', "/CN=authority $number", '-days', '3650', '-out', "$dir/crt") == 0
          or die 'openssl failed';
        push @certificates, slurp_file("$dir/crt");
    }
    foreach my $count (1, 2, 4, 10, 34)
    {
        my $bundle = substr(join('', @certificates[ 0 .. $count - 1 ]), 0, 65536);
        my $label;

        $bundle = join('', map { "$_-----END CERTIFICATE-----\n" } $bundle =~ /(.*?)-----END CERTIFICATE-----\n/gs);
        $label = length($bundle) . ' bytes of certificates';
        $warm->works("SELECT set_gateway_probe('" . gateway_id(3) . "', 'https', '$closed', ca_certificate => '$bundle')", "$label are accepted");
        is_out_of_line('gateway_probes', $label) if $count > 2;
        worker_reads($label);
        $db->waits_for(qq{(SELECT reason FROM gateway_status WHERE "gatewayId" = '} . gateway_id(3) . q{') = 'probe down: refused'}, "$label: the worker probes");
        all_read($label, @reading, 'UPDATE gateway_probes SET rise = rise', 'UPDATE gateway_probes SET "caCertificate" = "caCertificate"',
            "SELECT probe_gateway('" . gateway_id(3) . q{')}) if $count == 34;
    }
    $warm->shows("SELECT clear_gateway_probe('" . gateway_id(3) . q{')}, 't', 'the probe is cleared');
};

subtest 'reasons' => sub {
    foreach my $size (1024, 4000)
    {
        my $label = "a reason of $size bytes";
        my $set = "SELECT set_gateway_state('" . gateway_id(4) . "', '%s', " . random_wide_text($size) . ')';

        all_read($label, map { sprintf $set, $_ } qw(maintenance draining));
        is_out_of_line('gateway_states', $label) if $size >= 4000;
        worker_reads($label);
        all_read($label, @reading, sprintf($set, 'active')) if $size >= 4000;
    }
    is_out_of_line('gateway_pool_audit_logs', 'the audit log of it');
    $warm->works('DELETE FROM gateway_states', 'states can be deleted');
};

subtest 'consumers' => sub {
    foreach my $size (1024, 4096, 65536, 1048576)
    {
        my $label = "a query and rows of $size bytes";
        my $query = $db->value('SELECT ' . random_text($size));

        $db->value('DROP TABLE IF EXISTS apps; CREATE TABLE apps (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), "orgId" uuid, name text)');
        $warm->works(qq{SELECT register_pool_consumer('apps', org_query => 'SELECT (\$1)."orgId" WHERE (\$1).name <> ''$query''')}, "$label: registering works");
        is_out_of_line('pg_trigger', $label) if $size >= 4096;
        all_read($label, qq{INSERT INTO apps ("orgId", name, "gatewayPoolId") VALUES ('$acme', } . random_text($size) . ", '$pool')",
            'UPDATE apps SET name = name || 1', 'UPDATE apps SET "gatewayPoolId" = NULL', qq{UPDATE apps SET "gatewayPoolId" = '$pool'});
        is_out_of_line('apps', $label) if $size >= 4096;
        $warm->shows("SELECT problem FROM check_gateway_pools() WHERE object ~ 'apps'", '', "$label: check_gateway_pools() reports no problem");
        worker_reads($label);
        all_read($label, @reading, 'DELETE FROM apps') if $size > 4096;
    }
};

subtest 'names' => sub {
    $db->value('ALTER TABLE gateways_v2 ALTER name TYPE text, DROP CONSTRAINT gateways_v2_orgid_name_unique');
    foreach my $size (1024, 4096, 65536, 1048576)
    {
        my $label = "a name of $size bytes";

        $db->value('UPDATE gateways_v2 SET name = ' . random_text($size) . " WHERE id = '" . gateway_id(1) . q{'});
        worker_reads($label);
        all_read($label, @reading) if $size >= 65536;
    }
};

$warm->works("DELETE FROM gateways_v2 WHERE id = '" . gateway_id(1) . q{'}, 'a gateway with such values can be deleted');
worker_reads('at last');
$warm->end;
$node->stop;
done_testing();
