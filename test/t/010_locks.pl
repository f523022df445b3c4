# Applications hold locks in idle transactions: that stops their user or their
# event, not the worker.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";

use Momento;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('locks', ['app'], "momento_billing.retry_base = '10ms'\nmomento_billing.retry_max = '100ms'\n");

sub insert
{
	my (@names) = @_;

	$node->safe_psql('app', 'INSERT INTO momento_billing.webhook_inbox (payload) VALUES '
		  . join(', ', map { "(sub_event('evt_$_', 5, 'sub_$_', 'price_business', 'active', '$_'))" } @names));
}

sub is_applied
{
	my ($name, $test) = @_;

	wait_for($node, 'app', qq(SELECT count(*) = 1 FROM "Subscription" WHERE "userId" = '$name' AND tier = 'BUSINESS'), $test);
}

sub event
{
	my ($name, $columns) = @_;

	return $node->safe_psql('app', "SELECT $columns FROM momento_billing.webhook_inbox WHERE event_id = 'evt_$name'");
}

set_up($node, 'app');
$node->safe_psql('app', <<'SQL');
SELECT momento_billing.sync_subscription_from_event(sub_event('evt_' || u || '0', 0, 'sub_' || u, 'price_pro', 'active', u))
FROM unnest('{row,sub,pending,client}'::text[]) AS u
SQL
my $app = $node->background_psql('app');

# The user's row
$app->query_safe('BEGIN');
$app->query_safe(q(SELECT 1 FROM "Subscription" WHERE "userId" = 'row' FOR UPDATE));
insert('row', 'a1', 'a2');
is_applied($_, "a user's row is locked: $_ goes on") foreach 'a1', 'a2';
insert('a3');
is_applied('a3', "a user's row is locked: what comes later goes on");
is(event('row', 'status, attempts'), 'pending|0', 'no attempt is counted');
settings($node, 'momento_billing.naptime' => '100ms');
$app->query_safe('COMMIT');
is_applied('row', 'unlocked: it is applied');

# The subscription, by a sync in an open transaction
$app->query_safe('BEGIN');
$app->query_safe(q(SELECT momento_billing.sync_subscription_from_event(sub_event('evt_sub1', 1, 'sub_sub', 'price_pro', 'past_due', 'sub'))));
insert('sub', 'b1');
is_applied('b1', 'a subscription is locked: another goes on');
is(event('sub', 'status, attempts'), 'pending|0', 'no attempt is counted');
$app->query_safe('ROLLBACK');
is_applied('sub', 'unlocked: it is applied');

# The inbox row itself: a sync takes over a pending event and idles.
settings($node, 'momento_billing.enabled' => 'off');
wait_for($node, 'postgres', "SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'momento_billing worker'", 'no worker');
insert('pending', 'c1');
$app->query_safe('BEGIN');
$app->query_safe(q(SELECT momento_billing.sync_subscription_from_event(payload) FROM momento_billing.webhook_inbox WHERE event_id = 'evt_pending'));
settings($node, 'momento_billing.enabled' => 'on');
is_applied('c1', 'an event is taken over: another goes on');
insert('c2');
is_applied('c2', 'an event is taken over: what comes later goes on');
$app->query_safe('ROLLBACK');
is_applied('pending', 'given back: it is applied');

# A client drains just when the worker has to wait, and gives up: nothing is
# passed over.
settings($node, 'momento_billing.naptime' => '1h');
my $client = $node->background_psql('app', on_error_stop => 0);
foreach my $round (1 .. 3)
{
	$app->query_safe('BEGIN; LOCK TABLE "Subscription" IN SHARE MODE');
	insert("d$round", "e$round");
	$client->query_until(qr/go/, "\\echo go\nBEGIN;\nSELECT momento_billing.drain_inbox(1);\n");
	$node->poll_query_until('app', <<'SQL');
SELECT count(*) = 1 FROM pg_stat_activity
WHERE query LIKE '%drain_inbox(1)%' AND pid <> pg_backend_pid() AND (wait_event_type = 'Lock' OR state = 'idle in transaction')
SQL
	$app->query_safe('COMMIT');
	$client->query('ROLLBACK');
	settings($node, 'momento_billing.naptime' => $round == 3 ? '100ms' : '1h');
	is_applied("d$round", "a client drained and gave up, round $round: the first");
	is_applied("e$round", "a client drained and gave up, round $round: the second");
}

# A client that drains in an open transaction holds up the worker, and its end
# wakes it.
settings($node, 'momento_billing.naptime' => '1h');
$client->query_safe('BEGIN; SELECT momento_billing.drain_inbox()');
insert('f1');
$client->query_safe('COMMIT');
is_applied('f1', 'the end of a client\'s drain wakes the worker');

# The app's table locked as a migration locks it
$app->query_safe('BEGIN; ALTER TABLE "Subscription" ADD added int');
insert('g1');
settings($node, 'momento_billing.naptime' => '100ms');
$app->query_safe('COMMIT');
is_applied('g1', 'after a migration the worker goes on');
is(event('g1', 'attempts'), 0, 'no attempt is counted');

$_->quit foreach $app, $client;
$node->stop;
is(log_count($node, qr/PANIC|TRAP|terminated by signal/), 0, 'no crash');
done_testing();
