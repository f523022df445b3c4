# The index probe and its SQL fallback give the same answers, whatever the
# rows; where there is nothing to probe, the fallback answers alone.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";

use Momento;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $seed = $ENV{MOMENTO_SEED} // int(rand(1 << 31));
diag("MOMENTO_SEED=$seed");
my $fraction = $seed / (1 << 31);

# No preload: reads need none.
my $node = PostgreSQL::Test::Cluster->new('fallback');
$node->init;
$node->start;
set_up($node, 'postgres');
$node->safe_psql('postgres', <<SQL);
SELECT setseed($fraction);
INSERT INTO "Subscription"
SELECT 'id_' || i, 'user_' || i,
	(ARRAY['BASIC', 'PRO', 'BUSINESS', 'ENTERPRISE'])[1 + floor(random() * 4)]::"SubscriptionTier",
	(ARRAY['ACTIVE', 'TRIALING', 'PAST_DUE', 'CANCELED', 'INACTIVE'])[1 + floor(random() * 5)]::"SubscriptionStatus",
	CASE WHEN random() < .8 THEN 'cus_' || i END, CASE WHEN random() < .8 THEN 'sub_' || i END, CASE WHEN random() < .8 THEN 'price_pro' END,
	CASE WHEN random() < .8 THEN timestamp '2026-01-01' END,
	CASE WHEN random() < .8 THEN timestamp '2026-06-01' + (random() - .5) * interval '3 years' END,
	random() < .5, now(), now()
FROM generate_series(1, 2000) AS i WHERE random() < .9;
INSERT INTO momento_billing.usage
SELECT 'user_' || i, f.feature, date_trunc('month', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC', floor(random() * 60), floor(random() * 3)
FROM generate_series(1, 2000) AS i, momento_billing.feature AS f WHERE random() < .3;
INSERT INTO momento_billing.other_access
SELECT 'user_' || i, 'subscription', 'sub_o' || i, (ARRAY['PRO', 'BUSINESS'])[1 + floor(random() * 2)], NULL,
	CASE WHEN random() < .8 THEN now() + (random() - .5) * interval '1 year' END
FROM generate_series(1, 2000) AS i WHERE random() < .1;
CREATE TABLE answer (way text, user_id text, answer text);
CREATE FUNCTION ask(way text) RETURNS bigint LANGUAGE sql AS \$\$
	WITH a AS (
		INSERT INTO answer
		SELECT way, u, row(momento_billing.effective_tier(u), momento_billing.effective_tier(u, '2026-06-01Z'), momento_billing.billing_status(u),
			momento_billing.quota_remaining(u, 'ai_chat'),
			(SELECT array_agg(row(q.feature, q.tier, q.used, q.held, q.monthly_limit, q.remaining, q.unlimited, q.included))
				FROM momento_billing.quota_remaining(u) AS q))::text
		FROM (SELECT 'user_' || i AS u FROM generate_series(1, 2000) AS i) AS users
		RETURNING 1)
	SELECT count(*) FROM a
\$\$;
SQL

sub differing
{
	my ($way) = @_;

	return $node->safe_psql('postgres', <<SQL);
SELECT count(*), min(p.user_id), min(p.answer), min(q.answer)
FROM answer AS p FULL JOIN answer AS q ON q.user_id = p.user_id AND q.way = '$way'
WHERE p.way = 'probe' AND q.answer IS DISTINCT FROM p.answer
SQL
}

my %ways = (
	probe => '',
	spi => 'SET momento_billing.force_spi = on',
	parallel => 'SET force_parallel_mode = on; SET parallel_setup_cost = 0',
	custom => 'SET momento_billing.force_spi = on; SET plan_cache_mode = force_custom_plan; SET enable_indexscan = off');
$ways{parallel} = 'SET debug_parallel_query = on; SET parallel_setup_cost = 0'
  if $node->safe_psql('postgres', "SELECT current_setting('server_version_num')::int >= 160000") eq 't';
foreach my $way ('probe', grep { $_ ne 'probe' } sort keys %ways)
{
	is($node->safe_psql('postgres', "$ways{$way}; SELECT ask('$way')"), 2000, "answers: $way");
	is(differing($way), '0|||', "the same answers: $way") unless $way eq 'probe';
}
is($node->safe_psql('postgres', "SELECT count(DISTINCT answer) > 200 FROM answer WHERE way = 'probe'"), 't', 'answers of many kinds');

# The same rows behind a view, in partitions, without an index that could be
# probed, and with other names and types; in a session of another time zone
$node->safe_psql('postgres', <<'SQL');
CREATE SCHEMA other;
CREATE VIEW other.seen AS SELECT * FROM "Subscription";
CREATE TABLE other.parts (LIKE "Subscription" INCLUDING DEFAULTS, UNIQUE ("userId")) PARTITION BY HASH ("userId");
CREATE TABLE other.part0 PARTITION OF other.parts FOR VALUES WITH (MODULUS 3, REMAINDER 0);
CREATE TABLE other.part1 PARTITION OF other.parts FOR VALUES WITH (MODULUS 3, REMAINDER 1);
CREATE TABLE other.part2 PARTITION OF other.parts FOR VALUES WITH (MODULUS 3, REMAINDER 2);
INSERT INTO other.parts SELECT * FROM "Subscription";
CREATE TABLE other.bare AS SELECT * FROM "Subscription";
CREATE TABLE other.partial AS SELECT * FROM "Subscription";
CREATE UNIQUE INDEX ON other.partial ("userId") WHERE tier = 'PRO';
CREATE TABLE other.snake AS SELECT id, "userId" AS user_id, tier::text, status::text, "stripeCustomerId" AS stripe_customer_id,
	"stripeSubscriptionId" AS stripe_subscription_id, "stripePriceId" AS stripe_price_id,
	"currentPeriodStart" AT TIME ZONE 'UTC' AS current_period_start, "currentPeriodEnd" AT TIME ZONE 'UTC' AS current_period_end,
	"cancelAtPeriodEnd" AS cancel_at_period_end, "createdAt" AS created_at, "updatedAt" AS updated_at FROM "Subscription";
CREATE UNIQUE INDEX ON other.snake (user_id);
SQL
foreach my $table ('seen', 'parts', 'bare', 'partial', 'snake')
{
	is($node->safe_psql('postgres', "SET momento_billing.subscription_table = 'other.$table'; SET timezone = 'Asia/Tokyo'; SELECT ask('$table')"), 2000, "answers: $table");
	is(differing($table), '0|||', "the same answers: $table");
}

# In a REPEATABLE READ transaction both ways see its own snapshot.
my $session = $node->background_psql('postgres');
my $read = "SELECT momento_billing.effective_tier('snapshot'), momento_billing.billing_status('snapshot') ->> 'tier'";
foreach my $table ('public."Subscription"', 'other.seen', 'other.parts')
{
	my $stored = $table eq 'other.parts' ? $table : '"Subscription"';

	$node->safe_psql('postgres', qq(INSERT INTO $stored (id, "userId", tier, status, "updatedAt") VALUES ('s', 'snapshot', 'PRO', 'ACTIVE', now())));
	$session->query_safe(qq(SET momento_billing.subscription_table = '$table'));
	foreach my $spi ('off', 'on')
	{
		$session->query_safe("SET momento_billing.force_spi = $spi; BEGIN ISOLATION LEVEL REPEATABLE READ");
		is($session->query_safe($read), 'PRO|PRO', "$table, force_spi $spi: before");
		$node->safe_psql('postgres', qq(UPDATE $stored SET tier = 'BUSINESS' WHERE "userId" = 'snapshot'));
		is($session->query_safe($read), 'PRO|PRO', "$table, force_spi $spi: its own snapshot");
		$session->query_safe('COMMIT');
		is($session->query_safe($read), 'BUSINESS|BUSINESS', "$table, force_spi $spi: after");
		$node->safe_psql('postgres', qq(UPDATE $stored SET tier = 'PRO' WHERE "userId" = 'snapshot'));
	}
	$node->safe_psql('postgres', qq(DELETE FROM $stored WHERE "userId" = 'snapshot'));
}
$session->quit;

$node->stop;
done_testing();
