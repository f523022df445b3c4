# A real worker: wakes at commit, drains in batches, and goes on whatever is
# missing or broken.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";

use Momento;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('worker', ['app']);
my $offset;

# Insert an event of a subscription and user of this name.
sub insert
{
	my ($user) = @_;

	$node->safe_psql('app',
		"INSERT INTO momento_billing.webhook_inbox (payload) VALUES (sub_event('evt_$user', 1, 'sub_$user', 'price_pro', 'active', '$user'))");
}

sub has_row
{
	my ($user) = @_;

	return qq(SELECT count(*) = 1 FROM "Subscription" WHERE "userId" = '$user' AND status = 'ACTIVE' AND tier = 'PRO');
}

sub event
{
	my ($user, $columns) = @_;

	return $node->safe_psql('app', "SELECT $columns FROM momento_billing.webhook_inbox WHERE event_id = 'evt_$user'");
}

my $inbox_is_drained =
  "SELECT count(*) = 0 FROM momento_billing.webhook_inbox WHERE status IN ('pending', 'waiting')";

# Created while the worker runs, which has said what it misses.
$node->wait_for_log(qr/worker for database "app" waits: extension "momento_billing" is not installed/);
set_up($node, 'app');
insert('first');
wait_for($node, 'app', has_row('first'), 'a commit wakes the worker, which finds the extension');
is(log_count($node, qr/ waits: /), 1, 'what is missing is said once');
is(event('first', 'status, attempts, last_error IS NULL, processed_at IS NOT NULL'), 'processed|0|t|t', 'the event is settled');
wait_for($node, 'app', "SELECT state = 'idle' FROM momento_billing.worker_status", 'worker_status says idle');
is( $node->safe_psql('app', <<'SQL'), 'app|t|1|0|evt_first', 'worker_status counts');
SELECT w.database, w.pid = a.pid, w.processed, w.failed, w.last_event
FROM momento_billing.worker_status w
JOIN pg_stat_activity a ON a.backend_type = 'momento_billing worker'
SQL
is($node->safe_psql('app', "SELECT backend_xmin IS NULL AND xact_start IS NULL FROM pg_stat_activity WHERE backend_type = 'momento_billing worker'"),
	't', 'the resting worker holds no transaction');
is($node->safe_psql('app', 'SELECT status, events FROM momento_billing.inbox_stats ORDER BY 2 DESC LIMIT 1'),
	'processed|1', 'inbox_stats counts');

# Batches
settings($node, 'momento_billing.batch_size' => 100);
$node->safe_psql('app', <<'SQL');
INSERT INTO momento_billing.webhook_inbox (payload)
SELECT sub_event('evt_b' || i, i, 'sub_b' || i % 500, 'price_business', 'active', 'b' || i % 500)
FROM generate_series(1, 5000) AS i
SQL
wait_for($node, 'app', $inbox_is_drained, '5,000 events are drained');
is($node->safe_psql('app', q(SELECT count(*), min(tier), max(tier) FROM "Subscription" WHERE "userId" LIKE 'b%')),
	'500|BUSINESS|BUSINESS', 'into 500 rows');
is( $node->safe_psql('app', <<'SQL'), 't|t', 'in transactions of batch_size events');
SELECT max(n) = 100, count(*) BETWEEN 50 AND 60
FROM (SELECT count(*) AS n FROM momento_billing.webhook_inbox WHERE event_id LIKE 'evt_b%' GROUP BY xmin) AS batches
SQL

# Bad events among good ones
settings($node,
	'momento_billing.max_attempts' => 3,
	'momento_billing.retry_base' => '10ms',
	'momento_billing.naptime' => '100ms');
$node->safe_psql('app', <<'SQL');
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF NEW."userId" = 'raises' THEN RAISE EXCEPTION 'not this one'; END IF;
	IF NEW."userId" = 'breaks' THEN RAISE EXCEPTION 'a bug' USING ERRCODE = 'internal_error'; END IF;
	RETURN NEW;
END $$;
CREATE TRIGGER refuse BEFORE INSERT ON "Subscription" FOR EACH ROW EXECUTE FUNCTION refuse();
ALTER TABLE "Subscription" ADD CONSTRAINT known_user CHECK ("userId" <> 'refused');
INSERT INTO momento_billing.webhook_inbox (payload)
SELECT sub_event('evt_' || u, 1, 'sub_' || u, 'price_pro', 'active', u)
FROM unnest('{good1,raises,good2,breaks,good3,refused,good4}'::text[]) AS u
SQL
wait_for($node, 'app', has_row("good$_"), "good event $_ among bad ones is applied") foreach 1 .. 4;
wait_for($node, 'app', "SELECT count(*) = 3 FROM momento_billing.webhook_inbox WHERE status = 'dead'", 'the bad ones die');
is(event('raises', 'attempts, reason, last_error, next_attempt_at IS NULL'), '3|app_table_error|P0001: not this one|t', 'raised by a trigger');
is(event('breaks', 'attempts, reason, last_error, next_attempt_at IS NULL'), '3|app_table_error|XX000: a bug|t', 'a bug in a trigger');
like(event('refused', 'attempts, reason, last_error, next_attempt_at IS NULL'),
	qr/^3\|app_table_error\|23514: .*known_user.*\|t$/, 'refused by a constraint');
is($node->safe_psql('app', 'SELECT dead, failed, last_error IS NOT NULL FROM momento_billing.worker_status'), '3|9|t', 'worker_status counts attempts');
is($node->safe_psql('app', "SELECT events FROM momento_billing.inbox_stats WHERE status = 'dead'"), '3', 'inbox_stats counts the dead');

# The retry that succeeds
settings($node, 'momento_billing.max_attempts' => 1000);
$node->safe_psql('app', <<'SQL');
ALTER TABLE "Subscription" ADD CONSTRAINT later CHECK ("userId" <> 'later');
SQL
insert('later');
wait_for($node, 'app', "SELECT status = 'waiting' AND attempts > 0 FROM momento_billing.webhook_inbox WHERE event_id = 'evt_later'", 'refused for now');
$node->safe_psql('app', 'ALTER TABLE "Subscription" DROP CONSTRAINT later');
wait_for($node, 'app', has_row('later'), 'and applied when the constraint is gone');
is(event('later', 'status, next_attempt_at IS NULL, last_error IS NOT NULL'), 'processed|t|t', 'with the last error kept');

# Waiting for the user
$node->safe_psql('app', <<'SQL');
INSERT INTO momento_billing.webhook_inbox (payload) VALUES (sub_event('evt_w', 1, 'sub_w', 'price_pro', 'active'))
SQL
wait_for($node, 'app', "SELECT status = 'waiting' AND waiting_for = 'cus_sub_w' FROM momento_billing.webhook_inbox WHERE event_id = 'evt_w'",
	'an event without a user waits');
receive($node, 'app', checkout_event(id => 'evt_wc', created => $T0, sub => 'sub_w', customer => 'cus_sub_w', user => 'w'));
wait_for($node, 'app', has_row('w'), 'until its checkout comes');
is(event('w', 'status, waiting_for IS NULL, next_attempt_at IS NULL'), 'processed|t|t', 'and is settled then');

# The app's table away, and a column of it renamed
foreach my $case (
	[ 'table', 'ALTER TABLE "Subscription" RENAME TO away', 'ALTER TABLE away RENAME TO "Subscription"', qr/"app" waits: table public\."Subscription" does not exist/ ],
	[ 'column', 'ALTER TABLE "Subscription" RENAME tier TO plan', 'ALTER TABLE "Subscription" RENAME plan TO tier', qr/"app" waits: column "tier" of table public\."Subscription" does not exist/ ],
	[ 'index', 'ALTER TABLE "Subscription" ADD old text; DROP INDEX "Subscription_userId_key"',
		'ALTER TABLE "Subscription" DROP old; CREATE UNIQUE INDEX ON "Subscription" ("userId")', qr/"app" waits: table public\."Subscription" has no unique index/ ])
{
	my ($what, $break, $mend, $pattern) = @$case;

	$offset = -s $node->logfile;
	$node->safe_psql('app', $break);
	insert("$what$_") foreach 1 .. 3;
	$node->wait_for_log($pattern, $offset);
	is($node->safe_psql('app', "SELECT count(*) FROM momento_billing.webhook_inbox WHERE status = 'pending' AND event_id LIKE 'evt_$what%'"),
		3, "$what missing: events are kept");
	is($node->safe_psql('app', 'SELECT state FROM momento_billing.worker_status'), 'not ready', "$what missing: worker_status says so");
	$node->safe_psql('app', $mend);
	wait_for($node, 'app', has_row("$what$_"), "$what back: event $_ is applied") foreach 1 .. 3;
	is(log_count($node, $pattern, $offset), 1, "$what missing: one line in the log");
	$node->wait_for_log(qr/"app" goes on/, $offset);
	is(event("${what}1", 'attempts'), 0, "$what missing: no attempt was counted");
}

# Dropped and created anew, beneath the running worker
settings($node, 'momento_billing.naptime' => '1h');
foreach my $round (1, 2)
{
	$offset = -s $node->logfile;
	$node->safe_psql('app', <<'SQL');
DROP EXTENSION momento_billing;
CREATE EXTENSION momento_billing;
SELECT momento_billing.seed_plans();
INSERT INTO momento_billing.price VALUES ('price_pro', 'PRO', 'month');
SQL
	insert("anew$round");
	wait_for($node, 'app', has_row("anew$round"), "extension created anew, round $round: an event is applied");
}
$node->safe_psql('app', <<'SQL');
BEGIN; DROP EXTENSION momento_billing; ROLLBACK;
BEGIN; TRUNCATE momento_billing.webhook_inbox; ROLLBACK;
SQL
insert('rolled_back');
wait_for($node, 'app', has_row('rolled_back'), 'a DROP that was rolled back changes nothing');

# A new incarnation whose ids and low_water lie below what the worker has seen
$node->safe_psql('app', <<'SQL');
BEGIN;
TRUNCATE momento_billing.webhook_inbox RESTART IDENTITY;
SELECT momento_billing.drain_inbox();
COMMIT;
SQL
insert('after_truncate');
wait_for($node, 'app', has_row('after_truncate'), 'ids that begin anew are drained');

# Switched off: it disconnects, and what the database sets has no effect on
# the worker that comes back.
$node->safe_psql('postgres', <<'SQL');
ALTER DATABASE app SET default_transaction_isolation = 'serializable';
ALTER DATABASE app SET default_transaction_read_only = on;
ALTER DATABASE app SET default_transaction_deferrable = on;
ALTER DATABASE app SET statement_timeout = '1ms';
ALTER DATABASE app SET lock_timeout = '1ms';
ALTER DATABASE app SET idle_in_transaction_session_timeout = '1ms';
SQL
settings($node, 'momento_billing.enabled' => 'off');
wait_for($node, 'postgres', "SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'momento_billing worker'",
	'enabled = off: the worker disconnects');
{
	local $ENV{PGOPTIONS} = '-c default_transaction_read_only=off -c statement_timeout=0';

	insert('while_off');
	is(event('while_off', 'status'), 'pending', 'enabled = off: the inbox keeps filling');
	is($node->safe_psql('app', "SELECT momento_billing.billing_status('good1') ->> 'billingEnabled'"), 'false',
		'enabled = off: billing_status says so');
	wait_for($node, 'app', "SELECT state = 'disabled' FROM momento_billing.worker_status", 'enabled = off: so does worker_status');
	is($node->safe_psql('postgres', "SELECT count(*) FROM pg_stat_activity WHERE datname = 'app' AND backend_type <> 'client backend'"), 0,
		'enabled = off: a successor stays away from the database');
	settings($node, 'momento_billing.enabled' => 'on');
	wait_for($node, 'app', has_row('while_off'), 'enabled = on: the worker drains, whatever the database sets');
}

$node->stop;
is(log_count($node, qr/PANIC|TRAP|terminated by signal|server process .* exited/), 0, 'no crash');
done_testing();
