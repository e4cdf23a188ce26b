#!/usr/bin/perl
# A gateway of the demo: listens on the loopback port PORT, and answers every request
# with 200 OK.
use strict;
use warnings;
use IO::Socket::INET;

$SIG{PIPE} = 'IGNORE';
my $listener = IO::Socket::INET->new(Listen => 64, LocalAddr => '127.0.0.1', LocalPort => $ARGV[0], ReuseAddr => 1)
  or die "port $ARGV[0]: $!\n";
while (1)
{
    my $connection = $listener->accept or next;
    my $request = '';

    1 while $request !~ /\r\n\r\n/ && sysread $connection, $request, 4096, length $request;
    syswrite $connection, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" if $request ne '';
}
