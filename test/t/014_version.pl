# Library and SQL objects of different builds, which may have the same version: every
# function says so, the host's writes go on, and the worker waits.  ALTER EXTENSION UPDATE
# gives the catalog of a new installation.
#
# The library of another build is here the same code with the hash of another script.

use strict;
use warnings FATAL => 'all';

use File::Copy qw(copy);
use FindBin;
use lib $FindBin::RealBin;
use Patience qw(awakes);
use PoolDatabase qw(start_node private_installation same_lines);
use PostgreSQL::Test::Utils;
use Test::More;

my $acme = 'a0000000-0000-4000-8000-000000000001';
my $beta = 'a0000000-0000-4000-8000-000000000002';
my $pool = 'b0000000-0000-4000-8000-000000000001';
my $auth = 'c0000000-0000-4000-8000-000000000001';
my @gateway = map { "9000000$_-0000-4000-8000-000000000000" } 0 .. 3;
my $refusal = '55000 gateway_pools_version';

my ($installation, $library, $scripts) = private_installation();
my $first_library = slurp_file($library);
my $first_script = slurp_file("$scripts/gateway_pool--1.0.sql");

sub hash_of { return $_[0] =~ /AS SELECT '([0-9a-f]{16})' AS script;/ ? $1 : die 'no hash' }

# Replaces a file as make install does: who has opened the old one keeps it.
sub write_file
{
    my ($file, $content) = @_;

    open my $out, '>:raw', "$file.new" or die "$file: $!";
    print {$out} $content;
    close $out or die "$file: $!";
    rename "$file.new", $file or die "$file: $!";
    return;
}

# Makes the scripts of another build with the Makefile: from a copy of its source in which
# files are changed.  Returns the content of each script, by its name.
sub build_scripts
{
    my ($version, %changes) = @_;
    my $dir = PostgreSQL::Test::Utils::tempdir;
    my $top = "$FindBin::RealBin/../..";

    system('cp', '-R', "$top/Makefile", "$top/gateway_pool.control", "$top/sql", $dir) == 0 or die 'cp failed';
    mkdir "$dir/test" or die "mkdir: $!";
    copy("$top/test/tests.mk", "$dir/test/tests.mk") or die "copy: $!";
    unlink glob "$dir/sql/*--*.sql";
    mkdir "$dir/sql/updates";
    foreach my $file (keys %changes)
    {
        my $text = -e "$dir/$file" ? slurp_file("$dir/$file") : '';
        my $changed = $changes{$file}->($text);

        die "$file: nothing is changed" if $changed eq $text;
        write_file("$dir/$file", $changed);
    }
    my @names = ("gateway_pool--$version.sql", map { /([^\/]+)\.sql$/ ? "gateway_pool--$1--$version.sql" : () } glob "$dir/sql/updates/*.sql");
    system('make', '-s', '-C', $dir, "EXTVERSION=$version", map { "sql/$_" } @names) == 0 or die 'make failed';
    return map { ($_ => slurp_file("$dir/sql/$_")) } @names;
}

# Returns the library that fits a script; it says that it is of version 1.0.
sub library_for
{
    my ($script) = @_;
    my ($from, $to) = (hash_of($first_script), hash_of($script));
    my $made = $first_library;

    ($made =~ s/\Q$from\E/$to/g) == 1 or die 'the library does not have its hash once';
    return $made;
}

# Asserts that all functions but the doctor refuse, and that the doctor names the problem.
my @calls;
sub all_refuse
{
    my ($session, $remedy) = @_;
    my @others;

    foreach my $call (grep { !/check_gateway_pools/ } @calls)
    {
        my $state = $session->run($call)->{state};

        push @others, "$call: $state" if $state ne $refusal;
    }
    is(join("\n", @others), '', 'all functions and views for users refuse');
    like($session->value('SELECT problem, object, detail, remedy FROM check_gateway_pools()'),
        qr/^library\ and\ SQL\ objects\ differ\|extension\ gateway_pool\|
            The\ library\ is\ of\ version\ \S+\ and\ script\ [0-9a-f]{16},\ the\ objects\ are\ of\ version\ \S+\ and\ script\ [0-9a-f]{16}\.\|
            \Q$remedy\E$/x, 'check_gateway_pools() names this problem alone, and what to do');
    return;
}

my $node = start_node('main', install_path => $installation, conf => 'gateway_pool.default_entitlement = on');
my $db = PoolDatabase->create_with_host($node, 'app');
my $main = PoolDatabase->create($node, 'other');
my $served = q{SELECT string_agg(concat_ws(': ', state, problem), ' ') FROM gateway_pool_workers WHERE database = 'app'};
my $problem = 'running: library and SQL objects are of different builds: see check_gateway_pools()';
my $restart = 'Restart the server if gateway_pool was installed while it ran.';
my $recreate = "$restart Otherwise run DROP EXTENSION gateway_pool CASCADE and CREATE EXTENSION gateway_pool SCHEMA public as a superuser, which keeps the tables.";
my $revoke = 'REVOKE SELECT ON gateway_options FROM PUBLIC; REVOKE EXECUTE ON FUNCTION set_gateway_state(uuid, text, text, timestamptz) FROM PUBLIC';

$main->value('CREATE EXTENSION gateway_pool');
$db->value(qq{
    CREATE EXTENSION gateway_pool;
    SELECT host_test.add_org('public', 'acme', '$acme'), host_test.add_org('public', 'beta', '$beta');
    SELECT host_test.add_gateway('public', '$acme', 'g' || i, '0s', ('9000000' || i || '-0000-4000-8000-000000000000')::uuid) FROM generate_series(1, 3) i;
    UPDATE gateways_v2 SET "heartbeatTTL" = 86400;
    INSERT INTO gateway_pools (id, "orgId", name) VALUES ('$pool', '$acme', 'edge');
    INSERT INTO gateway_pool_memberships ("gatewayPoolId", "gatewayId") VALUES ('$pool', '$gateway[1]'), ('$pool', '$gateway[2]');
    SELECT host_test.add_kubernetes_auth('public', '$acme', 'k', '$auth');
    UPDATE identity_kubernetes_auths SET "gatewayPoolId" = '$pool'});
$main->shows_soon($served, 'running', 'the worker runs');
$db->shows_soon(q{SELECT count(*) FROM gateway_health WHERE status = 'healthy'}, 3, 'it records');
$db->shows("SELECT count(DISTINCT pick_healthy_gateway('$pool')) FROM generate_series(1, 100)", 2, 'picks work');

# The calls of all functions for users, with arguments by their types and names, and all views.
@calls = split /\n/, $db->value(q{
    SELECT CASE WHEN p.oid IS NULL THEN format('SELECT * FROM %s', c.oid::regclass) ELSE
           format('SELECT * FROM %s(%s)', p.oid::regproc, (SELECT string_agg(CASE
               WHEN n IN ('sticky_key', 'org_query', 'ca_certificate', 'until', 'expires_at', 'organizations', 'gateways', 'kubernetes_auths') THEN 'NULL'
               WHEN t = 'uuid'::regtype THEN quote_literal('b0000000-0000-4000-8000-000000000001')
               WHEN t = 'uuid[]'::regtype THEN quote_literal('{}')
               WHEN t = 'text[]'::regtype THEN quote_literal('{list}')
               WHEN t = 'jsonb'::regtype THEN quote_literal('{}')
               WHEN t = 'interval'::regtype THEN quote_literal('1s')
               WHEN t = 'boolean'::regtype THEN 'true'
               WHEN t = 'integer'::regtype THEN '1'
               WHEN t = 'regclass'::regtype THEN quote_literal('identity_kubernetes_auths')
               WHEN t = 'regrole'::regtype THEN 'current_user::regrole'
               WHEN n = 'action' THEN quote_literal('list')
               WHEN n = 'strategy' THEN quote_literal('random')
               WHEN n = 'protocol' THEN quote_literal('tcp')
               WHEN n = 'address' THEN quote_literal('192.0.2.1:1')
               WHEN n = 'path' THEN quote_literal('/')
               WHEN n = 'expected_status' THEN quote_literal('200')
               WHEN n = 'state' THEN quote_literal('draining')
               WHEN n = 'pool_column' THEN quote_literal('gatewayPoolId')
               WHEN n = 'gateway_column' THEN quote_literal('gatewayV2Id')
               ELSE quote_literal('edge') END, ', ' ORDER BY o)
          FROM unnest(string_to_array(p.proargtypes::text, ' ')::oid[], (SELECT array_agg(i ORDER BY place)
                 FROM unnest(p.proargnames, p.proargmodes) WITH ORDINALITY m (i, mode, place) WHERE coalesce(mode, 'i') IN ('i', 'b')))
               WITH ORDINALITY a (t, n, o))) END
      FROM pg_extension e
      JOIN pg_depend d ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND d.deptype = 'e'
      LEFT JOIN pg_proc p ON d.classid = 'pg_proc'::regclass AND p.oid = d.objid AND p.pronamespace = e.extnamespace
      LEFT JOIN pg_class c ON d.classid = 'pg_class'::regclass AND c.oid = d.objid AND c.relnamespace = e.extnamespace AND c.relkind = 'v'
     WHERE e.extname = 'gateway_pool' AND (p.oid IS NOT NULL OR c.oid IS NOT NULL)
     ORDER BY 1});
cmp_ok(scalar @calls, '>', 50, 'there are functions and views for users') || diag(join "\n", @calls);

# As a session sees it that reads the view while another one drops it.
subtest 'a view without its rule' => sub {
    my $broken = PoolDatabase->create_with_host($node, 'broken');

    $broken->value(q{SET allow_system_table_mods = on; CREATE EXTENSION gateway_pool;
        DELETE FROM pg_rewrite WHERE ev_class = 'gateway_pool_internal.pool_changes'::regclass});
    my $session = $broken->session;
    $session->fails("SELECT pick_healthy_gateway('$pool')", $refusal, 'functions refuse');
    $session->end;
    $main->shows_soon(q{SELECT problem FROM gateway_pool_workers WHERE database = 'broken'}, $problem =~ s/^running: //r, 'the worker waits');
    $main->value('DROP DATABASE broken');
};

my ($another) = (build_scripts('1.0', 'sql/parts/30_pick.sql' => sub { return "$_[0]-- another build\n" }))[1];

subtest 'a script of another build' => sub {
    my %same = build_scripts('1.0', 'sql/parts/99_unused.sql' => sub { return '-- no part of the script' });
    is($same{'gateway_pool--1.0.sql'}, $first_script, 'the same source gives the same script');
    isnt(hash_of($another), hash_of($first_script), 'another line gives another hash');

    my $new = PoolDatabase->create_with_host($node, 'new');
    my $before = $new->objects('public');
    write_file("$scripts/gateway_pool--1.0.sql", $another);
    my $output = $new->fails('CREATE EXTENSION gateway_pool', $refusal, 'CREATE EXTENSION is refused');
    like($output, qr/^HINT:  \Q$restart\E Otherwise install library and script of the same build\.$/m, 'the hint says what to do');
    same_lines($new->objects('public'), $before, 'it leaves nothing behind');
    $db->shows("SELECT pick_healthy_gateway('$pool') IS NOT NULL", 't', 'a database with the script of the library works');
};

# As a standby sees it that runs the library of before when its primary is updated.
subtest 'a script that comes while the worker serves' => sub {
    my $session = $db->session;
    my $replace = q{CREATE OR REPLACE VIEW gateway_pool_internal.pool_changes AS SELECT '%s'::text AS script};

    $session->value("SELECT pick_healthy_gateway('$pool')") foreach 1 .. 2;
    $db->value(sprintf $replace, 'another');
    $session->fails("SELECT pick_healthy_gateway('$pool')", $refusal, 'a session that has picked refuses at once');
    $main->shows_within(10, $served, $problem, 'the worker ends, and the next one waits');
    $db->value(sprintf $replace, hash_of($first_script));
    $session->works("SELECT pick_healthy_gateway('$pool')", 'the session picks again');
    $main->shows_within(10, $served, 'running', 'the worker serves again');
    $session->end;
};

subtest 'the library of another build' => sub {
    $node->stop;
    write_file($library, library_for($another));
    my $offset = -s $node->logfile;
    $node->start;
    $main->value('DROP EXTENSION gateway_pool; CREATE EXTENSION gateway_pool');
    my $session = $db->session;
    all_refuse($session, $recreate);

    # What is no matter of pools goes on.
    my $recorded = qq{SELECT h FROM gateway_health h WHERE "gatewayId" <> '$gateway[3]' ORDER BY 1};
    my $health = $db->value($recorded);
    $session->works($_, "the host goes on: $_") foreach
      'UPDATE gateways_v2 SET heartbeat = now()',
      qq{UPDATE gateways_v2 SET "heartbeatTTL" = 0 WHERE id = '$gateway[2]'},
      qq{SELECT host_test.add_gateway('public', '$acme', 'g4')},
      qq{DELETE FROM gateways_v2 WHERE id = '$gateway[3]'},
      'UPDATE identity_kubernetes_auths SET "kubernetesHost" = \'k2\'',
      'UPDATE organizations SET name = name';
    $session->fails($_, $refusal, "refused: $_") foreach
      qq{UPDATE gateways_v2 SET "orgId" = '$beta' WHERE id = '$gateway[1]'},
      qq{DELETE FROM gateways_v2 WHERE id = '$gateway[1]'},
      'UPDATE identity_kubernetes_auths SET "gatewayPoolId" = NULL',
      qq{UPDATE identity_kubernetes_auths SET "gatewayV2Id" = '$gateway[1]'},
      'DELETE FROM identity_kubernetes_auths',
      qq{INSERT INTO gateway_pools ("orgId", name) VALUES ('$acme', 'two')},
      q{UPDATE gateway_pools SET name = 'two'},
      'DELETE FROM gateway_pools',
      'TRUNCATE gateway_pools CASCADE',
      qq{INSERT INTO gateway_pool_memberships ("gatewayPoolId", "gatewayId") SELECT '$pool', id FROM gateways_v2 WHERE name = 'g4'},
      'DELETE FROM gateway_pool_memberships',
      qq{INSERT INTO gateway_states ("gatewayId", state) VALUES ('$gateway[1]', 'draining')},
      qq{INSERT INTO gateway_probes ("gatewayId", protocol, address) VALUES ('$gateway[1]', 'tcp', '192.0.2.1:1')},
      qq{DELETE FROM organizations WHERE id = '$acme'};

    $main->shows_soon($served, $problem, 'gateway_pool_workers names the problem');
    # It would have recorded the failure of the second gateway.
    awakes($main->value(q{SELECT pid FROM gateway_pool_workers WHERE database = 'app'}), 3);
    $db->shows($recorded, $health, 'the worker records nothing');
    my @logged = slurp_file($node->logfile, $offset) =~ /LOG:  gateway_pool worker for database "[^"]*" has a problem: library and SQL objects are of different builds/g;
    is(scalar @logged, 1, 'the worker says it once in the log');

    # The remedy of the doctor.
    $db->works('BEGIN; DROP EXTENSION gateway_pool CASCADE; CREATE EXTENSION gateway_pool SCHEMA public; COMMIT', 'the remedy works');
    $session->shows("SELECT DISTINCT pick_healthy_gateway('$pool') FROM generate_series(1, 50)", $gateway[1], 'picks work, and know what failed meanwhile');
    $main->shows_within(10, $served, 'running', 'the worker runs');
    $session->shows('SELECT * FROM check_gateway_pools()', '', 'check_gateway_pools() reports no problem');
    $db->shows_soon(qq{SELECT status FROM gateway_health WHERE "gatewayId" = '$gateway[2]'}, 'unhealthy', 'it records what failed meanwhile');
    $session->end;
};

subtest 'ALTER EXTENSION UPDATE' => sub {
    # All kinds of changes: bodies, arguments, results, comments, columns, indexes, triggers.
    my %next = build_scripts('1.1',
        'sql/updates/1.0.sql' => sub { return <<'END' },
DROP FUNCTION @extschema@.is_gateway_pool_name(text);
DROP FUNCTION @extschema@.gateway_pool_consumers();
DROP VIEW @extschema@.gateway_pool_members_brief;
END
        'sql/parts/20_plan.sql' => sub {
            return $_[0] =~ s/is_gateway_pool_name\(name text\)/is_gateway_pool_name(name text, strictly boolean DEFAULT true)/r
              =~ s/is_gateway_pool_name\(text\) IS\s+'/is_gateway_pool_name(text, boolean) IS 'new: /r;
        },
        'sql/parts/65_consumers.sql' => sub {
            return $_[0] =~ s/(gateway_pool_consumers\(\)\s+RETURNS TABLE \([^)]*)\)(.*?c\.org_query)/$1, number bigint)$2, row_number() OVER ()/sr;
        },
        'sql/parts/40_status.sql' => sub {
            my $text = $_[0] =~ s/SELECT (m\."poolName" AS pool), (m\.name AS gateway)/SELECT $2, $1/r;
            return $text =~ s/^(-- The functions check the privileges)/CREATE VIEW \@extschema@.gateway_names AS SELECT s.name FROM \@extschema@.gateway_status(NULL::uuid, NULL::uuid) s;\n\n$1/mr;
        },
        'sql/parts/05_internal.sql' => sub { return $_[0] =~ s/WHERE e\.extname = 'gateway_pool'\n/WHERE 'gateway_pool' = e.extname\n/r },
        'sql/parts/10_triggers.sql' => sub {
            return $_[0] . <<'END';
CREATE FUNCTION gateway_pool_internal.states_note() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS 'BEGIN RETURN NULL; END';
COMMENT ON FUNCTION gateway_pool_internal.states_note() IS 'new';
END
        },
        'sql/parts/70_install.sql' => sub {
            return $_[0] =~ s/(    \('gateway_health', NULL, NULL, NULL,)/    ('gateway_states', 'ticket', 'text', '', 'new'),\n\n$1/r
              =~ s/(        \(4, 'index', 'gateway_health_events')/        (4, 'index', 'gateway_states', ARRAY['state'], 'gateway_pool_ix_states_state', NULL, NULL),\n$1/r
              =~ s/(        \(10, 'gateway_states', )/        (9, 'gateway_states', 'GatewayPools_note', 'AFTER DELETE', 'ROW', 'states_note()'),\n$1/r;
        });
    write_file("$scripts/$_", $next{$_}) foreach keys %next;
    $db->value(qq{$revoke; INSERT INTO gateway_states ("gatewayId", state) VALUES ('$gateway[1]', 'active')});
    my $some_rows = 'SELECT * FROM gateway_pools; SELECT * FROM gateway_pool_memberships; SELECT "gatewayId", state FROM gateway_states';
    my $rows = $db->value($some_rows);
    my $session = $db->session;

    # With the library of before.
    my $before = $db->objects('public');
    my $output = $session->fails(q{ALTER EXTENSION gateway_pool UPDATE TO '1.1'}, $refusal, 'before the restart, the update is refused');
    like($output, qr/^HINT:  \Q$restart\E/m, 'the hint says what to do');
    same_lines($db->objects('public'), $before, 'it changes nothing');
    $session->shows("SELECT pick_healthy_gateway('$pool')", $gateway[1], 'picks work');
    $session->end;

    $node->stop;
    write_file($library, library_for($next{'gateway_pool--1.1.sql'}));
    $node->start;
    $session = $db->session;
    all_refuse($session, $recreate);
    $session->works(q{ALTER EXTENSION gateway_pool UPDATE TO '1.1'}, 'the update works');
    $session->shows("SELECT pick_healthy_gateway('$pool')", $gateway[1], 'then picks work');
    $session->shows($some_rows, $rows, 'the rows are the same');
    $session->shows_within(10, $served, 'running', 'the worker runs');
    $session->shows('SELECT * FROM check_gateway_pools()', '', 'check_gateway_pools() reports no problem');
    $session->end;

    # A new installation, with the same changes by an administrator.
    my $fresh = PoolDatabase->create_with_host($node, 'fresh');
    $fresh->value("CREATE EXTENSION gateway_pool VERSION '1.1'; $revoke");
    my ($updated, $new) = map {
        my $one = $_;
        join "\n", map({ $one->objects($_) } 'public', 'gateway_pool_internal'), $one->value(q{
            SELECT format('privileges %s %s', pg_describe_object(classoid, objoid, objsubid), initprivs) FROM pg_init_privs WHERE privtype = 'e' ORDER BY 1});
    } $db, $fresh;
    same_lines($updated, $new, 'all objects are those of a new installation');
    foreach my $object ('index CREATE INDEX gateway_pool_ix_states_state', 'column r gateway_states 6 ticket', 'view gateway_names',
        'trigger O CREATE TRIGGER "GatewayPools_note"', 'function public\.is_gateway_pool_name\(text,boolean\)', 'function gateway_pool_internal\.states_note\(\)')
    {
        like($updated, qr/^$object/m, "for example $object");
    }

    # The library of version 1.0 again.
    $node->stop;
    write_file($library, $first_library);
    $node->start;
    $db->shows('SELECT remedy FROM check_gateway_pools()', "$restart Otherwise run ALTER EXTENSION gateway_pool UPDATE as a superuser.", 'another version is updated');
};

$node->stop;
done_testing();
