# What a DBA sees of the worker: worker_status, inbox_stats, pg_stat_activity;
# and who keeps dead rows from being removed.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";

use Momento;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# Autovacuum is somebody who holds a snapshot, now and then.
my $node = new_server('status', [ 'app', 'other' ], <<'CONF');
wal_level = logical
max_wal_senders = 5
max_replication_slots = 5
autovacuum = off
CONF

# One column or several of a database's row, seen from "app".
sub status
{
	my ($columns, $database) = @_;

	return $node->safe_psql('app', "SELECT $columns FROM momento_billing.worker_status WHERE database = '" . ($database // 'app') . "'");
}

sub status_is
{
	my ($condition, $test, $database) = @_;

	wait_for($node, 'app', "SELECT $condition FROM momento_billing.worker_status WHERE database = '" . ($database // 'app') . "'", $test);
}

# Events of subscriptions and users of these names.
sub insert
{
	my ($database, @users) = @_;

	$node->safe_psql($database, 'INSERT INTO momento_billing.webhook_inbox (payload) VALUES '
		  . join(', ', map { "(sub_event('evt_$_', 5, 'sub_$_', 'price_pro', 'active', '$_'))" } @users));
}

sub settled
{
	my ($database, $count) = @_;

	wait_for($node, $database, "SELECT count(*) = $count FROM momento_billing.webhook_inbox WHERE status <> 'pending'", "$database: $count events are settled");
}

set_up($node, $_) foreach 'app', 'other';

# Each database's own figures, by outcome
insert('app', map { "user$_" } 1 .. 40);
insert('other', 'one', 'two');
settled('app', 40);
settled('other', 2);
$node->safe_psql('app', <<'SQL');
INSERT INTO momento_billing.webhook_inbox (payload) VALUES
	(jsonb_build_object('id', 'evt_ignored', 'object', 'event', 'type', 'account.updated', 'created', 1, 'data', jsonb_build_object('object', '{}'::jsonb))),
	(sub_event('evt_waiting', 1, 'sub_waiting', 'price_pro', 'active')),
	(sub_event('evt_conflict', 9, 'sub_user1', 'price_pro', 'active', 'somebody else'))
SQL
settled('app', 43);
status_is('processed = 40 AND ignored = 1 AND waiting = 1 AND dead = 1 AND failed = 0', 'counts by outcome');
is(status('processed, ignored, waiting, dead, failed', 'other'), '2|0|0|0|0', 'and by database');
is(status('events_per_minute'), 43, 'the rate');
is(status('events_per_minute', 'other'), 2, 'and the other one\'s');
is($node->safe_psql('other', "SELECT string_agg(concat_ws(' ', database, processed), ', ' ORDER BY database) FROM momento_billing.worker_status"),
	'app 40, other 2', 'every database shows all');
is(status('last_event, last_event_at BETWEEN started AND clock_timestamp()'), 'evt_conflict|t', 'the last event');
is(status('last_error, last_error_at BETWEEN started AND last_event_at'), 'extension "momento_billing" is not installed in this database|t', 'the last thing that was wrong');
is($node->safe_psql('app', "SELECT status, events, oldest_received_at < clock_timestamp(), oldest_age > interval '0', lag FROM momento_billing.inbox_stats"),
	"pending|0|||\nwaiting|1|t|t|\ndead|1|t|t|\nprocessed|40|t|t|\nignored|1|t|t|", 'inbox_stats');

# As others see it
is($node->safe_psql('app', <<'SQL'), 't|app|momento_billing worker|Extension|t|t|t', 'pg_stat_activity');
SELECT a.pid = w.pid, a.datname, a.application_name, a.wait_event_type,
	a.wait_event = CASE WHEN current_setting('server_version_num')::int >= 170000 THEN 'MomentoBillingMain' ELSE 'Extension' END,
	a.state = 'idle' AND a.xact_start IS NULL, a.backend_xmin IS NULL AND a.backend_xid IS NULL
FROM pg_stat_activity AS a JOIN momento_billing.worker_status AS w ON w.database = a.datname
WHERE a.backend_type = 'momento_billing worker' AND a.datname = 'app'
SQL

# Woken
my $wake = status('last_wake');
insert('other', 'three');
settled('other', 3);
is(status("last_wake = '$wake'"), 't', 'another database\'s event wakes another worker');
insert('app', 'user41');
status_is("last_wake > '$wake' AND last_wake <= clock_timestamp()", 'an event wakes it, and it says when');
settled('app', 44);

# An error, and the retry that is not due yet
settings($node, 'momento_billing.retry_base' => '1h');
$node->safe_psql('app', q(ALTER TABLE "Subscription" ADD CONSTRAINT known CHECK ("userId" <> 'unknown')));
insert('app', 'unknown');
settled('app', 45);
like(status('last_error'), qr/^23514: .*known/, 'the last error');
is(status('failed, waiting, last_error_at BETWEEN last_wake AND clock_timestamp()'), '1|2|t', 'counted as failed');
is(status('lag'), '', 'what is not due yet is no lag');
$node->safe_psql('app', "UPDATE momento_billing.webhook_inbox SET next_attempt_at = now() WHERE event_id = 'evt_unknown'; SELECT momento_billing.wake_worker()");
wait_for($node, 'app', "SELECT attempts = 2 FROM momento_billing.webhook_inbox WHERE event_id = 'evt_unknown'", 'made due, it is tried again');
is($node->safe_psql('app', "SELECT next_attempt_at - now() BETWEEN interval '47 min' AND interval '72 min' FROM momento_billing.webhook_inbox WHERE event_id = 'evt_unknown'"),
	't', 'retry_max bounds the delay');
$node->safe_psql('app', "UPDATE momento_billing.webhook_inbox SET next_attempt_at = NULL, status = 'processed' WHERE event_id = 'evt_unknown'");

# The lag, while a migration is in the worker's way
my $reader = $node->background_psql('app');
is(status('lag'), '', 'nothing is due: no lag');
$reader->query_safe('BEGIN; LOCK TABLE "Subscription" IN SHARE MODE');
insert('app', 'late', 'later');
$node->safe_psql('app', "UPDATE momento_billing.webhook_inbox SET received_at = received_at - interval '3 h' WHERE event_id = 'evt_late'");
is(status("lag BETWEEN interval '3 h' AND interval '3 h 3 min'"), 't', 'the lag is the oldest one\'s');
is(status('lag', 'other'), '', 'and of the database that is asked');
is($node->safe_psql('app', "SELECT lag BETWEEN interval '3 h' AND interval '3 h 3 min' FROM momento_billing.inbox_stats WHERE status = 'pending'"), 't', 'inbox_stats knows it too');
$node->safe_psql('app', "SELECT momento_billing.replay_event('evt_conflict')");
is(status("lag BETWEEN interval '3 h' AND interval '3 h 3 min'"), 't', 'a replayed event is due from then on');

# Who may look, but is nobody's superuser
$node->safe_psql('app', "CREATE ROLE watcher LOGIN IN ROLE pg_monitor; SELECT momento_billing.grant_admin_access('watcher')");
is($node->safe_psql('app', "SELECT lag > interval '3 h' FROM momento_billing.worker_status WHERE database = 'app'", extra_params => [ '--username', 'watcher' ]), 't', 'an admin sees it');
$reader->query_safe('COMMIT');
insert('app', 'last');
settled('app', 48);
status_is('lag IS NULL', 'drained: no lag');

# Who keeps dead rows
sub holder_is
{
	my ($expected, $test) = @_;
	my $got = status('oldest_xmin_holder');

	like($got, $expected, $test);
	is($node->safe_psql('app', "SELECT oldest_xmin_holder FROM momento_billing.worker_status WHERE database = 'app'", extra_params => [ '--username', 'watcher' ]), $got, "$test: so says pg_monitor");
}

is(status('oldest_xmin_holder IS NULL, oldest_xmin_age IS NULL'), 't|t', 'nobody holds back anything');
my $writer = $node->background_psql('app');
my $elsewhere = $node->background_psql('other');
$elsewhere->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1');
is(status('oldest_xmin_holder'), '', 'a snapshot in another database does not matter here');
like(status('oldest_xmin_holder', 'other'), qr/^backend \d+ \(/, 'it does there');
$elsewhere->query_safe('COMMIT');
$reader->query_safe("SET application_name = 'a report'; BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1");
my $pid = $reader->query_safe('SELECT pg_backend_pid()');
$node->safe_psql('app', 'SELECT txid_current()') foreach 1 .. 12;
holder_is(qr/^backend $pid \(a report\)$/, 'a snapshot');
cmp_ok(status('oldest_xmin_age'), '>=', 12, 'a snapshot: how old it is');
$writer->query_safe("SET application_name = 'an idler'; BEGIN; SELECT txid_current()");
my $idler = $writer->query_safe('SELECT pg_backend_pid()');
holder_is(qr/^backend $pid \(a report\)$/, 'the oldest counts');
$reader->query_safe('COMMIT');
holder_is(qr/^backend $idler \(an idler\)$/, 'an idle transaction that has written, without a snapshot');
$node->safe_psql('app', "BEGIN; CREATE TABLE held (); PREPARE TRANSACTION 'forgotten one'");
$writer->query_safe('COMMIT');
holder_is(qr/^prepared transaction forgotten one$/, 'a prepared transaction');
$node->safe_psql('app', "ROLLBACK PREPARED 'forgotten one'");
is(status('oldest_xmin_holder'), '', 'nobody again');
$node->safe_psql('app', "SELECT pg_create_logical_replication_slot('only_catalogs', 'pgoutput')");
is(status('oldest_xmin_holder'), '', 'a logical slot keeps the rows of catalogs only');

# A standby's query, told by feedback: with a slot and without
my $standby = PostgreSQL::Test::Cluster->new('standby');
$node->backup('backup');
$standby->init_from_backup($node, 'backup', has_streaming => 1);
$node->safe_psql('postgres', "SELECT pg_create_physical_replication_slot('of_standby')");
$standby->append_conf('postgresql.conf', <<'CONF');
hot_standby_feedback = on
wal_receiver_status_interval = 1s
primary_slot_name = 'of_standby'
CONF
$standby->start;
my $query = $standby->background_psql('app');
$query->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1');
status_is('oldest_xmin_holder IS NOT NULL', 'feedback of a standby');
holder_is(qr/^replication slot of_standby$/, 'a standby with a slot');
$standby->append_conf('postgresql.conf', "primary_slot_name = ''");
$standby->reload;
$node->poll_query_until('postgres', "SELECT NOT active FROM pg_replication_slots WHERE slot_name = 'of_standby'") or die 'the slot stays in use';
$node->safe_psql('postgres', "SELECT pg_drop_replication_slot('of_standby')");
$node->poll_query_until('app', 'SELECT count(backend_xmin) = 1 FROM pg_stat_replication') or die 'no feedback';
holder_is(qr/^standby standby$/, 'a standby without one');

# On the standby itself the view answers.
is($standby->safe_psql('app', "SELECT database, state, pid, lag FROM momento_billing.worker_status ORDER BY 1"), "app|stopped||\nother|stopped||", 'a standby has no worker');
$_->quit foreach $reader, $writer, $elsewhere, $query;
$standby->stop;
$node->stop;
done_testing();
