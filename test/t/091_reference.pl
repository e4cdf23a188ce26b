# docs/reference.md and the catalog: what exists is in it, and what is in it exists.
#
# A heading of level 3 is the name of a function, view or table, as code.  Below it are the
# function's signature, and tables whose first column is headed argument, column, constraint
# or setting.

use strict;
use warnings FATAL => 'all';
use utf8;

use FindBin;
use lib $FindBin::RealBin;
use Docs;
use PoolDatabase qw(start_node);
use PostgreSQL::Test::Utils;
use Test::More;

my $reference = Docs->read('docs/reference.md');
my $node = start_node('reference');
my $app = PoolDatabase->create_with_host($node, 'app');

$app->value('CREATE EXTENSION gateway_pool SCHEMA public');

my $members = "FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid AND d.refclassid = 'pg_extension'::regclass"
  . " WHERE e.extname = 'gateway_pool' AND d.deptype = 'e'";
my %functions = map { split /\t/, $_, 2 } lines("SELECT p.proname || E'\\t' || pg_get_function_arguments(p.oid) || E'\\t' || "
      . "pg_get_function_result(p.oid) FROM pg_proc p WHERE p.pronamespace = 'public'::regnamespace AND p.oid IN "
      . "(SELECT d.objid $members AND d.classid = 'pg_proc'::regclass)");
my @views = lines("SELECT c.relname FROM pg_class c WHERE c.relkind = 'v' AND c.relnamespace = 'public'::regnamespace AND c.oid IN "
      . "(SELECT d.objid $members AND d.classid = 'pg_class'::regclass)");
my @tables = lines("SELECT DISTINCT relation FROM gateway_pool_internal.table_columns()");
my %columns;

push @{ $columns{ (split /\t/)[0] } }, (split /\t/)[1] foreach lines("SELECT c.relname || E'\\t' || a.attname FROM pg_class c"
      . " JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped"
      . " WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'v') ORDER BY c.relname, a.attnum");

my %sources = map { $_ => slurp_file($_) } glob "$Docs::top/src/*/*.c $Docs::top/src/*/*.h $Docs::top/sql/parts/*.sql";
my %sections = sections($reference);
my %tables_of = map { $_ => tables_in($sections{$_}) } keys %sections;

# Headings.
is_deeply([ sort keys %sections ], [ sort keys %{ { map { $_ => 1 } keys %functions, @views, @tables, 'identity_kubernetes_auths' } } ],
    'each function, view and table has a section');

# Signatures, arguments and results.
foreach my $name (sort keys %functions)
{
    my $section = $sections{$name} or next;
    my ($arguments, $results, $signature) = signature($name, split /\t/, $functions{$name}, 2);
    my ($shown) = map { $_->{text} } grep { $_->{kind} eq 'text' } @{ $section->{steps} };
    my $prose = join "\n", map { $_->{source} } @{ $section->{prose} };
    my $tables = $tables_of{$name};

    is(squeeze($shown // ''), squeeze($signature), "$name: signature");
    is_deeply([ sort @{ $tables->{argument} // [ mentioned($prose, @$arguments) ] } ], [ sort @$arguments ], "$name: arguments");
    is_deeply([ sort @{ $tables->{column} // [] } ], [ sort @$results ], "$name: result") unless $columns{$name};
    ok((grep { $_->{kind} eq 'sql' && $_->{text} =~ /\b\Q$name\E\b/ } @{ $section->{steps} }), "$name: example");
}

# Columns and constraints.
foreach my $name (sort @views, @tables)
{
    is_deeply($tables_of{$name}->{column}, $columns{$name}, "$name: columns");
}
my %constraints = map { $_ => 1 } lines("SELECT k.conname FROM pg_constraint k WHERE k.conname LIKE 'gateway\\_pool%' AND k.contype IN ('c', 'f', 'p', 'u')");

same('constraints of tables', [ keys %constraints ], [ map { @{ $tables_of{$_}->{constraint} // [] } } keys %sections ]);

# Settings.
my %settings = map { split /\t/, $_, 2 } lines("SELECT name || E'\\t' || CASE context WHEN 'user' THEN 'any role' WHEN 'sighup' THEN 'reload'"
      . " WHEN 'postmaster' THEN 'restart' ELSE context END || E'\\t' || coalesce(unit, '') || E'\\t' || coalesce(boot_val, '')"
      . " FROM pg_settings WHERE name LIKE 'gateway\\_pool.%'");
my %shown = map { $_->[0] =~ tr/`//dr => $_ } rows_under($reference, 'setting');

same('settings', [ keys %settings ], [ keys %shown ]);
foreach my $name (sort keys %settings)
{
    my ($set_by, $unit, $default) = split /\t/, $settings{$name}, -1;
    my (undef, $shown_default, $shown_by) = @{ $shown{$name} // [ '', '', '' ] };

    is($shown_by, $set_by, "$name: set by");
    is($shown_default eq 'empty' ? '' : in_unit($shown_default, $unit), $default, "$name: default");
}

# Errors: the codes and names of the sources.
my %state_of = slurp_file(server_include() . '/utils/errcodes.h') =~
  /^#define (ERRCODE_\w+) MAKE_SQLSTATE\(('.','.','.','.','.')\)/mg;
$_ =~ tr/',//d foreach values %state_of;
my %is_object = map { $_ => 1 } keys %functions, @views, @tables, 'gateway_pool_internal';
my (%raised, %named);

foreach my $file (sort keys %sources)
{
    my $text = $sources{$file};
    # In C, other such strings are the names of objects, and of the main functions of processes.
    my @names = $file =~ /\.sql$/ ? $text =~ /CONSTRAINT = '(\w+)'/g : $text =~ /"(gateway_pools?_\w+)"/g;

    $named{$_} = 1 foreach grep { !$is_object{$_} && !/_main$/ } @names;
    $raised{ $state_of{$_} // "unknown $_" } = 1 foreach $text =~ /errcode\((ERRCODE_\w+)\)/g;
    $raised{ $state_of{"ERRCODE_\U$_"} // "unknown $_" } = 1 foreach $text =~ /\bRAISE ([a-z_]+)\s+USING\b/g;
}
# Warnings are no errors.  These are raised in the worker alone.
delete @raised{qw(01000 53000 53200 XX000)};

my @errors = rows_under($reference, 'SQLSTATE');
my %documented = map { $_->[0] => 1 } @errors;
my %known_states = map { $_ => 1 } values %state_of;

is(join(' ', grep { !$documented{$_} } sort keys %raised), '', 'each SQLSTATE is in the reference');
is(join(' ', grep { !$known_states{$_} } sort keys %documented), '', 'each SQLSTATE of the reference exists');
same('constraint names of errors', [ keys %named ], [ keys %{ { map { $_ => 1 } map { $_->[1] =~ /`(\w+)`/g } @errors } } ]);

# Notifications, events of the audit log, and problems that the doctor names: words of the sources.
my $text = join "\n", map { $_->{source} } @{ $reference->{prose} };
my $c = join "\n", map { $sources{$_} } grep { /\.[ch]$/ } sort keys %sources;
my ($check) = map { $sources{$_} } grep { /80_check/ } keys %sources;
my %channels = map { $_ => 1 } $c =~ /Async_Notify\("(\w+)"/g;

same('channels', [ keys %channels ], [ $text =~ /`NOTIFY (\w+)`/g ]);
same('events of the audit log', [ $c =~ /"(gateway-[a-z]+-[a-z-]+)"/g ],
    [ map { $_->[0] =~ /(gateway-[a-z-]+)/g } rows_under($reference, '`"eventType"`') ]);
same('problems', [ $c =~ /\breport\(result, "([\w ]+)"/g, $c =~ /"(worker (?:not )?[a-z]+)"/g, $check =~ /problem := '([\w ]+)'|SELECT '([\w ]+)',/g ],
    [ grep { $_ ne 'table missing' } map { $_->[0] =~ /`([\w ]+)`/g } rows_under($sections{check_gateway_pools}, 'problem') ]);

# Whatever the reference writes as code and looks like a name of ours.
my %known = map { $_ => 1 } keys %functions, @views, @tables, keys %constraints, keys %named, keys %channels,
  map({ @{ (signature($_, split /\t/, $functions{$_}, 2))[0] } } keys %functions), qw(gateway_pool gateway_pool_internal);
my %builtin = map { $_ => 1 } lines('SELECT DISTINCT proname FROM pg_proc');
my @unknown;

foreach my $code (@{ $reference->{code} })
{
    my ($text, $where) = ($code->{text}, "line $code->{line}: $code->{text}");

    if ($text =~ /^(\w+)\(\)$/)
    {
        push @unknown, $where unless $builtin{$1};
    }
    elsif ($text =~ /^gateway_pool\.(\w+)$/)
    {
        push @unknown, $where unless $settings{$text} || $known{$1};
    }
    elsif ($text =~ /^(?:gateway_(?:pool|health|state|probe|status|option|id|dependent)|pick_|explain_|resolve_g|record_g|report_g)\w*$/)
    {
        push @unknown, $where unless $known{$text};
    }
    elsif ($text =~ /^"(\w+)"$/)
    {
        # A column of ours or of the host.
        push @unknown, $where unless grep { $1 eq $_ } map { @$_ } values %columns, [qw(folderId envId projectId gatewayId)];
    }
}
is(join("\n", @unknown), '', 'what the reference names exists');

$node->stop;
done_testing();

# Returns the lines that a query returns.
sub lines { return split /\n/, $app->value($_[0]) }

# Asserts that two lists have the same elements, in any order.
sub same
{
    my ($label, $exist, $documented) = @_;
    my %exist = map { $_ => 1 } grep { defined } @$exist;
    my %documented = map { $_ => 1 } @$documented;

    is(join(' ', grep { !$documented{$_} } sort keys %exist), '', "$label: each is in the reference");
    is(join(' ', grep { !$exist{$_} } sort keys %documented), '', "$label: each of the reference exists");
}

# Returns the sections, by the name in the heading of level 3: their prose and blocks.
sub sections
{
    my ($document) = @_;
    my %sections;

    foreach my $kind (qw(prose steps))
    {
        foreach my $part (@{ $document->{$kind} })
        {
            my $heading = $part->{heading} or next;

            push @{ $sections{$1}->{$kind} }, $part if $heading->{level} == 3 && $heading->{text} =~ /^`(\w+)(?:\(\))?`$/;
        }
    }
    return %sections;
}

# Returns the rows of the tables of a section whose first column has this title.
sub rows_under
{
    my ($section, $title) = @_;
    my ($in, @rows);

    foreach my $part (@{ $section->{prose} })
    {
        my ($row) = $part->{source} =~ /^\|(.*)\|$/;

        if (!defined $row)
        {
            $in = undef;
            next;
        }
        my @cells = map { s/^\s+|\s+$//gr } split /\|/, $row, -1;

        if (!defined $in)
        {
            $in = $cells[0];
        }
        elsif ($in eq $title && $cells[0] !~ /^-+$/)
        {
            push @rows, \@cells;
        }
    }
    return @rows;
}

# Returns the names in the first cells of these tables.
sub tables_in
{
    my ($section) = @_;
    my %names;

    foreach my $title (qw(argument column constraint))
    {
        my @rows = rows_under($section, $title) or next;

        $names{$title} = [ map { my $cell = $_->[0] =~ tr/`" //dr; split /,/, $cell } @rows ];
    }
    return \%names;
}

# Returns those of these names that a text has as code.
sub mentioned
{
    my ($text, @names) = @_;
    return grep { $text =~ /`\Q$_\E`/ } @names;
}

# Returns names of arguments, names of result columns, and the signature as the reference writes it.
sub signature
{
    my ($name, $arguments, $result) = @_;
    my (@in, @out);

    foreach my $argument (split_list($arguments))
    {
        my ($mode) = $argument =~ s/^(OUT|INOUT) // ? $1 : 'IN';

        push @in, $argument if $mode ne 'OUT';
        push @out, $argument =~ s/ DEFAULT .*//r if $mode ne 'IN';
    }
    if ($result =~ /^TABLE\((.*)\)$/)
    {
        @out = split_list($1);
        $result = 'setof record';
    }
    my $columns = @out ? ' (' . join(', ', @out) . ')' : '';

    return ([ map { s/ .*//r } @in ], [ map { s/ .*//r =~ tr/"//dr } @out ],
        plain("$name(" . join(', ', @in) . ") → " . $result =~ s/^SETOF/setof/r . $columns));
}

# Splits at commas outside parentheses and quotation marks.
sub split_list
{
    my ($list) = @_;
    return map { s/^\s+//r } $list =~ /((?:[^,'(]|'[^']*'|\([^)]*\))+)/g;
}

# Without casts of constants, and with short names of types.
sub plain
{
    my ($text) = @_;
    return $text =~ s/::[a-z ]+(?:\[\])?(?=[,)])//gr =~ s/timestamp with time zone/timestamptz/gr =~ s/\binteger\b/int/gr;
}

sub squeeze { return $_[0] =~ s/\s+/ /gr =~ s/\( /(/gr =~ s/ \)/)/gr =~ s/^ | $//gr }

# Returns a value such as 3min in a unit such as s.
sub in_unit
{
    my ($value, $unit) = @_;
    my %seconds = (ms => 0.001, s => 1, min => 60, h => 3600, d => 86400);

    return $value unless $unit ne '' && $value =~ /^(\d+)(\D+)$/;
    return $1 * $seconds{$2} / $seconds{$unit};
}

sub server_include
{
    chomp(my $include = qx{pg_config --includedir-server});
    return $include;
}
