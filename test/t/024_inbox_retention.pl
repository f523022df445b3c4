# Retention of the inbox: what is settled and old goes, in small parts, and
# nothing that anybody may still need; the worker drains meanwhile.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";

use Momento;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('retention', ['app']);
set_up($node, 'app');
is($node->safe_psql('app', "SELECT current_setting('momento_billing.inbox_retention')"), '90d', 'the inbox is kept for ninety days');

# Who looks at removal: how many rows go at once.
$node->safe_psql('app', <<'SQL');
CREATE TABLE removal (transaction xid8, rows int);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO removal SELECT pg_current_xact_id(), count(*) FROM gone HAVING count(*) > 0;
	RETURN NULL;
END $$;
CREATE TRIGGER note AFTER DELETE ON momento_billing.webhook_inbox REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION note();
SQL

# Ten events of each user, the newest last; then events of other fates.
$node->safe_psql('app', <<'SQL');
INSERT INTO momento_billing.webhook_inbox (payload)
SELECT sub_event(format('evt_%s_%s', u, n), n, 'sub_' || u, CASE WHEN n = 10 THEN 'price_business' ELSE 'price_pro' END, 'active', 'user' || u)
FROM generate_series(1, 10) AS n, generate_series(1, 1000) AS u;
INSERT INTO momento_billing.webhook_inbox (payload) VALUES
	(jsonb_build_object('id', 'evt_ignored', 'object', 'event', 'type', 'account.updated', 'created', 1, 'data', jsonb_build_object('object', '{}'::jsonb))),
	(sub_event('evt_unknown', 1, 'sub_unknown', 'price_new', 'active', 'buyer')),
	(sub_event('evt_waiting', 1, 'sub_waiting', 'price_pro', 'active')),
	(sub_event('evt_conflict', 20, 'sub_1', 'price_pro', 'active', 'somebody else'));
SQL

# Named by a register in other shapes: the subscription expanded, and only in
# the lines of an invoice.  An unknown price beneath another one.
my $expanded = event_json(id => 'evt_expanded', created => $T0, type => 'checkout.session.completed',
	data => { object => {
		id => 'cs_1', object => 'checkout.session', mode => 'subscription', payment_status => 'paid', customer => 'cus_expanded',
		subscription => { id => 'sub_expanded' }, metadata => { userId => 'expanded', tier => 'PRO' } } });
my $in_lines = event_json(id => 'evt_lines', created => $T0 + 99, type => 'invoice.payment_failed',
	data => { object => {
		id => 'in_1', object => 'invoice', customer => 'cus_sub_3', billing_reason => 'subscription_cycle',
		lines => { data => [ { subscription => 'sub_3', period => { start => $T0, end => $T0 + $MONTH } } ] } } });
$node->safe_psql('app', "INSERT INTO momento_billing.webhook_inbox (payload) VALUES ('$_')") foreach $expanded, $in_lines;
$node->safe_psql('app', <<'SQL');
INSERT INTO momento_billing.webhook_inbox (payload) VALUES
	(sub_event('evt_beneath', 1, 'sub_two', 'price_first', 'active', 'two prices')),
	(sub_event('evt_above', 2, 'sub_two', 'price_second', 'active', 'two prices'));
SQL
my $due = "SELECT count(*) FROM momento_billing.webhook_inbox WHERE status = 'pending'";
wait_for($node, 'app', "SELECT ($due) = 0", 'the events are settled');
is($node->safe_psql('app', "SELECT string_agg(concat_ws(' ', event_id, status, reason), ', ' ORDER BY id) FROM momento_billing.webhook_inbox WHERE event_id !~ '\\d'"),
	'evt_ignored ignored unhandled_type, evt_unknown processed unknown_price, evt_waiting waiting unknown_user, evt_conflict dead link_conflict,'
	  . ' evt_expanded processed, evt_lines processed, evt_beneath processed unknown_price, evt_above processed unknown_price', 'in every way');
my $named = <<'SQL';
SELECT DISTINCT e FROM momento_billing.stripe_subscription,
	unnest(ARRAY[state_event, tier_event, period_event, live_event, fell_event, failed_event]) AS e
WHERE NOT EXISTS (SELECT FROM momento_billing.webhook_inbox WHERE event_id = e) AND e IS NOT NULL
SQL
is($node->safe_psql('app', "SELECT count(*) FROM momento_billing.stripe_subscription WHERE 'evt_expanded' = state_event OR 'evt_lines' = failed_event"), 2, 'registers name events of other shapes');
is($node->safe_psql('app', $named), '', 'registers name events that are there');
$node->safe_psql('app', 'CREATE TABLE was AS TABLE "Subscription"');
my $changed = 'SELECT s::text FROM was AS s EXCEPT SELECT s::text FROM "Subscription" AS s';

# All that was settled is old now, but what came for the last hundred users;
# and one is held by a client.  Settled long ago is what counts, not received.
$node->safe_psql('app', <<'SQL');
UPDATE momento_billing.webhook_inbox SET received_at = received_at - interval '100 days', processed_at = processed_at - interval '91 days';
UPDATE momento_billing.webhook_inbox SET processed_at = now() - interval '89 days' WHERE event_id ~ '^evt_(9[0-9][1-9]|9[1-9]0|1000)_';
SQL
my $client = $node->background_psql('app');
$client->query_safe("BEGIN; SELECT FROM momento_billing.webhook_inbox WHERE event_id = 'evt_7_3' FOR UPDATE");
my $kept = "SELECT count(*) FROM momento_billing.webhook_inbox WHERE event_id ~ '^evt_(9[0-9][1-9]|9[1-9]0|1000)_'";
my $expected = $node->safe_psql('app', $kept);
cmp_ok($expected, '>=', 900, 'what was settled lately');

# At a reload of settings it looks at once; events come meanwhile.
$node->reload;
$node->safe_psql('app', "INSERT INTO momento_billing.webhook_inbox (payload) VALUES (sub_event('evt_new', 1, 'sub_new', 'price_pro', 'active', 'new'))");
wait_for($node, 'app', q(SELECT count(*) = 1 FROM "Subscription" WHERE "userId" = 'new'), 'an event is applied meanwhile');
my $superseded = "SELECT count(*) FROM momento_billing.webhook_inbox WHERE event_id ~ '_[1-9]\$' AND processed_at < now() - interval '90 days'";
wait_for($node, 'app', "SELECT ($superseded) = 1 AND NOT EXISTS (SELECT FROM momento_billing.webhook_inbox WHERE event_id = 'evt_ignored')", 'what is old and superseded, or ignored, is gone');
is($node->safe_psql('app', "SELECT count(*) FROM momento_billing.webhook_inbox WHERE event_id = 'evt_7_3'"), 1, 'what a client holds stays, and is not waited for');
is($node->safe_psql('app', $kept), $expected, 'what was settled lately stays');
is($node->safe_psql('app', "SELECT string_agg(event_id, ' ' ORDER BY id) FROM momento_billing.webhook_inbox WHERE event_id !~ '\\d'"),
	'evt_unknown evt_waiting evt_conflict evt_expanded evt_lines evt_beneath evt_above evt_new', 'what may still be needed stays');
is($node->safe_psql('app', $named), '', 'and what registers name');
is($node->safe_psql('app', $changed), '', 'nobody\'s row has changed');
is($node->safe_psql('app', 'SELECT max(rows) BETWEEN 1 AND 2000, count(*) > 4, count(*) = count(DISTINCT transaction) FROM removal'), 't|t|t', 'in small parts, each in a transaction of its own');
is($node->safe_psql('app', 'SELECT failed, last_error ~ $$not installed$$ FROM momento_billing.worker_status'), '0|t', 'without an error');

# Let go, it goes the next time; so does what is older than a shorter setting.
$client->query_safe('COMMIT');
settings($node, 'momento_billing.inbox_retention' => '88d');
wait_for($node, 'app', "SELECT count(*) = 0 FROM momento_billing.webhook_inbox WHERE event_id ~ '_[1-9]\$'", 'a shorter retention, at once');
is($node->safe_psql('app', $changed), '', 'nobody\'s row has changed');

# What Stripe sends again is not known any more, and is too old to matter.
$node->safe_psql('app', "INSERT INTO momento_billing.webhook_inbox (payload) VALUES (sub_event('evt_5_2', 2, 'sub_5', 'price_pro', 'past_due', 'user5'))");
wait_for($node, 'app', "SELECT ($due) = 0", 'an event that was removed comes again');
is($node->safe_psql('app', $changed), '', 'and changes nothing');

# What was kept is good for what it was kept for.
$node->safe_psql('app', "INSERT INTO momento_billing.price VALUES ('price_new', 'PRO', 'year')");
wait_for($node, 'app', q(SELECT tier = 'PRO' FROM "Subscription" WHERE "userId" = 'buyer'), 'the price is entered: its buyer has the tier');
$node->safe_psql('app', "INSERT INTO momento_billing.price VALUES ('price_first', 'BUSINESS', 'year')");
wait_for($node, 'app', q(SELECT tier = 'BUSINESS' FROM "Subscription" WHERE "userId" = 'two prices'), 'nor is the older of two lost');
$node->safe_psql('app', "SELECT momento_billing.link_customer('cus_sub_waiting', 'late')");
wait_for($node, 'app', q(SELECT tier = 'PRO' FROM "Subscription" WHERE "userId" = 'late'), 'the user becomes known: who waited has a row');
wait_for($node, 'app', "SELECT status = 'processed' FROM momento_billing.webhook_inbox WHERE event_id = 'evt_waiting'", 'and the event is settled');
is($node->safe_psql('app', "SELECT momento_billing.replay_event('evt_conflict')"), 't', 'a dead one is replayed');

$client->quit;
$node->stop;
is(log_count($node, qr/PANIC|TRAP|terminated by signal|worker[^\n]* waits: (?!extension)/), 0, 'no crash, and nothing in the worker\'s way');
done_testing();
