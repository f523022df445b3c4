# Killed in the middle of it, worker and clients: every committed event has
# its effect once.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";

use Momento;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('crash', ['app'], "restart_after_crash = on\nmomento_billing.batch_size = 20\n");
my $worker = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'momento_billing worker'";
my $total = 20000;
my $users = 1000;

set_up($node, 'app');

# One statement, whole or not at all.  Event i is of user i % 1000; its number
# is its time.
my $inserted = 0;

sub feed
{
	my ($until) = @_;

	$node->safe_psql('app', <<SQL);
INSERT INTO momento_billing.webhook_inbox (payload)
SELECT sub_event('evt_' || i, i, 'sub_' || i % $users,
	CASE WHEN i % 3 = 0 THEN 'price_business' ELSE 'price_pro' END, 'active', 'user_' || i % $users)
FROM generate_series($inserted + 1, $until) AS i
SQL
	$inserted = $until;
}

sub wait_for_restart
{
	my ($offset, $what) = @_;

	$node->wait_for_log(qr/all server processes terminated; reinitializing/, $offset);
	wait_for($node, 'app', "SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'momento_billing worker'", "$what: the server and its worker are back");
}

foreach my $round (1 .. 3)
{
	my $offset = -s $node->logfile;
	my $pid = $node->safe_psql('app', $worker);

	feed($total * $round / 4);
	kill('KILL', $pid);
	wait_for_restart($offset, "worker killed, round $round");
}

# A client in the middle of its transaction
my $offset = -s $node->logfile;
my $client = $node->background_psql('app', on_error_stop => 0);
$client->query_safe('BEGIN');
$client->query_safe("INSERT INTO momento_billing.webhook_inbox (payload) VALUES (sub_event('evt_lost', 1, 'sub_lost', 'price_pro', 'active', 'lost'))");
$client->query_safe("SELECT count(*) FROM momento_billing.sync_subscription_from_event(sub_event('evt_99999', 99999, 'sub_1', 'price_pro', 'canceled', 'user_1'))");
feed($total);
my $pid = $client->query_safe('SELECT pg_backend_pid()');
kill('KILL', $pid);
wait_for_restart($offset, 'client killed');

# The whole server, at once
note('killed while draining: ' . log_count($node, qr/Failed process was running: draining/));
$node->stop('immediate');
$node->start;
wait_for($node, 'app', "SELECT count(*) = 0 FROM momento_billing.webhook_inbox WHERE status <> 'processed'", 'every event is settled');
is($node->safe_psql('app', 'SELECT count(*), count(DISTINCT event_id) FROM momento_billing.webhook_inbox'), "$total|$total", 'every committed event is there, once');
is( $node->safe_psql('app', <<SQL), '', 'every row is the one of its newest event');
SELECT u, s.tier
FROM generate_series(1, $users) AS u
CROSS JOIN LATERAL (SELECT $total - $users + u AS newest) AS n
LEFT JOIN "Subscription" AS s ON s."userId" = 'user_' || u % $users
WHERE s.tier::text IS DISTINCT FROM CASE WHEN newest % 3 = 0 THEN 'BUSINESS' ELSE 'PRO' END OR s.status <> 'ACTIVE'
SQL
is($node->safe_psql('app', q(SELECT count(*) FROM "Subscription")), $users, 'and there is one per user');

# What was answered for is durable, even where the session does not wait for
# its commits.
$node->safe_psql('app', <<'SQL');
ALTER SYSTEM SET wal_writer_delay = '10s';
SELECT pg_reload_conf();
SQL
my $body = checkout_event(id => 'evt_async', created => $T0, sub => 'sub_async', customer => 'cus_async', user => 'async');
my $header = sign($body);
my $hex = unpack('H*', $body);
$node->safe_psql('app', <<SQL);
SET synchronous_commit = off;
SELECT count(*) FROM momento_billing.receive_webhook(decode('$hex', 'hex'), '$header');
INSERT INTO momento_billing.webhook_inbox (payload) VALUES (sub_event('evt_async2', 1, 'sub_async', 'price_pro', 'active', 'async'));
SQL
$node->stop('immediate');
$node->start;
is($node->safe_psql('app', "SELECT count(*) FROM momento_billing.webhook_inbox WHERE event_id LIKE 'evt_async%'"), 2,
	'events survive synchronous_commit = off');
wait_for($node, 'app', q(SELECT count(*) = 1 FROM "Subscription" WHERE "userId" = 'async' AND tier = 'PRO'), 'and are applied');

# A worker whose postmaster is dead ends after its batch, however much there is
# to do: no server could start before.
feed($total + 50000);
wait_for($node, 'app', "SELECT count(*) > $total FROM momento_billing.webhook_inbox WHERE status = 'processed'", 'a long drain');
$pid = $node->safe_psql('app', $worker);
$node->append_conf('postgresql.conf', 'momento_billing.enabled = off');
$node->kill9;
my $deadline = time() + $PostgreSQL::Test::Utils::timeout_default;
select(undef, undef, undef, .01) while kill(0, $pid) && time() < $deadline;
$node->start;
isnt($node->safe_psql('app', "SELECT count(*) FROM momento_billing.webhook_inbox WHERE status = 'pending'"), 0, 'the worker ended long before its backlog');

$node->stop;
is(log_count($node, qr/terminated by signal (?!9)|PANIC|TRAP/), 0, 'no process died but by our hand');
done_testing();
