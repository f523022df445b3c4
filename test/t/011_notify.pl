# NOTIFY momento_billing: a change of a user's effective tier is said by the
# worker, once it is committed, whoever made it.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";

use JSON::PP;
use Momento;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $node = new_server('notify', ['app']);
set_up($node, 'app');
my $listener = $node->background_psql('app');
$listener->query_safe('LISTEN momento_billing');

# The next $count notifications, in words: psql shows them with a query, so it
# is asked when all has been said.
sub heard
{
	my ($count) = @_;
	my $deadline = time() + $PostgreSQL::Test::Utils::timeout_default;
	my @heard;

	$node->poll_query_until('app', <<'SQL');
SELECT NOT EXISTS (SELECT FROM momento_billing.webhook_inbox WHERE status = 'pending')
	AND NOT EXISTS (SELECT FROM momento_billing.notification)
SQL
	while (@heard < $count && time() < $deadline)
	{
		my $output = $listener->query_safe('SELECT 1');

		while ($output =~ /Asynchronous notification "momento_billing" with payload "(.*)" received from/g)
		{
			my $said = decode_json($1);

			push @heard, join(' ', map { $said->{$_} } qw(userId from to)) . (keys(%$said) == 3 ? '' : ' and more');
		}
		usleep(100_000) if @heard < $count;
	}
	return join(', ', @heard);
}

sub insert
{
	my ($user, $n, $price, $status) = @_;

	return 'INSERT INTO momento_billing.webhook_inbox (payload) VALUES '
	  . "(sub_event('evt_${user}_$n', $n, 'sub_$user', '$price', '$status', '$user'))";
}

sub sync
{
	my ($user, $n, $price, $status) = @_;

	return "SELECT outcome FROM momento_billing.sync_subscription_from_event(sub_event('evt_${user}_$n', $n, 'sub_$user', '$price', '$status', '$user'))";
}

sub nothing_is_left
{
	my ($what) = @_;

	wait_for($node, 'app', 'SELECT count(*) = 0 FROM momento_billing.notification', "nothing is left to be said: $what");
}

# By the worker
$node->safe_psql('app', insert('ann', 1, 'price_pro', 'active'));
is(heard(1), 'ann BASIC PRO', 'a purchase, applied by the worker');
$node->safe_psql('app', insert('ann', 2, 'price_business', 'active'));
is(heard(1), 'ann PRO BUSINESS', 'an upgrade');
$node->safe_psql('app', insert('ann', 3, 'price_business', 'paused'));
is(heard(1), 'ann BUSINESS BASIC', 'an end');
$node->safe_psql('app', insert('ann', 4, 'price_business', 'incomplete_expired') . '; ' . insert('ben', 1, 'price_pro', 'active'));
is(heard(1), 'ben BASIC PRO', 'a change that leaves the tier is not said');

# By others: the worker says it for them
$node->safe_psql('app', sync('cyd', 1, 'price_pro', 'trialing'));
is(heard(1), 'cyd BASIC PRO', 'by sync');
my $grant = $node->safe_psql('app', "SELECT momento_billing.grant_tier('dan', 'ENTERPRISE')");
is(heard(1), 'dan BASIC ENTERPRISE', 'by grant_tier, for a user without a row');
$node->safe_psql('app', "SELECT momento_billing.grant_tier('dan', 'PRO')");
$node->safe_psql('app', "SELECT momento_billing.revoke_tier_grant($grant)");
is(heard(1), 'dan ENTERPRISE PRO', 'by revoke_tier_grant; a lesser grant was not said');
$node->safe_psql('app', "SELECT momento_billing.link_customer('cus_sub_cyd', 'eve')");
is(heard(2), 'cyd PRO BASIC, eve BASIC PRO', 'by link_customer: both users');
$node->safe_psql('app', "BEGIN; UPDATE momento_billing.price SET tier = 'ENTERPRISE' WHERE price_id = 'price_pro'; COMMIT");
is(join(', ', sort split(/, /, heard(2))), 'ben PRO ENTERPRISE, eve PRO ENTERPRISE', 'by a change of prices');
$node->safe_psql('app', "UPDATE momento_billing.price SET tier = 'PRO' WHERE price_id = 'price_pro'");
is(join(', ', sort split(/, /, heard(2))), 'ben ENTERPRISE PRO, eve ENTERPRISE PRO', 'and back');
$node->safe_psql('app', 'BEGIN; ' . insert('fay', 1, 'price_pro', 'active') . '; SELECT momento_billing.drain_inbox(); COMMIT');
is(heard(1), 'fay BASIC PRO', 'by drain_inbox');

# Several changes of one user are one, and none if they lead back.
$node->safe_psql('app', 'BEGIN; ' . sync('gil', 1, 'price_pro', 'active') . '; ' . sync('gil', 2, 'price_business', 'active')
	. "; SELECT momento_billing.grant_tier('gil', 'ENTERPRISE'); COMMIT");
is(heard(1), 'gil BASIC ENTERPRISE', 'three changes of a user in a transaction');
$node->safe_psql('app', 'BEGIN; ' . sync('hal', 1, 'price_pro', 'active') . '; ' . sync('hal', 2, 'price_pro', 'paused') . '; COMMIT');
$node->safe_psql('app', 'BEGIN; ' . sync('ida', 1, 'price_pro', 'active') . '; ROLLBACK');
$node->safe_psql('app', sync('joe "the\\user"', 1, 'price_pro', 'active'));
is(heard(1), 'joe "the\\user" BASIC PRO', 'there and back is not said, nor what is rolled back; a strange name is JSON');
nothing_is_left('after all that');

# notify = off
settings($node, 'momento_billing.notify' => 'off');
wait_for($node, 'app', "SELECT current_setting('momento_billing.notify') = 'off'", 'notify = off');
$node->safe_psql('app', insert('kim', 1, 'price_pro', 'active'));
wait_for($node, 'app', q(SELECT count(*) = 1 FROM "Subscription" WHERE "userId" = 'kim'), 'the event is applied');
$node->safe_psql('app', sync('lea', 1, 'price_pro', 'active'));
nothing_is_left('notify = off');
settings($node, 'momento_billing.notify' => 'on');
wait_for($node, 'app', "SELECT current_setting('momento_billing.notify') = 'on'", 'notify = on');
$node->safe_psql('app', sync('max', 1, 'price_pro', 'active'));
is(heard(1), 'max BASIC PRO', 'what happened while it was off is not said');

# Without a worker nobody would ever say it: nothing is kept to be said.
settings($node, 'momento_billing.enabled' => 'off');
wait_for($node, 'postgres', "SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'momento_billing worker'", 'no worker');
$node->safe_psql('app', sync('ned', 1, 'price_pro', 'active'));
is($node->safe_psql('app', 'SELECT count(*) FROM momento_billing.notification'), 0, 'enabled = off: nothing is queued');
settings($node, 'momento_billing.enabled' => 'on');
$node->safe_psql('app', insert('oda', 1, 'price_pro', 'active'));
is(heard(1), 'oda BASIC PRO', 'enabled again');
$node->safe_psql('postgres', 'CREATE DATABASE other');
set_up($node, 'other');
$node->safe_psql('other', sync('pam', 1, 'price_pro', 'active') . "; SELECT momento_billing.grant_tier('pam', 'ENTERPRISE')");
is($node->safe_psql('other', 'SELECT count(*) FROM momento_billing.notification'), 0, 'a database without a worker: nothing is queued');

$listener->quit;
nothing_is_left('at the end');

$node->stop;
is(log_count($node, qr/PANIC|TRAP|terminated by signal|deadlock/), 0, 'no crash');
done_testing();
