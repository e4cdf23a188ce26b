# A document in Markdown: its blocks to run, headings, links, words in code, and prose.

package Docs;

use strict;
use warnings FATAL => 'all';

use File::Basename qw(dirname);
use FindBin;

our $top = "$FindBin::RealBin/../..";

# The documents that users read, README first.
sub for_users
{
    return map { __PACKAGE__->read($_) } 'README.md', sort map { s{^\Q$top\E/}{}r } glob "$top/docs/*.md";
}

# All documents.
sub all
{
    return for_users(), map { __PACKAGE__->read($_) } qw(CHANGELOG.md CONTRIBUTING.md src/README.md test/README.md);
}

# Reads a file, named as seen from the top of the repository.
sub read
{
    my ($class, $name) = @_;
    my $self = bless { name => $name, steps => [], headings => [], links => [], code => [], prose => [], anchors => {} }, $class;

    open my $file, '<:encoding(UTF-8)', "$top/$name" or die "$name: $!";
    my @lines = <$file>;
    close $file;
    chomp @lines;
    $self->parse(@lines);
    return $self;
}

sub parse
{
    my ($self, @lines) = @_;
    my ($fence, $comment);

    for my $i (0 .. $#lines)
    {
        my ($line, $number) = ($lines[$i], $i + 1);

        if ($fence)
        {
            if ($line =~ /^\s*\Q$fence->{mark}\E\s*$/)
            {
                $self->add_step($fence);
                undef $fence;
            }
            else
            {
                $fence->{text} .= $line =~ s/^\s{0,$fence->{indent}}//r . "\n";
            }
        }
        elsif ($comment || $line =~ /^\s*<!--/)
        {
            $comment //= { line => $number, text => '' };
            $comment->{text} .= "$line\n";
            next if $line !~ /-->/;
            $self->add_comment($comment);
            undef $comment;
        }
        elsif ($line =~ /^(\s*)(```+|~~~+)\s*(\S*)/)
        {
            $fence = { indent => length $1, mark => $2, kind => $3, line => $number, text => '' };
        }
        else
        {
            $self->add_prose($line, $number);
        }
    }
    die "$self->{name}: a block or comment does not end" if $fence || $comment;
}

# A step is a block or a comment of those that a test reads.
sub add_step
{
    my ($self, $step) = @_;
    $step->{heading} = $self->{headings}->[-1];
    push @{ $self->{steps} }, $step;
}

# <!-- not run: REASON -->, <!-- run: SQL -->, <!-- database: empty|host [NAME] -->
sub add_comment
{
    my ($self, $comment) = @_;
    my ($kind, $text) = $comment->{text} =~ /<!--\s*(not run|run|database):\s*(.*?)\s*-->/s or return;

    $self->add_step({ kind => $kind, text => $text, line => $comment->{line} });
}

sub add_prose
{
    my ($self, $line, $number) = @_;
    my $text;

    # Code may go on in the next line.
    $self->{in_code} = 0 if $line =~ /^\s*$/;
    $line = "`$line" if $self->{in_code};
    $self->{in_code} = ($line =~ tr/`//) % 2;
    $line .= '`' if $self->{in_code};
    $text = $line;
    if ($line =~ /^(#+)\s+(.*?)\s*#*$/)
    {
        my $heading = { level => length $1, text => $2, line => $number };
        my $anchor = anchor_of($heading->{text});
        my $uses = $self->{anchors}->{$anchor}++;

        $self->{anchors}->{"$anchor-$uses"} = 1 if $uses;
        push @{ $self->{headings} }, $heading;
        $text = "$2.";
    }
    my $heading = $self->{headings}->[-1];

    my $plain = $text =~ s/`[^`]+`/CODE/gr;
    push @{ $self->{code} }, map { { text => $_, line => $number, heading => $heading } } $line =~ /`([^`]+)`/g;
    push @{ $self->{links} }, map { { text => $_, line => $number } } $plain =~ /\]\(\s*<?([^)\s>]+)>?[^)]*\)/g,
      $plain =~ /<(https?:[^>\s]*)>/g;
    $plain =~ s/!?\[([^\]]*)\]\([^)]*\)/$1/g;
    $plain =~ s/<[^>]*>//g;
    push @{ $self->{prose} }, { text => $plain, source => $line, line => $number, heading => $heading };
}

# The anchor that GitHub makes from a heading.
sub anchor_of
{
    my ($text) = @_;

    $text =~ s/!?\[([^\]]*)\]\([^)]*\)/$1/g;
    $text = lc $text;
    $text =~ s/[^\w\- ]//g;
    return $text =~ tr/ /-/r;
}

# Returns what is wrong with the links: a list of texts.
sub broken_links
{
    my ($self) = @_;
    my @broken;

    foreach my $link (@{ $self->{links} })
    {
        my $where = "$self->{name}:$link->{line}: $link->{text}";

        if ($link->{text} =~ /^\w+:/)
        {
            push @broken, "$where: not well-formed" unless $link->{text} =~ m{^(?:https://[\w.-]+\.\w+(?:[/?#]\S*)?|mailto:\S+@\S+)$};
            next;
        }
        my ($file, $anchor) = $link->{text} =~ /^([^#]*)(?:#(.*))?$/ or die;
        my $target = $file eq '' ? $self->{name} : dirname($self->{name}) . "/$file";

        1 while $target =~ s{(?:^|(?<=/))(?!\.\.?/)[^/]+/\.\./}{};
        $target =~ s{(?:^|(?<=/))\./}{}g;
        if (!-e "$top/$target")
        {
            push @broken, "$where: no such file";
        }
        elsif (defined $anchor && ($target !~ /\.md$/ || !Docs->read($target)->{anchors}->{$anchor}))
        {
            push @broken, "$where: no such heading";
        }
    }
    return @broken;
}

# Returns the sentences of the prose, each with its line.  A list item, a heading and the cells of a table are
# sentences of their own.
sub sentences
{
    my ($self) = @_;
    my ($text, @marks, @sentences) = '';

    foreach my $part (@{ $self->{prose} })
    {
        my $line = $part->{text};

        next if $line =~ /^\s*\|[\s|:-]*$/;
        # What is no prose ends a paragraph, too.
        $text .= "\n\n" if @marks && $part->{line} > $marks[-1][1] + 1 || $line =~ /^\s*(?:$|[-*|>]|\d+\.\s)/ || $part->{source} =~ /^#/;
        $line = $line =~ s/\|/\n\n/gr if $line =~ /^\s*\|/;
        push @marks, [ length $text, $part->{line} ];
        $text .= $line =~ s/^\s*(?:[-*>]|\d+\.)\s//r . "\n";
        $text .= "\n" if $part->{source} =~ /^#/;
    }
    while ($text =~ /(\S(?:.(?!\n\s*\n))*?)(?:(?<=[.!?])(?:["')*]*)(?=\s)|.(?=\n\s*\n)|\z)/gs)
    {
        my ($sentence, $start) = ($1, $-[1]);
        my ($line) = map { $_->[1] } grep { $_->[0] <= $start } reverse @marks;

        push @sentences, { text => $sentence =~ s/\s+/ /gr, line => $line };
    }
    return @sentences;
}

1;
