# The secret is in its file and nowhere else; the file has to be private, and
# what it says counts at once.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";

use Fcntl;
use Momento;
use POSIX qw(mkfifo);
use PostgreSQL::Test::Utils;
use Test::More;

# Statements are not logged: what a client sends is the client's to protect.
my $node = new_server('secrets', ['app'], <<'CONF');
log_min_messages = debug5
log_statement = none
log_min_duration_statement = -1
log_min_error_statement = panic
CONF
my $file = $node->basedir . '/webhook_secret';
my $marker = 'MARKERsecret' . time();
my $payload_marker = 'MARKERpayload';
my @messages;
my $n = 0;

set_up($node, 'app');
write_file($file, "whsec_$marker\n");

sub body
{
	return event_json(id => 'evt_' . $n++, created => $T0, type => 'unhandled.type', data => { object => { id => $payload_marker } });
}

# What receive_webhook answers: a duplicate or not, or the SQLSTATE.
sub answer
{
	my ($body, $header) = @_;
	my ($code, $out, $err) = $node->psql('app', <<SQL);
\\set VERBOSITY verbose
SELECT duplicate FROM momento_billing.receive_webhook(decode('@{[ unpack('H*', $body) ]}', 'hex'), @{[ defined $header ? "'$header'" : 'NULL' ]})
SQL

	push @messages, $err;
	return $err =~ /ERROR:  (\w{5}): (.*)/ ? "$1 $2" : $out;
}

my $body = body();
my $time = time();
my $good = sign($body, "whsec_$marker");
my ($signature) = $good =~ /v1=(\w+)/;

is(answer($body, $good), 'f', 'a good signature');
is(answer($body, $good), 't', 'again');

my %bad = (
	'missing' => [ undef, qr/^MB001 .*header is missing/ ],
	'empty' => [ '', qr/^MB001 .*header is missing/ ],
	'malformed' => [ "t=$time;v1=$signature", qr/^MB001 .*malformed/ ],
	'no timestamp' => [ "v1=$signature", qr/^MB001 .*no timestamp/ ],
	'bad timestamp' => [ "t=0$time,v1=$signature", qr/^MB001 .*timestamp is malformed/ ],
	'no scheme' => [ "t=$time,v0=$signature", qr/^MB001 .*no v1/ ],
	'no match' => [ sign("$body ", "whsec_$marker"), qr/^MB001 .*no v1 signature matches/ ],
	'another secret' => [ sign($body, 'whsec_another'), qr/^MB001 .*no v1 signature matches/ ],
	'the secret without its prefix' => [ sign($body, $marker), qr/^MB001 .*no v1 signature matches/ ],
	'expired' => [ sign($body, "whsec_$marker", $time - 1000), qr/^MB001 .*expired/ ],
	'future' => [ sign($body, "whsec_$marker", $time + 1000), qr/^MB001 .*future/ ]);
foreach my $cause (sort keys %bad)
{
	my ($header, $expected) = @{ $bad{$cause} };

	like(answer($body, $header), $expected, $cause);
}
like(answer('', $good), qr/^MB001 .*payload is empty/, 'empty payload');
my $text = "{ not json $payload_marker";
like(answer($text, sign($text, "whsec_$marker")), qr/^22P02 /, 'not JSON');
$text = qq({"id": "evt_nul", "created": 1, "data": {"object": {"id": "$payload_marker\\u0000"}}});
is(answer($text, sign($text, "whsec_$marker")), 'f', 'JSON that jsonb cannot hold');

# Rotation: the new file's secrets count from the next call on, in a session
# that has read the old one.
my $session = $node->background_psql('app', on_error_stop => 0);

sub session_answer
{
	my ($secret) = @_;
	my $body = body();
	my $hex = unpack('H*', $body);
	my $header = sign($body, $secret);

	return $session->query("SELECT duplicate FROM momento_billing.receive_webhook(decode('$hex', 'hex'), '$header')") eq 'f' ? 'accepted' : 'rejected';
}

is(session_answer("whsec_$marker"), 'accepted', 'rotation: the old secret before');
write_file($file, "whsec_${marker}2\nwhsec_$marker\n");
is(session_answer("whsec_$marker"), 'accepted', 'rotation: two secrets, the old one');
is(session_answer("whsec_${marker}2"), 'accepted', 'rotation: two secrets, the new one');
write_file($file, "whsec_${marker}2\n\n");
is(session_answer("whsec_$marker"), 'rejected', 'rotation: the old secret after');
is(session_answer("whsec_${marker}2"), 'accepted', 'rotation: the new secret after');
write_file("$file.new", "whsec_${marker}3\r\n");
rename("$file.new", $file) or die "could not rename: $!";
is(session_answer("whsec_${marker}3"), 'accepted', 'rotation: a new file in its place, with CR LF');
write_file($file, "whsec_${marker}4\r\n");
is(session_answer("whsec_${marker}3"), 'rejected', 'rotation: in place, of the same size');
is(session_answer("whsec_${marker}4"), 'accepted', 'rotation: of the same size, the new one');

# Files that are no good
sub with_file
{
	return answer($body, sign($body, "whsec_$marker"));
}

write_file($file, '');
like(with_file(), qr/^MB001 .*no webhook secret is configured/, 'an empty file');
write_file($file, "\n\r\n\n");
like(with_file(), qr/^MB001 .*no webhook secret is configured/, 'a file of empty lines');
foreach my $mode (0640, 0604, 0644, 0660, 0620, 0610, 0601, 0777)
{
	write_file($file, "whsec_$marker\n", $mode);
	like(with_file(), qr/^42501 .*is not private/, sprintf('mode %04o', $mode));
}
foreach my $mode (0600, 0400)
{
	write_file($file, "whsec_$marker\n", 0600);
	chmod($mode, $file) or die "could not chmod: $!";
	is(with_file(), 't', sprintf('mode %04o', $mode));
	chmod(0600, $file) or die "could not chmod: $!";
}
unlink($file);
like(with_file(), qr/^58P01 .*could not open file/, 'no file');
mkdir($file, 0700) or die "could not mkdir: $!";
like(with_file(), qr/^42809 .*not a regular file/, 'a directory');
rmdir($file);
mkfifo($file, 0600) or die "could not make a FIFO: $!";
my $timed_out;
my ($fifo_code, $fifo_out, $fifo_err) = $node->psql('app', "SELECT momento_billing.receive_webhook('x'::text, 't=1,v1=x')",
	timeout => $PostgreSQL::Test::Utils::timeout_default / 10, timed_out => \$timed_out);
like($fifo_err, qr/is not a regular file/, 'a FIFO');
if ($timed_out)
{
	# let the session go that waits for a writer
	sysopen(my $writer, $file, O_RDWR | O_NONBLOCK) or die "could not open the FIFO: $!";
	close($writer);
}
unlink($file);
write_file($file, 'x' x 70000);
like(with_file(), qr/^54000 .*too large/, 'a huge file');
write_file($file, "whsec_$marker");
is(with_file(), 't', 'no newline at the end');
$node->safe_psql('postgres', "ALTER DATABASE app SET momento_billing.webhook_secret_file = ''");
like(with_file(), qr/^MB001 .*no webhook secret is configured/, 'no file configured: fail closed');
$node->safe_psql('postgres', 'ALTER DATABASE app RESET momento_billing.webhook_secret_file');

# Who is not a superuser can neither see nor move the file.
$node->safe_psql('app', 'CREATE ROLE app_role LOGIN; SELECT momento_billing.grant_app_access($$app_role$$::regrole)');
foreach my $try (
	[ 'SHOW momento_billing.webhook_secret_file', qr/to examine "momento_billing.webhook_secret_file"/ ],
	[ q(SET momento_billing.webhook_secret_file = '/tmp/mine'), qr/permission denied to set parameter/ ],
	[ q(SET momento_billing.signature_tolerance = 86400), qr/permission denied to set parameter/ ],
	[ q(SET momento_billing.subscription_table = 'pg_catalog.pg_class'), qr/permission denied to set parameter/ ])
{
	my ($sql, $expected) = @$try;
	my ($code, $out, $err) = $node->psql('app', "SELECT momento_billing.effective_tier('ada'); $sql", extra_params => [ '--username', 'app_role' ]);

	like($err, $expected, "not for an app's role: $sql");
}

# The marker
is($node->safe_psql('app', "SELECT count(*) FROM pg_settings s WHERE s::text LIKE '%$marker%'"), 0, 'not in pg_settings');
is($node->safe_psql('app', "SELECT count(*) FROM pg_file_settings s WHERE s::text LIKE '%$marker%'"), 0, 'not in pg_file_settings');
is($node->safe_psql('app', "SELECT count(*) FROM pg_stat_activity a WHERE a::text LIKE '%$marker%' AND pid <> pg_backend_pid()"), 0, 'not in pg_stat_activity');
$session->quit;
my $dump = $node->basedir . '/dump.sql';
$node->command_ok([ 'pg_dumpall', '-f', $dump, '-d', $node->connstr('postgres') ], 'everything is dumped');
unlike(slurp_file($dump), qr/\Q$marker\E/, 'not in the dump');
unlike(join("\n", @messages), qr/\Q$marker\E/, 'not in the messages');
unlike(join("\n", @messages), qr/$payload_marker/, 'nor the payload');
unlike(join("\n", @messages), qr/$signature/, 'nor the signature');
$node->stop;
my $log = slurp_file($node->logfile);
cmp_ok(length($log), '>', 100000, 'the log is a log of debug5');
ok(index($log, $marker) < 0, 'the secret is not in the log');
ok(index($log, $payload_marker) < 0, 'nor the payload');
ok(index($log, $signature) < 0, 'nor the signature');
done_testing();
