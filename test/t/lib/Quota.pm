# What the tests of quotas share: servers that are killed, or whose clock is
# moved, and the notifications that a listener hears.
package Quota;

use strict;
use warnings FATAL => 'all';

use Cwd qw(realpath);
use Exporter 'import';
use JSON::PP;
use Momento;
use PostgreSQL::Test::Utils;
use Time::HiRes qw(usleep);

our @EXPORT = qw(kill_server pids_of away_from_month_end faketime_library set_clock start_with_clock heard_quota);

# The processes of a server: all of them work in its data, nobody else does.
# One that is dead and not buried yet works nowhere.
sub pids_of
{
	my ($node) = @_;
	my $data = realpath($node->data_dir);

	return grep { (readlink("/proc/$_/cwd") // '') eq $data } map { /(\d+)$/ } glob('/proc/[0-9]*');
}

# Kill a server, all of its processes at once, and see them dead; the first of
# them also buried, for until then it would seem to run to the next one.
sub kill_server
{
	my ($node) = @_;
	my $deadline = time() + $PostgreSQL::Test::Utils::timeout_default;
	my ($postmaster) = slurp_file($node->data_dir . '/postmaster.pid') =~ /^(\d+)/;

	while (my @pids = pids_of($node))
	{
		kill('KILL', @pids);
		usleep(1000);
		die 'the server does not die' if time() > $deadline;
	}
	$node->kill9;
	while (kill(0, $postmaster))
	{
		usleep(1000);
		die 'the server is not buried' if time() > $deadline;
	}
}

# What a test says of this month holds till its end.
sub away_from_month_end
{
	my ($node) = @_;

	$node->poll_query_until('postgres', <<'SQL') or die 'the month does not end';
SELECT date_trunc('month', (now() + interval '1 min') AT TIME ZONE 'UTC') = date_trunc('month', now() AT TIME ZONE 'UTC')
SQL
}

# Where Debian's package libfaketime has its library, if it is installed.
sub faketime_library
{
	return (glob('/usr/lib/*/faketime/libfaketime.so.1'))[0];
}

# The clock stands at the time, UTC, in all processes of the server.
sub set_clock
{
	my ($node, $time) = @_;
	my $file = $node->basedir . '/clock';

	# renamed, so that nobody reads half a time
	write_file("$file.new", "$time\n");
	rename("$file.new", $file) or die "could not rename $file.new: $!";
}

# Start a server whose clock set_clock() has set.  Its waiting goes by the
# monotonic clock, which stays true.  The worker is started once more: what the
# postmaster starts out of a signal handler has the true time, because
# libfaketime was in the middle of a call.
sub start_with_clock
{
	my ($node) = @_;

	{
		local $ENV{LD_PRELOAD} = faketime_library();
		local $ENV{FAKETIME_TIMESTAMP_FILE} = $node->basedir . '/clock';
		local $ENV{FAKETIME_NO_CACHE} = 1;
		local $ENV{FAKETIME_DONT_FAKE_MONOTONIC} = 1;
		local $ENV{TZ} = 'UTC';
		$node->start;
	}
	$node->poll_query_until('postgres', <<'SQL') or die 'the worker does not get the clock';
SELECT count(*) = 1 AND bool_and(CASE WHEN backend_start >= pg_postmaster_start_time() THEN true ELSE NOT pg_terminate_backend(pid) END)
FROM pg_stat_activity WHERE backend_type = 'momento_billing worker'
SQL
}

# What a session that listens has heard of quotas until the query answers true,
# and at least so many: in words, with who has said it.
sub heard_quota
{
	my ($node, $listener, $count, $until) = @_;
	my $deadline = time() + $PostgreSQL::Test::Utils::timeout_default;
	my @heard;

	$node->poll_query_until('app', $until) or die 'what was waited for does not come';
	while (1)
	{
		# psql shows what has come with a query
		my $output = $listener->query_safe('SELECT 1');

		while ($output =~ /Asynchronous notification "momento_billing" with payload "(.*)" received from server process with PID (\d+)/g)
		{
			push @heard, { %{ decode_json($1) }, pid => $2 };
		}
		last if @heard >= $count || time() > $deadline;
		usleep(10_000);
	}
	return @heard;
}

1;
