# Many appliers at once: eight clients that sync, insert, drain, link and grant,
# and the worker, on few users and subscriptions, with events of one second,
# claims and late links.  Nobody meets a deadlock, and the rows are those of the
# events in their order.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";

use JSON::PP;
use Momento;
use PostgreSQL::Test::Utils;
use Test::More;

my $seed = $ENV{MOMENTO_SEED} // int(rand(1 << 31));
srand($seed);
diag("MOMENTO_SEED=$seed");

my $node = new_server('appliers', ['app'],
	"momento_billing.naptime = '100ms'\nmomento_billing.retry_base = '10ms'\nmomento_billing.retry_max = '100ms'\n");
$node->safe_psql('postgres', 'CREATE DATABASE direct');
set_up($node, $_) foreach 'app', 'direct';

sub literal
{
	my ($body) = @_;

	return "'" . ($body =~ s/'/''/gr) . "'";
}

# A subscription with five events in each of its seconds: the chain of their
# previous_attributes orders them, their ids do not.
sub life
{
	my ($user, $sub, $customer, $named) = @_;
	my @about = (sub => $sub, customer => $customer, start => $T0, end => $T0 + 40 * $MONTH, $named ? (user => $user) : ());
	my @events;
	my @states = (
		[ 'active', 'price_pro', 0 ], [ 'active', 'price_business', 0 ], [ 'active', 'price_business', 1 ],
		[ 'past_due', 'price_business', 1 ], [ 'past_due', 'price_business', 0 ], [ 'active', 'price_business', 0 ],
		[ 'trialing', 'price_business', 0 ], [ 'trialing', 'price_pro', 0 ], [ 'trialing', 'price_pro', 1 ],
		[ 'active', 'price_pro', 1 ], [ 'past_due', 'price_pro', 1 ]);
	my $last = 1 + int(rand($#states));

	foreach my $n (1 .. $last)
	{
		my ($status, $price, $canceling) = @{ $states[$n] };
		my ($old_status, $old_price, $old_canceling) = @{ $states[ $n - 1 ] };
		my %previous;

		$previous{status} = $old_status if $old_status ne $status;
		$previous{items} = { data => [ { price => { id => $old_price } } ] } if $old_price ne $price;
		$previous{cancel_at_period_end} = $old_canceling ? JSON::PP::true : JSON::PP::false if $old_canceling != $canceling;
		push @events, JSON::PP->new->canonical->encode({
			%{ decode(sub_event(id => sprintf('evt_%s_%02d', $sub, 99 - $n), created => $T0 + 100 + int(($n - 1) / 5), status => $status, price => $price,
				object => { cancel_at_period_end => $canceling ? JSON::PP::true : JSON::PP::false }, @about), \%previous) } });
	}
	return @events;
}

# The event with other previous_attributes
sub decode
{
	my ($json, $previous) = @_;
	my $event = JSON::PP->new->decode($json);

	$event->{data}{previous_attributes} = $previous;
	return $event;
}

# A claim by client_reference_id, or a checkout's metadata
sub checkout
{
	my ($id, $created, $sub, $customer, $user, $is_claim) = @_;
	my $event = JSON::PP->new->decode(checkout_event(id => $id, created => $created, sub => $sub, customer => $customer, $is_claim ? () : (user => $user)));

	$event->{data}{object}{client_reference_id} = $user if $is_claim;
	return JSON::PP->new->canonical->encode($event);
}

# Each user has: a subscription with metadata; one that the checkout names; one
# by a claim alone; and every other user has no other customer than claimed ones.
my $nusers = 4;
my @events;
foreach my $u (1 .. $nusers)
{
	my $user = "user_$u";

	if ($u % 2)
	{
		push @events, life($user, "sub_${u}_metadata", "cus_${u}_metadata", 1);
		push @events, life($user, "sub_${u}_checkout", "cus_${u}_checkout", 0), checkout("evt_${u}_checkout", $T0 + 7, "sub_${u}_checkout", "cus_${u}_checkout", $user, 0);
	}
	push @events, life($user, "sub_${u}_$_", "cus_${u}_$_", 0), checkout("evt_${u}_$_", $T0 + $_, "sub_${u}_$_", "cus_${u}_$_", $user, 1) foreach 1, 2;

	# a customer that is rebound: claimed here, named by metadata there
	my $other = 'user_' . ($u % $nusers + 1);
	push @events, life($user, "sub_${u}_moved", "cus_${u}_moved", 0), checkout("evt_${u}_moved1", $T0 + 5, "sub_${u}_moved", "cus_${u}_moved", $user, 1),
	  checkout("evt_${u}_moved2", $T0 + 300, "sub_${u}_moved", "cus_${u}_moved", $other, 0);

	# and one that only a person can place
	push @events, life($user, "sub_${u}_linked", "cus_${u}_linked", 0);
}
my $links = join('', map { "SELECT momento_billing.link_customer('cus_${_}_linked', 'user_$_');\n" } 1 .. $nusers);

# In order
my $file = $node->basedir . '/stream.sql';
write_file($file, join('', map { 'SELECT count(*) FROM momento_billing.sync_subscription_from_event(' . literal($_) . ");\n" } @events) . $links);
$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-o', '/dev/null', '-d', $node->connstr('direct'), '-f', $file ],
	scalar(@events) . ' events in order');

# All at once: each transaction takes some event, anyhow
$node->safe_psql('app', 'CREATE TABLE stream (n int PRIMARY KEY, event jsonb); INSERT INTO stream VALUES '
	  . join(', ', map { "($_, " . literal($events[$_]) . ')' } 0 .. $#events));
my $n = $#events;
my %scripts = (
	'sync.sql@8' => "\\set n random(0, $n)\nSELECT momento_billing.sync_subscription_from_event(event) FROM stream WHERE n = :n;\n",
	'insert.sql@8' => "\\set n random(0, $n)\nINSERT INTO momento_billing.webhook_inbox (payload) SELECT event FROM stream WHERE n = :n ON CONFLICT (event_id) DO NOTHING;\n",
	'batch.sql@2' => "\\set n random(0, $n)\nINSERT INTO momento_billing.webhook_inbox (payload) SELECT event FROM stream WHERE n BETWEEN :n AND :n + 9 ON CONFLICT (event_id) DO NOTHING;\n",
	'drain.sql@1' => "SELECT momento_billing.drain_inbox(20);\n",
	'replay.sql@2' => "\\set n random(0, $n)\nSELECT momento_billing.replay_event(event ->> 'id') FROM stream WHERE n = :n;\n",
	'link.sql@1' => "\\set n random(1, $nusers)\nSELECT momento_billing.link_customer('cus_' || :n || '_linked', 'user_' || :n);\n",
	'grant.sql@2' => "\\set n random(1, $nusers)\nBEGIN;\nSELECT momento_billing.grant_tier('user_' || :n, 'ENTERPRISE') AS id \\gset\nSELECT momento_billing.effective_tier('user_' || :n);\n"
	  . "SELECT momento_billing.revoke_tier_grant(:id);\nEND;\n",
	'read.sql@2' => "\\set n random(1, $nusers)\nSELECT momento_billing.effective_tier('user_' || :n), momento_billing.billing_status('user_' || :n);\n",
);
my @files;
foreach my $script (sort keys %scripts)
{
	my ($name, $weight) = split(/\@/, $script);

	write_file($node->basedir . "/$name", $scripts{$script});
	push @files, '-f', $node->basedir . "/$name\@$weight";
}
$node->command_ok([ 'pgbench', '-n', '-c', 8, '-j', 2, '-t', 400, '--random-seed', $seed, '--max-tries', 20, @files, $node->connstr('app') ],
	'eight clients and the worker');

# What chance has left out
$node->safe_psql('app', 'INSERT INTO momento_billing.webhook_inbox (payload) SELECT event FROM stream ORDER BY md5(n::text) ON CONFLICT (event_id) DO NOTHING');
$node->safe_psql('app', $links);
wait_for($node, 'app', "SELECT count(*) = 0 FROM momento_billing.webhook_inbox WHERE status = 'pending'", 'the worker settles the rest');

sub result
{
	my ($database, $query) = @_;

	return $node->safe_psql($database, $query);
}

foreach my $query (
	q(SELECT "userId", tier, status, "stripeCustomerId", "stripeSubscriptionId", "stripePriceId", "currentPeriodStart", "currentPeriodEnd", "cancelAtPeriodEnd",
		momento_billing.effective_tier("userId") FROM "Subscription" ORDER BY 1),
	q(SELECT customer_id, user_id, link_source FROM momento_billing.stripe_customer ORDER BY 1),
	q(SELECT subscription_id, customer_id, user_id, weak_link, status, price_id, cancel_at_period_end, state_created, state_event, tier, tier_event,
		current_period_end, live_period_end, fell_period_start, paid_through FROM momento_billing.stripe_subscription ORDER BY 1),
	q(SELECT user_id, ref, tier, valid_until FROM momento_billing.other_access ORDER BY 1, 2))
{
	my ($table) = $query =~ /FROM (\S+) ORDER/;

	is(result('app', $query), result('direct', $query), "$table is as in order");
}
is($node->safe_psql('app', "SELECT count(*) FROM momento_billing.webhook_inbox WHERE reason = 'failed' OR reason = 'app_table_error'"), 0, 'no event has failed');
is($node->safe_psql('app', "SELECT count(*) FROM momento_billing.webhook_inbox"), scalar(@events), 'each event is there once');
is($node->safe_psql('app', <<'SQL'), 0, 'no subscription takes its link for older than it is');
SELECT count(*) FROM momento_billing.stripe_subscription AS s JOIN momento_billing.stripe_customer AS c USING (customer_id, user_id)
WHERE NOT s.weak_link AND c.link_source <> 'manual' AND (s.link_created < c.link_created OR s.link_created IS NULL)
SQL
is($node->safe_psql('app', <<'SQL'), '', 'the history leads from row to row, for each user');
SELECT h FROM (SELECT user_id, id, event_id, old_tier, old_status, lag(new_tier) OVER w AS tier, lag(new_status) OVER w AS status, lag(id) OVER w, lag(event_id) OVER w
	FROM momento_billing.subscription_history WINDOW w AS (PARTITION BY user_id ORDER BY id)) AS h
WHERE (old_tier, old_status) IS DISTINCT FROM (tier, status)
SQL

$node->stop;
is(log_count($node, qr/deadlock detected/), 0, 'no deadlock');
is(log_count($node, qr/PANIC|TRAP|terminated by signal/), 0, 'no crash');
done_testing();
