# One event from fifty sessions at once: one row, fifty successes.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";

use IPC::Run;
use Momento;
use PostgreSQL::Test::Utils;
use Test::More;

my $clients = 50;
my $node = new_server('dedup', ['app'], "max_connections = 100\n");

set_up($node, 'app');
$node->safe_psql('app', 'CREATE TABLE answer (round text, duplicate bool)');

# All clients wait for one advisory lock, and go off together.
sub at_once
{
	my ($round, $statement) = @_;
	my $script = $node->basedir . "/$round.sql";
	my $gate = $node->background_psql('app');
	my ($out, $err) = ('', '');

	write_file($script, "SELECT pg_advisory_lock_shared(1);\n$statement;\nSELECT pg_advisory_unlock_shared(1);\n");
	$gate->query_safe('SELECT pg_advisory_lock(1)');
	my $pgbench = IPC::Run::start(
		[ 'pgbench', '-n', '-c', $clients, '-j', 2, '-t', 1, '-f', $script, '-d', $node->connstr('app') ],
		'>', \$out, '2>', \$err);
	$node->poll_query_until('app',
		"SELECT count(*) = $clients FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
	  or die "the clients did not come";
	$gate->query_safe('SELECT pg_advisory_unlock(1)');
	ok($pgbench->finish, "$round: all clients succeed") or diag($err);
	like($out, qr/processed: $clients\/$clients/, "$round: all transactions are done");
	$gate->quit;
}

my $body = checkout_event(id => 'evt_signed', created => $T0, sub => 'sub_1', customer => 'cus_1', user => 'ada');
my $header = sign($body);
my $hex = unpack('H*', $body);

at_once('signed',
	"INSERT INTO answer SELECT 'signed', duplicate FROM momento_billing.receive_webhook(decode('$hex', 'hex'), '$header')");
is($node->safe_psql('app', "SELECT duplicate, count(*) FROM answer WHERE round = 'signed' GROUP BY 1 ORDER BY 1"),
	"f|1\nt|49", 'signed: one is new, the others are duplicates');
is($node->safe_psql('app', "SELECT count(*) FROM momento_billing.webhook_inbox WHERE event_id = 'evt_signed'"), 1, 'signed: one row');

at_once('direct',
	"INSERT INTO momento_billing.webhook_inbox (payload) VALUES (sub_event('evt_direct', 1, 'sub_1', 'price_pro', 'active', 'ada')) ON CONFLICT (event_id) DO NOTHING");
is($node->safe_psql('app', "SELECT count(*) FROM momento_billing.webhook_inbox WHERE event_id = 'evt_direct'"), 1, 'direct: one row');

at_once('sync',
	"INSERT INTO answer SELECT 'sync', outcome = 'duplicate' FROM momento_billing.sync_subscription_from_event(sub_event('evt_sync', 2, 'sub_2', 'price_business', 'active', 'bob'))");
is($node->safe_psql('app', "SELECT duplicate, count(*) FROM answer WHERE round = 'sync' GROUP BY 1 ORDER BY 1"),
	"f|1\nt|49", 'sync: one applies it, the others are duplicates');

# Fifty events of one subscription, each from its own session
at_once('newest',
	"SELECT momento_billing.sync_subscription_from_event(sub_event('evt_n' || :client_id, 10 + :client_id, 'sub_3', CASE WHEN :client_id = 49 THEN 'price_business' ELSE 'price_pro' END, 'active', 'cyd'))");
is($node->safe_psql('app', q(SELECT tier FROM "Subscription" WHERE "userId" = 'cyd')), 'BUSINESS', 'newest: the newest state stays');
wait_for($node, 'app', "SELECT count(*) = 53 FROM momento_billing.webhook_inbox WHERE status = 'processed'", 'everything is settled');

$node->stop;
done_testing();
