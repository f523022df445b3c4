# An event whose application kills the process, and with it the server: it is
# tried a bounded number of times, and everybody else's events are applied.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";

use Momento;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('poison', [ 'app', 'other' ], <<'CONF');
restart_after_crash = on
momento_billing.naptime = '100ms'
momento_billing.retry_base = '10ms'
momento_billing.retry_max = '100ms'
CONF

# Users named after what becomes of their event; all in one statement, so that
# the worker finds them at once.
sub insert
{
	my ($database, @users) = @_;

	$node->safe_psql($database, 'INSERT INTO momento_billing.webhook_inbox (payload) VALUES '
		  . join(', ', map { "(sub_event('evt_$_', 5, 'sub_$_', 'price_pro', 'active', '$_'))" } @users));
}

# Through restarts: a server that is just not there is asked again.
sub is_applied
{
	my ($database, $test, @users) = @_;
	my $list = join(', ', map { "'$_'" } @users);

	wait_for($node, $database, 'SELECT count(*) = ' . @users . qq( FROM "Subscription" WHERE "userId" IN ($list) AND tier = 'PRO' AND status = 'ACTIVE'), $test);
}

sub event
{
	my ($user, $columns) = @_;

	return $node->safe_psql('app', "SELECT $columns FROM momento_billing.webhook_inbox WHERE event_id = 'evt_$user'");
}

# How often the server has gone down since this place in its log.
sub crashes
{
	my ($offset) = @_;

	return log_count($node, qr/all server processes terminated; reinitializing/, $offset);
}

# Returns after the last restart, when the event is dead.
sub is_buried
{
	my ($user, $test) = @_;

	wait_for($node, 'app', "SELECT status = 'dead' FROM momento_billing.webhook_inbox WHERE event_id = 'evt_$user'", $test);
}

set_up($node, $_) foreach 'app', 'other';

# A superuser's table, whose trigger kills the process for some users, at
# every attempt or at the first ones: a file counts them, since tables forget
# what a crash undoes.
my $count = $node->basedir . '/count';
foreach my $database ('app', 'other')
{
	$node->safe_psql($database, <<"SQL");
CREATE FUNCTION kill_it() RETURNS trigger LANGUAGE plpgsql AS \$\$
BEGIN
	IF NEW."userId" LIKE 'poison%' THEN
		EXECUTE format('COPY (SELECT) TO PROGRAM %L', format('echo >>"$count.%s"; kill -9 %s', NEW."userId", pg_backend_pid()));
		PERFORM pg_sleep(60);
	ELSIF NEW."userId" LIKE 'once%' THEN
		EXECUTE format('COPY (SELECT) TO PROGRAM %L', format('test -e "$count.%1\$s" || { echo >"$count.%1\$s"; kill -9 %2\$s; sleep 60; }', NEW."userId", pg_backend_pid()));
	END IF;
	RETURN NEW;
END \$\$;
CREATE TRIGGER kill_it BEFORE INSERT OR UPDATE ON "Subscription" FOR EACH ROW EXECUTE FUNCTION kill_it();
SQL
}

sub attempts
{
	my ($user) = @_;

	return length(slurp_file("$count.$user"));
}

# One among many: those before it, beside it in its batch and behind it
my @innocent = map { "innocent$_" } 1 .. 30;
my $offset = -s $node->logfile;
my @neighbours = map { "neighbour$_" } 1 .. 200;
insert('other', @neighbours);
insert('app', @innocent[ 0 .. 4 ], 'poison1', @innocent[ 5 .. 9 ]);
is_buried('poison1', 'an event that kills the process is buried');
is_applied('app', 'those before it and beside it are applied', @innocent[ 0 .. 9 ]);
is_applied('other', 'and those of another database', @neighbours);
cmp_ok(attempts('poison1'), '<=', 3, 'it has killed no more than three processes');
is(crashes($offset), attempts('poison1'), 'as many as the server says');
is(event('poison1', 'reason, attempts > 0, next_attempt_at IS NULL, waiting_for IS NULL, processed_at IS NOT NULL'), 'crashed|t|t|t|t', 'it says why');
like(event('poison1', 'last_error'), qr/crashed while this event was applied/, 'and what happened');
is($node->safe_psql('app', "SELECT reason, can_replay FROM momento_billing.dead_events WHERE event_id = 'evt_poison1'"), 'crashed|t', 'a person finds it');
is($node->safe_psql('app', <<'SQL'), 0, 'nobody else is blamed');
SELECT count(*) FROM momento_billing.webhook_inbox
WHERE event_id LIKE 'evt_innocent%' AND (status <> 'processed' OR attempts > 0 OR reason IS NOT NULL OR last_error IS NOT NULL)
SQL
is($node->safe_psql('app', q(SELECT count(*) FROM "Subscription" WHERE "userId" LIKE 'poison%')), 0, 'it has left nothing behind');

# Later events, of its own user too, whose row it could not make
$offset = -s $node->logfile;
insert('app', @innocent[ 10 .. 14 ]);
is_applied('app', 'those behind it are applied', @innocent[ 10 .. 14 ]);
is(crashes($offset), 0, 'and it is quiet');

# Several at once, with a restart of the server's own between
$offset = -s $node->logfile;
insert('app', $innocent[15], 'poison2', $innocent[16], 'poison3', $innocent[17]);
is_buried('poison2', 'the first of two is buried');
$node->restart;
is_buried('poison3', 'and the second');
is_applied('app', 'around them everything is applied', @innocent[ 15 .. 17 ]);
cmp_ok(attempts($_), '<=', 3, "$_ has killed no more than three") foreach 'poison2', 'poison3';

# In a batch that is larger than others: what an open transaction kept back
$offset = -s $node->logfile;
settings($node, 'momento_billing.batch_size' => 10);
my $client = $node->background_psql('app', on_error_stop => 0);
$client->query_safe("BEGIN; INSERT INTO momento_billing.webhook_inbox (payload)
	SELECT sub_event('evt_' || u, 5, 'sub_' || u, 'price_pro', 'active', u) FROM (SELECT CASE n WHEN 95 THEN 'poison4' ELSE 'kept_back' || n END FROM generate_series(1, 100) AS n) AS users (u)");
insert('app', $innocent[21]);
is_applied('app', 'what comes meanwhile is applied', $innocent[21]);
$client->query('COMMIT');
$client->quit;
is_buried('poison4', 'one of many that come at once is buried');
cmp_ok(attempts('poison4'), '<=', 3, 'it has killed no more than three');
is_applied('app', 'all others are applied', map { "kept_back$_" } 1 .. 94, 96 .. 100);
settings($node, 'momento_billing.batch_size' => 1000);

# Replayed too early
my $before = attempts('poison3');
is($node->safe_psql('app', "SELECT momento_billing.replay_event('evt_poison3')"), 't', 'replayed while the cause is still there');
is_buried('poison3', 'it is buried again');
cmp_ok(attempts('poison3') - $before, '<=', 3, 'as soon as before');

# A crash that was not the event's fault costs it an attempt, and no more.
insert('app', 'once1', @innocent[ 18 .. 20 ]);
is_applied('app', 'killed once: applied after it, like everything beside it', 'once1', @innocent[ 18 .. 20 ]);
is(event('once1', 'status'), 'processed', 'it is settled');
cmp_ok(event('once1', 'attempts'), '<=', 1, 'with one attempt counted at most');

# A row that time changes, without an event: it is put off, and others are not.
$offset = -s $node->logfile;
settings($node, 'momento_billing.retry_max' => '1h');
my $end = time() + 2;
my $events = '';
foreach my $user ('poison_row', 'in_time')
{
	my %e = (customer => "cus_$user", user => $user, status => 'canceled', start => $T0);
	my $first = sub_event(%e, id => "evt_${user}_1", sub => "sub_${user}_1", created => $T0 + 1, price => 'price_business', end => $end);
	my $second = sub_event(%e, id => "evt_${user}_2", sub => "sub_${user}_2", created => $T0 + 2, price => 'price_pro', end => $end + 86400);

	$events .= "SELECT momento_billing.sync_subscription_from_event('$_');\n" foreach $first, $second;
}
$node->safe_psql('app', 'BEGIN; ALTER TABLE "Subscription" DISABLE TRIGGER kill_it; ' . $events . 'ALTER TABLE "Subscription" ENABLE TRIGGER kill_it; COMMIT');
wait_for($node, 'app', q(SELECT tier = 'PRO' FROM "Subscription" WHERE "userId" = 'in_time'), 'time changes a row, though another one kills');
insert('app', $innocent[22]);
is_applied('app', 'and events are applied', $innocent[22]);
cmp_ok(crashes($offset), '>', 0, 'it has killed');
cmp_ok(crashes($offset), '<=', 3, 'no more than three times');
settings($node, 'momento_billing.retry_max' => '100ms');

# The cause removed, it is replayed.
$node->safe_psql('app', 'DROP TRIGGER kill_it ON "Subscription"');
is($node->safe_psql('app', "SELECT momento_billing.replay_event('evt_poison1'), momento_billing.replay_dead()"), 't|3', 'the cause is removed: they are replayed');
is_applied('app', 'and applied', 'poison1', 'poison2', 'poison3', 'poison4');
is(event('poison1', 'status, attempts, reason IS NULL'), 'processed|0|t', 'with a clean record');

# And the worker works in batches again.
$node->safe_psql('app', <<'SQL');
INSERT INTO momento_billing.webhook_inbox (payload)
SELECT sub_event('evt_b' || i, i, 'sub_b' || i, 'price_pro', 'active', 'b' || i) FROM generate_series(1, 500) AS i
SQL
wait_for($node, 'app', "SELECT count(*) = 500 FROM momento_billing.webhook_inbox WHERE event_id LIKE 'evt_b%' AND status = 'processed'", 'what comes is applied');
is($node->safe_psql('app', "SELECT count(DISTINCT xmin::text) <= 2 FROM momento_billing.webhook_inbox WHERE event_id LIKE 'evt_b%'"), 't', 'in batches');

$node->stop;
is(log_count($node, qr/PANIC|TRAP|terminated by signal (?!9)/), 0, 'no crash but by our hand');
done_testing();
