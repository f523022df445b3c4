# script/import-redis: the counters of a real Redis move in, whole, however
# often and wherever it is stopped.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";

use IO::Socket::UNIX;
use IPC::Run ();
use Momento;
use POSIX ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

grep { -x "$_/redis-server" } split(/:/, $ENV{PATH}) or plan skip_all => 'redis-server is not installed';

my $script = "$FindBin::RealBin/../../script/import-redis";
my $folder = PostgreSQL::Test::Utils::tempdir_short();
my $secret = 'marker of a password: %/@ and so on';
my $secret_in_url = 'marker%20of%20a%20password%3A%20%25%2f%40%20and%20so%20on';
my $output = '';
my %redis;

delete @ENV{ 'REDIS_URL', 'REDISCLI_AUTH' };

# No library preloaded and no worker: nobody removes old months meanwhile.
my $node = PostgreSQL::Test::Cluster->new('import');
$node->init;
$node->append_conf('postgresql.conf', "autovacuum = off\n");
$node->start;
foreach my $database (qw(app odd killed locked fake ids))
{
	$node->safe_psql('postgres', "CREATE DATABASE $database");
	set_up($node, $database);
}
$node->safe_psql('app', <<'SQL');
CREATE ROLE mover LOGIN;
CREATE FUNCTION public.set_config(text, text, boolean) RETURNS text LANGUAGE plpgsql AS 'BEGIN RAISE ''hijacked''; END';
ALTER ROLE mover SET search_path = public, pg_catalog;
SELECT momento_billing.grant_admin_access('mover');
CREATE ROLE reader LOGIN;
GRANT USAGE ON SCHEMA momento_billing TO reader;
GRANT EXECUTE ON FUNCTION momento_billing.quota_remaining(text, text) TO reader;
SQL

# A Redis of ours with a socket in the folder, and nothing kept.
sub start_redis
{
	my ($name, @arguments) = @_;
	my $pid = fork() // die "could not fork: $!";

	if ($pid == 0)
	{
		open(STDOUT, '>', "$folder/$name.log");
		exec('redis-server', '--unixsocket', "$folder/$name", '--dir', $folder, '--save', '', '--appendonly', 'no',
			'--requirepass', $secret, @arguments)
		  or POSIX::_exit(127);
	}
	$redis{$name} = $pid;
	foreach (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
	{
		return if (redis_cli($name, "PING\n") // '') =~ /PONG/;
		select(undef, undef, undef, 0.1);
	}
	BAIL_OUT('redis-server did not start, see ' . slurp_file("$folder/$name.log"));
}

END
{
	my $status = $?;

	foreach my $pid (values %redis)
	{
		kill('TERM', $pid);
		waitpid($pid, 0);
	}
	$? = $status;
}

# What redis-cli answers to commands in a text; undef if it fails.
sub redis_cli
{
	my ($name, $commands, @arguments) = @_;
	my ($answer, $errors);

	local $ENV{REDISCLI_AUTH} = $secret;
	IPC::Run::run([ 'redis-cli', '-s', "$folder/$name", @arguments ], '<', \$commands, '>', \$answer, '2>', \$errors) or return undef;
	return $answer;
}

# SET commands of counters by key, quoted as redis-cli wants it
sub set_commands
{
	my (%counters) = @_;

	return join('', map { 'SET "' . s/([^A-Za-z0-9:_-])/sprintf '\\x%02x', ord $1/ger . "\" $counters{$_}\n" } sort keys %counters);
}

sub url
{
	my ($name) = @_;

	return "unix://:$secret_in_url\@$folder/$name";
}

# Starts the script; finish_import answers exit status, output, and errors.
sub start_import
{
	my ($database, @arguments) = @_;
	my %run = (out => '', err => '');

	delete local $ENV{PGAPPNAME};
	@arguments = ('--redis', url('main'), @arguments) if !grep { /^--(?:redis|host)$/ } @arguments;
	unshift(@arguments, '--postgres', $node->connstr($database)) if !grep { /^--postgres$/ } @arguments;
	$run{handle} = IPC::Run::start([ $script, @arguments ], '<', \'', '>', \$run{out}, '2>', \$run{err});
	return \%run;
}

sub finish_import
{
	my ($run) = @_;

	$run->{handle}->finish;
	$output .= "$run->{out}$run->{err}";
	return ($run->{handle}->full_result(0) >> 8, $run->{out}, $run->{err});
}

sub import_redis
{
	return finish_import(start_import(@_));
}

# Counters by their keys in Redis
sub counters
{
	my ($database) = @_;

	return {
		map { my ($key, $used) = split(/ /); (pack('H*', $key), $used) }
		  split(/\n/, $node->safe_psql($database, <<'SQL')) };
SELECT encode(convert_to(format('usage:%s:%s:%s', user_id, feature, to_char(period_start AT TIME ZONE 'UTC', 'YYYY-MM')), 'UTF8'), 'hex')
	|| ' ' || used
FROM momento_billing.usage
SQL
}

# The same as the script prints them, and as docs/redis.md says to ask for it
sub totals
{
	my ($database) = @_;

	return $node->safe_psql($database, <<'SQL') . "\n";
SELECT concat_ws(E'\t', feature, to_char(period_start AT TIME ZONE 'UTC', 'YYYY-MM'), count(*), sum(used))
FROM momento_billing.usage GROUP BY feature, period_start ORDER BY feature, period_start
SQL
}

my $next_xid = 'SELECT pg_snapshot_xmax(pg_current_snapshot())';
my ($status, $out, $err);

my $port = PostgreSQL::Test::Cluster::get_free_port();
start_redis('main', '--port', $port, '--bind', '127.0.0.1', '--databases', 2);

my %main;
foreach my $user (1 .. 1500)
{
	foreach my $feature (qw(ai_chat auto_tags))
	{
		$main{"usage:user_$user:$feature:2026-$_"} = $user % 50 + $_ foreach '01', '12';
	}
}
redis_cli('main', set_commands(%main) . "SET session:1 x\n");

($status, $out, $err) = import_redis('app', '--help');
like($out, qr/^Usage: /, '--help');
is("$status$err", '0', '--help is no error');
is((import_redis('app', $_))[0], 2, "usage error: $_") foreach '--nonsense', '--batch=0', 'word';

# Dry run
my $before = $node->safe_psql('app', $next_xid);
($status, $out, $err) =
  import_redis('app', '--dry-run', '--progress', 0, '--postgres', 'postgresql://reader@/app?host=' . $node->host . '&port=' . $node->port);
is($status, 0, 'dry run');
is($node->safe_psql('app', $next_xid), $before, 'it writes nothing, and needs no right to');
my $totals = $out;
like($err, qr/6000 keys read, 6000 counters checked, 0 skipped, \d+ counters\/s\n.*dry run, nothing was written in \S+ s\n\z/s, 'it says so, and no more');

# The load
redis_cli('main', '', 'CONFIG', 'RESETSTAT');
{
	local $ENV{REDISCLI_AUTH} = $secret;
	($status, $out, $err) = import_redis('app', '--host', '127.0.0.1', '--port', $port, '--progress', 0, '--batch', 500,
		'--postgres', $node->connstr('app') . ' user=mover');
}
is($status, 0, 'load, by host and port');
is_deeply(counters('app'), \%main, 'every counter is there');
is($out, $totals, 'what the dry run said');
is($out, totals('app'), 'what the query says');
my @progress = $err =~ /(\d+) keys read, \d+ counters loaded, 0 skipped, \d+ counters\/s\n/g;
cmp_ok(scalar @progress, '>', 10, 'progress, a line each');
is_deeply(\@progress, [ sort { $a <=> $b } @progress ], 'progress grows');
is(join(' ', sort(redis_cli('main', '', 'INFO', 'commandstats') =~ /cmdstat_([^:]+)/g)), 'auth config|resetstat get scan', 'Redis is only asked to SCAN and GET');

# Again
my $rows = all_rows($node, 'app');
($status, $out) = import_redis('app');
is("$status $out", "0 $totals", 'again');
is_deeply(all_rows($node, 'app'), $rows, 'it changes nothing');

# Both sides have counted on
redis_cli('main', "INCRBY usage:user_1:ai_chat:2026-12 5\n");
$node->safe_psql('app', "UPDATE momento_billing.usage SET used = used + 7 WHERE user_id = 'user_2' AND feature = 'ai_chat'");
($status, $out, $err) = import_redis('app');
$main{'usage:user_1:ai_chat:2026-12'} += 5;
is_deeply(counters('app'), { %main, map { ("usage:user_2:ai_chat:2026-$_" => $main{"usage:user_2:ai_chat:2026-$_"} + 7) } '01', '12' },
	'the greater value is kept, on either side');
like($err, qr/^import-redis: 2 counters are greater in PostgreSQL, and stay so$/m, 'it is said');

# Keys and values of all kinds, in another database of Redis
my %odd = (
	'usage:a:b:c:ai_chat:2026-01' => 1,
	'usage: two  words :ai_chat:2026-01' => 2,
	qq(usage:it's "quoted" \\ \\x41 \\\\:ai_chat:2026-01) => 3,
	"usage:line\r\nbreak\t\n:ai_chat:2026-01" => 4,
	"usage:\xc3\xa9l\xc3\xa8ve \xf0\x9f\x90\x98:ai_chat:2026-01" => 5,
	q{usage:'); DROP TABLE momento_billing.usage CASCADE; --:ai_chat:2026-01} => 6,
	'usage:$import$; DROP TABLE momento_billing.usage CASCADE; --:ai_chat:2026-01' => 7,
	'usage:{curly},NULL,"}:ai_chat:2026-01' => 8,
	'usage:usage:x:ai_chat:2026-01:ai_chat:2026-01' => 9,
	"usage:\\gexec \\! echo :'var':ai_chat:2026-01" => 10,
	'usage:*2\r\n$3\r\nDEL:ai_chat:2026-01' => 11,
	'usage:many:ai_chat:2026-01' => '1000000000000000',
	'usage:none:ai_chat:2026-01' => 0,
	'usage:zeros:ai_chat:2026-01' => '007',
	'usage:' . 'x' x 2000 . ':ai_chat:2026-01' => 12,);
my %bad = (
	'usage:u:nope:2026-01' => 1,
	'usage:u:ai_chat:2026-13' => 1,
	'usage:u:ai_chat:2026-1' => 1,
	"usage:u:ai_chat:2026-01\n" => 1,
	'usage:ai_chat:2026-01' => 1,
	'usage::ai_chat:2026-01' => 1,
	'usage:' => 1,
	"usage:\xff:ai_chat:2026-01" => 1,
	"usage:z\0ro:ai_chat:2026-01" => 1,
	map({ ("usage:value $_:ai_chat:2026-01" => qq("$_")) } '', '-1', '1.5', '1e3', ' 1', '1\n', '+1', '1000000000000001', '1' x 40, 'x', "');--"));
my $bad = keys(%bad) + 1;
my $select = "SELECT 1\n";

redis_cli('main', $select . set_commands(%odd, %bad) . "HSET usage:hash:ai_chat:2026-01 field 1\n");
$odd{'usage:zeros:ai_chat:2026-01'} = 7;
($status, $out, $err) = import_redis('odd', '--db', 1, '--dry-run');
is($status, 1, 'odd keys: dry run says that some are skipped');
$totals = $out;
my ($told) = $err =~ /(\d+) skipped, /;
is($told, $bad, 'and how many');
($status, $out, $err) = import_redis('odd', '--db', 1);
is("$status $out", "1 $totals", 'the load says the same');
is_deeply(counters('odd'), \%odd, 'all that are counters are there');
like($err, qr/^import-redis: 11 skipped: the value is not an integer/m, 'reasons are counted');
like($err, qr/^import-redis: 1 skipped: WRONGTYPE/m, 'a key of another type is one');
like($err, qr/^import-redis: 1 skipped: unknown feature/m, 'an unknown feature is one');
is(scalar(() = $err =~ /: skipped "/g), 20, 'twenty are listed');
($status, $out, $err) = import_redis('odd', '--db', 1, '--verbose');
is(scalar(() = $err =~ /: skipped "/g), $bad, 'all are, with --verbose');
like($err, qr/^import-redis: skipped "usage:z\\x00ro:ai_chat:2026-01": /m, 'as redis-cli writes them');
unlike($err, qr/[^ -~\n]/, 'a key does nothing to the terminal');
($status, $out) = import_redis('odd', '--db', 1, '--match', 'usage:*:ai_chat:2026-01:*');
is("$status $out", "0 ai_chat\t2026-01\t1\t9\n", '--match');

# Ids that the user column's type refuses
$node->safe_psql('ids', 'ALTER TABLE "Subscription" ALTER "userId" TYPE int USING 0');
redis_cli('main', $select . "FLUSHDB\n" . set_commands(map { ("usage:$_:ai_chat:2026-01" => 3) } 1 .. 40, 'undefined', '041', '+42'));
foreach my $arguments ([ '--dry-run', '--db', 1 ], [ '--db', 1 ])
{
	($status, $out, $err) = import_redis('ids', @$arguments);
	is("$status $out", "1 ai_chat\t2026-01\t42\t126\n", "one user id is refused (@$arguments)");
	like($err, qr/skipped "usage:undefined:ai_chat:2026-01": invalid user id/, "it is told (@$arguments)");
}
is($node->safe_psql('ids', "SELECT count(*), count(*) FILTER (WHERE user_id IN ('41', '42')) FROM momento_billing.usage"), '42|2', 'ids are those of the app');

# The counters that come last are locked, from the middle of a batch on: it can
# be stopped while it waits.
my $found = redis_cli('main', '', '--scan', '--pattern', 'usage:*:2026-12');
my @keys = split(/\n/, $found);
my %december = map { ($_ => $main{$_}) } @keys;
$node->safe_psql('killed', "CREATE TABLE late AS SELECT unnest('{" . join(',', @keys[ 1450 .. $#keys ]) . "}'::text[]) AS key");
my $superuser = $node->safe_psql('killed', 'SELECT current_user');
foreach my $signal ('TERM', 'KILL')
{
	my $session = $node->background_psql('killed');
	my $mine = q(FROM pg_stat_activity WHERE application_name = 'import-redis');
	my $stuck = "SELECT count(*) = 1 AND (SELECT count(*) = 1450 FROM momento_billing.usage) $mine AND wait_event_type = 'Lock'";

	$session->query_safe('BEGIN; SELECT count(momento_billing.import_redis_usage(key, 1)) FROM late');
	my $run = start_import('killed', '--match', 'usage:*:2026-12', '--batch', 2000, '--progress', 0,
		'--postgres', "postgresql://$superuser:$secret_in_url@/killed?host=" . $node->host . '&port=' . $node->port);
	wait_for($node, 'killed', $stuck, 'what came before the locks is committed');
	if ($signal eq 'TERM')
	{
		my $arguments = '';

		foreach (glob('/proc/[0-9]*/cmdline'))
		{
			open(my $file, '<', $_) or next;
			$arguments .= join('', readline($file)) =~ tr/\0/ /r . "\n";
		}
		like($arguments, qr/psql -X/, "psql is among all processes' arguments");
		unlike($arguments, qr/marker(?: |%20)of/, 'passwords are not');
	}
	$run->{handle}->signal($signal);
	if ($signal eq 'TERM')
	{
		($status, $out, $err) = finish_import($run);
		is($status, 2, 'stopped by SIGTERM');
		like($err, qr/^import-redis: failed after \d+ counters: stopped by a signal$/m, 'it is said');
		wait_for($node, 'killed', "SELECT count(*) = 0 $mine", 'its session ends');
	}
	$session->query_safe('ROLLBACK');
	$session->quit;
	finish_import($run) if $signal eq 'KILL';
	my $counters = counters('killed');
	cmp_ok(scalar keys %$counters, '<', @keys, "SIG$signal: not everything is there");
}
is((import_redis('killed', '--match', 'usage:*:2026-12'))[0], 0, 'another run');
is_deeply(counters('killed'), \%december, 'everything is there');

# One locked counter keeps nobody else's from being loaded, nor waits long.
my $locked = $keys[700];
my $session = $node->background_psql('locked');
$session->query_safe("BEGIN; SELECT momento_billing.import_redis_usage('$locked', 1)");
($status, $out, $err) = import_redis('locked', '--match', 'usage:*:2026-12');
is($status, 1, 'a locked counter is skipped');
like($err, qr/skipped "\Q$locked\E": canceling statement due to lock timeout/, 'it is told');
is(scalar keys %{ counters('locked') }, @keys - 1, 'the others are loaded');
$session->query_safe('ROLLBACK');
$session->quit;
is((import_redis('locked', '--match', 'usage:*:2026-12'))[0], 0, 'another run');
is_deeply(counters('locked'), \%december, 'loads it too');

# The way back, as docs/redis.md says it
my $document = slurp_file("$FindBin::RealBin/../../docs/redis.md");
my ($export) = $document =~ /<<'SQL' \| redis-cli --pipe\n(.*?)^\s*SQL$/ms or die 'docs/redis.md has no export';
$node->safe_psql('fake', <<'SQL');
INSERT INTO momento_billing.usage (user_id, feature, period_start, used)
SELECT u, f.feature, date_trunc('month', now(), 'UTC'), 1000 + length(u)
FROM (VALUES ('a:b'), (E'it''s "quoted" \\ \n'), ('élève'), ('user')) AS v (u), momento_billing.feature f
SQL
my $counters = counters('fake');
my $commands;
IPC::Run::run([ 'psql', '-XqAt', '-d', $node->connstr('fake') ], '<', \$export, '>', \$commands);
redis_cli('main', '', '-n', 1, 'FLUSHDB');
like(redis_cli('main', $commands, '-n', 1, '--pipe'), qr/errors: 0, replies: 32$/m, 'counters go back to Redis');
$node->safe_psql('fake', 'TRUNCATE momento_billing.usage');
is((import_redis('fake', '--db', 1))[0], 0, 'and can be imported once more');
is_deeply(counters('fake'), $counters, 'as they were');
my $ttl = redis_cli('main', '', '-n', 1, 'TTL', 'usage:a:b:ai_chat:' . $node->safe_psql('fake', "SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM')"));
cmp_ok($ttl, '>', 7770000, 'for 90 days');
$node->safe_psql('fake', 'TRUNCATE momento_billing.usage');

# What a real Redis does rarely, by one that does nothing else: pages by cursor,
# values by key, and its answers in pieces.  Undef ends the connection.
sub fake_redis
{
	my ($name, $pages, $values) = @_;
	my $listener = IO::Socket::UNIX->new(Local => "$folder/$name", Listen => 1) or die "could not listen: $!";
	my $pid = fork() // die "could not fork: $!";

	if ($pid > 0)
	{
		$redis{$name} = $pid;
		return "unix://$folder/$name";
	}
	my $client = $listener->accept;
	local $/ = "\r\n";
	while (my $count = readline($client))
	{
		my @words = map { my $length = readline($client); readline($client) =~ s/\r\n\z//r } 1 .. substr($count, 1);
		my $answer = $words[0] eq 'SCAN' ? $pages->{ $words[1] } : $values->{ $words[1] };

		last if !defined $answer;
		syswrite($client, $_) foreach $answer =~ /(.{1,5})/gs;
	}
	POSIX::_exit(0);
}

sub page
{
	my ($cursor, @found) = @_;

	return join('', "*2\r\n\$1\r\n$cursor\r\n*" . @found . "\r\n", map { "\$" . length($_) . "\r\n$_\r\n" } @found);
}

my @fake = map { "usage:$_:ai_chat:2026-01" } 1 .. 4;
my %values = ($fake[0] => "\$1\r\n5\r\n", $fake[1] => "\$-1\r\n", $fake[2] => "\$2\r\n12\r\n");
($status, $out, $err) = import_redis('fake', '--redis',
	fake_redis('fake', { 0 => page(7, @fake[ 0, 1, 0 ]), 7 => page(8), 8 => page(0, @fake[ 2, 0 ]) }, \%values));
is($status, 0, 'expired and repeated keys, an empty page, pieces');
like($err, qr/^import-redis: 1 keys expired after they had been listed$/m, 'an expired key is told');
is_deeply(counters('fake'), { $fake[0] => 5, $fake[2] => 12 }, 'the counters are right');

($status, $out, $err) = import_redis('fake', '--batch', 1, '--redis', fake_redis('lost', { 0 => page(7, $fake[3]), 7 => undef }, { $fake[3] => "\$1\r\n9\r\n" }));
is("$status $out", '2 ', 'a lost connection is a failure');
like($err, qr/^import-redis: failed after 1 counters: the connection to Redis was lost$/m, 'it is told');
is(counters('fake')->{ $fake[3] }, 9, 'what came before is loaded');

($status, $out, $err) = import_redis('fake', '--redis', fake_redis('loading', { 0 => "-LOADING Redis is loading the dataset in memory\r\n" }, {}));
is($status, 2, 'an error of Redis is a failure');
like($err, qr/Redis: LOADING/, 'it is told');
is((import_redis('fake', '--redis', fake_redis('moved', { 0 => page(0, $fake[3]) }, { $fake[3] => "-MOVED 1 127.0.0.1:1\r\n" })))[0], 2, 'also of a GET');

# Rights, in Redis and in PostgreSQL
redis_cli('main', "ACL SETUSER mover on >mover ~usage:* +scan +get\n");
{
	local $ENV{REDISCLI_AUTH} = 'mover';
	($status, $out) = import_redis('app', '--redis', "unix://$folder/main", '--user', 'mover');
}
is("$status $out", '0 ' . (import_redis('app'))[1], 'a user of Redis who may only SCAN and GET');
is((import_redis('app', '--redis', "unix://mover:mover\@$folder/main"))[0], 0, 'the same by URL');
foreach my $case (
	[ 'wrong password', [ '--redis', "unix://:wrong\@$folder/main" ], qr/Redis: WRONGPASS/ ],
	[ 'no password', [ '--redis', "unix://$folder/main" ], qr/Redis: NOAUTH/ ],
	[ 'no Redis', [ '--redis', "unix://:$secret_in_url\@$folder/nobody" ], qr/cannot connect to Redis: / ],
	[ 'no URL', [ '--redis', "http://:$secret_in_url\@localhost" ], qr/the Redis URL is not like/ ],
	[ 'no such database of Redis', [ '--db', 99 ], qr/Redis: ERR DB index is out of range/ ],
	[ 'no PostgreSQL', [ '--postgres', "postgresql://me:$secret_in_url@/app?host=$folder" ], qr/psql: error: .*psql has ended/s ],
	[ 'no extension', [ '--postgres', $node->connstr('postgres') ], qr/schema "momento_billing" does not exist/ ],
	[ 'no right', [ '--postgres', $node->connstr('app') . ' user=reader' ], qr/permission denied for function import_redis_usage/ ],
	[ 'a password in a connection string', [ '--postgres', "password = '$secret'" ], qr/put PostgreSQL's password into PGPASSWORD/ ])
{
	my ($name, $arguments, $message) = @$case;

	($status, $out, $err) = import_redis('app', @$arguments);
	is("$status $out", '2 ', "failure: $name");
	like($err, $message, "message: $name");
}

# TLS, with an authority of our own
SKIP:
{
	eval { require IO::Socket::SSL } or skip('IO::Socket::SSL is not installed', 4);
	system_or_bail('openssl', 'req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', 2, '-subj', '/CN=localhost',
		'-addext', 'subjectAltName=DNS:localhost', '-keyout', "$folder/key.pem", '-out', "$folder/cert.pem");
	my $tls_port = PostgreSQL::Test::Cluster::get_free_port();
	start_redis('tls', '--port', 0, '--tls-port', $tls_port, '--bind', '127.0.0.1', '--tls-cert-file', "$folder/cert.pem",
		'--tls-key-file', "$folder/key.pem", '--tls-ca-cert-file', "$folder/cert.pem");
	redis_cli('tls', "SET usage:tls:ai_chat:2026-01 7\n");
	my @tls = ('--cacert', "$folder/cert.pem", '--cert', "$folder/cert.pem", '--key', "$folder/key.pem");

	($status, $out) = import_redis('fake', '--redis', "rediss://:$secret_in_url\@localhost:$tls_port/0", @tls);
	is("$status $out", "0 ai_chat\t2026-01\t1\t7\n", 'TLS');
	($status, $out, $err) = import_redis('fake', '--redis', "rediss://:$secret_in_url\@127.0.0.1:$tls_port/0", @tls);
	is($status, 2, 'a certificate of another name is refused');
	($status, $out, $err) = import_redis('fake', '--redis', "rediss://:$secret_in_url\@localhost:$tls_port/0");
	is($status, 2, 'so is one of an unknown authority');
	like($err, qr/certificate verify failed/, 'it is told');
}

unlike($output, qr/marker/, 'no password in any output');
done_testing();
