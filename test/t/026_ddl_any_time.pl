# Extensions and databases come and go, workers and servers are stopped, at any
# moment of a drain: nobody waits for the worker, and it goes on with what is
# there.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";

use Momento;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $seed = $ENV{MOMENTO_SEED} // int(rand(1 << 31));
srand($seed);
diag("MOMENTO_SEED=$seed");

my $node = new_server('ddl', [ 'app', 'bare', 'mine', 'other' ], "momento_billing.naptime = '100ms'\nmomento_billing.batch_size = 100\n");
my $offset;

# What another one waits for the worker at most, in seconds
my $limit = 2;

# A drain that lasts: a millisecond for each row.
sub set_up_slowly
{
	my ($database) = @_;

	set_up($node, $database);
	$node->safe_psql($database, <<'SQL');
CREATE FUNCTION linger() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.001); RETURN NEW; END $$;
CREATE TRIGGER linger BEFORE INSERT OR UPDATE ON "Subscription" FOR EACH ROW EXECUTE FUNCTION linger();
SQL
}

# So many events of as many users, named after the round.
sub insert
{
	my ($database, $round, $count) = @_;

	$node->safe_psql($database, <<"SQL");
INSERT INTO momento_billing.webhook_inbox (payload)
SELECT sub_event('evt_$round-' || i, i, 'sub_$round-' || i, 'price_pro', 'active', '$round-' || i) FROM generate_series(1, $count) AS i
SQL
}

# Somewhere in a round of so many.
sub in_the_middle
{
	my ($database, $round, $count) = @_;
	my $done = int(rand($count / 2));

	$node->poll_query_until($database, qq(SELECT count(*) > $done FROM "Subscription" WHERE "userId" LIKE '$round-%'))
	  or die "round $round of $database does not come to $done";
}

sub is_applied
{
	my ($database, $round, $count, $test) = @_;

	wait_for($node, $database, qq(SELECT count(*) = $count FROM "Subscription" WHERE "userId" LIKE '$round-%' AND tier = 'PRO' AND status = 'ACTIVE'), $test);
}

sub in_time
{
	my ($test, $do) = @_;
	my $start = time();

	$do->();
	my $seconds = time() - $start;
	cmp_ok($seconds, '<', $limit, sprintf('%s: %.2f s', $test, $seconds));
}

sub pid
{
	my ($database) = @_;

	return $node->safe_psql('app', "SELECT pid FROM momento_billing.worker_status WHERE database = '$database'");
}

set_up_slowly($_) foreach 'app', 'mine', 'other';

# The worker's own database is dropped beneath it, and made anew: its
# successor, ten seconds later, finds that one.
insert('mine', 1, 2000);
in_the_middle('mine', 1, 1000);
in_time('DROP DATABASE WITH (FORCE) of our own', sub { $node->safe_psql('postgres', 'DROP DATABASE mine WITH (FORCE)') });
$node->safe_psql('postgres', 'CREATE DATABASE mine');
set_up($node, 'mine');
insert('mine', 2, 10);

# Ended by a DBA: the next one goes on where it was.
my $terminated = pid('other');
insert('other', 1, 1000);
in_the_middle('other', 1, 500);
in_time('pg_terminate_backend', sub {
	$node->safe_psql('postgres', "SELECT pg_terminate_backend($terminated)");
	wait_for($node, 'postgres', "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $terminated", 'ended by pg_terminate_backend');
});
cmp_ok($node->safe_psql('other', "SELECT count(*) FROM momento_billing.webhook_inbox WHERE status = 'pending'"), '>', 0, 'in the middle of a drain');

# Other databases are none of the workers' business.
my $worker = pid('app');
insert('app', 1, 1000);
in_the_middle('app', 1, 100);
$node->safe_psql('postgres', 'CREATE DATABASE foreign_one');
in_time('DROP DATABASE of another one', sub { $node->safe_psql('postgres', 'DROP DATABASE foreign_one') });

# Our tables rewritten and reindexed
in_the_middle('app', 1, 400);
$node->safe_psql('app', "VACUUM FULL momento_billing.webhook_inbox; REINDEX TABLE momento_billing.webhook_inbox; VACUUM FULL \"Subscription\"; REINDEX TABLE \"Subscription\"");
is_applied('app', 1, 1000, 'rewritten in the middle of a drain');

# The extension dropped, and made anew
foreach my $round ('a', 'b', 'c')
{
	$offset = -s $node->logfile;
	insert('app', $round, 1500);
	in_the_middle('app', $round, 1000);
	in_time("DROP EXTENSION, round $round", sub { $node->safe_psql('app', 'DROP EXTENSION momento_billing') });
	$node->wait_for_log(qr/waits: extension "momento_billing" is not installed/, $offset) if $round eq 'a';
	$node->safe_psql('app', "CREATE EXTENSION momento_billing; SELECT momento_billing.seed_plans(); INSERT INTO momento_billing.price VALUES ('price_pro', 'PRO', 'month')");
	insert('app', "${round}2", 10);
	is_applied('app', "${round}2", 10, "made anew, round $round: it drains");
	my @said = grep { !/waits: extension "momento_billing" is not installed|waits: no default tier|goes on/ } slurp_file($node->logfile, $offset) =~ /(momento_billing worker for.*)/g;
	is(join("\n", @said), '', "round $round: nothing strange in the log");
	cmp_ok(log_count($node, qr/momento_billing worker for/, $offset), '<=', 3, "round $round: nor much");
}
is(pid('app'), $worker, 'all the while the same worker');

# Made, and taken back, where there was none
$offset = -s $node->logfile;
my $session = $node->background_psql('bare');
$session->query_safe('BEGIN; CREATE EXTENSION momento_billing; SELECT momento_billing.seed_plans()');
insert('app', 'd', 100);
is_applied('app', 'd', 100, 'another database is served meanwhile');
$session->query_safe('ROLLBACK');
$session->quit;
is($node->safe_psql('app', "SELECT state FROM momento_billing.worker_status WHERE database = 'bare'"), 'no extension', 'CREATE EXTENSION … ROLLBACK: there is none');
is(log_count($node, qr/momento_billing worker for/, $offset), 0, 'CREATE EXTENSION … ROLLBACK: nothing is said');

is_applied('mine', 2, 10, 'the database that was dropped and made anew is served');
is_applied('other', 1, 1000, 'the terminated one\'s successor has finished');
is($node->safe_psql('other', "SELECT count(*) FROM momento_billing.webhook_inbox WHERE status <> 'processed' OR attempts > 0"), 0, 'and nobody is blamed');
is($node->safe_psql('other', 'SELECT count(*), count(DISTINCT user_id) FROM momento_billing.subscription_history'), '1000|1000', 'nor is anything done twice');

# The whole server, in the middle of both
foreach my $mode ('fast', 'immediate')
{
	insert($_, $mode, 500) foreach 'app', 'other';
	in_the_middle('app', $mode, 400);
	in_time("$mode shutdown", sub { $node->stop($mode) });
	$node->start;
	is_applied($_, $mode, 500, "$mode shutdown: $_ goes on") foreach 'app', 'other';
	is($node->safe_psql($_, "SELECT count(*) FROM momento_billing.webhook_inbox WHERE status <> 'processed' OR attempts > 0"), 0, "$mode shutdown: $_: nobody is blamed") foreach 'app', 'other';
}

# An event that takes long is interrupted by each of them, and is not to blame.
$node->safe_psql('app', <<'SQL');
CREATE OR REPLACE FUNCTION linger() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(CASE WHEN NEW."userId" = 'slow-1' THEN 60 ELSE 0 END); RETURN NEW; END $$;
SQL
insert('app', 'slow', 1);
foreach my $n (1 .. 3)
{
	wait_for($node, 'app', "SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'momento_billing worker' AND wait_event = 'PgSleep'", "a slow event is being applied, $n");
	$node->safe_psql('app', 'CREATE OR REPLACE FUNCTION linger() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$') if $n == 3;
	$node->restart;
}
is_applied('app', 'slow', 1, 'a slow event is applied in the end');
is($node->safe_psql('app', "SELECT status, reason, attempts FROM momento_billing.webhook_inbox WHERE event_id = 'evt_slow-1'"), 'processed||0', 'shutdowns are not counted');

$node->stop;
is(log_count($node, qr/PANIC|TRAP|terminated by signal|deadlock/), 0, 'no crash, no deadlock');
done_testing();
