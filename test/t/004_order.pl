# The life of a customer, shuffled and with repetitions, ends in the row that
# its order gives, by the worker as by direct sync.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";

use List::Util qw(shuffle);
use Momento;
use PostgreSQL::Test::Utils;
use Test::More;

my $seed = $ENV{MOMENTO_SEED} // int(rand(1 << 31));
srand($seed);
diag("MOMENTO_SEED=$seed");

my $node = new_server('order', [ 'app', 'direct' ], "momento_billing.retry_base = '10ms'\n");

# Sixteen events of customer $n, in their order: in the shape of before basil
# or of after it, with the user in the subscription's metadata or known from
# the checkout alone.
sub life
{
	my ($n, $old_shape, $metadata) = @_;
	my @about = (sub => "sub_$n", customer => "cus_$n");
	my @user = $metadata ? (user => "user_$n") : ();
	my @first = (start => $T0, end => $T0 + $MONTH);
	my @second = (start => $T0 + $MONTH, end => $T0 + 2 * $MONTH);
	my @third = (start => $T0 + 2 * $MONTH, end => $T0 + 3 * $MONTH);
	my $renewal = $T0 + $MONTH;
	my @shape = (old_shape => $old_shape);
	my $i = 0;
	my $id = sub { return "evt_${n}_" . $i++ };

	return (
		sub_event(id => $id->(), created => $T0, type => 'created', status => 'incomplete', @about, @user, @first, @shape),
		sub_event(id => $id->(), created => $T0, status => 'active', previous_status => 'incomplete', @about, @user, @first, @shape),
		checkout_event(id => $id->(), created => $T0 + 1, user => "user_$n", @about),
		sub_event(id => $id->(), created => $T0 + 1000, price => 'price_business', @about, @user, @first, @shape),
		sub_event(id => $id->(), created => $renewal, price => 'price_business', @about, @user, @second, @shape),
		invoice_event(id => $id->(), created => $renewal + 3600, price => 'price_business', @about, @second),
		sub_event(id => $id->(), created => $renewal + 3602, price => 'price_business', status => 'past_due',
			previous_status => 'active', @about, @user, @second, @shape),
		sub_event(id => $id->(), created => $renewal + 90000, price => 'price_business', status => 'active',
			previous_status => 'past_due', @about, @user, @second, @shape),
		sub_event(id => $id->(), created => $renewal + 100000, price => 'price_business',
			object => { cancel_at_period_end => JSON::PP::true }, @about, @user, @second, @shape),
		sub_event(id => $id->(), created => $renewal + 200000, price => 'price_business', @about, @user, @second, @shape),
		sub_event(id => $id->(), created => $renewal + 300000, price => 'price_pro', @about, @user, @second, @shape),
		sub_event(id => $id->(), created => $renewal + $MONTH, price => 'price_pro', @about, @user, @third, @shape),
		invoice_event(id => $id->(), created => $renewal + $MONTH + 3600, price => 'price_pro', @about, @third),
		sub_event(id => $id->(), created => $renewal + $MONTH + 3602, price => 'price_pro', status => 'past_due',
			previous_status => 'active', @about, @user, @third, @shape),
		sub_event(id => $id->(), created => $renewal + $MONTH + 90000, price => 'price_pro', status => 'unpaid',
			previous_status => 'past_due', @about, @user, @third, @shape),
		sub_event(id => $id->(), created => $renewal + $MONTH + 99999, type => 'deleted', price => 'price_pro', status => 'canceled',
			object => { ended_at => $renewal + $MONTH + 99999, cancellation_details => { reason => 'payment_failed' } },
			@about, @user, @third, @shape));
}

sub literal
{
	my ($body) = @_;

	return "'" . ($body =~ s/'/''/gr) . "'";
}

set_up($node, $_) foreach 'app', 'direct';

# By all prefixes of the life from the checkout on: a row after each step
my $n = 0;
my @cases;
foreach my $old_shape (0, 1)
{
	foreach my $metadata (0, 1)
	{
		foreach my $length (3 .. 16)
		{
			my @events = life($n, $old_shape, $metadata);

			push @cases, { n => $n++, events => [ @events[ 0 .. $length - 1 ] ], length => $length };
		}
	}
}

# Several of each in the worker's database, shuffled together
my $copies = 3;
my @stream;
foreach my $copy (0 .. $copies - 1)
{
	foreach my $case (@cases)
	{
		my @events = map { s/(evt|sub|cus|user)_(\d+)/$1_${2}x$copy/gr } @{ $case->{events} };

		push @stream, @events, grep { rand() < 0.4 } @events;
	}
}
@stream = shuffle(@stream);
my $file = $node->basedir . '/stream.sql';
write_file($file, join('', map { "SELECT count(*) FROM momento_billing.receive_webhook(decode('" . unpack('H*', $_) . "', 'hex'), '" . sign($_) . "');\n" } @stream));
$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-o', '/dev/null', '-d', $node->connstr('app'), '-f', $file ],
	scalar(@stream) . ' webhooks are received');

# In order, one by one, in the other; then shuffled, one by one
foreach my $shuffled (0, 1)
{
	my $sql = '';

	foreach my $case (@cases)
	{
		my @events = @{ $case->{events} };

		@events = shuffle(@events, grep { rand() < 0.4 } @events) if $shuffled;
		foreach my $event (@events)
		{
			$event =~ s/(evt|sub|cus|user)_(\d+)/$1_${2}s/g if $shuffled;
			$sql .= 'SELECT count(*) FROM momento_billing.sync_subscription_from_event(' . literal($event) . ");\n";
		}
	}
	write_file($file, $sql);
	$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-o', '/dev/null', '-d', $node->connstr('direct'), '-f', $file ],
		$shuffled ? 'shuffled, by direct sync' : 'in order, by direct sync');
}

$node->poll_query_until('app', "SELECT count(*) = 0 FROM momento_billing.webhook_inbox WHERE status NOT IN ('processed', 'ignored')")
  or fail('the worker settles everything');
is($node->safe_psql('direct', "SELECT count(*) FROM momento_billing.webhook_inbox WHERE status NOT IN ('processed', 'ignored')"), 0,
	'nothing is left waiting');

sub rows
{
	my ($database) = @_;

	return map { (split(/\|/, $_, 2)) } split(/\n/, $node->safe_psql($database, <<'SQL'));
SELECT "userId", tier, status, "stripePriceId", "currentPeriodStart", "currentPeriodEnd", "cancelAtPeriodEnd",
	momento_billing.effective_tier("userId", '2026-02-15Z'), momento_billing.effective_tier("userId", '2026-03-02 12:00Z')
FROM "Subscription"
SQL
}

my %direct = rows('direct');
my %app = rows('app');
my @wrong;
foreach my $case (@cases)
{
	my $expected = $direct{"user_$case->{n}"};

	die "no row for case $case->{n}" unless defined $expected;
	foreach my $got ($direct{"user_$case->{n}s"}, map { $app{"user_$case->{n}x$_"} } 0 .. $copies - 1)
	{
		push @wrong, "case $case->{n}, $case->{length} events: expected $expected, got " . ($got // 'no row') if ($got // '') ne $expected;
	}
}
is(scalar(@wrong), 0, scalar(@cases) * ($copies + 1) . ' shuffled lives end in the row of their order')
  or diag(join("\n", @wrong[ 0 .. ($#wrong < 9 ? $#wrong : 9) ]));

# The row itself, after each step of one life: what was shown as paid for and
# was not ends where it was paid to.
is( join("\n", map { $direct{"user_$_"} } 0 .. 13), <<'ROWS' =~ s/\n\z//r, 'and that is the right one');
PRO|ACTIVE|price_pro|2026-01-01 00:00:00|2026-01-31 00:00:00|f|PRO|PRO
BUSINESS|ACTIVE|price_business|2026-01-01 00:00:00|2026-01-31 00:00:00|f|BUSINESS|BUSINESS
BUSINESS|ACTIVE|price_business|2026-01-31 00:00:00|2026-03-02 00:00:00|f|BUSINESS|BUSINESS
BUSINESS|PAST_DUE|price_business|2026-01-31 00:00:00|2026-03-02 00:00:00|f|BUSINESS|BASIC
BUSINESS|PAST_DUE|price_business|2026-01-31 00:00:00|2026-03-02 00:00:00|f|BUSINESS|BASIC
BUSINESS|ACTIVE|price_business|2026-01-31 00:00:00|2026-03-02 00:00:00|f|BUSINESS|BUSINESS
BUSINESS|ACTIVE|price_business|2026-01-31 00:00:00|2026-03-02 00:00:00|t|BUSINESS|BUSINESS
BUSINESS|ACTIVE|price_business|2026-01-31 00:00:00|2026-03-02 00:00:00|f|BUSINESS|BUSINESS
PRO|ACTIVE|price_pro|2026-01-31 00:00:00|2026-03-02 00:00:00|f|PRO|PRO
PRO|ACTIVE|price_pro|2026-03-02 00:00:00|2026-04-01 00:00:00|f|PRO|PRO
PRO|PAST_DUE|price_pro|2026-03-02 00:00:00|2026-04-01 00:00:00|f|PRO|PRO
PRO|PAST_DUE|price_pro|2026-03-02 00:00:00|2026-04-01 00:00:00|f|PRO|PRO
PRO|CANCELED|price_pro|2026-03-02 00:00:00|2026-03-02 00:00:00|f|PRO|BASIC
PRO|CANCELED|price_pro|2026-03-02 00:00:00|2026-03-02 00:00:00|f|PRO|BASIC
ROWS

$node->stop;
done_testing();
