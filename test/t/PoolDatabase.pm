# One database of a test, as one role sees it: statements, assertions about
# them, and a fingerprint of all objects and rows for comparing databases.

package PoolDatabase;

use strict;
use warnings FATAL => 'all';

use Exporter 'import';
use File::Basename qw(basename dirname);
use File::Copy qw(copy);
use File::Path qw(make_path);
use FindBin;
use Patience qw($patience soon watch);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

our @EXPORT_OK = qw(init_node start_node preload_alone compile_library private_installation same_lines);

# Makes the data of a server, with the locale C, as init() does.  test/kinds.sh names a
# directory of such data in INITDB_TEMPLATE: to copy that takes a tenth of the time.
# From PostgreSQL 17 on, init() does so itself; before, initdb is replaced.
sub init_node
{
    my ($node, %params) = @_;
    my $template = $ENV{INITDB_TEMPLATE};
    my $run = \&PostgreSQL::Test::Utils::system_or_bail;

    return $node->init(%params, extra => [ '--locale=C', '--encoding=UTF8' ]) unless defined $template;
    no warnings 'redefine'; ## no critic (ProhibitNoWarnings)
    local *PostgreSQL::Test::Utils::system_or_bail = sub {
        my ($program, undef, $data) = @_;
        return $run->($program eq 'initdb' ? ('cp', '-RPp', $template, $data) : @_);
    };
    return $node->init(%params);
}

# Starts a server with the settings for these tests: the library is preloaded, there is
# no startup_grace, and each database can have a worker.
sub start_node
{
    my ($name, %params) = @_;
    my $conf = delete $params{conf} // '';
    my $streams = delete $params{allows_streaming} // 0;
    my $node = PostgreSQL::Test::Cluster->new($name, %params);

    init_node($node, allows_streaming => $streams);
    $node->append_conf('postgresql.conf', join("\n", "timezone = 'UTC'",
            "shared_preload_libraries = 'gateway_pool'", 'gateway_pool.startup_grace = 0',
            'max_worker_processes = 64', $conf));
    $node->start;
    watch($node);
    return $node;
}

# Compiles a file of test/, which includes files of src/, and starts a server with this
# library alone.  Returns the name of the library.
sub preload_alone
{
    my ($node, $file) = @_;
    my $library = compile_library($file);

    init_node($node);
    $node->append_conf('postgresql.conf', "shared_preload_libraries = '$library'\nrestart_after_crash = off");
    $node->start;
    return $library;
}

# Compiles a file of test/ to a library that a server can load, and returns its name.
sub compile_library
{
    my ($file) = @_;
    my $library = PostgreSQL::Test::Utils::tempdir . '/' . $file =~ s/\.c$/.so/r;

    chomp(my $include = qx{pg_config --includedir-server});
    system('cc', '-O2', '-Wall', '-Werror', '-fPIC', '-shared', '-I', $include, '-I', "$FindBin::RealBin/../../src", '-o', $library,
        "$FindBin::RealBin/../$file") == 0 or die 'cc failed';
    return $library;
}

# A server finds its files relative to its own location: a copy elsewhere has a library and
# scripts of its own, which a test may change.  Returns its directory, the library, and
# the directory of the scripts.
sub private_installation
{
    my %dir = map { chomp(my $dir = qx{pg_config --$_}); ($_ => $dir) } qw(bindir pkglibdir sharedir);
    my $top = $dir{bindir};
    my $copy = PostgreSQL::Test::Utils::tempdir;

    $top = dirname($top) until $dir{pkglibdir} =~ /^\Q$top\E\// && $dir{sharedir} =~ /^\Q$top\E\//;
    my %place = map { ($_ => $copy . substr($dir{$_}, length $top)) } keys %dir;

    make_path(@place{qw(bindir pkglibdir)}, "$place{sharedir}/extension");
    foreach my $program (qw(initdb pg_config pg_ctl postgres psql))
    {
        copy("$dir{bindir}/$program", "$place{bindir}/$program") or die "copy of $program: $!";
        chmod 0755, "$place{bindir}/$program";
    }
    foreach my $pair ([ pkglibdir => '' ], [ sharedir => '' ], [ sharedir => '/extension' ])
    {
        my ($kind, $folder) = @$pair;

        foreach my $file (glob "$dir{$kind}$folder/*")
        {
            my $to = "$place{$kind}$folder/" . basename($file);

            next if $file =~ /\/extension$/;
            (basename($file) =~ /^gateway_pool/ ? copy($file, $to) : symlink($file, $to)) or die "$to: $!";
        }
    }
    return (dirname($place{bindir}), "$place{pkglibdir}/gateway_pool.so", "$place{sharedir}/extension");
}

# An existing database.
sub new
{
    my ($class, $node, $name) = @_;

    watch($node, $name);
    return bless { node => $node, name => $name }, $class;
}

# A new and empty database, with further options of CREATE DATABASE.
sub create
{
    my ($class, $node, $name, $options) = @_;

    $options //= '';
    $node->safe_psql('postgres', "CREATE DATABASE \"$name\" TEMPLATE template0 $options");
    return $class->new($node, $name);
}

# A new database with the functions that make a host.
sub create_with_host_functions
{
    my ($class, $node, $name, $options) = @_;
    my $self = $class->create($node, $name, $options);

    $node->safe_psql($name, slurp_file("$FindBin::RealBin/../host.sql"));
    return $self;
}

# A new database with a host at some stage, by default the last one, whose tables
# belong to a role.
sub create_with_host
{
    my ($class, $node, $name, $stage, $owner) = @_;
    my $self = $class->create_with_host_functions($node, $name);

    $stage //= 2;
    $self->value("SELECT host_test.make_host('public', $stage, " . (defined $owner ? "'$owner'" : 'NULL') . ')');
    return $self;
}

# The same database seen by another role.
sub as
{
    my ($self, $role) = @_;
    return bless { %$self, role => $role, session => undef }, ref $self;
}

sub psql_params
{
    my ($self) = @_;
    return [ '-v', 'VERBOSITY=verbose', defined $self->{role} ? ('-U', $self->{role}) : () ];
}

sub connect
{
    my ($self) = @_;
    my $session = $self->{node}->background_psql($self->{name}, on_error_stop => 0, extra_params => $self->psql_params);

    # A session may last long, a statement may not.
    $session->set_query_timer_restart;
    return $session;
}

# The same database in one session, which lasts until end().
sub session
{
    my ($self) = @_;
    return bless { %$self, session => $self->connect }, ref $self;
}

sub end
{
    my ($self) = @_;
    $self->{session}->quit;
    return;
}

# Runs statements up to the first error (in a session, or with on_error_stop 0, all of
# them).  Returns their output and, for the first error, its state: "23503", or
# "23503 some_constraint" if the error has a constraint name.
sub run
{
    my ($self, $sql, %params) = @_;
    my $offset = -s $self->{node}->logfile;
    my %result;

    if ($self->{session})
    {
        $self->{session}->{stderr} = '';
        eval { $result{out} = $self->{session}->query($sql) };
        $result{err} = $self->{session}->{stderr} . $@;
        $self->{session}->{stderr} = '';
        if ($@)
        {
            # A crash is a result like others, if the server recovers.
            $result{out} = '';
            $self->wait_for_recovery($offset);
            $self->{session} = $self->connect;
        }
    }
    else
    {
        (undef, $result{out}, $result{err}) =
          $self->{node}->psql($self->{name}, $sql, extra_params => $self->psql_params, %params);
    }
    $result{state} = '';
    if ($result{err} =~ /(?:ERROR|FATAL):  (\w{5}): (.*)/)
    {
        ($result{state}, $result{message}) = ($1, $2);
        $result{state} .= " $1" if $result{err} =~ /^CONSTRAINT NAME:  (.*)$/m;
    }
    elsif ($result{err} =~ /(?:error|FATAL|PANIC|server closed|process ended)/)
    {
        $result{state} = 'unknown';
    }
    $self->wait_for_recovery($offset) if !$self->{session} && $result{err} =~ /server closed the connection/;
    return \%result;
}

# Waits until the server has recovered from a crash that is in the log after an
# offset.  Until the server notices the crash, it still accepts connections.
sub wait_for_recovery
{
    my ($self, $offset) = @_;

    foreach (1 .. 1000)
    {
        $self->{node}->poll_query_until('postgres', 'SELECT true') or last;
        return if slurp_file($self->{node}->logfile, $offset) =~ /was terminated by signal.*ready to accept connections/s;
    }
    die 'the server is gone';
}

# Returns the output of statements; an error ends the test.
sub value
{
    my ($self, $sql) = @_;
    my $result = $self->run($sql);

    die "failed: $sql\n$result->{err}" if $result->{state} ne '';
    return $result->{out};
}

# Asserts the output of statements.
sub shows
{
    my ($self, $sql, $expected, $label) = @_;
    my $result = $self->run($sql);

    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my $ok = $result->{state} eq '' ? is($result->{out}, $expected, $label) : fail($label);
    diag($result->{err}) unless $ok;
    return $ok;
}

# Asserts the output of statements within some seconds; the expected output may be a pattern.
sub shows_within
{
    my ($self, $seconds, $sql, $expected, $label) = @_;
    my $pattern = ref $expected ? qr/^$expected$/ : qr/^\Q$expected\E\z/;
    my $seen;

    soon(sub { $seen = $self->value($sql); return $seen =~ $pattern }, $seconds);
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    return like($seen, $pattern, $label);
}

# Asserts the output of statements soon.
sub shows_soon
{
    my ($self, @arguments) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;
    return $self->shows_within($patience, @arguments);
}

# Asserts that statements run.
sub works
{
    my ($self, $sql, $label) = @_;
    my $result = $self->run($sql);

    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my $ok = is($result->{state}, '', $label);
    diag($result->{err}) unless $ok;
    return $ok;
}

# Asserts that statements fail with this SQLSTATE and, after a blank, this
# constraint, and returns the output of psql.
sub fails
{
    my ($self, $sql, $state, $label) = @_;
    my $result = $self->run($sql);

    local $Test::Builder::Level = $Test::Builder::Level + 1;
    is($result->{state}, $state, $label)
      || diag($result->{out} . "\n" . $result->{err});
    return $result->{err};
}

# Asserts that two lists of lines are the same, and prints the difference.
sub same_lines
{
    my ($got, $expected, $label) = @_;
    my %count;

    local $Test::Builder::Level = $Test::Builder::Level + 1;
    return pass($label) if $got eq $expected && $got ne '';
    fail($label);
    $count{$_}++ foreach split /\n/, $got;
    $count{$_}-- foreach split /\n/, $expected;
    diag(($count{$_} > 0 ? 'got:      ' : 'expected: ') . $_)
      foreach grep { $count{$_} != 0 } sort keys %count;
    diag('the order differs, or there are no lines') unless grep { $_ != 0 } values %count;
    return 0;
}

# Returns all properties of the objects of a schema, one per line, in an order and with
# words that depend only on names.
sub objects
{
    my ($self, $schema, $kinds) = @_;
    my $in_schema = "= (SELECT n.oid FROM pg_namespace n WHERE n.nspname = '$schema')";
    my $acl = sub {
        my ($acl, $kind, $owner) = @_;
        return "(SELECT string_agg(a::text, ' ' ORDER BY a::text)"
          . " FROM aclexplode(coalesce($acl, acldefault('$kind', $owner))) x"
          . " CROSS JOIN LATERAL (SELECT concat_ws(':', CASE x.grantee WHEN 0 THEN 'PUBLIC'"
          . " ELSE x.grantee::regrole::text END, x.privilege_type, x.is_grantable,"
          . " x.grantor::regrole)) a)";
    };
    my %facts = (
        schema => "
            SELECT concat_ws(' ', n.nspname, n.nspowner::regrole, " . $acl->('n.nspacl', 'n', 'n.nspowner') . ",
                             obj_description(n.oid))
              FROM pg_namespace n WHERE n.oid $in_schema",
        relation => "
            SELECT concat_ws(' ', c.relkind, c.relname, c.relowner::regrole, c.relpersistence, c.reloptions,
                             c.relrowsecurity, c.relforcerowsecurity, c.relreplident,
                             CASE WHEN c.relkind IN ('r', 'v') THEN " . $acl->('c.relacl', 'r', 'c.relowner') . " END,
                             obj_description(c.oid))
              FROM pg_class c WHERE c.relnamespace $in_schema",
        column => "
            SELECT concat_ws(' ', c.relkind, c.relname, row_number() OVER (PARTITION BY c.oid ORDER BY a.attnum), a.attname,
                             format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity, a.attgenerated,
                             pg_get_expr(d.adbin, d.adrelid), a.attacl, a.attstattarget, a.attstorage,
                             col_description(c.oid, a.attnum))
              FROM pg_class c
              JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
              LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
             WHERE c.relnamespace $in_schema AND c.relkind IN ('r', 'v')",
        constraint => "
            SELECT concat_ws(' ', k.conrelid::regclass, k.conname, k.convalidated, pg_get_constraintdef(k.oid),
                             obj_description(k.oid, 'pg_constraint'))
              FROM pg_constraint k WHERE k.connamespace $in_schema",
        index => "
            SELECT concat_ws(' ', pg_get_indexdef(i.indexrelid), i.indisvalid, i.indisclustered)
              FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid WHERE c.relnamespace $in_schema",
        trigger => "
            SELECT concat_ws(' ', t.tgenabled, pg_get_triggerdef(t.oid), obj_description(t.oid, 'pg_trigger'))
              FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
             WHERE c.relnamespace $in_schema AND NOT t.tgisinternal",
        'trigger of a key' => "
            SELECT concat_ws(' ', t.tgenabled, t.tgrelid::regclass, k.conname, t.tgfoid::regproc)
              FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
              JOIN pg_constraint k ON k.oid = t.tgconstraint
             WHERE c.relnamespace $in_schema AND t.tgisinternal",
        view => "
            SELECT concat_ws(' ', c.relname, pg_get_viewdef(c.oid))
              FROM pg_class c WHERE c.relnamespace $in_schema AND c.relkind = 'v'",
        policy => "
            SELECT concat_ws(' ', p.polrelid::regclass, p.polname, p.polcmd, p.polpermissive, p.polroles::regrole[],
                             pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid))
              FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid WHERE c.relnamespace $in_schema",
        function => "
            SELECT concat_ws(' ', p.oid::regprocedure, p.proowner::regrole, pg_get_function_result(p.oid), p.provolatile,
                             p.proparallel, p.proisstrict, p.prosecdef, p.proconfig, p.probin, md5(p.prosrc),
                             " . $acl->('p.proacl', 'f', 'p.proowner') . ", obj_description(p.oid, 'pg_proc'))
              FROM pg_proc p WHERE p.pronamespace $in_schema",
        extension => "
            SELECT concat_ws(' ', e.extname, e.extversion, e.extnamespace::regnamespace, e.extowner::regrole,
                             pg_describe_object(d.classid, d.objid, d.objsubid))
              FROM pg_extension e JOIN pg_depend d ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid
             WHERE d.deptype = 'e'");
    my @kinds = $kinds ? @$kinds : sort keys %facts;

    # Names below are qualified, whatever the search_path of the database.
    return $self->value("SET search_path = pg_catalog;\n"
          . join("\n", map { "SELECT replace('$_ ' || f, E'\\n', ' ') AS fact FROM ($facts{$_}) s (f) ORDER BY 1;" } @kinds));
}

# The rows of all tables of a schema, a line each.
sub rows
{
    my ($self, $schema) = @_;
    return $self->value("SET search_path = pg_catalog;\n"
          . "SELECT format('SELECT %L || t::text FROM %I.%I t ORDER BY 1', t.tablename || ' ', t.schemaname, t.tablename)"
          . " FROM pg_tables t WHERE t.schemaname = '$schema' ORDER BY t.tablename \\gexec");
}

1;
