# pg_upgrade keeps everything and works on, with the worker's library preloaded
# on either side.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";

use Momento;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# The worker serves "postgres" too, which pg_upgrade drops and makes anew.
my $old = new_server('old', ['app'], "momento_billing.databases = 'app, postgres'\nmomento_billing.naptime = '100ms'\n");
my $new = PostgreSQL::Test::Cluster->new('new');
my $drained = "SELECT count(*) = 60 FROM momento_billing.webhook_inbox WHERE status = 'processed'";

set_up($old, 'app');
$old->safe_psql('app', <<'SQL');
UPDATE momento_billing.plan_limit SET monthly_limit = 42 WHERE tier = 'PRO' AND feature = 'ai_chat';
CREATE ROLE app_role LOGIN;
SELECT momento_billing.grant_app_access('app_role');
INSERT INTO momento_billing.webhook_inbox (payload)
SELECT sub_event('evt_' || i, i, 'sub_' || i % 10, CASE WHEN i % 2 = 0 THEN 'price_pro' ELSE 'price_business' END, 'active', 'user_' || i % 10)
FROM generate_series(1, 60) AS i;
INSERT INTO momento_billing.webhook_inbox (payload) VALUES (sub_event('evt_waiting', 1, 'sub_waiting', 'price_pro', 'active'));
SQL
wait_for($old, 'app', $drained, 'the old server has drained');
$old->safe_psql('app', <<'SQL');
SELECT momento_billing.consume_quota('user_1', 'ai_chat', 8, 'once'), momento_billing.reserve_quota('user_1', 'ai_chat', 4, '24 hours'),
	momento_billing.grant_tier('friend', 'BUSINESS', NULL, 'a gift'), momento_billing.grant_quota('user_1', 'ai_chat', 5),
	momento_billing.consume_quota('visitor', 'auto_titles', 8), momento_billing.forget_user('forgotten');
SQL

# What comes while nobody drains is pending in the copy.
settings($old, 'momento_billing.enabled' => 'off');
wait_for($old, 'postgres', "SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'momento_billing worker'", 'no worker');
$old->safe_psql('app', "INSERT INTO momento_billing.webhook_inbox (payload) VALUES (sub_event('evt_pending', 99, 'sub_p', 'price_pro', 'active', 'pending'))");
$old->safe_psql('postgres', 'ALTER SYSTEM RESET momento_billing.enabled');
my $rows = all_rows($old, 'app');
is(join(' ', grep { $rows->{$_} eq '' } sort keys %$rows), 'momento_billing.notification', 'every table has rows, but the one whose rows are said and gone');
my $next = $old->safe_psql('app', 'SELECT last_value FROM momento_billing.webhook_inbox_id_seq');
$old->stop;

$new->init;
$new->append_conf('postgresql.conf', <<'CONF');
shared_preload_libraries = 'momento_billing'
momento_billing.databases = 'app, postgres'
momento_billing.naptime = '100ms'
CONF
chomp(my $bindir = `pg_config --bindir`);

# it leaves a script in the folder where it is called
chdir($PostgreSQL::Test::Utils::tmp_check) or die "could not change the folder: $!";
$new->command_ok(
	[ 'pg_upgrade', '--no-sync', '-d', $old->data_dir, '-D', $new->data_dir, '-b', $bindir, '-B', $bindir,
		'-s', $new->host, '-p', $old->port, '-P', $new->port ],
	'pg_upgrade, with workers configured');

# Looked at before the worker goes on.
$new->append_conf('postgresql.conf', 'momento_billing.enabled = off');
$new->start;
is_deeply(all_rows($new, 'app'), $rows, 'all rows are equal');
is($new->safe_psql('app', 'SELECT last_value FROM momento_billing.webhook_inbox_id_seq'), $next, 'the sequence is right');
$new->append_conf('postgresql.conf', 'momento_billing.enabled = on');
$new->reload;
wait_for($new, 'app', q(SELECT count(*) = 1 FROM "Subscription" WHERE "userId" = 'pending' AND tier = 'PRO'), 'the worker applies what was pending');
$new->safe_psql('app', <<'SQL');
INSERT INTO momento_billing.webhook_inbox (payload) VALUES
	(sub_event('evt_known', 2, 'sub_waiting', 'price_business', 'active', 'late')),
	(sub_event('evt_forgotten', 7, 'sub_forgotten', 'price_pro', 'active', 'forgotten')),
	(sub_event('evt_7', 7, 'sub_7', 'price_pro', 'canceled')) ON CONFLICT (event_id) DO NOTHING
SQL
wait_for($new, 'app', q(SELECT count(*) = 1 FROM "Subscription" WHERE "userId" = 'late' AND tier = 'BUSINESS'), 'a waiting event finds its user');
is($new->safe_psql('app', "SELECT event_id, status, reason, attempts FROM momento_billing.webhook_inbox WHERE event_id IN ('evt_waiting', 'evt_7', 'evt_forgotten') ORDER BY 1"),
	"evt_7|processed||0\nevt_forgotten|ignored|forgotten|0\nevt_waiting|processed||0", 'and is settled; who was forgotten stays so');
is( $new->safe_psql('app', <<'SQL', extra_params => [ '--username', 'app_role' ]), "t|8|t\nBUSINESS|42", 'rights, keys, grants and limits are there');
SELECT allowed, used, replayed FROM momento_billing.consume_quota('user_1', 'ai_chat', 8, 'once');
SELECT momento_billing.effective_tier('friend'), (SELECT monthly_limit FROM momento_billing.quota_remaining('user_2') WHERE feature = 'ai_chat');
SQL

$new->stop;
is(log_count($new, qr/PANIC|TRAP|terminated by signal/), 0, 'no crash');
done_testing();
