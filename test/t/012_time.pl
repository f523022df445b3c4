# Time alone changes which subscription a row shows (rule 9): by the worker,
# and by drain_inbox where there is none.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";

use Momento;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('time', ['app'], "momento_billing.retry_base = '10ms'\nmomento_billing.retry_max = '100ms'\n");
$node->safe_psql('postgres', 'CREATE DATABASE direct');
set_up($node, $_) foreach 'app', 'direct';
settings($node, 'momento_billing.naptime' => '100ms');

# The boundary: a whole second, as Stripe's are, so near that the test need not
# wait long, and so far that everything is in place before it.
my $end = time() + 6;

# A user with two subscriptions; what each is, until when, and its price.
sub two_subscriptions
{
	my ($user, @subscriptions) = @_;
	my $n = 0;

	return join('', map {
			my ($status, $until, $price) = @$_;

			$n++;
			"SELECT momento_billing.sync_subscription_from_event('"
			  . sub_event(id => "evt_${user}_$n", sub => "sub_${user}_$n", customer => "cus_$user", user => $user, created => $T0 + $n,
				status => $status, price => $price, start => $T0, end => $until)
			  . "');\n"
		} @subscriptions);
}

my %users = (
	canceled => [ [ 'canceled', $end, 'price_business' ], [ 'canceled', $end + 86400, 'price_pro' ] ],
	past_due => [ [ 'past_due', $end, 'price_business' ], [ 'canceled', $end + 86400, 'price_pro' ] ],
	both => [ [ 'past_due', $end, 'price_pro' ], [ 'past_due', $end, 'price_business' ], [ 'canceled', $end + 86400, 'price_pro' ] ],
	locked => [ [ 'canceled', $end, 'price_business' ], [ 'canceled', $end + 86400, 'price_pro' ] ],
	alone => [ [ 'canceled', $end, 'price_business' ] ],
	live => [ [ 'canceled', $end, 'price_business' ], [ 'active', $end, 'price_pro' ] ]);
my %expected = (
	canceled => 'PRO CANCELED sub_canceled_2', past_due => 'PRO CANCELED sub_past_due_2', both => 'PRO CANCELED sub_both_3',
	locked => 'PRO CANCELED sub_locked_2', alone => 'BUSINESS CANCELED sub_alone_1', live => 'PRO ACTIVE sub_live_2');
my %history = (
	canceled => 'BUSINESS CANCELED evt_canceled_1, PRO CANCELED -', past_due => 'BUSINESS PAST_DUE evt_past_due_1, PRO CANCELED -',
	both => 'PRO PAST_DUE evt_both_1, BUSINESS PAST_DUE evt_both_2, PRO CANCELED -', locked => 'BUSINESS CANCELED evt_locked_1, PRO CANCELED -',
	alone => 'BUSINESS CANCELED evt_alone_1', live => 'BUSINESS CANCELED evt_live_1, PRO ACTIVE evt_live_2');

sub app_row
{
	my ($user) = @_;

	return qq(SELECT concat_ws(' ', tier, status, "stripeSubscriptionId") FROM "Subscription" WHERE "userId" = '$user');
}

sub history
{
	my ($database, $user) = @_;

	return $node->safe_psql($database, <<SQL);
SELECT string_agg(concat_ws(' ', new_tier, new_status, coalesce(event_id, '-')), ', ' ORDER BY id)
FROM momento_billing.subscription_history WHERE user_id = '$user'
SQL
}

my $events = join('', map { two_subscriptions($_, @{ $users{$_} }) } sort keys %users);
$node->safe_psql($_, $events) foreach 'app', 'direct';
my $app = $node->background_psql('app');
$app->query_safe(q(BEGIN; SELECT FROM "Subscription" WHERE "userId" = 'locked' FOR UPDATE));
cmp_ok(time(), '<', $end, 'everything is in place before the boundary');

# By the worker, to whom nothing happens but time
foreach my $user (grep { $_ ne 'locked' } sort keys %users)
{
	wait_for($node, 'app', "SELECT (@{[ app_row($user) ]}) = '$expected{$user}' AND clock_timestamp() >= to_timestamp($end)", "by the worker: $user");
}
is($node->safe_psql('app', app_row('locked')), 'BUSINESS CANCELED sub_locked_1', 'a row that an app holds stays');
$app->query_safe('COMMIT');
wait_for($node, 'app', "SELECT (@{[ app_row('locked') ]}) = '$expected{locked}'", 'and is changed when the app has done');
is(history('app', $_), $history{$_}, "by the worker, the history of $_: no event is to blame") foreach sort keys %users;
is($node->safe_psql('app', "SELECT string_agg(momento_billing.effective_tier('$_'), '')"), $_ eq 'alone' ? 'BASIC' : 'PRO', "what $_ has then")
  foreach sort keys %users;

# Without a worker: by drain_inbox, whoever calls it
is($node->safe_psql('direct', app_row('canceled')), 'BUSINESS CANCELED sub_canceled_1', 'without a worker the row stays');
is($node->safe_psql('direct', "SELECT momento_billing.effective_tier('canceled')"), 'PRO', 'the tier does not depend on it');
is($node->safe_psql('direct', 'SELECT momento_billing.drain_inbox()'), 0, 'drain_inbox, with no event');
is($node->safe_psql('direct', app_row($_)), $expected{$_}, "by drain_inbox: $_") foreach sort keys %users;
is(history('direct', $_), $history{$_}, "by drain_inbox, the history of $_") foreach sort keys %users;
is($node->safe_psql('direct', 'SELECT momento_billing.drain_inbox()'), 0, 'once more');
is(history('direct', $_), $history{$_}, "changes nothing for $_") foreach sort keys %users;

$app->quit;
$node->stop;
is(log_count($node, qr/PANIC|TRAP|terminated by signal|ERROR|deadlock/), 0, 'no error');
done_testing();
