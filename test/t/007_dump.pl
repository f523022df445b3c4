# pg_dump and restore: every row is there again, and work goes on, with a
# worker looking on or without.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";

use Momento;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('dump', [ 'served', 'served_plain', 'reused' ], "momento_billing.naptime = '100ms'\n");

# Events of every fate, in a database without a worker
$node->safe_psql('postgres', 'CREATE DATABASE source');
set_up($node, 'source');
$node->safe_psql('source', <<'SQL');
INSERT INTO momento_billing.price VALUES ('price_old', 'PRO', 'year', false);
UPDATE momento_billing.plan_limit SET monthly_limit = 42 WHERE tier = 'PRO' AND feature = 'ai_chat';
DELETE FROM momento_billing.plan_limit WHERE tier = 'BUSINESS' AND feature = 'auto_tags';
INSERT INTO momento_billing.webhook_inbox (payload)
SELECT sub_event('evt_' || i, i, 'sub_' || i % 10, CASE WHEN i % 2 = 0 THEN 'price_pro' ELSE 'price_business' END, 'active', 'user_' || i % 7)
FROM generate_series(1, 50) AS i;
INSERT INTO momento_billing.webhook_inbox (payload) VALUES
	(sub_event('evt_waiting', 1, 'sub_waiting', 'price_pro', 'active')),
	(jsonb_build_object('id', 'evt_ignored', 'object', 'event', 'type', 'account.updated', 'created', 1, 'data', jsonb_build_object('object', '{}'::jsonb))),
	('"no event"');
SELECT momento_billing.drain_inbox();
SELECT momento_billing.consume_quota('counted', 'auto_titles', 8, 'counted_1'), momento_billing.grant_quota('counted', 'auto_titles', 5, now() + interval '1 year', 'a gift');
SELECT momento_billing.reserve_quota('counted', 'auto_titles', 4, '24 hours', 'counted_2');
UPDATE momento_billing.quota_crossing SET notified = true;
SELECT momento_billing.grant_tier('friend', 'BUSINESS', NULL, 'a gift'), momento_billing.forget_user('forgotten');
CREATE ROLE dump_app;
SELECT momento_billing.grant_app_access('dump_app');
INSERT INTO momento_billing.webhook_inbox (payload_raw, status, reason) VALUES ('\x7b', 'dead', 'not_jsonb');
SELECT nextval('momento_billing.webhook_inbox_id_seq') FROM generate_series(1, 5);
SQL
my $source = all_rows($node, 'source');
is($node->safe_psql('source', 'SELECT string_agg(DISTINCT status, $$ $$ ORDER BY status) FROM momento_billing.webhook_inbox'),
	'dead ignored processed waiting', 'events of all fates');
is(join(' ', grep { $source->{$_} eq '' } sort keys %$source), 'momento_billing.notification', 'every table has rows, but the one whose rows are said and gone');
my $next = $node->safe_psql('source', 'SELECT last_value FROM momento_billing.webhook_inbox_id_seq');

my $dump = $node->basedir . '/dump';
$node->command_ok([ 'pg_dump', '-Fc', '-f', "$dump.custom", '-d', $node->connstr('source') ], 'dump, custom format');
$node->command_ok([ 'pg_dump', '-f', "$dump.sql", '-d', $node->connstr('source') ], 'dump, plain SQL');

# What is dumped while an event is pending: who restores it applies it.
my $file = "$dump.pending";
$node->safe_psql('source', "INSERT INTO momento_billing.webhook_inbox (payload) VALUES (sub_event('evt_pending', 99, 'sub_p', 'price_pro', 'active', 'pending'))");
$node->command_ok([ 'pg_dump', '-Fc', '-f', $file, '-d', $node->connstr('source') ], 'dump, with a pending event');

# A worker has been at work in this one, and got further: then it was dropped.
set_up($node, 'reused');
$node->safe_psql('reused', <<'SQL');
INSERT INTO momento_billing.webhook_inbox (payload)
SELECT sub_event('evt_r' || i, i, 'sub_r', 'price_pro', 'active', 'reused') FROM generate_series(1, 500) AS i
SQL
wait_for($node, 'reused', "SELECT count(*) = 500 FROM momento_billing.webhook_inbox WHERE status = 'processed'", 'a worker was at work here');
$node->safe_psql('reused', <<'SQL');
DROP EXTENSION momento_billing;
DROP SCHEMA momento_billing;
DROP TABLE "Subscription";
DROP TYPE "SubscriptionTier", "SubscriptionStatus";
DROP FUNCTION sub_event;
SQL

sub restore
{
	my ($database, $format) = @_;
	my @command = $format eq 'sql'
	  ? ('psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-o', '/dev/null', '-f', "$dump.sql")
	  : ('pg_restore', '--exit-on-error', "$dump.$format");

	$node->command_ok([ @command, '-d', $node->connstr($database) ], "$database: restored");
	return if $format eq 'pending';
	my ($expected, $got) = ($source, all_rows($node, $database));

	# A worker has looked on, and says how far.
	($expected, $got) = map { { %$_, 'momento_billing.drain_state' => '' } } $expected, $got if $database =~ /served/;
	is_deeply($got, $expected, "$database: all rows are equal");
	is($node->safe_psql($database, 'SELECT last_value FROM momento_billing.webhook_inbox_id_seq'), $next, "$database: the sequence is right");
}

# It works on: a new event, a duplicate of an old one, the end of waiting.
sub goes_on
{
	my ($database, $drain) = @_;

	$node->safe_psql($database, <<"SQL");
INSERT INTO momento_billing.webhook_inbox (payload) VALUES
	(sub_event('evt_new', 1000, 'sub_3', 'price_business', 'past_due')),
	(sub_event('evt_7', 7, 'sub_7', 'price_pro', 'canceled')),
	(sub_event('evt_known', 2, 'sub_waiting', 'price_business', 'active', 'late')) ON CONFLICT (event_id) DO NOTHING;
SQL
	$node->safe_psql($database, 'SELECT momento_billing.drain_inbox()') if $drain;
	wait_for($node, $database, q(SELECT count(*) = 1 FROM "Subscription" WHERE "userId" = 'late' AND tier = 'BUSINESS'), "$database: a waiting event finds its user");
	is( $node->safe_psql($database, <<'SQL'), "evt_7|processed\nevt_known|processed\nevt_new|processed\nevt_waiting|processed", "$database: new events are applied");
SELECT event_id, status FROM momento_billing.webhook_inbox
WHERE event_id IN ('evt_new', 'evt_7', 'evt_known', 'evt_waiting') ORDER BY 1
SQL
	is($node->safe_psql($database, <<'SQL'), "t|8|t\n2\nt|3|10|3\n2", "$database: units count on");
SELECT allowed, used, replayed FROM momento_billing.consume_quota('counted', 'auto_titles', 8, 'counted_1');
SELECT reservation_id FROM momento_billing.reserve_quota('counted', 'auto_titles');
SELECT committed, amount, used, remaining FROM momento_billing.commit_reservation(1, 3);
SELECT momento_billing.grant_quota('counted', 'ai_chat', 1);
SQL
	is($node->safe_psql($database, "SELECT momento_billing.quota_remaining('nobody', 'semantic_search'), (SELECT monthly_limit FROM momento_billing.plan_limit WHERE tier = 'PRO' AND feature = 'ai_chat')"),
		'30|42', "$database: the catalogue is the restored one");
	is($node->safe_psql($database, "SET ROLE dump_app; SELECT momento_billing.effective_tier('friend'); SET momento_billing.user_id = 'friend'; SELECT count(*) FROM momento_billing.quota_remaining()"), "BUSINESS\n8", "$database: an app's rights are restored, and a tier given by hand");
	is($node->safe_psql($database, "SELECT bool_or(has_function_privilege('dump_app', oid, 'EXECUTE')) FROM pg_proc WHERE oid = 'momento_billing.grant_tier'::regproc"), 'f', "$database: and no more than these");
}

foreach my $format ('custom', 'sql')
{
	$node->safe_psql('postgres', "CREATE DATABASE copy_$format");
	restore("copy_$format", $format);
	goes_on("copy_$format", 1);
}
restore('served', 'custom');
goes_on('served');
restore('served_plain', 'sql');
goes_on('served_plain');
restore('reused', 'pending');
wait_for($node, 'reused', q(SELECT count(*) = 1 FROM "Subscription" WHERE "userId" = 'pending' AND tier = 'PRO'), 'reused: the restored pending event is applied');
goes_on('reused');

# A dump of a dump
$node->command_ok([ 'pg_dump', '-Fc', '-f', "$dump.again", '-d', $node->connstr('copy_custom') ], 'dumped again');
$node->safe_psql('postgres', 'CREATE DATABASE again');
$node->command_ok([ 'pg_restore', '--exit-on-error', '-d', $node->connstr('again'), "$dump.again" ], 'restored again');
is_deeply(all_rows($node, 'again'), all_rows($node, 'copy_custom'), 'all rows are equal again');

$node->stop;
is(log_count($node, qr/PANIC|TRAP|terminated by signal/), 0, 'no crash');
done_testing();
