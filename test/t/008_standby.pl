# A streaming standby answers reads and has no worker; promoted, it drains.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";

use Momento;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $primary = PostgreSQL::Test::Cluster->new('primary');
my $standby = PostgreSQL::Test::Cluster->new('standby');
my $worker_count = "FROM pg_stat_activity WHERE backend_type = 'momento_billing worker'";

$primary->init(allows_streaming => 1);
$primary->start;
$primary->safe_psql('postgres', 'CREATE DATABASE app');
$primary->append_conf('postgresql.conf', <<'CONF');
shared_preload_libraries = 'momento_billing'
momento_billing.databases = 'app'
momento_billing.naptime = '1h'
CONF
$primary->restart;
$primary->backup('backup');
$standby->init_from_backup($primary, 'backup', has_streaming => 1);
$standby->start;

set_up($primary, 'app');
$primary->safe_psql('app', "INSERT INTO momento_billing.webhook_inbox (payload) VALUES (sub_event('evt_1', 1, 'sub_1', 'price_pro', 'active', 'ada'))");
wait_for($primary, 'app', q(SELECT count(*) = 1 FROM "Subscription"), 'the primary applies an event');
$primary->wait_for_catchup($standby);

is($standby->safe_psql('app', "SELECT count(*) $worker_count"), 0, 'no worker on the standby');
foreach my $spi ('off', 'on')
{
	is($standby->safe_psql('app', "SET momento_billing.force_spi = $spi; SELECT momento_billing.effective_tier('ada'), momento_billing.effective_tier('nobody'), momento_billing.quota_remaining('ada', 'ai_chat'), momento_billing.billing_status('ada') ->> 'status', (SELECT count(*) FROM momento_billing.quota_remaining('ada')), (SELECT effective_tier FROM momento_billing.entitlement)"),
		'PRO|BASIC|100|ACTIVE|8|PRO', "reads answer on the standby, force_spi $spi");
}
is($standby->safe_psql('app', 'SELECT state, pid IS NULL FROM momento_billing.worker_status'), 'stopped|t', 'worker_status says that it does not run');
is($standby->safe_psql('app', "SELECT momento_billing.price_id_to_tier('price_pro'), momento_billing.resolve_price_id('PRO', 'month')"), 'PRO|price_pro', 'the catalogue answers');
foreach my $write (
	q(SELECT momento_billing.sync_subscription_from_event(sub_event('evt_x', 1, 'sub_1', 'price_pro', 'active', 'ada'))),
	'SELECT momento_billing.drain_inbox()')
{
	my ($code, $out, $err) = $standby->psql('app', "\\set VERBOSITY sqlstate\n$write");

	like($err, qr/ERROR:  25006/, 'writes are refused: ' . substr($write, 0, 40));
}

# A change of the catalogue and of the row, in a session that has cached them
my $session = $standby->background_psql('app');
my $read = "SELECT momento_billing.effective_tier('ada'), momento_billing.quota_remaining('ada', 'ai_chat')";
is($session->query_safe($read), 'PRO|100', 'a session on the standby');
$primary->safe_psql('app', <<'SQL');
UPDATE momento_billing.plan_limit SET monthly_limit = 7 WHERE tier = 'BUSINESS' AND feature = 'ai_chat';
UPDATE "Subscription" SET tier = 'BUSINESS';
SQL
$primary->wait_for_catchup($standby);
is($session->query_safe($read), 'BUSINESS|7', 'sees what was replayed');

# Events that the primary could not drain any more
my $locker = $primary->background_psql('app');
$locker->query_safe('BEGIN; LOCK TABLE "Subscription" IN SHARE MODE');
$primary->safe_psql('app', <<'SQL');
INSERT INTO momento_billing.webhook_inbox (payload)
SELECT sub_event('evt_p' || i, 10, 'sub_p' || i, 'price_business', 'active', 'p' || i) FROM generate_series(1, 100) AS i
SQL
$primary->wait_for_catchup($standby);
$primary->stop('immediate');
is($standby->safe_psql('app', q(SELECT count(*) FROM "Subscription" WHERE "userId" LIKE 'p%')), 0, 'they are pending on the standby');
$standby->promote;
wait_for($standby, 'app', "SELECT count(*) = 1 $worker_count", 'promoted: the worker starts');
wait_for($standby, 'app', q(SELECT count(*) = 100 FROM "Subscription" WHERE "userId" LIKE 'p%' AND tier = 'BUSINESS'), 'and drains');
$standby->safe_psql('app', "INSERT INTO momento_billing.webhook_inbox (payload) VALUES (sub_event('evt_2', 2, 'sub_1', 'price_pro', 'past_due', 'ada'))");
wait_for($standby, 'app', q(SELECT status = 'PAST_DUE' FROM "Subscription" WHERE "userId" = 'ada'), 'and is woken by commits');
is($session->query_safe($read), 'PRO|100', 'the session goes on');
$_->quit foreach $session, $locker;
$standby->stop;
done_testing();
