# What the worker has to say it says once per change of state, however long the
# state lasts and however often it looks: here, ten times a second.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";

use Momento;
use PostgreSQL::Test::Utils;
use Test::More;

# Each line of the log tells what kind of process it is of.
my $node = new_server('quiet', [ 'app', 'bare', 'dropped', 'gone', 'moved' ], <<'CONF');
momento_billing.databases = 'app, bare, dropped, gone, moved, never'
momento_billing.naptime = '100ms'
momento_billing.retry_base = '10ms'
momento_billing.retry_max = '10ms'
momento_billing.max_attempts = 5
log_line_prefix = '%m [%p] <%b> '
CONF
my $offset;

sub insert
{
	my ($database, @users) = @_;

	$node->safe_psql($database, 'INSERT INTO momento_billing.webhook_inbox (payload) VALUES '
		  . join(', ', map { "(sub_event('evt_$_', 1, 'sub_$_', 'price_pro', 'active', '$_'))" } @users));
}

sub is_applied
{
	my ($database, $user, $test) = @_;

	wait_for($node, $database, qq(SELECT count(*) = 1 FROM "Subscription" WHERE "userId" = '$user' AND tier = 'PRO'), $test);
}

# What the workers of a database have said since $offset.
sub said
{
	my ($database) = @_;

	return map { /<momento_billing worker> (.* database "$database".*)/ } split(/\n/, slurp_file($node->logfile, $offset));
}

sub says
{
	my ($database, $expected, $test) = @_;
	my @lines = said($database);

	is_deeply(\@lines, $expected, "$test: what the log says") or diag(join("\n", @lines));
}

# The worker of "app" looks five times more.
sub looks_again
{
	foreach my $n (1 .. 5)
	{
		my $before = $node->safe_psql('app', 'SELECT clock_timestamp()');

		$node->safe_psql('app', 'SELECT momento_billing.wake_worker()');
		$node->poll_query_until('app', "SELECT last_wake > '$before' FROM momento_billing.worker_status WHERE database = 'app'")
		  or die 'the worker does not wake';
	}
}

sub waits
{
	my ($database, $what) = @_;

	return qq(LOG:  momento_billing worker for database "$database" waits: $what);
}

sub goes_on
{
	my ($database) = @_;

	return qq(LOG:  momento_billing worker for database "$database" goes on);
}

sub cannot_connect
{
	my ($database) = @_;

	return (qq(FATAL:  database "$database" does not exist), waits($database, 'the database does not exist'));
}

sub wait_for_word
{
	my ($database, $pattern) = @_;

	$node->wait_for_log(qr/momento_billing worker for database "$database" $pattern/, $offset);
}

my $no_extension = 'extension "momento_billing" is not installed in this database';

set_up($node, $_) foreach 'app', 'dropped', 'gone', 'moved';
foreach my $database ('app', 'dropped', 'gone', 'moved')
{
	insert($database, 'first');
	is_applied($database, 'first', "$database: its worker is at work");
}

# Databases that go: a worker that cannot connect ends, and its successor waits
# ten seconds later without being connected to anything.
$offset = -s $node->logfile;
settings($node, 'momento_billing.enabled' => 'off');
wait_for($node, 'postgres', "SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'momento_billing worker'", 'switched off, all leave');
says($_, ["LOG:  momento_billing worker for database \"$_\" stops: momento_billing.enabled is off"], "$_, switched off") foreach 'app', 'bare', 'dropped', 'gone', 'moved';
$node->safe_psql('postgres', 'ALTER DATABASE moved RENAME TO elsewhere');
$node->safe_psql('postgres', 'DROP DATABASE gone');
$node->safe_psql('postgres', 'ALTER SYSTEM RESET momento_billing.enabled');
my $beginning = -s $node->logfile;
my $began = time();
$node->restart;

# The extension taken away, for long
wait_for($node, 'dropped', "SELECT state = 'idle' FROM momento_billing.worker_status WHERE database = 'dropped'", 'dropped: at work');
$node->safe_psql('dropped', 'DROP EXTENSION momento_billing');

# The app's table away
$offset = -s $node->logfile;
$node->safe_psql('app', 'ALTER TABLE "Subscription" RENAME TO away');
insert('app', 'later');
wait_for_word('app', 'waits');
looks_again();
$node->safe_psql('app', 'ALTER TABLE away RENAME TO "Subscription"');
is_applied('app', 'later', 'table back');
looks_again();
says('app', [ waits('app', 'table public."Subscription" does not exist'), goes_on('app') ], 'table missing and back');

# Two troubles, one after the other
$offset = -s $node->logfile;
$node->safe_psql('app', 'ALTER TABLE "Subscription" RENAME tier TO plan');
insert('app', 'later2');
wait_for_word('app', 'waits');
looks_again();
$node->safe_psql('app', 'ALTER TABLE "Subscription" RENAME plan TO tier; ALTER TABLE "Subscription" RENAME status TO state');
wait_for_word('app', qr/waits: column "status"/);
looks_again();
$node->safe_psql('app', 'ALTER TABLE "Subscription" RENAME state TO status');
is_applied('app', 'later2', 'columns back');
looks_again();
says('app',
	[ waits('app', 'column "tier" of table public."Subscription" does not exist'), waits('app', 'column "status" of table public."Subscription" does not exist'), goes_on('app') ],
	'two troubles');

# What concerns one event is in its row, and not in the log; nor is a lock in
# the way, nor what the worker does not heed.
$offset = -s $node->logfile;
$node->safe_psql('app', <<'SQL');
ALTER TABLE "Subscription" ADD CONSTRAINT known_user CHECK ("userId" <> 'unknown');
CREATE FUNCTION raise() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not this one'; END $$;
CREATE TRIGGER raise BEFORE INSERT ON "Subscription" FOR EACH ROW WHEN (NEW."userId" = 'raised') EXECUTE FUNCTION raise();
SQL
insert('app', 'unknown', 'raised', 'known');
wait_for($node, 'app', "SELECT count(*) = 2 FROM momento_billing.webhook_inbox WHERE status = 'dead' AND attempts = 5", 'two events fail five times');
my $app = $node->background_psql('app');
$app->query_safe('BEGIN; LOCK TABLE "Subscription" IN SHARE MODE');
insert('app', 'locked');
wait_for($node, 'app', <<'SQL', 'the worker waits for a lock');
SELECT count(*) = 1 FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE backend_type = 'momento_billing worker' AND NOT granted
SQL
$app->query_safe('COMMIT');
is_applied('app', 'locked', 'a lock');
$app->quit;
settings($node, 'default_transaction_read_only' => 'on');
{
	local $ENV{PGOPTIONS} = '-c default_transaction_read_only=off';

	insert('app', 'read_only');
	is_applied('app', 'read_only', 'default_transaction_read_only');
	$node->safe_psql('postgres', 'ALTER SYSTEM RESET default_transaction_read_only');
	$node->reload;
}
says('app', [], 'failing events, a lock, a setting');

# Word that cannot be given
$offset = -s $node->logfile;
$node->safe_psql('app', 'CREATE TRIGGER raise BEFORE DELETE ON momento_billing.notification FOR EACH ROW EXECUTE FUNCTION raise()');
$node->safe_psql('app', "SELECT momento_billing.grant_tier('known', 'BUSINESS')");
wait_for_word('app', 'waits');
looks_again();
$node->safe_psql('app', 'DROP TRIGGER raise ON momento_billing.notification');
wait_for_word('app', 'goes on');
looks_again();
says('app', [ waits('app', 'not this one'), goes_on('app') ], 'word that cannot be given');

# Two troubles at once, in words that are new each time
$offset = -s $node->logfile;
$node->safe_psql('app', <<'SQL');
CREATE FUNCTION babble() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE '% at %', TG_TABLE_NAME, clock_timestamp(); END $$;
CREATE TRIGGER babble BEFORE DELETE ON momento_billing.notification FOR EACH ROW EXECUTE FUNCTION babble();
CREATE TRIGGER babble BEFORE UPDATE ON momento_billing.webhook_inbox FOR EACH ROW EXECUTE FUNCTION babble();
SELECT momento_billing.grant_tier('locked', 'BUSINESS');
SQL
insert('app', 'babbled');
wait_for_word('app', 'waits');
looks_again() foreach 1 .. 8;
$node->safe_psql('app', 'DROP FUNCTION babble() CASCADE');
wait_for_word('app', 'goes on');
is_applied('app', 'babbled', 'two troubles that babble are over');
looks_again();
cmp_ok(scalar said('app'), '<=', 25, 'two troubles that babble: forty looks, and not as many words') or diag(join("\n", said('app')));

# By now those without a database wait for it; so they do for a while.
$offset = $beginning;
foreach my $database ('gone', 'moved', 'never')
{
	wait_for($node, 'app', "SELECT state = 'no database' FROM momento_billing.worker_status WHERE database = '$database'", "$database: worker_status says that it is not there");
	says($database, [ cannot_connect($database) ], "$database: one vain attempt to connect, then it waits");
}

# They come back: it takes another ten seconds.  Meanwhile the extension comes
# back, and then its plans.
$node->safe_psql('postgres', 'CREATE DATABASE gone');
$node->safe_psql('postgres', 'ALTER DATABASE elsewhere RENAME TO moved');
set_up($node, 'gone');
insert($_, 'second') foreach 'gone', 'moved';
says('dropped', [ waits('dropped', $no_extension) ], 'the extension was dropped');
says('bare', [ waits('bare', $no_extension) ], 'there never was one');
$node->safe_psql('dropped', 'CREATE EXTENSION momento_billing; DROP TABLE "Subscription"; DROP TYPE "SubscriptionTier", "SubscriptionStatus"');
wait_for_word('dropped', 'waits: no default tier');
$node->safe_psql('dropped', "SELECT momento_billing.seed_plans(), momento_billing.create_subscription_table(); INSERT INTO momento_billing.price VALUES ('price_pro', 'PRO', 'month')");
insert('dropped', 'second');
is_applied('dropped', 'second', 'dropped: the extension is back');
says('dropped', [ waits('dropped', $no_extension), waits('dropped', 'no default tier is configured'), goes_on('dropped') ], 'dropped: no extension, no plans, goes on');
is_applied($_, 'second', "$_: it is back, and what came meanwhile is applied") foreach 'gone', 'moved';
says($_, [ cannot_connect($_) ], "$_: no more words") foreach 'gone', 'moved', 'never';

my $seconds = time() - $began;
cmp_ok($seconds, '>=', 15, "$seconds s, that is " . $seconds * 10 . ' naps each');
cmp_ok(log_count($node, qr/momento_billing worker/, $beginning), '<', 90, 'all that the log says of workers');
$node->stop;
is(log_count($node, qr/PANIC|TRAP|terminated by signal/), 0, 'no crash');
done_testing();
