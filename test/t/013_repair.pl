# A price that is entered or corrected mends the rows that it concerns, without
# a replay: while the worker runs, while it does not, and beside a client.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";

use Momento;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('repair', ['app'], "momento_billing.retry_base = '10ms'\nmomento_billing.retry_max = '100ms'\n");
set_up($node, 'app');

sub insert
{
	my ($price, @users) = @_;

	$node->safe_psql('app', 'INSERT INTO momento_billing.webhook_inbox (payload) VALUES '
		  . join(', ', map { "(sub_event('evt_$_', 1, 'sub_$_', '$price', 'active', '$_'))" } @users));
}

sub row_is
{
	my ($user, $tier, $test) = @_;

	wait_for($node, 'app', qq(SELECT count(*) = 1 FROM "Subscription" WHERE "userId" = '$user' AND tier = '$tier'), $test);
}

sub event
{
	my ($user) = @_;

	return $node->safe_psql('app', "SELECT concat_ws(' ', status, reason) FROM momento_billing.webhook_inbox WHERE event_id = 'evt_$user'");
}

sub sells
{
	my ($price, $tier) = @_;

	return "INSERT INTO momento_billing.price VALUES ('$price', '$tier', 'month', false)";
}

sub no_worker
{
	settings($node, 'momento_billing.enabled' => 'off');
	wait_for($node, 'postgres', "SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'momento_billing worker'", 'no worker');
}

# While it runs, and naps for an hour
insert('price_a', 'ann', 'ben');
row_is($_, 'BASIC', "an unknown price: $_") foreach 'ann', 'ben';
is(event('ann'), 'processed unknown_price', 'as the inbox says');
$node->safe_psql('app', sells('price_a', 'BUSINESS'));
row_is($_, 'BUSINESS', "the price is entered: $_") foreach 'ann', 'ben';
wait_for($node, 'app', "SELECT count(*) = 2 FROM momento_billing.webhook_inbox WHERE status = 'processed' AND reason IS NULL", 'the reasons are gone');
$node->safe_psql('app', "UPDATE momento_billing.price SET tier = 'PRO' WHERE price_id = 'price_a'");
row_is($_, 'PRO', "the price is corrected: $_") foreach 'ann', 'ben';
$node->safe_psql('app', "BEGIN; UPDATE momento_billing.price SET tier = 'ENTERPRISE' WHERE price_id = 'price_a'; ROLLBACK");
$node->safe_psql('app', "DELETE FROM momento_billing.price WHERE price_id = 'price_a'");
insert('price_pro', 'cyd');
row_is('cyd', 'PRO', 'the price is deleted; what comes later');
row_is('ann', 'PRO', 'R29: nobody is downgraded by that');

# While it is stopped: repaired at its start
no_worker();
$node->safe_psql('app', sells('price_a', 'BUSINESS'));
settings($node, 'momento_billing.enabled' => 'on');
row_is($_, 'BUSINESS', "entered while the worker was off: $_") foreach 'ann', 'ben';
no_worker();
$node->safe_psql('app', "UPDATE momento_billing.price SET tier = 'PRO' WHERE price_id = 'price_a'");
$node->append_conf('postgresql.conf', "momento_billing.enabled = 'on'");
$node->safe_psql('postgres', 'ALTER SYSTEM RESET momento_billing.enabled');
$node->restart;
row_is($_, 'PRO', "corrected before a restart: $_") foreach 'ann', 'ben';
$node->safe_psql('app', "UPDATE momento_billing.price SET tier = 'BUSINESS' WHERE price_id = 'price_a'");
$node->stop('immediate');
$node->start;
row_is($_, 'BUSINESS', "corrected just before a crash: $_") foreach 'ann', 'ben';

# A client at one of the events: the other rows are mended meanwhile
insert('price_b', 'dan', 'eve');
row_is($_, 'BASIC', "an unknown price: $_") foreach 'dan', 'eve';
settings($node, 'momento_billing.naptime' => '100ms');
my $client = $node->background_psql('app');
$client->query_safe("BEGIN; SELECT momento_billing.replay_event('evt_dan')");
$node->safe_psql('app', sells('price_b', 'BUSINESS'));
row_is('eve', 'BUSINESS', 'a client holds an event: another one is mended');
insert('price_pro', 'fay');
row_is('fay', 'PRO', 'and what comes is applied');
is($node->safe_psql('app', q(SELECT tier FROM "Subscription" WHERE "userId" = 'dan')), 'BASIC', 'its own is not yet');
$client->query_safe('ROLLBACK');
row_is('dan', 'BUSINESS', 'it is when the client has done');
$client->query_safe(q(BEGIN; SELECT FROM "Subscription" WHERE "userId" = 'dan' FOR UPDATE));
$node->safe_psql('app', "UPDATE momento_billing.price SET tier = 'PRO' WHERE price_id = 'price_b'");
row_is('eve', 'PRO', 'a client holds a row: another one is mended');
$client->query_safe('COMMIT');
row_is('dan', 'PRO', 'and that one when it is free');
$client->query_safe("BEGIN; INSERT INTO momento_billing.price VALUES ('price_c', 'PRO', 'month', false)");
insert('price_c', 'gil');
row_is('gil', 'BASIC', 'the price is not committed yet');
$client->query_safe('COMMIT');
row_is('gil', 'PRO', 'committed after its event was applied');

$client->quit;
$node->stop;
is(log_count($node, qr/PANIC|TRAP|deadlock/), 0, 'no deadlock');
done_testing();
