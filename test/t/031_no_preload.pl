# Where the library cannot be preloaded there is no worker, and everything else
# works, without a word.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";

use Momento;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('no_preload');
$node->init;
write_file($node->basedir . '/webhook_secret', "$SECRET\n");
$node->append_conf('postgresql.conf', "momento_billing.webhook_secret_file = '" . $node->basedir . "/webhook_secret'\n");
$node->start;
set_up($node, 'postgres');

# What a session prints, and what it is warned of; each is a new session, in
# which nothing has loaded the library yet.
sub answers
{
	my ($sql, $expected, $test) = @_;
	my ($code, $out, $err) = $node->psql('postgres', $sql, on_error_die => 0);

	is($out, $expected, $test);
	is($err, '', "$test: no warning");
}

is($node->safe_psql('postgres', 'SHOW shared_preload_libraries'), '', 'no library is preloaded');
is(receive($node, 'postgres', checkout_event(id => 'evt_c', created => $T0, sub => 'sub_1', customer => 'cus_sub_1', user => 'ada')), 'f', 'a webhook is received');
answers("INSERT INTO momento_billing.webhook_inbox (payload) VALUES (sub_event('evt_1', 1, 'sub_1', 'price_pro', 'active'))", '', 'an event is inserted');
answers('SELECT momento_billing.drain_inbox()', '2', 'the inbox is drained by hand');
answers("SELECT momento_billing.effective_tier('ada'), momento_billing.billing_status('ada') ->> 'status'", 'PRO|ACTIVE', 'the row is there');
answers("SELECT outcome, tier FROM momento_billing.sync_subscription_from_event(sub_event('evt_2', 2, 'sub_1', 'price_business', 'active'))", 'applied|BUSINESS', 'an event is applied at once');
answers("SELECT allowed, remaining FROM momento_billing.consume_quota('ada', 'ai_chat')", 't|999', 'a unit is used');
answers("SELECT momento_billing.quota_remaining('ada', 'ai_chat')", '999', 'and counted');
answers("SELECT momento_billing.grant_tier('bob', 'PRO') > 0; SELECT momento_billing.effective_tier('bob')", "t\nPRO", 'a tier is given by hand');
answers("SET momento_billing.user_id = 'ada'; SELECT remaining FROM momento_billing.quota_remaining() WHERE feature = 'ai_chat'", '999', 'a setting is set before the library is loaded');
answers('SELECT count(*) FROM momento_billing.worker_status', '0', 'worker_status has no row');
answers("SELECT status, events FROM momento_billing.inbox_stats WHERE events > 0", 'processed|3', 'inbox_stats has its figures');
answers('SELECT momento_billing.wake_worker()', 'f', 'there is nobody to wake');

# Loaded later in a session of its own, it changes nothing.
answers("LOAD 'momento_billing'; SELECT count(*) FROM momento_billing.worker_status; SHOW momento_billing.batch_size", "0\n1000", 'LOAD');
answers('DROP EXTENSION momento_billing', '', 'the extension is dropped');

$node->stop;
is(log_count($node, qr/PANIC|TRAP|terminated by signal|momento_billing worker/), 0, 'no crash, and no worker');
done_testing();
